"""Every kind of method beside its peer, on DenseNet-121 at 320² with 14 findings and a batch of 8.

    python benchmarks/methods.py [ROW ...]

CPU seconds on one thread, in one process, best of two, interleaved. Peers explain one finding at a time: they are timed
for two and counted for all. Nodes, samples and windows are few and the same on both sides, because the cost of each is
the same. Where both compute the same thing the maps of those two findings are compared, too. Where the machine computes
in bfloat16 a row says what the same work costs so and how far its maps agree with float32; a run takes it only from
0.99 (random weights here).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from captum.attr import LRP, DeepLift, IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import Tensor

import sightline as sl
from sightline.findings import CHEXPERT_FINDINGS
from sightline.methods import BatchContext, run_method, target_indices
from sightline.methods.mixed_precision import min_correlation
from sightline.models.precision import has_bfloat16_hardware

BATCH, SIDE, TIMED = 8, 320, 2
FAMILY = ("grad-cam", "grad-cam++", "cam", "hires-cam", "layer-cam", "xgrad-cam", "eigen-cam", "ablation-cam")
SEVEN = (
    "grad-cam",
    "grad-cam++",
    "integrated-gradients?nodes=2",
    "eigen-cam",
    "deeplift?check=false",
    "lrp",
    "occlusion?window=160&stride=160",
)
"""Of CheXlocalize's final version, with few nodes and windows."""

Work = Callable[[], Tensor | None]


@dataclass(frozen=True)
class Row:
    """One kind of work, ours for every finding and a peer's for two."""

    name: str
    ours: tuple[str, ...]
    peer: str
    theirs: Work | None
    findings: int
    compare: bool = True
    """Both compute the same thing."""


def clock(work: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def best(work: Callable[[], object]) -> tuple[float, object]:
    return min((clock(work) for _ in range(2)), key=lambda one: one[0])


def looped(attribute: Callable[[int], Tensor]) -> Work:
    """(N, 2, h, w): a peer's maps of two findings, channels summed."""
    return lambda: torch.stack([attribute(t).detach().sum(1) for t in range(TIMED)], 1)


def grad_cam_peers(net: torch.nn.Module, x: Tensor) -> dict[str, Work]:
    found: dict[str, Work] = {"Captum": looped(lambda t: LayerGradCam(net, net.features).attribute(x, target=t))}
    if find_spec("pytorch_grad_cam") is None:
        return found
    from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def peer(kind: type, findings: int) -> Work:
        def work() -> None:
            with kind(model=net, target_layers=[net.features[-1]]) as cam:
                for target in range(findings):
                    cam(input_tensor=x, targets=[ClassifierOutputTarget(target)] * len(x))

        return work

    return found | {
        "pytorch-grad-cam": peer(GradCAM, TIMED),
        "pytorch-grad-cam ++": peer(GradCAMPlusPlus, TIMED),
        "pytorch-grad-cam eigen": peer(EigenCAM, 1),
    }


def rows(net: torch.nn.Module, x: Tensor, black: Tensor) -> list[Row]:
    def leaf() -> Tensor:
        return x.clone().requires_grad_()

    tunnel, ig, hide, window = NoiseTunnel(Saliency(net)), IntegratedGradients(net), Occlusion(net), (3, 160, 160)
    peers = grad_cam_peers(net, x)
    found = [Row("Grad-CAM", ("grad-cam",), name, peers[name], 14, False) for name in list(peers)[:2]]
    found.append(Row("CAM family, eight together", FAMILY, "", None, 14))
    captum = {
        "gradient": lambda t: Saliency(net).attribute(leaf(), target=t, abs=False),
        "smoothgrad?samples=2": lambda t: tunnel.attribute(
            leaf(), nt_samples=2, nt_samples_batch_size=1, target=t, abs=False
        ),
        "integrated-gradients?nodes=2": lambda t: ig.attribute(
            x, black, target=t, n_steps=2, internal_batch_size=BATCH, method="gausslegendre"
        ),
        "occlusion?window=160&stride=160": lambda t: hide.attribute(
            x, window, strides=window, baselines=black, target=t
        )[:, :1],
        "deeplift?check=false": lambda t: DeepLift(net).attribute(leaf(), black, target=t),
    }
    for spec, attribute in captum.items():
        found.append(Row(spec.split("?")[0], (spec,), "Captum", looped(attribute), 14, "smooth" not in spec))
    return found


def run(
    model: sl.Model, x: Tensor, specs: tuple[str, ...], precision: str = "float32", targets: list[int] | None = None
) -> dict[str, Tensor]:
    with BatchContext(model, x, precision=precision) as context:  # type: ignore[arg-type]
        return {spec: run_method(context, spec, target_indices(model, targets)) for spec in specs}


def told(row: Row, model: sl.Model, x: Tensor, forward: float) -> float:
    """Print a row; the peer's seconds for all findings."""
    took, maps = best(lambda: run(model, x, row.ours))
    assert isinstance(maps, dict)
    line = f"{row.name:28}{took / BATCH:8.3f}{took / forward:8.2f}"
    other = float("nan")
    if row.theirs is not None:
        seconds, theirs = best(row.theirs)
        other = seconds * row.findings / TIMED
        line += f"{other / BATCH:9.3f}{other / took:8.1f}×  {row.peer}"
        if row.compare and isinstance(theirs, Tensor):
            mine = maps[row.ours[0]][:, :TIMED]
            gap = float((mine - theirs).norm() / theirs.norm())
            line += f", maps differ by {gap:.1e}"
    print(line, flush=True)
    if not has_bfloat16_hardware():
        return other
    try:
        rough, found = best(lambda: run(model, x, row.ours, "bfloat16"))
    except sl.SightlineError:  # its rules hold the logits to those of float32
        print(f"{'   in bfloat16':28} refused")
        return other
    assert isinstance(found, dict)
    agree = min(min_correlation(maps[s], found[s]) for s in row.ours)
    gain = "" if np.isnan(other) else f"{other / rough:8.1f}×"
    print(f"{'   in bfloat16':28}{rough / BATCH:8.3f}{rough / forward:8.2f}{'':9}{gain:9}  agreement {agree:.3f}")
    return other


def seven(net: torch.nn.Module, x: Tensor, black: Tensor) -> None:
    """The seven methods of CheXlocalize's final version, 10 findings: ours together, the peers' summed."""
    model = sl.open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS[:10])
    took, _ = best(lambda: run(model, x, SEVEN))
    peers, total, parts = grad_cam_peers(net, x), 0.0, []
    captum = {r.name: r.theirs for r in rows(net, x, black)}
    known: dict[str, tuple[Work | None, int]] = {
        "Grad-CAM": (peers.get("pytorch-grad-cam"), TIMED),
        "Grad-CAM++": (peers.get("pytorch-grad-cam ++"), TIMED),
        "IG": (captum["integrated-gradients"], TIMED),
        "Eigen-CAM": (peers.get("pytorch-grad-cam eigen"), 10),
        "DeepLIFT": (captum["deeplift"], TIMED),
        "occlusion": (captum["occlusion"], TIMED),
        "LRP": (looped(lambda t: LRP(net).attribute(x.clone().requires_grad_(), target=t)), TIMED),
    }
    for name, (work, timed) in known.items():
        if work is None:
            continue
        try:
            seconds = clock(work)[0] * 10 / timed
        except Exception as error:  # what a peer cannot do is part of the comparison
            print(f"   Captum's {name} does not run on DenseNet-121: {str(error).splitlines()[0][:80]}")
            continue
        total += seconds
        parts.append(f"{name} {seconds / BATCH:.2f}")
    print(f"\nseven methods, 10 findings: ours {took / BATCH:.2f} s an image, peers {total / BATCH:.2f}")
    print(f"   of which {', '.join(parts)}")
    print(f"   ratio {total / took:.1f}×")
    if has_bfloat16_hardware():
        five = tuple(s for s in SEVEN if s.split("?")[0] not in ("deeplift", "lrp"))
        rough, _ = best(lambda: run(model, x, five, "bfloat16"))
        print(f"   five of ours in bfloat16 {rough / BATCH:.2f} s an image")


