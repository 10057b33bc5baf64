"""CheXpert's recipe in miniature, on the phantom: four policies, two runs each, an ensemble per finding.

    python benchmarks/recipe.py [OUT]      about six minutes on two cores; prints each claim with its figures

1. killed with -9 and started again, the recipe ends with the same ensemble, byte for byte;
2. on patients that chose nothing, the ensemble tells findings apart at least as well as its members.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import sightline as sl
from sightline.methods.explain import explain
from sightline.models.ensemble import Ensemble, open_model_or_ensemble
from sightline.stats.auroc import auroc_left_out
from sightline.stats.intervals import infer
from sightline.stats.jackknife import average

TRAIN = "phantom:900?size=112&start=300000&uncertain=0.15"
TEST = "phantom:1400?size=112&start=400000&split=test"
OPTIONS = {
    "arch": "small",
    "runs": 2,
    "epochs": 8,
    "batch": 16,
    "lr": 0.003,
    "validate": 0.5,
    "keep": 3,
    "members": 4,
    "side": 96,
    "precision": "float32",
}


def train(out: Path, kills: int) -> int:
    """Run the recipe by its command line, killing it `kills` times first. Returns how often it was killed."""
    words = [w for key, value in OPTIONS.items() for w in (f"--{key}", str(value))]
    command = [
        sys.executable,
        "-c",
        "from sightline._cli.app import main; raise SystemExit(main())",
        "train",
        "chexpert",
        "--data",
        TRAIN,
        "--out",
        str(out),
        *words,
    ]
    killed = 0
    for _ in range(kills):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(15, 40))
        os.kill(child.pid, signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return killed


def probabilities(model: object, data: sl.Dataset) -> pd.DataFrame:
    """radiograph × finding."""
    run = explain(data, model, ["center"], source_prefix="m")
    rows = [(r.id, m.finding, m.probability) for r in data.radiographs for m in run.maps_for(r.id)]
    table = pd.DataFrame(rows, columns=["radiograph", "finding", "probability"])
    return table.pivot_table(index="radiograph", columns="finding", values="probability", sort=False)


def main(out: Path) -> int:
    whole = time.monotonic()
    train(out / "alone", 0)
    seconds = time.monotonic() - whole
    killed = train(out / "killed", 3)
    same = (out / "alone" / "final.json").read_text() == (out / "killed" / "final.json").read_text()
    print(f"{'holds' if same else 'FAILS'}  killed {killed} times within {seconds:.0f} s of work: the same ensemble")
    data, ensemble = sl.open_dataset(TEST), open_model_or_ensemble(str(out / "alone" / "final.json"))
    assert isinstance(ensemble, Ensemble)
    said = {"ensemble": probabilities(ensemble, data)}
    for model, findings in ensemble.open_members():
        said[f"member {len(said)}"] = probabilities(model, data)[list(findings)]
    labels = pd.DataFrame([r.labels for r in data.radiographs], index=[r.id for r in data.radiographs])
    group = pd.factorize(np.array([r.patient for r in data.radiographs]))[0]
    gaps, levels = [], {"ensemble": [], "members": [], "best member": []}
    for finding in ensemble.findings:
        label, size = labels[finding].to_numpy(int), int(group.max()) + 1
        areas = {n: auroc_left_out(t[finding].to_numpy(), label, group, size) for n, t in said.items() if finding in t}
        whole, members = areas.pop("ensemble"), list(areas.values())
        points = [float(m.point[0]) for m in members]
        levels["ensemble"].append(float(whole.point[0]))
        levels["members"].append(np.mean(points))
        levels["best member"].append(max(points))
        gaps.append(whole - average(members))
        print(
            f"       {finding:28} ensemble {whole.point[0]:.3f}   members {min(points):.3f} to {max(points):.3f} "
            f"({len(members)})"
        )
    gap = infer(average(gaps), bounds=(-1.0, 1.0)).row()
    mean, low, high = gap["mean"], gap["low"], gap["high"]
    told = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in levels.items())
    print(f"       mean AUROC over {len(gaps)} findings, {len(labels)} radiographs: {told}")
    print(f"{'holds' if low >= 0 else 'FAILS'}  ensemble less its members: {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    return int(not (same and low >= 0))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/recipe")))
