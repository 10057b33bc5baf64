"""Train, val and test where a release names none, or names them in a file of its own."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sightline._util.rng import PATIENT_SPLIT, key_digest
from sightline.core import Radiograph
from sightline.data.loaders.csv_tables import read_csv
from sightline.errors import DataError

SPLIT_SHARES = (("train", 0.8), ("val", 0.1), ("test", 0.1))
"""Of patients: about the shares of Arun et al. 2021, 10.1148/ryai.2021200267 (81, 9 and 10 % of the images)."""
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_of_patient(patient: str) -> str:
    """The split of a patient: by a hash of the id, so that it is the same in every data set that names the patient so.

    >>> [split_of_patient(str(number)) for number in range(6)]
    ['train', 'train', 'test', 'test', 'train', 'train']
    """
    at = int.from_bytes(key_digest(PATIENT_SPLIT, patient)[:8], "big") / 2**64
    for name, share in SPLIT_SHARES:
        if at < share:
            return name
        at -= share
    return SPLIT_SHARES[-1][0]


def make_pseudonym(patient: str) -> str:
    """What a patient is called whose id comes from a DICOM header: the same wherever the id is the same.

    Whoever guesses an id can confirm the guess, unless the environment variable SIGHTLINE_KEY holds a secret.

    >>> make_pseudonym("12345678") == make_pseudonym("12345678") != make_pseudonym("12345679")
    True
    """
    key = os.environ.get("SIGHTLINE_KEY", "").encode()
    return f"p{hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:12]}"


def read_published_split(file: Path) -> dict[str, str]:
    """Image id -> split from a table Image_ID, Split, as Arun et al. give it; empty where there is no such file.

    An id may carry a suffix ('.png'). Errors: `DataError` for an unknown split or an id named twice.
    """
    if not file.is_file():
        return {}
    table = read_csv(file, ("Image_ID", "Split"))
    table.require_unique("Image_ID")
    found = {}
    for at, (name, split) in enumerate(zip(table.text("Image_ID"), table.text("Split"), strict=True)):
        if split.lower() not in _SPLIT_NAMES:
            raise table.error(table.row_number(at), f"Split is {split!r}; allowed: {', '.join(_SPLIT_NAMES)}")
        found[name.removesuffix(".png").removesuffix(".dcm")] = _SPLIT_NAMES[split.lower()]
    return found


def apply_split(
    radiographs: Sequence[Radiograph], published_splits: Mapping[str, str], split: str
) -> tuple[Radiograph, ...]:
    """The radiographs with their split, and only those of the split that is wanted ('' or 'all': every one).

    known: id -> published split; where it is empty, patients are drawn (`split_of_patient`); an image that a
    published list leaves
    out has no split. Errors: `DataError` for another `wanted`, or one that holds nothing.
    """
    if split not in ("", "all", "train", "val", "test"):
        raise DataError(f"option split takes all, train, val or test, not {split!r}")
    given = (
        replace(r, split=published_splits.get(r.id, "") if published_splits else split_of_patient(r.patient))
        for r in radiographs
    )
    kept = tuple(r for r in given if split in ("", "all", r.split))
    if not kept:
        raise DataError(f"none of the {len(radiographs)} radiographs is of split {split!r}")
    return kept
