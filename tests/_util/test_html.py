"""What a notebook shows: real pictures and numbers, everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sightline as sl
from sightline._util.files import encode_png
from sightline._util.html import Estimates, colorize
from sightline.core import Frame, SaliencyMap
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.maps.collections import InMemoryMaps
from sightline.protocol import CORRECTED
from sightline.runs.run import Run

NASTY = "<script>alert('x')</script>&\""


def picture(html: str) -> Image.Image:
    found = re.search(r"data:image/png;base64,([^\"]+)", html)
    assert found is not None
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_png_is_what_pillow_reads() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(rgb)))), rgb)


def test_colors_rise_and_part_at_zero() -> None:
    rising = colorize(np.linspace(0, 1, 9, dtype=np.float32)[None])[0].astype(int).sum(1)
    assert (np.diff(rising) > 0).all()
    around = colorize(np.float32([[-1, -0.5, 0, 0.25]]))[0].astype(int)
    assert around[0, 2] > around[0, 0] and around[3, 0] > around[3, 2]
    assert np.ptp(around[2]) < 5  # zero is gray, however far the signs reach
    assert colorize(np.zeros((2, 2), np.float32)).shape == (2, 2, 3)


def test_a_map_lies_in_its_frame() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    m = SaliencyMap("film1", "Edema", "net/cam", values, Frame((100, 200), (0.0, 50.0, 100.0, 150.0)), 0.25)
    html = m._repr_html_()
    np.testing.assert_array_equal(np.asarray(picture(html)), colorize(values))
    assert "left:55.0px;top:0.0px;width:110.0px;height:110.0px" in html
    assert "covers (0, 50, 100, 150) of the radiograph, 100 × 200" in html and "probability 0.250" in html
    assert "2 × 3, 0 to 5" in html


def test_a_fine_map_makes_a_small_picture() -> None:
    m = SaliencyMap(
        "a", "Edema", "net/ig", np.random.default_rng(0).random((3000, 2000), np.float32), Frame.whole((3000, 2000))
    )
    assert max(picture(m._repr_html_()).size) <= 440 and len(m._repr_html_()) < 600_000


@pytest.mark.parametrize("values", [np.zeros((0, 0), np.float32), np.full((2, 2), np.nan, np.float32)])
def test_a_map_that_failed_says_why(values: np.ndarray) -> None:
    m = SaliencyMap("a", "Edema", "net/cam", values, Frame.whole((4, 4)), status="unreadable", reason="it is torn")
    html = m._repr_html_()
    assert "unreadable: it is torn" in html and "<img" not in html


def test_nothing_reaches_the_page_unescaped(tmp_path: Path) -> None:
    m = SaliencyMap(NASTY, NASTY, NASTY, np.eye(2, dtype=np.float32), Frame.whole((4, 4)), status="flat", reason=NASTY)
    row = {
        "protocol": NASTY,
        "source": NASTY,
        "metric": NASTY,
        "finding": "average",
        "mean": 0.5,
        "low": 0.1,
        "high": 0.9,
        "n": 3,
    }
    run = Run.start(tmp_path / "a'b", "localization", {}).update_info(title=NASTY)
    run.write_table("estimates", pd.DataFrame([row]))
    for html in (m._repr_html_(), Estimates(pd.DataFrame([row]))._repr_html_(), run._repr_html_()):
        assert "<script" not in html and "&lt;script&gt;" in html
        assert not re.findall(r"""(?:src|href)=["'](?!data:|file:)""", html)  # nothing is fetched


def test_a_run_shows_its_headline(tmp_path: Path, toy_data: sl.Dataset, toy_maps: list[SaliencyMap]) -> None:
    run = Run.start(tmp_path / "run", "score", {}).update_info(
        title="Maps of net", dataset={"title": "Toy", "radiographs": 12, "patients": 6}
    )
    assert "Maps of net" in run._repr_html_() and "<table" not in run._repr_html_()
    held = InMemoryMaps.from_maps(toy_maps)
    score_run(run, held, toy_data, ScoringOptions((CORRECTED,), toy_data.findings, ("iou", "pointing-game")))
    (run.path / "report.html").write_text("x")
    html = run._repr_html_()
    row = run.table("estimates").query("metric == 'iou' and finding == 'average'").iloc[0]
    assert f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}] {row['n']}" in html
    assert (
        "radiographs: 12, patients: 6" in html
        and "mean over findings" in html
        and (run.path / "report.html").as_uri() in html
    )
    assert f"sightline view {run.path}" in html
    edema = Estimates(run.table("estimates"), finding="Edema", metrics=("pointing-game",))._repr_html_()
    assert "<th" in edema and "iou" not in edema and "Edema, mean" in edema
    assert sl.Estimates is Estimates
