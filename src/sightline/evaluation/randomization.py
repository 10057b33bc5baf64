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
from sightline.core import COMPLEXITY, FORGETTING, NAN, PAIR, Array, Case, Definition, SaliencyMap, Source, SourceKind
from sightline.errors import DataError
from sightline.evaluation.sampling import another, case_task
from sightline.maps.resample import fine
from sightline.methods import Pass
from sightline.methods.gradient import noisy
from sightline.methods.inference import Asked, fine_maps, logits, prepared
from sightline.methods.registry import method_of
from sightline.metrics.similarity import Look, Shown
from sightline.models import Model
from sightline.models.activation_cache import recorded
from sightline.models.weight_randomization import Block, Order, stages
from sightline.models.weight_randomization import blocks as network_blocks
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, write_chunks
from sightline.runs.run import Run

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("kind", "method", "versus", "order")]
    + [("step", pa.int64())]
    + [(name, pa.string()) for name in ("radiograph", "patient", "finding", "protocol", "measure")]
    + [("value", pa.float64())]
)
"""Of the table `similarity`: one row per two maps, protocol and measure. versus: the stage or network whose map the
model's is compared with; of a `PAIR` the network whose map of another patient it is, '' for the model itself. value:
NaN where a map failed."""
_LOOKS: dict[Definition, tuple[Shown, float]] = {"published": ("published", 2.0), "corrected": ("raw", 1.0)}
"""Definition -> how maps are brought to [0, 1], and the data range of SSIM."""


