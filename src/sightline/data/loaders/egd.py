"""Loader of Eye-Gaze-CXR: gaze, dictation and regions of one radiologist who read 1083 radiographs of MIMIC-CXR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from sightline.core import NAN, Annotation, Array, Dataset, Radiograph, Size
from sightline.data.gaze import ALL_GAZE, BOX_SUFFIX, Gaze, Phrase, annotation_from_mentions
from sightline.data.loaders.csv_tables import CsvTable, read_csv, read_json
from sightline.data.loaders.gaze_samples import GazeSamples, read_gaze_samples
from sightline.data.loaders.image_index import first_file, handle_missing_images
from sightline.data.reader_names import RADIOLOGIST
from sightline.data.registry import datasets
from sightline.data.splits import apply_split
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files

SCREEN_SIZE = (1080, 1920)
"""(H, W) of the screen in pixels."""
MASK_FILES = {
    "Left Lung": "left_lung",
    "Right Lung": "right_lung",
    "Mediastinum": "mediastanum",
    "Aortic Knob": "aortic_knob",
}
"""Region -> file, spelled as published."""
TRANSCRIPT_FOLDER = "audio_segmentation_transcripts"
GAZE_COLUMNS = (
    "FPOGS",
    "FPOGD",
    "FPOGV",
    "TIME (IN SECS)",
    "FPOGX",
    "FPOGY",
    "X_ORIGINAL",
    "Y_ORIGINAL",
    "LPD",
    "LPV",
    "RPD",
    "RPV",
)
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Karargyris et al. 2021, 10.1038/s41597-021-00863-5; https://doi.org/10.13026/qfdz-zr67"


_METADATA_COLUMNS = {
    "path": "path",
    "patient": "patient_id",
    "study": "study_id",
    "sex": "gender",
    "age": "anchor_age",
    "indication": "cxr_exam_indication",
}
"""Field of a radiograph or of its metadata -> column of the master sheet."""


@datasets("egd", title="Eye Gaze Data for Chest X-rays (EGD-CXR)", source=CITATION, license=LICENSE)
def load_egd(
    path: str,
    images: str = "",
    missing: str = "keep",
    gaze: str = "fixations",
    degree: float = 45.0,
    split: str = "all",
) -> Dataset:
    """Open EGD-CXR: master_sheet.csv, fixations.csv or eye_gaze.csv, bounding_boxes.csv and the transcripts.

    Annotations of the radiologist are the gaze (`ALL_GAZE`), its density while a finding was mentioned, four regions as
    masks, and the rectangles of bounding_boxes.csv as regions 'Left Lung Box' and so on. Times count from the first
    fixation on an image; of an image that was read in several sessions the longest is used. Labels are those of
    CheXpert (columns that end in __chx).

    Parameters
    ----------
    path : str
        Folder of the tables.
    images : str
        Folder that the paths of the master sheet start from (MIMIC-CXR), by default `path`. Images are DICOM, or JPEG
        or PNG in their place, or files of the same name in the folder itself.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.
    gaze : {'fixations', 'raw'}
        Fixations, or every sample of the tracker.
    degree : float
        Pixels of the screen per degree of visual angle, which the release does not state; 45 are those of a screen
        that is 53 cm wide, seen from 71 cm.
    split : {'all', 'train', 'val', 'test'}
        Split to keep, drawn by patient, because the published split names no seed.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
    """
    root, base = Path(path), Path(images or path)
    if gaze not in ("fixations", "raw") or not degree > 0:
        raise DataError(f"egd:{path}: gaze={gaze!r}, degree={degree}; allowed: fixations or raw, and more than 0")
    sheet = read_csv(root / "master_sheet.csv", ("dicom_id", "path", "patient_id"))
    sheet.require_unique("dicom_id")
    names = sheet.text("dicom_id")
    files = _find_images(base, names, sheet.text("path"))
    listed, warnings = handle_missing_images(names, files, missing, base)
    samples_file = root / ("fixations.csv" if gaze == "fixations" else "eye_gaze.csv")
    samples = read_gaze_samples(samples_file, "DICOM_ID", GAZE_COLUMNS, "SESSION_ID")
    boxes, box_warnings = _read_boxes(root / "bounding_boxes.csv")
    warnings += box_warnings + _calibration_warnings(samples, names)
    findings, radiographs = _make_radiographs(sheet, listed, files, root)
    sample_index = {name: i for i, name in enumerate(samples.images)}
    paddings = _read_screen_paddings(sheet)
    return Dataset(
        name="egd",
        spec=f"egd:{path}?images={images}&missing={missing}&gaze={gaze}&degree={degree}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, {}, split),
        annotation=EgdAnnotations(root, files, samples, sample_index, boxes, paddings, degree, gaze == "raw"),
        readers=(RADIOLOGIST,),
        regions=tuple(dict.fromkeys([*MASK_FILES, *(region for _, region in boxes)])),
        gaze_readers=(RADIOLOGIST,),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


def _make_radiographs(
    sheet: CsvTable, listed: Sequence[str], files: Mapping[str, Path], root: Path
) -> tuple[tuple[str, ...], list[Radiograph]]:
    """Return the findings of the master sheet, and the radiographs that are listed."""
    findings, labels = _read_labels(sheet)
    columns = {name: sheet.text(column) for name, column in _METADATA_COLUMNS.items() if column in sheet.rows}
    rows = {name: row for row, name in enumerate(sheet.text("dicom_id"))}
    return findings, [
        _make_radiograph(
            name,
            {key: column[rows[name]] for key, column in columns.items()},
            files.get(name),
            root,
            dict(zip(findings, labels[rows[name]].tolist(), strict=True)),
        )
        for name in listed
    ]


def _make_radiograph(
    name: str, metadata: dict[str, str], file: Path | None, root: Path, labels: dict[str, float]
) -> Radiograph:
    stated_path = root / metadata.pop("path")
    return Radiograph(
        id=name,
        patient=metadata.pop("patient") or name,
        read=partial(image_files.read_image, file or stated_path),
        study=metadata.pop("study", ""),
        view="frontal",
        labels=labels,
        metadata={key: value for key, value in metadata.items() if value},
    )


def _find_images(base: Path, names: Sequence[str], paths: Sequence[str]) -> dict[str, Path]:
    """Return image id -> file, where one exists."""
    files = {}
    suffixes = (".dcm", ".jpg", ".png")
    for name, path in zip(names, paths, strict=True):
        candidates = [base / path, *((base / path).with_suffix(suffix) for suffix in suffixes)]
        candidates += [base / f"{name}{suffix}" for suffix in suffixes]
        file = first_file(candidates) if path else None
        if file is not None:
            files[name] = file
    return files


def _read_labels(sheet: CsvTable) -> tuple[tuple[str, ...], Array]:
    """Read the findings of the sheet, and labels float64 (N, F) of 1, 0, -1 and NaN."""
    by_name = {
        canonical_name(column.removesuffix("__chx").replace("_", " ").title()): column
        for column in sheet.rows.columns
        if str(column).endswith("__chx")
    }
    findings = tuple(finding for finding in CHEXPERT_FINDINGS if finding in by_name)
    if not findings:
        return (), np.zeros((len(sheet.rows), 0))
    return findings, np.stack([sheet.labels(by_name[finding]) for finding in findings], 1)


def _read_screen_paddings(sheet: CsvTable) -> dict[str, tuple[float, float, float, float]]:
    """Read image id -> margins (top, left, bottom, right) of the screen in pixels; NaN where not stated."""
    sides = [f"image_{side}_pad" for side in ("top", "left", "bottom", "right")]
    unknown = np.full(len(sheet.rows), NAN)
    columns = [sheet.numbers(side) if side in sheet.rows else unknown for side in sides]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {
        name: (top, left, bottom, right)
        for name, (top, left, bottom, right) in zip(sheet.text("dicom_id"), rows, strict=True)
    }


def _read_boxes(file: Path) -> tuple[dict[tuple[str, str], Array], list[str]]:
    """Read (image, region) -> float64 (K, 4) as (top, left, bottom, right), and warnings of rows that are left out."""
    if not file.is_file():
        return {}, [f"{file} does not exist: regions have no rectangles"]
    table = read_csv(file, ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2"))
    left, right, top, bottom = (table.numbers(column) for column in ("x1", "x2", "y1", "y2"))  # in order of the file
    is_empty = ~((right > left) & (bottom > top))
    boxes: dict[tuple[str, str], list[list[float]]] = {}
    for row, (name, region) in enumerate(zip(table.text("dicom_id"), table.text("bbox_name"), strict=True)):
        if not is_empty[row]:
            box = [float(side[row]) for side in (top, left, bottom, right)]
            boxes.setdefault((name, f"{region.title()}{BOX_SUFFIX}"), []).append(box)
    warnings = [
        f"{file}, row {table.row_number(row)}: the rectangle has no area; left out"
        for row in np.flatnonzero(is_empty)[:5]
    ]
    return {key: np.array(group) for key, group in boxes.items()}, warnings


def _calibration_warnings(samples: GazeSamples, names: Sequence[str]) -> list[str]:
    """Warn of gaze on images that the sheet does not list, which are screens of calibration."""
    listed = set(names)
    unlisted = [i for i, name in enumerate(samples.images) if name not in listed]
    if not unlisted:
        return []
    rows = sum(samples.rows(i).stop - samples.rows(i).start for i in unlisted)
    return [
        f"{samples.path}: {rows} rows are gaze on {len(unlisted)} images that the master sheet does not list, such "
        f"as {samples.images[unlisted[0]]} (calibration): left out"
    ]


@dataclass(frozen=True, slots=True)
class EgdAnnotations:
    """`Dataset.annotation` from gaze, masks of regions and rectangles, read when asked for."""

    root: Path
    """Folder of the data set."""
    files: Mapping[str, Path]
    """Radiograph id -> image."""
    samples: GazeSamples = field(repr=False)
    """Fixations, or samples of the tracker."""
    sample_index: Mapping[str, int] = field(repr=False)
    """Radiograph id -> index of the image in the samples."""
    boxes: Mapping[tuple[str, str], Array] = field(repr=False)
    """(radiograph id, region) -> float64 (K, 4) as (top, left, bottom, right)."""
    paddings: Mapping[str, tuple[float, float, float, float]] = field(repr=False)
    """Radiograph id -> margins (top, left, bottom, right) of the screen in pixels; NaN where not stated."""
    pixels_per_degree: float
    """Pixels of the screen per degree of visual angle."""
    is_raw: bool
    """True for samples of the tracker, False for fixations."""
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        if reader != RADIOLOGIST or radiograph not in self.paddings:
            return None
        size = self._image_size(radiograph)
        if size is None:
            return None
        if finding in MASK_FILES:
            file = self._transcript_folder(radiograph) / f"{MASK_FILES[finding]}.png"
            if not file.is_file():
                return None
            return Annotation(radiograph, finding, reader, "region", size, partial(_read_mask, file))
        if (radiograph, finding) in self.boxes:
            return Annotation(radiograph, finding, reader, "boxes", size, self.boxes[radiograph, finding].copy)
        if radiograph not in self.sample_index:
            return None
        if finding == ALL_GAZE:
            read = partial(self.read_gaze, radiograph, size)
            return Annotation(radiograph, ALL_GAZE, reader, "fixations", size, read)
        if finding.endswith(BOX_SUFFIX):
            return None
        return annotation_from_mentions(self.read_gaze(radiograph, size), finding)

    def read_gaze(self, radiograph: str, size: Size) -> Gaze:
        """Read the gaze on a radiograph.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.
        size : tuple of int
            (H, W) of the original image.

        Returns
        -------
        Gaze
            Fixations in pixels of the original image.
        """
        rows = self.samples.rows(self.sample_index[radiograph])
        sessions = self.samples.sessions[rows]
        is_longest = sessions == np.bincount(sessions).argmax()
        values = {name: column[rows][is_longest] for name, column in self.samples.columns.items()}
        positions, scale = self._image_coordinates(radiograph, size, values)
        if self.is_raw:
            begin = values["TIME (IN SECS)"]
            duration = np.clip(np.diff(begin, append=begin[-1:] + 1 / 60), 0, 0.1)  # the tracker takes 60 a second
        else:
            begin, duration = values["FPOGS"], values["FPOGD"]
        positions[values["FPOGV"] == 0] = NAN
        known_begin = begin[np.isfinite(begin)]
        phrases, problem = self._read_phrases(radiograph)
        result = Gaze.from_fixations(
            radiograph,
            RADIOLOGIST,
            size,
            positions,
            begin - (known_begin.min() if known_begin.size else 0),
            duration,
            self.pixels_per_degree * scale,
            pupil=_mean_pupil(values),
            phrases=phrases,
        )
        return replace(result, excluded_counts={**result.excluded_counts, problem: 1}) if problem else result

    def _image_coordinates(self, radiograph: str, size: Size, values: Mapping[str, Array]) -> tuple[Array, float]:
        """Return (row, col) of each sample, and pixels of the image per pixel of the screen.

        Given by X_ORIGINAL and Y_ORIGINAL, or else by FPOGX, FPOGY and the margins; 0 and below is outside the image.
        """
        top, left, bottom, right = self.paddings[radiograph]
        size_on_screen = np.array([SCREEN_SIZE[0] - top - bottom, SCREEN_SIZE[1] - left - right])
        if not (size_on_screen > 0).all():
            size_on_screen = np.array(size) * min(SCREEN_SIZE[0] / size[0], SCREEN_SIZE[1] / size[1])
            top, left = (np.array(SCREEN_SIZE) - size_on_screen) / 2
        scale = np.array(size) / size_on_screen
        stated = np.stack([values["Y_ORIGINAL"], values["X_ORIGINAL"]], 1)
        rows, cols = values["FPOGY"] * SCREEN_SIZE[0] - top, values["FPOGX"] * SCREEN_SIZE[1] - left
        derived = np.stack([rows, cols], 1) * scale
        pixel = np.floor(np.where(np.isnan(stated), derived, stated))  # whole pixels, as in the release
        return np.where(pixel > 0, pixel + 0.5, np.where(np.isnan(pixel), NAN, -1.0)), float(scale.mean())

    def _read_phrases(self, radiograph: str) -> tuple[tuple[Phrase, ...], str]:
        """Read the phrases of the transcript, and the problem with it, if any."""
        file = self._transcript_folder(radiograph) / "transcript.json"
        if not file.is_file():
            return (), "transcripts that are missing"
        try:
            entries = read_json(file).get("time_stamped_text", [])
            phrases = (Phrase(str(e["phrase"]), float(e["begin_time"]), float(e["end_time"])) for e in entries)
            return tuple(phrases), ""
        except (DataError, KeyError, TypeError, ValueError):
            return (), "transcripts that cannot be read"

    def _transcript_folder(self, radiograph: str) -> Path:
        return self.root / TRANSCRIPT_FOLDER / radiograph

    def _image_size(self, radiograph: str) -> Size | None:
        """Return (H, W) of the original: that of a mask drawn on it, or else of the image, which may be resized.

        None where none of them exists and can be read.
        """
        files = [
            *(self._transcript_folder(radiograph) / f"{name}.png" for name in MASK_FILES.values()),
            self.files.get(radiograph),
        ]
        for file in files:
            if radiograph in self._sizes or file is None or not file.is_file():
                continue
            try:
                self._sizes[radiograph] = image_files.read_size(file)
            except DataError:
                continue  # reading the image raises the error
        return self._sizes.get(radiograph)


def _mean_pupil(values: Mapping[str, Array]) -> Array:
    """Return the mean diameter over the eyes with a valid pupil, float64 (K,); NaN without one."""
    eyes = np.stack([np.where(values[f"{eye}PV"] == 1, values[f"{eye}PD"], NAN) for eye in ("L", "R")])
    is_valid = np.isfinite(eyes)
    return np.where(is_valid.any(0), np.nan_to_num(eyes).sum(0) / is_valid.sum(0).clip(1), NAN)


def _read_mask(file: Path) -> Array:
    """Read a mask, bool (H, W)."""
    pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{file} is not an image; a mask of a region was expected")
    inside: Array = np.asarray(np.asarray(pixels) > 0)
    if inside.ndim > 2:
        inside = np.asarray(inside[..., :3].any(-1))  # a fourth channel would be opacity
    return inside
