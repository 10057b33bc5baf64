"""Grid of images of a gaze study: the image, the gaze and every map."""

from __future__ import annotations

from html import escape

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Maps, SaliencyMap, Source
from sightline.data.gaze import ALL_GAZE, KERNELS, Gaze, gaze_density
from sightline.maps.resample import extract_evidence, resample_to_grid
from sightline.report.example_panels import encode_jpeg
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models
from sightline.report.svg import INK, MUTED, PAGE_WIDTH, PAPER, Plot

MAX_FINDINGS = 4
"""Findings shown."""

_COLORS = mpl.colormaps["magma"]

_LABEL, _HEAD, _GAP = 128, 40, 6


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """The commonest findings, each on the film whose agreement is the median of all methods and networks."""
    chosen = _pick_median_cases(view)
    if not chosen:
        return None
    names, columns = compared_models(view), compared_methods(view)
    side = (PAGE_WIDTH - _LABEL) / (2 + len(columns)) - _GAP
    heads = ["Film", "Gaze", *map(view.label, columns)]
    drawn = [_text_element(_LABEL + i * (side + _GAP), 26, _shorten(head), MUTED) for i, head in enumerate(heads)]
    by_id = {r.id: r for r in data.radiographs}
    reader, top = str(view.info.get("options", {}).get("reader", "")), float(_HEAD)
    for finding, radiograph in chosen:
        film = by_id[radiograph].read()
        height = side * film.shape[0] / film.shape[1]
        mark = data.annotation(radiograph, ALL_GAZE, reader)
        if mark is None:
            continue
        gaze: Gaze = mark.read()
        held = {(m.source, m.finding): m for m in maps.maps_for(radiograph)}
        drawn.append(_text_element(0, top + 14, _shorten(finding, 17), INK))
        for row, name in enumerate(names):
            drawn.append(_text_element(0, top + 32 if row == 0 else top + 14, name.replace("-", " "), MUTED))
            cells = [] if row else [film, _overlay_density(film, gaze_density(gaze, KERNELS["corrected"], (128, 128)))]
            cells += [_overlay_map(film, held.get((f"{name}/{m}", finding))) for m in columns]
            for i, cell in enumerate(cells, start=2 + len(columns) - len(cells)):
                drawn.append(_image_element(cell, _LABEL + i * (side + _GAP), top, side, height))
            if row == 0:
                drawn.append(_scanpath_element(gaze, _LABEL + side + _GAP, top, side, height))
            top += height + _GAP
        top += 10
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_WIDTH:g}" height="{top:.0f}" '
        f'viewBox="0 0 {PAGE_WIDTH:g} {top:.0f}" font-family="system-ui, sans-serif">'
        f'<rect width="{PAGE_WIDTH:g}" height="{top:.0f}" fill="{PAPER}"/>{"".join(drawn)}</svg>'
    )
    shown = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in chosen)
    return Plot(
        "panel",
        svg,
        pd.DataFrame(chosen, columns=["finding", "radiograph"]),
        f"Maps beside gaze: {shown}.",
        "The commonest findings, each on the film of median agreement, not the best: the film, where the radiologist "
        "looked (density, and fixations in their order), and each method on each network. Color runs from nothing to "
        "the 99th percentile of a map's positive values; an empty picture is a map without any.",
    )


def _pick_median_cases(view: RunView) -> list[tuple[str, str]]:
    """(finding, radiograph): of the commonest findings, the case of median score, no film twice."""
    if not compared_models(view) or not view.metrics:
        return []
    scores = view.scores(view.metrics[0])
    known = [s for s in scores["source"].unique() if Source.parse(s).model in compared_models(view)]
    scores = scores[scores["source"].isin(known)]
    means = scores.groupby(["finding", "radiograph"], sort=False)["value"].mean().reset_index()
    chosen: list[tuple[str, str]] = []
    for finding in means["finding"].value_counts(sort=True).index[:MAX_FINDINGS]:
        part = means[(means["finding"] == finding) & ~means["radiograph"].isin([r for _, r in chosen])]
        if len(part):
            part = part.sort_values(["value", "radiograph"])
            chosen.append((str(finding), str(part["radiograph"].iloc[len(part) // 2])))
    return chosen


def _overlay_map(film: Array, m: SaliencyMap | None) -> Array:
    values = np.zeros((1, 1)) if m is None else extract_evidence(resample_to_grid(m), "corrected")
    return _overlay_density(film, values)


def _overlay_density(film: Array, values: Array) -> Array:
    """The film under a density (h, w): float32 (H, W, 3)."""
    positive = values[values > 0]  # a single bright place would leave all others unseen
    scaled = (values / (np.percentile(positive, 99) if positive.size else 1)).astype(np.float32)
    strength = cv2.resize(scaled, film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    gray = np.repeat(film[..., None], 3, 2).astype(np.float32)
    alpha = (0.8 * np.clip(strength, 0, 1) ** 0.7)[..., None]
    color = _COLORS(0.25 + 0.75 * np.clip(strength, 0, 1))[..., :3].astype(np.float32)
    shown: Array = gray * (1 - alpha) + color * alpha
    return shown


def _image_element(picture: Array, x: float, y: float, width: float, height: float) -> str:
    small = cv2.resize(picture.astype(np.float32), (round(2 * width), round(2 * height)), interpolation=cv2.INTER_AREA)
    return f'<image href="{encode_jpeg(small)}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _scanpath_element(gaze: Gaze, x: float, y: float, width: float, height: float) -> str:
    """Fixations in their order: a line, and circles by duration."""
    points = gaze.positions / np.array(gaze.size) * np.array([height, width]) + np.array([y, x])
    line = "M" + "L".join(f"{c:.1f} {r:.1f}" for r, c in points)
    radii = np.clip(np.sqrt(gaze.duration) * 5, 1, 6)
    circles = "".join(
        f'<circle cx="{c:.1f}" cy="{r:.1f}" r="{k:.1f}"/>' for (r, c), k in zip(points, radii, strict=True)
    )
    return (
        f'<path d="{line}" fill="none" stroke="#2ee6c5" stroke-opacity=".7" stroke-width=".8"/>'
        f'<g fill="#2ee6c5" fill-opacity=".55">{circles}</g>'
    )


def _text_element(x: float, y: float, text: str, color: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{color}">{escape(text)}</text>'


def _shorten(text: str, max_length: int = 18) -> str:
    text = text.partition(" (")[0]
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"
