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
from sightline._util.malloc import disable_malloc_trim
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.methods.explain import explain
from sightline.protocol import CORRECTED
from sightline.runs.run import Run
from sightline.stats.estimates import AVERAGE
from sightline.stats.label_budget import DETECTOR, SALIENCY_HEAD
from sightline.studies.selfexplain import PHANTOM_DATA, PHANTOM_FINDINGS, selfexplain
from sightline.studies.selfexplain_models import (
    BASELINE,
    PHANTOM_TRAIN_DATA,
    SUPERVISED_EPOCHS,
    TRAINING_CONFIG,
    UNET,
    make_mask_supervised,
    train_label_budgets,
)
from sightline.training.config import SamplingConfig
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

NAMES = PHANTOM_FINDINGS.split(", ")


def reached(folder: Path) -> float:
    """The best validation AUROC of a training."""
    return max(h["val_auroc"] for h in Run.open(folder).info["history"])


def matched(run: Path, out: Path, epochs: list[int]) -> None:
    element, source = run / "training/element", sl.open_dataset(PHANTOM_TRAIN_DATA)
    print(f"the element: validation AUROC {reached(element):.3f}")
    plain = run / "training/plain"
    for count in epochs:
        plain = out / f"plain-{count}"
        fit(
            sl.open_model(BASELINE, source.findings, seed=0),
            source,
            plain,
            replace(TRAINING_CONFIG, epochs=count),
            SamplingConfig(split_seed=0),
            cache=run / "training/images",
            workers=os.cpu_count() or 1,
        )
        print(f"without it, {count} epochs: {reached(plain):.3f}", flush=True)
        if reached(plain) >= reached(element):
            break
    told = selfexplain(
        data=PHANTOM_DATA,
        model=str(element / "best.pt"),
        baseline=str(plain / "best.pt"),
        findings=PHANTOM_FINDINGS,
        methods=("grad-cam",),
        max_radiographs=120,
        out=out / "study",
    )
    print(told.table("noninferiority").round(3).to_string())
    for name in ("estimates", "differences"):
        table = told.table(name)
        kept = (table["metric"].isin(["average-precision", "pointing-game"])) & (table["finding"] == AVERAGE)
        print(table[kept].round(3).to_string())


def twice(run: Path, out: Path) -> None:
    element, training = sl.open_model(str(run / "training/element/best.pt")), out / "twice"
    learned = train_label_budgets(training, element, sl.open_dataset(PHANTOM_TRAIN_DATA), 0, 2 * SUPERVISED_EPOCHS)
    named = {
        role: tuple(f"{t.n_annotated}={t.training_folder}/best.pt" for t in learned if t.role == role)
        for role in (SALIENCY_HEAD, DETECTOR)
    }
    longer = selfexplain(
        data=PHANTOM_DATA,
        model=str(run / "training/element/best.pt"),
        findings=PHANTOM_FINDINGS,
        baseline=str(run / "training/plain/best.pt"),
        mask_supervised=named[SALIENCY_HEAD],
        detectors=named[DETECTOR],
        methods=("grad-cam",),
        out=out / "study-twice",
    )
    for epochs, one in ((SUPERVISED_EPOCHS, Run.open(run)), (2 * SUPERVISED_EPOCHS, longer)):
        print(f"\n{epochs} epochs: they cross at {one.info['crossing']['said']}")
        print(one.table("label_budget").round(3).to_string(), flush=True)


def chosen(run: Path, out: Path, films: int = 300) -> None:
    source = sl.open_dataset(PHANTOM_TRAIN_DATA)
    element = sl.open_model(str(run / "training/element/best.pt"))
    for role, start in (
        (SALIENCY_HEAD, make_mask_supervised(element)),
        (DETECTOR, sl.open_model(UNET, source.findings, seed=5)),
    ):
        home, recipe = (
            out / f"every-{role}",
            replace(TRAINING_CONFIG, epochs=SUPERVISED_EPOCHS, max_checkpoints=SUPERVISED_EPOCHS),
        )
        limited = limit_annotations(source, films, 0)
        fit(
            start,
            limited,
            home,
            recipe,
            SamplingConfig(split_seed=0),
            cache=run / "training/images",
            workers=os.cpu_count() or 1,
        )
        kept = {h["checkpoint"]: h["val_auroc"] for h in Run.open(home).info["history"]}
        models = [replace(sl.open_model(str(home / f"kept/{name}.pt")), name=name) for name in kept]
        part = replace(data := sl.open_dataset(PHANTOM_DATA), radiographs=data.radiographs[:100])
        maps = Run.start(out / f"every-{role}-maps", "every", {})
        for m in models:
            maps = explain(part, m, ("own",), findings=NAMES, out=maps)
        score_run(maps, maps, part, ScoringOptions((CORRECTED,), NAMES, ("average-precision",)))
        means = maps.table("estimates").query(f"finding == '{AVERAGE}'").set_index("source")["mean"]
        both = pd.DataFrame({"auroc": kept, "precision": {name: means[f"{name}/intrinsic"] for name in kept}})
        print(
            f"\n{role}, marks of {films} films: Spearman {both.corr('spearman').iloc[0, 1]:.3f}; chosen epoch "
            f"{both.loc[both['auroc'].idxmax(), 'precision']:.3f}, best {both['precision'].max():.3f}"
        )
        print(both.round(3).to_string(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[28, 56])
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    disable_malloc_trim()
    if 1 in given.parts:
        matched(given.run, given.out, given.epochs)
    if 2 in given.parts:
        twice(given.run, given.out)
    if 3 in given.parts:
        chosen(given.run, given.out)
