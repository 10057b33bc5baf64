"""Gaze study: agreement of maps with where a radiologist looked, by correctness of the model and training on gaze.

After Kim, Zhou and Lipton, IMLH workshop of ICML 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Case, Dataset, Source
from sightline.data import open_dataset
from sightline.data.gaze import ALL_GAZE, BOX_SUFFIX, filter_gaze
from sightline.data.patients import require_disjoint_patients
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.gaze_agreement import (
    GAZE_CEILING,
    GAZE_METRICS,
    PUBLISHED_REGIONS,
    GazeComparison,
    score_gaze_agreement,
)
from sightline.evaluation.gaze_cohort import Cohort, read_gaze
from sightline.evaluation.prediction_errors import ErrorCase, choose_error_cases
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.score_table import ScoreTable
from sightline.evaluation.thresholds import resolve_protocols
from sightline.methods import TargetOutput
from sightline.methods.explain import require_methods
from sightline.methods.inference import ExplainOptions
from sightline.metrics.classification import CUTOFF_RULES, CutoffRule, best_cutoff
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import recorded_options
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.gaze_agreement import (
    compare_by_correctness,
    find_duplicate_rows,
    most_salient_regions,
    region_distributions,
)
from sightline.stats.model_comparison import compare_auroc, discrimination
from sightline.stats.verdicts import parse_smallest_effects
from sightline.studies.common import StudyContext, start_study
from sightline.studies.gaze_models import PHANTOM_VALIDATION_DATA, GazeModels, train_on_phantom

PHANTOM_DATA = "phantom:480?split=test&size=192"
METHODS = ("gradient", "grad-cam", "deeplift", "layer-conductance", "gradient-shap", "smoothgrad")
PHANTOM_METHODS = (
    "gradient",
    "grad-cam",
    "deeplift",
    "layer-conductance?nodes=8",
    "gradient-shap?samples=8",
    "smoothgrad?samples=8",
)
"""The same methods with fewer samples, for the phantom."""


def gaze(
    *,
    data: str = PHANTOM_DATA,
    model: str = "",
    gaze_supervised: tuple[str, ...] = (),
    shuffled_gaze: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    validation_data: str = "",
    cutoff_rule: CutoffRule = "f1",
    reader: str = "",
    time_window: tuple[float, float] = (0.0, 0.0),
    require_pupil: bool = False,
    max_radiographs: int = 48,
    findings: str = "",
    smallest_effects: tuple[str, ...] = (),
    protocol: ProtocolChoice = "both",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/gaze"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare maps with a reader's gaze, by finding and by region, for models trained with and without gaze.

    Parameters
    ----------
    data
        Data set with gaze, as NAME:PATH?option=value (egd:DIR, reflacx:DIR); by default the phantom, which is
        synthetic.
    model
        Checkpoint, or a model as NAME?option=value (`sightline list models`); on the phantom, small networks are
        trained if none is named.
    gaze_supervised
        Checkpoints of the same network trained on gaze, too: `train gaze`, or `train classifier --model
        'gaze-supervised:ARCH?supervised_map=cam&weight=10'`.
    shuffled_gaze
        Checkpoints trained on the gaze at other patients' radiographs (`train classifier --shuffle-gaze`): the control
        for `--gaze-supervised`.
    methods
        Saliency methods, as NAME?option=value; by default the six of the published study.
    validation_data
        Labeled data on which each finding's probability cutoff is chosen; without it the cutoff is 0.5, except for the
        phantom's own networks.
    cutoff_rule
        Statistic that the cutoff maximizes: F1 or Youden's index.
    reader
        Reader whose gaze is compared; the first of the data set by default.
    time_window
        Start and end of the part of each reading that counts, in seconds from the first fixation; an end of 0 is the
        end of the reading.
    require_pupil
        Use only fixations during which the pupil was detected.
    max_radiographs
        Largest number of radiographs compared; accuracy is that of all of them.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    smallest_effects
        Smallest differences that count, as MEASURE=VALUE: a verdict is shown or shown absent only if its whole interval
        lies beyond them; by default those of `sightline.stats.verdicts`.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    target_output
        Output that is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    explain_batch
        Images per batch of explanations; no result depends on it.
    device
        Device of the models: cpu or cuda.

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
    protocols = resolve_protocols(protocol)
    methods = methods or (METHODS if model else PHANTOM_METHODS)
    require_methods(methods)
    effects = parse_smallest_effects(smallest_effects)
    if cutoff_rule not in CUTOFF_RULES:
        raise DataError(f"cutoff_rule={cutoff_rule!r}; allowed: {', '.join(CUTOFF_RULES)}")
    opened = filter_gaze(open_dataset(data), *time_window, require_pupil=require_pupil)
    reader = _select_reader(opened, reader)
    with start_study("gaze", opened, protocols, options | {"methods": methods, "reader": reader}, out) as run:
        models, weight_search = _open_models(run, opened, (model, gaze_supervised, shuffled_gaze), seed, device)
        scored_findings = models.model_set.findings(opened, findings, without="No Finding")
        study = StudyContext(
            run, opened, protocols, models, ExplainOptions(scored_findings, target_output, seed, explain_batch)
        )
        study.record_models(models.models, methods, pairs=models.pairs, smallest_effects=effects, **weight_search)
        cases = _sample_cases(study, reader, max_radiographs)
        ids = {case.radiograph.id for case in cases}
        part = replace(opened, radiographs=tuple(r for r in opened.radiographs if r.id in ids))
        _predict(study)
        _explain(study, part, methods, _choose_errors(study, reader))
        cohort = Cohort.from_dataset(opened, reader, part.radiographs, [p.definitions for p in protocols], seed)
        score_gaze_agreement(run, GazeComparison(opened, run, reader, protocols, GAZE_METRICS, cohort), cases, seed)
        validation_data = validation_data or ("" if model else PHANTOM_VALIDATION_DATA)
        cutoffs = _choose_cutoffs(study, validation_data, cutoff_rule) if validation_data else {}
        _summarize(study, cutoffs)
        return run.update_info(sources=list(run.sources), gaze=_summarize_gaze(run, opened, reader, part))


def _select_reader(data: Dataset, reader: str) -> str:
    """Return the reader named, or the first with gaze."""
    if not data.gaze_readers:
        raise DataError(f"{data.spec!r} has no gaze; data sets with gaze are egd:DIR, reflacx:DIR and phantom:N")
    if reader and reader not in data.gaze_readers:
        raise DataError(
            f"reader={reader!r}: no reader with gaze has that name; allowed: {', '.join(data.gaze_readers)}"
        )
    return reader or data.gaze_readers[0]


def _open_models(
    run: Run, data: Dataset, specs: tuple[str, Sequence[str], Sequence[str]], seed: int, device: str
) -> tuple[GazeModels, dict[str, Any]]:
    """Open the networks, or train them on the phantom; also return the search of the gaze weight for run.json."""
    fields = dict[str, Any]()
    if specs[0]:
        models = GazeModels.from_specs(*specs, seed)
    elif is_synthetic(data.spec):
        models, fields["gaze_weight_search"] = train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError("no model is named: give --model CHECKPOINT, and --gaze-supervised to compare it with")
    models.model_set.to_device(device)
    return models.validate(data), fields


def _sample_cases(study: StudyContext[GazeModels], reader: str, max_radiographs: int) -> tuple[Case, ...]:
    """Draw positive cases of radiographs with gaze; `DataError` for fewer than two patients."""
    data = study.data
    with_gaze = tuple(r for r in data.radiographs if data.annotation(r.id, ALL_GAZE, reader) is not None)
    with_gaze_only = replace(data, radiographs=with_gaze)
    cases = tuple(sample_positive_cases(with_gaze_only, study.findings, max_radiographs, study.seed))
    if len({case.radiograph.patient for case in cases}) < 2:
        raise DataError(
            f"{data.spec!r}: {len(with_gaze)} of {len(data.radiographs)} radiographs have gaze of {reader!r}, and "
            f"fewer than two patients among them show any of {', '.join(study.findings)}; nothing can be compared"
        )
    return cases


def _choose_errors(study: StudyContext[GazeModels], reader: str) -> tuple[ErrorCase, ...]:
    """Choose confident errors of the first network among all radiographs with gaze, and record them for the report."""
    data = study.data
    with_gaze = {r.id for r in data.radiographs if data.annotation(r.id, ALL_GAZE, reader) is not None}
    table = study.run.table("predictions")
    cases = choose_error_cases(table[table["model"] == study.models.baseline.name], with_gaze)
    study.run.update_info(error_cases=[asdict(case) for case in cases])
    return tuple(cases)


def _explain(
    study: StudyContext[GazeModels], part: Dataset, methods: Sequence[str], errors: Sequence[ErrorCase]
) -> None:
    """Store the maps of every network, and its own estimate of the gaze if it has another one than Grad-CAM."""
    ids = {*(r.id for r in part.radiographs), *(case.radiograph for case in errors)}
    explained = replace(part, radiographs=tuple(r for r in study.data.radiographs if r.id in ids))
    for model in study.models.models:
        intrinsic = ("intrinsic",) if hasattr(model.net, "saliency_head") else ()
        study.explain(model, (*methods, *intrinsic), data=explained)


def _predict(study: StudyContext[GazeModels]) -> None:
    """Write the predictions of all radiographs and the tables of accuracy."""
    run, models = study.run, study.models
    table = study.predict(models.models)
    run.write_table("classification", estimate_auroc(table.drop(columns="radiograph")))
    run.write_table("discrimination", discrimination(table))
    run.write_table("discrimination_differences", compare_auroc(table, models.pairs))
    study.write_auroc_over_trainings(table, models.trainings)


def _choose_cutoffs(
    study: StudyContext[GazeModels], validation_data: str, rule: CutoffRule
) -> dict[tuple[str, str], float]:
    """Return (model, finding) -> cutoff of the probability, chosen on other patients."""
    validation = open_dataset(validation_data)
    patients = {r.patient for r in validation.radiographs}
    require_disjoint_patients("the cutoffs", validation.spec, patients, study.data)
    table = study.predict(study.models.models, validation, "validation")
    cutoffs = {}
    for (model, finding), rows in table.groupby(["model", "finding"], sort=False):
        labels = rows["label"].where(rows["label"].isin([0, 1]))
        known = rows["probability"].notna().to_numpy()
        cutoff = best_cutoff(rows["probability"].to_numpy(float)[known], labels.to_numpy(float)[known], rule)
        if cutoff == cutoff:
            cutoffs[str(model), str(finding)] = cutoff
    return cutoffs


def _summarize(study: StudyContext[GazeModels], cutoffs: Mapping[tuple[str, str], float]) -> None:
    """Write the tables correctness and of regions, and the differences between networks."""
    run, seed, protocols, pairs = study.run, study.seed, study.protocols, study.models.pairs
    scores = ScoreTable(run, ("probability",))
    run.write_table("correctness", compare_by_correctness(scores.scores(), cutoffs, protocols))
    study.add_differences(scores, lambda sources: _paired_sources(pairs, sources))
    _summarize_regions(run, seed)
    means = scores.estimates
    ssim = means[
        (means["metric"] == "ssim") & (means["protocol"] == protocols[0].name) & (means["source_kind"] == "model")
    ]
    table = ssim[ssim["finding"] != "average"].pivot_table(index="source", columns="finding", values="mean")
    duplicates = [{"source": a, "versus": b, "cells": n} for a, b, n in find_duplicate_rows(table)]
    known = [{"model": model, "finding": finding, "cutoff": c} for (model, finding), c in cutoffs.items()]
    run.update_info(duplicates=duplicates, cutoffs=known)


def _summarize_regions(run: Run, seed: int) -> None:
    """Write the tables most_salient_regions and region_distributions, among the four regions and rectangles."""
    shares = run.table("region_shares")
    groups = {
        "regions": PUBLISHED_REGIONS,
        "rectangles": tuple(r for r in shares["region"].unique() if r.endswith(BOX_SUFFIX)),
    }
    tables: dict[str, list[pd.DataFrame]] = {"most_salient_regions": [], "region_distributions": []}
    for among, names in groups.items():
        standings = most_salient_regions(shares, names)
        tables["most_salient_regions"].append(standings.assign(among=among))
        distributions = region_distributions(standings, names, GAZE_CEILING, seed)
        tables["region_distributions"].append(distributions.assign(among=among))
    for name, frames in tables.items():
        filled = [frame for frame in frames if not frame.empty]  # the columns of an empty one have no type
        run.write_table(name, pd.concat(filled or frames, ignore_index=True))


def _paired_sources(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of sources of the same method on two networks."""
    paired = []
    for source in sources:
        parsed = Source.parse(source)
        others = [str(replace(parsed, model=other)) for name, other in pairs if name == parsed.model]
        paired += [(source, other) for other in others if other in sources]
    return paired


def _summarize_gaze(run: Run, data: Dataset, reader: str, part: Dataset) -> dict[str, Any]:
    """Return how much gaze was compared, and how much was left out for which reason."""
    total, fixations, left_out = 0.0, 0, dict[str, int]()
    for radiograph in part.radiographs:
        recording = read_gaze(data, radiograph.id, reader)
        if recording is not None:
            total, fixations = total + float(recording.duration.sum()), fixations + len(recording)
            for reason, count in recording.excluded_counts.items():
                left_out[reason] = left_out.get(reason, 0) + count
    shares = run.table("region_shares", ["radiograph", "region"]).drop_duplicates()
    if lacking := shares["radiograph"].nunique() * len(data.regions) - len(shares):
        left_out["regions that are not annotated or cannot be read"] = lacking
    return {
        "radiographs": len(part.radiographs),
        "fixations": fixations,
        "seconds": round(total, 1),
        "left_out": left_out,
        "reader": reader,
    }
