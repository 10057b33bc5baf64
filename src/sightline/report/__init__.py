"""The report of a run: one HTML file that needs nothing else, its figures as SVG and their data as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline._util.files import write_text_atomic
from sightline.errors import DataError, RunError
from sightline.report.example_panels import Panel, draw_panels
from sightline.report.example_selection import choose_disagreements, choose_examples, choose_shapes
from sightline.report.page import draw_plots, render
from sightline.report.run_view import RunView
from sightline.report.sections import pretraining_panel, selfexplain_panel
from sightline.report.sections.gaze_figures import compared_models
from sightline.report.sections.gaze_panel import draw_gaze_panel
from sightline.report.sections.pretraining import initializations
from sightline.report.sections.selfexplain import intrinsic_source
from sightline.report.svg import Plot
from sightline.report.warnings import ReportWarning
from sightline.runs.provenance import open_inputs
from sightline.runs.run import Run

__all__ = ["report"]


def report(run: Run) -> Path:
    """Write RUN/report.html, RUN/figures/NAME.svg and RUN/figures/NAME.csv from the tables and maps of a run.

    Reads the tables `scores` and `estimates` and, where they exist, `differences`, `classification` and `status`;
    equal tables give equal bytes. Radiographs are read for the example pictures only: where the data set is gone the
    report says so and does without. Returns the path of the report.
    """
    view = RunView.from_run(run)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    cautions: list[ReportWarning] = []
    try:
        made, notes = _draw_examples(view)
    except RunError as error:
        made, notes = [], []
        cautions.append(ReportWarning("Other files than were scored", f"{error}. No pictures are drawn."))
    drawn = {p.name: p for p in made if isinstance(p, Plot)} | draw_plots(view)
    for first in ("curves", "ladder"):  # figures are numbered in the order of the page
        if first in drawn:
            drawn = {first: drawn.pop(first), **drawn}
    pictures = [p for p in made if isinstance(p, Panel)]
    for plot in drawn.values():
        write_text_atomic(folder / f"{plot.name}.svg", plot.svg)
        write_text_atomic(folder / f"{plot.name}.csv", plot.data.to_csv(index=False, lineterminator="\n"))
    for i, picture in enumerate(pictures):
        write_text_atomic(folder / f"example-{i + 1}.svg", picture.svg)
    page = run.path / "report.html"
    write_text_atomic(page, render(view, drawn, pictures, notes, cautions))
    return page


def _draw_examples(view: RunView) -> tuple[Sequence[Panel | Plot], list[str]]:
    """Example pictures, or the panel of a gaze study, and why there are none."""
    of_gaze = bool(compared_models(view) or initializations(view) or intrinsic_source(view))
    chosen = [] if of_gaze else [*choose_examples(view), *choose_disagreements(view), *choose_shapes(view)]
    spec = view.info.get("dataset", {}).get("spec")
    if not (chosen or of_gaze) or not spec:
        return [], []
    try:
        data, maps = open_inputs(view.run)
        if of_gaze:
            make = (
                pretraining_panel.draw_pretraining_panel
                if initializations(view)
                else selfexplain_panel.draw_selfexplain_panel
                if intrinsic_source(view)
                else draw_gaze_panel
            )
            shown = make(view, data, view.run)
            return [shown] if shown else [], []
        return draw_panels(view, data, maps, chosen), []
    except DataError as error:
        return [], [f"No pictures: data or maps could not be read again ({error})."]
