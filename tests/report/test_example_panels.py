import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sightline.core import Frame, SaliencyMap
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.protocol import CORRECTED
from sightline.report.example_panels import _color_by_map, _outside_frame_path, draw_panels
from sightline.report.example_selection import (
    GOOD_OVERLAP,
    NO_DISAGREEMENT,
    POOR_OVERLAP,
    choose_disagreements,
    choose_examples,
)
from sightline.report.image_grid import GridCell, GridRow, ImageGrid, map_cell, pick_median_cases, scale_evidence
from sightline.report.overlays import outline_path, to_rgb
from sightline.report.page import build_sections
from sightline.report.run_view import RunView


@pytest.fixture(scope="module")
def view(make_run):
    return RunView.from_run(make_run())


def test_choice_is_the_rule(view):
    chosen = choose_examples(view)
    assert [e.category for e in chosen] == ["best"] * 3 + ["typical"] * 3 + ["worst"] * 3
    assert len({e.patient for e in chosen}) == 9
    for case in ("best", "typical", "worst"):
        assert len({e.finding for e in chosen if e.category == case}) == 3
    scores = view.scores("iou").query("source == @view.best and status == 'ok'")
    assert chosen[0].value == scores["value"].max()
    best, typical, worst = ([e.value for e in chosen if e.category == c] for c in ("best", "typical", "worst"))
    assert sum(best) > sum(typical) > sum(worst)


def test_overlapping_well_is_an_overlap_that_deserves_the_name(make_run):
    run = make_run(fresh=True)
    table = run.table("scores")
    view = RunView.from_run(run)
    assert all(
        e.hit == 1 and e.value < POOR_OVERLAP if e.category == "hit" else e.value >= GOOD_OVERLAP
        for e in choose_disagreements(view)
    )
    here = (table["source"] == view.best) & (table["status"] == "ok")
    table.loc[here & (table["metric"] == "pointing-game"), "value"] = 0.0
    table.loc[here & (table["metric"] == "iou"), "value"] = GOOD_OVERLAP - 0.01
    run.write_table("scores", table)
    assert choose_disagreements(RunView.from_run(run)) == []
    table.loc[here & (table["metric"] == "iou"), "value"] = GOOD_OVERLAP
    run.write_table("scores", table)
    chosen = choose_disagreements(RunView.from_run(run))
    assert [e.category for e in chosen] == ["overlap"] * 2
    shown = draw_panels(view, open_dataset(view.info["dataset"]["spec"]), run, [*choose_examples(view), *chosen])
    (block,) = [b for s in build_sections(view, {}, shown, []) for b in s.blocks if "overlap" in b.categories]
    assert NO_DISAGREEMENT["hit"] in block.paragraphs and NO_DISAGREEMENT["overlap"] not in block.paragraphs


def test_few_maps_are_shared_out_and_none_is_shown_twice(make_run):
    view = RunView.from_run(make_run(radiographs=2, findings=("Edema", "Cardiomegaly", "Lung Lesion")))
    there = view.scores("iou").query("source == @view.best and status == 'ok'")
    chosen = choose_examples(view)
    assert len(chosen) == len({(e.radiograph, e.finding) for e in chosen}) == len(there) > 4
    assert {e.category for e in chosen} == {"best", "typical", "worst"}
    assert chosen[0].value == there["value"].max()


def test_typical_is_near_the_median_of_its_finding(view):
    scores = view.scores("iou").query("source == @view.best and status == 'ok'")
    for example in (e for e in choose_examples(view) if e.category == "typical"):
        values = scores[scores["finding"] == example.finding]["value"]
        off = (values - values.median()).abs()
        assert abs(example.value - values.median()) <= off.quantile(0.6)


def test_pictures_hold_images_contours_and_the_unseen_margin(view):
    made = draw_panels(view, open_dataset(view.info["dataset"]["spec"]), view.run, choose_examples(view))
    assert len(made) == 9
    for panel in made:
        root = ET.fromstring(panel.svg)
        images = list(root.iter("{http://www.w3.org/2000/svg}image"))
        assert len(images) == 2
        assert all(i.attrib["href"].startswith("data:image/jpeg;base64,") for i in images)
        colors = [p.attrib.get("stroke") for p in root.iter("{http://www.w3.org/2000/svg}path")]
        assert {"#2ee6c5", "#ff9a3c", "#ffffff"} <= set(colors)
        assert re.search(r'fill="url\(#example-\d-hatch\)"', panel.svg), "the model saw a center crop"
        assert panel.example.finding in panel.alt_text and f"{panel.example.value:.2f}" in panel.caption


def test_a_map_that_is_gone_is_an_error(view):
    data = open_dataset(view.info["dataset"]["spec"])
    example = choose_examples(view)[0]
    with pytest.raises(DataError, match="no map"):
        draw_panels(view, data, _Empty(), [example])
    with pytest.raises(DataError, match="no longer contains"):
        draw_panels(view, open_dataset("world:2"), view.run, choose_examples(view))


