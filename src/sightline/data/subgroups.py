"""Subgroups of radiographs by sex, age, view, projection and devices, as far as a data set states them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from sightline.core import Dataset, Radiograph

ATTRIBUTES = ("sex", "age", "view", "projection", "device")
"""Attributes of a radiograph that divide a data set into subgroups."""
GROUPS: dict[str, tuple[str, ...]] = {
    "sex": ("female", "male"),
    "age": ("below 40 years", "40 to 64 years", "65 years or more"),
    "view": ("frontal", "lateral"),
    "projection": ("AP", "PA"),
    "device": ("no device", "device present"),
}
"""Attribute -> its groups, in the order of figures and tables."""
DEVICE_FINDING = "Support Devices"
"""Finding whose label tells whether a device is present."""
_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male"}
_AGE_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", re.IGNORECASE)
_YEARS_PER_UNIT = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def radiograph_groups(radiograph: Radiograph) -> dict[str, str]:
    """Return the subgroup of a radiograph by every attribute.

    Parameters
    ----------
    radiograph : Radiograph
        The radiograph. Sex, age and projection are read from its metadata, devices from the label `DEVICE_FINDING`.

    Returns
    -------
    dict of str to str
        Attribute -> one of its `GROUPS`; '' where the data set does not state it, or states something else.

    Examples
    --------
    >>> import sightline as sl
    >>> radiograph = sl.open_dataset("phantom:1?size=64").radiographs[0]
    >>> radiograph_groups(radiograph)["view"]
    'frontal'
    """
    metadata = radiograph.metadata
    projection = str(metadata.get("projection", "")).strip().upper()
    device = {1.0: "device present", 0.0: "no device"}.get(radiograph.labels.get(DEVICE_FINDING, -1.0), "")
    return {
        "sex": _SEXES.get(str(metadata.get("sex", "")).strip().lower(), ""),
        "age": _age_group(str(metadata.get("age", ""))),
        "view": radiograph.view if radiograph.view in GROUPS["view"] else "",
        "projection": projection if projection in GROUPS["projection"] else "",
        "device": device,
    }


def _age_group(text: str) -> str:
    """Return the group of an age in years, or in the form of DICOM, such as '054Y' or '007M'."""
    match = _AGE_PATTERN.fullmatch(text)
    if match is None:
        return ""
    years = float(match[1]) * _YEARS_PER_UNIT[match[2].upper()]
    young, middle, old = GROUPS["age"]
    return young if years < 40 else middle if years < 65 else old


def group_table(data: Dataset, radiographs: Iterable[str] | None = None) -> pd.DataFrame:
    """Make the table of the subgroups of every radiograph.

    Parameters
    ----------
    data : Dataset
        The data set.
    radiographs : iterable of str, optional
        Identifiers to keep; all by default.

    Returns
    -------
    DataFrame
        Columns radiograph, patient and `ATTRIBUTES`; '' where the data set does not state an attribute.
    """
    kept = None if radiographs is None else set(radiographs)
    rows = [
        {"radiograph": r.id, "patient": r.patient, **radiograph_groups(r)}
        for r in data.radiographs
        if kept is None or r.id in kept
    ]
    return pd.DataFrame(rows, columns=pd.Index(["radiograph", "patient", *ATTRIBUTES]))
