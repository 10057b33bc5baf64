"""Simulated reports with varied wording, sides, amounts and denied findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sightline.core import Array
from sightline.data.phantom.scene import Scene
from sightline.data.reports import Report
from sightline.findings import CHEXLOCALIZE_FINDINGS

_PRESENT_SENTENCES: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("The mediastinum is widened.", "There is widening of the mediastinum."),
    "Cardiomegaly": (
        "The heart is {amount}ly enlarged.",
        "There is {amount} cardiomegaly.",
        "{Amount} enlargement of the cardiac silhouette.",
    ),
    "Lung Lesion": (
        "There is a nodule in the {side} {zone} lung.",
        "A mass projects over the {side} {zone} lung zone.",
    ),
    "Lung Opacity": (
        "There is {amount} opacity in the {side} {zone} lung.",
        "{Amount} opacification of the {side} {zone} lung.",
    ),
    "Edema": ("There is {amount} pulmonary edema.", "{Amount} interstitial edema is present in both lungs."),
    "Consolidation": (
        "There is consolidation in the {side} {zone} lung.",
        "{Amount} {side} {zone} lung consolidation.",
    ),
    "Atelectasis": ("There is {side} basilar atelectasis.", "Linear atelectasis at the {side} base."),
    "Pneumothorax": ("There is a {size} {side} pneumothorax.", "{Size} {side} apical pneumothorax is seen."),
    "Pleural Effusion": (
        "There is a {size} {side} pleural effusion.",
        "{Size} {side} effusion with blunting of the costophrenic angle.",
    ),
    "Support Devices": ("A catheter is in place.", "An endotracheal tube is in standard position."),
}
"""Finding -> sentences that state it."""
_ABSENT_SENTENCES: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": ("The heart size is normal.", "Normal cardiac silhouette."),
    "Pneumothorax": ("There is no pneumothorax.", "No pneumothorax is seen."),
    "Pleural Effusion": ("There is no pleural effusion.", "No effusion."),
    "Consolidation": ("No focal consolidation.", "There is no consolidation."),
    "Edema": ("No pulmonary edema.", "There is no edema."),
}
_ABSENT_MENTION_RATE = 0.7
"""Chance that an absent finding of `_ABSENT_SENTENCES` is mentioned."""
_MISS_RATE = 0.03


def simulate_report(scene: Scene, masks: Mapping[str, Array], key: tuple[int, ...], study: str) -> Report:
    """Write a report of a scene; sides and zones are those of the rendered findings.

    Parameters
    ----------
    scene : Scene
        The scene.
    masks : Mapping of str to (H, W) bool
        Regions and findings -> mask.
    key : tuple of int
        Seed; the same key gives the same words.
    study : str
        Id of the study.

    Returns
    -------
    Report
        Indication, findings and impression.
    """
    rng = np.random.default_rng(key)
    lungs = masks["Right Lung"] | masks["Left Lung"]
    severities = {lesion.finding: lesion.severity for lesion in scene.lesions}
    present, absent = [], []
    for finding in CHEXLOCALIZE_FINDINGS:
        mask = masks.get(finding)
        if finding in severities and mask is not None and mask.any():
            if rng.random() >= _MISS_RATE:
                sentences = _PRESENT_SENTENCES[finding]
                present.append(_fill_sentence(sentences, rng, severities[finding], mask, lungs))
        elif finding not in scene.findings and finding in _ABSENT_SENTENCES and rng.random() < _ABSENT_MENTION_RATE:
            absent.append(_pick(_ABSENT_SENTENCES[finding], rng))
    sentences_in_order = [*present, *absent]
    rng.shuffle(sentences_in_order)
    impression = present[: 1 + int(rng.integers(2))] or ["No acute cardiopulmonary abnormality."]
    numbered = [f"{i}. {sentence}" for i, sentence in enumerate(impression, 1)] if len(impression) > 1 else impression
    sections = {
        "indication": "Simulated.",
        "findings": " ".join(sentences_in_order) or "The lungs are clear.",
        "impression": "\n".join(numbered),
    }
    return Report(study, sections)


def _fill_sentence(
    sentences: Sequence[str], rng: np.random.Generator, severity: float, mask: Array, lungs: Array
) -> str:
    amount = ("mild", "moderate", "severe")[min(2, int(3 * severity))]
    size = ("small", "moderate", "large")[min(2, int(3 * severity))]
    side, zone = _side_and_zone(mask, lungs)
    return _pick(sentences, rng).format(
        amount=amount, Amount=amount.capitalize(), size=size, Size=size.capitalize(), side=side, zone=zone
    )


def _side_and_zone(mask: Array, lungs: Array) -> tuple[str, str]:
    """Return ('right', 'left' or 'bilateral', of the patient; 'upper', 'mid' or 'lower' third of the lungs)."""
    cols, rows = np.flatnonzero(lungs.any(0)), np.flatnonzero(lungs.any(1))
    middle = (cols[0] + cols[-1]) / 2
    share = float(mask[:, : round(middle)].sum() / mask.sum())  # the patient's right is on the left of the image
    side = "right" if share > 0.8 else "left" if share < 0.2 else "bilateral"
    height = (float(np.argwhere(mask)[:, 0].mean()) - rows[0]) / max(1, rows[-1] - rows[0])
    return side, "upper" if height < 1 / 3 else "mid" if height < 2 / 3 else "lower"


def _pick(sentences: Sequence[str], rng: np.random.Generator) -> str:
    return sentences[int(rng.integers(len(sentences)))]
