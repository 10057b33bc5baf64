"""`explain`: compute the maps of a data set by several methods, stored in parts and resumable.

This is the slow step of every study, and the one that needs torch.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline._util.parallel import prefetch, run_resumable
from sightline.core import Array, Dataset, Radiograph, SaliencyMap, Status, map_status
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.maps.storage import write_maps
from sightline.methods import TargetOutput, target_indices
from sightline.methods.inference import (
    BatchResults,
    ExplainOptions,
    MethodResult,
    ModelInput,
    explain_batches,
    preprocess,
    sample_background,
)
from sightline.methods.mixed_precision import MIN_CORRELATION, bfloat16_correlations
from sightline.methods.registry import parse_method
from sightline.models.checkpoint import state_hash
from sightline.models.ensemble import Ensemble
from sightline.models.model import Model
from sightline.models.precision import Precision
from sightline.runs.chunks import split_into_chunks
from sightline.runs.provenance import check_inputs_unchanged, check_model_weights
from sightline.runs.run import Run

N_TRIAL_IMAGES = 4
"""Images on which precisions are compared."""
RADIOGRAPHS_PER_PART = 32
"""Radiographs per stored part: the most work that a killed process loses."""
N_READ_THREADS = 4
"""Threads that read radiographs ahead. Many more, which hold Python's lock while they read, would starve the device."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    data: Dataset
    model: Model | Ensemble
    methods: dict[str, str]
    """Source -> method, with its options as the caller wrote them."""
    options: ExplainOptions
    precision: Precision
    folder: str
    """Folder of this job's parts."""

    @property
    def first_model(self) -> Model:
        """The model, or the ensemble's member that is open: all members take the same images."""
        return self.model.first_member if isinstance(self.model, Ensemble) else self.model

    @property
    def uses_max(self) -> bool:
        """True if the highest probability of the members counts, and not their mean."""
        return isinstance(self.model, Ensemble) and self.model.aggregation == "max"


def explain(
    data: Dataset,
    model: Model | Ensemble,
    methods: Sequence[str],
    *,
    findings: Sequence[str] | None = None,
    out: Run | str | Path | None = None,
    target_output: TargetOutput = "logit",
    batch_size: int = 8,
    seed: int = 0,
    source_prefix: str = "",
    precision: Precision = "float32",
) -> Run:
    """Compute the maps of every radiograph, finding and method, and store them in a run.

    One forward of the model serves all methods that can share it. A radiograph that cannot be read and a method that
    refuses the model give maps with a status, never a gap.

    Parameters
    ----------
    data : Dataset
        The radiographs.
    model : Model or Ensemble
        The model that is explained.
    methods : sequence of str
        Registered methods, with options after '?'.
    findings : sequence of str, optional
        Findings to explain; by default those that model and data share.
    out : Run, str or Path, optional
        A run that the caller has locked, or a folder; by default a folder that lives as long as the result.
    target_output : {'logit', 'probability'}
        Output that is explained.
    batch_size : int
        Most images per batch, from 1. No map depends on it.
    seed : int
        Seed of methods that draw random numbers.
    source_prefix : str
        Sources are named PREFIX/METHOD; by default the model's name.
    precision : {'float32', 'bfloat16'}
        'bfloat16' computes in it those methods whose maps of the first images agree with float32 (correlation 0.99 or
        more; run.json records which), and never the probabilities.

    Returns
    -------
    Run
        The run with the maps: `run.maps_for(radiograph)`.

    Raises
    ------
    DataError
        If model and data share no finding.
    UnknownNameError
        If a method does not exist.
    RunError
        If the folder holds another run.
    """
    require_methods(methods)
    selected = _select_findings(data, model, findings)
    source_prefix = source_prefix or model.name
    sources = {f"{source_prefix}/{name}": name for name in methods}
    explain_options = ExplainOptions(selected, target_output, seed, batch_size, include_probabilities=True)
    job = _Job(data, model, sources, explain_options, precision, f"maps-{source_prefix.replace('/', '-')}")
    if isinstance(out, Run):
        return _explain_into(out, job)
    options: dict[str, Any] = {
        "data": data.spec,
        "model": model.name,
        "methods": list(methods),
        "findings": list(selected),
        "target_output": target_output,
        "seed": seed,
        "precision": precision,
        "weights": model.training_record.weights_hash if model.training_record else "",
    }
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="sightline-"))
    run = Run.start(folder, "explain", options)
    removal = weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True) if out is None else None
    with run.lock():
        check_inputs_unchanged(run, data)
        weights = [{"name": model.name, "weights": hash_weights(model)}]
        finished = _explain_into(run.update_info(models=check_model_weights(run, weights)), job)
    if removal is not None:  # the folder lives as long as the run that the caller has
        removal.detach()
        weakref.finalize(finished, shutil.rmtree, folder, ignore_errors=True)
    return finished


