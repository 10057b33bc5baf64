"""The report of a pre-training study: learning curves, the table of beginnings, and what their maps find."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.evaluation.narration.facts import SHAPES, Facts
from sightline.report import svg
from sightline.report.phrasing import among, counted
from sightline.report.published_results import published
from sightline.report.run_view import AVERAGE, Number, View, decimal, title
from sightline.report.svg import INK, MODELS, MUTED, RULE, SMALL, TEXT, WIDTH, Plot, Series
from sightline.report.tables import Table

LEARN = {"all": "Fine-tuning", "head": "Linear evaluation", "layers": "Fine-tuning, slower below"}
WORDS = "words"
"""The contrastive pair, asked in words, among the sources of a run."""
_COLORS = (svg.CONTROL, *MODELS)


def inits(view: View) -> list[str]:
    """Beginnings in the order of the study, at random first; none of another study."""
    return list(view.info.get("inits", ())) if view.info.get("study") == "pretraining" else []


def _table(view: View, name: str) -> pd.DataFrame:
    return view.run.table(name) if inits(view) and view.run.has_table(name) else pd.DataFrame()


def said(view: View) -> list[str]:
    """What the tables come to, or nothing for another study."""
    return [*_accuracy(view), *_maps(view)]


def _accuracy(view: View) -> Iterator[str]:
    table = _table(view, "gains")
    if table.empty:
        return
    base = inits(view)[0]
    for (init, learn), part in table[table["init"] != base].groupby(["init", "learn"], sort=False):
        by = {(r["fraction"], r["versus"]): r for r in part.to_dict("records")}
        least, most = min(part["fraction"]), max(part["fraction"])
        first, last = by.get((least, base)), by.get((most, base))
        if first is None or last is None:
            continue
        text = (
            f"{LEARN[str(learn)]} from {init}: AUROC {_gap(first)} beside {base} with {_share(least)} of the labels, "
        )
        text += f"{_gap(last)} with {_share(most)}"
        extra = by.get((least, f"gain at {most:g}"))
        if extra is not None:
            told = "helps more" if extra["low"] > 0 else "helps less" if extra["high"] < 0 else "is not told apart"
            text += f"; with few labels it {told} ({_gap(extra)})"
        counts = among((a.number for a in view.aurocs if a.finding != AVERAGE), "film")
        yield "; ".join(filter(None, [text, counts])) + "."


def _gap(row: Mapping[Hashable, Any]) -> str:
    mean, low, high = (float(str(row[k])) for k in ("mean", "low", "high"))
    text = Number(mean, low, high, 0, 0).text(3)
    return f"+{text}" if mean > 0 else text


def _share(fraction: object) -> str:
    return f"{100 * float(str(fraction)):g} %"


def _maps(view: View) -> Iterator[str]:
    rows = list(_paired(view))
    if not rows:
        return
    better = [row for row in rows if row[1].low > 0]
    worse = [row for row in rows if row[1].high < 0]
    text = f"{title(_leading(view))} of maps is above that of the network begun at random in {len(better)} of "
    text += f"{len(rows)} "
    text += f"comparisons, below in {len(worse)}"
    for some, word in ((better, "most"), (worse, "least")):
        if some:
            name, number = (max if some is better else min)(some, key=lambda row: row[1].mean)
            text += f"; {word} for {name} ({_signed(number)})"
    yield f"{text}; {among(number for _, number in rows)}."


def _signed(n: Number) -> str:
    return f"+{n.text(3)}" if n.mean > 0 else n.text(3)


def _leading(view: View) -> str:
    return "pr-area" if "pr-area" in view.metrics else view.metrics[0]


def _paired(view: View) -> Iterator[tuple[str, Number]]:
    """(what, difference to the beginning at random) of the leading metric, averaged over findings."""
    shown = {row["model"]: row for row in view.info.get("shown", ())}
    base = {(r["fraction"], r["seed"]): name for name, r in shown.items() if r["init"] == inits(view)[0]}
    sources = [s for s in dict.fromkeys(view.estimates["source"]) if Source.parse(s).model in shown]
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        row = shown[name]
        other = base.get((row["fraction"], row["seed"]))
        if other is None or other == name:
            continue
        number = view.difference(source, f"{other}/{method}", _leading(view))
        if number.defined:
            yield f"{row['init']}, {_share(row['fraction'])}, {view.label(method)}", number


def curves(view: View) -> Plot | None:
    """AUROC against the share of the labels, a panel for fine-tuning and for linear evaluation."""
    table = _table(view, "curves")
    if table.empty:
        return None
    panels = [how for how in LEARN if how in set(table["learn"])]
    fractions = sorted(set(table["fraction"]))
    figure = svg.canvas(WIDTH, 400)
    width = (WIDTH - 60 - 60 * (len(panels) - 1)) / len(panels)
    low, high = min(table["low"].min(), table["least"].min()), max(table["high"].max(), table["most"].max())
    shown = [Series(init, init, _COLORS[i % len(_COLORS)], "o") for i, init in enumerate(inits(view))]
    for place, how in enumerate(panels):
        ax = svg.axes(figure, 50 + place * (width + 60), 66, width, 274)
        ax.grid(axis="y", color=RULE, linewidth=0.8)
        for k, s in enumerate(shown):
            line = table[(table["init"] == s.source) & (table["learn"] == how)].sort_values("fraction")
            x = np.log10(line["fraction"]) + 0.012 * (k - (len(shown) - 1) / 2)
            ax.fill_between(x, line["low"], line["high"], color=s.color, alpha=0.12, linewidth=0)
            ax.plot(x, line["mean"], color=s.color, marker="o", markersize=5, linewidth=1.8)
            ax.vlines(x, line["least"], line["most"], color=s.color, linewidth=1.2)
        ax.set_xticks(np.log10(fractions), [_share(f) for f in fractions], size=SMALL, color=MUTED)
        ax.set_ylim(low - 0.02, high + 0.02)
        ax.set_title(LEARN[how], size=TEXT, color=INK, loc="left", pad=10)
        ax.set_xlabel("share of the training patients with labels", size=SMALL, color=MUTED)
    svg.legend(figure, shown)
    spoken = [f"{r['init']}, {LEARN[r['learn']]}, {_share(r['fraction'])}: {r['mean']:.3f}" for r in
              table.to_dict("records")]  # fmt: skip
    return Plot(
        "curves", svg.write_svg(figure, "curves"), table, "; ".join(spoken) + ".",
        "AUROC on the same test films, averaged over findings and over seeds, against the share of the labels. Bands: "
        "95 % over test patients. Thin lines: the range over seeds. Every beginning saw the same labels in the same "
        "order.",
    )  # fmt: skip


def auc_table(view: View) -> Table | None:
    """Beginnings in rows, linear evaluation and fine-tuning by share of the labels in columns, as ConVIRT prints it."""
    table = _table(view, "curves")
    if table.empty:
        return None
    columns = [(how, f) for how in ("head", "all", "layers") for f in sorted(set(table["fraction"]))
               if ((table["learn"] == how) & (table["fraction"] == f)).any()]  # fmt: skip
    rows = []
    for init in inits(view):
        by = {(r["learn"], r["fraction"]): r for r in table[table["init"] == init].to_dict("records")}
        rows.append([init, *(_curve_cell(by.get(c)) for c in columns)])
    seeds = int(table["seeds"].max())
    caption = (
        f"AUROC averaged over findings, mean of {seeds} seeds [95 % over test patients] ± standard deviation over "
        f"seeds; {_tested(view)}"
    )
    head = ["Beginning", *(f"{LEARN[how]}, {_share(f)}" for how, f in columns)]
    return Table.of(caption, head, rows, file="curves")


def _tested(view: View) -> str:
    """How many films and patients accuracy was measured on."""
    table = view.run.table("predictions", ["radiograph", "patient"])
    return f"{counted(table['radiograph'].nunique(), 'film')} of {counted(table['patient'].nunique(), 'patient')}"


def _curve_cell(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return "–"
    mean, low, high, spread = (float(str(row[k])) for k in ("mean", "low", "high", "spread"))
    text = Number(mean, low, high, 0, 0).text(3).replace(" [", "\n[")
    return text if np.isnan(spread) else f"{text}\n± {decimal(spread, 3)}"


def gain_table(view: View) -> Table | None:
    """What each beginning gains over the one at random, and whether it gains more with few labels."""
    table = _table(view, "gains")
    if table.empty:
        return None
    rows = [[r["init"], LEARN[r["learn"]], _share(r["fraction"]), LEARN.get(r["versus"], str(r["versus"])),
             Number(r["mean"], r["low"], r["high"], 0, 0).text(3), "< 0.002" if r["p"] <= 0.002 else decimal(r["p"], 3),
             decimal(r["spread"], 3)] for r in table.to_dict("records")]  # fmt: skip
    caption = (
        "Paired differences of AUROC [95 % over test patients]; p by resampling, not corrected; spread over seeds; "
        f"{_tested(view)}"
    )
    return Table.of(caption, ["Beginning", "Training", "Labels", "Less", "Difference", "p", "Spread"], rows, 4, "gains")


def map_table(view: View) -> Table | None:
    """Localization of every shown network's maps, and the paired difference to the beginning at random."""
    shown = {row["model"]: row for row in view.info.get("shown", ())}
    if not inits(view) or not shown:
        return None
    metrics = [m for m in ("iou", "hit", "mass", "pr-area") if m in view.metrics]
    gaps = dict(_paired(view))
    rows = []
    for source in dict.fromkeys(view.estimates["source"]):
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        if name in shown:
            row = shown[name]
            key = f"{row['init']}, {_share(row['fraction'])}, {view.label(method)}"
            gap = gaps.get(key)
            rows.append([view.label(method), _share(row["fraction"]), row["init"],
                         *(view.number(source, m).text() for m in metrics), gap.text(3) if gap else "–"])  # fmt: skip
        elif name == WORDS:
            rows.append([view.label(method), "none", "reports, in words",
                         *(view.number(source, m).text() for m in metrics), "–"])  # fmt: skip
    head = ["Method", "Labels", "Beginning", *map(title, metrics), f"{title(_leading(view))} less random"]
    n = view.number(next(iter(view.estimates["source"])), metrics[0])
    caption = (
        "Maps of the fine-tuned networks of the first seed, each of the finding it is scored for: mean [95 %] over "
        f"{counted(n.n, 'mark')} of {counted(n.patients, 'patient')}"
    )
    return Table.of(caption, head, sorted(rows, key=lambda r: (r[0], r[1])), 3, "estimates")


