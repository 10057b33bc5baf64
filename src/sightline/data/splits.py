"""Splits train, val and test of data sets: published in a file, or drawn by patient."""

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
"""Shares of patients, about those of Arun et al. 2021, 10.1148/ryai.2021200267 (81, 9 and 10 % of the images)."""
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_of_patient(patient: str) -> str:
    """Return the split of a patient, drawn by a hash of the id.

    It is the same in every data set in which the patient has this id.

    Parameters
    ----------
    patient : str
        Id of the patient.

    Returns
    -------
    str
        'train', 'val' or 'test', with the chances `SPLIT_SHARES`.

    Examples
    --------
    >>> [split_of_patient(str(number)) for number in range(6)]
    ['train', 'train', 'test', 'test', 'train', 'train']
    """
    draw = int.from_bytes(key_digest(PATIENT_SPLIT, patient)[:8], "big") / 2**64
    for name, share in SPLIT_SHARES:
        if draw < share:
            return name
        draw -= share
    return SPLIT_SHARES[-1][0]


def make_pseudonym(patient: str) -> str:
    """Make a pseudonym for a patient's id from a DICOM header; the same id has the same pseudonym.

    A guess of an id can be confirmed by its pseudonym, unless the environment variable SIGHTLINE_KEY holds a secret.

    Parameters
    ----------
    patient : str
        Id of the patient.

    Returns
    -------
    str
        'p' and 12 hexadecimal digits.

    Examples
    --------
    >>> make_pseudonym("12345678") == make_pseudonym("12345678") != make_pseudonym("12345679")
    True
    """
    key = os.environ.get("SIGHTLINE_KEY", "").encode()
    return f"p{hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:12]}"


def read_published_split(file: Path) -> dict[str, str]:
    """Read a published split from a CSV file with the columns Image_ID and Split, as Arun et al. give it.

    Parameters
    ----------
    file : Path
        CSV file; an Image_ID may end with '.png' or '.dcm'.

    Returns
    -------
    dict of str to str
        Image id -> 'train', 'val' or 'test'; empty where the file does not exist.

    Raises
    ------
    DataError
        If a split is unknown or an id is listed twice.
    """
    if not file.is_file():
        return {}
    table = read_csv(file, ("Image_ID", "Split"))
    table.require_unique("Image_ID")
    splits = {}
    for i, (name, split) in enumerate(zip(table.text("Image_ID"), table.text("Split"), strict=True)):
        if split.lower() not in _SPLIT_NAMES:
            raise table.error(table.row_number(i), f"Split is {split!r}; allowed: {', '.join(_SPLIT_NAMES)}")
        splits[name.removesuffix(".png").removesuffix(".dcm")] = _SPLIT_NAMES[split.lower()]
    return splits


def apply_split(
    radiographs: Sequence[Radiograph], published_splits: Mapping[str, str], split: str
) -> tuple[Radiograph, ...]:
    """Assign splits to radiographs, and select one split.

    Parameters
    ----------
    radiographs : sequence of Radiograph
        Radiographs without splits.
    published_splits : Mapping of str to str
        Radiograph id -> split; if empty, splits are drawn (`split_of_patient`). A radiograph that a published list
        leaves out has no split.
    split : str
        'train', 'val', 'test', or 'all' (also '').

    Returns
    -------
    tuple of Radiograph
        The radiographs of the split.

    Raises
    ------
    DataError
        If `split` is unknown, or no radiograph is in it.
    """
    if split not in ("", "all", "train", "val", "test"):
        raise DataError(f"option split takes all, train, val or test, not {split!r}")
    assigned = (
        replace(r, split=published_splits.get(r.id, "") if published_splits else split_of_patient(r.patient))
        for r in radiographs
    )
    selected = tuple(r for r in assigned if split in ("", "all", r.split))
    if not selected:
        raise DataError(f"none of the {len(radiographs)} radiographs is of split {split!r}")
    return selected
