"""Sanity checks: similarity of maps when weights are randomized, when a model is retrained, and by chance alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline._util.spec import parse_spec
from sightline.core import CHANCE, WEIGHT_RANDOMIZATION, Array, Case, SaliencyMap, Source
from sightline.errors import DataError
from sightline.evaluation.sampling import case_task, draw_other_patient
from sightline.evaluation.sanity_check import PreparedMaps, SanityCheck
from sightline.maps.resample import upsample
from sightline.methods import BatchContext
from sightline.methods.gradient import draw_noisy_copies
from sightline.methods.inference import Batch, ExplainOptions, compute_logits, make_batch, maps_at_input_size
from sightline.methods.registry import parse_method
from sightline.models import Model
from sightline.models.activation_cache import record_activations
from sightline.models.weight_randomization import LayerBlock, RandomizationOrder, iterate_cascade
from sightline.models.weight_randomization import find_blocks as network_blocks
from sightline.runs.chunks import ChunkedTask


def randomize_cascade(
    check: SanityCheck, blocks: Sequence[LayerBlock], orders: Sequence[RandomizationOrder], repeats: int = 1
) -> ChunkedTask[str]:
    """Return the task that compares every map with those of the same network after each block is randomized.

    Activations before the first randomized block are cached, so that a stage costs methods without input gradients only
    the changed part.

    Parameters
    ----------
    check : SanityCheck
        The model and the options.
    blocks : sequence of LayerBlock
        Blocks of the network, from the output to the input.
    orders : sequence of {'top-down', 'bottom-up', 'independent'}
        Orders of randomization; in the first two a block stays randomized at later stages.
    repeats : int
        Number of randomizations, with other weights each time; a case then has as many rows of a stage.

    Returns
    -------
    ChunkedTask
    """
    options, block_names = check.options, [block.name for block in network_blocks(check.model)]
    layers = _layers_needed(check.methods)
    if any(parse_method(method)[0].info.needs == "attention" for method in check.methods):
        block_names = []  # these methods watch the attention of every block: none may be replayed

    def compute_rows(part: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        batch = make_batch(check.model, [case.radiograph for case in part])
        if batch is None:
            return
        images = torch.split(batch.x, options.batch_size)
        caches = [record_activations(check.model, x, block_names, layers) for x in images]
        original = _compute_map_pair(check, check.model, batch, options)
        cells = [
            (case, method, (batch.ids.index(case.radiograph.id), options.findings.index(case.finding)))
            for case in part
            if case.radiograph.id in batch.ids
            for method in check.methods
        ]
        prepared = [_prepare_pair(check, original, method, cell) for _, method, cell in cells]
        for order, draw in itertools.product(orders, range(repeats)):
            seed = options.seed + 7919 * draw
            changed: list[str] = []
            for step, (block, model) in enumerate(iterate_cascade(check.model, blocks, order, seed)):
                changed = [*block.layers] if order == "independent" else [*changed, *block.layers]
                with ExitStack() as replays:
                    for cache in caches:
                        replays.enter_context(cache.replay(model.net, changed))
                    # Methods that draw random numbers draw others at each stage
                    randomized = _compute_map_pair(check, model, batch, replace(options, seed=seed + step + 1))
                stage = (block.title, order, step + 1)
                for (case, method, cell), first in zip(cells, prepared, strict=True):
                    yield from _compare_stage(check, case, method, cell, first, (original, randomized), stage)

    return case_task("map_similarity", "randomizing", check.cases, compute_rows)


_MapPair = tuple[dict[str, Array], dict[str, Array]]
"""Maps of each method, and those that the published protocol compares."""


def _compute_map_pair(check: SanityCheck, model: Model, batch: Batch, options: ExplainOptions) -> _MapPair:
    maps = _compute_maps(check, model, batch.x, batch.ids, options)
    return maps, _explain_predicted_class(check, model, batch.x, batch.ids, options, maps)


def _prepare_pair(check: SanityCheck, maps: _MapPair, method: str, cell: tuple[int, int]) -> PreparedMaps:
    return check.prepare(maps[0][method][cell], maps[1][method][cell])


def _compare_stage(
    check: SanityCheck,
    case: Case,
    method: str,
    cell: tuple[int, int],
    first: PreparedMaps,
    maps: tuple[_MapPair, _MapPair],
    stage: tuple[str, str, int],
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one map at one stage (title, order, step); `maps` are the model's and the randomized ones."""
    title, order, step = stage
    (original, _), randomized = maps
    second = _prepare_pair(check, randomized, method, cell)
    yield from check.rows(WEIGHT_RANDOMIZATION, method, title, case, first, second, order, step)
    yield from check.entropy_increase(
        method, title, case, original[method][cell], randomized[0][method][cell], order, step
    )


