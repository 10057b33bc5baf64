"""Peak memory of methods beside one training step of the same batch, DenseNet-121 at 320², batch 8, 14 findings.

    python benchmarks/methods_memory.py [METHOD ...]

Every row is a process of its own; what torch and the network take before the work begins is taken off.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import torch
from torch.nn import functional as F

import sightline as sl
from sightline.findings import CHEXPERT_FINDINGS

BATCH, SIDE, ALLOWED = 8, 320, 1.3
METHODS = (
    "grad-cam",
    "ablation-cam",
    "gradient",
    "integrated-gradients?nodes=2",
    "integrated-gradients?nodes=6",
    "smoothgrad?samples=2",
    "deeplift?check=false",
    "lrp",
    "guided-backprop",
    "layer-conductance?nodes=2",
    "occlusion?window=160&stride=160",
    "xrai?nodes=2",
)


def peak() -> float:
    """Greatest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(name: str) -> None:
    torch.manual_seed(0)
    findings = CHEXPERT_FINDINGS[:2] if name.endswith("#2") else CHEXPERT_FINDINGS
    model = sl.open_model(f"densenet121?side={SIDE}", findings)
    x = torch.randn((BATCH, 3, SIDE, SIDE))
    before = peak()
    if name == "training step":
        model.net.train()
        F.binary_cross_entropy_with_logits(model.net(x), torch.ones(BATCH, len(findings))).backward()
    else:
        spec = name.removesuffix("#2")
        sl.saliency(model, x, None, [spec])
    print(f"{peak() - before:.0f}")


def measured(name: str) -> float:
    out = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True)
    return float(out.stdout)


def main(methods: tuple[str, ...]) -> None:
    step = measured("training step")
    print(f"DenseNet-121, {SIDE}², batch {BATCH}; peak beyond the start, MB; allowed {ALLOWED} × a training step")
    print(f"{'training step':36}{step:8.0f}")
    for name in methods:
        many, few = measured(name), measured(f"{name}#2")
        verdict = "" if many <= ALLOWED * step else "   MISSED"
        print(f"{name:36}{many:8.0f}{many / step:7.2f} ×   with 2 of 14 findings {few:.0f}{verdict}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        work(sys.argv[2])
    else:
        main(tuple(sys.argv[1:]) or METHODS)
