"""What maps cost: time of a forward, of the element in it, and of every post-hoc method, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sightline.methods import BatchContext, run_method, target_indices
from sightline.models import Model
from sightline.models.model import probe_images
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run

ROUNDS = 5
"""Of everything in turn, so that a busy moment falls on all; the first warms up and does not count."""
FORWARD = "forward"


class Timing(NamedTuple):
    """Time of one thing, milliseconds an image, over rounds."""

    model: str
    operation: str
    """'forward', or a method: its maps of all findings, forward included."""
    n_parameters: int
    median: float
    minimum: float
    maximum: float
    cpu_median: float
    """Median of the processor's time, of all its cores."""
    rounds: int


def write_timings(
    run: Run,
    explained_models: Sequence[Model],
    other_models: Sequence[Model],
    methods: Sequence[str],
    findings: Sequence[str],
) -> None:
    """Write the table timings: every model's forward and own maps, and each method on the explained models."""

    def rows_of(models: Sequence[Sequence[Model]]) -> dict[str, list[Timing]]:
        return {
            "timings": [cost for group in models for cost in measure_timings(group, other_models, methods, findings)]
        }

    task = ChunkedTask("measuring time", [explained_models], rows_of)
    write_chunks(run, "timings", {"timings": schema_for(Timing)}, task)


def measure_timings(
    explained_models: Sequence[Model], other_models: Sequence[Model], methods: Sequence[str], findings: Sequence[str]
) -> list[Timing]:
    """Measured on two images of noise at once, all findings explained."""
    work: dict[tuple[str, str], Callable[[], object]] = {}
    models = (*explained_models, *other_models)
    for m in models:
        x, targets = probe_images(m), target_indices(m, [f for f in m.findings if f in findings])
        work[m.name, FORWARD] = lambda m=m, x=x: _run_forward(m, x)  # type: ignore[misc]
        own = ["intrinsic"] if hasattr(m.net, "maps") else []
        for method in (*own, *(methods if m in explained_models else ())):
            work[m.name, method] = lambda m=m, x=x, t=targets, k=method: _run_method(m, x, t, k)  # type: ignore[misc]
    wall: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    busy: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    for round_ in range(ROUNDS + 1):
        for key, do in work.items():
            start = time.perf_counter(), time.process_time()
            do()
            if round_:
                wall[key].append((time.perf_counter() - start[0]) * 500)
                busy[key].append((time.process_time() - start[1]) * 500)
    size = {m.name: sum(p.numel() for p in m.net.parameters()) for m in models}
    return [
        Timing(
            name,
            what,
            size[name],
            float(np.median(wall[name, what])),
            min(wall[name, what]),
            max(wall[name, what]),
            float(np.median(busy[name, what])),
            ROUNDS,
        )
        for name, what in work
    ]


def _run_forward(m: Model, x: torch.Tensor) -> None:
    with m.eval_mode() as net, torch.no_grad():
        net(x)
    _synchronize(x)


def _run_method(m: Model, x: torch.Tensor, targets: torch.Tensor, method: str) -> None:
    with BatchContext(m, x, ids=("a", "b")) as p:
        run_method(p, method, targets)
    _synchronize(x)


def _synchronize(x: torch.Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
