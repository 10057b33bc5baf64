"""The proof that a change of the code changes no number: record the tables of many small runs, and compare two records.

    python benchmarks/unchanged.py record OUT
    python benchmarks/unchanged.py compare OLD NEW [--renames FILE]

`record` runs the command lines below, in processes of their own, with the package that Python imports (PYTHONPATH
chooses another checkout), and copies every table to OUT/tables. They are the smallest that fill all tables: the five
studies, the training commands, scores of maps as another tool hands them in, the files of the public CheXlocalize
scripts, a reader study that is answered over HTTP, and the phantom in every layout. Where the CheXlocalize sample is
not beside this checkout, the runs that use it are left out. Compare only records of one machine: processors differ.

`compare` demands the same tables, columns and rows, in the same order. Numbers may differ by 1e-12, or by 1e-12 of the
larger one where that is more; text must be equal; a missing value equals a missing value only. It ends with 1 on any
difference. What was renamed stands in benchmarks/renames.json, as {"kind": {"old": "new"}}:

    tables, columns    the name of a table's file without its suffix; a column, or table.column for one table alone
    values             text of a cell, or of its parts between slashes; column=text or table.column=text for one alone
    wording            a list of table.column, by new names: sentences, of which the numbers alone are compared
    reordered          a list of tables, by new names, whose rows are compared as sorted by all columns of text
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import re
import shlex
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pandas as pd

SAMPLE = Path(__file__).resolve().parents[2] / "shared/data/chexlocalize"
TOLERANCE = 1e-12
MEASURED = {"timings.median", "timings.minimum", "timings.maximum", "timings.cpu_median"}
"""Columns, by new names, of measured times, which no two runs share: compared is only where there is a number."""
SHOWN = 5
"""Differences of a table that are printed."""
PRELOADED = ("torch", "torch._dynamo", "scipy.stats", "skimage", "zarr", "pyarrow.parquet", "matplotlib", "pydicom")
"""Imported once and inherited by every process: a small run spends most of its time on these."""

TRAIN = "--data 'phantom:24?start=9000&size=64' --epochs 2 --batch-size 8 --model"
SWEEP = " ".join(f"iou@above:{t / 10}" for t in range(2, 9))
METRICS = (
    "--metrics iou dice pointing-game pixel-auroc average-precision pr-area relevance-mass relevance-rank box-iou "
    f"specificity {SWEEP}"
)
LSE = "selfexplaining:small?kind=lse&side=64"
RUNS = f"""
net/small: train classifier {TRAIN} small?side=64
net/again: train classifier {TRAIN} small?side=64 --seed 1
net/narrow: train classifier {TRAIN} 'small?side=64&width=8' --seed 2
net/shuffled: train classifier {TRAIN} small?side=64 --seed 3 --shuffle-labels
net/unet: train classifier {TRAIN} 'unet?side=64&width=4'
net/unet-again: train classifier {TRAIN} 'unet?side=64&width=4' --seed 1 --fraction 0.8
net/retinanet: train classifier {TRAIN} retinanet?side=64
net/element: train classifier {TRAIN} '{LSE}'
net/element-again: train classifier {TRAIN} '{LSE}' --seed 1
net/element-narrow: train classifier {TRAIN} '{LSE}&width=8'
net/supervised: train classifier {TRAIN} '{LSE}&supervision=masks'
net/supervised-again: train classifier {TRAIN} '{LSE}&supervision=masks' --seed 1
net/decoder: train classifier {TRAIN} 'gaze-supervised:small?supervised_map=decoder&side=64'
net/gaze: train gaze {TRAIN} small?side=64 --gaze-weights 1 10
net/contrastive: train contrastive {TRAIN} small?side=64
net/chexpert: train chexpert --data 'phantom:60?size=48&uncertain=0.3&start=300' --arch small
    --uncertainty-policies ignore 3-class --runs-per-policy 1 --epochs 2 --batch-size 8 --lr 3e-3
    --validation-interval 0.5 --checkpoints-per-run 2 --checkpoints-per-finding 3 --side 32 --precision float32
    --findings 'Cardiomegaly, Edema, Support Devices'
localization: localization --data 'phantom:16?size=64' --model net/small/best.pt --methods grad-cam
    integrated-gradients?nodes=2 {METRICS} --protocol both --chexlocalize-csv localization/legacy
localization-tuned: localization --data 'phantom:8?size=64' --model net/chexpert/final.json --methods grad-cam
    --target-output probability --map-thresholds 'localization?source=small/grad-cam'
    --probability-cutoffs 'localization?source=small/grad-cam'
