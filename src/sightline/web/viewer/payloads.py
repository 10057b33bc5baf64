"""Content that the viewer shows of a radiograph: maps, previews, annotations, regions and gaze, encoded."""

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
"""Greatest distance of a simplified contour from the outline of its mask, in pixels."""
PREVIEW_SIDE = 28
"""Number of cells along the longer side of a map in the gallery."""


def encode_maps(maps: Iterable[SaliencyMap]) -> bytes:
    """Encode maps in full resolution.

    Parameters
    ----------
    maps : iterable of SaliencyMap
        Maps of one radiograph.

    Returns
    -------
    bytes
        Bundle with the fields of each map, and its values, float32 (h, w), as the arrays m0, m1, ...
    """
    fields, arrays = [], {}
    for number, m in enumerate(maps):
        fields.append({**map_fields(m), "shape": m.values.shape})
        arrays[f"m{number}"] = np.asarray(m.values, np.float32)
    return encode_bundle({"maps": fields}, arrays)


def encode_previews(maps: Iterable[SaliencyMap], outlines: dict[str, list[Array]], size: Size | None) -> bytes:
    """Encode maps for the gallery, coarse and in 256 levels, with the outlines of the reference annotations.

    Parameters
    ----------
    maps : iterable of SaliencyMap
        Maps of one radiograph.
    outlines : dict of str to list of (K, 2) array
        Outlines of the reference annotation by finding.
    size : (int, int) or None
        Size of the image, (H, W); None takes that of the maps.

    Returns
    -------
    bytes
        Bundle with the fields size, maps and truth, and the arrays m0, m1, ..., uint8 (h, w).
    """
    fields, arrays = [], {}
    for number, m in enumerate(maps):
        size = size or m.frame.size
        values, signed = _downscale_map(m)
        fields.append(
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
    truth = {finding: [_rounded_list(c, 0) for c in contours] for finding, contours in outlines.items()}
    return encode_bundle({"size": size, "maps": fields, "truth": truth}, arrays)


def _downscale_map(m: SaliencyMap) -> tuple[Array, bool]:
    """Return a coarse map, uint8 (h, w), and True if 128 stands for 0 because the map has values of both signs."""
    values = m.values
    if m.status != "ok" or not values.size or not np.isfinite(values).all():
        return np.zeros((0, 0), np.uint8), False
    if max(values.shape) > PREVIEW_SIDE:
        h, w = (max(1, round(side * PREVIEW_SIDE / max(values.shape))) for side in values.shape)
        size = (values.shape[0], values.shape[1])
        values = resample_area(values, Frame.whole(size), (h, w))
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        bound = max(-low, high)
        return np.rint(127.5 + 127.5 * values / bound).astype(np.uint8), True
    return np.rint(255 * (values - low) / max(high - low, 1e-30)).astype(np.uint8), False


def trace_outlines(mask: Array, tolerance: float = OUTLINE_TOLERANCE) -> list[Array]:
    """Trace the outlines of a mask, holes included, through the centers of its boundary pixels.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.
    tolerance : float
        Greatest distance of a simplified outline from the exact one, in pixels.

    Returns
    -------
    list of (K, 2) float32
        (row, col) in pixels.
    """
    return [
        cv2.approxPolyDP(c, tolerance, closed=True).reshape(-1, 2)[:, ::-1].astype(np.float32) + np.float32(0.5)
        for c in masks.outlines(mask, holes=True)
    ]


def encode_annotations(data: Dataset, radiograph: Radiograph, findings: Iterable[str]) -> bytes:
    """Encode the annotations of all readers, anatomical regions, and gaze.

    Parameters
    ----------
    data : Dataset
        Data set of the radiograph.
    radiograph : Radiograph
        Radiograph.
    findings : iterable of str
        Findings whose annotations are encoded.

    Returns
    -------
    bytes
        Bundle with the fields marks, regions, gaze and size. The reference annotation is also an array of
        `run_lengths`, so that the browser can count its pixels exactly.
    """
    fields: dict[str, Any] = {"marks": [], "regions": [], "gaze": [], "size": None}
    arrays: dict[str, Array] = {}
    for annotation in _iterate_annotations(data, radiograph.id, findings):
        fields["size"] = annotation.size
        entry: dict[str, Any] = {
            "finding": annotation.finding,
            "reader": annotation.reader,
            "kind": annotation.kind,
        }
        if annotation.kind == "points":
            entry["points"] = _rounded_list(annotation.read(), 1)
        if annotation.kind != "points" or annotation.reader == data.reference_reader:
            mask = rasterize_annotation(annotation)
            entry["contours"] = [_rounded_list(c, 1) for c in trace_outlines(mask)]
            if annotation.reader == data.reference_reader:
                entry["runs"] = f"runs{len(arrays)}"
                arrays[entry["runs"]] = run_lengths(mask)
        fields["marks"].append(entry)
    for name in data.regions:
        region = data.annotation(radiograph.id, name, data.reference_reader)
        if region is not None:
            contours = [_rounded_list(c, 1) for c in trace_outlines(rasterize_annotation(region), 1.5)]
            fields["regions"].append({"name": name, "contours": contours})
    for reader in data.gaze_readers:
        gaze = data.annotation(radiograph.id, ALL_GAZE, reader)
        if gaze is not None and gaze.kind == "fixations":
            _add_gaze(fields, arrays, gaze.read())
    return encode_bundle(fields, arrays)


def _iterate_annotations(data: Dataset, radiograph: str, findings: Iterable[str]) -> Iterator[Annotation]:
    for finding in findings:
        for reader in data.readers:
            annotation = data.annotation(radiograph, finding, reader)
            if annotation is not None:
                yield annotation


def _add_gaze(fields: dict[str, Any], arrays: dict[str, Array], gaze: Gaze) -> None:
    name = f"gaze{len(fields['gaze'])}"
    phrases = [{"text": p.text, "begin": p.begin, "end": p.end} for p in gaze.phrases]
    fields["gaze"].append({"reader": gaze.reader, "fixations": name, "size": gaze.size, "phrases": phrases})
    table = np.column_stack([gaze.positions, gaze.begin, gaze.duration, gaze.pixels_per_degree])
    arrays[name] = table.astype(np.float32)  # (K, 6): row, col, begin, duration, degree down, degree across


def reference_outlines(data: Dataset, radiograph: str, findings: Iterable[str]) -> dict[str, list[Array]]:
    """Trace coarse outlines of the reference annotations, for the gallery.

    Parameters
    ----------
    data : Dataset
        Data set of the radiograph.
    radiograph : str
        Id of the radiograph.
    findings : iterable of str
        Findings.

    Returns
    -------
    dict of str to list of (K, 2) float32
        Outlines by finding, without those that have no annotation or one that cannot be read.
    """
    outlines = {}
    for finding in findings:
        annotation = data.annotation(radiograph, finding, data.reference_reader)
        if annotation is not None:
            tolerance = max(1.0, max(annotation.size) / 150)
            try:
                outlines[finding] = trace_outlines(rasterize_annotation(annotation), tolerance)
            except DataError:
                continue  # the page of the case states the error
    return outlines


def run_lengths(mask: Array) -> Array:
    """Encode a mask as the lengths of its runs, row by row, outside first.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.

    Returns
    -------
    (K,) uint32
        Lengths.

    Examples
    --------
    >>> run_lengths(np.array([[0, 1, 1], [1, 0, 0]], bool)).tolist()
    [1, 3, 2]
    """
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).astype(np.uint32)


def _rounded_list(points: Array, digits: int) -> list[list[float]]:
    rounded: list[list[float]] = np.round(np.asarray(points, float).reshape(-1, 2), digits).tolist()
    return rounded