def _compute_maps(
    check: SanityCheck, model: Model, x: Tensor, ids: Sequence[str], options: ExplainOptions
) -> dict[str, Array]:
    """Compute the maps of each method, float32 (N, T, side, side); their mean over noisy copies if there are any.

    Smooth parameter randomization, Hedström et al. 2024, arXiv:2401.06465, with noise of a tenth of the range of x.
    """
    if not check.noise_copies:
        return maps_at_input_size(model, x, ids, check.methods, options)
    total: dict[str, Array] = {}
    with BatchContext(model, x, ids=ids, seed=check.options.seed) as context:
        copies = list(draw_noisy_copies(context, check.noise_copies, 0.1))  # the same copies at every stage
    for draw, copy in enumerate(copies):
        draw_options = replace(options, seed=options.seed + 1000 * draw)
        for method, maps in maps_at_input_size(model, copy, ids, check.methods, draw_options).items():
            total[method] = total.get(method, 0) + maps / check.noise_copies
    return total


def _explain_predicted_class(
    check: SanityCheck, model: Model, x: Tensor, ids: Sequence[str], options: ExplainOptions, maps: dict[str, Array]
) -> dict[str, Array]:
    """Replace maps of findings with a negative logit by maps of their absence, whose logit is the negative.

    The published code does so: it explains the predicted class of a network with two classes.
    """
    if not check.explain_predicted_class:
        return maps
    denied = compute_logits(model, x)[:, [model.index(f) for f in options.findings]] < 0  # (N, T)
    if not denied.any():
        return maps
    handle = model.net.register_forward_hook(lambda _, __, logit: -logit)
    try:
        absent = _compute_maps(check, model, x, ids, options)
    finally:
        handle.remove()
    return {method: np.where(denied[..., None, None], absent[method], present) for method, present in maps.items()}


def _layers_needed(methods: Sequence[str]) -> list[str]:
    """List the paths of the modules whose outputs the methods use."""
    return [path for method in methods if (path := parse_spec(method)[2].get("layer", ""))]


def compare_models(check: SanityCheck, partners: Mapping[str, str]) -> ChunkedTask[str]:
    """Return the task that compares stored maps of the model with those of its partners, and with a chance level.

    Chance is the similarity of the model's map of this patient and the partner's map of another patient with the same
    finding, drawn by id, so that preferences of a network for certain places affect comparison and chance alike. A
    stage of `randomize_cascade` has the model's own map of the other patient for its chance, as published; that of the
    randomized network would correspond to the chance used here, but takes twice the forwards.

    Parameters
    ----------
    check : SanityCheck
        The model and the options.
    partners : mapping of str to str
        Name of a model to the kind of the comparison: `RETRAINED`, `OTHER_ARCHITECTURE` or `LABEL_RANDOMIZATION`.

    Returns
    -------
    ChunkedTask
    """
    methods = {str(Source(check.kind, check.model.name, method)): method for method in check.methods}
    partner_sources = {str(Source(check.kind, name, method)) for name in partners for method in check.methods}
    sources = {*methods, *partner_sources}

    def compute_rows(part: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        maps = {i: list(check.run.maps_for(i, sources)) for i in dict.fromkeys(case.radiograph.id for case in part)}
        for case in part:
            other = draw_other_patient(case, check.cases, check.options.seed)
            own_maps = _select_case_maps(maps[case.radiograph.id], case)
            other_maps = (
                {} if other is None else _select_case_maps(check.run.maps_for(other.radiograph.id, sources), other)
            )
            for source, method in methods.items():
                if source not in own_maps:
                    continue
                compared = [(CHANCE, "", other_maps.get(source))]
                for name, kind in partners.items():
                    partner = str(Source(check.kind, name, method))
                    compared += [(kind, name, own_maps.get(partner)), (CHANCE, name, other_maps.get(partner))]
                prepared = _prepare_stored(check, own_maps[source])
                for kind, versus, second in compared:
                    if second is not None:
                        _require_one_frame(own_maps[source], second)
                        yield from check.rows(kind, method, versus, case, prepared, _prepare_stored(check, second))

    title = "comparing" if check.kind == "model" else f"comparing {check.kind}"
    return case_task("map_similarity", title, check.cases, compute_rows)


def _select_case_maps(maps: Iterable[SaliencyMap], case: Case) -> dict[str, SaliencyMap]:
    """Return the map of the case by each source, failed or not; none where the image itself could not be read."""
    return {m.source: m for m in maps if m.finding == case.finding and m.status != "unreadable"}


def _prepare_stored(check: SanityCheck, stored: SaliencyMap) -> PreparedMaps:
    """Prepare a stored map; one that failed, or is flat as a protocol compares it, is similar to no other."""
    side = check.model.side
    values = upsample(stored, side) if stored.status == "ok" else np.full((side, side), np.nan, np.float32)
    prepared = check.prepare(values)
    return {name: replace(m, is_finite=m.is_finite and not m.is_flat) for name, m in prepared.items()}


def _require_one_frame(a: SaliencyMap, b: SaliencyMap) -> None:
    """Check that two maps of one radiograph show the same part of it."""
    if a.status == b.status == "ok" and a.radiograph == b.radiograph and a.frame != b.frame:
        raise DataError(
            f"{a.source} and {b.source} show different parts of {a.radiograph}; "
            "compare models that resize images in the same way"
        )
