"""Candidates of maps: the highest places apart from each other, and the pieces of marks they hit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.core import Frame, SaliencyMap
from sightline.evaluation.froc_candidates import (
    MAX_CANDIDATES,
    MIN_DISTANCE,
    NO_PIECE,
    find_candidates,
    label_pieces,
    write_candidates,
)
from sightline.maps.collections import InMemoryMaps
from sightline.runs.run import Run


def test_peaks_come_highest_first_and_apart() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    found = find_candidates(values)
    assert len(found) == MAX_CANDIDATES and [s for s, *_ in found] == sorted((s for s, *_ in found), reverse=True)
    places = np.array([(r, c) for _, r, c in found])
    gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert gaps[~np.eye(len(found), dtype=bool)].min() > MIN_DISTANCE
    assert found[0][0] == pytest.approx(float(values.max()))


def test_a_plateau_is_one_place_in_its_middle() -> None:
    values = np.zeros((20, 20), np.float32)
    values[4:9, 10:15] = 3
    assert find_candidates(values) == [(3.0, pytest.approx(6.5 / 20), pytest.approx(12.5 / 20))]


@pytest.mark.parametrize("values", [np.ones((8, 8), np.float32), np.full((8, 8), np.nan, np.float32)])
def test_maps_that_point_nowhere_have_none(values: np.ndarray) -> None:
    assert find_candidates(values) == []


def test_candidates_hit_the_pieces_they_lie_in_whatever_the_frame(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:12?size=96")
    maps, finding = [], "Pleural Effusion"
    for r in data.radiographs:
        marked = label_pieces(data, r.id, finding)
        size = r.size or (1, 1)
        if marked is None:
            values, frame = np.eye(5, dtype=np.float32), Frame.whole(size)
        else:  # a crop that holds the mark: its own mask as map
            top, left = 4, 3
            frame = Frame(size, (top, left, size[0], size[1]))
            values = (marked[0][top:, left:] > 0).astype(np.float32)
        maps.append(SaliencyMap(r.id, finding, "net/intrinsic", values, frame))
    run = Run.start(tmp_path / "run", "x", {})
    write_candidates(run, InMemoryMaps.from_maps(maps), data, ["net/intrinsic"], [finding])
    table = run.table("froc_candidates")
    positive = table[table["n_pieces"] > 0]
    assert len(positive) and (positive[positive["score"] == 1]["piece"] > 0).mean() > 0.9
    absent = {r.id for r in data.radiographs if r.labels.get(finding) == 0}
    assert set(table[table["n_pieces"] == 0]["radiograph"]) <= absent
    assert (table[table["n_pieces"] == 0]["piece"] == NO_PIECE).all()


def test_a_failed_map_keeps_its_film(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:12?size=96")
    r = next(r for r in data.radiographs if label_pieces(data, r.id, "Pleural Effusion"))
    whole = Frame.whole(r.size or (1, 1))
    bad = SaliencyMap(r.id, "Pleural Effusion", "net/intrinsic", np.zeros((0, 0), np.float32), whole, status="refused")
    run = Run.start(tmp_path / "run", "x", {})
    write_candidates(
        run, InMemoryMaps.from_maps([bad]), replace(data, radiographs=(r,)), ["net/intrinsic"], ["Pleural Effusion"]
    )
    row = run.table("froc_candidates").iloc[0]
    assert pd.isna(row["score"]) and row["n_pieces"] >= 1 and row["piece"] == NO_PIECE
