"""The long proofs: what is true of the phantom must come out of a study without being put in.

    python benchmarks/proofs.py [OUT]      about twenty minutes on two cores; prints each claim with its figures

1. controls that saw no marks lose to Grad-CAM, the average of other patients' marks loses to it wherever a finding's
   place varies, the simulated radiologist wins, and bigger findings are found better;
2. a network trained on a shortcut is accurate, looks at the shortcut, and localizes badly;
3. a network taught by gaze agrees better with gaze than one taught by gaze at other films, the middle of the film is at
   chance, and the gaze itself is the ceiling;
4. a study killed with -9 at three random moments ends in the same tables, byte for byte.
"""

from __future__ import annotations

import hashlib
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
from sightline.evaluation.gaze_agreement import CENTER_CONTROL, GAZE_CEILING
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED
from sightline.stats.estimates import differences
from sightline.stats.intervals import infer
from sightline.stats.jackknife import leave_one_out
from sightline.studies.gaze import gaze
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

TRAIN = "phantom:2600?start=100000&size=160"
FIXED = ("Cardiomegaly", "Enlarged Cardiomediastinum", "Edema")
"""Findings that always lie in the same place."""
TEST = "phantom:480?split=test&size=320"
LESIONS = "phantom:1200?split=test&size=320"
"""More films where one finding alone counts: among a few dozen with it, one film moves an AUROC by hundredths."""


def claim(text: str, holds: bool) -> bool:
    print(f"{'holds' if holds else 'FAILS':6} {text}", flush=True)
    return holds


def told(row: pd.Series) -> str:
    """Mean and interval."""
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def known_truths(out: Path) -> bool:
    run = sl.localization(
        data=TEST,
        train_data=TRAIN,
        methods=("grad-cam", "grad-cam++"),
        metrics=("iou", "pointing-game"),
        out=out / "truths",
    )
    average = run.table("estimates").query("finding == 'average'").set_index(["metric", "source"])
    gaps = run.table("differences").query("finding == 'average' and source == 'small/grad-cam'")
    ok = True
    for metric in ("iou", "pointing-game"):
        for row in gaps[(gaps["metric"] == metric) & gaps["versus"].str.startswith("control/")].itertuples():
            text = f"Grad-CAM beats {row.versus} in {metric}: {row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            if row.versus == "control/average-mask":
                print(f"       (over all findings {text.replace('beats', 'less')}: the heart is always where it is)")
            else:
                ok &= claim(f"{text}, n = {row.n}, {row.patients} patients", row.low > 0)
        ok &= where_places_vary(run, metric)
    for metric, reader in (
        ("iou", "reader/simulated radiologist"),
        ("pointing-game", "reader/simulated radiologist points"),
    ):
        row = gaps[(gaps["metric"] == metric) & (gaps["versus"] == reader)].iloc[0]
        level = average.loc[(metric, reader), "mean"]
        text = f"{reader} wins in {metric} with {level:.3f}: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        ok &= claim(text, row["high"] < 0)
    return ok & bigger_is_better(run)


def where_places_vary(run: sl.Run, metric: str) -> bool:
    """Grad-CAM less the average mask over the findings that can lie anywhere in the lungs or chest."""
    scores = run.table("scores")
    scores = scores[~scores["finding"].isin(FIXED)]
    row = differences(scores, (CORRECTED,)).query(
        "finding == 'average' and metric == @metric and source == 'small/grad-cam' and versus == 'control/average-mask'"
    )
    gap = row.iloc[0]
    text = f"where places vary, Grad-CAM beats the average mask in {metric}: {gap['mean']:+.3f}"
    return claim(f"{text} [{gap['low']:+.3f}, {gap['high']:+.3f}], n = {gap['n']}", gap["low"] > 0)


def bigger_is_better(run: sl.Run) -> bool:
    """Within each finding, IoU of Grad-CAM in the larger half less that in the smaller half, averaged."""
    scores = run.table("scores").query("metric == 'iou' and source == 'small/grad-cam'")
    large = scores["area"] > scores.groupby("finding")["area"].transform("median")
    group = np.unique(scores["patient"], return_inverse=True)[1]
    columns = np.where(large, 0, 1)[:, None] == np.arange(2)
    values = np.where(columns, scores["value"].to_numpy()[:, None], np.nan)
    large_ones, small_ones = (leave_one_out(values[:, [k]], group) for k in (0, 1))
    gap = infer(large_ones - small_ones, bounds=(-1.0, 1.0)).row()
    means = f"{large_ones.point[0]:.3f} against {small_ones.point[0]:.3f}"
    text = f"larger findings localize better (above against below each finding's median area): IoU {means}"
    return claim(f"{text}, difference [{gap['low']:+.3f}, {gap['high']:+.3f}]", gap["low"] > 0)


