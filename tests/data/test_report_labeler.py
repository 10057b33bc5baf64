"""What sentences say of findings: on cases by hand, the phantom's dictation, and real reports with their terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sightline as sl
from sightline.data.report_labeler import find_locations, find_mentions, label_report

OPENI = Path(__file__).resolve().parents[3] / "shared/data/formats/openi_NLMCXR_reports.tgz"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is no pneumothorax or pleural effusion.", {"Pneumothorax": 0, "Pleural Effusion": 0}),
        ("No pneumothorax. Small left effusion.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
        ("Left effusion without pneumothorax.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
        ("Possible right lower lobe pneumonia.", {"Pneumonia": -1}),
        ("Pneumonia cannot be excluded.", {"Pneumonia": -1}),
        ("Stable cardiomegaly with probable mild edema.", {"Cardiomegaly": 1, "Edema": -1}),
        ("The heart size is normal.", {"Cardiomegaly": 0}),
        ("Heart size is mildly enlarged.", {"Cardiomegaly": 1}),
        ("The cardiac silhouette is not enlarged.", {"Cardiomegaly": 0}),
        ("No significant change in the right pleural effusion.", {"Pleural Effusion": 1}),
        ("Previously seen consolidation has resolved.", {"Consolidation": 0}),
        ("Lungs are clear.", {"Lung Opacity": 0}),
        ("No focal consolidation, but bibasilar atelectasis.", {"Consolidation": 0, "Atelectasis": 1}),
        ("There is no pericardial effusion.", {}),
        ("Soft tissue edema of the arm.", {}),
        ("Effusion is not seen.", {"Pleural Effusion": 0}),
        ("Widened mediastinum.", {"Enlarged Cardiomediastinum": 1}),
        ("No effusion. Small effusion on the left.", {"Pleural Effusion": 1}),
    ],
)
def test_labels_follow_presence_and_certainty(text: str, expected: dict[str, float]) -> None:
    names = (
        "Pneumothorax",
        "Pleural Effusion",
        "Pneumonia",
        "Cardiomegaly",
        "Edema",
        "Consolidation",
        "Lung Opacity",
        "Atelectasis",
        "Enlarged Cardiomediastinum",
    )
    assert {f: v for f, v in label_report(text, names).items() if v == v} == expected


def test_where_and_how_much() -> None:
    (m,) = find_mentions("Moderate left lower lobe consolidation.")
    assert (m.finding, m.sides, m.zones, m.amount) == ("Consolidation", {"left"}, {"lower"}, "moderate")
    (m,) = find_mentions("Perihilar bat-wing edema.")
    assert m.zones == {"perihilar"} and m.sides == {"left", "right"}
    assert find_locations("at both bases") == ({"left", "right"}, {"lower"})
    assert find_locations("in the right upper lobe") == ({"right"}, {"upper"})
    assert find_mentions("") == [] and find_mentions("The bones are intact.") == []


def test_the_phantoms_dictation_is_understood() -> None:
    data, sides = sl.open_dataset("phantom:40?size=64"), []
    for r in data.radiographs:
        assert data.reports is not None
        report = data.reports(r.id)
        labels = label_report(report.text(), data.findings)
        for finding, value in labels.items():
            assert np.isnan(value) or value == r.labels[finding], (finding, report.text())
        for m in find_mentions(report.text()):
            mask = data.annotation(r.id, m.finding, data.reference_reader)
            if m.is_present and len(m.sides) == 1 and mask is not None:
                cols = np.argwhere(mask.read())[:, 1].mean() / mask.size[1]
                sides.append((cols < 0.5) == (m.sides == {"right"}))
    assert len(sides) > 20 and np.mean(sides) > 0.95


@pytest.mark.skipif(not OPENI.is_file(), reason=f"the reports of Open-I are not at {OPENI}")
def test_real_reports_are_understood_as_their_indexers_did() -> None:
    """3 955 reports of Open-I, whose major terms were set by people: F1 of what is said to be there."""
    data = sl.open_dataset(f"openi:{OPENI}")
    assert data.reports is not None
    first = {r.study: r for r in reversed(data.radiographs)}
    expected = {
        "Cardiomegaly": 0.9,
        "Atelectasis": 0.87,
        "Lung Opacity": 0.85,
        "Pleural Effusion": 0.82,
        "Consolidation": 0.85,
        "Pneumothorax": 0.8,
        "Fracture": 0.85,
        "Lung Lesion": 0.8,
    }
    counts = {f: np.zeros(3) for f in expected}
    for r in first.values():
        labels = label_report(data.reports(r.id).text(), expected)
        for f in expected:
            truth = r.labels[f]
            if truth == truth:
                counts[f] += [labels[f] == 1 and truth, labels[f] == 1 and not truth, labels[f] != 1 and truth]
    f1 = {f: 2 * hit / (2 * hit + false + missed) for f, (hit, false, missed) in counts.items()}
    assert all(f1[f] >= least for f, least in expected.items()), f1
