"""Reuse of activations: what a network computes before its first changed block is the same again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sightline.models.feature_layer import count_calls, skip_calls
from sightline.models.frozen import freeze
from sightline.models.model import Model


@dataclass(frozen=True, slots=True)
class CachedCall:
    """Input and output of one call of a block."""

    input_tensor: Tensor
    """Argument of the call."""
    output: Tensor
    """Result of the call."""
    call_index: int
    """Position of the call among all calls of blocks."""
    is_overwritten: bool
    """True if a later call wrote into the output, which must then be returned as a copy."""
    n_counted_calls: int
    """Calls inside the block that number feature layers (`sightline.models.feature_layer`)."""


class CachedBlock(nn.Module):
    """Replacement of a block: the cached output for the cached input, the block itself for any other.

    So a method that masks the input, or differentiates by it, gets the same result as without the cache.
    """

    def __init__(self, block: nn.Module, call: CachedCall) -> None:
        super().__init__()
        self.block, self._call = block, call

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block.

        Parameters
        ----------
        x
            Input of the block.

        Returns
        -------
        Tensor
            Cached output if x is the cached input and needs no gradient, otherwise a new one.
        """
        call = self._call
        if x.requires_grad or not (x is call.input_tensor or torch.equal(x, call.input_tensor)):
            out: Tensor = self.block(x)
            return out
        skip_calls(call.n_counted_calls)
        return call.output.clone() if call.is_overwritten else call.output


@dataclass(frozen=True, slots=True)
class ActivationCache:
    """Outputs of the blocks of a network for one batch, by the path of the block."""

    calls: dict[str, CachedCall]
    """Cached call of each block."""
    first_calls: dict[str, int]
    """Position of the first call of each block, including blocks that are not cached."""

    @contextmanager
    def replay(self, net: nn.Module, changed_layers: Collection[str]) -> Iterator[None]:
        """Replace the blocks of `net` that end before any changed layer begins by their cached outputs.

        Parameters
        ----------
        net
            Network of the cached blocks, or a copy with other weights.
        changed_layers
            Paths of the modules whose weights differ.

        Yields
        ------
        None
            Blocks are replaced inside; on leaving they are restored.
        """
        touched = [
            position
            for name, position in self.first_calls.items()
            if any(f"{path}.".startswith(f"{name}.") for path in changed_layers)
        ]
        # Weights of the network itself may be used anywhere
        first_change = 0 if "" in changed_layers else min(touched, default=0)
        blocks = {name: net.get_submodule(name) for name, call in self.calls.items() if call.call_index < first_change}
        try:
            for name, block in blocks.items():
                net.set_submodule(name, CachedBlock(block, self.calls[name]))
            yield
        finally:
            for name, block in blocks.items():
                net.set_submodule(name, block)


def record_activations(
    model: Model, x: Tensor, blocks: Sequence[str], required_modules: Collection[str] = ()
) -> ActivationCache:
    """Run the network once and cache the outputs of its blocks.

    Only blocks that are called once, with one tensor, and return one tensor are cached. A block that contains the
    feature layer or a required module is not cached, since that module would not be called.

    Parameters
    ----------
    model
        Model to run.
    x : (N, C, side, side) float32
        Batch of inputs.
    blocks
        Paths of the blocks.
    required_modules
        Paths of modules that must be called whenever the network runs.

    Returns
    -------
    ActivationCache
        Outputs for this batch.
    """
    inside = [*required_modules, model.feature_layer.name if model.feature_layer else ""]
    outer = [name for name in blocks if name and not any(path.startswith(f"{name}.") for path in inside)]
    calls = _observe_calls(model, x, outer)
    names = [call.name for call in calls]
    feature_calls = set(model.feature_layer.call_indices if model.feature_layer else ())
    cached = {}
    for position, call in enumerate(calls):
        counted = set(range(*call.counted_range))
        if call.input_tensor is None or names.count(call.name) > 1 or feature_calls & counted:
            continue
        overwritten = call.output._version != call.version
        output = call.output_copy if overwritten else call.output
        n_counted_calls = call.counted_range[1] - call.counted_range[0]
        cached[call.name] = CachedCall(call.input_tensor, output, position, overwritten, n_counted_calls)
    return ActivationCache(cached, {name: names.index(name) for name in names})


@dataclass(slots=True)
class _ObservedCall:
    """A call of a block during the recorded forward pass."""

    name: str
    counted_range: tuple[int, int]
    """Numbers of the counted calls inside: first, and last plus one."""
    input_tensor: Tensor | None = None
    """None if the block did not take and return one tensor."""
    output: Tensor = field(default_factory=Tensor)
    version: int = 0
    output_copy: Tensor = field(default_factory=Tensor)


def _observe_calls(model: Model, x: Tensor, blocks: Sequence[str]) -> list[_ObservedCall]:
    calls: list[_ObservedCall] = []
    counter, start = count_calls(), [0]

    def before(module: nn.Module, inputs: tuple[object, ...]) -> None:
        start[0] = counter.count

    def after(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(module: nn.Module, inputs: tuple[object, ...], out: object) -> None:
            call = _ObservedCall(name, (start[0], counter.count))
            if len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(out, Tensor):
                call = _ObservedCall(name, call.counted_range, inputs[0], out, out._version, out.clone())
            calls.append(call)

        return hook

    handles = []
    for name in blocks:
        module = model.net.get_submodule(name)
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after(name))]
    try:
        with freeze(model.net) as net, torch.no_grad(), counter:
            net(x)
    finally:
        for handle in handles:
            handle.remove()
    return calls
