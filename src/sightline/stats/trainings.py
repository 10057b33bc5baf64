"""Intervals over trainings and patients at once: a network is one draw of its seed, as a radiograph is of its patient.

Every training is tested on the same patients. The variance of the mean over S trainings is MS / S + C: MS is the mean
square between trainings, and C the covariance, over patients, of two different trainings (Obuchowski and Rockette 1995,
10.1080/03610919508813243, with trainings in the place of readers; Owen 2007, 10.1214/07-AOAS122, for why resampling
patients alone is too narrow). Degrees of freedom follow Satterthwaite, as in Hillis 2007, 10.1002/sim.2532.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from sightline.core import NAN, RETRAINED, Array, Source
from sightline.errors import DataError, UnknownNameError
from sightline.protocol import ProtocolNames
from sightline.stats.estimates import AVERAGE, ScoreMatrix, arrange_scores, select_protocols
from sightline.stats.intervals import MIN_PATIENTS
from sightline.stats.jackknife import LeaveOneOut

Trainings = Mapping[str, Sequence[str]]
"""Name of a network -> names of the models that are its trainings."""
Scope = Literal["patients", "patients and trainings of one network", "patients and trainings"]
"""What an interval covers: other patients for these trainings, or other patients and other trainings of those networks
that have several. Nobody can know from one training how much another would differ."""
_LEVEL = 0.95
_MAX_DEGREES = 2
"""Most degrees of freedom, as a multiple of those of the trainings; chosen by simulation."""


@dataclass(frozen=True, slots=True)
class TrainingInterval:
    """Mean over trainings, or difference of two such means, with an interval over patients and trainings."""

    mean: float
    """Mean over the trainings, or the first mean minus the second."""
    low: float
    """Lower end of the 95 % interval; NaN without one."""
    high: float
    """Upper end of the 95 % interval; NaN without one."""
    p: float
    """Two-sided p value of a mean of 0, from the same t distribution; NaN without an interval."""
    spread: float
    """Standard deviation over the trainings of the first network; NaN for one training."""
    scope: Scope
    """What the interval covers."""
    reason: str
    """Why there is no interval; empty if there is one."""


def interval_over_trainings(
    values: Array, covariance: Array, patients: int, arms: Sequence[Sequence[int]]
) -> TrainingInterval:
    """Compute the interval of a mean over trainings, or of the difference of two such means.

    Degrees of freedom are at most twice those of the trainings, because Satterthwaite's grow without bound where
    trainings are alike by chance: without this limit, intervals of the mean of two trainings cover 87 to 95 %, with it
    93 to 100 % (2 to 5 trainings, 8 to 100 patients, trainings that differ much, little and not at all).

    Parameters
    ----------
    values : (S,) array
        Statistic of each training, such as its mean score or its AUROC.
    covariance : (S, S) array
        Covariance of the statistics over patients, of the trainings as they are.
    patients : int
        Number of patients.
    arms : one or two sequences of int
        Trainings of the network, and of the one that is subtracted. Trainings that are paired by their seed are one
        arm of differences.

    Returns
    -------
    TrainingInterval
        Mean, interval and p, over patients and over the trainings of each arm that has two or more.

    Examples
    --------
    >>> interval = interval_over_trainings(np.array([0.5, 0.7]), np.zeros((2, 2)), 30, [[0, 1]])
    >>> round(interval.mean, 3), round(interval.high - interval.mean, 2), interval.scope
    (0.6, 1.27, 'patients and trainings')
    """
    parts = [np.asarray(arm, int) for arm in arms]
    means = [float(values[arm].mean()) for arm in parts]
    mean = means[0] - sum(means[1:])
    spread = float(values[parts[0]].std(ddof=1)) if parts[0].size > 1 else NAN
    repeated = [arm for arm in parts if arm.size > 1]
    scope: Scope = "patients and trainings of one network" if repeated else "patients"
    scope = "patients and trainings" if len(repeated) == len(parts) else scope
    if np.isnan(mean):
        return TrainingInterval(mean, NAN, NAN, NAN, spread, scope, "no radiograph has a score of all trainings")
    if patients < MIN_PATIENTS:
        reason = f"{patients} of at least {MIN_PATIENTS} patients"
        return TrainingInterval(mean, NAN, NAN, NAN, spread, scope, reason)
    between = [float(values[arm].var(ddof=1)) / arm.size for arm in repeated]
    shared = float(np.maximum(0.0, _shared_variance(covariance, parts)))  # NaN stays
    variance = sum(between) + shared
    if np.isnan(variance):
        return TrainingInterval(mean, NAN, NAN, NAN, spread, scope, "undefined without one of the patients")
    if variance <= 1e-12 * max(1.0, mean * mean):
        return TrainingInterval(mean, NAN, NAN, NAN, spread, scope, "nothing varies: all differences are equal")
    squares = [part**2 / (arm.size - 1) for part, arm in zip(between, repeated, strict=True)]
    freedom = variance**2 / (sum(squares) + shared**2 / (patients - 1))
    if repeated:  # trainings that are alike by chance would count as if they were always alike
        freedom = min(freedom, _MAX_DEGREES * sum(arm.size - 1 for arm in repeated))
    reach = float(stdtrit(freedom, (1 + _LEVEL) / 2)) * variance**0.5
    p = float(2 * stdtr(freedom, -abs(mean) / variance**0.5))
    return TrainingInterval(mean, mean - reach, mean + reach, p, spread, scope, "")


def interval_left_out(parts: Sequence[LeaveOneOut], arms: Sequence[Sequence[int]] = ()) -> TrainingInterval:
    """Compute the interval of a mean over trainings, or of a difference, from statistics without each patient.

    Parameters
    ----------
    parts : sequence of LeaveOneOut
        Statistic of each training, of the same patients.
    arms : sequence of sequences of int
        As in `interval_over_trainings`; by default one arm of all trainings.

    Returns
    -------
    TrainingInterval
        Mean with its interval; none where a training has none.
    """
    present = np.any([part.weight[:, 0] > 0 for part in parts], axis=0)
    left_out = np.stack([part.left_out[present, 0] for part in parts], 1)  # (G, S)
    patients = len(left_out)
    moved = left_out - left_out.mean(0)
    covariance = moved.T @ moved * (patients - 1) / max(1, patients)
    points = np.array([part.point[0] for part in parts])
    interval = interval_over_trainings(points, covariance, patients, arms or [range(len(parts))])
    reason = next((reason for part in parts for reason in part.reasons() if reason), "")
    return replace(interval, low=NAN, high=NAN, p=NAN, reason=reason) if reason else interval


def _shared_variance(covariance: Array, arms: Sequence[Array]) -> float:
    """Variance over patients of the (difference of) means; of other trainings where there are several."""
    signs = [1.0, *(-1.0 for _ in arms[1:])]
    total = 0.0
    for i, a in enumerate(arms):
        for j, b in enumerate(arms):
            block = covariance[np.ix_(a, b)]
            if i == j and a.size > 1:  # two different trainings share the patients; one with itself shares more
                total += float((block.sum() - np.trace(block)) / (a.size * (a.size - 1)))
            else:
                total += signs[i] * signs[j] * float(block.mean())
    return total


def cluster_influence(values: Array, group: Array, groups: int) -> tuple[Array, Array]:
    """Compute means of columns and how much each group moves them.

    Parameters
    ----------
    values : (N, K) array
        Values; NaN is undefined.
    group : (N,) int
        Group of each row, in [0, G).
    groups : int
        Number of groups G.

    Returns
    -------
    means : (K,) float64
        Means; NaN for a column without values.
    influence : (G, K) float64
        Rows whose outer products sum to the covariance of the means, corrected for few groups.
    """
    valid = ~np.isnan(values)
    count = valid.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(valid, values, 0.0).sum(0) / count
        moved = np.where(valid, values - means, 0.0) / count
    influence = np.zeros((groups, values.shape[1]))
    np.add.at(influence, group, moved)
    present = np.unique(group[valid.any(1)]).size
    return means, influence * (present / max(1, present - 1)) ** 0.5


def require_trainings(sources: Sequence[str], trainings: Trainings) -> None:
    """Check that trainings are models of the sources, each of one network.

    Parameters
    ----------
    sources : sequence of str
        Sources of a table.
    trainings : mapping of str to sequence of str
        Name of a network -> its trainings.

    Raises
    ------
    UnknownNameError
        If no source is of a model that is named.
    DataError
        If a model is named twice.
    """
    models = list(dict.fromkeys(Source.parse(source).model for source in sources))
    named = [model for members in trainings.values() for model in members]
    unknown = [model for model in named if model not in models]
    if unknown:
        raise UnknownNameError(
            f"no source is of the model {', '.join(map(repr, unknown))}; the sources are of {', '.join(models)}"
        )
    twice = sorted({model for model in named if named.count(model) > 1})
    if twice:
        raise DataError(f"{', '.join(twice)} is named as a training twice; a training belongs to one network")


def group_sources(sources: Sequence[str], trainings: Trainings) -> dict[str, tuple[str, ...]]:
    """Group sources of the same method whose models are trainings of one network.

    Parameters
    ----------
    sources : sequence of str
        Sources.
    trainings : mapping of str to sequence of str
        Name of a network -> its trainings.

    Returns
    -------
    dict of str to tuple of str
        Source with the name of the network -> sources of its trainings; other sources stand for themselves.
    """
    owner = {model: network for network, members in trainings.items() for model in members}
    grouped: dict[str, tuple[str, ...]] = {}
    for source in sources:
        parsed = Source.parse(source)
        name = str(Source(parsed.kind, owner.get(parsed.model, parsed.model), parsed.method))
        grouped[name] = (*grouped.get(name, ()), source)
    return grouped


def estimates_over_trainings(
    scores: pd.DataFrame, trainings: Trainings, protocols: ProtocolNames | None = None
) -> pd.DataFrame:
    """Estimate the mean score of networks over their trainings and over patients, per finding and over findings.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as in `sightline.estimates`.
    trainings : mapping of str to sequence of str
        Name of a network -> names of the models that are its trainings.
    protocols : str, Protocol, or sequence of them, optional
        Protocols to report; by default all that the table was scored under.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source (with the name of the network), finding, mean, low, high (95 %), n, patients,
        trainings, spread (standard deviation over trainings), scope (see `Scope`) and reason (why there is no
        interval).

    Raises
    ------
    UnknownNameError, DataError
        As `require_trainings`.
    """
    require_trainings(list(dict.fromkeys(scores["source"])), trainings)
    rows = []
    for protocol in select_protocols(scores, protocols):
        for metric in dict.fromkeys(scores["metric"]):
            matrix = arrange_scores(scores, metric, protocol, 1, 0)
            grouped = group_sources(list(dict.fromkeys(s for s, _ in matrix.keys)), trainings)
            head = {"protocol": protocol.name, "metric": metric}
            for source, members in grouped.items():
                if Source.parse(source).model in trainings:
                    rows += [{**head, "source": source, **row} for row in rows_over_trainings(matrix, (members,))]
    names = "protocol metric source finding mean low high n patients trainings spread scope reason"
    return pd.DataFrame(rows, columns=pd.Index(names.split()))


def rows_over_trainings(matrix: ScoreMatrix, arms: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield the means over trainings, or differences of them, per finding and over findings.

    Two arms of the same trainings, such as two methods on the same networks, are paired training by training.

    Parameters
    ----------
    matrix : ScoreMatrix
        Scores of one metric.
    arms : one or two sequences of str
        Sources of the trainings of a network, and of the one that is subtracted.

    Yields
    ------
    dict
        finding, the fields of `TrainingInterval`, n, patients, and trainings (of the first network).
    """
    column = {key: j for j, key in enumerate(matrix.keys)}
    sources = [source for arm in arms for source in arm]
    findings = [f for f in dict.fromkeys(f for _, f in matrix.keys) if all((s, f) in column for s in sources)]
    if not findings:
        return
    values = np.stack([matrix.values[:, [column[s, f] for s in sources]] for f in findings], 1)  # (N, F, S)
    values[np.isnan(values).any(2)] = np.nan  # a radiograph counts where every training has a score
    groups = int(matrix.group.max(initial=-1)) + 1
    means, influence = cluster_influence(values.reshape(len(values), -1), matrix.group, groups)
    means, influence = means.reshape(values.shape[1:]), influence.reshape(groups, *values.shape[1:])
    parts = np.split(np.arange(len(sources)), np.cumsum([len(arm) for arm in arms])[:-1])
    indices: list[list[int]] = [part.tolist() for part in parts]
    models = [[Source.parse(source).model for source in arm] for arm in arms]
    if len(arms) > 1 and models[0] == models[1]:
        (a, b), indices = indices, indices[:1]
        means, influence = means[:, a] - means[:, b], influence[:, :, a] - influence[:, :, b]
    valid = ~np.isnan(values[:, :, 0])
    defined = valid.any(0)
    columns: dict[str, list[int]] = {f: [i] for i, f in enumerate(findings)}
    columns[AVERAGE] = [int(i) for i in np.flatnonzero(defined)]
    for finding, chosen in columns.items():
        moved = influence[:, chosen].sum(1) / max(1, len(chosen))  # (G, S)
        point = means[chosen].mean(0) if chosen else np.full(means.shape[1], NAN)
        patients = int(np.unique(matrix.group[valid[:, chosen].any(1)]).size)
        interval = interval_over_trainings(point, moved.T @ moved, patients, indices)
        n = int(valid[:, chosen].sum())
        yield {"finding": finding, **asdict(interval), "n": n, "patients": patients, "trainings": len(arms[0])}


