"""Grid of images of a self-explaining study: the annotation and the map of every network."""

from __future__ import annotations

import pandas as pd

from sightline.core import Dataset, Maps, Source
from sightline.imaging.masks import rasterize_annotation
from sightline.report.estimate import format_decimal
from sightline.report.image_grid import GridCell, GridRow, ImageGrid, map_cell, pick_median_cases
from sightline.report.overlays import to_rgb
from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain.results import MAIN_METRIC, baseline_name, intrinsic_source, localizers
from sightline.report.svg import Plot
from sightline.stats.utility import AVERAGE_MASK

MAX_FINDINGS = 5
"""Findings in the grid."""


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Draw for each finding the radiograph on which the intrinsic map has its median score.

    Parameters
    ----------
    view : RunView
        The run.
    data : Dataset
        Its data set.
    maps : Maps
        Its maps.

    Returns
    -------
    Plot or None
        The grid; None if the run has no scores of the intrinsic map.
    """
    if not intrinsic_source(view) or not view.metrics:
        return None
    first = str(view.info["self_explaining_model"])
    posthoc = [f"{first}/grad-cam", *(f"{baseline_name(view)}/{method}" for method in ("grad-cam", "gradient"))]
    sources = [intrinsic_source(view), *posthoc, *localizers(view)]
    sources = [s for s in sources if s in view.sources and s != AVERAGE_MASK]
    scores = view.scores(MAIN_METRIC)
    cases = pick_median_cases(scores[scores["source"] == intrinsic_source(view)], MAX_FINDINGS)
    columns = (scores[name] for name in ("source", "radiograph", "finding", "value"))
    values = {(s, r, f): v for s, r, f, v in zip(*columns, strict=True)}
    rows = []
    for finding, radiograph in cases:
        annotation = data.annotation(radiograph, finding, data.reference_reader)
        if annotation is None:
            continue
        image, mask = next(r for r in data.radiographs if r.id == radiograph).read(), rasterize_annotation(annotation)
        by_source = {m.source: m for m in maps.maps_for(radiograph) if m.finding == finding}
        texts = {s: format_decimal(values.get((s, radiograph, finding), float("nan"))) for s in sources}
        cells = [map_cell(image, by_source.get(s), mask, texts[s]) for s in sources]
        rows.append(GridRow(finding, "", [GridCell(to_rgb(image), mask), *cells]))
    if not rows:
        return None
    names = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in cases)
    return Plot(
        "panel",
        ImageGrid(["Image", *(_column_title(view, s) for s in sources)], rows).to_svg(),
        pd.DataFrame(cases, columns=["finding", "radiograph"]),
        f"Maps and annotations: {names}.",
        "For each finding, the radiograph on which the intrinsic map has its median score, not the best one. The line "
        "is the annotation, the number is the average precision of the map. The color runs from the lowest value of a "
        "map, or 0, to the 99th percentile of its positive values.",
    )


def _column_title(view: RunView, source: str) -> str:
    parsed = Source.parse(source)
    if parsed.kind == "localizer":
        return parsed.model.replace("-", " ")
    if source == intrinsic_source(view):
        return "Intrinsic map"
    return view.label(parsed.method) + (", baseline" if parsed.model == baseline_name(view) else "")
