"""Peak memory of `explain` and of `score` for 200 and for 2000 radiographs: it must not grow with their number."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CODE = """
import resource, sys
from pathlib import Path
import sightline as sl
from sightline.evaluation.analysis import analyze
from sightline.maps.references import ControlMaps, ReaderMaps; from sightline.maps.collections import CombinedMaps
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.methods.explain import explain
from sightline.protocol import CORRECTED
from sightline.runs.run import Run

stage, count, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
data = sl.open_dataset(f"phantom:{count}?size=64")
if stage == "explain":
    model = sl.open_model("small?side=64", data.findings)
    explain(data, model, ["grad-cam", "grad-cam++", "edges"], out=out)
else:
    run = Run.open(out)
    with run.lock():
        maps = CombinedMaps((run, ControlMaps(data, ('center', 'noise')), ReaderMaps(data)))
        options = ScoringOptions((CORRECTED,), data.findings, include_unannotated=True)
        analyze(score_run(run, maps, data, options), data, (CORRECTED,), seed=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(stage: str, count: int, out: Path) -> int:
    """MB of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, stage, str(count), str(out)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for stage in ("explain", "score"):
            small, large = (peak(stage, count, Path(folder) / str(count)) for count in (200, 2000))
            print(
                f"{stage:8} peak {small} MB for 200 radiographs, {large} MB for 2000: {large / small - 1:+.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
