"""The zoo: architectures by name, `open_model("densenet121:ckpt.pt?side=320", findings)`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline._util.plugin_errors import wrap_plugin_errors
from sightline._util.spec import parse_options, parse_spec
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name, parse_findings
from sightline.imaging.geometry import Resize
from sightline.models.checkpoint import FORMAT, load_safely, load_weights
from sightline.models.model import Model, TrainingRecord, state_hash, with_normalization, wrap
from sightline.registry import Registry


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of an entry before it builds anything."""

    argument: str
    """What follows the colon in its spec."""
    source: str
    """Where the architecture is defined: DOI, arXiv id or URL."""
    extra: str = "torch"
    """The optional dependencies it needs: pip install 'sightline[EXTRA]'."""


models: Registry[ModelInfo] = Registry("model", ModelInfo)
"""name -> function of (argument: str, findings: tuple[str, ...] | None) -> Model with random or its own weights;
options are keyword arguments with defaults."""


NORMALIZATION_OPTIONS = ("mean", "std")
"""Options of every entry: how an image in [0, 1] is normalized."""
RESIZES: dict[str, Resize] = {"stretch": "stretch", "center-crop": "center-crop", "pad": "pad"}


def open_model(spec: str, findings: Sequence[str] | None = None, *, seed: int = 0) -> Model:
    """A model by its spec.

    'ckpt.pt' (written by `fit`: knows everything itself), 'densenet121:ckpt.pt?side=320', 'timm:resnet50',
    'small' (random weights, drawn from `seed`), 'my_package.models:make' (a function that returns a `Model`).
    findings: in the order of the logits, also as an option, '...?findings=Edema|Mass'; may be left out where the
    checkpoint or the model knows them; of random weights the fourteen of CheXpert by default. Options of every
    architecture: mean and std, one number or one per channel, '...?mean=0.5&std=0.25'.
    Errors: `UnknownNameError`, `SightlineError` for options, `DataError` for checkpoints.
    """
    wanted = None if findings is None else tuple(canonical_name(finding) for finding in findings)
    if _is_checkpoint(spec):
        return _open_checkpoint(Path(spec), wanted)
    name, argument, given = parse_spec(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            entry = models[name]
        except UnknownNameError as unknown:
            return _open_from_function(spec, name, argument, wanted, given, str(unknown))
        wanted = _resolve_findings(spec, given.pop("findings", ""), wanted)
        numbers = {name: _parse_numbers(spec, name, given.pop(name)) for name in NORMALIZATION_OPTIONS if name in given}
        model: Model = entry.function(
            argument, wanted, **parse_options(spec, entry.function, given, ("findings", *NORMALIZATION_OPTIONS))
        )
    model = with_normalization(model, **numbers)
    return replace(
        model, assumed_settings=tuple(name for name in model.assumed_settings if name not in {*given, *numbers})
    )


def _resolve_findings(spec: str, text: str, findings: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Findings that a spec tells, 'Edema|Mass', or that the caller wants. Errors: `SightlineError` if they differ."""
    named = parse_findings(text, "|") if text else findings
    if findings is not None and named != findings:
        raise SightlineError(f"{spec!r} names its findings; it cannot be opened for {', '.join(findings)}")
    return named


def _parse_numbers(spec: str, name: str, text: str) -> tuple[float, ...]:
    """'0.5' or '0.485|0.456|0.406', one number or one per channel."""
    try:
        return tuple(float(value) for value in text.split("|"))
    except ValueError:
        raise SightlineError(
            f"{spec!r}: {name}={text}; allowed: a number, or one per channel, as in {name}=0.485|0.456|0.406"
        ) from None


def _is_checkpoint(spec: str) -> bool:
    return spec.endswith((".pt", ".pth", ".ckpt")) and ":" not in spec


def _open_checkpoint(path: Path, findings: tuple[str, ...] | None) -> Model:
    content = load_safely(path)
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path} was not written by sightline; say what network it belongs to and what its outputs find, in their "
            f"order, as in 'densenet121:{path}?findings=Cardiomegaly|Edema'"
        )
    if not content["arch"]:
        raise DataError(
            f"{path} holds the weights of a network of your own; open it with a function, 'package.module:make'"
        )
    own = tuple(content["findings"])
    if findings is not None and findings != own:
        raise SightlineError(f"{path} finds {', '.join(own)}; it cannot be opened for {', '.join(findings)}")
    blank = open_model(content["arch"], own)
    load_weights(blank.net, path, content)
    record = content["training"]
    return wrap(
        blank.net,
        own,
        content["side"],
        content["resize"],
        channels=content["channels"],
        mean=content["mean"],
        std=content["std"],
        name=content["name"],
        feature_module=content["features"],
        arch=content["arch"],
        training_record=TrainingRecord(**record) if record else None,
    )


def _open_from_function(
    spec: str, module: str, function: str, findings: tuple[str, ...] | None, given: dict[str, str], unknown: str
) -> Model:
    """'package.module:function', called with the options of the spec. unknown: what is told if there is none."""
    if not function:
        raise UnknownNameError(f"{unknown}; or a checkpoint, or 'package.module:function'")
    if not _is_importable(module):
        raise UnknownNameError(
            f"{unknown}; and no module {module!r} can be imported: there is no {module.replace('.', '/')}.py in the "
            f"current folder, {Path.cwd()}, nor on the Python path; go to its folder, or set PYTHONPATH to it"
        )
    with wrap_plugin_errors(f"importing {module!r}"):
        home = importlib.import_module(module)
    if not callable(make := getattr(home, function, None)):
        raise UnknownNameError(f"{spec!r} names no function: {home.__file__} has no {function!r} that can be called")
    options = parse_options(spec, make, given)
    with wrap_plugin_errors(f"{module}:{function}"):
        model = make(**options)
    if not isinstance(model, Model):
        raise SightlineError(
            f"{spec!r} returned {type(model).__name__}; it must return a Model, made by sightline.wrap"
        )
    if findings is not None and findings != model.findings:
        raise SightlineError(
            f"{spec!r} finds {', '.join(model.findings)}; it cannot be opened for {', '.join(findings)}"
        )
    return model


def _is_importable(module: str) -> bool:
    """Whether there is such a module, on the Python path or in the current folder, which is looked in last."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # the program `sightline`, unlike `python -m`, does not look there by itself
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a package above it is missing
        return False


def resolve_output_findings(checkpoint: str, content: Mapping[str, Any]) -> tuple[str, ...]:
    """What the outputs find where nobody names it: as the checkpoint says; CheXpert's fourteen of random weights.

    Errors: `DataError` for a checkpoint of plain weights: data sets have as many labels in another order.
    """
    if content.get("format") == FORMAT:
        return tuple(content["findings"])
    if checkpoint:
        raise DataError(
            f"{checkpoint} does not say what its outputs find; add them to the model's spec in the order of the "
            "outputs, findings=Cardiomegaly|Edema|..., or wrap the network by a function of your own, 'my_model:make'"
        )
    return CHEXPERT_FINDINGS


def make_classifier(
    arch: str,
    build: Callable[[int], nn.Module],
    checkpoint: str,
    findings: tuple[str, ...] | None,
    side: int,
    resize: str,
    **wrap_options: Any,
) -> Model:
    """Wrap what `build(number of outputs)` returns, with the weights of a checkpoint file if one is named.

    arch: the spec that builds it again, without a checkpoint. habits: the remaining options of `wrap`.
    """
    if resize not in RESIZES:
        raise SightlineError(f"resize={resize}; allowed: {', '.join(RESIZES)}")
    content = load_safely(Path(checkpoint)) if checkpoint else {}
    ours = content.get("format") == FORMAT
    findings = findings or resolve_output_findings(checkpoint, content)
    net = build(len(findings))
    record = None
    if checkpoint:
        try:
            load_weights(net, Path(checkpoint), content)
        except DataError as error:
            raise DataError(f"{error}; the network was built for {len(findings)} findings") from error
        known = content["training"] if ours else {"data": f"as in {checkpoint}", "checkpoint": state_hash(net)}
        record = TrainingRecord(**known) if known else None
    head, argument, _ = parse_spec(arch)
    name = Path(checkpoint).stem if checkpoint else argument or head
    model = wrap(net, findings, side, RESIZES[resize], arch=arch, name=name, training_record=record, **wrap_options)
    return replace(model, assumed_settings=("side", "resize", "mean", "std") if checkpoint and not ours else ())
