"""Absolute times on one accelerator, beside Captum on the same card: DenseNet-121, 320², 14 findings.

    python benchmarks/gpu.py [DEVICE]

Milliseconds per image of explaining all findings, best of three after a warm-up; Captum explains two findings and is
counted for all, in float32 as well: without TF32, which cuDNN would take by itself. A row in bfloat16 says how far its
maps agree with float32: a run takes it from 0.99 on. The last rows are whole: films per second of training, and of
`explain` with its decoding and storing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import Tensor

import sightline as sl
from sightline.findings import CHEXPERT_FINDINGS
from sightline.methods import BatchContext, run_method, target_indices
from sightline.methods.mixed_precision import min_correlation
from sightline.models import open_model
from sightline.models.precision import Precision
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

BATCH, SIDE, TIMED = 32, 320, 2
SPECS = (
    "grad-cam",
    "grad-cam++",
    "eigen-cam",
    "gradient",
    "smoothgrad?samples=4",
    "integrated-gradients?nodes=4",
    "deeplift?check=false",
    "occlusion?window=80&stride=80",
)


def timed(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the best of some runs, after one that warms up."""
    found = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def peers(net: torch.nn.Module, x: Tensor, black: Tensor) -> dict[str, Callable[[], object]]:
    cam, ig, hide, slope = LayerGradCam(net, net.features), IntegratedGradients(net), Occlusion(net), Saliency(net)
    each: dict[str, Callable[[int], Tensor]] = {
        "grad-cam": lambda t: cam.attribute(x, target=t),
        "gradient": lambda t: slope.attribute(x.clone().requires_grad_(), target=t, abs=False),
        "integrated-gradients?nodes=4": lambda t: ig.attribute(
            x, black, target=t, n_steps=4, internal_batch_size=2 * BATCH, method="gausslegendre"
        ),
        "occlusion?window=80&stride=80": lambda t: hide.attribute(
            x, (x.shape[1], 80, 80), strides=(x.shape[1], 80, 80), baselines=black, target=t
        ),
    }
    return {name: (lambda f=f: [f(t) for t in range(TIMED)]) for name, f in each.items()}


def main(device: str = "cuda") -> None:
    findings = CHEXPERT_FINDINGS[:14]
    model = open_model(f"densenet121?side={SIDE}", findings, seed=0)
    model.net.to(device).eval()
    x = torch.randn((BATCH, model.channels, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).to(device)
    black = model.normalize(torch.zeros((BATCH, SIDE, SIDE), device=device))
    targets = target_indices(model, None)
    card = torch.cuda.get_device_name()
    print(f"{card}, torch {torch.__version__}, batch {BATCH}; ms per image, {len(targets)} findings")

    def ours(spec: str, precision: str) -> Tensor:
        with BatchContext(model, x, precision=precision) as context:  # type: ignore[arg-type]
            return run_method(context, spec, targets)

    with torch.no_grad():
        forward = timed(lambda: model.net(x))
        torch.backends.cudnn.allow_tf32 = False
        exact = timed(lambda: model.net(x))
    print(f"forward {1e3 * exact / BATCH:.2f} (in TF32 {1e3 * forward / BATCH:.2f})")
    beside = peers(model.net, x, black)
    for spec in SPECS:
        exact = timed(partial(ours, spec, "float32"))
        told = f"{spec:34} {1e3 * exact / BATCH:8.2f}"
        try:
            fast = timed(partial(ours, spec, "bfloat16"))
            agree = min_correlation(ours(spec, "float32"), ours(spec, "bfloat16"))
            told += f"   bfloat16 {1e3 * fast / BATCH:8.2f} (agreement {agree:.3f})"
        except sl.SightlineError:
            told += "   bfloat16  refused                  "
        if spec in beside:
            other = timed(beside[spec], 1) * len(targets) / TIMED
            told += f"   Captum {1e3 * other / BATCH:9.2f}  {other / exact:6.1f} x"
        print(told, flush=True)
    print(f"largest memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    whole(device)


def whole(device: str) -> None:
    data = sl.open_dataset("phantom:256?size=320")
    with tempfile.TemporaryDirectory() as folder:
        for precision in get_args(Precision):
            blank = open_model("densenet121?side=320", data.findings, seed=0)
            blank.net.to(device)
            out = Path(folder) / precision
            start = time.perf_counter()
            recipe, films = TrainingConfig(epochs=1, precision=precision), Path(folder) / "films"
            fit(blank, data, out, recipe, cache=films, workers=16)
            first = time.perf_counter() - start
            start = time.perf_counter()
            fit(blank, data, out.with_suffix(".more"), replace(recipe, epochs=4), cache=films, workers=16)
            told = time.perf_counter() - start
            rate = 4 * len(data.radiographs) / told
            print(f"training in {precision}: first epoch {first:.1f} s with decoding, then {rate:.0f} films per second")
        start = time.perf_counter()
        sl.explain(data, blank, ["grad-cam", "grad-cam++", "gradient"], out=Path(folder) / "maps", batch_size=32)
        rate = len(data.radiographs) / (time.perf_counter() - start)
        print(f"explain, three methods x {len(data.findings)} findings: {rate:.1f} films per second")


if __name__ == "__main__":
    main(*sys.argv[1:])
