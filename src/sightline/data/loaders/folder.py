"""Loader of a folder of your own: images, with masks or CSV files of boxes or points."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, AnnotationKind, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import CsvTable, describe_outside_box, read_csv
from sightline.data.loaders.image_index import find_images
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files

RECORD_COLUMNS = ("image", "patient", "study", "view", "split")
"""Columns of labels.csv that are fields of a radiograph."""
METADATA_COLUMNS = ("sex", "age", "projection")
"""Columns of labels.csv that are metadata of a radiograph; every other column is a finding."""
VIEWS = {"": "", "frontal": "frontal", "ap": "frontal", "pa": "frontal", "lateral": "lateral", "ll": "lateral"}
"""Cell of the column view, in lower case -> view."""
BOX_COLUMNS = ("x", "y", "width", "height")
AnnotationKey = tuple[str, str, str]
"""(radiograph id, finding, reader)"""


@datasets("folder", title="A folder of your own", source="yours", license="yours")
def load_folder(path: str, finding: str = "") -> Dataset:
    """Open a folder of your own: images/ and, all optional, masks/, boxes.csv, points.csv and labels.csv.

    - images/NAME.png (.jpg, .jpeg, .dcm): NAME is the radiograph's id.
    - masks/FINDING/NAME.png: mask of the image's size, the finding where not 0; masks_READER/FINDING/NAME.png: by
      another reader. Masks of a single finding may lie in masks/ itself, if the option `finding` names it.
    - boxes.csv: columns image, finding, x, y, width, height; points.csv: image, finding, x, y; both in pixels of the
      image, x to the right and y down from the top-left corner, and with an optional column reader ('truth' if blank).
    - labels.csv: image, then optional patient, study, view (frontal or lateral; AP, PA and LL are understood), split,
      sex, age, projection, and one column per finding (1, 0, -1 uncertain, blank unknown).

    Parameters
    ----------
    path : str
        The folder.
    finding : str
        Finding of the masks that lie in masks/ itself.

    Raises
    ------
    DataError
        If a file or row does not fit this layout; it is named.
    """
    root = Path(path)
    files = _index_images(root / "images")
    annotations = _FolderAnnotations(files, dict.fromkeys(files.values()))
    _add_masks(root, canonical_name(finding) if finding else "", annotations)
    _add_boxes(root / "boxes.csv", annotations)
    _add_points(root / "points.csv", annotations)
    labels, warnings = _read_labels(root / "labels.csv", files)
    labeled = [name for row in labels.values() for name in row.findings]
    if not any(row.patient for row in labels.values()):
        warnings.append("no patients are named (labels.csv, column patient): each image counts as a patient of its own")
    readers = dict.fromkeys(reader for _, _, reader in annotations.entries)
    return Dataset(
        name="folder",
        spec=f"folder:{path}" + (f"?finding={finding}" if finding else ""),
        findings=tuple(dict.fromkeys([*labeled, *(finding for _, finding, _ in annotations.entries)])),
        radiographs=tuple(_make_radiograph(name, file, labels.get(name, _LabelRow())) for name, file in files.items()),
        annotation=annotations,
        readers=tuple(dict.fromkeys((REFERENCE_READER, *readers))) if readers else (),
        files=tuple(root / name for name in ("images", "boxes.csv", "points.csv", "labels.csv")) + _mask_folders(root),
        metadata={"license": "yours", "warnings": tuple(warnings)},
    )


@dataclass(frozen=True, slots=True)
class _FolderAnnotations:
    """`Dataset.annotation`: image headers are read when an annotation is asked for."""

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
        size = self._sizes[file] = self._sizes[file] or image_files.read_size(file)
        return size

    def add(self, key: AnnotationKey, kind: AnnotationKind, value: Path | Array, location: str) -> None:
        if key in self.entries:
            radiograph, finding, reader = key
            raise DataError(
                f"{location}: {finding!r} on {radiograph!r} is annotated a second time by {reader!r}; remove one"
            )
        self.entries[key] = kind, value


def _read_mask(file: Path) -> Array:
    return image_files.read_image(file) > 0


def _index_images(directory: Path) -> dict[str, Path]:
    """Return radiograph id -> file."""
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; put the radiographs there, as NAME.png, .jpg or .dcm")
    files: dict[str, Path] = {}
    for file in find_images([directory]).values():
        if file.stem in files:
            raise DataError(f"{files[file.stem]} and {file} would share the id {file.stem!r}; rename one")
        files[file.stem] = file
    if not files:
        raise DataError(f"{directory} holds no image; allowed: {', '.join(image_files.SUFFIXES)}")
    return files


def _match_image(name: str, files: Mapping[str, Path]) -> str:
    """Return the id of the image that a cell names, with or without its suffix; the error does not name the row."""
    if name in files:
        return name
    stem = name.rpartition(".")[0]
    if stem in files and files[stem].name == name:
        return stem
    similar = difflib.get_close_matches(name, [file.name for file in files.values()], 1, 0.7)
    hint = f"did you mean {similar[0]}?" if similar else f"an image is, for example, {next(iter(files.values())).name}"
    raise DataError(f"no image in images/ is called {name!r}; {hint}")


def _row_images(table: CsvTable, files: Mapping[str, Path]) -> list[str]:
    """Return the radiograph id of every row."""
    ids = []
    for row, name in enumerate(table.text("image")):
        try:
            ids.append(_match_image(name, files))
        except DataError as error:
            raise table.error(table.row_number(row), str(error)) from error
    return ids


def _mask_folders(root: Path) -> tuple[Path, ...]:
    return tuple(sorted([*root.glob("masks"), *root.glob("masks_*")]))


def _add_masks(root: Path, flat_finding: str, annotations: _FolderAnnotations) -> None:
    for directory in _mask_folders(root):
        reader = directory.name.partition("_")[2] or REFERENCE_READER
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
                    f"{child} does not name its finding; put it into a folder named after the finding "
                    f"({directory.name}/FINDING/{child.name}) or name it in the spec (folder:{root}?finding=FINDING)"
                )


def _add_mask(file: Path, finding: str, reader: str, annotations: _FolderAnnotations) -> None:
    if file.name.startswith("."):  # what file managers leave behind
        return
    if file.suffix.lower() != ".png":
        raise DataError(f"{file} is not a PNG; masks need a format that keeps every pixel (JPEG blurs edges)")
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
    """Add an annotation for the rows that share (image, finding, reader)."""
    table.require_filled("finding")
    readers = table.text("reader") if "reader" in table.rows.columns else [""] * len(table.rows)
    columns = (_row_images(table, annotations.files), table.text("finding"), readers, values)
    grouped: dict[AnnotationKey, list[Array]] = {}
    describe_outside = _describe_box_outside if kind == "boxes" else _describe_point_outside
    for i, (radiograph, finding, reader, value) in enumerate(zip(*columns, strict=True)):
        row = table.row_number(i)
        if np.isnan(value).any():
            raise table.error(row, "a coordinate is blank; leave out rows of images without this finding")
        if message := describe_outside(value, annotations.size(radiograph)):
            raise table.error(row, message)
        grouped.setdefault((radiograph, canonical_name(finding), reader or REFERENCE_READER), []).append(value)
    for key, group in grouped.items():
        annotations.add(key, kind, np.stack(group), str(table.path))


def _describe_box_outside(box: Array, size: Size) -> str:
    """Describe a box (top, left, bottom, right) that leaves the image; '' if it does not."""
    top, left, bottom, right = box
    inside = top >= 0 and left >= 0 and bottom <= size[0] and right <= size[1]
    return "" if inside else describe_outside_box(np.array([left, top, right - left, bottom - top]), size)


def _describe_point_outside(point: Array, size: Size) -> str:
    row, col = point
    inside = 0 <= row < size[0] and 0 <= col < size[1]
    if inside:
        return ""
    return f"x {col:g}, y {row:g} leaves the image, which is {size[1]} wide and {size[0]} high (pixels)"


@dataclass(frozen=True, slots=True)
class _LabelRow:
    """Row of labels.csv."""

    patient: str = ""
    study: str = ""
    view: str = ""
    split: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, float] = field(default_factory=dict)


def _make_radiograph(name: str, file: Path, row: _LabelRow) -> Radiograph:
    return Radiograph(
        id=name,
        patient=row.patient or name,
        read=partial(image_files.read_image, file),
        study=row.study,
        view=row.view,
        split=row.split,
        labels=row.findings,
        metadata={"path": str(file), **row.metadata},
    )


def _read_labels(file: Path, files: Mapping[str, Path]) -> tuple[dict[str, _LabelRow], list[str]]:
    """Return radiograph id -> row, and warnings."""
    if not file.is_file():
        return {}, []
    table = read_csv(file, ("image",))
    known = (*RECORD_COLUMNS, *METADATA_COLUMNS)
    findings = {column: canonical_name(column) for column in table.rows.columns if column not in known}
    values = {name: table.labels(column) for column, name in findings.items()}
    texts = {column: table.text(column) for column in RECORD_COLUMNS[1:] if column in table.rows.columns}
    if "view" in texts:
        texts["view"] = _parse_views(table)
    metadata = {column: table.text(column) for column in METADATA_COLUMNS if column in table.rows.columns}
    if "patient" in texts:
        table.require_filled("patient")
    rows: dict[str, _LabelRow] = {}
    row_numbers: dict[str, int] = {}
    for i, name in enumerate(_row_images(table, files)):
        if name in rows:
            raise table.error(table.row_number(i), f"image {name!r} is already in row {row_numbers[name]}; remove one")
        row_numbers[name] = table.row_number(i)
        labels = {finding: float(column[i]) for finding, column in values.items()}
        stated = {column: cells[i] for column, cells in metadata.items() if cells[i]}
        record = {column: cells[i] for column, cells in texts.items()}
        rows[name] = _LabelRow(**record, metadata=stated, findings=labels)
    unlabeled = [name for name in files if name not in rows]
    warnings = (
        [f"{len(unlabeled)} images are not in {file}, such as {unlabeled[0]}: labels unknown"] if unlabeled else []
    )
    return rows, warnings


def _parse_views(table: CsvTable) -> list[str]:
    """Return the views of the column view; `DataError` for a cell that is no view."""
    cells = table.text("view")
    for i, cell in enumerate(cells):
        if cell.strip().lower() not in VIEWS:
            allowed = "frontal, lateral, AP, PA, LL, or blank"
            raise table.error(table.row_number(i), f"view is {cell!r}; allowed: {allowed}")
    return [VIEWS[cell.strip().lower()] for cell in cells]
