"""Tables of a run beyond means: slices, percentage decrease from a second reader, regressions and tuning.

After Saporta et al. 2022, 10.1038/s42256-022-00536-x, in the published and in a corrected form. All tables follow from
the tables of scores; no map is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from sightline.core import Array, Dataset, Source
from sightline.evaluation.case_table import (
    SLICES,
    CaseTable,
    Slice,
    best_source,
    model_sources,
    second_readers,
    slice_scores,
    tune_thresholds,
)
from sightline.evaluation.metric_suitability import compare_metrics
from sightline.evaluation.network_selection import select_networks
from sightline.evaluation.score_table import ScoreTable
from sightline.evaluation.subgroups import compare_subgroups
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE, ScoreMatrix, estimates
from sightline.stats.multi_reader import MIN_READERS
from sightline.stats.percentage_decrease import percentage_decrease
from sightline.stats.reader_average import ALL_READERS, average_readers, percentage_below_readers
from sightline.stats.regression import regress_on_confidence, regress_on_features, spearman
from sightline.stats.utility import AVERAGE_MASK

OUTCOMES = ("iou", "iou-gap", "pointing-game", "pointing-game-gap")
"""Outcomes that shapes of annotations are related to."""


def analyze(
    scores: ScoreTable,
    data: Dataset,
    protocols: Sequence[Protocol],
    *,
    seed: int,
    prevalence: Mapping[str, float] | None = None,
    selection: pd.DataFrame | None = None,
) -> None:
    """Write the tables of a scored run beyond means and differences.

    They are slices, percentage decrease, regressions, tuning, correlations, subgroups, the suitability of metrics, and
    the choice of a network for each method.

    Parameters
    ----------
    scores
        Tables of the run.
    data
        Data set that was scored.
    protocols
        Protocols of scoring.
    seed
        Seed of the bootstrap.
    prevalence
        Finding -> share of positive labels in [0, 1] in the training data of the model, if known.
    selection
        Scores on other data, as `sightline.evaluation.selection.read_selection` returns them, by which the best source
        of each metric is chosen; by default those of the run itself.
    """
    chosen_by = scores.estimates if selection is None else selection
    tables: dict[str, list[pd.DataFrame]] = {}
    for protocol in protocols:
        for name, frame in _analyze_protocol(scores, protocol, seed, prevalence or {}):
            if not frame.empty:
                frame.insert(0, "protocol", protocol.name)
                tables.setdefault(name, []).append(frame)
        tables.setdefault("best_sources", []).append(_best_sources(chosen_by, protocol))
    for name, frames in tables.items():
        scores.run.write_table(name, pd.concat(frames, ignore_index=True))
    select_networks(scores, protocols, seed=seed)
    compare_subgroups(scores, data, protocols, seed=seed)
    compare_metrics(scores, protocols, seed=seed)


def _analyze_protocol(
    scores: ScoreTable, protocol: Protocol, seed: int, prevalence: Mapping[str, float]
) -> list[tuple[str, pd.DataFrame]]:
    """Return (name, table) of one protocol."""
    readers = second_readers(scores.sources)
    model_cases = [scores.cases(protocol, source, readers) for source in model_sources(scores.sources)]
    tables = [("percentage_decrease", _percentage_decreases(scores, protocol, seed))]
    if not model_cases:
        return tables
    all_cases = [*model_cases, *(scores.cases(protocol, reader) for reader in readers)]
    tables += [("slices", _estimate_slices(all_cases, protocol, seed))]
    tables += [("finding_correlations", correlate_findings(scores.estimates, model_cases, protocol, prevalence))]
    for cases in model_cases:
        for name, frame in (
            ("regressions", _regress_on_features(cases)),
            ("confidence_regressions", _regress_on_confidence(cases)),
            ("tuned_thresholds", tune_thresholds(cases)),
        ):
            frame.insert(0, "source", cases.source)
            tables.append((name, frame))
    return tables


def _best_sources(estimates: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the best source of every metric."""
    metrics = dict.fromkeys(estimates["metric"])
    rows = [(protocol.name, metric, best_source(estimates, protocol.name, metric)) for metric in metrics]
    return pd.DataFrame([row for row in rows if row[-1]], columns=pd.Index(["protocol", "metric", "source"]))


