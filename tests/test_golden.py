"""The released CheXlocalize sample, scored from its own files: figures to the digit.

Provenance: patient64541 of the sample in the CheXlocalize repository. Published-protocol figures were computed with the
authors' pipeline; corrected ones independently of this package, with torch's resize on the center crop.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.data import open_dataset
from sightline.evaluation.scoring import score
from sightline.maps.folder import open_maps

SAMPLE = Path(__file__).resolve().parents[1].parent / "shared/data/chexlocalize"
MAPS = SAMPLE / "CheXlocalize/gradcam_maps_val"
GOLDEN = {
    # finding: published IoU, hit; corrected IoU
    "Cardiomegaly": (0.3662, 1, 0.4569),
    "Enlarged Cardiomediastinum": (0.4623, 1, 0.5205),
    "Lung Opacity": (0.0000, 0, 0.0022),
}

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="the CheXlocalize sample is not beside this checkout")


def test_the_sample_scores_as_published_and_as_corrected() -> None:
    data = open_dataset(f"chexlocalize:{SAMPLE}")
    table = score(open_maps(MAPS, data), data, ["iou", "pointing-game"], protocol="both")
    assert set(table["finding"]) == set(GOLDEN)
    assert set(table["status"]) == {"ok"}
    found = table.set_index(["protocol", "finding", "metric"])["value"]
    for finding, (published, hit, corrected) in GOLDEN.items():
        assert round(found["published", finding, "iou"], 4) == published
        assert found["published", finding, "pointing-game"] == hit
        assert found["corrected", finding, "iou"] == pytest.approx(corrected, abs=1e-3)
