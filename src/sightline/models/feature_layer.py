"""Where a network is cut in two: the body that makes a feature map, and the head that pools it into logits.

Grad-CAM and its relatives weigh the map that *enters the pooling*, after the last ReLU. Hooks on modules miss it
where the ReLU is functional or works in place (torchvision's DenseNets), so the cut is found and made at the call
itself: `torch.overrides` shows every function the network calls, module or not, and the tensor it is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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
"""Functions that can end a feature map, by name."""

_MODULE_PATH = re.compile(r"(?P<path>[\w.]+?)(\[(?P<prefix>\d+):\])?")
_MAX_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class FeatureLayer:
    """Where the features of one network are taken, found once by a probe."""

    name: str
    """Name of the collapsing function, or path of the module whose output is the map."""
    call_indices: tuple[int, ...]
    """Which of the watched calls of a forward receive the map (average and maximum pooling may share one); empty where
    `where` is a module."""
    layout: Layout
    n_prefix_tokens: int
    """Tokens before the grid (class and register tokens), dropped; 0 for maps."""
    shape: tuple[int, int, int]
    """(K, h', w') of the features at the probe's input size."""
    counted_from: tuple[str, int] | None = None
    """Path of a module behind which the calls come, and how many watched calls there were by its end. Only from there
    on are calls looked at: each costs microseconds of Python, and a DenseNet makes hundreds. None: all are."""

    @property
    def channel_axis(self) -> int:
        """Of what the network passes there."""
        return 1 if self.layout == "nchw" else -1

    def as_map(self, raw: Tensor) -> Tensor:
        """What the network passes there -> (N, K, h', w')."""
        if self.layout == "nchw":
            return raw
        if self.layout == "nhwc":
            return raw.permute(0, 3, 1, 2)
        channels, height, width = self.shape
        return raw[:, self.n_prefix_tokens :].transpose(1, 2).reshape(raw.shape[0], channels, height, width)

    def apply_gate(self, raw: Tensor, gate: Tensor) -> Tensor:
        """What the network passes there, its places weighed by a gate (N, 1, h', w'); tokens before the grid as is."""
        if self.layout == "nchw":
            return raw * gate
        if self.layout == "nhwc":
            return raw * gate.permute(0, 2, 3, 1)
        return torch.cat(
            [raw[:, : self.n_prefix_tokens], raw[:, self.n_prefix_tokens :] * gate.flatten(2).transpose(1, 2)], 1
        )


@dataclass(slots=True)
class DetachedFeatures:
    """What a cut forward leaves behind."""

    tensor: Tensor | None = field(default=None)
    """The tensor at the cut, detached from the body and the root of the head's graph; None until the forward ran. A
    caller who sets it beforehand has the head work on that instead."""

    def detach(self, tensor: Tensor) -> Tensor:
        """Keep a detached copy as the root of the head's graph and return what the head is to work on."""
        if self.tensor is None:
            self.tensor = tensor.detach().clone().requires_grad_()
        return self.tensor.clone()  # the head may work in place, which a leaf forbids


class _CallCounter(TorchFunctionMode):
    """Number the watched calls on 4-D tensors, and let `visit` make each of them."""

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


def count_calls() -> _CallCounter:
    """Inside, `count` is how many watched calls there were: cuts are numbered among them."""
    return _CallCounter(lambda index, name, source, call: call(source))


def skip_calls(calls: int) -> None:
    """Make watched calls that do nothing, so that those after a part that is left out keep their numbers."""
    for _ in range(calls):
        torch.mean(_DUMMY_MAP, (2, 3))


_DUMMY_MAP = torch.zeros((1, 1, 1, 1))


def _collapsed_layout(source: Tensor, result: Any) -> Layout | None:
    """How a 4-D map lost its two spatial axes in this call, or None if it kept them."""
    if not isinstance(result, Tensor):
        return None
    count, second, third, last = source.shape
    cells, total = result.numel(), source[0].numel()
    if third * last > 1 and (tuple(result.shape) == (count, total) or _is_pooled(result, count, second)):
        return "nchw"
    if second * third > 1 and cells == count * last and result.shape[0] == count and result.shape[-1] == last:
        return "nhwc"
    return None


def _is_pooled(result: Tensor, count: int, channels: int) -> bool:
    """(N, C) or (N, C, 1, 1)."""
    return result.numel() == count * channels and result.shape[:2] == (count, channels)


