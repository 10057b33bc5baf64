"""Do maps agree with where a radiologist looked, more so when the model is right, and does training on gaze help?

After Kim, Zhou and Lipton, IMLH workshop of ICML 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Case, Dataset, Source
from sightline.data import open_dataset
from sightline.data.gaze import ALL_GAZE, BOX_SUFFIX, filter_gaze
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
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.thresholds import resolve_protocols
from sightline.methods import TargetOutput
from sightline.methods.explain import explain, require_methods
from sightline.methods.predictions import predict
from sightline.metrics.classification import CUTOFF_RULES, CutoffRule, best_cutoff
from sightline.models import warnings
from sightline.protocol import Protocol
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.estimates import paired_differences
from sightline.stats.gaze_agreement import (
    compare_by_correctness,
    find_duplicate_rows,
    most_salient_regions,
    region_distributions,
)
from sightline.stats.model_comparison import compare_auroc, discrimination
from sightline.studies import gaze_models
from sightline.studies.gaze_models import GazeModels
from sightline.studies.leakage import require_disjoint_patients
from sightline.studies.localization import describe_methods, describe_model, move_to_device

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
"""The same, as the phantom's few minutes allow them."""


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
    protocol: str = "both",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/gaze"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare maps with where a reader looked, by finding and by region, of models taught by gaze or not.

    Parameters
    ----------
    data
        Data set with gaze, as NAME:PATH?option=value (egd:DIR, reflacx:DIR); by default the phantom, which is
        synthetic.
    model
        Checkpoint, or a model as NAME?option=value (`sightline list models`); on the phantom, small networks are
        trained if none is named.
    gaze_supervised
        Checkpoints of the same network taught by gaze: `train gaze`, or `train classifier --model
        'gaze-supervised:ARCH?supervised_map=cam&weight=10'`.
    shuffled_gaze
        Checkpoints taught by the gaze at other patients' radiographs (`train classifier --shuffle-gaze`): the control
        for `--gaze-supervised`.
    methods
        Saliency methods, as NAME?option=value; by default the six of the published study.
    validation_data
        Labeled data on which each finding's probability cutoff is chosen; without it the cutoff is 0.5, except for the
        phantom's own networks.
    cutoff_rule
        What the cutoff maximizes: F1 or Youden's index.
    reader
        Reader whose gaze is compared; the first of the data set by default.
    time_window
        Start and end of the part of each reading that counts, in seconds from the first fixation; an end of 0 is the
        end of the reading.
    require_pupil
        Use only fixations during which the pupil was seen.
    max_radiographs
        Radiographs compared, at most; accuracy is that of all of them.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    target_output
        What is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    explain_batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    """
    records = resolve_protocols(protocol, "", 0.0, "", "")
    methods = methods or (METHODS if model else PHANTOM_METHODS)
    require_methods(methods)
    if cutoff_rule not in CUTOFF_RULES:
        raise DataError(f"rule={cutoff_rule!r}; allowed: {', '.join(CUTOFF_RULES)}")
    opened = filter_gaze(open_dataset(data), *time_window, require_pupil=require_pupil)
    who = _select_reader(opened, reader)
    options = {
        "data": data,
        "model": model,
        "gaze_supervised": gaze_supervised,
        "shuffled_gaze": shuffled_gaze,
        "methods": methods,
        "validation_data": validation_data,
        "cutoff_rule": cutoff_rule,
        "reader": who,
        "time_window": time_window,
        "require_pupil": require_pupil,
        "max_radiographs": max_radiographs,
        "findings": findings,
        "protocol": protocol,
        "target_output": target_output,
        "seed": seed,
    }
    run = Run.start(out, "gaze", options)
    with run.lock():
        run = record_inputs(run, opened, records, title="Gaze")
        team, told = _open_models(run, opened, model, gaze_supervised, shuffled_gaze, seed, device)
        wanted = team.shared_findings(opened, findings)
        run = run.update_info(notes=warnings.warn_about_models(team.all_models))
        facts = check_model_weights(run, [describe_model(m) for m in team.all_models])
        run = run.update_info(
            models=facts, pairs=team.pairs, methods=describe_methods(methods), findings=wanted, **told
        )
        some = _sample_cases(opened, who, wanted, max_radiographs, seed)
        ids = {case.radiograph.id for case in some}
        part = replace(opened, radiographs=tuple(r for r in opened.radiographs if r.id in ids))
        run = _explain(run, part, team, methods, wanted, target_output, explain_batch, seed)
        cohort = Cohort.from_dataset(opened, who, part.radiographs, [p.definitions for p in records], seed)
        score_gaze_agreement(run, GazeComparison(opened, run, who, records, GAZE_METRICS, cohort), some, seed)
        cutoffs = _predict(
            run,
            opened,
            team,
            wanted,
            validation_data or (gaze_models.PHANTOM_VALIDATION_DATA if not model else ""),
            cutoff_rule,
            seed,
        )
        run = _summarize(run, team, records, cutoffs, seed)
        return run.update_info(sources=list(run.sources), gaze=_summarize_gaze(run, opened, who, part))


def _select_reader(data: Dataset, reader: str) -> str:
    if not data.gaze_readers:
        raise DataError(f"{data.spec!r} has no gaze; data sets with gaze are egd:DIR, reflacx:DIR and phantom:N")
    if reader and reader not in data.gaze_readers:
        raise DataError(
            f"reader={reader!r}: no reader with gaze has that name; allowed: {', '.join(data.gaze_readers)}"
        )
    return reader or data.gaze_readers[0]


def _open_models(
    run: Run, data: Dataset, model: str, taught: Sequence[str], shuffled: Sequence[str], seed: int, device: str
) -> tuple[GazeModels, dict[str, Any]]:
    """Open the networks, or train them on the phantom."""
    if model:
        team, told = gaze_models.from_specs(model, taught, shuffled, seed), dict[str, Any]()
    elif is_synthetic(data.spec):
        team, told = gaze_models.train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError("no model is named: give --model CHECKPOINT, and --gaze-supervised to compare it with")
    for m in team.all_models:
        move_to_device(m, device)
    return team.validate(data), {"gaze_weight_search": told} if told else {}


def _sample_cases(data: Dataset, reader: str, wanted: Sequence[str], images: int, seed: int) -> tuple[Case, ...]:
    """Positive findings of radiographs with gaze. Errors: `DataError` for fewer than two patients."""
    followed = tuple(r for r in data.radiographs if data.annotation(r.id, ALL_GAZE, reader) is not None)
    some = tuple(sample_positive_cases(replace(data, radiographs=followed), wanted, images, seed))
    if len({case.radiograph.patient for case in some}) < 2:
        raise DataError(
            f"{data.spec!r}: {len(followed)} of {len(data.radiographs)} radiographs have gaze of {reader!r}, and fewer "
            f"than two patients among them show any of {', '.join(wanted)}; nothing can be compared"
        )
    return some


def _explain(
    run: Run,
    data: Dataset,
    team: GazeModels,
    methods: Sequence[str],
    wanted: Sequence[str],
    of: TargetOutput,
    batch: int,
    seed: int,
) -> Run:
    """Maps of every network, and its own estimate of the gaze where that is no Grad-CAM."""
    for m in team.all_models:
        own = ("intrinsic",) if hasattr(m.net, "saliency_head") else ()
        run = explain(
            data, m, (*methods, *own), findings=wanted, out=run, target_output=of, batch_size=batch, seed=seed
        )
    return run


def _predict(
    run: Run, data: Dataset, team: GazeModels, wanted: Sequence[str], validation: str, rule: CutoffRule, seed: int
) -> dict[tuple[str, str], float]:
    """Predictions of all radiographs, in the table predictions; the cutoff of each model and finding."""

    def said(kind: str, of: Dataset) -> pd.DataFrame:
        predict(run, of, team.all_models, wanted, kind)
        return run.table(kind)

    table = said("predictions", data)
    run.write_table("classification", estimate_auroc(table.drop(columns="radiograph"), seed=seed))
    run.write_table("discrimination", discrimination(table, seed))
    run.write_table("discrimination_differences", compare_auroc(table, team.pairs, seed))
    if not validation:
        return {}
    tuned = open_dataset(validation)
    require_disjoint_patients("the cutoffs", tuned.spec, {r.patient for r in tuned.radiographs}, data)
    other = said("validation", tuned)
    found = {}
    for (model, finding), part in other.groupby(["model", "finding"], sort=False):
        labels = part["label"].where(part["label"].isin([0, 1]))
        known = part["probability"].notna().to_numpy()
        cutoff = best_cutoff(part["probability"].to_numpy(float)[known], labels.to_numpy(float)[known], rule)
        if cutoff == cutoff:
            found[str(model), str(finding)] = cutoff
    return found


def _summarize(
    run: Run, team: GazeModels, records: Sequence[Protocol], cutoffs: Mapping[tuple[str, str], float], seed: int
) -> Run:
    """The tables correctness, standings and distributions, and the differences between networks."""
    columns = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value", "probability"]
    scores = run.table("scores", columns)
    run.write_table("correctness", compare_by_correctness(scores, cutoffs, records, seed))
    between = paired_differences(scores, lambda sources: _paired_sources(team.pairs, sources), records, seed=seed)
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    _summarize_regions(run, seed)
    means = run.table("estimates")
    shown = means[
        (means["metric"] == "ssim") & (means["protocol"] == records[0].name) & (means["source_kind"] == "model")
    ]
    table = shown[shown["finding"] != "average"].pivot_table(index="source", columns="finding", values="mean")
    twice = [{"source": a, "versus": b, "cells": n} for a, b, n in find_duplicate_rows(table)]
    known = [{"model": m, "finding": f, "cutoff": c} for (m, f), c in cutoffs.items()]
    return run.update_info(duplicates=twice, cutoffs=known)


def _summarize_regions(run: Run, seed: int) -> None:
    """Write the tables most_salient_regions and region_distributions, among the four regions and the rectangles."""
    shares = run.table("region_shares")
    groups = {
        "regions": PUBLISHED_REGIONS,
        "rectangles": tuple(r for r in shares["region"].unique() if r.endswith(BOX_SUFFIX)),
    }
    made = []
    for among, names in groups.items():
        found = most_salient_regions(shares, names)
        made.append([t.assign(among=among) for t in (found, region_distributions(found, names, GAZE_CEILING, seed))])
    for name, parts in zip(("most_salient_regions", "region_distributions"), zip(*made, strict=True), strict=True):
        run.write_table(name, pd.concat(parts, ignore_index=True))


def _paired_sources(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> list[tuple[str, str]]:
    """The same method on two networks."""
    found = []
    for source in sources:
        parsed = Source.parse(source)
        others = [str(replace(parsed, model=other)) for name, other in pairs if name == parsed.model]
        found += [(source, other) for other in others if other in sources]
    return found


def _summarize_gaze(run: Run, data: Dataset, reader: str, part: Dataset) -> dict[str, Any]:
    """How much gaze was compared, and what of the files was not used or not there."""
    total, fixations, left_out = 0.0, 0, dict[str, int]()
    for r in part.radiographs:
        found = read_gaze(data, r.id, reader)
        if found is not None:
            total, fixations = total + float(found.duration.sum()), fixations + len(found)
            for why, count in found.excluded_counts.items():
                left_out[why] = left_out.get(why, 0) + count
    shares = run.table("region_shares", ["radiograph", "region"]).drop_duplicates()
    if lacking := shares["radiograph"].nunique() * len(data.regions) - len(shares):
        left_out["regions that are not marked or cannot be read"] = lacking
    return {
        "radiographs": len(part.radiographs),
        "fixations": fixations,
        "seconds": round(total, 1),
        "left_out": left_out,
        "reader": reader,
    }
