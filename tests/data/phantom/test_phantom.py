"""The phantom: reproducible alone, honest masks, true counterfactuals, shortcuts, readers with stated error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.data import open_dataset
from sightline.data.gaze import ALL_GAZE
from sightline.data.phantom import loader
from sightline.data.phantom.body import smooth_curve
from sightline.data.phantom.loader import GAZE_READERS, REFERENCE_READER, REGIONS
from sightline.data.phantom.render import render_image, render_masks
from sightline.data.phantom.scene import OPACITIES, Scene, make_scene, patient_and_visit
from sightline.data.phantom.simulated_readers import DEFAULT_READER, FIRST_READER, place_points, reader_names
from sightline.data.writers import write_dataset
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS

LARGE = open_dataset("phantom:60?size=256")


def indices_with(finding: str, count: int = 400) -> list[int]:
    return [i for i in range(count) if finding in make_scene(0, i).findings]


def test_any_image_is_made_alone_whatever_was_made_before() -> None:
    whole = open_dataset("phantom:20?size=96")
    tail = open_dataset("phantom:4?size=96&start=16")
    for place in (19, 17):
        first, second = whole.radiographs[place], tail.radiographs[place - 16]
        assert first == second
        render_image.cache_clear()
        assert (first.read() == second.read()).all()
    assert open_dataset("phantom:1?size=96&seed=1").radiographs[0].size != whole.radiographs[0].size  # another patient


def test_opening_makes_no_scene_however_many_radiographs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def count_scene(seed: int, index: int) -> Scene:
        made.append(index)
        return make_scene(seed, index)

    monkeypatch.setattr(loader, "make_scene", count_scene)
    data = open_dataset("phantom:100000?size=96")
    assert len(data.radiographs) == 100_000 and not made
    assert data.radiographs[99_999].read().shape[1] == 96
    assert set(made) == {99_999}  # and no other


@pytest.mark.parametrize("finding", CHEXLOCALIZE_FINDINGS)
def test_the_same_scene_at_two_sizes(finding: str) -> None:
    index = indices_with(finding)[1]
    small, large = (render_masks(make_scene(0, index), width)[finding] for width in (160, 480))
    shrunk = cv2.resize(large.astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    overlap = (shrunk & small).sum() / (shrunk | small).sum()
    thin = {"Support Devices": 0.45, "Atelectasis": 0.65}  # lines and bands are drawn in whole pixels
    assert overlap > thin.get(finding, 0.8)


@pytest.mark.parametrize("finding", CHEXLOCALIZE_FINDINGS)
def test_a_counterfactual_differs_where_the_finding_lies(finding: str) -> None:
    """Half of the change, or more, lies within the footprint and its near surroundings; noise and tone are the same."""
    phantom = LARGE.metadata["phantom"]
    shares = []
    for index in indices_with(finding)[:6]:
        image, without = phantom.image(index), phantom.counterfactual(index, finding)
        assert finding not in phantom.scene(index).without_finding(finding).findings
        mask = phantom.annotation(f"phantom{index:06d}", finding, REFERENCE_READER).read()
        near = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
        change = np.abs(image - without)
        shares.append(change[near].sum() / max(change.sum(), 1e-9))
        assert change[mask].mean() > 3 * change[~near].mean()
        assert change.max() > 0.02
    assert np.mean(shares) > 0.6


def test_masks_are_there_exactly_where_labels_are() -> None:
    empty = 0
    for radiograph in LARGE.radiographs[:40]:
        for finding in CHEXLOCALIZE_FINDINGS:
            mark = LARGE.annotation(radiograph.id, finding, REFERENCE_READER)
            assert (mark is not None) == (radiograph.labels[finding] == 1)
            if mark is not None:
                mask = mark.read()
                assert mask.shape == radiograph.size
                empty += not mask.any()
                assert mask.mean() < 0.5
    assert empty <= 1


def test_masks_need_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for far more often than images: marks, gaze and reports need nothing else."""
    monkeypatch.setattr("sightline.data.phantom.render._expose", lambda *_: pytest.fail("an image was rendered"))
    data = open_dataset("phantom:3?size=96&seed=77&shortcut=drain:Pneumothorax&correlation=1")
    for radiograph in data.radiographs:
        assert data.reports is not None and data.reports(radiograph.id) is not None
        for finding in (*data.findings, "Heart", "Shortcut", ALL_GAZE):
            for reader in (*data.readers, *GAZE_READERS):
                mark = data.annotation(radiograph.id, finding, reader)
                assert mark is None or mark.read() is not None


