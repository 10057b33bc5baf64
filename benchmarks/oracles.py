"""Agreement with other people's code: method × network, largest difference (as a share of the maximum) and correlation.

    python benchmarks/oracles.py [trained]

trained: each network learns for 60 steps of 8 phantom films first, and explains two others. Else random weights with
batch-norm statistics drawn at random, two inputs of noise, two findings, side 96 (Inception 107).
Captum, pytorch-grad-cam and PAIR saliency are asked where they are installed; a peer's error is printed as it comes.
pytorch-grad-cam and PAIR scale their maps, so that only correlations compare. Where a peer hooks modules and the
network calls functions they must differ: the last column says which.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from captum.attr import (
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerConductance,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn

import sightline as sl
from sightline.methods import BatchContext
from sightline.methods.path_integrals import integrate_gradients
from sightline.methods.xrai import segment_image

TWO = ["Edema", "Pneumothorax"]
NETWORKS = {
    "DenseNet-121": ("densenet121?side=96", "features", "its last ReLU is a function"),
    "ResNet-18": ("timm:resnet18?side=96", "layer4", "ReLU modules used twice or behind a sum"),
    "Inception-v3": ("inception_v3?side=107", "Mixed_7c", "every ReLU is a function"),
    "ViT-tiny": ("timm:vit_tiny_patch16_224?side=96", "", ""),
}
XRV = "torchxrayvision"
NETWORKS["xrv DenseNet"] = (XRV, "features", "its last ReLU is a function")
Attribute = Callable[[int], Tensor]


def disturbed(net: nn.Module) -> None:
    """Statistics and weights that random initialization leaves at 0 and 1."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # or no signal reaches the end of an Inception
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            nn.init.uniform_(module.running_var, 0.7, 1.4)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.normal_(last.weight, 0, 0.1)


def films(model: sl.Model, first: int, count: int) -> tuple[Tensor, Tensor]:
    """Phantom films (N, C, side, side) and their labels (N, 2) of `TWO`."""
    some = sl.open_dataset(f"phantom:{count}?start={first}&size={model.side}").radiographs
    x = torch.stack([model.prepare(film.read())[0] for film in some])
    return x, torch.tensor([[film.labels[f] for f in TWO] for film in some])


def train(model: sl.Model, steps: int = 60) -> None:
    optimizer = torch.optim.AdamW(model.net.parameters(), 1e-3)
    x, labels = films(model, 1000, 8 * 30)
    model.net.train()
    for step in range(steps):
        rows = torch.arange(8) + 8 * (step % 30)
        loss = nn.functional.binary_cross_entropy_with_logits(model.net(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.net.eval()


def radiograph_model() -> sl.Model:
    """torchxrayvision's own class, logits as they come."""
    import torchxrayvision

    net = torchxrayvision.models.DenseNet(weights=None, num_classes=2, in_channels=1)
    return sl.wrap(net, TWO, side=96, channels=1)


def captums(net: nn.Module, layer: str, x: Tensor, black: Tensor) -> Iterator[tuple[str, Attribute]]:
    def leaf() -> Tensor:
        return x.clone().requires_grad_()

    yield "gradient", lambda t: Saliency(net).attribute(leaf(), target=t, abs=False).sum(1)
    yield "input-x-gradient", lambda t: InputXGradient(net).attribute(leaf(), target=t).sum(1)
    ig = IntegratedGradients(net)
    yield (
        "integrated-gradients?nodes=8",
        lambda t: ig.attribute(x, black, target=t, n_steps=8, method="gausslegendre").sum(1),
    )
    shape = (x.shape[1], 24, 24)
    yield (
        "occlusion?window=24&stride=24",
        lambda t: Occlusion(net).attribute(x, shape, strides=shape, baselines=black, target=t)[:, 0],
    )
    if layer:
        module = net.get_submodule(layer)
        yield "grad-cam", lambda t: LayerGradCam(net, module).attribute(x, target=t, relu_attributions=True)[:, 0]
        conductance = LayerConductance(net, module)
        yield (
            "layer-conductance?nodes=64",
            lambda t: conductance.attribute(x, black, target=t, n_steps=64, method="riemann_trapezoid").sum(1),
        )
        yield "guided-backprop", lambda t: GuidedBackprop(net).attribute(leaf(), target=t).sum(1)
        yield "deconvnet", lambda t: Deconvolution(net).attribute(leaf(), target=t).sum(1)
        yield "deeplift?check=false", lambda t: DeepLift(net).attribute(leaf(), black, target=t).sum(1)


def cams(net: nn.Module, layer: str, x: Tensor) -> Iterator[tuple[str, Attribute]]:
    """Maps of pytorch-grad-cam, at the module's output; ours are asked for there, too."""
    if find_spec("pytorch_grad_cam") is None or not layer:
        return
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    known = {
        "grad-cam": peer.GradCAM,
        "grad-cam++": peer.GradCAMPlusPlus,
        "hires-cam": peer.HiResCAM,
        "xgrad-cam": peer.XGradCAM,
        "layer-cam": peer.LayerCAM,
        "eigen-cam": peer.EigenCAM,
    }
    for name, kind in known.items():

        def attribute(t: int, kind: type = kind) -> Tensor:
            with kind(model=net, target_layers=[net.get_submodule(layer)]) as cam:
                return torch.from_numpy(cam(input_tensor=x, targets=[ClassifierOutputTarget(t)] * len(x)))

        yield f"{name}?layer={layer}", attribute


def pairs(model: sl.Model, x: Tensor, black: Tensor) -> Iterator[tuple[str, Attribute]]:
    """Maps of PAIR saliency, one image at a time."""
    if find_spec("saliency") is None:
        return
    import saliency.core as pair

    net = model.net

    def calls(t: int) -> Callable[..., dict[str, np.ndarray]]:
        def call(
            images: np.ndarray, call_model_args: object = None, expected_keys: object = None
        ) -> dict[str, np.ndarray]:
            leaf = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32)).requires_grad_()
            (slope,) = torch.autograd.grad(net(leaf)[:, t].sum(), leaf)
            return {"INPUT_OUTPUT_GRADIENTS": np.moveaxis(slope.numpy(), 1, -1)}

        return call

    def images() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(np.moveaxis(x.numpy(), 1, -1), np.moveaxis(black.numpy(), 1, -1), strict=True)

    def guided(t: int) -> Tensor:
        masks = [
            pair.GuidedIG().GetMask(i, calls(t), None, x_baseline=b, x_steps=20, fraction=0.25, max_dist=0.02).sum(-1)
            for i, b in images()
        ]
        return torch.from_numpy(np.stack(masks))

    def xrai(t: int) -> Tensor:
        return gathered(model, x, t)

    yield "guided-ig?nodes=20", guided
    yield "xrai?nodes=16", xrai


