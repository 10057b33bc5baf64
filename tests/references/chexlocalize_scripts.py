"""What the public CheXlocalize scripts compute, plainly and slowly: the oracle of the files
`sightline.evaluation.chexlocalize_csv` writes.

Written from a description of the scripts' behavior, quirks included; nothing here imports the package, except that maps
are given as arrays instead of pickles. Masks are decoded by pycocotools and maps are resized by torch, as there.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from scipy import stats

TASKS = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Airspace Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
]
FEATURES = ("num_instances", "area_ratio", "elongation", "rec_area_ratio")


@dataclass
class HeatMap:
    """One pickle: map (h, w), probability, size of the radiograph (H, W)."""

    values: np.ndarray
    prob: float
    size: tuple[int, int]


Maps = dict[tuple[str, str], HeatMap]
"""(radiograph, task) -> map."""


def decode(item: dict) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools against newer NumPy
        return coco.decode(item)


def resized(m: HeatMap) -> np.ndarray:
    tensor = torch.from_numpy(np.array(m.values, np.float32))[None, None]
    return F.interpolate(tensor, size=m.size, mode="bilinear", align_corners=False)[0, 0].numpy()


def to_mask(m: HeatMap, threshold: float | None = None, smoothing: bool = False, k: int = 0) -> np.ndarray:
    large = resized(m)
    large = large - large.min()
    with np.errstate(invalid="ignore"):
        large = large / large.max()
    if threshold is not None:
        return (large > threshold).astype(np.uint8)
    if np.isnan(large).any():
        return np.zeros(m.size, np.uint8)  # NaN becomes 0 as an 8-bit number: nothing lies above Otsu's threshold
    gray = np.uint8(255 * large)
    if smoothing:
        jet = cv2.applyColorMap(gray, cv2.COLORMAP_JET)
        gray = 255 - cv2.boxFilter(cv2.cvtColor(jet, cv2.COLOR_RGB2GRAY), -1, (k, k))
    cut = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)[1]
    contours, _ = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    canvas = Image.new("1", (m.size[1], m.size[0]))
    draw = ImageDraw.Draw(canvas)
    for contour in contours:
        points = [(int(x), int(y)) for x, y in contour[:, 0]]
        if len(points) > 1:
            draw.polygon(points, outline=1, fill=1)
    return np.array(canvas).astype(np.uint8)


def segmentations(maps: Maps, cutoffs: dict[str, float] | None = None) -> dict[str, dict[str, np.ndarray]]:
    """id -> task -> mask, all ten tasks, zeros where there is no map or the probability is below its cutoff."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for (image, task), m in sorted(maps.items()):
        mask = to_mask(m)
        if cutoffs is not None and m.prob < cutoffs.get(task, 0):
            mask = np.zeros_like(mask)
        found.setdefault(image, {})[task] = mask
    for tasks in found.values():
        size = next(iter(tasks.values())).shape
        for task in TASKS:
            tasks.setdefault(task, np.zeros(size, np.uint8))
    return found


def rasterized(annotations: dict) -> dict[str, dict[str, np.ndarray]]:
    """Contours -> masks, all ten tasks of every id."""
    found = {}
    for image, content in annotations.items():
        height, width = content["img_size"]
        found[image] = {}
        for task in TASKS:
            canvas = Image.new("1", (width, height))
            for contour in content.get(task, []):
                ImageDraw.Draw(canvas).polygon([tuple(point) for point in contour], outline=1, fill=1)
            found[image][task] = np.array(canvas).astype(np.uint8)
    return found


def iou(pred: np.ndarray, gt: np.ndarray, true_pos_only: bool) -> float:
    union = np.logical_or(pred, gt).sum()
    if true_pos_only and (pred.sum() == 0 or gt.sum() == 0):
        return math.nan
    return math.nan if union == 0 else np.logical_and(pred, gt).sum() / union


def ious(gt: dict, pred: dict, true_pos_only: bool = True) -> pd.DataFrame:
    ids = sorted(gt)
    if not true_pos_only:
        ids += [i for i in sorted(pred) if i not in gt]
    rows = []
    for image in ids:
        row = {}
        for task in sorted(TASKS):
            truth = decode(gt[image][task]) if image in gt else np.zeros_like(pred[image][task])
            said = pred[image][task] if image in pred else np.zeros_like(truth)
            row[task] = iou(said, truth, true_pos_only)
        rows.append({**row, "img_id": image})
    return pd.DataFrame(rows).sort_values("img_id", ignore_index=True)


