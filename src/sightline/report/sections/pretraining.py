"""The report of a pre-training study: learning curves, the table of beginnings, and what their maps find."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.evaluation.narration.facts import SHAPE_MEASURES, Measurements
from sightline.report import svg
from sightline.report.phrasing import count_noun, sample_size
from sightline.report.published_results import load_published
from sightline.report.run_view import AVERAGE, Estimate, RunView, format_decimal, metric_title
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, RULE, SMALL_SIZE, TEXT_SIZE, Plot, Series
from sightline.report.tables import Table

LEARNING_MODE_LABELS = {"all": "Fine-tuning", "head": "Linear evaluation", "layers": "Fine-tuning, slower below"}
IMAGE_TEXT_MODEL = "words"
"""The contrastive pair, asked in words, among the sources of a run."""
_COLORS = (svg.CONTROL_COLOR, *MODEL_COLORS)


def initializations(view: RunView) -> list[str]:
    """Beginnings in the order of the study, at random first; none of another study."""
    return list(view.info.get("inits", ())) if view.info.get("study") == "pretraining" else []


def _read_table(view: RunView, name: str) -> pd.DataFrame:
    return view.run.table(name) if initializations(view) and view.run.has_table(name) else pd.DataFrame()


def sentences(view: RunView) -> list[str]:
    """What the tables come to, or nothing for another study."""
    return [*_accuracy_sentences(view), *_map_sentences(view)]


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = _read_table(view, "gains")
    if table.empty:
        return
    base = initializations(view)[0]
    for (init, learn), part in table[table["init"] != base].groupby(["init", "learn"], sort=False):
        by = {(r["fraction"], r["versus"]): r for r in part.to_dict("records")}
        least, most = min(part["fraction"]), max(part["fraction"])
        first, last = by.get((least, base)), by.get((most, base))
        if first is None or last is None:
            continue
        text = f"{LEARNING_MODE_LABELS[str(learn)]} from {init}: AUROC {_format_gap(first)} beside {base} with "
        text += f"{_format_share(least)} of the labels, {_format_gap(last)} with {_format_share(most)}"
        extra = by.get((least, f"gain at {most:g}"))
        if extra is not None:
            told = "helps more" if extra["low"] > 0 else "helps less" if extra["high"] < 0 else "is not told apart"
            text += f"; with few labels it {told} ({_format_gap(extra)})"
        counts = sample_size((a.estimate for a in view.aurocs if a.finding != AVERAGE), "film")
        yield "; ".join(filter(None, [text, counts])) + "."


def _format_gap(row: Mapping[Hashable, Any]) -> str:
    mean, low, high = (float(str(row[k])) for k in ("mean", "low", "high"))
    text = Estimate(mean, low, high, 0, 0).text(3)
    return f"+{text}" if mean > 0 else text


def _format_share(fraction: object) -> str:
    return f"{100 * float(str(fraction)):g} %"


def _map_sentences(view: RunView) -> Iterator[str]:
    rows = list(_differences_to_random(view))
    if not rows:
        return
    better = [row for row in rows if row[1].low > 0]
    worse = [row for row in rows if row[1].high < 0]
    text = (
        f"{metric_title(_main_metric(view))} of maps is above that of the network begun at random in {len(better)} of "
    )
    text += f"{len(rows)} "
    text += f"comparisons, below in {len(worse)}"
    for some, word in ((better, "most"), (worse, "least")):
        if some:
            name, number = (max if some is better else min)(some, key=lambda row: row[1].mean)
            text += f"; {word} for {name} ({_format_signed(number)})"
    yield f"{text}; {sample_size(number for _, number in rows)}."


def _format_signed(n: Estimate) -> str:
    return f"+{n.text(3)}" if n.mean > 0 else n.text(3)


def _main_metric(view: RunView) -> str:
    return "pr-area" if "pr-area" in view.metrics else view.metrics[0]


def _differences_to_random(view: RunView) -> Iterator[tuple[str, Estimate]]:
    """(what, difference to the beginning at random) of the leading metric, averaged over findings."""
    shown = {row["model"]: row for row in view.info.get("shown", ())}
    base = {(r["fraction"], r["seed"]): name for name, r in shown.items() if r["init"] == initializations(view)[0]}
    sources = [s for s in dict.fromkeys(view.estimates["source"]) if Source.parse(s).model in shown]
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        row = shown[name]
        other = base.get((row["fraction"], row["seed"]))
        if other is None or other == name:
            continue
        number = view.difference(source, f"{other}/{method}", _main_metric(view))
        if number.is_defined:
            yield f"{row['init']}, {_format_share(row['fraction'])}, {view.label(method)}", number


def plot_learning_curves(view: RunView) -> Plot | None:
    """AUROC against the share of the labels, a panel for fine-tuning and for linear evaluation."""
    table = _read_table(view, "curves")
    if table.empty:
        return None
    panels = [how for how in LEARNING_MODE_LABELS if how in set(table["learn"])]
    fractions = sorted(set(table["fraction"]))
    figure = svg.make_canvas(PAGE_WIDTH, 400)
    width = (PAGE_WIDTH - 60 - 60 * (len(panels) - 1)) / len(panels)
    low, high = min(table["low"].min(), table["least"].min()), max(table["high"].max(), table["most"].max())
    shown = [Series(init, init, _COLORS[i % len(_COLORS)], "o") for i, init in enumerate(initializations(view))]
    for place, how in enumerate(panels):
        ax = svg.add_axes(figure, 50 + place * (width + 60), 66, width, 274)
        ax.grid(axis="y", color=RULE, linewidth=0.8)
        for k, s in enumerate(shown):
            line = table[(table["init"] == s.source) & (table["learn"] == how)].sort_values("fraction")
            x = np.log10(line["fraction"]) + 0.012 * (k - (len(shown) - 1) / 2)
            ax.fill_between(x, line["low"], line["high"], color=s.color, alpha=0.12, linewidth=0)
            ax.plot(x, line["mean"], color=s.color, marker="o", markersize=5, linewidth=1.8)
            ax.vlines(x, line["least"], line["most"], color=s.color, linewidth=1.2)
        ax.set_xticks(np.log10(fractions), [_format_share(f) for f in fractions], size=SMALL_SIZE, color=MUTED)
        ax.set_ylim(low - 0.02, high + 0.02)
        ax.set_title(LEARNING_MODE_LABELS[how], size=TEXT_SIZE, color=INK, loc="left", pad=10)
        ax.set_xlabel("share of the training patients with labels", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(figure, shown)
    spoken = [
        f"{r['init']}, {LEARNING_MODE_LABELS[r['learn']]}, {_format_share(r['fraction'])}: {r['mean']:.3f}"
        for r in table.to_dict("records")
    ]
    return Plot(
        "curves",
        svg.write_svg(figure, "curves"),
        table,
        "; ".join(spoken) + ".",
        "AUROC on the same test films, averaged over findings and over seeds, against the share of the labels. Bands: "
        "95 % over test patients. Thin lines: the range over seeds. Every beginning saw the same labels in the same "
        "order.",
    )


def auc_table(view: RunView) -> Table | None:
    """Beginnings in rows, linear evaluation and fine-tuning by share of the labels in columns, as ConVIRT prints it."""
    table = _read_table(view, "curves")
    if table.empty:
        return None
    columns = [
        (how, f)
        for how in ("head", "all", "layers")
        for f in sorted(set(table["fraction"]))
        if ((table["learn"] == how) & (table["fraction"] == f)).any()
    ]
    rows = []
    for init in initializations(view):
        by = {(r["learn"], r["fraction"]): r for r in table[table["init"] == init].to_dict("records")}
        rows.append([init, *(_curve_cell(by.get(c)) for c in columns)])
    seeds = int(table["seeds"].max())
    caption = (
        f"AUROC averaged over findings, mean of {seeds} seeds [95 % over test patients] ± standard deviation over "
        f"seeds; {_test_set_phrase(view)}"
    )
    head = ["Beginning", *(f"{LEARNING_MODE_LABELS[how]}, {_format_share(f)}" for how, f in columns)]
    return Table.create(caption, head, rows, table_name="curves")


def _test_set_phrase(view: RunView) -> str:
    """How many films and patients accuracy was measured on."""
    table = view.run.table("predictions", ["radiograph", "patient"])
    return f"{count_noun(table['radiograph'].nunique(), 'film')} of {count_noun(table['patient'].nunique(), 'patient')}"


def _curve_cell(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return "–"
    mean, low, high, spread = (float(str(row[k])) for k in ("mean", "low", "high", "spread"))
    text = Estimate(mean, low, high, 0, 0).text(3).replace(" [", "\n[")
    return text if np.isnan(spread) else f"{text}\n± {format_decimal(spread, 3)}"


def gain_table(view: RunView) -> Table | None:
    """What each beginning gains over the one at random, and whether it gains more with few labels."""
    table = _read_table(view, "gains")
    if table.empty:
        return None
    rows = [
        [
            r["init"],
            LEARNING_MODE_LABELS[r["learn"]],
            _format_share(r["fraction"]),
            LEARNING_MODE_LABELS.get(r["versus"], str(r["versus"])),
            Estimate(r["mean"], r["low"], r["high"], 0, 0).text(3),
            "< 0.002" if r["p"] <= 0.002 else format_decimal(r["p"], 3),
            format_decimal(r["spread"], 3),
        ]
        for r in table.to_dict("records")
    ]
    caption = (
        "Paired differences of AUROC [95 % over test patients]; p by resampling, not corrected; spread over seeds; "
        f"{_test_set_phrase(view)}"
    )
    return Table.create(
        caption, ["Beginning", "Training", "Labels", "Less", "Difference", "p", "Spread"], rows, 4, "gains"
    )


def map_table(view: RunView) -> Table | None:
    """Localization of every shown network's maps, and the paired difference to the beginning at random."""
    shown = {row["model"]: row for row in view.info.get("shown", ())}
    if not initializations(view) or not shown:
        return None
    metrics = [m for m in ("iou", "hit", "mass", "pr-area") if m in view.metrics]
    gaps = dict(_differences_to_random(view))
    rows = []
    for source in dict.fromkeys(view.estimates["source"]):
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        if name in shown:
            row = shown[name]
            key = f"{row['init']}, {_format_share(row['fraction'])}, {view.label(method)}"
            gap = gaps.get(key)
            rows.append(
                [
                    view.label(method),
                    _format_share(row["fraction"]),
                    row["init"],
                    *(view.estimate(source, m).text() for m in metrics),
                    gap.text(3) if gap else "–",
                ]
            )
        elif name == IMAGE_TEXT_MODEL:
            rows.append(
                [
                    view.label(method),
                    "none",
                    "reports, in words",
                    *(view.estimate(source, m).text() for m in metrics),
                    "–",
                ]
            )
    head = [
        "Method",
        "Labels",
        "Beginning",
        *map(metric_title, metrics),
        f"{metric_title(_main_metric(view))} less random",
    ]
    n = view.estimate(next(iter(view.estimates["source"])), metrics[0])
    caption = (
        "Maps of the fine-tuned networks of the first seed, each of the finding it is scored for: mean [95 %] over "
        f"{count_noun(n.n, 'mark')} of {count_noun(n.patients, 'patient')}"
    )
    return Table.create(caption, head, sorted(rows, key=lambda r: (r[0], r[1])), 3, "estimates")


