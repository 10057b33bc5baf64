"""The part of the report that belongs to a gaze study."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.report.layout import Block, Section
from sightline.report.run_view import RunView
from sightline.report.sections.gaze import figures, tables
from sightline.report.sections.gaze.panel import draw_error_panel, draw_panel
from sightline.report.sections.gaze.results import compared_models
from sightline.report.sections.gaze.sentences import summary_sentences
from sightline.report.svg import Plot
from sightline.studies.registry import StudySection


def _sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    regions = Block.create(plots.get("regions"), tables.region_table(view), tables.rectangle_table(view))
    return [
        Section(
            "gaze",
            "Agreement of maps with the gaze of the radiologist",
            [
                Block.create(plots.get("panel")),
                Block.create(plots.get("error-panel")),
                Block.create(plots.get("gaze"), tables.gain_table(view)),
                Block(summary_lines=tables.gaze_summary(view)),
            ],
        ),
        Section(
            "correctness",
            "Agreement with gaze where the prediction is correct",
            [Block.create(plots.get("correctness"), tables.ssim_table(view), tables.published_ssim_table(view))],
        ),
        Section("regions", "Most salient regions of maps and gaze", [regions]),
        Section(
            "supervision",
            "Effect of training on gaze on accuracy",
            [
                Block.create(None, tables.auroc_table(view), is_open=True),
                Block.create(None, tables.calibration_table(view), tables.published_auroc_table(view)),
            ],
        ),
    ]


SECTION = StudySection(
    sentences=summary_sentences,
    plots=(figures.plot_gaze_agreement, figures.plot_correctness, figures.plot_regions),
    sections=_sections,
    panels=(draw_panel, draw_error_panel),
    localization_title="Agreement with gaze by finding",
    compared_models=compared_models,
    control_warnings=(
        "A control agrees better with gaze than the best map",
        "No map is shown to agree better with gaze than a control",
    ),
)
