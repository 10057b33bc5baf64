"""How alike maps stay: when the network forgets, when it is trained again, and when nothing but chance joins them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from sightline.casework import Case, fine_maps, prepared, worked
from sightline.controls import generator
from sightline.core import Array, DataError, SaliencyMap
from sightline.methods import Of
from sightline.metrics.similarity import rank_correlation, shown, ssim, top_overlap
from sightline.models import Model
from sightline.models.prefix import recorded
from sightline.models.randomize import Block, Order, stages
from sightline.models.randomize import blocks as network_blocks
from sightline.protocol import Protocol
from sightline.spec import parse_spec
from sightline.store import Run

PAIR, AGAIN, OTHER, FORGETTING = "pair", "repeatability", "reproducibility", "randomization"
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("kind", "method", "versus", "order")]
    + [("step", pa.int64())]
    + [(name, pa.string()) for name in ("radiograph", "patient", "finding", "protocol", "measure")]
    + [("value", pa.float64())]
)
"""Of the table `similarity`: one row per two maps, protocol and measure. versus: the stage, model or radiograph that
the map of the model is compared with."""
_LOOKS = {"published": ("published", 2.0), "corrected": ("raw", 1.0)}
"""Protocol -> how maps are brought to [0, 1], and the data range of SSIM."""


def likeness(a: Array, b: Array, protocols: Sequence[Protocol]) -> Iterator[tuple[str, str, float]]:
    """(protocol, measure, value) of two maps (h, w); NaN where one is not finite."""
    for protocol in protocols:
        how, data_range = _LOOKS[protocol.name]
        first, second = (shown(m, how) for m in (a, b))  # type: ignore[arg-type]
        yield protocol.name, "ssim", float(ssim(first, second, data_range))
        yield protocol.name, "rank", float(rank_correlation(first, second))
        yield protocol.name, "top", float(top_overlap(first, second))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and where the rows go."""

    run: Run
    model: Model
    methods: tuple[str, ...]
    cases: tuple[Case, ...]
    protocols: tuple[Protocol, ...]
    seed: int
    of: Of
    prefix: str = ""
    """Before the names of all models in the sources of maps: 'localizer/'. Rows then name source and not method."""

    def rows(self, kind: str, method: str, versus: str, case: Case, a: Array, b: Array, order: str = "", step: int = 0
             ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Rows of `SCHEMA` for two maps."""
        title = f"{self.prefix}{self.model.name}/{method}" if self.prefix else method
        head = (kind, title, versus, order, step, case.radiograph.id, case.radiograph.patient, case.finding)
        for protocol, measure, value in likeness(a, b, self.protocols):
            yield (*head, protocol, measure, value)


def forget(c: Comparison, drawn: Sequence[Block], orders: Sequence[Order]) -> list[str]:
    """Compare every map with those of the same network after each block it forgets; the keys of the parts.

    What is computed before the first block drawn is kept, so that a stage costs methods without input gradients only
    what changed.
    """
    whole, needed = [b.name for b in network_blocks(c.model)], _layers_needed(c)

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        batch = prepared(c.model, some)
        if batch is None:
            return
        x, ids = batch.x, batch.ids
        prefix = recorded(c.model, x, whole, needed)
        before = fine_maps(c.model, c.methods, x, ids, c.seed, c.of)
        for order in orders:
            changed: list[str] = []
            for step, (block, model) in enumerate(stages(c.model, drawn, order, c.seed)):
                changed = [*block.layers] if order == "independent" else [*changed, *block.layers]
                with prefix.recalled(model.net, changed):
                    # What a method draws, it draws anew
                    after = fine_maps(model, c.methods, x, ids, c.seed + step + 1, c.of)
                for method in c.methods:
                    for case in (case for case in some if case.radiograph.id in ids):
                        at = ids.index(case.radiograph.id), c.model.index(case.finding)
                        a, b = before[method][at], after[method][at]
                        yield from c.rows(FORGETTING, method, block.name, case, a, b, order, step + 1)

    return worked(c.run, "similarity", "randomizing", SCHEMA, c.cases, made)


def _layers_needed(c: Comparison) -> list[str]:
    """Paths of the modules whose outputs methods look at."""
    named = [parse_spec(method)[2].get("layer", "") for method in c.methods]
    return [path for path in (*named, c.model.cut.where if c.model.cut else "") if path]


def compare(c: Comparison, partners: Mapping[str, str]) -> list[str]:
    """Compare stored maps of the model with those of other models and of other patients; the keys of the parts.

    partners: name of a model -> `AGAIN` or `OTHER`. The other patient shows the same finding, and is drawn by id: what
    two maps have in common when nothing but chance (and the finding) joins them.
    """

    def made(some: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        for case in some:
            own, other = _stored(c.run, case), _other(c, case)
            far = {} if other is None else _stored(c.run, other)
            for method in c.methods:
                source = f"{c.prefix}{c.model.name}/{method}"
                against = [(kind, name, own.get(f"{c.prefix}{name}/{method}")) for name, kind in partners.items()]
                against.append((PAIR, "" if other is None else other.radiograph.id, far.get(source)))
                for kind, versus, b in against:
                    if source in own and b is not None:
                        yield from c.rows(kind, method, versus, case, *_aligned(own[source], b, c.model.side))

    return worked(c.run, "similarity", f"comparing {c.prefix.strip('/')}".strip(), SCHEMA, c.cases, made)


def _other(c: Comparison, case: Case) -> Case | None:
    """Another patient's case of the same finding, keyed by (seed, id, finding)."""
    there = [o for o in c.cases if o.finding == case.finding and o.radiograph.patient != case.radiograph.patient]
    if not there:
        return None
    return there[int(generator(c.seed, "pair", case.radiograph.id, case.finding).integers(len(there)))]


def _stored(run: Run, case: Case) -> dict[str, SaliencyMap]:
    return {m.source: m for m in run.of(case.radiograph.id) if m.finding == case.finding and m.values.size}


def _aligned(a: SaliencyMap, b: SaliencyMap, side: int) -> tuple[Array, Array]:
    """Both maps at side × side pixels (h, w). Errors: `DataError` if they are not of the same part of an image."""
    if a.radiograph == b.radiograph and a.frame != b.frame:
        raise DataError(
            f"{a.source} and {b.source} see different parts of {a.radiograph}; compare models with one way to resize"
        )
    first, second = (cv2.resize(m.values, (side, side), interpolation=cv2.INTER_LINEAR) for m in (a, b))
    return np.asarray(first), np.asarray(second)
