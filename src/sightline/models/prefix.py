"""What a network computes before its first changed block is the same again: kept once, and recalled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.models.cut import watched
from sightline.models.frozen import frozen
from sightline.models.wrap import Model


@dataclass(frozen=True, slots=True)
class Kept:
    """One call of a block."""

    given: Tensor
    output: Tensor
    first: int
    """When it was called, among all calls of blocks."""
    overwritten: bool
    """Whether a later call wrote into the output, which must then be handed out as a copy."""


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
        begins = min(touched, default=0)
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

    Kept are blocks that are called once, with one tensor, and return one; none that holds a module whose path is
    `needed` (it would not be called), and nothing of a network that pools within blocks: its cut is found by counting.
    """
    found = _recorded(model, x, [name for name in blocks if not any(path.startswith(f"{name}.") for path in needed)])
    with frozen(model.net) as net:
        whole = watched(net, x)
        with found.recalled(net, list(found.firsts)[-1:]):
            same = watched(net, x) == whole
    return found if same else Prefix({}, found.firsts)


def _recorded(model: Model, x: Tensor, blocks: Sequence[str]) -> Prefix:
    calls: list[tuple[str, Tensor | None, Tensor | None, int, Tensor | None]] = []

    def note(name: str) -> object:
        def hook(_: nn.Module, given: tuple[object, ...], out: object) -> None:
            plain = len(given) == 1 and isinstance(given[0], Tensor) and isinstance(out, Tensor)
            if plain and isinstance(out, Tensor) and isinstance(given[0], Tensor):
                calls.append((name, given[0], out, out._version, out.clone()))
            else:
                calls.append((name, None, None, 0, None))

        return model.net.get_submodule(name).register_forward_hook(hook)

    handles = [note(name) for name in blocks]
    try:
        with frozen(model.net) as net, torch.no_grad():
            net(x)
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    names = [name for name, *_ in calls]
    kept = {}
    for at, (name, given, out, version, copy) in enumerate(calls):
        if given is None or out is None or copy is None or names.count(name) > 1:
            continue
        overwritten = out._version != version
        kept[name] = Kept(given, copy if overwritten else out, at, overwritten)
    return Prefix(kept, {name: names.index(name) for name in names})
