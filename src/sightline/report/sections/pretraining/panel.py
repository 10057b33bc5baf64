"""Grid of images of a pre-training study: the image, and the map of each initialization."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Maps, SaliencyMap
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.resample import resample_to_grid
from sightline.report.image_grid import ImageGrid, highlight_top, outline_image, overlay_map
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining.results import initializations
from sightline.report.svg import Plot

MAX_FINDINGS = 4
"""Findings shown."""

IMAGES_PER_FINDING = 2
"""Films of each."""


def draw_panel(view: RunView, data: Dataset, maps: Maps) -> Plot | None:
    """Of the smallest share of labels and the first method; writes RUN/figures/panel.png for print beside the SVG."""
    made = build_image_grid(view, data, maps)
    if made is None:
        return None
    sheet, cases, what = made
    sheet.write_png(view.run.path / "figures" / "panel.png")
    shown = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in cases)
    return Plot(
        "panel",
        sheet.to_svg(),
        pd.DataFrame(cases, columns=["finding", "radiograph"]),
        f"Maps: {shown}.",
        f"{what}: the film with its mark, each beginning's map of the finding of the row, and the highest tenth of its "
        "places. Color runs from 0 to a map's 99th percentile. The commonest findings, two films of each in the order "
        "of the data set, not the best.",
    )


def build_image_grid(view: RunView, data: Dataset, maps: Maps) -> tuple[ImageGrid, list[tuple[str, str]], str] | None:
    """Pictures, (finding, radiograph) of each row, and what they are of."""
    shown = view.info.get("explained_models", ())
    if not initializations(view) or not shown:
        return None
    least = min(row["fraction"] for row in shown)
    names = {row["initialization"]: row["model"] for row in shown if row["fraction"] == least}
    method = view.info.get("options", {}).get("methods", ["gradient"])[0]
    cases = _pick_cases(view)
    by_id, rows = {r.id: r for r in data.radiographs}, []
    for finding, radiograph in cases:
        image = by_id[radiograph].read()
        mark = data.annotation(radiograph, finding, data.reference_reader)
        mask = None if mark is None else rasterize_annotation(mark)
        held = {(m.source, m.finding): m for m in maps.maps_for(radiograph)}
        values = [_positive_map(held.get((f"{name}/{method}", finding))) for name in names.values()]
        rows.append(
            (
                finding,
                [
                    outline_image(image, mask),
                    *(p for v in values for p in (overlay_map(image, v), highlight_top(image, v))),
                ],
            )
        )
    heads = ["Film", *(head for init in names for head in (init, "top 10 %"))]
    return ImageGrid(heads, rows), cases, f"{view.label(method)}, {100 * least:g} % of the labels"


def _pick_cases(view: RunView) -> list[tuple[str, str]]:
    scores = view.scores(view.metrics[0]) if view.metrics else pd.DataFrame(columns=["finding", "radiograph"])
    scores = scores.drop_duplicates(["finding", "radiograph"])
    common = scores["finding"].value_counts(sort=True).index[:MAX_FINDINGS]
    return [
        (str(f), str(r))
        for f in common
        for r in sorted(scores[scores["finding"] == f]["radiograph"])[:IMAGES_PER_FINDING]
    ]


def _positive_map(m: SaliencyMap | None) -> Array:
    return np.zeros((2, 2)) if m is None else np.maximum(resample_to_grid(m), 0)
