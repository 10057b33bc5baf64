"""Candidates: the places a map points at, one after the other, and which pieces of the mark they hit.

What a free-response ROC curve counts (Bunch et al. 1978, 10.1117/12.956926): a detector's boxes, or for a map its
highest places, none near a higher one.
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
"""Candidates of one map."""
MIN_DISTANCE = 0.1
"""Of the sides of a map: no candidate lies nearer to a higher one."""
MAX_GRID_SIDE = 64
"""Cells along a side that finer maps are averaged to."""
NO_PIECE = -1
"""Of a candidate: it lies in no piece of the mark."""


class Candidate(NamedTuple):
    """One place that a map points at. A map without any has one row, of score NaN, so that its film counts."""

    source: str
    radiograph: str
    patient: str
    finding: str
    n_pieces: int
    """Of the mark on this film; 0 where the finding is absent."""
    score: float
    piece: int
    """Which one the candidate hits, or `NO_PIECE`."""


def find_candidates(values: Array) -> list[tuple[float, float, float]]:
    """(score, row, col) of the places of a map (h, w), highest first; row and col as shares of its sides.

    The score is the map's value. Of places that are equally high and touch, the middle one counts. What is not above
    the lowest value of the map is no place.

    >>> find_candidates(np.float32([[0, 0, 0], [0, 2, 0], [0, 0, 0]]))
    [(2.0, 0.5, 0.5)]
    """
    if map_status(values) != "ok":
        return []
    shape = (min(values.shape[0], MAX_GRID_SIDE), min(values.shape[1], MAX_GRID_SIDE))
    left = cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    floor = left.min()
    rows, cols = ((np.arange(n) + 0.5) / n for n in shape)
    found = list[tuple[float, float, float]]()
    while len(found) < MAX_CANDIDATES and left.max() > floor:
        top = left.max()
        pieces, _ = ndimage.label(left == top, np.ones((3, 3)))
        places = np.argwhere(pieces == pieces[np.unravel_index(left.argmax(), shape)])
        row, col = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
        found.append((float(top), float(rows[row]), float(cols[col])))
        near = (rows[:, None] - rows[row]) ** 2 + (cols - cols[col]) ** 2 <= MIN_DISTANCE**2
        near[tuple(places.T)] = True
        left[near] = floor
    return found


def label_pieces(data: Dataset, radiograph: str, finding: str) -> tuple[Array, int] | None:
    """The mark with its 8-connected pieces numbered from 1, int (H, W), and how many; None without a readable one."""
    mark = data.annotation(radiograph, finding, data.reference_reader) if finding in data.findings else None
    if mark is None:
        return None
    try:
        labeled, count = ndimage.label(rasterize_annotation(mark), np.ones((3, 3)))
    except (DataError, OSError):
        return None
    return labeled, int(count)


def write_candidates(run: Run, maps: Maps, data: Dataset, sources: Sequence[str], findings: Sequence[str]) -> None:
    """Write the table froc_candidates: of maps of some sources, where the finding is annotated or absent."""

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Candidate]]:
        rows = list[Candidate]()
        for radiograph in radiographs:
            held = [m for m in maps.maps_for(radiograph.id) if m.source in sources and m.finding in findings]
            for finding in dict.fromkeys(m.finding for m in held):
                marked = label_pieces(data, radiograph.id, finding)
                if marked is None and radiograph.labels.get(finding) != 0:
                    continue  # there, or unknown, and nobody marked where
                for m in (m for m in held if m.finding == finding):
                    rows += _map_candidates(m, radiograph.patient, *(marked or (None, 0)))
        return {"froc_candidates": rows}

    task = ChunkedTask("pointing", data.radiographs, rows_of, 32)
    write_chunks(run, "froc_candidates", {"froc_candidates": schema_for(Candidate)}, task)


def _map_candidates(m: SaliencyMap, patient: str, labeled: Array | None, count: int) -> Iterator[Candidate]:
    head = (m.source, m.radiograph, patient, m.finding, count)
    found = find_candidates(m.values) if m.status == "ok" else []
    top, left, bottom, right = m.frame.box
    for score, row, col in found:
        at = int(top + row * (bottom - top)), int(left + col * (right - left))
        inside = labeled is not None and 0 <= at[0] < labeled.shape[0] and 0 <= at[1] < labeled.shape[1]
        piece = int(labeled[at]) if inside and labeled is not None else 0
        yield Candidate(*head, score, piece if piece else NO_PIECE)
    if not found:
        yield Candidate(*head, float("nan"), NO_PIECE)
