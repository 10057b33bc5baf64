"""Loader of REFLACX: readings of MIMIC-CXR by five radiologists, with gaze, dictation, and ellipses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.gaze import ALL_GAZE, Gaze, Phrase, annotation_from_mentions
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.image_index import first_file, handle_missing_images
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
"""Columns of the metadata that are not labels."""
FINDING_NAMES = {
    "Enlarged cardiac silhouette": "Cardiomegaly",
    "Pulmonary edema": "Edema",
    "Acute fracture": "Fracture",
    "Lung nodule or mass": "Lung Lesion",
}
"""Name in REFLACX -> finding, where they differ not only in capitals."""
_SPLIT_NAMES = {"valid": "val", "validate": "val", "validation": "val"}
"""Split of the tables -> split, where the names differ."""
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Bigolin Lanfredi et al. 2022, 10.1038/s41597-022-01441-z; https://doi.org/10.13026/e0dj-8498"


@dataclass(frozen=True, slots=True)
class ReadingRecord:
    """Reading of one image by one radiologist: a row of the metadata."""

    folder: Path
    """Folder of the files of the reading."""
    image: str
    """Id of the image."""
    patient: str
    split: str
    image_path: str
    size: Size
    """(H, W) of the image; (0, 0) where not stated."""
    has_gaze: bool
    """True if the eye tracking was not discarded."""
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
    """Open REFLACX: metadata_phase_1.csv to _3.csv and a folder for every reading, in DIR or DIR/main_data.

    A finding is present if half of the readings of an image state it with at least the certainty of the option.
    Readings of an image are the readers 'reading 1' and so on, in order of the tables, those with discarded eye
    tracking last; their annotations are the insides of ellipses, and the region 'Chest'. 'reading 1' is the reference;
    with `reference=majority` or `reference=staple` it is a combination of all readings, each of which is scored against
    the others. The tables do not say who read: 'reading 2' of two images may be of two people. The reader 'gaze 1' has
    the gaze of 'reading 1', and its density while a finding was mentioned.

    Parameters
    ----------
    path : str
        Folder of the download.
    images : str
        Folder that the column `image` starts from (MIMIC-CXR), by default `path`; DICOM, or JPEG or PNG in its place.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.
    phases : str
        Phases to keep, such as '1,2'; by default all that exist.
    certainty : float
        Least certainty of a finding that counts as stated, 1 to 5.
    split : {'all', 'train', 'val', 'test'}
        Split to keep, as in the tables.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
    """
    root = Path(path)
    records = _read_phases(root, phases)
    names = list(dict.fromkeys(record.image for record in records))
    base = Path(images) if images else root
    files = {record.image: file for record in records if (file := _find_image(base, record)) is not None}
    listed, warnings = handle_missing_images(names, files, missing, base)
    findings = tuple(sorted({finding for record in records for finding in record.certainties}))
    by_image = _group_by_image(records)
    radiographs = [_make_radiograph(by_image[name], files.get(name), base, findings, certainty) for name in listed]
    splits = {name: by_image[name][0].split for name in names if by_image[name][0].split}
    discarded = sum(not record.has_gaze for record in records)
    warnings += [f"the eye tracking of {discarded} of {len(records)} readings was discarded"] if discarded else []
    return Dataset(
        name="reflacx",
        spec=f"reflacx:{path}?images={images}&missing={missing}&phases={phases}&certainty={certainty}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, splits, split),
        annotation=ReflacxAnnotations({name: tuple(readings) for name, readings in by_image.items()}),
        readers=ANNOTATION_READERS,
        readers_of=partial(_names_of_readings, by_image),
        regions=(CHEST_REGION,),
        gaze_readers=GAZE_READERS,
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


def _read_phases(root: Path, phases: str) -> list[ReadingRecord]:
    """Read the readings of all phases, or of those that the option lists."""
    folder = next((p for p in (root, root / "main_data") if any(p.glob("metadata_phase_*.csv"))), root)
    chosen = [folder / f"metadata_phase_{phase.strip()}.csv" for phase in phases.split(",") if phase.strip()]
    files = chosen or sorted(folder.glob("metadata_phase_*.csv"))
    if not files:
        raise DataError(f"{root} holds no metadata_phase_1.csv, _2 or _3; give the folder of the REFLACX download")
    tables = [read_csv(file, ("id", "dicom_id", "image")) for file in files]
    return [record for table in tables for record in _read_records(table, folder)]


def _read_records(table: CsvTable, folder: Path) -> list[ReadingRecord]:
    table.require_unique("id")
    cells = {name: table.text(name) for name in table.rows.columns}
    blank = [""] * len(table.rows)
    widths, heights = (
        table.numbers(column) if column in cells else np.full(len(blank), np.nan)
        for column in ("image_size_x", "image_size_y")
    )
    certainties = {
        _column_finding(column): _read_certainties(table, column) for column in cells if column not in METADATA_COLUMNS
    }
    records = []
    for i, name in enumerate(cells["dicom_id"]):
        is_discarded = cells.get("eye_tracking_data_discarded", blank)[i].lower() in ("true", "1")
        size = (int(heights[i]), int(widths[i])) if np.isfinite(heights[i] + widths[i]) else (0, 0)
        split = cells.get("split", blank)[i].lower()
        records.append(
            ReadingRecord(
                folder / cells["id"][i],
                name,
                cells.get("subject_id", blank)[i] or name,
                _SPLIT_NAMES.get(split, split),
                cells["image"][i],
                size,
                not is_discarded,
                {finding: float(values[i]) for finding, values in certainties.items()},
            )
        )
    return records


def _column_finding(column: str) -> str:
    return canonical_name(FINDING_NAMES.get(column, column.title()))


def _read_certainties(table: CsvTable, column: str) -> Array:
    """Read certainties, float64 (N,): 0 to 5; True is 5, False and blank are 0."""
    cells = [{"true": "5", "false": "0", "": "0"}.get(cell.lower(), cell) for cell in table.text(column)]
    try:
        values = np.array(cells, float)
    except ValueError as error:
        row = next(i for i, cell in enumerate(cells) if not cell.replace(".", "", 1).isdigit())
        message = f"{column} is {cells[row]!r}; a certainty of 0 to 5 was expected"
        raise table.error(table.row_number(row), message) from error
    return values


def _find_image(base: Path, record: ReadingRecord) -> Path | None:
    suffixes = (".dcm", ".jpg", ".png")
    # Paths of the tables start at the root of PhysioNet's mirror; a copy may start at files/.
    paths = [record.image_path, record.image_path.partition("files/")[2]]
    candidates = [base / path for path in paths if path]
    candidates += [path.with_suffix(suffix) for path in candidates for suffix in suffixes]
    candidates += [base / f"{record.image}{suffix}" for suffix in suffixes]
    return first_file(candidates)


def _group_by_image(records: Sequence[ReadingRecord]) -> dict[str, list[ReadingRecord]]:
    """Group readings by image, those with eye tracking first."""
    readings: dict[str, list[ReadingRecord]] = {}
    for record in sorted(records, key=lambda record: not record.has_gaze):
        readings.setdefault(record.image, []).append(record)
    return readings


def _names_of_readings(readings: Mapping[str, Sequence[ReadingRecord]], radiograph: str) -> tuple[str, ...]:
    return ANNOTATION_READERS[: len(readings.get(radiograph, ()))]


def _make_radiograph(
    readings: Sequence[ReadingRecord], file: Path | None, base: Path, findings: Sequence[str], certainty: float
) -> Radiograph:
    first = readings[0]
    shares = {
        finding: np.mean([record.certainties.get(finding, 0.0) >= certainty for record in readings])
        for finding in findings
    }
    return Radiograph(
        id=first.image,
        patient=first.patient,
        read=partial(image_files.read_image, file or base / first.image_path),
        view="frontal",
        size=first.size if all(first.size) else None,
        labels={finding: float(share >= 0.5) for finding, share in shares.items()},
        metadata={"readings": tuple(record.folder.name for record in readings)},
    )


@dataclass(frozen=True, slots=True)
class ReflacxAnnotations:
    """`Dataset.annotation` from gaze and ellipses, read when asked for."""

    readings: Mapping[str, tuple[ReadingRecord, ...]] = field(repr=False)
    """Radiograph id -> its readings."""

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        names = GAZE_READERS if reader in GAZE_READERS else ANNOTATION_READERS
        number = names.index(reader) if reader in names else len(names)
        if number >= len(self.readings.get(radiograph, ())):
            return None
        record = self.readings[radiograph][number]
        if not all(record.size):
            return None
        if reader in GAZE_READERS:
            return _gaze_annotation(record, finding, reader)
        if finding == CHEST_REGION:
            return _chest_annotation(record, reader)
        return _ellipse_annotation(record, finding, reader)


def _gaze_annotation(record: ReadingRecord, finding: str, reader: str) -> Annotation | None:
    if not record.has_gaze or not (record.folder / "fixations.csv").is_file() or finding == CHEST_REGION:
        return None
    if finding == ALL_GAZE:
        return Annotation(record.image, ALL_GAZE, reader, "fixations", record.size, partial(read_gaze, record, reader))
    return annotation_from_mentions(read_gaze(record, reader), finding)


def read_gaze(record: ReadingRecord, reader: str) -> Gaze:
    """Read the gaze of a reading.

    Parameters
    ----------
    record : ReadingRecord
        The reading.
    reader : str
        Name for the reader.

    Returns
    -------
    Gaze
        Fixations; there may be none.

    Raises
    ------
    DataError
        If the table is invalid, or states no pixels per degree.
    """
    table = read_csv(record.folder / "fixations.csv", ("x_position", "y_position"), may_be_empty=True)
    unknown = np.full(len(table.rows), np.nan)
    values = {
        column: table.numbers(column.lower()) if column.lower() in table.rows else unknown
        for column in FIXATION_COLUMNS
    }
    begin, end = values["TIMESTAMP_START_FIXATION"], values["TIMESTAMP_END_FIXATION"]
    degree = np.stack([values[f"ANGULAR_RESOLUTION_{axis}_PIXELS_PER_DEGREE"] for axis in "YX"], 1)
    typical = np.nanmedian(degree) if np.isfinite(degree).any() else np.nan
    if len(table.rows) and not typical > 0:
        raise DataError(f"{table.path}: no row states the pixels per degree of visual angle; get the complete file")
    visible = np.stack([values[column] for column in FIXATION_COLUMNS[-4:]], 1)
    whole_image = np.array([0, 0, *record.size], float)
    visible = np.where(np.isfinite(visible), np.clip(visible, 0, whole_image[[2, 3, 2, 3]]), whole_image)
    phrases, problem = _read_phrases(record.folder / "timestamps_transcription.csv")
    gaze = Gaze.from_fixations(
        record.image,
        reader,
        record.size,
        np.stack([values["Y_POSITION"], values["X_POSITION"]], 1),
        begin,
        end - begin,
        np.where(degree > 0, degree, typical),
        visible,
        values["PUPIL_AREA_NORMALIZED"],
        phrases,
    )
    return replace(gaze, excluded_counts={**gaze.excluded_counts, problem: 1}) if problem else gaze


def _read_phrases(file: Path) -> tuple[tuple[Phrase, ...], str]:
    """Read the sentences of the dictation from its words, and the problem with the file, if any."""
    if not file.is_file():
        return (), "transcripts that are missing"
    try:
        table = read_csv(file, ("word", "timestamp_start_word", "timestamp_end_word"))
        begin, end = table.numbers("timestamp_start_word"), table.numbers("timestamp_end_word")
    except DataError:
        return (), "transcripts that cannot be read"
    phrases: list[Phrase] = []
    words: list[str] = []
    start = np.nan
    for word, word_begin, word_end in zip(table.text("word"), begin.tolist(), end.tolist(), strict=True):
        start = word_begin if not words else start
        words.append(word)
        if word.endswith("."):
            phrases.append(Phrase(" ".join(words), start, word_end))
            words = []
    if words:
        phrases.append(Phrase(" ".join(words), start, float(end[-1])))
    return tuple(phrases), ""


def _chest_annotation(record: ReadingRecord, reader: str) -> Annotation | None:
    file = record.folder / "chest_bounding_box.csv"
    if not file.is_file():
        return None
    table = read_csv(file, ("xmin", "ymin", "xmax", "ymax"), may_be_empty=True)
    box = np.stack([table.numbers(side) for side in ("ymin", "xmin", "ymax", "xmax")], 1)[:1]
    if not len(box):
        return None
    return Annotation(record.image, CHEST_REGION, reader, "boxes", record.size, box.copy)


def _ellipse_annotation(record: ReadingRecord, finding: str, reader: str) -> Annotation | None:
    """Return the inside of the ellipses of a finding; None without any."""
    file = record.folder / "anomaly_location_ellipses.csv"
    if not file.is_file():
        return None
    table = read_csv(file, ("xmin", "ymin", "xmax", "ymax"), may_be_empty=True)  # empty: nothing abnormal
    columns = [column for column in table.rows.columns if _column_finding(str(column)) == finding]
    if not columns:
        return None
    names_finding = np.array([cell.lower() == "true" for cell in table.text(columns[0])], bool)
    boxes = np.stack([table.numbers(side) for side in ("ymin", "xmin", "ymax", "xmax")], 1)[names_finding]
    if not len(boxes):
        return None
    read = partial(ellipses_to_mask, boxes, record.size)
    return Annotation(record.image, finding, reader, "region", record.size, read, n_outlines=len(boxes))


def ellipses_to_mask(boxes: Array, size: Size) -> Array:
    """Draw the ellipses inscribed in boxes.

    Parameters
    ----------
    boxes : (K, 4) float64
        (top, left, bottom, right) in pixels.
    size : tuple of int
        (H, W) of the mask.

    Returns
    -------
    (H, W) bool
        True where the center of the pixel lies in an ellipse.
    """
    rows, cols = np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None] + 0.5
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        height, width = max(bottom - top, 1e-9) / 2, max(right - left, 1e-9) / 2
        mask |= ((rows - (top + bottom) / 2) / height) ** 2 + ((cols - (left + right) / 2) / width) ** 2 <= 1
    return mask
