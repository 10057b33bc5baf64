"""Vocabulary of findings: the canonical name of each, and the names that data sets use."""

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
"""Finding -> terms by which radiologists mention it, affirmed or denied."""

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
"""Name in a data set -> canonical name. Only synonyms are listed: `Nodule` is no alias of `Lung Lesion`."""

KNOWN_FINDINGS = frozenset(CHEXPERT_FINDINGS) | frozenset(NIH_FINDINGS)
_BY_KEY = {name.casefold().replace("_", " "): name for name in KNOWN_FINDINGS} | {
    alias.casefold().replace("_", " "): name for alias, name in ALIASES.items()
}


def canonical_name(name: str) -> str:
    """Return the canonical name of a finding.

    Parameters
    ----------
    name : str
        Any spelling of a finding.

    Returns
    -------
    str
        Canonical name; a name outside the vocabulary is the user's own and is returned without outer spaces.

    Examples
    --------
    >>> canonical_name("airspace opacity"), canonical_name("Effusion"), canonical_name("Scoliosis ")
    ('Lung Opacity', 'Pleural Effusion', 'Scoliosis')
    """
    trimmed = name.strip()
    return _BY_KEY.get(trimmed.casefold().replace("_", " "), trimmed)


def select_findings(text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Select findings by a comma-separated list.

    Parameters
    ----------
    text : str or None
        Names, separated by commas; None selects all.
    known : tuple of str
        Canonical names to select from.

    Returns
    -------
    tuple of str
        Canonical names in the order of the list, each once.

    Raises
    ------
    UnknownNameError
        If a name is not in `known`.

    Examples
    --------
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
    """Parse the findings of a model that a user typed; a name may be the user's own.

    Parameters
    ----------
    text : str
        Names, in the order of the outputs of the model.
    separator : str
        Character between two names.

    Returns
    -------
    tuple of str
        Canonical names in the order of the text.

    Raises
    ------
    UnknownNameError
        If a name is nearly one of the vocabulary, and therefore probably misspelled.

    Examples
    --------
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
    """Suggest a finding for a name that is nearly one of the vocabulary, and therefore probably misspelled.

    Parameters
    ----------
    name : str
        Name outside the vocabulary, or in it.

    Returns
    -------
    str
        '; did you mean ...?', or '' where no name is near.

    Examples
    --------
    >>> suggest_finding("Cardiomegally"), suggest_finding("Cardiomegaly"), suggest_finding("Rib Fracture")
    ("; did you mean 'Cardiomegaly'?", '', '')
    """
    return "" if name in KNOWN_FINDINGS else _suggest(name, KNOWN_FINDINGS, _MISSPELLING_SIMILARITY)


_MISSPELLING_SIMILARITY = 0.85
"""Similarity from which on a name counts as misspelled; that of 'Rib Fracture' and 'Fracture' is 0.8."""


def _suggest(name: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """Return '; did you mean ...?' with the nearest known name, considering aliases, too; '' for none."""
    aliases = {alias: finding for alias, finding in _BY_KEY.items() if finding in known}
    hint = did_you_mean(name, known, aliases, cutoff=cutoff, most=1)
    return f"; {hint}" if hint else ""