class _Empty:
    sources: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  (as the protocol has it)

    def maps_for(self, radiograph: str) -> list[SaliencyMap]:
        return []


def test_contours_keep_holes_and_lie_on_the_mask():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    mask[40:60, 40:60] = False
    path = outline_path(mask, (200, 200))
    assert path.count("M") == path.count("Z") == 2
    numbers = np.array([float(v) for v in re.findall(r"[\d.]+", path)]).reshape(-1, 2)
    assert numbers.min() >= 38 and numbers.max() <= 160
    assert outline_path(np.zeros((9, 9), bool), (9, 9)) == ""


def test_unseen_margin_is_the_image_without_the_box():
    values = np.eye(4, dtype=np.float32)
    crop = SaliencyMap("a", "b", "c", values, Frame((100, 200), (0, 50, 100, 150)))
    assert _outside_frame_path(crop, (50, 100)) == "M0 0H100V50H0ZM25.0 0.0V50.0H75.0V0.0Z"
    assert _outside_frame_path(SaliencyMap("a", "b", "c", values, Frame.whole((100, 200))), (50, 100)) == ""
    padded = SaliencyMap("a", "b", "c", values, Frame((100, 200), (-50, 0, 150, 200)))
    assert _outside_frame_path(padded, (50, 100)) == ""


def test_overlay_is_brightest_in_color_where_the_map_is_highest_and_dim_where_unseen():
    values = np.zeros((8, 8), np.float32)
    values[2, 2] = 1
    image = np.full((80, 160), 0.5, np.float32)
    shown = _color_by_map(image, SaliencyMap("a", "b", "c", values, Frame((80, 160), (0, 40, 80, 120))), CORRECTED)
    color = shown.max(2) - shown.min(2)
    row, col = np.unravel_index(color.argmax(), color.shape)
    assert 20 <= row < 40 and 55 <= col < 80
    np.testing.assert_allclose(shown[:, :40], 0.275, atol=1e-6)
    np.testing.assert_allclose(shown[70, 100], 0.5, atol=1e-6)


def test_negative_evidence_is_not_painted():
    values = np.full((8, 8), -1, np.float32)
    values[0, 0] = 0.5
    image = np.full((80, 80), 0.5, np.float32)
    shown = _color_by_map(image, SaliencyMap("a", "b", "c", values, Frame.whole((80, 80))), CORRECTED)
    np.testing.assert_allclose(shown[40:, 40:], 0.5, atol=1e-6)


def test_the_median_cases_of_the_commonest_findings_are_picked():
    rows = [("Edema", f"r{i}", v) for i, v in enumerate((0.1, 0.9, 0.5, 0.4, 0.6))]
    rows += [("Mass", f"r{i}", v) for i, v in enumerate((0.2, 0.3, 0.8))] + [("Nodule", "r9", 1.0)]
    scores = pd.DataFrame(rows, columns=["finding", "radiograph", "value"])
    assert pick_median_cases(scores, 2) == [("Edema", "r2"), ("Mass", "r1")]
    assert pick_median_cases(scores, 1, 3) == [("Edema", "r3"), ("Edema", "r2"), ("Edema", "r4")]
    assert pick_median_cases(scores.iloc[:0], 2) == []


def test_a_grid_draws_titles_images_outlines_and_fixations(tmp_path):
    image, mask = np.full((40, 30), 0.5, np.float32), np.zeros((40, 30), bool)
    mask[10:20, 5:15] = True
    saliency_map = SaliencyMap("a", "Edema", "c", np.eye(8, dtype=np.float32), Frame.whole((40, 30)))
    first = GridCell(to_rgb(image), mask, path=np.array([[5.0, 5.0, 0.2], [20.0, 10.0, 1.0]]))
    rows = [
        GridRow("Enlarged Cardiomediastinum", "net", [first, map_cell(image, saliency_map, mask, "0.31")]),
        GridRow("", "other <net>", [None, map_cell(image, None)]),
    ]
    grid = ImageGrid(["Image", "Grad-CAM (nodes=3)"], rows)
    root = ET.fromstring(grid.to_svg())
    names = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert names == ["Image", "Grad-CAM", "Enlarged", "Cardiomediastinum", "net", "0.31", "other <net>"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 3
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 2
    assert grid.to_svg().count('stroke-width="1.2"') == 2
    with Image.open(grid.write_png(tmp_path / "grid.png", 60)) as picture:
        assert picture.size == (30 + 2 * 61, 7 + 2 * 80 + 2)


def test_evidence_is_scaled_by_its_positive_values():
    values = np.array([[-1.0, 0.0], [0.5, 1.0]])
    assert scale_evidence(values, (2, 2))[0].max() == 0 and scale_evidence(values, (2, 2))[1, 1] == 1
    assert not scale_evidence(np.full((4, 4), 0.7), (8, 8)).any()
    assert not scale_evidence(np.full((4, 4), -0.7), (8, 8)).any()
