"""The files of the public scripts, against a plain re-implementation of what those scripts compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from references import chexlocalize_scripts as scripts
from sightline._cli.score import score_maps
from sightline.data import open_dataset
from sightline.data.writers import write_dataset
from sightline.errors import DataError
from sightline.evaluation.chexlocalize_csv import TASKS
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.formats import safe_pickle

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "chexlocalize"
real = pytest.mark.skipif(not SAMPLE.exists(), reason="the CheXlocalize sample is not here")
CUTOFFS = {"Edema": 0.4, "Cardiomegaly": 0.6}


def heat(rng: np.random.Generator, truth: np.ndarray | None, kind: str) -> np.ndarray:
    """A map of 32 × 32 with one of the quirks that the scripts treat in their own way."""
    values = cv2.resize(rng.random((6, 6)).astype(np.float32), (32, 32), interpolation=cv2.INTER_LINEAR)
    if truth is not None:
        values += 2 * rng.random() * cv2.resize(truth.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    if kind == "ring":
        rows, cols = np.mgrid[:32, :32]
        values += 3 * (np.abs(np.hypot(rows - 16, cols - 15) - 8) < 2)
    elif kind == "ties":
        values = np.minimum(values, 0.6 * values.max())
    elif kind == "dots":
        values = np.where(rng.random((32, 32)) < 0.01, 3, 0.1 * values)
    elif kind == "constant":
        values[:] = 0.25
    elif kind == "nan":
        values[0, 0] = np.nan
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, scripts.Maps, dict[str, dict]]:
    """Our files for a phantom on disk with difficult maps, the same maps for the scripts, and the annotation files."""
    folder = tmp_path_factory.mktemp("legacy")
    write_dataset(open_dataset("phantom:150?size=72&split=test&seed=3"), "chexlocalize", folder / "data")
    data = open_dataset(f"chexlocalize:{folder / 'data'}")
    kinds = ["plain", "plain", "ring", "ties", "dots", "constant", "nan", "missing"]
    rng, maps, arrays = np.random.default_rng(0), {}, {}
    for number, radiograph in enumerate(data.radiographs):
        for column, finding in enumerate(data.findings):
            kind = kinds[(number + 3 * column) % len(kinds)]
            task = {"Lung Opacity": "Airspace Opacity"}.get(finding, finding)
            if kind == "missing" or number == 5:
                continue
            mark = data.annotation(radiograph.id, finding, data.reference_reader)
            values = heat(rng, None if mark is None else rasterize_annotation(mark), kind)
            probability = float(np.clip(rng.normal(0.6 if mark else 0.4, 0.2), 0.01, 0.99))
            maps[radiograph.id, task] = scripts.HeatMap(values, probability, radiograph.size or radiograph.read().shape)
            arrays[f"{radiograph.id}_{task}_map"] = (values, probability)
    _write_maps(folder / "maps", arrays, maps)
    cutoffs = folder / "cutoffs.csv"
    pd.DataFrame({"prob_threshold": CUTOFFS.values(), "mIoU": 0.1, "task": CUTOFFS.keys()}).to_csv(cutoffs, index=False)
    score_maps(
        folder / "maps",
        data=data.spec,
        out=folder / "run",
        protocol="published",
        controls=(),
        metrics=("iou", "pointing-game", *(f"iou@above:0.{d}" for d in range(2, 9))),
        probability_cutoffs=str(cutoffs),
        chexlocalize_csv=folder / "files",
    )
    names = ("gt_annotations_test", "gt_segmentations_test", "hb_segmentations_test", "hb_salient_pt_test")
    annotations = {n: scripts.read(folder / "data" / "CheXlocalize" / f"{n}.json") for n in names}
    (made,) = (folder / "files").iterdir()
    return made, maps, annotations


def _write_maps(folder: Path, arrays: dict, maps: scripts.Maps) -> None:
    import pickle

    import torch

    folder.mkdir()
    for (name, (values, probability)), m in zip(arrays.items(), maps.values(), strict=True):
        task = name.split("_")[-2]
        content = {
            "map": torch.from_numpy(values)[None, None],
            "prob": probability,
            "task": task,
            "gt": 0,
            "cxr_img": torch.zeros(3, 8, 8),
            "cxr_dims": m.size[::-1],
        }
        with (folder / f"{name}.pkl").open("wb") as file:
            pickle.dump(content, file, protocol=3)


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv")


def same(ours: pd.DataFrame, theirs: pd.DataFrame, tolerance: float = 1e-9) -> None:
    assert list(ours.columns) == list(theirs.columns)
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, atol=tolerance, rtol=tolerance)


@pytest.fixture(scope="module")
def results(both) -> dict[str, pd.DataFrame]:
    _, maps, files = both
    gt, points = files["gt_segmentations_test"], files["hb_salient_pt_test"]
    human = {
        i: {t: scripts.decode(item) for t, item in tasks.items()} for i, tasks in files["hb_segmentations_test"].items()
    }
    return {
        "iou": scripts.ious(gt, scripts.segmentations(maps, CUTOFFS)),
        "iou_humanbenchmark": scripts.ious(gt, human),
        "hitmiss": scripts.hits(gt, maps),
        "hitmiss_humanbenchmark": scripts.human_hits(gt, points),
    }


@pytest.mark.parametrize("name", ["iou_humanbenchmark", "hitmiss_humanbenchmark"])
def test_results_per_cxr(name, both, results):
    same(table(both[0], f"{name}_results_per_cxr"), results[name])


def test_segmentations_are_bit_equal(both):
    ours = json.loads((both[0] / "saliency_segmentations.json").read_text())
    theirs = scripts.segmentations(both[1], CUTOFFS)
    assert list(ours) == sorted(theirs)
    for image, tasks in theirs.items():
        for task, mask in tasks.items():
            assert (scripts.decode(ours[image][task]) == mask).all(), (image, task)


def test_overlap_on_marked_radiographs(both, results):
    same(table(both[0], "iou_results_per_cxr"), results["iou"])


def test_overlap_on_all_radiographs(both):
    _, maps, files = both
    theirs = scripts.ious(files["gt_segmentations_test"], scripts.segmentations(maps, CUTOFFS), true_pos_only=False)
    ours = table(both[0], "iou_full_results_per_cxr")
    same(ours[ours["img_id"].isin(theirs["img_id"])].reset_index(drop=True), theirs)


def test_hits(both, results):
    same(table(both[0], "hitmiss_results_per_cxr"), results["hitmiss"])


@pytest.fixture(scope="module")
def draws_of(results) -> dict[str, pd.DataFrame]:
    return {name: scripts.bootstrap(scores, seed=0) for name, scores in results.items()}


@pytest.mark.parametrize("name", ["iou", "iou_humanbenchmark", "hitmiss", "hitmiss_humanbenchmark"])
def test_bootstrap_and_summary(name, both, draws_of):
    draws = draws_of[name]
    same(table(both[0], f"{name}_bootstrap_results_per_cxr"), draws)
    same(table(both[0], f"{name}_summary_results"), scripts.summary(draws), 1e-6)


@pytest.mark.parametrize(("file", "kind"), [("miou", "iou"), ("hitrate", "hitmiss")])
def test_percentage_decrease(file, kind, both, draws_of):
    human, pred = (draws_of[f"{kind}{end}"] for end in ("_humanbenchmark", ""))
    ours = pd.read_csv(both[0] / f"{file}_pct_decrease.csv", index_col=0)
    theirs = scripts.percentage_decrease(human, pred)
    assert list(ours.columns) == list(theirs.columns)
    assert ours.index[-1] == "Average"
    pd.testing.assert_frame_equal(ours.sort_index(), theirs.sort_index(), check_names=False, atol=2e-3)


@pytest.fixture(scope="module")
def features(both) -> dict[str, pd.DataFrame]:
    return scripts.pathology_features(both[2]["gt_annotations_test"], both[2]["gt_segmentations_test"])


@pytest.mark.parametrize("name", scripts.FEATURES)
def test_pathology_features(name, both, features):
    same(table(both[0], name), features[name])


@pytest.mark.parametrize(
    ("name", "kind", "y"),
    [
        ("pred_iou", "iou", "pred"),
        ("iou_diff", "iou", "diff"),
        ("pred_hitmiss", "hitmiss", "pred"),
        ("hitmiss_diff", "hitmiss", "diff"),
    ],
)
def test_regressions_on_features(name, kind, y, both, results, features):
    ours = table(both[0], f"regression_features_{name}")
    assert list(ours["feature"]) == ["n_instance", "area_ratio", "elongation", "irrectangularity"]
    pred, human = results[kind], results[f"{kind}_humanbenchmark"]
    assert list(ours["Linear regression coefficients"]) == scripts.features_regression(features, pred, human, y)


@pytest.mark.parametrize("task", TASKS)
def test_regression_on_probability(task, both, results):
    _, maps, files = both
    full = scripts.ious(files["gt_segmentations_test"], scripts.segmentations(maps, CUTOFFS), true_pos_only=False)
    for name, values in (("iou", full), ("iou_true_pos_only", results["iou"]), ("hitmiss", results["hitmiss"])):
        known = values[task].dropna()
        written = table(both[0], f"regression_modelprob_{name}")
        assert list(written) == ["task", "n", "Linear regression coefficients", "Spearman correlations"]
        row = written.set_index("task").loc[task]
        if len(known) < 8 or known.nunique() < 2:
            continue
        slope, rho = scripts.assurance_regression(maps, values, task, tests=1)
        assert row["Linear regression coefficients"] == slope
        assert row["Spearman correlations"] == rho


def test_pooled_precision_recall_specificity(both):
    _, maps, files = both
    human = {i: {t: scripts.decode(x) for t, x in tasks.items()} for i, tasks in files["hb_segmentations_test"].items()}
    for name, pred in (("pred", scripts.segmentations(maps, CUTOFFS)), ("hb", human)):
        ours = pd.read_csv(both[0] / f"{name}_precision_recall_specificity.csv", index_col=0)
        same(ours, scripts.pooled(files["gt_segmentations_test"], pred))


def test_segmentation_counts(both):
    ours = pd.read_csv(both[0] / "n_segs.csv", index_col=0)["0"]
    assert ours.to_dict() == scripts.count_segs(scripts.segmentations(both[1], CUTOFFS)).to_dict()


@pytest.mark.parametrize("task", TASKS)
def test_tuning(task, both):
    made, maps, files = both
    gt = files["gt_segmentations_test"]
    ours = table(made, "tuning_results").set_index("task")["threshold"]
    assert ours[task] == scripts.tuned_threshold(maps, gt, task)
    grid = table(made, "probability_tuning_results")
    grid = grid[grid["task"] == task]
    assert list(zip(grid["prob_threshold"], grid["mIoU"], strict=True)) == scripts.tuned_cutoffs(maps, gt, task)


def test_a_single_source_may_be_written_flat_and_several_are_refused_first(both, tmp_path):
    folder = both[0].parents[1]
    options = {"data": f"chexlocalize:{folder / 'data'}", "protocol": "published", "controls": (), "findings": "Edema"}
    files = {"chexlocalize_csv": tmp_path / "files", "chexlocalize_csv_flat": True}
    score_maps(folder / "maps", out=tmp_path / "run", **options, **files)
    assert {file.name for file in (tmp_path / "files").iterdir()} == {file.name for file in both[0].iterdir()}
    for source in ("one", "two"):
        shutil.copytree(folder / "maps", tmp_path / "maps" / source, ignore=lambda _, names: sorted(names)[9:])
    with pytest.raises(DataError, match=r"one source, but there are 2: .*leave it out"):
        score_maps(tmp_path / "maps", out=tmp_path / "refused", **options, **files)
    assert not (tmp_path / "refused").exists()


def test_options_that_cannot_give_the_files_are_refused_first(tmp_path):
    with pytest.raises(DataError, match="--chexlocalize-csv needs the published protocol"):
        score_maps(tmp_path, data="phantom:8", protocol="corrected", chexlocalize_csv=tmp_path / "files")
    assert not list(tmp_path.iterdir())


def _of_the_release() -> scripts.Maps:
    maps: scripts.Maps = {}
    for file in sorted((SAMPLE / "CheXlocalize" / "gradcam_maps_val").glob("*.pkl")):
        content = safe_pickle.load(file)
        width, height = (int(n) for n in content["cxr_dims"])
        key = (file.name.rsplit("_", 2)[0], content["task"])
        maps[key] = scripts.HeatMap(np.asarray(content["map"])[0, 0], float(content["prob"]), (height, width))
    return maps


@real
def test_files_of_the_released_sample(tmp_path):
    score_maps(
        SAMPLE / "CheXlocalize" / "gradcam_maps_val",
        data=f"chexlocalize:{SAMPLE}",
        out=tmp_path / "run",
        protocol="published",
        controls=(),
        metrics=("iou", "pointing-game", *(f"iou@above:0.{d}" for d in range(2, 9))),
        chexlocalize_csv=tmp_path / "files",
    )
    (made,) = (tmp_path / "files").iterdir()
    maps, gt = _of_the_release(), scripts.read(SAMPLE / "CheXlocalize" / "gt_segmentations_val.json")
    gt = {i: tasks for i, tasks in gt.items() if (i, TASKS[0]) in maps}
    ours = json.loads((made / "saliency_segmentations.json").read_text())
    theirs = scripts.segmentations(maps)
    for image, tasks in theirs.items():
        for (
            task,
            mask,
        ) in tasks.items():  # 6.5 million pixels; the released file and torch differ by as much in rounding
            assert (scripts.decode(ours[image][task]) != mask).sum() <= 2
    for name, expected in (("iou", scripts.ious(gt, theirs)), ("hitmiss", scripts.hits(gt, maps))):
        found = table(made, f"{name}_results_per_cxr")
        same(found[found["img_id"].isin(gt)].reset_index(drop=True), expected, 1e-6)


@real
def test_annotations_of_the_release_rasterize_to_its_segmentations():
    folder = SAMPLE / "CheXlocalize"
    masks = scripts.rasterized(scripts.read(folder / "gt_annotations_val.json"))
    for image, tasks in scripts.read(folder / "gt_segmentations_val.json").items():
        for task, item in tasks.items():
            assert (scripts.decode(item) == masks[image][task]).all()
