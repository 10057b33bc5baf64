"""The sections that the report of any study has, in reading order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sightline.report import (
    assurance,
    error_analysis,
    human_benchmark,
    metric_suitability,
    network_selection,
    pairs,
    published_results,
    subgroups,
    tables,
)
from sightline.report.example_panels import Panel
from sightline.report.example_selection import (
    CATEGORIES,
    CATEGORIES_RULE,
    DISAGREEMENTS,
    DISAGREEMENTS_RULE,
    NO_DISAGREEMENT,
    SHAPE_TITLES,
    SHAPE_TITLES_RULE,
)
from sightline.report.layout import Block, Section
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.summary import describe_choice, intervals_text
from sightline.report.svg import Plot
from sightline.report.titles import higher_is_better, metric_title
from sightline.runs.provenance import command_line


def build(view: RunView, plots: Mapping[str, Plot], panels: Sequence[Panel], notes: Sequence[str]) -> list[Section]:
    """Return the general sections, those without content included.

    Parameters
    ----------
    view : RunView
        The run.
    plots : mapping of str to Plot
        Figures by name.
    panels : sequence of Panel
        Example images.
    notes : sequence of str
        Reasons why images are missing.

    Returns
    -------
    list of Section
        Sections in reading order.
    """
    return [
        *_score_sections(view, plots),
        Section("examples", "Examples of maps", _example_blocks(view, panels, notes)),
        *_explanation_sections(view, plots, panels),
        *_comparison_sections(view, plots),
        Section("accuracy", "Accuracy and training of the models", _accuracy_blocks(view, plots)),
        Section("failures", "Maps that failed", _failure_blocks(view)),
        Section("protocols", "Published and corrected protocol", _protocol_blocks(view, plots)),
        Section("published", "Published results of CheXlocalize", [_published_block(view)]),
        Section("methods", "Methods of this report", [_method_block(view)]),
    ]


def _score_sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    localization, differences = plots.get("localization"), plots.get("differences")
    selection = network_selection.network_selection_table(view)
    return [
        Section(
            "localization",
            view.section.localization_title,
            [Block.create(localization, *(tables.finding_tables(view) if localization else ()))],
        ),
        Section(
            "benchmark",
            "Difference from the human benchmark",
            [Block.create(plots.get("decrease"), *human_benchmark.decrease_tables(view))],
        ),
        Section(
            "comparison",
            "All sources of maps, averaged over findings",
            [
                Block.create(
                    plots.get("comparison"), tables.comparison_table(view), human_benchmark.best_source_table(view)
                ),
                Block.create(differences, tables.difference_table(view) if differences else None),
            ],
        ),
        Section(
            "selection",
            "Choice of the network for each method",
            [
                Block.create(
                    plots.get("network-selection"),
                    selection,
                    paragraphs=[network_selection.SELECTION_NOTE] if selection else (),
                )
            ],
        ),
        Section(
            "pairs",
            "All pairs of saliency methods and models",
            [
                Block.create(plots.get("pairs"), pairs.pair_table(view)),
                Block.create(plots.get("ranks"), pairs.rank_table(view)),
                Block.create(None, *pairs.training_tables(view), is_open=True),
            ],
        ),
    ]


def _explanation_sections(view: RunView, plots: Mapping[str, Plot], panels: Sequence[Panel]) -> list[Section]:
    return [
        Section(
            "causes",
            "Effect of the size and shape of the finding",
            [
                Block.create(plots.get("size")),
                _gallery_block(panels, SHAPE_TITLES, SHAPE_TITLES_RULE),
                Block.create(plots.get("shapes")),
                Block.create(
                    plots.get("regressions"),
                    error_analysis.regression_table(view),
                    error_analysis.across_findings_table(view),
                ),
                Block.create(None, error_analysis.box_table(view)),
            ],
        ),
        Section(
            "assurance",
            "Localization and the confidence of the model",
            [
                Block.create(
                    plots.get("assurance"),
                    *assurance.assurance_tables(view),
                    paragraphs=assurance.assurance_missing_reason(view),
                )
            ],
        ),
        Section(
            "slices",
            "Results on all images, and with other thresholds",
            [
                Block.create(plots.get("slices"), human_benchmark.slice_table(view)),
                Block.create(plots.get("thresholds"), human_benchmark.tuning_table(view)),
            ],
        ),
    ]


def _comparison_sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    return [
        Section(
            "subgroups",
            "Localization in subgroups",
            [
                Block.create(
                    plots.get("subgroups"),
                    subgroups.subgroup_table(view),
                    subgroups.view_table(view),
                    paragraphs=subgroups.subgroup_paragraphs(view),
                )
            ],
        ),
        Section(
            "metrics",
            "Suitability of the metrics for each finding",
            [
                Block.create(
                    plots.get("metric-suitability"),
                    metric_suitability.metric_suitability_table(view),
                    paragraphs=metric_suitability.suitability_paragraphs(view),
                )
            ],
        ),
    ]


def _example_blocks(view: RunView, panels: Sequence[Panel], notes: Sequence[str]) -> list[Block]:
    if not panels:
        return [Block(paragraphs=notes)]
    metric = metric_title(view.metrics[0]) if higher_is_better(view.metrics[0]) else "score"
    rule = f"The maps are those of {view.label(view.best or '')}. {CATEGORIES_RULE.format(metric=metric)}"
    examples = _gallery_block(panels, CATEGORIES, rule, *notes)
    if not {"iou", "pointing-game"} <= set(view.metrics):
        return [examples]
    disagreements = _gallery_block(panels, DISAGREEMENTS, DISAGREEMENTS_RULE)
    missing = [NO_DISAGREEMENT[name] for name in DISAGREEMENTS if name not in disagreements.categories]
    return [examples, replace(disagreements, paragraphs=[*disagreements.paragraphs, *missing])]


def _gallery_block(panels: Sequence[Panel], categories: Mapping[str, str], *paragraphs: str) -> Block:
    chosen = [panel for panel in panels if panel.example.category in categories]
    present = {panel.example.category for panel in chosen}
    titles = {category: title for category, title in categories.items() if category in present}
    return Block(panels=chosen, categories=titles, paragraphs=paragraphs if chosen else ())


def _accuracy_blocks(view: RunView, plots: Mapping[str, Plot]) -> list[Block]:
    accuracy = tables.accuracy_table(view) if view.aurocs else None
    return [Block.create(plots.get("accuracy"), accuracy), Block.create(None, tables.model_table(view), is_open=True)]


def _failure_blocks(view: RunView) -> list[Block]:
    counts, failures = tables.status_table(view), tables.failure_table(view)
    if counts is None and failures is None:
        return []
    text = (
        "A map that is missing, flat, not finite, unreadable or refused is kept as a row of the tables. The corrected "
        "protocol gives it the worst score; the published protocol leaves empty predictions out of the overlap. A "
        "control that could not be computed has no score, because nothing failed that is under study."
    )
    if failures is None:
        any_failed = bool((view.status["status"] != "ok").any())
        text += " None of the maps that failed had to be scored." if any_failed else " No map failed in this run."
    return [Block.create(None, counts, failures, is_open=True, paragraphs=[text])]


def _protocol_blocks(view: RunView, plots: Mapping[str, Plot]) -> list[Block]:
    has_both = "published" in view.protocols and len(view.protocols) > 1
    compared = Block.create(plots.get("protocols"), tables.protocol_table(view)) if has_both else Block()
    return [compared, Block.create(None, tables.protocol_fields_table(view), is_open=True)]


def _published_block(view: RunView) -> Block:
    if "iou" not in view.metrics:
        return Block()
    published = load_published()
    paragraphs = [
        f"These results are of another data set ({published['data']}). They are for orientation, not for comparison.",
        f"Results by finding: {published['by_finding_source']}. Statements: {published['statements_source']}.",
        "Known errors of the publication: " + " ".join(published_results.published_errors()),
    ]
    both = (tables.published_finding_table(view), tables.published_statement_table())
    return Block.create(None, *both, is_open=True, paragraphs=paragraphs)


def _method_block(view: RunView) -> Block:
    info = view.info
    data = info.get("dataset", {})
    paragraphs = [
        f"{intervals_text(view)} {describe_choice(view)} Averages give every finding the same weight. Intervals of the "
        "corrected protocol come from leaving out one patient at a time, with Student's t; with fewer than five "
        "patients there is none, and the cell says so. Statements that count findings are adjusted by Holm's method.",
    ]
    if view.has_simulated_readers:
        paragraphs.append(
            "Readers of this data set are simulated: their errors follow stated parameters. The human benchmark of "
            "this report therefore shows how the comparison works, not how well radiologists perform."
        )
    lines = [("Data", ", ".join(str(data[k]) for k in ("title", "spec", "license", "source") if data.get(k)))]
    lines += [(f"Method {name}", _describe_method(method)) for name, method in info.get("methods", {}).items()]
    lines += [
        ("Versions", _format_pairs(info.get("versions", {}))),
        ("Seconds", _format_pairs(info.get("seconds", {}))),
        ("Run", command_line(str(info.get("study", "")), info.get("options", {}), view.run.path)),
    ]
    return Block(paragraphs=paragraphs, summary_lines=[(term, value) for term, value in lines if value])


def _describe_method(method: Mapping[str, Any]) -> str:
    sign = "" if method.get("signed") is None else "signed" if method["signed"] else "not signed"
    return ", ".join(str(part) for part in (method.get("source"), sign) if part)


def _format_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_format_value(value)}" for name, value in values.items() if value is not None)


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
