"""What every registered method must hold to beside the laws of `sightline.methods.method_checks`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from networks import FAST, FINDINGS, SIDE, Flattened, batch, last_bias, model, model_for
from torch import Tensor, nn

from sightline.errors import SightlineError, UnknownNameError
from sightline.methods import BatchContext, run_method, saliency, target_indices
from sightline.methods.registry import methods
from sightline.models import Model, state_hash, wrap

IDS = ["a", "b", "c"]
ALL = sorted(methods)
CONVOLUTIONAL = [n for n in ALL if methods[n].info.needs != "attention"]


def prior(ids: tuple[str, ...], findings: tuple[str, ...]) -> Tensor:
    """Depends on the finding, not on the image."""
    ramp = torch.linspace(0, 1, 6)
    return torch.stack([(ramp[:, None] * ramp.flip(0) + len(f)) for f in findings])[None].expand(len(ids), -1, -1, -1)


def maps_of(
    name: str, m: Model, x: Tensor, targets: list[str] | None = None, ids: list[str] | None = None, of: str = "logit"
) -> Tensor:
    spec = FAST.get(name, name)
    return saliency(m, x, targets, [spec], ids=ids or IDS[: len(x)], seed=5, prior=prior, target_output=of)[spec]  # type: ignore[arg-type]


DRAWN = ("noise", "smoothgrad", "smoothgrad-squared", "vargrad", "smooth-ig", "gradient-shap", "deepshap", "rise")
"""Methods whose random numbers know places: they are not mirrored with the image."""
TIED = ("deconvnet", "deeplift", "guided-ig")
"""Methods that tell equal maxima apart (behind a ReLU, in a constant baseline): maximum pooling takes the first."""


@pytest.mark.parametrize(
    "name",
    [n for n in ALL if n not in (*DRAWN, *TIED, "average-mask", "xrai") and methods[n].info.needs != "attention"],
)
def test_a_mirrored_image_gets_a_mirrored_map_from_a_mirrored_network(name: str) -> None:
    m, x = model_for(methods[name].info.needs, mirrored=True), batch(2)
    maps = maps_of(name, m, x)
    assert torch.allclose(maps_of(name, m, x.flip(-1)), maps.flip(-1), atol=1e-4 * float(maps.abs().max()))


@pytest.mark.parametrize("name", [n for n in ALL if methods[n].info.needs not in ("nothing", "prior") and n != "lrp"])
def test_a_lower_logit_changes_no_map(name: str) -> None:
    """Most findings of most radiographs have negative logits; a bias says nothing about places.

    Relevance of lrp is shares of the logit itself, so that there it does.
    """
    m, x = model_for(methods[name].info.needs), batch(2)
    before = maps_of(name, m, x)
    with torch.no_grad():
        last_bias(m.net).sub_(40)
    assert torch.allclose(maps_of(name, m, x), before, atol=1e-5 * float(before.abs().max()))


def snapshot(net: nn.Module) -> list[object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        state_hash(net),
        [(p.requires_grad, p._version, None if p.grad is None else p.grad.tolist()) for p in net.parameters()],
        [(type(m), m.training, [list(getattr(m, h).values()) for h in hooks], set(vars(m))) for m in net.modules()],
    ]


@pytest.fixture
def used_model() -> Iterator[Model]:
    """A model its owner works with: partly frozen, in training mode, with gradients and a hook of her own."""
    m = model()
    m.net.train()
    m.net.norm.eval()
    m.net.first.weight.requires_grad_(False)
    m.net.out.bias.grad = torch.ones(3)
    m.net.second.register_forward_hook(lambda module, args, output: None)
    yield m


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_model_is_left_as_it_was(name: str, used_model: Model) -> None:
    before = snapshot(used_model.net)
    x = batch(2).requires_grad_()
    maps_of(name, used_model, x)
    assert snapshot(used_model.net) == before
    assert x.grad is None


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_model_is_left_as_it_was_after_an_exception(name: str, used_model: Model) -> None:
    before = snapshot(used_model.net)
    with pytest.raises(KeyError), BatchContext(used_model, batch(2), prior=prior) as context:
        run_method(context, FAST.get(name, name), target_indices(used_model, None))
        raise KeyError
    assert snapshot(used_model.net) == before


def test_the_model_is_left_as_it_was_after_an_exception_inside_its_forward(used_model: Model) -> None:
    class BoomError(RuntimeError):
        pass

    def boom(module: nn.Module, args: object) -> None:
        raise BoomError

    handle = used_model.net.out.register_forward_pre_hook(boom)
    before = snapshot(used_model.net)
    for name in ("grad-cam", "integrated-gradients"):
        with pytest.raises(SightlineError, match=f"{name} raised BoomError"):
            saliency(used_model, batch(2), None, [name])
        assert snapshot(used_model.net) == before
    handle.remove()


@pytest.mark.parametrize("guard", ["inference_mode", "no_grad", "autocast"])
def test_the_callers_gradient_mode_does_not_matter(guard: str) -> None:
    m, x = model(), batch(2)
    wanted = saliency(m, x, None, ["grad-cam", "grad-cam++", "integrated-gradients?nodes=4"])
    context = torch.autocast("cpu", torch.bfloat16) if guard == "autocast" else getattr(torch, guard)()
    with context:
        got = saliency(m, x.clone(), None, list(wanted))
    for name, maps in wanted.items():
        assert torch.equal(got[name], maps), name


def test_several_methods_share_one_forward() -> None:
    m = model()
    assert m.supports_fast_gradients  # found once, on noise
    calls: list[int] = []
    handle = m.net.first.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    saliency(m, batch(2), None, ["grad-cam", "grad-cam++", "center", "edges", "noise"])
    handle.remove()
    assert calls == [2]


def test_strict_arguments() -> None:
    m, x = model(), batch(2)
    with pytest.raises(UnknownNameError, match="no finding 'Nodule'"):
        saliency(m, x, ["Nodule"], ["grad-cam"])
    with pytest.raises(SightlineError, match="distinct"):
        saliency(m, x, ["Edema", 1], ["grad-cam"])
    with pytest.raises(SightlineError, match="distinct"):
        saliency(m, x, [], ["grad-cam"])
    with pytest.raises(SightlineError, match=r"write \['Edema'\]"):
        saliency(m, x, "Edema", ["grad-cam"])
    with pytest.raises(SightlineError, match=r"write \['grad-cam'\]"):
        saliency(m, x, None, "grad-cam")
    with pytest.raises(UnknownNameError, match="did you mean 'grad-cam"):
        saliency(m, x, None, ["gradcam"])
    with pytest.raises(SightlineError, match="has no option 'node'; allowed: baseline, nodes"):
        saliency(m, x, None, ["integrated-gradients?node=3"])
    with pytest.raises(SightlineError, match="option nodes takes int, not 'many'"):
        saliency(m, x, None, ["integrated-gradients?nodes=many"])
    with pytest.raises(SightlineError, match="a method takes options only"):
        saliency(m, x, None, ["grad-cam:layer4"])
    with pytest.raises(SightlineError, match="average-mask needs maps known beforehand"):
        saliency(m, x, None, ["average-mask"])
    with pytest.raises(SightlineError, match="1 ids for 2 images"):
        saliency(m, x, None, ["grad-cam"], ids=["a"])


def test_a_model_without_features_says_how_to_name_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, SIDE), nn.Flatten(), nn.Linear(4, 3))
    m = wrap(net, FINDINGS, side=SIDE)
    with pytest.raises(SightlineError, match=r"has no features: .*feature_module='path\.of\.module'"):
        saliency(m, batch(1), None, ["grad-cam"])
    assert saliency(m, batch(1), None, ["integrated-gradients"])["integrated-gradients"].shape == (1, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda context, t: torch.zeros(1, 1, 4, 4), "returned"),
        (lambda context, t: torch.zeros(2, 3, 0, 4), "returned"),
        (lambda context, t: torch.zeros(2, 3, 4, 4).double(), "returned torch.float64"),
        (lambda context, t: None, "returned NoneType"),
    ],
)
def test_a_method_that_breaks_its_contract_is_named(result: object, message: str) -> None:
    facts = {"needs": "nothing", "signed": False, "class_agnostic": False, "resolution": "intrinsic", "source": "here"}
    methods("broken", **facts)(result)  # type: ignore[type-var]
    try:
        with pytest.raises(SightlineError, match=f"method broken {message}"):
            saliency(model(), batch(2), None, ["broken"])
    finally:
        del methods._entries["broken"]


def test_flattening_heads_hold_the_laws_too() -> None:
    torch.manual_seed(0)
    m, x = model(Flattened()), batch(3)
    for name in ("grad-cam", "grad-cam++"):
        together = maps_of(name, m, x)
        assert torch.allclose(maps_of(name, m, x[1:2])[0], together[1], atol=1e-6)