def gathered(model: sl.Model, x: Tensor, t: int) -> Tensor:
    """PAIR's gathering of our regions by our attributions: theirs are the maximum over channels, not the sum."""
    import saliency.core as pair

    options = pair.XRAIParameters()
    options.experimental_params["min_pixel_diff"] = 1
    with BatchContext(model, x) as context:
        low, high = (model.normalize(torch.full_like(x[:, 0], v)) for v in (0.0, 1.0))
        chosen = torch.tensor([t])
        base = (
            integrate_gradients(context, low, chosen, 16) + integrate_gradients(context, high, chosen, 16)
        ) / 2  # (N, 1, h, w)
    masks = []
    for image, attribution, gray in zip(x.numpy(), base[:, 0].numpy(), x.mean(1).numpy(), strict=True):
        shown = np.moveaxis(image, 0, -1)
        segments = list(segment_image(gray).reshape(-1, *gray.shape))
        weights = attribution[..., None].repeat(x.shape[1], -1)
        masks.append(
            pair.XRAI().GetMask(
                shown, None, None, base_attribution=weights, segments=segments, extra_parameters=options
            )
        )
    return torch.from_numpy(np.stack(masks))


def compared(model: sl.Model, x: Tensor, spec: str, attribute: Attribute, scaled: bool) -> str:
    ours = sl.saliency(model, x, None, [spec])[spec]
    try:
        theirs = torch.stack([attribute(t).detach().float() for t in range(len(TWO))], 1)
    except Exception as error:  # what a peer cannot do is part of the comparison
        return f"peer fails: {type(error).__name__}: {str(error).splitlines()[0][:70]}"
    if ours.shape != theirs.shape:
        size = (theirs.shape[3], theirs.shape[2])
        ours = torch.from_numpy(np.stack([[cv2.resize(m, size) for m in one] for one in ours.numpy()]))
    a, b = ours.flatten(2).double(), theirs.flatten(2).double()
    gap = float("nan") if scaled else float((a - b).abs().max() / b.abs().max())
    a, b = a - a.mean(2, keepdim=True), b - b.mean(2, keepdim=True)
    size = a.norm(dim=2) * b.norm(dim=2)
    likeness = ((a * b).sum(2) / size)[size > 0]
    far = "" if scaled else f"{gap:9.1e}"
    return f"{far:>9}   {float(likeness.min()) if len(likeness) else float('nan'):8.5f}"


def with_interpolation(quantile: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`numpy.quantile` as PAIR calls it; NumPy 2 has renamed the option."""
    return lambda a, q, interpolation="linear": quantile(a, q, method=interpolation)


def main() -> None:
    torch.manual_seed(0)
    np.quantile = with_interpolation(np.quantile)  # type: ignore[assignment]
    warnings.simplefilter("ignore")
    print(f"{'network':14}{'method':34}{'peer':18}{'max diff':>9}   {'least corr':>8}")
    for name, (spec, layer, why) in NETWORKS.items():
        if spec == XRV and find_spec("torchxrayvision") is None:
            continue
        model = radiograph_model() if spec == XRV else sl.open_model(spec, TWO)
        net = model.net.eval()
        if "trained" not in sys.argv:
            disturbed(net)
        model = sl.wrap(net, TWO, side=model.side, feature_module=model.feature_module, channels=model.channels)
        x = torch.randn((2, model.channels, model.side, model.side))
        if "trained" in sys.argv:
            train(model)
            x, _ = films(model, 0, 2)
        black = model.normalize(torch.zeros(1, model.side, model.side)).expand_as(x).contiguous()
        for peer, found, scaled in (
            ("Captum", captums(net, layer, x, black), False),
            ("pytorch-grad-cam", cams(net, layer, x), True),
            ("PAIR saliency", pairs(model, x, black), True),
        ):
            for method, attribute in found:
                hooked = method.split("?")[0] in ("guided-backprop", "deconvnet", "deeplift", "grad-cam")
                note = f"  ({why})" if peer == "Captum" and hooked and why else ""
                print(f"{name:14}{method:34}{peer:18}{compared(model, x, method, attribute, scaled)}{note}", flush=True)


if __name__ == "__main__":
    main()
