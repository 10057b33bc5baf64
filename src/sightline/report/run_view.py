"""What a report looks at: the tables of a run, and which of its sources stand for model, control and reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Source
from sightline.errors import UnknownNameError
from sightline.metrics.registry import parse_metric
from sightline.runs.run import Run
from sightline.studies.registry import StudySection, load_section

AVERAGE = "average"
_METHOD_TITLES = {
    "grad-cam": "Grad-CAM",
    "grad-cam++": "Grad-CAM++",
    "hires-cam": "HiResCAM",
    "layer-cam": "LayerCAM",
    "cam": "CAM",
    "xgrad-cam": "XGrad-CAM",
    "eigen-cam": "Eigen-CAM",
    "ablation-cam": "Ablation-CAM",
    "score-cam": "Score-CAM",
    "guided-grad-cam": "Guided Grad-CAM",
    "gradient": "Gradient",
    "input-x-gradient": "Input × gradient",
    "smoothgrad": "SmoothGrad",
    "smoothgrad-squared": "SmoothGrad²",
    "vargrad": "VarGrad",
    "smooth-ig": "Smooth IG",
    "guided-backprop": "Guided backpropagation",
    "deconvnet": "DeconvNet",
    "deeplift": "DeepLIFT",
    "integrated-gradients": "Integrated Gradients",
    "gradient-shap": "GradientSHAP",
    "deepshap": "DeepSHAP",
    "lrp": "LRP",
    "occlusion": "Occlusion",
    "rise": "RISE",
    "xrai": "XRAI",
    "blur-ig": "Blur IG",
    "layer-conductance": "Layer conductance",
    "attention-rollout": "Attention rollout",
    "attention-relevance": "Attention relevance",
    "average-mask": "average mask",
    "guided-ig": "Guided IG",
    "image-text": "Image–text similarity",
    "intrinsic": "Own map",
    "average-gaze": "average gaze",
    "gaze-elsewhere": "gaze at another film",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval and what it is the mean of."""

    mean: float
    low: float
    high: float
    n: int
    patients: int

    @property
    def is_defined(self) -> bool:
        return not np.isnan(self.mean)

    @classmethod
    def undefined(cls) -> Estimate:
        """What is not there."""
        return cls(NAN, NAN, NAN, 0, 0)

    def text(self, digits: int = 2) -> str:
        """'0.31 [0.28, 0.34]'; the interval is left out where there is none, an en dash stands for NaN."""
        if not self.is_defined:
            return "–"
        if np.isnan(self.low) or np.isnan(self.high):
            return format_decimal(self.mean, digits)
        mean, low, high = (format_decimal(value, digits) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Auroc:
    """How well a model tells one finding (or `average`) present from absent."""

    model: str
    finding: str
    estimate: Estimate
    positives: int


def format_decimal(value: float, digits: int = 2) -> str:
    """A number for reading: fixed decimals, a true minus sign, no negative zero.

    >>> format_decimal(-0.125, 3), format_decimal(-0.001), format_decimal(float("nan"))
    ('−0.125', '0.00', '–')
    """
    if np.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if not text.strip("-0.") else "−")


