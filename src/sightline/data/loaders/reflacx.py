"""REFLACX: readings of MIMIC-CXR by five radiologists: fixations, dictation, ellipses around abnormalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.gaze import ALL_GAZE, Gaze, Phrase, annotation_from_mentions
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.rsna import handle_missing_images
from sightline.data.registry import datasets
from sightline.data.splits import apply_split
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files

ANNOTATION_READERS = tuple(f"reading {number}" for number in range(1, 6))
GAZE_READERS = tuple(f"gaze {number}" for number in range(1, 6))
CHEST_REGION = "Chest"
FIXATION_COLUMNS = (
    "X_POSITION",
    "Y_POSITION",
    "TIMESTAMP_START_FIXATION",
    "TIMESTAMP_END_FIXATION",
    "PUPIL_AREA_NORMALIZED",
    "ANGULAR_RESOLUTION_X_PIXELS_PER_DEGREE",
    "ANGULAR_RESOLUTION_Y_PIXELS_PER_DEGREE",
    "YMIN_SHOWN_FROM_IMAGE",
    "XMIN_SHOWN_FROM_IMAGE",
    "YMAX_SHOWN_FROM_IMAGE",
    "XMAX_SHOWN_FROM_IMAGE",
)
METADATA_COLUMNS = (
    "id",
    "split",
    "eye_tracking_data_discarded",
    "image",
    "dicom_id",
    "subject_id",
    "image_size_x",
    "image_size_y",
    "reader",
    "Quality issue",
    "Other",
)
"""Columns of the metadata that are no labels."""
FINDING_NAMES = {
    "Enlarged cardiac silhouette": "Cardiomegaly",
    "Pulmonary edema": "Edema",
    "Acute fracture": "Fracture",
    "Lung nodule or mass": "Lung Lesion",
}
_SPLIT_NAMES = {"valid": "val", "validate": "val", "validation": "val"}
"""REFLACX's name -> ours, where it is not the same but for capitals."""
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Bigolin Lanfredi et al. 2022, 10.1038/s41597-022-01441-z; https://doi.org/10.13026/e0dj-8498"


@dataclass(frozen=True, slots=True)
class ReadingRecord:
    """One radiologist before one image: a row of the metadata."""

    folder: Path
    image: str
    patient: str
    split: str
    image_path: str
    size: Size
    has_gaze: bool
    """Whether the eye tracking was kept."""
    certainties: Mapping[str, float] = field(repr=False)
    """Finding -> 0 (not mentioned) to 5."""


