"""Ratings of maps by readers: means on a scale, choices between maps, and the agreement of readers.

Ratings are a table with the columns of `sightline.data.reader_study.rating_sheets.RATING_COLUMNS`. Resamples draw
patients;
readers are fixed, so results speak of these readers only. Means and choices use the first occasion; the second
measures the
agreement of a reader with themselves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.data.reader_study.rating_sheets import CHOICE_QUESTION, QUESTIONS, RATING_COLUMNS
from sightline.errors import DataError
from sightline.stats.bootstrap import RESAMPLES, draw_weights, interval, p_value, replicate, statistic_with_ci
from sightline.stats.multiplicity import add_holm

SCALE_POINTS = 5
"""Points of the scale of answers."""
ALL_READERS = "all"
"""Reader of a row that is the mean over readers."""
KappaWeighting = Literal["quadratic", "nominal"]
"""Weights of disagreement, see `kappa`."""


def validate_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """Check a table of ratings.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.

    Returns
    -------
    DataFrame
        The same table.

    Raises
    ------
    DataError
        If columns are missing, a question or value does not exist, or a question is answered twice.
    """
    lacking = [c for c in RATING_COLUMNS if c not in ratings.columns]
    if lacking:
        raise DataError(f"ratings have no {', '.join(lacking)}; their columns are {', '.join(RATING_COLUMNS)}")
    known = {**{q.name: range(1, SCALE_POINTS + 1) for q in QUESTIONS}, CHOICE_QUESTION.name: range(2)}
    for question in map(str, ratings["question"].unique()):
        if question not in known:
            raise DataError(f"question {question!r}; there are {', '.join(known)}")
        part, allowed = ratings[ratings["question"] == question], known[question]
        wrong = part[~part["value"].isin(allowed)]
        if len(wrong):
            raise DataError(
                f"{question} of {wrong['radiograph'].iloc[0]} is {wrong['value'].iloc[0]!r}; allowed: "
                f"{allowed[0]} to {allowed[-1]}, whole; leave out what was not answered"
            )
    twice = ratings.duplicated([c for c in RATING_COLUMNS if c not in ("value", "patient")])
    if twice.any():
        row = ratings[twice].iloc[0]
        raise DataError(
            f"{row['reader']} answers {row['question']} of {row['source']} on {row['radiograph']} twice on "
            f"occasion {row['occasion']}; occasion 0 is the first, 1 the repeat"
        )
    return ratings


def mean_ratings(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Estimate the mean answer per question, source and reader, and over all readers.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns question, source, reader ('all': each reader with the same weight on a case), mean (for the choice:
        how often
        the source was chosen, in [0, 1]), low, high (95 %, BCa, over patients), n (answers), patients.
    """
    rows = list[dict[str, Any]]()
    for question, source, reader, part in _iterate_parts(validate_ratings(ratings)):
        case = _mean_by_case(part, "value")
        group = pd.factorize(case["patient"], sort=True)[0]
        r = replicate(case[["value"]].to_numpy(float), group, draw_weights(int(group.max()) + 1, RESAMPLES, seed))
        mean, low, high = (float(end[0]) for end in interval(r, "bca"))
        rows.append(
            {
                "question": question,
                "source": source,
                "reader": reader,
                "mean": mean,
                "low": low,
                "high": high,
                "n": len(part),
                "patients": int(r.groups[0]),
            }
        )
    return pd.DataFrame(rows)


