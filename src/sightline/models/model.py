"""`Model`: a network with its habits: what it reads, what it finds, and where its features are."""

from __future__ import annotations

import copy
import hashlib
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
from sightline.imaging.geometry import Resize
from sightline.imaging.preprocess import fit_image
from sightline.models.fast_gradients import supports_fast_gradients
from sightline.models.feature_layer import FeatureLayer, find_feature_layer, has_affine_head
from sightline.models.frozen import freeze
from sightline.models.memory_format import with_preferred_memory_format

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """How a model came to be. A model without one is untrained, and every comparison with it is labeled a control."""

    data: str
    """Spec of the data set, or a sentence where the training happened elsewhere."""
    fraction: float = 1.0
    """Share of the training patients used."""
    seed: int | None = None
    epochs: float | None = None
    weights_hash: str = ""
    """sha256 of the weights, as `state_hash` computes it."""
    val_auroc: float | None = None
    """Mean over findings on the validation patients, of the weights kept."""
    derived: tuple[str, ...] = ()
    """What was done to the data set before training, as in `Dataset.derived`."""

    @property
    def description(self) -> str:
        """Spec of the data set and what was done to it, in one line."""
        return "; ".join((self.data, *self.derived))


@dataclass(frozen=True, eq=False)
class Model:
    """A network from an image to one logit per finding (multi-label: probabilities are sigmoids)."""

    name: str
    """Short, for tables."""
    net: nn.Module = field(repr=False)
    """float32 (N, C, side, side) -> logits (N, F)."""
    findings: tuple[str, ...]
    """Canonical names, in the order of the logits."""
    side: int
    """Inputs are side × side pixels."""
    resize: Resize
    channels: int
    mean: tuple[float, ...]
    """Per channel, subtracted from the image in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, divided by after that."""
    feature_layer: FeatureLayer | None
    """Where the features are taken; None where the network has no global pooling and none was named."""
    feature_module: str | None = None
    """The module named for that, None if it was found."""
    arch: str = ""
    """Spec that builds the network anew with other weights ('densenet121'); empty for a network of the user's own."""
    training_record: TrainingRecord | None = None
    assumed_settings: tuple[str, ...] = ()
    """Which of `resize`, `side`, `mean` and `std` are defaults that neither its checkpoint nor its user stated."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        first = next(self.net.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @cached_property
    def has_affine_head(self) -> bool:
        """Whether logits are an affine function of the features; found once, with noise. False without features."""
        if self.feature_layer is None:
            return False
        with freeze(self.net) as net:
            return has_affine_head(net, self.feature_layer, probe_images(self))

    @cached_property
    def supports_fast_gradients(self) -> bool:
        """Whether gradients may be computed the fast way; found once, with noise. False on accelerators."""
        if self.device.type != "cpu":
            return False  # on an H200 it gains nothing up to 32 images at once, and a sixth at 64
        with freeze(self.net) as net:
            return supports_fast_gradients(net, probe_images(self))

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        """The network `frozen`, with its weights in memory as they are fastest where it `supports_fast_gradients`."""
        with (
            freeze(self.net) as net,
            with_preferred_memory_format(net) if self.supports_fast_gradients else nullcontext(),
        ):
            yield net

    @cached_property
    def _by_feature_layer(self) -> dict[str, Model]:
        return {}

    def with_feature_layer(self, layer: str) -> Model:
        """The same network with its features taken at the output of a module; found once per module.

        Errors: `SightlineError` for a path that names none, or one whose output is no map (see `wrap`).
        """
        if layer not in self._by_feature_layer:
            self._by_feature_layer[layer] = _with_found_features(replace(self, feature_module=layer))
        return self._by_feature_layer[layer]

    def normalize(self, images: Tensor) -> Tensor:
        """float32 (N, side, side) in [0, 1] -> (N, C, side, side) in the network's own units."""
        mean = images.new_tensor(self.mean)[:, None, None]
        std = images.new_tensor(self.std)[:, None, None]
        return (images[:, None] - mean) / std  # (N, C, side, side)

    def prepare(self, image: Array) -> tuple[Tensor, Frame]:
        """float32 (H, W) in [0, 1] -> float32 (C, side, side) on the CPU, and the frame that places it on the image.

        See `sightline.imaging.preprocess.fit_image` for how; nothing depends on other images.
        """
        seen, frame = fit_image(image, self.side, self.resize)
        return self.normalize(torch.from_numpy(seen)[None])[0], frame

    def index(self, finding: str | int) -> int:
        """Place of a finding among the logits; names may be aliases. Errors: `UnknownNameError`."""
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
    side: int = 320,
    resize: Resize = "center-crop",
    *,
    channels: int = 3,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    name: str = "",
    feature_module: str | None = None,
    arch: str = "",
    training_record: TrainingRecord | None = None,
) -> Model:
    """Make a `Model` of any `torch.nn.Module` that maps (N, C, size, size) to one logit per finding.

    mean, std: per channel or one for all, applied to an image in [0, 1]; default ImageNet's for three channels, else
    0.5 and 0.25. features: where the map for Grad-CAM is, see `sightline.models.feature_layer.find_feature_layer`;
    None finds it.
    One probe forward checks the output's width and finds the features; the network is left as it was.

    Errors: `SightlineError` if findings repeat, if the network does not run on such an input, or if it does not
    return logits (N, F), F = len(findings).

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    >>> model = wrap(net, ["Effusion"], side=32, channels=1)
    >>> model.findings, model.feature_layer.where, model.feature_layer.shape
    (('Pleural Effusion',), 'adaptive_avg_pool2d', (8, 15, 15))
    """
    names = tuple(canonical_name(finding) for finding in findings)
    if len(set(names)) != len(names) or not names:
        raise SightlineError(f"findings must be distinct and at least one; got {', '.join(names) or 'none'}")
    color = channels == 3
    model = Model(
        name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(net).__name__).lower(),
        net=net,
        findings=names,
        side=side,
        resize=resize,
        channels=channels,
        mean=_per_channel("mean", mean, channels, IMAGENET_MEAN if color else (0.5,) * channels),
        std=_per_channel("std", std, channels, IMAGENET_STD if color else (0.25,) * channels),
        feature_layer=None,
        feature_module=feature_module,
        arch=arch,
        training_record=training_record,
    )
    return _with_found_features(with_normalization(model))


