"""Names of findings: the user's own are kept, slips are told."""

from __future__ import annotations

import pytest

from sightline.errors import UnknownNameError
from sightline.findings import ALIASES, KNOWN, NIH, choose, spelled


def test_every_known_name_and_the_users_own_are_kept() -> None:
    for name in KNOWN:
        assert spelled(name) == (name,)
    for alias, name in ALIASES.items():
        assert spelled(alias) == (name,)
    own = ("Rib Fracture", "Lung Cavity", "Nodule/Mass", "Other Lesion", "ILD", "Pleural Plaque", "Bone Fracture")
    assert spelled(", ".join(own)) == own


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("Efusion", "Pleural Effusion"), ("Plural Effusion", "Pleural Effusion"), ("Oedema", "Edema"),
     ("cardiomegally", "Cardiomegaly"), ("Pneumothrax", "Pneumothorax")],
)  # fmt: skip
def test_slips_are_told(slip: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
        spelled(f"Mass|{slip}", "|")
    with pytest.raises(UnknownNameError, match=f"is not among .*; did you mean '{meant}'"):
        choose(slip, (*NIH, "Pleural Effusion"))


def test_only_what_is_there_is_suggested() -> None:
    with pytest.raises(UnknownNameError) as caught:
        choose("Plural Effusion", ("Cardiomegaly",))
    assert "did you mean" not in str(caught.value)
