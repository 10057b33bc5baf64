"""What agreement with gaze comes to: of correct and incorrect predictions, by anatomical region, and printed twice.

After Kim, Zhou and Lipton 2021, whose tables give neither intervals nor numbers of cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.rng import REGION_SWAP, keyed_rng
from sightline.core import NAN, Array, Source
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE, metric_bounds
from sightline.stats.intervals import MIN_PATIENTS, infer
from sightline.stats.jackknife import leave_one_out
from sightline.stats.multiplicity import add_holm

EXCHANGES = 1000
"""Random exchanges of source and gaze."""


def compare_by_correctness(
    scores: pd.DataFrame, cutoffs: Mapping[tuple[str, str], float], protocols: Sequence[Protocol]
) -> pd.DataFrame:
    """Compare the agreement with gaze of correct and incorrect predictions, per source and finding.

    All cases show the finding, so that a prediction is correct if its probability reaches the cutoff.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores with a column probability.
    cutoffs : mapping of (model, finding) to float
        Cutoffs; 0.5 without one.
    protocols : sequence of Protocol
        Protocols to report.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source, finding ('average': all cases together), cutoff, correct, correct_low,
        correct_high, correct_n, incorrect (likewise), mean, low, high (correct minus incorrect), n, patients, p,
        reason (why there is no interval, or ''), p_holm. Intervals are over patients; p_holm is adjusted over the
        findings of a source, or for 'average' over the sources, of one protocol and metric. A difference needs
        `MIN_PATIENTS` patients on either side.
    """
    rows: list[dict[str, Any]] = []
    predictions = scores[scores["probability"].notna() & scores["value"].notna()]
    model = predictions["source"].map({s: Source.parse(s).model or s for s in predictions["source"].unique()})
    limits = np.array([cutoffs.get(key, 0.5) for key in zip(model, predictions["finding"], strict=True)])
    predictions = predictions.assign(cutoff=limits, right=predictions["probability"].to_numpy(float) >= limits)
    for protocol in protocols:
        scores_of_protocol = predictions[predictions["protocol"] == protocol.name]
        for metric, scores_of_metric in scores_of_protocol.groupby("metric", sort=False):
            results = list(_correctness_rows(scores_of_metric, {"protocol": protocol.name, "metric": metric}))
            add_holm([row for row in results if row["finding"] == AVERAGE])
            for source in dict.fromkeys(row["source"] for row in results):
                add_holm([row for row in results if row["source"] == source and row["finding"] != AVERAGE])
            rows += results
    return pd.DataFrame(rows)


def _correctness_rows(scores: pd.DataFrame, head: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    for source, scores_of_source in scores.groupby("source", sort=False):
        parts = [*scores_of_source.groupby("finding", sort=False), (AVERAGE, scores_of_source)]
        for finding, part in parts:
            values, right = part["value"].to_numpy(float), part["right"].to_numpy(bool)
            limits = part["cutoff"].unique()
            row = {**head, "source": source, "finding": finding, "cutoff": limits[0] if len(limits) == 1 else NAN}
            group = pd.factorize(part["patient"], sort=True)[0]
            yield row | _compare_correctness(values, right, group, metric_bounds(str(head["metric"])))


def _compare_correctness(values: Array, right: Array, group: Array, bounds: tuple[float, float]) -> dict[str, Any]:
    """Means of the two kinds of cases and their difference."""
    sides = [leave_one_out(np.where(side, values, NAN)[:, None], group) for side in (right, ~right)]
    means: dict[str, Any] = {}
    for name, r in zip(("correct", "incorrect"), sides, strict=True):
        row = infer(r, "share" if np.isfinite(bounds).all() else "linear", bounds).row()
        means |= {name: row["mean"], **{f"{name}_{key}": row[key] for key in ("low", "high", "n")}}
    width = bounds[1] - bounds[0]
    fewest = min(int(r.patients[0]) for r in sides)
    reason = "" if fewest >= MIN_PATIENTS else f"{fewest} of at least {MIN_PATIENTS} patients on one side"
    gap = replace(sides[0] - sides[1], n=np.array([len(values)]), reason=(reason,))
    return means | infer(gap, bounds=(-width, width)).row()


def most_salient_regions(shares: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Find the most salient region of each case: that of the largest z-score among all cases of the source.

    Parameters
    ----------
    shares : DataFrame
        Rows of `sightline.evaluation.gaze_agreement.RegionShare`.
    regions : sequence of str
        Regions; those without annotation or variance are left out.

    Returns
    -------
    DataFrame
        Columns source, radiograph, patient, finding, region, z (its score), tied. Ties go to the first of `regions`
        and are
        flagged. A map without evidence has no region.
    """
    rows = []
    selected = shares[shares["region"].isin(list(regions))]
    for source, shares_of_source in selected.groupby("source", sort=False):
        wide = shares_of_source.pivot_table(
            index=["radiograph", "patient", "finding"], columns="region", values="share", dropna=False
        )
        wide = wide.reindex(columns=[r for r in regions if r in wide.columns]).dropna(how="all")
        spread = wide.std(ddof=1)
        z = (wide - wide.mean()) / spread.where(spread > 1e-12)
        z = z.dropna(how="all")
        tied = z.eq(z.max(axis=1), axis=0).sum(axis=1) > 1
        of_source = z.index.to_frame(index=False)
        of_source.insert(0, "source", str(source))
        best = {"region": z.idxmax(axis=1).to_numpy(), "z": z.max(axis=1).to_numpy(), "tied": tied.to_numpy()}
        rows.append(of_source.assign(**best))
    columns = ["source", "radiograph", "patient", "finding", "region", "z", "tied"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def region_distributions(
    most_salient: pd.DataFrame, regions: Sequence[str], gaze_source: str, seed: int = 0
) -> pd.DataFrame:
    """Estimate how often each region is the most salient one, and the distance from the gaze.

    Parameters
    ----------
    most_salient : DataFrame
        Table of `most_salient_regions`.
    regions : sequence of str
        Regions.
    gaze_source : str
        Source to compare with.
    seed : int
        Seed of the random exchanges.

    Returns
    -------
    DataFrame
        Columns source, finding, region, mean, low, high (95 %, over patients), n, patients, reason, distance (half
        the sum of absolute differences of the two distributions, [0, 1]), p (of exchanging source and gaze patient by
        patient), p_holm
        (over the rows of a source).
    """
    rows: list[dict[str, Any]] = []
    key = ["radiograph", "finding"]
    gaze_regions = most_salient[most_salient["source"] == gaze_source].set_index(key)["region"].rename("looked")
    for source, regions_of_source in most_salient.groupby("source", sort=False):
        tests: list[dict[str, Any]] = []
        for finding, part in [*regions_of_source.groupby("finding", sort=False), (AVERAGE, regions_of_source)]:
            test: dict[str, Any] = {"distance": NAN, "p": NAN}
            if source != gaze_source:
                both = part.join(gaze_regions, on=key).dropna(subset="looked")
                test |= _distribution_distance(both, regions, seed)
                tests.append(test)
            group = pd.factorize(part["patient"], sort=True)[0]
            chosen = np.stack([(part["region"] == r).to_numpy(float) for r in regions], 1)
            shares = infer(leave_one_out(chosen, group), "share", (0.0, 1.0))
            for k, name in enumerate(regions):
                numbers = {key: value for key, value in shares.row(k).items() if key != "p"}
                rows.append({"source": source, "finding": finding, "region": name, **numbers, "test": test})
        add_holm(tests)
    estimate = ["mean", "low", "high", "n", "patients", "reason"]
    columns = ["source", "finding", "region", *estimate, "distance", "p", "p_holm"]
    return pd.DataFrame([{**row, **row["test"]} for row in rows], columns=columns)


def _distribution_distance(both: pd.DataFrame, regions: Sequence[str], seed: int) -> dict[str, float]:
    """Patients are swapped as a whole."""
    if both["patient"].nunique() < MIN_PATIENTS:
        return {}
    of_source, of_gaze = (np.stack([(both[c] == r).to_numpy(float) for r in regions], 1) for c in ("region", "looked"))
    gap = pd.DataFrame(of_source - of_gaze).groupby(both["patient"].to_numpy()).sum().to_numpy()  # (G, R)
    signs = keyed_rng(seed, REGION_SWAP, len(gap)).choice([-1.0, 1.0], (EXCHANGES, len(gap)))
    drawn = np.abs(signs @ gap).sum(1)
    total = float(np.abs(gap.sum(0)).sum())
    p = (1 + int((drawn >= total - 1e-9).sum())) / (EXCHANGES + 1)
    return {"distance": total / 2 / len(both), "p": p}


def find_duplicate_rows(table: pd.DataFrame, digits: int = 3) -> list[tuple[str, str, int]]:
    """Find rows of a table of numbers that agree, as printed, in every cell that both have.

    The published table of SSIM has two methods that agree in 24 of 24 cells: one array used twice, or two methods
    that a network
    with average pooling makes the same.

    Parameters
    ----------
    table : DataFrame
        Numbers.
    digits : int
        Decimals that are printed.

    Returns
    -------
    list of (str, str, int)
        Two rows and the number of cells, at least 2, in which they agree.

    Examples
    --------
    >>> find_duplicate_rows(pd.DataFrame({"x": [0.1, 0.1, 0.2], "y": [0.3, 0.3, 0.3]}, index=["a", "b", "c"]))
    [('a', 'b', 2)]
    """
    printed = table.round(digits)
    duplicates = []
    for first, second in combinations(printed.index, 2):
        first_row, second_row = printed.loc[first].to_numpy(float), printed.loc[second].to_numpy(float)
        both_known = ~(np.isnan(first_row) | np.isnan(second_row))
        if both_known.sum() >= 2 and (first_row[both_known] == second_row[both_known]).all():
            duplicates.append((str(first), str(second), int(both_known.sum())))
    return duplicates