def hits(gt: dict, maps: Maps) -> pd.DataFrame:
    rows = []
    for image in sorted(gt):
        row = {}
        for task in sorted(TASKS):
            truth = decode(gt[image][task])
            row[task] = math.nan
            if (image, task) in maps and truth.sum():
                large = resized(maps[image, task])
                at = np.unravel_index(np.argmax(large), large.shape)
                row[task] = float(truth[at])
        rows.append({**row, "img_id": image})
    return pd.DataFrame(rows)


def human_hits(gt: dict, points: dict) -> pd.DataFrame:
    rows = []
    for image in sorted(gt):
        row = {}
        for task in sorted(TASKS):
            truth = decode(gt[image][task])
            row[task] = math.nan
            if truth.sum():
                said = points.get(image, {}).get(task, [])
                row[task] = float(any(truth[int(y), int(x)] for x, y in said))
        rows.append({**row, "img_id": image})
    return pd.DataFrame(rows)


def bootstrap(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    np.random.seed(seed)  # noqa: NPY002  the scripts draw so
    tasks, draws = table[list(TASKS)], []
    for _ in range(1000):
        rows = np.random.choice(len(table), size=len(table), replace=True)  # noqa: NPY002
        draws.append(tasks.iloc[rows].mean())
    return pd.DataFrame(draws)


def interval(series: pd.Series) -> tuple[float, float, float]:
    ordered = series.sort_values()
    return round(ordered.iloc[24], 3), round(ordered.mean(), 3), round(ordered.iloc[974], 3)


def summary(draws: pd.DataFrame) -> pd.DataFrame:
    rows = [dict(zip(("name", "lower", "mean", "upper"), (t, *interval(draws[t])), strict=True)) for t in TASKS]
    return pd.DataFrame(rows).sort_values("name", ignore_index=True)


def percentage_decrease(human: pd.DataFrame, pred: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame({"hb": human.mean(), "pred": pred.mean()})
    table["pct_diff"] = round((table["hb"] - table["pred"]) / table["hb"] * 100, 3)
    bounds = {task: interval((human[task] - pred[task]) / human[task]) for task in TASKS}
    table["pct_diff_lower"] = [round(bounds[task][0] * 100, 3) for task in table.index]
    table["pct_diff_upper"] = [round(bounds[task][2] * 100, 3) for task in table.index]
    table = table.sort_values("pct_diff", ascending=False)
    hb, said = round(table["hb"].mean(), 3), round(table["pred"].mean(), 3)
    low, _, high = interval(100 * (human.mean(axis=1) - pred.mean(axis=1)) / human.mean(axis=1))
    table.loc["Average"] = [hb, said, round((hb - said) / hb * 100, 3), low, high]
    return table


def pathology_features(annotations: dict, gt: dict) -> dict[str, pd.DataFrame]:
    rows: dict[str, list[dict]] = {name: [] for name in FEATURES}
    for image in sorted(gt):
        found: dict[str, dict] = {name: {} for name in FEATURES}
        for task in sorted(TASKS):
            values = (0, 0, math.nan, math.nan)
            truth = decode(gt[image][task])
            if truth.sum():
                contours, _ = cv2.findContours(truth, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
                longest = contours[int(np.argmax([len(c) for c in contours]))]
                width, height = cv2.minAreaRect(longest)[1]
                with np.errstate(divide="ignore", invalid="ignore"):
                    elongation = np.float64(max(width, height)) / min(width, height)
                    rectangle = np.float64(cv2.contourArea(longest)) / (width * height)
                count = len(annotations.get(image, {}).get(task, []))
                values = (count, truth.sum() / truth.size, elongation, rectangle)
            for name, value in zip(FEATURES, values, strict=True):
                found[name][task] = value
        for name in FEATURES:
            rows[name].append({**found[name], "img_id": image})
    return {name: pd.DataFrame(rows[name]) for name in FEATURES}


def _stars(p: float) -> str:
    return "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""


def _regressed(table: pd.DataFrame, y: str, x: str, tests: int) -> tuple[str, str]:
    fit = smf.ols(f"{y} ~ {x}", data=table).fit()
    low, high = fit.conf_int(alpha=0.05).loc[x]
    slope = f"{round(fit.params[x], 3)}, ({round(low, 3)}, {round(high, 3)}){_stars(fit.pvalues[x] * tests)}"
    known = table[[x, y]].dropna()
    rho, p = stats.spearmanr(known[x], known[y])
    half = 1.96 / math.sqrt(len(known) - 3)
    bounds = [round(math.tanh(math.atanh(rho) + sign * half), 3) for sign in (-1, 1)]
    return slope, f"{round(rho, 3)}, ({bounds[0]}, {bounds[1]}){_stars(p * tests)}"


def features_regression(features: dict[str, pd.DataFrame], pred: pd.DataFrame, human: pd.DataFrame, y: str) -> list:
    """Coefficients of the four features; y: 'pred' or 'diff'."""
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "pred": pred[task],
                    "diff": human[task] - pred[task],
                    "n_instance": features["num_instances"][task],
                    "area_ratio": features["area_ratio"][task],
                    "elongation": features["elongation"][task],
                    "irrectangularity": 1 - features["rec_area_ratio"][task],
                }
            )
            for task in sorted(TASKS)
        ]
    )
    table = table[table["n_instance"] > 0]
    told = []
    for x in ("n_instance", "area_ratio", "elongation", "irrectangularity"):
        table[x] = (table[x] - table[x].min()) / (table[x].max() - table[x].min())
        told.append(_regressed(table, y, x, 4)[0])
    return told


