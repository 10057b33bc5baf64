"""Entries of the zoo that wrap another architecture: heads of several classes, and trainable saliency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline.errors import SightlineError
from sightline.models.architectures import OptionalFindings
from sightline.models.checkpoint import load_safely, load_weights
from sightline.models.model import Model
from sightline.models.multiclass_heads import ThreeClassHead, TwoClassHead
from sightline.models.trainable_saliency import SaliencyHeadConfig, TrainableSaliency
from sightline.models.training_record import TrainingRecord
from sightline.models.zoo import make_classifier, models, open_model, resolve_output_findings


@models("three-class", argument="an architecture of the zoo", source="Irvin et al. 2019, arXiv:1901.07031")
def three_class(arch: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 0) -> Model:
    """Build an architecture of the zoo with the classes uncertain, negative and positive per finding.

    For example 'three-class:densenet121?side=320'.

    Parameters
    ----------
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels; 0 takes that of the architecture.
    """
    return _with_multiclass_head(
        "three-class", ThreeClassHead, ("uncertain", "negative", "positive"), arch, findings, checkpoint, side
    )


@models("two-class", argument="an architecture of the zoo", source="Arun et al. 2021, 10.1148/ryai.2021200267")
def two_class(arch: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 0) -> Model:
    """Build an architecture of the zoo with a softmax over absent and present per finding.

    For example 'two-class:inception_v3?side=320'.

    Parameters
    ----------
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels; 0 takes that of the architecture.
    """
    return _with_multiclass_head("two-class", TwoClassHead, ("absent", "present"), arch, findings, checkpoint, side)


def _with_multiclass_head(
    kind: str,
    wrapper: Callable[[nn.Module], nn.Module],
    states: tuple[str, ...],
    arch: str,
    findings: OptionalFindings,
    checkpoint: str,
    side: int,
) -> Model:
    """Build a network with an output for every state of every finding; `wrapper` reads them as one logit."""
    names = findings or resolve_output_findings(checkpoint, load_safely(Path(checkpoint)) if checkpoint else {})
    outputs = [f"{finding} {state}" for finding in names for state in states]
    inner = open_model(f"{arch}?{side=}" if side else arch, outputs, seed=torch.initial_seed())
    spec = f"{kind}:{arch}?side={inner.side}"
    options = _wrap_options(inner)
    if checkpoint:
        load_weights(inner.net, Path(checkpoint))
    model = make_classifier(spec, lambda _: wrapper(inner.net), "", names, inner.side, inner.resize, **options)
    if not checkpoint:
        return model
    return replace(model, name=Path(checkpoint).stem, training_record=TrainingRecord(f"as in {checkpoint}"))


def _wrap_options(inner: Model) -> dict[str, Any]:
    """Options of `wrap` for a network that contains another one as `net`."""
    options: dict[str, Any] = {"channels": inner.channels, "mean": inner.mean, "std": inner.std}
    if inner.feature_module is not None and inner.feature_layer is not None:
        # The number of prefix tokens is an attribute of the inner network, so it is written out
        prefix = f"[{inner.feature_layer.n_prefix_tokens}:]" if inner.feature_layer.layout == "tokens" else ""
        options["feature_module"] = f"net.{inner.feature_layer.name}{prefix}"
    return options


SUPERVISED_MAPS = ("decoder", "cam", "gate")
"""Map that is compared with gaze: a decoder's reading of the features, the network's own Grad-CAM of the findings that
are present, or a gate that also weighs the features before they are pooled."""


@models("gaze-supervised", argument="an architecture of the zoo", source="Kim, Zhou and Lipton 2021 (DenseNet-Aug)")
def gaze_supervised(
    arch: str,
    findings: OptionalFindings,
    *,
    supervised_map: str = "decoder",
    weight: float = 1.0,
    checkpoint: str = "",
    side: int = 0,
) -> Model:
    """Build an architecture of the zoo that learns from gaze in addition to labels.

    For example 'gaze-supervised:densenet121?supervised_map=gate&weight=10'.

    Parameters
    ----------
    supervised_map
        Map that is compared with gaze: decoder, cam (the network's own Grad-CAM) or gate.
    weight
        Weight of the gaze loss, from 0.
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels; 0 takes that of the architecture.
    """
    if supervised_map not in SUPERVISED_MAPS or not weight >= 0:
        raise SightlineError(
            f"gaze-supervised:{arch}?supervised_map={supervised_map}&weight={weight}; allowed: supervised_map "
            f"{', '.join(SUPERVISED_MAPS)}, weight from 0"
        )
    config = SaliencyHeadConfig(supervised_map, "finding" if supervised_map == "cam" else "image", "gaze", weight)
    return _with_saliency_head(
        "gaze-supervised", f"{supervised_map=!s}&{weight=}", config, arch, findings, checkpoint, side
    )


@models(
    "selfexplaining",
    argument="an architecture of the zoo",
    source="a reconstruction of Aggarwal et al. 2020, arXiv:2011.07482",
)
def selfexplaining(
    arch: str,
    findings: OptionalFindings,
    *,
    kind: str = "gate",
    maps_per: str = "",
    supervision: str = "labels",
    weight: float = 1.0,
    sparsity: float = 0.0,
    variation: float = 0.0,
    task: str = "classification",
    checkpoint: str = "",
    side: int = 0,
    width: int = 0,
) -> Model:
    """Build an architecture of the zoo with a trainable element that shows where its evidence is.

    For example 'selfexplaining:densenet121?kind=gate&sparsity=0.01'.

    Parameters
    ----------
    kind
        Place of the map in the network, see `sightline.models.trainable_saliency.KINDS`.
    maps_per
        One map per finding or per image; by default what the kind allows.
    supervision
        Source that the maps learn from: labels alone, masks, boxes or gaze.
    weight
        Weight of the error of the maps, from 0.
    sparsity
        Weight of the mean of the maps, from 0.
    variation
        Weight of the total variation of the maps, from 0.
    task
        classification or regression.
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels; 0 takes that of the architecture.
    width
        Option `width` of the architecture small; 0 takes its default.
    """
    maps_per = maps_per or ("image" if kind in ("mask", "decoder") else "finding")
    config = SaliencyHeadConfig(kind, maps_per, supervision, weight, sparsity, variation, task)
    options = config.spec_options + (f"&{width=}" if width else "")
    inner = f"{arch}?{width=}" if width else arch
    return _with_saliency_head("selfexplaining", options, config, inner, findings, checkpoint, side)


def _with_saliency_head(
    name: str,
    options: str,
    config: SaliencyHeadConfig,
    arch: str,
    findings: OptionalFindings,
    checkpoint: str,
    side: int,
) -> Model:
    """Build a network inside a `TrainableSaliency`; `name` and `options` are those of its spec."""
    names = findings or resolve_output_findings(checkpoint, load_safely(Path(checkpoint)) if checkpoint else {})
    separator = "&" if "?" in arch else "?"
    inner = open_model(f"{arch}{separator}{side=}" if side else arch, names, seed=torch.initial_seed())
    if inner.feature_layer is None:
        raise SightlineError(f"{name}:{arch}: {inner.name} has no spatial features; name an architecture that has")
    wrap_options = _wrap_options(inner)
    if config.makes_logits:
        wrap_options["feature_module"] = "saliency_head.features"
    elif config.kind == "mask":
        wrap_options.pop("feature_module", None)  # a module that runs twice in one forward
    net = TrainableSaliency(inner.net, inner.feature_layer, len(names), config)
    bare = inner.arch.partition("?")[0]  # without the weights that it starts from
    spec = f"{name}:{bare}?{options}&side={inner.side}"
    return make_classifier(spec, lambda _: net, checkpoint, names, inner.side, inner.resize, **wrap_options)