def shape_table(view: RunView) -> Table | None:
    """How the evidence lies on the maps that were read, and the paired difference to the beginning at random."""
    table, gaps = _read_table(view, "facts"), _read_table(view, "fact_differences")
    if table.empty or gaps.empty:
        return None
    facts, base = Measurements(table, gaps), initializations(view)[0]
    rows = []
    for model in facts.models:
        cells = []
        for measure in SHAPE_MEASURES:
            gap = facts.difference(model, base, "average", measure)
            cells += [
                _format_estimate(facts.estimate(model, "average", measure)),
                _format_signed(_to_estimate(gap)) if gap else "–",
            ]
        rows.append([model, *cells])
    caption = (
        "How the evidence lies on the maps that were read: focus (Gini index, 1 = all in one place), entropy (1 = "
        "even), spread around the center of mass (0.41 = even), over all cases [95 % over patients]"
    )
    head = ["Beginning", *(text for measure in SHAPE_MEASURES for text in (measure.capitalize(), f"less {base}"))]
    return Table.create(caption, head, rows, table_name="facts")


def _format_estimate(fact: Mapping[str, float] | None) -> str:
    return _to_estimate(fact).text(3) if fact else "–"


def _to_estimate(fact: Mapping[str, float]) -> Estimate:
    return Estimate(fact["mean"], fact["low"], fact["high"], 0, 0)


