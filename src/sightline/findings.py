"""The vocabulary of findings: one canonical name each, and what data sets call it."""

from __future__ import annotations

from collections.abc import Collection

from sightline._util.text import did_you_mean
from sightline.errors import UnknownNameError

CHEXLOCALIZE_FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)
"""The ten findings of CheXlocalize, in the order of its code."""

CHEXPERT_FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The fourteen CheXpert labels, in the order of the probability vectors of CheXlocalize."""

FINDING_TERMS = {
    "Cardiomegaly": (
        "cardiomegaly",
        "heart is enlarged",
        "enlarged heart",
        "cardiac silhouette is enlarged",
        "enlarged cardiac silhouette",
    ),
    "Enlarged Cardiomediastinum": (
        "enlarged cardiomediastinum",
        "mediastinum is wide",
        "widened mediastinum",
        "mediastinal widening",
    ),
    "Lung Lesion": ("lung lesion", "nodule", "mass"),
    "Lung Opacity": ("opacity", "opacities", "opacification"),
    "Edema": ("edema", "vascular congestion"),
    "Consolidation": ("consolidation",),
    "Pneumonia": ("pneumonia", "infection", "infectious"),
    "Atelectasis": ("atelectasis", "atelectatic", "collapse"),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("effusion",),
    "Pleural Other": ("pleural thickening", "pleural scarring"),
    "Fracture": ("fracture",),
    "Support Devices": ("support devices", "tube", "catheter", "pacemaker", "picc", "line is", "wires"),
}
"""Finding -> words by which radiologists speak of it, affirmed or denied."""

NIH_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Pleural Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)
"""The fourteen labels of NIH ChestX-ray14."""

ALIASES = {
    "Airspace Opacity": "Lung Opacity",  # CheXlocalize's files; its text and CheXpert say Lung Opacity
    "Effusion": "Pleural Effusion",
    "Infiltrate": "Infiltration",
    "Pleural_Thickening": "Pleural Thickening",
    "Enlarged CM": "Enlarged Cardiomediastinum",
    "Support Device": "Support Devices",
    "Pulmonary Fibrosis": "Fibrosis",  # VinDr-CXR; NIH says Fibrosis
}
"""What a data set calls it -> canonical name. Synonyms only: `Nodule` is no alias of `Lung Lesion`."""

KNOWN_FINDINGS = frozenset(CHEXPERT_FINDINGS) | frozenset(NIH_FINDINGS)
_BY_KEY = {name.casefold().replace("_", " "): name for name in KNOWN_FINDINGS} | {
    alias.casefold().replace("_", " "): name for alias, name in ALIASES.items()
}


def canonical_name(name: str) -> str:
    """Canonical name of a finding; a name outside the vocabulary is the user's own and is returned trimmed.

    >>> canonical_name("airspace opacity"), canonical_name("Effusion"), canonical_name("Scoliosis ")
    ('Lung Opacity', 'Pleural Effusion', 'Scoliosis')
    """
    trimmed = name.strip()
    return _BY_KEY.get(trimmed.casefold().replace("_", " "), trimmed)


def select_findings(text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The findings named in a comma-separated list (all of `known` if None), each once, checked against `known`.

    >>> select_findings("effusion, Cardiomegaly", ("Cardiomegaly", "Pleural Effusion"))
    ('Pleural Effusion', 'Cardiomegaly')
    """
    if text is None:
        return known
    names = tuple(dict.fromkeys(canonical_name(part) for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise UnknownNameError(f"finding {name!r} is not among {', '.join(known)}{_suggest(name, known)}")
    return names


def parse_findings(text: str, separator: str = ",") -> tuple[str, ...]:
    """Canonical names of the findings of a model that a user typed, in their order; a name may be the user's own.

    Errors: `UnknownNameError` for one that is nearly a name of the vocabulary, and so a slip.

    >>> parse_findings("Effusion|Scoliosis", "|")
    ('Pleural Effusion', 'Scoliosis')
    >>> parse_findings("Cardiomegaly, Efusion")
    Traceback (most recent call last):
    sightline.errors.UnknownNameError: 'Efusion' is no finding; did you mean 'Pleural Effusion'?
    """
    names = tuple(canonical_name(part) for part in text.split(separator) if part.strip())
    for name in names:
        if hint := suggest_finding(name):
            raise UnknownNameError(f"{name!r} is no finding{hint}")
    return names


def suggest_finding(name: str) -> str:
    """'; did you mean ...?' for a name that is nearly one of the vocabulary, and so probably misspelled; else ''.

    >>> suggest_finding("Cardiomegally"), suggest_finding("Cardiomegaly"), suggest_finding("Rib Fracture")
    ("; did you mean 'Cardiomegaly'?", '', '')
    """
    return "" if name in KNOWN_FINDINGS else _suggest(name, KNOWN_FINDINGS, _MISSPELLING_SIMILARITY)


_MISSPELLING_SIMILARITY = 0.85
"""How alike a name must be to one that is known to be taken for a slip; 'Rib Fracture' and 'Fracture' are 0.8."""


def _suggest(name: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """Return '; did you mean ...?' with the known name that is nearest, by its aliases, too."""
    aliases = {alias: finding for alias, finding in _BY_KEY.items() if finding in known}
    hint = did_you_mean(name, known, aliases, cutoff=cutoff, most=1)
    return f"; {hint}" if hint else ""
