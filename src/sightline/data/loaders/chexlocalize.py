"""CheXlocalize: CheXpert's validation and test radiographs with radiologists' contours and a human benchmark."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import AnnotationIndex, parse_size, read_csv, read_json
from sightline.data.registry import datasets, is_synthetic
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS, CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files, masks

REFERENCE_READER, BENCHMARK_READER = "truth", "radiologist"
"""Reference standard; human benchmark, whose most representative points are 'radiologist points'."""

LICENSE = "Stanford University Dataset Research Use Agreement"
CITATION = "doi:10.1038/s42256-022-00536-x"
METADATA_COLUMNS = {"Sex": "sex", "Age": "age", "AP/PA": "projection"}
"""Column of CheXpert's label files -> our fact. The label file of the test split has none of them."""

# Whatever stands before the patient differs between releases: CheXpert-v1.0/valid/..., CheXpert-v1.0-small/...
VIEW_PATH_PATTERN = re.compile(
    r"(?:^|/)(?P<patient>patient[^/]+)/(?P<study>study[^/]+)/(?P<file>(?P<stem>view\d+_(?P<view>[a-z]+))\.[A-Za-z]+)$"
)
"""'any/prefix/patient64541/study1/view1_frontal.jpg'"""


@dataclass(slots=True)
class _LoadedAnnotations:
    """What the annotation files say, gathered while loading."""

    annotations: dict[tuple[str, str, str], Annotation] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, names: Collection[str], message: str, noun: str = "radiograph") -> None:
        """One line for however many it concerns, the first of them by name."""
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            self.warnings.append(f"{len(names)} {noun}{'s' * (len(names) > 1)} {message} ({shown})")


@dataclass(frozen=True, slots=True)
class _View:
    """One radiograph as its path tells it."""

    patient: str
    study: str
    file: str
    stem: str
    view: str

    @property
    def id(self) -> str:
        return f"{self.patient}_{self.study}_{self.stem}"

    @classmethod
    def from_path(cls, path: str) -> _View | None:
        """None where the path does not follow CheXpert's pattern."""
        parts = VIEW_PATH_PATTERN.search(path)
        return cls(**parts.groupdict()) if parts else None


@datasets(
    "chexlocalize",
    title="CheXlocalize",
    source=f"Saporta 2022, {CITATION}",
    license=LICENSE,
)
def load_chexlocalize(path: str, split: str = "") -> Dataset:
    """CheXlocalize in the layout of its download: DIR holds CheXpert/ and CheXlocalize/.

    split: 'val' or 'test'; by default the one that is there, 'val' before 'test'. Every file but the radiographs is
    optional. Readers: 'truth' (gt_segmentations, else gt_annotations drawn as the authors draw them), 'radiologist'
    (hb_segmentations, else hb_annotations) and 'radiologist points' (hb_salient_pt; coordinates truncated to whole
    pixels as the published evaluation does); files hbNAME_... are of further readers, 'radiologist NAME'. A mask
    without a pixel is no mark. What does not fit together is listed in `facts["warnings"]`; docs/chexlocalize-files.md
    says what becomes of it.
    Errors: `DataError` for a folder or file that is not of this layout.
    """
    root = Path(path)
    split = _resolve_split(root, split)
    found = _LoadedAnnotations()
    rows = list(_read_label_rows(root, split, found))
    _read_reader_files(root / "CheXlocalize", split, found)
    radiographs = _make_radiographs(root, split, rows, found)
    if not radiographs:
        raise DataError(f"{root / 'CheXpert' / split} holds no radiographs")
    rendered = _phantom_spec(root)
    if rendered:
        found.warnings.insert(0, f"these radiographs are rendered and their readers simulated ({rendered})")
    readers = tuple(dict.fromkeys(reader for _, _, reader in found.annotations))
    if readers and readers[0] != REFERENCE_READER:
        found.warnings.append(f"no ground truth (gt_segmentations_{split}.json) is there, only {', '.join(readers)}")
        readers = (REFERENCE_READER, *readers)
    return Dataset(
        name="chexlocalize",
        spec=f"chexlocalize:{path}?split={split}",
        findings=CHEXLOCALIZE_FINDINGS,
        radiographs=radiographs,
        annotation=AnnotationIndex(found.annotations),
        readers=readers,
        files=_input_files(root, split),
        metadata={
            "split": split,
            "license": LICENSE,
            "citation": CITATION,
            "warnings": tuple(found.warnings),
            "simulated": bool(rendered),
        },
    )


