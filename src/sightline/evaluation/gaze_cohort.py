"""Gaze of a reader on one grid: maps of one radiograph, and sums over all compared radiographs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sightline._util.progress import progress_bar
from sightline._util.rng import ELSEWHERE_GAZE, keyed_rng
from sightline.core import Array, Dataset, Definition, Radiograph
from sightline.data.gaze import ALL_GAZE, KERNELS, Gaze, Kernel, gaze_density
from sightline.maps.resample import GRID_SHAPE
from sightline.metrics.gaze import OtherPatients, standardize


@dataclass(frozen=True, slots=True)
class GazeMaps:
    """Gaze at one radiograph on the grid of `GRID_SHAPE`; both arrays sum to 1."""

    density: Array = field(repr=False)
    """float64 (h, w): smoothed density."""
    fixation_map: Array = field(repr=False)
    """float64 (h, w): share of the gaze in each cell, not smoothed."""

    @classmethod
    def from_gaze(cls, gaze: Gaze, kernel: Kernel) -> GazeMaps | None:
        """Map gaze to the grid.

        Parameters
        ----------
        gaze : Gaze
            Fixations of a reader.
        kernel : Kernel
            Smoothing and weights of the fixations.

        Returns
        -------
        GazeMaps or None
            None for gaze without a fixation that counts.
        """
        smooth = gaze_density(gaze, kernel, GRID_SHAPE)
        weight = np.ones(len(gaze)) if kernel.weight == "count" else gaze.duration
        if not smooth.any() or not weight.sum() > 0:
            return None
        cells = (gaze.positions / np.array(gaze.size) * GRID_SHAPE).astype(int)
        fixated = np.zeros(GRID_SHAPE)
        np.add.at(fixated, tuple(cells.T), weight / weight.sum())
        return cls(smooth, fixated)


def read_gaze(data: Dataset, radiograph: str, reader: str) -> Gaze | None:
    """Read the fixations of a reader on a radiograph.

    Parameters
    ----------
    data : Dataset
        The data set.
    radiograph : str
        Id of the radiograph.
    reader : str
        Name of the reader.

    Returns
    -------
    Gaze or None
        None where there is no fixation.
    """
    annotation = data.annotation(radiograph, ALL_GAZE, reader)
    gaze: Gaze | None = None if annotation is None else annotation.read()
    return gaze if gaze is not None and len(gaze) else None


@dataclass(frozen=True)
class Cohort:
    """Sums over the gaze at all compared radiographs, from which that of one patient can be subtracted."""

    data: Dataset
    """The data set."""
    reader: str
    """Reader whose gaze counts."""
    patients: Mapping[str, tuple[str, ...]]
    """Patient -> radiographs with gaze."""
    sums: Mapping[Definition, tuple[Array, int]]
    """Definition -> sums, float64 (3, h, w), of densities, fixations and standardized densities, and their number."""
    seed: int
    """Seed of the draw of other patients."""

    @classmethod
    def from_dataset(
        cls, data: Dataset, reader: str, radiographs: Sequence[Radiograph], definitions: Iterable[Definition], seed: int
    ) -> Cohort:
        """Read the gaze at every radiograph once, in memory that does not grow with their number.

        Parameters
        ----------
        data : Dataset
            The data set.
        reader : str
            Reader whose gaze counts.
        radiographs : sequence of Radiograph
            The radiographs.
        definitions : iterable of {'published', 'corrected'}
            Definitions that need sums.
        seed : int
            Seed of the draw of other patients.

        Returns
        -------
        Cohort
        """
        sums = {definition: np.zeros((3, *GRID_SHAPE)) for definition in definitions}
        counts = dict.fromkeys(sums, 0)
        patients: dict[str, tuple[str, ...]] = {}
        with progress_bar() as bar:
            task = bar.add_task("reading gaze", total=len(radiographs), unit="images")
            for radiograph in radiographs:
                gaze = read_gaze(data, radiograph.id, reader)
                bar.advance(task)
                if gaze is None:
                    continue
                patients[radiograph.patient] = (*patients.get(radiograph.patient, ()), radiograph.id)
                for name in sums:
                    if (densities := _stack_densities(gaze, name)) is not None:
                        sums[name] += densities
                        counts[name] += 1
        return cls(data, reader, patients, {name: (sums[name], counts[name]) for name in sums}, seed)

    def other_patients(self, patient: str, definition: Definition) -> OtherPatients | None:
        """Average the gaze at all other patients.

        Parameters
        ----------
        patient : str
            Patient who is left out.
        definition : {'published', 'corrected'}
            Definition of densities.

        Returns
        -------
        OtherPatients or None
            None without another patient.
        """
        total, count = self.sums[definition]
        total = total.copy()
        for name in self.patients.get(patient, ()):
            gaze = read_gaze(self.data, name, self.reader)
            densities = None if gaze is None else _stack_densities(gaze, definition)
            if densities is not None:
                total -= densities
                count -= 1
        if count < 1:
            return None
        density, fixations, standardized = total / count
        # Differences of equal sums may leave -1e-19
        return OtherPatients(np.maximum(density, 0), np.maximum(fixations, 0), standardized)

    def draw_other_gaze(self, radiograph: Radiograph) -> Gaze | None:
        """Draw the gaze at a radiograph of another patient, keyed by (seed, id).

        Parameters
        ----------
        radiograph : Radiograph
            The radiograph whose patient is left out.

        Returns
        -------
        Gaze or None
            None without another patient.
        """
        ids = [i for patient, names in self.patients.items() if patient != radiograph.patient for i in names]
        if not ids:
            return None
        row = int(keyed_rng(self.seed, ELSEWHERE_GAZE, radiograph.id).integers(len(ids)))
        return read_gaze(self.data, ids[row], self.reader)


def _stack_densities(gaze: Gaze, definition: Definition) -> Array | None:
    gaze_maps = GazeMaps.from_gaze(gaze, KERNELS[definition])
    if gaze_maps is None:
        return None
    return np.stack([gaze_maps.density, gaze_maps.fixation_map, standardize(gaze_maps.density)])