def narrative_paragraphs(view: RunView) -> list[str]:
    """The reading of the maps, a paragraph per line, without its marks."""
    file = view.run.path / "narrative.md"
    if not initializations(view) or not file.is_file():
        return []
    return [line.replace("**", "") for line in file.read_text("utf-8").splitlines() if line.strip()]


def claim_table(view: RunView) -> Table | None:
    """Every claim of that reading, and what the numbers say of it."""
    table = _read_table(view, "claims")
    if table.empty:
        return None
    rows = [[r["verdict"], r["model"], r["finding"], r["text"], r["why"]] for r in table.to_dict("records")]
    told = table[table["verdict"].isin(["supported", "contradicted"])]
    rate = f"{(told['verdict'] == 'contradicted').mean():.0%}" if len(told) else "nothing checkable"
    caption = f"Claims of the reading, checked against the measurements; contradicted: {rate}"
    return Table.create(caption, ["Verdict", "Beginning", "Finding", "Claim", "Measured"], rows, 5, "claims")


def report_agreement_table(view: RunView) -> Table | None:
    """How often maps are densest where the report of the same film says the finding is."""
    table = _read_table(view, "report_agreement")
    if table.empty:
        return None
    rows = [
        [
            r["model"],
            str(r["measure"]),
            Estimate(r["mean"], r["low"], r["high"], 0, 0).text(),
            Estimate(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(),
            f"{r['n']:,}",
            f"{r['patients']:,}",
        ]
        for r in table.to_dict("records")
    ]
    caption = (
        "Maps beside reports: how often the densest side, or third, is the one that the report names [95 %], and how "
        "much more often than the report on another patient with the finding"
    )
    head = ["Beginning", "Place", "Meets the report", "More than another's", "Cases", "Patients"]
    return Table.create(caption, head, rows, 2, "report_agreement")


def image_text_table(view: RunView) -> Table | None:
    """How alike the classifiers' maps and those of the words for the finding are, and which of them find more."""
    table = _read_table(view, "word_agreement")
    if table.empty:
        return None
    names = {(r["init"], r["fraction"]): r["model"] for r in view.info.get("shown", ())}
    least = min(fraction for _, fraction in names)
    words = next(s for s in view.run.sources if Source.parse(s).model == IMAGE_TEXT_MODEL)
    rows = []
    for r in table.to_dict("records"):
        parsed = Source.parse(str(r["model"]))
        init, method = parsed.model, parsed.method
        gap = view.difference(f"{names[init, least]}/{method}", words, _main_metric(view))
        rows.append(
            [
                init,
                view.label(method),
                Estimate(r["mean"], r["low"], r["high"], 0, 0).text(),
                Estimate(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(),
                _format_signed(gap) if gap.is_defined else "–",
                f"{r['n']:,}",
                f"{r['patients']:,}",
            ]
        )
    caption = (
        f"The classifiers' maps (with {_format_share(least)} of the labels) beside where the contrastive pair "
        "finds the image "
        "like the words for the finding: rank correlation over the image [95 %], how much higher than with the words' "
        f"map of another patient with the finding, and the difference in {metric_title(_main_metric(view))}"
    )
    last = f"{metric_title(_main_metric(view))} less the words'"
    head = ["Beginning", "Method", "Rank correlation", "More than another's", last, "Cases", "Patients"]
    return Table.create(caption, head, rows, 2, "word_agreement")


def published_auc_table(view: RunView) -> Table | None:
    """ConVIRT's own table."""
    if not initializations(view):
        return None
    facts = load_published()["pretraining"]
    some = [(name, init, values) for name in ("CheXpert", "RSNA") for init, values in facts[name.lower()].items()]
    rows = [
        [data, init, *(f"{v:.1f}" for how in ("linear", "finetune") for v in values[how])]
        for data, init, values in some
    ]
    head = ["Data", "Beginning", *(f"{how}, {f} %" for how in ("Linear", "Fine-tuning") for f in (1, 10, 100))]
    return Table.create(f"Published AUC: {facts['citation']}", head, rows, 2)