def find_feature_layer(net: nn.Module, x: Tensor, feature_module: str | None) -> FeatureLayer | None:
    """Probe one forward of a frozen network on x (N, C, h, w) and say where its features are.

    features None: the input of the *last* call that collapses both spatial axes of a 4-D map: global average or
    maximum pooling, a mean over the two axes, or the flattening of a map (VGG). Earlier ones are squeeze-and-excite
    gates. A pooling made of several steps is cut at the step that collapses: generalized-mean pooling after its power.
    Returns None where the network makes no such call (transformers with a class token).

    features 'blocks.11.norm1': the output of that module, a map (N, K, h', w') or tokens (N, T, K) whose leading class
    and register tokens are dropped; 'blocks.11.norm1[5:]' says how many.

    Errors: `SightlineError` for a path that names no module, runs not exactly once, or whose output is neither.
    """
    return _find_pooling(net, x) if feature_module is None else _find_module(net, x, feature_module)


def _find_pooling(net: nn.Module, x: Tensor) -> FeatureLayer | None:
    seen: list[tuple[int, str, Tensor, Layout]] = []

    def visit(index: int, name: str, source: Tensor, call: Callable[[Tensor], Any]) -> Any:
        result = call(source)
        layout = _collapsed_layout(source, result)
        if layout is not None:
            seen.append((index, name, source, layout))
        return result

    watch = _CallCounter(visit)
    with _record_module_ends(net, watch) as ends, watch:
        net(x)
    if not seen:
        return None
    _, name, source, layout = seen[-1]
    calls = tuple(index for index, _, other, _ in seen if other is source)
    shape = source.shape[1:] if layout == "nchw" else (source.shape[3], *source.shape[1:3])
    cut = FeatureLayer(name, calls, layout, 0, (int(shape[0]), int(shape[1]), int(shape[2])))
    paths = [path for path, _ in ends]
    before = [(path, count) for path, count in ends if count <= calls[0] and paths.count(path) == 1]
    if not before:
        return cut
    late = replace(cut, counted_from=before[-1])
    return late if _is_reachable(net, late, x) else cut


@contextmanager
def _record_module_ends(net: nn.Module, watch: _CallCounter) -> Iterator[list[tuple[str, int]]]:
    """Inside, a forward leaves which modules ended, in order, and how many watched calls there had been."""
    ends: list[tuple[str, int]] = []

    def ending(path: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, args, output: ends.append((path, watch.count))

    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_hook(ending(path)).remove)
        yield ends


def _is_reachable(net: nn.Module, feature_layer: FeatureLayer, x: Tensor) -> bool:
    """Not where the network itself leaves a mode of functions in between: it would take our own off."""
    with torch.no_grad(), detach_features(net, feature_layer) as joint:
        net(x)
    return joint.tensor is not None and joint.tensor.shape[1:].numel() == math.prod(feature_layer.shape)


def _find_module(net: nn.Module, x: Tensor, feature_module: str) -> FeatureLayer:
    match = _MODULE_PATH.fullmatch(feature_module)
    if match is None:
        raise SightlineError(
            f"feature_module={feature_module!r} is not a module path such as 'layer4' or 'blocks.11.norm1[5:]'"
        )
    path, prefix = match["path"], match["prefix"]
    outputs: list[Any] = []
    handle = _find_submodule(net, path).register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        net(x)
    finally:
        handle.remove()
    if len(outputs) != 1:
        raise SightlineError(
            f"feature_module={path!r} ran {len(outputs)} times in one forward; name a module that runs once"
        )
    output = outputs[0]
    if not isinstance(output, Tensor) or output.shape[0] != x.shape[0] or output.dim() not in (3, 4):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise SightlineError(
            f"feature_module={path!r} gives {got}; allowed: a map (N, K, h, w) or tokens (N, T, K), N = {x.shape[0]}"
        )
    if output.dim() == 4:
        return _feature_layer_of_map(path, output)
    dropped, grid = _token_grid(net, path, output.shape[1], x.shape[-1], prefix)
    return FeatureLayer(path, (), "tokens", dropped, (output.shape[2], grid, grid))


