"""Data sets with gaze written as Eye-Gaze-CXR and REFLACX publish theirs: DICOM files, tables, a folder a reading."""

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
from sightline.data.loaders import egd as published
from sightline.data.writers.base import WithProgress, formats
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging import geometry

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
"""Samples a second of the tracker."""


@formats(
    "egd",
    layout="files/*.dcm, master_sheet.csv, fixations.csv, eye_gaze.csv, bounding_boxes.csv, "
    "audio_segmentation_transcripts/ID/",
    loader="egd:DIR",
)
def write_egd(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """The first reader's gaze, the regions as masks, and a rectangle around each."""
    reader = _first_gaze_reader(dataset)
    sheet: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    with (out / "fixations.csv").open("w") as fixations, (out / "eye_gaze.csv").open("w") as raw:
        for file in (fixations, raw):
            file.write(",".join(_SAMPLE_COLUMNS) + "\n")
        for number, radiograph in enumerate(with_progress(dataset.radiographs)):
            image = radiograph.read()
            path = _write_dicom(radiograph, image, out)
            pads = _screen_paddings(image.shape)
            sheet.append(_sheet_row(radiograph, path, pads))
            folder = out / published.TRANSCRIPT_FOLDER / radiograph.id
            folder.mkdir(parents=True)
            boxes += _write_regions(dataset, radiograph, folder)
            mark = dataset.annotation(radiograph.id, ALL_GAZE, reader)
            if mark is not None:
                gaze: Gaze = mark.read()
                (folder / "transcript.json").write_text(json.dumps(_transcript(gaze)), "utf-8")
                rows = _fixation_rows(gaze, number, pads)
                rows.to_csv(fixations, header=False, index=False)
                _expand_to_samples(rows).to_csv(raw, header=False, index=False)
    pd.DataFrame(sheet).to_csv(out / "master_sheet.csv", index=False)
    columns = ["dicom_id", "bbox_name", "x1", "x2", "y1", "y2"]
    pd.DataFrame(boxes, columns=columns).to_csv(out / "bounding_boxes.csv", index=False)
    return [f"Gaze of {reader!r}, in whole pixels as the release has it; no audio is written."]


def _first_gaze_reader(dataset: Dataset) -> str:
    if not dataset.gaze_readers:
        raise DataError(f"{dataset.spec} has no gaze, which is what this layout is for")
    return dataset.gaze_readers[0]


def _write_dicom(radiograph: Radiograph, image: Array, out: Path) -> str:
    from sightline.imaging import dicom  # as in `images.read`: only who writes DICOM pays for the import

    path = f"files/p{radiograph.patient}/s{radiograph.study}/{radiograph.id}.dcm"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    sex, projection = (str(radiograph.metadata.get(name, "")) for name in ("sex", "projection"))
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    dicom.write_dicom(pixels, out / path, radiograph.id, radiograph.study, radiograph.patient, sex[:1], projection)
    return path


def _screen_paddings(size: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the screen beside an image that fills one of its sides."""
    scale = min(published.SCREEN_SIZE[0] / size[0], published.SCREEN_SIZE[1] / size[1])
    rows, cols = (round((full - side * scale) / 2) for full, side in zip(published.SCREEN_SIZE, size, strict=True))
    return rows, cols, rows, cols


def _sheet_row(radiograph: Radiograph, path: str, pads: tuple[int, int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "dicom_id": radiograph.id,
        "path": path,
        "study_id": radiograph.study,
        "patient_id": radiograph.patient,
        "gender": str(radiograph.metadata.get("sex", ""))[:1],
    }
    row |= {f"image_{side}_pad": pad for side, pad in zip(("top", "left", "bottom", "right"), pads, strict=True)}
    labels = {f: radiograph.labels[f] for f in CHEXPERT_FINDINGS if f in radiograph.labels}
    return row | {f"{f.lower().replace(' ', '_')}__chx": v for f, v in labels.items()}


def _write_regions(dataset: Dataset, radiograph: Radiograph, folder: Path) -> list[dict[str, Any]]:
    boxes = []
    for region in dataset.regions:
        mark = dataset.annotation(radiograph.id, region, dataset.reference_reader)
        if mark is None:
            continue
        mask = geometry.rasterize_annotation(mark)
        if region in published.MASK_FILES:
            cv2.imwrite(str(folder / f"{published.MASK_FILES[region]}.png"), mask.astype(np.uint8) * 255)
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
    said = [{"phrase": p.text, "begin_time": p.begin, "end_time": p.end} for p in gaze.phrases]
    return {"full_text": ". ".join(p.text for p in gaze.phrases), "time_stamped_text": said}


def _fixation_rows(gaze: Gaze, session: int, pads: tuple[int, int, int, int]) -> pd.DataFrame:
    """A row per fixation, of its last sample."""
    top, left, bottom, right = pads
    screen = np.array(published.SCREEN_SIZE)
    shown = screen - np.array([top + bottom, left + right])
    place = (gaze.positions / np.array(gaze.size) * shown + np.array([top, left])) / screen
    rows = pd.DataFrame(0.0, index=range(len(gaze)), columns=list(_SAMPLE_COLUMNS))
    rows["SESSION_ID"], rows["DICOM_ID"], rows["MEDIA_ID"] = session, gaze.radiograph, 0
    rows["CNT"] = rows["FPOGID"] = np.arange(len(gaze))
    rows["Time (in secs)"] = gaze.begin + gaze.duration
    rows["FPOGY"], rows["FPOGX"] = rows["BPOGY"], rows["BPOGX"] = place.T
    rows["FPOGS"], rows["FPOGD"], rows["FPOGV"], rows["BPOGV"] = gaze.begin, gaze.duration, 1, 1
    rows["Y_ORIGINAL"], rows["X_ORIGINAL"] = np.floor(gaze.positions).astype(int).T
    for eye in "LR":
        rows[f"{eye}PD"], rows[f"{eye}PV"] = np.nan_to_num(gaze.pupil), np.isfinite(gaze.pupil).astype(int)
    return rows


def _expand_to_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """Samples of the tracker at its rate, of fixations one after the other."""
    counts = np.maximum(np.rint(rows["FPOGD"] * _SAMPLES_PER_SECOND), 1).astype(int)
    many = rows.loc[rows.index.repeat(counts)].reset_index(drop=True)
    within = np.concatenate([np.arange(n) for n in counts]) / _SAMPLES_PER_SECOND if len(counts) else np.zeros(0)
    many["Time (in secs)"] = many["FPOGS"] + within
    many["CNT"] = np.arange(len(many))
    return many


@formats("reflacx", layout="files/*.dcm, main_data/metadata_phase_1.csv, main_data/ID/*.csv", loader="reflacx:DIR")
def write_reflacx(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """A reading per gaze reader; ellipses around the marks of the truth, the same for all readers."""
    _first_gaze_reader(dataset)
    main = out / "main_data"
    main.mkdir()
    rows: list[dict[str, Any]] = []
    for radiograph in with_progress(dataset.radiographs):
        image = radiograph.read()
        path = _write_dicom(radiograph, image, out)
        marks = {
            f: geometry.rasterize_annotation(m)
            for f in dataset.findings
            if dataset.readers and (m := dataset.annotation(radiograph.id, f, dataset.reference_reader)) is not None
        }
        for number, reader in enumerate(dataset.gaze_readers):
            mark = dataset.annotation(radiograph.id, ALL_GAZE, reader)
            name = f"P1{len(rows):06d}R{number + 1}"
            (main / name).mkdir()
            labels = {f: 5 * int(radiograph.labels.get(f) == 1) for f in dataset.findings}
            rows.append(
                {
                    "id": name,
                    "split": {"val": "validate"}.get(radiograph.split, radiograph.split),
                    "eye_tracking_data_discarded": mark is None,
                    "image": path,
                    "dicom_id": radiograph.id,
                    "subject_id": radiograph.patient,
                    "image_size_x": image.shape[1],
                    "image_size_y": image.shape[0],
                    **labels,
                }
            )
            _write_ellipses(marks, dataset, radiograph, main / name)
            if mark is not None:
                _write_reading(mark.read(), main / name)
    pd.DataFrame(rows).to_csv(main / "metadata_phase_1.csv", index=False)
    return ["Ellipses are those inscribed in rectangles around connected parts of the truth's marks."]


def _write_ellipses(masks: dict[str, Array], dataset: Dataset, radiograph: Radiograph, folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for finding, mask in masks.items():
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        for left, top, width, height, _ in stats[1:count]:
            box = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height, "certainty": 5}
            rows.append(box | {f: f == finding for f in dataset.findings})
    columns = ["xmin", "ymin", "xmax", "ymax", "certainty", *dataset.findings]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "anomaly_location_ellipses.csv", index=False)
    lungs = [
        m
        for r in ("Left Lung", "Right Lung")
        if r in dataset.regions and (m := dataset.annotation(radiograph.id, r, dataset.reference_reader)) is not None
    ]
    if lungs:
        both = np.any([geometry.rasterize_annotation(m) for m in lungs], axis=0)
        rows_, cols = (np.flatnonzero(both.any(axis)) for axis in (1, 0))
        box = {"xmin": cols[0], "ymin": rows_[0], "xmax": cols[-1] + 1, "ymax": rows_[-1] + 1}
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
        parts = [*phrase.text.split()]
        parts[-1] += "."
        edges = np.linspace(phrase.begin, phrase.end, len(parts) + 1)
        words += list(zip(parts, edges[:-1], edges[1:], strict=True))
    columns = ["word", "timestamp_start_word", "timestamp_end_word"]
    pd.DataFrame(words, columns=columns).to_csv(folder / "timestamps_transcription.csv", index=False)
    (folder / "transcription.txt").write_text(" ".join(f"{p.text}." for p in gaze.phrases), "utf-8")
