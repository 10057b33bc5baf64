"""Examples: one radiograph, what was marked on it, and what the map says, as pictures that zoom without loss."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image

from sightline.core import Array, Dataset, Frame, Maps, Radiograph, SaliencyMap, Source
from sightline.errors import DataError
from sightline.imaging.geometry import project_to_image
from sightline.imaging.masks import outlines, rasterize_annotation
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import Protocol
from sightline.report.example_selection import EXAMPLE_TITLES, Example, shape_caption
from sightline.report.run_view import RunView, format_decimal, metric_title
from sightline.report.summary import protocol_of

REFERENCE_OUTLINE, READER_OUTLINE, PREDICTED_OUTLINE, RECTANGLE_OUTLINE = "#2ee6c5", "#ff9a3c", "#ffffff", "#ffe14d"
"""Contours: reference mark, second reader, binarized map, smallest rectangle. They lie on radiographs, so they ignore
light and dark."""
_LONG_SIDE = 440
_FIXED = 'vector-effect="non-scaling-stroke"'
_OVERLAY = mpl.colormaps["magma"]


@dataclass(frozen=True, slots=True)
class Panel:
    """An example as two pictures: the marks, and the map with its contour."""

    example: Example
    svg: str
    """Both pictures side by side; stands alone."""
    alt_text: str
    caption: str


def draw_panels(view: RunView, data: Dataset, maps: Maps, examples: Sequence[Example]) -> list[Panel]:
    """Draw the examples. Errors: `DataError` if the data set or the maps no longer hold one of them."""
    wanted = {e.radiograph for e in examples}
    found = {r.id: r for r in data.radiographs if r.id in wanted}
    missing = sorted(wanted - found.keys())
    if missing:
        raise DataError(f"{data.spec!r} no longer holds {', '.join(missing)}; was it changed since the run?")
    return [
        _draw_panel(view, data, found[e.radiograph], _find_map(maps, view.best or "", e), e, i)
        for i, e in enumerate(examples)
    ]


def _find_map(maps: Maps, source: str, example: Example) -> SaliencyMap:
    for m in maps.maps_for(example.radiograph):
        if (m.source, m.finding) == (source, example.finding) and m.status == "ok":
            return m
    raise DataError(f"there is no map of {source!r} for {example.finding!r} on {example.radiograph!r} any more")


def _draw_panel(
    view: RunView, data: Dataset, radiograph: Radiograph, map_: SaliencyMap, example: Example, number: int
) -> Panel:
    image = radiograph.read()
    readers = {"truth": data.reference_reader, "reader": Source.parse(view.reader).name if view.reader else ""}
    marks = {who: data.annotation(radiograph.id, example.finding, reader) for who, reader in readers.items()}
    masks = {who: rasterize_annotation(mark) for who, mark in marks.items() if mark is not None}
    shape = _fit_size(image.shape)
    lines = {who: outline_path(mask, shape) for who, mask in masks.items()}
    protocol = protocol_of(view)
    right = _overlay_map(image, map_, protocol)
    left_lines = [(lines.get("truth", ""), REFERENCE_OUTLINE, ""), (lines.get("reader", ""), READER_OUTLINE, "6 3")]
    if example.category in ("elongation", "irrectangularity") and "truth" in masks:
        left_lines.append((_rectangle_path(masks["truth"], shape), RECTANGLE_OUTLINE, ""))
    predicted = outline_path(binarize_map(map_, protocol), shape)
    right_lines = [(lines.get("truth", ""), REFERENCE_OUTLINE, ""), (predicted, PREDICTED_OUTLINE, "2 3")]
    svg = _pair_svg(
        (encode_jpeg(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)), left_lines, ""),
        (
            encode_jpeg(cv2.resize(right, shape[::-1], interpolation=cv2.INTER_AREA)),
            right_lines,
            _outside_frame_path(map_, shape),
        ),
        shape,
        f"example-{number + 1}",
    )
    score = f"{metric_title(view.metrics[0])} {format_decimal(example.value)}"
    hit = {1.0: ", hit", 0.0: ", miss"}.get(
        example.hit, "" if np.isnan(example.hit) else f", hit {format_decimal(example.hit)}"
    )
    probability = "" if np.isnan(example.probability) else f", probability {format_decimal(example.probability)}"
    caption = f"{score}{hit}{probability}{shape_caption(view, example)}"
    alt = f"{EXAMPLE_TITLES[example.category]}: {example.finding} on radiograph {example.radiograph}. {caption}."
    return Panel(example, svg, alt, caption)


def _overlay_map(image: Array, map_: SaliencyMap, protocol: Protocol) -> Array:
    """The radiograph under its map, float32 (H, W, 3); what the model did not see is dimmed.

    Color runs from the map's zero (from its lowest value, if that is above zero or nothing is positive) to its highest.
    """
    gray = np.repeat(image[..., None], 3, 2).astype(np.float32)  # (H, W, 3)
    placed, window = project_to_image(
        map_.values, map_.frame if protocol.frame == "carried" else Frame.whole(map_.frame.size)
    )
    low, high = float(placed.min()), float(placed.max())
    base = max(low, 0.0) if high > 0 else low
    strength = np.clip((placed - base) / max(high - base, 1e-30), 0, 1)  # (H', W')
    color = _OVERLAY(0.25 + 0.75 * strength)[..., :3].astype(np.float32)
    alpha = (0.8 * strength**0.7)[..., None]
    shown = gray * 0.55
    shown[window] = gray[window] * (1 - alpha) + color * alpha
    return shown


def _fit_size(size: tuple[int, ...]) -> tuple[int, int]:
    scale = _LONG_SIDE / max(size[:2])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def outline_path(mask: Array, shape: tuple[float, float]) -> str:
    """Return the outlines of a mask, holes included, as SVG path data in the pixels of a picture of `shape`."""
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]])
    scaled = (((contour + 0.5) * scale).astype(np.float32) for contour in outlines(mask, holes=True))
    return "".join(_svg_path(cv2.approxPolyDP(points, 0.4, closed=True)) for points in scaled)


def _rectangle_path(mask: Array, shape: tuple[float, float]) -> str:
    """Return the smallest rectangle around the piece with the longest outline, as SVG path data."""
    longest = max(outlines(mask), key=lambda piece: cv2.arcLength(piece, True))
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]])
    return _svg_path((cv2.boxPoints(cv2.minAreaRect(longest)) + 0.5) * scale)


def _svg_path(points: Array) -> str:
    """Return a closed line through points (..., 2) as (x, y) as SVG path data."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.reshape(-1, 2)) + "Z"


