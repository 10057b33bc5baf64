"""The part of the report that belongs to a pre-training study."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.report.layout import Block, Section
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining import tables
from sightline.report.sections.pretraining.figures import plot_learning_curves
from sightline.report.sections.pretraining.panel import draw_panel
from sightline.report.sections.pretraining.sentences import summary_sentences
from sightline.report.svg import Plot
from sightline.studies.registry import StudySection


def _sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    blocks = [
        Block.create(plots.get("curves"), tables.gain_table(view)),
        Block.create(plots.get("panel")),
        Block.create(None, tables.auc_table(view), is_open=True),
        Block.create(None, tables.map_table(view), is_open=True),
        Block.create(None, tables.shape_table(view), is_open=True),
        Block.create(None, tables.report_agreement_table(view), is_open=True),
        Block.create(None, tables.image_text_table(view), is_open=True),
        Block.create(None, tables.claim_table(view), paragraphs=tables.narrative_paragraphs(view)),
        Block.create(None, tables.published_auc_table(view)),
    ]
    return [Section("curves", "Effect of the initialization", blocks)]


SECTION = StudySection(
    sentences=summary_sentences, plots=(plot_learning_curves,), sections=_sections, panels=(draw_panel,)
)
