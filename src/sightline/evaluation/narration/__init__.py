"""Narratives of maps: sentences from measurements, and the check of the claims of any text against them."""

from __future__ import annotations

from sightline.evaluation.narration.check import CheckedClaim, Verdict, check_claims, contradiction_rate
from sightline.evaluation.narration.claims import Claim, find_claims
from sightline.evaluation.narration.facts import Measurements, estimate_measurements
from sightline.evaluation.narration.template import narrate

__all__ = [
    "CheckedClaim",
    "Claim",
    "Measurements",
    "Verdict",
    "check_claims",
    "contradiction_rate",
    "estimate_measurements",
    "find_claims",
    "narrate",
]
