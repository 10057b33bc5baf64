"""Localization in subgroups: a forest plot and its table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sightline.report import svg
from sightline.report.dot_plot import ROW_HEIGHT, DotPlot, draw_dot, set_limits, set_scale
from sightline.report.estimate import AVERAGE, Estimate, format_decimal
from sightline.report.phrasing import count_noun, join_list
from sightline.report.run_view import RunView
from sightline.report.svg import INK, KIND_MARKERS, MODEL_COLORS, MUTED, READER_COLOR, SMALL_SIZE, Plot, Series
from sightline.report.tables import Table
from sightline.report.titles import metric_title

ATTRIBUTE_TITLES = {
    "sex": "Sex",
    "age": "Age",
    "view": "View",
    "projection": "Projection",
    "device": "Devices",
    "size": "Size of the finding",
}
"""Attribute -> its title."""
Key = tuple[str, str]
"""(attribute, group)"""
Row = Mapping[Hashable, Any]
"""Row of the table `subgroups`."""
_ALPHA = 0.05


def shown_rows(view: RunView, metric: str, source: str) -> pd.DataFrame:
    """Return the averages of a source in the subgroups of every attribute that has at least two with a mean.

    Parameters
    ----------
    view : RunView
        The run.
    metric, source : str
        The metric and the source.

    Returns
    -------
    DataFrame
        Rows of the table `subgroups` with at least one case, in the order of figures.
    """
    table = view.analysis("subgroups")
    rows = table[(table["metric"] == metric) & (table["source"] == source) & (table["finding"] == AVERAGE)]
    rows = rows[rows["n"] > 0]
    compared = rows.groupby("attribute")["mean"].transform("count") > 1
    return rows[compared].reset_index(drop=True)


def _series(view: RunView, metric: str) -> list[Series]:
    """Return the best source of a trained model, or else the best control, and the reader."""
    first = view.best or view.control
    series = [Series(first, view.label(first), MODEL_COLORS[0], "o")] if first else []
    reader = view.best_of_kind("reader", metric)
    return [*series, *([Series(reader, view.label(reader), READER_COLOR, KIND_MARKERS["reader"])] if reader else [])]


def plot_subgroups(view: RunView) -> Plot | None:
    """Plot the score of the best source and of the reader in every subgroup, and the difference from the largest one.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if no attribute divides the data into two subgroups that are large enough.
    """
    metric = view.main_metrics[0] if view.main_metrics else ""
    series = _series(view, metric)
    rows = shown_rows(view, metric, series[0].source) if series else pd.DataFrame()
    if rows.empty:
        return None
    labels, places = _lay_out(rows)
    grid = DotPlot.create(labels, 2, ROW_HEIGHT - 2, has_legend=True, right_margin=96)
    tables = {s.source: _by_group(shown_rows(view, metric, s.source)) for s in series}
    means = _draw_rows(grid, metric, series, tables, places)
    for key, y in places.items():
        row = tables[series[0].source][key]
        if row["reason"]:
            _write(grid.panels[0], y, str(row["reason"]))
        elif not row["versus"]:
            _write(grid.panels[1], y, "reference")
        grid.add_note(y, f"{int(row['n']):,} / {int(row['patients']):,}")
    grid.add_note_header("maps / patients")
    grid.draw_legend(series)
    _embolden(grid.panels[0], set(ATTRIBUTE_TITLES.values()))
    data = view.analysis("subgroups")
    spoken = "; ".join(f"{a}, {g}: {means[series[0].source, (a, g)].text()}" for a, g in places)
    return Plot(
        "subgroups",
        svg.write_svg(grid.figure, "subgroups"),
        data[(data["metric"] == metric) & data["source"].isin(list(tables)) & (data["finding"] == AVERAGE)],
        f"{metric_title(metric)} of {series[0].label} by subgroup. {spoken}.",
        f"{metric_title(metric)} by subgroup, averaged over the findings that every subgroup of an attribute has "
        "(left), and the difference from the largest subgroup (right), with 95 % intervals over patients.",
    )


def _lay_out(rows: pd.DataFrame) -> tuple[list[str], dict[tuple[str, str], int]]:
    """Return the labels of the rows, with a row for the name of each attribute, and (attribute, group) -> row."""
    labels: list[str] = []
    places: dict[tuple[str, str], int] = {}
    for attribute, groups in rows.groupby("attribute", sort=False):
        labels.append(ATTRIBUTE_TITLES.get(str(attribute), str(attribute)))
        for group in groups["group"]:
            places[str(attribute), str(group)] = len(labels)
            labels.append(str(group))
    return labels, places


def _by_group(rows: pd.DataFrame) -> dict[Key, Row]:
    return {(str(r["attribute"]), str(r["group"])): r for r in rows.to_dict("records")}


def _draw_rows(
    grid: DotPlot,
    metric: str,
    series: Sequence[Series],
    tables: Mapping[str, Mapping[Key, Row]],
    places: Mapping[Key, int],
) -> dict[tuple[str, Key], Estimate]:
    """Draw means and differences of every source; return the means."""
    offsets = (0.0,) if len(series) == 1 else (-0.17, 0.17)
    drawn = []
    for ax, prefix in zip(grid.panels, ("", "difference_"), strict=True):
        numbers = {(s.source, key): _estimate(tables[s.source].get(key), prefix) for s in series for key in places}
        if prefix:
            set_limits(ax, list(numbers.values()))
            title = f"{metric_title(metric)} minus that of the largest group"
            ax.set_title(title, loc="left", size=SMALL_SIZE, color=INK, pad=10)
        else:
            set_scale(ax, metric, list(numbers.values()))
        for s, offset in zip(series, offsets, strict=True):
            for key, y in places.items():
                draw_dot(ax, numbers[s.source, key], y + offset, s)
        drawn.append(numbers)
    return drawn[0]


def _estimate(row: Row | None, prefix: str) -> Estimate:
    """Return the mean (prefix '') or the difference (prefix 'difference_') of a subgroup."""
    if row is None:
        return Estimate.undefined()
    names = (prefix.removesuffix("_") or "mean", f"{prefix}low", f"{prefix}high")
    mean, low, high = (float(row[name]) for name in names)
    return Estimate(mean, low, high, int(row["n"]), int(row["patients"]))


def _write(ax: Axes, y: float, text: str) -> None:
    """Write a remark into a row of a panel."""
    at = ax.get_xlim()[0] if text != "reference" else 0.0
    ax.text(at, y, f" {text}", va="center", size=SMALL_SIZE, color=MUTED)


def _embolden(ax: Axes, titles: set[str]) -> None:
    for label in ax.get_yticklabels():
        if label.get_text() in titles:
            label.set_fontweight("bold")


def subgroup_table(view: RunView) -> Table | None:
    """Make the table of the best source in every subgroup by the main metrics.

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
    for metric in view.main_metrics:
        for s in _series(view, metric):
            for r in shown_rows(view, metric, s.source).to_dict("records"):
                gap, mean = _estimate(r, "difference_"), _estimate(r, "")
                rows.append(
                    [
                        f"{ATTRIBUTE_TITLES.get(str(r['attribute']), r['attribute'])}: {r['group']}",
                        metric_title(metric),
                        s.label,
                        f"{int(r['n']):,}",
                        f"{int(r['patients']):,}",
                        f"{int(r['findings'])}" if not r["reason"] else "–",
                        mean.text(3) if not r["reason"] else f"– ({r['reason']})",
                        "reference" if not r["reason"] and not r["versus"] else gap.text(3),
                        format_decimal(float(r["p_holm"]), 3),
                    ]
                )
    head = [
        "Subgroup",
        "Metric",
        "Source",
        "Maps",
        "Patients",
        "Findings",
        "Mean [95 %]",
        "Difference [95 %]",
        "p (Holm)",
    ]
    caption = (
        "Subgroups; the difference is from the largest subgroup of the attribute, p is adjusted per source and metric"
    )
    return Table.create(caption, head, rows, 3, "subgroups") if rows else None


