"""Localization study: overlap of maps with the annotations of radiologists, compared with a second radiologist.

After Saporta et al. 2022, 10.1038/s42256-022-00536-x.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from sightline.core import NAN, Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.patients import require_disjoint_patients
from sightline.data.registry import is_synthetic
from sightline.errors import DataError, SightlineError
from sightline.evaluation.analysis import analyze
from sightline.evaluation.chexlocalize_csv import (
    check_chexlocalize_options,
    chexlocalize_folders,
    write_chexlocalize_csv,
)
from sightline.evaluation.comparison import main_metrics, write_comparisons
from sightline.evaluation.prior import open_prior, prior_source
from sightline.evaluation.score_rows import METRICS, ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.selection import SELECTION_FOLDER, is_run, read_selection
from sightline.evaluation.thresholds import resolve_protocols, threshold_provenance
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import TargetOutput
from sightline.methods.explain import require_methods
from sightline.methods.inference import ExplainOptions
from sightline.metrics.registry import require_annotation_metric, resolve_metric_aliases
from sightline.models import Model, with_random_weights
from sightline.models.ensemble import Ensemble, open_model_or_ensemble
from sightline.models.precision import Precision
from sightline.models.zoo import open_model
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import recorded_options
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.studies.common import (
    UNTRAINED,
    OpenedDatasets,
    StudyContext,
    note_signed_channels,
    start_study,
)
from sightline.studies.leakage import require_held_out
from sightline.studies.model_set import ModelSet
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

PHANTOM_DATA = "phantom:400?split=test&size=384"
PHANTOM_TRAIN_DATA = "phantom:2600?start=100000&size=160"
PHANTOM_SELECTION_DATA = "phantom:200?split=val&size=384"
METHODS = ("grad-cam", "grad-cam++", "integrated-gradients?nodes=16")
Control = Literal["center", "noise", "edges", "average-mask", "untrained"]


@dataclass(frozen=True, slots=True)
class _SourceNames:
    """What maps are compared: methods, controls, the first method on random weights, and an average of annotations."""

    methods: tuple[str, ...]
    controls: tuple[str, ...]
    has_untrained: bool
    prior: str
    """Training data whose annotations are averaged; empty for none."""


def localization(
    *,
    data: str = PHANTOM_DATA,
    model: tuple[str, ...] = (),
    methods: tuple[str, ...] = METHODS,
    controls: tuple[Control, ...] = ("center", "noise", "edges", "average-mask", "untrained"),
    metrics: tuple[str, ...] = METRICS,
    findings: str = "",
    protocol: ProtocolChoice = "corrected",
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: str = "",
    probability_cutoffs: str = "",
    include_unannotated: bool = True,
    chexlocalize_csv: Path | None = None,
    chexlocalize_csv_flat: bool = False,
    target_output: TargetOutput = "logit",
    train_data: str = "",
    select_on: str = "",
    prior: str = "",
    out: Path = Path("runs/localization"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Run:
    """Explain a model's findings, score the maps against annotations, and compare them with readers and controls.

    Parameters
    ----------
    data
        Data set with annotations, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoints, or models as NAME?option=value (`sightline list models`), each with ?name=... to name it in tables;
        on the phantom, a small network is trained if none is named.
    methods
        Saliency methods, as NAME?option=value; `sightline list methods` names them.
    controls
        Maps to compare with: center, noise, edges, average-mask, and untrained (the first method on random weights).
    metrics
        Metrics; `sightline list metrics` names them.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    binarizer
        Rule that turns maps into masks, instead of the protocol's own: otsu, above:T or top:FRACTION.
    smooth_window
        Side of a box filter before Otsu's threshold: a share of the height if below 1, else pixels; 0 for none.
    map_thresholds
        Thresholds of maps per finding, tuned on other data: a run folder, or a CSV with columns threshold and task.
    probability_cutoffs
        Probability cutoffs per finding, for the results on all images: a run folder, or a CSV with columns
        prob_threshold and task.
    include_unannotated
        Include images without annotations, for the results on all images.
    chexlocalize_csv
        Folder for files as the public CheXlocalize scripts write them, one folder per source (published protocol).
    chexlocalize_csv_flat
        Write the files of a single source into that folder itself.
    target_output
        Output that is explained: the logit or the probability.
    train_data
        Train a small network on this data set instead of naming a model.
    select_on
        Validation data on which the best source of each kind is chosen, so that the data are used once, to test it: a
        data set, or a run folder in which the same sources were scored. Without it, the best is chosen on the data
        themselves, and the intervals of the report hold for all sources of a kind together. The default phantom has
        its own validation data.
    prior
        Training data whose annotations, averaged for each finding, are one more control; its patients must be others.
        The control average-mask averages those of the other patients of the data instead.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, noise and bootstrap resamples.
    explain_batch
        Images per batch of explanations; no result depends on it.
    device
        Device of the models: cpu or cuda.
    precision
        With bfloat16, methods whose maps agree with those of float32 on the first images are computed in it; run.json
        records which.

    Returns
    -------
    Run
        The run with its tables.

    Raises
    ------
    SightlineError
        For an option that is not allowed, data that cannot be read, or a folder that holds another run.
    """
    options = recorded_options(locals())
    protocols = resolve_protocols(protocol, binarizer, smooth_window, map_thresholds, probability_cutoffs)
    check_chexlocalize_options(chexlocalize_csv, protocols, metrics, include_unannotated)
    metrics = resolve_metric_aliases(metrics)
    _check_names(metrics, methods)
    datasets = OpenedDatasets(open_dataset(data))
    opened = datasets(data)
    names = _SourceNames(methods, tuple(name for name in controls if name != UNTRAINED), UNTRAINED in controls, prior)
    control_maps = _open_controls(opened, names, datasets, seed)
    with start_study("localization", opened, protocols, options, out) as run:
        models = _open_models(run, datasets, opened, (model, train_data), seed, device)
        sources = [f"{model.name}/{method}" for model in models for method in methods]
        csv_folders = (
            chexlocalize_folders(chexlocalize_csv, sources, flat=chexlocalize_csv_flat) if chexlocalize_csv else {}
        )
        explain_options = ExplainOptions(
            _select_findings(opened, models, findings), target_output, seed, batch_size=explain_batch
        )
        study = StudyContext(run, opened, protocols, models, explain_options, precision)
        provenance = threshold_provenance(run, opened, map_thresholds, probability_cutoffs)
        study.record_models(
            models.models,
            methods,
            threshold_provenance=provenance,
            published_notes=note_signed_channels(models.models, methods, protocols),
        )
        scoring = ScoringOptions(protocols, study.findings, metrics, seed, include_unannotated)
        select_on = select_on or (PHANTOM_SELECTION_DATA if data == PHANTOM_DATA else "")
        selection = _select(study, select_on, datasets, names, scoring) if select_on else None
        _explain(study, names)
        maps = CombinedMaps((run, *control_maps, ReaderMaps(opened)))
        scores = score_run(run, maps, opened, scoring)
        prevalence = _training_prevalence(models, datasets)
        analyze(scores, opened, protocols, seed=seed, prevalence=prevalence, selection=selection)
        write_comparisons(scores, protocols, main_metrics(metrics), seed, run.info["models"])
        if csv_folders:
            write_chexlocalize_csv(scores, run, opened, csv_folders, protocols, seed)
        run.write_table("classification", estimate_auroc(_collect_predictions(study, methods[0])))
        return run.update_info(sources=list(maps.sources))


def _select(
    study: StudyContext[ModelSet],
    select_on: str,
    datasets: OpenedDatasets,
    names: _SourceNames,
    scoring: ScoringOptions,
) -> pd.DataFrame:
    """Write and return the scores of the same sources on other data, where the best is chosen."""
    selection = (
        Run.open(select_on)
        if is_run(select_on)
        else _score_selection(study, datasets(select_on), datasets, names, scoring)
    )
    candidates = [f"{model.name}/{method}" for model in study.models for method in names.methods]
    candidates += [str(Source("control", "", name)) for name in names.controls]
    candidates += [str(Source("control", UNTRAINED, names.methods[0]))] if names.has_untrained else []
    candidates += [prior_source(names.prior)] if names.prior else []
    table, origin = read_selection(selection, (study.run, study.data), candidates, scoring)
    study.run.write_table("selection", table)
    study.run.update_info(selection=origin)
    return table


def _score_selection(
    study: StudyContext[ModelSet],
    data: Dataset,
    datasets: OpenedDatasets,
    names: _SourceNames,
    scoring: ScoringOptions,
) -> Run:
    """Explain and score the selection data in a run of their own, below the folder of the study."""
    patients = {radiograph.patient for radiograph in data.radiographs}
    require_disjoint_patients("the choice of the best source", data.spec, patients, study.data)
    require_held_out(study.models.models, data, datasets, allow_validation=True)
    options = {**study.run.info["options"], "data": data.spec, "select_on": ""}
    with start_study("localization", data, study.protocols, options, study.run.path / SELECTION_FOLDER) as run:
        inner = replace(study, run=run, data=data)
        inner.record_models(study.models.models, names.methods)
        _explain(inner, names)
        maps = CombinedMaps((run, *_open_controls(data, names, datasets, study.seed)))
        score_run(run, maps, data, replace(scoring, include_unannotated=False))
        return run.update_info(sources=list(maps.sources))


def _check_names(metrics: Sequence[str], methods: Sequence[str]) -> None:
    """Look every name up before any work is done."""
    for name in metrics:
        require_annotation_metric(name)
    require_methods(methods)
    if not methods or not metrics:
        raise DataError("name at least one method and one metric; `sightline list` shows them")


def _open_models(
    run: Run, datasets: OpenedDatasets, data: Dataset, specs: tuple[Sequence[str], str], seed: int, device: str
) -> ModelSet:
    """Open the models named, or train one; two models may not share a name."""
    model_specs, train_data = specs
    if model_specs and train_data:
        raise DataError("give --model to explain models you have, or --train-data to train one; not both")
    if not model_specs and not train_data:
        if not is_synthetic(data.spec):
            raise DataError("no model is named: give --model CHECKPOINT, or --train-data SPEC to train a small network")
        train_data = PHANTOM_TRAIN_DATA
    if train_data:
        source = datasets(train_data)
        blank = open_model("small", source.findings, seed=seed)
        ModelSet((blank,)).to_device(device)
        config = TrainingConfig(epochs=12, batch_size=16, augment=False, seed=seed)
        models = ModelSet((fit(blank, source, run.path / "training", config, workers=os.cpu_count() or 1),))
    else:
        models = ModelSet(tuple(open_model_or_ensemble(spec, seed=seed) for spec in model_specs))
        models.to_device(device)
    models.require_distinct_names()
    require_held_out(models.models, data, datasets)
    return models


def _open_controls(data: Dataset, names: _SourceNames, datasets: OpenedDatasets, seed: int) -> tuple[Maps, ...]:
    """Return the controls that no model computes, and refuse an average of patients who are scored."""
    controls = ControlMaps(data, names.controls, seed)
    return (controls, open_prior(data, datasets(names.prior))) if names.prior else (controls,)


def _select_findings(data: Dataset, models: ModelSet, findings: str) -> tuple[str, ...]:
    """Return the findings named, or those that any model knows."""
    shared = tuple(f for f in data.findings if any(f in m.findings for m in models))
    if not shared:
        raise DataError(
            f"the models know no finding of {data.spec!r} ({', '.join(data.findings)}); "
            f"they know {models.known_findings()}"
        )
    return select_findings(findings or None, shared)


def _training_prevalence(models: ModelSet, datasets: OpenedDatasets) -> dict[str, float]:
    """Return the share of positive among the known training labels of the first model, if its data can be opened."""
    record = models.models[0].training_record
    if record is None or record.prevalence:
        return {} if record is None else {str(finding): share for finding, share in record.prevalence}
    try:
        train_data = datasets(record.data)
    except SightlineError:
        return {}  # trained elsewhere: the record is a sentence, or the data are not here
    prevalence = {}
    for finding in train_data.findings:
        labels = [r.labels.get(finding, NAN) for r in train_data.radiographs if r.split in ("", "train")]
        known = [value for value in labels if value in (0, 1)]
        if known:
            prevalence[finding] = sum(known) / len(known)
    return prevalence


def _explain(study: StudyContext[ModelSet], names: _SourceNames) -> None:
    """Store the maps of every model, and of the first one with random weights as a control."""

    def explain(model: Model | Ensemble, names: Sequence[str], prefix: Source | str) -> None:
        findings = [f for f in study.findings if f in model.findings]
        study.explain(model, names, findings=findings, prefix=prefix)

    untrained: list[Model] = []
    if names.has_untrained:  # made first, because a network whose weights cannot be drawn anew is refused
        first = study.models.models[0]
        network = first.first_member if isinstance(first, Ensemble) else first
        untrained.append(with_random_weights(network, study.seed))
    for model in study.models:
        explain(model, names.methods, model.name)
    for control in untrained:
        explain(control, names.methods[:1], Source("control", UNTRAINED, ""))


def _collect_predictions(study: StudyContext[ModelSet], method: str) -> pd.DataFrame:
    """Return a row per model, radiograph and finding: the stored probability, and the label of the data set."""
    outcomes = study.run.table("maps", ["source", "radiograph", "finding", "probability"])
    names = {f"{model.name}/{method}": model.name for model in study.models}
    rows = outcomes[outcomes["source"].isin(list(names))]
    by_id = {r.id: r for r in study.data.radiographs}
    labels = [by_id[i].labels.get(f, NAN) for i, f in zip(rows["radiograph"], rows["finding"], strict=True)]
    return pd.DataFrame(
        {
            "model": [names[s] for s in rows["source"]],
            "patient": [by_id[i].patient for i in rows["radiograph"]],
            "study": [by_id[i].study or i for i in rows["radiograph"]],
            "finding": list(rows["finding"]),
            "probability": list(rows["probability"]),
            "label": labels,
        }
    )