def _estimate_slices(case_tables: Sequence[CaseTable], protocol: Protocol, seed: int) -> pd.DataFrame:
    frames = []
    for case_slice in SLICES:
        scores = slice_scores(case_tables, case_slice)
        parts = [estimates(scores, [protocol], seed=seed), average_readers(scores, [protocol])]
        frame = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        frame = frame.drop(columns="protocol")
        frame.insert(0, "slice", case_slice)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _percentage_decreases(scores: ScoreTable, protocol: Protocol, seed: int) -> pd.DataFrame:
    """Return how far every model source lies below the second readers, in percent, for overlap and pointing."""
    frames = []
    for metric, points in (("iou", False), ("pointing-game", True)):
        readers = second_readers(scores.sources, points=points)
        if not readers or not (scores.estimates["metric"] == metric).any():
            continue
        if len(readers) >= MIN_READERS:
            left_out = scores.leave_one_out([metric])
            table = percentage_below_readers(scores.scores([metric]), left_out, [protocol])
            if len(table):
                versus = str(Source("reader", ALL_READERS, "points" if points else ""))
                frames.append(table[table["versus"] == versus].drop(columns="protocol"))
            continue
        reader = readers[0]
        matrix = scores.matrix(metric, protocol, seed)
        candidates = model_sources(list(dict.fromkeys(s for s, _ in matrix.keys)))
        for source in candidates:
            pair = _pair_scores(matrix, reader, source)
            if pair is None:
                continue
            published = protocol.definitions == "published"
            frame = percentage_decrease(*pair, published=published, candidates=len(candidates))
            frames.append(frame.assign(metric=metric, source=source, versus=reader))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _pair_scores(matrix: ScoreMatrix, reader: str, source: str) -> tuple[list[str], Array, Array, Array, Array] | None:
    """Return the findings that both have, values of reader and source (N, F), groups and weights."""
    columns = {key: j for j, key in enumerate(matrix.keys)}
    shared = [f for s, f in matrix.keys if s == source and (reader, f) in columns]
    if not shared:
        return None
    human, model = (matrix.values[:, [columns[name, f] for f in shared]] for name in (reader, source))
    return shared, human, model, matrix.group, matrix.weights


def _regress_on_features(cases: CaseTable) -> pd.DataFrame:
    """Return table 1: overlap, pointing, and the gap to the second reader by shape and size."""
    definition = cases.protocol.definitions
    table = cases.outcomes("gt&pred" if definition == "published" else "gt_positive")
    frames = [regress_on_features(table, outcome, definition).assign(outcome=outcome) for outcome in OUTCOMES]
    return pd.concat(frames, ignore_index=True)


def _regress_on_confidence(cases: CaseTable) -> pd.DataFrame:
    """Return table 2: overlap and hits on annotated images, then overlap on all images, by the model's probability.

    On all images an annotation without a prediction and a prediction without an annotation overlap by 0, so that the
    number measures detection and localization together. A hit needs an annotation, so that hits have no such form.
    """
    definition = cases.protocol.definitions
    true_positive: Slice = "gt&pred" if definition == "published" else "gt_positive"
    outcomes: list[tuple[str, Slice, pd.Series[float]]] = [
        ("iou", true_positive, cases.overlap(true_positive)),
        ("pointing-game", "gt_positive", cases.hits("gt_positive")),
        ("iou", "full", cases.overlap("full")),
    ]
    frames = []
    for metric, case_slice, values in outcomes:
        table = cases.table.assign(**{metric: values})
        frames.append(regress_on_confidence(table, metric, definition).assign(metric=metric, slice=case_slice))
    return pd.concat(frames, ignore_index=True)


def correlate_findings(
    estimates: pd.DataFrame, case_tables: Sequence[CaseTable], protocol: Protocol, prevalence: Mapping[str, float]
) -> pd.DataFrame:
    """Correlate localization with how common, how large and how constant in place a finding is.

    A dozen findings give wide intervals.

    Parameters
    ----------
    estimates
        Table of estimates.
    case_tables
        Cases of the model's sources.
    protocol
        Protocol of scoring.
    prevalence
        Finding -> share of positive labels in the training data.

    Returns
    -------
    pandas.DataFrame
        Columns source, metric, factor, rho (Spearman), low, high (Fisher, 95 %), p, findings. The factor `consistency`
        is the mean IoU of the average-mask control, the overlap that other patients' annotations alone achieve.
    """
    means = estimates[(estimates["protocol"] == protocol.name) & (estimates["finding"] != AVERAGE)]
    prior = means[(means["source"] == AVERAGE_MASK) & (means["metric"] == "iou")]
    factors: dict[str, dict[str, float]] = {
        "prevalence": dict(prevalence),
        "size": {str(f): float(v) for f, v in case_tables[0].table.groupby("finding")["size"].mean().items()},
        "consistency": dict(zip(prior["finding"], prior["mean"], strict=True)),
    }
    rows = []
    for cases in case_tables:
        for metric in ("iou", "pointing-game"):
            of_source = means[(means["source"] == cases.source) & (means["metric"] == metric)]
            scores = of_source.set_index("finding")["mean"]
            for factor, values in factors.items():
                x = scores.index.to_series().map(values.get)
                rows.append((cases.source, metric, factor, *spearman(x.to_numpy(float), scores.to_numpy(float))))
    names = ("source", "metric", "factor", "rho", "low", "high", "p", "findings")
    return pd.DataFrame(rows, columns=pd.Index(names))
