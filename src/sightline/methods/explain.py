"""`explain`: data × model × methods -> maps, stored in parts and resumable. The slow verb, and the one with torch."""

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
from sightline.methods.context import Precision
from sightline.methods.inference import (
    ExplainOptions,
    MethodResult,
    ModelInput,
    explain_batches,
    preprocess,
    sample_background,
)
from sightline.methods.mixed_precision import MIN_CORRELATION, bfloat16_correlations
from sightline.methods.registry import parse_method
from sightline.models.ensemble import Ensemble
from sightline.models.model import Model, state_hash
from sightline.runs.chunks import split_into_chunks
from sightline.runs.provenance import check_inputs_unchanged, check_model_weights
from sightline.runs.run import Run

N_TRIAL_IMAGES = 4
"""Images on which precisions are compared."""
RADIOGRAPHS_PER_PART = 32
"""Radiographs per stored part: what a kill can cost."""
N_READ_THREADS = 4
"""Threads that read radiographs ahead. Reading that holds Python's lock, in many more, would starve the device."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    data: Dataset
    model: Model | Ensemble
    methods: dict[str, str]
    """Source name -> method with its options, as it was named."""
    options: ExplainOptions
    precision: Precision
    key: str
    """Folder of this job's parts."""

    @property
    def first(self) -> Model:
        """The model, or the ensemble's member that is open: all see radiographs as it does."""
        return self.model.first_member if isinstance(self.model, Ensemble) else self.model

    @property
    def uses_max(self) -> bool:
        """Whether the greatest probability counts and not their mean."""
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
    """Maps of every radiograph, finding and method; one pass of the model serves them all.

    methods: registered names, options after '?'; findings: by default those that model and data share; out: a run
    locked by the caller, a folder, or None for one that lives as long as the result; of: what is explained, 'logit'
    or 'probability'; prefix: what sources are called before the method, by default the model's name; precision:
    'bfloat16' computes with it the methods whose maps of the first images agree with float32 (correlation 0.99 or more;
    run.json says which), probabilities never.
    Returns the run, which holds the maps: `run.of(id)`, `run.map(source, id, finding)`. An image that cannot be read
    and a method that refuses the model give maps with a status, never a gap.

    Errors: `DataError` if model and data share no finding, `UnknownNameError` for a method, `RunError` for the folder.
    """
    require_methods(methods)
    wanted = _findings(data, model, findings)
    source_prefix = source_prefix or model.name
    sources = {f"{source_prefix}/{name}": name for name in methods}
    asked = ExplainOptions(wanted, target_output, seed, batch_size, include_probabilities=True)
    job = _Job(data, model, sources, asked, precision, f"maps-{source_prefix.replace('/', '-')}")
    if isinstance(out, Run):
        return _explain_into(out, job)
    options: dict[str, Any] = {
        "data": data.spec,
        "model": model.name,
        "methods": list(methods),
        "findings": list(wanted),
    }
    options |= {
        "target_output": target_output,
        "seed": seed,
        "precision": precision,
        "weights": model.training_record.weights_hash if model.training_record else "",
    }
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="sightline-"))
    run = Run.start(folder, "explain", options)
    gone = weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True) if out is None else None
    with run.lock():
        check_inputs_unchanged(run, data)
        done = run.update_info(models=check_model_weights(run, [{"name": model.name, "weights": hash_weights(model)}]))
        done = _explain_into(done, job)
    if gone is not None:  # the folder lives as long as what the caller holds
        gone.detach()
        weakref.finalize(done, shutil.rmtree, folder, ignore_errors=True)
    return done


def hash_weights(model: Model | Ensemble) -> str:
    """Hash of the weights that are used, whatever is said of where they come from; of all members of an ensemble."""
    if isinstance(model, Model):
        return state_hash(model.net)
    return hashlib.sha256("".join(state_hash(member.net) for member, _ in model.open_members()).encode()).hexdigest()


def require_methods(names: Sequence[str]) -> None:
    """Look up every method and its options. Errors: `UnknownNameError` for a name, `SightlineError` for an option."""
    for name in names:
        parse_method(name)


