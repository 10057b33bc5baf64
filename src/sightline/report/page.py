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
from sightline.report.example_panels import (
    PREDICTED_OUTLINE,
    READER_OUTLINE,
    RECTANGLE_OUTLINE,
    REFERENCE_OUTLINE,
    Panel,
)
from sightline.report.example_selection import (
    CATEGORIES,
    CATEGORIES_RULE,
    DISAGREEMENTS,
    DISAGREEMENTS_RULE,
    NO_DISAGREEMENT,
    SHAPE_TITLES,
    SHAPE_TITLES_RULE,
)
from sightline.report.phrasing import count_noun, sample_size
from sightline.report.published_results import load_published
from sightline.report.run_view import Estimate, RunView, format_decimal, higher_is_better, metric_title
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
from sightline.report.warnings import ReportWarning, average_auroc, collect_warnings
from sightline.runs.provenance import command_line


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    interval: str
    sample_size: str
    """Of how many maps and patients."""
    note: str
    kind: str


@dataclass(frozen=True, slots=True)
class Block:
    """A figure or pictures, the tables beside them, and paragraphs; whatever is empty is left out."""

    plot: Plot | None = None
    figure_number: int = 0
    tables: Sequence[Table] = ()
    is_open: bool = False
    """Whether the tables are shown without being asked for."""
    panels: Sequence[Panel] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    """What kinds of pictures there are, in columns."""
    paragraphs: Sequence[str] = ()
    summary_lines: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def draw_plots(view: RunView) -> dict[str, Plot]:
    """Every figure that this run has data for, by name, in the order of the page."""
    makers = (
        pretraining.plot_learning_curves,
        selfexplain_figures.plot_method_ranking,
        selfexplain_figures.plot_froc,
        selfexplain_figures.plot_label_budget,
        gaze_figures.plot_gaze_agreement,
        gaze_figures.plot_correctness,
        gaze_figures.plot_regions,
        trust_figures.plot_cascade,
        trust_figures.plot_repeatability,
        trust_figures.plot_utility,
        figures.plot_localization,
        human_benchmark.plot_decrease,
        figures.plot_comparison,
        figures.plot_differences,
        trends.plot_size_and_probability,
        error_analysis.plot_shapes,
        error_analysis.plot_regressions,
        error_analysis.plot_assurance,
        human_benchmark.plot_slices,
        human_benchmark.plot_thresholds,
        figures.plot_accuracy,
        figures.plot_protocols,
    )
    made = [make(view) for make in makers]
    return {p.name: p for p in made if p is not None}


