"""The page of a report: its sections in their order, and the template that turns them into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import jinja2
import numpy as np
from markupsafe import Markup

from sightline.core import Source
from sightline.report import assurance, error_analysis, figures, general_sections, human_benchmark, svg, trends
from sightline.report.example_panels import Panel
from sightline.report.layout import Section, Tile, number_figures
from sightline.report.overlays import PREDICTED_OUTLINE, READER_OUTLINE, RECTANGLE_OUTLINE, REFERENCE_OUTLINE
from sightline.report.phrasing import count_noun
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


def render(
    view: RunView,
    plots: Mapping[str, Plot],
    panels: Sequence[Panel],
    notes: Sequence[str],
    extra_warnings: Sequence[ReportWarning] = (),
) -> str:
    """Render the whole report as HTML that loads nothing from elsewhere.

    Parameters
    ----------
    view : RunView
        The run.
    plots : mapping of str to Plot
        Figures by name, as `draw_plots` returns them.
    panels : sequence of Panel
        Example images.
    notes : sequence of str
        Reasons why images are missing.
    extra_warnings : sequence of ReportWarning
        Warnings that stand before those of the run.

    Returns
    -------
    str
        The page.
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
    return template.render(
        css=Markup((package / "style.css").read_text("utf-8")),
        title=view.info.get("title") or f"Sightline: {view.info.get('study', 'report')}",
        study=view.info.get("study", ""),
        subtitle=_subtitle(view),
        summary=view.section.sentences(view) or summary_sentences(view),
        warnings=[*extra_warnings, *collect_warnings(view)],
        tiles=build_tiles(view),
        sections=build_sections(view, plots, panels, notes),
        outlines={
            "reference": REFERENCE_OUTLINE,
            "reader": READER_OUTLINE,
            "predicted": PREDICTED_OUTLINE,
            "rectangle": RECTANGLE_OUTLINE,
        },
        published=load_published(),
        simulated=view.has_simulated_readers,
        has_reader=view.reader is not None,
        inline=lambda text: Markup(svg.inline_svg(text)),
    )


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
