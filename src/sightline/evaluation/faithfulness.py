"""Faithfulness: changes of the model's own output when places that a map ranks high or low are perturbed.

Erased images are unlike any radiograph, and coarse maps or maps that merely cover the body do well whatever the image.
So each map is compared with that of another patient with the same finding, by the same method.
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
from sightline.stats.faithfulness import RANDOM_ORDER, RESPONSE

ERASED_SHARES = (0.1, 0.2, 0.4, 0.7)
"""Shares of the pixels that deletion erases and insertion shows, in addition to 0 and 1."""
ROAD_SHARES = (0.2, 0.5)
"""Shares of the pixels that ROAD imputes."""
ROAD_NOISE_STD = 0.02
"""Standard deviation of the noise added to imputed pixels, in images in [0, 1]."""
N_SQUARES = 40
"""Squares that are erased one at a time for infidelity, each an eighth to a quarter of the side wide."""
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source", "radiograph", "patient", "finding", "measure")]
    + [("value", pa.float64()), ("chance", pa.float64())]
)
"""Columns of the table. chance: the value with the source's map of another patient with the finding, or NaN."""


@dataclass(frozen=True)
class PerturbedImage:
    """One radiograph in the input frame of a model, and its perturbations."""

    model: Model
    """The model that predicts the perturbed images."""
    id: str
    """Id of the radiograph."""
    image: Array
    """float32 (side, side) in [0, 1]."""
    frame: Frame
    """Part of the radiograph that the image shows."""
    seed: int
    """Seed of noise and ties."""

    @cached_property
    def fill_value(self) -> float:
        """Value of erased pixels: the mean of the image."""
        return float(self.image.mean())

    @cached_property
    def blurred(self) -> Array:
        """float32 (side, side): the blurred image, at which insertion starts."""
        blurred: Array = cv2.GaussianBlur(self.image, (0, 0), self.model.side / 20)
        return blurred

    @cached_property
    def endpoints(self) -> Array:
        """float64 (3, F): probabilities of the image, of the fill value alone, and of the blurred image."""
        return self.probabilities([self.image, np.full_like(self.image, self.fill_value), self.blurred])

    def probabilities(self, images: Sequence[Array]) -> Array:
        """Compute the probabilities of perturbed images.

        Parameters
        ----------
        images : sequence of ndarray, (side, side)
            K images in [0, 1].

        Returns
        -------
        ndarray, (K, F) float64
        """
        probabilities: Array = expit(self.logits(images))
        return probabilities

    def logits(self, images: Sequence[Array]) -> Array:
        """Compute the logits of perturbed images.

        Parameters
        ----------
        images : sequence of ndarray, (side, side)
            K images in [0, 1].

        Returns
        -------
        ndarray, (K, F) float64
        """
        x = torch.from_numpy(np.stack(images).astype(np.float32)).to(self.model.device)
        return compute_logits(self.model, self.model.normalize(x))

    def rank_pixels(self, values: Array, finding: str) -> Array:
        """Order pixels by falling value, with ties in random order, keyed by (seed, id, finding).

        Parameters
        ----------
        values : ndarray, (side, side)
            A map.
        finding : str
            Its finding.

        Returns
        -------
        ndarray, (side²,) int64
            Flat indices of the pixels.
        """
        drawn = keyed_rng(self.seed, TIED_PIXELS, self.id, finding).permutation(values.size)
        return drawn[np.argsort(-values.ravel()[drawn], kind="stable")]

    def erase(self, pixels: Array) -> Array:
        """Return the image with pixels set to the fill value.

        Parameters
        ----------
        pixels : ndarray of int64
            Flat indices of the pixels.

        Returns
        -------
        ndarray, (side, side) float32
        """
        erased = self.image.ravel().copy()
        erased[pixels] = self.fill_value
        return erased.reshape(self.image.shape)

    def impute(self, pixels: Array, finding: str) -> Array:
        """Return the image with pixels imputed from their surroundings, with noise (Rong et al. 2022).

        Parameters
        ----------
        pixels : ndarray of int64
            Flat indices of the pixels.
        finding : str
            Finding, which keys the noise with seed and id.

        Returns
        -------
        ndarray, (side, side) float32
        """
        flat = np.zeros(self.image.size, bool)
        flat[pixels] = True
        missing = flat.reshape(self.image.shape)
        noise = keyed_rng(self.seed, IMPUTATION_NOISE, self.id, finding).standard_normal(self.image.shape, np.float32)
        return np.where(missing, inpaint(self.image, missing) + ROAD_NOISE_STD * noise, self.image).clip(0, 1)


