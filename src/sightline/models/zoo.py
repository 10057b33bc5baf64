"""The zoo: architectures by name, `open_model("densenet121:ckpt.pt?side=320", findings)`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline._util.plugin_errors import wrap_plugin_errors
from sightline._util.spec import parse_options, parse_spec
from sightline.core import Source
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name, parse_findings
from sightline.imaging.geometry import parse_resize
from sightline.models.checkpoint import FORMAT, load_safely, load_weights, split_part, state_hash
from sightline.models.model import Model, with_normalization, wrap
from sightline.models.torchvision_compat import define_missing_operators
from sightline.models.training_record import TrainingRecord
from sightline.registry import Registry


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an entry of the zoo states before it builds anything."""

    argument: str
    """Meaning of the text after the colon in its spec."""
    source: str
    """Source of the architecture: DOI, arXiv id or URL."""
    extra: str = "torch"
    """Optional dependencies it needs: pip install 'sightline[EXTRA]'."""


models: Registry[ModelInfo] = Registry("model", ModelInfo)
"""Name -> function of (argument: str, findings: tuple[str, ...] | None) that returns a `Model` with random weights or
weights of its own; options are keyword arguments with defaults."""


NORMALIZATION_OPTIONS = ("mean", "std")
"""Options of every entry: how an image in [0, 1] is normalized."""
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".safetensors")
"""Suffixes of files of weights."""


def open_model(spec: str, findings: Sequence[str] | None = None, *, seed: int = 0) -> Model:
    """Open a model by its spec.

    Parameters
    ----------
    spec
        'ckpt.pt' (a checkpoint written by `sightline.training.fit`, which describes itself),
        'densenet121:ckpt.pt?side=320', 'timm:resnet50', 'small' (random weights), or 'my_package.models:make' (a
        function that returns a `Model`). 'densenet121:last.pt#teacher' takes one of several copies of the network that
        a file of another program has. Options of every architecture: mean and std, one number or one per channel,
        '...?mean=0.5&std=0.25|0.25|0.3'; findings, '...?findings=Edema|Mass'. Every spec may state the name of the
        model in tables, 'ckpt.pt?name=seed-1', so that two trainings of one architecture differ.
    findings
        Findings in the order of the logits; may be left out if the checkpoint, the model or the spec states them. For
        random weights the fourteen of CheXpert by default.
    seed
        Seed of random weights.

    Returns
    -------
    Model
        The model, on the CPU.

    Raises
    ------
    UnknownNameError
        If no architecture, checkpoint or function has this name, or for an unknown finding.
    SightlineError
        For an option that does not exist or has a wrong value, and for findings that contradict the model.
    DataError
        For a checkpoint that is missing, damaged, or does not fit.
    """
    names = None if findings is None else tuple(canonical_name(finding) for finding in findings)
    name = stated_name(spec)
    model = _open_checkpoint(spec, names) if _is_checkpoint(spec) else _open_architecture(spec, names, seed)
    return replace(model, name=name) if name else model


def stated_name(spec: str) -> str:
    """Return the name that a spec gives its model, as in 'densenet121:ckpt.pt?name=first'.

    Parameters
    ----------
    spec
        Spec of a model.

    Returns
    -------
    str
        The name; empty if the spec states none.

    Raises
    ------
    SightlineError
        For a name that the tables could not hold.

    Examples
    --------
    >>> stated_name("runs/seed1/best.pt?name=seed-1"), stated_name("small?side=64")
    ('seed-1', '')
    """
    options = parse_spec(spec)[2]
    name = options.get("name", "")
    if "name" in options and (not name.strip() or "?" in name or Source.parse(f"{name}/map").model != name):
        raise SightlineError(
            f"{spec!r}: name={name!r}; allowed: a word that is not empty, has no '?', and does not begin with "
            "control/, localizer/, reader/ or ceiling/"
        )
    return name


