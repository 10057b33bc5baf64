"""The page of a report: its sections in their order, and the template that turns them into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from sightline.core import Source
from sightline.report import (
    assurance,
    error_analysis,
    figures,
    general_sections,
    human_benchmark,
    metric_suitability,
    network_selection,
    pairs,
    subgroups,
    svg,
    trends,
)
from sightline.report.example_panels import Panel
from sightline.report.layout import Block, Section, Tile, number_figures
from sightline.report.overlays import PREDICTED_OUTLINE, READER_OUTLINE, RECTANGLE_OUTLINE, REFERENCE_OUTLINE
from sightline.report.phrasing import count_noun
from sightline.report.protocol_switch import MEANINGS, switch_html, switch_sections
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.summary import summary_sentences
from sightline.report.svg import Plot
from sightline.report.warnings import ReportWarning, average_auroc, collect_warnings

_GENERAL_PLOTS = (
    figures.plot_localization,
    human_benchmark.plot_decrease,
    figures.plot_comparison,
    figures.plot_differences,
    pairs.plot_pairs,
    pairs.plot_ranks,
    network_selection.plot_network_selection,
    subgroups.plot_subgroups,
    metric_suitability.plot_metric_suitability,
    trends.plot_size_and_probability,
    error_analysis.plot_shapes,
    error_analysis.plot_regressions,
    assurance.plot_assurance,
    human_benchmark.plot_slices,
    human_benchmark.plot_thresholds,
    figures.plot_accuracy,
    figures.plot_protocols,
)
"""Functions that draw the figures of any study, in reading order."""


def draw_plots(view: RunView) -> dict[str, Plot]:
    """Draw every figure that a run has data for.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    dict of str to Plot
        Figures by name: those of the study, then the general ones.
    """
    plots = [draw(view) for draw in (*view.section.plots, *_GENERAL_PLOTS)]
    return {plot.name: plot for plot in plots if plot is not None}


@dataclass(frozen=True, slots=True)
class ProtocolPage:
    """Everything that a page shows under one protocol."""

    view: RunView
    """The run under the protocol."""
    plots: Mapping[str, Plot]
    """Figures by name."""
    panels: Sequence[Panel] = ()
    """Example images."""
    notes: Sequence[str] = ()
    """Reasons why images are missing."""


def render(pages: Sequence[ProtocolPage], extra_warnings: Sequence[ReportWarning] = ()) -> str:
    """Render the whole report as HTML that loads nothing from elsewhere.

    A run that was scored under several protocols shows one of them at a time; a reader chooses which. Parts that are
    equal under all of them stand in the file once.

    Parameters
    ----------
    pages : sequence of ProtocolPage
        What is shown under each protocol, the main one first.
    extra_warnings : sequence of ReportWarning
        Warnings that stand before those of the run.

    Returns
    -------
    str
        The page.
    """
    package, environment = files("sightline.report"), _make_environment()
    parts: Any = environment.from_string((package / "parts.html").read_text("utf-8")).module
    template = environment.from_string((package / "template.html").read_text("utf-8"))
    view = pages[0].view
    sections = [build_sections(page.view, page.plots, page.panels, page.notes) for page in pages]
    if len(pages) > 1:
        sections = _share_examples(sections, view.protocol)
    rendered = [
        {s.id: [str(parts.block(s, block, page.view)) for block in s.blocks] for s in of_page}
        for page, of_page in zip(pages, sections, strict=True)
    ]
    tops = []
    for v in (page.view for page in pages):
        summary = v.section.sentences(v) or summary_sentences(v)
        tops.append(str(parts.top([*extra_warnings, *collect_warnings(v)], summary, build_tiles(v))))
    return template.render(
        css=Markup((package / "style.css").read_text("utf-8")),
        title=view.info.get("title") or f"Sightline: {view.info.get('study', 'report')}",
        study=view.info.get("study", ""),
        subtitle=switch_html([str(parts.subtitle(_subtitle(page.view))) for page in pages]),
        top=switch_html(tops),
        sections=switch_sections(sections, rendered),
        protocols=[(page.view.protocol, MEANINGS.get(page.view.protocol, "")) for page in pages],
    )


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        published=load_published(),
        outlines={
            "reference": REFERENCE_OUTLINE,
            "reader": READER_OUTLINE,
            "predicted": PREDICTED_OUTLINE,
            "rectangle": RECTANGLE_OUTLINE,
        },
        inline=lambda text: Markup(svg.inline_svg(text)),
    )
    return environment


def _share_examples(variants: Sequence[Sequence[Section]], protocol: str) -> list[list[Section]]:
    """Show the example images of the main protocol under every protocol, and state of which one they are."""
    examples = next((section for section in variants[0] if section.id == "examples"), None)
    if examples is None:
        return [list(sections) for sections in variants]
    note = Block(paragraphs=[f"The images and their numbers are those of the {protocol} protocol."])
    noted = replace(examples, blocks=[note, *examples.blocks])
    shared = []
    for sections in variants:
        others = [section for section in sections if section.id != "examples"]
        ids = [section.id for section in others]
        place = max(
            (ids.index(name) + 1 for name in ("localization", "benchmark", "comparison") if name in ids), default=0
        )
        shared.append([*others[:place], noted, *others[place:]])
    return shared


def _subtitle(view: RunView) -> list[str]:
    data = view.info.get("dataset", {})
    parts = [str(data.get("title") or data.get("name", ""))]
    if data.get("radiographs") is not None:
        patients = data.get("patients")
        of_patients = f" of {count_noun(patients, 'patient')}" if patients else ""
        parts.append(count_noun(data["radiographs"], "radiograph") + of_patients)
    if view.protocol:
        parts.append(f"{view.protocol} protocol")
    parts.append(str(view.info.get("created", ""))[:10])
    return [part for part in parts if part]


def build_tiles(view: RunView) -> list[Tile]:
    """Return the headline numbers of a run.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Tile
        Those of the study; by default overlap of the best map, the reader and the strongest control, the second metric
        of the best map, and the average AUROC of its model.
    """
    if tiles := view.section.tiles(view):
        return list(tiles)
    if not view.metrics:
        return []
    sources = [source for source in (view.best, view.reader, view.control) if source]
    general = [Tile.from_metric(view, source, view.metrics[0]) for source in sources]
    if view.best and len(view.main_metrics) > 1:
        general.append(Tile.from_metric(view, view.best, view.main_metrics[1]))
    model = Source.parse(view.best or "").model
    auroc = average_auroc(view, model)
    if auroc is not None and not np.isnan(auroc.low):
        general.append(Tile.from_estimate("AUROC, mean of findings", auroc, "label", model, "model"))
    return general


def build_sections(
    view: RunView, plots: Mapping[str, Plot], panels: Sequence[Panel], notes: Sequence[str]
) -> list[Section]:
    """Return everything below the summary in reading order: the sections of the study, then the general ones.

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
        Sections with content; their figures are numbered.
    """
    study = view.section.sections(view, plots)
    return number_figures([*study, *general_sections.build(view, plots, panels, notes)])
