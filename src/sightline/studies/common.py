"""The course that all studies take: a run with recorded options, and its data, models and options as one context."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from sightline._util.spec import parse_spec
from sightline.core import Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.evaluation.score_rows import METRICS, ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.score_table import ScoreTable
from sightline.methods.explain import explain, hash_weights
from sightline.methods.inference import ExplainOptions
from sightline.methods.predictions import predict
from sightline.methods.registry import methods as method_registry
from sightline.models import Model
from sightline.models.ensemble import Ensemble
from sightline.models.precision import Precision
from sightline.models.warnings import warn_about_models
from sightline.protocol import Protocol
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.estimates import paired_differences
from sightline.stats.model_comparison import auroc_over_trainings

UNTRAINED = "untrained"
"""Control of maps of the same method on random weights."""
_TITLES = {
    "localization": "Localization",
    "trust": "Trust",
    "gaze": "Gaze",
    "pretraining": "Pre-training",
    "selfexplain": "Self-explaining models",
}
M = TypeVar("M")


@contextmanager
def start_study(
    study: str, data: Dataset, protocols: Sequence[Protocol], options: Mapping[str, Any], out: Path
) -> Iterator[Run]:
    """Begin or continue the run of a study, locked within the block.

    Parameters
    ----------
    study
        Name of the study.
    data
        Data set of the study.
    protocols
        Protocols of scoring.
    options
        Recorded options.
    out
        Folder of the run.

    Yields
    ------
    Run
        The run, with data, protocols and input files recorded.

    Raises
    ------
    RunError
        If the folder holds something else, or if options, data or files differ from those it was begun with.
    """
    run = Run.start(out, study, options)
    with run.lock():
        yield record_inputs(run, data, protocols, title=_TITLES.get(study, study))


@dataclass(frozen=True, slots=True)
class StudyContext(Generic[M]):
    """Run, data, models and options of a study, opened once and handed to every step."""

    run: Run
    """Run of the study, locked."""
    data: Dataset
    """Data set of the study."""
    protocols: tuple[Protocol, ...]
    """Protocols of scoring."""
    models: M
    """Models of the study."""
    options: ExplainOptions
    """Findings, target output, seed and batch size."""
    precision: Precision = "float32"
    """Precision of the methods that allow another one."""

    @property
    def findings(self) -> tuple[str, ...]:
        """Findings of the study."""
        return self.options.findings

    @property
    def seed(self) -> int:
        """Seed of training, random draws and bootstrap."""
        return self.options.seed

    def record_models(
        self,
        models: Sequence[Model | Ensemble],
        methods: Sequence[str],
        other_models: Sequence[Model] = (),
        **fields: Any,
    ) -> None:
        """Record the models, methods and findings of the run, and warn of models whose settings are assumed.

        Parameters
        ----------
        models
            Models whose weights are recorded.
        methods
            Methods of the study.
        other_models
            Models that are checked for assumed settings only.
        fields
            More fields of run.json.

        Raises
        ------
        RunError
            If the run was begun with other weights.
        """
        notes = warn_about_models((*models, *other_models))
        described = check_model_weights(self.run, [describe_model(model) for model in models])
        self.run.update_info(
            notes=notes, models=described, methods=describe_methods(methods), findings=self.findings, **fields
        )

    def explain(
        self,
        model: Model | Ensemble,
        methods: Sequence[str],
        *,
        data: Dataset | None = None,
        findings: Sequence[str] | None = None,
        prefix: Source | str = "",
        seed: int | None = None,
    ) -> None:
        """Store the maps of a model.

        Parameters
        ----------
        model
            The model.
        methods
            Methods.
        data
            Radiographs that are explained; those of the study by default.
        findings
            Findings that are explained; those of the study by default.
        prefix
            Source without its method; the name of the model by default.
        seed
            Seed of random draws; that of the study by default.
        """
        explain(
            self.data if data is None else data,
            model,
            methods,
            findings=self.findings if findings is None else findings,
            out=self.run,
            target_output=self.options.target_output,
            batch_size=self.options.batch_size,
            seed=self.seed if seed is None else seed,
            source_prefix=str(prefix),
            precision=self.precision,
        )

    def predict(self, models: Sequence[Model], data: Dataset | None = None, table: str = "predictions") -> pd.DataFrame:
        """Write and return the table of the probabilities of models on every radiograph.

        Parameters
        ----------
        models
            The models.
        data
            Radiographs; those of the study by default.
        table
            Name of the table.

        Returns
        -------
        pandas.DataFrame
            A row per model, radiograph and finding.
        """
        predict(self.run, self.data if data is None else data, models, self.findings, table)
        return self.run.table(table)

    def write_auroc_over_trainings(self, predictions: pd.DataFrame, networks: Mapping[str, Sequence[str]]) -> None:
        """Write the table auroc_over_trainings of all pairs of networks, if one of them has several trainings.

        Parameters
        ----------
        predictions
            Probabilities and labels, as `predict` returns them.
        networks
            Name of a network -> names of the models that are its trainings.
        """
        if max(map(len, networks.values())) > 1:
            table = auroc_over_trainings(predictions, networks, list(combinations(networks, 2)))
            self.run.write_table("auroc_over_trainings", table)

    def score(self, maps: Maps, metrics: Sequence[str] = METRICS, data: Dataset | None = None) -> ScoreTable:
        """Score maps into the tables of the run.

        Parameters
        ----------
        maps
            Maps that are scored.
        metrics
            Names of metrics.
        data
            Radiographs; those of the study by default.

        Returns
        -------
        ScoreTable
            The tables.
        """
        options = ScoringOptions(self.protocols, self.findings, tuple(metrics), self.seed)
        return score_run(self.run, maps, self.data if data is None else data, options)

    def add_differences(
        self,
        scores: ScoreTable,
        pairs: Callable[[Sequence[str]], Sequence[tuple[str, str]]],
        resamples: int = 1000,
    ) -> None:
        """Add paired differences between sources to the table `differences`.

        Parameters
        ----------
        scores
            Scores of the run.
        pairs
            Function of all sources that returns the pairs (source, versus).
        resamples
            Number of bootstrap resamples.
        """
        between = paired_differences(scores.scores(), pairs, self.protocols, resamples, self.seed)
        self.run.write_table("differences", pd.concat([self.run.table("differences"), between], ignore_index=True))


class OpenedDatasets:
    """Data sets by their specs, each opened once."""

    def __init__(self, *datasets: Dataset) -> None:
        self._by_spec = {data.spec: data for data in datasets}

    def __call__(self, spec: str) -> Dataset:
        """Open a data set, or return it if it was opened before."""
        if spec not in self._by_spec:
            self._by_spec[spec] = open_dataset(spec)
        return self._by_spec[spec]


def describe_model(model: Model | Ensemble) -> dict[str, Any]:
    """Describe a model for run.json.

    Parameters
    ----------
    model
        The model.

    Returns
    -------
    dict
        Name, architecture, input, findings, feature layer, training record and the hash of the weights.
    """
    first = model.first_member if isinstance(model, Ensemble) else model
    layer = first.feature_layer
    fields: dict[str, Any] = {
        "name": model.name,
        "arch": first.arch,
        "parameters": sum(p.numel() for p in first.net.parameters()),
        "resize": first.resize,
        "side": first.side,
        "mean": first.mean,
        "std": first.std,
        "assumed": first.assumed_settings,
        "findings": model.findings,
        "features": None if layer is None else {"at": layer.name, "shape": layer.shape},
        "training": None if model.training_record is None else asdict(model.training_record),
        "weights": hash_weights(model),
    }
    if isinstance(model, Ensemble):
        fields |= {"members": len(model.members), "scale": model.scale, "aggregation": model.aggregation}
    return fields


PUBLISHED_METHODS = (
    "grad-cam",
    "gradient?reduce=abs-sum",
    "smoothgrad-squared",
    "integrated-gradients?nodes=10&rule=endpoints&reduce=abs-sum",
    "smooth-ig?squared=true&samples=25&sigma=0.15&nodes=10&rule=endpoints",
    "guided-backprop?reduce=abs-sum",
    "guided-grad-cam?reduce=abs-sum&normalized=true",
    "xrai",
)
"""The eight methods of Arun et al. 2021, 10.1148/ryai.2021200267, with the options of their code."""


def note_signed_channels(
    models: Sequence[Model | Ensemble], methods: Sequence[str], protocols: Sequence[Protocol]
) -> list[str]:
    """State which maps differ from those of published code, which sums magnitudes over the channels of an image.

    Parameters
    ----------
    models
        Models that are explained.
    methods
        Methods, as NAME?option=value.
    protocols
        Protocols of scoring.

    Returns
    -------
    list of str
        One sentence if signed channels are summed under published definitions; none for networks with one channel,
        where the two agree.
    """
    networks = [model.first_member if isinstance(model, Ensemble) else model for model in models]
    if all(p.definitions != "published" for p in protocols) or all(m.channels == 1 for m in networks):
        return []
    defaults = {m: inspect.signature(method_registry[m.partition("?")[0]].function).parameters for m in methods}
    chosen = {m: parse_spec(m)[2].get("reduce", p["reduce"].default) for m, p in defaults.items() if "reduce" in p}
    signed = [method for method, reduce in chosen.items() if not reduce.startswith("abs")]
    if not signed:
        return []
    return [
        f"The published PR area is of magnitudes that are summed over channels, but {', '.join(signed)} "
        f"sum{'s' if len(signed) == 1 else ''} signed channels first; the option reduce=abs-sum sums magnitudes"
    ]


def describe_methods(methods: Sequence[str]) -> dict[str, Any]:
    """Describe methods for run.json.

    Parameters
    ----------
    methods
        Methods, as NAME?option=value.

    Returns
    -------
    dict
        Method -> information of its registration.
    """
    return {name: asdict(method_registry[name.partition("?")[0]].info) for name in methods}
