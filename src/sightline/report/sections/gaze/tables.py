"""Tables of a gaze study, in the layout of the published ones."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.data.gaze import BOX_SUFFIX, KERNELS
from sightline.evaluation.gaze_agreement import PUBLISHED_REGIONS
from sightline.maps.resample import GRID_SHAPE
from sightline.report.estimate import AVERAGE, Estimate, format_decimal
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models, read_table
from sightline.report.summary import protocol_of
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.stats.gaze_agreement import find_duplicate_rows

_MAX_FINDINGS = 6
"""Findings in the table of the published layout, which has as many."""


def ssim_table(view: RunView) -> Table | None:
    """Make the table of the SSIM of correct and incorrect predictions in the published layout.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "correctness")
    if table.empty:
        return None
    table = table[(table["metric"] == "ssim") & (table["finding"] != AVERAGE)]
    counts = table.groupby("finding")["n"].max().sort_values(ascending=False)
    findings = list(counts.index[:_MAX_FINDINGS])
    rows = []
    for name in compared_models(view):
        for method in compared_methods(view):
            part = table[table["source"] == f"{name}/{method}"]
            cells = {str(row["finding"]): row for row in part.to_dict("records")}
            if cells:
                rows.append([name, view.label(method), *(_cell(cells, f) for f in findings)])
    caption = (
        "SSIM with gaze of correct (✓) and incorrect (✗) predictions, mean [95 % interval] and number of cases; p of "
        "the difference, adjusted by Holm over the findings of a row. " + ssim_settings(view)
    )
    head = ["Network", "Method", *(f"{f}, n = {counts[f]}" for f in findings)]
    return Table.create(caption, head, rows, 2, "correctness")


def ssim_settings(view: RunView) -> str:
    """Describe the settings of the SSIM.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        One paragraph.
    """
    definition = protocol_of(view).definitions
    kernel = KERNELS[definition]
    width = f"{kernel.pixels:g} pixels of the image" if kernel.pixels else f"{kernel.degrees:g}° of visual angle"
    weight = "every fixation has the same weight" if kernel.weight == "count" else "fixations are weighted by duration"
    maps = "magnitudes of maps" if definition == "published" else "positive parts of maps"
    return (
        f"Gaze is a sum of Gaussians of {width}; {weight}. {maps.capitalize()} and gaze are resampled to "
        f"{GRID_SHAPE[0]} × {GRID_SHAPE[1]} cells and scaled to [0, 1]; uniform window of 7 × 7, data range 1."
    )


def _cell(cells: Mapping[str, dict[Hashable, Any]], finding: str) -> str:
    if finding not in cells:
        return "–"
    row = cells[finding]
    parts = []
    for sign, k in (("✓", "correct"), ("✗", "incorrect")):
        mean, _, ends = Estimate(row[k], row[f"{k}_low"], row[f"{k}_high"], 0, 0).text().partition(" [")
        parts += [f"{sign} {mean} n {int(row[f'{k}_n'])}", *([f"[{ends}"] if ends else [])]
    return "\n".join([*parts, f"p {_format_p(row['p_holm'])}"])


def _format_p(value: float) -> str:
    return "–" if value != value else "< 0.001" if value < 0.001 else format_decimal(value, 3)