def regions(model: sl.Model) -> None:
    """XRAI beside PAIR's, one film: at equal nodes, and PAIR's hundred steps beside our sixteen nodes."""
    if find_spec("saliency") is None:
        return
    import saliency.core as pair

    x, _ = model.prepare(sl.open_dataset("phantom:1").radiographs[0].read())
    picture = np.moveaxis(x.numpy(), 0, -1)

    def gradients(images: np.ndarray, call_model_args: object, expected_keys: object) -> dict[str, np.ndarray]:
        leaf = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32)).requires_grad_()
        (slope,) = torch.autograd.grad(model.net(leaf)[:, 0].sum(), leaf)
        return {"INPUT_OUTPUT_GRADIENTS": np.moveaxis(slope.numpy(), 1, -1)}

    def theirs(steps: int) -> tuple[float, np.ndarray]:
        options = pair.XRAIParameters(steps=steps)
        low, high = (np.moveaxis(model.normalize(torch.full((1, SIDE, SIDE), v))[0].numpy(), 0, -1) for v in (0.0, 1.0))
        return clock(
            lambda: pair.XRAI().GetMask(picture, gradients, None, extra_parameters=options, baselines=[low, high])
        )

    print("\nXRAI, one phantom film, PAIR for one finding; agreement is the correlation of maps")
    for steps, spec in ((8, "xrai?nodes=8"), (100, "xrai?nodes=16")):
        peer, map_ = theirs(steps)
        print(f"PAIR, {steps} steps: {peer:.2f} s", flush=True)
        for precision in ("float32", "bfloat16") if has_bfloat16_hardware() else ("float32",):
            one, got = best(partial(run, model, x[None], (spec,), precision, [0]))
            many, _ = best(partial(run, model, x[None], (spec,), precision))
            alike = np.corrcoef(got[spec][0, 0].ravel(), map_.ravel())[0, 1]
            print(
                f"  {spec} in {precision}: {one:.2f} s for one finding, {peer / one:.1f}×; {many / 14:.2f} s each of "
                f"14, {14 * peer / many:.1f}×; agreement {alike:.3f}",
                flush=True,
            )


def main() -> None:
    wanted = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model = sl.open_model(f"densenet121?side={SIDE}", CHEXPERT_FINDINGS)
    net, x = model.net.eval(), torch.randn((BATCH, 3, SIDE, SIDE))
    black = model.normalize(torch.zeros(1, SIDE, SIDE)).expand_as(x).contiguous()
    print(f"the fast way to gradients is {'taken' if model.supports_fast_gradients else 'not taken'}")
    with torch.inference_mode():
        forward = min(clock(lambda: net(x))[0] for _ in range(3))
    print(f"DenseNet-121, {SIDE}², batch {BATCH}, 14 findings, 1 thread; CPU seconds an image")
    print(f"one forward {forward / BATCH:.3f}")
    if not has_bfloat16_hardware():
        print("this processor emulates bfloat16: not timed")
    print(f"{'':28}{'ours':>8}{'forwards':>9}{'peer':>8}{'ratio':>8}")
    for row in rows(net, x, black):
        if not wanted or row.name in wanted:
            told(row, model, x, forward)
    if not wanted or "seven" in wanted:
        seven(net, x, black)
    if not wanted or "xrai" in wanted:
        regions(model)


if __name__ == "__main__":
    main()
