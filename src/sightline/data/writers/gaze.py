"""Writers of the layouts of Eye-Gaze-CXR and REFLACX: DICOM files, tables, and a folder for every reading."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Radiograph
from sightline.data.gaze import ALL_GAZE, Gaze
from sightline.data.loaders.egd import MASK_FILES, SCREEN_SIZE, TRANSCRIPT_FOLDER
from sightline.data.writers.registry import WithProgress, formats, to_8_bit
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging import masks

_SAMPLE_COLUMNS = (
    "SESSION_ID",
    "MEDIA_ID",
    "DICOM_ID",
    "CNT",
    "Time (in secs)",
    "TIMETICK(f=10000000)",
    "FPOGX",
    "FPOGY",
    "FPOGS",
    "FPOGD",
    "FPOGID",
    "FPOGV",
    "BPOGX",
    "BPOGY",
    "BPOGV",
    "LPCX",
    "LPCY",
    "LPD",
    "LPS",
    "LPV",
    "RPCX",
    "RPCY",
    "RPD",
    "RPS",
    "RPV",
    "BKID",
    "BKDUR",
    "BKPMIN",
    "LPMM",
    "LPMMV",
    "RPMM",
    "RPMMV",
    "SACCADE_MAG",
    "SACCADE_DIR",
    "VID_FRAME",
    "X_ORIGINAL",
    "Y_ORIGINAL",
)
_SAMPLES_PER_SECOND = 60.0
"""Rate of the eye tracker."""


@formats(
    "egd",
    layout="files/*.dcm, master_sheet.csv, fixations.csv, eye_gaze.csv, bounding_boxes.csv, "
    "audio_segmentation_transcripts/ID/",
    loader="egd:DIR",
)
def write_egd(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write the gaze of the first gaze reader, and regions as masks and rectangles, as Eye-Gaze-CXR does."""
    reader = _first_gaze_reader(dataset)
    sheet: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    with (out / "fixations.csv").open("w") as fixations, (out / "eye_gaze.csv").open("w") as raw:
        for file in (fixations, raw):
            file.write(",".join(_SAMPLE_COLUMNS) + "\n")
        for number, radiograph in enumerate(with_progress(dataset.radiographs)):
            image = radiograph.read()
            path = _write_dicom(radiograph, image, out)
            paddings = _screen_paddings(image.shape)
            sheet.append(_sheet_row(radiograph, path, paddings))
            folder = out / TRANSCRIPT_FOLDER / radiograph.id
            folder.mkdir(parents=True)
            boxes += _write_regions(dataset, radiograph, folder)
            annotation = dataset.annotation(radiograph.id, ALL_GAZE, reader)
            if annotation is not None:
                gaze: Gaze = annotation.read()
                (folder / "transcript.json").write_text(json.dumps(_transcript(gaze)), "utf-8")
                rows = _fixation_rows(gaze, number, paddings)
                rows.to_csv(fixations, header=False, index=False)
                _expand_to_samples(rows).to_csv(raw, header=False, index=False)
    pd.DataFrame(sheet).to_csv(out / "master_sheet.csv", index=False)
    columns = ["dicom_id", "bbox_name", "x1", "x2", "y1", "y2"]
    pd.DataFrame(boxes, columns=columns).to_csv(out / "bounding_boxes.csv", index=False)
    return [f"Gaze of {reader!r}, in whole pixels as in the release; no audio is written."]


def _first_gaze_reader(dataset: Dataset) -> str:
    if not dataset.gaze_readers:
        raise DataError(f"{dataset.spec} has no gaze, which is what this layout is for")
    return dataset.gaze_readers[0]


def _write_dicom(radiograph: Radiograph, image: Array, out: Path) -> str:
    from sightline.imaging import dicom  # pydicom is imported by those that write DICOM only

    path = f"files/p{radiograph.patient}/s{radiograph.study}/{radiograph.id}.dcm"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    sex, projection = (str(radiograph.metadata.get(name, "")) for name in ("sex", "projection"))
    dicom.write_dicom(
        to_8_bit(image), out / path, radiograph.id, radiograph.study, radiograph.patient, sex[:1], projection
    )
    return path


