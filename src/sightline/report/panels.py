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
import pandas as pd
from PIL import Image

from sightline.binarize import cut_at, mask_at, refilled
from sightline.core import Array, DataError, Dataset, Radiograph, SaliencyMap
from sightline.geometry import place, region
from sightline.histogram import joint_histogram
from sightline.protocol import CORRECTED, PROTOCOLS, Protocol
from sightline.report.view import View, decimal, title

TRUTH, READER, PREDICTED = "#2ee6c5", "#ff9a3c", "#ffffff"
"""Contours: reference mark, second reader, binarized map. They lie on radiographs, so they ignore light and dark."""
_LONG_SIDE = 440
_OVERLAY = mpl.colormaps["magma"]
CASES = {"best": "Best", "typical": "Typical", "worst": "Worst"}
RULE = (
    "Best and worst: of each finding the map with the highest and the lowest {metric}, then the three highest and the "
    "three lowest among them (ties: the model's surest first). Typical: of each finding the map nearest to its median, "
    "findings with most maps first. No patient twice, and no finding twice in a row of pictures while others remain."
)


@dataclass(frozen=True, slots=True)
class Example:
    """One chosen map."""

    case: str
    radiograph: str
    patient: str
    finding: str
    value: float
    hit: float
    probability: float
    status: str


@dataclass(frozen=True, slots=True)
class Panel:
    """An example as two pictures: the marks, and the map with its contour."""

    example: Example
    svg: str
    """Both pictures side by side; stands alone."""
    alt: str
    caption: str


def choose(view: View, each: int = 3) -> list[Example]:
    """Best, typical and worst maps of the best source by its first metric, spread over findings and patients."""
    if view.best is None:
        return []
    scores = view.scores[(view.scores["source"] == view.best) & view.scores["value"].notna()]
    hits = scores[scores["metric"] == "hit"].set_index(["radiograph", "finding"])["value"]
    rows = scores[scores["metric"] == view.metrics[0]].copy()
    rows["hit"] = [hits.get((r, f), np.nan) for r, f in zip(rows["radiograph"], rows["finding"], strict=True)]
    by_finding = rows.groupby("finding")["value"]
    rows["off"] = (rows["value"] - by_finding.transform("median")).abs()
    rows["n"] = -by_finding.transform("size")
    rows["sure"] = -rows["probability"].fillna(0)
    rows["fall"] = -rows["value"]
    used: set[str] = set()
    chosen = []
    for case, within, across in (
        ("best", ["fall", "sure"], ["fall", "sure"]),
        ("worst", ["value", "sure"], ["value", "sure"]),
        ("typical", ["off", "sure"], ["n"]),
    ):
        chosen += [Example(case, *row) for row in _spread(rows, within, across, each, used)]
    return sorted(chosen, key=lambda e: list(CASES).index(e.case))


def _spread(
    rows: pd.DataFrame, within: list[str], across: list[str], wanted: int, used: set[str]
) -> list[tuple[str, str, str, float, float, float, str]]:
    """The first rows by `within`, one finding after the other; findings take turns by `across`."""
    ordered = rows.sort_values([*within, "radiograph", "finding"], kind="stable")
    ordered = ordered[~ordered["patient"].isin(used)]
    columns = ["radiograph", "patient", "finding", "value", "hit", "probability", "status"]
    picked: list[tuple[str, str, str, float, float, float, str]] = []
    while len(picked) < wanted and len(ordered):
        turn = ordered.groupby("finding", sort=False).head(1).sort_values([*across, "finding"], kind="stable")
        for row in turn[columns].itertuples(index=False, name=None):
            if row[1] not in used and len(picked) < wanted:
                used.add(row[1])
                picked.append(row)
        ordered = ordered[~ordered["patient"].isin(used)]
    return picked


def panels(view: View, data: Dataset, examples: Sequence[Example]) -> list[Panel]:
    """Draw the examples whose radiograph can be read.

    Errors: `DataError` if the data set no longer holds one of them.
    """
    wanted = {e.radiograph for e in examples}
    found = {r.id: r for r in data.radiographs if r.id in wanted}
    missing = sorted(wanted - found.keys())
    if missing:
        raise DataError(f"{data.spec!r} no longer holds {', '.join(missing)}; was it changed since the run?")
    return [_panel(view, data, found[e.radiograph], e, i) for i, e in enumerate(examples)]