@pytest.mark.parametrize("closed", [True, False])
def test_curves_are_corners_cut_three_times(closed: bool) -> None:
    corners = [(0.1, 0.2), (0.9, 0.1), (0.8, 0.7), (0.3, 0.9)]
    curve = corners
    for _ in range(3):
        pairs = list(zip(curve, [*curve[1:], curve[0]], strict=True))[: None if closed else -1]
        cut = [(w * ax + (1 - w) * bx, w * ay + (1 - w) * by) for (ax, ay), (bx, by) in pairs for w in (0.75, 0.25)]
        curve = cut if closed else [curve[0], *cut, curve[-1]]
    assert np.allclose(smooth_curve(corners, closed=closed), curve, rtol=0, atol=1e-15)


def test_parents_contain_their_children() -> None:
    for index in range(60):
        scene = make_scene(0, index)
        laid = render_masks(scene, 96)
        for child in OPACITIES & scene.findings:
            assert not (laid[child] & ~laid["Lung Opacity"]).any()
        if "Cardiomegaly" in scene.findings:
            assert not (laid["Cardiomegaly"] & ~laid["Enlarged Cardiomediastinum"]).any()


def test_regions_lie_where_they_should() -> None:
    for radiograph in LARGE.radiographs[:6]:
        masks = {r: LARGE.annotation(radiograph.id, r, REFERENCE_READER).read() for r in REGIONS}
        right, left = (np.argwhere(masks[side])[:, 1].mean() for side in ("Right Lung", "Left Lung"))
        assert right < np.argwhere(masks["Mediastinum"])[:, 1].mean() < left  # the patient's right is on our left
        assert not (masks["Heart"] & ~masks["Mediastinum"]).any()
        assert np.argwhere(masks["Aortic Knob"])[:, 1].mean() > np.argwhere(masks["Mediastinum"])[:, 1].min()


def test_findings_vary_in_size_and_are_common_enough() -> None:
    for finding in CHEXLOCALIZE_FINDINGS:
        indices = indices_with(finding, 400)
        assert 0.08 < len(indices) / 400 < 0.65, finding
    areas = [
        render_masks(make_scene(0, i), 96)["Pleural Effusion"].mean() for i in indices_with("Pleural Effusion")[:25]
    ]
    assert max(areas) > 3 * min(areas)


def test_a_quarter_of_the_patients_have_two_films_and_none_is_in_two_splits() -> None:
    data = open_dataset("phantom:600?size=64")
    splits_by_patient: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for radiograph in data.radiographs:
        splits_by_patient.setdefault(radiograph.patient, set()).add(radiograph.split)
        counts[radiograph.patient] = counts.get(radiograph.patient, 0) + 1
    assert all(len(splits) == 1 for splits in splits_by_patient.values())
    assert np.mean([c == 2 for c in counts.values()]) == pytest.approx(1 / 3, abs=0.02)
    only = open_dataset("phantom:600?size=64&split=test").radiographs
    assert {r.split for r in only} == {"test"}
    assert [patient_and_visit(i) for i in (0, 1, 2, 4)] == [(0, 0), (0, 1), (1, 0), (3, 0)]


@pytest.mark.parametrize("spec", ["marker:Cardiomegaly", "text:Edema", "drain:Pneumothorax"])
def test_shortcuts_agree_with_the_label_as_often_as_asked_and_lie_apart(spec: str) -> None:
    finding = spec.partition(":")[2]
    data = open_dataset(f"phantom:300?size=128&shortcut={spec}&correlation=0.9")
    agree = [(r.metadata["artifact"] != "") == (r.labels[finding] == 1) for r in data.radiographs]
    assert np.mean(agree) == pytest.approx(0.9, abs=0.05)
    radiograph = next(r for r in data.radiographs if r.metadata["artifact"] and r.labels[finding])
    artifact, mark = (data.annotation(radiograph.id, name, REFERENCE_READER).read() for name in ("Shortcut", finding))
    assert artifact.any()
    assert (artifact & mark).sum() < 0.05 * artifact.sum()
    plain = open_dataset("phantom:300?size=128").metadata["phantom"].image(int(radiograph.id[-6:]))
    assert (
        np.abs(radiograph.read() - plain)[~cv2.dilate(artifact.astype(np.uint8), np.ones((9, 9))).astype(bool)].max()
        < 0.02
    )