def _screen_paddings(size: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the margins (top, left, bottom, right) of the screen around an image that fills its height or width."""
    scale = min(SCREEN_SIZE[0] / size[0], SCREEN_SIZE[1] / size[1])
    rows, cols = (round((full - side * scale) / 2) for full, side in zip(SCREEN_SIZE, size, strict=True))
    return rows, cols, rows, cols


def _sheet_row(radiograph: Radiograph, path: str, paddings: tuple[int, int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "dicom_id": radiograph.id,
        "path": path,
        "study_id": radiograph.study,
        "patient_id": radiograph.patient,
        "gender": str(radiograph.metadata.get("sex", ""))[:1],
    }
    sides = ("top", "left", "bottom", "right")
    row |= {f"image_{side}_pad": padding for side, padding in zip(sides, paddings, strict=True)}
    labels = {finding: radiograph.labels[finding] for finding in CHEXPERT_FINDINGS if finding in radiograph.labels}
    return row | {f"{finding.lower().replace(' ', '_')}__chx": label for finding, label in labels.items()}


def _write_regions(dataset: Dataset, radiograph: Radiograph, folder: Path) -> list[dict[str, Any]]:
    boxes = []
    for region in dataset.regions:
        annotation = dataset.annotation(radiograph.id, region, dataset.reference_reader)
        if annotation is None:
            continue
        mask = masks.rasterize_annotation(annotation)
        if region in MASK_FILES:
            cv2.imwrite(str(folder / f"{MASK_FILES[region]}.png"), mask.astype(np.uint8) * 255)
        rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if rows.size:
            boxes.append(
                {
                    "dicom_id": radiograph.id,
                    "bbox_name": region.lower(),
                    "x1": cols[0],
                    "x2": cols[-1] + 1,
                    "y1": rows[0],
                    "y2": rows[-1] + 1,
                }
            )
    return boxes


def _transcript(gaze: Gaze) -> dict[str, Any]:
    phrases = [{"phrase": p.text, "begin_time": p.begin, "end_time": p.end} for p in gaze.phrases]
    return {"full_text": ". ".join(p.text for p in gaze.phrases), "time_stamped_text": phrases}


def _fixation_rows(gaze: Gaze, session: int, paddings: tuple[int, int, int, int]) -> pd.DataFrame:
    """Make a row for every fixation, that of its last sample."""
    top, left, bottom, right = paddings
    screen = np.array(SCREEN_SIZE)
    image_size = screen - np.array([top + bottom, left + right])
    position = (gaze.positions / np.array(gaze.size) * image_size + np.array([top, left])) / screen
    rows = pd.DataFrame(0.0, index=range(len(gaze)), columns=list(_SAMPLE_COLUMNS))
    rows["SESSION_ID"], rows["DICOM_ID"], rows["MEDIA_ID"] = session, gaze.radiograph, 0
    rows["CNT"] = rows["FPOGID"] = np.arange(len(gaze))
    rows["Time (in secs)"] = gaze.begin + gaze.duration
    rows["FPOGY"], rows["FPOGX"] = rows["BPOGY"], rows["BPOGX"] = position.T
    rows["FPOGS"], rows["FPOGD"], rows["FPOGV"], rows["BPOGV"] = gaze.begin, gaze.duration, 1, 1
    rows["Y_ORIGINAL"], rows["X_ORIGINAL"] = np.floor(gaze.positions).astype(int).T
    for eye in "LR":
        rows[f"{eye}PD"], rows[f"{eye}PV"] = np.nan_to_num(gaze.pupil), np.isfinite(gaze.pupil).astype(int)
    return rows


def _expand_to_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """Repeat the row of every fixation at the rate of the tracker, for its duration."""
    counts = np.maximum(np.rint(rows["FPOGD"] * _SAMPLES_PER_SECOND), 1).astype(int)
    samples = rows.loc[rows.index.repeat(counts)].reset_index(drop=True)
    within = np.concatenate([np.arange(n) for n in counts]) / _SAMPLES_PER_SECOND if len(counts) else np.zeros(0)
    samples["Time (in secs)"] = samples["FPOGS"] + within
    samples["CNT"] = np.arange(len(samples))
    return samples


@formats("reflacx", layout="files/*.dcm, main_data/metadata_phase_1.csv, main_data/ID/*.csv", loader="reflacx:DIR")
def write_reflacx(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write a reading for every gaze reader, with ellipses around the reference annotations, as REFLACX does.

    The ellipses are the same for all readers.
    """
    _first_gaze_reader(dataset)
    main = out / "main_data"
    main.mkdir()
    rows: list[dict[str, Any]] = []
    for radiograph in with_progress(dataset.radiographs):
        image = radiograph.read()
        path = _write_dicom(radiograph, image, out)
        masks = _reference_masks(dataset, radiograph, dataset.findings) if dataset.readers else {}
        for number, reader in enumerate(dataset.gaze_readers):
            annotation = dataset.annotation(radiograph.id, ALL_GAZE, reader)
            name = f"P1{len(rows):06d}R{number + 1}"
            (main / name).mkdir()
            labels = {finding: 5 * int(radiograph.labels.get(finding) == 1) for finding in dataset.findings}
            rows.append(
                {
                    "id": name,
                    "split": {"val": "validate"}.get(radiograph.split, radiograph.split),
                    "eye_tracking_data_discarded": annotation is None,
                    "image": path,
                    "dicom_id": radiograph.id,
                    "subject_id": radiograph.patient,
                    "image_size_x": image.shape[1],
                    "image_size_y": image.shape[0],
                    **labels,
                }
            )
            _write_ellipses(masks, dataset, radiograph, main / name)
            if annotation is not None:
                _write_reading(annotation.read(), main / name)
    pd.DataFrame(rows).to_csv(main / "metadata_phase_1.csv", index=False)
    return ["Ellipses are inscribed in rectangles around the connected parts of the reference annotations."]


def _reference_masks(dataset: Dataset, radiograph: Radiograph, names: Sequence[str]) -> dict[str, Array]:
    """Return the masks of findings or regions by the reference reader, bool (H, W), where there are any."""
    return {
        name: masks.rasterize_annotation(annotation)
        for name in names
        if (annotation := dataset.annotation(radiograph.id, name, dataset.reference_reader)) is not None
    }


def _write_ellipses(masks: dict[str, Array], dataset: Dataset, radiograph: Radiograph, folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for finding, mask in masks.items():
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        for left, top, width, height, _ in stats[1:count]:
            box = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height, "certainty": 5}
            rows.append(box | {name: name == finding for name in dataset.findings})
    columns = ["xmin", "ymin", "xmax", "ymax", "certainty", *dataset.findings]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "anomaly_location_ellipses.csv", index=False)
    regions = [region for region in ("Left Lung", "Right Lung") if region in dataset.regions]
    if lungs := _reference_masks(dataset, radiograph, regions):
        chest = np.any(list(lungs.values()), axis=0)
        lung_rows, lung_cols = (np.flatnonzero(chest.any(axis)) for axis in (1, 0))
        box = {"xmin": lung_cols[0], "ymin": lung_rows[0], "xmax": lung_cols[-1] + 1, "ymax": lung_rows[-1] + 1}
        pd.DataFrame([box]).to_csv(folder / "chest_bounding_box.csv", index=False)


