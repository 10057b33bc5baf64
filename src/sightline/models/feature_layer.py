"""The feature layer: where a network divides into the body that makes a feature map and the head that pools it.

Grad-CAM and its relatives weigh the map that *enters the pooling*, after the last ReLU. Hooks on modules miss it if the
ReLU is functional or works in place (torchvision's DenseNets), so the layer is found and replaced at the call itself:
`torch.overrides` shows every function that the network calls, whether in a module or not, and its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sightline.errors import SightlineError

Layout = Literal["nchw", "nhwc", "tokens"]

COLLAPSING_FUNCTIONS = frozenset(
    {"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "lp_pool2d", "mean", "amax", "sum"}
    | {"logsumexp", "flatten", "view", "reshape"}
)
"""Names of functions that can end a feature map; calls of them on 4-D tensors are counted."""


@dataclass(frozen=True, slots=True)
class FeatureLayer:
    """Place in a network where its features are taken, found by one forward pass."""

    name: str
    """Name of the collapsing function, or path of the module whose output is the map."""
    call_indices: tuple[int, ...]
    """Numbers of the counted calls of a forward pass that take the map (average and maximum pooling may share one);
    empty if `name` is a module."""
    layout: Layout
    """Order of the axes: (N, K, h', w'), (N, h', w', K) or tokens (N, T, K)."""
    n_prefix_tokens: int
    """Tokens before the grid (class and register tokens), which are dropped; 0 for maps."""
    shape: tuple[int, int, int]
    """Shape (K, h', w') of the features at the input size of the model."""
    counted_from: tuple[str, int] | None = None
    """Path of a module that ends before the calls, and the number of counted calls by then. Calls are counted from
    there on: each costs microseconds of Python, and a DenseNet makes hundreds. None: from the start."""

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the tensor that the network passes."""
        return 1 if self.layout == "nchw" else -1

    def as_map(self, raw: Tensor) -> Tensor:
        """Convert the tensor that the network passes at this layer to a map.

        Parameters
        ----------
        raw
            Tensor in the layout of the layer.

        Returns
        -------
        Tensor : (N, K, h', w')
            Feature map, without tokens before the grid.
        """
        if self.layout == "nchw":
            return raw
        if self.layout == "nhwc":
            return raw.permute(0, 3, 1, 2)
        channels, height, width = self.shape
        return raw[:, self.n_prefix_tokens :].transpose(1, 2).reshape(raw.shape[0], channels, height, width)

    def apply_gate(self, raw: Tensor, gate: Tensor) -> Tensor:
        """Weigh the positions of the tensor that the network passes at this layer.

        Parameters
        ----------
        raw
            Tensor in the layout of the layer.
        gate : (N, 1, h', w')
            Weight of each position.

        Returns
        -------
        Tensor
            Weighed tensor in the same layout; tokens before the grid are unchanged.
        """
        if self.layout == "nchw":
            return raw * gate
        if self.layout == "nhwc":
            return raw * gate.permute(0, 2, 3, 1)
        return torch.cat(
            [raw[:, : self.n_prefix_tokens], raw[:, self.n_prefix_tokens :] * gate.flatten(2).transpose(1, 2)], 1
        )


@dataclass(slots=True)
class DetachedFeatures:
    """Features of one forward pass, detached from the body of the network."""

    tensor: Tensor | None = field(default=None)
    """Features as the root of the head's graph; None until the forward pass ran. If it is set before, the head works on
    it instead of the output of the body."""

    def detach(self, tensor: Tensor) -> Tensor:
        """Keep a detached copy as the root of the head's graph.

        Parameters
        ----------
        tensor
            Output of the body.

        Returns
        -------
        Tensor
            Input of the head.
        """
        if self.tensor is None:
            self.tensor = tensor.detach().clone().requires_grad_()
        return self.tensor.clone()  # the head may work in place, which a leaf forbids


class CallCounter(TorchFunctionMode):
    """Number the calls of `COLLAPSING_FUNCTIONS` on 4-D tensors, and let `visit` make each of them."""

    def __init__(self, visit: Callable[[int, str, Tensor, Callable[[Tensor], Any]], Any]) -> None:
        super().__init__()
        self.visit = visit
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").lstrip("_")
        if name not in COLLAPSING_FUNCTIONS:
            return func(*args, **kwargs)
        source = args[0] if args else kwargs.get("input")
        if not isinstance(source, Tensor) or source.dim() != 4:
            return func(*args, **kwargs)
        index, self.count = self.count, self.count + 1

        def call(tensor: Tensor) -> Any:
            if args:
                return func(tensor, *args[1:], **kwargs)
            return func(**{**kwargs, "input": tensor})

        return self.visit(index, name, source, call)


