"""Cases to look at: findings that a network misses or invents with confidence, and radiographs without a finding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

ErrorKind = Literal["missed", "false alarm", "no finding"]
"""Present, but given a low probability; absent, but given a high one; nothing present at all."""


@dataclass(frozen=True, slots=True)
class ErrorCase:
    """Case of a network."""

    kind: ErrorKind
    """Why it was chosen."""
    radiograph: str
    """Id of the radiograph."""
    finding: str
    """Finding that is explained."""
    probability: float
    """Probability that the network gives the finding, in [0, 1]."""


def choose_error_cases(predictions: pd.DataFrame, radiographs: Collection[str], per_kind: int = 2) -> list[ErrorCase]:
    """Choose cases by rule: the most confident errors, and typical radiographs without a finding.

    Missed findings are those with the lowest probability among the present ones, false alarms those with the highest
    among the absent ones on radiographs that show something else. On a radiograph without any finding, the one with the
    highest probability is explained; the radiographs whose highest probability is nearest to the median are taken. A
    case is no error unless its probability lies on the wrong side of 0.5. Each finding of a kind and each patient is
    taken once.

    Parameters
    ----------
    predictions : DataFrame
        Predictions of one network: columns radiograph, patient, finding, probability, label.
    radiographs : collection of str
        Radiographs to choose from.
    per_kind : int
        Largest number of cases of each kind.

    Returns
    -------
    list of ErrorCase
        Cases in the order missed, false alarm, no finding; fewer where there are no such errors.
    """
    rows = predictions[predictions["radiograph"].isin(list(radiographs)) & predictions["probability"].notna()]
    present = rows.groupby("radiograph")["label"].transform(lambda labels: (labels == 1).any())
    absent = rows.groupby("radiograph")["label"].transform(lambda labels: (labels == 0).all())
    highest = (
        rows[absent].sort_values(["probability", "finding"], ascending=[False, True]).groupby("radiograph").head(1)
    )
    off = (highest["probability"] - highest["probability"].median()).abs()
    missed = rows[(rows["label"] == 1) & (rows["probability"] < 0.5)]
    alarms = rows[(rows["label"] == 0) & (rows["probability"] >= 0.5) & present]
    candidates: dict[ErrorKind, pd.DataFrame] = {
        "missed": missed.sort_values(["probability", "radiograph"]),
        "false alarm": alarms.sort_values(["probability", "radiograph"], ascending=[False, True]),
        "no finding": highest.assign(off=off).sort_values(["off", "radiograph"]),
    }
    chosen: list[ErrorCase] = []
    patients: set[str] = set()
    for kind, table in candidates.items():
        taken: set[str] = set()
        for row in table.to_dict("records"):
            is_new = row["patient"] not in patients and (kind == "no finding" or row["finding"] not in taken)
            if is_new and sum(case.kind == kind for case in chosen) < per_kind:
                patients.add(row["patient"])
                taken.add(row["finding"])
                chosen.append(ErrorCase(kind, row["radiograph"], row["finding"], float(row["probability"])))
    return chosen