Looks = dict[str, Look]
"""Protocol -> a map as that protocol looks at it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and where the rows go."""

    run: Run
    model: Model
    methods: tuple[str, ...]
    cases: tuple[Case, ...]
    protocols: tuple[Protocol, ...]
    asked: Asked
    smooth: int = 0
    """Noisy copies that maps are the mean of while the network forgets; 0: the film itself."""
    preferred: bool = False
    """Whether `published` explains, while the network forgets, the class that each network prefers (`_preferred`)."""
    kind: SourceKind = "model"
    """Kind of the sources whose maps are compared. Rows name the method of a model, and the source of a localizer."""

    def looks(self, values: Array, published: Array | None = None) -> Looks:
        """A map (h, w), ready to be compared with several; under `published` another one, if it is given."""
        others = {"corrected": values, "published": values if published is None else published}
        return {p.name: Look.of(others[p.definitions], _LOOKS[p.definitions][0]) for p in self.protocols}

    def rows(self, kind: str, method: str, versus: str, case: Case, a: Looks, b: Looks, order: str = "", step: int = 0
             ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Rows of `SCHEMA` for two maps."""
        title = method if self.kind == "model" else str(Source(self.kind, self.model.name, method))
        head = (kind, title, versus, order, step, case.radiograph.id, case.radiograph.patient, case.finding)
        for protocol in self.protocols:
            for measure, value in a[protocol.name].likeness(b[protocol.name], _LOOKS[protocol.definitions][1]).items():
                yield (*head, protocol.name, measure, value)

    def risen(self, method: str, versus: str, case: Case, a: Array, b: Array, order: str, step: int
              ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
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
    """Write the table similarity, from tasks of `forget` and `compare`."""
    write_chunks(run, "similarity", {"similarity": SCHEMA}, *tasks)


def forget(c: Comparison, drawn: Sequence[Block], orders: Sequence[Order], draws: int = 1) -> ChunkedTask[str]:
    """Return the task that compares every map with those of the same network after each block it forgets.

    draws: how often, with other weights each time; a case then has as many rows of a stage.

    What is computed before the first block drawn is kept, so that a stage costs methods without input gradients only
    what changed.
    """
    asked, whole, needed = c.asked, [b.name for b in network_blocks(c.model)], _layers_needed(c.methods)
    if any(method_of(m)[0].facts.needs == "attention" for m in c.methods):
        whole = []  # they watch every block attend: none may answer from memory

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        batch = prepared(c.model, some)
        if batch is None:
            return
        x, ids = batch.x, batch.ids
        known = [recorded(c.model, batch_of, whole, needed) for batch_of in torch.split(x, asked.batch)]
        before = _maps(c, c.model, x, ids, asked)
        liked = _preferred(c, c.model, x, ids, asked, before)
        there = [(case, m, (ids.index(case.radiograph.id), asked.findings.index(case.finding)))
                 for case in some if case.radiograph.id in ids for m in c.methods]  # fmt: skip
        looked = [c.looks(before[method][at], liked[method][at]) for _, method, at in there]
        for order, draw in itertools.product(orders, range(draws)):
            seed = asked.seed + 7919 * draw
            changed: list[str] = []
            for step, (block, model) in enumerate(stages(c.model, drawn, order, seed)):
                changed = [*block.layers] if order == "independent" else [*changed, *block.layers]
                with ExitStack() as memory:
                    for prefix in known:
                        memory.enter_context(prefix.recalled(model.net, changed))
                    # What a method draws, it draws anew
                    fresh = replace(asked, seed=seed + step + 1)
                    after = _maps(c, model, x, ids, fresh)
                    now = _preferred(c, model, x, ids, fresh, after)
                for (case, method, at), look in zip(there, looked, strict=True):
                    a, b = before[method][at], after[method][at]
                    looks = c.looks(b, now[method][at])
                    yield from c.rows(FORGETTING, method, block.title, case, look, looks, order, step + 1)
                    yield from c.risen(method, block.title, case, a, b, order, step + 1)

    return case_task("similarity", "randomizing", c.cases, made)


def _maps(c: Comparison, model: Model, x: Tensor, ids: Sequence[str], asked: Asked) -> dict[str, Array]:
    """Method -> float32 (N, T, side, side); the mean over noisy copies if the comparison is smooth.

    Smooth parameter randomization, Hedström et al. 2024, arXiv:2401.06465, with noise of a tenth of the range of x.
    """
    if not c.smooth:
        return fine_maps(model, x, ids, c.methods, asked)
    total: dict[str, Array] = {}
    with Pass(model, x, ids=ids, seed=c.asked.seed) as p:
        copies = list(noisy(p, c.smooth, 0.1))  # the same copies at every stage
    for draw, copy in enumerate(copies):
        again = replace(asked, seed=asked.seed + 1000 * draw)
        for method, maps in fine_maps(model, copy, ids, c.methods, again).items():
            total[method] = total.get(method, 0) + maps / c.smooth
    return total


def _preferred(
    c: Comparison, model: Model, x: Tensor, ids: Sequence[str], asked: Asked, maps: dict[str, Array]
) -> dict[str, Array]:
    """`maps`, and where the model denies a finding (logit below 0) the map of its absence, whose logit is the negative.

    What the published code explains, which asks a network with two classes for the one it prefers.
    """
    if not c.preferred:
        return maps
    denied = logits(model, x)[:, [model.index(f) for f in asked.findings]] < 0  # (N, T)
    if not denied.any():
        return maps
    handle = model.net.register_forward_hook(lambda _, __, logit: -logit)
    try:
        absent = _maps(c, model, x, ids, asked)
    finally:
        handle.remove()
    return {method: np.where(denied[..., None, None], absent[method], of) for method, of in maps.items()}


def _layers_needed(methods: Sequence[str]) -> list[str]:
    """Paths of the modules whose outputs methods look at."""
    return [path for method in methods if (path := parse_spec(method)[2].get("layer", ""))]


def compare(c: Comparison, partners: Mapping[str, str]) -> ChunkedTask[str]:
    """Return the task that compares stored maps of the model with those of other models and of other patients.

    partners: name of a model -> `AGAIN`, `OTHER` or `SHUFFLED`. The other patient shows the same finding, and is drawn
    by id: what two maps have in common when nothing but chance (and the finding) joins them. Each network shows its map
    of that one patient: where a network likes to look, whatever the film, is then in the comparison and in its chance.

    A stage of `forget` has the model's own map of the other patient for its chance, as published. That of the forgetful
    network would do to it what a partner's does here, but has to be computed: twice the forwards.
    """
    mine = {str(Source(c.kind, c.model.name, method)): method for method in c.methods}
    theirs = {str(Source(c.kind, name, method)) for name in partners for method in c.methods}

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        held = {i: list(c.run.of(i, {*mine, *theirs})) for i in dict.fromkeys(case.radiograph.id for case in some)}
        for case in some:
            other = another(case, c.cases, c.asked.seed)
            own = _of_case(held[case.radiograph.id], case)
            far = {} if other is None else _of_case(c.run.of(other.radiograph.id, {*mine, *theirs}), other)
            for source, method in mine.items():
                if source not in own:
                    continue
                against = [(PAIR, "", far.get(source))]
                for name, kind in partners.items():
                    his = str(Source(c.kind, name, method))
                    against += [(kind, name, own.get(his)), (PAIR, name, far.get(his))]
                look = _seen(c, own[source])
                for kind, versus, b in against:
                    if b is not None:
                        _require_one_frame(own[source], b)
                        yield from c.rows(kind, method, versus, case, look, _seen(c, b))

    title = "comparing" if c.kind == "model" else f"comparing {c.kind}"
    return case_task("similarity", title, c.cases, made)


def _of_case(maps: Iterable[SaliencyMap], case: Case) -> dict[str, SaliencyMap]:
    """Source -> its map of the case, failed or not; none where the image itself could not be read."""
    return {m.source: m for m in maps if m.finding == case.finding and m.status != "unreadable"}


def _seen(c: Comparison, stored: SaliencyMap) -> Looks:
    """A stored map, ready to be compared; one that failed, or is flat as a protocol looks at it, is like no other."""
    side = c.model.side
    said = stored.status == "ok"
    looks = c.looks(fine(stored, side) if said else np.full((side, side), np.nan, np.float32))
    return {name: replace(look, finite=look.finite and not look.flat) for name, look in looks.items()}


def _require_one_frame(a: SaliencyMap, b: SaliencyMap) -> None:
    """Errors: `DataError` if two maps of one radiograph are not of the same part of it."""
    if a.status == b.status == "ok" and a.radiograph == b.radiograph and a.frame != b.frame:
        raise DataError(
            f"{a.source} and {b.source} see different parts of {a.radiograph}; compare models with one way to resize"
        )
