"""Names of findings: the user's own are kept, slips are told."""

from __future__ import annotations

import pytest

from sightline.errors import UnknownNameError
from sightline.findings import ALIASES, KNOWN_FINDINGS, NIH_FINDINGS, parse_findings, select_findings


def test_every_known_name_and_the_users_own_are_kept() -> None:
    for name in KNOWN_FINDINGS:
        assert parse_findings(name) == (name,)
    for alias, name in ALIASES.items():
        assert parse_findings(alias) == (name,)
    own = ("Rib Fracture", "Lung Cavity", "Nodule/Mass", "Other Lesion", "ILD", "Pleural Plaque", "Bone Fracture")
    assert parse_findings(", ".join(own)) == own


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("Efusion", "Pleural Effusion"),
        ("Plural Effusion", "Pleural Effusion"),
        ("Oedema", "Edema"),
        ("cardiomegally", "Cardiomegaly"),
        ("Pneumothrax", "Pneumothorax"),
    ],
)
def test_slips_are_told(slip: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
        parse_findings(f"Mass|{slip}", "|")
    with pytest.raises(UnknownNameError, match=f"is not among .*; did you mean '{meant}'"):
        select_findings(slip, (*NIH_FINDINGS, "Pleural Effusion"))


def test_only_what_is_there_is_suggested() -> None:
    with pytest.raises(UnknownNameError) as caught:
        select_findings("Plural Effusion", ("Cardiomegaly",))
    assert "did you mean" not in str(caught.value)
