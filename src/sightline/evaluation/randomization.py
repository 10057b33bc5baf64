"""How alike maps stay: when the network forgets, when it is trained again, and when nothing but chance joins them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sightline._util.spec import parse_spec
from sightline.core import (
    CHANCE,
    COMPLEXITY,
    NAN,
    WEIGHT_RANDOMIZATION,
    Array,
    Case,
    Definition,
    SaliencyMap,
    Source,
    SourceKind,
)
from sightline.errors import DataError
from sightline.evaluation.sampling import case_task, draw_other_patient
from sightline.maps.resample import upsample
from sightline.methods import BatchContext
from sightline.methods.gradient import draw_noisy_copies
from sightline.methods.inference import ExplainOptions, compute_logits, make_batch, maps_at_input_size
from sightline.methods.registry import parse_method
from sightline.metrics.similarity import Normalization, PreparedMap
from sightline.models import Model
from sightline.models.activation_cache import record_activations
from sightline.models.weight_randomization import LayerBlock, RandomizationOrder, iterate_cascade
from sightline.models.weight_randomization import find_blocks as network_blocks
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, write_chunks
from sightline.runs.run import Run

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("comparison", "method", "versus", "order")]
    + [("step", pa.int64())]
    + [(name, pa.string()) for name in ("radiograph", "patient", "finding", "protocol", "measure")]
    + [("value", pa.float64())]
)
"""Of the table `map_similarity`: one row per two maps, protocol and measure. versus: the stage or network whose map the
model's is compared with; of a `CHANCE` the network whose map of another patient it is, '' for the model itself. value:
NaN where a map failed."""
_NORMALIZATIONS: dict[Definition, tuple[Normalization, float]] = {
    "published": ("published", 2.0),
    "corrected": ("raw", 1.0),
}
"""Definition -> how maps are brought to [0, 1], and the data range of SSIM."""


PreparedMaps = dict[str, PreparedMap]
"""Protocol -> a map as that protocol looks at it."""


@dataclass(frozen=True, slots=True)
class SanityCheck:
    """What is compared, and where the rows go."""

    run: Run
    model: Model
    methods: tuple[str, ...]
    cases: tuple[Case, ...]
    protocols: tuple[Protocol, ...]
    options: ExplainOptions
    noise_copies: int = 0
    """Noisy copies that maps are the mean of while the network forgets; 0: the film itself."""
    explain_predicted_class: bool = False
    """Whether `published` explains, while the network forgets, the class that each network prefers
    (`_explain_predicted_class`)."""
    kind: SourceKind = "model"
    """Kind of the sources whose maps are compared. Rows name the method of a model, and the source of a localizer."""

    def prepare(self, values: Array, published: Array | None = None) -> PreparedMaps:
        """A map (h, w), ready to be compared with several; under `published` another one, if it is given."""
        others = {"corrected": values, "published": values if published is None else published}
        return {
            p.name: PreparedMap.from_values(others[p.definitions], _NORMALIZATIONS[p.definitions][0])
            for p in self.protocols
        }

    def rows(
        self,
        kind: str,
        method: str,
        versus: str,
        case: Case,
        a: PreparedMaps,
        b: PreparedMaps,
        order: str = "",
        step: int = 0,
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of `SCHEMA` for two maps."""
        title = method if self.kind == "model" else str(Source(self.kind, self.model.name, method))
        head = (kind, title, versus, order, step, case.radiograph.id, case.radiograph.patient, case.finding)
        for protocol in self.protocols:
            for measure, value in (
                a[protocol.name].similarities(b[protocol.name], _NORMALIZATIONS[protocol.definitions][1]).items()
            ):
                yield (*head, protocol.name, measure, value)

    def entropy_increase(
        self, method: str, versus: str, case: Case, a: Array, b: Array, order: str, step: int
    ) -> Iterator[tuple[Any, ...]]:
        """By how much the entropy of the map rose, as a share: a row of each protocol, nothing where it was 0.

        Efficient parameter randomization, Hedström et al. 2024, arXiv:2401.06465: no map is compared with another, so
        that neither smoothness nor the way maps are scaled counts.
        """
        start, end = entropy(a), entropy(b)
        for protocol in self.protocols if start > 0 else ():
            who = (case.radiograph.id, case.radiograph.patient, case.finding)
            yield (COMPLEXITY, method, versus, order, step, *who, protocol.name, "entropy-rise", end / start - 1)


