"""Eye-Gaze-CXR: fixations, dictation and regions of one radiologist's reading of 1083 radiographs of MIMIC-CXR."""

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
from sightline.data.loaders.rsna import handle_missing_images
from sightline.data.registry import datasets
from sightline.data.splits import apply_split
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files

READER = "radiologist"
SCREEN_SIZE = (1080, 1920)
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


@datasets("egd", title="Eye Gaze Data for Chest X-rays (EGD-CXR)", source=CITATION, license=LICENSE)
def load_egd(
    path: str,
    images: str = "",
    missing: str = "keep",
    gaze: str = "fixations",
    degree: float = 45.0,
    split: str = "all",
) -> Dataset:
    """EGD-CXR: DIR holds master_sheet.csv, fixations.csv or eye_gaze.csv, bounding_boxes.csv and the transcripts.

    images: folder that the master sheet's `path` starts from (MIMIC-CXR), by default DIR; DICOM, or JPEG or PNG in its
    place, or of that name in the folder itself. gaze: 'fixations', or 'raw' for every sample of the tracker. degree:
    pixels of the screen per degree of visual angle, which the release does not state: 45 are those of a screen 53 cm
    wide, seen from 71 cm. missing: as in `rsna`. split: 'train', 'val', 'test' or 'all', drawn by patient, for the
    published one names no seed.

    Marks of the radiologist: gaze (`ALL_GAZE`), its density while a finding was spoken of, four regions, and the
    rectangles of bounding_boxes.csv as 'Left Lung Box' and so on. Times count from the first fixation on an image. An
    image read in several sessions has the longest. Labels are those of CheXpert (columns ending in __chx).
    Errors: `DataError` for files that are not of this layout.
    """
    root = Path(path)
    if gaze not in ("fixations", "raw") or not degree > 0:
        raise DataError(f"egd:{path}: gaze={gaze!r}, degree={degree}; allowed: fixations or raw, and more than 0")
    sheet = read_csv(root / "master_sheet.csv", ("dicom_id", "path", "patient_id"))
    sheet.require_unique("dicom_id")
    names = sheet.text("dicom_id")
    files = _find_images(Path(images) if images else root, names, sheet.text("path"))
    listed, warnings = handle_missing_images(names, files, missing, Path(images) if images else root)
    source = root / ("fixations.csv" if gaze == "fixations" else "eye_gaze.csv")
    samples = read_gaze_samples(source, "DICOM_ID", GAZE_COLUMNS, "SESSION_ID")
    boxes, odd = _read_boxes(root / "bounding_boxes.csv")
    warnings += odd + _calibration_warnings(samples, names)
    marks = EgdAnnotations(
        root,
        files,
        samples,
        {n: i for i, n in enumerate(samples.images)},
        boxes,
        _read_screen_paddings(sheet),
        degree,
        gaze == "raw",
    )
    findings, labels = _read_labels(sheet)
    places = {name: at for at, name in enumerate(names)}
    about = {key: sheet.text(c) for key, c in _METADATA_COLUMNS.items() if c in sheet.rows}
    radiographs = [
        _make_radiograph(
            name,
            {key: column[places[name]] for key, column in about.items()},
            files.get(name),
            root,
            dict(zip(findings, labels[places[name]].tolist(), strict=True)),
        )
        for name in listed
    ]
    regions = dict.fromkeys([*MASK_FILES, *(region for _, region in boxes)])
    return Dataset(
        name="egd",
        spec=f"egd:{path}?images={images}&missing={missing}&gaze={gaze}&degree={degree}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, {}, split),
        annotation=marks,
        readers=(READER,),
        regions=tuple(regions),
        gaze_readers=(READER,),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


_METADATA_COLUMNS = {
    "path": "path",
    "patient": "patient_id",
    "study": "study_id",
    "sex": "gender",
    "age": "anchor_age",
    "indication": "cxr_exam_indication",
}


def _make_radiograph(
    name: str, metadata: dict[str, str], file: Path | None, root: Path, labels: dict[str, float]
) -> Radiograph:
    stated = root / metadata.pop("path")
    return Radiograph(
        id=name,
        patient=metadata.pop("patient") or name,
        read=partial(image_files.read_image, file or stated),
        study=metadata.pop("study", ""),
        view="frontal",
        labels=labels,
        metadata={key: value for key, value in metadata.items() if value},
    )


def _find_images(base: Path, names: Sequence[str], paths: Sequence[str]) -> dict[str, Path]:
    """Image id -> its file, where there is one."""
    found = {}
    for name, stated in zip(names, paths, strict=True):
        places = [base / stated, *((base / stated).with_suffix(s) for s in (".dcm", ".jpg", ".png"))]
        places += [base / f"{name}{s}" for s in (".dcm", ".jpg", ".png")]
        file = next((p for p in places if p.is_file()), None) if stated else None
        if file is not None:
            found[name] = file
    return found


def _read_labels(sheet: CsvTable) -> tuple[tuple[str, ...], Array]:
    """CheXpert's findings that the sheet has, and float64 (n, F) of 1, 0, -1 and NaN."""
    by_name = {
        canonical_name(c.removesuffix("__chx").replace("_", " ").title()): c
        for c in sheet.rows.columns
        if str(c).endswith("__chx")
    }
    findings = tuple(f for f in CHEXPERT_FINDINGS if f in by_name)
    if not findings:
        return (), np.zeros((len(sheet.rows), 0))
    return findings, np.stack([sheet.labels(by_name[f]) for f in findings], 1)


def _read_screen_paddings(sheet: CsvTable) -> dict[str, tuple[float, float, float, float]]:
    """Image id -> (top, left, bottom, right) pixels of the screen beside the image; NaN where not stated."""
    sides = [f"image_{side}_pad" for side in ("top", "left", "bottom", "right")]
    columns = [sheet.numbers(c) if c in sheet.rows else np.full(len(sheet.rows), NAN) for c in sides]
    rows = zip(*(c.tolist() for c in columns), strict=True)
    return {name: (t, le, b, r) for name, (t, le, b, r) in zip(sheet.text("dicom_id"), rows, strict=True)}


def _read_boxes(file: Path) -> tuple[dict[tuple[str, str], Array], list[str]]:
    """(image, region) -> float64 (K, 4) as (top, left, bottom, right), and what is wrong with other rows."""
    if not file.is_file():
        return {}, [f"{file} is not there: no rectangles of regions"]
    table = read_csv(file, ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2"))
    left, right, top, bottom = (table.numbers(c) for c in ("x1", "x2", "y1", "y2"))  # in the order of the file
    wrong = ~((right > left) & (bottom > top))
    found: dict[tuple[str, str], list[list[float]]] = {}
    for at, (name, region) in enumerate(zip(table.text("dicom_id"), table.text("bbox_name"), strict=True)):
        if not wrong[at]:
            box = [float(side[at]) for side in (top, left, bottom, right)]
            found.setdefault((name, f"{region.title()}{BOX_SUFFIX}"), []).append(box)
    said = [
        f"{file}, row {table.row_number(at)}: the rectangle has no area; left out" for at in np.flatnonzero(wrong)[:5]
    ]
    return {key: np.array(boxes) for key, boxes in found.items()}, said


def _calibration_warnings(samples: GazeSamples, names: Sequence[str]) -> list[str]:
    """Gaze at what is no image of the sheet: screens of calibration."""
    strange = [i for i, name in enumerate(samples.images) if name not in set(names)]
    if not strange:
        return []
    rows = sum(samples.rows(i).stop - samples.rows(i).start for i in strange)
    return [
        f"{samples.path}: {rows} rows look at {len(strange)} images that the master sheet does not have, such as "
        f"{samples.images[strange[0]]} (calibration): left out"
    ]


@dataclass(frozen=True, slots=True)
class EgdAnnotations:
    """`Dataset.annotation`: gaze, regions and rectangles, read when asked."""

    root: Path
    files: Mapping[str, Path]
    samples: GazeSamples = field(repr=False)
    sample_index: Mapping[str, int] = field(repr=False)
    """Image -> its place among the samples."""
    boxes: Mapping[tuple[str, str], Array] = field(repr=False)
    paddings: Mapping[str, tuple[float, float, float, float]] = field(repr=False)
    pixels_per_degree: float
    is_raw: bool
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        if reader != READER or radiograph not in self.paddings:
            return None
        size = self._image_size(radiograph)
        if size is None:
            return None
        if finding in MASK_FILES:
            file = self._transcript_folder(radiograph) / f"{MASK_FILES[finding]}.png"
            return (
                Annotation(radiograph, finding, reader, "region", size, partial(_read_mask, file))
                if file.is_file()
                else None
            )
        if (radiograph, finding) in self.boxes:
            return Annotation(radiograph, finding, reader, "boxes", size, self.boxes[radiograph, finding].copy)
        if radiograph not in self.sample_index:
            return None
        if finding == ALL_GAZE:
            return Annotation(
                radiograph, ALL_GAZE, reader, "fixations", size, partial(self.read_gaze, radiograph, size)
            )
        if finding.endswith(BOX_SUFFIX):
            return None
        return annotation_from_mentions(self.read_gaze(radiograph, size), finding)

    def read_gaze(self, radiograph: str, size: Size) -> Gaze:
        """What the radiologist looked at, in the pixels of the original."""
        rows = self.samples.rows(self.sample_index[radiograph])
        sessions = self.samples.sessions[rows]
        longest = sessions == np.bincount(sessions).argmax()
        n = {name: column[rows][longest] for name, column in self.samples.columns.items()}
        pixels, scale = self._image_coordinates(radiograph, size, n)
        if self.is_raw:
            begin = n["TIME (IN SECS)"]
            duration = np.clip(np.diff(begin, append=begin[-1:] + 1 / 60), 0, 0.1)  # the tracker takes 60 a second
        else:
            begin, duration = n["FPOGS"], n["FPOGD"]
        pixels[n["FPOGV"] == 0] = NAN
        known = begin[np.isfinite(begin)]
        eyes = np.stack([np.where(n[v] == 1, n[d], NAN) for d, v in (("LPD", "LPV"), ("RPD", "RPV"))])
        pupil = np.where(np.isfinite(eyes).any(0), np.nan_to_num(eyes).sum(0) / np.isfinite(eyes).sum(0).clip(1), NAN)
        phrases, trouble = self._read_phrases(radiograph)
        found = Gaze.from_fixations(
            radiograph,
            READER,
            size,
            pixels,
            begin - (known.min() if known.size else 0),
            duration,
            self.pixels_per_degree * scale,
            pupil=pupil,
            phrases=phrases,
        )
        return replace(found, excluded_counts={**found.excluded_counts, trouble: 1}) if trouble else found

    def _image_coordinates(self, radiograph: str, size: Size, n: Mapping[str, Array]) -> tuple[Array, float]:
        """(row, col) of each sample, and pixels of the image per pixel of the screen.

        X_ORIGINAL and Y_ORIGINAL, or what FPOGX and FPOGY and the padding come to; 0 and below is off the image.
        """
        top, left, bottom, right = self.paddings[radiograph]
        shown = np.array([SCREEN_SIZE[0] - top - bottom, SCREEN_SIZE[1] - left - right])
        if not (shown > 0).all():
            shown = np.array(size) * min(SCREEN_SIZE[0] / size[0], SCREEN_SIZE[1] / size[1])
            top, left = (np.array(SCREEN_SIZE) - shown) / 2
        scale = np.array(size) / shown
        stated = np.stack([n["Y_ORIGINAL"], n["X_ORIGINAL"]], 1)
        screen = np.stack([n["FPOGY"] * SCREEN_SIZE[0] - top, n["FPOGX"] * SCREEN_SIZE[1] - left], 1) * scale
        whole = np.floor(np.where(np.isnan(stated), screen, stated))  # a pixel, as the release has it
        return np.where(whole > 0, whole + 0.5, np.where(np.isnan(whole), NAN, -1.0)), float(scale.mean())

    def _read_phrases(self, radiograph: str) -> tuple[tuple[Phrase, ...], str]:
        """Of the transcript, and what is wrong with it."""
        file = self._transcript_folder(radiograph) / "transcript.json"
        if not file.is_file():
            return (), "transcripts that are missing"
        try:
            spoken = read_json(file).get("time_stamped_text", [])
            return tuple(Phrase(str(p["phrase"]), float(p["begin_time"]), float(p["end_time"])) for p in spoken), ""
        except (DataError, KeyError, TypeError, ValueError):
            return (), "transcripts that cannot be read"

    def _transcript_folder(self, radiograph: str) -> Path:
        return self.root / TRANSCRIPT_FOLDER / radiograph

    def _image_size(self, radiograph: str) -> Size | None:
        """(H, W) of the original: of a mask drawn on it, or else of the image, which may have been made smaller.

        None where none of them is there and can be read.
        """
        files = [
            *(self._transcript_folder(radiograph) / f"{name}.png" for name in MASK_FILES.values()),
            self.files.get(radiograph),
        ]
        for file in (f for f in files if radiograph not in self._sizes and f is not None and f.is_file()):
            try:
                self._sizes[radiograph] = image_files.read_size(file)
            except DataError:
                continue  # told where it is read
        return self._sizes.get(radiograph)


def _read_mask(file: Path) -> Array:
    """bool (H, W). Errors: `DataError` if the file is no image."""
    pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{file} is not an image; a mask of a region was expected")
    inside: Array = np.asarray(np.asarray(pixels) > 0)
    if inside.ndim > 2:
        inside = np.asarray(inside[..., :3].any(-1))  # a fourth channel would be opacity
    return inside
