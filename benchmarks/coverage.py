"""Do 95 % intervals hold the truth 95 times in 100? Every kind of number of the reports, with few patients.

    python benchmarks/coverage.py [SAMPLES]      about ten minutes; prints coverage with its own binomial error

The patients of `simulations.py` have one to four alike radiographs, findings are correlated, and means lie also near 0
and 1. 'before' are the figures of the same samples with the bootstrap that these intervals replaced
(`coverage_before.csv`: BCa for means, percentiles for AUROC and agreement, radiographs as independent for Spearman's
correlation, CR1 for slopes). 'p < 0.05' is how often a difference of two equal sources has a p below 0.05.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import simulations as sim

from sightline.core import Array
from sightline.stats.auroc import auroc_left_out
from sightline.stats.icc import icc
from sightline.stats.intervals import Inference, Scale, infer, infer_ratio
from sightline.stats.jackknife import average, average_columns, from_values, leave_one_out, leave_out_weights
from sightline.stats.label_budget import DETECTOR, SALIENCY_HEAD, find_crossing
from sightline.stats.multi_reader import jackknife_covariance, multi_reader_estimate
from sightline.stats.ratings import kappa_left_out
from sightline.stats.reader_average import ReaderSums
from sightline.stats.regression import rank_correlation_left_out, slope_left_out
from sightline.stats.simultaneous import simultaneous_levels
from sightline.stats.trainings import cluster_influence, interval_over_trainings

PATIENTS = (8, 15, 40, 100)
STRIP = 100
"""Samples of scores that are simulated at a time."""
Row = tuple[str, Array, Array, Array]
"""Kind of number, low, high and truth, (n,) each."""


def score_rows(rng: np.random.Generator, samples: int, patients: int) -> Iterator[Row]:
    """Means, differences and percentage decreases of overlap and hits, by finding and on average."""
    group = np.repeat(np.arange(patients), sim.FILMS)
    for place, level in (("", sim.USUAL), (" near 0 and 1", sim.EXTREME)):
        first_mean, worse_mean = sim.true_means(level)
        for metric in ("IoU", "hit"):
            drawn = sim.draw_scores(rng, samples, patients, level, metric == "hit")
            columns = [x.transpose(1, 2, 0, 3).reshape(len(group), -1) for x in drawn]
            first, worse = (leave_one_out(columns[k], group) for k in (0, 2))
            null, shift = (leave_one_out(columns[0] - columns[k], group) for k in (1, 2))
            parts = [np.arange(sim.FINDINGS) + sim.FINDINGS * k for k in range(samples)]
            for name, r, truth, scale in (
                ("mean", first, first_mean, "share"),
                ("paired difference", shift, first_mean - worse_mean, "linear"),
                ("paired difference of equals", null, 0 * first_mean, "linear"),
            ):
                bounds = (0.0, 1.0) if scale == "share" else (-1.0, 1.0)
                kind: Scale = "share" if scale == "share" else "linear"
                for over, one, true in (
                    ("by finding", infer(r, kind, bounds), np.tile(truth, samples)),
                    ("average", infer(average_columns(r, parts), kind, bounds), np.full(samples, truth.mean())),
                ):
                    yield f"{name} of {metric}{place}, {over}", *ends_of(one), true
            if not place:
                ratio = infer_ratio(average_columns(worse, parts), average_columns(first, parts))
                yield (
                    f"percentage decrease of {metric}",
                    *ends_of(ratio),
                    np.full(samples, worse_mean.mean() / first_mean.mean()),
                )


def ends_of(found: Inference) -> tuple[Array, Array]:
    """Low and high."""
    return found.low, found.high


def auroc_rows(rng: np.random.Generator, samples: int, patients: int) -> Iterator[Row]:
    """AUROC, its differences, and the difference of the average over findings that non-inferiority is judged by."""
    for name, lift in (("0.78", 1.1), ("0.94", 2.2)):
        pairs, label = sim.draw_predictions(np.random.default_rng(7), 60_000, lift)
        truth = sim.area(pairs.x, label), sim.area(pairs.y, label)
        found = list[tuple[float, ...]]()
        for _ in range(samples):
            areas = []
            for _ in range(3):  # findings of the same patients are drawn anew: the average over them
                pairs, label = sim.draw_predictions(rng, patients, lift)
                areas.append([auroc_left_out(x, label, pairs.patient, patients) for x in (pairs.x, pairs.y)])
            mine, other = areas[0]
            over = average([a - b for a, b in areas])
            each = (infer(mine, "share", (0, 1)), infer(mine - other, bounds=(-1, 1)), infer(over, bounds=(-1, 1)))
            found.append(tuple(float(end[0]) for one in each for end in ends_of(one)))
        columns = np.array(found).T
        gap = np.full(samples, truth[0] - truth[1])
        yield f"AUROC of {name}", columns[0], columns[1], np.full(samples, truth[0])
        yield f"difference of AUROC, {name}", columns[2], columns[3], gap
        yield f"non-inferiority (average of 3 findings), {name}", columns[4], columns[5], gap


def one_by_one(samples: int, estimate: Callable[[], Inference]) -> tuple[Array, Array]:
    """Low and high of so many samples."""
    rows = [ends_of(estimate()) for _ in range(samples)]
    return np.array([float(low[0]) for low, _ in rows]), np.array([float(high[0]) for _, high in rows])


def other_rows(rng: np.random.Generator, samples: int, patients: int) -> Iterator[Row]:
    """Correlations, slopes and the agreement of readers."""
    whole = (-1.0, 1.0)
    for slope in (0.0, 0.4):
        big = sim.draw_confidence(np.random.default_rng(7), 30_000, slope)
        for name, column in (("by finding", 3), ("all together", -1)):

            def correlation(slope: float = slope, column: int = column) -> Inference:
                s = sim.draw_confidence(rng, patients, slope)
                x, y, group = (
                    (s.x.ravel(), s.y.ravel(), np.repeat(s.patient, sim.FINDINGS))
                    if column < 0
                    else (s.x[:, column], s.y[:, column], s.patient)
                )
                return infer(rank_correlation_left_out(x, y, group), "correlation", whole)

            x, y = (big.x.ravel(), big.y.ravel()) if column < 0 else (big.x[:, column], big.y[:, column])
            truth = np.full(samples, sim.rank_correlation(x, y))
            yield f"Spearman {name}, slope {slope:g}", *one_by_one(samples, correlation), truth

    def regression() -> Inference:
        s, finding = sim.draw_sizes(rng, patients)
        design = np.column_stack([s.x, finding[:, None] == np.unique(finding)]).astype(float)
        return infer(slope_left_out(design, s.y, s.patient))

    yield "slope of a regression", *one_by_one(samples, regression), np.full(samples, 0.1)
    yield from agreement_rows(rng, samples, patients)


def tabulate(s: sim.Pairs, patients: int) -> Array:
    """Counts of the answers of both readers, (patients, 5, 5)."""
    table = np.zeros((patients, 5, 5))
    np.add.at(table, (s.patient, s.x.astype(int) - 1, s.y.astype(int) - 1), 1)
    return table


def agreement_rows(rng: np.random.Generator, samples: int, patients: int) -> Iterator[Row]:
    """Kappa, the intraclass correlation, and the crossing of two curves."""
    big = sim.draw_ratings(np.random.default_rng(7), 100_000)
    answers = np.stack([big.x, big.y], 1)
    truth = float(kappa_left_out(tabulate(big, 100_000).sum(0, keepdims=True), "quadratic").point[0])

    def kappa() -> Inference:
        table = tabulate(sim.draw_ratings(rng, patients), patients)
        return infer(kappa_left_out(table, "quadratic"), "correlation", (-1, 1))

    def intraclass() -> Inference:
        s = sim.draw_ratings(rng, patients)
        values = icc(np.stack([s.x, s.y], 1), leave_out_weights(patients)[:, s.patient])
        return infer(from_values(values, np.bincount(s.patient), len(s.x)), "correlation", (-1, 1))

    yield "kappa of two readers", *one_by_one(samples, kappa), np.full(samples, truth)
    whole = float(icc(answers, np.ones((1, len(answers))))[0])
    yield "intraclass correlation", *one_by_one(samples, intraclass), np.full(samples, whole)
    _, first, second = sim.draw_budget(np.random.default_rng(7), 100_000)
    gap = (first - second).mean(0)
    k = int(np.flatnonzero(gap > 0)[-1])
    share, logs = gap[k] / (gap[k] - gap[k + 1]), np.log1p(sim.BUDGETS)
    point = float(np.expm1(logs[k] + share * (logs[k + 1] - logs[k])))
    ends = np.array([crossing(rng, patients) for _ in range(samples)])
    yield "crossing of curves over labels", ends[:, 0], ends[:, 1], np.full(samples, point)


def crossing(rng: np.random.Generator, patients: int) -> tuple[float, float]:
    """Low and high of the crossing; a bound beyond the budgets is 0 or infinite."""
    patient, first, second = sim.draw_budget(rng, patients)
    cells = {
        (role, budget): leave_one_out(values[:, [k]], patient)
        for role, values in ((SALIENCY_HEAD, first), (DETECTOR, second))
        for k, budget in enumerate(sim.BUDGETS)
    }
    found = find_crossing(cells)
    return (0.0 if np.isnan(found["low"]) else found["low"]), (np.inf if np.isnan(found["high"]) else found["high"])


def several_rows(rng: np.random.Generator, samples: int, patients: int) -> Iterator[Row]:
    """What several readers, several trainings, and the choice among several methods add to the patients."""
    for readers in (2, 3, 5):
        ends = np.array([below_readers(rng, patients, readers) for _ in range(samples)])
        yield f"difference from {readers} readers", ends[:, 0], ends[:, 1], np.full(samples, -sim.READER_GAP)
    for trainings in (2, 3, 5):
        ends = np.array([over_trainings(rng, patients, trainings) for _ in range(samples)])
        yield f"mean over {trainings} trainings", ends[:, 0], ends[:, 1], np.full(samples, 0.5)
        yield f"difference of networks with {trainings} trainings", ends[:, 2], ends[:, 3], np.zeros(samples)
    for candidates in (3, 6, 12, 27):
        ends = np.array([best_of(rng, patients, candidates) for _ in range(samples)])
        yield f"mean of the best of {candidates} methods", ends[:, 0], ends[:, 1], np.full(samples, 0.5)


def below_readers(rng: np.random.Generator, patients: int, readers: int) -> tuple[float, float]:
    """Low and high of the difference of a map from the mean over readers."""
    patient, human, model = sim.draw_readers(rng, patients, readers)
    gap = (model - human).transpose(1, 0, 2)
    sums, counts = np.zeros((2, patients, *gap.shape[1:]))
    np.add.at(sums, patient, np.nan_to_num(gap))
    np.add.at(counts, patient, ~np.isnan(gap))
    part = ReaderSums({"gap": sums}, counts, ("a", "b", "c")).select(range(3))
    _, levels, without = part.levels("gap")
    return multi_reader_estimate(levels, jackknife_covariance(without), len(without)).interval()


def over_trainings(rng: np.random.Generator, patients: int, trainings: int) -> tuple[float, float, float, float]:
    """Low and high of the mean over trainings of a network, and of its difference from another network."""
    patient, values = sim.draw_trainings(rng, patients, trainings)
    means, influence = cluster_influence(values, patient, patients)
    covariance = influence.T @ influence
    arms = [list(range(trainings)), list(range(trainings, 2 * trainings))]
    mean, gap = (interval_over_trainings(means, covariance, patients, chosen) for chosen in (arms[:1], arms))
    return mean.low, mean.high, gap.low, gap.high


def best_of(rng: np.random.Generator, patients: int, candidates: int) -> tuple[float, float]:
    """Low and high of the method that is best on the same radiographs, from intervals that hold for all together."""
    patient, values = sim.draw_candidates(rng, patients, candidates)
    columns = leave_one_out(values, patient)
    wide = infer(columns, "share", (0, 1), simultaneous_levels(columns, ["all"] * candidates))
    best = int(np.argmax(columns.point))
    return float(wide.low[best]), float(wide.high[best])


def measure(samples: int) -> pd.DataFrame:
    """Columns kind, patients, covered, given (share of samples with an interval), width0 (of those, without width)."""
    rows = []
    for patients in PATIENTS:
        for rows_of in (score_rows, auroc_rows, other_rows, several_rows):
            parts: dict[str, list[Row]] = {}
            sizes = [STRIP] * (samples // STRIP) if rows_of is score_rows else [samples]
            rng = np.random.default_rng((patients, len(rows_of.__name__)))
            for size in sizes:
                for row in rows_of(rng, size, patients):
                    parts.setdefault(row[0], []).append(row)
            for kind, chunks in parts.items():
                low, high, truth = (np.concatenate([chunk[k] for chunk in chunks]) for k in (1, 2, 3))
                given = ~np.isnan(low)
                held, flat = (low <= truth) & (truth <= high), low == high
                shares = [float(x[given].mean()) if given.any() else np.nan for x in (held, flat)]
                rows.append((kind, patients, shares[0], float(given.mean()), shares[1]))
    return pd.DataFrame(rows, columns=["kind", "patients", "covered", "given", "width0"])


def main() -> int:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found = measure(samples)
    known = Path(__file__).with_name("coverage_before.csv")
    before = pd.read_csv(known).set_index(["kind", "patients"])["covered"] if known.exists() else pd.Series(dtype=float)
    error = 1.96 * (0.05 * 0.95 / samples) ** 0.5
    print(f"coverage of 95 % intervals over {samples} samples (± {error:.3f}), before -> after, by number of patients")
    for kind, part in found.groupby("kind", sort=False):
        cells = [
            f"{100 * before.get((kind, r.patients), np.nan):5.1f} -> {100 * r.covered:5.1f}"
            + (f" ({100 * r.given:.0f} % given)" if r.given < 0.995 else "")
            for r in part.itertuples()
        ]
        print(f"  {kind:58} {'   '.join(cells)}", flush=True)
    found.to_csv(sys.argv[2], index=False) if len(sys.argv) > 2 else None
    enough = found["covered"] >= np.where(found["patients"] < 15, 0.9 - error, 0.93 - error)
    for row in found[~enough | (found["width0"] > 0)].itertuples():
        print(f"FAILS: {row.kind}, {row.patients} patients: {100 * row.covered:.1f} %, {row.width0:.3f} without width")
    print("every interval covers" if enough.all() else "some intervals cover too little")
    return 0 if enough.all() and not found["width0"].any() else 1


if __name__ == "__main__":
    sys.exit(main())