def _input_files(root: Path, split: str) -> tuple[Path, ...]:
    """Not the whole download, which holds maps, too."""
    images, marks = root / "CheXpert", root / "CheXlocalize"
    folders = [images / split, *([images / "valid"] if split == "val" else [])]
    return (images / f"{split}_labels.csv", *folders, *sorted(marks.glob(f"*_{split}.json")))


def _phantom_spec(root: Path) -> str:
    """The spec of the phantom that `sightline data write` made these files from; '' for anything else."""
    note = root / "README.txt"
    first = note.read_text("utf-8", "replace").partition("\n")[0] if note.is_file() else ""
    spec = first.removeprefix("Written by sightline from ")
    return spec if first != spec and is_synthetic(spec) else ""


def _resolve_split(root: Path, split: str) -> str:
    """The split asked for, or the first that is there."""
    if split not in ("", "val", "test"):
        raise DataError(f"chexlocalize has no split {split!r}; allowed: val, test")
    for name in (split,) if split else ("val", "test"):
        if (root / "CheXpert" / f"{name}_labels.csv").is_file() or (root / "CheXpert" / name).is_dir():
            return name
    raise DataError(
        f"{root} holds neither CheXpert/{split or 'val'}_labels.csv nor CheXpert/{split or 'val'}/; "
        "give the folder into which CheXpert/ and CheXlocalize/ were downloaded"
    )


def _read_label_rows(
    root: Path, split: str, loaded: _LoadedAnnotations
) -> Iterator[tuple[_View, dict[str, float], dict[str, Any]]]:
    """(where, labels, facts) of every radiograph the label file names; of every image where there is no such file."""
    file = root / "CheXpert" / f"{split}_labels.csv"
    if not file.is_file():
        loaded.warnings.append(f"{file} does not exist: radiographs are those on disk, their labels unknown")
        for image in sorted((root / "CheXpert" / split).glob("patient*/study*/view*")):
            where = _View.from_path(image.as_posix())
            if where and image.suffix.lower() in image_files.SUFFIXES:
                yield where, {}, {}
        return
    table = read_csv(file, ("Path",), {"Airspace Opacity": "Lung Opacity"})
    columns = [name for name in CHEXPERT_FINDINGS if name in table.rows.columns]
    if not columns:
        raise DataError(f"{file} has none of the label columns {', '.join(CHEXPERT_FINDINGS)}")
    labels = np.stack([table.labels(name) for name in columns], axis=1)  # (N, labels)
    seen: dict[str, int] = {}
    for row, text, values in zip(table.rows.index, table.text("Path"), labels.tolist(), strict=True):
        where = _View.from_path(text)
        if where is None:
            raise table.error(row, f"Path is {text!r}; .../patientN/studyN/viewN_frontal.jpg was expected")
        if where.id in seen:
            raise table.error(row, f"{where.id} is already in row {seen[where.id]}; remove one")
        seen[where.id] = row
        known = {
            ours: table.rows.at[row, name] for name, ours in METADATA_COLUMNS.items() if name in table.rows.columns
        }
        yield where, dict(zip(columns, values, strict=True)), known