def with_normalization(
    model: Model, mean: float | Sequence[float] | None = None, std: float | Sequence[float] | None = None
) -> Model:
    """The model with another normalization: (image in [0, 1] - mean) / std, per channel or one for all; None: its own.

    Errors: `SightlineError` for another number of channels, values that are not finite, and deviations of 0 or less.
    """
    made = replace(
        model,
        mean=_per_channel("mean", mean, model.channels, model.mean),
        std=_per_channel("std", std, model.channels, model.std),
    )
    if not all(map(math.isfinite, (*made.mean, *made.std))) or min(made.std) <= 0:
        raise SightlineError(f"mean={made.mean}, std={made.std}; allowed: finite means, and deviations above 0")
    return made


def _per_channel(
    name: str, given: float | Sequence[float] | None, channels: int, default: tuple[float, ...]
) -> tuple[float, ...]:
    if given is None:
        return default
    values = (given,) if isinstance(given, (int, float)) else tuple(given)
    values = tuple(map(float, values)) * (channels if len(values) == 1 else 1)
    if len(values) != channels:
        raise SightlineError(f"{name} has {len(values)} values for {channels} channels; give one, or one per channel")
    return values


def probe_images(model: Model) -> Tensor:
    """float32 (2, C, side, side) on the model's device: what it is probed with."""
    noise = np.random.default_rng(0).random((2, model.side, model.side), np.float32)
    return model.normalize(torch.from_numpy(noise)).to(model.device)


def _with_found_features(model: Model) -> Model:
    """The model with its cut, found by running it once. Errors: `SightlineError` if it does not give finite logits."""
    x = probe_images(model)
    with freeze(model.net) as net, torch.no_grad():
        try:
            out = net(x)
        except Exception as error:  # the network may be the user's own
            raise SightlineError(f"{model.name} does not run on an input of {tuple(x.shape)}: {error}") from error
        wanted = (2, len(model.findings))
        if not isinstance(out, Tensor) or tuple(out.shape) != wanted:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise SightlineError(
                f"{model.name} returns {got} for 2 images and {wanted[1]} findings; it must return logits {wanted}: "
                f"give as many findings as it has outputs, in their order"
            )
        if not bool(torch.isfinite(out).all()):
            raise SightlineError(f"{model.name} gives NaN or infinity for finite images: {_explain_non_finite(net)}")
        return replace(model, feature_layer=find_feature_layer(net, x, model.feature_module))


def _explain_non_finite(net: nn.Module) -> str:
    bad = [name for name, tensor in net.state_dict().items() if not bool(torch.isfinite(tensor.float()).all())]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"its weights are damaged ({bad[0]}{more})" if bad else "its arithmetic overflows, though its weights do not"


def with_random_weights(model: Model, seed: int = 0) -> Model:
    """A copy with random weights (`reset_parameters`): the control that shows what the architecture alone points at."""
    net = copy.deepcopy(model.net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in net.modules():
            reset_parameters(module)
    return replace(model, name="untrained", net=net, training_record=None)


@torch.no_grad()
def reset_parameters(module: nn.Module) -> None:
    """Draw the weights of one module anew, not of those it holds, and forget its statistics.

    A module initializes itself (`reset_parameters`). Where it cannot (class tokens, positions, a layer of the user's
    own), each parameter is drawn from a normal distribution of its own mean and deviation; a lone number stays.
    """
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        if parameter.numel() > 1:
            parameter.normal_(float(parameter.mean()), float(parameter.std()))


def state_hash(net: nn.Module) -> str:
    """sha256 of every parameter and buffer: names, types, shapes and bytes; the same on every device.

    >>> state_hash(nn.ReLU())[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
