"""Ensembles by the recipe of CheXpert and CheXlocalize: many runs, of which each finding takes the best checkpoints.

Irvin et al. 2019, arXiv:1901.07031; Saporta et al. 2022, 10.1038/s42256-022-00536-x: four policies for uncertain
labels, three runs each, the ten best checkpoints of a run kept, and for each finding the ten best of all of them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.core import Dataset
from sightline.errors import DataError
from sightline.models import Model, open_model
from sightline.models.checkpoint import read_weights
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.models.precision import Precision
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import UNCERTAINTY_POLICIES, UncertaintyPolicy

logger = logging.getLogger("sightline")
COMPETITION_FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""Findings of CheXpert's competition; their mean AUROC ranks the checkpoints of a run."""
LEARNING_RATES = {"densenet121": 1e-4, "resnet152": 1e-5, "inception_v4": 1e-5}
"""Learning rates of CheXlocalize's three architectures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """Options of an ensemble; the defaults are those of CheXlocalize.

    Raises
    ------
    DataError
        For unknown or repeated policies, and numbers below 1.
    """

    arch: str = "densenet121"
    """Architecture without its size."""
    uncertainty_policies: tuple[UncertaintyPolicy, ...] = UNCERTAINTY_POLICIES
    """Values of uncertain labels; each policy has its own runs."""
    runs_per_policy: int = 3
    """Runs per policy, with different seeds."""
    epochs: int = 3
    """Passes over the training data in each run."""
    batch_size: int = 16
    """Radiographs per training step."""
    lr: float = 0.0
    """Learning rate; 0 takes the published one of the architecture, or 1e-4."""
    validation_interval: float = 0.1
    """Share of an epoch between two validations."""
    checkpoints_per_run: int = 10
    """Checkpoints kept per run: the best by mean AUROC over the findings of the competition."""
    checkpoints_per_finding: int = 10
    """Checkpoints per finding in the ensemble: the best of all runs by that finding's AUROC."""
    side: int = 320
    """Height and width of the input, in pixels."""
    initial_weights: str = ""
    """Checkpoint to start from; its last layer is left out if it does not fit. Empty for random weights."""
    validation_fraction: float = 0.15
    """Share of the patients used for validation if the data set has no validation split."""
    augment: bool = True
    """True to rotate, shift and scale images and change their exposure a little."""
    precision: Precision = "bfloat16"
    """Precision of the forward pass."""
    seed: int = 0
    """Seed of the first run; run N of a policy has seed + N."""

    def __post_init__(self) -> None:
        policies = self.uncertainty_policies
        unknown = [p for p in policies if p not in UNCERTAINTY_POLICIES]
        if unknown or not policies or len(set(policies)) != len(policies):
            raise DataError(
                f"uncertainty_policies={', '.join(policies) or '(none)'}; allowed: {', '.join(UNCERTAINTY_POLICIES)}, "
                "each once"
            )
        if min(self.runs_per_policy, self.checkpoints_per_run, self.checkpoints_per_finding) < 1:
            raise DataError(
                f"runs_per_policy={self.runs_per_policy}, checkpoints_per_run={self.checkpoints_per_run}, "
                f"checkpoints_per_finding={self.checkpoints_per_finding}; allowed: from 1"
            )

    @property
    def run_names(self) -> list[str]:
        """Names of the runs, POLICY-NUMBER."""
        return [f"{policy}-{number}" for policy in self.uncertainty_policies for number in range(self.runs_per_policy)]

    def training_config(self, findings: Sequence[str]) -> TrainingConfig:
        """Return the options of the optimization of every run.

        Parameters
        ----------
        findings
            Findings of the ensemble.

        Returns
        -------
        TrainingConfig
        """
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr or LEARNING_RATES.get(self.arch, 1e-4),
            weight_decay=0.0,
            schedule="constant",
            validation_interval=self.validation_interval,
            max_checkpoints=self.checkpoints_per_run,
            selection_findings=tuple(f for f in COMPETITION_FINDINGS if f in findings),
            augment=self.augment,
            precision=self.precision,
        )


