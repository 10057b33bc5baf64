"""Are an element's better maps only those of a better classifier? The plain network, trained until it is as good.

    python benchmarks/longer.py RUN OUT [--epochs 18 36 54]      RUN: of `sightline selfexplain` on the phantom

The network without the element is trained anew for more epochs, on the same films and by the same recipe, until its
validation AUROC reaches the element's; the study then compares the two.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import sightline as sl
from sightline.memory import keep_freed_memory
from sightline.stats.tables import AVERAGE
from sightline.store import Run
from sightline.studies.elements import RECIPE, TRAINING
from sightline.studies.selfexplain import FINDINGS, PHANTOM, selfexplain
from sightline.training.fit import fit
from sightline.training.recipe import Sample


def reached(folder: Path) -> float:
    """The best validation AUROC of a training."""
    return max(h["val_auroc"] for h in Run.open(folder).info["history"])


def main(run: Path, out: Path, epochs: list[int]) -> None:
    keep_freed_memory()
    element, source = run / "training/element", sl.dataset(TRAINING)
    print(f"the element: validation AUROC {reached(element):.3f}")
    plain = run / "training/plain"
    for count in epochs:
        plain = out / f"plain-{count}"
        fit(sl.open_model("small", source.findings, seed=0), source, plain, replace(RECIPE, epochs=count),
            Sample(split_seed=0), cache=run / "training/images", workers=os.cpu_count() or 1)  # fmt: skip
        print(f"without it, {count} epochs: {reached(plain):.3f}", flush=True)
        if reached(plain) >= reached(element):
            break
    told = selfexplain(data=PHANTOM, model=str(element / "best.pt"), plain=str(plain / "best.pt"), findings=FINDINGS,
                       methods=("grad-cam",), images=120, out=out / "study")  # fmt: skip
    print(told.table("noninferiority").round(3).to_string())
    for name in ("estimates", "differences"):
        table = told.table(name)
        kept = (table["metric"].isin(["average-precision", "hit"])) & (table["finding"] == AVERAGE)
        print(table[kept].round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[18, 36, 54])
    given = parser.parse_args()
    main(given.run, given.out, given.epochs)
