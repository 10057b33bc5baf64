"""`Model`: a network with everything needed to use it: its input, its findings and where its features are."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from sightline.core import Array, Frame
from sightline.errors import SightlineError, UnknownNameError
from sightline.findings import canonical_name
from sightline.imaging.geometry import Resize, parse_resize
from sightline.imaging.preprocess import fit_image
from sightline.models.fast_gradients import supports_fast_gradients
from sightline.models.feature_layer import FeatureLayer, has_affine_head
from sightline.models.feature_search import find_feature_layer
from sightline.models.frozen import freeze
from sightline.models.memory_format import with_preferred_memory_format
from sightline.models.training_record import TrainingRecord

logger = logging.getLogger("sightline")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Model:
    """A network that maps an image to one logit per finding (multi-label: probabilities are sigmoids)."""

    name: str
    """Short name, for tables."""
    net: nn.Module = field(repr=False)
    """Network from float32 (N, C, side, side) to logits (N, F)."""
    findings: tuple[str, ...]
    """Canonical names of the findings, in the order of the logits."""
    side: int
    """Height and width of the input, in pixels."""
    resize: Resize
    """How an image is fitted into the square input, see `sightline.imaging.preprocess.fit_image`."""
    channels: int
    """Number of input channels C."""
    mean: tuple[float, ...]
    """Value subtracted from the image in [0, 1], per channel."""
    std: tuple[float, ...]
    """Divisor applied after the mean was subtracted, per channel."""
    feature_layer: FeatureLayer | None
    """Place where the features are taken; None if the network has no global pooling and no module was named."""
    feature_module: str | None = None
    """Path of the module that was named as the feature layer; None if it was searched for."""
    arch: str = ""
    """Spec that builds the network with other weights, such as 'densenet121'; empty for a network defined elsewhere."""
    training_record: TrainingRecord | None = None
    """Data and result of the training; None for an untrained model."""
    assumed_settings: tuple[str, ...] = ()
    """Settings among `resize`, `side`, `mean` and `std` that are defaults stated by neither checkpoint nor user."""

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        first = next(self.net.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def assumption(self) -> str:
        """Sentence that states which settings were assumed; empty if all were stated."""
        values = {"side": (self.side,), "resize": (self.resize,), "mean": self.mean, "std": self.std}
        texts = {name: f"{name}={'|'.join(map(str, value))}" for name, value in values.items()}
        assumed = "; ".join(text for name, text in texts.items() if name in self.assumed_settings)
        stated = "; ".join(text for name, text in texts.items() if name not in self.assumed_settings)
        known = f"Stated by you: {stated}. " if stated else ""
        remedy = "If it was trained otherwise, state it (side=, resize=, mean=, std=)"
        if not assumed:
            return ""
        if not self.arch:
            return f"{self.name} was wrapped without all of its settings. {known}Assumed: {assumed}. {remedy}"
        findings = f"findings={'|'.join(self.findings)}"
        return (
            f"the checkpoint of {self.name} contains weights only. Stated by you: {findings}"
            f"{'; ' if stated else ''}{stated}. Assumed: {assumed}. {remedy}, or wrap it in a function of your own, "
            "my_model:make"
        )

    @cached_property
    def has_affine_head(self) -> bool:
        """True if the logits are an affine function of the features, as probed once with noise; False without them."""
        if self.feature_layer is None:
            return False
        with freeze(self.net) as net:
            return has_affine_head(net, self.feature_layer, probe_images(self))

    @cached_property
    def supports_fast_gradients(self) -> bool:
        """True if `FastGradientMode` gives the same gradients, as probed once with noise; False on accelerators."""
        if self.device.type != "cpu":
            return False  # on an H200 it gains nothing up to 32 images at once, and a sixth at 64
        with freeze(self.net) as net:
            return supports_fast_gradients(net, probe_images(self))

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        """Freeze the network in evaluation mode, with its weights in the fastest memory format.

        The memory format changes only if `supports_fast_gradients`; everything is restored on leaving.

        Yields
        ------
        nn.Module
            The frozen network.
        """
        with (
            freeze(self.net) as net,
            with_preferred_memory_format(net) if self.supports_fast_gradients else nullcontext(),
        ):
            yield net

    @cached_property
    def _by_feature_layer(self) -> dict[str, Model]:
        return {}

    def with_feature_layer(self, layer: str) -> Model:
        """Return the same network with its features taken at the output of a module.

        Parameters
        ----------
        layer
            Path of the module, see `wrap`; probed once per path.

        Returns
        -------
        Model
            A model that shares the network.

        Raises
        ------
        SightlineError
            If the path names no module, or a module whose output is no map.
        """
        if layer not in self._by_feature_layer:
            self._by_feature_layer[layer] = _with_found_features(replace(self, feature_module=layer))
        return self._by_feature_layer[layer]

    def normalize(self, images: Tensor) -> Tensor:
        """Convert gray images to the input of the network.

        Parameters
        ----------
        images : (N, side, side) float32 in [0, 1]
            Images of the size of the input.

        Returns
        -------
        Tensor : (N, C, side, side) float32
            The image in every channel, minus the mean, divided by the standard deviation.
        """
        mean = images.new_tensor(self.mean)[:, None, None]
        std = images.new_tensor(self.std)[:, None, None]
        return (images[:, None] - mean) / std  # (N, C, side, side)

    def prepare(self, image: Array) -> tuple[Tensor, Frame]:
        """Fit one image into the input and normalize it; nothing depends on other images.

        Parameters
        ----------
        image : (H, W) float32 in [0, 1]
            Pixels of a radiograph.

        Returns
        -------
        input : (C, side, side) float32
            Input of the network, on the CPU.
        frame : Frame
            Position of the input on the image.
        """
        fitted, frame = fit_image(image, self.side, self.resize)
        return self.normalize(torch.from_numpy(fitted)[None])[0], frame

    def index(self, finding: str | int) -> int:
        """Return the position of a finding among the logits.

        Parameters
        ----------
        finding
            Name or alias of a finding, or its position.

        Returns
        -------
        int
            Position from 0.

        Raises
        ------
        UnknownNameError
            If the model has no such finding.
        """
        if isinstance(finding, str) and canonical_name(finding) in self.findings:
            return self.findings.index(canonical_name(finding))
        if isinstance(finding, int) and not isinstance(finding, bool) and 0 <= finding < len(self.findings):
            return finding
        raise UnknownNameError(
            f"{self.name} has no finding {finding!r}; it has {', '.join(self.findings)} (0 to {len(self.findings) - 1})"
        )


def wrap(
    net: nn.Module,
    findings: Sequence[str],
    side: int | None = None,
    resize: Resize | None = None,
    *,
    channels: int = 3,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "",
    feature_module: str | None = None,
    arch: str = "",
    training_record: TrainingRecord | None = None,
) -> Model:
    """Make a `Model` of any `torch.nn.Module` that maps images to one logit per finding.

    One forward pass on noise checks the width of the output and finds the features; the network is left unchanged.
    Settings that are not given are assumed, and the log says which.

    Parameters
    ----------
    net
        Network from float32 (N, C, side, side) to logits (N, F).
    findings
        Names or aliases of the F findings, in the order of the logits.
    side
        Height and width of the input, in pixels; 320 by default.
    resize
        How an image is fitted into the square input: 'center-crop' (the default), 'stretch' or 'pad'.
    channels
        Number of input channels.
    mean, std
        Normalization of an image in [0, 1], one number or one per channel; ImageNet's by default for three channels,
        otherwise 0.5 and 0.25.
    name
        Short name for tables; by default that of the class.
    feature_module
        Path of the module whose output is the map for Grad-CAM, see
        `sightline.models.feature_search.find_feature_layer`; searched for by default.
    arch
        Spec that builds the network again, if there is one.
    training_record
        Data and result of the training; without it the model counts as an untrained control.

    Returns
    -------
    Model
        The wrapped network.

    Raises
    ------
    SightlineError
        If findings repeat, for an unknown `resize`, for a normalization that cannot be one of images in [0, 1], if the
        network does not run on such an input, or if it does not return logits (N, F).

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    >>> model = wrap(net, ["Effusion"], 32, "stretch", channels=1, mean=0.5, std=0.25)
    >>> model.findings, model.feature_layer.name, model.feature_layer.shape
    (('Pleural Effusion',), 'adaptive_avg_pool2d', (8, 15, 15))
    """
    names = tuple(canonical_name(finding) for finding in findings)
    if len(set(names)) != len(names) or not names:
        raise SightlineError(f"findings must be distinct and at least one; got {', '.join(names) or 'none'}")
    settings = {"side": side, "resize": resize, "mean": mean, "std": std}
    assumed = tuple(setting for setting, value in settings.items() if value is None)
    color = channels == 3
    model = Model(
        name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(net).__name__).lower(),
        net=net,
        findings=names,
        side=320 if side is None else side,
        resize=parse_resize("center-crop" if resize is None else resize),
        channels=channels,
        mean=_per_channel("mean", mean, channels, IMAGENET_MEAN if color else (0.5,) * channels),
        std=_per_channel("std", std, channels, IMAGENET_STD if color else (0.25,) * channels),
        feature_layer=None,
        feature_module=feature_module,
        arch=arch,
        training_record=training_record,
        assumed_settings=assumed,
    )
    model = _with_found_features(with_normalization(model))
    if assumed and not arch:
        logger.warning(model.assumption)
    return model


def with_normalization(
    model: Model, mean: float | Sequence[float] | None = None, std: float | Sequence[float] | None = None
) -> Model:
    """Return the model with another normalization: (image in [0, 1] - mean) / std.

    Parameters
    ----------
    model
        Model whose network is shared.
    mean, std
        One number or one per channel; those of the model by default.

    Returns
    -------
    Model
        The same network with the other normalization.

    Raises
    ------
    SightlineError
        For another number of channels, values that are not finite, deviations of 0 or less, and numbers that cannot
        be of images in [0, 1].
    """
    normalized = replace(
        model,
        mean=_per_channel("mean", mean, model.channels, model.mean),
        std=_per_channel("std", std, model.channels, model.std),
    )
    numbers = f"mean={normalized.mean}, std={normalized.std}"
    if not all(map(math.isfinite, (*normalized.mean, *normalized.std))) or min(normalized.std) <= 0:
        raise SightlineError(f"{numbers}; allowed: finite means, and deviations above 0")
    if not -1 <= min(normalized.mean) <= max(normalized.mean) <= 1.5 or max(normalized.std) > 1.5:
        raise SightlineError(
            f"{numbers} cannot be of images in [0, 1], which are normalized here; if they are of pixels from 0 to 255, "
            "divide them by 255"
        )
    return normalized


def _per_channel(
    name: str, value: float | Sequence[float] | None, channels: int, default: tuple[float, ...]
) -> tuple[float, ...]:
    if value is None:
        return default
    values = (value,) if isinstance(value, (int, float)) else tuple(value)
    values = tuple(map(float, values)) * (channels if len(values) == 1 else 1)
    if len(values) != channels:
        raise SightlineError(f"{name} has {len(values)} values for {channels} channels; give one, or one per channel")
    return values


def probe_images(model: Model) -> Tensor:
    """Return two images of noise by which properties of a network are probed.

    Parameters
    ----------
    model
        Model whose input size, normalization and device are used.

    Returns
    -------
    Tensor : (2, C, side, side) float32
        Inputs, always of the same noise.
    """
    noise = np.random.default_rng(0).random((2, model.side, model.side), np.float32)
    return model.normalize(torch.from_numpy(noise)).to(model.device)


def _with_found_features(model: Model) -> Model:
    """Run the network once and set its feature layer; raise `SightlineError` unless it gives finite logits (2, F)."""
    x = probe_images(model)
    with freeze(model.net) as net, torch.no_grad():
        try:
            out = net(x)
        except Exception as error:  # the network may be the user's own
            raise SightlineError(f"{model.name} does not run on an input of {tuple(x.shape)}: {error}") from error
        expected = (2, len(model.findings))
        if not isinstance(out, Tensor) or tuple(out.shape) != expected:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise SightlineError(
                f"{model.name} returns {got} for 2 images and {expected[1]} findings; it must return logits "
                f"{expected}: give as many findings as it has outputs, in their order"
            )
        if not bool(torch.isfinite(out).all()):
            raise SightlineError(f"{model.name} gives NaN or infinity for finite images: {_explain_non_finite(net)}")
        return replace(model, feature_layer=find_feature_layer(net, x, model.feature_module))


def _explain_non_finite(net: nn.Module) -> str:
    bad = [name for name, tensor in net.state_dict().items() if not bool(torch.isfinite(tensor.float()).all())]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"its weights are damaged ({bad[0]}{more})" if bad else "its arithmetic overflows, though its weights do not"
