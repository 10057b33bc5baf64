"""Tables of a trust study on perturbed images: faithfulness and robustness."""

from __future__ import annotations

from typing import Any

from sightline.report.estimate import Estimate, read_estimates
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import format_difference, table_sample_size, wrap_cell
from sightline.report.tables import Table
from sightline.stats.faithfulness import RESPONSE
from sightline.stats.verdicts import Verdict

FAITHFULNESS_LABELS = {
    "deletion": "Deletion ↓",
    "insertion": "Insertion ↑",
    "road": "ROAD ↑",
    "infidelity": "Infidelity ↓",
    "complexity": "Complexity",
}

ROBUSTNESS_LABELS = {
    "max-sensitivity": "Largest change ↓",
    "rank-correlation": "Rank correlation ↑",
    "moves-with-model": "Change with the model ↑",
}


def robustness_tables(view: RunView) -> list[Table]:
    """Make the tables of faithfulness and of robustness by method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    if not view.run.has_table("perturbation_summary"):
        return []
    captions = (
        (
            FAITHFULNESS_LABELS,
            f"Pixels occluded in the order of the map, mean [95 % interval] over patients{_response_note(view)}. "
            "Below: the difference from the map of another patient by the same method for the same finding, and from "
            "pixels in random order; the map is faithful if both differences are shown to count",
        ),
        (ROBUSTNESS_LABELS, "Maps after small changes of the image, mean [95 % interval] over patients"),
    )
    return [t for names, caption in captions if (t := _robustness_table(view, names, caption)) is not None]


def _robustness_table(view: RunView, names: dict[str, str], caption: str) -> Table | None:
    table = view.run.table("perturbation_summary")
    table = table[table["measure"].isin(list(names))]
    effects = table.dropna(subset="smallest_effect") if "smallest_effect" in table else table.iloc[:0]
    by_measure = dict(zip(effects["measure"], effects.get("smallest_effect", ()), strict=True))
    heads = [f"{label}, smallest effect {by_measure[m]:g}" if m in by_measure else label for m, label in names.items()]
    rows = []
    for method in dict.fromkeys(table["method"]):
        cells = {r["measure"]: r for r in table[table["method"] == method].to_dict("records")}
        title = "random order" if method == "random" else view.label(method)
        rows.append([title, *(_robustness_cell(cells.get(m)) for m in names)])
    caption = f"{caption}; {table_sample_size(table)}"
    return Table.create(caption, ["Method", *heads], rows, table_name="perturbation_summary") if rows else None


def _robustness_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    number = Estimate(row["mean"], row["low"], row["high"], 0, 0)
    if not isinstance(row.get("verdict"), str):
        return number.text()
    verdict, digits = Verdict.from_columns(row), 3  # areas under probabilities differ by little
    gap = format_difference(row["gap"], row["gap_low"], row["gap_high"], digits)
    lines = [number.text(digits), f"other patient {gap}"]
    if isinstance(row.get("random_verdict"), str):
        verdict = verdict.combine(Verdict.from_columns(row, "random_"))
        gap = format_difference(row["random"], row["random_low"], row["random_high"], digits)
        lines.append(f"random order {gap}")
    return "\n".join([*lines, *wrap_cell(verdict.text())])


def _response_note(view: RunView) -> str:
    """Write how far the probability changes if everything is erased."""
    table = view.run.table("perturbation_summary")
    response = table[table["measure"] == RESPONSE]
    if response.empty:
        return ""
    number = read_estimates(response, ["measure"])[0][1]
    return f" (erasing or blurring the whole image changes the probability by {number.text()})"
