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
from sightline.data.gaze import WHOLE, Gaze
from sightline.data.loaders import egd as published
from sightline.data.writers.base import Progress, formats
from sightline.errors import DataError
from sightline.findings import CHEXPERT
from sightline.imaging import geometry

_SAMPLES = ("SESSION_ID", "MEDIA_ID", "DICOM_ID", "CNT", "Time (in secs)", "TIMETICK(f=10000000)", "FPOGX", "FPOGY",
            "FPOGS", "FPOGD", "FPOGID", "FPOGV", "BPOGX", "BPOGY", "BPOGV", "LPCX", "LPCY", "LPD", "LPS", "LPV", "RPCX",
            "RPCY", "RPD", "RPS", "RPV", "BKID", "BKDUR", "BKPMIN", "LPMM", "LPMMV", "RPMM", "RPMMV", "SACCADE_MAG",
            "SACCADE_DIR", "VID_FRAME", "X_ORIGINAL", "Y_ORIGINAL")  # fmt: skip
_RATE = 60.0
"""Samples a second of the tracker."""


@formats("egd", layout="files/*.dcm, master_sheet.csv, fixations.csv, eye_gaze.csv, bounding_boxes.csv, "
         "audio_segmentation_transcripts/ID/", loader="egd:DIR")  # fmt: skip
def egd(dataset: Dataset, out: Path, walk: Progress[Radiograph]) -> list[str]:
    """The first reader's gaze, the regions as masks, and a rectangle around each."""
    reader = _reader(dataset)
    sheet: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    with (out / "fixations.csv").open("w") as fixations, (out / "eye_gaze.csv").open("w") as raw:
        for file in (fixations, raw):
            file.write(",".join(_SAMPLES) + "\n")
        for number, radiograph in enumerate(walk(dataset.radiographs)):
            image = radiograph.read()
            path = _write_dicom(radiograph, image, out)
            pads = _pads(image.shape)
            sheet.append(_row(radiograph, path, pads))
            folder = out / published.TRANSCRIPTS / radiograph.id
            folder.mkdir(parents=True)
            boxes += _write_regions(dataset, radiograph, folder)
            mark = dataset.marks(radiograph.id, WHOLE, reader)
            if mark is not None:
                gaze: Gaze = mark.read()
                (folder / "transcript.json").write_text(json.dumps(_transcript(gaze)), "utf-8")
                rows = _fixations(gaze, number, pads)
                rows.to_csv(fixations, header=False, index=False)
                _sampled(rows).to_csv(raw, header=False, index=False)
    pd.DataFrame(sheet).to_csv(out / "master_sheet.csv", index=False)
    columns = ["dicom_id", "bbox_name", "x1", "x2", "y1", "y2"]
    pd.DataFrame(boxes, columns=columns).to_csv(out / "bounding_boxes.csv", index=False)
    return [f"Gaze of {reader!r}, in whole pixels as the release has it; no audio is written."]


def _reader(dataset: Dataset) -> str:
    if not dataset.gaze_readers:
        raise DataError(f"{dataset.spec} has no gaze, which is what this layout is for")
    return dataset.gaze_readers[0]


def _write_dicom(radiograph: Radiograph, image: Array, out: Path) -> str:
    from sightline.imaging import dicom  # as in `images.read`: only who writes DICOM pays for the import

    path = f"files/p{radiograph.patient}/s{radiograph.study}/{radiograph.id}.dcm"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    sex, projection = (str(radiograph.facts.get(name, "")) for name in ("sex", "projection"))
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    dicom.write(pixels, out / path, radiograph.id, radiograph.study, radiograph.patient, sex[:1], projection)
    return path


