"""Where the trainings of a pre-training study begin: weights at random, checkpoints, or a pre-training of its own."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sightline.core import Dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.methods.inference import make_batch
from sightline.models import Model
from sightline.models.checkpoint import extract_weights, load_safely
from sightline.models.pretrained import download_weights
from sightline.models.weight_randomization import find_blocks
from sightline.models.zoo import open_model
from sightline.runs.run import Run
from sightline.training.contrastive import CONTRASTIVE_CONFIG, PAIR_WITH, pretrain

RANDOM_INIT = "random"
PRETRAINING_CONFIG = replace(CONTRASTIVE_CONFIG, epochs=12, batch_size=64, lr=2e-3)
"""Of the phantom's networks, by reports and by images alike."""
BATCH_NORM_IMAGES = 256
"""Films that the norms of a network at random are settled on."""


def make_initializations(
    run: Run,
    train_data: Dataset,
    initializations: Sequence[str],
    arch: str,
    findings: tuple[str, ...],
    seed: int,
    device: str,
) -> dict[str, Model]:
    """Name -> where every training of it begins: same architecture, head as drawn."""
    blank = replace(open_model(arch, findings, seed=seed), training_record=None)
    blank.net.to(device)
    found = {RANDOM_INIT: recalibrate_batch_norm(blank, train_data)}
    for stated in initializations:
        name, _, path = stated.partition("=")
        if not path or name == RANDOM_INIT or name in found:
            raise DataError(
                f"inits: {stated!r} is not NAME=CHECKPOINT with a name of its own ({RANDOM_INIT!r} is taken)"
            )
        found[name] = load_backbone(path, blank)
    if initializations or not is_synthetic(train_data.spec):
        return found
    for by in PAIR_WITH:
        found[by] = pretrain(
            blank,
            train_data,
            pretraining_folder(run, by),
            replace(PRETRAINING_CONFIG, seed=seed),
            pair_with=by,
            cache=run.path / "training" / "images",
            workers=os.cpu_count() or 1,
        )
    return found


def pretraining_folder(run: Run, pair_with: str) -> Path:
    """Where a study keeps a pre-training of its own."""
    return run.path / "training" / f"pretraining-{pair_with}"


def recalibrate_batch_norm(model: Model, train_data: Dataset) -> Model:
    """A copy whose batch norms know the statistics of unlabeled training films, which no other beginning lacks.

    With those they are born with, features of a network at random hardly vary, and linear evaluation would compare with
    nothing at all.
    """
    net = copy.deepcopy(model.net).eval()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    some = [r for r in train_data.radiographs if r.split in ("", "train")][:BATCH_NORM_IMAGES]
    batch = make_batch(model, some) if norms else None
    if batch is None:
        return model
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.no_grad():
        for images in torch.split(batch.x, 32):
            net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return replace(model, net=net.eval())


def load_backbone(path: str, model: Model) -> Model:
    """The blank network with every weight of a checkpoint that fits, but for the head.

    path: a file, or 'timm:NAME' or 'torchvision:NAME' for the weights that their authors publish, where the network can
    be reached. Errors: `DataError` if a checkpoint fits nowhere, or cannot be had.
    """
    own = model.net.state_dict()
    head = {f"{layer}." for layer in find_blocks(model)[0].layers}
    given = download_weights(path) if path.startswith(("timm:", "torchvision:")) else load_safely(Path(path))
    given = extract_weights(given, own.keys())
    fits = {k: w for k, w in given.items() if k in own and w.shape == own[k].shape and not k.startswith(tuple(head))}
    body = [k for k in own if not k.startswith(tuple(head))]
    if len(fits) < 0.9 * len(body):
        raise DataError(
            f"{path} has weights for {len(fits)} of the {len(body)} tensors of {model.arch}; a beginning is of the "
            "same architecture"
        )
    other = open_model(model.arch, model.findings)
    other.net.load_state_dict({**own, **fits})
    other.net.to(model.device)
    return other
