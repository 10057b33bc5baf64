"""Comparisons of maps while a network forgets: how often it is drawn, how smooth maps are, and entropy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sightline as sl
from sightline.asking import Asked, fine_maps
from sightline.casework import another, cases
from sightline.models.randomize import blocks
from sightline.protocol import CORRECTED
from sightline.sanity import SCHEMA, Comparison, _preferred, entropy, forget
from sightline.store import Run


def forgotten(folder: Path, draws: int = 1, smooth: int = 0) -> pd.DataFrame:
    data = sl.dataset("phantom:5?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    some = tuple(cases(data, data.findings, 3, 0))
    run = Run.start(folder, "trust", {})
    c = Comparison(run, model, ("grad-cam", "gradient"), some, (CORRECTED,), Asked(data.findings), smooth)
    run.join_parts("similarity", forget(c, blocks(model)[:3], ("top-down",), draws), "similarity")
    return run.table("similarity", SCHEMA.names)


def test_every_draw_is_another_network_and_a_row_of_its_own(tmp_path: Path) -> None:
    once, twice = forgotten(tmp_path / "one"), forgotten(tmp_path / "two", draws=2)
    assert len(twice) == 2 * len(once)
    keys = ["kind", "method", "step", "radiograph", "finding", "measure"]
    groups = twice.groupby(keys)["value"]
    assert (groups.size() == 2).all()
    first, last = (groups.agg(lambda v, at=at: v.iloc[at]) for at in (0, 1))
    wanted = once.set_index(keys)["value"].sort_index()
    pd.testing.assert_series_equal(first.sort_index(), wanted, check_names=False)
    moved = (first != last)[first.notna()]
    assert moved.loc["randomization"].mean() > 0.8


def test_means_over_noisy_copies_are_other_maps(tmp_path: Path) -> None:
    plain, smooth = forgotten(tmp_path / "plain"), forgotten(tmp_path / "smooth", smooth=3)
    keys = ["kind", "method", "step", "radiograph", "finding", "measure"]
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
    asked = Asked(model.findings)
    c = Comparison(Run.start(tmp_path, "trust", {}), model, ("input-x-gradient", "grad-cam"), (), (), asked)
    fixed = fine_maps(model, x, ids, c.methods, asked)
    assert _preferred(c, model, x, ids, asked, fixed) is fixed
    liked = _preferred(replace(c, preferred=True), model, x, ids, asked, fixed)
    np.testing.assert_allclose(liked["input-x-gradient"], sign * fixed["input-x-gradient"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(liked["grad-cam"][~rejected], fixed["grad-cam"][~rejected])
    assert (liked["grad-cam"][rejected] >= 0).all() and (liked["grad-cam"] != fixed["grad-cam"])[rejected].any()
    assert torch.equal(model.net(x) < 0, torch.from_numpy(rejected))  # nothing stays on the network


def test_one_finding_asked_for_in_small_batches_says_the_same(tmp_path: Path) -> None:
    """Also where the network forgets from the image on, and where it remembers what it need not compute."""
    data = sl.dataset("phantom:16?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    found = cases(data, data.findings, 16, 0)
    finding = max(data.findings, key=[case.finding for case in found].count)
    some = tuple(case for case in found if case.finding == finding)
    assert len(some) > 2
    tables = []
    for number, asked in enumerate([Asked(data.findings), Asked((finding,), batch=2)]):
        run = Run.start(tmp_path / str(number), "trust", {})
        c = Comparison(run, model, ("grad-cam", "gradient"), some, (CORRECTED,), asked, preferred=True)
        run.join_parts("similarity", forget(c, blocks(model)[:2], ("top-down", "bottom-up")), "similarity")
        tables.append(run.table("similarity", SCHEMA.names))
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
    data = sl.dataset("phantom:30?size=64")
    some = cases(data, data.findings, 20, 0)
    for case in some:
        other = another(case, some, 0)
        if other is None:
            assert len({c.radiograph.patient for c in some if c.finding == case.finding}) == 1
            continue
        assert other.finding == case.finding
        assert other.radiograph.patient != case.radiograph.patient
        assert other == another(case, some[::1], 0)
