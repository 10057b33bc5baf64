"""Initial weights of a pre-training study: random, from checkpoints, or from a pre-training of its own."""

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
from sightline.models.checkpoint import read_weights
from sightline.models.pretrained import download_weights
from sightline.models.weight_randomization import find_blocks
from sightline.models.zoo import open_model
from sightline.training.contrastive import CONTRASTIVE_CONFIG, pretrain
from sightline.training.contrastive_pairs import PAIR_WITH

RANDOM_INIT = "random"
"""Name of random initial weights."""
PRETRAINING_CONFIG = replace(CONTRASTIVE_CONFIG, epochs=12, batch_size=64, lr=2e-3)
"""Pre-training of the phantom's networks, on reports and on images."""
BATCH_NORM_IMAGES = 256
"""Number of radiographs from which batch norms of random networks are estimated."""


def make_initializations(
    folder: Path, train_data: Dataset, blank: Model, initializations: Sequence[str], seed: int, device: str
) -> dict[str, Model]:
    """Prepare the initial weights of every training: the same architecture, with the head as drawn.

    Parameters
    ----------
    folder
        Folder of the trainings.
    train_data
        Data set to train on.
    blank
        Network with random weights.
    initializations
        NAME=CHECKPOINT of each other initialization; on the phantom, pre-training on reports and on images if there
        is none.
    seed
        Seed of pre-training.
    device
        Device of the networks.

    Returns
    -------
    dict
        Name -> network with the initial weights; 'random' first.

    Raises
    ------
    DataError
        For a name that is missing or given twice, or a checkpoint that does not fit.
    """
    blank = replace(blank, training_record=None)
    blank.net.to(device)
    starts = {RANDOM_INIT: recalibrate_batch_norm(blank, train_data)}
    for text in initializations:
        name, _, path = text.partition("=")
        if not path or name == RANDOM_INIT or name in starts:
            raise DataError(
                f"initializations: {text!r} is not NAME=CHECKPOINT with a name of its own ({RANDOM_INIT!r} is taken)"
            )
        starts[name] = load_backbone(path, blank)
    if initializations or not is_synthetic(train_data.spec):
        return starts
    for source in PAIR_WITH:
        starts[source] = pretrain(
            blank,
            train_data,
            pretraining_folder(folder, source),
            replace(PRETRAINING_CONFIG, seed=seed),
            pair_with=source,
            cache=folder / "images",
            workers=os.cpu_count() or 1,
        )
    return starts


def pretraining_folder(folder: Path, pair_with: str) -> Path:
    """Return the folder of a pre-training of the study's own.

    Parameters
    ----------
    folder
        Folder of the trainings.
    pair_with
        'reports' or 'images'.

    Returns
    -------
    Path
        The folder.
    """
    return folder / f"pretraining-{pair_with}"


def recalibrate_batch_norm(model: Model, train_data: Dataset) -> Model:
    """Estimate the batch-norm statistics of a random network from unlabeled training images.

    All other initializations have such statistics. With the default ones, features of a random network hardly vary, and
    linear evaluation would have nothing to compare with.

    Parameters
    ----------
    model
        Network with random weights.
    train_data
        Data set to train on.

    Returns
    -------
    Model
        A copy with new statistics; the same network if it has no batch norm.
    """
    net = copy.deepcopy(model.net).eval()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    radiographs = [r for r in train_data.radiographs if r.split in ("", "train")][:BATCH_NORM_IMAGES]
    batch = make_batch(model, radiographs) if norms else None
    if batch is None:
        return model
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    with torch.no_grad():
        for images in torch.split(batch.x, 32):
            net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return replace(model, net=net.eval())


def load_backbone(path: str, model: Model) -> Model:
    """Load every weight of a checkpoint that fits into a network, except for the head.

    Parameters
    ----------
    path
        A file, or 'timm:NAME' or 'torchvision:NAME' for published weights, if the network can be reached.
    model
        Network with random weights.

    Returns
    -------
    Model
        A copy with the weights.

    Raises
    ------
    DataError
        If a checkpoint does not fit, or cannot be obtained.
    """
    weights = model.net.state_dict()
    head = {f"{layer}." for layer in find_blocks(model)[0].layers}
    downloaded = download_weights(path) if path.startswith(("timm:", "torchvision:")) else None
    given = read_weights(Path(path), weights.keys(), downloaded).weights
    fits = {
        k: w for k, w in given.items() if k in weights and w.shape == weights[k].shape and not k.startswith(tuple(head))
    }
    body = [k for k in weights if not k.startswith(tuple(head))]
    if len(fits) < 0.9 * len(body):
        raise DataError(
            f"{path} has weights for {len(fits)} of the {len(body)} tensors of {model.arch}; initial weights are of "
            "the same architecture"
        )
    other = open_model(model.arch, model.findings)
    other.net.load_state_dict({**weights, **fits})
    other.net.to(model.device)
    return other