def entropy(values: Array, bins: int = 100) -> float:
    """Entropy in nats of the histogram of a map's magnitudes as shares of the largest; NaN if it is not finite.

    >>> entropy(np.ones((4, 4))), round(entropy(np.arange(100.0)), 6) == round(float(np.log(100)), 6)
    (0.0, True)
    """
    size = np.abs(np.asarray(values, np.float64)).ravel()
    if not np.isfinite(size).all():
        return NAN
    counts = np.histogram(size / (size.max() or 1.0), bins, (0, 1))[0]
    share = counts[counts > 0] / size.size
    return abs(float(-(share * np.log(share)).sum()))


def write_similarity(run: Run, *tasks: ChunkedTask[str]) -> None:
    """Write the table map_similarity, from tasks of `randomize_cascade` and `compare_models`."""
    write_chunks(run, "map_similarity", {"map_similarity": SCHEMA}, *tasks)


def randomize_cascade(
    check: SanityCheck, blocks: Sequence[LayerBlock], orders: Sequence[RandomizationOrder], repeats: int = 1
) -> ChunkedTask[str]:
    """Return the task that compares every map with those of the same network after each block it forgets.

    draws: how often, with other weights each time; a case then has as many rows of a stage.

    What is computed before the first block drawn is kept, so that a stage costs methods without input gradients only
    what changed.
    """
    asked, whole, needed = check.options, [b.name for b in network_blocks(check.model)], _layers_needed(check.methods)
    if any(parse_method(m)[0].info.needs == "attention" for m in check.methods):
        whole = []  # they watch every block attend: none may answer from memory

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        batch = make_batch(check.model, [case.radiograph for case in some])
        if batch is None:
            return
        x, ids = batch.x, batch.ids
        known = [
            record_activations(check.model, batch_of, whole, needed) for batch_of in torch.split(x, asked.batch_size)
        ]
        before = _compute_maps(check, check.model, x, ids, asked)
        liked = _explain_predicted_class(check, check.model, x, ids, asked, before)
        there = [
            (case, m, (ids.index(case.radiograph.id), asked.findings.index(case.finding)))
            for case in some
            if case.radiograph.id in ids
            for m in check.methods
        ]
        looked = [check.prepare(before[method][at], liked[method][at]) for _, method, at in there]
        for order, draw in itertools.product(orders, range(repeats)):
            seed = asked.seed + 7919 * draw
            changed: list[str] = []
            for step, (block, model) in enumerate(iterate_cascade(check.model, blocks, order, seed)):
                changed = [*block.layers] if order == "independent" else [*changed, *block.layers]
                with ExitStack() as memory:
                    for prefix in known:
                        memory.enter_context(prefix.replay(model.net, changed))
                    # What a method draws, it draws anew
                    fresh = replace(asked, seed=seed + step + 1)
                    after = _compute_maps(check, model, x, ids, fresh)
                    now = _explain_predicted_class(check, model, x, ids, fresh, after)
                for (case, method, at), look in zip(there, looked, strict=True):
                    a, b = before[method][at], after[method][at]
                    looks = check.prepare(b, now[method][at])
                    yield from check.rows(WEIGHT_RANDOMIZATION, method, block.title, case, look, looks, order, step + 1)
                    yield from check.entropy_increase(method, block.title, case, a, b, order, step + 1)

    return case_task("map_similarity", "randomizing", check.cases, made)


def _compute_maps(
    check: SanityCheck, model: Model, x: Tensor, ids: Sequence[str], options: ExplainOptions
) -> dict[str, Array]:
    """Method -> float32 (N, T, side, side); the mean over noisy copies if the comparison is smooth.

    Smooth parameter randomization, Hedström et al. 2024, arXiv:2401.06465, with noise of a tenth of the range of x.
    """
    if not check.noise_copies:
        return maps_at_input_size(model, x, ids, check.methods, options)
    total: dict[str, Array] = {}
    with BatchContext(model, x, ids=ids, seed=check.options.seed) as context:
        copies = list(draw_noisy_copies(context, check.noise_copies, 0.1))  # the same copies at every stage
    for draw, copy in enumerate(copies):
        again = replace(options, seed=options.seed + 1000 * draw)
        for method, maps in maps_at_input_size(model, copy, ids, check.methods, again).items():
            total[method] = total.get(method, 0) + maps / check.noise_copies
    return total


