"""Real input, end to end: a small network trained on NIH radiographs, explained on RSNA's, scored against RSNA's boxes.

    python benchmarks/real.py DATA OUT      DATA holds nih/ and rsna_nih/ (see the loaders nih: and rsna:)

Patients that occur in both are left out of the training. The label is what RSNA's readers boxed as near as NIH's
text-mined labels come to it: pneumonia, infiltration, consolidation or edema against no finding.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import sightline as sl
from sightline._cli.report import finish_run
from sightline.core import NAN, Dataset
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

OPACITY = ("Pneumonia", "Infiltration", "Consolidation", "Edema")


def as_pneumonia(data: Dataset, excluded: set[str]) -> Dataset:
    """One label, 'Pneumonia': 1 for any of `OPACITY`, 0 for no label at all, else unknown; some patients left out."""

    def label(labels: dict[str, float]) -> float:
        if any(labels.get(finding) == 1 for finding in OPACITY):
            return 1.0
        return NAN if any(value == 1 for name, value in labels.items() if name != "No Finding") else 0.0

    kept = [r for r in data.radiographs if r.patient not in excluded]
    labeled = tuple(replace(r, labels={"Pneumonia": label(dict(r.labels))}) for r in kept)
    return replace(data, findings=("Pneumonia",), radiographs=labeled)


def main(root: Path, out: Path) -> None:
    test = sl.open_dataset(f"rsna:{root / 'rsna_nih'}")
    nih = sl.open_dataset(f"nih:{root / 'nih'}")
    shared = {r.patient for r in test.radiographs} & {r.patient for r in nih.radiographs}
    training = as_pneumonia(nih, shared)
    print(f"{len(shared)} patients are in both; {len(training.radiographs)} of {len(nih.radiographs)} images train")
    start = sl.open_model("small?side=160", training.findings, seed=0)
    fit(start, training, out / "training", TrainingConfig(epochs=12), workers=2)
    run = sl.localization(
        data=f"rsna:{root / 'rsna_nih'}",
        model=(str(out / "training" / "best.pt"),),
        out=out / "run",
        protocol="corrected",
    )
    finish_run(run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