def _make_radiographs(
    root: Path, split: str, rows: list[tuple[_View, dict[str, float], dict[str, Any]]], loaded: _LoadedAnnotations
) -> tuple[Radiograph, ...]:
    listed = {where.id for where, _, _ in rows}
    kept, lost = [], []
    for name in sorted({radiograph for radiograph, _, _ in loaded.annotations} - listed):
        where = _View.from_path(name.replace("_", "/", 2) + ".jpg")
        if where is not None and _image_path(root, split, where).is_file():
            kept.append(name)
            rows.append((where, {}, {}))
        else:
            lost.append(name)
    loaded.warn(kept, f"with marks but no row in {split}_labels.csv: kept, labels unknown")
    loaded.warn(lost, f"with marks but neither a row in {split}_labels.csv nor an image: left out")
    gone = set(lost)
    loaded.annotations = {key: mark for key, mark in loaded.annotations.items() if key[0] not in gone}
    made, missing = [], []
    for where, labels, known in rows:
        image = _image_path(root, split, where)
        if not image.is_file():
            missing.append(str(image))
        made.append(
            Radiograph(
                id=where.id,
                patient=where.patient,
                read=partial(image_files.read_image, image),
                study=f"{where.patient}_{where.study}",
                view=where.view,
                size=loaded.sizes.get(where.id),
                split=split,
                labels=labels,
                metadata={"path": str(image), **known},
            )
        )
    loaded.warn(missing, "without a file: reading will fail", "image")
    return tuple(made)


def _image_path(root: Path, split: str, view: _View) -> Path:
    """Where the image lies: the download says 'val', CheXpert itself 'valid'; re-encoded copies change the suffix."""
    folders = [
        root / "CheXpert" / name / view.patient / view.study for name in (split, *(["valid"] * (split == "val")))
    ]
    names = dict.fromkeys([view.file, *(view.stem + suffix for suffix in (".jpg", ".png", ".dcm"))])
    candidates = [folder / name for folder in folders for name in names]
    return next((path for path in candidates if path.is_file()), candidates[0])


_READER_FILE_PATTERN = re.compile(r"hb(?P<name>\w*?)_(segmentations|annotations|salient_pt)_(?P<split>val|test)\.json")


def _read_reader_files(folder: Path, split: str, loaded: _LoadedAnnotations) -> None:
    files = [m for m in map(_READER_FILE_PATTERN.fullmatch, (p.name for p in folder.glob("hb*.json"))) if m]
    humans = sorted({m["name"] for m in files if m["split"] == split})  # the plain hb_... first
    for prefix, reader in (
        ("gt", REFERENCE_READER),
        *((f"hb{n}", f"{BENCHMARK_READER} {n.strip('_')}".strip()) for n in humans),
    ):
        segmentations, annotations, points = (
            folder / f"{prefix}_{kind}_{split}.json" for kind in ("segmentations", "annotations", "salient_pt")
        )
        drawn = annotations.is_file()
        outlines = _read_annotations(annotations, reader, not segmentations.is_file(), loaded) if drawn else {}
        if segmentations.is_file():
            _read_segmentations(segmentations, reader, outlines, loaded)
        if points.is_file() and reader != REFERENCE_READER:
            _read_points(points, f"{reader} points", loaded)
    other = {"val": "test", "test": "val"}[split]
    if not loaded.annotations and (folder / f"gt_segmentations_{other}.json").is_file():
        meant = f"gt_segmentations_{other}.json: is ?split={other} meant?"
        loaded.warnings.append(f"{folder} has no marks of split {split}, but {meant}")


def _iterate_findings(file: Path, loaded: _LoadedAnnotations) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """(radiograph, finding, value, all of the radiograph's values) for every finding a file speaks of."""
    unknown = set()
    for radiograph, tasks in read_json(file).items():
        if not isinstance(tasks, dict):
            raise DataError(f"{file}, {radiograph}: a {type(tasks).__name__} stands where findings were expected")
        for task, value in tasks.items():
            finding = canonical_name(task)
            if finding in CHEXLOCALIZE_FINDINGS:
                yield radiograph, finding, value, tasks
            elif task != "img_size":
                unknown.add(task)
    if unknown:
        loaded.warnings.append(
            f"{file.name} speaks of {', '.join(sorted(unknown))}, none of the ten findings: left out"
        )