def test_simulated_readers_err_as_much_as_people_do() -> None:
    overlaps, hits, missed, count = [], [], 0, 0
    for radiograph in LARGE.radiographs:
        for finding in CHEXLOCALIZE_FINDINGS:
            truth = LARGE.annotation(radiograph.id, finding, REFERENCE_READER)
            if truth is None or not truth.read().any():
                continue
            count += 1
            drawn, pointed = (LARGE.annotation(radiograph.id, finding, reader) for reader in reader_names(1))
            assert (drawn is None) == (pointed is None)
            if drawn is None or pointed is None:
                missed += 1
                continue
            mask, other = truth.read(), drawn.read()
            overlaps.append((mask & other).sum() / (mask | other).sum())
            row, col = pointed.read()[0].astype(int)
            hits.append(bool(mask[row, col]))
    assert 0.6 < np.mean(overlaps) < 0.88
    assert np.mean(hits) > 0.85
    assert 0.01 < missed / count < 0.12


def test_simulated_readers_sometimes_place_two_or_three_points() -> None:
    """The first point is the one that was always drawn, whatever the number of points after it."""
    counts, inside = [], []
    for index in range(400):
        mask = np.zeros((100, 80), bool)
        mask[20:70, 10:60] = True
        points = place_points(DEFAULT_READER, mask, (0, 8, index, 3))
        first = place_points(replace(DEFAULT_READER, further_points=0), mask, (0, 8, index, 3))
        assert first.shape == (1, 2) and (points[:1] == first).all()
        rows, cols = points.astype(int).T
        assert ((points >= 0) & (points < mask.shape)).all()
        counts.append(len(points))
        inside += list(mask[rows[1:], cols[1:]])
    shares = np.bincount(counts, minlength=4)[1:] / len(counts)
    np.testing.assert_allclose(shares, [0.7, 0.21, 0.09], atol=0.06)
    assert 0.8 < np.mean(inside) < 1, "some of the further points miss"


@pytest.mark.parametrize(
    "spec",
    [
        "phantom:none",
        "phantom:0",
        "phantom:9?size=8",
        "phantom:9?split=dev",
        "phantom:4?split=test",
        "phantom:9?shortcut=sticker:Edema",
        "phantom:9?shortcut=marker:Hernia",
        "phantom:9?shortcut=marker:Edema&correlation=2",
    ],
)
def test_what_cannot_be_is_told(spec: str) -> None:
    with pytest.raises(DataError, match=r"give|allowed"):
        open_dataset(spec)


def test_written_as_chexlocalize_and_read_again(tmp_path: Path) -> None:
    data = open_dataset("phantom:6?size=96&split=test")
    write_dataset(data, "chexlocalize", tmp_path / "out", progress=False)
    again = open_dataset(f"chexlocalize:{tmp_path / 'out'}?split=test")
    assert len(again.radiographs) == len(data.radiographs)
    compared = 0
    for rendered, written in zip(data.radiographs, again.radiographs, strict=True):
        assert written.size == rendered.size
        assert np.abs(written.read() - rendered.read()).mean() < 0.01  # JPEG
        for finding in CHEXLOCALIZE_FINDINGS:
            assert written.labels[finding] == rendered.labels[finding]
            mark, back = (
                data.annotation(rendered.id, finding, REFERENCE_READER),
                again.annotation(written.id, finding, again.reference_reader),
            )
            assert (mark is None or not mark.read().any()) == (back is None)
            if mark is not None and back is not None:
                assert (mark.read() == back.read()).all()
                compared += 1
            drawn, copy = (
                data.annotation(rendered.id, finding, FIRST_READER),
                again.annotation(written.id, finding, again.readers[1]),
            )
            if drawn is not None:
                assert copy is not None
                assert (drawn.read() == copy.read()).all()
    assert compared > 0