def _feature_layer_of_map(path: str, output: Tensor) -> FeatureLayer:
    """A map is square here, because inputs are: whichever two neighboring axes are equal are the spatial ones."""
    _, second, third, last = output.shape
    if (second == third) == (third == last):
        raise SightlineError(
            f"feature_module={path!r} gives {tuple(output.shape)}, which could be (N, K, h, w) or (N, h, w, K)"
        )
    if third == last:
        return FeatureLayer(path, (), "nchw", 0, (second, third, last))
    return FeatureLayer(path, (), "nhwc", 0, (last, second, third))


def _token_grid(net: nn.Module, path: str, tokens: int, side: int, prefix: str | None) -> tuple[int, int]:
    """(prefix tokens, side of the square grid)."""
    stated = int(prefix) if prefix is not None else getattr(net, "num_prefix_tokens", None)
    if isinstance(stated, int):
        grid = math.isqrt(max(tokens - stated, 0))
        if grid == 0 or grid * grid + stated != tokens:
            raise SightlineError(
                f"feature_module={path!r}: {tokens} tokens less {stated} leading ones are no square grid"
            )
        return stated, grid
    fits = [
        (tokens - grid * grid, grid)
        for grid in range(2, math.isqrt(tokens) + 1)
        if tokens - grid * grid <= _MAX_PREFIX_TOKENS and side % grid == 0
    ]
    if len(fits) != 1:
        raise SightlineError(
            f"feature_module={path!r} gives {tokens} tokens for an input of {side}: {len(fits)} square grids fit; "
            f"say how many leading tokens are no part of it, as in feature_module='{path}[1:]'"
        )
    return fits[0]


def _find_submodule(net: nn.Module, path: str) -> nn.Module:
    try:
        return net.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in net.named_modules() if name]
        near = [name for name in known if name.split(".")[-1] == path.split(".")[-1]] or known
        raise SightlineError(
            f"feature_module={path!r} is no module of the network; there are {', '.join(near[-8:])}"
        ) from error


@contextmanager
def detach_features(
    net: nn.Module, feature_layer: FeatureLayer, replacement: Tensor | None = None
) -> Iterator[DetachedFeatures]:
    """Inside, a forward of `net` leaves the tensor at the cut in `Joint.tensor`, and its head's graph starts there.

    given: what the head works on instead of the body's output, of the same shape.
    """
    joint = DetachedFeatures(replacement)
    with replace_features(net, feature_layer, joint.detach):
        yield joint


@contextmanager
def replace_features(
    net: nn.Module, feature_layer: FeatureLayer, transform: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Inside, the head of `net` works on `change(what the network passes at the cut)`, of the same shape."""
    if not feature_layer.call_indices:
        handle = _find_submodule(net, feature_layer.name).register_forward_hook(
            lambda module, args, output: transform(output)
        )
        try:
            yield
        finally:
            handle.remove()
        return

    def visit(index: int, name: str, source: Tensor, call: Callable[[Tensor], Any]) -> Any:
        return call(transform(source) if index in feature_layer.call_indices else source)

    watch = _CallCounter(visit)
    with ExitStack() as stack:
        if feature_layer.counted_from is None:
            stack.enter_context(watch)
        else:
            path, watch.count = feature_layer.counted_from

            def begin(module: nn.Module, args: Any, output: Any) -> None:
                handle.remove()
                stack.enter_context(watch)

            handle = _find_submodule(net, path).register_forward_hook(begin)
            stack.callback(handle.remove)
        yield


def logits_from_features(net: nn.Module, feature_layer: FeatureLayer, x: Tensor, features: Tensor) -> Tensor:
    """Logits (N, F) of a frozen network on x, its head given other features, as the network passes them."""
    with torch.no_grad(), detach_features(net, feature_layer, features):
        logits: Tensor = net(x)
    return logits


def has_affine_head(net: nn.Module, feature_layer: FeatureLayer, x: Tensor) -> bool:
    """Whether the logits of a frozen network are an affine function of its features, as behind average pooling.

    x (N, C, h, w): any images.
    """
    with detach_features(net, feature_layer) as joint:
        net(x)
    assert joint.tensor is not None
    one = joint.tensor.detach()
    other = one.flip(0, feature_layer.channel_axis)
    ends = [logits_from_features(net, feature_layer, x, features) for features in (one, other, one * 0)]
    mixed = logits_from_features(net, feature_layer, x, one * 0.5 + other * 0.25)
    scale = sum(float((end - ends[2]).abs().max()) for end in ends[:2])
    return float((mixed - ends[0] / 2 - ends[1] / 4 - ends[2] / 4).abs().max()) <= 1e-4 * scale