def published_ssim_table(view: RunView) -> Table | None:
    """Make the table as published, and name the values that are printed twice in it.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not compared_models(view):
        return None
    facts = load_published()["gaze"]
    findings = list(facts["cases"])
    rows = [
        [name, view.label(method), *("✓ {:.3f}\n✗ {:.3f}".format(*values[f]) for f in findings)]
        for name, methods in facts["ssim"].items()
        for method, values in methods.items()
    ]
    twice = []
    for name, methods in facts["ssim"].items():
        flat = pd.DataFrame({m: [v for f in findings for v in values[f]] for m, values in methods.items()}).T
        twice += [
            f"{name}: {view.label(a)} and {view.label(b)} agree in {n} of {flat.shape[1]} cells"
            for a, b, n in find_duplicate_rows(flat)
        ]
    caption = f"Published: {facts['citation']}. {facts['note']}. Printed twice in it: {'; '.join(twice)}."
    return Table.create(caption, ["Network", "Method", *(f"{f}, n = {facts['cases'][f]}" for f in findings)], rows, 2)


def gain_table(view: RunView) -> Table | None:
    """Make the table of paired differences between networks by method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    metrics = [m for m in ("shuffled-ncc", "ncc", "ssim", "nss", "shuffled-ncc@spoken") if _has_metric(view, m)]
    rows = []
    for method in compared_methods(view) if compared_models(view) else ():
        for name, versus in view.info.get("pairs", ()):
            numbers = [view.difference(f"{name}/{method}", f"{versus}/{method}", metric) for metric in metrics]
            if any(number.is_defined for number in numbers):
                cells = [number.text(3).replace(" [", "\n[") for number in numbers]
                rows.append([view.label(method), f"{name} minus {versus}", *cells])
    if not rows:
        return None
    caption = "Paired differences between networks, averaged over findings, mean [95 % interval]"
    return Table.create(caption, ["Method", "Networks", *map(metric_title, metrics)], rows, 2, "differences")


def _has_metric(view: RunView, metric: str) -> bool:
    return bool((view.estimates["metric"] == metric).any())


def region_table(view: RunView) -> Table | None:
    """Make the table of the most salient regions of each source and their distance from those of the gaze.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    rows = []
    for source, part in _region_rows(view, "regions"):
        shares = {r["region"]: _to_estimate(r) for r in part.to_dict("records")}
        rows.append([view.label(source), *(shares[r].text() for r in PUBLISHED_REGIONS), *_distance_cells(part)])
    caption = (
        "Most salient region, share of cases [95 % interval]; distance from the distribution of the gaze (total "
        "variation, 0 to 1), and p by exchanging map and gaze patient by patient"
    )
    return (
        Table.create(caption, ["Source", *PUBLISHED_REGIONS, *_DISTANCE_COLUMNS], rows, 1, "region_distributions")
        if rows
        else None
    )


def rectangle_table(view: RunView) -> Table | None:
    """Make the same table for the three most frequent rectangles of a data set that has them.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    rows = []
    for source, part in _region_rows(view, "rectangles"):
        largest = part.sort_values("mean", ascending=False, kind="stable").head(3).to_dict("records")
        names = [
            f"{str(r['region']).removesuffix(BOX_SUFFIX)} {_to_estimate(r).text()}" for r in largest if r["mean"] > 0
        ]
        rows.append([view.label(source), "\n".join(names), *_distance_cells(part)])
    caption = "The same for the rectangles of the data set; the three most frequent are named"
    return (
        Table.create(caption, ["Source", "Most frequent", *_DISTANCE_COLUMNS], rows, 2, "region_distributions")
        if rows
        else None
    )


_DISTANCE_COLUMNS = ("Distance", "p", "Cases")


