"""The trust study on real radiographs: networks trained on NIH's labels, explained on RSNA's images and boxes.

    python benchmarks/real_trust.py DATA OUT      DATA holds nih/ and rsna_nih/ (see the loaders nih: and rsna:)

Two architectures, three seeds of the first, one network on shuffled labels; localizers (two U-Nets, a RetinaNet) learn
from the boxes of 40 % of RSNA's patients, the other 60 % are explained. No patient is on two sides.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas as pd
from real import as_pneumonia

import sightline as sl
from sightline._cli.report import finish_run
from sightline._util.malloc import disable_malloc_trim
from sightline.core import Dataset
from sightline.studies.trust import trust
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import shuffle_labels

NETS = {
    "first": ("small", 0),
    "again": ("small", 1),
    "third": ("small", 2),
    "other": ("timm:resnet18?side=160", 0),
    "shuffled": ("small", 3),
}
MARKED = {"unet": ("unet", 0, 40), "unet-again": ("unet", 1, 40), "retinanet": ("retinanet", 2, 60)}


def shared_out(root: Path, folder: Path) -> Path:
    """RSNA's folder with a list of splits: by a hash of the patient, 30 % train, 10 % val, 60 % test."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (root / "rsna_nih").iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    rows = []
    for r in sl.open_dataset(f"rsna:{root / 'rsna_nih'}").radiographs:
        share = int(hashlib.sha256(r.patient.encode()).hexdigest()[:8], 16) / 2**32
        rows.append((r.id, "train" if share < 0.3 else "val" if share < 0.4 else "test"))
    pd.DataFrame(rows, columns=["Image_ID", "Split"]).to_csv(folder / "pneumonia_splits.csv")
    return folder


def networks(training: Dataset, marked: Dataset, out: Path) -> dict[str, str]:
    found = {}
    for name, (spec, seed) in NETS.items():
        data = shuffle_labels(training, seed) if name == "shuffled" else training
        blank = sl.open_model(spec, ("Pneumonia",), seed=seed)
        fit(blank, data, out / name, TrainingConfig(epochs=12, seed=seed), SamplingConfig(split_seed=0), workers=2)
        found[name] = str(out / name / "best.pt")
    for name, (spec, seed, epochs) in MARKED.items():
        blank = sl.open_model(spec, ("Pneumonia",), seed=seed)
        fit(blank, marked, out / name, TrainingConfig(epochs=epochs, batch_size=8, seed=seed), workers=2)
        found[name] = str(out / name / "best.pt")
    return found


def main(root: Path, out: Path) -> None:
    disable_malloc_trim()
    rsna = shared_out(root, out / "rsna")
    test, nih = sl.open_dataset(f"rsna:{rsna}?split=test"), sl.open_dataset(f"nih:{root / 'nih'}")
    everyone = {r.patient for r in sl.open_dataset(f"rsna:{rsna}").radiographs}
    training = as_pneumonia(nih, everyone)
    boxed = sum(r.labels["Pneumonia"] == 1 for r in test.radiographs)
    count = len(training.radiographs)
    print(
        f"{count} of {len(nih.radiographs)} NIH images train; {len(test.radiographs)} of RSNA are explained, "
        f"{boxed} of them with boxes"
    )
    nets = networks(training, sl.open_dataset(f"rsna:{rsna}"), out)
    run = trust(
        data=f"rsna:{rsna}?split=test",
        model=nets["first"],
        replicates=(nets["again"], nets["third"]),
        other_architectures=(nets["other"],),
        shuffled_labels=(nets["shuffled"],),
        localizers=(nets["unet"], nets["unet-again"], nets["retinanet"]),
        methods=(
            "grad-cam",
            "gradient",
            "smoothgrad-squared?samples=10",
            "integrated-gradients?nodes=8",
            "guided-backprop",
            "guided-grad-cam",
            "xrai?nodes=8",
            "edges",
            "noise",
        ),
        out=out / "run",
    )
    finish_run(run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
