"""A run with everything a viewer can meet: coarse, fine, cropped and failed maps, readers, gaze, and hostile names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.core import Annotation, Dataset, Frame, Radiograph, SaliencyMap
from sightline.data.gaze import Gaze
from sightline.data.registry import datasets
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.imaging.geometry import input_frame
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.maps.storage import write_maps
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run

SIZE = (96, 120)
HOSTILE = "<script>window.evil=1</script>"
FINDINGS = ("Edema", "Mass", HOSTILE)
ODD = "../../r<img src=x onerror=window.evil=1>"
METRICS = ("iou", "pointing-game", "pixel-auroc", "iou@above:0.3", "iou@above:0.7", "iou@top:0.1")
SOURCES = ("net/cam", "net/fine", "net/crop", "other/cam?a=1,b=2")


def id_of(number: int) -> str:
    return ODD if number == 7 else f"r{number:03d}"


def disk(number: int, finding: str, shift: float = 0.0) -> np.ndarray:
    row, col, radius = np.random.default_rng((number, FINDINGS.index(finding))).uniform([30, 30, 9], [66, 90, 22])
    rows, cols = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows + 0.5 - row - shift) ** 2 + (cols + 0.5 - col) ** 2 <= radius**2


def has(number: int, finding: str) -> bool:
    return (number + FINDINGS.index(finding)) % 2 == 0


def read(number: int) -> np.ndarray:
    image = np.random.default_rng(number).random(SIZE, np.float32) * 0.2
    for finding in FINDINGS:
        if has(number, finding):
            image[disk(number, finding)] += 0.25
    return image


def looked(number: int) -> Gaze:
    rng = np.random.default_rng((number, 5))
    begin = np.arange(20) * 0.3
    return Gaze.from_fixations(id_of(number), "eyes", SIZE, rng.uniform(10, 80, (20, 2)), begin, np.full(20, 0.25), 8.0)


def world(argument: str) -> Dataset:
    numbers = {id_of(n): n for n in range(int(argument))}

    def marks(radiograph: str, finding: str, reader: str) -> Annotation | None:
        n = numbers[radiograph]
        if reader == "eyes":
            return (
                Annotation(radiograph, "gaze", reader, "fixations", SIZE, lambda: looked(n))
                if finding == "gaze"
                else None
            )
        if finding == "Heart":
            return Annotation(radiograph, finding, reader, "region", SIZE, lambda: disk(n, "Mass", 4.0))
        if finding not in FINDINGS or not has(n, finding):
            return None
        if reader == "points":
            centers = np.argwhere(disk(n, finding)).mean(0, keepdims=True)
            return Annotation(radiograph, finding, reader, "points", SIZE, lambda: centers)
        return Annotation(
            radiograph, finding, reader, "region", SIZE, lambda: disk(n, finding, 3.0 * (reader != "truth"))
        )

    radiographs = [
        Radiograph(
            id_,
            f"p{n // 2}",
            lambda n=n: read(n),
            view="frontal",
            size=SIZE,
            split="test",
            labels={f: float(has(n, f)) for f in FINDINGS},
        )
        for id_, n in numbers.items()
    ]
    readers = ("truth", "second", "points")
    return Dataset("disks", f"disks:{argument}", FINDINGS, radiographs, marks, readers, ("Heart",), ("eyes",))


@pytest.fixture(scope="session", autouse=True)
def _world() -> Iterator[None]:
    datasets("disks", title="Disks", source="these tests", license="none")(world)
    yield
    del datasets._entries["disks"]


def made(number: int, finding: str, source: str) -> SaliencyMap:
    rng = np.random.default_rng((number, FINDINGS.index(finding), len(source)))
    fine = disk(number, finding).astype(np.float32) if has(number, finding) else np.zeros(SIZE, np.float32)
    probability = float(rng.uniform(0.2, 1) if has(number, finding) else rng.uniform(0, 0.8))
    coarse = fine.reshape(8, 12, 10, 12).mean((1, 3)) + rng.random((8, 10)) * 0.4
    whole = SaliencyMap(id_of(number), finding, source, coarse.astype(np.float32), Frame.whole(SIZE), probability)
    if source == "net/fine":
        values = (fine * 0.3 + rng.normal(0, 0.2, SIZE)).astype(np.float32)[:, 2:118]
        return replace(whole, values=values, frame=Frame(SIZE, (0.0, 2.0, 96.0, 118.0)))
    if source == "net/crop":
        return replace(whole, frame=input_frame(SIZE, 64, "center-crop")[1])
    if source == "other/cam?a=1,b=2" and number == 1:
        return replace(whole, values=np.zeros((0, 0), np.float32), status="refused", reason="no <b>features</b>")
    if source == "net/cam" and number == 2 and finding == "Edema":
        return replace(whole, values=np.zeros_like(whole.values), status="flat", reason="every value is 0")
    return whole


def build(path: Path, count: int = 10, *, scored: bool = True, spec: str = "") -> Run:
    """A run of `count` radiographs as the studies leave one, or with maps alone."""
    data = replace(world(str(count)), spec=f"disks:{count}")
    run = Run.start(
        path, "localization", {"data": data.spec, "controls": ["center", "edges", "average-mask"], "seed": 0}
    )
    ids = [r.id for r in data.radiographs]
    for i, source in enumerate(SOURCES):
        maps = [made(n, f, source) for n in range(count) for f in FINDINGS]
        run.write_part(f"maps-{i}", "000000", lambda p, s=source, m=maps: write_maps(p, ids, FINDINGS, {s: m}))
    with run.lock():
        run = record_inputs(run, data, (CORRECTED, PUBLISHED), title=f"Disks {HOSTILE}", findings=FINDINGS)
        run = run.update_info(
            models=[{"name": "net", "training": {"data": "x"}}, {"name": "other", "training": {"data": "x"}}]
        )
        if scored:
            held = CombinedMaps((run, ControlMaps(data, ("center", "edges", "average-mask")), ReaderMaps(data)))
            options = ScoringOptions((CORRECTED, PUBLISHED), FINDINGS, METRICS, include_unannotated=True)
            score_run(run, held, data, options)
    return run


BuildRun = Callable[..., Run]


@pytest.fixture(scope="session")
def run(_world: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for every test that does not spoil it."""
    return build(tmp_path_factory.mktemp("viewer") / "run")


@pytest.fixture
def build_run(tmp_path: Path) -> BuildRun:
    return lambda **options: build(tmp_path / "run", **options)