def score_erasure(perturbed: PerturbedImage, order: Array, finding: str) -> dict[str, float]:
    """Score an order of pixels by deletion, insertion and ROAD.

    Parameters
    ----------
    perturbed : PerturbedImage
        The image.
    order : ndarray, (side²,) int64
        Flat indices of the pixels, highest first.
    finding : str
        Finding whose probability counts.

    Returns
    -------
    dict of str to float
        'deletion' and 'insertion': areas under the probability, in [0, 1] (Petsiuk et al. 2018, arXiv:1806.07421).
        Deletion starts at the image and erases the highest pixels first; insertion starts at the blurred image. 'road':
        see `road`.
    """
    column, original = perturbed.model.index(finding), perturbed.image.ravel()
    images = [perturbed.erase(order[: round(share * order.size)]) for share in ERASED_SHARES]
    for share in ERASED_SHARES:
        inserted, pixels = perturbed.blurred.ravel().copy(), order[: round(share * order.size)]
        inserted[pixels] = original[pixels]
        images.append(inserted.reshape(perturbed.image.shape))
    images += _impute_extremes(perturbed, order, finding)
    probabilities = perturbed.probabilities(images)[:, column]  # all in one batch: networks are faster on many
    inner = probabilities[: 2 * len(ERASED_SHARES)].reshape(2, -1)
    whole, nothing, blurred = perturbed.endpoints[:, column]
    shares = np.array([0, *ERASED_SHARES, 1])
    deletion = np.trapezoid([whole, *inner[0], nothing], shares)
    insertion = np.trapezoid([blurred, *inner[1], whole], shares)
    return {
        "deletion": float(deletion),
        "insertion": float(insertion),
        "road": _mean_probability_gap(probabilities[inner.size :]),
    }


def road(perturbed: PerturbedImage, order: Array, finding: str) -> float:
    """Score an order of pixels by ROAD (Rong et al. 2022, arXiv:2202.00449).

    Parameters
    ----------
    perturbed : PerturbedImage
        The image.
    order : ndarray, (side²,) int64
        Flat indices of the pixels, highest first.
    finding : str
        Finding whose probability counts.

    Returns
    -------
    float
        Mean over `ROAD_SHARES` of the probability with the lowest pixels imputed minus that with the highest, in
        [-1, 1].
    """
    probabilities = perturbed.probabilities(_impute_extremes(perturbed, order, finding))
    return _mean_probability_gap(probabilities[:, perturbed.model.index(finding)])


def _impute_extremes(perturbed: PerturbedImage, order: Array, finding: str) -> list[Array]:
    """Impute the lowest and the highest pixels of the image, for each of `ROAD_SHARES`."""
    counts = [round(share * order.size) for share in ROAD_SHARES]
    return [perturbed.impute(pixels, finding) for count in counts for pixels in (order[-count:], order[:count])]


def _mean_probability_gap(probabilities: Array) -> float:
    """Average the differences of pairs of probabilities, as `_impute_extremes` orders the images."""
    return float((probabilities[::2] - probabilities[1::2]).mean())


