"""Laws that every method has to meet, as checks for its author: `sightline check-method my.py`."""

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
from sightline.models.torchvision_compat import define_missing_operators

FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")
SIDE = 24
_IDS = ("a", "b", "c")
_MEMORY_CALLS = 20
"""Number of calls over which the number of tensors may not grow."""


@dataclass(frozen=True, slots=True)
class LawResult:
    """Result of checking one law."""

    law: str
    """The law, in a sentence."""
    is_met: bool
    """True if it holds."""
    detail: str
    """How it is broken; '' if it holds."""


class ExampleConvNet(nn.Module):
    """A small network with batch norm, functional ReLUs in place, average pooling, one linear layer, maps and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.text_embeddings = nn.Parameter(torch.randn(len(FINDINGS), 2, 12))
        self.first, self.norm = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.second, self.out = nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, len(FINDINGS))

    def patch_embeddings(self, x: Tensor) -> Tensor:
        """Compute embeddings of patches.

        Parameters
        ----------
        x : Tensor, (N, 3, side, side)
            Images.

        Returns
        -------
        Tensor, (N, 12, h, w)
        """
        x = nn.functional.relu(self.norm(self.first(x)), inplace=True)
        return nn.functional.relu(self.second(nn.functional.max_pool2d(x, 2)), inplace=True)

    def maps(self, x: Tensor) -> Tensor:
        """Compute class activation maps.

        Parameters
        ----------
        x : Tensor, (N, 3, side, side)
            Images.

        Returns
        -------
        Tensor, (N, F, h, w)
        """
        return torch.einsum("nkhw,fk->nfhw", self.patch_embeddings(x), self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : Tensor, (N, 3, side, side)
            Images.

        Returns
        -------
        Tensor, (N, F)
        """
        logits: Tensor = self.out(nn.functional.adaptive_avg_pool2d(self.patch_embeddings(x), 1).flatten(1))
        return logits


def example_model(needs: str) -> Model:
    """Return a small network with random weights that a method can run on.

    Parameters
    ----------
    needs : str
        Needs of the method, as in `MethodInfo.needs`: 'attention' gives a vision transformer.

    Returns
    -------
    Model
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if needs != "attention":
            return wrap(ExampleConvNet(), FINDINGS, side=SIDE, mean=0.3, std=0.4)
        define_missing_operators()
        import timm

        net = timm.models.VisionTransformer(
            img_size=SIDE, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=len(FINDINGS)
        )
        net.head = nn.Linear(24, len(FINDINGS))  # timm initializes its own with zeros, whose maps are flat
        return wrap(net, FINDINGS, side=SIDE, mean=0.3, std=0.4, feature_module="blocks.1.norm1")


def _example_prior(ids: tuple[str, ...], findings: tuple[str, ...]) -> Tensor:
    ramp = torch.linspace(0, 1, 6)
    return torch.stack([ramp[:, None] * ramp.flip(0) + len(f) for f in findings])[None].expand(len(ids), -1, -1, -1)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A method on a network and a batch of three."""

    spec: str
    model: Model
    x: Tensor

    def maps(self, rows: tuple[int, ...] = (0, 1, 2), findings: list[str] | None = None) -> Tensor:
        ids, x = [_IDS[row] for row in rows], self.x[list(rows)]
        return saliency(self.model, x, findings, [self.spec], ids=ids, seed=5, prior=_example_prior)[self.spec]


def _check_contract(trial: _Trial) -> str:
    maps, info = trial.maps(), methods[trial.spec.partition("?")[0]].info
    if maps.requires_grad or not torch.isfinite(maps).all():
        return "maps must be finite and hold no graph"
    if not info.signed and float(maps.min()) < 0:
        return f"the method is registered as unsigned, but a map holds {float(maps.min()):g}"
    if info.class_agnostic and not bool((maps == maps[:, :1]).all()):
        return "the method is registered as class-agnostic, but the maps of findings differ"
    layer = trial.model.feature_layer
    sizes = {"input": (SIDE, SIDE), "features": layer.shape[1:] if layer else None}
    expected, size = sizes.get(info.resolution), tuple(maps.shape[2:])
    if expected is None or size == tuple(expected):
        return ""
    return f"the method is registered with resolution {info.resolution!r} {tuple(expected)}, but maps are {size}"


def _difference(a: Tensor, b: Tensor, label: str) -> str:
    scale = float(b.abs().max()) or 1.0
    gap = float((a - b).abs().max()) / scale
    return "" if gap <= 1e-5 else f"{label}: maps differ by {gap:.1e} of their maximum"


def _check_image_alone(trial: _Trial) -> str:
    whole = trial.maps()
    return next(filter(None, (_difference(trial.maps((i,))[0], whole[i], f"image {i} alone") for i in range(3))), "")


def _check_order(trial: _Trial) -> str:
    return _difference(trial.maps((2, 0, 1)), trial.maps()[[2, 0, 1]], "another order")


def _check_findings_together(trial: _Trial) -> str:
    whole = trial.maps()
    problems = (_difference(trial.maps(findings=[f])[:, 0], whole[:, i], f) for i, f in enumerate(FINDINGS))
    return next(filter(None, problems), "")


def _check_repeatable(trial: _Trial) -> str:
    first = trial.maps()
    torch.manual_seed(99)
    return "" if torch.equal(trial.maps(), first) else "two calls give different bits; key random numbers by (seed, id)"


def _check_model_restored(trial: _Trial) -> str:
    net = trial.model.net
    net.train()
    next(net.parameters()).requires_grad_(False)
    before = _model_state(net)
    trial.maps()
    return "" if _model_state(net) == before else "the network is not as it was: weights, flags or hooks changed"


def _model_state(net: nn.Module) -> list[object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    flags = [(p.requires_grad, p.grad is None) for p in net.parameters()]
    return [state_hash(net), flags, [(m.training, *(len(getattr(m, h)) for h in hooks)) for m in net.modules()]]


def _check_memory(trial: _Trial) -> str:
    def count_tensors() -> int:
        gc.collect()
        return sum(issubclass(type(o), Tensor) for o in gc.get_objects())

    trial.maps()
    before = count_tensors()
    for _ in range(_MEMORY_CALLS):
        trial.maps()
    growth = count_tensors() - before
    return "" if growth <= 0 else f"{growth} more tensors are alive after {_MEMORY_CALLS} calls"


LAWS: dict[str, Callable[[_Trial], str]] = {
    "maps are as the method is registered": _check_contract,
    "an image alone gets the map it gets among others": _check_image_alone,
    "the order of images does not matter": _check_order,
    "findings together equal findings alone": _check_findings_together,
    "the same call gives the same bits": _check_repeatable,
    "the model is left as it was": _check_model_restored,
    "memory does not grow from call to call": _check_memory,
}
"""Law -> check of a trial, which returns '' if the law holds, else how it is broken."""


def check_method(spec: str) -> Iterator[LawResult]:
    """Check every law on a small network with random weights.

    Parameters
    ----------
    spec : str
        The method: 'NAME' or 'NAME?option=value'. An unknown name is an `UnknownNameError`.

    Yields
    ------
    LawResult
    """
    needs = methods[spec.partition("?")[0]].info.needs
    for law, check in LAWS.items():
        x = torch.randn((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
        try:
            detail = check(_Trial(spec, example_model(needs), x))
        except SightlineError as error:
            detail = str(error)
        yield LawResult(law, not detail, detail)
