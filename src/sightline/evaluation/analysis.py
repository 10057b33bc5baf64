"""What the tables of a run say beyond means: slices, the gap to a second reader, what explains success and failure.

After Saporta et al. 2022, 10.1038/s42256-022-00536-x, in the published and in a corrected form. Everything here is read
off the tables of a run; no map is touched again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from sightline.core import Array
from sightline.evaluation.case_table import (
    SLICES,
    CaseTable,
    best_source,
    find_second_reader,
    load_case_table,
    model_sources,
    slice_scores,
    tune_thresholds,
)
from sightline.protocol import Protocol
from sightline.runs.run import Run
from sightline.stats.estimates import AVERAGE, ScoreMatrix, arrange_scores, estimates
from sightline.stats.percentage_decrease import percentage_decrease
from sightline.stats.regression import regress_on_confidence, regress_on_features, spearman
from sightline.stats.utility import AVERAGE_MASK

OUTCOMES = ("iou", "iou-gap", "pointing-game", "pointing-game-gap")


def analyze(
    run: Run, protocols: Sequence[Protocol], *, seed: int, prevalence: Mapping[str, float] | None = None
) -> None:
    """Write the tables slices, percentage_decrease, regressions, confidence_regressions, tuned_thresholds,
    best_sources and finding_correlations of a scored run.

    prevalence: finding -> share of positive labels in the data the model was trained on, where that is known.
    """
    made: dict[str, list[pd.DataFrame]] = {}
    for protocol in protocols:
        for name, frame in _analyze_protocol(run, protocol, seed, prevalence or {}):
            if not frame.empty:
                frame.insert(0, "protocol", protocol.name)
                made.setdefault(name, []).append(frame)
    for name, frames in made.items():
        run.write_table(name, pd.concat(frames, ignore_index=True))


def _analyze_protocol(
    run: Run, protocol: Protocol, seed: int, prevalence: Mapping[str, float]
) -> list[tuple[str, pd.DataFrame]]:
    table = run.table("estimates")
    sources = list(dict.fromkeys(table["source"]))
    reader = find_second_reader(sources)
    told = [load_case_table(run, protocol, s, reader) for s in model_sources(sources)]
    found = [
        ("best_sources", _best_sources(table, protocol)),
        ("percentage_decrease", _percentage_decreases(run, protocol, table, seed)),
    ]
    if not told:
        return found
    beside = [*told, load_case_table(run, protocol, reader)] if reader else told
    found += [("slices", _estimate_slices(beside, protocol, seed))]
    found += [("finding_correlations", correlate_findings(table, told, protocol, prevalence))]
    for c in told:
        for name, frame in (
            ("regressions", _regress_on_features(c)),
            ("confidence_regressions", _regress_on_confidence(c)),
            ("tuned_thresholds", tune_thresholds(c)),
        ):
            frame.insert(0, "source", c.source)
            found.append((name, frame))
    return found


def _best_sources(table: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    metrics = dict.fromkeys(table["metric"])
    rows = [(m, best_source(table, protocol.name, m)) for m in metrics]
    return pd.DataFrame([r for r in rows if r[1]], columns=pd.Index(["metric", "source"]))


def _estimate_slices(case_tables: Sequence[CaseTable], protocol: Protocol, seed: int) -> pd.DataFrame:
    made = []
    for which in SLICES:
        frame = estimates(slice_scores(case_tables, which), [protocol], seed=seed).drop(columns="protocol")
        frame.insert(0, "slice", which)
        made.append(frame)
    return pd.concat(made, ignore_index=True)


def _percentage_decreases(run: Run, protocol: Protocol, table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """How far every model source lies below the second reader, in percent of that reader, for overlap and pointing."""
    made = []
    for metric, points in (("iou", False), ("pointing-game", True)):
        reader = find_second_reader(list(dict.fromkeys(table["source"])), points=points)
        if not reader or not (table["metric"] == metric).any():
            continue
        needed = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
        c = arrange_scores(run.table("scores", needed, where=("metric", metric)), metric, protocol, 1000, seed)
        for source in model_sources(list(dict.fromkeys(s for s, _ in c.keys))):
            pair = _pair_scores(c, reader, source)
            if pair is None:
                continue
            frame = percentage_decrease(*pair, published=protocol.definitions == "published")
            made.append(frame.assign(metric=metric, source=source, versus=reader))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame()


def _pair_scores(matrix: ScoreMatrix, reader: str, source: str) -> tuple[list[str], Array, Array, Array, Array] | None:
    """Findings both have, values of the reader and of the source (N, F), groups and weights."""
    at = {key: j for j, key in enumerate(matrix.keys)}
    shared = [f for s, f in matrix.keys if s == source and (reader, f) in at]
    if not shared:
        return None
    human, model = (matrix.values[:, [at[who, f] for f in shared]] for who in (reader, source))
    return shared, human, model, matrix.group, matrix.weights


def _regress_on_features(case_table: CaseTable) -> pd.DataFrame:
    """Table 1: what shape and size say of overlap, of pointing, and of the gap to the second reader."""
    definition = case_table.protocol.definitions
    t = case_table.outcomes("gt&pred" if definition == "published" else "gt_positive")
    made = [regress_on_features(t, outcome, definition).assign(outcome=outcome) for outcome in OUTCOMES]
    return pd.concat(made, ignore_index=True)


def _regress_on_confidence(case_table: CaseTable) -> pd.DataFrame:
    """Table 2: does a confident model point better? Overlap on all images, hits on the marked ones."""
    made = []
    for metric, values in (("iou", case_table.overlap("full")), ("pointing-game", case_table.hits("gt_positive"))):
        made.append(
            regress_on_confidence(
                case_table.table.assign(**{metric: values}), metric, case_table.protocol.definitions
            ).assign(metric=metric)
        )
    return pd.concat(made, ignore_index=True)


def correlate_findings(
    table: pd.DataFrame, case_tables: Sequence[CaseTable], protocol: Protocol, prevalence: Mapping[str, float]
) -> pd.DataFrame:
    """Over findings: does localization follow how common a finding is, how large, how constant its place?

    Columns source, metric, factor, rho (Spearman), low, high (Fisher, 95 %), p, findings. `consistency` is the mean IoU
    of the average-mask control, the overlap that knowing other patients alone achieves. A dozen findings say little:
    the intervals tell how little.
    """
    means = table[(table["protocol"] == protocol.name) & (table["finding"] != AVERAGE)]
    prior = means[(means["source"] == AVERAGE_MASK) & (means["metric"] == "iou")]
    factors: dict[str, dict[str, float]] = {
        "prevalence": dict(prevalence),
        "size": {str(f): float(v) for f, v in case_tables[0].table.groupby("finding")["size"].mean().items()},
        "consistency": dict(zip(prior["finding"], prior["mean"], strict=True)),
    }
    rows = []
    for c in case_tables:
        for metric in ("iou", "pointing-game"):
            own = means[(means["source"] == c.source) & (means["metric"] == metric)].set_index("finding")["mean"]
            for factor, values in factors.items():
                x = own.index.to_series().map(values.get)
                rows.append((c.source, metric, factor, *spearman(x.to_numpy(float), own.to_numpy(float))))
    names = ("source", "metric", "factor", "rho", "low", "high", "p", "findings")
    return pd.DataFrame(rows, columns=pd.Index(names))
