"""Comparisons of maps while a network forgets, and of stored maps of networks that like one place, or fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sightline as sl
from sightline.core import CHANCE, OTHER_ARCHITECTURE, RETRAINED, Array, Case, Frame, SaliencyMap
from sightline.evaluation.randomization import _explain_predicted_class, compare_models, randomize_cascade
from sightline.evaluation.sampling import draw_other_patient, sample_positive_cases
from sightline.evaluation.sanity_check import SCHEMA, SanityCheck, entropy, write_similarity
from sightline.maps.storage import write_maps
from sightline.methods.inference import ExplainOptions, maps_at_input_size
from sightline.metrics.similarity import rank_correlation
from sightline.models.weight_randomization import find_blocks
from sightline.protocol import CORRECTED
from sightline.runs.run import Run
from sightline.stats.sanity_checks import verdicts
from sightline.stats.verdicts import SMALLEST_EFFECTS


def forgotten(folder: Path, draws: int = 1, smooth: int = 0) -> pd.DataFrame:
    data = sl.open_dataset("phantom:5?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    some = tuple(sample_positive_cases(data, data.findings, 3, 0))
    run = Run.start(folder, "trust", {})
    c = SanityCheck(run, model, ("grad-cam", "gradient"), some, (CORRECTED,), ExplainOptions(data.findings), smooth)
    write_similarity(run, randomize_cascade(c, find_blocks(model)[:3], ("top-down",), draws))
    return run.table("map_similarity", SCHEMA.names)


def test_every_draw_is_another_network_and_a_row_of_its_own(tmp_path: Path) -> None:
    once, twice = forgotten(tmp_path / "one"), forgotten(tmp_path / "two", draws=2)
    assert len(twice) == 2 * len(once)
    keys = ["comparison", "method", "step", "radiograph", "finding", "measure"]
    groups = twice.groupby(keys)["value"]
    assert (groups.size() == 2).all()
    first, last = (groups.agg(lambda v, at=at: v.iloc[at]) for at in (0, 1))
    wanted = once.set_index(keys)["value"].sort_index()
    pd.testing.assert_series_equal(first.sort_index(), wanted, check_names=False)
    moved = (first != last)[first.notna()]
    assert moved.loc["randomization"].mean() > 0.8


def test_means_over_noisy_copies_are_other_maps(tmp_path: Path) -> None:
    plain, smooth = forgotten(tmp_path / "plain"), forgotten(tmp_path / "smooth", smooth=3)
    keys = ["comparison", "method", "step", "radiograph", "finding", "measure"]
    both = plain.merge(smooth, on=keys)  # a flat map has no entropy that could rise, and no row of it
    assert len(both) >= 0.9 * len(plain)
    assert (both["value_x"] != both["value_y"]).mean() > 0.5


def test_the_class_that_a_network_prefers_is_the_finding_or_its_absence(tmp_path: Path) -> None:
    """Where the logit is negative, the map is the one of its negative: gradients turn their sign."""
    model = sl.open_model("small?side=64&width=8", ["Edema", "Pneumonia"])
    x, ids = torch.randn(3, 1, 64, 64), ["a", "b", "c"]
    with torch.no_grad():
        model.net.get_submodule("head").bias += torch.tensor([0.0, 50.0])
        rejected = (model.net.eval()(x) < 0).numpy()
    assert rejected[:, 0].any() and not rejected[:, 1].any()
    sign = np.where(rejected, -1, 1)[..., None, None]
    asked = ExplainOptions(model.findings)
    c = SanityCheck(Run.start(tmp_path, "trust", {}), model, ("input-x-gradient", "grad-cam"), (), (), asked)
    fixed = maps_at_input_size(model, x, ids, c.methods, asked)
    assert _explain_predicted_class(c, model, x, ids, asked, fixed) is fixed
    liked = _explain_predicted_class(replace(c, explain_predicted_class=True), model, x, ids, asked, fixed)
    np.testing.assert_allclose(liked["input-x-gradient"], sign * fixed["input-x-gradient"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(liked["grad-cam"][~rejected], fixed["grad-cam"][~rejected])
    assert (liked["grad-cam"][rejected] >= 0).all() and (liked["grad-cam"] != fixed["grad-cam"])[rejected].any()
    assert torch.equal(model.net(x) < 0, torch.from_numpy(rejected))  # nothing stays on the network


def test_one_finding_asked_for_in_small_batches_says_the_same(tmp_path: Path) -> None:
    """Also where the network forgets from the image on, and where it remembers what it need not compute."""
    data = sl.open_dataset("phantom:16?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    found = sample_positive_cases(data, data.findings, 16, 0)
    finding = max(data.findings, key=[case.finding for case in found].count)
    some = tuple(case for case in found if case.finding == finding)
    assert len(some) > 2
    tables = []
    for number, asked in enumerate([ExplainOptions(data.findings), ExplainOptions((finding,), batch_size=2)]):
        run = Run.start(tmp_path / str(number), "trust", {})
        c = SanityCheck(run, model, ("grad-cam", "gradient"), some, (CORRECTED,), asked, explain_predicted_class=True)
        write_similarity(run, randomize_cascade(c, find_blocks(model)[:2], ("top-down", "bottom-up")))
        tables.append(run.table("map_similarity", SCHEMA.names))
    pd.testing.assert_frame_equal(*tables, atol=0.01)


def test_entropy_is_that_of_the_histogram_of_magnitudes() -> None:
    rng = np.random.default_rng(0)
    assert entropy(np.full((8, 8), -3.0)) == 0
    assert entropy(rng.uniform(-1, 1, (300, 300))) == pytest.approx(np.log(100), abs=0.01)
    spike = np.zeros((10, 10))
    spike[0, 0] = 5
    assert entropy(spike) == pytest.approx(-(0.99 * np.log(0.99) + 0.01 * np.log(0.01)))
    assert np.isnan(entropy(np.array([[1.0, np.nan]])))


def test_another_patient_shows_the_same_finding() -> None:
    data = sl.open_dataset("phantom:30?size=64")
    some = sample_positive_cases(data, data.findings, 20, 0)
    for case in some:
        other = draw_other_patient(case, some, 0)
        if other is None:
            assert len({c.radiograph.patient for c in some if c.finding == case.finding}) == 1
            continue
        assert other.finding == case.finding
        assert other.radiograph.patient != case.radiograph.patient
        assert other == draw_other_patient(case, some[::1], 0)


SIDE = 32


def beside(folder: Path, drawn: dict[str, list[Array]], partners: dict[str, str]) -> tuple[Run, tuple[Case, ...]]:
    """A run of stored maps, source -> one per case, compared by `compare` as those of a model called 'one'; cases."""
    data = sl.open_dataset(f"phantom:60?size={SIDE}")
    some = tuple(c for c in sample_positive_cases(data, data.findings[:1], 60, 0))
    run = Run.start(folder, "trust", {})
    ids, finding = [c.radiograph.id for c in some], some[0].finding
    maps = {
        source: [
            SaliencyMap(
                i, finding, source, values, Frame.whole((SIDE, SIDE)), status="ok" if values.size else "refused"
            )
            for i, values in zip(ids, each, strict=False)
        ]
        for source, each in drawn.items()
    }
    run.write_part("maps-0", "00", lambda path: write_maps(path, ids, [finding], maps))
    model = replace(sl.open_model(f"small?side={SIDE}&width=8", data.findings), name="one")
    c = SanityCheck(run, model, ("m",), some, (CORRECTED,), ExplainOptions(data.findings))
    write_similarity(run, compare_models(c, partners))
    return run, some


def liking(seed: int, count: int = 60) -> list[Array]:
    """Maps of films, faint beside one place that this network likes on every film."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(7)
    liked = 3 * rng.normal(size=(SIDE, SIDE))
    return [(liked + shared.normal(size=(SIDE, SIDE))).astype(np.float32) for _ in range(count)]


