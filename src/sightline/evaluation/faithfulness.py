"""Does the model's own output change where a map says the evidence is? Places are taken away, and the model is asked.

Each criterion has known faults: erased images are unlike any radiograph, and coarse maps or maps that merely cover the
body do well whatever they say of the image. So each is compared with the map of another patient with the same finding,
by the same method: as coarse, over the same anatomy, but of another image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import pyarrow as pa
import torch
from scipy.special import expit

from sightline._util.rng import BLANKED_SQUARES, IMPUTATION_NOISE, TIED_PIXELS, keyed_rng
from sightline.core import NAN, Array, Case, Frame, Maps, SaliencyMap
from sightline.evaluation.sampling import another, case_task
from sightline.imaging.inpaint import imputed
from sightline.maps.resample import as_seen, fine
from sightline.methods.inference import logits, prepared
from sightline.models import Model
from sightline.runs.chunks import Rows, write_chunks
from sightline.runs.run import Run
from sightline.stats.faithfulness import RANDOM

SHARES = (0.1, 0.2, 0.4, 0.7)
"""Of the places erased or shown, for deletion and insertion; with none and all of them."""
ROAD_SHARES = (0.2, 0.5)
NOISE = 0.02
"""Standard deviation added to imputed places, of a range of 1."""
PATCHES = 40
"""Squares erased one at a time for infidelity, an eighth to a quarter of the side wide."""
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source", "radiograph", "patient", "finding", "measure")]
    + [("value", pa.float64()), ("chance", pa.float64())]
)
"""chance: the same with the map that the source gave for another patient with the finding; NaN where none is asked."""


@dataclass(frozen=True)
class Film:
    """One radiograph as the model sees it, and what erasing makes of it."""

    model: Model
    id: str
    seen: Array
    """float32 (side, side) in [0, 1]."""
    frame: Frame
    seed: int

    @cached_property
    def blank(self) -> float:
        """What erased places become: the mean of the film."""
        return float(self.seen.mean())

    @cached_property
    def blurred(self) -> Array:
        """Where insertion starts, float32 (side, side)."""
        found: Array = cv2.GaussianBlur(self.seen, (0, 0), self.model.side / 20)
        return found

    @cached_property
    def ends(self) -> Array:
        """Probabilities of the film, of nothing of it, and of the blurred film: float64 (3, F)."""
        return self.probabilities([self.seen, np.full_like(self.seen, self.blank), self.blurred])

    def probabilities(self, images: Sequence[Array]) -> Array:
        """float64 (K, F) of K images (side, side)."""
        said: Array = expit(self.logits(images))
        return said

    def logits(self, images: Sequence[Array]) -> Array:
        """float64 (K, F)."""
        x = torch.from_numpy(np.stack(images).astype(np.float32)).to(self.model.device)
        return logits(self.model, self.model.normalize(x))

    def order(self, values: Array, finding: str) -> Array:
        """Places by falling value, int64 (side²,); ties by chance, keyed by (seed, id, finding)."""
        drawn = keyed_rng(self.seed, TIED_PIXELS, self.id, finding).permutation(values.size)
        return drawn[np.argsort(-values.ravel()[drawn], kind="stable")]

    def erased(self, places: Array) -> Array:
        """The film with places blank."""
        out = self.seen.ravel().copy()
        out[places] = self.blank
        return out.reshape(self.seen.shape)

    def smoothed(self, places: Array, finding: str) -> Array:
        """The film with places filled from their surroundings and noise, (Rong et al. 2022)."""
        flat = np.zeros(self.seen.size, bool)
        flat[places] = True
        missing = flat.reshape(self.seen.shape)
        noise = keyed_rng(self.seed, IMPUTATION_NOISE, self.id, finding).standard_normal(self.seen.shape, np.float32)
        return np.where(missing, imputed(self.seen, missing) + NOISE * noise, self.seen).clip(0, 1)


def erasing(film: Film, order: Array, finding: str) -> dict[str, float]:
    """deletion, insertion (areas under the probability, Petsiuk et al. 2018, arXiv:1806.07421) and road.

    deletion starts at the film and blanks the highest places first; insertion starts at the blurred film.
    """
    place, seen = film.model.index(finding), film.seen.ravel()
    images = [film.erased(order[: round(share * order.size)]) for share in SHARES]
    for share in SHARES:
        shown, some = film.blurred.ravel().copy(), order[: round(share * order.size)]
        shown[some] = seen[some]
        images.append(shown.reshape(film.seen.shape))
    images += _smoothed(film, order, finding)
    found = film.probabilities(images)[:, place]  # all in one batch: networks are faster on many
    inner = found[: 2 * len(SHARES)].reshape(2, -1)
    whole, nothing, blurred = film.ends[:, place]
    at = np.array([0, *SHARES, 1])
    deletion = np.trapezoid([whole, *inner[0], nothing], at)
    insertion = np.trapezoid([blurred, *inner[1], whole], at)
    return {"deletion": float(deletion), "insertion": float(insertion), "road": _gap(found[inner.size :])}


def road(film: Film, order: Array, finding: str) -> float:
    """Mean probability with the lowest places imputed less that with the highest ones, over `ROAD_SHARES`: [-1, 1]."""
    return _gap(film.probabilities(_smoothed(film, order, finding))[:, film.model.index(finding)])


def _smoothed(film: Film, order: Array, finding: str) -> list[Array]:
    """The film with its lowest and its highest places imputed, for each of `ROAD_SHARES`."""
    counts = [round(share * order.size) for share in ROAD_SHARES]
    return [film.smoothed(some, finding) for count in counts for some in (order[-count:], order[:count])]


def _gap(p: Array) -> float:
    """Of probabilities of `_smoothed`."""
    return float((p[::2] - p[1::2]).mean())


@dataclass(frozen=True, slots=True)
class Erasures:
    """What the logits lose when squares of one film are blanked."""

    squares: Array
    """int64 (K, 4): top, left, bottom, right."""
    losses: Array
    """float64 (K, F)."""

    @classmethod
    def of(cls, film: Film) -> Erasures:
        """`PATCHES` squares keyed by (seed, id)."""
        side, draw = film.model.side, keyed_rng(film.seed, BLANKED_SQUARES, film.id)
        width = draw.integers(max(1, side // 8), max(2, side // 4), PATCHES, endpoint=True)
        top, left = (draw.integers(0, side - width, endpoint=True) for _ in range(2))
        squares = np.stack([top, left, top + width, left + width], 1)
        images = [film.seen]
        for a, b, c, d in squares:
            image = film.seen.copy()
            image[a:c, b:d] = film.blank
            images.append(image)
        logits = film.logits(images)
        return cls(squares, logits[:1] - logits[1:])

    def infidelity(self, values: Array, place: int) -> float:
        """Share of the squared losses that sums of the map over the squares, best scaled, leave unexplained: [0, 1].

        Infidelity of Yeh et al. 2019, arXiv:1901.09392, with optimal scaling and square removal, as a share. NaN where
        no square changes the logit.
        """
        total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        a, b, c, d = self.squares.T
        sums = total[c, d] - total[a, d] - total[c, b] + total[a, b]
        losses = self.losses[:, place]
        if not losses.any():
            return NAN
        size = float(sums @ sums)
        explained = 0.0 if size == 0 else max(0.0, float(sums @ losses)) ** 2 / (size * float(losses @ losses))
        return 1 - explained


def complexity(values: Array) -> float:
    """Entropy of a map's magnitudes as a share of the largest possible, in [0, 1]; Bhatt et al. 2020, arXiv:2005.00631.

    >>> complexity(np.eye(1, 9)), complexity(np.ones(9))
    (0.0, 1.0)
    """
    size = np.abs(np.asarray(values, np.float64)).ravel()
    total = size.sum()
    if total == 0 or size.size < 2:
        return 1.0
    share = size / total
    share = share[share > 0]  # after the division, which may come to nothing
    return abs(float(-(share * np.log(share)).sum() / np.log(size.size)))


def tried(run: Run, controls: Maps, model: Model, sources: Mapping[str, str], some: Sequence[Case], seed: int) -> None:
    """Write the table faithfulness: maps of `sources` (source -> name in the table), stored in the run or of controls.

    Rows of `SCHEMA`, with those of `RANDOM`. A flat or missing map
    orders places by chance, so that failures lose.
    """

    def maps(radiograph: str) -> list[SaliencyMap]:
        return [*run.of(radiograph, sources), *(m for m in controls.of(radiograph) if m.source in sources)]

    def made(part: Sequence[Case]) -> Iterator[tuple[object, ...]]:
        batch = prepared(model, part)
        if batch is None:
            return
        for at, name in enumerate(batch.ids):
            film = Film(model, name, batch.seen[at], batch.frames[at], seed)
            stored, squares = maps(name), Erasures.of(film)
            for case in (c for c in part if c.radiograph.id == name):
                other = another(case, some, seed)
                far = [] if other is None else maps(other.radiograph.id)
                yield from _of_case(film, squares, (stored, far), sources, case)

    write_chunks(run, "faithfulness", {"faithfulness": SCHEMA}, case_task("faithfulness", "erasing", some, made))


def _of_case(
    film: Film,
    squares: Erasures,
    stored: tuple[Sequence[SaliencyMap], Sequence[SaliencyMap]],
    sources: Mapping[str, str],
    case: Case,
) -> Rows:
    """stored: maps of this radiograph, and of the other patient's."""
    own, far = ({m.source: m for m in some if m.finding == case.finding} for some in stored)
    head = (case.radiograph.id, case.radiograph.patient, case.finding)
    for source, name in sources.items():
        values, other = _values(own.get(source), film), _values(far.get(source), film, own=False)
        found = erasing(film, film.order(values, case.finding), case.finding)
        chance = erasing(film, film.order(other, case.finding), case.finding) if source in far else {}
        found |= {
            "infidelity": squares.infidelity(values, film.model.index(case.finding)),
            "complexity": complexity(values),
        }
        for measure, value in found.items():
            yield (name, *head, measure, value, chance.get(measure, NAN))
    flat = np.zeros(film.seen.shape, np.float32)
    for measure, value in erasing(film, film.order(flat, case.finding), case.finding).items():
        yield (RANDOM, *head, measure, value, NAN)


def _values(stored: SaliencyMap | None, film: Film, own: bool = True) -> Array:
    """float32 (side, side); zeros where there is no map. own: of this film, in whose frame it is laid."""
    if stored is None or stored.status in ("missing", "refused", "non-finite", "unreadable") or not stored.values.size:
        return np.zeros(film.seen.shape, np.float32)
    return as_seen(stored, film.frame, film.model.side) if own else fine(stored, film.model.side)