def render(
    view: RunView,
    plots: Mapping[str, Plot],
    panels: Sequence[Panel],
    notes: Sequence[str],
    extra_warnings: Sequence[ReportWarning] = (),
) -> str:
    """The whole report as HTML that loads nothing.

    drawn: of `draw_plots`; panels: example pictures; notes: why pictures are missing, if they are; cautions:
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
    numbers = {name: i + 1 for i, name in enumerate(plots)}
    return template.render(
        css=Markup((package / "style.css").read_text("utf-8")),
        title=view.info.get("title") or f"Sightline: {view.info.get('study', 'report')}",
        study=view.info.get("study", ""),
        subtitle=_subtitle(view),
        verdict=_study_sentences(view),
        warnings=[*extra_warnings, *collect_warnings(view)],
        tiles=build_tiles(view),
        sections=build_sections(view, plots, numbers, panels, notes),
        contours={
            "truth": REFERENCE_OUTLINE,
            "reader": READER_OUTLINE,
            "predicted": PREDICTED_OUTLINE,
            "rectangle": RECTANGLE_OUTLINE,
        },
        published=load_published(),
        simulated=view.has_simulated_readers,
        has_reader=view.reader is not None,
        inline=lambda svg: Markup(draw.inline_svg(svg)),
        metric=metric_title(view.metrics[0]) if view.metrics else "",
    )


def _study_sentences(view: RunView) -> list[str]:
    """The sentences of whichever study this is."""
    told = (study.sentences(view) for study in (pretraining, gaze, selfexplain, trust))
    return next((some for some in told if some), None) or summary.summary_sentences(view)


def _subtitle(view: RunView) -> list[str]:
    data = view.info.get("dataset", {})
    parts = [str(data.get("title") or data.get("name", ""))]
    if data.get("radiographs") is not None:
        patients = data.get("patients")
        of = f" of {count_noun(patients, 'patient')}" if patients else ""
        parts.append(count_noun(data["radiographs"], "radiograph") + of)
    if view.protocol:
        parts.append(f"{view.protocol} protocol")
    parts.append(str(view.info.get("created", ""))[:10])
    return [p for p in parts if p]


def build_tiles(view: RunView) -> list[Tile]:
    """The headline numbers: overlap of model, human and control, pointing, accuracy; of a trust study its verdicts."""
    if view.info.get("study") == "trust" and (answers := trust.criterion_results(view)):
        return [
            Tile(a.name, f"{a.n_passed} of {a.n_methods}", "methods pass", a.sample_size, a.meaning, "model")
            for a in answers
        ]
    if not view.metrics:
        return []
    made = [_metric_tile(view, source, view.metrics[0]) for source in (view.best, view.reader, view.control) if source]
    if view.best and len(view.main_metrics) > 1:
        made.append(_metric_tile(view, view.best, view.main_metrics[1]))
    model = Source.parse(view.best or "").model
    auroc = average_auroc(view, model)
    if auroc is not None and not np.isnan(auroc.low):
        made.append(_make_tile("AUROC, mean of findings", auroc, "label", model, "model"))
    return made


def _metric_tile(view: RunView, source: str, metric: str) -> Tile:
    return _make_tile(metric_title(metric), view.estimate(source, metric), "map", view.label(source), view.kind(source))


def _make_tile(label: str, number: Estimate, noun: str, note: str, kind: str) -> Tile:
    interval = number.text().partition(" ")[2] or "no interval"
    return Tile(label, format_decimal(number.mean), interval, sample_size([number], noun), note, kind)


def build_sections(
    view: RunView,
    plots: Mapping[str, Plot],
    figure_numbers: Mapping[str, int],
    panels: Sequence[Panel],
    notes: Sequence[str],
) -> list[Section]:
    """Everything below the verdict, in reading order; a section without content is left out."""

    def block(name: str, shown: Sequence[Table], *paragraphs: str) -> Block:
        return Block(plots.get(name), figure_numbers.get(name, 0), shown, paragraphs=paragraphs)

    made = [
        *_selfexplain_sections(view, block),
        Section(
            "trust",
            "May the maps be trusted?",
            [
                Block(tables=_drop_none(trust.criteria_table(view), trust.ceiling_table(view)), is_open=True),
                block("cascade", ()),
                block("agreement", _drop_none(trust.similarity_table(view))),
                block("utility", _drop_none(trust.floor_and_ceiling_table(view))),
                Block(tables=trust.robustness_tables(view), is_open=True),
                Block(tables=_drop_none(trust.published_table(view))),
            ],
        ),
        _pretraining_section(view, block),
        *_gaze_sections(view, block),
        Section(
            "localization",
            _localization_title(view),
            [block("localization", tables.finding_tables(view) if "localization" in plots else ())],
        ),
        Section(
            "benchmark", "How far below the human benchmark", [block("decrease", human_benchmark.decrease_tables(view))]
        ),
        Section(
            "comparison",
            "Every source, averaged over findings",
            [
                block("comparison", _drop_none(tables.comparison_table(view), human_benchmark.best_source_table(view))),
                block("differences", [tables.difference_table(view)] if "differences" in plots else ()),
            ],
        ),
        Section("examples", "Best, typical and worst", _example_blocks(view, panels, notes)),
        Section(
            "causes",
            "Size and shape of the finding",
            [
                block("size", ()),
                _gallery_block(panels, SHAPE_TITLES, SHAPE_TITLES_RULE),
                block("shapes", ()),
                block(
                    "regressions",
                    _drop_none(error_analysis.regression_table(view), error_analysis.across_findings_table(view)),
                ),
                Block(tables=_drop_none(error_analysis.box_table(view))),
            ],
        ),
        Section(
            "assurance",
            "Does a confident model point better?",
            [block("assurance", error_analysis.assurance_tables(view), *error_analysis.assurance_missing_reason(view))],
        ),
        Section(
            "slices",
            "All images, and other thresholds",
            [
                block("slices", _drop_none(human_benchmark.slice_table(view))),
                block("thresholds", _drop_none(human_benchmark.tuning_table(view))),
            ],
        ),
        Section("accuracy", "Accuracy and training of the models", _accuracy_blocks(view, block)),
        Section("failures", "Maps that failed", _failure_blocks(view)),
        Section("protocols", "Published and corrected protocol", _protocol_blocks(view, block)),
        Section("published", "Published figures of CheXlocalize", [_published_block(view)]),
        Section("methods", "How this was made", _method_blocks(view)),
    ]
    return [s for s in ([_drop_empty(s) for s in made]) if s.blocks]


def _pretraining_section(view: RunView, block: Any) -> Section:
    return Section(
        "curves",
        "Does the beginning matter?",
        [
            block("curves", _drop_none(pretraining.gain_table(view))),
            block("panel", ()) if pretraining.initializations(view) else Block(),
            Block(tables=_drop_none(pretraining.auc_table(view)), is_open=True),
            Block(tables=_drop_none(pretraining.map_table(view)), is_open=True),
            Block(tables=_drop_none(pretraining.shape_table(view)), is_open=True),
            Block(tables=_drop_none(pretraining.report_agreement_table(view)), is_open=True),
            Block(tables=_drop_none(pretraining.image_text_table(view)), is_open=True),
            Block(tables=_drop_none(pretraining.claim_table(view)), paragraphs=pretraining.narrative_paragraphs(view)),
            Block(tables=_drop_none(pretraining.published_auc_table(view))),
        ],
    )


def _selfexplain_sections(view: RunView, block: Any) -> list[Section]:
    if not selfexplain.intrinsic_source(view):
        return []
    return [
        Section(
            "element",
            "Does the network explain itself better?",
            [
                block("ladder", _drop_none(selfexplain.localization_table(view))),
                block("panel", ()),
                block("froc", ()),
            ],
        ),
        Section(
            "margin",
            "Does the element cost accuracy?",
            [
                Block(tables=_drop_none(selfexplain.noninferiority_table(view)), is_open=True),
            ],
        ),
        Section(
            "labels",
            "Label budget: how many marks are the labels worth?",
            [
                block("budget", _drop_none(selfexplain.label_budget_table(view))),
                Block(tables=_drop_none(selfexplain.label_cost_table(view)), is_open=True),
            ],
        ),
        Section(
            "decision",
            "Does the map mean anything for the decision?",
            [
                Block(tables=_drop_none(selfexplain.necessity_sufficiency_table(view)), is_open=True),
            ],
        ),
        Section("costs", "What maps cost", [Block(tables=_drop_none(selfexplain.cost_table(view)), is_open=True)]),
        Section("sheets", "Sheets for readers", [Block(tables=selfexplain.rating_tables(view))]),
        Section("limits", "Limits", [Block(paragraphs=[selfexplain.RECONSTRUCTION, selfexplain.LIMITS])]),
    ]


def _gaze_sections(view: RunView, block: Any) -> list[Section]:
    return [
        Section(
            "gaze",
            "Do maps agree with where the radiologist looked?",
            [
                block("panel", ()) if gaze_figures.compared_models(view) else Block(),
                block("gaze", _drop_none(gaze.gain_table(view))),
                Block(summary_lines=gaze.gaze_summary(view)),
            ],
        ),
        Section(
            "correctness",
            "More so where the network is right?",
            [
                block("correctness", _drop_none(gaze.ssim_table(view), gaze.published_ssim_table(view))),
            ],
        ),
        Section(
            "regions",
            "The same regions?",
            [
                block("regions", _drop_none(gaze.region_table(view), gaze.rectangle_table(view))),
            ],
        ),
        Section(
            "teaching",
            "Does training on gaze cost accuracy?",
            [
                Block(tables=_drop_none(gaze.auroc_table(view)), is_open=True),
                Block(tables=_drop_none(gaze.calibration_table(view), gaze.published_auroc_table(view))),
            ],
        ),
    ]


def _localization_title(view: RunView) -> str:
    return (
        "Agreement, finding by finding"
        if gaze_figures.compared_models(view)
        else "Where the maps point, finding by finding"
    )


def _drop_none(*made: Table | None) -> list[Table]:
    return [t for t in made if t is not None]


def _drop_empty(section: Section) -> Section:
    kept = [b for b in section.blocks if b.plot or b.tables or b.panels or b.paragraphs or b.summary_lines]
    return Section(section.id, section.title, kept)


def _example_blocks(view: RunView, panels: Sequence[Panel], notes: Sequence[str]) -> list[Block]:
    if not panels:
        return [Block(paragraphs=notes)]
    metric = metric_title(view.metrics[0]) if higher_is_better(view.metrics[0]) else "score"
    said = f"Maps of {view.label(view.best or '')}. {CATEGORIES_RULE.format(metric=metric)}"
    apart = _gallery_block(panels, DISAGREEMENTS, DISAGREEMENTS_RULE)
    if not {"iou", "hit"} <= set(view.metrics):
        return [_gallery_block(panels, CATEGORIES, said, *notes)]
    none = [NO_DISAGREEMENT[case] for case in DISAGREEMENTS if case not in apart.categories]
    return [_gallery_block(panels, CATEGORIES, said, *notes), replace(apart, paragraphs=[*apart.paragraphs, *none])]


def _gallery_block(panels: Sequence[Panel], cases: Mapping[str, str], *paragraphs: str) -> Block:
    shown = [p for p in panels if p.example.category in cases]
    there = {case: name for case, name in cases.items() if any(p.example.category == case for p in shown)}
    return Block(panels=shown, categories=there, paragraphs=paragraphs if shown else ())


def _accuracy_blocks(view: RunView, block: Any) -> list[Block]:
    blocks = [block("accuracy", [tables.accuracy_table(view)])] if view.aurocs else []
    records = tables.model_table(view)
    return [*blocks, Block(tables=[records], is_open=True)] if records else blocks


def _failure_blocks(view: RunView) -> list[Block]:
    counts, first = tables.status_table(view), tables.failure_table(view)
    if counts is None and first is None:
        return []
    said = "A map that is missing, flat, not finite, unreadable or refused keeps its row. In the corrected protocol it "
    said += "scores the worst value; the published one leaves empty predictions out of overlap."
    if first is None:
        any_failed = bool((view.status["status"] != "ok").any())
        said += " None of those that failed here was to be scored." if any_failed else " None failed in this run."
    return [Block(tables=[t for t in (counts, first) if t], is_open=True, paragraphs=[said])]


def _protocol_blocks(view: RunView, block: Any) -> list[Block]:
    records = tables.protocol_fields_table(view)
    blocks = (
        [block("protocols", [tables.protocol_table(view)])]
        if "published" in view.protocols and len(view.protocols) > 1
        else []
    )
    return [*blocks, Block(tables=[records], is_open=True)] if records else blocks


def _published_block(view: RunView) -> Block:
    facts = load_published()
    if "iou" not in view.metrics:
        return Block()
    paragraphs = [
        f"From another data set, for orientation and not for comparison: {facts['data']}.",
        f"By finding: {facts['by_finding_source']}. Statements: {facts['statements_source']}.",
        "Known errors in what is printed: " + " ".join(error_analysis.published_errors()),
    ]
    return Block(
        tables=[tables.published_finding_table(view), tables.published_statement_table()],
        is_open=True,
        paragraphs=paragraphs,
    )


def _method_blocks(view: RunView) -> list[Block]:
    info = view.info
    data = info.get("dataset", {})
    paragraphs = [
        "Intervals are 95 % bootstrap intervals, pointwise: nothing is adjusted for the number of findings or sources. "
        f"The source called best ({summary.BEST_SOURCE_SCOPE}) is the best by "
        f"{metric_title(view.metrics[0]) if view.metrics else 'score'} on these same radiographs, which "
        "flatters it a little. "
        "Averages give every finding the same weight. Where all cases score alike there is nothing to resample and an "
        "interval shrinks to a point: of few cases it says that no other "
        "outcome was seen, not that none can be.",
    ]
    if view.has_simulated_readers:
        paragraphs.append(
            "Readers of this data set are simulated: their errors follow stated parameters, so the human benchmark "
            "shown here says how the comparison works, not how well radiologists do."
        )
    facts = [("Data", ", ".join(str(data[k]) for k in ("title", "spec", "license", "source") if data.get(k)))]
    facts += [(f"Method {n}", _describe_method(m)) for n, m in info.get("methods", {}).items()]
    facts += [("Versions", _format_pairs(info.get("versions", {})))]
    facts += [
        ("Seconds", _format_pairs(info.get("seconds", {}))),
        ("Run", command_line(str(info.get("study", "")), info.get("options", {}), view.run.path)),
    ]
    return [Block(paragraphs=paragraphs, summary_lines=[(k, v) for k, v in facts if v])]


def _describe_method(method: Mapping[str, Any]) -> str:
    sign = "" if method.get("signed") is None else "signed" if method["signed"] else "not signed"
    return ", ".join(str(p) for p in (method.get("source"), sign) if p)


def _format_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {_format_value(v)}" for k, v in values.items() if v is not None)


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
