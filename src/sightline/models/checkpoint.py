"""Checkpoints that describe themselves: weights, and all it takes to open them again as the same `Model`."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline._util.formats import check_format
from sightline.errors import DataError
from sightline.models.model import Model

FORMAT = "sightline-checkpoint-2"
"""Format of checkpoints; raise the number when their content, or a spec or name in it, changes."""
PAIR_FORMAT = "sightline-pair-2"
"""Format of a pair of encoders of contrastive pre-training."""
FORMATS = {"sightline-checkpoint-": FORMAT, "sightline-pair-": PAIR_FORMAT}
"""What a format of each kind begins with -> the one that is read."""
AUXILIARY_PREFIXES = ("AuxLogits.", "aux1.", "aux2.")
"""Inception's and GoogLeNet's heads that only training uses."""


def save_checkpoint(model: Model, path: Path) -> None:
    """Write what `sightline.models.open_model` opens: tensors, numbers and strings only, in one go."""
    save_atomically(checkpoint_content(model), path)


def checkpoint_content(model: Model) -> dict[str, Any]:
    """All it takes to open a model again, weights included."""
    return {
        "format": FORMAT,
        "name": model.name,
        "arch": model.arch,
        "findings": list(model.findings),
        "side": model.side,
        "resize": model.resize,
        "channels": model.channels,
        "mean": list(model.mean),
        "std": list(model.std),
        "features": model.feature_module,
        "training": asdict(model.training_record) if model.training_record else None,
        "state": {name: tensor.detach().cpu() for name, tensor in model.net.state_dict().items()},
    }


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """`torch.save` under a temporary name and a rename: the file is the old one or the new one, never half."""
    partial = path.with_name(f".{path.name}.partial")
    torch.save(content, partial)
    partial.replace(path)


def load_safely(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, built of nothing but tensors and plain values (`weights_only`).

    Errors: `DataError` if the file is missing, is no checkpoint, holds anything else, or is of another format.
    """
    if not path.is_file():
        raise DataError(f"checkpoint {path} is not a file; give the path of a .pt or .pth file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise DataError(
            f"checkpoint {path} does not load as tensors and plain values, and nothing else is loaded because it could "
            f"run code: {str(error).splitlines()[0]}; save it again as torch.save(net.state_dict(), path)"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"checkpoint {path} holds {type(content).__name__}; it must hold a dictionary of weights")
    for kind, read in FORMATS.items():
        if str(content.get("format")).startswith(kind):
            check_format(content["format"], read, "checkpoint", path, DataError, "train it again with this version")
    return content


def extract_weights(content: dict[str, Any], parameter_names: Collection[str]) -> dict[str, Tensor]:
    """The state dictionary in a checkpoint, whoever wrote it; prefixes that wrappers add are taken off until a name is
    among the network's `own`."""
    for key in ("state", "state_dict", "model_state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    weights = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    for prefix in ("module.", "model.", "module.", "model.", "net."):
        if any(name in parameter_names for name in weights):
            break
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def load_weights(net: nn.Module, path: Path, content: dict[str, Any] | None = None) -> None:
    """Fill a network from a checkpoint; every weight must be there and fit. Heads used in training only are dropped.

    Errors: `DataError` naming the first weights that are missing, left over or of another shape.
    """
    own = net.state_dict()
    weights = extract_weights(load_safely(path) if content is None else content, own)
    weights = {n: tensor for n, tensor in weights.items() if n in own or not n.startswith(AUXILIARY_PREFIXES)}
    wrong = [f"{n} is missing" for n in own if n not in weights]
    wrong += [f"{n} is not part of the network" for n in weights if n not in own]
    wrong += [
        f"{n} is {tuple(weights[n].shape)}, not {tuple(own[n].shape)}"
        for n in own
        if n in weights and weights[n].shape != own[n].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"checkpoint {path} does not fit {type(net).__name__}: {'; '.join(wrong[:3])}{more}")
    net.load_state_dict(weights)
