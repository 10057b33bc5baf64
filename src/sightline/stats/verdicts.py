"""Verdicts: a claim about a difference is shown, shown absent or undecided, by where its whole interval lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri

from sightline.core import NAN
from sightline.errors import DataError

Outcome = Literal["shown", "shown absent", "undecided", "not estimable"]
"""Outcome of a criterion."""
Direction = Literal["higher", "lower", "not higher", "not lower"]
"""Claim about a difference: higher or lower by more than the smallest effect, or not higher or not lower by as much."""
Relation = Literal["higher", "lower", "equivalent", "undecided", "not estimable"]
"""Relation of two sources, see `classify_difference`."""
MIN_PATIENTS = 8
"""Least number of patients of a verdict: below it, intervals of skewed scores cover clearly less than they claim."""
POWER = 0.8
"""Probability that the number of patients that a verdict asks for would decide it."""
MAX_PATIENTS = 10_000
"""Number of patients above which a text states no number."""
SMALLEST_EFFECTS: Mapping[str, float] = MappingProxyType(
    {
        # Similarity of two maps. SSIM: unrelated maps of noise differ from chance by up to 0.02 with two dozen
        # patients, published passes and failures of Arun et al. 2021 lie 0.01 to 0.06 apart. Rank correlation: a small
        # effect by Cohen's convention. Overlap of the top 5 %: unrelated maps share 0.05; as much again counts.
        "ssim": 0.05,
        "rank": 0.1,
        "top": 0.05,
        # Entropy of a map: relative increase, a twentieth.
        "entropy-rise": 0.05,
        # Localization: a tenth of what a network trained on annotations gains over the average annotation in Arun et
        # al. 2021 (0.13 and 0.26 in PR area); masks and hits likewise.
        "average-precision": 0.02,
        "pr-area": 0.02,
        "iou": 0.02,
        "dice": 0.02,
        "relevance-mass": 0.02,
        "pointing-game": 0.05,
        # Faithfulness: two percentage points of probability, averaged over the erased shares. Methods of Petsiuk et al.
        # 2018 differ by about as much.
        "deletion": 0.02,
        "insertion": 0.02,
        "road": 0.02,
        # Agreement with gaze: half of a small correlation, because gaze visits healthy places as well.
        "shuffled-ncc": 0.05,
        "ncc": 0.05,
        # Accuracy: the loss that studies of readers with and without an aid commonly allow.
        "auroc": 0.05,
    }
)
"""Measure -> smallest difference that counts, in units of the measure: the only place that holds the defaults."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """Claim that a difference has at least the smallest effect that counts, or less than it."""

    measure: str
    """Measure of the difference, such as 'ssim'."""
    direction: Direction
    """Claim about the difference."""
    smallest_effect: float
    """Smallest difference that counts, at least 0, in units of the measure."""
    min_patients: int = MIN_PATIENTS
    """Least number of patients of a verdict."""

    @property
    def bound(self) -> float:
        """Value that the whole interval must lie above or below."""
        return self.smallest_effect if self.direction.endswith("higher") else -self.smallest_effect

    def judge(self, difference: Mapping[Any, Any]) -> Verdict:
        """Judge a difference by where its whole interval lies.

        'shown' if the interval lies on the claimed side of `bound`, 'shown absent' if it lies on the other, otherwise
        'undecided'. With intervals of 95 % both are one-sided tests at 2.5 %: of superiority by a margin ('higher',
        'lower') or of noninferiority ('not lower', 'not higher').

        Parameters
        ----------
        difference : mapping
            mean, low, high (95 % interval, NaN if there is none), patients, and the reason of a missing interval, if
            it is known.

        Returns
        -------
        Verdict
            'not estimable', with the reason, of fewer than `min_patients` patients or without an interval.

        Examples
        --------
        >>> similar = Criterion("ssim", "higher", smallest_effect=0.05)
        >>> similar.judge({"mean": 0.3, "low": 0.2, "high": 0.4, "patients": 20}).outcome
        'shown'
        >>> similar.judge({"mean": 0.01, "low": 0.001, "high": 0.02, "patients": 20}).outcome
        'shown absent'
        >>> similar.judge({"mean": 0.1, "low": 0.0, "high": 0.2, "patients": 20}).text()
        'undecided: about 170 patients would decide'
        """
        mean, low, high = (float(difference[key]) for key in ("mean", "low", "high"))
        patients = int(difference["patients"])
        if patients == 0:
            return Verdict(self, "not estimable", reason="nothing could be compared")
        if patients < self.min_patients:
            noun = "patient" if patients == 1 else "patients"
            reason = f"{patients} {noun}, at least {self.min_patients} are needed"
            return Verdict(self, "not estimable", reason=reason)
        if np.isnan(low) or np.isnan(high):
            reason = difference.get("reason") or "the difference has no interval"
            return Verdict(self, "not estimable", reason=str(reason))
        if low <= self.bound <= high:
            return Verdict(self, "undecided", _patients_to_decide(mean, low, high, patients, self.bound))
        is_claimed_side = (low > self.bound) == (self.direction in ("higher", "not lower"))
        return Verdict(self, "shown" if is_claimed_side else "shown absent")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a criterion."""

    criterion: Criterion
    """The criterion."""
    outcome: Outcome
    """shown, shown absent, undecided or not estimable."""
    patients_needed: float = NAN
    """Patients that would decide an undecided criterion with a probability of `POWER` if the true difference is the
    estimated one and the interval narrows as the square root of their number; an approximation. Infinite if the
    estimate lies exactly at the bound, NaN of other outcomes."""
    reason: str = ""
    """Why the criterion is not estimable."""

    @classmethod
    def from_columns(cls, row: Mapping[Any, Any], prefix: str = "") -> Verdict:
        """Read the verdict of a row of a table.

        Parameters
        ----------
        row : mapping
            Row with the columns of `columns`, and measure.
        prefix : str
            Prefix of the columns.

        Returns
        -------
        Verdict
        """
        criterion = Criterion(str(row["measure"]), row["direction"], float(row["smallest_effect"]))
        reason = row.get(f"{prefix}reason")
        return cls(
            criterion,
            row[f"{prefix}verdict"],
            float(row[f"{prefix}patients_needed"]),
            reason if isinstance(reason, str) else "",
        )

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """Return the columns of a table.

        Parameters
        ----------
        prefix : str
            Prefix of the columns that are not those of the criterion.

        Returns
        -------
        dict
            verdict, patients_needed and reason with the prefix; direction and smallest_effect.
        """
        outcome = {"verdict": self.outcome, "patients_needed": self.patients_needed, "reason": self.reason}
        columns = {f"{prefix}{name}": value for name, value in outcome.items()}
        return columns | {"direction": self.criterion.direction, "smallest_effect": self.criterion.smallest_effect}

    def combine(self, other: Verdict) -> Verdict:
        """Combine two verdicts that a claim needs both (an intersection-union test, which needs no adjustment).

        Parameters
        ----------
        other : Verdict
            The other verdict.

        Returns
        -------
        Verdict
            'shown' if both are, 'shown absent' if one is, otherwise 'not estimable' if one is; else 'undecided', with
            the larger number of patients. The criterion is that of this verdict.
        """
        both = (self, other)
        if all(v.outcome == "shown" for v in both):
            return self
        for outcome in ("shown absent", "not estimable"):
            for verdict in both:
                if verdict.outcome == outcome:
                    return Verdict(self.criterion, outcome, reason=verdict.reason)
        needed = max(v.patients_needed for v in both if v.outcome == "undecided")
        return Verdict(self.criterion, "undecided", needed)

    def require_sensitivity(self, is_sensitive: bool, reason: str) -> Verdict:
        """Withdraw 'shown absent' where the test could not have shown the effect.

        The absence of an effect is shown only by a test that would have found it (assay sensitivity, ICH E10).

        Parameters
        ----------
        is_sensitive : bool
            Whether an effect of the smallest size was possible.
        reason : str
            Why it was not.

        Returns
        -------
        Verdict
            This verdict, or 'not estimable' with the reason.
        """
        if self.outcome != "shown absent" or is_sensitive:
            return self
        return Verdict(self.criterion, "not estimable", reason=reason)

    def text(self) -> str:
        """Write the outcome with what it needs: patients that would decide, or the reason.

        Returns
        -------
        str
            Such as 'undecided: about 170 patients would decide'.
        """
        if self.outcome == "undecided":
            return f"undecided: {patients_text(self.patients_needed)} would decide"
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome


def _patients_to_decide(mean: float, low: float, high: float, patients: int, bound: float) -> float:
    """Return the patients with which the interval excludes the bound with the probability `POWER`."""
    distance = abs(mean - bound)
    if distance == 0:
        return float("inf")
    width = mean - low if mean > bound else high - mean
    power_factor = 1 + ndtri(POWER) / ndtri(0.975)
    return float(np.ceil(patients * (power_factor * width / distance) ** 2))


def patients_text(patients: float) -> str:
    """Write an approximate number of patients, rounded up to two digits.

    Parameters
    ----------
    patients : float
        Number of patients, or infinity.

    Returns
    -------
    str

    Examples
    --------
    >>> patients_text(163.0), patients_text(float("inf"))
    ('about 170 patients', 'more than 10,000 patients')
    """
    if not patients <= MAX_PATIENTS:
        return f"more than {MAX_PATIENTS:,} patients"
    unit = 10 ** max(0, len(str(int(patients))) - 2)
    return f"about {int(np.ceil(patients / unit)) * unit:,} patients"


def classify_difference(difference: Mapping[Any, Any], smallest_effect: float) -> Relation:
    """Classify a difference without a claim by where its whole interval lies.

    Parameters
    ----------
    difference : mapping
        mean, low, high (95 % interval) and patients.
    smallest_effect : float
        Smallest difference that counts.

    Returns
    -------
    str
        'higher' (the interval lies above the smallest effect), 'lower' (below its negative), 'equivalent' (between
        both), 'undecided', or 'not estimable'.

    Examples
    --------
    >>> classify_difference({"mean": 0.0, "low": -0.01, "high": 0.01, "patients": 30}, smallest_effect=0.02)
    'equivalent'
    """
    higher, lower = (Criterion("", d, smallest_effect).judge(difference).outcome for d in ("higher", "lower"))
    if higher == "not estimable":
        return "not estimable"
    if "shown" in (higher, lower):
        return "higher" if higher == "shown" else "lower"
    return "equivalent" if higher == lower == "shown absent" else "undecided"


def parse_smallest_effects(options: Sequence[str]) -> dict[str, float]:
    """Return the smallest effects, with those of a user in place of the defaults.

    Parameters
    ----------
    options : sequence of str
        MEASURE=VALUE.

    Returns
    -------
    dict of str to float
        Smallest effect of every measure of `SMALLEST_EFFECTS`.

    Raises
    ------
    DataError
        If a measure does not exist, or a value is no number from 0 below 1.

    Examples
    --------
    >>> parse_smallest_effects(["ssim=0.1"])["ssim"]
    0.1
    """
    effects = dict(SMALLEST_EFFECTS)
    for option in options:
        measure, _, text = option.partition("=")
        if measure not in effects:
            raise DataError(
                f"smallest effect {option!r}: no measure is called {measure!r}; write MEASURE=VALUE, with one of "
                f"{', '.join(effects)}"
            )
        try:
            effects[measure] = float(text)
        except ValueError as error:
            raise DataError(f"smallest effect {option!r}: {text!r} is no number; write {measure}=0.05") from error
        if not 0 <= effects[measure] < 1:
            raise DataError(f"smallest effect {option!r}: allowed are numbers from 0 below 1")
    return effects