def shape_table(view: View) -> Table | None:
    """How the evidence lies on the maps that were read, and the paired difference to the beginning at random."""
    table, gaps = _table(view, "facts"), _table(view, "fact_differences")
    if table.empty or gaps.empty:
        return None
    facts, base = Facts(table, gaps), inits(view)[0]
    rows = []
    for model in facts.models:
        cells = []
        for measure in SHAPES:
            gap = facts.gap(model, base, "average", measure)
            cells += [_interval(facts.number(model, "average", measure)), _signed(_number(gap)) if gap else "–"]
        rows.append([model, *cells])
    caption = (
        "How the evidence lies on the maps that were read: focus (Gini index, 1 = all in one place), entropy (1 = "
        "even), spread around the center of mass (0.41 = even), over all cases [95 % over patients]"
    )
    head = ["Beginning", *(text for measure in SHAPES for text in (measure.capitalize(), f"less {base}"))]
    return Table.of(caption, head, rows, file="facts")


def _interval(fact: Mapping[str, float] | None) -> str:
    return _number(fact).text(3) if fact else "–"


def _number(fact: Mapping[str, float]) -> Number:
    return Number(fact["mean"], fact["low"], fact["high"], 0, 0)


def narrative(view: View) -> list[str]:
    """The reading of the maps, a paragraph per line, without its marks."""
    file = view.run.path / "narrative.md"
    if not inits(view) or not file.is_file():
        return []
    return [line.replace("**", "") for line in file.read_text("utf-8").splitlines() if line.strip()]


