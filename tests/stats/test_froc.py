"""FROC curves against a plain loop, and what must come out at the ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.evaluation.froc_candidates import NO_PIECE, Candidate
from sightline.stats.froc import FALSE_POSITIVE_RATES, MEAN_OVER_RATES, froc


def table(seed: int = 0, films: int = 30, normal: int = 10) -> pd.DataFrame:
    rng, rows = np.random.default_rng(seed), list[Candidate]()
    for i in range(films + normal):
        pieces = int(rng.integers(1, 4)) if i < films else 0
        for _ in range(int(rng.integers(1, 6))):
            piece = int(rng.integers(1, pieces + 1)) if pieces and rng.random() < 0.5 else NO_PIECE
            score = round(float(rng.normal(1.0 * (piece > 0))), 1)  # ties
            rows.append(Candidate("net/intrinsic", f"film{i}", f"person{i // 2}", "Nodule", pieces, score, piece))
    rows.append(Candidate("net/intrinsic", "empty", "person99", "Nodule", 2, float("nan"), NO_PIECE))
    return pd.DataFrame(rows)


def slow(some: pd.DataFrame, rate: float) -> float:
    """The best share found at any threshold that allows so many false candidates a film."""
    films = some.groupby("radiograph")["n_pieces"].first()
    best = 0.0
    for threshold in [*sorted(some["score"].dropna().unique()), np.inf]:
        called = some[some["score"] >= threshold]
        false = (called["piece"] == NO_PIECE).sum() / len(films)
        hit = called[called["piece"] > 0].drop_duplicates(["radiograph", "piece"])
        if false <= rate + 1e-12:
            best = max(best, len(hit) / films.sum())
    return best


def test_curves_are_those_of_a_plain_loop() -> None:
    some = table()
    found = froc(some)
    for films, part in (("annotated", some[some["n_pieces"] > 0]), ("all", some)):
        rows = found[found["radiographs"] == films].set_index("rate")["mean"]
        wanted = [slow(part, r) for r in FALSE_POSITIVE_RATES]
        assert [rows[f"{r:g}"] for r in FALSE_POSITIVE_RATES] == pytest.approx(wanted)
        assert rows[MEAN_OVER_RATES] == pytest.approx(np.mean(wanted))


def test_intervals_hold_the_mean_and_counts_are_told() -> None:
    found = froc(table())
    assert ((found["low"] <= found["mean"]) & (found["mean"] <= found["high"])).all()
    marked = found[found["radiographs"] == "annotated"].iloc[0]
    assert marked["n_radiographs"] == 31 and marked["n"] == table().drop_duplicates("radiograph")["n_pieces"].sum()


def test_a_perfect_map_finds_everything_and_a_silent_one_nothing() -> None:
    head = ("Nodule", 1)
    perfect = [Candidate("a/intrinsic", f"f{i}", f"p{i}", *head, 1.0, 1) for i in range(5)]
    silent = [Candidate("b/intrinsic", f"f{i}", f"p{i}", *head, float("nan"), NO_PIECE) for i in range(5)]
    found = froc(pd.DataFrame([*perfect, *silent])).groupby("source")["mean"].agg(["min", "max"])
    assert found.loc["a/intrinsic"].tolist() == [1, 1] and found.loc["b/intrinsic"].tolist() == [0, 0]


def test_sources_without_maps_of_normal_films_have_no_curve_over_all() -> None:
    prior = table(normal=0).assign(source="control/average-mask")
    found = froc(pd.concat([table(), prior]))
    assert set(found[found["radiographs"] == "all"]["source"]) == {"net/intrinsic"}
    assert set(found[found["radiographs"] == "annotated"]["source"]) == {"net/intrinsic", "control/average-mask"}
