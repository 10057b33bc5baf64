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
from sightline.evaluation.sampling import case_task, draw_other_patient
from sightline.imaging.inpaint import inpaint
from sightline.maps.resample import resample_to_frame, upsample
from sightline.methods.inference import compute_logits, make_batch
from sightline.models import Model
from sightline.runs.chunks import Rows, write_chunks
from sightline.runs.run import Run
from sightline.stats.faithfulness import RANDOM_ORDER

ERASED_SHARES = (0.1, 0.2, 0.4, 0.7)
"""Of the places erased or shown, for deletion and insertion; with none and all of them."""
ROAD_SHARES = (0.2, 0.5)
ROAD_NOISE_STD = 0.02
"""Standard deviation added to imputed places, of a range of 1."""
N_SQUARES = 40
"""Squares erased one at a time for infidelity, an eighth to a quarter of the side wide."""
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source", "radiograph", "patient", "finding", "measure")]
    + [("value", pa.float64()), ("chance", pa.float64())]
)
"""chance: the same with the map that the source gave for another patient with the finding; NaN where none is asked."""


@dataclass(frozen=True)
class PerturbedImage:
    """One radiograph as the model sees it, and what erasing makes of it."""

    model: Model
    id: str
    image: Array
    """float32 (side, side) in [0, 1]."""
    frame: Frame
    seed: int

    @cached_property
    def fill_value(self) -> float:
        """What erased places become: the mean of the film."""
        return float(self.image.mean())

    @cached_property
    def blurred(self) -> Array:
        """Where insertion starts, float32 (side, side)."""
        found: Array = cv2.GaussianBlur(self.image, (0, 0), self.model.side / 20)
        return found

    @cached_property
    def endpoints(self) -> Array:
        """Probabilities of the film, of nothing of it, and of the blurred film: float64 (3, F)."""
        return self.probabilities([self.image, np.full_like(self.image, self.fill_value), self.blurred])

    def probabilities(self, images: Sequence[Array]) -> Array:
        """float64 (K, F) of K images (side, side)."""
        said: Array = expit(self.logits(images))
        return said

    def logits(self, images: Sequence[Array]) -> Array:
        """float64 (K, F)."""
        x = torch.from_numpy(np.stack(images).astype(np.float32)).to(self.model.device)
        return compute_logits(self.model, self.model.normalize(x))

    def rank_pixels(self, values: Array, finding: str) -> Array:
        """Places by falling value, int64 (side²,); ties by chance, keyed by (seed, id, finding)."""
        drawn = keyed_rng(self.seed, TIED_PIXELS, self.id, finding).permutation(values.size)
        return drawn[np.argsort(-values.ravel()[drawn], kind="stable")]

    def erase(self, pixels: Array) -> Array:
        """The film with places blank."""
        out = self.image.ravel().copy()
        out[pixels] = self.fill_value
        return out.reshape(self.image.shape)

    def impute(self, pixels: Array, finding: str) -> Array:
        """The film with places filled from their surroundings and noise, (Rong et al. 2022)."""
        flat = np.zeros(self.image.size, bool)
        flat[pixels] = True
        missing = flat.reshape(self.image.shape)
        noise = keyed_rng(self.seed, IMPUTATION_NOISE, self.id, finding).standard_normal(self.image.shape, np.float32)
        return np.where(missing, inpaint(self.image, missing) + ROAD_NOISE_STD * noise, self.image).clip(0, 1)


def score_erasure(perturbed: PerturbedImage, order: Array, finding: str) -> dict[str, float]:
    """deletion, insertion (areas under the probability, Petsiuk et al. 2018, arXiv:1806.07421) and road.

    deletion starts at the film and blanks the highest places first; insertion starts at the blurred film.
    """
    place, seen = perturbed.model.index(finding), perturbed.image.ravel()
    images = [perturbed.erase(order[: round(share * order.size)]) for share in ERASED_SHARES]
    for share in ERASED_SHARES:
        shown, some = perturbed.blurred.ravel().copy(), order[: round(share * order.size)]
        shown[some] = seen[some]
        images.append(shown.reshape(perturbed.image.shape))
    images += _impute_extremes(perturbed, order, finding)
    found = perturbed.probabilities(images)[:, place]  # all in one batch: networks are faster on many
    inner = found[: 2 * len(ERASED_SHARES)].reshape(2, -1)
    whole, nothing, blurred = perturbed.endpoints[:, place]
    at = np.array([0, *ERASED_SHARES, 1])
    deletion = np.trapezoid([whole, *inner[0], nothing], at)
    insertion = np.trapezoid([blurred, *inner[1], whole], at)
    return {
        "deletion": float(deletion),
        "insertion": float(insertion),
        "road": _mean_probability_gap(found[inner.size :]),
    }


def road(perturbed: PerturbedImage, order: Array, finding: str) -> float:
    """Mean probability with the lowest places imputed less that with the highest ones, over `ROAD_SHARES`: [-1, 1]."""
    return _mean_probability_gap(
        perturbed.probabilities(_impute_extremes(perturbed, order, finding))[:, perturbed.model.index(finding)]
    )


