"""The self-explaining study on real radiographs: networks trained on NIH's labels, explained on RSNA's boxes.

    python benchmarks/real_selfexplain.py DATA OUT [--device cuda]    DATA holds nih/ and rsna_nih/

Two kinds of element and the same backbone without, three seeds each; detectors learn from the boxes of 40 % of RSNA's
patients, the other 60 % are explained. No patient is on two sides. OUT/summary.csv is the mean over seeds.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd
from real import as_pneumonia
from real_trust import shared_out

import sightline as sl
from sightline._cli.report import finish_run
from sightline._util.malloc import disable_malloc_trim
from sightline.core import Dataset
from sightline.models import Model
from sightline.protocol import CORRECTED
from sightline.runs.run import Run
from sightline.stats.estimates import estimates, paired_differences
from sightline.studies.selfexplain import selfexplain
from sightline.studies.selfexplain_models import make_mask_supervised
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

SEEDS = (0, 1, 2)
KINDS = ("gate", "lse")
BUDGETS = (5, 10, 20)
METHODS = (
    "grad-cam",
    "gradient",
    "smoothgrad-squared?samples=8",
    "integrated-gradients?nodes=8",
    "smooth-ig?samples=4&nodes=6",
    "guided-backprop",
    "guided-grad-cam",
    "xrai?nodes=8",
)
FINDING = ("Pneumonia",)


class Trainer:
    """Trains networks once each, on a device, into a folder; gives the paths of their checkpoints."""

    def __init__(self, out: Path, device: str) -> None:
        self.out, self.device, self.workers = out, device, os.cpu_count() or 1

    def __call__(self, name: str, start: str | Model, data: Dataset, recipe: TrainingConfig) -> str:
        model = sl.open_model(start, FINDING, seed=recipe.seed) if isinstance(start, str) else start
        model.net.to(self.device)
        fit(
            model,
            data,
            self.out / name,
            recipe,
            SamplingConfig(split_seed=0),
            workers=self.workers,
            cache=self.out / "images" / data.name,
        )
        return str(self.out / name / "best.pt")


def main(root: Path, out: Path, device: str) -> None:
    disable_malloc_trim()
    rsna = shared_out(root, out / "rsna")
    test, boxed = sl.open_dataset(f"rsna:{rsna}?split=test"), sl.open_dataset(f"rsna:{rsna}")
    nih = sl.open_dataset(f"nih:{root / 'nih'}")
    training = as_pneumonia(nih, {r.patient for r in boxed.radiographs})
    count = sum(r.labels["Pneumonia"] == 1 for r in test.radiographs)
    print(
        f"{len(training.radiographs)} of {len(nih.radiographs)} NIH images train; {len(test.radiographs)} of RSNA "
        f"are explained, {count} of them with boxes"
    )
    train = Trainer(out, device)
    every = sum(r.labels["Pneumonia"] == 1 for r in boxed.radiographs if r.split == "train")
    films = [*(b for b in BUDGETS if b < every), every]
    detectors = {
        k: train(f"unet-{k}", "unet", limit_annotations(boxed, k, 0), TrainingConfig(epochs=40, batch_size=8))
        for k in films
    }
    retinanet = train("retinanet", "retinanet", boxed, TrainingConfig(epochs=60, batch_size=8, seed=2))
    plain = {seed: train(f"plain-{seed}", "small", training, TrainingConfig(seed=seed)) for seed in SEEDS}
    runs = {}
    for kind in KINDS:
        made = {
            s: train(f"{kind}-{s}", f"selfexplaining:small?kind={kind}&sparsity=0.1", training, TrainingConfig(seed=s))
            for s in SEEDS
        }
        told = {
            k: train(
                f"{kind}-told-{k}",
                make_mask_supervised(sl.open_model(made[0])),
                limit_annotations(boxed, k, 0),
                TrainingConfig(epochs=20, batch_size=8, lr=1e-3),
            )
            for k in (0, *films)
        }
        for seed in SEEDS:
            first = seed == SEEDS[0]
            runs[kind, seed] = selfexplain(
                data=test.spec,
                model=made[seed],
                baseline=plain[seed],
                max_radiographs=1000,
                perturbation_images=30,
                device=device,
                seed=seed,
                replicates=tuple(made[s] for s in SEEDS if s != seed) if first else (),
                localizers=(retinanet, detectors[every], told[every]) if first else (retinanet, detectors[every]),
                mask_supervised=tuple(f"{k}={path}" for k, path in told.items()) if first else (),
                detectors=tuple(f"{k}={detectors[k]}" for k in films) if first else (),
                methods=METHODS,
                out=out / f"run-{kind}-{seed}",
            )
            finish_run(runs[kind, seed])
    summary(runs, out)


def summary(runs: dict[tuple[str, int], Run], out: Path) -> None:
    """Means over seeds, film by film, of every source; and the element's own map less others."""
    columns = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
    rows = []
    for kind in KINDS:
        mine = [run.table("scores", columns) for (k, _), run in runs.items() if k == kind]
        keys = columns[:-1]
        scores = pd.concat(mine).groupby(keys, as_index=False, sort=False)["value"].mean()
        found = estimates(scores, [CORRECTED])
        pairs = [
            ("self-explaining/intrinsic", "baseline/grad-cam"),
            ("self-explaining/intrinsic", "self-explaining/grad-cam"),
            ("self-explaining/intrinsic", "control/average-mask"),
            ("self-explaining/intrinsic", "localizer/retinanet/intrinsic"),
        ]
        gaps = paired_differences(
            scores, lambda there, pairs=pairs: [p for p in pairs if set(p) <= set(there)], [CORRECTED]
        )
        table = pd.concat([found, gaps.assign(source=gaps["source"] + " less " + gaps["versus"])])
        table = table[
            (table["finding"] == "average") & table["metric"].isin(["average-precision", "pointing-game", "iou"])
        ]
        rows.append(table.assign(kind=kind))
        print(f"\n{kind}, mean over {len(mine)} seeds")
        for row in table.to_dict("records"):
            print(f"  {row['source']:55s} {row['metric']:18s} {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
        for (k, seed), run in runs.items():
            if k == kind:
                areas = run.table("discrimination").set_index("model")["auroc"].round(3).to_dict()
                lost = run.table("noninferiority").iloc[0]
                crossing = run.info.get("crossing", {}).get("text", "–")
                print(
                    f"  seed {seed}: AUROC {areas}; element less plain {lost['mean']:.3f} [{lost['low']:.3f}, "
                    f"{lost['high']:.3f}]: {lost['verdict']}; crossing {crossing}"
                )
    pd.concat(rows).to_csv(out / "summary.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    main(given.data, given.out, given.device)
