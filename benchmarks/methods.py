"""Gradient, perturbation and backpropagation methods beside Captum's, on DenseNet-121 at 320².

    python benchmarks/methods.py

All findings of a batch at once here, a loop over findings there. CPU seconds on one thread, interleaved, best of two;
maps are compared, too, wherever both compute the same thing.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from captum.attr import DeepLift, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from torch import Tensor

import sightline as sl

FINDINGS = ["Cardiomegaly", "Edema", "Pleural Effusion", "Pneumothorax"]
BATCH, SIDE = 2, 320


def clock(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    maps = work()
    return time.process_time() - start, maps


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model = sl.open_model(f"densenet121?side={SIDE}", FINDINGS)
    net, x = model.net.eval(), torch.randn((BATCH, 3, SIDE, SIDE))
    black = model.normalize(torch.zeros(1, SIDE, SIDE)).expand_as(x).contiguous()

    def ours(spec: str) -> Callable[[], Tensor]:
        return lambda: sl.saliency(model, x, None, [spec])[spec]

    def theirs(attribute: Callable[[int], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.stack([attribute(t).detach().sum(1) for t in range(len(FINDINGS))], 1)

    def leaf() -> Tensor:
        return x.clone().requires_grad_()

    tunnel, ig, hide = NoiseTunnel(Saliency(net)), IntegratedGradients(net), Occlusion(net)
    window = (3, 80, 80)
    pairs = {
        "gradient": (ours("gradient"), theirs(lambda t: Saliency(net).attribute(leaf(), target=t, abs=False))),
        "smoothgrad, 4 samples": (
            ours("smoothgrad?samples=4"),
            theirs(lambda t: tunnel.attribute(leaf(), nt_samples=4, nt_samples_batch_size=1, target=t, abs=False)),
        ),
        "integrated-gradients, 6 nodes": (
            ours("integrated-gradients?nodes=6"),
            theirs(lambda t: ig.attribute(x, black, target=t, n_steps=6, internal_batch_size=BATCH)),
        ),
        "occlusion, 80/80": (
            ours("occlusion?window=80&stride=80"),
            theirs(lambda t: hide.attribute(x, window, strides=window, baselines=black, target=t)[:, :1]),
        ),
        "deeplift": (ours("deeplift?check=false"), theirs(lambda t: DeepLift(net).attribute(leaf(), black, target=t))),
    }
    with torch.inference_mode():
        forward = min(clock(lambda: net(x))[0] for _ in range(3))
    print(f"DenseNet-121, {SIDE}², batch {BATCH}, {len(FINDINGS)} findings, 1 thread; one forward {forward:.2f} s")
    print(f"{'':32}{'ours':>8}{'Captum':>9}{'ratio':>8}   largest difference")
    for name, (mine, peer) in pairs.items():
        a, b = (min((clock(work) for _ in range(2)), key=lambda one: one[0]) for work in (mine, peer))
        gap = float((a[1] - b[1]).abs().max() / b[1].abs().max())
        print(f"{name:32}{a[0]:7.1f}s{b[0]:8.1f}s{b[0] / a[0]:7.1f}×   {gap:.1e}", flush=True)


if __name__ == "__main__":
    main()
