"""Subgroups of radiographs, from what the data sets state in their own forms."""

from __future__ import annotations

import numpy as np
import pytest

import sightline as sl
from sightline.core import Radiograph
from sightline.data.subgroups import ATTRIBUTES, GROUPS, group_table, radiograph_groups


def a_radiograph(view: str = "", labels: dict[str, float] | None = None, **metadata: object) -> Radiograph:
    return Radiograph("a", "p", lambda: np.zeros((2, 2)), view=view, labels=labels or {}, metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "attribute", "group"),
    [
        ({"sex": "Female"}, "sex", "female"),
        ({"sex": "M"}, "sex", "male"),
        ({"sex": "Unknown"}, "sex", ""),
        ({"age": 39}, "age", "below 40 years"),
        ({"age": "40"}, "age", "40 to 64 years"),
        ({"age": "064Y"}, "age", "40 to 64 years"),
        ({"age": "65"}, "age", "65 years or more"),
        ({"age": "007M"}, "age", "below 40 years"),
        ({"age": "old"}, "age", ""),
        ({"age": ""}, "age", ""),
        ({"projection": "pa"}, "projection", "PA"),
        ({"projection": "LL"}, "projection", ""),
    ],
)
def test_metadata_of_every_loader_is_understood(metadata: dict[str, object], attribute: str, group: str) -> None:
    assert radiograph_groups(a_radiograph(**metadata))[attribute] == group


def test_what_is_not_stated_belongs_to_no_group() -> None:
    assert radiograph_groups(a_radiograph()) == dict.fromkeys(ATTRIBUTES, "")


def test_devices_are_read_from_the_label_and_an_uncertain_one_counts_for_neither() -> None:
    groups = [radiograph_groups(a_radiograph(labels={"Support Devices": v}))["device"] for v in (1.0, 0.0, -1.0)]
    assert groups == ["device present", "no device", ""]
    assert radiograph_groups(a_radiograph(view="lateral"))["view"] == "lateral"


def test_the_phantom_states_every_attribute_and_visits_share_their_age() -> None:
    data = sl.open_dataset("phantom:200?size=64")
    table = group_table(data)
    assert len(table) == 200 and (table[list(ATTRIBUTES)] != "").all(axis=None)
    for attribute in ("sex", "age", "projection", "device"):
        assert set(table[attribute]) == set(GROUPS[attribute])
    ages = [r.metadata["age"] for r in data.radiographs]
    assert ages[0] == ages[1] and len(set(ages)) > 30 and 18 <= min(ages) <= max(ages) <= 95


def test_the_table_keeps_the_radiographs_that_are_named() -> None:
    data = sl.open_dataset("phantom:4?size=64")
    assert list(group_table(data, [data.radiographs[2].id])["radiograph"]) == [data.radiographs[2].id]