def _panel(view: View, data: Dataset, radiograph: Radiograph, example: Example, number: int) -> Panel:
    source = view.best or ""
    image = radiograph.read()
    map_ = view.run.map(source, radiograph.id, example.finding)
    readers = dict(zip(("truth", "reader"), data.readers, strict=False))
    marks = {who: data.marks(radiograph.id, example.finding, reader) for who, reader in readers.items()}
    masks = {who: region(mark) for who, mark in marks.items() if mark is not None}
    shape = _fit(image.shape)
    lines = {who: _path(mask, shape) for who, mask in masks.items()}
    right, predicted = _shown(image, map_, _protocol(view))
    left_lines = [(lines.get("truth", ""), TRUTH, ""), (lines.get("reader", ""), READER, "7 4")]
    right_lines = [(lines.get("truth", ""), TRUTH, "")]
    if predicted is not None:
        right_lines.append((_path(predicted, shape), PREDICTED, "2 3"))
    svg = _pair(
        (_jpeg(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)), left_lines, ""),
        (_jpeg(cv2.resize(right, shape[::-1], interpolation=cv2.INTER_AREA)), right_lines, _unseen(map_, shape)),
        shape,
        f"example-{number + 1}",
    )
    score = f"{title(view.metrics[0])} {decimal(example.value)}"
    hit = {1.0: ", hit", 0.0: ", miss"}.get(
        example.hit, "" if np.isnan(example.hit) else f", hit {decimal(example.hit)}"
    )
    probability = "" if np.isnan(example.probability) else f", probability {decimal(example.probability)}"
    status = "" if example.status == "ok" else f", map {example.status}"
    caption = f"{score}{hit}{probability}{status}"
    alt = f"{CASES[example.case]} example: {example.finding} on radiograph {example.radiograph}. {caption}."
    return Panel(example, svg, alt, caption)


def _protocol(view: View) -> Protocol:
    """The record that the run was scored under."""
    fields = view.info.get("protocols", {}).get(view.protocol)
    return Protocol(**{**fields, "name": view.protocol}) if fields else PROTOCOLS.get(view.protocol, (CORRECTED,))[0]


def _shown(image: Array, map_: SaliencyMap | None, protocol: Protocol) -> tuple[Array, Array | None]:
    """The radiograph under its map, float32 (H, W, 3), and the predicted mask bool (H, W), None without a usable map.

    Color runs from the map's zero (from its lowest value, if that is above zero or nothing is positive) to its highest.
    """
    gray = np.repeat(image[..., None], 3, 2).astype(np.float32)  # (H, W, 3)
    if map_ is None or map_.status != "ok":
        return gray * 0.55, None
    frame = map_.frame if protocol.frame == "carried" else map_.frame.whole(map_.frame.size)
    placed, window = place(map_.values, frame)
    low, high = float(placed.min()), float(placed.max())
    base = max(low, 0.0) if high > 0 else low
    strength = np.clip((placed - base) / max(high - base, 1e-30), 0, 1)  # (H', W')
    color = _OVERLAY(0.25 + 0.75 * strength)[..., :3].astype(np.float32)
    alpha = (0.8 * np.sqrt(strength))[..., None]
    shown = gray * 0.55
    shown[window] = gray[window] * (1 - alpha) + color * alpha
    histogram = joint_histogram(placed, np.zeros(image.shape, bool), window)
    mask = np.zeros(image.shape, bool)
    mask[window] = mask_at(placed, histogram, cut_at(histogram, protocol.binarizer))
    return shown, refilled(mask) if protocol.fill_holes else mask


def _fit(size: tuple[int, ...]) -> tuple[int, int]:
    scale = _LONG_SIDE / max(size[:2])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _path(mask: Array, shape: tuple[int, int]) -> str:
    """Outlines of a mask, holes included, as SVG path data in the pixels of a picture of `shape`."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]])
    parts = []
    for contour in found:
        points = ((contour.reshape(-1, 2) + 0.5) * scale).astype(np.float32)
        points = cv2.approxPolyDP(points[:, None], 0.4, closed=True).reshape(-1, 2)
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _unseen(map_: SaliencyMap | None, shape: tuple[int, int]) -> str:
    """Path of the part of the picture that the frame leaves out; empty if it leaves nothing out."""
    if map_ is None or map_.frame.is_whole:
        return ""
    (height, width), box = map_.frame.size, map_.frame.box
    scale = (shape[0] / height, shape[1] / width)
    top, bottom = (float(np.clip(v * scale[0], 0, shape[0])) for v in box[::2])
    left, right = (float(np.clip(v * scale[1], 0, shape[1])) for v in box[1::2])
    if (top, left, bottom, right) == (0.0, 0.0, float(shape[0]), float(shape[1])):
        return ""
    inner = f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}V{top:.1f}Z"
    return f"M0 0H{shape[1]}V{shape[0]}H0Z{inner}"


def _jpeg(image: Array) -> str:
    """A picture float (h, w) or (h, w, 3) in [0, 1] as a data URI."""
    out = io.BytesIO()
    pixels = np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _pair(
    left: tuple[str, list[tuple[str, str, str]], str],
    right: tuple[str, list[tuple[str, str, str]], str],
    shape: tuple[int, int],
    name: str,
) -> str:
    height, width = shape
    gap = 6
    hatch = (
        f'<pattern id="{name}-hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="7" stroke="#ffffff" stroke-width="1" stroke-opacity=".45"/></pattern>'
    )
    body = _picture(*left, shape, 0, name) + _picture(*right, shape, width + gap, name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + gap} {height}" '
        f'width="{2 * width + gap}" height="{height}"><defs>{hatch}</defs>{body}</svg>'
    )


def _picture(
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
                f'<path d="{path}" fill="none" stroke="#000000" stroke-opacity=".55" stroke-width="4.5"/>'
                f'<path d="{path}" fill="none" stroke="{color}" stroke-width="2.2"{dashes}/>'
            )
    return f'<svg x="{x}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(drawn)}</svg>'