def _pads(size: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the screen beside an image that fills one of its sides."""
    scale = min(published.SCREEN[0] / size[0], published.SCREEN[1] / size[1])
    rows, cols = (round((full - side * scale) / 2) for full, side in zip(published.SCREEN, size, strict=True))
    return rows, cols, rows, cols


def _row(radiograph: Radiograph, path: str, pads: tuple[int, int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"dicom_id": radiograph.id, "path": path, "study_id": radiograph.study,
                           "patient_id": radiograph.patient,
                           "gender": str(radiograph.facts.get("sex", ""))[:1]}  # fmt: skip
    row |= {f"image_{side}_pad": pad for side, pad in zip(("top", "left", "bottom", "right"), pads, strict=True)}
    labels = {f: radiograph.labels[f] for f in CHEXPERT if f in radiograph.labels}
    return row | {f"{f.lower().replace(' ', '_')}__chx": v for f, v in labels.items()}


def _write_regions(dataset: Dataset, radiograph: Radiograph, folder: Path) -> list[dict[str, Any]]:
    boxes = []
    for region in dataset.regions:
        mark = dataset.marks(radiograph.id, region, dataset.truth)
        if mark is None:
            continue
        mask = geometry.region(mark)
        if region in published.MASKS:
            cv2.imwrite(str(folder / f"{published.MASKS[region]}.png"), mask.astype(np.uint8) * 255)
        rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if rows.size:
            boxes.append({"dicom_id": radiograph.id, "bbox_name": region.lower(), "x1": cols[0], "x2": cols[-1] + 1,
                          "y1": rows[0], "y2": rows[-1] + 1})  # fmt: skip
    return boxes


def _transcript(gaze: Gaze) -> dict[str, Any]:
    said = [{"phrase": p.text, "begin_time": p.begin, "end_time": p.end} for p in gaze.phrases]
    return {"full_text": ". ".join(p.text for p in gaze.phrases), "time_stamped_text": said}


def _fixations(gaze: Gaze, session: int, pads: tuple[int, int, int, int]) -> pd.DataFrame:
    """A row per fixation, of its last sample."""
    top, left, bottom, right = pads
    screen = np.array(published.SCREEN)
    shown = screen - np.array([top + bottom, left + right])
    place = (gaze.places / np.array(gaze.size) * shown + np.array([top, left])) / screen
    rows = pd.DataFrame(0.0, index=range(len(gaze)), columns=list(_SAMPLES))
    rows["SESSION_ID"], rows["DICOM_ID"], rows["MEDIA_ID"] = session, gaze.radiograph, 0
    rows["CNT"] = rows["FPOGID"] = np.arange(len(gaze))
    rows["Time (in secs)"] = gaze.begin + gaze.duration
    rows["FPOGY"], rows["FPOGX"] = rows["BPOGY"], rows["BPOGX"] = place.T
    rows["FPOGS"], rows["FPOGD"], rows["FPOGV"], rows["BPOGV"] = gaze.begin, gaze.duration, 1, 1
    rows["Y_ORIGINAL"], rows["X_ORIGINAL"] = np.floor(gaze.places).astype(int).T
    for eye in "LR":
        rows[f"{eye}PD"], rows[f"{eye}PV"] = np.nan_to_num(gaze.pupil), np.isfinite(gaze.pupil).astype(int)
    return rows


def _sampled(rows: pd.DataFrame) -> pd.DataFrame:
    """Samples of the tracker at its rate, of fixations one after the other."""
    counts = np.maximum(np.rint(rows["FPOGD"] * _RATE), 1).astype(int)
    many = rows.loc[rows.index.repeat(counts)].reset_index(drop=True)
    within = np.concatenate([np.arange(n) for n in counts]) / _RATE if len(counts) else np.zeros(0)
    many["Time (in secs)"] = many["FPOGS"] + within
    many["CNT"] = np.arange(len(many))
    return many


@formats("reflacx", layout="files/*.dcm, main_data/metadata_phase_1.csv, main_data/ID/*.csv", loader="reflacx:DIR")
def reflacx(dataset: Dataset, out: Path, walk: Progress[Radiograph]) -> list[str]:
    """A reading per gaze reader; ellipses around the marks of the truth, the same for all readers."""
    _reader(dataset)
    main = out / "main_data"
    main.mkdir()
    rows: list[dict[str, Any]] = []
    for radiograph in walk(dataset.radiographs):
        image = radiograph.read()
        path = _write_dicom(radiograph, image, out)
        marks = {f: geometry.region(m) for f in dataset.findings
                 if dataset.readers and (m := dataset.marks(radiograph.id, f, dataset.truth)) is not None}  # fmt: skip
        for number, reader in enumerate(dataset.gaze_readers):
            mark = dataset.marks(radiograph.id, WHOLE, reader)
            name = f"P1{len(rows):06d}R{number + 1}"
            (main / name).mkdir()
            labels = {f: 5 * int(radiograph.labels.get(f) == 1) for f in dataset.findings}
            rows.append({
                "id": name, "split": {"val": "validate"}.get(radiograph.split, radiograph.split),
                "eye_tracking_data_discarded": mark is None, "image": path, "dicom_id": radiograph.id,
                "subject_id": radiograph.patient, "image_size_x": image.shape[1], "image_size_y": image.shape[0],
                **labels,
            })  # fmt: skip
            _write_ellipses(marks, dataset, radiograph, main / name)
            if mark is not None:
                _write_reading(mark.read(), main / name)
    pd.DataFrame(rows).to_csv(main / "metadata_phase_1.csv", index=False)
    return ["Ellipses are those inscribed in rectangles around connected parts of the truth's marks."]


def _write_ellipses(marks: dict[str, Array], dataset: Dataset, radiograph: Radiograph, folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for finding, mask in marks.items():
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        for left, top, width, height, _ in stats[1:count]:
            box = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height, "certainty": 5}
            rows.append(box | {f: f == finding for f in dataset.findings})
    columns = ["xmin", "ymin", "xmax", "ymax", "certainty", *dataset.findings]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "anomaly_location_ellipses.csv", index=False)
    lungs = [m for r in ("Left Lung", "Right Lung") if r in dataset.regions
             and (m := dataset.marks(radiograph.id, r, dataset.truth)) is not None]  # fmt: skip
    if lungs:
        both = np.any([geometry.region(m) for m in lungs], axis=0)
        rows_, cols = (np.flatnonzero(both.any(axis)) for axis in (1, 0))
        box = {"xmin": cols[0], "ymin": rows_[0], "xmax": cols[-1] + 1, "ymax": rows_[-1] + 1}
        pd.DataFrame([box]).to_csv(folder / "chest_bounding_box.csv", index=False)


def _write_reading(gaze: Gaze, folder: Path) -> None:
    table = pd.DataFrame({
        "timestamp_start_fixation": gaze.begin, "timestamp_end_fixation": gaze.begin + gaze.duration,
        "x_position": gaze.places[:, 1], "y_position": gaze.places[:, 0], "pupil_area_normalized": gaze.pupil,
        "angular_resolution_x_pixels_per_degree": gaze.degree[:, 1],
        "angular_resolution_y_pixels_per_degree": gaze.degree[:, 0], "window_width": 1.0, "window_level": 0.5,
        "xmin_shown_from_image": gaze.shown[:, 1], "ymin_shown_from_image": gaze.shown[:, 0],
        "xmax_shown_from_image": gaze.shown[:, 3], "ymax_shown_from_image": gaze.shown[:, 2],
    })  # fmt: skip
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
