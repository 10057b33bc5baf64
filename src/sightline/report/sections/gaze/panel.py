"""Grid of images of a gaze study: the image, the gaze and every map."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sightline.core import Dataset, Maps, Source
from sightline.data.gaze import ALL_GAZE, KERNELS, Gaze, gaze_density
from sightline.report.estimate import format_decimal
from sightline.report.image_grid import GridCell, GridRow, ImageGrid, map_cell, pick_median_cases, scale_evidence
from sightline.report.overlays import overlay_map, to_rgb
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models
from sightline.report.svg import Plot

MAX_FINDINGS = 4
"""Findings in the grid."""


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Draw the commonest findings, each on the radiograph whose agreement is the median of all methods and networks.

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
        The grid; None if the run compares no networks or has no scores.
    """
    models = compared_models(view)
    if not models or not view.metrics:
        return None
    scores = view.scores(view.metrics[0])
    own_sources = [source for source in scores["source"].unique() if Source.parse(source).model in models]
    cases = pick_median_cases(scores[scores["source"].isin(own_sources)], MAX_FINDINGS)
    rows = [row for finding, radiograph in cases for row in _case_rows(view, data, maps, finding, radiograph)]
    if not rows:
        return None
    headers = ["Image", "Gaze", *map(view.label, compared_methods(view))]
    names = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in cases)
    return Plot(
        "panel",
        ImageGrid(headers, rows).to_svg(),
        pd.DataFrame(cases, columns=["finding", "radiograph"]),
        f"Maps and gaze: {names}.",
        "The most frequent findings, each on the radiograph of median agreement, not the best one. The columns show "
        "the image, the gaze of the radiologist (its density, and the fixations in their order), and the map of each "
        "method; the rows show the networks. The color runs from 0 to the 99th percentile of the positive values of a "
        "map; an image without color has no positive value.",
    )


ERROR_TITLES = {"missed": "missed", "false alarm": "false alarm", "no finding": "no finding present"}
"""Kind of a case -> its text on the image."""


def draw_error_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Draw confident errors of the first network, and radiographs without a finding, with the gaze at them.

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
        The grid; None if the run compares no networks or has no such cases.
    """
    cases = view.info.get("error_cases", ()) if compared_models(view) else ()
    rows = []
    for case in cases:
        text = f"{ERROR_TITLES.get(case['kind'], case['kind'])}, {format_decimal(case['probability'])}"
        rows += _case_rows(view, data, maps, case["finding"], case["radiograph"], text)
    if not rows:
        return None
    names = "; ".join(
        f"{case['finding']} on {case['radiograph']}: {case['kind']}, probability {format_decimal(case['probability'])}"
        for case in cases
    )
    first = compared_models(view)[0].replace("-", " ")
    return Plot(
        "error-panel",
        ImageGrid(["Image", "Gaze", *map(view.label, compared_methods(view))], rows).to_svg(),
        pd.DataFrame(cases),
        f"Maps and gaze where the prediction is wrong. {names}.",
        f"Confident errors of the network {first}, and radiographs on which none of these findings is present. Missed "
        "findings have the lowest probability among the present ones, false alarms the highest among the absent ones "
        "on radiographs with another finding; on a radiograph without a finding, the one with the highest probability "
        "is explained, and the radiograph is typical for that probability. The number is the probability that this "
        "network gives. The maps of all networks explain the same finding.",
    )


def _case_rows(
    view: RunView, data: Dataset, maps: Maps, finding: str, radiograph: str, text: str = ""
) -> list[GridRow]:
    """Make a row for each network, with image and gaze in the first one."""
    reader = str(view.info.get("options", {}).get("reader", ""))
    annotation = data.annotation(radiograph, ALL_GAZE, reader)
    if annotation is None:
        return []
    gaze: Gaze = annotation.read()
    image = next(r for r in data.radiographs if r.id == radiograph).read()
    density = scale_evidence(gaze_density(gaze, KERNELS["corrected"], (128, 128)), image.shape)
    positions = gaze.positions / np.array(gaze.size) * np.array(image.shape)
    fixations = np.column_stack([positions, gaze.duration])
    first = [GridCell(to_rgb(image), text=text), GridCell(overlay_map(image, density), path=fixations)]
    by_key = {(m.source, m.finding): m for m in maps.maps_for(radiograph)}
    return [
        GridRow(
            "" if i else finding,
            name.replace("-", " "),
            [
                *([None, None] if i else first),
                *(map_cell(image, by_key.get((f"{name}/{method}", finding))) for method in compared_methods(view)),
            ],
        )
        for i, name in enumerate(compared_models(view))
    ]
