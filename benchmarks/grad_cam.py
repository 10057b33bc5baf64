"""Grad-CAM and Grad-CAM++ of 14 findings on DenseNet-121 at 320², against one plain forward and against peers.

    python benchmarks/grad_cam.py [REPEATS]

Everything runs in this process on the same batch of 4 and the same threads, interleaved, so that a busy machine slows
all alike; figures are medians, and ratios are taken within a repeat. Peers are measured where they are installed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sightline.findings import CHEXPERT_FINDINGS
from sightline.methods import saliency
from sightline.models import Model, open_model

BATCH, SIDE, TARGET = 4, 320, 1.3


def captum_loop(model: Model, x: Tensor) -> None:
    """Grad-CAM by captum, one finding after the other, as its interface asks."""
    from captum.attr import LayerGradCam

    cam = LayerGradCam(model.net, model.net.features)
    for target in range(len(model.findings)):
        cam.attribute(x, target=target, relu_attributions=True)


def peer_loop(model: Model, x: Tensor) -> None:
    """Grad-CAM by pytorch-grad-cam, one finding after the other."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=model.net, target_layers=[model.net.features[-1]]) as cam:
        for target in range(len(model.findings)):
            cam(input_tensor=x, targets=[ClassifierOutputTarget(target)] * len(x))


def forward(model: Model, x: Tensor) -> None:
    with torch.inference_mode():
        model.net(x)


def ours(*names: str) -> Callable[[Model, Tensor], object]:
    return lambda model, x: saliency(model, x, None, names)


def seconds(work: Callable[[Model, Tensor], object], model: Model, x: Tensor) -> float:
    start = time.perf_counter()
    work(model, x)
    return time.perf_counter() - start


def main(repeats: int) -> None:
    torch.manual_seed(0)
    model = open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS)
    model.net.eval()
    x = torch.randn(BATCH, 3, SIDE, SIDE)
    rows: dict[str, Callable[[Model, Tensor], Any]] = {
        "one forward, inference mode": forward,
        "grad-cam": ours("grad-cam"),
        "grad-cam and grad-cam++": ours("grad-cam", "grad-cam++"),
    }
    slow = {"captum LayerGradCam, 14 calls": captum_loop} if find_spec("captum") else {}
    if find_spec("pytorch_grad_cam"):
        slow["pytorch-grad-cam GradCAM, 14 calls"] = peer_loop
    for work in rows.values():
        work(model, x)  # the first call pays for memory and threads
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repeats):
        for name, work in rows.items():
            times[name].append(seconds(work, model, x))
    base = times["one forward, inference mode"]
    print(f"DenseNet-121, {SIDE}², batch {BATCH}, 14 findings, {torch.get_num_threads()} threads, {repeats} repeats")
    for name, measured in times.items():
        ratio = statistics.median(t / b for t, b in zip(measured, base, strict=True))
        print(f"{name:36s} {statistics.median(measured):7.2f} s  {ratio:6.2f} × forward")
    for name, work in slow.items():
        took = min(seconds(work, model, x) for _ in range(2))
        print(f"{name:36s} {took:7.2f} s  {took / statistics.median(base):6.2f} × forward")
    ratio = statistics.median(t / b for t, b in zip(times["grad-cam and grad-cam++"], base, strict=True))
    print(f"target at most {TARGET} × forward: {'met' if ratio <= TARGET else 'MISSED'} ({ratio:.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
