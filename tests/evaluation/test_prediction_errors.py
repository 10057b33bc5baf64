"""Confident errors and radiographs without a finding, from a table of predictions made by hand."""

from __future__ import annotations

import pandas as pd

from sightline.evaluation.prediction_errors import choose_error_cases

ROWS = [
    # radiograph, patient, finding, probability, label
    ("a", "p1", "Edema", 0.02, 1),
    ("a", "p1", "Mass", 0.90, 0),
    ("b", "p1", "Edema", 0.01, 1),  # the same patient: the lowest of both is taken
    ("c", "p2", "Edema", 0.03, 1),  # the same finding
    ("d", "p3", "Mass", 0.30, 1),
    ("d", "p3", "Edema", 0.80, 0),
    ("e", "p4", "Mass", 0.70, 1),
    ("e", "p4", "Edema", 0.95, 0),
    ("f", "p5", "Edema", 0.10, 0),
    ("f", "p5", "Mass", 0.20, 0),
    ("g", "p6", "Edema", 0.60, 0),
    ("g", "p6", "Mass", 0.10, 0),
    ("h", "p7", "Edema", 0.99, 0),
    ("h", "p7", "Mass", 0.98, 0),
    ("i", "p8", "Edema", 0.99, -1),
    ("i", "p8", "Mass", 0.10, 0),
]


def predictions() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=["radiograph", "patient", "finding", "probability", "label"])


def test_the_most_confident_errors_and_typical_radiographs_without_a_finding_are_chosen() -> None:
    cases = choose_error_cases(predictions(), set("abcdefghi"))
    assert [(c.kind, c.radiograph, c.finding) for c in cases] == [
        ("missed", "b", "Edema"),
        ("missed", "d", "Mass"),
        ("false alarm", "e", "Edema"),
        ("no finding", "g", "Edema"),
        ("no finding", "h", "Edema"),
    ]
    assert cases[0].probability == 0.01


def test_only_the_radiographs_named_are_candidates_and_right_predictions_are_no_errors() -> None:
    cases = choose_error_cases(predictions(), {"e", "f"})
    assert [(c.kind, c.radiograph) for c in cases] == [("false alarm", "e"), ("no finding", "f")]
    assert choose_error_cases(predictions().assign(label=float("nan")), set("abc")) == []