def _findings(data: Dataset, model: Model | Ensemble, findings: Sequence[str] | None) -> tuple[str, ...]:
    shared = tuple(f for f in data.findings if f in model.findings)
    wanted = tuple(canonical_name(f) for f in findings) if findings else shared
    strange = [f for f in wanted if f not in model.findings]
    if strange or not wanted:
        raise DataError(
            f"{model.name!r} has no output for {', '.join(strange) or 'any finding of ' + repr(data.spec)}; "
            f"it has: {', '.join(model.findings)}"
        )
    return wanted


def _explain_into(run: Run, job: _Job) -> Run:
    images = sample_background(job.data, job.first, list(job.methods.values()), job.options.seed)
    job = replace(job, options=replace(job.options, background=images))
    run = _select_precision(run, job)
    tried = run.info.get("precision", {}).get(job.key, {})
    fast = frozenset(method for method, one in tried.items() if one["used"] == "bfloat16")
    job = replace(job, options=replace(job.options, bfloat16_methods=fast))
    chunks = split_into_chunks(len(job.data.radiographs), RADIOGRAPHS_PER_PART)

    def done(key: str) -> bool:
        return run.part(job.key, key).exists()

    waiting = [job.data.radiographs[i] for key, rows in chunks.items() if not done(key) for i in rows]
    seen = prefetch(
        waiting, partial(preprocess, model=job.first), RADIOGRAPHS_PER_PART, N_READ_THREADS
    )  # what `run_resumable` will do, in its order

    def work(key: str) -> None:
        radiographs = [job.data.radiographs[i] for i in chunks[key]]
        maps = _explain_block([(r, next(seen)) for r in radiographs], job)
        ids = [r.id for r in radiographs]
        run.write_part(job.key, key, lambda path: write_maps(path, ids, job.options.findings, maps))

    title = f"explaining {job.key.removeprefix('maps-')}"
    with closing(seen):
        run_resumable(title, list(chunks), done, work)
    return run


def _select_precision(run: Run, job: _Job) -> Run:
    """The run, its run.json saying in which precision each method is computed: tried once, on the first images."""
    known = run.info.get("precision", {})
    if job.precision == "float32" or job.key in known:
        return run
    first, asked = job.first, job.options
    seen = ((r.id, preprocess(r, first).image) for r in job.data.radiographs)
    trial = list(islice(((i, image) for i, image in seen if image is not None), N_TRIAL_IMAGES))
    found: dict[str, float] = {}
    if trial:
        x = first.normalize(torch.from_numpy(np.stack([image for _, image in trial]))).to(first.device)
        targets = target_indices(first, [f for f in asked.findings if f in first.findings] or None)
        methods, ids = list(job.methods.values()), [i for i, _ in trial]
        others = None if asked.background is None else first.normalize(torch.from_numpy(asked.background)).to(x.device)
        found = bfloat16_correlations(
            first, x, methods, targets, ids=ids, seed=asked.seed, target_output=asked.target_output, background=others
        )
    used = {m: {"agreement": a, "used": "bfloat16" if a >= MIN_CORRELATION else "float32"} for m, a in found.items()}
    return run.update_info(precision={**known, job.key: used})


@dataclass(slots=True)
class _EnsembleSum:
    """What the members of a model say of the readable images of a block: summed while they speak, then averaged."""

    probabilities: Array
    """float64 (N, F): mean, or the greatest."""
    n_members: Array
    """int64 (F,): members that spoke."""
    maps: dict[str, Array | str]
    """Method -> float32 (N, F, h, w), or why a member refused; '' before any spoke."""
    flags: dict[tuple[str, int, int], tuple[Status, str]]
    """(method, row, column) -> refused and why; or ok, and which promise the map breaks."""


