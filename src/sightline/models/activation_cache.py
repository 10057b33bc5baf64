"""What a network computes before its first changed block is the same again: kept once, and recalled."""

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
    """One call of a block."""

    input_tensor: Tensor
    output: Tensor
    call_index: int
    """When it was called, among all calls of blocks."""
    is_overwritten: bool
    """Whether a later call wrote into the output, which must then be handed out as a copy."""
    n_counted_calls: int
    """Calls inside by whose number cuts are found (`sightline.models.feature_layer`)."""


class CachedBlock(nn.Module):
    """Stands in for a block: its known output for the known input, the block itself for anything else.

    So a method that masks the input, or differentiates by it, gets what it would have got.
    """

    def __init__(self, block: nn.Module, call: CachedCall) -> None:
        super().__init__()
        self.block, self._call = block, call

    def forward(self, x: Tensor) -> Tensor:
        kept = self._call
        if x.requires_grad or not (x is kept.input_tensor or torch.equal(x, kept.input_tensor)):
            out: Tensor = self.block(x)
            return out
        skip_calls(kept.n_counted_calls)
        return kept.output.clone() if kept.is_overwritten else kept.output


@dataclass(frozen=True, slots=True)
class ActivationCache:
    """Outputs of the blocks of a network for one batch, by the path of the block."""

    calls: dict[str, CachedCall]
    first_calls: dict[str, int]
    """When each block was called first, also of blocks that are not kept."""

    @contextmanager
    def replay(self, net: nn.Module, changed_layers: Collection[str]) -> Iterator[None]:
        """Within, the blocks of `net` that end before any with a `changed` layer begins answer from memory."""
        touched = [
            at
            for name, at in self.first_calls.items()
            if any(f"{path}.".startswith(f"{name}.") for path in changed_layers)
        ]
        begins = 0 if "" in changed_layers else min(touched, default=0)  # weights of the network itself serve anywhere
        blocks = {name: net.get_submodule(name) for name, kept in self.calls.items() if kept.call_index < begins}
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
    """Run the network once on x (N, C, side, side) and keep what its blocks give.

    Kept are blocks that are called once, with one tensor, and return one; none that holds the cut of the model, or a
    module whose path is `needed`: it would not be called.
    """
    inside = [*required_modules, model.feature_layer.name if model.feature_layer else ""]
    outer = [name for name in blocks if name and not any(path.startswith(f"{name}.") for path in inside)]
    calls = _observe_calls(model, x, outer)
    names = [call.name for call in calls]
    cuts = set(model.feature_layer.call_indices if model.feature_layer else ())
    kept = {}
    for at, call in enumerate(calls):
        if call.input_tensor is None or names.count(call.name) > 1 or cuts & set(range(*call.counted_range)):
            continue
        overwritten = call.output._version != call.version
        output = call.output_copy if overwritten else call.output
        kept[call.name] = CachedCall(
            call.input_tensor, output, at, overwritten, call.counted_range[1] - call.counted_range[0]
        )
    return ActivationCache(kept, {name: names.index(name) for name in names})


@dataclass(slots=True)
class _ObservedCall:
    """A call of a block as it was seen."""

    name: str
    counted_range: tuple[int, int]
    """Numbers of the watched calls inside: first, and one past the last."""
    input_tensor: Tensor | None = None
    """None where the block did not take and give one tensor."""
    output: Tensor = field(default_factory=Tensor)
    version: int = 0
    output_copy: Tensor = field(default_factory=Tensor)


def _observe_calls(model: Model, x: Tensor, blocks: Sequence[str]) -> list[_ObservedCall]:
    calls: list[_ObservedCall] = []
    watch, begun = count_calls(), [0]

    def before(module: nn.Module, given: tuple[object, ...]) -> None:
        begun[0] = watch.count

    def after(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(module: nn.Module, given: tuple[object, ...], out: object) -> None:
            call = _ObservedCall(name, (begun[0], watch.count))
            if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(out, Tensor):
                call = _ObservedCall(name, call.counted_range, given[0], out, out._version, out.clone())
            calls.append(call)

        return hook

    handles = []
    for name in blocks:
        module = model.net.get_submodule(name)
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after(name))]
    try:
        with freeze(model.net) as net, torch.no_grad(), watch:
            net(x)
    finally:
        for handle in handles:
            handle.remove()
    return calls
