"""Choice of example maps, by rules that the report states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sightline.report.run_view import RunView

CATEGORIES = {"best": "Best", "typical": "Typical", "worst": "Worst"}
CATEGORIES_RULE = (
    "For each finding we took its best and its worst map by {metric}, and show the three best and the three worst of "
    "those; among equal ones the map with the highest probability comes first. Typical maps are those nearest to the "
    "median of their finding, for the findings with most maps. Each patient, and each finding of a column, is shown "
    "once where possible. Maps that failed have no image; they are listed below."
)


POOR_OVERLAP, GOOD_OVERLAP = 0.25, 0.5
"""IoU below which overlap counts as low, and from which it counts as high: half is the usual criterion of detectors."""
DISAGREEMENTS = {"hit": "Hit with low overlap", "overlap": "Miss with high overlap"}
DISAGREEMENTS_RULE = (
    f"Overlap and pointing measure different properties. Hits with low overlap are the hits with the lowest IoU below "
    f"{POOR_OVERLAP:g}; misses with high overlap are the misses with the highest IoU of {GOOD_OVERLAP:g} or more. Each "
    "patient is shown once where possible."
)
NO_DISAGREEMENT = {
    "hit": f"No map that hits has an IoU below {POOR_OVERLAP:g}.",
    "overlap": f"No map that misses has an IoU of {GOOD_OVERLAP:g} or more.",
}
SHAPE_TITLES = {
    "instances": "Many components",
    "size": "Small",
    "elongation": "Elongated",
    "irrectangularity": "Different from a rectangle",
}
SHAPE_TITLES_RULE = (
    "Annotations at the 95th percentile of each feature (size: at the 5th percentile). The rectangle is the smallest "
    "one around the component with the longest outline."
)
EXAMPLE_TITLES = {**{case: f"{name} example" for case, name in CATEGORIES.items()}, **DISAGREEMENTS, **SHAPE_TITLES}


@dataclass(frozen=True, slots=True)
class Example:
    """Map chosen as an example."""

    category: str
    radiograph: str
    patient: str
    finding: str
    value: float
    hit: float
    probability: float


def choose_examples(view: RunView, per_category: int = 3) -> list[Example]:
    """Choose the best, typical and worst maps of the best source by its first metric, over findings and patients.

    Parameters
    ----------
    view : RunView
        The run.
    per_category : int
        Number of maps in each category.

    Returns
    -------
    list of Example
        The chosen maps, sorted by category; none if the run has no trained model.
    """
    if view.best is None:
        return []
    rows = _candidate_rows(view)
    by_finding = rows.groupby("finding")["value"]
    rows["off"] = (rows["value"] - by_finding.transform("median")).abs()
    rows["n"] = -by_finding.transform("size")
    rows["sure"] = -rows["probability"].fillna(0)
    rows["fall"] = -rows["value"]
    rules = {
        "best": (["fall", "sure"], ["fall", "sure"]),
        "worst": (["value", "sure"], ["value", "sure"]),
        "typical": (["off", "sure"], ["n"]),
    }
    chosen: list[Example] = []
    for _ in range(per_category):  # one of each category in turn, so that few maps are distributed evenly
        for case, (within, across) in rules.items():
            example = _next_example(rows, case, within, across, chosen)
            chosen += [example] if example else []
    return sorted(chosen, key=lambda e: list(CATEGORIES).index(e.category))


def _next_example(
    rows: pd.DataFrame, case: str, within: list[str], across: list[str], chosen: list[Example]
) -> Example | None:
    """Choose the next example of a category: the first map by `within` of the finding whose turn it is by `across`."""
    pairs_chosen = {(e.radiograph, e.finding) for e in chosen}
    pairs = zip(rows["radiograph"], rows["finding"], strict=True)
    left = rows[np.array([pair not in pairs_chosen for pair in pairs], bool)]
    others = left[~left["patient"].isin({e.patient for e in chosen})]
    left = others if len(others) else left
    if not len(left):
        return None
    turns = [e.finding for e in chosen if e.category == case]
    first = left.sort_values([*within, "radiograph"], kind="stable").groupby("finding", sort=False).head(1)
    first = first.assign(turn=[turns.count(f) for f in first["finding"]]).sort_values(["turn", *across, "finding"])
    columns = ["radiograph", "patient", "finding", "value", "hit", "probability"]
    return Example(case, *next(first[columns].itertuples(index=False, name=None)))


def _candidate_rows(view: RunView) -> pd.DataFrame:
    """Scored maps of the best source, with whether they hit."""
    rows = view.scores(view.metrics[0]).dropna(subset="value")
    rows = rows[(rows["source"] == view.best) & (rows["status"] == "ok")].copy()
    hits = view.scores("pointing-game").query("source == @view.best").set_index(["radiograph", "finding"])["value"]
    rows["hit"] = [hits.get((r, f), np.nan) for r, f in zip(rows["radiograph"], rows["finding"], strict=True)]
    return rows


def choose_disagreements(view: RunView, per_category: int = 2) -> list[Example]:
    """Choose maps on which overlap and pointing disagree most.

    Parameters
    ----------
    view : RunView
        The run.
    per_category : int
        Number of maps in each category.

    Returns
    -------
    list of Example
        The chosen maps; none if the metrics never disagree.
    """
    if view.best is None or not {"iou", "pointing-game"} <= set(view.metrics):
        return []
    rows = _candidate_rows(view)
    rows["fall"] = -rows["value"]
    chosen: list[Example] = []
    hits, misses = rows["hit"] == 1, rows["hit"] == 0
    for case, those, order in (
        ("hit", rows[hits & (rows["value"] < POOR_OVERLAP)], "value"),
        ("overlap", rows[misses & (rows["value"] >= GOOD_OVERLAP)], "fall"),
    ):
        for _ in range(per_category):
            example = _next_example(those, case, [order], [order], chosen)
            chosen += [example] if example else []
    return chosen


def choose_shapes(view: RunView) -> list[Example]:
    """Choose one annotation for each geometric feature, extreme but not the most extreme.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Example
        The chosen maps.
    """
    table = view.analysis("shapes").replace([np.inf, -np.inf], np.nan)
    if view.best is None or table.empty:
        return []
    rows = _candidate_rows(view).merge(table[["radiograph", "finding", *SHAPE_TITLES]], on=["radiograph", "finding"])
    chosen: list[Example] = []
    for feature in SHAPE_TITLES:
        known = rows.dropna(subset=feature)
        if len(known):
            at = float(known[feature].quantile(0.05 if feature == "size" else 0.95))
            near = known.assign(off=(known[feature] - at).abs())
            example = _next_example(near, feature, ["off"], ["off"], chosen)
            chosen += [example] if example else []
    return chosen


def shape_caption(view: RunView, example: Example) -> str:
    """Describe the feature that an annotation was chosen for.

    Parameters
    ----------
    view : RunView
        The run.
    example : Example
        The example.

    Returns
    -------
    str
        Text to append to a caption; empty for other examples.
    """
    if example.category not in SHAPE_TITLES:
        return ""
    table = view.analysis("shapes")
    row = table[(table["radiograph"] == example.radiograph) & (table["finding"] == example.finding)]
    value = float(row[example.category].iloc[0])
    texts = {"instances": f"{value:.0f} components", "size": f"{100 * value:.2g} % of the image"}
    return ", " + texts.get(example.category, f"{example.category} {value:.2f}")
