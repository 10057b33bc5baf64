"""The part of the report that belongs to a trust study."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.report.layout import Block, Section, Tile
from sightline.report.run_view import RunView
from sightline.report.sections.trust import figures, perturbations, tables
from sightline.report.sections.trust.results import (
    CRITERION_MEANINGS,
    TILES,
    criterion_results,
    table_sample_size,
    verdicts_without_controls,
)
from sightline.report.sections.trust.sentences import summary_sentences
from sightline.report.svg import Plot
from sightline.studies.registry import StudySection


def _tiles(view: RunView) -> list[Tile]:
    return [
        Tile(
            r.name,
            f"{len(r.methods('shown'))} of {len(r.verdicts)}",
            f"methods{f'; {r.counts()}' if r.counts() else ''}",
            table_sample_size(r.rows),
            CRITERION_MEANINGS[r.criterion],
            "model",
        )
        for r in criterion_results(verdicts_without_controls(view))
        if r.criterion in TILES
    ]


def trust_sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    """Lay out the sanity checks of a run, also of a study that makes them beside its own analyses.

    Parameters
    ----------
    view : RunView
        The run.
    plots : mapping of str to Plot
        Figures by name.

    Returns
    -------
    list of Section
        One section; the page leaves it out if the run has no sanity checks.
    """
    blocks = [
        Block.create(None, tables.criteria_table(view), *tables.difference_tables(view), is_open=True),
        Block.create(plots.get("cascade")),
        Block.create(plots.get("agreement"), tables.measure_table(view), tables.similarity_table(view)),
        Block.create(plots.get("utility"), tables.floor_and_ceiling_table(view)),
        Block.create(None, *perturbations.robustness_tables(view), is_open=True),
        Block.create(None, tables.published_table(view)),
    ]
    return [Section("trust", "Results of the sanity checks", blocks)]


SECTION = StudySection(
    sentences=summary_sentences,
    tiles=_tiles,
    plots=(figures.plot_cascade, figures.plot_repeatability, figures.plot_utility),
    sections=trust_sections,
    terminal_table=tables.criteria_table,
    control_warnings=None,  # whether maps beat the average mask is one of the criteria
)
