"""A folder of your own: images, and beside them masks or CSV files of boxes or points."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, AnnotationKind, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import CsvTable, describe_outside_box, find_images, read_csv
from sightline.data.registry import datasets
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files as images

METADATA_COLUMNS = ("image", "patient", "study", "view", "split")
"""Columns of labels.csv that are no findings."""
BOX_COLUMNS = ("x", "y", "width", "height")
AnnotationKey = tuple[str, str, str]
"""(radiograph id, finding, reader)"""


@datasets("folder", title="A folder of your own", source="yours", license="yours")
def load_folder(path: str, finding: str = "") -> Dataset:
    """Your own data: DIR/images/ and, all optional, masks/, boxes.csv, points.csv and labels.csv.

    images/NAME.png (.jpg, .jpeg, .dcm): NAME is the radiograph's id. masks/FINDING/NAME.png: of the image's size, the
    finding where not 0; masks_READER/FINDING/NAME.png: by another reader. Masks of one finding may lie in masks/
    itself, if `finding` names it. boxes.csv: columns image, finding, x, y, width, height; points.csv: image, finding,
    x, y; both in pixels of the image, x to the right and y down from the top-left corner, and with an optional column
    reader ('truth' where blank). labels.csv: image, then optional patient, study, view, split and one column per
    finding (1, 0, -1 uncertain, blank unknown).
    Errors: `DataError` naming the file and row for whatever does not fit.
    """
    root = Path(path)
    files = _index_images(root / "images")
    found = _FolderAnnotations(files, dict.fromkeys(files.values()))
    _add_masks(root, canonical_name(finding) if finding else "", found)
    _add_boxes(root / "boxes.csv", found)
    _add_points(root / "points.csv", found)
    labels, warnings = _read_labels(root / "labels.csv", files)
    named = [name for row in labels.values() for name in row.findings]
    if not any(row.patient for row in labels.values()):
        warnings.append("no patients are named (labels.csv, column patient): each image counts as a patient of its own")
    readers = dict.fromkeys(reader for _, _, reader in found.entries)
    return Dataset(
        name="folder",
        spec=f"folder:{path}" + (f"?finding={finding}" if finding else ""),
        findings=tuple(dict.fromkeys([*named, *(finding for _, finding, _ in found.entries)])),
        radiographs=tuple(_make_radiograph(name, file, labels.get(name, _LabelRow())) for name, file in files.items()),
        annotation=found,
        readers=("truth", *(reader for reader in readers if reader != "truth")) if readers else (),
        files=tuple(root / name for name in ("images", "boxes.csv", "points.csv", "labels.csv")) + _mask_folders(root),
        metadata={"license": "yours", "warnings": tuple(warnings)},
    )


@dataclass(frozen=True, slots=True)
class _FolderAnnotations:
    """`Dataset.annotation`: image headers are opened when a mark is asked for."""

    files: Mapping[str, Path]
    _sizes: dict[Path, Size | None] = field(repr=False)
    entries: dict[AnnotationKey, tuple[AnnotationKind, Path | Array]] = field(default_factory=dict)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        if (radiograph, finding, reader) not in self.entries:
            return None
        kind, value = self.entries[radiograph, finding, reader]
        read = partial(_read_mask, value) if isinstance(value, Path) else value.copy
        return Annotation(radiograph, finding, reader, kind, self.size(radiograph), read)

    def size(self, radiograph: str) -> Size:
        file = self.files[radiograph]
        size = self._sizes[file] = self._sizes[file] or images.read_size(file)
        return size

    def add(self, key: AnnotationKey, kind: AnnotationKind, value: Path | Array, location: str) -> None:
        if key in self.entries:
            radiograph, finding, reader = key
            raise DataError(
                f"{location}: {finding!r} on {radiograph!r} is marked a second time by {reader!r}; remove one"
            )
        self.entries[key] = kind, value


def _read_mask(file: Path) -> Array:
    return images.read_image(file) > 0


def _index_images(directory: Path) -> dict[str, Path]:
    """Radiograph id -> file."""
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; put the radiographs there, as NAME.png, .jpg or .dcm")
    files: dict[str, Path] = {}
    for file in find_images([directory]).values():
        if file.stem in files:
            raise DataError(f"{files[file.stem]} and {file} would share the id {file.stem!r}; rename one")
        files[file.stem] = file
    if not files:
        raise DataError(f"{directory} holds no image; allowed: {', '.join(images.SUFFIXES)}")
    return files


def _match_image(name: str, files: Mapping[str, Path]) -> str:
    """Id of the image that a cell names, with or without its suffix. Errors: `DataError`, without a place."""
    if name in files:
        return name
    stem = name.rpartition(".")[0]
    if stem in files and files[stem].name == name:
        return stem
    near = difflib.get_close_matches(name, [file.name for file in files.values()], 1, 0.7)
    hint = f"; is {near[0]} meant?" if near else f"; there is, for example, {next(iter(files.values())).name}"
    raise DataError(f"no image in images/ is called {name!r}{hint}")


def _row_images(table: CsvTable, files: Mapping[str, Path]) -> list[str]:
    """Radiograph id of every row."""
    ids = []
    for at, name in enumerate(table.text("image")):
        try:
            ids.append(_match_image(name, files))
        except DataError as error:
            raise table.error(table.row_number(at), str(error)) from error
    return ids


def _mask_folders(root: Path) -> tuple[Path, ...]:
    return tuple(sorted([*root.glob("masks"), *root.glob("masks_*")]))


def _add_masks(root: Path, flat_finding: str, annotations: _FolderAnnotations) -> None:
    for directory in _mask_folders(root):
        reader = directory.name.partition("_")[2] or "truth"
        if not directory.is_dir():
            raise DataError(f"{directory} is a file; masks belong in {directory.name}/FINDING/NAME.png")
        for child in sorted(directory.iterdir()):
            if child.is_dir():
                for file in sorted(child.iterdir()):
                    _add_mask(file, canonical_name(child.name), reader, annotations)
            elif flat_finding:
                _add_mask(child, flat_finding, reader, annotations)
            elif not child.name.startswith("."):
                raise DataError(
                    f"{child} says nothing of its finding; put it into a folder named after the finding "
                    f"({directory.name}/FINDING/{child.name}) or name it in the spec (folder:{root}?finding=FINDING)"
                )


def _add_mask(file: Path, finding: str, reader: str, annotations: _FolderAnnotations) -> None:
    if file.name.startswith("."):  # what file managers leave behind
        return
    if file.suffix.lower() != ".png":
        raise DataError(f"{file} is no PNG; masks need a format that keeps every pixel (JPEG blurs edges)")
    try:
        radiograph = _match_image(file.stem, annotations.files)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    annotations.add((radiograph, finding, reader), "region", file, str(file))


def _add_boxes(file: Path, annotations: _FolderAnnotations) -> None:
    if not file.is_file():
        return
    table = read_csv(file, ("image", "finding", *BOX_COLUMNS))
    boxes = table.boxes(BOX_COLUMNS)  # (N, 4)
    _add_rows(table, boxes, "boxes", annotations)


def _add_points(file: Path, annotations: _FolderAnnotations) -> None:
    if not file.is_file():
        return
    table = read_csv(file, ("image", "finding", "x", "y"))
    points = np.stack([table.numbers("y"), table.numbers("x")], axis=1)  # (N, 2)
    _add_rows(table, points, "points", annotations)


def _add_rows(table: CsvTable, values: Array, kind: AnnotationKind, annotations: _FolderAnnotations) -> None:
    """Rows that share (image, finding, reader) become one mark."""
    table.require_filled("finding")
    readers = table.text("reader") if "reader" in table.rows.columns else [""] * len(table.rows)
    columns = (_row_images(table, annotations.files), table.text("finding"), readers, values)
    grouped: dict[AnnotationKey, list[Array]] = {}
    for at, (radiograph, finding, reader, value) in enumerate(zip(*columns, strict=True)):
        if np.isnan(value).any():
            raise table.error(
                table.row_number(at), "a coordinate is blank; leave out rows of images without this finding"
            )
        outside = (_box_outside_message if kind == "boxes" else _point_outside_message)(
            value, annotations.size(radiograph)
        )
        if outside:
            raise table.error(table.row_number(at), outside)
        grouped.setdefault((radiograph, canonical_name(finding), reader or "truth"), []).append(value)
    for key, group in grouped.items():
        annotations.add(key, kind, np.stack(group), str(table.path))


def _box_outside_message(box: Array, size: Size) -> str:
    """What to say of a box (top, left, bottom, right) that leaves the image; '' if it does not."""
    top, left, bottom, right = box
    inside = top >= 0 and left >= 0 and bottom <= size[0] and right <= size[1]
    return "" if inside else describe_outside_box(np.array([left, top, right - left, bottom - top]), size)


def _point_outside_message(point: Array, size: Size) -> str:
    row, col = point
    inside = 0 <= row < size[0] and 0 <= col < size[1]
    return (
        "" if inside else f"x {col:g}, y {row:g} leaves the image, which is {size[1]} wide and {size[0]} high (pixels)"
    )


@dataclass(frozen=True, slots=True)
class _LabelRow:
    """What labels.csv says of one image."""

    patient: str = ""
    study: str = ""
    view: str = ""
    split: str = ""
    findings: Mapping[str, float] = field(default_factory=dict)


def _make_radiograph(name: str, file: Path, row: _LabelRow) -> Radiograph:
    return Radiograph(
        id=name,
        patient=row.patient or name,
        read=partial(images.read_image, file),
        study=row.study,
        view=row.view,
        split=row.split,
        labels=row.findings,
        metadata={"path": str(file)},
    )


def _read_labels(file: Path, files: Mapping[str, Path]) -> tuple[dict[str, _LabelRow], list[str]]:
    """Radiograph id -> row, and what to warn of."""
    if not file.is_file():
        return {}, []
    table = read_csv(file, ("image",))
    findings = {column: canonical_name(column) for column in table.rows.columns if column not in METADATA_COLUMNS}
    values = {name: table.labels(column) for column, name in findings.items()}
    texts = {column: table.text(column) for column in METADATA_COLUMNS[1:] if column in table.rows.columns}
    if "patient" in texts:
        table.require_filled("patient")
    rows: dict[str, _LabelRow] = {}
    before: dict[str, int] = {}
    for at, name in enumerate(_row_images(table, files)):
        if name in rows:
            raise table.error(table.row_number(at), f"image {name!r} is already in row {before[name]}; remove one")
        before[name] = table.row_number(at)
        labels = {finding: float(column[at]) for finding, column in values.items()}
        rows[name] = _LabelRow(**{column: cells[at] for column, cells in texts.items()}, findings=labels)
    absent = [name for name in files if name not in rows]
    warnings = [f"{len(absent)} images are not in {file}, such as {absent[0]}: labels unknown"] if absent else []
    return rows, warnings