@datasets("reflacx", title="REFLACX: reports and eye tracking of chest X-rays", source=CITATION, license=LICENSE)
def load_reflacx(
    path: str,
    images: str = "",
    missing: str = "keep",
    phases: str = "",
    certainty: float = 3.0,
    split: str = "all",
) -> Dataset:
    """REFLACX: DIR (or DIR/main_data) holds metadata_phase_1.csv to _3.csv, and a folder for every reading.

    phases: those to keep, as in 1,2; all that are there by default.
    images: folder that the column `image` starts from (MIMIC-CXR), by default DIR; DICOM, or JPEG or PNG in its place.
    A finding counts as present if half of an image's readings state it with `certainty` (1 to 5) or more. Readings of
    one image are 'reading 1' and so on, in the order of the tables, those whose eye tracking was discarded last; their
    marks are the insides of ellipses, and the region 'Chest'. 'gaze 1' is the gaze of 'reading 1' and its density while
    a finding was spoken of. missing: as in `rsna`. split: 'train', 'val', 'test' or 'all', as the tables state it.
    Errors: `DataError` for files that are not of this layout.
    """
    root = Path(path)
    home = next((p for p in (root, root / "main_data") if any(p.glob("metadata_phase_*.csv"))), root)
    stated = [home / f"metadata_phase_{phase.strip()}.csv" for phase in phases.split(",") if phase.strip()]
    sheets = stated or sorted(home.glob("metadata_phase_*.csv"))
    if not sheets:
        raise DataError(f"{root} holds no metadata_phase_1.csv, _2 or _3; give the folder of the REFLACX download")
    tables = [read_csv(sheet, ("id", "dicom_id", "image")) for sheet in sheets]
    rows = [row for table in tables for row in _read_rows(table, home)]
    names = list(dict.fromkeys(row.image for row in rows))
    base = Path(images) if images else root
    files = {row.image: file for row in rows if (file := _find_image(base, row)) is not None}
    listed, warnings = handle_missing_images(names, files, missing, base)
    findings = tuple(sorted({finding for row in rows for finding in row.certainties}))
    by_image = _group_by_image(rows)
    radiographs = [_make_radiograph(by_image[name], files.get(name), base, findings, certainty) for name in listed]
    known = {name: by_image[name][0].split for name in names if by_image[name][0].split}
    discarded = sum(not row.has_gaze for row in rows)
    warnings += [f"the eye tracking of {discarded} of {len(rows)} readings was discarded"] if discarded else []
    return Dataset(
        name="reflacx",
        spec=f"reflacx:{path}?images={images}&missing={missing}&phases={phases}&certainty={certainty}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, known, split),
        annotation=ReflacxAnnotations({name: tuple(some) for name, some in by_image.items()}),
        readers=ANNOTATION_READERS,
        regions=(CHEST_REGION,),
        gaze_readers=GAZE_READERS,
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


def _read_rows(table: CsvTable, folder: Path) -> list[ReadingRecord]:
    """Errors: `DataError` for a size or a certainty that is none."""
    table.require_unique("id")
    cells = {name: table.text(name) for name in table.rows.columns}
    nothing = [""] * len(table.rows)
    widths, heights = (
        table.numbers(c) if c in cells else np.full(len(nothing), np.nan) for c in ("image_size_x", "image_size_y")
    )
    labels = {_column_finding(c): _read_certainties(table, c) for c in cells if c not in METADATA_COLUMNS}
    found = []
    for at, name in enumerate(cells["dicom_id"]):
        discarded = cells.get("eye_tracking_data_discarded", nothing)[at].lower() in ("true", "1")
        size = (int(heights[at]), int(widths[at])) if np.isfinite(heights[at] + widths[at]) else (0, 0)
        split = cells.get("split", nothing)[at].lower()
        found.append(
            ReadingRecord(
                folder / cells["id"][at],
                name,
                cells.get("subject_id", nothing)[at] or name,
                _SPLIT_NAMES.get(split, split),
                cells["image"][at],
                size,
                not discarded,
                {finding: float(values[at]) for finding, values in labels.items()},
            )
        )
    return found


def _column_finding(column: str) -> str:
    return canonical_name(FINDING_NAMES.get(column, column.title()))


def _read_certainties(table: CsvTable, column: str) -> Array:
    """float64 (n,): 0 to 5; True is 5, False and blank are 0."""
    cells = [{"true": "5", "false": "0", "": "0"}.get(cell.lower(), cell) for cell in table.text(column)]
    try:
        values = np.array(cells, float)
    except ValueError as error:
        bad = next(i for i, cell in enumerate(cells) if not cell.replace(".", "", 1).isdigit())
        raise table.error(
            table.row_number(bad), f"{column} is {cells[bad]!r}; a certainty of 0 to 5 was expected"
        ) from error
    return values


def _find_image(base: Path, row: ReadingRecord) -> Path | None:
    tails = [row.image_path, row.image_path.partition("files/")[2]]  # stated from the root of PhysioNet's mirror
    places = [base / tail for tail in tails if tail]
    places += [p.with_suffix(s) for p in places for s in (".dcm", ".jpg", ".png")]
    places += [base / f"{row.image}{s}" for s in (".dcm", ".jpg", ".png")]
    return next((p for p in places if p.is_file()), None)


def _group_by_image(rows: Sequence[ReadingRecord]) -> dict[str, list[ReadingRecord]]:
    """The readings of each image, those with eye tracking first."""
    found: dict[str, list[ReadingRecord]] = {}
    for row in sorted(rows, key=lambda r: not r.has_gaze):
        found.setdefault(row.image, []).append(row)
    return found


def _make_radiograph(
    readings: Sequence[ReadingRecord], file: Path | None, base: Path, findings: Sequence[str], certainty: float
) -> Radiograph:
    first = readings[0]
    votes = {f: np.mean([r.certainties.get(f, 0.0) >= certainty for r in readings]) for f in findings}
    return Radiograph(
        id=first.image,
        patient=first.patient,
        read=partial(image_files.read_image, file or base / first.image_path),
        view="frontal",
        size=first.size if all(first.size) else None,
        labels={finding: float(share >= 0.5) for finding, share in votes.items()},
        metadata={"readings": tuple(r.folder.name for r in readings)},
    )


@dataclass(frozen=True, slots=True)
class ReflacxAnnotations:
    """`Dataset.annotation`: gaze and ellipses, read when asked."""

    readings: Mapping[str, tuple[ReadingRecord, ...]] = field(repr=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        kind = GAZE_READERS if reader in GAZE_READERS else ANNOTATION_READERS
        number = kind.index(reader) if reader in kind else len(kind)
        if number >= len(self.readings.get(radiograph, ())):
            return None
        r = self.readings[radiograph][number]
        if not all(r.size):
            return None
        if kind is GAZE_READERS:
            return _gaze_annotation(r, finding, reader)
        return _chest_annotation(r, reader) if finding == CHEST_REGION else _ellipse_annotation(r, finding, reader)


def _gaze_annotation(r: ReadingRecord, finding: str, reader: str) -> Annotation | None:
    if not r.has_gaze or not (r.folder / "fixations.csv").is_file() or finding == CHEST_REGION:
        return None
    if finding == ALL_GAZE:
        return Annotation(r.image, ALL_GAZE, reader, "fixations", r.size, partial(read_gaze, r, reader))
    return annotation_from_mentions(read_gaze(r, reader), finding)


def read_gaze(r: ReadingRecord, reader: str) -> Gaze:
    """The fixations of a reading, also none. Errors: `DataError` for a table that is none."""
    table = read_csv(r.folder / "fixations.csv", ("x_position", "y_position"), may_be_empty=True)
    n = {
        c: table.numbers(low) if (low := c.lower()) in table.rows else np.full(len(table.rows), np.nan)
        for c in FIXATION_COLUMNS
    }
    begin, end = n["TIMESTAMP_START_FIXATION"], n["TIMESTAMP_END_FIXATION"]
    degree = np.stack([n[f"ANGULAR_RESOLUTION_{axis}_PIXELS_PER_DEGREE"] for axis in "YX"], 1)
    typical = np.nanmedian(degree) if np.isfinite(degree).any() else np.nan
    if len(table.rows) and not typical > 0:
        raise DataError(f"{table.path}: no row states the pixels per degree of visual angle; get the complete file")
    shown = np.stack([n[c] for c in FIXATION_COLUMNS[-4:]], 1)
    whole = np.array([0, 0, *r.size], float)
    shown = np.where(np.isfinite(shown), np.clip(shown, 0, whole[[2, 3, 2, 3]]), whole)
    phrases, trouble = _read_phrases(r.folder / "timestamps_transcription.csv")
    found = Gaze.from_fixations(
        r.image,
        reader,
        r.size,
        np.stack([n["Y_POSITION"], n["X_POSITION"]], 1),
        begin,
        end - begin,
        np.where(degree > 0, degree, typical),
        shown,
        n["PUPIL_AREA_NORMALIZED"],
        phrases,
    )
    return replace(found, excluded_counts={**found.excluded_counts, trouble: 1}) if trouble else found


def _read_phrases(file: Path) -> tuple[tuple[Phrase, ...], str]:
    """Sentences, made of the words' times, and what is wrong with the file."""
    if not file.is_file():
        return (), "transcripts that are missing"
    try:
        table = read_csv(file, ("word", "timestamp_start_word", "timestamp_end_word"))
        begin, end = table.numbers("timestamp_start_word"), table.numbers("timestamp_end_word")
    except DataError:
        return (), "transcripts that cannot be read"
    found: list[Phrase] = []
    words: list[str] = []
    start = np.nan
    for word, first, last in zip(table.text("word"), begin.tolist(), end.tolist(), strict=True):
        start = first if not words else start
        words.append(word)
        if word.endswith("."):
            found.append(Phrase(" ".join(words), start, last))
            words = []
    if words:
        found.append(Phrase(" ".join(words), start, float(end[-1])))
    return tuple(found), ""


def _chest_annotation(r: ReadingRecord, reader: str) -> Annotation | None:
    file = r.folder / "chest_bounding_box.csv"
    if not file.is_file():
        return None
    table = read_csv(file, ("xmin", "ymin", "xmax", "ymax"), may_be_empty=True)
    box = np.stack([table.numbers(c) for c in ("ymin", "xmin", "ymax", "xmax")], 1)[:1]
    if not len(box):
        return None
    return Annotation(r.image, CHEST_REGION, reader, "boxes", r.size, box.copy)


def _ellipse_annotation(r: ReadingRecord, finding: str, reader: str) -> Annotation | None:
    """What lies inside the ellipses that name a finding; None without any."""
    file = r.folder / "anomaly_location_ellipses.csv"
    if not file.is_file():
        return None
    table = read_csv(file, ("xmin", "ymin", "xmax", "ymax"), may_be_empty=True)  # empty: nothing abnormal
    columns = [c for c in table.rows.columns if _column_finding(str(c)) == finding]
    if not columns:
        return None
    named = np.array([cell.lower() == "true" for cell in table.text(columns[0])], bool)
    boxes = np.stack([table.numbers(c) for c in ("ymin", "xmin", "ymax", "xmax")], 1)[named]
    if not len(boxes):
        return None
    return Annotation(
        r.image, finding, reader, "region", r.size, partial(ellipses_to_mask, boxes, r.size), n_outlines=len(boxes)
    )


def ellipses_to_mask(boxes: Array, size: Size) -> Array:
    """Pixels whose centers lie in an ellipse inscribed in one of the boxes (K, 4): bool (H, W)."""
    rows, cols = np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None] + 0.5
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        height, width = max(bottom - top, 1e-9) / 2, max(right - left, 1e-9) / 2
        mask |= ((rows - (top + bottom) / 2) / height) ** 2 + ((cols - (left + right) / 2) / width) ** 2 <= 1
    return mask
