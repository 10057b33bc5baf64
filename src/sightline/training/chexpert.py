"""The recipe of CheXpert and CheXlocalize: many runs under several policies, of which each finding takes the best.

Irvin et al. 2019, arXiv:1901.07031; Saporta et al. 2022, 10.1038/s42256-022-00536-x: four policies for uncertain
labels, three runs each, the ten best checkpoints of a run kept, and for each finding the ten best of all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.data import dataset
from sightline.errors import DataError
from sightline.findings import choose
from sightline.models import Model, open_model
from sightline.models.checkpoint import load_safely, weights_of
from sightline.models.multiclass_heads import Triples
from sightline.runs.run import Run
from sightline.stats.auroc import accuracy
from sightline.stats.estimates import AVERAGE
from sightline.training.config import Precision, Recipe, Sample
from sightline.training.fit import fit
from sightline.training.labels import UNCERTAIN, Uncertain

COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The findings of CheXpert's competition; their mean AUROC ranks the checkpoints of a run."""
RATES = {"densenet121": 1e-4, "resnet152": 1e-5, "inception_v4": 1e-5}
"""Learning rates of CheXlocalize's three architectures."""


def train_chexpert(
    *,
    data: str,
    out: Path,
    arch: str = "densenet121",
    policies: tuple[Uncertain, ...] = UNCERTAIN,
    runs: int = 3,
    epochs: int = 3,
    batch: int = 16,
    lr: float = 0.0,
    validate: float = 0.1,
    keep: int = 10,
    members: int = 10,
    side: int = 320,
    findings: str = "",
    start: str = "",
    val_share: float = 0.15,
    augmented: bool = True,
    precision: Precision = "bfloat16",
    device: str = "cpu",
    devices: int = 1,
    seed: int = 0,
) -> None:
    """Train an ensemble by the recipe of CheXpert; the same command continues one that was stopped.

    OUT/final.json is what `--model` takes: for each finding its best checkpoints. OUT/selection.csv has their
    validation AUROC, and that of the ensembles.

    Parameters
    ----------
    data
        Data set with labels; chexpert:DIR reads train.csv and valid.csv.
    out
        Folder of the ensemble; each run gets a folder POLICY-RUN in it.
    arch
        Architecture without its size, for example densenet121, resnet152, inception_v4.
    policies
        What uncertain labels count as: ignore (unknown), zeros, ones, 3-class (a class of its own). Each policy has its
        own runs.
    runs
        Runs per policy, with different seeds.
    epochs
        Passes over the training data in each run.
    batch
        Radiographs per training step.
    lr
        Learning rate of Adam; 0 takes the published one of the architecture, or 1e-4.
    validate
        Share of an epoch between validations.
    keep
        Checkpoints kept per run: the best by mean AUROC over the five competition findings.
    members
        Checkpoints per finding in the ensemble: the best of all runs by that finding's AUROC.
    side
        Side of the input, in pixels.
    findings
        Findings, comma-separated; all of the data set by default.
    start
        Checkpoint to start from, for example ImageNet weights; its last layer is left out if it does not fit.
    val_share
        Share of the patients used for validation if the data set has no validation split.
    augmented
        Rotate, shift and scale images and change their exposure, a little.
    precision
        bfloat16 (mixed precision) or float32.
    device
        cpu or cuda.
    devices
        Devices that train one network together.
    seed
        Seed of the first run; run N of a policy has seed + N.
    """
    _check(policies, runs, keep, members)
    opened = dataset(data)
    wanted = choose(findings or None, opened.findings)
    select = tuple(f for f in COMPETITION if f in wanted)
    options = {
        "data": data, "arch": arch, "policies": policies, "runs": runs, "epochs": epochs, "batch": batch, "lr": lr,
        "validate": validate, "keep": keep, "members": members, "side": side, "findings": findings, "start": start,
        "val_share": val_share, "augmented": augmented, "precision": precision, "seed": seed,
    }  # fmt: skip
    recipe = Recipe(
        epochs=epochs, batch=batch, lr=lr or RATES.get(arch, 1e-4), weight_decay=0.0, schedule="constant",
        validate=validate, keep=keep, select=select, augmented=augmented, precision=precision,
    )  # fmt: skip
    sample = Sample(val_share=val_share, blank="zeros", split_seed=seed)
    run = Run.start(out, "train chexpert", options)
    with run.lock():
        for policy in policies:
            for number in range(runs):
                name = f"{policy}-{number}"
                print(f"{name}: run {number + 1} of {runs}", flush=True)
                fit(
                    _blank(arch, policy, wanted, side, start, seed + number, device), opened, out / name,
                    replace(recipe, seed=seed + number), replace(sample, uncertain=policy),
                    cache=out / "images", devices=devices, workers=os.cpu_count() or 1,
                )  # fmt: skip
        names = [f"{policy}-{number}" for policy in policies for number in range(runs)]
        ranked = rank_checkpoints(out, names, wanted)
        chosen = ranked[ranked["rank"] <= members]
        write_text_atomic(out / "final.json", json.dumps(ensemble_file(chosen), indent=1) + "\n")
        run.write_table("selection", chosen)
        run.write_table("classification", accuracy(_predictions(out, chosen), seed=seed))
    _tell(run, out)


