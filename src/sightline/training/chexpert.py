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
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.findings import select_findings
from sightline.models import Model, open_model
from sightline.models.checkpoint import extract_weights, load_safely
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.models.precision import Precision
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.estimates import AVERAGE
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import UNCERTAINTY_POLICIES, UncertaintyPolicy

COMPETITION_FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The findings of CheXpert's competition; their mean AUROC ranks the checkpoints of a run."""
LEARNING_RATES = {"densenet121": 1e-4, "resnet152": 1e-5, "inception_v4": 1e-5}
"""Learning rates of CheXlocalize's three architectures."""


def train_chexpert(
    *,
    data: str,
    out: Path,
    arch: str = "densenet121",
    uncertainty_policies: tuple[UncertaintyPolicy, ...] = UNCERTAINTY_POLICIES,
    runs_per_policy: int = 3,
    epochs: int = 3,
    batch_size: int = 16,
    lr: float = 0.0,
    validation_interval: float = 0.1,
    checkpoints_per_run: int = 10,
    checkpoints_per_finding: int = 10,
    side: int = 320,
    findings: str = "",
    initial_weights: str = "",
    validation_fraction: float = 0.15,
    augment: bool = True,
    precision: Precision = "bfloat16",
    device: str = "cpu",
    n_devices: int = 1,
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
    _check_options(uncertainty_policies, runs_per_policy, checkpoints_per_run, checkpoints_per_finding)
    opened = open_dataset(data)
    wanted = select_findings(findings or None, opened.findings)
    select = tuple(f for f in COMPETITION_FINDINGS if f in wanted)
    options = {
        "data": data,
        "arch": arch,
        "uncertainty_policies": uncertainty_policies,
        "runs_per_policy": runs_per_policy,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "validation_interval": validation_interval,
        "checkpoints_per_run": checkpoints_per_run,
        "checkpoints_per_finding": checkpoints_per_finding,
        "side": side,
        "findings": findings,
        "initial_weights": initial_weights,
        "validation_fraction": validation_fraction,
        "augment": augment,
        "precision": precision,
        "seed": seed,
    }
    recipe = TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr or LEARNING_RATES.get(arch, 1e-4),
        weight_decay=0.0,
        schedule="constant",
        validation_interval=validation_interval,
        max_checkpoints=checkpoints_per_run,
        selection_findings=select,
        augment=augment,
        precision=precision,
    )
    sample = SamplingConfig(validation_fraction=validation_fraction, blank_policy="zeros", split_seed=seed)
    run = Run.start(out, "train chexpert", options)
    with run.lock():
        for policy in uncertainty_policies:
            for number in range(runs_per_policy):
                name = f"{policy}-{number}"
                print(f"{name}: run {number + 1} of {runs_per_policy}", flush=True)
                fit(
                    _make_initial_model(arch, policy, wanted, side, initial_weights, seed + number, device),
                    opened,
                    out / name,
                    replace(recipe, seed=seed + number),
                    replace(sample, uncertainty_policy=policy),
                    cache=out / "images",
                    n_devices=n_devices,
                    workers=os.cpu_count() or 1,
                )
        names = [f"{policy}-{number}" for policy in uncertainty_policies for number in range(runs_per_policy)]
        ranked = rank_checkpoints(out, names, wanted)
        chosen = ranked[ranked["rank"] <= checkpoints_per_finding]
        write_text_atomic(out / "final.json", json.dumps(ensemble_content(chosen), indent=1) + "\n")
        run.write_table("selection", chosen)
        run.write_table("classification", estimate_auroc(_collect_predictions(out, chosen), seed=seed))
    _print_results(run, out)


def _check_options(
    uncertainty_policies: Sequence[str], runs_per_policy: int, checkpoints_per_run: int, checkpoints_per_finding: int
) -> None:
    strange = [p for p in uncertainty_policies if p not in UNCERTAINTY_POLICIES]
    if strange or not uncertainty_policies or len(set(uncertainty_policies)) != len(uncertainty_policies):
        raise DataError(
            f"uncertainty_policies={','.join(uncertainty_policies) or '(none)'}; allowed: "
            f"{', '.join(UNCERTAINTY_POLICIES)}, each once"
        )
    if min(runs_per_policy, checkpoints_per_run, checkpoints_per_finding) < 1:
        raise DataError(
            f"runs_per_policy={runs_per_policy}, checkpoints_per_run={checkpoints_per_run}, "
            f"checkpoints_per_finding={checkpoints_per_finding}; allowed: from 1"
        )


def _make_initial_model(
    arch: str, policy: str, findings: tuple[str, ...], side: int, initial_weights: str, seed: int, device: str
) -> Model:
    """The network before a run: random weights, or those of a file wherever they fit."""
    spec = f"{arch}{'&' if '?' in arch else '?'}side={side}"
    model = open_model(f"three-class:{spec}" if policy == "3-class" else spec, findings, seed=seed)
    net = model.net.net if isinstance(model.net, ThreeClassHead) else model.net
    if initial_weights:
        own = net.state_dict()
        given = extract_weights(load_safely(Path(initial_weights)), own)
        fitting = {name: w for name, w in given.items() if name in own and w.shape == own[name].shape}
        missing = [name for name in own if name not in fitting]
        if len(missing) > 2 or not fitting:
            raise DataError(
                f"{initial_weights} does not fit {arch}: {len(missing)} weights are missing, first {missing[0]}"
            )
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
        three = info["options"]["uncertainty_policy"] == "3-class"
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


def ensemble_content(checkpoints: pd.DataFrame) -> dict[str, Any]:
    """The content of final.json, in the form of CheXpert's own code."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for finding, checkpoint, three, value in zip(*(checkpoints[c] for c in _CHECKPOINT_COLUMNS), strict=True):
        told = None if pd.isna(value) else float(value)
        entry = {"ckpt_path": checkpoint, "is_3class": bool(three), "value": told}
        tasks.setdefault(finding, []).append(entry)
    return {"aggregation_method": "mean", "task2models": tasks}


_CHECKPOINT_COLUMNS = ("finding", "checkpoint", "three_class", "auroc")


def _collect_predictions(out: Path, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Per finding and validation radiograph what the ensemble and its best member say, as `stats.accuracy` takes it."""
    frames = []
    first = checkpoints["checkpoint"].iloc[0].partition("/")[0]
    truth = Run.open(out / first).table("validation")
    columns = {finding: i for i, finding in enumerate(f for f in truth.columns if f not in _GROUP_COLUMNS)}
    for finding, part in checkpoints.groupby("finding", sort=False):
        said = [np.load((out / c).with_suffix(".npy"))[:, columns[str(finding)]] for c in part["checkpoint"]]
        for model, values in (("ensemble", np.mean(said, axis=0)), ("best checkpoint", said[0])):
            rows = truth[list(_GROUP_COLUMNS)].assign(
                model=model, finding=finding, probability=values, label=truth[finding]
            )
            frames.append(rows)
    return pd.concat(frames, ignore_index=True)


_GROUP_COLUMNS = ("study", "patient")


def _print_results(run: Run, out: Path) -> None:
    table = run.table("classification")
    for model, part in table.groupby("model", sort=False):
        each, row = part[part["finding"] != AVERAGE], part.iloc[-1]  # the average, or the only finding
        told = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}] over {len(each)} findings"
        print(f"{model}: mean validation AUROC {told}, {each['n'].max()} studies of {row['patients']} patients")
    print(f"Chosen on these same patients: other data tell how good it is. Written: {out / 'final.json'}")
