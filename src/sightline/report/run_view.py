"""A run as the report reads it: its tables under one protocol, and the roles of its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.report.estimate import AVERAGE, Auroc, Estimate, read_aurocs, read_estimates
from sightline.report.run_tables import read_columns
from sightline.report.titles import higher_is_better, is_score, source_title
from sightline.runs.run import Run
from sightline.stats.reader_average import is_average, readers_behind
from sightline.studies.registry import StudySection, load_section


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
        table = read_columns(self.run, "scores", metric)
        return table[table["protocol"] == self.protocol]

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Table of estimates; empty if the run has none."""
        return read_columns(self.run, "estimates")

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Table of paired differences; empty if the run has none."""
        return read_columns(self.run, "differences")

    @cached_property
    def aurocs(self) -> tuple[Auroc, ...]:
        """AUROC of every model and finding, in the order of the table."""
        return read_aurocs(read_columns(self.run, "classification"))

    @cached_property
    def expected_maps(self) -> pd.DataFrame:
        """Maps that had to be scored: source, radiograph, finding, status, reason."""
        table = read_columns(self.run, "maps")
        return table[table["annotated"].astype(bool)]

    @cached_property
    def status(self) -> pd.DataFrame:
        """Table of the number of maps by source and status; empty if the run has none."""
        return read_columns(self.run, "status")

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
            table = read_columns(self.run, name)
            self._analyses[name] = table[table["protocol"] == self.protocol].reset_index(drop=True)
        return self._analyses[name]

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
        source = str(self.analysis("best_sources").set_index("metric")["source"].get(metric, ""))
        return source if source and self.kind(source) == "model" else (self.best or "")

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

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that the run was scored under."""
        return tuple(dict.fromkeys(self.estimates["protocol"]))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """All scores under the protocol's own binarizer, overlap and pointing first; without levels like ceilings."""
        names = (m for m in dict.fromkeys(self.estimates["metric"]) if "@" not in m and is_score(m))
        return tuple(sorted(names, key=lambda m: {"iou": 0, "pointing-game": 1}.get(m, 2)))

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """The one or two metrics that figures show: overlap and pointing, or the first two."""
        return self.metrics[:2]

    @cached_property
    def scored_findings(self) -> tuple[str, ...]:
        """Findings in the order of the data set."""
        present = dict.fromkeys(self.estimates["finding"])
        order = [f for f in self.info.get("dataset", {}).get("findings", ()) if f in present]
        return tuple(dict.fromkeys([*order, *(f for f in present if f != AVERAGE)]))

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Findings by their decrease from the human benchmark, largest first; else in the order of the data set."""
        table = self.decreases(self.main_metrics[0] if self.main_metrics else "")
        below = {f: d for f, d in zip(table["finding"], table["decrease"], strict=True) if not np.isnan(d)}
        return tuple(sorted(self.scored_findings, key=lambda f: -below.get(f, -np.inf)))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every source, best first by the first metric."""
        listed = [s for s in dict.fromkeys(self.estimates["source"]) if self.metrics and self.is_listed(s)]
        return tuple(sorted(listed, key=lambda s: (-self._rank(s, self.metrics[0]), s)))

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

    def _rank(self, source: str, metric: str, *, chosen: bool = False) -> float:
        """Return a score of which higher is better, if chosen of the selection data; minus infinity if undefined."""
        mean = self.estimate(source, metric).mean
        if chosen:
            mean = self._means_on_selection_data.get((metric, source), mean)
        return -np.inf if np.isnan(mean) else (mean if higher_is_better(metric) else -mean)

    @cached_property
    def _means_on_selection_data(self) -> dict[tuple[str, str], float]:
        """Mean by metric and source; empty without selection data."""
        table = self.analysis("selection")
        return dict(zip(zip(table["metric"], table["source"], strict=True), table["mean"], strict=True))

    @cached_property
    def untrained_models(self) -> frozenset[str]:
        """Models without a training record, whose maps are controls."""
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
        return tuple(s for s in self.sources if self.kind(s) == kind and np.isfinite(self._rank(s, self.metrics[0])))

    @property
    def best(self) -> str | None:
        """Source of a trained model that is best by the first metric, on the selection data if there are any."""
        return next(iter(self.best_per_model), None)

    @cached_property
    def best_per_model(self) -> tuple[str, ...]:
        """The best source of each trained model, at most three."""
        first: dict[str, str] = {}
        for source in sorted(self.sources_of_kind("model"), key=lambda s: -self._rank(s, self.metrics[0], chosen=True)):
            first.setdefault(Source.parse(source).model or source, source)
        return tuple(first.values())[:3]

    @property
    def control(self) -> str | None:
        """The strongest control."""
        return self.best_of_kind("control", self.metrics[0]) if self.metrics else None

    @cached_property
    def reader(self) -> str | None:
        """Human benchmark: the mean over readers, or the only reader, by the first metric that any reader has."""
        return next((r for m in self.main_metrics if (r := self.best_of_kind("reader", m))), None)

    @cached_property
    def _best_by_kind(self) -> dict[tuple[str, str], str | None]:
        """Best source by kind and metric, each found once."""
        return {}

    def best_of_kind(self, kind: str, metric: str) -> str | None:
        """Return the best source of a kind by one metric; of readers the human benchmark.

        Parameters
        ----------
        kind : str
            Kind, as `kind` returns it.
        metric : str
            Name of the metric.

        Returns
        -------
        str or None
            The source: for 'reader' the mean over readers, or the only reader. None if no source of the kind has a
            score, as readers of contours have none for pointing.
        """
        if (kind, metric) not in self._best_by_kind:
            candidates = [s for s in self.sources if self.kind(s) == kind and self.estimate(s, metric).is_defined]
            candidates = [s for s in candidates if is_average(s)] or candidates
            best = max(candidates, key=lambda s: self._rank(s, metric, chosen=True), default=None)
            self._best_by_kind[kind, metric] = best
        return self._best_by_kind[kind, metric]

    def source_for_metric(self, source: str, metric: str) -> str:
        """Return a source, or for a reader the human benchmark by the metric.

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
        return (self.best_of_kind("reader", metric) or source) if self.kind(source) == "reader" else source

    @cached_property
    def has_simulated_readers(self) -> bool:
        """Whether the readers are simulated."""
        readers = (self.reader or "", *readers_behind(self.sources, self.reader or ""))
        return bool(self.info.get("dataset", {}).get("simulated")) or any("simulated" in reader for reader in readers)

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
        parsed, readers = Source.parse(source), len(readers_behind(self.sources, source))
        return source_title(parsed, parsed.model in self.untrained_models, self.has_simulated_readers, readers)

    @cached_property
    def _estimates_by_key(self) -> dict[tuple[str, ...], Estimate]:
        return dict(read_estimates(self.estimates, ["protocol", "metric", "source", "finding"]))

    @cached_property
    def _differences_by_key(self) -> dict[tuple[str, ...], Estimate]:
        return dict(read_estimates(self.differences, ["protocol", "metric", "source", "versus", "finding"]))

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
        key = (protocol or self.protocol, metric, source)
        estimate = self._estimates_by_key.get((*key, finding), Estimate.undefined())
        if finding == AVERAGE and not estimate.is_defined and len(self.scored_findings) == 1:
            return self._estimates_by_key.get((*key, self.scored_findings[0]), Estimate.undefined())
        return estimate

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
        pairs = ((self.protocol, metric, *pair, finding) for pair in ((source, versus), (versus, source)))
        stored, reverse = map(self._differences_by_key.get, pairs)
        return stored or -(reverse or Estimate.undefined())
