"""A reading of maps in words, and the check of any such words against what was measured."""

from __future__ import annotations

from sightline.narrate.check import Checked, Verdict, check, contradiction_rate
from sightline.narrate.claims import Claim, claims
from sightline.narrate.facts import Facts, measured
from sightline.narrate.template import narrate

__all__ = ["Checked", "Claim", "Facts", "Verdict", "check", "claims", "contradiction_rate", "measured", "narrate"]
