"""Ratings of maps by readers: means on a scale, choices between maps, and the agreement of readers.

Ratings are a table with the columns of `sightline.data.reader_study.rating_sheets.RATING_COLUMNS`. Intervals are over
patients; readers are fixed, so results speak of these readers only. Means and choices use the first occasion; the
second measures the
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
from sightline.stats.intervals import infer, mean_with_ci
from sightline.stats.jackknife import LeaveOneOut, average, from_values, leave_out_weights
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


def mean_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean answer per question, source and reader, and over all readers.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.

    Returns
    -------
    DataFrame
        Columns question, source, reader ('all': each reader with the same weight on a case), mean (for the choice:
        how often
        the source was chosen, in [0, 1]), low, high (95 %, over patients), n (answers), patients, reason (why there is
        no interval, or '').
    """
    rows = list[dict[str, Any]]()
    for question, source, reader, part in _iterate_parts(validate_ratings(ratings)):
        case = _mean_by_case(part, "value")
        numbers = mean_with_ci(case["value"], case["patient"], "share", _bounds(question)) | {"n": len(part)}
        del numbers["p"]
        rows.append({"question": question, "source": source, "reader": reader, **numbers})
    return pd.DataFrame(rows)


def _bounds(question: str) -> tuple[float, float]:
    """Lowest and highest answer."""
    return (0.0, 1.0) if question == CHOICE_QUESTION.name else (1.0, float(SCALE_POINTS))


def _iterate_parts(ratings: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    first = ratings[ratings["occasion"] == 0]
    for (question, source), part in first.groupby(["question", "source"], sort=False):
        yield str(question), str(source), ALL_READERS, part
        for reader, part_of_reader in part.groupby("reader", sort=False):
            yield str(question), str(source), str(reader), part_of_reader


def _mean_by_case(part: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Average each case over readers."""
    return part.groupby(["radiograph", "patient", "finding"], as_index=False, sort=True)[list(columns)].mean()


def contrasts(ratings: pd.DataFrame) -> pd.DataFrame:
    """Estimate the difference of every two sources, paired by reader and case, per question.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.

    Returns
    -------
    DataFrame
        Columns question, source, versus, mean (source minus versus), low, high (95 %, over patients), p (two-sided, of
        the distribution of the interval), n, patients, reason (why there is no interval, or ''), wins (share of pairs
        that prefer the source, ties half), p_holm (over the pairs of a question).
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
                {"question": question, "source": source, "versus": versus, **_paired_difference(frame, str(question))}
            )
        add_holm(results)
        rows += results
    return pd.DataFrame(rows)


def _paired_difference(pairs: pd.DataFrame, question: str) -> dict[str, Any]:
    if pairs.empty:
        numbers = dict.fromkeys(("mean", "low", "high", "p"), NAN)
        return {**numbers, "n": 0, "patients": 0, "reason": "no case with both", "wins": NAN}
    case = _mean_by_case(pairs, "gap")
    low, high = _bounds(question)
    numbers = mean_with_ci(case["gap"], case["patient"], bounds=(low - high, high - low))
    return {**numbers, "n": len(pairs), "wins": float(pairs["wins"].mean())}


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


def rater_agreement(ratings: pd.DataFrame) -> pd.DataFrame:
    """Estimate kappa between every two readers and of each with themselves, per question.

    Weights are quadratic on the scale of five points, over all maps that both judged, and nominal for the choice,
    over sheets.

    Parameters
    ----------
    ratings : DataFrame
        Columns `RATING_COLUMNS`.

    Returns
    -------
    DataFrame
        Columns question, kind ('between' or 'within'), reader, versus, kappa, low, high (95 %, over patients), n (pairs
        of answers), patients, reason (why there is no interval, or ''). The reader 'all' is the mean over readers.
        Kappa is NaN where both gave one answer to everything, and then stays out of the mean.
    """
    rows = list[dict[str, Any]]()
    ratings = _encode_choices(validate_ratings(ratings))
    patients = pd.Index(sorted(ratings["patient"].unique()))
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
                {"question": question, "kind": kind, **row} for row in _kappa_rows(counted, _weighting(str(question)))
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


def _kappa_rows(counted: list[tuple[str, str, Array]], distance: KappaWeighting) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair of readers, and their mean."""
    each = [kappa_left_out(table, distance) for _, _, table in counted]
    for (a, b, _), r in zip(counted, each, strict=True):
        yield {"reader": a, "versus": b, **_kappa_with_ci(r)}
    if len(each) > 1:
        known = [r for r in each if not np.isnan(r.point[0])] or each
        yield {"reader": ALL_READERS, "versus": ALL_READERS, **_kappa_with_ci(average(known))}


def kappa_left_out(table: Array, distance: KappaWeighting) -> LeaveOneOut:
    """Compute kappa for the sample and without each patient.

    Parameters
    ----------
    table : (G, K, K) array
        Counts of the answers of two readers on each patient.
    distance : {'quadratic', 'nominal'}
        As in `kappa`.

    Returns
    -------
    LeaveOneOut
        One column.
    """
    size, k, _ = table.shape
    values = kappa((leave_out_weights(size) @ table.reshape(size, -1)).reshape(-1, k, k), distance)
    answers = table.sum((1, 2))
    return from_values(values, answers, int(answers.sum()))


def _kappa_with_ci(r: LeaveOneOut) -> dict[str, Any]:
    row = infer(r, "correlation", (-1.0, 1.0)).row()
    return {"kappa": row["mean"], **{key: row[key] for key in ("low", "high", "n", "patients", "reason")}}
