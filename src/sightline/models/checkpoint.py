"""Checkpoints that describe themselves: the weights, and everything needed to open them as the same `Model`."""

from __future__ import annotations

import argparse
import hashlib
import logging
import pickle
import zipfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.formats import check_format
from sightline.errors import DataError
from sightline.models.model import Model
from sightline.models.weight_matching import FoundWeights, find_weights

logger = logging.getLogger("sightline")

FORMAT = "sightline-checkpoint-2"
"""Format of checkpoints; raise the number when their content, or a spec or name in it, changes."""
PAIR_FORMAT = "sightline-pair-2"
"""Format of the pair of encoders of a contrastive pre-training."""
FORMATS = {"sightline-checkpoint-": FORMAT, "sightline-pair-": PAIR_FORMAT}
"""Prefix of the formats of each kind -> the format that is read."""
AUXILIARY_PREFIXES = ("AuxLogits.", "aux1.", "aux2.")
"""Prefixes of the weights of heads of Inception and GoogLeNet that only training uses."""


def save_checkpoint(model: Model, path: Path) -> None:
    """Write a checkpoint that `sightline.models.open_model` opens, atomically.

    Parameters
    ----------
    model
        Model to save.
    path
        File to write: tensors, numbers and strings only.
    """
    save_atomically(checkpoint_content(model), path)


def checkpoint_content(model: Model) -> dict[str, Any]:
    """Collect everything that is needed to open a model again.

    Parameters
    ----------
    model
        Model to save.

    Returns
    -------
    dict
        Tensors, numbers and strings; the weights are on the CPU.
    """
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
        "feature_module": model.feature_module,
        "training_record": asdict(model.training_record) if model.training_record else None,
        "state": {name: tensor.detach().cpu() for name, tensor in model.net.state_dict().items()},
    }


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Call `torch.save` under a temporary name and rename: the file is the old one or the new one, never half.

    Parameters
    ----------
    content
        Values to save.
    path
        File to write or replace.
    """
    partial = path.with_name(f".{path.name}.partial")
    torch.save(content, partial)
    partial.replace(path)


def load_safely(path: Path) -> dict[str, Any]:
    """Read the content of a checkpoint, built of nothing but tensors and plain values (`weights_only`).

    Parameters
    ----------
    path
        File that `torch.save` or safetensors wrote; a part after '#' is left to `read_weights`.

    Returns
    -------
    dict
        Content of the file, its tensors on the CPU.

    Raises
    ------
    DataError
        If the file is missing, is no checkpoint, contains anything else, or is of a format that is not read.
    """
    file, _ = split_part(path)
    if not file.is_file():
        raise DataError(f"checkpoint {file} is not a file; give the path of a .pt, .pth, .ckpt or .safetensors file")
    content = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if not isinstance(content, dict):
        raise DataError(f"checkpoint {path} contains {type(content).__name__}; it must be a dictionary of weights")
    for kind, expected in FORMATS.items():
        if str(content.get("format")).startswith(kind):
            check_format(content["format"], expected, "checkpoint", path, DataError, "train it again with this version")
    return content


def split_part(path: Path) -> tuple[Path, str]:
    """Split 'last.pt#teacher' into the file and the copy of the network that is wanted of it.

    Parameters
    ----------
    path
        Path of a checkpoint.

    Returns
    -------
    file : Path
        The file.
    part : str
        Key or prefix of the weights; empty if the path states none.

    Examples
    --------
    >>> split_part(Path("last.pt#teacher"))[1], split_part(Path("last.pt"))[1]
    ('teacher', '')
    """
    head, mark, part = path.name.rpartition("#")
    return (path.with_name(head), part) if mark and head and not path.is_file() else (path, "")


def _read_torch(path: Path) -> Any:
    if any(name.endswith("/constants.pkl") for name in _names_in_archive(path)):
        raise DataError(
            f"checkpoint {path} is a TorchScript program and not a dictionary of weights; open it in a function of "
            "your own, 'package.module:make', that returns sl.wrap(torch.jit.load(path), findings, ...)"
        )
    try:
        with torch.serialization.safe_globals(_harmless_types()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise DataError(
            f"checkpoint {path} does not load as tensors and plain values, and nothing else is loaded because it could "
            f"run code: {str(error).splitlines()[0]}; save it again as torch.save(net.state_dict(), path)"
        ) from error


def _names_in_archive(path: Path) -> list[str]:
    """Names of the files in an archive; none for other files, and for damaged ones, which torch refuses."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _harmless_types() -> list[Any]:
    """Types that training scripts leave beside weights, and whose construction runs no code: options and numbers."""
    numbers = [t for name, t in vars(np.dtypes).items() if name.endswith("DType") and name != "ObjectDType"]
    scalar = np.float64(0).__reduce__()[0]  # NumPy moved it to another module, and files name either
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, PosixPath, np.dtype, *numbers, *((scalar, name) for name in names)]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise DataError(f"checkpoint {path} needs the package safetensors: pip install safetensors") from None
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"checkpoint {path} is no file of safetensors: {error}") from error


