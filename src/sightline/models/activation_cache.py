"""What a network computes before its first changed block is the same again: kept once, and recalled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sightline.models.feature_layer import stand_in_for, watching
from sightline.models.frozen import frozen
from sightline.models.model import Model


@dataclass(frozen=True, slots=True)
class Kept:
    """One call of a block."""

    given: Tensor
    output: Tensor
    first: int
    """When it was called, among all calls of blocks."""
    overwritten: bool
    """Whether a later call wrote into the output, which must then be handed out as a copy."""
    watched: int
    """Calls inside by whose number cuts are found (`sightline.models.feature_layer`)."""


class Recall(nn.Module):
    """Stands in for a block: its known output for the known input, the block itself for anything else.

    So a method that masks the input, or differentiates by it, gets what it would have got.
    """

    def __init__(self, block: nn.Module, kept: Kept) -> None:
        super().__init__()
        self.block, self._kept = block, kept

    def forward(self, x: Tensor) -> Tensor:
        kept = self._kept
        if x.requires_grad or not (x is kept.given or torch.equal(x, kept.given)):
            out: Tensor = self.block(x)
            return out
        stand_in_for(kept.watched)
        return kept.output.clone() if kept.overwritten else kept.output


@dataclass(frozen=True, slots=True)
class Prefix:
    """Outputs of the blocks of a network for one batch, by the path of the block."""

    kept: dict[str, Kept]
    firsts: dict[str, int]
    """When each block was called first, also of blocks that are not kept."""

    @contextmanager
    def recalled(self, net: nn.Module, changed: Collection[str]) -> Iterator[None]:
        """Within, the blocks of `net` that end before any with a `changed` layer begins answer from memory."""
        touched = [at for name, at in self.firsts.items() if any(f"{path}.".startswith(f"{name}.") for path in changed)]
        begins = 0 if "" in changed else min(touched, default=0)  # weights of the network itself serve anywhere
        blocks = {name: net.get_submodule(name) for name, kept in self.kept.items() if kept.first < begins}
        try:
            for name, block in blocks.items():
                net.set_submodule(name, Recall(block, self.kept[name]))
            yield
        finally:
            for name, block in blocks.items():
                net.set_submodule(name, block)


def recorded(model: Model, x: Tensor, blocks: Sequence[str], needed: Collection[str] = ()) -> Prefix:
    """Run the network once on x (N, C, side, side) and keep what its blocks give.

    Kept are blocks that are called once, with one tensor, and return one; none that holds the cut of the model, or a
    module whose path is `needed`: it would not be called.
    """
    inside = [*needed, model.cut.where if model.cut else ""]
    outer = [name for name in blocks if name and not any(path.startswith(f"{name}.") for path in inside)]
    calls = _calls(model, x, outer)
    names = [call.name for call in calls]
    cuts = set(model.cut.calls if model.cut else ())
    kept = {}
    for at, call in enumerate(calls):
        if call.given is None or names.count(call.name) > 1 or cuts & set(range(*call.watched)):
            continue
        overwritten = call.output._version != call.version
        output = call.copy if overwritten else call.output
        kept[call.name] = Kept(call.given, output, at, overwritten, call.watched[1] - call.watched[0])
    return Prefix(kept, {name: names.index(name) for name in names})


@dataclass(slots=True)
class _Call:
    """A call of a block as it was seen."""

    name: str
    watched: tuple[int, int]
    """Numbers of the watched calls inside: first, and one past the last."""
    given: Tensor | None = None
    """None where the block did not take and give one tensor."""
    output: Tensor = field(default_factory=Tensor)
    version: int = 0
    copy: Tensor = field(default_factory=Tensor)


def _calls(model: Model, x: Tensor, blocks: Sequence[str]) -> list[_Call]:
    calls: list[_Call] = []
    watch, begun = watching(), [0]

    def before(module: nn.Module, given: tuple[object, ...]) -> None:
        begun[0] = watch.count

    def after(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(module: nn.Module, given: tuple[object, ...], out: object) -> None:
            call = _Call(name, (begun[0], watch.count))
            if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(out, Tensor):
                call = _Call(name, call.watched, given[0], out, out._version, out.clone())
            calls.append(call)

        return hook

    handles = []
    for name in blocks:
        module = model.net.get_submodule(name)
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after(name))]
    try:
        with frozen(model.net) as net, torch.no_grad(), watch:
            net(x)
    finally:
        for handle in handles:
            handle.remove()
    return calls
