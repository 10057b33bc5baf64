"""What every method must hold to, as checks that its author can run: `sightline check-method my.py`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.methods import saliency
from sightline.methods.registry import methods
from sightline.models import Model, state_hash, wrap

FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")
SIDE = 24
_IDS = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One law and whether a method holds to it."""

    law: str
    holds: bool
    detail: str


class Convolutional(nn.Module):
    """Batch norm, a functional ReLU in place, average pooling and one linear layer; with maps and texts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = nn.Parameter(torch.randn(len(FINDINGS), 2, 12))
        self.first, self.norm = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.second, self.out = nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, len(FINDINGS))

    def patches(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.norm(self.first(x)), inplace=True)
        return nn.functional.relu(self.second(nn.functional.max_pool2d(x, 2)), inplace=True)

    def maps(self, x: Tensor) -> Tensor:
        return torch.einsum("nkhw,fk->nfhw", self.patches(x), self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(nn.functional.adaptive_avg_pool2d(self.patches(x), 1).flatten(1))
        return logits


def example(needs: str) -> Model:
    """A small network that can serve a method: a vision transformer where it needs attention."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if needs != "attention":
            return wrap(Convolutional(), FINDINGS, size=SIDE, mean=0.3, std=0.4)
        import timm

        net = timm.models.VisionTransformer(
            img_size=SIDE, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=len(FINDINGS)
        )
        net.head = nn.Linear(24, len(FINDINGS))  # timm's own begins with zeros, whose maps are flat
        return wrap(net, FINDINGS, size=SIDE, mean=0.3, std=0.4, features="blocks.1.norm1")


def _prior(ids: tuple[str, ...], findings: tuple[str, ...]) -> Tensor:
    ramp = torch.linspace(0, 1, 6)
    return torch.stack([ramp[:, None] * ramp.flip(0) + len(f) for f in findings])[None].expand(len(ids), -1, -1, -1)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A method on a network and a batch of three."""

    spec: str
    model: Model
    x: Tensor

    def maps(self, rows: tuple[int, ...] = (0, 1, 2), findings: list[str] | None = None) -> Tensor:
        ids = [_IDS[row] for row in rows]
        return saliency(self.model, self.x[list(rows)], findings, [self.spec], ids=ids, seed=5, prior=_prior)[self.spec]


def _contract(t: _Trial) -> str:
    maps, facts = t.maps(), methods[t.spec.partition("?")[0]].facts
    if maps.requires_grad or not torch.isfinite(maps).all():
        return "maps must be finite and hold no graph"
    if not facts.signed and float(maps.min()) < 0:
        return f"facts say unsigned, a map holds {float(maps.min()):g}"
    if facts.class_agnostic and not bool((maps == maps[:, :1]).all()):
        return "facts say class-agnostic, findings differ"
    cut = t.model.cut
    sizes = {"input": (SIDE, SIDE), "features": cut.shape[1:] if cut else None}
    wanted = sizes.get(facts.resolution)
    return "" if wanted is None or tuple(maps.shape[2:]) == tuple(wanted) else (
        f"facts say resolution {facts.resolution!r} {tuple(wanted)}, maps are {tuple(maps.shape[2:])}"
    )  # fmt: skip


def _same(a: Tensor, b: Tensor, what: str) -> str:
    scale = float(b.abs().max()) or 1.0
    gap = float((a - b).abs().max()) / scale
    return "" if gap <= 1e-5 else f"{what}: maps differ by {gap:.1e} of their maximum"


def _alone(t: _Trial) -> str:
    whole = t.maps()
    return next(filter(None, (_same(t.maps((i,))[0], whole[i], f"image {i} alone") for i in range(3))), "")


def _order(t: _Trial) -> str:
    return _same(t.maps((2, 0, 1)), t.maps()[[2, 0, 1]], "another order")


def _together(t: _Trial) -> str:
    whole = t.maps()
    each = (_same(t.maps(findings=[f])[:, 0], whole[:, i], f) for i, f in enumerate(FINDINGS))
    return next(filter(None, each), "")


def _repeatable(t: _Trial) -> str:
    first = t.maps()
    torch.manual_seed(99)
    return "" if torch.equal(t.maps(), first) else "two calls give different bits; key random numbers by (seed, id)"


def _restores(t: _Trial) -> str:
    net = t.model.net
    net.train()
    next(net.parameters()).requires_grad_(False)
    before = _state(net)
    t.maps()
    return "" if _state(net) == before else "the network is not as it was: weights, flags or hooks changed"


def _state(net: nn.Module) -> list[object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    flags = [(p.requires_grad, p.grad is None) for p in net.parameters()]
    return [state_hash(net), flags, [(m.training, *(len(getattr(m, h)) for h in hooks)) for m in net.modules()]]


def _frugal(t: _Trial) -> str:
    def living() -> int:
        gc.collect()
        return sum(issubclass(type(o), Tensor) for o in gc.get_objects())

    t.maps()
    before = living()
    for _ in range(20):
        t.maps()
    more = living() - before
    return "" if more <= 0 else f"{more} tensors more are alive after twenty calls"


LAWS: dict[str, Callable[[_Trial], str]] = {
    "maps are what the facts say": _contract,
    "an image alone gets the map it gets among others": _alone,
    "the order of images does not matter": _order,
    "findings together equal findings alone": _together,
    "the same call gives the same bits": _repeatable,
    "the model is left as it was": _restores,
    "memory does not grow from call to call": _frugal,
}
"""Law -> check of a trial: '' if it holds, else what was seen."""


def check_method(spec: str) -> Iterator[Verdict]:
    """Every law on a small network with random weights. spec: 'NAME' or 'NAME?option=value'.

    Errors: `UnknownNameError` for a method that is not registered.
    """
    needs = methods[spec.partition("?")[0]].facts.needs
    for law, check in LAWS.items():
        x = torch.randn((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
        try:
            detail = check(_Trial(spec, example(needs), x))
        except SightlineError as error:
            detail = str(error)
        yield Verdict(law, not detail, detail)
