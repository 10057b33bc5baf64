"""Small runs with real maps, real scores and every table a report reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.core import NAN, Annotation, Dataset, Frame, Radiograph, SaliencyMap, Source
from sightline.data.registry import datasets
from sightline.imaging.geometry import input_frame, project_to_image
from sightline.maps.storage import write_maps
from sightline.metrics.binarization import threshold_bin
from sightline.metrics.histogram import joint_histogram
from sightline.metrics.localization import find_peaks, iou, pointing_game
from sightline.protocol import PROTOCOLS, Protocol
from sightline.runs.run import Run
from sightline.stats.bootstrap import average_columns, draw_weights, interval, p_value, replicate

SIZE = (150, 180)
FINDINGS = ("Cardiomegaly", "Lung Lesion", "Pleural Effusion", "Edema")
SOURCES = (
    "small-net/grad-cam",
    "small-net/integrated-gradients",
    "control/center",
    "control/untrained/grad-cam",
    "reader/simulated contours",
    "reader/simulated points",
)


def truth(radiograph: int, finding: int) -> tuple[float, float, float]:
    """Center and radius of the finding, in pixels."""
    rng = np.random.default_rng((radiograph, finding))
    return float(rng.uniform(50, 100)), float(rng.uniform(50, 130)), float(rng.uniform(6, 34))


def disk(row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows + 0.5 - row) ** 2 + (cols + 0.5 - col) ** 2 <= radius**2


def picture(radiograph: int) -> np.ndarray:
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]] / np.array(SIZE)[:, None, None]
    lungs = sum(np.exp(-(((rows - 0.5) / 0.32) ** 4) - (((cols - c) / 0.16) ** 4)) for c in (0.28, 0.72))
    noise = np.random.default_rng(radiograph).normal(0, 0.015, SIZE)
    return np.clip(0.75 - 0.5 * lungs + noise, 0, 1).astype(np.float32)


def world(argument: str, findings: str = "|".join(FINDINGS)) -> Dataset:
    """As many radiographs as the argument says; two of each patient; a disk for every finding."""
    names = tuple(findings.split("|"))
    ids = [f"r{i:03d}" for i in range(int(argument))]

    def marks(radiograph: str, finding: str, reader: str) -> Annotation | None:
        row, col, radius = truth(int(radiograph[1:]), names.index(finding))
        off = 0.25 * radius if reader != "truth" else 0.0
        return Annotation(radiograph, finding, reader, "region", SIZE, lambda: disk(row + off, col, radius))

    radiographs = [Radiograph(r, f"p{i // 2}", lambda i=i: picture(i), size=SIZE) for i, r in enumerate(ids)]
    return Dataset(
        "world", f"world:{argument}", names, radiographs, marks, ("truth", "simulated contours", "simulated points")
    )


@pytest.fixture(scope="session", autouse=True)
def _world() -> Iterator[None]:
    datasets("world", title="Disks", source="none", license="none")(world)
    yield
    del datasets._entries["world"]


def make_map(source: str, radiograph: int, finding: int, name: str) -> SaliencyMap:
    """A blob near the truth for models and readers, at the center for controls; one map in twenty is flat."""
    row, col, radius = truth(radiograph, finding)
    kind, rng = Source.parse(source).kind, np.random.default_rng((radiograph, finding, len(source)))
    frame = Frame.whole(SIZE) if kind != "model" else input_frame(SIZE, 64, "center-crop")[1]
    grid = 60 if kind == "reader" else 12
    top, left, bottom, right = frame.box
    rows = (np.arange(grid) + 0.5)[:, None] / grid * (bottom - top) + top
    cols = (np.arange(grid) + 0.5)[None] / grid * (right - left) + left
    if kind == "control":
        row, col, radius = SIZE[0] / 2, SIZE[1] / 2, 40
    spread = {"reader": 0.15, "model": 0.7, "control": 0.0}[kind] * radius
    if finding % 4 == 3:
        spread *= 3
    row, col = row + rng.normal(0, spread), col + rng.normal(0, spread)
    values = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * (0.8 * radius + 4) ** 2)).astype(np.float32)
    probability = float(rng.uniform(0.1, 1)) if kind == "model" else NAN
    made = SaliencyMap(f"r{radiograph:03d}", name, source, values, frame, probability)
    if kind == "model" and rng.uniform() < 0.05:
        return replace(made, values=np.zeros_like(values), status="flat", reason="every value is 0")
    return made


def score_map(map_: SaliencyMap, mask: np.ndarray, protocol: Protocol) -> dict[str, float]:
    if map_.status != "ok":
        return {"iou": 0.0, "pointing-game": 0.0}
    placed, window = project_to_image(map_.values, map_.frame if protocol.frame == "carried" else Frame.whole(SIZE))
    histogram = joint_histogram(placed, mask, window)
    confusion = histogram.confusion(threshold_bin(histogram, protocol.binarizer))
    return {"iou": iou(confusion), "pointing-game": pointing_game(find_peaks(placed, mask[window], protocol.ties))}


@cache
def score_table(
    radiographs: int, findings: tuple[str, ...], sources: tuple[str, ...], protocol: str, nan: str
) -> tuple[pd.DataFrame, dict]:
    """Scores of made-up maps, and those maps by source."""
    data = world(str(radiographs), "|".join(findings))
    rows, maps = [], {s: [] for s in sources}
    for i, radiograph in enumerate(data.radiographs):
        for f, finding in enumerate(data.findings):
            mask = disk(*truth(i, f))
            for source in sources:
                made = make_map(source, i, f, finding)
                maps[source].append(made)
                for record in PROTOCOLS[protocol]:
                    for metric, value in score_map(made, mask, record).items():
                        if source.startswith("reader") and (metric == "pointing-game") != source.endswith("points"):
                            continue  # contours do not point, and points have no extent
                        rows.append(
                            {
                                "protocol": record.name,
                                "source": source,
                                "source_kind": Source.parse(source).kind,
                                "radiograph": radiograph.id,
                                "patient": radiograph.patient,
                                "finding": finding,
                                "reader": "truth",
                                "metric": metric,
                                "value": NAN if finding == nan else value,
                                "status": made.status,
                                "reason": made.reason,
                                "probability": made.probability,
                                "area": float(mask.mean()),
                            }
                        )
    return pd.DataFrame(rows), maps


def estimate_tables(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimates of every source, and paired differences of every model to everything else."""
    estimates, differences = [], []
    findings = list(dict.fromkeys(scores["finding"]))
    for (protocol, metric), part in scores.groupby(["protocol", "metric"]):
        wide = part.pivot_table(
            index=["patient", "radiograph"], columns=["source", "finding"], values="value", dropna=False
        )
        group = pd.factorize(wide.index.get_level_values("patient"))[0]
        w = draw_weights(int(group.max()) + 1, 200, 0)
        sources = list(dict.fromkeys(part["source"]))
        of = {s: wide[s].reindex(columns=findings).to_numpy() for s in sources}
        keys = {"protocol": protocol, "metric": metric}
        for source in sources:
            who = {"source": source, "source_kind": Source.parse(source).kind}
            estimates += [{**keys, **who, **row} for row in _estimated(of[source], group, w, findings)]
            for other in sources if Source.parse(source).kind == "model" else ():
                who = {"source": source, "versus": other}
                rows = (
                    _estimated(of[source] - of[other], group, w, findings)
                    if Source.parse(other).kind != "model"
                    else []
                )
                differences += [{**keys, **who, **row} for row in rows]
    ends = ["low", "high", "simultaneous_low", "simultaneous_high"]
    columns = ["protocol", "metric", "source", "versus", "finding", "mean", *ends, "p", "n", "patients", "reason"]
    return pd.DataFrame(estimates), pd.DataFrame(differences, columns=columns)


