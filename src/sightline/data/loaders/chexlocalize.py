"""Loader of CheXlocalize: the validation and test radiographs of CheXpert, with contours and a human benchmark."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.loaders.annotation_index import AnnotationIndex
from sightline.data.loaders.csv_tables import parse_size, read_csv, read_json
from sightline.data.loaders.image_index import first_file
from sightline.data.reader_names import RADIOLOGIST, REFERENCE_READER
from sightline.data.registry import datasets, is_synthetic
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS, CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files, masks

LICENSE = "Stanford University Dataset Research Use Agreement"
CITATION = "doi:10.1038/s42256-022-00536-x"
METADATA_COLUMNS = {"Sex": "sex", "Age": "age", "AP/PA": "projection"}
"""Column of the label files -> name in `Radiograph.metadata`. The label file of the test split has none of them."""

# The path before the patient differs between releases: CheXpert-v1.0/valid/..., CheXpert-v1.0-small/...
VIEW_PATH_PATTERN = re.compile(
    r"(?:^|/)(?P<patient>patient[^/]+)/(?P<study>study[^/]+)/(?P<file>(?P<stem>view\d+_(?P<view>[a-z]+))\.[A-Za-z]+)$"
)
"""Pattern of 'any/prefix/patient64541/study1/view1_frontal.jpg'."""


@dataclass(slots=True)
class _LoadedAnnotations:
    """Annotations, sizes of images and warnings, collected while loading."""

    annotations: dict[tuple[str, str, str], Annotation] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, names: Collection[str], message: str, noun: str = "radiograph") -> None:
        """Add a warning with the number of radiographs that it concerns, and the first three names."""
        if names:
            examples = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            self.warnings.append(f"{len(names)} {noun}{'s' * (len(names) > 1)} {message} ({examples})")


@dataclass(frozen=True, slots=True)
class _View:
    """Parts of the path of a radiograph."""

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
        """Parse a path; None where it does not match `VIEW_PATH_PATTERN`."""
        parts = VIEW_PATH_PATTERN.search(path)
        return cls(**parts.groupdict()) if parts else None


@datasets(
    "chexlocalize",
    title="CheXlocalize",
    source=f"Saporta 2022, {CITATION}",
    license=LICENSE,
)
def load_chexlocalize(path: str, split: str = "") -> Dataset:
    """Open CheXlocalize in the layout of its download: a folder with CheXpert/ and CheXlocalize/.

    Every file but the radiographs is optional. Readers are 'truth' (gt_segmentations, else gt_annotations, drawn as the
    authors draw them), 'radiologist' (hb_segmentations, else hb_annotations) and 'radiologist points' (hb_salient_pt,
    with coordinates truncated to whole pixels as in the published evaluation); files hbNAME_... belong to further
    readers, 'radiologist NAME'. A mask without a pixel is no annotation. `metadata["warnings"]` lists what does not fit
    together; docs/chexlocalize-files.md describes how it is handled.

    Parameters
    ----------
    path : str
        Folder of the download.
    split : {'', 'val', 'test'}
        Split to open; by default the one that exists, 'val' before 'test'.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
    """
    root = Path(path)
    split = _resolve_split(root, split)
    loaded = _LoadedAnnotations()
    rows = list(_read_label_rows(root, split, loaded))
    _read_reader_files(root / "CheXlocalize", split, loaded)
    radiographs = _make_radiographs(root, split, rows, loaded)
    if not radiographs:
        raise DataError(f"{root / 'CheXpert' / split} holds no radiographs")
    synthetic_spec = _read_synthetic_spec(root)
    if synthetic_spec:
        loaded.warnings.insert(0, f"these radiographs are rendered and their readers simulated ({synthetic_spec})")
    readers = tuple(dict.fromkeys(reader for _, _, reader in loaded.annotations))
    if readers and readers[0] != REFERENCE_READER:
        file, names = f"gt_segmentations_{split}.json", ", ".join(readers)
        loaded.warnings.append(f"{file}, the reference standard, does not exist; there are only {names}")
        readers = (REFERENCE_READER, *readers)
    return Dataset(
        name="chexlocalize",
        spec=f"chexlocalize:{path}?split={split}",
        findings=CHEXLOCALIZE_FINDINGS,
        radiographs=radiographs,
        annotation=AnnotationIndex(loaded.annotations),
        readers=readers,
        files=_input_files(root, split),
        metadata={
            "split": split,
            "license": LICENSE,
            "citation": CITATION,
            "warnings": tuple(loaded.warnings),
            "simulated": bool(synthetic_spec),
        },
    )


def _input_files(root: Path, split: str) -> tuple[Path, ...]:
    """List the files that are read, which are not all: the download also holds maps."""
    images, annotations = root / "CheXpert", root / "CheXlocalize"
    folders = [images / split, *([images / "valid"] if split == "val" else [])]
    return (images / f"{split}_labels.csv", *folders, *sorted(annotations.glob(f"*_{split}.json")))


def _read_synthetic_spec(root: Path) -> str:
    """Return the spec of the synthetic data set that `sightline data write` wrote here; '' for any other folder."""
    readme = root / "README.txt"
    first_line = readme.read_text("utf-8", "replace").partition("\n")[0] if readme.is_file() else ""
    spec = first_line.removeprefix("Written by sightline from ")
    return spec if first_line != spec and is_synthetic(spec) else ""


def _resolve_split(root: Path, split: str) -> str:
    """Return the split of the option, or the first that exists."""
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
    """Yield (view, labels, metadata) of the radiographs in the label file; of every image where it does not exist."""
    file = root / "CheXpert" / f"{split}_labels.csv"
    if not file.is_file():
        loaded.warnings.append(f"{file} does not exist: radiographs are those on disk, their labels unknown")
        for image in sorted((root / "CheXpert" / split).glob("patient*/study*/view*")):
            view = _View.from_path(image.as_posix())
            if view and image.suffix.lower() in image_files.SUFFIXES:
                yield view, {}, {}
        return
    table = read_csv(file, ("Path",), {"Airspace Opacity": "Lung Opacity"})
    columns = [name for name in CHEXPERT_FINDINGS if name in table.rows.columns]
    if not columns:
        raise DataError(f"{file} has none of the label columns {', '.join(CHEXPERT_FINDINGS)}")
    labels = np.stack([table.labels(name) for name in columns], axis=1)  # (N, labels)
    rows: dict[str, int] = {}
    for row, text, values in zip(table.rows.index, table.text("Path"), labels.tolist(), strict=True):
        view = _View.from_path(text)
        if view is None:
            raise table.error(row, f"Path is {text!r}; .../patientN/studyN/viewN_frontal.jpg was expected")
        if view.id in rows:
            raise table.error(row, f"{view.id} is already in row {rows[view.id]}; remove one")
        rows[view.id] = row
        metadata = {
            name: table.rows.at[row, column]
            for column, name in METADATA_COLUMNS.items()
            if column in table.rows.columns
        }
        yield view, dict(zip(columns, values, strict=True)), metadata


def _make_radiographs(
    root: Path, split: str, rows: list[tuple[_View, dict[str, float], dict[str, Any]]], loaded: _LoadedAnnotations
) -> tuple[Radiograph, ...]:
    rows += _unlisted_rows(root, split, {view.id for view, _, _ in rows}, loaded)
    radiographs, missing = [], []
    for view, labels, metadata in rows:
        image = _image_path(root, split, view)
        if not image.is_file():
            missing.append(str(image))
        radiographs.append(
            Radiograph(
                id=view.id,
                patient=view.patient,
                read=partial(image_files.read_image, image),
                study=f"{view.patient}_{view.study}",
                view=view.view,
                size=loaded.sizes.get(view.id),
                split=split,
                labels=labels,
                metadata={"path": str(image), **metadata},
            )
        )
    loaded.warn(missing, "without a file: reading will fail", "image")
    return tuple(radiographs)


def _unlisted_rows(
    root: Path, split: str, listed: set[str], loaded: _LoadedAnnotations
) -> list[tuple[_View, dict[str, float], dict[str, Any]]]:
    """Make rows for annotated images that the label file does not list, and drop annotations without an image."""
    rows: list[tuple[_View, dict[str, float], dict[str, Any]]] = []
    dropped = set()
    for name in sorted({radiograph for radiograph, _, _ in loaded.annotations} - listed):
        view = _View.from_path(name.replace("_", "/", 2) + ".jpg")
        if view is not None and _image_path(root, split, view).is_file():
            rows.append((view, {}, {}))
        else:
            dropped.add(name)
    kept = [view.id for view, _, _ in rows]
    loaded.warn(kept, f"with annotations but no row in {split}_labels.csv: kept, labels unknown")
    loaded.warn(dropped, f"with annotations but neither a row in {split}_labels.csv nor an image: left out")
    loaded.annotations = {key: value for key, value in loaded.annotations.items() if key[0] not in dropped}
    return rows


def _image_path(root: Path, split: str, view: _View) -> Path:
    """Return the path of the image, which is in val/ or, as in CheXpert, valid/, or has the suffix of a copy."""
    folders = [
        root / "CheXpert" / name / view.patient / view.study for name in (split, *(["valid"] * (split == "val")))
    ]
    names = dict.fromkeys([view.file, *(view.stem + suffix for suffix in (".jpg", ".png", ".dcm"))])
    candidates = [folder / name for folder in folders for name in names]
    return first_file(candidates) or candidates[0]


_READER_FILE_PATTERN = re.compile(r"hb(?P<name>\w*?)_(segmentations|annotations|salient_pt)_(?P<split>val|test)\.json")


def _read_reader_files(folder: Path, split: str, loaded: _LoadedAnnotations) -> None:
    matches = [_READER_FILE_PATTERN.fullmatch(path.name) for path in folder.glob("hb*.json")]
    names = sorted({match["name"] for match in matches if match and match["split"] == split})  # '' is the first
    readers = {"gt": REFERENCE_READER} | {f"hb{name}": f"{RADIOLOGIST} {name.strip('_')}".strip() for name in names}
    for prefix, reader in readers.items():
        segmentations, annotations, points = (
            folder / f"{prefix}_{kind}_{split}.json" for kind in ("segmentations", "annotations", "salient_pt")
        )
        n_outlines: dict[tuple[str, str], int] = {}
        if annotations.is_file():
            n_outlines = _read_annotations(annotations, reader, not segmentations.is_file(), loaded)
        if segmentations.is_file():
            _read_segmentations(segmentations, reader, n_outlines, loaded)
        if points.is_file() and reader != REFERENCE_READER:
            _read_points(points, f"{reader} points", loaded)
    other = {"val": "test", "test": "val"}[split]
    if not loaded.annotations and (folder / f"gt_segmentations_{other}.json").is_file():
        loaded.warnings.append(
            f"{folder} has no annotations of split {split}, but gt_segmentations_{other}.json: did you mean "
            f"?split={other}?"
        )


def _iterate_findings(file: Path, loaded: _LoadedAnnotations) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """Yield (radiograph, finding, value, all values of the radiograph) for every finding in a file."""
    unknown = set()
    for radiograph, tasks in read_json(file).items():
        if not isinstance(tasks, dict):
            raise DataError(f"{file}, {radiograph}: findings were expected, not a {type(tasks).__name__}")
        for task, value in tasks.items():
            finding = canonical_name(task)
            if finding in CHEXLOCALIZE_FINDINGS:
                yield radiograph, finding, value, tasks
            elif task != "img_size":
                unknown.add(task)
    if unknown:
        loaded.warnings.append(f"{file.name} names {', '.join(sorted(unknown))}, none of the ten findings: left out")


def _read_segmentations(
    file: Path, reader: str, n_outlines: Mapping[tuple[str, str], int], loaded: _LoadedAnnotations
) -> None:
    areas: dict[str, int] = {}
    for radiograph, finding, rle, _ in _iterate_findings(file, loaded):
        label = f"{file}, {radiograph}, {finding}"
        if not isinstance(rle, dict):
            raise DataError(f"{label}: a run-length encoding with 'size' and 'counts' was expected")
        size = parse_size(rle.get("size"), label)
        _record_size(file, radiograph, size, loaded)
        try:
            area = masks.rle_area(rle)
        except DataError as error:
            raise DataError(f"{label}: {error}") from error
        areas[radiograph] = areas.get(radiograph, 0) + area
        if area:
            count = n_outlines.get((radiograph, finding))
            annotation = Annotation(radiograph, finding, reader, "region", size, partial(masks.rle_to_mask, rle), count)
            loaded.annotations[radiograph, finding, reader] = annotation
    empty = [radiograph for radiograph, area in areas.items() if not area]
    loaded.warn(empty, f"in {file.name} without a single annotated pixel")


def _read_annotations(file: Path, reader: str, draw: bool, loaded: _LoadedAnnotations) -> dict[tuple[str, str], int]:
    """Return (radiograph, finding) -> number of contours; if `draw`, also make annotations of them."""
    outside, counts = [], {}
    for radiograph, finding, polygons, tasks in _iterate_findings(file, loaded):
        label = f"{file}, {radiograph}, {finding}"
        size = parse_size(tasks.get("img_size"), label)
        _record_size(file, radiograph, size, loaded)
        contours = [_parse_points(polygon, label) for polygon in _require_list(polygons, label)]
        if any(len(c) and ((c < -0.5).any() or (c > np.array(size)).any()) for c in contours):
            outside.append(f"{radiograph} {finding}")
        if contours:
            counts[radiograph, finding] = len(contours)
        if contours and draw:
            read = partial(_draw_contours, contours, size, label)
            loaded.annotations[radiograph, finding, reader] = Annotation(
                radiograph, finding, reader, "region", size, read, len(contours)
            )
    loaded.warn(outside, f"in {file.name} beyond the border of the image: what lies outside is cut off", "annotation")
    return counts


def _read_points(file: Path, reader: str, loaded: _LoadedAnnotations) -> None:
    sizeless = set()
    for radiograph, finding, pairs, tasks in _iterate_findings(file, loaded):
        label = f"{file}, {radiograph}, {finding}"
        points = np.trunc(_parse_points(pairs, label))  # as the published evaluation truncates them, with int()
        if "img_size" in tasks:
            _record_size(file, radiograph, parse_size(tasks["img_size"], label), loaded)
        size = loaded.sizes.get(radiograph)
        if not len(points):
            continue
        if size is None:
            sizeless.add(radiograph)
            continue
        loaded.annotations[radiograph, finding, reader] = Annotation(
            radiograph, finding, reader, "points", size, points.copy
        )
    loaded.warn(sizeless, "with points, but no file states the size of the image: points left out")


def _record_size(file: Path, radiograph: str, size: Size, loaded: _LoadedAnnotations) -> None:
    before = loaded.sizes.setdefault(radiograph, size)
    if before != size:
        loaded.warnings.append(f"{file.name} gives {radiograph} the size {size}, another file {before} (rows, columns)")


def _require_list(value: object, label: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{label}: a list was expected, not a {type(value).__name__}")
    return value


def _parse_points(pairs: object, label: str) -> Array:
    """Convert [[x, y], ...] to float64 (K, 2) as (row, col)."""
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
