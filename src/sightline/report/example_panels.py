"""Example images: a radiograph with its annotations, and the same radiograph with its map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from sightline.core import Array, Dataset, Frame, Maps, Radiograph, SaliencyMap, Source
from sightline.errors import DataError
from sightline.imaging.geometry import project_to_image
from sightline.imaging.masks import rasterize_annotation
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import Protocol
from sightline.report.estimate import format_decimal
from sightline.report.example_selection import EXAMPLE_TITLES, Example, shape_caption
from sightline.report.overlays import (
    PREDICTED_OUTLINE,
    READER_OUTLINE,
    RECTANGLE_OUTLINE,
    REFERENCE_OUTLINE,
    encode_jpeg,
    outline_path,
    overlay_map,
    rectangle_path,
    to_rgb,
)
from sightline.report.run_view import RunView
from sightline.report.summary import protocol_of
from sightline.report.titles import metric_title
from sightline.stats.reader_average import readers_behind

_LONG_SIDE = 440
_FIXED = 'vector-effect="non-scaling-stroke"'
_Line = tuple[str, str, str]
"""SVG path data, color and dashes of an outline."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Example as two images: the annotations, and the map with its outline."""

    example: Example
    """The case."""
    svg: str
    """Both images side by side, complete in itself."""
    alt_text: str
    """Description for readers who cannot see it."""
    caption: str
    """Scores of the map."""


def draw_panels(view: RunView, data: Dataset, maps: Maps, examples: Sequence[Example]) -> list[Panel]:
    """Draw the examples.

    Parameters
    ----------
    view : RunView
        The run.
    data : Dataset
        Its data set.
    maps : Maps
        Its maps.
    examples : sequence of Example
        The chosen cases.

    Returns
    -------
    list of Panel
        A panel for each example.

    Raises
    ------
    DataError
        If the data set or the maps no longer contain one of the examples.
    """
    ids = {example.radiograph for example in examples}
    by_id = {radiograph.id: radiograph for radiograph in data.radiographs if radiograph.id in ids}
    missing = sorted(ids - by_id.keys())
    if missing:
        raise DataError(f"{data.spec!r} no longer contains {', '.join(missing)}; was it changed after the run?")
    return [
        _draw_panel(view, data, by_id[e.radiograph], _find_map(maps, view.best or "", e), e, i)
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
    image, protocol = radiograph.read(), protocol_of(view)
    shape = _fit_size(image.shape)
    annotated, predicted = _outlines(view, data, map_, example, shape)
    colored = _color_by_map(image, map_, protocol)
    svg = _pair_svg(
        (encode_jpeg(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)), annotated, ""),
        (
            encode_jpeg(cv2.resize(colored, shape[::-1], interpolation=cv2.INTER_AREA)),
            predicted,
            _outside_frame_path(map_, shape),
        ),
        shape,
        f"example-{number + 1}",
    )
    caption = _caption(view, example)
    alt = f"{EXAMPLE_TITLES[example.category]}: {example.finding} on radiograph {example.radiograph}. {caption}."
    return Panel(example, svg, alt, caption)


def _outlines(
    view: RunView, data: Dataset, map_: SaliencyMap, example: Example, shape: tuple[int, int]
) -> tuple[list[_Line], list[_Line]]:
    """Outlines on the image and on the map."""
    drawn = next(iter(readers_behind(view.sources, view.reader or "")), view.reader or "")  # of several, the first
    readers = {"reference": data.reference_reader, "reader": Source.parse(drawn).name if drawn else ""}
    annotations = {role: data.annotation(example.radiograph, example.finding, name) for role, name in readers.items()}
    masks = {role: rasterize_annotation(a) for role, a in annotations.items() if a is not None}
    paths = {role: outline_path(mask, shape) for role, mask in masks.items()}
    reference = (paths.get("reference", ""), REFERENCE_OUTLINE, "")
    annotated = [reference, (paths.get("reader", ""), READER_OUTLINE, "6 3")]
    if example.category in ("elongation", "irrectangularity") and "reference" in masks:
        annotated.append((rectangle_path(masks["reference"], shape), RECTANGLE_OUTLINE, ""))
    predicted = outline_path(binarize_map(map_, protocol_of(view)), shape)
    return annotated, [reference, (predicted, PREDICTED_OUTLINE, "2 3")]


def _caption(view: RunView, example: Example) -> str:
    score = f"{metric_title(view.metrics[0])} {format_decimal(example.value)}"
    hit = {1.0: ", hit", 0.0: ", miss"}.get(
        example.hit, "" if np.isnan(example.hit) else f", hit {format_decimal(example.hit)}"
    )
    probability = "" if np.isnan(example.probability) else f", probability {format_decimal(example.probability)}"
    return f"{score}{hit}{probability}{shape_caption(view, example)}"


def _color_by_map(image: Array, map_: SaliencyMap, protocol: Protocol) -> Array:
    """Radiograph colored by its map, float32 (H, W, 3); what lies outside the model's input is dimmed.

    Color runs from the map's zero (from its lowest value, if that is above zero or nothing is positive) to its highest.
    """
    placed, window = project_to_image(
        map_.values, map_.frame if protocol.frame == "carried" else Frame.whole(map_.frame.size)
    )
    low, high = float(placed.min()), float(placed.max())
    base = max(low, 0.0) if high > 0 else low
    strength = np.clip((placed - base) / max(high - base, 1e-30), 0, 1)  # (H', W')
    colored = to_rgb(image) * 0.55
    colored[window] = overlay_map(image[window], strength)
    return colored


def _fit_size(size: tuple[int, ...]) -> tuple[int, int]:
    scale = _LONG_SIDE / max(size[:2])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _outside_frame_path(map_: SaliencyMap, shape: tuple[int, int]) -> str:
    """Path of the part of the image that the frame leaves out; empty if it leaves nothing out."""
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


def _pair_svg(
    left: tuple[str, list[_Line], str], right: tuple[str, list[_Line], str], shape: tuple[int, int], name: str
) -> str:
    height, width = shape
    gap = 6
    hatch = (
        f'<pattern id="{name}-hatch" width="16" height="16" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)">'
        '<path d="M0 0V16" stroke="#ffffff" stroke-width="3" stroke-opacity=".4"/></pattern>'
    )
    body = _image_svg(*left, shape, 0, name) + _image_svg(*right, shape, width + gap, name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + gap} {height}" '
        f'width="{2 * width + gap}" height="{height}"><defs>{hatch}</defs>{body}</svg>'
    )


def _image_svg(href: str, lines: list[_Line], outside: str, shape: tuple[int, int], x: int, name: str) -> str:
    height, width = shape
    parts = [f'<image href="{escape(href)}" width="{width}" height="{height}"/>']
    if outside:
        parts.append(f'<path d="{outside}" fill="url(#{name}-hatch)" fill-rule="evenodd"/>')
    for path, color, dash in lines:
        if path:  # a dark line below keeps every outline legible on bone and on lung
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            parts.append(
                f'<path d="{path}" fill="none" stroke="#000000" stroke-opacity=".5" stroke-width="3.4" {_FIXED}/>'
                f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.7"{dashes} {_FIXED}/>'
            )
    return f'<svg x="{x}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
