"""What becomes of maps when the network forgets or is trained again: curves beside chance, and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.report.phrasing import count_noun, sample_size, sample_size_note
from sightline.report.published_results import load_published
from sightline.report.run_view import Estimate, RunView, format_decimal
from sightline.report.sections.trust_figures import read_table
from sightline.report.tables import Table
from sightline.stats.sanity_checks import MARGIN

MEASURE_LABELS = {"ssim": "SSIM", "rank": "Rank correlation", "top": "Overlap of the top 5 %"}
CRITERIA = {
    "repeatability": "Repeatable",
    "reproducibility": "Reproducible",
    "randomization": "Sensitive to the weights",
    "utility": "Useful",
}
"""Criterion -> what a method is called that passes: the four answers of the study, in their order."""
CRITERION_LABELS = {
    "repeatability": "Repeatable: trained again",
    "reproducibility": "Reproducible: other architecture",
    "randomization": "Sensitive to the weights: forgets with them",
    "label-randomization": "Sensitive to labels: trained on shuffled ones",
    "utility": "Useful: less average mask",
    "learned": "Useful: less the untrained",
}
"""Criterion -> head of its column."""
CEILING_LABELS = {
    "ceiling": "Finds marks",
    "repeatability-ceiling": "Trained again",
    "reproducibility-ceiling": "Other architecture",
}
"""The same of what is compared with networks trained on marks."""
FAITHFULNESS_LABELS = {
    "deletion": "Deletion ↓",
    "insertion": "Insertion ↑",
    "road": "ROAD ↑",
    "infidelity": "Infidelity ↓",
    "complexity": "Complexity",
}
ROBUSTNESS_LABELS = {
    "max-sensitivity": "Largest change ↓",
    "steadiness": "Rank correlation ↑",
    "moves-with-model": "Moves with the model ↑",
}


def criteria_table(view: RunView) -> Table | None:
    """Methods in rows, criteria in columns: the difference to chance or prior with its interval, and what it says."""
    caption = (
        "Difference to chance (SSIM of two patients' maps, by the networks compared) or to the average mask "
        f"(average precision), mean [95 % interval]; forgetting should not lie above 0 (by less than {MARGIN:g}), "
        "all others should"
    )
    return _verdict_table(view, CRITERION_LABELS, caption)


def ceiling_table(view: RunView) -> Table | None:
    """How far methods lie below networks trained on marks; of several, below the one that finds marks best."""
    caption = (
        "The same less networks trained on marks (the best in average precision), mean [95 % interval]; nothing "
        "is expected above them: 'fails' is how far there is to go"
    )
    return _verdict_table(view, CEILING_LABELS, caption)


def _verdict_table(view: RunView, heads: dict[str, str], caption: str) -> Table | None:
    table = _verdict_rows(view)
    if table.empty:
        return None
    best = table[table["criterion"] == "ceiling"].groupby("method")["mean"].transform("min")
    table = table[(table["criterion"] != "ceiling") | (table["mean"] == best.reindex(table.index))]
    kinds = [k for k in heads if k in set(table["criterion"])]
    rows = []
    for method in dict.fromkeys(table["method"]):
        part = table[table["method"] == method]
        cells = ["\n".join(_format_cell(r) for r in part[part["criterion"] == k].to_dict("records")) for k in kinds]
        rows.append([view.label(method), *cells])
    used = table[table["criterion"].isin(kinds)]
    told = [caption, *([_FAILURE_NOTE] if _max_failed(used.to_dict("records")) else []), _sample_size(used)]
    return (
        Table.create("; ".join(told), ["Method", *(heads[k] for k in kinds)], rows, table_name="verdicts")
        if kinds
        else None
    )


def _sample_size(table: pd.DataFrame) -> str:
    """How many maps, of how many patients, the rows of a table tell of; fewer where some are flat."""
    return sample_size(Estimate(0, 0, 0, int(n), int(p)) for n, p in zip(table["n"], table["patients"], strict=True))


_VERDICT_SENTENCES = {
    ("repeatability", "passes"): "Come back when the network is trained again: {}.",
    ("repeatability", "fails"): "No more alike than two patients' maps when it is trained again: {}.",
    ("reproducibility", "passes"): "Come back from another architecture: {}.",
    ("reproducibility", "fails"): "No more alike than two patients' maps from another architecture: {}.",
    ("randomization", "fails"): "Stay more alike than two patients' maps, whatever the network forgets: {}.",
    ("randomization", "passes"): "Change with what the network forgets: {}.",
    ("label-randomization", "fails"): "More alike than chance when the labels were shuffled: {}.",
    ("utility", "passes"): "Find marks better than the average of other patients' marks: {}.",
    ("utility", "fails"): "Find marks worse than the average of other patients' marks: {}.",
}
"""Criterion and verdict -> what is said of the methods that got it; the rest is in the table."""


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """What the methods got on one question."""

    name: str
    meaning: str
    n_passed: int
    n_methods: int
    sample_size: str
    """Of how many maps and patients."""


def criterion_results(view: RunView) -> list[CriterionResult]:
    """How many methods passed each of `CRITERIA` that was asked; of several networks, all must say so."""
    table, made = _rows_without_controls(view), list[CriterionResult]()
    for criterion, name in CRITERIA.items():
        rows = table[table["criterion"] == criterion]
        if len(rows):
            methods = rows["method"].unique()
            means = CRITERION_LABELS[criterion].partition(": ")[2]
            made.append(
                CriterionResult(
                    name, means, len(_methods_with_verdict(rows, "passes")), len(methods), _sample_size(rows)
                )
            )
    return made


def _methods_with_verdict(rows: pd.DataFrame, outcome: str) -> list[str]:
    """Methods whose every row has this verdict."""
    other = set(rows[rows["verdict"] != outcome]["method"])
    return [m for m in dict.fromkeys(rows["method"]) if m not in other]


def _verdict_rows(view: RunView) -> pd.DataFrame:
    """Verdicts by the leading measures, without networks trained on marks."""
    table = read_table(view, "verdicts", None)
    if table.empty:
        return pd.DataFrame(columns=["criterion", "method", "verdict"])
    table = table[table["measure"].isin(["ssim", "average-precision"])]
    return table[[Source.parse(method).kind != "localizer" for method in table["method"]]]


def _rows_without_controls(view: RunView) -> pd.DataFrame:
    """The same without the methods whose answer is known."""
    table = _verdict_rows(view)
    return table[~table["method"].isin(_CONTROLS)]


def sentences(view: RunView) -> list[str]:
    """What the verdicts come to: how many passed, who got which, and whether the test can tell at all."""
    table, asked = _verdict_rows(view), _rows_without_controls(view)
    if table.empty:
        return []
    told = "; ".join(
        f"{a.name.lower()}: {a.n_passed} of {count_noun(a.n_methods, 'method')}" for a in criterion_results(view)
    )
    made = [f"{told[0].upper()}{told[1:]} ({_sample_size(asked)})."] if told else []
    for (criterion, outcome), sentence in _VERDICT_SENTENCES.items():
        if names := [view.label(m) for m in _methods_with_verdict(asked[asked["criterion"] == criterion], outcome)]:
            made.append(sentence.format(", ".join(names)))
    return [*made, *_ceiling_sentences(view), *_validity_sentences(table)]


_CONTROLS = ("edges", "noise", "center", "average-mask")


def _validity_sentences(table: pd.DataFrame) -> list[str]:
    """The sanity of the sanity check: an edge detector needs no network, and noise never comes back."""
    unwanted = {
        ("edges", "randomization"): (
            ("passes", "undecided"),
            "the edge detector, which needs no network, does not fail when the network forgets",
        ),
        ("noise", "randomization"): (("fails",), "noise does not forget with the network"),
        ("noise", "repeatability"): (("passes",), "noise comes back when the network is trained again"),
    }
    rows = [
        (r["verdict"], *unwanted[key])
        for r in table.to_dict("records")
        if (key := (r["method"], r["criterion"])) in unwanted
    ]
    wrong = [name for outcome, never, name in rows if outcome in never]
    if wrong:
        return [f"This test cannot tell: {'; '.join(dict.fromkeys(wrong))}."]
    return ["The test can tell: maps whose answer is known (edges, noise) get it."] if rows else []


def _ceiling_sentences(view: RunView) -> list[str]:
    """How far the best method lies below the best network trained on marks."""
    ceilings = [s for s in view.sources if Source.parse(s).kind == "localizer"]
    if not ceilings or view.best is None:
        return []
    top = max(ceilings, key=lambda s: view.estimate(s, "average-precision").mean)
    own, most = (view.estimate(s, "average-precision") for s in (view.best, top))
    return [
        f"Average precision of the best method, {view.label(view.best)}: {own.text()}; of a network trained on marks, "
        f"{view.label(top).removeprefix('localizer: ')}: {most.text()}{sample_size_note([own, most])}."
    ]


def _format_cell(row: dict[str, object]) -> str:
    number = Estimate(float(str(row["mean"])), float(str(row["low"])), float(str(row["high"])), 0, 0)
    failed = _max_failed([row])
    return f"{number.text()}\n{row['verdict']}{f' ({failed} failed)' if failed else ''}".replace(" [", "\n[")


_FAILURE_NOTE = "failed maps are like nothing (0) where they should come back, and left out where they should forget"


def _max_failed(rows: Iterable[Mapping[Any, Any]]) -> int:
    """Most cases that failed in one of the rows of levels or verdicts; other criteria do not say."""
    return int(np.nanmax([0.0, *(float(r.get("failed", np.nan)) for r in rows)]))


def similarity_table(view: RunView) -> Table | None:
    """Levels of the last stage, of training again and of chance by every measure."""
    levels = read_table(view, "levels", None)
    if levels.empty:
        return None
    last = levels.groupby(["kind", "order", "method"])["step"].transform("max") == levels["step"]
    levels = levels[last & levels["order"].isin(["", "top-down"])]
    rows = []
    for (kind, method, versus), part in levels.groupby(["kind", "method", "versus"], sort=False):
        by = {
            r["measure"]: Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"])
            for r in part.to_dict("records")
        }
        n = next(iter(by.values()))
        cells = [by[m].text() if m in by else "–" for m in MEASURE_LABELS]
        rows.append(
            [
                view.label(str(method)),
                str(kind),
                ", ".join(filter(None, ["another patient" if kind == "pair" else "", str(versus)])),
                *cells,
                f"{n.n:,}",
                f"{n.patients:,}",
                f"{_max_failed(part.to_dict('records')):,}",
            ]
        )
    head = ["Method", "Compared", "With", *MEASURE_LABELS.values(), "Maps", "Patients", "Failed"]
    return Table.create(
        f"Similarity of maps, mean [95 % interval]; {_FAILURE_NOTE}", head, rows, 3, table_name="levels"
    )


def floor_and_ceiling_table(view: RunView) -> Table | None:
    """Average precision of each method less that of the prior, of the same method untrained, and of each localizer."""
    table = read_table(view, "verdicts", "average-precision")
    if table.empty or "effect" not in table:
        return None
    rows = []
    for row in table.to_dict("records"):
        number = Estimate(row["mean"], row["low"], row["high"], row["n"], row["patients"])
        p = "–" if np.isnan(row["p"]) else ("< 0.001" if row["p"] < 0.001 else format_decimal(row["p"], 3))
        rows.append(
            [
                view.label(row["method"]),
                view.label(row["versus"]),
                number.text(),
                p,
                format_decimal(row["effect"]),
                f"{row['n']:,}",
                f"{row['patients']:,}",
            ]
        )
    caption = (
        "Average precision less that of floor and ceiling, mean [95 % interval]; p of the signed-rank test over "
        "patients, corrected by Holm; effect: rank-biserial correlation, 1 if every patient gains"
    )
    return Table.create(
        caption, ["Method", "Less", "Difference", "p", "Effect", "Maps", "Patients"], rows, 2, "verdicts"
    )


def robustness_tables(view: RunView) -> list[Table]:
    """What erasing and small changes say, methods in rows."""
    if not view.run.has_table("robustness"):
        return []
    captions = (
        (
            FAITHFULNESS_LABELS,
            "Erased in the map's order, mean [95 % interval] over patients. Below: less the same with "
            "another patient's map of that method and finding",
        ),
        (ROBUSTNESS_LABELS, "After small changes of the film, mean [95 % interval] over patients"),
    )
    return [t for names, caption in captions if (t := _robustness_table(view, names, caption)) is not None]


def _robustness_table(view: RunView, names: dict[str, str], caption: str) -> Table | None:
    table = view.run.table("robustness")
    table = table[table["measure"].isin(list(names))]
    rows = []
    for method in dict.fromkeys(table["method"]):
        cells = {r["measure"]: r for r in table[table["method"] == method].to_dict("records")}
        title = "random order" if method == "random" else view.label(method)
        rows.append([title, *(_robustness_cell(cells.get(m)) for m in names)])
    caption = f"{caption}; {_sample_size(table)}"
    return Table.create(caption, ["Method", *names.values()], rows, table_name="robustness") if rows else None


def _robustness_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    text = Estimate(row["mean"], row["low"], row["high"], 0, 0).text()
    if not isinstance(row.get("verdict"), str):
        return text
    return f"{text}\n{Estimate(row['gap'], row['gap_low'], row['gap_high'], 0, 0).text()}\n{row['verdict']}"


def published_table(view: RunView) -> Table | None:
    """The published values of the methods of this run."""
    facts = load_published()["trust"]
    table = read_table(view, "verdicts", None)
    names = list(dict.fromkeys(table["method"])) if len(table) else []
    rows = []
    for method in names:
        for data, values in facts["methods"].get(method.partition("?")[0], {}).items():
            fate = "passed" if values["forgotten"] < values["chance"] else "failed"
            rows.append(
                [
                    view.label(method),
                    data,
                    format_decimal(values["trained"], 3),
                    format_decimal(values["untrained"], 3),
                    f"{format_decimal(values['forgotten'])} against {format_decimal(values['chance'])}: {fate}",
                    format_decimal(values["repeatability"]),
                    format_decimal(values["reproducibility"]),
                ]
            )
    if not rows:
        return None
    for data in ("SIIM", "RSNA"):
        net = facts["network"][data]
        name = "U-Net" if data == "SIIM" else "RetinaNet"
        rows.append(
            [
                f"localizer: {name}",
                data,
                format_decimal(net["area"], 3),
                "–",
                "–",
                format_decimal(net["repeatability"]),
                "–",
            ]
        )
        rows.append(["control: average mask", data, format_decimal(facts["average-mask"][data], 3), *["–"] * 4])
    head = ["Method", "Data", "PR area", "Untrained", "SSIM forgotten against chance", "SSIM again", "SSIM other"]
    return Table.create(f"Published: {facts['citation']}. {facts['note']}", head, rows, 2)