def _iterate_parts(ratings: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    first = ratings[ratings["occasion"] == 0]
    for (question, source), part in first.groupby(["question", "source"], sort=False):
        yield str(question), str(source), ALL_READERS, part
        for reader, part_of_reader in part.groupby("reader", sort=False):
            yield str(question), str(source), str(reader), part_of_reader


def _mean_by_case(part: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Average each case over readers."""
    return part.groupby(["radiograph", "patient", "finding"], as_index=False, sort=True)[list(columns)].mean()


def contrasts(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Estimate the difference of every two sources, paired by reader and case, per question.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns question, source, versus, mean (source minus versus), low, high (95 %, BCa, over patients), p
        (two-sided, from
        the same resamples), wins (share of pairs that prefer the source, ties half), n, patients, p_holm (over the
        pairs of a
        question). NaN with a single patient.
    """
    first = validate_ratings(ratings)
    first = first[first["occasion"] == 0]
    rows = list[dict[str, Any]]()
    key = ["reader", "radiograph", "patient", "finding"]
    for question, part in first.groupby("question", sort=False):
        wide = part.pivot_table(index=key, columns="source", values="value")
        results = []
        for source, versus in combinations(dict.fromkeys(part["source"]), 2):
            both = wide[[source, versus]].dropna()
            gap = both[source] - both[versus]
            frame = gap.rename("gap").reset_index().assign(wins=((gap > 0) + (gap == 0) / 2).to_numpy())
            results.append(
                {"question": question, "source": source, "versus": versus, **_paired_difference(frame, seed)}
            )
        add_holm(results)
        rows += results
    return pd.DataFrame(rows)


def _paired_difference(pairs: pd.DataFrame, seed: int) -> dict[str, float]:
    if pairs.empty:
        return {"mean": NAN, "low": NAN, "high": NAN, "p": NAN, "wins": NAN, "n": 0, "patients": 0}
    case = _mean_by_case(pairs, "gap")
    group = pd.factorize(case["patient"], sort=True)[0]
    r = replicate(case[["gap"]].to_numpy(float), group, draw_weights(int(group.max()) + 1, RESAMPLES, seed))
    mean, low, high = (float(end[0]) for end in interval(r, "bca"))
    p = p_value(r.draws[:, 0]) if r.groups[0] > 1 else NAN
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "p": p,
        "wins": float(pairs["wins"].mean()),
        "n": len(pairs),
        "patients": int(r.groups[0]),
    }


def kappa(table: Array, weighting: KappaWeighting) -> Array:
    """Compute Cohen's kappa of tables of counts: 1 minus observed by expected disagreement.

    Parameters
    ----------
    table : (..., K, K) array
        Counts of the answers of one reader (rows) and another (columns).
    weighting : {'quadratic', 'nominal'}
        quadratic: disagreement grows with the square of the distance (Cohen 1968, 10.1037/h0026256); nominal: it is 1
        for
        all different answers (Cohen 1960, 10.1177/001316446002000104).

    Returns
    -------
    (...) float64
        Kappa; NaN where no disagreement is expected, because both always gave one answer, or none.

    Examples
    --------
    >>> round(float(kappa(np.array([[20, 5], [10, 15]]), "nominal")), 3)
    0.4
    """
    table = np.asarray(table, float)
    answers = np.arange(table.shape[-1])
    disagreement = (
        (answers[:, None] - answers) ** 2 if weighting == "quadratic" else (answers[:, None] != answers).astype(float)
    )
    total = table.sum((-2, -1))
    observed = (table * disagreement).sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (table.sum(-1)[..., :, None] * table.sum(-2)[..., None, :] * disagreement).sum((-2, -1)) / total
        agreement: Array = np.where(expected > 0, 1 - observed / expected, np.nan)
    return agreement


def rater_agreement(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Estimate kappa between every two readers and of each with themselves, per question.

    Weights are quadratic on the scale of five points, over all maps that both judged, and nominal for the choice,
    over sheets.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns question, kind ('between' or 'within'), reader, versus, kappa, low, high (95 %, percentiles, over
        patients), n
        (pairs of answers), patients, dropped (resamples of 1000 without a kappa, which the interval leaves out). The
        reader
        'all' is the mean over readers. Kappa is NaN where both gave one answer to everything, and then stays out of the
        mean; a resample in which that happens to any reader of the mean has none.
    """
    rows = list[dict[str, Any]]()
    ratings = _encode_choices(validate_ratings(ratings))
    patients = pd.Index(sorted(ratings["patient"].unique()))
    weights = draw_weights(len(patients), RESAMPLES, seed)
    for question, part in ratings.groupby("question", sort=False):
        readers = list(dict.fromkeys(part["reader"]))
        by_reader = {(r, o): answers for (r, o), answers in part.groupby(["reader", "occasion"], sort=False)}
        pairs = [("between", a, b, by_reader.get((a, 0)), by_reader.get((b, 0))) for a, b in combinations(readers, 2)]
        pairs += [("within", a, a, by_reader.get((a, 0)), by_reader.get((a, 1))) for a in readers]
        for kind in ("between", "within"):
            counted = [
                (a, b, _count_pairs(x, y, patients, str(question)))
                for k, a, b, x, y in pairs
                if k == kind and x is not None and y is not None
            ]
            rows += [
                {"question": question, "kind": kind, **row}
                for row in _kappa_rows(counted, weights, _weighting(str(question)))
            ]
    return pd.DataFrame(rows)


def _weighting(question: str) -> KappaWeighting:
    return "nominal" if question == CHOICE_QUESTION.name else "quadratic"


def _encode_choices(ratings: pd.DataFrame) -> pd.DataFrame:
    """Reduce the choice to one row per sheet, whose value is the number of the chosen source."""
    chosen = ratings[(ratings["question"] == CHOICE_QUESTION.name) & (ratings["value"] == 1)]
    number = pd.Index(sorted(ratings["source"].unique())).get_indexer(pd.Index(chosen["source"]))
    return pd.concat([ratings[ratings["question"] != CHOICE_QUESTION.name], chosen.assign(value=number, source="")])


def _count_pairs(ratings_a: pd.DataFrame, ratings_b: pd.DataFrame, patients: pd.Index[Any], question: str) -> Array:
    """Compare every two raters on what both rated, float64 (G, K, K)."""
    key: list[Hashable] = ["radiograph", "patient", "finding", "source"]
    both = ratings_a.merge(ratings_b, on=key, suffixes=("", "_other"))
    first, second = both["value"].to_numpy(int), both["value_other"].to_numpy(int)
    if question != CHOICE_QUESTION.name:
        first, second = first - 1, second - 1
    size = max(SCALE_POINTS, int(max(first.max(initial=0), second.max(initial=0))) + 1)
    table = np.zeros((len(patients), size, size))
    np.add.at(table, (patients.get_indexer(pd.Index(both["patient"])), first, second), 1)
    return table


def _kappa_rows(counted: list[tuple[str, str, Array]], w: Array, distance: KappaWeighting) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair of readers, and their mean."""
    each = list[tuple[Array, Array]]()
    for a, b, table in counted:
        g, k, _ = table.shape
        draws = kappa((w.astype(float) @ table.reshape(g, -1)).reshape(-1, k, k), distance)
        each.append((np.append(kappa(table.sum(0), distance), draws), table.sum((1, 2))))
        yield {"reader": a, "versus": b, **_kappa_with_ci(*each[-1])}
    if len(each) > 1:
        known = [pair for pair in each if not np.isnan(pair[0][0])] or each
        values, counts = (np.stack(columns, 1) for columns in zip(*known, strict=True))
        yield {"reader": ALL_READERS, "versus": ALL_READERS, **_kappa_with_ci(values.mean(1), counts.sum(1))}


def _kappa_with_ci(values: Array, ratings: Array) -> dict[str, float]:
    """Return a row of kappa (1 + B,), the sample's first. ratings: (G,), of each patient."""
    patients = int((ratings > 0).sum())
    kappa_, low, high = statistic_with_ci(values, patients)
    return {
        "kappa": kappa_,
        "low": low,
        "high": high,
        "n": int(ratings.sum()),
        "patients": patients,
        "dropped": int(np.isnan(values[1:]).sum()),
    }
