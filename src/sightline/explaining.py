"""`explain`: data × model × methods -> maps, stored in parts and resumable. The slow verb, and the one with torch."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.controls import digest
from sightline.core import Array, DataError, Dataset, Frame, Radiograph, SaliencyMap, SightlineError, Status, status_of
from sightline.engine import run_units
from sightline.evaluate import blocks
from sightline.findings import canonical
from sightline.inputs import fit_image
from sightline.methods import Of, Pass, method_of, run_method, target_indices
from sightline.methods.pass_ import NoMemoryError, Precision
from sightline.methods.precision import AGREE, agreements
from sightline.models.ensemble import Ensemble
from sightline.models.wrap import Model
from sightline.store import Run, write_maps

TRIAL = 4
"""Images on which precisions are compared."""
BACKGROUND = 8
"""Images that stand for the data set where a method compares with it."""
BLOCK = 32
"""Radiographs per stored part: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class _Job:
    data: Dataset
    model: Model | Ensemble
    methods: dict[str, str]
    """Source name -> method with its options, as it was named."""
    findings: tuple[str, ...]
    of: Of
    batch: int
    seed: int
    precision: Precision
    key: str
    """Folder of this job's parts."""
    fast: frozenset[str] = frozenset()
    """Methods that are computed in bfloat16."""
    background: Array | None = None
    """float32 (M, side, side): images of the data set for methods that compare with them (baseline=data)."""


def explain(
    data: Dataset,
    model: Model | Ensemble,
    methods: Sequence[str],
    *,
    findings: Sequence[str] | None = None,
    out: Run | str | Path | None = None,
    of: Of = "logit",
    batch: int = 8,
    seed: int = 0,
    prefix: str = "",
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
    check_methods(methods)
    wanted = _findings(data, model, findings)
    prefix = prefix or model.name
    sources = {f"{prefix}/{name}": name for name in methods}
    job = _Job(data, model, sources, wanted, of, batch, seed, precision, f"maps-{prefix.replace('/', '-')}")
    if isinstance(out, Run):
        return _explain_into(out, job)
    options: dict[str, Any] = {
        "data": data.spec,
        "model": model.name,
        "methods": list(methods),
        "findings": list(wanted),
    }
    options |= {
        "of": of,
        "seed": seed,
        "precision": precision,
        "weights": model.training.checkpoint if model.training else "",
    }
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="sightline-"))
    run = Run.start(folder, "explain", options)
    if out is None:
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    with run.lock():
        return _explain_into(run, job)


def check_methods(names: Sequence[str]) -> None:
    """Look up every method and its options. Errors: `UnknownNameError` for a name, `SightlineError` for an option."""
    for name in names:
        method_of(name)


def _findings(data: Dataset, model: Model | Ensemble, findings: Sequence[str] | None) -> tuple[str, ...]:
    shared = tuple(f for f in data.findings if f in model.findings)
    wanted = tuple(canonical(f) for f in findings) if findings else shared
    strange = [f for f in wanted if f not in model.findings]
    if strange or not wanted:
        raise DataError(
            f"{model.name!r} has no output for {', '.join(strange) or 'any finding of ' + repr(data.spec)}; "
            f"it has: {', '.join(model.findings)}"
        )
    return wanted


def _explain_into(run: Run, job: _Job) -> Run:
    run = _tried(run, job)
    tried = run.info.get("precision", {}).get(job.key, {})
    fast = frozenset(method for method, one in tried.items() if one["used"] == "bfloat16")
    job = replace(job, fast=fast, background=_background(job))
    units = blocks(len(job.data.radiographs), BLOCK)

    def work(key: str) -> None:
        radiographs = [job.data.radiographs[i] for i in units[key]]
        maps = _explain_block(radiographs, job)
        ids = [r.id for r in radiographs]
        run.write_part(job.key, key, lambda path: write_maps(path, ids, job.findings, maps))

    title = f"explaining {job.key.removeprefix('maps-')}"
    run_units(title, list(units), lambda key: run.part(job.key, key).exists(), work)
    return run


