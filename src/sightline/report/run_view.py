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
    """Mean with its 95 % interval and its sample size."""

    mean: float
    low: float
    high: float
    n: int
    patients: int

    @property
    def is_defined(self) -> bool:
        """Whether there is a number."""
        return not np.isnan(self.mean)

    @classmethod
    def undefined(cls) -> Estimate:
        """Make the estimate that stands for a missing one.

        Returns
        -------
        Estimate
            NaN, from 0 cases.
        """
        return cls(NAN, NAN, NAN, 0, 0)

    def text(self, digits: int = 2) -> str:
        """Write the number with its interval.

        Parameters
        ----------
        digits : int
            Number of decimals.

        Returns
        -------
        str
            Such as '0.31 [0.28, 0.34]'; without an interval where there is none, and an en dash for NaN.
        """
        if not self.is_defined:
            return "–"
        if np.isnan(self.low) or np.isnan(self.high):
            return format_decimal(self.mean, digits)
        mean, low, high = (format_decimal(value, digits) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Auroc:
    """AUROC of a model for one finding, or averaged over findings."""

    model: str
    finding: str
    estimate: Estimate
    positives: int


def format_decimal(value: float, digits: int = 2) -> str:
    """Format a number for reading: fixed decimals, a true minus sign, no negative zero.

    Parameters
    ----------
    value : float
        The number.
    digits : int
        Number of decimals.

    Returns
    -------
    str
        The text; an en dash for NaN.

    Examples
    --------
    >>> format_decimal(-0.125, 3), format_decimal(-0.001), format_decimal(float("nan"))
    ('−0.125', '0.00', '–')
    """
    if np.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if not text.strip("-0.") else "−")


