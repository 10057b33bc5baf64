"""Entries of the zoo. Adding one: a function of (argument, findings, options) that returns a `Model`.

torchvision and timm are imported when an entry needs them: together they take longer to import than torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.models.checkpoint import load_safely, load_weights
from sightline.models.localizers import RetinaNet, UNet
from sightline.models.model import Model, TrainingRecord
from sightline.models.multiclass_heads import ThreeClassHead, TwoClassHead
from sightline.models.small_resnet import SmallResNet
from sightline.models.trainable_saliency import SaliencyHeadConfig, TrainableSaliency
from sightline.models.zoo import make_classifier, models, open_model, resolve_output_findings

OptionalFindings = tuple[str, ...] | None
CHECKPOINT_ARGUMENT = "path of a checkpoint, or nothing for random weights"


@models("small", argument=CHECKPOINT_ARGUMENT, source="a residual network of our own, 100 thousand weights")
def small(
    checkpoint: str, findings: OptionalFindings, *, side: int = 160, width: int = 16, resize: str = "stretch"
) -> Model:
    """A small residual network that learns from the phantom within minutes on two CPU cores."""
    arch = f"small?{side=}&{width=}"
    return make_classifier(arch, partial(SmallResNet, width=width), checkpoint, findings, side, resize, channels=1)


@models("unet", argument=CHECKPOINT_ARGUMENT, source="Ronneberger et al. 2015, arXiv:1505.04597, with residual blocks")
def unet(
    checkpoint: str, findings: OptionalFindings, *, side: int = 160, width: int = 16, resize: str = "stretch"
) -> Model:
    """A small U-Net, which learns from marks where findings are; its maps are those of the method 'intrinsic'."""
    arch = f"unet?{side=}&{width=}"
    build = partial(UNet, side=_require_multiple_of_32(arch, side), width=width)
    return make_classifier(arch, build, checkpoint, findings, side, resize, channels=1)


@models(
    "retinanet",
    argument=CHECKPOINT_ARGUMENT,
    source="Lin et al. 2017, arXiv:1708.02002, head and losses of torchvision",
    extra="zoo",
)
def retinanet(
    checkpoint: str, findings: OptionalFindings, *, side: int = 160, width: int = 16, resize: str = "stretch"
) -> Model:
    """A small one-stage detector, trained on boxes around annotations; its maps are those of the method 'intrinsic'."""
    arch = f"retinanet?{side=}&{width=}"
    build = partial(RetinaNet, side=_require_multiple_of_32(arch, side), width=width)
    return make_classifier(arch, build, checkpoint, findings, side, resize, channels=1)


def _require_multiple_of_32(arch: str, side: int) -> int:
    if side < 32 or side % 32:
        raise SightlineError(f"{arch}: side={side}; allowed: multiples of 32, whose halves meet again on the way up")
    return side


@models("densenet121", argument=CHECKPOINT_ARGUMENT, source="Huang et al. 2017, arXiv:1608.06993")
def densenet121(checkpoint: str, findings: OptionalFindings, *, side: int = 320, resize: str = "center-crop") -> Model:
    """DenseNet-121 of torchvision, the network of CheXNet and CheXpert."""
    return _torchvision("densenet121", "densenet121", checkpoint, findings, side, resize)


@models("resnet152", argument=CHECKPOINT_ARGUMENT, source="He et al. 2016, arXiv:1512.03385")
def resnet152(checkpoint: str, findings: OptionalFindings, *, side: int = 320, resize: str = "center-crop") -> Model:
    """ResNet-152 of torchvision, one of the three of CheXlocalize."""
    return _torchvision("resnet152", "resnet152", checkpoint, findings, side, resize)


@models("inception_v3", argument=CHECKPOINT_ARGUMENT, source="Szegedy et al. 2016, arXiv:1512.00567")
def inception_v3(checkpoint: str, findings: OptionalFindings, *, side: int = 299, resize: str = "center-crop") -> Model:
    """Inception-v3 of torchvision without its auxiliary head, the network of Arun et al."""
    return _torchvision("inception_v3", "inception_v3", checkpoint, findings, side, resize)


@models("inception_v4", argument=CHECKPOINT_ARGUMENT, source="Szegedy et al. 2017, arXiv:1602.07261")
def inception_v4(checkpoint: str, findings: OptionalFindings, *, side: int = 299, resize: str = "center-crop") -> Model:
    """Inception-v4 of timm, one of the three of CheXlocalize."""
    return _timm("inception_v4", "inception_v4", checkpoint, findings, side, resize)


@models("vit_small_patch16_224", argument=CHECKPOINT_ARGUMENT, source="Dosovitskiy et al. 2021, arXiv:2010.11929")
def vit_small(checkpoint: str, findings: OptionalFindings, *, side: int = 224, resize: str = "center-crop") -> Model:
    """ViT-S/16 of timm, read at the first norm of its last block."""
    return _timm("vit_small_patch16_224", "vit_small_patch16_224", checkpoint, findings, side, resize)


@models("three-class", argument="an architecture of the zoo", source="Irvin et al. 2019, arXiv:1901.07031")
def three_class(arch: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 0) -> Model:
    """Any of the zoo with classes uncertain, negative and positive per finding: 'three-class:densenet121?side=320'."""
    return _with_multiclass_head(
        "three-class", ThreeClassHead, ("uncertain", "negative", "positive"), arch, findings, checkpoint, side
    )


@models("two-class", argument="an architecture of the zoo", source="Arun et al. 2021, 10.1148/ryai.2021200267")
def two_class(arch: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 0) -> Model:
    """Any of the zoo with a softmax over absent and present per finding: 'two-class:inception_v3?side=320'."""
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
    """A network of the zoo with an output for every state of every finding, read as one logit by `wrapper`."""
    names = findings or resolve_output_findings(checkpoint, load_safely(Path(checkpoint)) if checkpoint else {})
    outputs = [f"{finding} {state}" for finding in names for state in states]
    inner = open_model(f"{arch}?{side=}" if side else arch, outputs, seed=torch.initial_seed())
    spec = f"{kind}:{arch}?side={inner.side}"
    habits = _wrap_options(inner)
    if checkpoint:
        load_weights(inner.net, Path(checkpoint))
    model = make_classifier(spec, lambda _: wrapper(inner.net), "", names, inner.side, inner.resize, **habits)
    if not checkpoint:
        return model
    return replace(model, name=Path(checkpoint).stem, training_record=TrainingRecord(f"as in {checkpoint}"))


def _wrap_options(inner: Model) -> dict[str, Any]:
    """How a network that holds another one as `net` is to be wrapped."""
    habits: dict[str, Any] = {"channels": inner.channels, "mean": inner.mean, "std": inner.std}
    if inner.feature_module is not None and inner.feature_layer is not None:
        prefix = (
            f"[{inner.feature_layer.n_prefix_tokens}:]" if inner.feature_layer.layout == "tokens" else ""
        )  # counted by the inner one
        habits["feature_module"] = f"net.{inner.feature_layer.name}{prefix}"
    return habits


SUPERVISED_MAPS = ("decoder", "cam", "gate")
"""What is compared with gaze: a decoder's reading of the features, the network's own Grad-CAM of the findings that are
there, or a gate that also weighs the features before they are pooled."""


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
    """Any of the zoo taught by gaze, by a decoder, its own Grad-CAM or a gate:
    'gaze-supervised:densenet121?supervised_map=gate&weight=10'."""
    if supervised_map not in SUPERVISED_MAPS or not weight >= 0:
        raise SightlineError(
            f"gaze-supervised:{arch}?supervised_map={supervised_map}&weight={weight}; allowed: supervised_map "
            f"{', '.join(SUPERVISED_MAPS)}, weight from 0"
        )
    way = SaliencyHeadConfig(supervised_map, "finding" if supervised_map == "cam" else "image", "gaze", weight)
    return _with_saliency_head(
        "gaze-supervised", f"{supervised_map=!s}&{weight=}", way, arch, findings, checkpoint, side
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
    """Any of the zoo with an element that shows where: 'selfexplaining:densenet121?kind=gate&sparsity=0.01'.

    width: of 'small'. The other options are those of `sightline.models.trainable_saliency.SaliencyHeadConfig`.
    """
    chosen = maps_per or ("image" if kind in ("mask", "decoder") else "finding")
    way = SaliencyHeadConfig(kind, chosen, supervision, weight, sparsity, variation, task)
    told = f"{kind=!s}&maps_per={chosen}&{supervision=!s}&{weight=}&{sparsity=}&{variation=}&{task=!s}"
    told += f"&{width=}" if width else ""
    inner = f"{arch}?{width=}" if width else arch
    return _with_saliency_head("selfexplaining", told, way, inner, findings, checkpoint, side)


def _with_saliency_head(
    name: str,
    options: str,
    config: SaliencyHeadConfig,
    arch: str,
    findings: OptionalFindings,
    checkpoint: str,
    side: int,
) -> Model:
    """A network of the zoo inside a `TrainableSaliency`. head, told: name and options of its spec."""
    names = findings or resolve_output_findings(checkpoint, load_safely(Path(checkpoint)) if checkpoint else {})
    joined = "&" if "?" in arch else "?"
    inner = open_model(f"{arch}{joined}{side=}" if side else arch, names, seed=torch.initial_seed())
    if inner.feature_layer is None:
        raise SightlineError(f"{name}:{arch}: {inner.name} has no spatial features to show; name one that has")
    habits = _wrap_options(inner)
    if config.makes_logits:
        habits["feature_module"] = "saliency_head.features"
    elif config.kind == "mask":
        habits.pop("feature_module", None)  # a module that runs twice in one forward
    net = TrainableSaliency(inner.net, inner.feature_layer, len(names), config)
    bare = inner.arch.partition("?")[0]  # without the weights that it starts from
    spec = f"{name}:{bare}?{options}&side={inner.side}"
    return make_classifier(spec, lambda _: net, checkpoint, names, inner.side, inner.resize, **habits)


@models("torchvision", argument="name of a torchvision classifier", source="https://docs.pytorch.org/vision")
def torchvision_model(
    name: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 224, resize: str = "center-crop"
) -> Model:
    """Any classifier of torchvision: 'torchvision:resnet50?checkpoint=ckpt.pt&findings=Edema|Mass'."""
    return _torchvision(f"torchvision:{name}", name, checkpoint, findings, side, resize)


@models("timm", argument="name of a timm classifier", source="https://github.com/huggingface/pytorch-image-models")
def timm_model(
    name: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 224, resize: str = "center-crop"
) -> Model:
    """Any classifier of timm: 'timm:convnext_tiny?checkpoint=ckpt.pt&findings=Edema|Mass'."""
    return _timm(f"timm:{name}", name, checkpoint, findings, side, resize)


@models("xrv", argument="weights of torchxrayvision", source="Cohen et al. 2022, arXiv:2111.00595", extra="xrv")
def xrv(weights: str, findings: OptionalFindings, *, resize: str = "center-crop") -> Model:
    """A trained classifier of torchxrayvision: 'xrv:densenet121-res224-all'; the package fetches the weights.

    Logits are explained, without the rescaling to operating points that the package's own forward ends in: its
    gradient vanishes for findings that have none. Findings without training ('' in the package) are left out.
    """
    try:
        import torchxrayvision
    except ImportError as error:
        raise SightlineError("xrv needs torchxrayvision; pip install 'sightline[xrv]'") from error
    known = torchxrayvision.models.model_urls
    if weights not in known:
        raise SightlineError(f"torchxrayvision has no weights {weights!r}; it has {', '.join(sorted(known))}")
    try:
        net = torchxrayvision.models.get_model(weights)
    except Exception as error:  # of the network, the disk or a damaged file: the package lets all of them through
        raise SightlineError(
            f"torchxrayvision could not load the weights {weights!r} ({type(error).__name__}: {error}); "
            "delete its file in ~/.torchxrayvision and try again"
        ) from error
    return _wrap_xrv(net, weights, findings, resize)


def _wrap_xrv(net: Any, weights: str, findings: OptionalFindings, resize: str) -> Model:
    net.op_threshs, net.apply_sigmoid = None, False
    trained = [i for i, finding in enumerate(net.pathologies) if finding]
    side = int(getattr(net, "input_resolution", 224))
    model = make_classifier(
        f"xrv:{weights}",
        lambda _: SelectedOutputs(net, trained),
        "",
        tuple(net.pathologies[i] for i in trained),
        side,
        resize,
        channels=1,
        mean=0.5,
        std=1 / 2048,
    )  # fmt: skip  (inputs run from -1024 to 1024)
    if findings is not None and findings != model.findings:
        raise SightlineError(f"xrv:{weights} finds {', '.join(model.findings)}; leave findings out, or choose targets")
    return replace(model, training_record=TrainingRecord(f"torchxrayvision weights {weights}"))


class SelectedOutputs(nn.Module):
    """Some of the outputs of another network."""

    def __init__(self, net: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> logits (N, len(columns))."""
        out: Tensor = self.net(x)[:, self.columns]
        return out


