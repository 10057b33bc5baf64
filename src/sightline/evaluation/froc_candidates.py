"""Candidates of free-response ROC curves: the highest places of a map, and the pieces of the annotation that they hit.

A free-response ROC curve counts the marks of a detector (Bunch et al. 1978, 10.1117/12.956926); for a map these are its
highest places, none of them near a higher one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from sightline.core import Array, Dataset, Maps, Radiograph, SaliencyMap, map_status
from sightline.errors import DataError
from sightline.imaging.masks import rasterize_annotation
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run

MAX_CANDIDATES = 10
"""Most candidates of one map."""
MIN_DISTANCE = 0.1
"""Smallest distance of a candidate from a higher one, as a share of the sides of a map."""
MAX_GRID_SIDE = 64
"""Most cells along a side; finer maps are averaged to this number."""
NO_PIECE = -1
"""Index of the piece for a candidate that lies in no piece of the annotation."""


class Candidate(NamedTuple):
    """One candidate of a map. A map without any has one row with score NaN, so that its radiograph counts."""

    source: str
    radiograph: str
    patient: str
    finding: str
    n_pieces: int
    """Pieces of the annotation of this radiograph; 0 where the finding is absent."""
    score: float
    """Value of the map there."""
    piece: int
    """Index of the piece that the candidate hits, from 1, or `NO_PIECE`."""


def find_candidates(values: Array) -> list[tuple[float, float, float]]:
    """Find the candidates of a map.

    Of places that are equally high and touch, the middle one counts. Places at the lowest value of the map are none.

    Parameters
    ----------
    values : ndarray, (h, w)
        The map.

    Returns
    -------
    list of (float, float, float)
        Score, row and column, highest first; the score is the map's value, row and column are shares of its sides.

    Examples
    --------
    >>> find_candidates(np.float32([[0, 0, 0], [0, 2, 0], [0, 0, 0]]))
    [(2.0, 0.5, 0.5)]
    """
    if map_status(values) != "ok":
        return []
    shape = (min(values.shape[0], MAX_GRID_SIDE), min(values.shape[1], MAX_GRID_SIDE))
    remaining = cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    floor = remaining.min()
    rows, cols = ((np.arange(n) + 0.5) / n for n in shape)
    candidates = list[tuple[float, float, float]]()
    while len(candidates) < MAX_CANDIDATES and remaining.max() > floor:
        top = remaining.max()
        plateaus, _ = ndimage.label(remaining == top, np.ones((3, 3)))
        plateau = np.argwhere(plateaus == plateaus[np.unravel_index(remaining.argmax(), shape)])
        row, col = plateau[((plateau - plateau.mean(0)) ** 2).sum(1).argmin()]
        candidates.append((float(top), float(rows[row]), float(cols[col])))
        near = (rows[:, None] - rows[row]) ** 2 + (cols - cols[col]) ** 2 <= MIN_DISTANCE**2
        near[tuple(plateau.T)] = True
        remaining[near] = floor
    return candidates


def label_pieces(data: Dataset, radiograph: str, finding: str) -> tuple[Array, int] | None:
    """Enumerate the 8-connected pieces of an annotation.

    Parameters
    ----------
    data : Dataset
        The data set; the annotation is that of its reference reader.
    radiograph : str
        Id of the radiograph.
    finding : str
        The finding.

    Returns
    -------
    (ndarray, int) or None
        Index of the piece of each pixel, int (H, W), from 1, and the number of pieces; None without a readable
        annotation.
    """
    if finding not in data.findings:
        return None
    annotation = data.annotation(radiograph, finding, data.reference_reader)
    if annotation is None:
        return None
    try:
        labeled, count = ndimage.label(rasterize_annotation(annotation), np.ones((3, 3)))
    except (DataError, OSError):
        return None
    return labeled, int(count)


def write_candidates(run: Run, maps: Maps, data: Dataset, sources: Sequence[str], findings: Sequence[str]) -> None:
    """Write the table froc_candidates, for radiographs where the finding is annotated or absent.

    Parameters
    ----------
    run : Run
        The run that gets the table, locked by the caller.
    maps : Maps
        The maps.
    data : Dataset
        The data set, with the annotations.
    sources : sequence of str
        Sources whose maps count.
    findings : sequence of str
        Findings whose maps count.
    """

    def compute_chunk(radiographs: Sequence[Radiograph]) -> dict[str, list[Candidate]]:
        rows = list[Candidate]()
        for radiograph in radiographs:
            selected = [m for m in maps.maps_for(radiograph.id) if m.source in sources and m.finding in findings]
            for finding in dict.fromkeys(m.finding for m in selected):
                pieces = label_pieces(data, radiograph.id, finding)
                if pieces is None and radiograph.labels.get(finding) != 0:
                    continue  # present or unknown, and not annotated
                for m in (m for m in selected if m.finding == finding):
                    rows += _map_candidates(m, radiograph.patient, *(pieces or (None, 0)))
        return {"froc_candidates": rows}

    task = ChunkedTask("finding candidates", data.radiographs, compute_chunk, 32)
    write_chunks(run, "froc_candidates", {"froc_candidates": schema_for(Candidate)}, task)


def _map_candidates(m: SaliencyMap, patient: str, labeled: Array | None, count: int) -> Iterator[Candidate]:
    row_prefix = (m.source, m.radiograph, patient, m.finding, count)
    candidates = find_candidates(m.values) if m.status == "ok" else []
    top, left, bottom, right = m.frame.box
    for score, row, col in candidates:
        pixel = int(top + row * (bottom - top)), int(left + col * (right - left))
        piece = 0
        if labeled is not None and 0 <= pixel[0] < labeled.shape[0] and 0 <= pixel[1] < labeled.shape[1]:
            piece = int(labeled[pixel])
        yield Candidate(*row_prefix, score, piece if piece else NO_PIECE)
    if not candidates:
        yield Candidate(*row_prefix, float("nan"), NO_PIECE)
