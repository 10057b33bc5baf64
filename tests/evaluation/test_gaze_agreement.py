"""Maps beside gaze: where they meet, what they are held against, and what becomes of what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.core import Dataset, Frame, SaliencyMap
from sightline.data.gaze import KERNELS, gaze_density
from sightline.evaluation.gaze_agreement import (
    AVERAGE_GAZE,
    CENTER_CONTROL,
    GAZE_CEILING,
    GAZE_METRICS,
    LUNGS_CONTROL,
    OTHER_PATIENT_GAZE,
    GazeComparison,
    convex_hull,
    score_gaze_agreement,
)
from sightline.evaluation.gaze_cohort import Cohort, GazeMaps, read_gaze
from sightline.evaluation.sampling import sample_positive_cases
from sightline.imaging.geometry import project_whole, resample_area
from sightline.maps.collections import InMemoryMaps
from sightline.maps.resample import GRID_SHAPE, resample_to_grid
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.runs.run import Run

PROTOCOLS = (PUBLISHED, CORRECTED)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return sl.open_dataset("phantom:14?size=64&gazed=0.8")


def a_map(data: Dataset, radiograph: str, finding: str, kind: str) -> SaliencyMap:
    size = next(r.size for r in data.radiographs if r.id == radiograph)
    assert size is not None
    frame, gaze = Frame.whole(size), read_gaze(data, radiograph, data.gaze_readers[0])
    values = np.zeros((8, 8), np.float32)
    if kind == "seer" and gaze is not None:
        values = gaze_density(gaze, KERNELS["corrected"], (40, 40)).astype(np.float32)
    status = "ok" if values.any() else "flat"
    return SaliencyMap(radiograph, finding, f"net/{kind}", values, frame, 0.7, status)  # type: ignore[arg-type]


def compared(data: Dataset, folder: Path) -> tuple[Run, tuple[object, ...]]:
    some = tuple(sample_positive_cases(data, data.findings, 14, 0))
    maps = [a_map(data, c.radiograph.id, c.finding, kind) for c in some for kind in ("seer", "blind")]
    held = InMemoryMaps.from_maps(maps[:-1])  # one is owed and missing
    films = list({c.radiograph.id: c.radiograph for c in some}.values())
    cohort = Cohort.from_dataset(data, data.gaze_readers[0], films, ["published", "corrected"], 0)
    run = Run.start(folder, "gaze", {})
    score_gaze_agreement(
        run, GazeComparison(data, held, data.gaze_readers[0], PROTOCOLS, GAZE_METRICS, cohort), some, 0
    )
    return run, some


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compared(data, tmp_path_factory.mktemp("agreement") / "run")[0]


def mean(run: Run, source: str, metric: str, protocol: str = "corrected") -> float:
    table = run.table("estimates")
    row = table[(table["source"] == source) & (table["metric"] == metric) & (table["protocol"] == protocol)]
    return float(row[row["finding"] == "average"]["mean"].iloc[0])


def test_the_gaze_itself_reaches_every_ceiling(run: Run) -> None:
    for metric, top in {"ssim": 1.0, "ncc": 1.0, "similarity": 1.0, "kl": 0.0}.items():
        assert mean(run, GAZE_CEILING, metric) == pytest.approx(top, abs=1e-9)
    for metric in ("shuffled-ncc", "nss", "auc-judd", "gain-average"):
        others = (CENTER_CONTROL, AVERAGE_GAZE, OTHER_PATIENT_GAZE, LUNGS_CONTROL, "net/seer", "net/blind")
        assert all(mean(run, GAZE_CEILING, metric) > mean(run, s, metric) for s in others)


def test_a_map_that_foresaw_the_gaze_is_near_it_and_one_that_says_nothing_is_at_chance(run: Run) -> None:
    assert mean(run, "net/seer", "ncc") > 0.9
    for metric, chance in {"shuffled-ncc": 0.0, "ncc": 0.0, "auc-judd": 0.5, "shuffled-auc": 0.5}.items():
        assert mean(run, "net/blind", metric) == chance


def test_shuffled_measures_put_the_middle_of_the_film_at_chance(data: Dataset, tmp_path: Path) -> None:
    """Exactly so where every film counts once: all readings against all others."""
    one = replace(data, findings=("Any",), radiographs=tuple(replace(r, labels={"Any": 1.0}) for r in data.radiographs))
    first = {r.patient: r.id for r in reversed(one.radiographs)}
    one = replace(one, radiographs=tuple(r for r in one.radiographs if first[r.patient] == r.id))
    table = compared(one, tmp_path / "run")[0].table("scores")
    for protocol in ("published", "corrected"):
        middle = table[(table["source"] == CENTER_CONTROL) & (table["protocol"] == protocol)]
        assert middle[middle["metric"] == "shuffled-ncc"]["value"].mean() == pytest.approx(0, abs=1e-9)
        assert middle[middle["metric"] == "shuffled-auc"]["value"].mean() == pytest.approx(0.5, abs=1e-9)


def test_every_case_with_gaze_is_scored_and_every_other_is_told(data: Dataset, run: Run) -> None:
    scores, ledger = run.table("scores"), run.table("maps")
    some = sample_positive_cases(data, data.findings, 14, 0)
    with_gaze = {c.radiograph.id for c in some if read_gaze(data, c.radiograph.id, data.gaze_readers[0]) is not None}
    assert set(scores["radiograph"]) == with_gaze and len(with_gaze) < len({c.radiograph.id for c in some})
    assert set(ledger[~ledger["annotated"]]["radiograph"]) == {c.radiograph.id for c in some} - with_gaze
    assert len(ledger) == 2 * len(some) and (ledger["status"] == "missing").sum() == 1
    whole = scores[(scores["metric"] == "ncc") & (scores["protocol"] == "corrected")]
    counts = whole.groupby("source")["value"].count()
    assert set(counts) == {counts.iloc[0]}  # a missing map loses; it does not leave
    assert not scores["value"].isna().any()


def test_what_was_said_has_scores_of_its_own(run: Run) -> None:
    scores = run.table("scores")
    spoken = scores[scores["metric"].str.endswith("@spoken")]
    assert set(spoken["protocol"]) == {"corrected"} and len(spoken) > 0
    keys = ["source", "radiograph", "finding"]
    ncc = scores[scores["protocol"] == "corrected"]
    both = ncc[ncc["metric"] == "ncc"].merge(ncc[ncc["metric"] == "ncc@spoken"], on=keys)
    assert (both["value_x"] != both["value_y"]).any()


def test_shares_of_regions_add_up_where_regions_do_not_overlap(data: Dataset, run: Run) -> None:
    shares = run.table("region_shares")
    assert set(shares["region"]) == set(data.regions) and shares["share"].dropna().between(0, 1).all()
    assert shares[shares["source"] == "net/blind"]["share"].isna().all()
    lungs = shares[(shares["source"] == LUNGS_CONTROL) & shares["region"].isin(["Left Lung", "Right Lung"])]
    assert lungs.groupby(["radiograph", "finding"])["share"].sum().between(0.5, 1).all()


def test_nothing_depends_on_which_films_are_worked_on_together(data: Dataset, run: Run, tmp_path: Path) -> None:
    turned = replace(data, radiographs=tuple(data.radiographs)[::-1])
    other, _ = compared(turned, tmp_path / "run")
    keys = ["protocol", "source", "radiograph", "finding", "metric"]
    tables = [r.table("scores").set_index(keys)["value"].sort_index() for r in (run, other)]
    kept = tables[0].index.intersection(tables[1].index)
    assert len(kept) == len(tables[0])
    for name in ("net/seer", CENTER_CONTROL, GAZE_CEILING, OTHER_PATIENT_GAZE):
        rows = [t.loc[kept].xs(name, level="source") for t in tables]
        pd.testing.assert_series_equal(*rows, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 4), (64, 64), (300, 200)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 300.0, 200.0), (50.0, 0.0, 250.0, 200.0), (0.0, -50.0, 300.0, 250.0)])
def test_maps_of_any_size_and_frame_lie_where_they_belong(shape: tuple[int, int], box: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((4, 4)), np.ones((shape[0] // 4, shape[1] // 4)))
    m = SaliencyMap("a", "b", "c/d", smooth.astype(np.float32), Frame((300, 200), box))  # type: ignore[arg-type]
    slow = resample_area(project_whole(m.values, m.frame), Frame.whole((300, 200)), GRID_SHAPE)
    ours = resample_to_grid(m)
    assert ours.shape == GRID_SHAPE
    assert np.corrcoef(ours.ravel(), slow.ravel())[0, 1] > 0.98
    assert np.abs(ours - slow).mean() < 0.03


def test_convex_hulls_cover_their_masks() -> None:
    mask = np.zeros((20, 20), bool)
    assert not convex_hull(mask).any()
    mask[2:5, 2:5] = mask[12:18, 3:6] = True
    assert (convex_hull(mask) >= mask).all() and convex_hull(mask)[8, 4] and not convex_hull(mask)[8, 15]


def test_a_reading_without_fixations_is_none(data: Dataset) -> None:
    gaze = read_gaze(
        data, next(r.id for r in data.radiographs if read_gaze(data, r.id, data.gaze_readers[0])), data.gaze_readers[0]
    )
    assert gaze is not None and GazeMaps.from_gaze(gaze.select_time(-2, -1), KERNELS["corrected"]) is None
    whole = GazeMaps.from_gaze(gaze, KERNELS["published"])
    assert (
        whole is not None
        and whole.fixation_map.sum() == pytest.approx(1)
        and (whole.fixation_map > 0).sum() <= len(gaze)
    )
