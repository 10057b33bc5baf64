"""Grid of images of a self-explaining study: the annotation and the map of every network."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Maps, SaliencyMap, Source
from sightline.imaging.geometry import project_whole
from sightline.imaging.masks import rasterize_annotation
from sightline.report.example_panels import REFERENCE_OUTLINE, outline_path
from sightline.report.run_view import RunView, format_decimal
from sightline.report.sections.gaze.panel import _image_element, _overlay_density, _shorten, _text_element
from sightline.report.sections.selfexplain.results import MAIN_METRIC, intrinsic_source, localizers
from sightline.report.svg import INK, MUTED, PAGE_WIDTH, PAPER, Plot
from sightline.stats.utility import AVERAGE_MASK

MAX_FINDINGS = 5

_LABEL, _HEAD, _GAP = 128, 40, 6


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Of every finding the film on which the element's own map scores its median."""
    chosen, scores = _pick_median_cases(view)
    if not chosen:
        return None
    first = str(view.info["self_explaining_model"])
    columns = [intrinsic_source(view), f"{first}/grad-cam", "baseline/grad-cam", "baseline/gradient", *localizers(view)]
    columns = [s for s in columns if s in view.sources and s != AVERAGE_MASK]
    side = (PAGE_WIDTH - _LABEL) / (1 + len(columns)) - _GAP
    heads = ["Film and mark", *(_column_title(view, s) for s in columns)]
    drawn = [_text_element(_LABEL + i * (side + _GAP), 26, _shorten(head, 16), MUTED) for i, head in enumerate(heads)]
    by_id, top = {r.id: r for r in data.radiographs}, float(_HEAD)
    for finding, radiograph in chosen:
        film = by_id[radiograph].read()
        mark = data.annotation(radiograph, finding, data.reference_reader)
        if mark is None:
            continue
        height = side * film.shape[0] / film.shape[1]
        held = {m.source: m for m in maps.maps_for(radiograph) if m.finding == finding}
        path = outline_path(rasterize_annotation(mark), (height, side))
        line = f'<path d="{path}" fill="none" stroke="{REFERENCE_OUTLINE}" stroke-width="1.2"/>'
        drawn.append(_text_element(0, top + 14, _shorten(finding, 17), INK))
        drawn.append(_image_element(np.repeat(film[..., None], 3, 2), _LABEL, top, side, height))
        drawn.append(f'<g transform="translate({_LABEL} {top:.1f})">{line}</g>')
        for i, source in enumerate(columns, start=1):
            x = _LABEL + i * (side + _GAP)
            drawn.append(_image_element(_overlay_map(film, held.get(source)), x, top, side, height))
            drawn.append(f'<g transform="translate({x:.1f} {top:.1f})">{line}</g>')
            value = scores.get((source, radiograph, finding), float("nan"))
            drawn.append(_text_element(x + 4, top + height - 6, format_decimal(value), "#ffffff"))
        top += height + _GAP + 4
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
        f"Maps beside marks: {shown}.",
        "For each finding the film on which the element's own map scores its median, not its best. The line is the "
        "mark, the number the map's average precision. Color runs from a map's lowest value, or 0, to its highest.",
    )


def _column_title(view: RunView, source: str) -> str:
    parsed = Source.parse(source)
    if parsed.kind == "localizer":
        return parsed.model.replace("-", " ")
    return (
        "own map"
        if source == intrinsic_source(view)
        else view.label(parsed.method) + ", plain" * (parsed.model == "baseline")
    )


def _pick_median_cases(view: RunView) -> tuple[list[tuple[str, str]], dict[tuple[str, str, str], float]]:
    if not intrinsic_source(view) or not view.metrics:
        return [], {}
    scores = view.scores(MAIN_METRIC)
    values = {
        (s, r, f): v
        for s, r, f, v in zip(*(scores[c] for c in ("source", "radiograph", "finding", "value")), strict=True)
    }
    mine, chosen = scores[scores["source"] == intrinsic_source(view)], list[tuple[str, str]]()
    for finding in mine["finding"].value_counts(sort=True).index[:MAX_FINDINGS]:
        part = mine[(mine["finding"] == finding) & ~mine["radiograph"].isin([r for _, r in chosen])]
        if len(part):
            part = part.sort_values(["value", "radiograph"])
            chosen.append((str(finding), str(part["radiograph"].iloc[len(part) // 2])))
    return chosen, values


def _overlay_map(film: Array, m: SaliencyMap | None) -> Array:
    if m is None or not m.values.size or not np.isfinite(m.values).all():
        return np.repeat(film[..., None], 3, 2).astype(np.float32)
    lowest = min(float(m.values.min()), 0.0) if m.values.min() < 0 < m.values.max() else float(m.values.min())
    small = project_whole(np.asarray(m.values, np.float32) - max(lowest, 0.0), m.frame)
    return _overlay_density(film, cv2.resize(np.maximum(small, 0), (256, 256), interpolation=cv2.INTER_AREA))