def _open_architecture(spec: str, findings: tuple[str, ...] | None, seed: int) -> Model:
    """Open an architecture by its name, or what a function of the user returns."""
    name, argument, options = parse_spec(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            entry = models[name]
        except UnknownNameError as unknown:
            return _open_from_function(spec, name, argument, findings, options, str(unknown))
        options.pop("name", None)
        findings = _resolve_findings(spec, options.pop("findings", ""), findings)
        numbers = {key: _parse_numbers(spec, key, options.pop(key)) for key in NORMALIZATION_OPTIONS if key in options}
        model: Model = entry.function(
            argument,
            findings,
            **parse_options(spec, entry.function, options, ("findings", *NORMALIZATION_OPTIONS, "name")),
        )
    model = with_normalization(model, **numbers)
    return replace(
        model, assumed_settings=tuple(key for key in model.assumed_settings if key not in {*options, *numbers})
    )


def _resolve_findings(spec: str, text: str, findings: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return findings that a spec states, 'Edema|Mass', or those of the caller; `SightlineError` if they differ."""
    stated = parse_findings(text, "|") if text else findings
    if findings is not None and stated != findings:
        raise SightlineError(f"{spec!r} names its findings; it cannot be opened for {', '.join(findings)}")
    return stated


def _parse_numbers(spec: str, name: str, text: str) -> tuple[float, ...]:
    """'0.5' or '0.485|0.456|0.406': one number or one per channel."""
    try:
        return tuple(float(value) for value in text.split("|"))
    except ValueError:
        raise SightlineError(
            f"{spec!r}: {name}={text}; allowed: a number, or one per channel, as in {name}=0.485|0.456|0.406"
        ) from None


def _is_checkpoint(spec: str) -> bool:
    head = spec.partition("?")[0]
    return head.partition("#")[0].endswith(CHECKPOINT_SUFFIXES) and ":" not in head


def _open_checkpoint(spec: str, findings: tuple[str, ...] | None) -> Model:
    path, other = Path(spec.partition("?")[0]), sorted(set(parse_spec(spec)[2]) - {"name"})
    content = load_safely(path)
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path} was not written by sightline; state its architecture and the findings of its outputs, in their "
            f"order, as in 'densenet121:{path}?findings=Cardiomegaly|Edema'"
        )
    if not content["arch"]:
        raise DataError(
            f"{path} has the weights of a network of your own; open it with a function, 'package.module:make'"
        )
    if other:
        raise SightlineError(f"{spec!r} has no option {', '.join(other)}: a checkpoint states its own; allowed: name")
    names = tuple(content["findings"])
    if findings is not None and findings != names:
        raise SightlineError(f"{path} finds {', '.join(names)}; it cannot be opened for {', '.join(findings)}")
    blank = open_model(content["arch"], names)
    load_weights(blank.net, path, content)
    record = content["training_record"]
    return wrap(
        blank.net,
        names,
        content["side"],
        content["resize"],
        channels=content["channels"],
        mean=content["mean"],
        std=content["std"],
        name=content["name"],
        feature_module=content["feature_module"],
        arch=content["arch"],
        training_record=TrainingRecord(**record) if record else None,
    )


def _open_from_function(
    spec: str, module: str, function: str, findings: tuple[str, ...] | None, texts: dict[str, str], unknown: str
) -> Model:
    """Call 'package.module:function' with the options of the spec; `unknown` is the error if there is none."""
    if not function:
        raise UnknownNameError(f"{unknown}; or a checkpoint, or 'package.module:function'")
    if not _is_importable(module):
        raise UnknownNameError(
            f"{unknown}; and no module {module!r} can be imported: there is no {module.replace('.', '/')}.py in the "
            f"current folder, {Path.cwd()}, nor on the Python path; go to its folder, or set PYTHONPATH to it"
        )
    define_missing_operators()  # the module may import torchvision
    with wrap_plugin_errors(f"importing {module!r}"):
        imported = importlib.import_module(module)
    if not callable(make := getattr(imported, function, None)):
        raise UnknownNameError(
            f"{spec!r} names no function: {imported.__file__} has no {function!r} that can be called"
        )
    if "name" not in inspect.signature(make).parameters:
        texts.pop("name", None)
    options = parse_options(spec, make, texts, ("name",))
    with wrap_plugin_errors(f"{module}:{function}"):
        model = make(**options)
    if not isinstance(model, Model):
        raise SightlineError(
            f"{spec!r} returned {type(model).__name__}; it must return a Model, as sightline.wrap makes one"
        )
    if findings is not None and findings != model.findings:
        raise SightlineError(
            f"{spec!r} finds {', '.join(model.findings)}; it cannot be opened for {', '.join(findings)}"
        )
    return model


def _is_importable(module: str) -> bool:
    """Return True if the module is on the Python path or in the current folder, which is searched last."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # the program `sightline`, unlike `python -m`, does not search it by itself
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a package above it is missing
        return False


def resolve_output_findings(checkpoint: str, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the findings of a network's outputs if nobody names them.

    Parameters
    ----------
    checkpoint
        Path of a checkpoint; empty for random weights.
    content
        Content of the checkpoint.

    Returns
    -------
    tuple of str
        Findings that the checkpoint states; the fourteen of CheXpert for random weights.

    Raises
    ------
    DataError
        For a checkpoint of plain weights: other data sets have as many labels in another order.
    """
    if content.get("format") == FORMAT:
        return tuple(content["findings"])
    if checkpoint:
        raise DataError(
            f"{checkpoint} does not state the findings of its outputs; add them to the model's spec in the order of "
            "the outputs, findings=Cardiomegaly|Edema|..., or wrap the network in a function of your own, "
            "'my_model:make'"
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
    """Build a network, load the weights of a checkpoint if one is named, and wrap it.

    Parameters
    ----------
    arch
        Spec that builds the network again, without a checkpoint.
    build
        Function of the number of outputs that returns the network.
    checkpoint
        Path of a checkpoint; empty for random weights.
    findings
        Findings of the outputs; by default as `resolve_output_findings` returns them.
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: 'center-crop', 'stretch' or 'pad'.
    **wrap_options
        Further options of `sightline.models.wrap`.

    Returns
    -------
    Model
        The model; its training record is that of the checkpoint.

    Raises
    ------
    SightlineError
        For an unknown `resize`, or a network that does not fit the findings.
    DataError
        If the checkpoint does not open, does not fit the network, or does not state its findings.
    """
    fit = parse_resize(resize)
    content = load_safely(Path(checkpoint)) if checkpoint else {}
    describes_itself = content.get("format") == FORMAT
    findings = findings or resolve_output_findings(checkpoint, content)
    net = build(len(findings))
    record = None
    if checkpoint:
        try:
            load_weights(net, Path(checkpoint), content)
        except DataError as error:
            raise DataError(f"{error}; the network was built for {len(findings)} findings") from error
        plain = {"data": f"as in {checkpoint}", "weights_hash": state_hash(net)}
        fields = content["training_record"] if describes_itself else plain
        record = TrainingRecord(**fields) if fields else None
    head, argument, _ = parse_spec(arch)
    name = split_part(Path(checkpoint))[0].stem if checkpoint else argument or head
    model = wrap(net, findings, side, fit, arch=arch, name=name, training_record=record, **wrap_options)
    assumed = () if describes_itself or not checkpoint else ("side", "resize", "mean", "std")
    return replace(model, assumed_settings=assumed)
