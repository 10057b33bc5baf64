"""Scoring: every owed map is answered for, failures lose, and frames, order and company change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sightline.core import Annotation, Dataset, Frame, SaliencyMap
from sightline.errors import DataError, UnknownNameError
from sightline.evaluation.score_rows import METRICS, ScoringOptions
from sightline.evaluation.scoring import score, score_map, score_radiograph
from sightline.maps.collections import CombinedMaps, InMemoryMaps
from sightline.maps.references import ControlMaps, ReaderMaps, annotation_to_map
from sightline.metrics.placed_map import binarize_map
from sightline.metrics.registry import parse_metric
from sightline.protocol import CORRECTED, PUBLISHED, get_protocols
from sightline.stats.estimates import estimates

KEYS = ["protocol", "source", "radiograph", "finding", "metric"]


def pairs(data: Dataset) -> int:
    return sum(data.annotation(r.id, f, "truth") is not None for r in data.radiographs for f in data.findings)


def test_one_row_per_mark_and_metric(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    table = score(toy_maps, toy_data, ["iou", "hit"])  # the short name of the pointing game
    assert set(table["metric"]) == {"iou", "pointing-game"}
    assert len(table) == 2 * pairs(toy_data)
    assert table["value"].between(0, 1).all()
    assert (table["status"] == "ok").all()
    assert table["area"].between(0.01, 0.3).all()
    assert not table.duplicated(KEYS).any()


def test_order_changes_nothing(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    a, b = (score(m, toy_data, METRICS).sort_values(KEYS, ignore_index=True) for m in (toy_maps, toy_maps[::-1]))
    pd.testing.assert_frame_equal(a, b)


def assert_worst(lost: pd.DataFrame) -> None:
    for name, value in zip(lost["metric"], lost["value"], strict=True):
        info = parse_metric(name)[0].info
        assert value == info.worst_value if info.is_score else np.isnan(value)


def test_a_missing_map_loses(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    table = score(toy_maps[1:], toy_data, METRICS)  # toy0, Edema is gone
    lost = table[(table["radiograph"] == "toy0") & (table["finding"] == "Edema")]
    assert len(lost) == len(METRICS)
    assert_worst(lost)
    assert set(lost["status"]) == {"missing"}
    assert len(table) == len(METRICS) * pairs(toy_data)


def test_a_finding_that_no_map_answers_for_is_not_held_against_a_source(
    toy_data: Dataset, toy_maps: list[SaliencyMap]
) -> None:
    table = score([m for m in toy_maps if m.finding == "Mass"], toy_data)
    assert set(table["finding"]) == {"Mass"}


@pytest.mark.parametrize(
    ("values", "status"),
    [(np.zeros((4, 4)), "flat"), (np.full((4, 4), np.nan), "non-finite"), (np.zeros((0, 0)), "unreadable")],
)
def test_failed_maps_lose_and_say_why(
    toy_data: Dataset, toy_maps: list[SaliencyMap], values: np.ndarray, status: str
) -> None:
    given = "unreadable" if status == "unreadable" else "ok"
    broken = replace(toy_maps[0], values=values.astype(np.float32), status=given, reason="cut short" * (given != "ok"))
    table = score([broken, *toy_maps[1:]], toy_data, METRICS)
    lost = table[(table["radiograph"] == "toy0") & (table["finding"] == "Edema")]
    assert_worst(lost)
    assert set(lost["status"]) == {status}
    assert lost["reason"].str.len().min() > 0


def test_duplicates_are_an_error_that_names_both(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    with pytest.raises(DataError, match=r"two maps of 'net/cam' for 'Edema' on 'toy0'"):
        score([*toy_maps, toy_maps[0]], toy_data)


def test_maps_without_a_mark_are_in_the_ledger_not_in_the_scores(
    toy_data: Dataset, toy_maps: list[SaliencyMap]
) -> None:
    held = InMemoryMaps.from_maps(toy_maps)
    options = ScoringOptions((CORRECTED,), toy_data.findings, ("iou",))
    scores, ledger, *_ = score_radiograph(toy_data.radiographs[1], toy_data, held, options)
    assert not scores
    assert [(e.finding, e.annotated, e.status) for e in ledger] == [("Edema", False, "ok"), ("Mass", False, "ok")]


def test_maps_of_a_finding_outside_the_data_are_in_the_ledger(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    held = InMemoryMaps.from_maps([*toy_maps, replace(toy_maps[0], finding="Hernia")])
    options = ScoringOptions((CORRECTED,), toy_data.findings, ("iou",))
    _, ledger, *_ = score_radiograph(toy_data.radiographs[0], toy_data, held, options)
    assert [e.reason for e in ledger if e.finding == "Hernia"] == ["finding 'Hernia' is not scored here"]


def test_a_reader_is_just_another_source_and_wins(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    held = CombinedMaps((InMemoryMaps.from_maps(toy_maps), ReaderMaps(toy_data), ControlMaps(toy_data)))
    means = score(held, toy_data, ["iou"]).groupby("source")["value"].mean()
    assert means.idxmax() == "reader/second"
    assert means["net/cam"] > means[[s for s in means.index if s.startswith("control/")]].max()


def test_the_truth_itself_scores_one(toy_data: Dataset) -> None:
    own = replace(toy_data, readers=("truth", "truth"))
    table = score(ReaderMaps(own), own, METRICS)
    assert table["value"].to_numpy() == pytest.approx(1.0)
    assert "pointing-game" not in set(table["metric"])  # a mask has no peak


def test_a_reader_who_left_no_mark_is_missing(toy_data: Dataset) -> None:
    def marks(radiograph: str, finding: str, reader: str):
        return None if reader == "second" and radiograph == "toy0" else toy_data.annotation(radiograph, finding, reader)

    data = replace(toy_data, annotation=marks)
    table = score(ReaderMaps(data), data, ["iou"], protocol="both")
    lost = table[(table["radiograph"] == "toy0")]
    assert set(lost["status"]) == {"missing"}
    assert lost[lost["protocol"] == "corrected"]["value"].tolist() == [0, 0]
    assert lost[lost["protocol"] == "published"]["value"].isna().all()


def test_points_are_hits_when_the_map_says_so(toy_data: Dataset) -> None:
    def marks(radiograph: str, finding: str, reader: str):
        mark = toy_data.annotation(radiograph, finding, "truth")
        if mark is None or reader == "truth":
            return mark
        inside = np.argwhere(mark.read())[0] + 0.5
        return replace(mark, reader="points", kind="points", read=lambda: np.array([inside, [0.5, 0.5]]))

    data = replace(toy_data, annotation=marks, readers=("truth", "points"))
    table = score(ReaderMaps(data), data, ["iou", "pointing-game"], protocol="both")
    assert set(table["metric"]) == {"pointing-game"}
    assert set(table[table["protocol"] == "corrected"]["value"]) == {0.5}


@pytest.mark.parametrize("ties", ["first", "any", "expected"])
def test_several_points_of_a_reader_are_no_tied_peaks(ties: str) -> None:
    """Any point counts as published, their share as corrected, whatever the rule for equal maxima of maps."""
    reference = np.zeros((20, 30), bool)
    reference[8:12, 8:20] = True
    points = np.array([[2.0, 3.0], [9.5, 10.2], [9.9, 10.9], [11.0, 18.0]])  # two of them in one pixel
    m = annotation_to_map(Annotation("r", "Edema", "b", "points", (20, 30), points.copy))
    hits = [score_map(m, reference, ["hit"], replace(p, ties=ties))["hit"][0] for p in (PUBLISHED, CORRECTED)]
    assert hits == [1.0, 0.75]
    outside = annotation_to_map(Annotation("r", "Edema", "b", "points", (20, 30), points[:1].copy))
    assert [score_map(outside, reference, ["hit"], p)["hit"][0] for p in (PUBLISHED, CORRECTED)] == [0.0, 0.0]


def test_points_at_random_hit_as_often_however_many_a_reader_places() -> None:
    rng, reference = np.random.default_rng(0), np.zeros((20, 20), bool)
    reference[:10, :10] = True  # a quarter of the image
    means = {}
    for count in (1, 3):
        values = []
        for _ in range(600):
            points = rng.random((count, 2)) * 20
            m = annotation_to_map(Annotation("r", "Edema", "b", "points", (20, 20), points.copy))
            values.append([score_map(m, reference, ["hit"], p)["hit"][0] for p in (PUBLISHED, CORRECTED)])
        means[count] = np.mean(values, 0)
    assert means[1][0] == means[1][1] == pytest.approx(0.25, abs=0.05)
    assert means[3][1] == pytest.approx(0.25, abs=0.04)
    assert means[3][0] == pytest.approx(1 - 0.75**3, abs=0.06), "the published rule rewards every further point"


def test_the_frame_places_a_crop_where_the_model_saw_it() -> None:
    truth = np.zeros((40, 60), bool)
    truth[10:20, 5:15] = True
    frame = Frame((40, 60), (0.0, 0.0, 40.0, 40.0))
    values = np.zeros((40, 40), np.float32)
    values[10:20, 5:15] = 1
    m = SaliencyMap("r", "Edema", "m", values, frame)
    assert score_map(m, truth, ["iou"], CORRECTED)["iou"][0] == 1.0
    assert score_map(m, truth, ["iou"], PUBLISHED)["iou"][0] < 0.6  # stretched over the whole image, as published
    assert not binarize_map(m, CORRECTED)[:, 40:].any()


def test_the_published_mask_has_its_holes_filled() -> None:
    values = np.zeros((40, 40), np.float32)
    values[10:30, 10:30] = 1
    values[15:25, 15:25] = 0
    m = SaliencyMap("r", "Edema", "m", values, Frame.whole((40, 40)))
    assert binarize_map(m, PUBLISHED).sum() == 400
    assert binarize_map(m, CORRECTED).sum() == 300


def test_binarizers() -> None:
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    m = SaliencyMap("r", "Edema", "m", values, Frame.whole((10, 10)))
    count = {b: binarize_map(m, replace(CORRECTED, binarizer=b)).sum() for b in ("above:0.5", "top:0.1", "otsu")}
    assert count == {"above:0.5": 50, "top:0.1": 10, "otsu": 50}
    for bad in ("otsu:3", "above:1", "above:x", "top:0", "median"):
        with pytest.raises(UnknownNameError, match="allowed"):
            binarize_map(m, replace(CORRECTED, binarizer=bad))


def test_names_are_checked(toy_data: Dataset, toy_maps: list[SaliencyMap]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'iou'"):
        score(toy_maps, toy_data, ["iuo"])
    with pytest.raises(UnknownNameError, match="published, corrected, both"):
        get_protocols("fixed")
    with pytest.raises(UnknownNameError, match="allowed: center"):
        ControlMaps(toy_data, ("middle",))
    with pytest.raises(DataError, match="no annotations to score against"):
        score(toy_maps, replace(toy_data, readers=()))


def test_the_average_mask_never_sees_its_own_patient(toy_data: Dataset) -> None:
    controls = ControlMaps(toy_data, ("average-mask",), grid_side=8)
    prior, others = controls.average_mask("toy0", "Edema")
    assert others == 5  # toy2, 4, 6, 8, 10; toy0 is the patient's only marked image
    alone = replace(toy_data, radiographs=toy_data.radiographs[:2])
    m = next(iter(ControlMaps(alone, ("average-mask",)).maps_for("toy0")))
    assert (m.status, m.reason) == ("refused", "no other patient has an annotation of 'Edema' to average")
    assert prior.max() <= 1


def test_a_control_that_cannot_be_computed_is_absent(toy_data: Dataset) -> None:
    """One patient with a finding: no other patient has an annotation to average, which is no score of 0."""
    alone = replace(toy_data, radiographs=toy_data.radiographs[:1])
    table = score(
        ControlMaps(alone, ("average-mask", "center")), alone, ["iou", "pointing-game", "prior-corrected-iou"]
    )
    average = table[table["source"] == "control/average-mask"]
    assert len(average) and average["value"].isna().all()
    assert average["reason"].str.contains("no other patient").all()
    assert set(estimates(table, [CORRECTED])["source"]) == {"control/center"}
    center = table[table["source"] == "control/center"].set_index("metric")
    assert center["value"].drop("prior-corrected-iou").notna().all()
    assert center.loc["prior-corrected-iou", "reason"].iloc[0].startswith("no other patient")


def test_the_average_mask_of_a_lateral_radiograph_is_of_lateral_ones(toy_data: Dataset) -> None:
    """toy0, 4 and 8 are frontal, toy2, 6 and 10 lateral; each has a patient of its own."""
    views = {"toy2": "lateral", "toy6": "lateral", "toy10": "lateral"}
    radiographs = tuple(replace(r, view=views.get(r.id, "frontal")) for r in toy_data.radiographs)
    data = replace(toy_data, radiographs=radiographs)
    prior, others = ControlMaps(data, ("average-mask",), grid_side=8).average_mask("toy2", "Edema")
    shown = replace(data, radiographs=tuple(r for r in radiographs if r.id in ("toy2", "toy6", "toy10")))
    expected, count = ControlMaps(shown, ("average-mask",), grid_side=8).average_mask("toy2", "Edema")
    assert others == count == 2 and (prior == expected).all()
    alone = replace(data, radiographs=tuple(r for r in radiographs if r.id in ("toy0", "toy2", "toy4")))
    m = next(m for m in ControlMaps(alone, ("average-mask",)).maps_for("toy2") if m.finding == "Edema")
    assert m.reason == "no other patient has an annotation of 'Edema' on a lateral radiograph to average"
    whole = [score(list(ReaderMaps(d).maps_for("toy2")), d, ["iou"])["value"].tolist() for d in (data, toy_data)]
    assert whole[0] == whole[1]  # annotations and maps of a lateral radiograph are scored like any other