def shortcut(out: Path) -> bool:
    """A drain that is there whenever a lung lesion is: right for the wrong reason."""
    finding, option = "Lung Lesion", "shortcut=drain:Lung Lesion&correlation=1.0"
    blank = sl.open_model("small?side=160", [finding], seed=0)
    fit(
        blank,
        sl.open_dataset(f"phantom:900?start=200000&size=160&{option}"),
        out / "cheat",
        TrainingConfig(epochs=9, batch_size=16),
        workers=2,
    )
    shared = {"model": (str(out / "cheat" / "best.pt"),), "methods": ("grad-cam",), "metrics": ("iou", "pointing-game")}
    cheat = sl.localization(data=f"{LESIONS}&{option}", out=out / "cheat-run", controls=("center",), **shared)
    honest = sl.localization(data=LESIONS, out=out / "cheat-honest", controls=("center",), **shared)
    auroc = [r.table("classification").set_index("finding").loc[finding] for r in (cheat, honest)]
    hit, iou = (
        cheat.table("estimates")
        .query(f"metric == '{m}' and source == 'small/grad-cam' and finding == 'average'")
        .iloc[0]
        for m in ("pointing-game", "iou")
    )
    data = sl.open_dataset(f"{LESIONS}&{option}")
    covered = []
    for radiograph in data.radiographs:
        mark, m = (
            data.annotation(radiograph.id, "Shortcut", "truth"),
            cheat.map("small/grad-cam", radiograph.id, finding),
        )
        if mark is not None and m is not None and m.status == "ok":
            covered.append(bool((binarize_map(m, CORRECTED) & mark.read()).any()))
    ok = claim(f"with the drain it is accurate: AUROC {told(auroc[0])}", auroc[0]["low"] > 0.9)
    ok &= claim(f"without it, it is not: AUROC {told(auroc[1])}", auroc[1]["high"] < 0.75)
    ok &= claim(f"its maps miss the lesions: hit {told(hit)}, IoU {told(iou)}, n = {hit['n']}", hit["high"] < 0.3)
    share = float(np.mean(covered)) if covered else 0.0
    return ok & claim(f"they cover the drain on {share:.0%} of the {len(covered)} films that have one", share > 0.8)


def gaze_teaches(out: Path) -> bool:
    """The study of gaze with its defaults: two networks taught, one by gaze that says nothing of its own film."""
    run = gaze(out=out / "gaze")
    corrected = "protocol == 'corrected' and finding == 'average'"
    gaps = run.table("differences").query(f"{corrected} and metric == 'shuffled-ncc' and source == 'gaze/grad-cam'")
    ok = True
    for versus in ("labels/grad-cam", "shuffled-gaze/grad-cam"):
        row = gaps[gaps["versus"] == versus].iloc[0]
        text = f"taught by gaze, Grad-CAM agrees better than {versus} in shuffled NCC: {told(row)}"
        ok &= claim(f"{text}, n = {row['n']}, {row['patients']} patients", row["low"] > 0)
    means = run.table("estimates").query(corrected).set_index(["source", "metric"])
    for metric, chance in {"shuffled-ncc": 0.0, "shuffled-auc": 0.5}.items():
        row = means.loc[(CENTER_CONTROL, metric)]
        ok &= claim(
            f"the middle of the film is at chance in {metric}: {told(row)}", row["low"] <= chance <= row["high"]
        )
    for metric, top in {"ssim": 1.0, "ncc": 1.0, "similarity": 1.0, "kl": 0.0}.items():
        row = means.loc[(GAZE_CEILING, metric)]
        ok &= claim(f"the gaze itself reaches the ceiling of {metric}: {told(row)}", abs(row["mean"] - top) < 1e-9)
    return ok


def kills(out: Path) -> bool:
    """Start the same study, kill it three times at random, finish it, and compare with one that was left alone."""
    words = [
        "localization",
        "--data",
        "phantom:160?size=128",
        "--model",
        str(out / "cheat" / "best.pt"),
        "--metrics",
        "iou",
        "pointing-game",
    ]
    words += ["--methods", "grad-cam", "integrated-gradients?nodes=4"]
    command = [sys.executable, "-c", "from sightline._cli.app import main; raise SystemExit(main())", *words, "--out"]
    start = time.monotonic()
    subprocess.run([*command, str(out / "alone")], check=True, capture_output=True)
    whole = time.monotonic() - start
    killed = 0
    for _ in range(3):
        child = subprocess.Popen([*command, str(out / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.12, 0.3) * whole)
        os.kill(child.pid, signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    subprocess.run([*command, str(out / "killed")], check=True, capture_output=True)
    tables = [
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (out / n / "tables").iterdir()}
        for n in ("alone", "killed")
    ]
    return claim(
        f"killed {killed} times within {whole:.0f} s of work, {len(tables[0])} table files are the same bytes",
        tables[0] == tables[1],
    )


def main(out: Path) -> int:
    proofs = (known_truths, shortcut, gaze_teaches, kills)
    held = [proof(out) for proof in proofs]  # all of them run, whatever the first says
    return int(not all(held))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/proofs")))
