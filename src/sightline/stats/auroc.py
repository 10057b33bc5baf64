"""AUROC with cluster-bootstrap intervals: does the model that is explained know what it is talking about?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.stats.bootstrap import draw_weights, nanmean, statistic_with_ci
from sightline.stats.estimates import AVERAGE

AUROC_COLUMNS = ("model", "finding", "metric", "mean", "low", "high", "n", "positives", "patients")


def bootstrap_auroc(probability: Array, label: Array, group: Array, weights: Array) -> tuple[float, Array]:
    """AUROC of the sample and of each resample of groups; ties count one half.

    probability, label (0 or 1), group: (N,); w: (B, G). NaN where a resample lacks one of the two classes.
    """
    values, level = np.unique(probability, return_inverse=True)  # (U,), (N,)
    counts = np.zeros((2, weights.shape[1], values.size))  # (class, G, U)
    np.add.at(counts, (label.astype(int), group, level), 1.0)
    drawn = np.concatenate([np.ones((1, weights.shape[1])), weights])  # the sample itself first
    negative, positive = drawn @ counts[0], drawn @ counts[1]  # (1 + B, U)
    below = np.cumsum(negative, 1) - negative / 2
    pairs = negative.sum(1) * positive.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (positive * below).sum(1) / pairs
    return float(area[0]), area[1:]


def estimate_auroc(table: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """AUROC per model and finding with patient-bootstrap intervals.

    table: columns model, patient, study, finding, probability, label. The views of a study count once, by the greatest
    probability and label among them, as CheXpert evaluates; studies whose label is not 0 or 1 then take no part. A
    finding with one class only has an undefined AUROC and is left out. With several findings a row `average` is their
    unweighted mean, resample by resample; its n and positives are sums over findings.
    """
    table = table.groupby(["model", "patient", "study", "finding"], sort=False, as_index=False).max()
    known = table[table["label"].isin([0, 1]) & table["probability"].notna()]
    patients = pd.Index(sorted(table["patient"].unique()))
    w = draw_weights(len(patients), resamples, seed)
    rows: list[dict[str, Any]] = []
    for model, of_model in known.groupby("model", sort=False):
        both = of_model.groupby("finding")["label"].transform("nunique") == 2
        drawn = list[Array]()
        for finding, part in of_model[both].groupby("finding", sort=False):
            group = patients.get_indexer(pd.Index(part["patient"]))
            drawn.append(
                np.append(*bootstrap_auroc(part["probability"].to_numpy(float), part["label"].to_numpy(int), group, w))
            )
            rows.append({"model": model, "finding": finding, **_auroc_row(drawn[-1], part)})
        if len(drawn) > 1:
            rows.append({"model": model, "finding": AVERAGE, **_auroc_row(nanmean(np.stack(drawn, 1)), of_model[both])})
    return pd.DataFrame(rows, columns=pd.Index(AUROC_COLUMNS))


def _auroc_row(drawn: Array, part: pd.DataFrame) -> dict[str, Any]:
    """Return the row of an AUROC (1 + B,), the sample's first, over some labels."""
    patients = part["patient"].nunique()
    mean, low, high = statistic_with_ci(drawn, patients)
    numbers = {"mean": mean, "low": low, "high": high, "n": len(part), "positives": int(part["label"].sum())}
    return {"metric": "auroc", **numbers, "patients": patients}
