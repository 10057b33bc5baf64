"""The panel of a pre-training study: findings in rows; the film, each beginning's map, and its highest tenth beside."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Maps, SaliencyMap
from sightline.imaging.geometry import region
from sightline.maps.resample import on_grid
from sightline.report.image_grid import Mosaic, film, highest, over
from sightline.report.run_view import View
from sightline.report.sections.pretraining import inits
from sightline.report.svg import Plot

ROWS = 4
"""Findings shown."""
PER_FINDING = 2
"""Films of each."""


def panel(view: View, data: Dataset, maps: Maps) -> Plot | None:
    """Of the smallest share of labels and the first method; writes RUN/figures/panel.png for print beside the SVG."""
    made = mosaic(view, data, maps)
    if made is None:
        return None
    sheet, cases, what = made
    sheet.png(view.run.path / "figures" / "panel.png")
    shown = "; ".join(f"{finding} on {radiograph}" for finding, radiograph in cases)
    return Plot(
        "panel", sheet.svg(), pd.DataFrame(cases, columns=["finding", "radiograph"]), f"Maps: {shown}.",
        f"{what}: the film with its mark, each beginning's map of the finding of the row, and the highest tenth of its "
        "places. Color runs from 0 to a map's 99th percentile. The commonest findings, two films of each in the order "
        "of the data set, not the best.",
    )  # fmt: skip


def mosaic(view: View, data: Dataset, maps: Maps) -> tuple[Mosaic, list[tuple[str, str]], str] | None:
    """Pictures, (finding, radiograph) of each row, and what they are of."""
    shown = view.info.get("shown", ())
    if not inits(view) or not shown:
        return None
    least = min(row["fraction"] for row in shown)
    names = {row["init"]: row["model"] for row in shown if row["fraction"] == least}
    method = view.info.get("options", {}).get("methods", ["gradient"])[0]
    cases = _cases(view)
    by_id, rows = {r.id: r for r in data.radiographs}, []
    for finding, radiograph in cases:
        image = by_id[radiograph].read()
        mark = data.marks(radiograph, finding, data.truth)
        mask = None if mark is None else region(mark)
        held = {(m.source, m.finding): m for m in maps.of(radiograph)}
        values = [_values(held.get((f"{name}/{method}", finding))) for name in names.values()]
        rows.append((finding, [film(image, mask), *(p for v in values for p in (over(image, v), highest(image, v)))]))
    heads = ["Film", *(head for init in names for head in (init, "top 10 %"))]
    return Mosaic(heads, rows), cases, f"{view.label(method)}, {100 * least:g} % of the labels"


def _cases(view: View) -> list[tuple[str, str]]:
    scores = view.scores(view.metrics[0]) if view.metrics else pd.DataFrame(columns=["finding", "radiograph"])
    scores = scores.drop_duplicates(["finding", "radiograph"])
    common = scores["finding"].value_counts(sort=True).index[:ROWS]
    return [
        (str(f), str(r)) for f in common for r in sorted(scores[scores["finding"] == f]["radiograph"])[:PER_FINDING]
    ]


def _values(m: SaliencyMap | None) -> Array:
    return np.zeros((2, 2)) if m is None else np.maximum(on_grid(m), 0)
