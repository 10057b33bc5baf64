"""Several readers in a run: nobody is scored against a reference with own annotations, and their mean is compared."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.core import Annotation, Array, Dataset, SaliencyMap
from sightline.data.combined_reference import combine_readers
from sightline.errors import DataError
from sightline.evaluation.analysis import analyze
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.scoring import score
from sightline.maps.collections import CombinedMaps, InMemoryMaps
from sightline.maps.references import ReaderMaps
from sightline.protocol import CORRECTED
from sightline.report.figures import plot_localization
from sightline.report.human_benchmark import plot_decrease, plot_slices
from sightline.report.reader_spread import score_spread
from sightline.report.run_view import RunView
from sightline.report.summary import summary_sentences
from sightline.runs.run import Run

SHIFTS = {"A": (0, 0), "B": (0, 2), "C": (1, 0)}
"""Reader -> (rows, columns) by which the true mask is moved."""


@pytest.fixture
def three(toy_data: Dataset) -> Dataset:
    """The toy data with three readers, each of whom moves the true masks; C did not read the first radiograph."""

    def annotation(radiograph: str, finding: str, reader: str) -> Annotation | None:
        true = toy_data.annotation(radiograph, finding, "truth")
        if true is None or reader not in SHIFTS or (reader == "C" and radiograph == "toy0"):
            return true if reader == "truth" else None
        return replace(true, reader=reader, read=lambda: np.roll(true.read(), SHIFTS[reader], (0, 1)))

    def readers_of(radiograph: str) -> tuple[str, ...]:
        return ("A", "B") if radiograph == "toy0" else ("A", "B", "C")

    return replace(toy_data, annotation=annotation, readers=("truth", "A", "B", "C"), readers_of=readers_of)


@pytest.fixture
def run(tmp_path: Path, three: Dataset, toy_maps: list[SaliencyMap]) -> Callable[[Dataset], Run]:
    def scored(data: Dataset) -> Run:
        run = Run.start(tmp_path / "run", "localization", {})
        maps = CombinedMaps((InMemoryMaps.from_maps(toy_maps), ReaderMaps(data)))
        scores = score_run(run, maps, data, ScoringOptions((CORRECTED,), data.findings, ("iou", "pointing-game")))
        analyze(scores, data, (CORRECTED,), seed=0)
        return run.update_info(models=[{"name": "net", "training": {"data": "toy"}}])

    return scored


def test_each_reader_is_scored_against_the_others(three: Dataset) -> None:
    data = combine_readers(three, "majority")
    table = score(ReaderMaps(data), data, ["iou"])
    assert set(table["reader"]) == {f"truth without {reader}" for reader in "ABC"}
    assert not ((table["source"] == "reader/C") & (table["radiograph"] == "toy0")).any()  # not read, not missed
    for row in table.itertuples():
        masks = {r: a.read() for r in "ABC" if (a := three.annotation(row.radiograph, row.finding, r)) is not None}
        own = masks.pop(row.source[-1])
        others: Array = np.logical_and.reduce(list(masks.values()))  # of two readers, both
        assert row.value == pytest.approx((own & others).sum() / (own | others).sum())


def test_maps_and_readers_are_compared_against_the_same_reference(
    three: Dataset, toy_maps: list[SaliencyMap], run: Callable[[Dataset], Run]
) -> None:
    data = combine_readers(three, "majority")
    tables = run(data)
    left_out = tables.table("leave_one_out")
    assert set(left_out["source"]) == {"net/cam"}
    gaps = tables.table("differences")
    assert set(gaps["versus"]) == {"reader/all readers"}  # none of a single reader, whose reference is another one
    left_out = left_out[left_out["metric"] == "iou"].assign(source=lambda t: "reader/" + t["reader"].str[-1])
    pairs = left_out.merge(tables.table("scores"), on=["source", "radiograph", "finding", "metric"])
    by_reader = (pairs["value_x"] - pairs["value_y"]).groupby([pairs["finding"], pairs["source"]]).mean()
    expected = by_reader.groupby("finding").mean()
    found = gaps[gaps["metric"] == "iou"].set_index("finding")["mean"]
    pd.testing.assert_series_equal(found[expected.index], expected, check_names=False)
    assert tables.table("percentage_decrease")["versus"].unique().tolist() == ["reader/all readers"]
    assert "iou-gap" in set(tables.table("regressions")["outcome"])
    text = " ".join(summary_sentences(RunView.from_run(tables)))
    assert "Readers and maps are compared against the annotations of the other readers." in text


def test_the_report_speaks_of_readers_in_general_or_of_the_one_reader(
    three: Dataset, toy_data: Dataset, run: Callable[[Dataset], Run], tmp_path: Path
) -> None:
    view = RunView.from_run(run(three))
    assert view.reader == "reader/all readers"
    assert view.label(view.reader) == "mean of 3 readers"
    low, high = score_spread(view, view.reader, "iou", "average") or (np.nan, np.nan)
    assert low < view.estimate(view.reader, "iou").mean < high
    text = " ".join(summary_sentences(view))
    assert f"the mean of 3 readers ({low:.2f} to {high:.2f} by reader)" in text
    assert "speak of readers like these in general" in text
    decrease, by_finding, slices = plot_decrease(view), plot_localization(view), plot_slices(view)
    assert decrease is not None
    assert by_finding is not None
    assert slices is not None
    assert "The band reaches from the best reader to the worst" in decrease.caption
    assert "The band reaches from the lowest reader to the highest" in by_finding.caption
    assert "mean of 3 readers" in slices.alt_text


def test_one_reader_is_one_reader(toy_data: Dataset, run: Callable[[Dataset], Run]) -> None:
    tables = run(toy_data)
    assert not tables.has_table("leave_one_out")
    text = " ".join(summary_sentences(RunView.from_run(tables)))
    assert "There is one reader, so that comparisons speak of this reader and not of radiologists in general." in text


def test_no_reader_may_have_the_name_of_the_mean(toy_data: Dataset) -> None:
    data = replace(toy_data, readers=("truth", "all readers"))
    with pytest.raises(DataError, match="has a reader 'all readers', the name of the mean over readers; rename"):
        score(ReaderMaps(data), data, ["iou"])
