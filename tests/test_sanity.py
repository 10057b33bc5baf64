"""Comparisons of maps while a network forgets: how often it is drawn, how smooth maps are, and entropy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.casework import another, cases
from sightline.models.randomize import blocks
from sightline.protocol import CORRECTED
from sightline.sanity import SCHEMA, Comparison, entropy, forget
from sightline.store import Run


def forgotten(folder: Path, draws: int = 1, smooth: int = 0) -> pd.DataFrame:
    data = sl.dataset("phantom:5?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    some = tuple(cases(data, data.findings, 3, 0))
    run = Run.start(folder, "trust", {})
    c = Comparison(run, model, ("grad-cam", "gradient"), some, (CORRECTED,), 0, "logit", smooth)
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
    assert len(plain) == len(smooth)
    assert (plain["value"] != smooth["value"]).mean() > 0.5


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