def _region_rows(view: RunView, among: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Return sources except controls, and how often each region was their most salient one over all findings."""
    table = read_table(view, "region_distributions")
    if table.empty:
        return
    for source, part in table[(table["among"] == among) & (table["finding"] == AVERAGE)].groupby("source", sort=False):
        if Source.parse(str(source)).kind != "control":
            yield str(source), part


def _to_estimate(row: Mapping[Hashable, Any]) -> Estimate:
    return Estimate(row["mean"], row["low"], row["high"], row["n"], row["patients"])


def _distance_cells(part: pd.DataFrame) -> list[str]:
    first = part.iloc[0]
    return [format_decimal(first["distance"]), _format_p(first["p"]), f"{first['n']:,}"]


def auroc_table(view: RunView) -> Table | None:
    """Make the table of AUROC by finding and network with both intervals, and of the differences.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table, gaps = read_table(view, "discrimination"), read_table(view, "discrimination_differences")
    if table.empty:
        return None
    names = compared_models(view)
    rows = []
    for finding, part in table.groupby("finding", sort=False):
        by = {row["model"]: row for row in part.to_dict("records")}
        first = next(iter(by.values()))
        cells = [_auroc_cell(by[n]) if n in by else "–" for n in names]
        rows.append(
            [
                str(finding),
                f"{first['n']:,} / {first['positives']:,}",
                *cells,
                *_difference_cells(gaps, str(finding), view.info.get("pairs", ())),
            ]
        )
    pairs = [f"{a} minus {b}" for a, b in view.info.get("pairs", ()) if len(gaps)]
    caption = (
        "AUROC [95 % over patients] (95 % by DeLong); differences [95 % over patients] with p of DeLong's test, "
        "adjusted by Holm"
    )
    head = ["Finding", "Radiographs / positive", *names, *pairs]
    return Table.create(caption, head, rows, 1, "discrimination")


def published_auroc_table(view: RunView) -> Table | None:
    """Make the table of the published AUROC of a DenseNet with and without gaze supervision.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not compared_models(view):
        return None
    facts = load_published()["gaze"]
    rows = [[finding, *(_format_range(values[n]) for n in facts["ssim"])] for finding, values in facts["auroc"].items()]
    return Table.create(f"Published AUROC on MIMIC-CXR [95 %]: {facts['citation']}", ["Finding", *facts["ssim"]], rows)


def _auroc_cell(row: Mapping[Hashable, Any]) -> str:
    mean = Estimate(row["auroc"], row["low"], row["high"], 0, 0).text(3)
    return f"{mean}\n({format_decimal(row['delong_low'], 3)}, {format_decimal(row['delong_high'], 3)})".replace(
        " [", "\n["
    )


def _difference_cells(gaps: pd.DataFrame, finding: str, pairs: Sequence[Sequence[str]]) -> list[str]:
    if gaps.empty:
        return []
    cells = []
    for name, versus in pairs:
        part = gaps[(gaps["model"] == name) & (gaps["versus"] == versus) & (gaps["finding"] == finding)]
        for row in part.head(1).to_dict("records"):
            text = Estimate(row["mean"], row["low"], row["high"], 0, 0).text(3)
            cells.append(f"{text}\np {_format_p(row['p_holm'])}".replace(" [", "\n["))
        cells += ["–"] if part.empty else []
    return cells


def _format_range(values: Sequence[float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*values)


def calibration_table(view: RunView) -> Table | None:
    """Make the table of Brier score and calibration error by finding and network.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "discrimination")
    if table.empty:
        return None
    rows = [
        [
            str(r["finding"]),
            r["model"],
            Estimate(r["brier"], r["brier_low"], r["brier_high"], 0, 0).text(3),
            format_decimal(r["calibration"], 3),
            format_decimal(_probability_cutoff(view, r["model"], r["finding"]), 2),
            f"{r['n']:,}",
        ]
        for r in table.sort_values("finding", kind="stable").to_dict("records")
    ]
    caption = (
        "Brier score, mean [95 % interval]; calibration error over ten bins of equal size (inflated by few "
        "radiographs); probability cutoff of a positive prediction, by "
        f"{view.info.get('options', {}).get('rule', 'f1')}"
    )
    return Table.create(
        caption,
        ["Finding", "Network", "Brier", "Calibration error", "Cutoff", "Radiographs"],
        rows,
        2,
        "discrimination",
    )


def _probability_cutoff(view: RunView, model: str, finding: str) -> float:
    cutoffs = (c["cutoff"] for c in view.info.get("cutoffs", ()) if (c["model"], c["finding"]) == (model, finding))
    return next(cutoffs, 0.5)


def gaze_summary(view: RunView) -> list[tuple[str, str]]:
    """Summarize the gaze data: how much was used, and what was left out.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list[tuple[str, str]]
        Terms with values; none if the run records no gaze.
    """
    gaze = view.info.get("gaze")
    if not gaze:
        return []
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in gaze["left_out"].items()) or "nothing"
    lines = [
        (
            "Gaze",
            f"{gaze['fixations']:,} fixations, {gaze['seconds']:,} seconds on {gaze['radiographs']:,} radiographs, "
            f"by {gaze['reader']}",
        ),
        ("Left out", left_out),
    ]
    sweep = view.info.get("gaze_weight_search")
    if sweep:
        weights = ", ".join(f"{w} (AUROC {a:.3f})" for w, a in sweep["weights"].items())
        lines.append(("Weight of the gaze term", f"{sweep['chosen']:g}, the best of {weights} in validation"))
    return lines
