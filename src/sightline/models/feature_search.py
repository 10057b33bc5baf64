"""Find the feature layer of a network by running it once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.models.feature_layer import CallCounter, FeatureLayer, Layout, detach_features, find_submodule

_MODULE_PATH = re.compile(r"(?P<path>[\w.]+?)(\[(?P<prefix>\d+):\])?")
_MAX_PREFIX_TOKENS = 16


def find_feature_layer(net: nn.Module, x: Tensor, feature_module: str | None) -> FeatureLayer | None:
    """Find where the features of a frozen network are, by one forward pass.

    By default they are the input of the *last* call that collapses both spatial axes of a 4-D map: global average or
    maximum pooling, a mean over the two axes, or the flattening of a map (VGG). Earlier calls are squeeze-and-excite
    gates. Of a pooling made of several steps it is the step that collapses: generalized-mean pooling after its power.

    Parameters
    ----------
    net
        Frozen network.
    x : (N, C, h, w) float32
        Inputs.
    feature_module
        Path of a module whose output is taken instead, such as 'blocks.11.norm1': a map (N, K, h', w') or tokens
        (N, T, K), whose leading class and register tokens are dropped; 'blocks.11.norm1[5:]' states how many.

    Returns
    -------
    FeatureLayer or None
        None if the network makes no such call (transformers with a class token).

    Raises
    ------
    SightlineError
        For a path that names no module, a module that does not run exactly once, or one with another output.
    """
    return _find_pooling(net, x) if feature_module is None else _find_module(net, x, feature_module)


def _find_pooling(net: nn.Module, x: Tensor) -> FeatureLayer | None:
    collapses: list[tuple[int, str, Tensor, Layout]] = []

    def visit(index: int, name: str, source: Tensor, call: Callable[[Tensor], Any]) -> Any:
        result = call(source)
        layout = _collapsed_layout(source, result)
        if layout is not None:
            collapses.append((index, name, source, layout))
        return result

    counter = CallCounter(visit)
    with _record_module_ends(net, counter) as ends, counter:
        net(x)
    if not collapses:
        return None
    _, name, source, layout = collapses[-1]
    calls = tuple(index for index, _, other, _ in collapses if other is source)
    shape = source.shape[1:] if layout == "nchw" else (source.shape[3], *source.shape[1:3])
    layer = FeatureLayer(name, calls, layout, 0, (int(shape[0]), int(shape[1]), int(shape[2])))
    paths = [path for path, _ in ends]
    before = [(path, count) for path, count in ends if count <= calls[0] and paths.count(path) == 1]
    if not before:
        return layer
    late = replace(layer, counted_from=before[-1])
    return late if _is_reachable(net, late, x) else layer


@contextmanager
def _record_module_ends(net: nn.Module, counter: CallCounter) -> Iterator[list[tuple[str, int]]]:
    """Record the path of every module that ends in a forward pass, and the number of counted calls by then."""
    ends: list[tuple[str, int]] = []

    def record_end(path: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, args, output: ends.append((path, counter.count))

    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_hook(record_end(path)).remove)
        yield ends


def _is_reachable(net: nn.Module, feature_layer: FeatureLayer, x: Tensor) -> bool:
    """Return False if the network itself leaves a function mode in between, which would remove ours."""
    with torch.no_grad(), detach_features(net, feature_layer) as detached:
        net(x)
    return detached.tensor is not None and detached.tensor.shape[1:].numel() == math.prod(feature_layer.shape)


def _find_module(net: nn.Module, x: Tensor, feature_module: str) -> FeatureLayer:
    match = _MODULE_PATH.fullmatch(feature_module)
    if match is None:
        raise SightlineError(
            f"feature_module={feature_module!r} is not a module path such as 'layer4' or 'blocks.11.norm1[5:]'"
        )
    path, prefix = match["path"], match["prefix"]
    outputs: list[Any] = []
    handle = find_submodule(net, path).register_forward_hook(lambda module, args, output: outputs.append(output))
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
    """Feature layer of a module with a map: it is square, as inputs are, so two equal neighboring axes are spatial."""
    _, second, third, last = output.shape
    if (second == third) == (third == last):
        raise SightlineError(
            f"feature_module={path!r} gives {tuple(output.shape)}, which could be (N, K, h, w) or (N, h, w, K)"
        )
    if third == last:
        return FeatureLayer(path, (), "nchw", 0, (second, third, last))
    return FeatureLayer(path, (), "nhwc", 0, (last, second, third))


def _token_grid(net: nn.Module, path: str, tokens: int, side: int, prefix: str | None) -> tuple[int, int]:
    """Return the number of prefix tokens, and side of the square grid."""
    stated = int(prefix) if prefix is not None else getattr(net, "num_prefix_tokens", None)
    if isinstance(stated, int):
        grid = math.isqrt(max(tokens - stated, 0))
        if grid == 0 or grid * grid + stated != tokens:
            raise SightlineError(
                f"feature_module={path!r}: {tokens} tokens minus {stated} leading ones are no square grid"
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
            f"state how many leading tokens are no part of it, as in feature_module='{path}[1:]'"
        )
    return fits[0]


def _collapsed_layout(source: Tensor, result: Any) -> Layout | None:
    """Layout of a 4-D map that lost its two spatial axes in this call; None if it kept them."""
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
    """Return True for the shapes (N, C) and (N, C, 1, 1)."""
    return result.numel() == count * channels and result.shape[:2] == (count, channels)
