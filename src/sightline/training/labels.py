"""Labels: what an uncertain one counts as is a choice with a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from sightline._util.rng import ANNOTATED_SUBSET, SHUFFLED_GAZE, SHUFFLED_LABELS, key_digest, keyed_rng
from sightline.core import Array, DataError, Dataset, Mark, Radiograph

Uncertain = Literal["ignore", "zeros", "ones", "3-class"]
"""What an uncertain label (-1) becomes: unknown, absent, present, or a class of its own. Irvin et al. 2019,
doi:10.1609/aaai.v33i01.3301590."""
UNCERTAIN: tuple[Uncertain, ...] = ("ignore", "zeros", "ones", "3-class")
Blank = Literal["ignore", "zeros"]
"""What a blank label becomes: unknown, or absent, as CheXpert's own training has it."""


def label_matrix(
    radiographs: Sequence[Radiograph], findings: Sequence[str], uncertain: Uncertain, blank: Blank = "ignore"
) -> Array:
    """float32 (n, F) of 1, 0 and NaN = unknown; with '3-class' also -1.

    Errors: `DataError` for a label that is none of 1, 0, -1 and NaN.
    """
    labels = np.array([[r.labels.get(f, np.nan) for f in findings] for r in radiographs], np.float32)
    labels = labels.reshape(len(radiographs), len(findings))
    odd = np.argwhere(~np.isnan(labels) & ~np.isin(labels, (0, 1, -1)))
    if len(odd):
        row, column = odd[0]
        raise DataError(
            f"radiograph {radiographs[row].id!r} has the label {labels[row, column]:g} for {findings[column]!r}; "
            f"allowed: 1, 0, -1 (uncertain) and NaN (unknown)"
        )
    if blank == "zeros":
        labels[np.isnan(labels)] = 0
    labels[labels == -1] = {"ignore": np.nan, "zeros": 0, "ones": 1, "3-class": -1}[uncertain]
    return labels


def dealt_anew(data: Dataset, seed: int) -> Dataset:
    """The same radiographs, each with the labels of another one of its split, drawn by (seed, split).

    What a network learns from it cannot be where findings are: label randomization, Adebayo et al. 2018,
    arXiv:1810.03292.
    """
    radiographs = list(data.radiographs)
    given = [r.labels for r in radiographs]
    for split in sorted({r.split for r in radiographs}):
        places = [i for i, r in enumerate(radiographs) if r.split == split]
        order = keyed_rng(seed, SHUFFLED_LABELS, split).permutation(len(places))
        for place, other in zip(places, order.tolist(), strict=True):
            radiographs[place] = replace(radiographs[place], labels=given[places[other]])
    return replace(data, radiographs=tuple(radiographs), spec=f"{data.spec or data.name}, labels dealt anew ({seed})")


def films_of(spec: str) -> str:
    """The spec of the data set whose labels or gaze were dealt anew, or some marks left out: its films are the same.

    >>> films_of("nih:DIR, labels dealt anew (3)")
    'nih:DIR'
    """
    return re.sub(r", ((labels|gaze) dealt anew|marks of \d+ films) \(\d+\)$", "", spec)


def marks_of(data: Dataset, films: int, seed: int) -> Dataset:
    """The same radiographs and labels, with the marks of so many films alone; labels still tell what is absent.

    Drawn by seed and id among the marked films that train; fewer are part of more. Errors: `DataError` if there are not
    as many.
    """

    def marked(r: Radiograph) -> bool:
        return any(r.labels.get(f) == 1 and data.marks(r.id, f, data.truth) is not None for f in data.findings)

    there = [r.id for r in data.radiographs if r.split in ("", "train") and marked(r)]
    if not 0 <= films <= len(there):
        raise DataError(f"marks of {films} films of {data.spec!r} that train; allowed: 0 to {len(there)}")
    kept = set(sorted(there, key=lambda name: key_digest(seed, ANNOTATED_SUBSET, name))[:films])

    def marks(radiograph: str, finding: str, reader: str) -> Mark | None:
        return data.marks(radiograph, finding, reader) if radiograph in kept else None

    return replace(data, marks=marks, spec=f"{data.spec or data.name}, marks of {films} films ({seed})")


def gaze_dealt_anew(data: Dataset, seed: int) -> Dataset:
    """The same radiographs and labels, each with the gaze at a radiograph of another patient, drawn by seed.

    What a network learns from it can only be where one looks at any film: the control of training on gaze.
    """
    radiographs = sorted(data.radiographs, key=lambda r: key_digest(seed, SHUFFLED_GAZE, r.id))
    patients = list(dict.fromkeys(r.patient for r in radiographs))
    first = {r.patient: r.id for r in reversed(radiographs)}
    after = dict(zip(patients, [*patients[1:], *patients[:1]], strict=True))
    given = {r.id: first[after[r.patient]] for r in radiographs}

    def marks(radiograph: str, finding: str, reader: str) -> Mark | None:
        if reader not in data.gaze_readers:
            return data.marks(radiograph, finding, reader)
        mark = data.marks(given[radiograph], finding, reader)
        return None if mark is None else replace(mark, radiograph=radiograph)

    return replace(data, marks=marks, spec=f"{data.spec or data.name}, gaze dealt anew ({seed})")