def _tried(run: Run, job: _Job) -> Run:
    """The run, its run.json saying in which precision each method is computed: tried once, on the first images."""
    known = run.info.get("precision", {})
    if job.precision == "float32" or job.key in known:
        return run
    first = job.model.first if isinstance(job.model, Ensemble) else job.model
    read = ((r.id, _read(r, first)) for r in job.data.radiographs)
    trial = list(islice(((i, one[0]) for i, one in read if not isinstance(one, str)), TRIAL))
    found: dict[str, float] = {}
    if trial:
        x = first.normalize(torch.from_numpy(np.stack([seen for _, seen in trial]))).to(first.device)
        targets = target_indices(first, [f for f in job.findings if f in first.findings] or None)
        methods, ids = list(job.methods.values()), [i for i, _ in trial]
        found = agreements(first, x, methods, targets, ids=ids, seed=job.seed, of=job.of)
    used = {m: {"agreement": a, "used": "bfloat16" if a >= AGREE else "float32"} for m, a in found.items()}
    return run.describe(precision={**known, job.key: used})


def _background(job: _Job) -> Array | None:
    """Images drawn from the data set by their ids, if a method compares with them."""
    if not any("baseline=data" in method for method in job.methods.values()):
        return None

    first = job.model.first if isinstance(job.model, Ensemble) else job.model
    read = (_read(r, first) for r in sorted(job.data.radiographs, key=lambda r: digest(job.seed, r.id)))
    seen = list(islice((one[0] for one in read if not isinstance(one, str)), BACKGROUND))
    return np.stack(seen) if seen else None


@dataclass(slots=True)
class _Answers:
    """What the members of a model say of the readable images of a block: summed while they speak, then averaged."""

    probabilities: Array
    """float64 (N, F): mean, or the greatest."""
    voices: Array
    """int64 (F,): members that spoke."""
    maps: dict[str, Array | str]
    """Source -> float32 (N, F, h, w), or why a member refused."""
    flags: dict[tuple[str, int, int], tuple[Status, str]]
    """(source, row, column) -> refused and why; or ok, and which promise the map breaks."""


def _explain_block(radiographs: Sequence[Radiograph], job: _Job) -> dict[str, list[SaliencyMap]]:
    """source -> maps of a block, radiograph by radiograph, finding by finding. Images are read once for all members."""
    first = job.model.first if isinstance(job.model, Ensemble) else job.model
    read = [_read(r, first) for r in radiographs]
    good = [i for i, one in enumerate(read) if not isinstance(one, str)]
    seen = [one[0] for one in read if not isinstance(one, str)]
    said = _answers(seen, tuple(radiographs[i].id for i in good), job)
    maps: dict[str, list[SaliencyMap]] = {source: [] for source in job.methods}
    for source in job.methods:
        for i, radiograph in enumerate(radiographs):
            one = read[i]
            got, row = (one, -1) if isinstance(one, str) else (said.maps[source], good.index(i))
            frame = Frame.whole(radiograph.size or (1, 1)) if isinstance(one, str) else one[1]
            for column, finding in enumerate(job.findings):
                flag, why = said.flags.get((source, row, column), ("ok", got if isinstance(got, str) else ""))
                if flag == "refused" or isinstance(got, str):
                    status: Status = "unreadable" if isinstance(one, str) else "refused"
                    m = SaliencyMap(radiograph.id, finding, source, _NOTHING, frame, status=status, why=why)
                else:
                    probability = said.probabilities[row, column]
                    m = _map(radiograph.id, finding, source, got[row, column], frame, probability)
                    m = replace(m, why=m.why or why)
                maps[source].append(m)
    return maps


def _answers(seen: Sequence[Array], ids: tuple[str, ...], job: _Job) -> _Answers:
    """Of images (side, side): every member asked in turn, and the mean of what they said."""
    shape = (len(seen), len(job.findings))
    said = _Answers(np.zeros(shape), np.zeros(shape[1], int), dict.fromkeys(job.methods, ""), {})
    for model, findings in _members(job.model) if seen else ():
        _add_member(said, model, [f for f in job.findings if f in findings], seen, ids, job)
    voices = np.maximum(said.voices, 1)
    said.probabilities /= 1 if _takes_most(job) else voices
    for maps in said.maps.values():
        if not isinstance(maps, str):
            maps /= voices[:, None, None].astype(maps.dtype)
    return said


def _takes_most(job: _Job) -> bool:
    return isinstance(job.model, Ensemble) and job.model.aggregation == "max"


def _members(model: Model | Ensemble) -> Iterator[tuple[Model, tuple[str, ...]]]:
    if isinstance(model, Ensemble):
        yield from model.open()
    else:
        yield model, model.findings