def hash_weights(model: Model | Ensemble) -> str:
    """Hash the weights that a model uses, of all members for an ensemble.

    Parameters
    ----------
    model : Model or Ensemble
        The model.

    Returns
    -------
    str
        sha256, in hexadecimal digits, of the weights themselves, whatever its training record says.
    """
    if isinstance(model, Model):
        return state_hash(model.net)
    return hashlib.sha256("".join(state_hash(member.net) for member, _ in model.open_members()).encode()).hexdigest()


def require_methods(names: Sequence[str]) -> None:
    """Check that every method and every option exists.

    Parameters
    ----------
    names : sequence of str
        Methods: 'NAME' or 'NAME?option=value'. An unknown name is an `UnknownNameError`, an unknown option a
        `SightlineError`.
    """
    for name in names:
        parse_method(name)


def _select_findings(data: Dataset, model: Model | Ensemble, findings: Sequence[str] | None) -> tuple[str, ...]:
    shared = tuple(f for f in data.findings if f in model.findings)
    selected = tuple(canonical_name(f) for f in findings) if findings else shared
    unknown = [f for f in selected if f not in model.findings]
    if unknown or not selected:
        raise DataError(
            f"{model.name!r} has no output for {', '.join(unknown) or 'any finding of ' + repr(data.spec)}; "
            f"it has: {', '.join(model.findings)}"
        )
    return selected


def _explain_into(run: Run, job: _Job) -> Run:
    background = sample_background(job.data, job.first_model, list(job.methods.values()), job.options.seed)
    job = replace(job, options=replace(job.options, background=background))
    run = _select_precision(run, job)
    records = run.info.get("precision", {}).get(job.folder, {})
    bfloat16_methods = frozenset(method for method, record in records.items() if record["used"] == "bfloat16")
    job = replace(job, options=replace(job.options, bfloat16_methods=bfloat16_methods))
    chunks = split_into_chunks(len(job.data.radiographs), RADIOGRAPHS_PER_PART)

    def is_done(key: str) -> bool:
        return run.part(job.folder, key).exists()

    # The images of the chunks that `run_resumable` will compute, in its order
    remaining = [job.data.radiographs[i] for key, rows in chunks.items() if not is_done(key) for i in rows]
    inputs = prefetch(remaining, partial(preprocess, model=job.first_model), RADIOGRAPHS_PER_PART, N_READ_THREADS)

    def write_chunk(key: str) -> None:
        radiographs = [job.data.radiographs[i] for i in chunks[key]]
        maps = _explain_chunk([(r, next(inputs)) for r in radiographs], job)
        ids = [r.id for r in radiographs]
        run.write_part(job.folder, key, lambda path: write_maps(path, ids, job.options.findings, maps))

    title = f"explaining {job.folder.removeprefix('maps-')}"
    with closing(inputs):
        run_resumable(title, list(chunks), is_done, write_chunk)
    return run


def _select_precision(run: Run, job: _Job) -> Run:
    """Record in run.json in which precision each method is computed, compared once, on the first images."""
    known = run.info.get("precision", {})
    if job.precision == "float32" or job.folder in known:
        return run
    model, options = job.first_model, job.options
    images_by_id = ((r.id, preprocess(r, model).image) for r in job.data.radiographs)
    trial = list(islice(((i, image) for i, image in images_by_id if image is not None), N_TRIAL_IMAGES))
    correlations: dict[str, float] = {}
    if trial:
        x = model.normalize(torch.from_numpy(np.stack([image for _, image in trial]))).to(model.device)
        targets = target_indices(model, [f for f in options.findings if f in model.findings] or None)
        correlations = bfloat16_correlations(
            model, x, [i for i, _ in trial], list(job.methods.values()), targets, options
        )
    records = {
        method: {"agreement": correlation, "used": "bfloat16" if correlation >= MIN_CORRELATION else "float32"}
        for method, correlation in correlations.items()
    }
    return run.update_info(precision={**known, job.folder: records})


