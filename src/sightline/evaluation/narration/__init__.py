"""A reading of maps in words, and the check of any such words against what was measured."""

from __future__ import annotations

from sightline.evaluation.narration.check import Checked, Verdict, check, contradiction_rate
from sightline.evaluation.narration.claims import Claim, claims
from sightline.evaluation.narration.facts import Facts, measured
from sightline.evaluation.narration.template import narrate

__all__ = ["Checked", "Claim", "Facts", "Verdict", "check", "claims", "contradiction_rate", "measured", "narrate"]