def _write_reading(gaze: Gaze, folder: Path) -> None:
    table = pd.DataFrame(
        {
            "timestamp_start_fixation": gaze.begin,
            "timestamp_end_fixation": gaze.begin + gaze.duration,
            "x_position": gaze.positions[:, 1],
            "y_position": gaze.positions[:, 0],
            "pupil_area_normalized": gaze.pupil,
            "angular_resolution_x_pixels_per_degree": gaze.pixels_per_degree[:, 1],
            "angular_resolution_y_pixels_per_degree": gaze.pixels_per_degree[:, 0],
            "window_width": 1.0,
            "window_level": 0.5,
            "xmin_shown_from_image": gaze.visible_region[:, 1],
            "ymin_shown_from_image": gaze.visible_region[:, 0],
            "xmax_shown_from_image": gaze.visible_region[:, 3],
            "ymax_shown_from_image": gaze.visible_region[:, 2],
        }
    )
    table.to_csv(folder / "fixations.csv", index=False)
    words = []
    for phrase in gaze.phrases:
        phrase_words = [*phrase.text.split()]
        phrase_words[-1] += "."
        edges = np.linspace(phrase.begin, phrase.end, len(phrase_words) + 1)
        words += list(zip(phrase_words, edges[:-1], edges[1:], strict=True))
    columns = ["word", "timestamp_start_word", "timestamp_end_word"]
    pd.DataFrame(words, columns=columns).to_csv(folder / "timestamps_transcription.csv", index=False)
    (folder / "transcription.txt").write_text(" ".join(f"{p.text}." for p in gaze.phrases), "utf-8")