def _check(policies: Sequence[str], runs: int, keep: int, members: int) -> None:
    strange = [p for p in policies if p not in UNCERTAIN]
    if strange or not policies or len(set(policies)) != len(policies):
        raise DataError(f"policies {', '.join(policies) or '(none)'}; allowed: {', '.join(UNCERTAIN)}, each once")
    if min(runs, keep, members) < 1:
        raise DataError(f"runs={runs}, keep={keep}, members={members}; allowed: from 1")


def _blank(arch: str, policy: str, findings: tuple[str, ...], side: int, start: str, seed: int, device: str) -> Model:
    """The network before a run: random weights, or those of a file wherever they fit."""
    spec = f"{arch}{'&' if '?' in arch else '?'}side={side}"
    model = open_model(f"three-class:{spec}" if policy == "3-class" else spec, findings, seed=seed)
    net = model.net.net if isinstance(model.net, Triples) else model.net
    if start:
        own = net.state_dict()
        given = weights_of(load_safely(Path(start)), own)
        fitting = {name: w for name, w in given.items() if name in own and w.shape == own[name].shape}
        missing = [name for name in own if name not in fitting]
        if len(missing) > 2 or not fitting:
            raise DataError(f"{start} does not fit {arch}: {len(missing)} weights are missing, first {missing[0]}")
        net.load_state_dict(fitting, strict=False)
    model.net.to(device)
    return model


def rank_checkpoints(out: Path, runs: Sequence[str], findings: Sequence[str]) -> pd.DataFrame:
    """Every kept checkpoint of the runs, for each finding from the best: finding, rank, checkpoint, three_class, auroc.

    Ties go by the checkpoint's path. A finding whose AUROC is undefined in validation ranks by path alone.
    """
    rows = []
    for name in runs:
        info = Run.open(out / name).info
        by_name = {entry["checkpoint"]: entry["aurocs"] for entry in info["history"]}
        three = info["options"]["uncertain"] == "3-class"
        rows += [
            (finding, f"{name}/kept/{kept}.pt", three, by_name[kept][finding])
            for kept in info["kept"]
            for finding in findings
        ]
    table = pd.DataFrame(rows, columns=pd.Index(["finding", "checkpoint", "three_class", "auroc"]))
    table["auroc"] = table["auroc"].astype(float)
    table = table.sort_values(["auroc", "checkpoint"], ascending=[False, True], kind="stable")
    table["rank"] = table.groupby("finding").cumcount() + 1
    order = {finding: place for place, finding in enumerate(findings)}
    return table.sort_values(["finding", "rank"], key=lambda c: c.map(order) if c.name == "finding" else c)


def ensemble_file(chosen: pd.DataFrame) -> dict[str, Any]:
    """The content of final.json, in the form of CheXpert's own code."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for finding, checkpoint, three, value in zip(*(chosen[c] for c in _ENTRY), strict=True):
        told = None if pd.isna(value) else float(value)
        entry = {"ckpt_path": checkpoint, "is_3class": bool(three), "value": told}
        tasks.setdefault(finding, []).append(entry)
    return {"aggregation_method": "mean", "task2models": tasks}


_ENTRY = ("finding", "checkpoint", "three_class", "auroc")


def _predictions(out: Path, chosen: pd.DataFrame) -> pd.DataFrame:
    """Per finding and validation radiograph what the ensemble and its best member say, as `stats.accuracy` takes it."""
    frames = []
    first = chosen["checkpoint"].iloc[0].partition("/")[0]
    truth = Run.open(out / first).table("validation")
    columns = {finding: i for i, finding in enumerate(f for f in truth.columns if f not in _WHO)}
    for finding, part in chosen.groupby("finding", sort=False):
        said = [np.load((out / c).with_suffix(".npy"))[:, columns[str(finding)]] for c in part["checkpoint"]]
        for model, values in (("ensemble", np.mean(said, axis=0)), ("best checkpoint", said[0])):
            rows = truth[list(_WHO)].assign(model=model, finding=finding, probability=values, label=truth[finding])
            frames.append(rows)
    return pd.concat(frames, ignore_index=True)


_WHO = ("study", "patient")


def _tell(run: Run, out: Path) -> None:
    table = run.table("classification")
    for model, part in table.groupby("model", sort=False):
        each, row = part[part["finding"] != AVERAGE], part.iloc[-1]  # the average, or the only finding
        told = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}] over {len(each)} findings"
        print(f"{model}: mean validation AUROC {told}, {each['n'].max()} studies of {row['patients']} patients")
    print(f"Chosen on these same patients: other data tell how good it is. Written: {out / 'final.json'}")