@dataclass(frozen=True)
class RunView:
    """A run as the report sees it. `protocol` is the one that the main sections show."""

    run: Run
    protocol: str

    @classmethod
    def from_run(cls, run: Run) -> RunView:
        names = cls(run, "").protocols
        return cls(run, "corrected" if "corrected" in names else (names or ("",))[0])

    @cached_property
    def section(self) -> StudySection:
        """Part of the report that belongs to the run's study."""
        return load_section(str(self.info.get("study", "")))

    # -- tables ---------------------------------------------------------------------------------------------------

    @property
    def info(self) -> Mapping[str, Any]:
        return self.run.info

    def scores(self, metric: str) -> pd.DataFrame:
        """Scores of one metric under the main protocol."""
        if not self.run.has_table("scores"):
            return pd.DataFrame(columns=list(_COLUMNS["scores"]))
        table = self.run.table("scores", _COLUMNS["scores"], where=("metric", metric))
        return table[table["protocol"] == self.protocol]

    @cached_property
    def estimates(self) -> pd.DataFrame:
        return self._read_table("estimates")

    @cached_property
    def differences(self) -> pd.DataFrame:
        return self._read_table("differences")

    @cached_property
    def aurocs(self) -> tuple[Auroc, ...]:
        """AUROC of every model and finding, in the order of the table."""
        table = self._read_table("classification")
        table = table[table["metric"] == "auroc"]
        positives = table["positives"].fillna(0).to_numpy(int)
        rows = zip(read_estimates(table, ["model", "finding"]), positives, strict=True)
        return tuple(Auroc(model, finding, number, int(p)) for ((model, finding), number), p in rows)

    @cached_property
    def failed_maps(self) -> pd.DataFrame:
        """Maps that were to be scored and failed: source, radiograph, finding, status, why."""
        return self.expected_maps[self.expected_maps["status"] != "ok"]

    @cached_property
    def expected_maps(self) -> pd.DataFrame:
        """Maps that were to be scored: source, radiograph, finding, status, why."""
        table = self._read_table("maps")
        return table[table["annotated"].astype(bool)]

    @cached_property
    def status(self) -> pd.DataFrame:
        return self._read_table("status")

    def _read_table(self, name: str) -> pd.DataFrame:
        columns = _COLUMNS[name]
        return self.run.table(name, columns) if self.run.has_table(name) else pd.DataFrame(columns=list(columns))

    @cached_property
    def _analyses(self) -> dict[str, pd.DataFrame]:
        """Read once each, when asked for."""
        return {}

    def analysis(self, name: str) -> pd.DataFrame:
        """A table of `sightline.evaluation.analysis` under the main protocol; empty, with its columns, where a run
        has none."""
        if name not in self._analyses:
            table = self._read_table(name)
            self._analyses[name] = table[table["protocol"] == self.protocol].reset_index(drop=True)
        return self._analyses[name]

    @cached_property
    def _best_sources(self) -> dict[str, str]:
        table = self.analysis("best_sources")
        return dict(zip(table["metric"], table["source"], strict=True))

    def best_for(self, metric: str) -> str:
        """The best source of a trained model by one metric, '' where there is none."""
        found = self._best_sources.get(metric, "")
        return found if found and self.kind(found) == "model" else (self.best or "")

    def decreases(self, metric: str) -> pd.DataFrame:
        """The best source against the human benchmark by one metric, a row per finding and the average."""
        table = self.analysis("percentage_decrease")
        return table[(table["metric"] == metric) & (table["source"] == self.best_for(metric))]

    # -- what there is --------------------------------------------------------------------------------------------

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.estimates["protocol"]))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """All metrics under the protocol's own binarizer; `iou` and `pointing-game` first, where scored."""
        there = tuple(m for m in dict.fromkeys(self.estimates["metric"]) if "@" not in m)
        return tuple(sorted(there, key=lambda m: {"iou": 0, "pointing-game": 1}.get(m, 2)))

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """The one or two metrics that figures show: overlap and pointing, or the first two there are."""
        return self.metrics[:2]

    @cached_property
    def _findings(self) -> tuple[str, ...]:
        """In the order of the data set."""
        there = dict.fromkeys(self.estimates["finding"])
        order = [f for f in self.info.get("dataset", {}).get("findings", ()) if f in there]
        return tuple(dict.fromkeys([*order, *(f for f in there if f != AVERAGE)]))

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Farthest below the human benchmark first, by the first metric; without one in the order of the data set."""
        table = (
            self.decreases(self.main_metrics[0]) if self.main_metrics else pd.DataFrame({"finding": [], "decrease": []})
        )
        below = {f: d for f, d in zip(table["finding"], table["decrease"], strict=True) if not np.isnan(d)}
        return tuple(sorted(self._findings, key=lambda f: -below.get(f, -np.inf)))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every source, best first by the first metric."""
        there = [s for s in dict.fromkeys(self.estimates["source"]) if self.metrics and self.is_listed(s)]
        return tuple(sorted(there, key=lambda s: (-self._ranking_score(s), s)))

    def is_listed(self, source: str) -> bool:
        """A trust study asks of one model: its partners have maps to compare with, and no place of their own."""
        judged, parsed = self.info.get("evaluated_model", ""), Source.parse(source)
        return not judged or parsed.kind != "model" or parsed.model == judged

    def _ranking_score(self, source: str) -> float:
        mean = self.estimate(source, self.metrics[0]).mean
        return -np.inf if np.isnan(mean) else (mean if higher_is_better(self.metrics[0]) else -mean)

    # -- who is who -----------------------------------------------------------------------------------------------

    @cached_property
    def untrained_models(self) -> frozenset[str]:
        """Models without a training record: their maps are controls."""
        return frozenset(m["name"] for m in self.info.get("models", ()) if m.get("training") is None)

    def kind(self, source: str) -> str:
        """'model', 'control' (untrained networks among them), 'localizer', 'ceiling' or 'reader'."""
        parsed = Source.parse(source)
        return "control" if parsed.kind == "model" and parsed.model in self.untrained_models else parsed.kind

    def sources_of_kind(self, kind: str) -> tuple[str, ...]:
        """Sources of a kind with a defined average, best first."""
        return tuple(s for s in self.sources if self.kind(s) == kind and np.isfinite(self._ranking_score(s)))

    @property
    def best(self) -> str | None:
        """The source of a trained model with the highest average of the first metric: the one examples are shown of."""
        return next(iter(self.sources_of_kind("model")), None)

    @cached_property
    def best_per_model(self) -> tuple[str, ...]:
        """The best source of each trained model, at most three."""
        first: dict[str, str] = {}
        for source in self.sources_of_kind("model"):
            first.setdefault(Source.parse(source).model or source, source)
        return tuple(first.values())[:3]

    @property
    def control(self) -> str | None:
        """The strongest control."""
        return self.control_for(self.metrics[0]) if self.metrics else None

    def control_for(self, metric: str) -> str | None:
        """The strongest control by one metric."""
        return self._best_of_kind("control", metric)

    @property
    def reader(self) -> str | None:
        """The human benchmark by the first metric that any reader answers."""
        return next((r for r in map(self.reader_for, self.main_metrics) if r), None)

    def reader_for(self, metric: str) -> str | None:
        """The best reader by one metric: those who drew contours do not point, those who pointed drew none."""
        return self._best_of_kind("reader", metric)

    def _best_of_kind(self, kind: str, metric: str) -> str | None:
        there = [s for s in self.sources if self.kind(s) == kind and self.estimate(s, metric).is_defined]
        sign = -1 if higher_is_better(metric) else 1
        return min(there, key=lambda s: sign * self.estimate(s, metric).mean, default=None)

    def source_for_metric(self, source: str, metric: str) -> str:
        """The source itself, or for a reader the one who answers this metric."""
        return (self.reader_for(metric) or source) if self.kind(source) == "reader" else source

    @property
    def has_simulated_readers(self) -> bool:
        """Whether readers are simulated, and must be called so."""
        data = self.info.get("dataset", {})
        return bool(data.get("simulated")) or "simulated" in (self.reader or "")

    def label(self, source: str) -> str:
        """What a source is called in figures and sentences."""
        parsed = Source.parse(source)
        if parsed.kind == "reader":
            name = parsed.name.removeprefix("simulated").strip(" -_") or "reader"
            return f"simulated {name}" if self.has_simulated_readers else name
        name, _, options = parsed.method.partition("?")
        method = _METHOD_TITLES.get(name, name) + (f" ({options})" if options else "")
        if parsed.kind == "control":
            return f"control: {' '.join(filter(None, [*parsed.model.split('/'), method]))}"
        if parsed.kind in ("ceiling", "localizer"):
            return f"{parsed.kind}: {parsed.model or parsed.method}"
        untrained = " (untrained)" if parsed.model in self.untrained_models else ""
        return f"{method} · {parsed.model}{untrained}" if parsed.model else method

    # -- numbers --------------------------------------------------------------------------------------------------

    @cached_property
    def _estimates_by_key(self) -> dict[tuple[str, ...], Estimate]:
        keys = ["protocol", "metric", "source", "finding"]
        return dict(read_estimates(self.estimates, keys))

    @cached_property
    def _differences_by_key(self) -> dict[tuple[str, ...], Estimate]:
        keys = ["protocol", "metric", "source", "versus", "finding"]
        return dict(read_estimates(self.differences, keys))

    def estimate(self, source: str, metric: str, finding: str = AVERAGE, protocol: str = "") -> Estimate:
        """An estimate; undefined where the run has none. The average of a single finding is that finding."""
        protocol = protocol or self.protocol
        found = self._estimates_by_key.get((protocol, metric, source, finding), Estimate.undefined())
        if finding == AVERAGE and not found.is_defined and len(self._findings) == 1:
            return self._estimates_by_key.get((protocol, metric, source, self._findings[0]), Estimate.undefined())
        return found

    def difference(self, source: str, versus: str, metric: str, finding: str = AVERAGE) -> Estimate:
        """Paired difference source minus versus, whichever way round it was stored."""
        found = self._differences_by_key.get((self.protocol, metric, source, versus, finding))
        if found is not None:
            return found
        other = self._differences_by_key.get((self.protocol, metric, versus, source, finding))
        return (
            Estimate.undefined()
            if other is None
            else Estimate(-other.mean, -other.high, -other.low, other.n, other.patients)
        )


