"""Agreement of readers, against slow definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline._cli.app import main
from sightline.data.reader_study.annotations import CompletedReading, completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.imaging.masks import rasterize_annotation
from sightline.stats.icc import icc
from sightline.web.reader_study.agreement import measure_agreement, reading_times


def slow_icc(x: np.ndarray) -> float:
    """Two-way analysis of variance, cell by cell."""
    n, k = x.shape
    grand = x.mean()
    ms_cases = k * sum((x[i].mean() - grand) ** 2 for i in range(n)) / (n - 1)
    ms_raters = n * sum((x[:, j].mean() - grand) ** 2 for j in range(k)) / (k - 1)
    left = sum((x[i, j] - x[i].mean() - x[:, j].mean() + grand) ** 2 for i in range(n) for j in range(k))
    ms_error = left / ((n - 1) * (k - 1))
    return (ms_cases - ms_error) / (ms_cases + (k - 1) * ms_error + k * (ms_raters - ms_error) / n)


@given(st.integers(2, 8), st.integers(2, 4), st.integers(0, 99))
def test_icc_and_its_resamples(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1)) + rng.normal(size=(n, k)) * rng.choice([0.1, 2])
    drawn = rng.integers(0, n, n)
    w = np.stack([np.ones(n), np.bincount(drawn, minlength=n)])
    found = icc(x, w)
    assert found[0] == pytest.approx(slow_icc(x))
    if len(set(drawn)) > 1:
        assert found[1] == pytest.approx(slow_icc(x[drawn]))


def test_icc_where_nothing_can_be_said() -> None:
    assert np.isnan(icc(np.ones((3, 2)), np.ones((1, 3)))).all()
    assert np.isnan(icc(np.arange(6.0).reshape(3, 2), np.array([[0, 1, 0]]))).all()


@pytest.fixture(scope="module")
def said(finished: StudyDatabase) -> list[CompletedReading]:
    return list(completed_readings(finished))


def test_overlap_of_two_readers(said: list[CompletedReading]) -> None:
    found = measure_agreement(said)
    row = found[(found["measure"] == "iou") & (found["kind"] == "between")].iloc[0]
    by = {
        (r.reader, r.case.radiograph, r.case.finding): r for r in said if r.case.task == "contour" and r.occasion == 0
    }
    values = []
    for (reader, *case), one in by.items():
        other = by["Dr B", case[0], case[1]]
        if reader != "Dr A" or not (one.has_annotation or other.has_annotation):
            continue
        a, b = (
            np.zeros((one.case.height, one.case.width), bool)
            if (m := r.to_annotation()) is None
            else rasterize_annotation(m)
            for r in (one, other)
        )
        values.append((a & b).sum() / (a | b).sum())
    assert row["value"] == pytest.approx(np.mean(values)) and row["n"] == len(values)
    assert row["low"] < row["value"] < row["high"] and 0 in values, "what one missed overlaps by 0"
    assert row["patients"] <= 10


def test_a_reader_who_repeats_himself_agrees_with_himself(said: list[CompletedReading]) -> None:
    found = measure_agreement(said)
    within = found[found["kind"] == "within"]
    assert set(within["reader"]) == {"Dr A", "Dr B"}
    assert within[within["measure"] == "iou"]["value"].eq(1).all()
    assert within[within["measure"] == "distance"]["value"].eq(0).all()
    assert (within[within["measure"] == "icc area"]["value"].dropna() > 0.999).all()


def test_presence_and_hits(said: list[CompletedReading]) -> None:
    found = measure_agreement(said).set_index(["kind", "measure", "reader"])
    presence = found.loc[("between", "presence, contour", "Dr A")]
    first = [r for r in said if r.case.task == "contour" and r.occasion == 0]
    a, b = (
        {(r.case.radiograph, r.case.finding): r.has_annotation for r in first if r.reader == name}
        for name in ("Dr A", "Dr B")
    )
    both = np.array([(a[case], b[case]) for case in a])
    seen, chance = (
        (both[:, 0] == both[:, 1]).mean(),
        sum((both[:, 0] == v).mean() * (both[:, 1] == v).mean() for v in (0, 1)),
    )
    assert presence["value"] == pytest.approx((seen - chance) / (1 - chance)) and presence["n"] == len(both)
    assert 0 < found.loc[("between", "pointing-game", "Dr B")]["value"] <= 1


def test_times(said: list[CompletedReading]) -> None:
    table = reading_times(said).set_index(["reader", "task"])
    assert table.loc[("Dr A", "contour"), "seconds"] == 10 and table.loc[("Dr B", "point"), "median"] == 12


def test_the_report(finished: StudyDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readers", "report", finished.location, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for words in ("Against the reference", "Between readers", "Within readers", "Time per case", "report.html"):
        assert words in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "IoU" in page and "<script" not in page
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"benchmark.csv", "between.csv", "within.csv", "times.csv"}
    assert "reader/all readers," in (tmp_path / "out" / "benchmark.csv").read_text()  # their mean
