"""Do saliency maps find what radiologists marked, and how far below a second radiologist?

After Saporta et al. 2022, 10.1038/s42256-022-00536-x.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import NAN, Dataset, Source
from sightline.data import open_dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError, SightlineError
from sightline.evaluation.analysis import analyze
from sightline.evaluation.chexlocalize_csv import check_chexlocalize_options, write_chexlocalize_csv
from sightline.evaluation.score_run import METRICS, score_run
from sightline.evaluation.thresholds import resolve_protocols, threshold_provenance
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import Precision, TargetOutput
from sightline.methods.explain import explain, hash_weights, require_methods
from sightline.methods.registry import methods as method_registry
from sightline.metrics.registry import require_annotation_metric, resolve_metric_aliases
from sightline.models import Model, with_random_weights
from sightline.models.ensemble import Ensemble, open_model_or_ensemble
from sightline.models.warnings import warn_about_models
from sightline.models.zoo import open_model
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.studies.leakage import require_held_out
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

PHANTOM_DATA = "phantom:400?split=test&size=384"
PHANTOM_TRAIN_DATA = "phantom:2600?start=100000&size=160"
UNTRAINED = "untrained"
METHODS = ("grad-cam", "grad-cam++", "integrated-gradients?nodes=16")


def localization(
    *,
    data: str = PHANTOM_DATA,
    model: tuple[str, ...] = (),
    methods: tuple[str, ...] = METHODS,
    controls: tuple[str, ...] = ("center", "noise", "edges", "average-mask", "untrained"),
    metrics: tuple[str, ...] = METRICS,
    findings: str = "",
    protocol: str = "corrected",
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: str = "",
    probability_cutoffs: str = "",
    include_unannotated: bool = True,
    chexlocalize_csv: Path | None = None,
    target_output: TargetOutput = "logit",
    train_data: str = "",
    out: Path = Path("runs/localization"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Run:
    """Explain a model's findings, score the maps against the marks, and report them beside readers and controls.

    Parameters
    ----------
    data
        Data set with marks, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoints, or models as NAME?option=value (`sightline list models`); on the phantom, a small network is
        trained if none is named.
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
        Thresholds per finding, tuned on other data: a run folder, or a CSV with columns threshold and task.
    probability_cutoffs
        Probability cutoffs per finding, for the results on all images: a run folder, or a CSV with columns
        prob_threshold and task.
    include_unannotated
        Include images without marks, for the results on all images.
    chexlocalize_csv
        Folder for files as the public CheXlocalize scripts write them, one folder per source (published protocol).
    target_output
        What is explained: the logit or the probability.
    train_data
        Train a small network on this data set instead of naming a model.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, noise and bootstrap resamples.
    explain_batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    precision
        With bfloat16, methods whose maps agree with those of float32 on the first images are computed in it; run.json
        says which.
    """
    metrics = resolve_metric_aliases(metrics)
    options = {
        "data": data,
        "model": model,
        "methods": methods,
        "controls": controls,
        "metrics": metrics,
        "findings": findings,
        "protocol": protocol,
        "binarizer": binarizer,
        "smooth_window": smooth_window,
        "map_thresholds": map_thresholds,
        "probability_cutoffs": probability_cutoffs,
        "include_unannotated": include_unannotated,
        "target_output": target_output,
        "train_data": train_data,
        "seed": seed,
        "precision": precision,
    }
    records = resolve_protocols(protocol, binarizer, smooth_window, map_thresholds, probability_cutoffs)
    check_chexlocalize_options(chexlocalize_csv, records, metrics, include_unannotated)
    _check_names(metrics, methods)
    opened = open_dataset(data)
    blind = ControlMaps(opened, tuple(c for c in controls if c != UNTRAINED), seed)
    run = Run.start(out, "localization", options)
    with run.lock():
        run = record_inputs(
            run,
            opened,
            records,
            title="Localization",
            threshold_provenance=threshold_provenance(opened, map_thresholds, probability_cutoffs),
        )
        models = _open_models(run, opened, model, train_data, seed, device)
        run = run.update_info(notes=warn_about_models(models))
        require_held_out(models, opened)
        wanted = _select_findings(opened, models, findings)
        facts = check_model_weights(run, [describe_model(m) for m in models])
        run = run.update_info(models=facts, methods=describe_methods(methods), findings=wanted)
        for m, names, prefix in _list_explanations(models, methods, UNTRAINED in controls, seed):
            covered = [f for f in wanted if f in m.findings]
            run = explain(
                opened,
                m,
                names,
                findings=covered,
                out=run,
                target_output=target_output,
                batch_size=explain_batch,
                seed=seed,
                source_prefix=prefix,
                precision=precision,
            )
        held = CombinedMaps((run, blind, ReaderMaps(opened)))
        score_run(
            run,
            held,
            opened,
            metrics=metrics,
            protocols=records,
            findings=wanted,
            seed=seed,
            include_unannotated=include_unannotated,
        )
        analyze(run, records, seed=seed, prevalence=_training_prevalence(models))
        if chexlocalize_csv is not None:
            write_chexlocalize_csv(run, run, opened, chexlocalize_csv, records, seed)
        run.write_table(
            "classification", estimate_auroc(_collect_predictions(run, opened, models, methods[0]), seed=seed)
        )
        return run.update_info(sources=list(held.sources))


def _check_names(metrics: Sequence[str], methods: Sequence[str]) -> None:
    """Look every name up before any work is done. Errors: `UnknownNameError`, `DataError`."""
    for name in metrics:
        require_annotation_metric(name)
    require_methods(methods)
    if not methods or not metrics:
        raise DataError("name at least one method and one metric; `sightline list` shows them")


def _open_models(
    run: Run, data: Dataset, specs: Sequence[str], train: str, seed: int, device: str
) -> list[Model | Ensemble]:
    """Open the models named, or train one; two models may not share a name."""
    if specs and train:
        raise DataError("give --model to explain models you have, or --train-data to train one; not both")
    if not specs and not train:
        if not is_synthetic(data.spec):
            raise DataError("no model is named: give --model CHECKPOINT, or --train-data SPEC to train a small network")
        train = PHANTOM_TRAIN_DATA
    if train:
        source = open_dataset(train)
        blank = open_model("small", source.findings, seed=seed)
        move_to_device(blank, device)
        recipe = TrainingConfig(epochs=12, batch_size=16, augment=False, seed=seed)
        models: list[Model | Ensemble] = [
            fit(blank, source, run.path / "training", recipe, workers=os.cpu_count() or 1)
        ]
    else:
        models = [open_model_or_ensemble(spec, seed=seed) for spec in specs]
        for m in models:
            move_to_device(m, device)
    names = [m.name for m in models]
    if len(set(names)) != len(names):
        raise DataError(f"two models are called the same ({', '.join(names)}); name them apart with ?name=...")
    return models


def move_to_device(model: Model | Ensemble, device: str) -> None:
    """Put a model on a device. Errors: `DataError` for a device that is not there."""
    try:
        (model.first_member if isinstance(model, Ensemble) else model).net.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error


def _select_findings(data: Dataset, models: Sequence[Model | Ensemble], findings: str) -> tuple[str, ...]:
    shared = tuple(f for f in data.findings if any(f in m.findings for m in models))
    if not shared:
        known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in models)
        raise DataError(f"the models know no finding of {data.spec!r} ({', '.join(data.findings)}); they know {known}")
    return select_findings(findings or None, shared)


def _training_prevalence(models: Sequence[Model | Ensemble]) -> dict[str, float]:
    """Share of positive among the known labels that the first model was trained on, where its data can be opened."""
    record = models[0].training_record
    if record is None:
        return {}
    try:
        trained = open_dataset(record.data)
    except SightlineError:
        return {}  # trained elsewhere: the record is a sentence, or the data are not here
    found = {}
    for finding in trained.findings:
        labels = [r.labels.get(finding, NAN) for r in trained.radiographs if r.split in ("", "train")]
        known = [value for value in labels if value in (0, 1)]
        if known:
            found[finding] = sum(known) / len(known)
    return found


def _list_explanations(
    models: Sequence[Model | Ensemble], methods: Sequence[str], control: bool, seed: int
) -> Iterator[tuple[Model | Ensemble, Sequence[str], str]]:
    """(model, methods, source prefix): every model, and the first one with random weights as a control."""
    for m in models:
        yield m, methods, m.name
    if control:
        first = models[0].first_member if isinstance(models[0], Ensemble) else models[0]
        yield with_random_weights(first, seed), methods[:1], str(Source("control", UNTRAINED, ""))


def describe_model(model: Model | Ensemble) -> dict[str, Any]:
    """What the report says of a model."""
    first = model.first_member if isinstance(model, Ensemble) else model
    facts: dict[str, Any] = {
        "name": model.name,
        "arch": first.arch,
        "parameters": sum(p.numel() for p in first.net.parameters()),
        "resize": first.resize,
        "side": first.side,
        "mean": first.mean,
        "std": first.std,
        "assumed": first.assumed_settings,
        "findings": model.findings,
        "features": None
        if first.feature_layer is None
        else {"at": first.feature_layer.name, "shape": first.feature_layer.shape},
        "training": None if model.training_record is None else asdict(model.training_record),
        "weights": hash_weights(model),
    }
    if isinstance(model, Ensemble):
        facts |= {"members": len(model.members), "scale": model.scale, "aggregation": model.aggregation}
    return facts


def describe_methods(methods: Sequence[str]) -> dict[str, Any]:
    return {name: asdict(method_registry[name.partition("?")[0]].info) for name in methods}


def _collect_predictions(run: Run, data: Dataset, models: Sequence[Model | Ensemble], method: str) -> pd.DataFrame:
    """A row per model, radiograph and finding: probability, and the label as the data set gives it."""
    ledger = run.table("maps", ["source", "radiograph", "finding", "probability"])
    names = {f"{m.name}/{method}": m.name for m in models}
    rows = ledger[ledger["source"].isin(list(names))]
    by_id = {r.id: r for r in data.radiographs}
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
