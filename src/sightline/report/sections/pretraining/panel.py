"""Grid of images of a pre-training study: the image, and the map of each initialization."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Maps, SaliencyMap
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.resample import resample_to_grid
from sightline.report.image_grid import GridCell, GridRow, ImageGrid, highlight_top, map_cell, pick_median_cases
from sightline.report.overlays import to_rgb
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining.results import format_share, initializations, main_metric
from sightline.report.svg import Plot

MAX_FINDINGS = 4
"""Findings in the grid."""
IMAGES_PER_FINDING = 2
"""Radiographs of each finding."""


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Draw the maps of the first method with the smallest share of labels; writes RUN/figures/panel.png for print.

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
        The grid; None if the run has no maps of initializations.
    """
    explained = view.info.get("explained_models", ())
    if not initializations(view) or not explained or not view.metrics:
        return None
    smallest = min(row["fraction"] for row in explained)
    models = {row["initialization"]: row["model"] for row in explained if row["fraction"] == smallest}
    method = view.info.get("options", {}).get("methods", ["gradient"])[0]
    sources = {init: f"{model}/{method}" for init, model in models.items()}
    scores = view.scores(main_metric(view))
    cases = pick_median_cases(scores[scores["source"].isin(sources.values())], MAX_FINDINGS, IMAGES_PER_FINDING)
    rows = [_case_row(data, maps, finding, radiograph, list(sources.values())) for finding, radiograph in cases]
    if not rows:
        return None
    grid = ImageGrid(["Image", *(header for init in sources for header in (init, "top 10 %"))], rows)
    grid.write_png(view.run.path / "figures" / "panel.png")
    names = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in cases)
    return Plot(
        "panel",
        grid.to_svg(),
        pd.DataFrame(cases, columns=["finding", "radiograph"]),
        f"Maps: {names}.",
        f"Maps of {view.label(method)} with {format_share(smallest)} of the labels. The columns show the image with "
        "its annotation, and for each initialization the map of the row's finding and the highest tenth of its places. "
        "The color runs from 0 to the 99th percentile of the positive values of a map. The rows are the most frequent "
        "findings, with the two radiographs of each whose average score is nearest to the median, not the best ones.",
    )


def _case_row(data: Dataset, maps: Maps, finding: str, radiograph: str, sources: list[str]) -> GridRow:
    image = next(r for r in data.radiographs if r.id == radiograph).read()
    annotation = data.annotation(radiograph, finding, data.reference_reader)
    mask = None if annotation is None else rasterize_annotation(annotation)
    by_source = {m.source: m for m in maps.maps_for(radiograph) if m.finding == finding}
    pairs = [
        (map_cell(image, by_source.get(source)), GridCell(highlight_top(image, _evidence(by_source.get(source)))))
        for source in sources
    ]
    return GridRow(finding, "", [GridCell(to_rgb(image), mask), *(cell for pair in pairs for cell in pair)])


def _evidence(saliency_map: SaliencyMap | None) -> Array:
    return np.zeros((2, 2)) if saliency_map is None else np.maximum(resample_to_grid(saliency_map), 0)