def claim_table(view: View) -> Table | None:
    """Every claim of that reading, and what the numbers say of it."""
    table = _table(view, "claims")
    if table.empty:
        return None
    rows = [[r["verdict"], r["model"], r["finding"], r["text"], r["why"]] for r in table.to_dict("records")]
    told = table[table["verdict"].isin(["supported", "contradicted"])]
    rate = f"{(told['verdict'] == 'contradicted').mean():.0%}" if len(told) else "nothing checkable"
    caption = f"Claims of the reading, checked against the measurements; contradicted: {rate}"
    return Table.of(caption, ["Verdict", "Beginning", "Finding", "Claim", "Measured"], rows, 5, "claims")


def report_table(view: View) -> Table | None:
    """How often maps are densest where the report of the same film says the finding is."""
    table = _table(view, "report_agreement")
    if table.empty:
        return None
    rows = [[r["model"], str(r["measure"]), Number(r["mean"], r["low"], r["high"], 0, 0).text(),
             Number(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(), f"{r['n']:,}", f"{r['patients']:,}"]
            for r in table.to_dict("records")]  # fmt: skip
    caption = (
        "Maps beside reports: how often the densest side, or third, is the one that the report names [95 %], and how "
        "much more often than the report on another patient with the finding"
    )
    head = ["Beginning", "Place", "Meets the report", "More than another's", "Cases", "Patients"]
    return Table.of(caption, head, rows, 2, "report_agreement")


def word_table(view: View) -> Table | None:
    """How alike the classifiers' maps and those of the words for the finding are, and which of them find more."""
    table = _table(view, "word_agreement")
    if table.empty:
        return None
    names = {(r["init"], r["fraction"]): r["model"] for r in view.info.get("shown", ())}
    least = min(fraction for _, fraction in names)
    words = next(s for s in view.run.sources if Source.parse(s).model == WORDS)
    rows = []
    for r in table.to_dict("records"):
        parsed = Source.parse(str(r["model"]))
        init, method = parsed.model, parsed.method
        gap = view.difference(f"{names[init, least]}/{method}", words, _leading(view))
        rows.append([init, view.label(method), Number(r["mean"], r["low"], r["high"], 0, 0).text(),
                     Number(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(),
                     _signed(gap) if gap.defined else "–", f"{r['n']:,}", f"{r['patients']:,}"])  # fmt: skip
    caption = (
        f"The classifiers' maps (with {_share(least)} of the labels) beside where the contrastive pair finds the image "
        "like the words for the finding: rank correlation over the image [95 %], how much higher than with the words' "
        f"map of another patient with the finding, and the difference in {title(_leading(view))}"
    )
    last = f"{title(_leading(view))} less the words'"
    head = ["Beginning", "Method", "Rank correlation", "More than another's", last, "Cases", "Patients"]
    return Table.of(caption, head, rows, 2, "word_agreement")


def published_auc(view: View) -> Table | None:
    """ConVIRT's own table."""
    if not inits(view):
        return None
    facts = published()["pretraining"]
    some = [(name, init, values) for name in ("CheXpert", "RSNA") for init, values in facts[name.lower()].items()]
    rows = [[data, init, *(f"{v:.1f}" for how in ("linear", "finetune") for v in values[how])]
            for data, init, values in some]  # fmt: skip
    head = ["Data", "Beginning", *(f"{how}, {f} %" for how in ("Linear", "Fine-tuning") for f in (1, 10, 100))]
    return Table.of(f"Published AUC: {facts['citation']}", head, rows, 2)
