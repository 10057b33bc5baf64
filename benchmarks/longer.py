"""What longer training changes in a phantom run of the self-explaining study, and whether labels choose well.

    python benchmarks/longer.py RUN OUT [--epochs 28 56] [--parts 1 2 3]    RUN: of `sightline selfexplain`, phantom

1. The network without the element is trained anew for more epochs, on the same films and by the same recipe, until its
   validation AUROC reaches the element's: are the element's better maps only those of a better classifier?
2. The label budget is taught for twice the epochs: where do the curves cross then?
3. Of every epoch of an element and of a U-Net that learn from marks: validation AUROC, by which one is chosen, beside
   the average precision of its maps on the films explained.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

import sightline as sl
from sightline._util.malloc import keep_freed_memory
from sightline.evaluation.score_run import evaluate
from sightline.methods.explain import explain
from sightline.protocol import CORRECTED
from sightline.runs.run import Run
from sightline.stats.estimates import AVERAGE
from sightline.stats.label_budget import DETECTOR, ELEMENT
from sightline.studies.selfexplain import FINDINGS, PHANTOM, selfexplain
from sightline.studies.selfexplain_models import PLAIN, RECIPE, TOLD_EPOCHS, TRAINING, UNET, supervised, taught
from sightline.training.config import Sample
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

NAMES = FINDINGS.split(", ")


def reached(folder: Path) -> float:
    """The best validation AUROC of a training."""
    return max(h["val_auroc"] for h in Run.open(folder).info["history"])


def matched(run: Path, out: Path, epochs: list[int]) -> None:
    element, source = run / "training/element", sl.dataset(TRAINING)
    print(f"the element: validation AUROC {reached(element):.3f}")
    plain = run / "training/plain"
    for count in epochs:
        plain = out / f"plain-{count}"
        fit(sl.open_model(PLAIN, source.findings, seed=0), source, plain, replace(RECIPE, epochs=count),
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


def twice(run: Path, out: Path) -> None:
    element, training = sl.open_model(str(run / "training/element/best.pt")), out / "twice"
    learned = taught(training, element, sl.dataset(TRAINING), 0, 2 * TOLD_EPOCHS)
    named = {
        role: tuple(f"{t.films}={t.home}/best.pt" for t in learned if t.role == role) for role in (ELEMENT, DETECTOR)
    }
    longer = selfexplain(data=PHANTOM, model=str(run / "training/element/best.pt"), findings=FINDINGS,
                         plain=str(run / "training/plain/best.pt"), told=named[ELEMENT], detectors=named[DETECTOR],
                         methods=("grad-cam",), out=out / "study-twice")  # fmt: skip
    for epochs, one in ((TOLD_EPOCHS, Run.open(run)), (2 * TOLD_EPOCHS, longer)):
        print(f"\n{epochs} epochs: they cross at {one.info['crossing']['said']}")
        print(one.table("budget").round(3).to_string(), flush=True)


def chosen(run: Path, out: Path, films: int = 300) -> None:
    source = sl.dataset(TRAINING)
    element = sl.open_model(str(run / "training/element/best.pt"))
    for role, start in (
        (ELEMENT, supervised(element)),
        (DETECTOR, sl.open_model(UNET, source.findings, seed=5)),
    ):
        home, recipe = out / f"every-{role}", replace(RECIPE, epochs=TOLD_EPOCHS, keep=TOLD_EPOCHS)
        limited = limit_annotations(source, films, 0)
        fit(start, limited, home, recipe, Sample(split_seed=0), cache=run / "training/images",
            workers=os.cpu_count() or 1)  # fmt: skip
        kept = {h["checkpoint"]: h["val_auroc"] for h in Run.open(home).info["history"]}
        models = [replace(sl.open_model(str(home / f"kept/{name}.pt")), name=name) for name in kept]
        part = replace(data := sl.dataset(PHANTOM), radiographs=data.radiographs[:100])
        maps = Run.start(out / f"every-{role}-maps", "every", {})
        for m in models:
            maps = explain(part, m, ("own",), findings=NAMES, out=maps)
        evaluate(maps, maps, part, names=("average-precision",), chosen=(CORRECTED,), findings=NAMES, seed=0)
        means = maps.table("estimates").query(f"finding == '{AVERAGE}'").set_index("source")["mean"]
        both = pd.DataFrame({"auroc": kept, "precision": {name: means[f"{name}/own"] for name in kept}})
        print(f"\n{role}, marks of {films} films: Spearman {both.corr('spearman').iloc[0, 1]:.3f}; chosen epoch "
              f"{both.loc[both['auroc'].idxmax(), 'precision']:.3f}, best {both['precision'].max():.3f}")  # fmt: skip
        print(both.round(3).to_string(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[28, 56])
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    keep_freed_memory()
    if 1 in given.parts:
        matched(given.run, given.out, given.epochs)
    if 2 in given.parts:
        twice(given.run, given.out)
    if 3 in given.parts:
        chosen(given.run, given.out)