def train_ensemble(
    data: Dataset,
    out: Path,
    config: EnsembleConfig,
    findings: Sequence[str],
    *,
    device: str = "cpu",
    n_devices: int = 1,
) -> Run:
    """Train the runs of all policies and select the best checkpoints of each finding; the same call continues.

    Parameters
    ----------
    data
        Data set with labels.
    out
        Folder of the ensemble; each run gets a folder POLICY-NUMBER in it. final.json is what `open_ensemble` opens.
    config
        Options of the ensemble.
    findings
        Findings of the ensemble.
    device
        'cpu' or 'cuda'.
    n_devices
        Number of devices that train one network together.

    Returns
    -------
    Run
        Run with the tables `selection` (checkpoints of each finding) and `classification` (AUROC of the ensembles).
    """
    names = tuple(findings)
    recipe = config.training_config(names)
    sampling = SamplingConfig(
        validation_fraction=config.validation_fraction, blank_policy="zeros", split_seed=config.seed
    )
    run = Run.start(out, "train chexpert", {"data": data.spec, "findings": names, **asdict(config)})
    with run.lock():
        for policy in config.uncertainty_policies:
            for number in range(config.runs_per_policy):
                logger.info(f"{policy}-{number}: run {number + 1} of {config.runs_per_policy}")
                fit(
                    _make_initial_model(config, policy, names, number, device),
                    data,
                    out / f"{policy}-{number}",
                    replace(recipe, seed=config.seed + number),
                    replace(sampling, uncertainty_policy=policy),
                    cache=out / "images",
                    n_devices=n_devices,
                    workers=os.cpu_count() or 1,
                )
        ranked = rank_checkpoints(out, config.run_names, names)
        selected = ranked[ranked["rank"] <= config.checkpoints_per_finding]
        write_text_atomic(out / "final.json", json.dumps(ensemble_content(selected), indent=1) + "\n")
        run.write_table("selection", selected)
        run.write_table("classification", estimate_auroc(_collect_predictions(out, selected)))
    return run


def _make_initial_model(
    config: EnsembleConfig, policy: str, findings: tuple[str, ...], number: int, device: str
) -> Model:
    """Return the network before a run: random weights, or those of a file as far as they fit."""
    spec = f"{config.arch}{'&' if '?' in config.arch else '?'}side={config.side}"
    model = open_model(f"three-class:{spec}" if policy == "3-class" else spec, findings, seed=config.seed + number)
    net = model.net.net if isinstance(model.net, ThreeClassHead) else model.net
    if config.initial_weights:
        state = net.state_dict()
        weights = read_weights(Path(config.initial_weights), state).weights
        fitting = {name: w for name, w in weights.items() if name in state and w.shape == state[name].shape}
        missing = [name for name in state if name not in fitting]
        if len(missing) > 2 or not fitting:
            raise DataError(
                f"{config.initial_weights} does not fit {config.arch}: {len(missing)} weights are missing, first "
                f"{missing[0]}"
            )
        net.load_state_dict(fitting, strict=False)
    model.net.to(device)
    return model


def rank_checkpoints(out: Path, runs: Sequence[str], findings: Sequence[str]) -> pd.DataFrame:
    """Rank the kept checkpoints of all runs for each finding, best first.

    Ties go by the checkpoint's path. A finding whose AUROC is undefined in validation ranks by path alone.

    Parameters
    ----------
    out
        Folder of the ensemble.
    runs
        Names of the runs.
    findings
        Findings in the order of the table.

    Returns
    -------
    DataFrame
        Columns finding, checkpoint, three_class, auroc and rank.
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
    order = {finding: index for index, finding in enumerate(findings)}
    return table.sort_values(["finding", "rank"], key=lambda c: c.map(order) if c.name == "finding" else c)


def ensemble_content(checkpoints: pd.DataFrame) -> dict[str, Any]:
    """Make the content of final.json, in the form of CheXpert's own code.

    Parameters
    ----------
    checkpoints
        Table of `rank_checkpoints`, the selected rows.

    Returns
    -------
    dict
        Method of aggregation, and checkpoints of each finding.
    """
    tasks: dict[str, list[dict[str, Any]]] = {}
    for finding, checkpoint, three, value in zip(*(checkpoints[c] for c in _CHECKPOINT_COLUMNS), strict=True):
        auroc = None if pd.isna(value) else float(value)
        tasks.setdefault(finding, []).append({"ckpt_path": checkpoint, "is_3class": bool(three), "value": auroc})
    return {"aggregation_method": "mean", "task2models": tasks}


_CHECKPOINT_COLUMNS = ("finding", "checkpoint", "three_class", "auroc")


def _collect_predictions(out: Path, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Probabilities of the ensemble and of its best member for each finding and validation radiograph."""
    frames = []
    first = checkpoints["checkpoint"].iloc[0].partition("/")[0]
    truth = Run.open(out / first).table("validation")
    columns = {finding: i for i, finding in enumerate(f for f in truth.columns if f not in _GROUP_COLUMNS)}
    for finding, part in checkpoints.groupby("finding", sort=False):
        members = [np.load((out / c).with_suffix(".npy"))[:, columns[str(finding)]] for c in part["checkpoint"]]
        for model, values in (("ensemble", np.mean(members, axis=0)), ("best checkpoint", members[0])):
            rows = truth[list(_GROUP_COLUMNS)].assign(
                model=model, finding=finding, probability=values, label=truth[finding]
            )
            frames.append(rows)
    return pd.concat(frames, ignore_index=True)


_GROUP_COLUMNS = ("study", "patient")
