"""The viewer on a run of 10 000 radiographs × 10 findings × 8 methods: first paint and filters in a real browser.

`python benchmarks/viewer.py [RADIOGRAPHS] [FOLDER]`. Radiographs and marks are the phantom's, maps are small and
random (and repeat every 250 radiographs), scores have the distribution of guesses: what is measured is the viewer, not
the maps. Times are wall times.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import sync_playwright

from sightline.core import Dataset, Frame, SaliencyMap
from sightline.data import open_dataset
from sightline.evaluation.score_rows import METRICS, MapOutcome, Score
from sightline.maps.storage import write_maps
from sightline.protocol import CORRECTED
from sightline.runs.chunks import schema_for
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run

METHODS = tuple(f"net/method-{i}" for i in range(8))
GRID = (8, 8)
BLOCK = 250


def write(path: Path, count: int) -> Run:
    """The run: maps in parts, and the tables `scores` and `maps` as `evaluate` writes them."""
    data = open_dataset(f"phantom:{count}?size=128")
    run = Run.start(path, "localization", {"data": data.spec, "controls": []})
    with run.lock():
        run = record_inputs(run, data, (CORRECTED,), title="Scale", findings=data.findings)
        run = run.update_info(models=[{"name": "net", "training": {"data": "x"}}])
        for start in range(0, count, BLOCK):
            _write_block(run, data, start, min(start + BLOCK, count))
        keys = [f"{start:06d}" for start in range(0, count, BLOCK)]
        for name in ("scores", "maps"):
            run.join_parts("scores", [f"{key}/{name}.parquet" for key in keys], name)
    return run


def _write_block(run: Run, data: Dataset, start: int, stop: int) -> None:
    some = data.radiographs[start:stop]
    rng = np.random.default_rng(start)
    n, f, s = len(some), len(data.findings), len(METHODS)
    marked = np.array([[r.labels[finding] == 1 for finding in data.findings] for r in some])  # (N, F)
    probability = np.clip(rng.normal(0.35 + 0.3 * marked, 0.2), 0.01, 0.99)
    failed = rng.random((n, f, s)) < 0.002
    run.write_part("maps-net", f"{start:06d}", lambda path: _write_maps(run, path, some, data, probability, failed))
    tables = {"scores": _scores(some, data, marked, probability, failed, rng)}
    tables["maps"] = _ledger(some, data, marked, probability, failed)

    def put(folder: Path) -> None:
        folder.mkdir()
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet")

    run.write_part("scores", f"{start:06d}", put)


def _write_maps(run: Run, path: Path, some: Any, data: Dataset, probability: Any, failed: Any) -> None:
    """The first part as `write_maps` writes it; the others are copies of it with facts of their own."""
    ids, first = [r.id for r in some], run.part("maps-net", "000000")
    if first.exists():
        shutil.copytree(first, path)
        told = json.loads((path / "zarr.json").read_text())
        told["attributes"]["radiographs"] = ids
        for j, facts in enumerate(told["attributes"]["sources"].values()):
            facts["frames"] = [[*r.size, 0.0, 0.0, *map(float, r.size)] for r in some]
            facts["probabilities"] = probability.ravel().tolist()
            facts["statuses"] = failed[:, :, j].ravel().astype(int).tolist()
            facts["reasons"] = {str(i): "every value is 0" for i in np.flatnonzero(failed[:, :, j].ravel())}
        (path / "zarr.json").write_text(json.dumps(told))
        return
    values = np.random.default_rng(0).random((len(some), len(data.findings), len(METHODS), *GRID), np.float32)
    maps = {
        source: [
            SaliencyMap(
                r.id,
                finding,
                source,
                values[i, k, j],
                Frame.whole(r.size or (1, 1)),
                float(probability[i, k]),
                *(("flat", "every value is 0") if failed[i, k, j] else ("ok", "")),
            )
            for i, r in enumerate(some)
            for k, finding in enumerate(data.findings)
        ]
        for j, source in enumerate(METHODS)
    }
    write_maps(path, ids, data.findings, maps)


def _table(row: type, columns: dict[str, Any], count: int) -> pa.Table:
    schema = schema_for(row)
    arrays = []
    for field in schema:
        value = columns[field.name]
        arrays.append(pa.array([value] * count if isinstance(value, str) else value, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _scores(some: Any, data: Dataset, marked: Any, probability: Any, failed: Any, rng: Any) -> pa.Table:
    """Every metric of every method on every marked case."""
    row, column = np.nonzero(marked)
    cases, s, m = len(row), len(METHODS), len(METRICS)
    place = np.repeat(np.arange(cases), s * m)
    source, metric = np.tile(np.repeat(np.arange(s), m), cases), np.tile(np.arange(m), cases * s)
    lost = failed[row[place], column[place], source]
    value = np.where(lost, 0.0, np.clip(rng.beta(1.2, 3, len(place)) + 0.02 * source, 0, 1))
    ids, patients = np.array([r.id for r in some]), np.array([r.patient for r in some])
    return _table(
        Score,
        {
            "protocol": "corrected",
            "source": np.array(METHODS)[source],
            "source_kind": "model",
            "radiograph": ids[row[place]],
            "patient": patients[row[place]],
            "finding": np.array(data.findings)[column[place]],
            "reader": "truth",
            "metric": np.array(METRICS)[metric],
            "value": value,
            "status": np.where(lost, "flat", "ok"),
            "reason": np.where(lost, "every value is 0", ""),
            "probability": probability[row[place], column[place]],
            "area": rng.beta(2, 12, cases)[place],
        },
        len(place),
    )


def _ledger(some: Any, data: Dataset, marked: Any, probability: Any, failed: Any) -> pa.Table:
    n, f, s = failed.shape
    row, column, source = (i.ravel() for i in np.indices((n, f, s)))
    lost = failed.ravel()
    return _table(
        MapOutcome,
        {
            "source": np.array(METHODS)[source],
            "radiograph": np.array([r.id for r in some])[row],
            "finding": np.array(data.findings)[column],
            "status": np.where(lost, "flat", "ok"),
            "reason": np.where(lost, "every value is 0", ""),
            "probability": probability[row, column],
            "annotated": marked[row, column],
        },
        lost.size,
    )


def start(path: Path) -> tuple[subprocess.Popen[str], str, float]:
    """A server, its address, and the seconds until it listened."""
    began = time.perf_counter()
    words = ["view", str(path), "--no-open", "--port", "8499"]
    code = "import sys; from sightline._cli.app import main; sys.exit(main(sys.argv[1:]))"
    server = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    where = server.stdout.readline().split()[1]
    return server, where, time.perf_counter() - began


def peak(server: subprocess.Popen[str]) -> float:
    """MB that a process has held at most."""
    told = Path(f"/proc/{server.pid}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) / 1024


STEP = """([what, selector, value]) => new Promise((done) => {
  const gallery = document.querySelector(".gallery");
  const began = performance.now();
  const seen = new MutationObserver(() => {
    seen.disconnect();
    const made = performance.now();
    const tell = () => done([performance.now() - began, Number(gallery.dataset.cases), made - began]);
    requestAnimationFrame(() => setTimeout(tell));
  });
  seen.observe(gallery, { attributes: true, attributeFilter: ["data-turn"] });
  const element = document.querySelector(selector);
  if (what === "click") element.click();
  else { element.value = value; element.dispatchEvent(new Event("change", { bubbles: true })); }
})"""
STEPS = (
    ("one finding", "click", '.chip[data-value="Edema"]', ""),
    ("two findings", "click", '.chip[data-value="Cardiomegaly"]', ""),
    ("incorrect only", "click", '.chip[data-value="incorrect"]', ""),
    ("all findings again, incorrect", "click", '.chip[data-value="Edema"]', ""),
    ("highest first", "click", '[aria-label="Lowest first"]', ""),
    ("sort by probability", "choose", "#sort", "probability"),
    ("failed maps", "click", '.chip[data-value="flat"]', ""),
    ("start over", "click", ".filters > button.quiet", ""),
    ("all 100 000 cases", "click", ".filters input[type=checkbox]", ""),
    ("another method, first time", "choose", "#source", METHODS[5]),
    ("another metric, first time", "choose", "#metric", "dice"),
    ("the first method again", "choose", "#source", METHODS[0]),
)


def browse(where: str) -> None:
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for visit in ("first visit", "again"):
            painted, ready, cards = [], [], []
            for _ in range(3):
                page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
                page.goto(where, wait_until="commit")
                while not page.evaluate("document.body?.dataset.ready"):
                    page.wait_for_timeout(5)
                ready.append(page.evaluate("performance.now()"))
                painted.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
                cards.append(page.evaluate("document.querySelectorAll('.card').length"))
            told = (
                f"first paint {statistics.median(painted):.0f} ms, cases there after {statistics.median(ready):.0f} ms"
            )
            print(f"{visit}: {told} ({cards[0]} cards)", flush=True)
        page.wait_for_timeout(3000)
        times = []
        for name, what, selector, value in STEPS:
            took, cases, made = page.evaluate(STEP, [what, selector, value])
            times.append(took)
            print(f"  {name:32} {took:6.0f} ms to the next frame, {made:5.0f} of it ours, {cases:7,} cases", flush=True)
            page.wait_for_timeout(400)
        print(f"filters: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms", flush=True)
        browser.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary) / "run"
        if not (path / "tables").exists():
            began = time.perf_counter()
            write(path, count)
            print(f"wrote {count:,} × 10 × 8 maps in {time.perf_counter() - began:.0f} s", flush=True)
        shutil.rmtree(path / "view", ignore_errors=True)
        for what in ("columns made", "opened again"):
            server, where, seconds = start(path)
            print(f"{what}: listens after {seconds:.1f} s, peak {peak(server):.0f} MB", flush=True)
            try:
                if what == "opened again":
                    browse(where)
                    print(f"server: peak {peak(server):.0f} MB", flush=True)
            finally:
                server.terminate()
                server.wait()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU seconds of server and browser: {children.ru_utime + children.ru_stime:.0f}", flush=True)


if __name__ == "__main__":
    main()