def count_calls() -> CallCounter:
    """Create a context that counts the calls by whose number feature layers are found.

    Returns
    -------
    TorchFunctionMode
        Context whose `count` is the number of calls so far.
    """
    return CallCounter(lambda index, name, source, call: call(source))


def skip_calls(n_calls: int) -> None:
    """Make counted calls without effect, so that calls after an omitted part of a network keep their numbers.

    Parameters
    ----------
    n_calls
        Counted calls of the omitted part.
    """
    for _ in range(n_calls):
        torch.mean(_DUMMY_MAP, (2, 3))


_DUMMY_MAP = torch.zeros((1, 1, 1, 1))


def find_submodule(net: nn.Module, path: str) -> nn.Module:
    """Return a module of a network by its path.

    Parameters
    ----------
    net
        Network.
    path
        Path of the module, such as 'layer4.1.relu'.

    Returns
    -------
    nn.Module
        The module.

    Raises
    ------
    SightlineError
        If there is none; the message lists others of a similar name.
    """
    try:
        return net.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in net.named_modules() if name]
        near = [name for name in known if name.split(".")[-1] == path.split(".")[-1]] or known
        raise SightlineError(
            f"feature_module={path!r} is no module of the network; it has {', '.join(near[-8:])}"
        ) from error


@contextmanager
def detach_features(
    net: nn.Module, feature_layer: FeatureLayer, replacement: Tensor | None = None
) -> Iterator[DetachedFeatures]:
    """Detach the features from the body of a network in every forward pass inside.

    Parameters
    ----------
    net
        Network, in any mode.
    feature_layer
        Its feature layer.
    replacement
        Features for the head to work on instead of the output of the body, of the same shape.

    Yields
    ------
    DetachedFeatures
        Its `tensor` is set by the forward pass; the graph of the head starts there.
    """
    detached = DetachedFeatures(replacement)
    with replace_features(net, feature_layer, detached.detach):
        yield detached


@contextmanager
def replace_features(
    net: nn.Module, feature_layer: FeatureLayer, transform: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Transform the features in every forward pass inside.

    Parameters
    ----------
    net
        Network, in any mode.
    feature_layer
        Its feature layer.
    transform
        Function of the tensor that the network passes; the head works on its result, of the same shape.

    Yields
    ------
    None
    """
    if not feature_layer.call_indices:
        handle = find_submodule(net, feature_layer.name).register_forward_hook(
            lambda module, args, output: transform(output)
        )
        try:
            yield
        finally:
            handle.remove()
        return

    def visit(index: int, name: str, source: Tensor, call: Callable[[Tensor], Any]) -> Any:
        return call(transform(source) if index in feature_layer.call_indices else source)

    counter = CallCounter(visit)
    with ExitStack() as stack:
        if feature_layer.counted_from is None:
            stack.enter_context(counter)
        else:
            path, counter.count = feature_layer.counted_from

            def begin(module: nn.Module, args: Any, output: Any) -> None:
                handle.remove()
                stack.enter_context(counter)

            handle = find_submodule(net, path).register_forward_hook(begin)
            stack.callback(handle.remove)
        yield


def logits_from_features(net: nn.Module, feature_layer: FeatureLayer, x: Tensor, features: Tensor) -> Tensor:
    """Compute the logits of a frozen network from other features.

    Parameters
    ----------
    net
        Frozen network.
    feature_layer
        Its feature layer.
    x : (N, C, h, w) float32
        Inputs of the body.
    features
        Input of the head, in the layout of the layer.

    Returns
    -------
    Tensor : (N, F)
        Logits.
    """
    with torch.no_grad(), detach_features(net, feature_layer, features):
        logits: Tensor = net(x)
    return logits


def has_affine_head(net: nn.Module, feature_layer: FeatureLayer, x: Tensor) -> bool:
    """Return True if the logits of a frozen network are an affine function of its features, as after average pooling.

    Parameters
    ----------
    net
        Frozen network.
    feature_layer
        Its feature layer.
    x : (N, C, h, w) float32
        Any inputs.

    Returns
    -------
    bool
        True up to 1e-4 of the scale of the logits.
    """
    with detach_features(net, feature_layer) as detached:
        net(x)
    assert detached.tensor is not None
    first = detached.tensor.detach()
    second = first.flip(0, feature_layer.channel_axis)
    ends = [logits_from_features(net, feature_layer, x, features) for features in (first, second, first * 0)]
    mixed = logits_from_features(net, feature_layer, x, first * 0.5 + second * 0.25)
    scale = sum(float((end - ends[2]).abs().max()) for end in ends[:2])
    return float((mixed - ends[0] / 2 - ends[1] / 4 - ends[2] / 4).abs().max()) <= 1e-4 * scale
