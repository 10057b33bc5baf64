"""Entries of the zoo. Adding one: a function of (argument, findings, options) that returns a `Model`.

torchvision and timm are imported when an entry needs them: together they take longer to import than torch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.models.localizers import RetinaNet, UNet
from sightline.models.model import Model
from sightline.models.small_resnet import SmallResNet
from sightline.models.torchvision_compat import define_missing_operators
from sightline.models.training_record import TrainingRecord
from sightline.models.zoo import make_classifier, models

OptionalFindings = tuple[str, ...] | None
CHECKPOINT_ARGUMENT = "path of a checkpoint, or nothing for random weights"


@models("small", argument=CHECKPOINT_ARGUMENT, source="a residual network of our own, 100 thousand weights")
def small(
    checkpoint: str, findings: OptionalFindings, *, side: int = 160, width: int = 16, resize: str = "stretch"
) -> Model:
    """Build a small residual network that learns from the phantom within minutes on two CPU cores.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    width
        Channels of the first layers; the last have six times as many.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    arch = f"small?{side=}&{width=}"
    return make_classifier(arch, partial(SmallResNet, width=width), checkpoint, findings, side, resize, channels=1)


@models("unet", argument=CHECKPOINT_ARGUMENT, source="Ronneberger et al. 2015, arXiv:1505.04597, with residual blocks")
def unet(
    checkpoint: str, findings: OptionalFindings, *, side: int = 160, width: int = 16, resize: str = "stretch"
) -> Model:
    """Build a small U-Net that learns from annotations where findings are.

    Its maps are those of the method 'intrinsic'.

    Parameters
    ----------
    side
        Height and width of the input, in pixels; a multiple of 32.
    width
        Channels of the first layers.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
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
    """Build a small one-stage detector that learns from the boxes around annotations.

    Its maps are those of the method 'intrinsic'.

    Parameters
    ----------
    side
        Height and width of the input, in pixels; a multiple of 32.
    width
        Channels of the first layers.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    arch = f"retinanet?{side=}&{width=}"
    build = partial(RetinaNet, side=_require_multiple_of_32(arch, side), width=width)
    return make_classifier(arch, build, checkpoint, findings, side, resize, channels=1)


def _require_multiple_of_32(arch: str, side: int) -> int:
    if side < 32 or side % 32:
        raise SightlineError(f"{arch}: side={side}; allowed: multiples of 32, which can be halved five times")
    return side


@models("densenet121", argument=CHECKPOINT_ARGUMENT, source="Huang et al. 2017, arXiv:1608.06993")
def densenet121(checkpoint: str, findings: OptionalFindings, *, side: int = 320, resize: str = "center-crop") -> Model:
    """Build DenseNet-121 of torchvision, the network of CheXNet and CheXpert.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _torchvision("densenet121", "densenet121", checkpoint, findings, side, resize)


@models("resnet152", argument=CHECKPOINT_ARGUMENT, source="He et al. 2016, arXiv:1512.03385")
def resnet152(checkpoint: str, findings: OptionalFindings, *, side: int = 320, resize: str = "center-crop") -> Model:
    """Build ResNet-152 of torchvision, one of the three networks of CheXlocalize.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _torchvision("resnet152", "resnet152", checkpoint, findings, side, resize)


@models("inception_v3", argument=CHECKPOINT_ARGUMENT, source="Szegedy et al. 2016, arXiv:1512.00567")
def inception_v3(checkpoint: str, findings: OptionalFindings, *, side: int = 299, resize: str = "center-crop") -> Model:
    """Build Inception-v3 of torchvision without its auxiliary head, the network of Arun et al.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _torchvision("inception_v3", "inception_v3", checkpoint, findings, side, resize)


@models("inception_v4", argument=CHECKPOINT_ARGUMENT, source="Szegedy et al. 2017, arXiv:1602.07261")
def inception_v4(checkpoint: str, findings: OptionalFindings, *, side: int = 299, resize: str = "center-crop") -> Model:
    """Build Inception-v4 of timm, one of the three networks of CheXlocalize.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _timm("inception_v4", "inception_v4", checkpoint, findings, side, resize)


