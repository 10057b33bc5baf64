"""How well models tell findings apart, how two of them differ on the same images, and whether probabilities hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from sightline.core import Array
from sightline.stats import delong
from sightline.stats.auroc import auroc_left_out, select_known
from sightline.stats.calibration import brier, calibration_error
from sightline.stats.estimates import AVERAGE
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, average, leave_one_out
from sightline.stats.multiplicity import add_holm
from sightline.stats.trainings import interval_left_out


def discrimination(table: pd.DataFrame) -> pd.DataFrame:
    """Estimate AUROC, Brier score and calibration error per model and finding.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label (0 or 1 where known).

    Returns
    -------
    DataFrame
        Columns model, finding, auroc, low, high (over patients), delong_low, delong_high, brier, brier_low, brier_high,
        calibration (without interval, because leaving out patients inflates it), n, positives, patients, reason (why
        the AUROC has no interval, or ''). delong_low and delong_high count studies as independent. Findings of one
        class are left out.
    """
    rows = []
    for (model, finding), part in select_known(table).groupby(["model", "finding"], sort=False):
        p, label, group = _to_arrays(part)
        area = infer(auroc_left_out(p, label, group, int(group.max()) + 1), "share", (0.0, 1.0)).row()
        errors = infer(leave_one_out(((p - label) ** 2)[:, None], group), "share", (0.0, 1.0)).row()
        _, first, last = delong.auroc_interval(p, label)
        rows.append(
            {
                "model": model,
                "finding": finding,
                "auroc": area["mean"],
                "low": area["low"],
                "high": area["high"],
                "delong_low": first,
                "delong_high": last,
                "brier": brier(p, label),
                "brier_low": errors["low"],
                "brier_high": errors["high"],
                "calibration": calibration_error(p, label),
                "n": len(part),
                "positives": int(label.sum()),
                "patients": area["patients"],
                "reason": area["reason"],
            }
        )
    return pd.DataFrame(rows)


def compare_auroc(table: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Estimate the difference in AUROC of pairs of models on the same images, per finding.

    Parameters
    ----------
    table : DataFrame
        As in `discrimination`.
    pairs : sequence of (str, str)
        (model, versus).

    Returns
    -------
    DataFrame
        Columns model, versus, finding, mean (model minus versus), low, high (over patients), p (of the distribution of
        the interval), p_delong (DeLong's test, which counts studies as independent), n, positives, patients, reason
        (why there is no interval, or ''), p_holm (p adjusted over the findings of a pair).
    """
    known, rows = select_known(table), list[dict[str, Any]]()
    for model, versus in pairs:
        results = []
        for finding, both in pair_studies(known, model, versus):
            p, label, group = _to_arrays(both)
            q = both["probability_versus"].to_numpy(float)
            mine, other = (auroc_left_out(values, label, group, int(group.max()) + 1) for values in (p, q))
            numbers = infer(mine - other, bounds=(-1.0, 1.0)).row() | {"positives": int(label.sum())}
            head = {"model": model, "versus": versus, "finding": finding}
            results.append({**head, **numbers, "p_delong": delong.p_value(p, q, label)})
        add_holm(results)
        rows += results
    return pd.DataFrame(rows)


def auroc_over_trainings(
    table: pd.DataFrame, networks: Mapping[str, Sequence[str]], pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Estimate differences in AUROC of networks with several trainings, over patients and trainings.

    Parameters
    ----------
    table : DataFrame
        As in `discrimination`.
    networks : mapping of str to sequence of str
        Name of a network -> names of the models that are its trainings.
    pairs : sequence of (str, str)
        (network, versus).

    Returns
    -------
    DataFrame
        Columns model (the network), versus, finding, mean (of the trainings, minus versus), low, high (95 %), p,
        spread (standard deviation over the trainings of the network), scope (see `sightline.stats.trainings.Scope`),
        reason, n, patients and trainings (as '3 and 1'). Only studies that all trainings judged count, and findings of
        one class are left out.
    """
    known, rows = select_known(table), list[dict[str, Any]]()
    for pair in pairs:
        models = [model for network in pair for model in networks[network]]
        counts = [len(networks[network]) for network in pair]
        wide = known[known["model"].isin(models)].pivot_table(
            index=["finding", "patient", "study", "label"], columns="model", values="probability"
        )
        wide = wide.reindex(columns=models).dropna().reset_index()
        wide = wide[wide.groupby("finding")["label"].transform("nunique") == 2]
        arms = [range(counts[0]), range(counts[0], sum(counts))]
        areas = _aurocs_left_out(wide, models)
        if len(areas) > 1:
            areas[AVERAGE] = [average(parts) for parts in zip(*areas.values(), strict=True)]
        for finding, parts in areas.items():
            part = wide if finding == AVERAGE else wide[wide["finding"] == finding]
            patients = part["patient"].nunique()
            head = {"model": pair[0], "versus": pair[1], "finding": finding}
            size = {"n": len(part), "patients": patients, "trainings": f"{counts[0]} and {counts[1]}"}
            rows.append(head | asdict(interval_left_out(parts, arms)) | size)
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


def _aurocs_left_out(wide: pd.DataFrame, models: Sequence[str]) -> dict[str, list[LeaveOneOut]]:
    """Return finding -> AUROC of each model in the sample and without each patient."""
    group, patients = pd.factorize(wide["patient"], sort=True)
    areas = {}
    for finding in dict.fromkeys(wide["finding"]):
        rows = (wide["finding"] == finding).to_numpy()
        label = wide["label"].to_numpy(int)[rows]
        values = wide.loc[rows, list(models)].to_numpy(float)
        columns = range(len(models))
        areas[str(finding)] = [auroc_left_out(values[:, k], label, group[rows], len(patients)) for k in columns]
    return areas


def _to_arrays(part: pd.DataFrame) -> tuple[Array, Array, Array]:
    """Probabilities, labels and numbered patients (n,) each."""
    group = pd.factorize(part["patient"], sort=True)[0]
    return part["probability"].to_numpy(float), part["label"].to_numpy(int), group