@dataclass(frozen=True)
class RunView:
    """Run as the report reads it: its tables under one protocol, and the roles of its sources."""

    run: Run
    protocol: str

    @classmethod
    def from_run(cls, run: Run) -> RunView:
        """View a run under its main protocol: the corrected one if it was used, else the first.

        Parameters
        ----------
        run : Run
            The run.

        Returns
        -------
        RunView
            The view.
        """
        names = cls(run, "").protocols
        return cls(run, "corrected" if "corrected" in names else (names or ("",))[0])

    @cached_property
    def section(self) -> StudySection:
        """Part of the report that belongs to the run's study."""
        return load_section(str(self.info.get("study", "")))

    # -- tables ---------------------------------------------------------------------------------------------------

    @property
    def info(self) -> Mapping[str, Any]:
        """Content of run.json."""
        return self.run.info

    def scores(self, metric: str) -> pd.DataFrame:
        """Return the scores of one metric under the main protocol.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        DataFrame
            Rows of the table `scores`; none if the run has no such table.
        """
        if not self.run.has_table("scores"):
            return pd.DataFrame(columns=list(_COLUMNS["scores"]))
        table = self.run.table("scores", _COLUMNS["scores"], where=("metric", metric))
        return table[table["protocol"] == self.protocol]

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Table of estimates; empty if the run has none."""
        return self._read_table("estimates")

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Table of paired differences; empty if the run has none."""
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
        """Table of the number of maps by source and status; empty if the run has none."""
        return self._read_table("status")

    def _read_table(self, name: str) -> pd.DataFrame:
        columns = _COLUMNS[name]
        return self.run.table(name, columns) if self.run.has_table(name) else pd.DataFrame(columns=list(columns))

    @cached_property
    def _analyses(self) -> dict[str, pd.DataFrame]:
        """Tables by name, each read once."""
        return {}

    def analysis(self, name: str) -> pd.DataFrame:
        """Return a table of `sightline.evaluation.analysis` under the main protocol.

        Parameters
        ----------
        name : str
            Name of the table.

        Returns
        -------
        DataFrame
            Its rows; an empty table with the same columns if the run has none.
        """
        if name not in self._analyses:
            table = self._read_table(name)
            self._analyses[name] = table[table["protocol"] == self.protocol].reset_index(drop=True)
        return self._analyses[name]

    @cached_property
    def _best_sources(self) -> dict[str, str]:
        table = self.analysis("best_sources")
        return dict(zip(table["metric"], table["source"], strict=True))

    def best_for(self, metric: str) -> str:
        """Return the best source of a trained model by one metric.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        str
            The source; empty if there is none.
        """
        found = self._best_sources.get(metric, "")
        return found if found and self.kind(found) == "model" else (self.best or "")

    def decreases(self, metric: str) -> pd.DataFrame:
        """Return the percentage decrease of the best source from the human benchmark by one metric.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        DataFrame
            A row for each finding and for the average.
        """
        table = self.analysis("percentage_decrease")
        return table[(table["metric"] == metric) & (table["source"] == self.best_for(metric))]

    # -- what there is --------------------------------------------------------------------------------------------

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that the run was scored under."""
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
        """Findings in the order of the data set."""
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
        """Return True unless a source belongs to a model that is only compared with the evaluated one.

        Parameters
        ----------
        source : str
            The source.

        Returns
        -------
        bool
            False for the partner networks of a trust study, which have maps but are not ranked.
        """
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
        """Return the kind of a source.

        Parameters
        ----------
        source : str
            The source.

        Returns
        -------
        str
            'model', 'control' (which includes untrained networks), 'localizer', 'ceiling' or 'reader'.
        """
        parsed = Source.parse(source)
        return "control" if parsed.kind == "model" and parsed.model in self.untrained_models else parsed.kind

    def sources_of_kind(self, kind: str) -> tuple[str, ...]:
        """Return the sources of a kind that have a defined average, best first.

        Parameters
        ----------
        kind : str
            Kind, as `kind` returns it.

        Returns
        -------
        tuple of str
            The sources.
        """
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
        """Return the strongest control by one metric.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        str or None
            The source; None if there is none.
        """
        return self._best_of_kind("control", metric)

    @property
    def reader(self) -> str | None:
        """The human benchmark by the first metric that any reader answers."""
        return next((r for r in map(self.reader_for, self.main_metrics) if r), None)

    def reader_for(self, metric: str) -> str | None:
        """Return the best reader by one metric.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        str or None
            The source; None if no reader has a score. Readers who drew contours have no score for pointing, and the
            reverse.
        """
        return self._best_of_kind("reader", metric)

    def _best_of_kind(self, kind: str, metric: str) -> str | None:
        there = [s for s in self.sources if self.kind(s) == kind and self.estimate(s, metric).is_defined]
        sign = -1 if higher_is_better(metric) else 1
        return min(there, key=lambda s: sign * self.estimate(s, metric).mean, default=None)

    def source_for_metric(self, source: str, metric: str) -> str:
        """Return a source, or for a reader the best reader by the metric.

        Parameters
        ----------
        source : str
            The source.
        metric : str
            Name of the metric.

        Returns
        -------
        str
            The source to show.
        """
        return (self.reader_for(metric) or source) if self.kind(source) == "reader" else source

    @property
    def has_simulated_readers(self) -> bool:
        """Whether readers are simulated, and must be called so."""
        data = self.info.get("dataset", {})
        return bool(data.get("simulated")) or "simulated" in (self.reader or "")

    def label(self, source: str) -> str:
        """Return the name of a source in figures and sentences.

        Parameters
        ----------
        source : str
            The source.

        Returns
        -------
        str
            The name.
        """
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
        """Return the mean score of a source.

        Parameters
        ----------
        source : str
            The source.
        metric : str
            Name of the metric.
        finding : str
            Finding, or the average over findings.
        protocol : str
            Protocol; the main one by default.

        Returns
        -------
        Estimate
            The estimate; undefined if the run has none. The average over one finding is that finding.
        """
        protocol = protocol or self.protocol
        found = self._estimates_by_key.get((protocol, metric, source, finding), Estimate.undefined())
        if finding == AVERAGE and not found.is_defined and len(self._findings) == 1:
            return self._estimates_by_key.get((protocol, metric, source, self._findings[0]), Estimate.undefined())
        return found

    def difference(self, source: str, versus: str, metric: str, finding: str = AVERAGE) -> Estimate:
        """Return the paired difference of a source minus another, in whichever direction it is stored.

        Parameters
        ----------
        source : str
            The source.
        versus : str
            The source that is subtracted.
        metric : str
            Name of the metric.
        finding : str
            Finding, or the average over findings.

        Returns
        -------
        Estimate
            The difference; undefined if the run has none.
        """
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
    """Read the rows of a table as estimates.

    Parameters
    ----------
    table : DataFrame
        Table with the named columns, and `n` and `patients` where known.
    keys : list of str
        Columns that identify a row.
    mean : str
        Column of the mean.
    low : str
        Column of the lower end.
    high : str
        Column of the upper end.

    Returns
    -------
    list[tuple[tuple[str, ...], Estimate]]
        Pairs of keys and estimate, in the order of the rows.
    """
    names = list(zip(*(table[key].astype(str) for key in keys), strict=True))
    means = table[[mean, low, high]].to_numpy(float)
    empty = pd.Series(0, table.index)
    counts = np.stack([table.get(c, empty).fillna(0).to_numpy(int) for c in ("n", "patients")], axis=1)
    return [
        (key, Estimate(float(m), float(lo), float(hi), int(n), int(patients)))
        for key, (m, lo, hi), (n, patients) in zip(names, means, counts, strict=True)
    ]


def metric_title(metric: str) -> str:
    """Return the title of a metric.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    str
        The title; the name itself if the metric is not registered.
    """
    try:
        entry, binarizer = parse_metric(metric)
    except UnknownNameError:
        return metric
    return f"{entry.info.title} ({binarizer})" if binarizer else entry.info.title


def higher_is_better(metric: str) -> bool:
    """Return True if a higher score is better.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    bool
        True as well for a metric that is not registered.
    """
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
