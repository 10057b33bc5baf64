"""Do 95 % intervals hold the truth 95 times in 100? Simulated patients with several alike radiographs each.

    python benchmarks/coverage.py [DATASETS]      about two minutes; prints coverage with its own binomial error

Every data set has G patients with one to four radiographs. Scores of one patient are alike: a patient's level is drawn
first, then its radiographs around it. `iou` is skewed in (0, 1), `pointing-game` is 0 or 1. The corrected protocol
resamples patients (BCa), the published one radiographs.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.stats.estimates import estimates

LEVEL = {"iou": 0.3, "pointing-game": 0.35}


def scores(rng: np.random.Generator, patients: int, metric: str) -> pd.DataFrame:
    """Rows of a score table: one finding, one source."""
    count = rng.integers(1, 5, patients)
    group = np.repeat(np.arange(patients), count)  # (N,)
    level = rng.beta(*_beta(LEVEL[metric], 2.5), patients)[group]  # the patient's own level
    value = rng.beta(*_beta(level, 8.0)) if metric == "iou" else (rng.random(len(group)) < level).astype(float)
    names = [f"p{g}" for g in group]
    ids = [f"p{g}-{i}" for i, g in enumerate(group)]
    return pd.DataFrame({"radiograph": ids, "patient": names, "value": value}).assign(
        finding="Edema", metric=metric, source="model/grad-cam"
    )


def _beta(mean: float | Array, strength: float) -> tuple[float | Array, float | Array]:
    return np.clip(mean, 1e-3, 1 - 1e-3) * strength, (1 - np.clip(mean, 1e-3, 1 - 1e-3)) * strength


def coverage(patients: int, metric: str, datasets: int, seed: int = 0) -> dict[str, float]:
    """Share of simulated data sets whose interval holds the true mean, by protocol."""
    rng, held = np.random.default_rng((seed, patients, len(metric))), {"corrected": 0, "published": 0}
    truth = float(np.mean(np.concatenate([scores(rng, 20_000, metric)["value"].to_numpy() for _ in range(10)])))
    for number in range(datasets):
        table = scores(rng, patients, metric)
        both = pd.concat([table.assign(protocol=p) for p in held])
        made = estimates(both, (CORRECTED, PUBLISHED), seed=number).query("finding == 'Edema'").set_index("protocol")
        for name in held:
            held[name] += made.loc[name, "low"] <= truth <= made.loc[name, "high"]
    return {name: count / datasets for name, count in held.items()}


def main() -> int:
    datasets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    ok = True
    error = 1.96 * (0.05 * 0.95 / datasets) ** 0.5
    print(f"coverage of 95 % intervals, {datasets} simulated data sets each (± {error:.3f})")
    for metric in LEVEL:
        for patients in (20, 50, 100, 500):
            found = coverage(patients, metric, datasets)
            ok &= 0.93 <= found["corrected"] <= 0.97
            told = "   ".join(f"{name} {share:.3f}" for name, share in found.items())
            print(f"  {metric:4} {patients:4} patients   {told}", flush=True)
    print("corrected intervals cover 93 to 97 %" if ok else "FAILS: a corrected interval lies outside 93 to 97 %")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