def _add_member(
    said: _Answers, model: Model, findings: Sequence[str], seen: Sequence[Array], ids: tuple[str, ...], job: _Job
) -> None:
    """Explain the images of a block (side, side) by one member, batch by batch, and add it to the said."""
    if not findings:
        return
    columns = [job.findings.index(f) for f in findings]
    said.voices[columns] += 1
    start, batch = 0, job.batch
    while start < len(seen):
        rows = slice(start, min(start + batch, len(seen)))
        x = model.normalize(torch.from_numpy(np.stack(seen[rows]))).to(model.device)  # (B, C, side, side)
        try:
            probabilities, values, flags = _run_methods(model, x, ids[rows], findings, job)
        except NoMemoryError:
            if len(x) == 1:
                raise
            batch = len(x) // 2  # what a batch holds depends on the method and the device: halve until it fits
            continue
        start = rows.stop
        said.flags |= {(source, rows.start + row, columns[at]): flag for (source, row, at), flag in flags.items()}
        before = said.probabilities[rows, columns]
        said.probabilities[rows, columns] = (
            np.maximum(before, probabilities) if _takes_most(job) else before + probabilities
        )
        for source, maps in values.items():
            said.maps[source] = _added(said.maps[source], maps, rows, columns, (len(seen), len(job.findings)), job)


def _added(
    total: Array | str, maps: Array | str, rows: slice, columns: list[int], shape: tuple[int, int], job: _Job
) -> Array | str:
    """The sum with one batch of maps (B, T, h, w) in it, or why there is none."""
    if isinstance(total, str) and total:
        return total
    if isinstance(maps, str):
        return maps
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


_NOTHING = np.zeros((0, 0), np.float32)


def _read(radiograph: Radiograph, model: Model) -> tuple[Array, Frame] | str:
    """What the model sees, float32 (side, side), and its frame; or why there is none."""
    try:
        return fit_image(radiograph.read(), model.side, model.resize)
    except DataError as error:
        return str(error)


def _run_methods(
    model: Model, x: Tensor, ids: tuple[str, ...], findings: Sequence[str], job: _Job
) -> tuple[Array, dict[str, Array | str], dict[tuple[str, int, int], tuple[Status, str]]]:
    """Probabilities (N, T); source -> maps (N, T, h, w), or why the method refused; (source, row, column) -> what
    is to be said of this map."""
    targets = target_indices(model, findings)
    values: dict[str, Array | str] = {}
    flags: dict[tuple[str, int, int], tuple[Status, str]] = {}
    slow = {source: method for source, method in job.methods.items() if method not in job.fast}
    fast = {source: method for source, method in job.methods.items() if method in job.fast}
    images = None if job.background is None else torch.from_numpy(job.background)
    others = None if images is None else model.normalize(images).to(model.device)
    with Pass(model, x, of=job.of, ids=ids, seed=job.seed, background=others) as p:
        probabilities = p.probabilities[:, targets].double().cpu().numpy()
        _answer(p, slow, targets, values, flags)
    if fast:
        with Pass(model, x, of=job.of, ids=ids, seed=job.seed, background=others, precision="bfloat16") as p:
            _answer(p, fast, targets, values, flags)
    return probabilities, values, flags


def _answer(
    p: Pass,
    methods: dict[str, str],
    targets: Tensor,
    values: dict[str, Array | str],
    flags: dict[tuple[str, int, int], tuple[Status, str]],
) -> None:
    """Put what methods (source -> method) say of an open pass into values and flags (see `_run_methods`)."""
    for source, method in methods.items():
        try:
            values[source] = run_method(p, method, targets).cpu().numpy()
        except SightlineError as error:
            values[source] = str(error)
            continue
        if p.refused is not None:
            flags |= {(source, row, at): ("refused", p.refused[1]) for row, at in p.refused[0].nonzero().tolist()}
        if p.doubted is not None:
            said = f"axiom violated: {p.doubted[1]}"
            flags |= {(source, row, at): ("ok", said) for row, at in p.doubted[0].nonzero().tolist()}


def _map(radiograph: str, finding: str, source: str, values: Array, frame: Frame, probability: float) -> SaliencyMap:
    status = status_of(values)
    why = {"ok": "", "flat": "every value of the map is the same", "non-finite": "the map holds NaN or infinity"}[
        status
    ]
    return SaliencyMap(radiograph, finding, source, values, frame, float(probability), status, why)