localization-methods: localization --data 'phantom:4?size=64' --model net/small/best.pt --metrics iou
    --smooth-window 0.1 --methods grad-cam grad-cam++ hires-cam layer-cam xgrad-cam eigen-cam ablation-cam
    gradient input-x-gradient smoothgrad?samples=3 smoothgrad-squared?samples=3 vargrad?samples=3
    integrated-gradients?nodes=3 occlusion 'smooth-ig?samples=2&nodes=2' gradient-shap?samples=3 blur-ig
    layer-conductance?nodes=3 deeplift deepshap guided-ig lrp rise?samples=50 score-cam
    guided-backprop deconvnet guided-grad-cam xrai?nodes=2 --findings 'Cardiomegaly, Edema'
localization-trained: localization --data 'phantom:12?size=64' --train-data 'phantom:30?start=500&size=48'
    --methods grad-cam --binarizer top:0.1
trust: trust --data 'phantom:12?size=64' --model net/small/best.pt --replicates net/again/best.pt
    --other-architectures net/narrow/best.pt --shuffled-labels net/shuffled/best.pt
    --localizers net/unet/best.pt net/retinanet/best.pt --methods grad-cam guided-backprop edges noise
    --max-radiographs 4 --randomization-orders top-down independent
trust-published: trust --data 'phantom:12?size=64' --model net/small/best.pt --methods grad-cam
    --max-radiographs 2 --randomization-orders bottom-up --layerwise --repeats 2 --noise-copies 2
    --explain-predicted-class --protocol published
gaze: gaze --data 'phantom:16?size=64' --model net/small/best.pt --gaze-supervised net/decoder/best.pt
    net/gaze/best.pt --shuffled-gaze net/gaze/shuffled/best.pt --methods grad-cam gradient --max-radiographs 8
    --validation-data 'phantom:12?size=64&start=500'
selfexplain: selfexplain --data 'phantom:20?size=64' --model net/element/best.pt --baseline net/small/best.pt
    --replicates net/element-again/best.pt --other-architectures net/element-narrow/best.pt
    --localizers net/unet/best.pt net/supervised/best.pt
    --mask-supervised 10=net/supervised/best.pt 30=net/supervised-again/best.pt
    --detectors 10=net/unet-again/best.pt 30=net/unet/best.pt --methods grad-cam gradient
    --max-radiographs 12 --rating-cases 6 --perturbation-images 3 --findings 'Cardiomegaly, Pleural Effusion'
pretraining: pretraining --train-data 'phantom:40?start=1000&size=48' --data 'phantom:24?size=48'
    --arch small?side=64 --initializations reports=net/contrastive/best.pt
    --image-text-model net/contrastive/joint.pt --learning-modes all head layers --fractions 0.3 1 --repeats 2
    --epochs 1 --train-batch 8 --methods gradient grad-cam --max-radiographs 8
    --findings 'Lung Opacity, Cardiomegaly, Enlarged Cardiomediastinum'
maps: export localization --format npz
score: score maps --data 'phantom:16?size=64' --protocol both --binarizer otsu {METRICS}
score-sample: score chexlocalize/CheXlocalize/gradcam_maps_val --data chexlocalize:chexlocalize --protocol both
    {METRICS} --chexlocalize-csv score-sample/legacy
readers: readers create localization --tasks contour point search rate choice --max-radiographs 5 --repeat-share 0.3
readers-agreement: readers report readers
readers-answers: readers export readers --format csv
score-readers: score maps --data 'phantom:16?size=64&readers=readers' --metrics iou pointing-game
""" + "\n".join(
    f"data/{name}: data write 'phantom:8?size=64' --format {name}"
    for name in ("chexpert", "chexlocalize", "rsna", "siim", "folder", "egd", "reflacx", "mimic")
)
"""What is recorded: a name, which is the output folder as well, and a command line."""
INVITED = ("readers invite readers 'Reader A'", "readers invite readers 'Reader B'")
SERVED = "readers serve readers --port"
"""How the study of the run `readers` is answered."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("out", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--renames", type=Path, default=Path(__file__).with_name("renames.json"))
    given = parser.parse_args()
    if given.command == "record":
        return record(given.out)
    return compare(given.old / "tables", given.new / "tables", Renames(**json.loads(given.renames.read_text("utf-8"))))


