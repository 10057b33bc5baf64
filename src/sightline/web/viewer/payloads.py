"""What is shown of one radiograph: its pixels, its maps, and what readers marked and looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from sightline.core import Annotation, Array, Dataset, Frame, Radiograph, SaliencyMap, Size
from sightline.data.gaze import ALL_GAZE, Gaze
from sightline.errors import DataError
from sightline.imaging import masks
from sightline.imaging.geometry import resample_area
from sightline.imaging.masks import rasterize_annotation
from sightline.web.server.encoding import encode_bundle, map_fields

OUTLINE_TOLERANCE = 0.7
"""Pixels by which a drawn contour may leave the outline of its mask."""
PREVIEW_SIDE = 28
"""Cells along the longer side of a map in a gallery."""


def encode_maps(held: Iterable[SaliencyMap]) -> bytes:
    """Maps as they are: facts of each, values float32 (h, w)."""
    facts, arrays = [], {}
    for number, m in enumerate(held):
        facts.append({**map_fields(m), "shape": m.values.shape})
        arrays[f"m{number}"] = np.asarray(m.values, np.float32)
    return encode_bundle({"maps": facts}, arrays)


def encode_previews(maps: Iterable[SaliencyMap], outlines: dict[str, list[Array]], size: Size | None) -> bytes:
    """Maps as a gallery shows them, coarse and in 255 steps from lowest to highest, and outlines of the truth."""
    facts, arrays = [], {}
    for number, m in enumerate(maps):
        size = size or m.frame.size
        values, signed = _downscale_map(m)
        facts.append(
            {
                "finding": m.finding,
                "source": m.source,
                "status": m.status,
                "box": m.frame.box,
                "size": m.frame.size,
                "signed": signed,
                "shape": values.shape,
            }
        )
        arrays[f"m{number}"] = values
    lines = {finding: [_rounded_list(c, 0) for c in contours] for finding, contours in outlines.items()}
    return encode_bundle({"size": size, "maps": facts, "truth": lines}, arrays)


def _downscale_map(m: SaliencyMap) -> tuple[Array, bool]:
    """uint8 (h, w), and whether 128 stands for 0 with blue below and orange above."""
    values = m.values
    if m.status != "ok" or not values.size or not np.isfinite(values).all():
        return np.zeros((0, 0), np.uint8), False
    if max(values.shape) > PREVIEW_SIDE:
        h, w = (max(1, round(side * PREVIEW_SIDE / max(values.shape))) for side in values.shape)
        size = (values.shape[0], values.shape[1])
        values = resample_area(values, Frame.whole(size), (h, w))
    low, high = float(values.min()), float(values.max())
    signed = low < 0 < high
    if signed:
        far = max(-low, high)
        return np.rint(127.5 + 127.5 * values / far).astype(np.uint8), True
    return np.rint(255 * (values - low) / max(high - low, 1e-30)).astype(np.uint8), False


def trace_outlines(mask: Array, tolerance: float = OUTLINE_TOLERANCE) -> list[Array]:
    """Outlines of a mask bool (H, W), holes included, through the centers of its boundary pixels: float32 (K, 2)."""
    return [
        cv2.approxPolyDP(c, tolerance, closed=True).reshape(-1, 2)[:, ::-1].astype(np.float32) + np.float32(0.5)
        for c in masks.outlines(mask, holes=True)
    ]


def encode_annotations(data: Dataset, radiograph: Radiograph, findings: Iterable[str]) -> bytes:
    """Every reader's marks, the truth's as runs of pixels too, regions, and gaze.

    Runs are lengths, uint32, row by row, outside first: what a browser needs to count pixels exactly.
    """
    facts: dict[str, Any] = {"marks": [], "regions": [], "gaze": [], "size": None}
    arrays: dict[str, Array] = {}
    for mark in _iterate_annotations(data, radiograph.id, findings):
        facts["size"] = mark.size
        told: dict[str, Any] = {"finding": mark.finding, "reader": mark.reader, "kind": mark.kind}
        if mark.kind == "points":
            told["points"] = _rounded_list(mark.read(), 1)
        if mark.kind != "points" or mark.reader == data.reference_reader:
            mask = rasterize_annotation(mark)
            told["contours"] = [_rounded_list(c, 1) for c in trace_outlines(mask)]
            if mark.reader == data.reference_reader:
                told["runs"] = f"runs{len(arrays)}"
                arrays[told["runs"]] = run_lengths(mask)
        facts["marks"].append(told)
    for name in data.regions:
        area = data.annotation(radiograph.id, name, data.reference_reader)
        if area is not None:
            lines = [_rounded_list(c, 1) for c in trace_outlines(rasterize_annotation(area), 1.5)]
            facts["regions"].append({"name": name, "contours": lines})
    for reader in data.gaze_readers:
        looked = data.annotation(radiograph.id, ALL_GAZE, reader)
        if looked is not None and looked.kind == "fixations":
            _add_gaze(facts, arrays, looked.read())
    return encode_bundle(facts, arrays)


def _iterate_annotations(data: Dataset, radiograph: str, findings: Iterable[str]) -> Iterator[Annotation]:
    for finding in findings:
        for reader in data.readers:
            mark = data.annotation(radiograph, finding, reader)
            if mark is not None:
                yield mark


def _add_gaze(fields: dict[str, Any], arrays: dict[str, Array], gaze: Gaze) -> None:
    name = f"gaze{len(fields['gaze'])}"
    spoken = [{"text": p.text, "begin": p.begin, "end": p.end} for p in gaze.phrases]
    fields["gaze"].append({"reader": gaze.reader, "fixations": name, "size": gaze.size, "phrases": spoken})
    table = np.column_stack([gaze.positions, gaze.begin, gaze.duration, gaze.pixels_per_degree])
    arrays[name] = table.astype(np.float32)  # (K, 6): row, col, begin, duration, degree down, degree across


def reference_outlines(data: Dataset, radiograph: str, findings: Iterable[str]) -> dict[str, list[Array]]:
    """Outlines of the truth, as coarse as a gallery shows them. A mark that cannot be read has none."""
    found = {}
    for finding in findings:
        mark = data.annotation(radiograph, finding, data.reference_reader)
        if mark is not None:
            try:
                found[finding] = trace_outlines(rasterize_annotation(mark), max(1.0, max(mark.size) / 150))
            except DataError:
                continue  # the page of the case says what is wrong with it
    return found


def run_lengths(mask: Array) -> Array:
    """Lengths of runs, uint32 (K,), row by row, outside first.

    >>> run_lengths(np.array([[0, 1, 1], [1, 0, 0]], bool)).tolist()
    [1, 3, 2]
    """
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).astype(np.uint32)


def _rounded_list(points: Array, digits: int) -> list[list[float]]:
    rounded: list[list[float]] = np.round(np.asarray(points, float).reshape(-1, 2), digits).tolist()
    return rounded
