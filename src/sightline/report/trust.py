"""What becomes of maps when the network forgets or is trained again: curves beside chance, and verdicts."""

from __future__ import annotations

import pandas as pd

from sightline.report import draw
from sightline.report.draw import CONTROL, INK, MODELS, MUTED, RULE, SMALL, TEXT, WIDTH, Plot
from sightline.report.tables import Table
from sightline.report.view import Number, View

MEASURES = {"ssim": "SSIM", "rank": "Rank correlation", "top": "Overlap of the top 5 %"}
CRITERIA = {
    "utility": "Localization less the average mask",
    "randomization": "Forgets with the network",
    "repeatability": "Comes back, trained again",
    "reproducibility": "Comes back, other architecture",
}
_COLUMNS, _HEIGHT, _GAP = 3, 150.0, 64.0


def _shown(view: View, name: str, measure: str | None = "ssim") -> pd.DataFrame:
    """Rows of a table under the report's protocol; none where the run has no such table."""
    if not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    table = table[table["protocol"] == view.protocol]
    return table if measure is None else table[table["measure"] == measure]


def cascade(view: View) -> Plot | None:
    """SSIM with the trained network's map after each block it forgets, a panel per method, chance dashed."""
    levels = _shown(view, "levels")
    if levels.empty:
        return None
    curves = levels[(levels["kind"] == "randomization") & (levels["order"] == "top-down")]
    methods = list(dict.fromkeys(curves["method"]))
    rows = -(-len(methods) // _COLUMNS)
    figure = draw.canvas(WIDTH, 24 + rows * (_HEIGHT + _GAP + 40))
    width = (WIDTH - 40 - _GAP * (_COLUMNS - 1)) / _COLUMNS
    for place, method in enumerate(methods):
        row, column = divmod(place, _COLUMNS)
        ax = draw.axes(figure, 40 + column * (width + _GAP), 40 + row * (_HEIGHT + _GAP + 40), width, _HEIGHT)
        curve = curves[curves["method"] == method].sort_values("step")
        ax.grid(axis="x", visible=False)
        ax.grid(axis="y", color=RULE, linewidth=0.8)
        ax.fill_between(curve["step"], curve["low"], curve["high"], color=MODELS[0], alpha=0.12, linewidth=0)
        ax.plot(curve["step"], curve["mean"], color=MODELS[0], marker="o", markersize=4, linewidth=1.6)
        chance = levels[(levels["kind"] == "pair") & (levels["method"] == method)]
        for mean in chance["mean"]:
            ax.axhline(mean, color=CONTROL, linewidth=1.2, linestyle=(0, (5, 3)))
        ax.set_ylim(min(-0.05, float(curve["low"].min(skipna=True))), 1.05)
        ax.set_xlim(0.6, float(curve["step"].max()) + 0.4)
        names = [v if len(curve) <= 8 else "" for v in curve["versus"]]
        ax.set_xticks(curve["step"], names, rotation=40, ha="right", size=SMALL, color=MUTED)
        ax.set_title(view.label(method), size=TEXT, color=INK, loc="left", pad=8)
    data = curves[["method", "step", "versus", "mean", "low", "high", "n", "patients"]]
    return Plot(
        "cascade", draw.write_svg(figure, "cascade"), data, _spoken(view, curves),
        "Structural similarity (SSIM) of each map with the trained network's, after one more block of weights was "
        "drawn anew, from the logits (left) to the image (right); bands are 95 % intervals over patients. Dashed: two "
        "maps of different patients with the same finding, of the trained network. A map that stays above the dashed "
        "line does not need what the network learned.",
    )  # fmt: skip


def _spoken(view: View, curves: pd.DataFrame) -> str:
    last = curves[curves["step"] == curves.groupby("method")["step"].transform("max")]
    parts = [f"{view.label(r['method'])} {r['mean']:.2f}" for r in last.to_dict("records")]
    return f"SSIM after the last block: {', '.join(parts)}."


def summary(view: View) -> Table | None:
    """Methods in rows, criteria in columns: the difference to chance or prior with its interval, and what it says."""
    table = _shown(view, "verdicts", None)
    if table.empty:
        return None
    table = table[table["measure"].isin(["ssim", "average-precision"])]
    kinds = [k for k in CRITERIA if k in set(table["criterion"])]
    rows = []
    for method in dict.fromkeys(table["method"]):
        part = table[table["method"] == method]
        cells = ["; ".join(_cell(r) for r in part[part["criterion"] == k].to_dict("records")) for k in kinds]
        rows.append([view.label(method), *cells])
    caption = (
        "Difference to chance (SSIM of two patients' maps) or to the average mask (average precision), "
        "mean [95 % interval]; forgetting should lie below 0, all others above"
    )
    return Table.of(caption, ["Method", *(CRITERIA[k] for k in kinds)], rows, file="verdicts")


_SENTENCES = {
    ("randomization", "passes"): "When the network forgets, its maps change as much as between patients: {}.",
    (
        "randomization",
        "fails",
    ): "Maps that stay more alike than those of two patients, whatever the network forgets: {}.",
    ("repeatability", "passes"): "Trained again, the network gives maps more alike than chance: {}.",
    ("repeatability", "fails"): "Trained again, it gives maps less alike than those of two patients: {}.",
    ("utility", "fails"): "Worse at finding marks than the average of other patients' marks: {}.",
}


def said(view: View) -> list[str]:
    """What the verdicts come to, a sentence for each kind that any method got."""
    table = _shown(view, "verdicts", None)
    if table.empty:
        return []
    table = table[table["measure"].isin(["ssim", "average-precision"])]
    made = []
    for (criterion, outcome), sentence in _SENTENCES.items():
        rows = table[(table["criterion"] == criterion) & (table["verdict"] == outcome)]
        if len(rows):
            made.append(sentence.format(", ".join(view.label(m) for m in dict.fromkeys(rows["method"]))))
    return made


def _cell(row: dict[str, object]) -> str:
    number = Number(float(str(row["mean"])), float(str(row["low"])), float(str(row["high"])), 0, 0)
    return f"{number.text()} {row['verdict']}"


def measures(view: View) -> Table | None:
    """Levels of the last stage, of training again and of chance by every measure."""
    levels = _shown(view, "levels", None)
    if levels.empty:
        return None
    last = levels.groupby(["kind", "order", "method"])["step"].transform("max") == levels["step"]
    levels = levels[last & levels["order"].isin(["", "top-down"])]
    rows = []
    for (kind, method, versus), part in levels.groupby(["kind", "method", "versus"], sort=False):
        by = {
            r["measure"]: Number(r["mean"], r["low"], r["high"], r["n"], r["patients"]) for r in part.to_dict("records")
        }
        n = next(iter(by.values()))
        cells = [by[m].text() if m in by else "–" for m in MEASURES]
        rows.append(
            [
                view.label(str(method)),
                str(kind),
                str(versus) or "another patient",
                *cells,
                f"{n.n:,}",
                f"{n.patients:,}",
            ]
        )
    head = ["Method", "Compared", "With", *MEASURES.values(), "Maps", "Patients"]
    return Table.of("Similarity of maps, mean [95 % interval]", head, rows, 3, file="levels")