def record(out: Path) -> int:
    """Run every command line in OUT/runs, one thread each, and copy its tables to OUT/tables; goes on after a stop."""
    began, work, tables = time.monotonic(), out.resolve() / "runs", out.resolve() / "tables"
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    with contextlib.redirect_stdout(io.StringIO()):
        command_line()(["list"])  # imports most of the package, too
    print(f"the package in {Path(sys.modules['sightline'].__file__ or '').parent}", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    if SAMPLE.is_dir() and not (work / "chexlocalize").exists():
        (work / "chexlocalize").symlink_to(SAMPLE)
    for run in re.split(r"\n(?=\S)", RUNS.strip()):
        start, (name, words) = time.monotonic(), run.split(": ", 1)
        if "chexlocalize/" in words and not SAMPLE.is_dir():
            print(f"{name:22} left out: the CheXlocalize sample is not beside this checkout", flush=True)
        elif not (tables / name).exists():
            if not (work / name / "run.json").exists():  # a run would go on
                shutil.rmtree(work / name, ignore_errors=True)
            sightline(f"{words} --out {name}", work)
            if name == "readers":
                answer_cases(work)
            count = copy_tables(work / name, tables / name)
            print(f"{name:22} {time.monotonic() - start:5.1f} s {count:4} tables", flush=True)
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0


def command_line() -> Callable[[list[str]], int]:
    from sightline._cli.app import main as sightline_main

    return sightline_main


def started(words: str, work: Path) -> Any:
    """A process that gives the command line in the folder `work`; what it prints goes to the file log."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(shlex.split(words), work))
    process.start()
    return process


def _run(words: list[str], work: Path) -> None:
    os.chdir(work)
    with Path("log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    raise SystemExit(command_line()(words))


def sightline(words: str, work: Path) -> str:
    """Give a command line and wait for its end; returns what it printed."""
    process = started(words, work)
    process.join()
    log = (work / "log").read_text("utf-8", "replace")
    if process.exitcode:
        raise SystemExit(f"sightline {words}\nended with {process.exitcode}:\n{log[-4000:]}")
    return log


def copy_tables(folder: Path, out: Path) -> int:
    """Copy what a run wrote as Parquet or CSV, and the digests of a data set's other files; returns how many tables."""
    tables, digests, whole = 0, [], out
    out = out.with_name(f".{out.name}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and "parts" not in p.relative_to(folder).parts):
        name = file.relative_to(folder)
        if file.suffix in (".parquet", ".csv"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out / name)
            tables += 1
        elif folder.parent.name == "data" and file.name != "README.txt":  # which is in the package's own words
            digests.append({"file": str(name), "digest": f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"})
    if digests:
        pd.DataFrame(digests).to_csv(out / "digests.csv", index=False)
    out.rename(whole)
    return tables + bool(digests)


def answer_cases(work: Path) -> None:
    """Two readers answer every case of the study `readers` as their browsers would; the second answers differently."""
    tokens = [sightline(words, work).strip().rpartition("#token=")[2] for words in INVITED]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def ask(path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address, kind = f"http://127.0.0.1:{port}/api/{path}", {"content-type": "application/json"}
        return json.load(opener.open(urllib.request.Request(address, data, kind), timeout=30))

    server = started(f"{SERVED} {port}", work)
    try:
        while server.is_alive() and socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.2)
        for reader, token in enumerate(tokens):
            ask("enter", {"token": token})
            for place, turn in enumerate(ask("me")["turns"]):
                done = [*answers(ask(f"turns/{turn['key']}"), place + reader), {"kind": "time", "seconds": 5 + place}]
                log = [{"id": f"o{i}", "clock": i + 1, **what} for i, what in enumerate([*done, {"kind": "finish"}])]
                ask(f"turns/{turn['key']}/operations", {"operations": log})
    finally:
        server.terminate()
        server.join()


def answers(case: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """What a reader says of a case: a rectangle, a point, clicks, ratings, or now and then that nothing is there."""
    (height, width), letters, task = case["size"], case["letters"], case["task"]
    top, left = 0.1 * height * (number % 4), 0.1 * width * (number % 3)
    corners = [(top, left), (top, left + width / 2), (top + height / 2, left + width / 2), (top + height / 2, left)]
    shapes = {"contour": [corners], "point": [corners[:1]], "search": [[corner] for corner in corners]}.get(task, [])
    if task in ("contour", "point") and number % 5 == 4:
        yield {"kind": "answer", "question": "absent", "value": "yes"}
        return
    for i, points in enumerate(shapes):
        yield {"kind": "put", "shape": f"s{i}", "points": points, "closed": True, "at": i + 0.5}
    if task == "choice":
        yield {"kind": "answer", "question": "choice", "value": letters[number % len(letters)]}
    for question in case["questions"]:
        for i, letter in enumerate(letters):
            value = str((number + i + len(question["name"])) % 5 + 1)
            yield {"kind": "answer", "question": question["name"], "source": letter, "value": value}


@dataclass(frozen=True)
class Renames:
    """What was renamed between two records: see the top of this file."""

    tables: Mapping[str, str]
    columns: Mapping[str, str]
    values: Mapping[str, str]
    wording: Collection[str] = ()
    reordered: Collection[str] = ()

    def path(self, path: Path) -> Path:
        if path.parent.name == "figures":  # the data of a figure are named like the figure
            return path
        return path.with_stem(self.tables.get(path.stem, path.stem))

    def column(self, table: str, column: str) -> str:
        return self.columns.get(f"{table}.{column}", self.columns.get(column, column))

    def value(self, table: str, column: str, value: object) -> object:
        """A cell of an old table as it reads now."""
        keys = (f"{table}.{column}={value}", f"{column}={value}", value)
        known = next((self.values[key] for key in keys if key in self.values), None)
        if known is not None or not isinstance(value, str):
            return value if known is None else known
        return "/".join(str(self.value(table, column, part)) for part in value.split("/")) if "/" in value else value


def compare(old: Path, new: Path, renames: Renames) -> int:
    """Compare two records; prints a line for each run, and the first differences of each table."""
    before, after = (
        [p.relative_to(folder) for p in sorted(folder.rglob("*.*")) if p.is_file()] for folder in (old, new)
    )
    now = {path: renames.path(path) for path in before}
    problems = [f"{path}: not in {new}" for path, there in now.items() if there not in after]
    problems += [f"{path}: not in {old}" for path in after if path not in now.values()]
    counts: dict[str, list[int]] = {}
    for path in (path for path, there in now.items() if there in after):
        cells, times, found = compare_tables(
            path.stem, now[path].stem, read(old / path), read(new / now[path]), renames
        )
        run = counts.setdefault(path.parts[0], [0, 0, 0, 0])
        run[:] = [total + more for total, more in zip(run, (1, cells, times, len(found)), strict=True)]
        problems += [f"{path}: {text}" for text in found[:SHOWN]]
        problems += [f"{path}: and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    counts["all"] = [sum(run[i] for run in counts.values()) for i in range(4)]
    for name, (tables, cells, times, changed) in counts.items():
        print(f"{name:22} {tables:4} tables {cells:8} cells compared {times:4} of measured time {changed:6} changed")
    print("\n".join(problems))
    return int(bool(problems))


def read(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    return pd.read_csv(file, keep_default_na=False, na_values=[""], low_memory=False)


def compare_tables(
    name: str, now: str, old: pd.DataFrame, new: pd.DataFrame, renames: Renames
) -> tuple[int, int, list[str]]:
    """Cells compared, cells of measured time, and a text for every difference. name, now: the table's two names."""
    columns = [renames.column(name, column) for column in old]
    if columns != list(new) or len(old) != len(new):
        return 0, 0, [f"was {len(old)} rows of {', '.join(columns)}, is {len(new)} rows of {', '.join(new)}"]
    old = old.copy()
    for column in old.select_dtypes(exclude=["number", "bool"]):
        known = {v: renames.value(name, column, v) for v in {*old[column]} if isinstance(v, str)}
        old[column] = [known.get(v, v) for v in old[column]]
    old.columns = pd.Index(columns)
    if now in renames.reordered:
        text = ["object", "str"]
        old, new = (t.sort_values(t.select_dtypes(text).columns.tolist(), kind="stable") for t in (old, new))
    times, found = 0, list[str]()
    for column in columns:
        key, cells = f"{now}.{column}", list(zip(old[column], new[column], strict=True))
        times += len(cells) if key in MEASURED else 0
        changed = [
            i for i, (a, b) in enumerate(cells) if a != b and not same(a, b, key in MEASURED, key in renames.wording)
        ]
        found += [f"row {i}, {column}: {cells[i][0]!r} became {cells[i][1]!r}" for i in changed]
    return new.size - times, times, found


def same(a: Any, b: Any, measured: bool, wording: bool) -> bool:
    """Whether two cells are alike. Text that reads as a number, in a column of a CSV file with other text, is one."""
    if isinstance(a, str) and isinstance(b, str):
        try:
            a, b = float(a), float(b)
        except ValueError:
            numbers = [re.findall(r"\d+(?:\.\d+)?", text) for text in (a, b)]
            return a == b or (wording and numbers[0] == numbers[1] and bool(a) == bool(b))
    if pd.isna(a) or pd.isna(b):
        return bool(pd.isna(a) and pd.isna(b))
    if isinstance(a, str) or isinstance(b, str):
        return False
    return bool(measured or a == b or abs(a - b) <= TOLERANCE * max(1, abs(a), abs(b)))


if __name__ == "__main__":
    raise SystemExit(main())
