"""Sanity checks of maps: the table of similarities, and how two maps become its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sightline.core import COMPLEXITY, NAN, Array, Case, Definition, Source, SourceKind
from sightline.methods.inference import ExplainOptions
from sightline.metrics.similarity import Normalization, PreparedMap
from sightline.models import Model
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, write_chunks
from sightline.runs.run import Run

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("comparison", "method", "versus", "order")]
    + [("step", pa.int64())]
    + [(name, pa.string()) for name in ("radiograph", "patient", "finding", "protocol", "measure")]
    + [("value", pa.float64())]
)
"""Columns of the table `map_similarity`: one row per pair of maps, protocol and measure.

versus: the stage or network whose map the model's is compared with; for a `CHANCE` row the network whose map of another
patient it is, '' for the model itself. value: NaN where a map failed.
"""
_NORMALIZATIONS: dict[Definition, tuple[Normalization, float]] = {
    "published": ("published", 2.0),
    "corrected": ("raw", 1.0),
}
"""Definition -> normalization of maps to [0, 1], and the data range of SSIM."""
PreparedMaps = dict[str, PreparedMap]
"""Protocol -> a map, prepared as that protocol compares it."""


@dataclass(frozen=True, slots=True)
class SanityCheck:
    """Maps of one model that are compared with others, and the options of the comparison."""

    run: Run
    """The run that stores the maps and gets the rows."""
    model: Model
    """The model whose maps are compared."""
    methods: tuple[str, ...]
    """Methods: 'NAME' or 'NAME?option=value'."""
    cases: tuple[Case, ...]
    """Cases whose maps are compared."""
    protocols: tuple[Protocol, ...]
    """Protocols of the comparison."""
    options: ExplainOptions
    """Options of explaining, for maps of randomized networks."""
    noise_copies: int = 0
    """Noisy copies that the maps of randomized networks are averaged over; 0 for the image itself."""
    explain_predicted_class: bool = False
    """True if the published protocol explains the class that each randomized network predicts."""
    kind: SourceKind = "model"
    """Kind of the sources whose maps are compared. Rows name the method of a model, and the source of a localizer."""

    def prepare(self, values: Array, published: Array | None = None) -> PreparedMaps:
        """Prepare a map to be compared with several others.

        Parameters
        ----------
        values : ndarray, (h, w)
            The map.
        published : ndarray, (h, w), optional
            Another map, for the published protocol.

        Returns
        -------
        dict of str to PreparedMap
            By protocol.
        """
        maps = {"corrected": values, "published": values if published is None else published}
        return {
            p.name: PreparedMap.from_values(maps[p.definitions], _NORMALIZATIONS[p.definitions][0])
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
        """Yield the rows of `SCHEMA` for two maps.

        Parameters
        ----------
        kind : str
            Kind of the comparison, as `WEIGHT_RANDOMIZATION` or `CHANCE`.
        method : str
            Method of the maps.
        versus : str
            Stage or network of the second map.
        case : Case
            Case of the first map.
        a, b : dict of str to PreparedMap
            The maps, as `prepare` returns them.
        order : str
            Order of randomization; '' for other comparisons.
        step : int
            Number of the stage, from 1; 0 for other comparisons.

        Yields
        ------
        tuple
        """
        title = method if self.kind == "model" else str(Source(self.kind, self.model.name, method))
        row_prefix = (kind, title, versus, order, step, case.radiograph.id, case.radiograph.patient, case.finding)
        for protocol in self.protocols:
            data_range = _NORMALIZATIONS[protocol.definitions][1]
            for measure, value in a[protocol.name].similarities(b[protocol.name], data_range).items():
                yield (*row_prefix, protocol.name, measure, value)

    def entropy_increase(
        self, method: str, versus: str, case: Case, a: Array, b: Array, order: str, step: int
    ) -> Iterator[tuple[Any, ...]]:
        """Yield a row per protocol with the relative increase of the entropy of a map; none where it was 0.

        Efficient parameter randomization, Hedström et al. 2024, arXiv:2401.06465: no map is compared with another, so
        that neither smoothness nor the scale of maps counts.

        Parameters
        ----------
        method : str
            Method of the maps.
        versus : str
            Stage of the randomized network.
        case : Case
            Case of the maps.
        a, b : ndarray, (h, w)
            Maps of the model and of the randomized network.
        order : str
            Order of randomization.
        step : int
            Number of the stage, from 1.

        Yields
        ------
        tuple
        """
        start, end = entropy(a), entropy(b)
        case_key = (case.radiograph.id, case.radiograph.patient, case.finding)
        for protocol in self.protocols if start > 0 else ():
            yield (COMPLEXITY, method, versus, order, step, *case_key, protocol.name, "entropy-rise", end / start - 1)


def entropy(values: Array, bins: int = 100) -> float:
    """Return the entropy of the histogram of a map's magnitudes, relative to the largest.

    Parameters
    ----------
    values : ndarray
        The map.
    bins : int
        Bins of the histogram.

    Returns
    -------
    float
        In nats; NaN if the map is not finite.

    Examples
    --------
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
    """Write the table map_similarity.

    Parameters
    ----------
    run : Run
        The run that gets the table, locked by the caller.
    *tasks : ChunkedTask
        Tasks of `randomize_cascade` and `compare_models`.
    """
    write_chunks(run, "map_similarity", {"map_similarity": SCHEMA}, *tasks)
