"""Tables of subgroups, of the choice of a network and of the suitability of metrics, from a run that was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import FINDINGS, good_map, toy
from sightline.core import Dataset
from sightline.evaluation.analysis import analyze
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.subgroups import SIZE_GROUPS
from sightline.maps.collections import CombinedMaps, InMemoryMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.protocol import CORRECTED
from sightline.runs.run import Run

COUNT = 96
METRICS = ("iou", "pointing-game", "relevance-mass")


def views() -> Dataset:
    """Radiographs of one patient each; every third is lateral, women are 30 and men 70 years old."""
    data = toy(COUNT)
    radiographs = tuple(
        replace(
            r,
            patient=r.id,
            view="lateral" if n % 3 == 0 else "frontal",
            metadata={"sex": "F", "age": 30} if n % 4 < 2 else {"sex": "M", "age": 70},
        )
        for n, r in enumerate(data.radiographs)
    )
    return replace(data, radiographs=radiographs)


def analyzed(path: Path, data: Dataset, sources: Sequence[str]) -> Run:
    run = Run.start(path, "score", {})
    made = [good_map(r.id, f, s) for s in sources for r in data.radiographs for f in FINDINGS]
    maps = CombinedMaps((InMemoryMaps.from_maps(made), ControlMaps(data, ("center", "noise")), ReaderMaps(data)))
    with run.lock():
        scores = score_run(run, maps, data, ScoringOptions((CORRECTED,), data.findings, METRICS), workers=1)
        analyze(scores, data, (CORRECTED,), seed=0)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return analyzed(tmp_path_factory.mktemp("subgroups") / "run", views(), ("net/cam", "wide/cam", "net/grad"))


def group_rows(run: Run, attribute: str, finding: str = "average", source: str = "net/cam") -> pd.DataFrame:
    table = run.table("subgroups")
    chosen = (table["source"] == source) & (table["attribute"] == attribute) & (table["metric"] == "iou")
    return table[chosen & (table["finding"] == finding)].set_index("group")


def test_a_data_set_with_lateral_views_is_reported_by_view(run: Run) -> None:
    scores = run.table("scores")
    scores = scores[(scores["source"] == "net/cam") & (scores["metric"] == "iou")]
    lateral = scores["radiograph"].isin([r.id for r in views().radiographs if r.view == "lateral"])
    for finding in FINDINGS:
        rows = group_rows(run, "view", finding)
        of_finding = scores["finding"] == finding
        for group, part in (("lateral", scores[lateral & of_finding]), ("frontal", scores[~lateral & of_finding])):
            if len(part):
                assert rows.loc[group, "mean"] == pytest.approx(part["value"].mean()), (finding, group)
                assert rows.loc[group, "n"] == len(part)
    assert set(run.table("status")["status"]) == {"ok"}, "every lateral map was scored like any other"


def test_attributes_that_the_data_set_does_not_state_say_so(run: Run) -> None:
    assert set(group_rows(run, "projection")["reason"]) == {"no scored case"}
    assert group_rows(run, "age").loc["40 to 64 years", "reason"] == "no scored case"
    age, sex = group_rows(run, "age"), group_rows(run, "sex")
    assert age.loc["below 40 years", "mean"] == pytest.approx(sex.loc["female", "mean"])


def test_thirds_by_size_are_those_of_each_finding(run: Run) -> None:
    shapes = run.table("shapes").query("finding == 'Edema'")
    small = shapes[shapes["size"] <= shapes["size"].quantile(1 / 3)]["radiograph"]
    scores = run.table("scores").query("source == 'net/cam' and metric == 'iou' and finding == 'Edema'")
    rows = group_rows(run, "size", "Edema")
    assert list(rows.index) == list(SIZE_GROUPS)
    assert rows.loc[SIZE_GROUPS[0], "mean"] == pytest.approx(scores[scores["radiograph"].isin(small)]["value"].mean())
    assert rows["n"].sum() == len(scores)


def test_the_network_with_the_best_average_is_chosen_for_each_method(run: Run) -> None:
    table = run.table("network_selection").query("metric == 'iou'")
    assert set(table["method"]) == {"cam"}, "a method with one network leaves nothing to choose"
    means = run.table("estimates").query("metric == 'iou' and finding == 'average'").set_index("source")["mean"]
    for row in table.to_dict("records"):
        assert row["mean"] == pytest.approx(means[f"{row['model']}/cam"]) and row["findings"] == 2
    assert table["chosen"].sum() == 1 and table.loc[table["mean"].idxmax(), "chosen"]


def test_networks_are_compared_on_the_findings_that_all_of_them_know(tmp_path: Path) -> None:
    data = toy(24)
    run = Run.start(tmp_path / "run", "score", {})
    made = [good_map(r.id, f, "net/cam") for r in data.radiographs for f in FINDINGS]
    made += [good_map(r.id, "Edema", "wide/cam") for r in data.radiographs]
    with run.lock():
        options = ScoringOptions((CORRECTED,), data.findings, ("iou",))
        scores = score_run(run, InMemoryMaps.from_maps(made), data, options, workers=1)
        analyze(scores, data, (CORRECTED,), seed=0)
    table = run.table("network_selection")
    assert set(table["findings"]) == {1} and len(set(table["n"])) == 1


def test_one_network_leaves_nothing_to_choose(tmp_path: Path) -> None:
    assert not analyzed(tmp_path / "run", toy(8), ("net/cam",)).has_table("network_selection")


def test_every_metric_is_judged_for_every_finding(run: Run) -> None:
    table = run.table("metric_suitability")
    assert len(table) == len(METRICS) * 2 and set(table["sources"]) == {5}
    enough = table[table["reason"] == ""]
    assert len(enough) and enough["rank_stability"].between(-1, 1).all()
    iou = table.query("metric == 'iou' and finding == 'Edema'").iloc[0]
    assert iou["reader"] == "reader/second" and iou["reader_wins"] > 0.9
    pairs = run.table("metric_agreement")
    assert len(pairs) == 2 * 3 and np.isfinite(pairs["case_agreement"]).any()