def _read_segmentations(
    file: Path, reader: str, outlines: Mapping[tuple[str, str], int], loaded: _LoadedAnnotations
) -> None:
    said: dict[str, int] = {}
    for radiograph, finding, rle, _ in _iterate_findings(file, loaded):
        what = f"{file}, {radiograph}, {finding}"
        if not isinstance(rle, dict):
            raise DataError(f"{what}: a run-length encoding with 'size' and 'counts' was expected")
        size = parse_size(rle.get("size"), what)
        _record_size(file, radiograph, size, loaded)
        try:
            area = masks.rle_area(rle)
        except DataError as error:
            raise DataError(f"{what}: {error}") from error
        said[radiograph] = said.get(radiograph, 0) + area
        if area:
            read, drawn = partial(masks.rle_to_mask, rle), outlines.get((radiograph, finding))
            mark = Annotation(radiograph, finding, reader, "region", size, read, drawn)
            loaded.annotations[radiograph, finding, reader] = mark
    loaded.warn([r for r, area in said.items() if not area], f"in {file.name} without a single marked pixel")


def _read_annotations(file: Path, reader: str, draw: bool, loaded: _LoadedAnnotations) -> dict[tuple[str, str], int]:
    """How many contours there are, (radiograph, finding) -> number; draw: also make marks of them."""
    outside, counts = [], {}
    for radiograph, finding, polygons, tasks in _iterate_findings(file, loaded):
        what = f"{file}, {radiograph}, {finding}"
        size = parse_size(tasks.get("img_size"), what)
        _record_size(file, radiograph, size, loaded)
        contours = [_parse_points(polygon, what) for polygon in _require_list(polygons, what)]
        if any(len(c) and ((c < -0.5).any() or (c > np.array(size)).any()) for c in contours):
            outside.append(f"{radiograph} {finding}")
        if contours:
            counts[radiograph, finding] = len(contours)
        if contours and draw:
            read = partial(_draw_contours, contours, size, what)
            loaded.annotations[radiograph, finding, reader] = Annotation(
                radiograph, finding, reader, "region", size, read, len(contours)
            )
    loaded.warn(outside, f"in {file.name} beyond the border of the image: what lies outside is cut off", "mark")
    return counts


def _read_points(file: Path, reader: str, loaded: _LoadedAnnotations) -> None:
    sizeless = set()
    for radiograph, finding, pairs, tasks in _iterate_findings(file, loaded):
        what = f"{file}, {radiograph}, {finding}"
        points = np.trunc(_parse_points(pairs, what))  # as the published evaluation truncates them, with int()
        if "img_size" in tasks:
            _record_size(file, radiograph, parse_size(tasks["img_size"], what), loaded)
        size = loaded.sizes.get(radiograph)
        if not len(points):
            continue
        if size is None:
            sizeless.add(radiograph)
            continue
        loaded.annotations[radiograph, finding, reader] = Annotation(
            radiograph, finding, reader, "points", size, points.copy
        )
    loaded.warn(sizeless, "with points, but no file tells the size of the image: points left out")


def _record_size(file: Path, radiograph: str, size: Size, loaded: _LoadedAnnotations) -> None:
    before = loaded.sizes.setdefault(radiograph, size)
    if before != size:
        loaded.warnings.append(f"{file.name} gives {radiograph} the size {size}, another file {before} (rows, columns)")


def _require_list(value: object, label: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{label}: a {type(value).__name__} stands where a list was expected")
    return value


def _parse_points(pairs: object, label: str) -> Array:
    """[[x, y], ...] -> float64 (K, 2) as (row, col)."""
    try:
        points = np.array(_require_list(pairs, label), np.float64).reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise DataError(f"{label}: a list of [x, y] pairs was expected ({error})") from error
    if not np.isfinite(points).all():
        raise DataError(f"{label}: a coordinate is not a finite number")
    return points[:, ::-1]


def _draw_contours(contours: list[Array], size: Size, label: str) -> Array:
    try:
        return masks.contours_to_mask(contours, size)
    except DataError as error:
        raise DataError(f"{label}: {error}") from error
