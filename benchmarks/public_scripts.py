"""CheXlocalize end to end, beside the way its public scripts do it: segment, tune, IoU, hits, features, regressions.

    python benchmarks/public_scripts.py [IMAGES]

Radiographs of 2320 pixels and more with ten 320 × 320 maps each, as pickles. The public way is the plain
re-implementation that the tests compare every file with: it decodes marks and enlarges maps anew for every question and
every threshold. Both are timed in one process on one core, on a third of the images and on all of them; what 234 images
(the validation set) take follows from the two.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from sightline._cli.score import score_maps
from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.writers import write_dataset
from sightline.evaluation.case_table import IOU_SWEEP
from sightline.imaging.masks import rasterize_annotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from references import chexlocalize_scripts as scripts

WHOLE = 234


def make(folder: Path, images: int) -> tuple[Dataset, scripts.Maps]:
    """A data set on disk and its maps, as pickles there and as arrays here."""
    write_dataset(open_dataset(f"phantom:{4 * images + 40}?size=2320&split=test"), "chexlocalize", folder / "data")
    data, rng, maps = open_dataset(f"chexlocalize:{folder / 'data'}"), np.random.default_rng(0), {}
    (folder / "maps").mkdir()
    for radiograph in data.radiographs[:images]:
        for finding in data.findings:
            task = {"Lung Opacity": "Airspace Opacity"}.get(finding, finding)
            values = cv2.resize(rng.random((10, 10), np.float32), (320, 320))
            mark = data.annotation(radiograph.id, finding, data.reference_reader)
            if mark is not None:
                seen = cv2.resize(
                    rasterize_annotation(mark).astype(np.float32), (320, 320), interpolation=cv2.INTER_AREA
                )
                values += cv2.GaussianBlur(seen, (0, 0), 15)
            size, probability = radiograph.size or radiograph.read().shape, float(rng.uniform(0.05, 0.95))
            maps[radiograph.id, task] = scripts.HeatMap(values, probability, size)
            content = {
                "map": torch.from_numpy(values)[None, None],
                "prob": probability,
                "task": task,
                "gt": 0,
                "cxr_img": torch.zeros(3, 320, 320),
                "cxr_dims": size[::-1],
            }
            with (folder / "maps" / f"{radiograph.id}_{task}_map.pkl").open("wb") as file:
                pickle.dump(content, file, protocol=3)
    return data, maps


def publicly(folder: Path, maps: scripts.Maps) -> None:
    """Every step of the public scripts, in their order."""
    root, ids = folder / "data" / "CheXlocalize", {i for i, _ in maps}
    names = ("gt_annotations_test", "gt_segmentations_test", "hb_segmentations_test", "hb_salient_pt_test")
    annotations, gt, hb, points = (
        {i: v for i, v in json.loads((root / f"{n}.json").read_text()).items() if i in ids} for n in names
    )
    human = {i: {t: scripts.decode(item) for t, item in tasks.items()} for i, tasks in hb.items()}
    masks = scripts.segmentations(maps)
    tables = [scripts.ious(gt, masks), scripts.ious(gt, human), scripts.hits(gt, maps), scripts.human_hits(gt, points)]
    draws = [scripts.bootstrap(table, seed=0) for table in tables]
    for table in draws:
        scripts.summary(table)
    scripts.percentage_decrease(draws[1], draws[0])
    scripts.percentage_decrease(draws[3], draws[2])
    full = scripts.ious(gt, masks, true_pos_only=False)
    features = scripts.pathology_features(annotations, gt)
    for k, y in ((0, "pred"), (0, "diff"), (2, "pred"), (2, "diff")):
        scripts.features_regression(features, tables[k], tables[k + 1], y)
    for task in scripts.TASKS:
        scripts.tuned_threshold(maps, gt, task)
        scripts.tuned_cutoffs(maps, gt, task)
        if full[task].notna().sum() > 4 and full[task].nunique() > 1:
            scripts.assurance_regression(maps, full, task, tests=11)
    scripts.pooled(gt, masks)
    scripts.count_segs(masks)


def ours(folder: Path, ids: set[str], protocol: str, out: Path) -> None:
    """The same by one command; with the published protocol also every file of the scripts."""
    some = out / "maps"
    some.mkdir(parents=True)
    for file in (folder / "maps").iterdir():
        if any(file.name.startswith(i) for i in ids):
            (some / file.name).symlink_to(file)
    legacy = out / "files" if protocol == "published" else None
    score_maps(
        some,
        data=f"chexlocalize:{folder / 'data'}",
        out=out / "run",
        protocol=protocol,
        controls=(),
        metrics=("iou", "pointing-game", *IOU_SWEEP),
        chexlocalize_csv=legacy,
    )


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 18
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, maps = make(folder, images)
        spent: dict[str, list[float]] = {"public scripts": [], "published": [], "corrected": []}
        for count in (images // 3, images):
            ids = {r.id for r in data.radiographs[:count]}
            spent["public scripts"].append(
                seconds(lambda ids=ids: publicly(folder, {k: m for k, m in maps.items() if k[0] in ids}))
            )
            for protocol in ("published", "corrected"):
                out = folder / f"{protocol}-{count}"
                spent[protocol].append(seconds(lambda ids=ids, p=protocol, out=out: ours(folder, ids, p, out)))
    few, many = images // 3, images
    print(f"CPU seconds for {few} and {many} images × 10 findings, and what {WHOLE} images take")
    whole = {}
    for name, (short, long) in spent.items():
        each = (long - short) / (many - few)
        whole[name] = short + each * (WHOLE - few)
        print(f"  {name:16}{short:8.1f}{long:8.1f}{whole[name]:9.0f}   {1000 * each / 10:6.0f} ms a map")
    for name, target in (("published", 8), ("corrected", 12)):
        ratio = whole["public scripts"] / whole[name]
        print(f"  {name}: 1/{ratio:.1f} of the public scripts' time (target 1/{target})")


if __name__ == "__main__":
    main()