def similarity_over_trainings(similarity: pd.DataFrame) -> pd.DataFrame:
    """Estimate how similar the maps of a network are to those of its other trainings, over patients and trainings.

    Parameters
    ----------
    similarity : DataFrame
        Table of `sightline.evaluation.randomization`.

    Returns
    -------
    DataFrame
        Columns protocol, measure, method, mean, low, high (95 %), n, patients, trainings (that the network is compared
        with), spread, scope and reason. A failed map has similarity 0. No rows without two other trainings.
    """
    rows = []
    again = similarity[similarity["comparison"] == RETRAINED]
    for key, part in again.groupby(["protocol", "measure", "method"], sort=False):
        wide = part.pivot_table(
            index=["radiograph", "patient", "finding"], columns="versus", values="value", dropna=False
        ).dropna(how="all")
        trainings = wide.shape[1]
        if trainings < 2:
            continue
        values = wide.fillna(0.0).to_numpy(float)
        group, names = pd.factorize(wide.index.get_level_values("patient"))
        means, influence = cluster_influence(values, group, len(names))
        interval = asdict(interval_over_trainings(means, influence.T @ influence, len(names), [range(trainings)]))
        size = {"n": len(wide), "patients": len(names), "trainings": trainings}
        rows.append(dict(zip(("protocol", "measure", "method"), key, strict=True)) | interval | size)
    columns = [
        "protocol",
        "measure",
        "method",
        "mean",
        "low",
        "high",
        "n",
        "patients",
        "trainings",
        "spread",
        "scope",
        "reason",
    ]
    return pd.DataFrame(rows, columns=pd.Index(columns))
