"""Add a study: how well do maps that never see the image localize each finding?

A study is a function that returns a `Run`, and a part of the report: a sentence, a figure, a table and a section.

    sightline --plugin examples/add_a_study.py location --data phantom:60?size=128
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sightline.core import Source
from sightline.data import open_dataset
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.findings import select_findings
from sightline.maps.references import ControlMaps
from sightline.protocol import CORRECTED
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.estimate import AVERAGE, Estimate, read_estimates
from sightline.report.layout import Block, Section
from sightline.report.phrasing import sample_size
from sightline.report.run_view import RunView
from sightline.report.svg import Plot, Series
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run
from sightline.stats.estimates import paired_differences
from sightline.studies.registry import StudySection, studies

METRIC = "average-precision"
AVERAGE_MASK, CENTER = (str(Source("control", "", name)) for name in ("average-mask", "center"))


def gains(view: RunView) -> dict[str, Estimate]:
    """Return the average mask minus the center for each finding: the gain of knowing where a finding usually lies."""
    rows = read_estimates(view.run.table("location_gain"), ["finding"])
    return {finding: estimate for (finding,), estimate in rows}


def sentences(view: RunView) -> list[str]:
    """Return the sentence at the top of the report."""
    average = view.estimate(AVERAGE_MASK, METRIC)
    gain = gains(view)[AVERAGE]
    return [
        f"The average annotation of other patients, which never sees the image, reaches an average precision of "
        f"{average.text()}, {gain.text()} more than the center of the image ({sample_size([average, gain])})."
    ]


def plot_location(view: RunView) -> Plot:
    """Draw both maps by finding."""
    findings = [*view.findings, AVERAGE]
    series = [
        Series(AVERAGE_MASK, "average annotation of other patients", svg.MODEL_COLORS[0], "o"),
        Series(CENTER, "center of the image", svg.CONTROL_COLOR, "s"),
    ]
    values = {(s.source, f): view.estimate(s.source, METRIC, f) for s in series for f in findings}
    plot = DotPlot.create(findings, 1, 30.0, has_legend=True)
    set_scale(plot.panels[0], METRIC, list(values.values()))
    for place, s in enumerate(series):
        for row, finding in enumerate(findings):
            draw_dot(plot.panels[0], values[s.source, finding], row - 0.15 + 0.3 * place, s)
    plot.draw_legend(series)
    return Plot(
        "location",
        svg.write_svg(plot.figure, "location"),
        view.run.table("location_gain"),
        "; ".join(f"{finding}: {values[AVERAGE_MASK, finding].text()}" for finding in findings),
        f"{metric_title(METRIC)} of two maps that never see the image, mean and 95 % interval over patients.",
    )


def gain_table(view: RunView) -> Table:
    """Return the paired differences by finding."""
    rows = [[finding, gain.text(3), f"{gain.n:,}", f"{gain.patients:,}"] for finding, gain in gains(view).items()]
    caption = "Average annotation of other patients minus the center of the image, average precision [95 % interval]"
    return Table.create(caption, ["Finding", "Difference", "Maps", "Patients"], rows, table_name="location_gain")


def sections(view: RunView, plots: Mapping[str, Plot]) -> list[Section]:
    """Return the sections of the page that belong to this study."""
    return [Section("location", "Localization by location alone", [Block.create(plots["location"], gain_table(view))])]


@studies(
    "location",
    question="How well do maps that never see the image localize each finding?",
    section=StudySection(
        sentences=sentences,
        plots=(plot_location,),
        sections=sections,
        terminal_table=gain_table,
        control_warnings=None,
    ),
)
def location(
    *, data: str = "phantom:60?size=128", out: Path = Path("runs/location"), findings: str = "", seed: int = 0
) -> Run:
    """Score the center of the image, and the average annotation of other patients, as if they were saliency maps.

    Parameters
    ----------
    data
        Data set with annotations, as NAME:PATH?option=value.
    out
        Run folder; the same command continues it.
    findings
        Findings, comma-separated; all of the data set by default.
    seed
        Seed of the bootstrap resamples.
    """
    dataset = open_dataset(data)
    names = tuple(select_findings(findings or None, dataset.findings))
    run = Run.start(out, "location", {"data": data, "findings": findings, "seed": seed})
    with run.lock():
        run = record_inputs(run, dataset, (CORRECTED,), title="Localization by location alone", findings=names)
        maps = ControlMaps(replace(dataset, findings=names), ("center", "average-mask"), seed)
        score_run(run, maps, dataset, ScoringOptions((CORRECTED,), names, (METRIC,), seed))
        pairs = [(AVERAGE_MASK, CENTER)]
        run.write_table("location_gain", paired_differences(run.table("scores"), lambda _: pairs, (CORRECTED,)))
    return run