def read_estimates(
    table: pd.DataFrame, keys: list[str], mean: str = "mean", low: str = "low", high: str = "high"
) -> list[tuple[tuple[str, ...], Estimate]]:
    """Rows of a table as numbers, each under its keys."""
    names = list(zip(*(table[key].astype(str) for key in keys), strict=True))
    means = table[[mean, low, high]].to_numpy(float)
    empty = pd.Series(0, table.index)
    counts = np.stack([table.get(c, empty).fillna(0).to_numpy(int) for c in ("n", "patients")], axis=1)
    return [
        (key, Estimate(float(m), float(lo), float(hi), int(n), int(patients)))
        for key, (m, lo, hi), (n, patients) in zip(names, means, counts, strict=True)
    ]


def metric_title(metric: str) -> str:
    """A metric's title for axes; the name itself for a metric that is no longer registered."""
    try:
        entry, binarizer = parse_metric(metric)
    except UnknownNameError:
        return metric
    return f"{entry.info.title} ({binarizer})" if binarizer else entry.info.title


def higher_is_better(metric: str) -> bool:
    """Whether more is better; assumed for a metric that is no longer registered."""
    try:
        return parse_metric(metric)[0].info.higher_is_better
    except UnknownNameError:
        return True


_CASE = ("protocol", "source", "radiograph", "patient", "finding")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "scores": (*_CASE, "metric", "value", "status", "probability", "area"),
    "maps": ("source", "radiograph", "finding", "status", "reason", "annotated"),
    "estimates": ("protocol", "metric", "source", "finding", "mean", "low", "high", "n", "patients"),
    "differences": ("protocol", "metric", "finding", "source", "versus", "mean", "low", "high", "n", "patients"),
    "classification": ("model", "finding", "metric", "mean", "low", "high", "n", "positives", "patients"),
    "status": ("source", "status", "annotated", "maps"),
    "best_sources": ("protocol", "metric", "source"),
    "percentage_decrease": (
        "protocol",
        "metric",
        "source",
        "finding",
        "human",
        "model",
        "decrease",
        "low",
        "high",
        "n",
        "patients",
        "detectable",
    ),
    "slices": ("protocol", "slice", "metric", "source", "finding", "mean", "low", "high", "n", "patients"),
    "finding_correlations": ("protocol", "source", "metric", "factor", "rho", "low", "high", "findings"),
    "regressions": ("protocol", "source", "feature", "slope", "low", "high", "n", "patients", "stars", "outcome"),
    "confidence_regressions": (
        "protocol",
        "source",
        "finding",
        "metric",
        "slope",
        "low",
        "high",
        "n",
        "stars",
        "rho",
        "rho_low",
        "rho_high",
        "rho_stars",
    ),
    "tuned_thresholds": ("protocol", "source", "finding", "threshold", "iou", "n", "cutoff", "cutoff_iou", "cutoff_n"),
    "shapes": ("protocol", "radiograph", "finding", "instances", "size", "elongation", "irrectangularity"),
}
"""What a report reads of each table; a table that a run lacks is empty."""