def test_a_place_that_a_network_likes_on_every_film_is_no_chance_of_two_networks(tmp_path: Path) -> None:
    """Maps of two networks share what the film says: they come back, though each is yet more like itself elsewhere."""
    drawn = {"one/m": liking(0), "again/m": liking(1), "other/m": liking(2)}
    run, some = beside(tmp_path, drawn, {"again": RETRAINED, "other": OTHER_ARCHITECTURE})
    table = run.table("map_similarity", SCHEMA.names)
    assert set(table[table["comparison"] == CHANCE]["versus"]) == {"", "again", "other"}
    judged = verdicts(table, smallest_effects={**SMALLEST_EFFECTS, "rank": 0.05})
    found = judged.query("measure == 'rank' and not criterion.str.endswith('-ceiling')").set_index("versus")
    within = table.query("comparison == @CHANCE and versus == '' and measure == 'rank'")["value"].mean()
    for name in ("again", "other"):
        near, far = [], []
        for at, case in enumerate(some):
            other = draw_other_patient(case, some, 0)
            assert other is not None
            mine, its, elsewhere = drawn["one/m"][at], drawn[f"{name}/m"][at], drawn[f"{name}/m"][some.index(other)]
            near.append(float(rank_correlation(mine, its)))
            far.append(float(rank_correlation(mine, elsewhere)))
        row = found.loc[name]
        assert row["mean"] == pytest.approx(np.mean(near) - np.mean(far), abs=1e-6)
        assert row["mean"] > 0.05 and row["verdict"] == "shown"
        assert np.mean(near) - within < -0.5  # what the model shares with itself has the other sign


def test_maps_that_are_the_same_whatever_the_film_do_not_come_back(tmp_path: Path) -> None:
    one = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    drawn = {source: [one] * 60 for source in ("one/m", "again/m")}
    run, _ = beside(tmp_path, drawn, {"again": RETRAINED})
    found = verdicts(run.table("map_similarity", SCHEMA.names))
    repeats = found[found["criterion"] == "repeatability"]
    assert (found["level"] > 0.999).all() and "shown" not in set(repeats["verdict"])


def test_failed_maps_are_rows_without_a_value_and_win_nothing(tmp_path: Path) -> None:
    drawn = {"one/m": liking(0), "again/m": liking(1)}
    flat, refused = np.zeros((SIDE, SIDE), np.float32), np.zeros((0, 0), np.float32)
    for source, at, values in (("one/m", 0, flat), ("again/m", 0, flat), ("one/m", 1, refused), ("again/m", 2, flat)):
        drawn[source][at] = values
    run, some = beside(tmp_path, drawn, {"again": RETRAINED})
    rows = run.table("map_similarity", SCHEMA.names).query("comparison == @RETRAINED and measure == 'ssim'")
    assert len(rows) == len(some)
    failed = [c.radiograph.id for c in some[:3]]
    assert rows[rows["value"].isna()]["radiograph"].tolist() == failed
    found = verdicts(run.table("map_similarity", SCHEMA.names)).query("criterion == 'repeatability'")
    assert set(found["n"]) == {len(some)} and set(found["failed"]) == {3}