def assurance_regression(maps: Maps, results: pd.DataFrame, task: str, tests: int) -> tuple[str, str]:
    table = pd.DataFrame(
        {"y": results[task], "prob": [maps[i, task].prob if (i, task) in maps else math.nan for i in results["img_id"]]}
    )
    return _regressed(table, "y", "prob", tests)


def pooled(gt: dict, pred: dict) -> pd.DataFrame:
    rows = []
    for task in sorted(TASKS):
        tp = fp = fn = tn = 0
        for image in sorted(gt):
            truth = decode(gt[image][task]).astype(bool)
            said = pred[image][task].astype(bool) if image in pred else np.zeros_like(truth)
            tp, fp = tp + (said & truth).sum(), fp + (said & ~truth).sum()
            fn, tn = fn + (~said & truth).sum(), tn + (~said & ~truth).sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append((task, tp / (tp + fp), tp / (tp + fn), tn / (tn + fp)))
    return pd.DataFrame(rows, columns=["pathology", "precision", "recall/sensitivity", "specificity"])


def count_segs(pred: dict) -> pd.Series:
    return pd.Series({task: sum(bool(pred[i][task].sum()) for i in pred) for task in sorted(TASKS)})


def tuned_threshold(maps: Maps, gt: dict, task: str) -> float:
    grid = np.arange(0.2, 0.8, 0.1)  # seven values: 0.8 slips in by rounding
    means = []
    for threshold in grid:
        scores = [
            iou(to_mask(m, threshold), decode(gt[i][task]), true_pos_only=True) if i in gt else math.nan
            for (i, t), m in sorted(maps.items())
            if t == task
        ]
        means.append(np.nanmean(scores) if np.isfinite(scores).any() else math.nan)
    return round(float(grid[means.index(max(means))]), 1)


def tuned_cutoffs(maps: Maps, gt: dict, task: str) -> list[tuple[float, float]]:
    found = []
    for cutoff in np.arange(0.1 if task == "Lung Lesion" else 0, 0.9, 0.1):
        scores = []
        for (i, t), m in sorted(maps.items()):
            if t == task:
                said = to_mask(m) if m.prob > cutoff else np.zeros(m.size, np.uint8)
                truth = decode(gt[i][task]) if i in gt else np.zeros(m.size, np.uint8)
                scores.append(iou(said, truth, true_pos_only=False))
        mean = float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan
        found.append((round(float(cutoff), 1), round(mean, 3)))
    return found


def read(path: Path) -> dict:
    return json.loads(path.read_text())
