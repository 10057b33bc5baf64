"""Gaze at the size of Eye-Gaze-CXR: densities, measures and the raw table, wall and CPU seconds.

    python benchmarks/gaze.py [densities|measures|raw ...]

Everything is drawn at random in the shape of the release: 1083 films, 48 959 fixations, 1 498 953 samples.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from sightline.core import Array, Frame
from sightline.data.gaze import KERNELS, Gaze, gaze_density, grid_shape
from sightline.data.loaders.egd import GAZE_COLUMNS
from sightline.data.loaders.gaze_samples import read_gaze_samples
from sightline.data.writers.gaze import _SAMPLE_COLUMNS
from sightline.evaluation.gaze_agreement import GAZE_METRICS, _center_density
from sightline.evaluation.gaze_cohort import GazeMaps
from sightline.imaging.geometry import resample_area
from sightline.maps.resample import GRID_SHAPE
from sightline.metrics.gaze import EvidenceMap, GazePair, OtherPatients, standardize
from sightline.metrics.registry import metrics

FILMS, FIXATIONS, SAMPLES = 1083, 48_959, 1_498_953
SIZE = (3056, 2544)


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def told(self, per: float = 1.0, unit: str = "s") -> str:
        """Both, divided by `per`."""
        wall, cpu = (
            (now() - then) / per for now, then in zip((time.perf_counter, time.process_time), self.began, strict=True)
        )
        return f"{wall:.2f} {unit} ({cpu:.2f} of CPU)"


def a_gaze(rng: np.random.Generator, count: int, size: tuple[int, int] = SIZE) -> Gaze:
    places = rng.normal(0.5, 0.17, (count, 2)).clip(0, 0.999) * np.array(size)
    return Gaze.from_fixations("a", "b", size, places, np.arange(count) * 0.3, rng.gamma(2, 0.12, count), 127.0)


def densities() -> None:
    rng = np.random.default_rng(0)
    counts = np.diff(np.sort(rng.integers(0, FIXATIONS, FILMS - 1)), prepend=0, append=FIXATIONS)
    some = [a_gaze(rng, max(1, int(count))) for count in counts]
    for name in ("published", "corrected"):
        clock = Clock()
        for gaze in some:
            gaze_density(gaze, KERNELS[name], grid_shape(gaze.size))
        print(f"{FILMS} densities, {name}, 256 cells along the longer side: {clock.told()}")
    gaze = some[3]
    counted = np.zeros(SIZE)
    np.add.at(counted, tuple(gaze.positions.astype(int).T), 1)
    clock = Clock()
    slow = gaussian_filter(counted, 150.0)
    took = clock.told()
    shape = grid_shape(SIZE)
    exact = resample_area(slow / slow.sum(), Frame.whole(SIZE), shape) * (SIZE[0] * SIZE[1] / shape[0] / shape[1])
    ours = gaze_density(gaze, KERNELS["published"], shape)
    correlation = np.corrcoef(ours.ravel(), exact.ravel())[0, 1]
    off = np.abs(ours - exact).sum() / 2
    print(f"one by scipy at {SIZE[0]} × {SIZE[1]}: {took}; correlation {correlation:.7f}, {off:.1e} of the mass")


def measures() -> None:
    rng = np.random.default_rng(0)
    readings = [
        r for r in (GazeMaps.from_gaze(a_gaze(rng, 45), KERNELS["corrected"]) for _ in range(21)) if r is not None
    ]
    others = OtherPatients(*(np.mean([part(r) for r in readings[1:]], 0) for part in (_density, _fixated, _scores)))
    values = rng.random(GRID_SHAPE)
    clock, rounds = Clock(), 50
    for _ in range(rounds):
        glance = GazePair(EvidenceMap(values), readings[0].density, readings[0].fixation_map, others, _center_density())
        for name in GAZE_METRICS:
            metrics[name](glance)
    print(f"{len(GAZE_METRICS)} measures of one map and density: {clock.told(rounds / 1000, 'ms')}")


def _density(r: GazeMaps) -> Array:
    return r.density


def _fixated(r: GazeMaps) -> Array:
    return r.fixation_map


def _scores(r: GazeMaps) -> Array:
    return standardize(r.density)


def raw() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "eye_gaze.csv"
        rng = np.random.default_rng(0)
        table = {name: np.round(rng.random(SAMPLES), 5) for name in _SAMPLE_COLUMNS}
        names = np.array([f"{i:08x}-{i:08x}-{i:08x}-{i:08x}-{i:08x}" for i in range(FILMS)])
        table["DICOM_ID"] = names[np.sort(rng.integers(0, FILMS, SAMPLES))]
        pd.DataFrame(table).to_csv(file, index=False)
        print(f"{file.stat().st_size / 1e6:.0f} MB, {SAMPLES:,} rows", flush=True)
        subprocess.run([sys.executable, __file__, "read", str(file)], check=True)  # memory of this one alone


def read(file: str) -> None:
    before = _peak()
    clock = Clock()
    samples = read_gaze_samples(Path(file), "DICOM_ID", GAZE_COLUMNS, "SESSION_ID")
    took, peak = clock.told(), _peak()
    print(f"read in {took}; {peak:.0f} MB at most, {before:.0f} before; {len(samples.images)} films")


def _peak() -> float:
    """MB; what getrusage says would be that of the parent."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    asked = sys.argv[1:] or ["densities", "measures", "raw"]
    if asked[0] == "read":
        read(asked[1])
    else:
        for name in asked:
            {"densities": densities, "measures": measures, "raw": raw}[name]()
