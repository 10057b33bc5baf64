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
from sightline.data import dataset
from sightline.data.gaze import BOX, WHOLE, watched
from sightline.errors import DataError
from sightline.evaluation.gaze_agreement import FOUR, ITSELF, MEASURES, Cohort, Desk, agree, looked
from sightline.evaluation.sampling import cases
from sightline.evaluation.thresholds import chosen
from sightline.methods import Of
from sightline.methods.explain import check_methods, explain
from sightline.methods.inference import predict
from sightline.metrics.classification import RULES, Rule, best_cutoff
from sightline.models import warnings
from sightline.protocol import Protocol
from sightline.runs.provenance import describe, same_models
from sightline.runs.run import Run
from sightline.stats.auroc import accuracy
from sightline.stats.estimates import paired
from sightline.stats.gaze_agreement import correctness, distributions, duplicates, standings
from sightline.stats.model_comparison import compared, discrimination
from sightline.studies import gaze_models
from sightline.studies.gaze_models import Gazers
from sightline.studies.leakage import require_apart
from sightline.studies.localization import method_facts, model_facts, moved

PHANTOM = "phantom:480?split=test&size=192"
METHODS = ("gradient", "grad-cam", "deeplift", "layer-conductance", "gradient-shap", "smoothgrad")
SMALL = ("gradient", "grad-cam", "deeplift", "layer-conductance?nodes=8", "gradient-shap?samples=8",
         "smoothgrad?samples=8")  # fmt: skip
"""The same, as the phantom's few minutes allow them."""


