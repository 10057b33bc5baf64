"""The page: which blocks stand in which order, and the template that turns them into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from sightline.core import Source
from sightline.report import error_analysis, figures, human_benchmark, summary, tables, trends
from sightline.report import svg as draw
from sightline.report.example_panels import PREDICTED, READER, RECTANGLE, TRUTH, Panel
from sightline.report.example_selection import APART, APART_NONE, APART_RULE, CASES, RULE, SHAPES, SHAPES_RULE
from sightline.report.phrasing import among, counted
from sightline.report.published_results import published
from sightline.report.run_view import Number, View, decimal, higher_is_better, title
from sightline.report.sections import (
    gaze,
    gaze_figures,
    pretraining,
    selfexplain,
    selfexplain_figures,
    trust,
    trust_figures,
)
from sightline.report.svg import Plot
from sightline.report.tables import Table
from sightline.report.warnings import Caution, average_auroc, warnings
from sightline.runs.provenance import command


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    interval: str
    among: str
    """Of how many maps and patients."""
    note: str
    kind: str


@dataclass(frozen=True, slots=True)
class Block:
    """A figure or pictures, the tables beside them, and paragraphs; whatever is empty is left out."""

    plot: Plot | None = None
    number: int = 0
    tables: Sequence[Table] = ()
    open: bool = False
    """Whether the tables are shown without being asked for."""
    panels: Sequence[Panel] = ()
    cases: Mapping[str, str] = field(default_factory=dict)
    """What kinds of pictures there are, in columns."""
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def plots(view: View) -> dict[str, Plot]:
    """Every figure that this run has data for, by name, in the order of the page."""
    makers = (
        pretraining.curves, selfexplain_figures.ladder, selfexplain_figures.froc_curves, selfexplain_figures.budget,
        gaze_figures.taught, gaze_figures.correctness, gaze_figures.regions,
        trust_figures.cascade, trust_figures.agreement, trust_figures.utility_boxes,
        figures.localization, human_benchmark.decrease, figures.comparison, figures.differences,
        trends.size_and_probability, error_analysis.shapes, error_analysis.regressions, error_analysis.assurance,
        human_benchmark.slices, human_benchmark.thresholds, figures.accuracy, figures.protocols,
    )  # fmt: skip
    made = [make(view) for make in makers]
    return {p.name: p for p in made if p is not None}


def render(
    view: View,
    drawn: Mapping[str, Plot],
    panels: Sequence[Panel],
    notes: Sequence[str],
    cautions: Sequence[Caution] = (),
) -> str:
    """The whole report as HTML that loads nothing.

    drawn: of `plots`; panels: example pictures; notes: why pictures are missing, if they are; cautions:
    what is to be said before all else.
    """
    package = files("sightline.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((package / "template.html").read_text("utf-8"))
    numbers = {name: i + 1 for i, name in enumerate(drawn)}
    return template.render(
        css=Markup((package / "style.css").read_text("utf-8")),
        title=view.info.get("title") or f"Sightline: {view.info.get('study', 'report')}",
        study=view.info.get("study", ""),
        subtitle=_subtitle(view),
        verdict=_said(view),
        warnings=[*cautions, *warnings(view)],
        tiles=tiles(view),
        sections=sections(view, drawn, numbers, panels, notes),
        contours={"truth": TRUTH, "reader": READER, "predicted": PREDICTED, "rectangle": RECTANGLE},
        published=published(),
        simulated=view.simulated,
        has_reader=view.reader is not None,
        inline=lambda svg: Markup(draw.inline(svg)),
        metric=title(view.metrics[0]) if view.metrics else "",
    )


def _said(view: View) -> list[str]:
    """The sentences of whichever study this is."""
    told = (study.said(view) for study in (pretraining, gaze, selfexplain, trust))
    return next((some for some in told if some), None) or summary.verdict(view)


def _subtitle(view: View) -> list[str]:
    data = view.info.get("dataset", {})
    parts = [str(data.get("title") or data.get("name", ""))]
    if data.get("radiographs") is not None:
        patients = data.get("patients")
        of = f" of {counted(patients, 'patient')}" if patients else ""
        parts.append(counted(data["radiographs"], "radiograph") + of)
    if view.protocol:
        parts.append(f"{view.protocol} protocol")
    parts.append(str(view.info.get("created", ""))[:10])
    return [p for p in parts if p]


def tiles(view: View) -> list[Tile]:
    """The headline numbers: overlap of model, human and control, pointing, accuracy; of a trust study its verdicts."""
    if view.info.get("study") == "trust" and (answers := trust.answers(view)):
        return [Tile(a.name, f"{a.passed} of {a.asked}", "methods pass", a.among, a.means, "model")
                for a in answers]  # fmt: skip
    if not view.metrics:
        return []
    made = [_of(view, source, view.metrics[0]) for source in (view.best, view.reader, view.control) if source]
    if view.best and len(view.shown) > 1:
        made.append(_of(view, view.best, view.shown[1]))
    model = Source.parse(view.best or "").model
    auroc = average_auroc(view, model)
    if auroc is not None and not np.isnan(auroc.low):
        made.append(_tile("AUROC, mean of findings", auroc, "label", model, "model"))
    return made


def _of(view: View, source: str, metric: str) -> Tile:
    return _tile(title(metric), view.number(source, metric), "map", view.label(source), view.kind(source))


def _tile(label: str, number: Number, noun: str, note: str, kind: str) -> Tile:
    interval = number.text().partition(" ")[2] or "no interval"
    return Tile(label, decimal(number.mean), interval, among([number], noun), note, kind)


def sections(
    view: View, drawn: Mapping[str, Plot], numbers: Mapping[str, int], panels: Sequence[Panel], notes: Sequence[str]
) -> list[Section]:
    """Everything below the verdict, in reading order; a section without content is left out."""

    def block(name: str, shown: Sequence[Table], *paragraphs: str) -> Block:
        return Block(drawn.get(name), numbers.get(name, 0), shown, paragraphs=paragraphs)

    made = [
        *_of_elements(view, block),
        Section("trust", "May the maps be trusted?", [
            Block(tables=_there(trust.summary(view), trust.ceilings(view)), open=True),
            block("cascade", ()), block("agreement", _there(trust.measures(view))),
            block("utility", _there(trust.floor_and_ceiling(view))),
            Block(tables=trust.robust(view), open=True), Block(tables=_there(trust.beside(view))),
        ]),
        _of_beginnings(view, block),
        *_of_gaze(view, block),
        Section("localization", _by_finding(view), [
            block("localization", tables.by_finding(view) if "localization" in drawn else ())
        ]),
        Section("benchmark", "How far below the human benchmark", [
            block("decrease", human_benchmark.decrease_tables(view))
        ]),
        Section("comparison", "Every source, averaged over findings", [
            block("comparison", _there(tables.comparison(view), human_benchmark.selection(view))),
            block("differences", [tables.differences(view)] if "differences" in drawn else ()),
        ]),
        Section("examples", "Best, typical and worst", _examples(view, panels, notes)),
        Section("causes", "Size and shape of the finding", [
            block("size", ()), _gallery(panels, SHAPES, SHAPES_RULE), block("shapes", ()),
            block("regressions", _there(error_analysis.regression_table(view), error_analysis.across_table(view))),
            Block(tables=_there(error_analysis.box_table(view))),
        ]),
        Section("assurance", "Does a confident model point better?", [
            block("assurance", error_analysis.assurance_tables(view), *error_analysis.unasked(view))
        ]),
        Section("slices", "All images, and other thresholds", [
            block("slices", _there(human_benchmark.slice_table(view))),
            block("thresholds", _there(human_benchmark.tuning_table(view))),
        ]),
        Section("accuracy", "Accuracy and training of the models", _accuracy(view, block)),
        Section("failures", "Maps that failed", _failures(view)),
        Section("protocols", "Published and corrected protocol", _protocols(view, block)),
        Section("published", "Published figures of CheXlocalize", [_published(view)]),
        Section("methods", "How this was made", _methods(view)),
    ]  # fmt: skip
    return [s for s in ([_kept(s) for s in made]) if s.blocks]


def _of_beginnings(view: View, block: Any) -> Section:
    return Section("curves", "Does the beginning matter?", [
        block("curves", _there(pretraining.gain_table(view))),
        block("panel", ()) if pretraining.inits(view) else Block(),
        Block(tables=_there(pretraining.auc_table(view)), open=True),
        Block(tables=_there(pretraining.map_table(view)), open=True),
        Block(tables=_there(pretraining.shape_table(view)), open=True),
        Block(tables=_there(pretraining.report_table(view)), open=True),
        Block(tables=_there(pretraining.word_table(view)), open=True),
        Block(tables=_there(pretraining.claim_table(view)), paragraphs=pretraining.narrative(view)),
        Block(tables=_there(pretraining.published_auc(view))),
    ])  # fmt: skip


def _of_elements(view: View, block: Any) -> list[Section]:
    if not selfexplain.own(view):
        return []
    return [
        Section("element", "Does the network explain itself better?", [
            block("ladder", _there(selfexplain.localization(view))), block("panel", ()), block("froc", ()),
        ]),
        Section("margin", "Does the element cost accuracy?", [
            Block(tables=_there(selfexplain.margins(view)), open=True),
        ]),
        Section("labels", "Label budget: how many marks are the labels worth?", [
            block("budget", _there(selfexplain.budgets(view))),
            Block(tables=_there(selfexplain.labels(view)), open=True),
        ]),
        Section("decision", "Does the map mean anything for the decision?", [
            Block(tables=_there(selfexplain.decision(view)), open=True),
        ]),
        Section("costs", "What maps cost", [Block(tables=_there(selfexplain.cost_table(view)), open=True)]),
        Section("sheets", "Sheets for readers", [Block(tables=selfexplain.rating_tables(view))]),
        Section("limits", "Limits", [Block(paragraphs=[selfexplain.RECONSTRUCTION, selfexplain.LIMITS])]),
    ]  # fmt: skip


def _of_gaze(view: View, block: Any) -> list[Section]:
    return [
        Section("gaze", "Do maps agree with where the radiologist looked?", [
            block("panel", ()) if gaze_figures.models(view) else Block(),
            block("gaze", _there(gaze.gains(view))), Block(facts=gaze.facts(view)),
        ]),
        Section("correctness", "More so where the network is right?", [
            block("correctness", _there(gaze.ssim_table(view), gaze.published_ssim(view))),
        ]),
        Section("regions", "The same regions?", [
            block("regions", _there(gaze.region_table(view), gaze.rectangle_table(view))),
        ]),
        Section("teaching", "Does training on gaze cost accuracy?", [
            Block(tables=_there(gaze.auroc_table(view)), open=True),
            Block(tables=_there(gaze.calibration(view), gaze.published_auroc(view))),
        ]),
    ]  # fmt: skip


def _by_finding(view: View) -> str:
    return "Agreement, finding by finding" if gaze_figures.models(view) else "Where the maps point, finding by finding"


def _there(*made: Table | None) -> list[Table]:
    return [t for t in made if t is not None]


def _kept(section: Section) -> Section:
    kept = [b for b in section.blocks if b.plot or b.tables or b.panels or b.paragraphs or b.facts]
    return Section(section.id, section.title, kept)


def _examples(view: View, panels: Sequence[Panel], notes: Sequence[str]) -> list[Block]:
    if not panels:
        return [Block(paragraphs=notes)]
    metric = title(view.metrics[0]) if higher_is_better(view.metrics[0]) else "score"
    said = f"Maps of {view.label(view.best or '')}. {RULE.format(metric=metric)}"
    apart = _gallery(panels, APART, APART_RULE)
    if not {"iou", "hit"} <= set(view.metrics):
        return [_gallery(panels, CASES, said, *notes)]
    none = [APART_NONE[case] for case in APART if case not in apart.cases]
    return [_gallery(panels, CASES, said, *notes), replace(apart, paragraphs=[*apart.paragraphs, *none])]


def _gallery(panels: Sequence[Panel], cases: Mapping[str, str], *paragraphs: str) -> Block:
    shown = [p for p in panels if p.example.case in cases]
    there = {case: name for case, name in cases.items() if any(p.example.case == case for p in shown)}
    return Block(panels=shown, cases=there, paragraphs=paragraphs if shown else ())


def _accuracy(view: View, block: Any) -> list[Block]:
    blocks = [block("accuracy", [tables.accuracy(view)])] if view.aurocs else []
    records = tables.models(view)
    return [*blocks, Block(tables=[records], open=True)] if records else blocks


def _failures(view: View) -> list[Block]:
    counts, first = tables.statuses(view), tables.failures(view)
    if counts is None and first is None:
        return []
    said = "A map that is missing, flat, not finite, unreadable or refused keeps its row. In the corrected protocol it "
    said += "scores the worst value; the published one leaves empty predictions out of overlap."
    if first is None:
        any_failed = bool((view.status["status"] != "ok").any())
        said += " None of those that failed here was to be scored." if any_failed else " None failed in this run."
    return [Block(tables=[t for t in (counts, first) if t], open=True, paragraphs=[said])]


def _protocols(view: View, block: Any) -> list[Block]:
    records = tables.records(view)
    blocks = [block("protocols", [tables.by_protocol(view)])] if "published" in view.protocols and len(
        view.protocols
    ) > 1 else []  # fmt: skip
    return [*blocks, Block(tables=[records], open=True)] if records else blocks


def _published(view: View) -> Block:
    facts = published()
    if "iou" not in view.metrics:
        return Block()
    paragraphs = [
        f"From another data set, for orientation and not for comparison: {facts['data']}.",
        f"By finding: {facts['by_finding_source']}. Statements: {facts['statements_source']}.",
        "Known errors in what is printed: " + " ".join(error_analysis.known_errors()),
    ]
    return Block(tables=[tables.published_by_finding(view), tables.statements()], open=True, paragraphs=paragraphs)


def _methods(view: View) -> list[Block]:
    info = view.info
    data = info.get("dataset", {})
    paragraphs = [
        "Intervals are 95 % bootstrap intervals, pointwise: nothing is adjusted for the number of findings or sources. "
        f"The source called best ({summary.ASIDE}) is the best by "
        f"{title(view.metrics[0]) if view.metrics else 'score'} on these same radiographs, which flatters it a little. "
        "Averages give every finding the same weight. Where all cases score alike there is nothing to resample and an "
        "interval shrinks to a point: of few cases it says that no other "
        "outcome was seen, not that none can be.",
    ]
    if view.simulated:
        paragraphs.append(
            "Readers of this data set are simulated: their errors follow stated parameters, so the human benchmark "
            "shown here says how the comparison works, not how well radiologists do."
        )
    facts = [("Data", ", ".join(str(data[k]) for k in ("title", "spec", "license", "source") if data.get(k)))]
    facts += [(f"Method {n}", _described(m)) for n, m in info.get("methods", {}).items()]
    facts += [("Versions", _pairs(info.get("versions", {})))]
    facts += [
        ("Seconds", _pairs(info.get("seconds", {}))),
        ("Run", command(str(info.get("study", "")), info.get("options", {}), view.run.path)),
    ]
    return [Block(paragraphs=paragraphs, facts=[(k, v) for k, v in facts if v])]


def _described(method: Mapping[str, Any]) -> str:
    sign = "" if method.get("signed") is None else "signed" if method["signed"] else "not signed"
    return ", ".join(str(p) for p in (method.get("source"), sign) if p)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {_value(v)}" for k, v in values.items() if v is not None)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