def _explain_block(block: Sequence[tuple[Radiograph, ModelInput]], job: _Job) -> dict[str, list[SaliencyMap]]:
    """source -> maps of a block, radiograph by radiograph, finding by finding. Images are read once for all members."""
    readable = {r.id: one.image for r, one in block if one.image is not None}
    said = _sum_members(list(readable.values()), list(readable), job)
    rows = {name: row for row, name in enumerate(readable)}
    maps: dict[str, list[SaliencyMap]] = {source: [] for source in job.methods}
    for source, method in job.methods.items():
        for r, one in block:
            for column, finding in enumerate(job.options.findings):
                blank = SaliencyMap(
                    r.id, finding, source, _NO_VALUES, one.frame, status="unreadable", reason=one.reason
                )
                maps[source].append(_fill_map(blank, said, method, (rows[r.id], column)) if r.id in rows else blank)
    return maps


def _sum_members(images: Sequence[Array], ids: Sequence[str], job: _Job) -> _EnsembleSum:
    """Of images (side, side): every member asked in turn, and the mean of what they said."""
    shape = (len(images), len(job.options.findings))
    said = _EnsembleSum(np.zeros(shape), np.zeros(shape[1], int), dict.fromkeys(job.methods.values(), ""), {})
    for model, findings in _iterate_members(job.model) if images else ():
        _add_member(said, model, tuple(f for f in job.options.findings if f in findings), images, ids, job)
    voices = np.maximum(said.n_members, 1)
    said.probabilities /= 1 if job.uses_max else voices
    for maps in said.maps.values():
        if not isinstance(maps, str):
            maps /= voices[:, None, None].astype(maps.dtype)
    return said


def _iterate_members(model: Model | Ensemble) -> Iterator[tuple[Model, tuple[str, ...]]]:
    if isinstance(model, Ensemble):
        yield from model.open_members()
    else:
        yield model, model.findings


def _add_member(
    total: _EnsembleSum, model: Model, findings: tuple[str, ...], images: Sequence[Array], ids: Sequence[str], job: _Job
) -> None:
    """Add to the said what one member says of images (side, side)."""
    if not findings:
        return
    columns = [job.options.findings.index(f) for f in findings]
    total.n_members[columns] += 1
    x, methods = model.normalize(torch.from_numpy(np.stack(images))), list(total.maps)
    for rows, probabilities, told in explain_batches(model, x, ids, methods, replace(job.options, findings=findings)):
        before = total.probabilities[rows, columns]
        most = np.maximum(before, probabilities)
        total.probabilities[rows, columns] = most if job.uses_max else before + probabilities
        for method, answer in told.items():
            total.maps[method] = _add_maps(total.maps[method], answer, rows, columns, total.probabilities.shape, job)
            for (row, at), flag in answer.flags.items():
                total.flags[method, rows.start + row, columns[at]] = flag


def _add_maps(
    total: Array | str, answer: MethodResult, rows: slice, columns: list[int], shape: tuple[int, ...], job: _Job
) -> Array | str:
    """The sum with the maps (B, T, h, w) of one batch in it, or why there is none."""
    if isinstance(total, str) and total:
        return total
    maps = answer.maps
    if maps is None:
        return answer.reason
    grid = maps.shape[2:]
    if isinstance(total, str):
        total = np.zeros((*shape, *grid), np.float32)
    if total.shape[2:] != grid:
        return f"members give maps of {total.shape[2:]} and {grid} cells; an ensemble needs one architecture"
    if isinstance(job.model, Ensemble) and job.model.scale == "equal":
        largest = np.abs(maps).max(axis=(2, 3), keepdims=True)
        maps = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    total[rows, columns] += maps
    return total


_NO_VALUES = np.zeros((0, 0), np.float32)


def _fill_map(blank: SaliencyMap, total: _EnsembleSum, method: str, position: tuple[int, int]) -> SaliencyMap:
    """What was said of the image and finding at (row, column), in place of a map without values."""
    maps = total.maps[method]
    flag, why = total.flags.get((method, *position), ("ok", ""))
    if isinstance(maps, str) or flag == "refused":
        return replace(blank, status="refused", reason=why or str(maps))
    status = map_status(maps[position])
    told = {"ok": why, "flat": "every value of the map is the same", "non-finite": "the map holds NaN or infinity"}
    probability = float(total.probabilities[position])
    return replace(blank, values=maps[position], probability=probability, status=status, reason=told[status])
