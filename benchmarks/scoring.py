"""Score one 320 × 320 map at 2320 × 2828 for every metric, and resample a large study, beside the ways peers do it.

Ratios of times measured in one process, interleaved; medians. `make bench` runs it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from sightline.core import Frame, SaliencyMap
from sightline.evaluation.score_rows import METRICS
from sightline.evaluation.scoring import score_map
from sightline.imaging.geometry import input_frame
from sightline.protocol import CORRECTED
from sightline.stats.bootstrap import draw_weights, interval, replicate
from sightline.stats.estimates import estimates

SIZE = (2320, 2828)


def clock(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each task, interleaved so that all of them meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def a_case() -> tuple[SaliencyMap, np.ndarray]:
    rng = np.random.default_rng(0)
    values = cv2.GaussianBlur(rng.random((320, 320)).astype(np.float32), (0, 0), 20)
    truth = np.zeros(SIZE, bool)
    truth[700:1600, 900:2100] = True
    return SaliencyMap("r", "Edema", "m", values, input_frame(SIZE, 320, "center-crop")[1]), truth


def one_by_one(m: SaliencyMap, truth: np.ndarray) -> None:
    """What users of scikit-learn and NumPy write: enlarge, then one library call per metric."""
    values = cv2.resize(m.values, SIZE[::-1])
    gray = ((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8)
    level, _ = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)
    predicted = gray > level
    both, either = (predicted & truth).sum(), (predicted | truth).sum()
    _ = both / either, 2 * both / (predicted.sum() + truth.sum()), both / predicted.sum(), both / truth.sum()
    _ = (~predicted & ~truth).sum() / (~truth).sum(), truth.ravel()[values.argmax()]
    roc_auc_score(truth.ravel(), values.ravel())
    average_precision_score(truth.ravel(), values.ravel())
    precision, recall, _ = precision_recall_curve(truth.ravel(), values.ravel())
    auc(recall, precision)
    _ = values[truth].sum() / values.sum()
    k = int(truth.sum())
    _ = truth.ravel()[np.argpartition(values.ravel(), -k)[-k:]].mean()


def pandas_loop(table: pd.DataFrame, resamples: int) -> None:
    """The bootstrap of the published code: sample rows, take column means, for each source and metric."""
    for _ in range(resamples):
        table.iloc[np.random.choice(len(table), len(table))].mean()  # noqa: NPY002  (as published)


def main() -> None:
    cv2.setNumThreads(1)
    m, truth = a_case()
    whole = SaliencyMap(m.radiograph, m.finding, m.source, m.values, Frame.whole(SIZE))
    times = clock(
        {
            "Sightline, carried frame": lambda: score_map(m, truth, METRICS, CORRECTED),
            "Sightline, whole image": lambda: score_map(whole, truth, METRICS, CORRECTED),
            "scikit-learn and NumPy": lambda: one_by_one(m, truth),
        },
        3,
    )
    print(f"one 320² map at {SIZE[0]}×{SIZE[1]}, {len(METRICS)} metrics, CPU seconds (one core)")
    for name, seconds in times.items():
        print(f"  {name:28}{seconds:8.3f}   {times['scikit-learn and NumPy'] / seconds:6.1f} ×")

    rng = np.random.default_rng(0)
    values = rng.random((668, 10 * 8 * 2))
    group = np.sort(np.r_[np.arange(500), rng.integers(0, 500, 168)])
    w = draw_weights(500, 1000, 0)
    wide = pd.DataFrame(values)
    long = wide.rename_axis("radiograph").reset_index().melt("radiograph", var_name="column", value_name="value")
    long = long.assign(
        radiograph=long["radiograph"].astype(str),
        patient=[f"p{group[i]}" for i in long["radiograph"]],
        source=[f"net/{column % 8}" for column in long["column"]],
        finding=[f"F{column // 8 % 10}" for column in long["column"]],
        metric=np.where(long["column"] < 80, "iou", "pointing-game"),
        protocol="corrected",
    )
    times = clock(
        {
            "weight matrix": lambda: interval(replicate(values, group, w)),
            "score table to estimates": lambda: estimates(long, [CORRECTED]),
            "pandas loop (100 of 1000)": lambda: pandas_loop(wide, 100),
        },
        3,
    )
    times["pandas loop (100 of 1000)"] *= 10
    print("1000 resamples × 668 images × 10 findings × 8 sources × 2 metrics, CPU seconds")
    for name, seconds in times.items():
        print(f"  {name.replace(' (100 of 1000)', ''):28}{seconds:8.3f}")


if __name__ == "__main__":
    main()
