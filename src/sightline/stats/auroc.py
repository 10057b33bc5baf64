"""Areas under ROC curves of models, with intervals over patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.stats.bootstrap import draw_weights, nanmean, statistic_with_ci
from sightline.stats.estimates import AVERAGE

AUROC_COLUMNS = ("model", "finding", "metric", "mean", "low", "high", "n", "positives", "patients")


def bootstrap_auroc(probability: Array, label: Array, group: Array, weights: Array) -> tuple[float, Array]:
    """Compute the AUROC of the sample and of each resample of groups; ties count half.

    Parameters
    ----------
    probability : (N,) array
        Probabilities.
    label : (N,) array
        0 or 1.
    group : (N,) int
        Group of each row, in [0, G).
    weights : (B, G) array
        Counts of the groups in each resample, see `draw_weights`.

    Returns
    -------
    auroc : float
        Area of the sample.
    draws : (B,) float64
        Areas of the resamples; NaN where one lacks one of the classes.
    """
    values, level = np.unique(probability, return_inverse=True)  # (U,), (N,)
    counts = np.zeros((2, weights.shape[1], values.size))  # (class, G, U)
    np.add.at(counts, (label.astype(int), group, level), 1.0)
    all_weights = np.concatenate([np.ones((1, weights.shape[1])), weights])  # the sample itself first
    negative, positive = all_weights @ counts[0], all_weights @ counts[1]  # (1 + B, U)
    below = np.cumsum(negative, 1) - negative / 2
    pairs = negative.sum(1) * positive.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (positive * below).sum(1) / pairs
    return float(area[0]), area[1:]


def estimate_auroc(table: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Estimate the AUROC per model and finding, with intervals over patients.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label. The views of a study count once, by the highest
        probability and label among them, as CheXpert evaluates; studies whose label is then not 0 or 1 are left out.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns `AUROC_COLUMNS`. A finding with one class only is left out, because its AUROC is undefined. With several
        findings a row 'average' is their unweighted mean, resample by resample; its n and positives are sums.
    """
    table = table.groupby(["model", "patient", "study", "finding"], sort=False, as_index=False).max()
    known = table[table["label"].isin([0, 1]) & table["probability"].notna()]
    patients = pd.Index(sorted(table["patient"].unique()))
    weights = draw_weights(len(patients), resamples, seed)
    rows: list[dict[str, Any]] = []
    for model, predictions in known.groupby("model", sort=False):
        usable = predictions[predictions.groupby("finding")["label"].transform("nunique") == 2]
        areas = list[Array]()
        for finding, part in usable.groupby("finding", sort=False):
            group = patients.get_indexer(pd.Index(part["patient"]))
            probability, label = part["probability"].to_numpy(float), part["label"].to_numpy(int)
            areas.append(np.append(*bootstrap_auroc(probability, label, group, weights)))
            rows.append({"model": model, "finding": finding, **_auroc_row(areas[-1], part)})
        if len(areas) > 1:
            rows.append({"model": model, "finding": AVERAGE, **_auroc_row(nanmean(np.stack(areas, 1)), usable)})
    return pd.DataFrame(rows, columns=pd.Index(AUROC_COLUMNS))


def _auroc_row(areas: Array, part: pd.DataFrame) -> dict[str, Any]:
    """Return the row of an AUROC (1 + B,), that of the sample first, over some labels."""
    patients = part["patient"].nunique()
    mean, low, high = statistic_with_ci(areas, patients)
    numbers = {"mean": mean, "low": low, "high": high, "n": len(part), "positives": int(part["label"].sum())}
    return {"metric": "auroc", **numbers, "patients": patients}
