"""Measure how often a run goes back to its files: seconds and files opened between the last map and the printed table.

Two runs of `localization` on folders of images with boxes of two readers: one like the default run, on fewer and
smaller radiographs, and one of 2,000 radiographs with one method. Each is a process of its own. Files are counted where
Python, Zarr or Arrow opens them, and folders where they are listed; modules of Python are not counted.

Usage: python benchmarks/data_way.py OUT, where OUT is a new folder. Prints one JSON object per run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FINDINGS = ("Cardiomegaly", "Lung Lesion", "Pneumothorax")
FOLDERS = {"train": 80, "default-like": 60, "2000-radiographs": 2000}
"""Folder of images -> number of images."""
SIDE = 64
OPTIONS = {
    "default-like": [],
    "2000-radiographs": ["--methods", "gradient", "--controls", "center", "average-mask"],
}
OTHER_FILES = ("/site-packages/", "/lib/", "/usr/", "/proc/", "/sys/", "/dev/", "/etc/", "/src/sightline/")


class OpenedFiles:
    """Paths of the files opened and folders listed so far."""

    def __init__(self) -> None:
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        self.paths: list[str] = []
        sys.addaudithook(self._audit)
        for module, name in ((pq, "ParquetFile"), (pq, "ParquetWriter"), (pa_csv, "CSVWriter")):
            setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, opener: type) -> type:
        """Return the class with its first argument noted where it is a path: Arrow opens files outside Python."""
        paths = self.paths

        class Counted(opener):  # type: ignore[misc]
            def __init__(self, source: Any, *args: Any, **options: Any) -> None:
                if isinstance(source, str | Path):
                    paths.append(str(source))
                super().__init__(source, *args, **options)

        return Counted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | Path):
            path = str(arguments[0])
            if not path.endswith((".py", ".pyc", ".so")) and not any(part in path for part in OTHER_FILES):
                self.paths.append(path)


def run_counted(arguments: list[str], result: Path) -> None:
    """Run a command line in this process; count from the last stored map, and from the last stored score."""
    package = "sightline.runs.run" if importlib.util.find_spec("sightline.runs") else "sightline.store"
    cli = "sightline._cli.app" if importlib.util.find_spec("sightline._cli") else "sightline.cli"
    files, stages = OpenedFiles(), dict[str, tuple[float, float, int]]()
    run_type: Any = importlib.import_module(package).Run
    write_part: Callable[..., None] = run_type.write_part

    def record_part(run: Any, kind: str, key: str, write: Any) -> None:
        write_part(run, kind, key, write)
        if kind.startswith("maps-") or kind == "scores":
            stages[kind[:4]] = (time.perf_counter(), time.process_time(), len(files.paths))

    run_type.write_part = record_part
    with contextlib.suppress(SystemExit):
        importlib.import_module(cli).main(arguments)
    end = (time.perf_counter(), time.process_time(), len(files.paths))
    figures: dict[str, Any] = {}
    for stage, title in (("maps", "after the last map"), ("scor", "after the last score")):
        wall, processor, opened = (b - a for a, b in zip(stages[stage], end, strict=True))
        figures[title] = {"seconds": round(wall, 2), "processor_seconds": round(processor, 2), "files": int(opened)}
    names = Counter(Path(path).name for path in files.paths[stages["scor"][2] :])
    result.write_text(json.dumps({**figures, "most opened": dict(names.most_common(8))}))


def write_folder(folder: Path, count: int) -> None:
    """Write images with a bright box of one finding each, boxes of two readers, and labels."""
    random = np.random.default_rng(count)
    (folder / "images").mkdir(parents=True)
    boxes, labels = ["image,finding,x,y,width,height,reader"], [f"image,patient,{','.join(FINDINGS)}"]
    for number in range(count):
        pixels = random.integers(0, 120, (SIDE, SIDE)).astype(np.uint8)
        x, y, name = *random.integers(2, SIDE // 2, 2).tolist(), f"{folder.name}{number:05d}"
        finding = number % len(FINDINGS)
        pixels[y : y + 18, x : x + 12 + 6 * finding] += 90
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        for reader, shift in (("truth", 0), ("second", 2)):
            boxes.append(f"{name},{FINDINGS[finding]},{x - shift},{y},{12 + 6 * finding},{18 - shift},{reader}")
        labels.append(f"{name},{folder.name}-{number},{','.join(str(int(i == finding)) for i in range(len(FINDINGS)))}")
    (folder / "boxes.csv").write_text("\n".join(boxes))
    (folder / "labels.csv").write_text("\n".join(labels))


def main(out: Path) -> None:
    """Run both and print their figures."""
    for name, count in FOLDERS.items():
        write_folder(out / "data" / name, count)
    model = ["--train-data" if importlib.util.find_spec("sightline.runs") else "--train", f"folder:{out}/data/train"]
    for name, options in OPTIONS.items():
        command = ["localization", "--data", f"folder:{out}/data/{name}", *options, *model, "--out", str(out / name)]
        child = [sys.executable, __file__, "--counted", str(out / f"{name}.json"), *command]
        subprocess.run(child, check=True, stdout=subprocess.DEVNULL)
        print(json.dumps({"run": name, **json.loads((out / f"{name}.json").read_text())}), flush=True)
        model = ["--model", str(out / "default-like" / "training" / "best.pt")]


if __name__ == "__main__":
    if sys.argv[1] == "--counted":
        run_counted(sys.argv[3:], Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