def gaze(
    *,
    data: str = PHANTOM,
    model: str = "",
    taught: tuple[str, ...] = (),
    shuffled: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    validation: str = "",
    rule: Rule = "f1",
    reader: str = "",
    seconds: tuple[float, float] = (0.0, 0.0),
    pupil: bool = False,
    images: int = 48,
    findings: str = "",
    protocol: str = "both",
    of: Of = "logit",
    out: Path = Path("runs/gaze"),
    seed: int = 0,
    batch: int = 8,
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
    taught
        Checkpoints of the same network taught by gaze: `train taught`, or `train classifier --model
        'gaze:ARCH?by=cam&weight=10'`.
    shuffled
        Checkpoints taught by the gaze at other patients' radiographs (`train classifier --shuffle-gaze`): the control
        for `--taught`.
    methods
        Saliency methods, as NAME?option=value; by default the six of the published study.
    validation
        Labeled data on which each finding's probability cutoff is chosen; without it the cutoff is 0.5, except for the
        phantom's own networks.
    rule
        What the cutoff maximizes: F1 or Youden's index.
    reader
        Reader whose gaze is compared; the first of the data set by default.
    seconds
        Start and end of the part of each reading that counts, in seconds from the first fixation; an end of 0 is the
        end of the reading.
    pupil
        Use only fixations during which the pupil was seen.
    images
        Radiographs compared, at most; accuracy is that of all of them.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    of
        What is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    """
    records = chosen(protocol, "", 0.0, "", "")
    methods = methods or (METHODS if model else SMALL)
    check_methods(methods)
    if rule not in RULES:
        raise DataError(f"rule={rule!r}; allowed: {', '.join(RULES)}")
    opened = watched(dataset(data), *seconds, pupil=pupil)
    who = _reader(opened, reader)
    options = {
        "data": data, "model": model, "taught": taught, "shuffled": shuffled, "methods": methods,
        "validation": validation, "rule": rule, "reader": who, "seconds": seconds, "pupil": pupil,
        "images": images, "findings": findings,
        "protocol": protocol, "of": of, "seed": seed,
    }  # fmt: skip
    run = Run.start(out, "gaze", options)
    with run.lock():
        run = describe(run, opened, records, title="Gaze")
        team, told = _team(run, opened, model, taught, shuffled, seed, device)
        wanted = team.findings(opened, findings)
        run = run.describe(notes=warnings.told(team.everyone))
        facts = same_models(run, [model_facts(m) for m in team.everyone])
        run = run.describe(models=facts, pairs=team.pairs, methods=method_facts(methods), findings=wanted, **told)
        some = _cases(opened, who, wanted, images, seed)
        ids = {case.radiograph.id for case in some}
        part = replace(opened, radiographs=tuple(r for r in opened.radiographs if r.id in ids))
        run = _explained(run, part, team, methods, wanted, of, batch, seed)
        cohort = Cohort.of(opened, who, part.radiographs, [p.definitions for p in records], seed)
        agree(run, Desk(opened, run, who, records, MEASURES, cohort), some, seed)
        cutoffs = _asked(
            run, opened, team, wanted, validation or (gaze_models.VALIDATION if not model else ""), rule, seed
        )
        run = _summarized(run, team, records, cutoffs, seed)
        return run.describe(sources=list(run.sources), gaze=_counted(run, opened, who, part))


def _reader(data: Dataset, reader: str) -> str:
    if not data.gaze_readers:
        raise DataError(f"{data.spec!r} has no gaze; data sets with gaze are egd:DIR, reflacx:DIR and phantom:N")
    if reader and reader not in data.gaze_readers:
        raise DataError(
            f"reader={reader!r}: no reader with gaze has that name; allowed: {', '.join(data.gaze_readers)}"
        )
    return reader or data.gaze_readers[0]


def _team(
    run: Run, data: Dataset, model: str, taught: Sequence[str], shuffled: Sequence[str], seed: int, device: str
) -> tuple[Gazers, dict[str, Any]]:
    """Open the networks, or train them on the phantom."""
    if model:
        team, told = gaze_models.opened(model, taught, shuffled, seed), dict[str, Any]()
    elif data.spec.startswith("phantom"):
        team, told = gaze_models.trained(run.path / "training", seed, device)
    else:
        raise DataError("no model is named: give --model CHECKPOINT, and --taught to compare it with")
    for m in team.everyone:
        moved(m, device)
    return team.checked(data), {"sweep": told} if told else {}


def _cases(data: Dataset, reader: str, wanted: Sequence[str], images: int, seed: int) -> tuple[Case, ...]:
    """Positive findings of radiographs with gaze. Errors: `DataError` for fewer than two patients."""
    followed = tuple(r for r in data.radiographs if data.marks(r.id, WHOLE, reader) is not None)
    some = tuple(cases(replace(data, radiographs=followed), wanted, images, seed))
    if len({case.radiograph.patient for case in some}) < 2:
        raise DataError(
            f"{data.spec!r}: {len(followed)} of {len(data.radiographs)} radiographs have gaze of {reader!r}, and fewer "
            f"than two patients among them show any of {', '.join(wanted)}; nothing can be compared"
        )
    return some


def _explained(
    run: Run, data: Dataset, team: Gazers, methods: Sequence[str], wanted: Sequence[str], of: Of, batch: int, seed: int
) -> Run:
    """Maps of every network, and its own estimate of the gaze where that is no Grad-CAM."""
    for m in team.everyone:
        own = ("own",) if hasattr(m.net, "look") else ()
        run = explain(data, m, (*methods, *own), findings=wanted, out=run, of=of, batch=batch, seed=seed)
    return run


def _asked(
    run: Run, data: Dataset, team: Gazers, wanted: Sequence[str], validation: str, rule: Rule, seed: int
) -> dict[tuple[str, str], float]:
    """Predictions of all radiographs, in the table predictions; the cutoff of each model and finding."""

    def said(kind: str, of: Dataset) -> pd.DataFrame:
        predict(run, of, team.everyone, wanted, kind)
        return run.table(kind)

    table = said("predictions", data)
    run.write_table("classification", accuracy(table.drop(columns="radiograph"), seed=seed))
    run.write_table("discrimination", discrimination(table, seed))
    run.write_table("discrimination_differences", compared(table, team.pairs, seed))
    if not validation:
        return {}
    tuned = dataset(validation)
    require_apart("the cutoffs", tuned.spec, {r.patient for r in tuned.radiographs}, data)
    other = said("validation", tuned)
    found = {}
    for (model, finding), part in other.groupby(["model", "finding"], sort=False):
        labels = part["label"].where(part["label"].isin([0, 1]))
        known = part["probability"].notna().to_numpy()
        cutoff = best_cutoff(part["probability"].to_numpy(float)[known], labels.to_numpy(float)[known], rule)
        if cutoff == cutoff:
            found[str(model), str(finding)] = cutoff
    return found


def _summarized(
    run: Run, team: Gazers, records: Sequence[Protocol], cutoffs: Mapping[tuple[str, str], float], seed: int
) -> Run:
    """The tables correctness, standings and distributions, and the differences between networks."""
    columns = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value", "probability"]
    scores = run.table("scores", columns)
    run.write_table("correctness", correctness(scores, cutoffs, records, seed))
    between = paired(scores, lambda sources: _between(team.pairs, sources), records, seed=seed)
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    _by_region(run, seed)
    means = run.table("estimates")
    shown = means[(means["metric"] == "ssim") & (means["protocol"] == records[0].name) & (means["kind"] == "model")]
    table = shown[shown["finding"] != "average"].pivot_table(index="source", columns="finding", values="mean")
    twice = [{"source": a, "versus": b, "cells": n} for a, b, n in duplicates(table)]
    known = [{"model": m, "finding": f, "cutoff": c} for (m, f), c in cutoffs.items()]
    return run.describe(duplicates=twice, cutoffs=known)


def _by_region(run: Run, seed: int) -> None:
    """The tables standings and distributions: among the four regions, and among the rectangles where there are any."""
    shares = run.table("shares")
    groups = {"regions": FOUR, "rectangles": tuple(r for r in shares["region"].unique() if r.endswith(BOX))}
    made = []
    for among, names in groups.items():
        found = standings(shares, names)
        made.append([t.assign(among=among) for t in (found, distributions(found, names, ITSELF, seed))])
    for name, parts in zip(("standings", "distributions"), zip(*made, strict=True), strict=True):
        run.write_table(name, pd.concat(parts, ignore_index=True))


def _between(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> list[tuple[str, str]]:
    """The same method on two networks."""
    found = []
    for source in sources:
        parsed = Source.parse(source)
        others = [str(replace(parsed, model=other)) for name, other in pairs if name == parsed.model]
        found += [(source, other) for other in others if other in sources]
    return found


def _counted(run: Run, data: Dataset, reader: str, part: Dataset) -> dict[str, Any]:
    """How much gaze was compared, and what of the files was not used or not there."""
    total, fixations, left_out = 0.0, 0, dict[str, int]()
    for r in part.radiographs:
        found = looked(data, r.id, reader)
        if found is not None:
            total, fixations = total + float(found.duration.sum()), fixations + len(found)
            for why, count in found.left_out.items():
                left_out[why] = left_out.get(why, 0) + count
    shares = run.table("shares", ["radiograph", "region"]).drop_duplicates()
    if lacking := shares["radiograph"].nunique() * len(data.regions) - len(shares):
        left_out["regions that are not marked or cannot be read"] = lacking
    return {"radiographs": len(part.radiographs), "fixations": fixations, "seconds": round(total, 1),
            "left_out": left_out, "reader": reader}  # fmt: skip
