"""Computing time of maps: of a forward pass, of a network's own maps, and of every post-hoc method."""

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
"""Rounds in which everything is timed in turn, so that other load affects all; one more warms up and does not count."""
FORWARD = "forward"
"""Name of the forward pass among the methods."""


class Timing(NamedTuple):
    """Computing time of one method, in milliseconds per image."""

    model: str
    """Name of the model."""
    operation: str
    """'forward', or a method: its maps of all findings, with the forward pass."""
    n_parameters: int
    """Number of parameters of the model."""
    median: float
    """Median over the rounds."""
    minimum: float
    """Shortest round."""
    maximum: float
    """Longest round."""
    cpu_median: float
    """Median of the processor time, of all its cores."""
    rounds: int
    """Number of rounds."""


def write_timings(
    run: Run,
    explained_models: Sequence[Model],
    other_models: Sequence[Model],
    methods: Sequence[str],
    findings: Sequence[str],
) -> None:
    """Write the table timings: forward pass and own maps of every model, and each method on the explained models.

    Parameters
    ----------
    run
        Run locked by the caller.
    explained_models
        Models that methods are timed on.
    other_models
        Models whose forward pass and own maps alone are timed.
    methods
        Methods.
    findings
        Findings that are explained.
    """

    def rows_of(models: Sequence[Sequence[Model]]) -> dict[str, list[Timing]]:
        return {
            "timings": [cost for group in models for cost in measure_timings(group, other_models, methods, findings)]
        }

    task = ChunkedTask("measuring time", [explained_models], rows_of)
    write_chunks(run, "timings", {"timings": schema_for(Timing)}, task)


def measure_timings(
    explained_models: Sequence[Model], other_models: Sequence[Model], methods: Sequence[str], findings: Sequence[str]
) -> list[Timing]:
    """Time forward pass, own maps and methods on two images of noise at once.

    Parameters
    ----------
    explained_models
        Models that methods are timed on.
    other_models
        Models whose forward pass and own maps alone are timed.
    methods
        Methods.
    findings
        Findings that are explained.

    Returns
    -------
    list of Timing
        A row per model and method.
    """
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    models = (*explained_models, *other_models)
    for m in models:
        x, targets = probe_images(m), target_indices(m, [f for f in m.findings if f in findings])
        tasks[m.name, FORWARD] = lambda m=m, x=x: _run_forward(m, x)  # type: ignore[misc]
        intrinsic = ["intrinsic"] if hasattr(m.net, "maps") else []
        for method in (*intrinsic, *(methods if m in explained_models else ())):
            tasks[m.name, method] = lambda m=m, x=x, t=targets, k=method: _run_method(m, x, t, k)  # type: ignore[misc]
    wall: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
    busy: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
    for round_ in range(ROUNDS + 1):
        for key, run_task in tasks.items():
            start = time.perf_counter(), time.process_time()
            run_task()
            if round_:
                wall[key].append((time.perf_counter() - start[0]) * 500)
                busy[key].append((time.process_time() - start[1]) * 500)
    size = {m.name: sum(p.numel() for p in m.net.parameters()) for m in models}
    return [
        Timing(
            name,
            method,
            size[name],
            float(np.median(wall[name, method])),
            min(wall[name, method]),
            max(wall[name, method]),
            float(np.median(busy[name, method])),
            ROUNDS,
        )
        for name, method in tasks
    ]


def _run_forward(m: Model, x: torch.Tensor) -> None:
    """Compute one forward pass."""
    with m.eval_mode() as net, torch.no_grad():
        net(x)
    _synchronize(x)


def _run_method(m: Model, x: torch.Tensor, targets: torch.Tensor, method: str) -> None:
    """Compute the maps of one method."""
    with BatchContext(m, x, ids=("a", "b")) as p:
        run_method(p, method, targets)
    _synchronize(x)


def _synchronize(x: torch.Tensor) -> None:
    """Wait until the device has finished."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