def read_weights(path: Path, names: Collection[str], content: dict[str, Any] | None = None) -> FoundWeights:
    """Find the weights of a network in a file.

    Parameters
    ----------
    path
        File of the checkpoint; 'last.pt#teacher' names one of several copies in it.
    names
        Names of the network's weights.
    content
        Content of the file, if it was read before.

    Returns
    -------
    FoundWeights
        As `sightline.models.weight_matching.find_weights` returns them. What is passed over is named in the log.

    Raises
    ------
    DataError
        If the file does not load, or has several copies that differ and none is named.
    """
    content = load_safely(path) if content is None else content
    try:
        matched = find_weights(content, names, split_part(path)[1])
    except DataError as error:
        raise DataError(f"checkpoint {path}: {error}") from error
    if matched.passed_over:
        more = f" and {len(matched.passed_over) - 5} more" if len(matched.passed_over) > 5 else ""
        beside = ", ".join(matched.passed_over[:5])
        logger.warning(f"{path}: passed over, because it is not part of the network: {beside}{more}")
    return matched


def load_weights(net: nn.Module, path: Path, content: dict[str, Any] | None = None) -> None:
    """Fill a network with the weights of a checkpoint.

    Every weight must be present and fit. Weights of heads that only training uses, and what stands beside the network,
    are passed over and named in the log. Weights are converted to the types of the network.

    Parameters
    ----------
    net
        Network that is changed in place.
    path
        File of the checkpoint.
    content
        Content of the file, if it was read before.

    Raises
    ------
    DataError
        If weights are missing, left over or of another shape; the message names the first of them.
    """
    state = net.state_dict()
    matched = read_weights(path, state, content)
    weights = {n: w for n, w in matched.weights.items() if n in state or not n.startswith(AUXILIARY_PREFIXES)}
    wrong = [f"{n} is missing" for n in state if n not in weights]
    wrong += [f"{n} is not part of the network" for n in weights if n not in state]
    wrong += [
        f"{n} is {tuple(weights[n].shape)}, not {tuple(state[n].shape)}"
        for n in state
        if n in weights and weights[n].shape != state[n].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        place = f", of its weights under {matched.place!r}" if matched.place else ""
        raise DataError(f"checkpoint {path} does not fit {type(net).__name__}{place}: {'; '.join(wrong[:3])}{more}")
    net.load_state_dict(weights)


def state_hash(net: nn.Module) -> str:
    """Return the SHA-256 of every parameter and buffer of a network; it is the same on every device.

    Parameters
    ----------
    net
        Network whose names, types, shapes and bytes are hashed.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> state_hash(nn.ReLU())[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    for name, tensor in ((n, t) for n, value in sorted(net.state_dict().items()) for t in _tensors_in(value)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors_in(value: Any) -> list[Tensor]:
    """Tensors of an entry of a state dictionary; quantized layers pack several into one."""
    if isinstance(value, Tensor):
        return [value.dequantize() if value.is_quantized else value]
    return [tensor for part in value for tensor in _tensors_in(part)] if isinstance(value, tuple) else []