def _impute_extremes(perturbed: PerturbedImage, order: Array, finding: str) -> list[Array]:
    """The film with its lowest and its highest places imputed, for each of `ROAD_SHARES`."""
    counts = [round(share * order.size) for share in ROAD_SHARES]
    return [perturbed.impute(some, finding) for count in counts for some in (order[-count:], order[:count])]


def _mean_probability_gap(p: Array) -> float:
    """Of probabilities of `_impute_extremes`."""
    return float((p[::2] - p[1::2]).mean())


@dataclass(frozen=True, slots=True)
class PatchOcclusions:
    """What the logits lose when squares of one film are blanked."""

    squares: Array
    """int64 (K, 4): top, left, bottom, right."""
    logit_drops: Array
    """float64 (K, F)."""

    @classmethod
    def from_image(cls, perturbed: PerturbedImage) -> PatchOcclusions:
        """`N_SQUARES` squares keyed by (seed, id)."""
        side, draw = perturbed.model.side, keyed_rng(perturbed.seed, BLANKED_SQUARES, perturbed.id)
        width = draw.integers(max(1, side // 8), max(2, side // 4), N_SQUARES, endpoint=True)
        top, left = (draw.integers(0, side - width, endpoint=True) for _ in range(2))
        squares = np.stack([top, left, top + width, left + width], 1)
        images = [perturbed.image]
        for a, b, c, d in squares:
            image = perturbed.image.copy()
            image[a:c, b:d] = perturbed.fill_value
            images.append(image)
        logits = perturbed.logits(images)
        return cls(squares, logits[:1] - logits[1:])

    def infidelity(self, values: Array, column: int) -> float:
        """Share of the squared losses that sums of the map over the squares, best scaled, leave unexplained: [0, 1].

        Infidelity of Yeh et al. 2019, arXiv:1901.09392, with optimal scaling and square removal, as a share. NaN where
        no square changes the logit.
        """
        total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        a, b, c, d = self.squares.T
        sums = total[c, d] - total[a, d] - total[c, b] + total[a, b]
        losses = self.logit_drops[:, column]
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


def score_faithfulness(
    run: Run, controls: Maps, model: Model, sources: Mapping[str, str], cases: Sequence[Case], seed: int
) -> None:
    """Write the table faithfulness: maps of `sources` (source -> name in the table), stored in the run or of controls.

    Rows of `SCHEMA`, with those of `RANDOM`. A flat or missing map
    orders places by chance, so that failures lose.
    """

    def maps(radiograph: str) -> list[SaliencyMap]:
        return [*run.maps_for(radiograph, sources), *(m for m in controls.maps_for(radiograph) if m.source in sources)]

    def made(part: Sequence[Case]) -> Iterator[tuple[object, ...]]:
        batch = make_batch(model, [case.radiograph for case in part])
        if batch is None:
            return
        for at, name in enumerate(batch.ids):
            film = PerturbedImage(model, name, batch.images[at], batch.frames[at], seed)
            stored, squares = maps(name), PatchOcclusions.from_image(film)
            for case in (c for c in part if c.radiograph.id == name):
                other = draw_other_patient(case, cases, seed)
                far = [] if other is None else maps(other.radiograph.id)
                yield from _score_case(film, squares, (stored, far), sources, case)

    write_chunks(run, "faithfulness", {"faithfulness": SCHEMA}, case_task("faithfulness", "erasing", cases, made))


def _score_case(
    perturbed: PerturbedImage,
    occlusions: PatchOcclusions,
    stored: tuple[Sequence[SaliencyMap], Sequence[SaliencyMap]],
    sources: Mapping[str, str],
    case: Case,
) -> Rows:
    """stored: maps of this radiograph, and of the other patient's."""
    own, far = ({m.source: m for m in some if m.finding == case.finding} for some in stored)
    head = (case.radiograph.id, case.radiograph.patient, case.finding)
    for source, name in sources.items():
        values, other = (
            _map_values(own.get(source), perturbed),
            _map_values(far.get(source), perturbed, same_image=False),
        )
        found = score_erasure(perturbed, perturbed.rank_pixels(values, case.finding), case.finding)
        chance = (
            score_erasure(perturbed, perturbed.rank_pixels(other, case.finding), case.finding) if source in far else {}
        )
        found |= {
            "infidelity": occlusions.infidelity(values, perturbed.model.index(case.finding)),
            "complexity": complexity(values),
        }
        for measure, value in found.items():
            yield (name, *head, measure, value, chance.get(measure, NAN))
    flat = np.zeros(perturbed.image.shape, np.float32)
    for measure, value in score_erasure(perturbed, perturbed.rank_pixels(flat, case.finding), case.finding).items():
        yield (RANDOM_ORDER, *head, measure, value, NAN)


def _map_values(stored: SaliencyMap | None, perturbed: PerturbedImage, same_image: bool = True) -> Array:
    """float32 (side, side); zeros where there is no map. own: of this film, in whose frame it is laid."""
    if stored is None or stored.status in ("missing", "refused", "non-finite", "unreadable") or not stored.values.size:
        return np.zeros(perturbed.image.shape, np.float32)
    return (
        resample_to_frame(stored, perturbed.frame, perturbed.model.side)
        if same_image
        else upsample(stored, perturbed.model.side)
    )
