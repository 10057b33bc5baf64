"""Where the trainings of a pre-training study begin: weights at random, checkpoints, or a pre-training of its own."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sightline.core import Case, Dataset
from sightline.errors import DataError
from sightline.methods.inference import prepared
from sightline.models import Model
from sightline.models.checkpoint import load_safely, weights_of
from sightline.models.pretrained import fetched
from sightline.models.weight_randomization import blocks
from sightline.models.zoo import open_model
from sightline.runs.run import Run
from sightline.training.contrastive import BYS, CONTRASTIVE, pretrain

RANDOM = "random"
PRETRAINING = replace(CONTRASTIVE, epochs=12, batch=64, lr=2e-3)
"""Of the phantom's networks, by reports and by images alike."""
SETTLED = 256
"""Films that the norms of a network at random are settled on."""


def begun(
    run: Run, source: Dataset, inits: Sequence[str], arch: str, wanted: tuple[str, ...], seed: int, device: str
) -> dict[str, Model]:
    """Name -> where every training of it begins: same architecture, head as drawn."""
    blank = replace(open_model(arch, wanted, seed=seed), training=None)
    blank.net.to(device)
    found = {RANDOM: settled(blank, source)}
    for stated in inits:
        name, _, path = stated.partition("=")
        if not path or name == RANDOM or name in found:
            raise DataError(f"inits: {stated!r} is not NAME=CHECKPOINT with a name of its own ({RANDOM!r} is taken)")
        found[name] = body_of(path, blank)
    if inits or not source.spec.startswith("phantom"):
        return found
    for by in BYS:
        found[by] = pretrain(blank, source, home(run, by), replace(PRETRAINING, seed=seed), by=by,
                             cache=run.path / "training" / "images", workers=os.cpu_count() or 1)  # fmt: skip
    return found


def home(run: Run, by: str) -> Path:
    """Where a study keeps a pre-training of its own."""
    return run.path / "training" / f"pretraining-{by}"


def settled(blank: Model, source: Dataset) -> Model:
    """A copy whose batch norms know the statistics of unlabeled training films, which no other beginning lacks.

    With those they are born with, features of a network at random hardly vary, and linear evaluation would compare with
    nothing at all.
    """
    net = copy.deepcopy(blank.net).eval()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    some = [r for r in source.radiographs if r.split in ("", "train")][:SETTLED]
    batch = prepared(blank, [Case(r, "") for r in some]) if norms else None
    if batch is None:
        return blank
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
    return replace(blank, net=net.eval())


def body_of(path: str, blank: Model) -> Model:
    """The blank network with every weight of a checkpoint that fits, but for the head.

    path: a file, or 'timm:NAME' or 'torchvision:NAME' for the weights that their authors publish, where the network can
    be reached. Errors: `DataError` if a checkpoint fits nowhere, or cannot be had.
    """
    own = blank.net.state_dict()
    head = {f"{layer}." for layer in blocks(blank)[0].layers}
    given = fetched(path) if path.startswith(("timm:", "torchvision:")) else load_safely(Path(path))
    given = weights_of(given, own.keys())
    fits = {k: w for k, w in given.items() if k in own and w.shape == own[k].shape and not k.startswith(tuple(head))}
    body = [k for k in own if not k.startswith(tuple(head))]
    if len(fits) < 0.9 * len(body):
        raise DataError(
            f"{path} has weights for {len(fits)} of the {len(body)} tensors of {blank.arch}; a beginning is of the "
            "same architecture"
        )
    other = open_model(blank.arch, blank.findings)
    other.net.load_state_dict({**own, **fits})
    other.net.to(blank.device)
    return other
