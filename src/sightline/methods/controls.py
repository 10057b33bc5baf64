"""Control maps as methods: those of `sightline.maps.controls`, in a model's input frame."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.maps import controls
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


def _expand_to_batch(maps: Tensor, context: BatchContext, targets: Tensor) -> Tensor:
    """Expand maps (N or 1, 1, h, w) to (N, T, h, w) without copying."""
    return maps.to(context.x.device).expand(context.x.shape[0], len(targets), -1, -1)


@methods(
    "center",
    needs="nothing",
    signed=False,
    class_agnostic=True,
    resolution="intrinsic",
    source="center bias as a baseline: Judd et al. 2012, MIT-CSAIL-TR-2012-001",
)
def center(context: BatchContext, targets: Tensor, *, grid: int = 32) -> Tensor:
    """Draw a Gaussian in the center of the input, for every image and finding alike; float32 (N, T, grid, grid).

    Parameters
    ----------
    grid : int
        Cells along a side of the map.
    """
    return _expand_to_batch(torch.from_numpy(controls.center_map(grid, grid))[None, None], context, targets)


@methods(
    "noise",
    needs="nothing",
    signed=False,
    class_agnostic=False,
    resolution="intrinsic",
    source="uniform noise, keyed by (seed, id, finding)",
)
def noise(context: BatchContext, targets: Tensor, *, grid: int = 10) -> Tensor:
    """Draw uniform noise on a grid as coarse as that of class activation maps; float32 (N, T, grid, grid).

    It is keyed by (seed, id, finding), and so depends on neither batch nor order.

    Parameters
    ----------
    grid : int
        Cells along a side of the map.
    """
    names = [context.model.findings[target] for target in targets.tolist()]
    maps = [[controls.noise_map(context.seed, i, name, height=grid, width=grid) for name in names] for i in context.ids]
    return torch.stack([torch.stack([torch.from_numpy(m) for m in row]) for row in maps]).to(context.x.device)


@methods(
    "edges",
    needs="nothing",
    signed=False,
    class_agnostic=True,
    resolution="input",
    source="edge detector as a baseline: Adebayo et al. 2018, arXiv:1810.03292",
)
def edges(context: BatchContext, targets: Tensor) -> Tensor:
    """Compute the Sobel magnitude of the normalized image (mean of channels), for all findings; (N, T, side, side)."""
    images = context.x.mean(1).cpu().numpy()  # (N, side, side)
    maps = torch.stack([torch.from_numpy(controls.edge_map(image)) for image in images])
    return _expand_to_batch(maps[:, None], context, targets)


@methods(
    "average-mask",
    needs="prior",
    signed=False,
    class_agnostic=False,
    resolution="intrinsic",
    source="average of the training annotations as a baseline: Arun et al. 2021, doi:10.1148/ryai.2021200267",
)
def average_mask(context: BatchContext, targets: Tensor) -> Tensor:
    """Return the prior of the context: where findings lie on average, whatever the image; (N, T, h, w)."""
    names = tuple(context.model.findings[target] for target in targets.tolist())
    maps = context.prior(context.ids, names) if callable(context.prior) else context.prior
    if not isinstance(maps, Tensor):
        raise SightlineError(f"prior gave {type(maps).__name__}; it must give a float32 tensor (N, T, h, w)")
    return maps.to(context.x.device, torch.float32)