def _estimated(values: np.ndarray, group: np.ndarray, w: np.ndarray, findings: list[str]) -> list[dict]:
    drawn = replicate(values, group, w)
    mean = average_columns(drawn, [np.arange(len(findings))], values, group)
    out = []
    for r, names in ((drawn, findings), (mean, ["average"])):
        p = [p_value(draws) for draws in r.draws.T]
        numbers = zip(names, *interval(r), p, r.n, r.groups, strict=True)
        keys = ("finding", "mean", "low", "high", "p", "n", "patients")
        out += [dict(zip(keys, row, strict=True)) for row in numbers]
    return [{**row, "simultaneous_low": row["low"], "simultaneous_high": row["high"], "reason": ""} for row in out]


def auroc_table(models: list[str], findings: tuple[str, ...], mean: float) -> pd.DataFrame:
    rows = []
    for model in models:
        for i, finding in enumerate((*findings, "average")):
            m = mean + 0.02 * (i % 3 - 1)
            rows.append(
                {
                    "model": model,
                    "finding": finding,
                    "metric": "auroc",
                    "mean": m,
                    "low": m - 0.06,
                    "high": m + 0.05,
                    "n": 40,
                    "positives": 17 + i,
                    "patients": 20,
                }
            )
    return pd.DataFrame(rows)


MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Runs by their options, made once; `fresh=True` for one that a test may spoil."""
    made: dict[str, Run] = {}

    def make(fresh: bool = False, **options: object) -> Run:
        key = repr(sorted(options.items()))
        if fresh or key not in made:
            run = build(tmp_path_factory.mktemp("run") / "run", **options)
            return run if fresh else made.setdefault(key, run)
        return made[key]

    return make


def build(
    path: Path,
    findings: tuple[str, ...] = FINDINGS,
    sources: tuple[str, ...] = SOURCES,
    protocol: str = "both",
    radiographs: int = 20,
    nan: str = "",
    auroc: float | None = 0.86,
    trained: bool = True,
    title: str = "Do small-net's maps find the disks?",
) -> Run:
    """A whole run in `path`."""
    spec = f"world:{radiographs}?findings={'|'.join(findings)}".replace(" ", "%20")
    data = world(str(radiographs), "|".join(findings))
    run = Run.start(path, "localization", {"data": spec, "protocol": protocol, "seed": 3, "methods": ["grad-cam"]})
    scores, maps = score_table(radiographs, findings, sources, protocol, nan)
    estimates, differences = estimate_tables(scores)
    ids = [r.id for r in data.radiographs]
    for number, (source, flat) in enumerate(maps.items()):
        run.write_part(f"maps-{number}", "0", lambda p, s=source, m=flat: write_maps(p, ids, data.findings, {s: m}))
    run.write_table("scores", scores)
    run.write_table("estimates", estimates)
    run.write_table("differences", differences)
    models = list(dict.fromkeys(Source.parse(s).model for s in sources if Source.parse(s).kind == "model"))
    if auroc is not None and models:
        run.write_table("classification", auroc_table(models, findings, auroc))
    ledger = scores.drop_duplicates(["source", "radiograph", "finding"]).assign(annotated=True)
    run.write_table("maps", ledger[["source", "radiograph", "finding", "status", "reason", "probability", "annotated"]])
    counts = ledger.groupby(["source", "status", "annotated"], sort=False).size().rename("maps").reset_index()
    run.write_table("status", counts)
    record = {"data": "disks:900", "fraction": 1.0, "epochs": 4, "seed": 1, "checkpoint": "5f" * 32, "val_auroc": 0.871}
    return run.update_info(
        title=title,
        created="2026-01-02T03:04:05+00:00",
        dataset={
            "name": "world",
            "title": "Disks on gray",
            "spec": spec,
            "radiographs": radiographs,
            "patients": radiographs // 2,
            "findings": list(findings),
            "readers": ["truth", "simulated contours", "simulated points"],
            "license": "none",
            "source": "these tests",
            "warnings": [],
        },
        models=[
            {
                "name": m,
                "arch": "densenet-mini",
                "parameters": 142_310,
                "resize": "center-crop",
                "side": 64,
                "training": record if trained else None,
            }
            for m in models
        ],
        methods={"grad-cam": {"source": "Selvaraju 2017, arXiv:1610.02391", "signed": False}},
        protocols={p.name: asdict(p) for p in PROTOCOLS[protocol]},
        sources=list(sources),
        versions={"sightline": "0.1.0", "numpy": np.__version__},
        seconds={"explain": 12.5, "score": 3.25},
    )
