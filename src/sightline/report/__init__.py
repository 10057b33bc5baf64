"""The report of a run: one HTML file that needs nothing else, its figures as SVG and their data as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline._util.files import write_text_atomic
from sightline.errors import DataError, RunError
from sightline.report.example_panels import Panel, draw_panels
from sightline.report.example_selection import choose_disagreements, choose_examples, choose_shapes
from sightline.report.page import ProtocolPage, draw_plots, render
from sightline.report.protocol_switch import distinct_plots, protocol_views
from sightline.report.run_view import RunView
from sightline.report.svg import Plot
from sightline.report.warnings import ReportWarning
from sightline.runs.provenance import open_inputs
from sightline.runs.run import Run

__all__ = ["report"]


def report(run: Run) -> Path:
    """Write RUN/report.html, and every figure as RUN/figures/NAME.svg with its data as NAME.csv.

    The tables `scores` and `estimates` are needed; every other table of the run is used where it exists. Equal tables
    give equal bytes. Radiographs are read for the example images only: where the data set cannot be opened, the report
    has no images and states why.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    Path
        The written page.
    """
    view = RunView.from_run(run)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    panels: Sequence[Panel] = ()
    plots: dict[str, Plot] = {}
    notes: list[str] = []
    warnings: list[ReportWarning] = []
    try:
        panels, plots = _draw_images(view)
    except RunError as error:
        warnings.append(ReportWarning("The files changed after scoring", f"{error}. The report shows no images."))
    except DataError as error:
        notes.append(f"There are no images, because data or maps could not be read again: {error}.")
    main, *others = protocol_views(view)
    pages = [ProtocolPage(main, draw_plots(main) | plots, panels, notes)]
    for other in others:
        drawn = distinct_plots(pages[0].plots, draw_plots(other) | plots, other.protocol)
        pages.append(ProtocolPage(other, drawn))
    for plot in {plot.name: plot for page in pages for plot in page.plots.values()}.values():
        write_text_atomic(folder / f"{plot.name}.svg", plot.svg)
        write_text_atomic(folder / f"{plot.name}.csv", plot.data.to_csv(index=False, lineterminator="\n"))
    for i, panel in enumerate(panels):
        write_text_atomic(folder / f"example-{i + 1}.svg", panel.svg)
    path = run.path / "report.html"
    write_text_atomic(path, render(pages, warnings))
    return path


def _draw_images(view: RunView) -> tuple[Sequence[Panel], dict[str, Plot]]:
    """Return example images, or the grids of images of the study, if its section has any."""
    draw_grids = view.section.panels
    examples = [] if draw_grids else [*choose_examples(view), *choose_disagreements(view), *choose_shapes(view)]
    if not (examples or draw_grids) or not view.info.get("dataset", {}).get("spec"):
        return (), {}
    data, maps = open_inputs(view.run)
    if draw_grids:
        grids = [draw(view, data, view.run) for draw in draw_grids]
        return (), {grid.name: grid for grid in grids if grid is not None}
    return draw_panels(view, data, maps, examples), {}
