"""The part of the report that belongs to a self-explaining study."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.report.layout import Block, Section
from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain import figures, tables
from sightline.report.sections.selfexplain.panel import draw_panel
from sightline.report.sections.selfexplain.results import intrinsic_source
from sightline.report.sections.selfexplain.sentences import LIMITS, RECONSTRUCTION, summary_sentences
from sightline.report.sections.trust import trust_sections
from sightline.report.sections.trust.figures import plot_cascade, plot_repeatability
from sightline.report.svg import Plot
from sightline.report.tables import Table
from sightline.studies.registry import StudySection


def _sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    if not intrinsic_source(view):
        return []
    localization = [
        Block.create(plots.get("ladder"), tables.localization_table(view)),
        Block.create(plots.get("panel")),
        Block.create(plots.get("froc")),
    ]
    budget = [
        Block.create(plots.get("budget"), tables.label_budget_table(view)),
        Block.create(None, tables.label_cost_table(view), is_open=True),
    ]
    return [
        Section("element", "Localization by the network's intrinsic map", localization),
        Section("margin", "Accuracy with and without the saliency head", [_open(tables.noninferiority_table(view))]),
        Section("labels", "Label budget: annotations compared with labels", budget),
        Section(
            "decision", "Necessity and sufficiency for the decision", [_open(tables.necessity_sufficiency_table(view))]
        ),
        *trust_sections(view, plots),
        Section("costs", "Computing time of maps", [_open(tables.cost_table(view))]),
        Section("sheets", "Ratings by readers", [Block.create(None, *tables.rating_tables(view))]),
        Section("limits", "Limitations", [Block(paragraphs=[RECONSTRUCTION, LIMITS])]),
    ]


def _open(table: Table | None) -> Block:
    return Block.create(None, table, is_open=True)


SECTION = StudySection(
    sentences=summary_sentences,
    plots=(figures.plot_method_ranking, figures.plot_froc, figures.plot_label_budget, plot_cascade, plot_repeatability),
    sections=_sections,
    panels=(draw_panel,),
)
