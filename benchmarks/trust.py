"""The trust study beside peers: cascade, SSIM, ROAD and localization metrics, CPU seconds of one thread.

    python benchmarks/trust.py [cascade|ssim|road|localization ...]

scikit-image is part of the environment; pytorch-grad-cam (ROAD) and Quantus are asked where they are installed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

import sightline as sl
from sightline._util.malloc import disable_malloc_trim
from sightline.core import Frame, SaliencyMap
from sightline.evaluation.faithfulness import ROAD_SHARES, PerturbedImage, road
from sightline.evaluation.scoring import score_map
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging.inpaint import inpaint
from sightline.methods import BatchContext, run_method, target_indices
from sightline.metrics.similarity import ssim
from sightline.models.activation_cache import record_activations
from sightline.models.weight_randomization import find_blocks, iterate_cascade
from sightline.protocol import CORRECTED

SIDE, BATCH = 320, 8
CAMS = ("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "xgrad-cam", "cam", "eigen-cam", "ablation-cam")


def clock(work: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def cascade() -> None:
    """Eight class activation maps after each of the blocks of DenseNet-121, 14 findings."""
    model = sl.open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS)
    x, drawn = torch.randn(BATCH, 3, SIDE, SIDE), find_blocks(model)
    names = [b.name for b in drawn]

    def maps(m: sl.Model) -> dict[str, torch.Tensor]:
        with BatchContext(m, x) as context:
            return {name: run_method(context, name, target_indices(m, None)) for name in CAMS}

    def run(kept: bool) -> None:
        prefix = record_activations(model, x, names) if kept else None
        changed: list[str] = []
        for block, stage in iterate_cascade(model, drawn):
            changed += block.layers
            if prefix is None:
                maps(stage)
            else:
                with prefix.replay(stage.net, changed):
                    maps(stage)

    maps(model)
    with torch.inference_mode():
        forward = min(clock(lambda: model.net.eval()(x))[0] for _ in range(3))
    print(
        f"cascade of {len(drawn)} stages, {len(CAMS)} methods, 14 findings, {BATCH} images: one forward "
        f"{forward / BATCH:.3f} s an image"
    )
    for title, kept in (("all computed anew", False), ("what precedes recalled", True)):
        took = min(clock(lambda kept=kept: run(kept))[0] for _ in range(2))
        print(
            f"  {title:24}{took / BATCH:8.3f} s an image, {took / (len(drawn) * forward):.2f} × {len(drawn)} forwards"
        )


def similarity() -> None:
    rng = np.random.default_rng(0)
    for kind in (np.float64, np.float32):
        pairs = [[cv2.GaussianBlur(rng.random((SIDE, SIDE)).astype(kind), (0, 0), 6) for _ in "ab"] for _ in range(200)]
        ours, mine = clock(lambda pairs=pairs: [ssim(a, b, 1.0) for a, b in pairs])  # type: ignore[misc]
        peer, theirs = clock(
            lambda pairs=pairs: [structural_similarity(a, b, data_range=1.0) for a, b in pairs]  # type: ignore[misc]
        )
        gap = np.abs(np.array(mine) - np.array(theirs)).max()
        print(
            f"SSIM of {len(pairs)} pairs at {SIDE}² of {kind.__name__}: ours {ours:.2f} s, skimage {peer:.2f} s: "
            f"{peer / ours:.2f} ×; largest difference {gap:.1e}; 10 000 pairs {50 * ours:.0f} s"
        )


def roads() -> None:
    """One map on one film: imputations at 10 to 70 %, highest and lowest first, and the forwards they need."""
    model = sl.open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS)
    x, frame = model.prepare(sl.open_dataset("phantom:1?size=400").radiographs[0].read())
    seen = (x[0] * model.std[0] + model.mean[0]).numpy()
    film = PerturbedImage(model, "film", seen, frame, 0)
    values = cv2.GaussianBlur(np.random.default_rng(0).random((SIDE, SIDE), np.float32), (0, 0), 20)
    order = film.rank_pixels(values, "Edema")
    ours, _ = clock(lambda: road(film, order, "Edema"))
    masks = [np.isin(np.arange(order.size), order[: round(s * order.size)]).reshape(seen.shape) for s in ROAD_SHARES]
    mine, filled = clock(lambda: [inpaint(seen, m) for m in masks])
    asked, _ = clock(lambda: film.probabilities([seen] * 2 * len(ROAD_SHARES)))
    print(
        f"ROAD, one map, {2 * len(ROAD_SHARES)} imputations and forwards: ours {ours:.2f} s, of which the network "
        f"{asked:.2f} s; imputation alone {mine / len(masks):.3f} s"
    )
    if find_spec("pytorch_grad_cam") is not None:
        from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        imputer = NoisyLinearImputer(noise=0.0)
        peer, theirs = clock(lambda: [imputer(x, torch.from_numpy(1.0 - m)) for m in masks])
        gap = max(
            float(np.abs(a - (b[0] * model.std[0] + model.mean[0]).numpy()).max())
            for a, b in zip(filled, theirs, strict=True)
        )  # type: ignore[call-overload]
        combined = ROADCombined(percentiles=[round(100 * s) for s in ROAD_SHARES])
        place = [ClassifierOutputTarget(CHEXPERT_FINDINGS.index("Edema"))]
        whole, _ = clock(lambda: combined(x[None], values[None], place, model.net.eval()))
        print(f"  pytorch-grad-cam {whole:.2f} s: {whole / ours:.1f} ×, of the network's part {whole / asked:.1f} ×")
        print(
            f"    imputation {peer / len(masks):.3f} s: {peer / mine:.1f} ×; largest difference of a filled pixel "
            f"{gap:.1e}"
        )
    if find_spec("quantus") is not None:
        import quantus

        region = quantus.ROAD(
            percentages=[round(100 * s) for s in ROAD_SHARES],
            noise=0.01,
            disable_warnings=True,
            display_progressbar=False,
        )
        batch = {"x_batch": x[None].numpy(), "y_batch": np.array([4]), "a_batch": np.repeat(values[None, None], 3, 1)}
        try:
            took, _ = clock(lambda: region(model=model.net.eval(), **batch, device="cpu"))
            print(f"  Quantus (highest first only: half) {took:.2f} s: {2 * took / ours:.1f} × for both ends")
        except IndexError as error:
            print(f"  Quantus fails on images of three channels: {error}")


def localization() -> None:
    """Map at 320², mark at 320²: Quantus' localization metrics, each called with a batch of one and of 32."""
    if find_spec("quantus") is None:
        return
    import quantus

    rng = np.random.default_rng(0)
    maps = np.stack([cv2.GaussianBlur(rng.random((SIDE, SIDE)).astype(np.float32), (0, 0), 9) for _ in range(32)])
    mark = np.zeros((SIDE, SIDE), bool)
    mark[60:180, 90:220] = True
    quiet = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}
    theirs: Mapping[str, object] = {
        "pointing-game": quantus.PointingGame(**quiet),
        "relevance-mass": quantus.RelevanceMassAccuracy(**quiet),
        "relevance-rank": quantus.RelevanceRankAccuracy(**quiet),
        "pixel-auroc": quantus.AUC(**quiet),
    }
    net = torch.nn.Identity()
    batch = {
        "x_batch": maps[:, None],
        "y_batch": np.zeros(32, int),
        "a_batch": maps[:, None],
        "s_batch": np.repeat(mark[None, None], 32, 0),
    }
    one = {key: value[:1] for key, value in batch.items()}
    frame = Frame.whole((SIDE, SIDE))
    stored = [SaliencyMap(str(i), "Edema", "m", m, frame) for i, m in enumerate(maps)]
    ours, values = clock(lambda: [score_map(m, mark, tuple(theirs), CORRECTED) for m in stored])
    total, single = 0.0, 0.0
    for name, metric in theirs.items():
        took, found = clock(lambda metric=metric: metric(model=net, **batch))  # type: ignore[operator, misc]
        alone, _ = clock(lambda metric=metric: metric(model=net, **one))  # type: ignore[operator, misc]
        total, single = total + took, single + alone
        gap = np.abs(np.asarray(found, float) - [v[name][0] for v in values]).max()  # type: ignore[attr-defined]
        print(
            f"  {name:14} Quantus {1000 * took / 32:8.2f} ms a map of 32, {1000 * alone:8.2f} ms alone; largest "
            f"difference {gap:.1e}"
        )
    print(
        f"localization metrics, four at once, {1000 * ours / 32:.2f} ms a map; Quantus {1000 * total / 32:.1f} ms: "
        f"{total / ours:.0f} ×, called map by map {1000 * single:.1f} ms: {32 * single / ours:.0f} ×"
    )


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    disable_malloc_trim()
    wanted = sys.argv[1:]
    for name, work in {"cascade": cascade, "ssim": similarity, "road": roads, "localization": localization}.items():
        if not wanted or name in wanted:
            work()


if __name__ == "__main__":
    main()