def view_table(view: RunView) -> Table | None:
    """Make the table of the best source by view and finding, for a data set with frontal and lateral radiographs.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the radiographs are of one view.
    """
    table = view.analysis("subgroups")
    rows = []
    for metric in view.main_metrics:
        source = view.best or view.control or ""
        part = table[(table["metric"] == metric) & (table["source"] == source) & (table["attribute"] == "view")]
        if part[part["n"] > 0]["group"].nunique() < 2:
            continue
        for finding in view.findings:
            cells = [metric_title(metric), finding]
            for r in part[part["finding"] == finding].sort_values("group").to_dict("records"):
                mean = _estimate(r, "")
                cells += [mean.text(3) if not r["reason"] else f"– ({r['reason']})", f"{int(r['n']):,}"]
            rows += [cells] if len(cells) == 6 else []
    head = ["Metric", "Finding", "Frontal [95 %]", "Maps", "Lateral [95 %]", "Maps"]
    caption = f"By view: {view.label(view.best or view.control or '')}"
    return Table.create(caption, head, rows, 2, "subgroups") if rows else None


def subgroup_paragraphs(view: RunView) -> list[str]:
    """State which subgroups differ, which attributes could not be examined, and what the figure does not show.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences; none if the run has no table of subgroups.
    """
    metric = view.main_metrics[0] if view.main_metrics else ""
    series = _series(view, metric)
    table = view.analysis("subgroups")
    if table.empty or not series:
        return []
    source = series[0].source
    rows = shown_rows(view, metric, source)
    sentences = [_difference_sentence(view, metric, rows)] if len(rows) else []
    sentences += _missing_sentences(table[(table["metric"] == metric) & (table["source"] == source)], rows)
    if len(rows):
        sentences.append(
            "Whether two subgroups differ is shown by the interval of their difference, not by whether their own "
            "intervals overlap. A difference in one subgroup and none in another is no evidence that the effect of a "
            "method depends on the subgroup; such an interaction is not tested here. Subgroups also differ in how "
            "severe their findings are."
        )
    return sentences