def _torchvision(spec: str, name: str, checkpoint: str, findings: OptionalFindings, side: int, resize: str) -> Model:
    import torchvision

    extra: dict[str, Any] = {}
    features = None
    if name in ("inception_v3", "googlenet"):
        extra = {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        extra = {"image_size": side}
        depth = 24 if name.startswith("vit_l") else 32 if name.startswith("vit_h") else 12
        features = f"encoder.layers.encoder_layer_{depth - 1}.ln_1[1:]"

    def build(outputs: int) -> nn.Module:
        try:
            net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **extra)
        except (ValueError, TypeError) as error:
            raise SightlineError(f"torchvision builds no classifier {name!r}: {error}") from error
        return net

    return make_classifier(f"{spec}?side={side}", build, checkpoint, findings, side, resize, feature_module=features)


def _timm(spec: str, name: str, checkpoint: str, findings: OptionalFindings, side: int, resize: str) -> Model:
    import timm

    known = timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
    if known is None:
        near = ", ".join(timm.list_models(f"*{name}*")[:5]) or "see timm.list_models()"
        raise SightlineError(f"timm has no model {name!r}; near: {near}")
    extra: dict[str, Any] = {"img_size": side} if known.fixed_input_size else {}

    def build(outputs: int) -> nn.Module:
        net: nn.Module = timm.create_model(name, num_classes=outputs, **extra)
        return net

    with torch.device("meta"):
        depth = _count_transformer_blocks(timm.create_model(name, num_classes=1, **extra))
    features = f"blocks.{depth - 1}.norm1" if depth else None
    return make_classifier(f"{spec}?side={side}", build, checkpoint, findings, side, resize, feature_module=features)


def _count_transformer_blocks(net: nn.Module) -> int:
    """Blocks of a plain vision transformer; 0 for anything else."""
    blocks = getattr(net, "blocks", None)
    plain = isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(net, "num_prefix_tokens")
    return len(blocks) if plain and blocks is not None and hasattr(blocks[-1], "norm1") else 0
