"""Controls as methods: the maps of `sightline.maps.controls` in a model's input frame."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.maps import controls
from sightline.methods.context import Pass
from sightline.methods.registry import methods


def _everywhere(maps: Tensor, p: Pass, targets: Tensor) -> Tensor:
    """(N or 1, 1, h, w) -> (N, T, h, w) without copying."""
    return maps.to(p.x.device).expand(p.x.shape[0], len(targets), -1, -1)


@methods(
    "center",
    needs="nothing",
    signed=False,
    class_agnostic=True,
    resolution="own",
    source="center bias as a baseline: Judd et al. 2012, MIT-CSAIL-TR-2012-001",
)
def center(p: Pass, targets: Tensor, *, grid: int = 32) -> Tensor:
    """A Gaussian bump in the middle of the input, the same for every image and finding; float32 (N, T, grid, grid)."""
    return _everywhere(torch.from_numpy(controls.center(grid, grid))[None, None], p, targets)


@methods(
    "noise",
    needs="nothing",
    signed=False,
    class_agnostic=False,
    resolution="own",
    source="uniform noise, keyed by (seed, id, finding)",
)
def noise(p: Pass, targets: Tensor, *, grid: int = 10) -> Tensor:
    """Uniform noise on a grid as coarse as a class activation map's; float32 (N, T, grid, grid).

    Keyed by (seed, id, finding), so it depends on neither batch nor order.
    """
    names = [p.model.findings[target] for target in targets.tolist()]
    maps = [[controls.noise(p.seed, i, name, height=grid, width=grid) for name in names] for i in p.ids]
    return torch.stack([torch.stack([torch.from_numpy(m) for m in row]) for row in maps]).to(p.x.device)


@methods(
    "edges",
    needs="nothing",
    signed=False,
    class_agnostic=True,
    resolution="input",
    source="edge detector as a baseline: Adebayo et al. 2018, arXiv:1810.03292",
)
def edges(p: Pass, targets: Tensor) -> Tensor:
    """Sobel magnitude of the prepared image (mean over channels), the same for every finding; (N, T, side, side)."""
    images = p.x.mean(1).cpu().numpy()  # (N, side, side)
    maps = torch.stack([torch.from_numpy(controls.edges(image)) for image in images])
    return _everywhere(maps[:, None], p, targets)


@methods(
    "average-mask",
    needs="prior",
    signed=False,
    class_agnostic=False,
    resolution="own",
    source="average of the training marks as a baseline: Arun et al. 2021, doi:10.1148/ryai.2021200267",
)
def average_mask(p: Pass, targets: Tensor) -> Tensor:
    """What the caller gives as `prior`: where findings lie on average, whatever the image; (N, T, h, w)."""
    names = tuple(p.model.findings[target] for target in targets.tolist())
    maps = p.prior(p.ids, names) if callable(p.prior) else p.prior
    if not isinstance(maps, Tensor):
        raise SightlineError(f"prior gave {type(maps).__name__}; it must give a float32 tensor (N, T, h, w)")
    return maps.to(p.x.device, torch.float32)
