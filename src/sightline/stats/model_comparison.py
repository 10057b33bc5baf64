"""How well models tell findings apart, how two of them differ on the same images, and whether probabilities hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.stats import delong
from sightline.stats.auroc import bootstrap_auroc
from sightline.stats.bootstrap import RESAMPLES, draw_weights, interval, p_value, replicate, statistic_with_ci
from sightline.stats.calibration import brier, calibration_error
from sightline.stats.multiplicity import add_holm


def discrimination(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Estimate AUROC, Brier score and calibration error per model and finding.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label (0 or 1 where known).
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns model, finding, auroc, low, high (over patients), delong_low, delong_high, brier, brier_low, brier_high,
        calibration (without interval, because resampling inflates it), n, positives, patients. Findings of one class
        are left
        out.
    """
    rows = []
    for (model, finding), part in _select_known(table).groupby(["model", "finding"], sort=False):
        p, label, group, w = _to_arrays(part, seed)
        point, draws = bootstrap_auroc(p, label, group, w)
        _, low, high = statistic_with_ci(np.append(point, draws), len(set(group)))
        _, first, last = delong.auroc_interval(p, label)
        errors = replicate(((p - label) ** 2)[:, None], group, w)
        _, least, most = interval(errors, "bca")
        rows.append(
            {
                "model": model,
                "finding": finding,
                "auroc": point,
                "low": low,
                "high": high,
                "delong_low": first,
                "delong_high": last,
                "brier": brier(p, label),
                "brier_low": least[0],
                "brier_high": most[0],
                "calibration": calibration_error(p, label),
                "n": len(part),
                "positives": int(label.sum()),
                "patients": int(group.max()) + 1,
            }
        )
    return pd.DataFrame(rows)


def compare_auroc(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """Estimate the difference in AUROC of pairs of models on the same images, per finding.

    Parameters
    ----------
    table : DataFrame
        As in `discrimination`.
    pairs : sequence of (str, str)
        (model, versus).
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns model, versus, finding, mean (model minus versus), low, high (over patients), p (DeLong's test),
        p_resampled,
        n, positives, patients, p_holm (adjusted over the findings of a pair).
    """
    known, rows = _select_known(table), list[dict[str, Any]]()
    for model, versus in pairs:
        results = []
        for finding, both in pair_studies(known, model, versus):
            p, label, group, w = _to_arrays(both, seed)
            q = both["probability_versus"].to_numpy(float)
            (a, first), (b, second) = (bootstrap_auroc(values, label, group, w) for values in (p, q))
            gap, low, high = statistic_with_ci(np.append(a - b, first - second), len(set(group)))
            results.append(
                {
                    "model": model,
                    "versus": versus,
                    "finding": finding,
                    "mean": gap,
                    "low": low,
                    "high": high,
                    "p": delong.p_value(p, q, label),
                    "p_resampled": p_value(first - second),
                    "n": len(both),
                    "positives": int(label.sum()),
                    "patients": int(group.max()) + 1,
                }
            )
        add_holm(results)
        rows += results
    return pd.DataFrame(rows)


def pair_studies(known: pd.DataFrame, model: str, versus: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the findings of both classes with the studies that both models judged.

    Parameters
    ----------
    known : DataFrame
        One row per model, patient, study and finding. A study belongs to its patient: names of studies may repeat.
    model, versus : str
        Models.

    Yields
    ------
    finding : str
        Finding.
    pairs : DataFrame
        Rows of `model`, with the probability of the other as `probability_versus`.
    """
    key = ["patient", "study"]
    for finding, part in known[known["model"] == model].groupby("finding", sort=False):
        other = known[(known["model"] == versus) & (known["finding"] == finding)]
        both = part.merge(other[[*key, "probability"]], on=key, suffixes=("", "_versus"), validate="one_to_one")
        if both["label"].nunique() == 2:
            yield str(finding), both


def _select_known(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with a label and a probability, of findings with both classes; views of a study by their greatest."""
    table = table.groupby(["model", "patient", "study", "finding"], sort=False, as_index=False).max()
    known = table[table["label"].isin([0, 1]) & table["probability"].notna()]
    classes = known.groupby(["model", "finding"])["label"].transform("nunique")
    return known[classes == 2]


def _to_arrays(part: pd.DataFrame, seed: int) -> tuple[Array, Array, Array, Array]:
    """Probabilities, labels, numbered patients (n,) each, and the weights of the resamples (B, G)."""
    group = pd.factorize(part["patient"], sort=True)[0]
    w = draw_weights(int(group.max(initial=-1)) + 1, RESAMPLES, seed)
    return part["probability"].to_numpy(float), part["label"].to_numpy(int), group, w
