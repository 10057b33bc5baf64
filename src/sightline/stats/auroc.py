"""Areas under ROC curves of models, with intervals over patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sightline.core import Array
from sightline.stats.estimates import AVERAGE
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, average

AUROC_COLUMNS = ("model", "finding", "metric", "mean", "low", "high", "n", "positives", "patients", "reason")


MIN_IN_CLASS = 3
"""Least number of patients with the finding, and of patients without it, for an interval of their AUROC."""


def auroc_left_out(probability: Array, label: Array, group: Array, patients: int) -> LeaveOneOut:
    """Compute the AUROC of the sample and without each patient; ties count half.

    The standard error of these is that of DeLong for clustered data (Obuchowski 1997, 10.2307/2533958), computed
    without approximation.

    Parameters
    ----------
    probability : (N,) array
        Probabilities.
    label : (N,) array
        0 or 1.
    group : (N,) int
        Patient of each row, in [0, G).
    patients : int
        Number of patients G.

    Returns
    -------
    LeaveOneOut
        One column; NaN where a class is missing. It has no interval with fewer than `MIN_IN_CLASS` patients with or
        without the finding.

    Examples
    --------
    >>> auroc_left_out(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]), np.arange(4), 4).point.tolist()
    [0.75]
    """
    positive = np.asarray(label) == 1
    wins = rankdata(probability)  # of a positive: over negatives; of a negative: lost to positives
    for side in (positive, ~positive):
        wins[side] -= rankdata(probability[side])
    wins[~positive] = positive.sum() - wins[~positive]
    rows = pd.DataFrame({"p": probability, "group": group, "label": positive})
    within = rows.groupby("group")["p"].rank() - rows.groupby(["group", "label"])["p"].rank()  # wins within the patient
    gain = np.where(positive, wins - within.to_numpy(float), wins)
    lost = np.bincount(group, gain, patients)  # pairs that leave with the patient, each once
    count = np.stack([np.bincount(group[side], minlength=patients) for side in (~positive, positive)])  # (2, G)
    total = count.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = wins[positive].sum() / np.prod(total, dtype=float)
        left_out = (wins[positive].sum() - lost) / np.prod(total[:, None] - count, axis=0, dtype=float)
        weight = (count / total[:, None]).sum(0)
    fewest = (count > 0).sum(1)
    few = f"{fewest[1]} patients with and {fewest[0]} without the finding, of at least {MIN_IN_CLASS} each"
    reason = few if fewest.min() < MIN_IN_CLASS else ""
    return LeaveOneOut(np.array([area]), left_out[:, None], weight[:, None], np.array([len(label)]), (reason,))


def estimate_auroc(table: pd.DataFrame) -> pd.DataFrame:
    """Estimate the AUROC per model and finding, with intervals over patients.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label. The views of a study count once, by the highest
        probability and label among them, as CheXpert evaluates; studies whose label is then not 0 or 1 are left out.

    Returns
    -------
    DataFrame
        Columns `AUROC_COLUMNS`. A finding with one class only is left out, because its AUROC is undefined. With several
        findings a row 'average' is their unweighted mean; its n and positives are sums. reason says why there is no
        interval, or is ''.
    """
    known = select_known(table)
    patients = pd.Index(sorted(known["patient"].unique()))
    rows: list[dict[str, Any]] = []
    for model, usable in known.groupby("model", sort=False):
        areas = list[LeaveOneOut]()
        for finding, part in usable.groupby("finding", sort=False):
            group = patients.get_indexer(pd.Index(part["patient"]))
            probability, label = part["probability"].to_numpy(float), part["label"].to_numpy(int)
            areas.append(auroc_left_out(probability, label, group, len(patients)))
            rows.append({"model": model, "finding": finding, **_auroc_row(areas[-1], part)})
        if len(areas) > 1:
            rows.append({"model": model, "finding": AVERAGE, **_auroc_row(average(areas), usable)})
    return pd.DataFrame(rows, columns=pd.Index(AUROC_COLUMNS))


def select_known(table: pd.DataFrame) -> pd.DataFrame:
    """Select what an AUROC is computed from.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label.

    Returns
    -------
    DataFrame
        One row per model, patient, study and finding, by the greatest of its views; those with a probability and a
        label of 0 or 1, of findings in which both classes occur.
    """
    table = table.groupby(["model", "patient", "study", "finding"], sort=False, as_index=False).max()
    known = table[table["label"].isin([0, 1]) & table["probability"].notna()]
    classes = known.groupby(["model", "finding"])["label"].transform("nunique")
    return known[classes == 2]


def _auroc_row(areas: LeaveOneOut, part: pd.DataFrame) -> dict[str, Any]:
    """Return the row of an AUROC over some labels."""
    row = infer(areas, "share", (0.0, 1.0)).row() | {"n": len(part), "positives": int(part["label"].sum())}
    return {"metric": "auroc", **row}