def _outside_frame_path(map_: SaliencyMap, shape: tuple[int, int]) -> str:
    """Path of the part of the picture that the frame leaves out; empty if it leaves nothing out."""
    if map_.frame.is_whole:
        return ""
    (height, width), box = map_.frame.size, map_.frame.box
    scale = (shape[0] / height, shape[1] / width)
    top, bottom = (float(np.clip(v * scale[0], 0, shape[0])) for v in box[::2])
    left, right = (float(np.clip(v * scale[1], 0, shape[1])) for v in box[1::2])
    if (top, left, bottom, right) == (0.0, 0.0, float(shape[0]), float(shape[1])):
        return ""
    inner = f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}V{top:.1f}Z"
    return f"M0 0H{shape[1]}V{shape[0]}H0Z{inner}"


def encode_jpeg(image: Array) -> str:
    """A picture float (h, w) or (h, w, 3) in [0, 1] as a data URI."""
    out = io.BytesIO()
    pixels = np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _pair_svg(
    left: tuple[str, list[tuple[str, str, str]], str],
    right: tuple[str, list[tuple[str, str, str]], str],
    shape: tuple[int, int],
    name: str,
) -> str:
    height, width = shape
    gap = 6
    hatch = (
        f'<pattern id="{name}-hatch" width="16" height="16" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)">'
        '<path d="M0 0V16" stroke="#ffffff" stroke-width="3" stroke-opacity=".4"/></pattern>'
    )
    body = _picture_svg(*left, shape, 0, name) + _picture_svg(*right, shape, width + gap, name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + gap} {height}" '
        f'width="{2 * width + gap}" height="{height}"><defs>{hatch}</defs>{body}</svg>'
    )


def _picture_svg(
    href: str, lines: list[tuple[str, str, str]], unseen: str, shape: tuple[int, int], x: int, name: str
) -> str:
    height, width = shape
    drawn = [f'<image href="{escape(href)}" width="{width}" height="{height}"/>']
    if unseen:
        drawn.append(f'<path d="{unseen}" fill="url(#{name}-hatch)" fill-rule="evenodd"/>')
    for path, color, dash in lines:
        if path:  # a dark line below keeps every contour legible on bone and on lung
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            drawn.append(
                f'<path d="{path}" fill="none" stroke="#000000" stroke-opacity=".5" stroke-width="3.4" {_FIXED}/>'
                f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.7"{dashes} {_FIXED}/>'
            )
    return f'<svg x="{x}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(drawn)}</svg>'
