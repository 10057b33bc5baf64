"""Contrastive pre-training: does it wait for data, and what does the loss of a large batch hold?

`python pretraining.py`: the share of the time in which steps wait for augmented films, made while a step runs and made
when asked for; and the memory that the loss of many pairs takes, in blocks and at once (each in a process of its own).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

import sightline as sl
from sightline.models import open_model
from sightline.models.convirt import contrastive_loss
from sightline.runs.run import Run
from sightline.training import contrastive, loop, prefetch

FILMS = "phantom:160?start=400000&split=train&size=96"
PAIRS = (8192,)


def waiting() -> None:
    """Of one epoch on the same films, in the processor's own time: what a step waits for."""
    data = sl.open_dataset(FILMS)
    ahead = prefetch.prefetch_timed
    with tempfile.TemporaryDirectory() as folder:
        for name, depth in (("made while a step runs", prefetch.PREFETCH_DEPTH), ("made when asked for", 0)):
            loop.prefetch_timed = lambda items, make, wait, depth=depth: ahead(items, make, wait, depth)  # type: ignore[assignment]
            out = Path(folder) / str(depth)
            start = time.process_time()
            model = open_model("small?side=96", data.findings)
            recipe = replace(contrastive.CONTRASTIVE_CONFIG, epochs=3, batch_size=16)
            contrastive.pretrain(model, data, out, recipe, cache=Path(folder) / "images")
            wait = Run.open(out).info["data_wait"]
            print(
                f"{name}: steps wait {wait['share']:.1%} of {wait['seconds']:.1f} s; "
                f"{time.process_time() - start:.0f} CPU s in all"
            )


def held(pairs: int, block: int) -> None:
    """Print the peak memory, in MB, that one loss and its gradients add to this process."""
    v, u = (F.normalize(torch.randn(pairs, 128), dim=1).requires_grad_() for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    contrastive_loss(v, u, block_rows=block).backward()
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{taken / 1024:.0f} MB, {time.perf_counter() - start:.2f} s")


def main() -> None:
    waiting()
    for pairs in PAIRS:
        for block in (1024, pairs):
            told = subprocess.run(
                [sys.executable, __file__, str(pairs), str(block)], capture_output=True, check=True, text=True
            )
            print(f"{pairs} pairs, blocks of {block}: {told.stdout.strip()}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        held(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
