"""What the element costs on DenseNet-121 at 320², beside a plain forward and post-hoc maps of 14 findings.

    python benchmarks/selfexplain.py [REPEATS] [DEVICE]

The networks share the weights of the backbone. Everything runs on the same images (two, on an accelerator 32) and
threads, one after the other in every repeat, so that a busy machine slows all alike; ratios are taken within a repeat,
and their median is shown with the middle half. An element of some thousandths is less than the clock of a whole forward
can show. So what a forward spends outside of the body, which all share, is also timed by itself: before its first layer
and behind its last.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sightline.findings import CHEXPERT_FINDINGS
from sightline.methods import saliency
from sightline.models import Model, open_model

SIDE, TARGET = 320, 1.03
KINDS = ("kind=gate", "kind=gate&maps_per=image", "kind=lse", "kind=pcam")
POSTHOC = ("grad-cam", "gradient", "guided-backprop", "integrated-gradients?nodes=10", "smoothgrad-squared?samples=25")
ONE = ("Cardiomegaly",)
"""The finding that methods of input gradients explain: fourteen cost as many backwards."""


def forward(model: Model, x: Tensor) -> None:
    with torch.inference_mode():
        model.net(x)


def clock(x: Tensor) -> float:
    """Seconds, once all that was asked of an image's device is done."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


def outside(model: Model, x: Tensor) -> float:
    """Seconds of a forward that are not the body's."""
    body = next(module for name, module in model.net.named_modules() if name.split(".")[-1] == "features")
    at: list[float] = []

    def stamp(*_: object) -> None:
        at.append(clock(x))

    handles = [body.register_forward_pre_hook(stamp), body.register_forward_hook(stamp)]
    start = clock(x)
    forward(model, x)
    end = clock(x)
    for handle in handles:
        handle.remove()
    return (at[0] - start) + (end - at[1])


def shown(model: Model, x: Tensor) -> None:
    """Logits and the element's maps of all findings."""
    saliency(model, x, None, ["intrinsic"])


def seconds(work: Callable[[Model, Tensor], object], model: Model, x: Tensor) -> float:
    start = clock(x)
    work(model, x)
    return clock(x) - start


def main(repeats: int, device: str = "cpu") -> None:
    torch.backends.cudnn.allow_tf32 = False  # maps are computed in float32; a forward beside them is, too
    plain = open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS)
    plain.net.to(device).eval()
    batch = 2 if device == "cpu" else 32
    x = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    work: dict[str, tuple[Model, Callable[[Model, Tensor], object]]] = {"plain forward": (plain, forward)}
    for kind in KINDS:
        element = open_model(f"selfexplaining:densenet121?{kind}&side={SIDE}", CHEXPERT_FINDINGS)
        element.net.net.load_state_dict(plain.net.state_dict())  # type: ignore[operator, union-attr]
        element.net.to(device).eval()
        extra = sum(p.numel() for p in element.net.parameters()) - sum(p.numel() for p in plain.net.parameters())
        work[f"forward, {kind} (+{extra:,} weights)"] = (element, forward)
        work[f"logits and own maps, {kind}"] = (element, shown)
    work["Grad-CAM, 14 findings"] = (plain, lambda m, x: saliency(m, x, None, ["grad-cam"]))
    for method in POSTHOC[1:]:
        work[f"{method}, 1 finding"] = (plain, lambda m, x, k=method: saliency(m, x, ONE, [k]))  # type: ignore[misc]
    took: dict[str, list[float]] = {name: [] for name in work}
    beside: dict[str, list[float]] = {name: [] for name, (_, do) in work.items() if do is forward}
    for repeat in range(repeats + 1):
        for name, (model, do) in work.items():
            if repeat > 2 and "finding" in name and "Grad" not in name:
                continue  # far from the target, and slow
            spent = seconds(do, model, x)
            if repeat:
                took[name].append(spent)
                if name in beside:
                    beside[name].extend(outside(model, x) for _ in range(3))
    base = took["plain forward"]
    for name, times in took.items():
        ratios = sorted(t / b for t, b in zip(times, base, strict=False))
        half = f"{ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}"
        per_image = 1000 * statistics.median(times) / batch
        print(f"{name:52s} {per_image:9.1f} ms an image, {statistics.median(ratios):8.3f} forwards ({half})")
    own = statistics.median(beside.pop("plain forward"))
    whole = statistics.median(base)
    print(f"outside of the body, plain: {1000 * own / batch:.2f} ms an image")
    for name, times in beside.items():
        more = statistics.median(times) - own
        print(f"{name:52s} {1000 * more / batch:+9.2f} ms an image, {1 + more / whole:8.4f} forwards, target {TARGET}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 9, *given[1:])