@dataclass(slots=True)
class _EnsembleSum:
    """Probabilities and maps of the readable images of a chunk, summed over the members of a model."""

    probabilities: Array
    """float64 (N, F): sum, or maximum."""
    n_members: Array
    """int64 (F,): members that contributed to each finding; the sums are divided by it."""
    maps: dict[str, Array | str]
    """Method -> float32 (N, F, h, w), or the reason why a member refused; '' before the first member."""
    flags: dict[tuple[str, int, int], tuple[Status, str]]
    """(method, row, column) -> 'refused' and the reason; or 'ok' and the axiom that the map violates."""

    def add(
        self, model: Model, findings: tuple[str, ...], images: Sequence[Array], ids: Sequence[str], job: _Job
    ) -> None:
        """Add the results of one member on images (side, side)."""
        if not findings:
            return
        columns = [job.options.findings.index(f) for f in findings]
        self.n_members[columns] += 1
        x, options = model.normalize(torch.from_numpy(np.stack(images))), replace(job.options, findings=findings)
        for batch in explain_batches(model, x, ids, list(self.maps), options):
            self._add_batch(batch, columns, job)

    def _add_batch(self, batch: BatchResults, columns: list[int], job: _Job) -> None:
        rows = batch.rows
        before = self.probabilities[rows, columns]
        combined = np.maximum(before, batch.probabilities) if job.uses_max else before + batch.probabilities
        self.probabilities[rows, columns] = combined
        for method, result in batch.results.items():
            self._add_maps(method, result, rows, columns, job)
            for (row, column), flag in result.flags.items():
                self.flags[method, rows.start + row, columns[column]] = flag

    def _add_maps(self, method: str, result: MethodResult, rows: slice, columns: list[int], job: _Job) -> None:
        total, maps = self.maps[method], result.maps
        if isinstance(total, str) and total:
            return
        if maps is None:
            self.maps[method] = result.reason
            return
        grid = maps.shape[2:]
        if isinstance(total, str):
            total = self.maps[method] = np.zeros((*self.probabilities.shape, *grid), np.float32)
        if total.shape[2:] != grid:
            self.maps[method] = (
                f"members give maps of {total.shape[2:]} and {grid} cells; an ensemble needs one architecture"
            )
            return
        if isinstance(job.model, Ensemble) and job.model.scale == "equal":
            largest = np.abs(maps).max(axis=(2, 3), keepdims=True)
            maps = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
        total[rows, columns] += maps

    def average(self, uses_max: bool) -> None:
        """Divide the sums by the number of members; of probabilities, unless their maximum counts."""
        n_members = np.maximum(self.n_members, 1)
        self.probabilities /= 1 if uses_max else n_members
        for maps in self.maps.values():
            if not isinstance(maps, str):
                maps /= n_members[:, None, None].astype(maps.dtype)


def _explain_chunk(chunk: Sequence[tuple[Radiograph, ModelInput]], job: _Job) -> dict[str, list[SaliencyMap]]:
    """Return the maps of each source, by radiograph and finding. Images are read once for all members."""
    images = {r.id: model_input.image for r, model_input in chunk if model_input.image is not None}
    mean = _average_members(list(images.values()), list(images), job)
    rows = {name: row for row, name in enumerate(images)}
    maps: dict[str, list[SaliencyMap]] = {source: [] for source in job.methods}
    for source, method in job.methods.items():
        for r, (_, frame, reason) in chunk:
            for column, finding in enumerate(job.options.findings):
                blank = SaliencyMap(r.id, finding, source, _NO_VALUES, frame, status="unreadable", reason=reason)
                maps[source].append(_fill_map(blank, mean, method, (rows[r.id], column)) if r.id in rows else blank)
    return maps


def _average_members(images: Sequence[Array], ids: Sequence[str], job: _Job) -> _EnsembleSum:
    """Average the results of all members on images (side, side)."""
    shape = (len(images), len(job.options.findings))
    total = _EnsembleSum(np.zeros(shape), np.zeros(shape[1], int), dict.fromkeys(job.methods.values(), ""), {})
    for model, findings in _iterate_members(job.model) if images else ():
        total.add(model, tuple(f for f in job.options.findings if f in findings), images, ids, job)
    total.average(job.uses_max)
    return total


def _iterate_members(model: Model | Ensemble) -> Iterator[tuple[Model, tuple[str, ...]]]:
    if isinstance(model, Ensemble):
        yield from model.open_members()
    else:
        yield model, model.findings


_NO_VALUES = np.zeros((0, 0), np.float32)


def _fill_map(blank: SaliencyMap, mean: _EnsembleSum, method: str, position: tuple[int, int]) -> SaliencyMap:
    """Return a map without values with those at (row, column), and with its status."""
    maps = mean.maps[method]
    flag, reason = mean.flags.get((method, *position), ("ok", ""))
    if isinstance(maps, str) or flag == "refused":
        return replace(blank, status="refused", reason=reason or str(maps))
    status = map_status(maps[position])
    reasons = {
        "ok": reason,
        "flat": "every value of the map is the same",
        "non-finite": "the map holds NaN or infinity",
    }
    probability = float(mean.probabilities[position])
    return replace(blank, values=maps[position], probability=probability, status=status, reason=reasons[status])