def _difference_sentence(view: RunView, metric: str, rows: pd.DataFrame) -> str:
    tested = rows.dropna(subset="p_holm")
    different = tested[tested["p_holm"] < _ALPHA]
    start = f"After adjustment for {count_noun(len(tested), 'comparison')}"
    if different.empty:
        return f"{start}, no subgroup differs clearly from the largest one of its attribute in {metric_title(metric)}."
    parts = []
    for r in different.to_dict("records"):
        gap = _estimate(r, "difference_")
        title = ATTRIBUTE_TITLES.get(str(r["attribute"]), str(r["attribute"])).lower()
        parts.append(f"{title}, {r['group']} minus {r['versus']} {gap.text()}")
    noun = "subgroup differs" if len(parts) == 1 else "subgroups differ"
    return f"{start}, {len(parts)} {noun} clearly in {metric_title(metric)}: {'; '.join(parts)}."


def _missing_sentences(table: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Name the attributes that are not in the figure, with the reason."""
    averages = table[table["finding"] == AVERAGE]
    unstated, single = [], []
    for attribute, groups in averages.groupby("attribute", sort=False):
        title = ATTRIBUTE_TITLES.get(str(attribute), str(attribute)).lower()
        filled = groups[groups["n"] > 0]
        if attribute in set(compared["attribute"]):
            continue
        if filled.empty:
            unstated.append(title)
        elif len(filled) == 1:
            single.append(f"{title} ({filled['group'].iloc[0]} only)")
        else:
            reasons = "; ".join(f"{r['group']}: {r['reason']}" for r in filled.to_dict("records") if r["reason"])
            single.append(f"{title} ({reasons})")
    sentences = []
    if unstated:
        sentences.append(f"The data set does not state {join_list(unstated)} of the annotated radiographs.")
    if single:
        sentences.append(f"Nothing can be compared by {join_list(single)}.")
    return sentences
