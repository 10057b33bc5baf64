"""What agreement with gaze comes to: of correct and incorrect predictions, by anatomical region, and printed twice.

After Kim, Zhou and Lipton 2021, whose tables give neither intervals nor numbers of cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.rng import REGION_SWAP, keyed_rng
from sightline.core import NAN, Array, Source
from sightline.protocol import Protocol
from sightline.stats.bootstrap import (
    RESAMPLES,
    Replicates,
    acceleration,
    draw_weights,
    interval,
    jackknife_means,
    p_value,
    replicate,
)
from sightline.stats.estimates import AVERAGE
from sightline.stats.multiplicity import add_holm

MIN_PATIENTS = 5
"""Patients on each side of a comparison: of fewer, resamples are copies of each other."""


def compare_by_correctness(
    scores: pd.DataFrame, cutoffs: Mapping[tuple[str, str], float], protocols: Sequence[Protocol], seed: int = 0
) -> pd.DataFrame:
    """Agreement where the model is right and where it is wrong, and the difference, per source and finding.

    All cases show the finding, so that right is a probability at or above the cutoff (model, finding); 0.5 without one.
    finding 'average': all cases together. Columns: protocol, metric, source, finding, cutoff, correct, correct_low,
    correct_high, correct_n, incorrect (likewise), mean, low, high (correct less incorrect), n, patients, p, p_holm.
    Resamples draw patients; p is two-sided, p_holm adjusted over the findings of a source, or for 'average' over the
    sources, of one protocol and metric.
    NaN with fewer than five patients on either side.
    """
    rows: list[dict[str, Any]] = []
    told = scores[scores["probability"].notna() & scores["value"].notna()]
    model = told["source"].map({s: Source.parse(s).model or s for s in told["source"].unique()})
    limits = np.array([cutoffs.get(key, 0.5) for key in zip(model, told["finding"], strict=True)])
    told = told.assign(cutoff=limits, right=told["probability"].to_numpy(float) >= limits)
    for protocol in protocols:
        mine = told[told["protocol"] == protocol.name]
        for metric, some in mine.groupby("metric", sort=False):
            found = list(_correctness_rows(some, {"protocol": protocol.name, "metric": metric}, seed))
            add_holm([row for row in found if row["finding"] == AVERAGE])
            for source in dict.fromkeys(row["source"] for row in found):
                add_holm([row for row in found if row["source"] == source and row["finding"] != AVERAGE])
            rows += found
    return pd.DataFrame(rows)


def _correctness_rows(scores: pd.DataFrame, head: Mapping[str, object], seed: int) -> Iterator[dict[str, Any]]:
    for source, of in scores.groupby("source", sort=False):
        parts = [*of.groupby("finding", sort=False), (AVERAGE, of)]
        for finding, part in parts:
            values, right = part["value"].to_numpy(float), part["right"].to_numpy(bool)
            limits = part["cutoff"].unique()
            row = {**head, "source": source, "finding": finding, "cutoff": limits[0] if len(limits) == 1 else NAN}
            yield row | _compare_correctness(values, right, pd.factorize(part["patient"], sort=True)[0], seed)


def _compare_correctness(values: Array, right: Array, group: Array, seed: int) -> dict[str, float]:
    """Means of the two kinds of cases and their difference."""
    both = np.stack([np.where(right, values, NAN), np.where(right, NAN, values)], 1)  # (N, 2)
    r = replicate(both, group, draw_weights(int(group.max(initial=-1)) + 1, RESAMPLES, seed))
    mean, low, high = interval(r, "bca")
    told: dict[str, float] = {}
    for j, name in enumerate(("correct", "incorrect")):
        told |= {name: mean[j], f"{name}_low": low[j], f"{name}_high": high[j], f"{name}_n": int(r.n[j])}
    enough = bool((r.groups >= MIN_PATIENTS).all())
    without, _ = jackknife_means(both, group)
    there = np.ones((len(without), 1), bool)
    skew = acceleration(without[:, :1] - without[:, 1:], there)
    gap = Replicates(
        r.point[:1] - r.point[1:],
        r.draws[:, :1] - r.draws[:, 1:],
        r.n[:1] + r.n[1:],
        np.array([len(set(group))]),
        np.nan_to_num(skew),
    )
    ends = [float(e[0]) if enough else NAN for e in interval(gap, "bca")]
    return told | {
        "mean": ends[0],
        "low": ends[1],
        "high": ends[2],
        "n": len(values),
        "patients": int(gap.groups[0]),
        "p": p_value(gap.draws[:, 0]) if enough else NAN,
    }


def most_salient_regions(shares: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Each case's most salient region: the largest z-score of its share among all cases of the source.

    shares: rows of `sightline.evaluation.gaze_agreement.RegionShare`. Columns: source, radiograph, patient, finding,
    region, z (its score),
    tied. Regions that are not marked or never vary are left out; ties go to the first of `regions` and are flagged. A
    map that points nowhere has none.
    """
    rows = []
    some = shares[shares["region"].isin(list(regions))]
    for source, of in some.groupby("source", sort=False):
        wide = of.pivot_table(
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
    """How often each region is the most salient one, per source and finding, and how far that is from the gaze's.

    found: of `most_salient_regions`; gaze: the source to compare with. Columns: source, finding, region, mean, low,
    high (95 %,
    resampling patients), n, patients, distance (half the sum of absolute differences of the two distributions, [0, 1]),
    p (of swapping source and gaze patient by patient, which would change nothing if they agreed), p_holm (over the rows
    of a source).
    """
    rows: list[dict[str, Any]] = []
    key = ["radiograph", "finding"]
    looked = most_salient[most_salient["source"] == gaze_source].set_index(key)["region"].rename("looked")
    for source, of in most_salient.groupby("source", sort=False):
        tests: list[dict[str, Any]] = []
        for finding, part in [*of.groupby("finding", sort=False), (AVERAGE, of)]:
            test: dict[str, Any] = {"distance": NAN, "p": NAN}
            if source != gaze_source:
                both = part.join(looked, on=key).dropna(subset="looked")
                test |= _distribution_distance(both, regions, seed)
                tests.append(test)
            group = pd.factorize(part["patient"], sort=True)[0]
            chosen = np.stack([(part["region"] == r).to_numpy(float) for r in regions], 1)
            r = replicate(chosen, group, draw_weights(int(group.max()) + 1, RESAMPLES, seed))
            for name, mean, low, high in zip(regions, *interval(r), strict=True):
                rows.append(
                    {
                        "source": source,
                        "finding": finding,
                        "region": name,
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "n": len(part),
                        "patients": int(r.groups[0]),
                        "test": test,
                    }
                )
        add_holm(tests)
    columns = ["source", "finding", "region", "mean", "low", "high", "n", "patients", "distance", "p", "p_holm"]
    return pd.DataFrame([{**row, **row["test"]} for row in rows], columns=columns)


def _distribution_distance(both: pd.DataFrame, regions: Sequence[str], seed: int) -> dict[str, float]:
    """Patients are swapped as a whole."""
    if both["patient"].nunique() < MIN_PATIENTS:
        return {}
    mine, theirs = (np.stack([(both[c] == r).to_numpy(float) for r in regions], 1) for c in ("region", "looked"))
    gap = pd.DataFrame(mine - theirs).groupby(both["patient"].to_numpy()).sum().to_numpy()  # (G, R)
    signs = keyed_rng(seed, REGION_SWAP, len(gap)).choice([-1.0, 1.0], (RESAMPLES, len(gap)))
    drawn = np.abs(signs @ gap).sum(1)
    found = float(np.abs(gap.sum(0)).sum())
    p = (1 + int((drawn >= found - 1e-9).sum())) / (RESAMPLES + 1)
    return {"distance": found / 2 / len(both), "p": p}


def find_duplicate_rows(table: pd.DataFrame, digits: int = 3) -> list[tuple[str, str, int]]:
    """Rows of a table of numbers that agree in every cell both have, as printed: (row, row, cells). At least 2 cells.

    The published table of SSIM has two methods that agree in 24 of 24 cells: one array used twice, or two methods that
    a network with average pooling makes the same.

    >>> find_duplicate_rows(pd.DataFrame({"x": [0.1, 0.1, 0.2], "y": [0.3, 0.3, 0.3]}, index=["a", "b", "c"]))
    [('a', 'b', 2)]
    """
    shown = table.round(digits)
    found = []
    for first, second in combinations(shown.index, 2):
        one, other = shown.loc[first].to_numpy(float), shown.loc[second].to_numpy(float)
        there = ~(np.isnan(one) | np.isnan(other))
        if there.sum() >= 2 and (one[there] == other[there]).all():
            found.append((str(first), str(second), int(there.sum())))
    return found