@models("vit_small_patch16_224", argument=CHECKPOINT_ARGUMENT, source="Dosovitskiy et al. 2021, arXiv:2010.11929")
def vit_small(checkpoint: str, findings: OptionalFindings, *, side: int = 224, resize: str = "center-crop") -> Model:
    """Build ViT-S/16 of timm; its features are the output of the first norm of the last block.

    Parameters
    ----------
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _timm("vit_small_patch16_224", "vit_small_patch16_224", checkpoint, findings, side, resize)


@models("torchvision", argument="name of a torchvision classifier", source="https://docs.pytorch.org/vision")
def torchvision_model(
    name: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 224, resize: str = "center-crop"
) -> Model:
    """Build any classifier of torchvision.

    For example 'torchvision:resnet50?checkpoint=ckpt.pt&findings=Edema|Mass'.

    Parameters
    ----------
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _torchvision(f"torchvision:{name}", name, checkpoint, findings, side, resize)


@models("timm", argument="name of a timm classifier", source="https://github.com/huggingface/pytorch-image-models")
def timm_model(
    name: str, findings: OptionalFindings, *, checkpoint: str = "", side: int = 224, resize: str = "center-crop"
) -> Model:
    """Build any classifier of timm.

    For example 'timm:convnext_tiny?checkpoint=ckpt.pt&findings=Edema|Mass'.

    Parameters
    ----------
    checkpoint
        Path of a checkpoint; random weights by default.
    side
        Height and width of the input, in pixels.
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    return _timm(f"timm:{name}", name, checkpoint, findings, side, resize)


@models("xrv", argument="weights of torchxrayvision", source="Cohen et al. 2022, arXiv:2111.00595", extra="xrv")
def xrv(weights: str, findings: OptionalFindings, *, resize: str = "center-crop") -> Model:
    """Open a trained classifier of torchxrayvision, such as 'xrv:densenet121-res224-all'; the package downloads it.

    Logits are explained, without the rescaling to operating points at the end of the package's own forward pass: its
    gradient vanishes for findings that have none. Outputs that were never trained ('' in the package) are left out.

    Parameters
    ----------
    resize
        How an image is fitted into the input: stretch, center-crop or pad.
    """
    define_missing_operators()
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
    names = tuple(net.pathologies[i] for i in trained)
    side = int(getattr(net, "input_resolution", 224))
    normalization: dict[str, Any] = {"channels": 1, "mean": 0.5, "std": 1 / 2048}  # inputs run from -1024 to 1024
    model = make_classifier(
        f"xrv:{weights}", lambda _: SelectedOutputs(net, trained), "", names, side, resize, **normalization
    )
    if findings is not None and findings != model.findings:
        raise SightlineError(f"xrv:{weights} finds {', '.join(model.findings)}; leave findings out, or choose targets")
    return replace(model, training_record=TrainingRecord(f"torchxrayvision weights {weights}"))


class SelectedOutputs(nn.Module):
    """Network that keeps selected outputs of another one."""

    def __init__(self, net: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the selected logits.

        Parameters
        ----------
        x : (N, C, h, w)
            Input of the inner network.

        Returns
        -------
        Tensor : (N, len(columns))
            Logits.
        """
        out: Tensor = self.net(x)[:, self.columns]
        return out


def _torchvision(spec: str, name: str, checkpoint: str, findings: OptionalFindings, side: int, resize: str) -> Model:
    define_missing_operators()
    import torchvision

    extra: dict[str, Any] = {}
    feature_module = None
    if name in ("inception_v3", "googlenet"):
        extra = {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        extra = {"image_size": side}
        depth = 24 if name.startswith("vit_l") else 32 if name.startswith("vit_h") else 12
        feature_module = f"encoder.layers.encoder_layer_{depth - 1}.ln_1[1:]"

    def build(outputs: int) -> nn.Module:
        try:
            net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **extra)
        except (ValueError, TypeError) as error:
            raise SightlineError(f"torchvision builds no classifier {name!r}: {error}") from error
        return net

    arch = f"{spec}?side={side}"
    return make_classifier(arch, build, checkpoint, findings, side, resize, feature_module=feature_module)


def _timm(spec: str, name: str, checkpoint: str, findings: OptionalFindings, side: int, resize: str) -> Model:
    define_missing_operators()
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
    feature_module = f"blocks.{depth - 1}.norm1" if depth else None
    arch = f"{spec}?side={side}"
    return make_classifier(arch, build, checkpoint, findings, side, resize, feature_module=feature_module)


def _count_transformer_blocks(net: nn.Module) -> int:
    """Count the blocks of a plain vision transformer; 0 for anything else."""
    blocks = getattr(net, "blocks", None)
    plain = isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(net, "num_prefix_tokens")
    return len(blocks) if plain and blocks is not None and hasattr(blocks[-1], "norm1") else 0