@dataclass(frozen=True, slots=True)
class PatchOcclusions:
    """Drops of the logits when squares of an image are erased."""

    squares: Array
    """int64 (K, 4): top, left, bottom, right, in pixels."""
    logit_drops: Array
    """float64 (K, F)."""

    @classmethod
    def from_image(cls, perturbed: PerturbedImage) -> PatchOcclusions:
        """Erase `N_SQUARES` squares of an image one at a time, keyed by (seed, id).

        Parameters
        ----------
        perturbed : PerturbedImage
            The image.

        Returns
        -------
        PatchOcclusions
        """
        side, rng = perturbed.model.side, keyed_rng(perturbed.seed, BLANKED_SQUARES, perturbed.id)
        width = rng.integers(max(1, side // 8), max(2, side // 4), N_SQUARES, endpoint=True)
        top, left = (rng.integers(0, side - width, endpoint=True) for _ in range(2))
        squares = np.stack([top, left, top + width, left + width], 1)
        images = [perturbed.image]
        for row, col, end_row, end_col in squares:
            image = perturbed.image.copy()
            image[row:end_row, col:end_col] = perturbed.fill_value
            images.append(image)
        logits = perturbed.logits(images)
        return cls(squares, logits[:1] - logits[1:])

    def infidelity(self, values: Array, column: int) -> float:
        """Return the share of the squared drops that sums of a map over the squares leave unexplained.

        Infidelity of Yeh et al. 2019, arXiv:1901.09392, with optimal scaling and square removal, as a share.

        Parameters
        ----------
        values : ndarray, (side, side)
            The map.
        column : int
            Index of its finding among the logits.

        Returns
        -------
        float
            In [0, 1]; NaN where no square changes the logit.
        """
        total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        top, left, bottom, right = self.squares.T
        sums = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        drops = self.logit_drops[:, column]
        if not drops.any():
            return NAN
        size = float(sums @ sums)
        explained = 0.0 if size == 0 else max(0.0, float(sums @ drops)) ** 2 / (size * float(drops @ drops))
        return 1 - explained


def complexity(values: Array) -> float:
    """Return the entropy of a map's magnitudes, relative to the largest possible; Bhatt et al. 2020, arXiv:2005.00631.

    Parameters
    ----------
    values : ndarray
        The map.

    Returns
    -------
    float
        In [0, 1]; 1 for a map of zeros.

    Examples
    --------
    >>> complexity(np.eye(1, 9)), complexity(np.ones(9))
    (0.0, 1.0)
    """
    size = np.abs(np.asarray(values, np.float64)).ravel()
    total = size.sum()
    if total == 0 or size.size < 2:
        return 1.0
    share = size / total
    share = share[share > 0]  # after the division, whose result may underflow to 0
    return abs(float(-(share * np.log(share)).sum() / np.log(size.size)))


def score_faithfulness(
    run: Run, controls: Maps, model: Model, sources: Mapping[str, str], cases: Sequence[Case], seed: int
) -> None:
    """Write the table faithfulness, rows of `SCHEMA`, with those of a random order of the pixels.

    A flat or missing map orders pixels by chance, so that failures lose. The random order has the measure `RESPONSE`.

    Parameters
    ----------
    run : Run
        The run that gets the table, locked by the caller.
    controls : Maps
        Maps of controls, which are not stored in the run.
    model : Model
        The model.
    sources : mapping of str to str
        Source of maps, stored in the run or of the controls, to its name in the table.
    cases : sequence of Case
        Cases to score.
    seed : int
        Seed of noise, ties and other patients.
    """

    def load_maps(radiograph: str) -> list[SaliencyMap]:
        return [*run.maps_for(radiograph, sources), *(m for m in controls.maps_for(radiograph) if m.source in sources)]

    def compute_rows(part: Sequence[Case]) -> Iterator[tuple[object, ...]]:
        batch = make_batch(model, [case.radiograph for case in part])
        if batch is None:
            return
        for row, name in enumerate(batch.ids):
            perturbed = PerturbedImage(model, name, batch.images[row], batch.frames[row], seed)
            maps, occlusions = load_maps(name), PatchOcclusions.from_image(perturbed)
            for case in (c for c in part if c.radiograph.id == name):
                other = draw_other_patient(case, cases, seed)
                other_maps = [] if other is None else load_maps(other.radiograph.id)
                yield from _score_case(perturbed, occlusions, (maps, other_maps), sources, case)

    write_chunks(
        run, "faithfulness", {"faithfulness": SCHEMA}, case_task("faithfulness", "erasing", cases, compute_rows)
    )


def _score_case(
    perturbed: PerturbedImage,
    occlusions: PatchOcclusions,
    stored: tuple[Sequence[SaliencyMap], Sequence[SaliencyMap]],
    sources: Mapping[str, str],
    case: Case,
) -> Rows:
    """Score the maps of a case; `stored` are those of this radiograph, and those of the other patient's."""
    own_maps, other_maps = ({m.source: m for m in maps if m.finding == case.finding} for maps in stored)
    case_key = (case.radiograph.id, case.radiograph.patient, case.finding)

    def score_map(values: Array) -> dict[str, float]:
        return score_erasure(perturbed, perturbed.rank_pixels(values, case.finding), case.finding)

    for source, name in sources.items():
        values = _map_values(own_maps.get(source), perturbed)
        scores = score_map(values)
        other_values = _map_values(other_maps.get(source), perturbed, same_image=False)
        chance = score_map(other_values) if source in other_maps else {}
        infidelity = occlusions.infidelity(values, perturbed.model.index(case.finding))
        scores |= {"infidelity": infidelity, "complexity": complexity(values)}
        for measure, value in scores.items():
            yield (name, *case_key, measure, value, chance.get(measure, NAN))
    whole, *others = perturbed.endpoints[:, perturbed.model.index(case.finding)]
    response = {RESPONSE: float(max(abs(whole - other) for other in others))}
    for measure, value in (score_map(np.zeros(perturbed.image.shape, np.float32)) | response).items():
        yield (RANDOM_ORDER, *case_key, measure, value, NAN)


def _map_values(stored: SaliencyMap | None, perturbed: PerturbedImage, same_image: bool = True) -> Array:
    """Return a map as float32 (side, side) in the frame of the image if it is of that image; zeros without a map."""
    if stored is None or stored.status in ("missing", "refused", "non-finite", "unreadable") or not stored.values.size:
        return np.zeros(perturbed.image.shape, np.float32)
    if same_image:
        return resample_to_frame(stored, perturbed.frame, perturbed.model.side)
    return upsample(stored, perturbed.model.side)