def _explain_predicted_class(
    check: SanityCheck, model: Model, x: Tensor, ids: Sequence[str], options: ExplainOptions, maps: dict[str, Array]
) -> dict[str, Array]:
    """`maps`, and where the model denies a finding (logit below 0) the map of its absence, whose logit is the negative.

    What the published code explains, which asks a network with two classes for the one it prefers.
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
    return {method: np.where(denied[..., None, None], absent[method], of) for method, of in maps.items()}


def _layers_needed(methods: Sequence[str]) -> list[str]:
    """Paths of the modules whose outputs methods look at."""
    return [path for method in methods if (path := parse_spec(method)[2].get("layer", ""))]


def compare_models(check: SanityCheck, partners: Mapping[str, str]) -> ChunkedTask[str]:
    """Return the task that compares stored maps of the model with those of other models and of other patients.

    partners: name of a model -> `AGAIN`, `OTHER_ARCHITECTURE` or `LABEL_RANDOMIZATION`. The other patient shows the
    same finding, and is drawn
    by id: what two maps have in common when nothing but chance (and the finding) joins them. Each network shows its map
    of that one patient: where a network likes to look, whatever the film, is then in the comparison and in its chance.

    A stage of `randomize_cascade` has the model's own map of the other patient for its chance, as published. That of
    the forgetful
    network would do to it what a partner's does here, but has to be computed: twice the forwards.
    """
    mine = {str(Source(check.kind, check.model.name, method)): method for method in check.methods}
    theirs = {str(Source(check.kind, name, method)) for name in partners for method in check.methods}

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        held = {
            i: list(check.run.maps_for(i, {*mine, *theirs})) for i in dict.fromkeys(case.radiograph.id for case in some)
        }
        for case in some:
            other = draw_other_patient(case, check.cases, check.options.seed)
            own = _select_case_maps(held[case.radiograph.id], case)
            far = (
                {}
                if other is None
                else _select_case_maps(check.run.maps_for(other.radiograph.id, {*mine, *theirs}), other)
            )
            for source, method in mine.items():
                if source not in own:
                    continue
                against = [(CHANCE, "", far.get(source))]
                for name, kind in partners.items():
                    his = str(Source(check.kind, name, method))
                    against += [(kind, name, own.get(his)), (CHANCE, name, far.get(his))]
                look = _prepare_stored(check, own[source])
                for kind, versus, b in against:
                    if b is not None:
                        _require_one_frame(own[source], b)
                        yield from check.rows(kind, method, versus, case, look, _prepare_stored(check, b))

    title = "comparing" if check.kind == "model" else f"comparing {check.kind}"
    return case_task("map_similarity", title, check.cases, made)


def _select_case_maps(maps: Iterable[SaliencyMap], case: Case) -> dict[str, SaliencyMap]:
    """Source -> its map of the case, failed or not; none where the image itself could not be read."""
    return {m.source: m for m in maps if m.finding == case.finding and m.status != "unreadable"}


def _prepare_stored(check: SanityCheck, stored: SaliencyMap) -> PreparedMaps:
    """A stored map, ready to be compared; one that failed, or is flat as a protocol looks at it, is like no other."""
    side = check.model.side
    said = stored.status == "ok"
    looks = check.prepare(upsample(stored, side) if said else np.full((side, side), np.nan, np.float32))
    return {name: replace(look, is_finite=look.is_finite and not look.is_flat) for name, look in looks.items()}


def _require_one_frame(a: SaliencyMap, b: SaliencyMap) -> None:
    """Errors: `DataError` if two maps of one radiograph are not of the same part of it."""
    if a.status == b.status == "ok" and a.radiograph == b.radiograph and a.frame != b.frame:
        raise DataError(
            f"{a.source} and {b.source} see different parts of {a.radiograph}; compare models with one way to resize"
        )
