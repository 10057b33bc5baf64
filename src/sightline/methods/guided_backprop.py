"""Backpropagation with other rules for ReLU, which pass positive gradients only: sharp, and nearly blind to the model.

Both recover the image more than the decision: Nie et al. 2018, arXiv:1805.07039, and Adebayo et al. 2018,
arXiv:1810.03292. They are here because published work uses them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.errors import SightlineError
from sightline.methods.cam import grad_cam
from sightline.methods.context import BatchContext
from sightline.methods.gradient import reduce_channels
from sightline.methods.registry import methods
from sightline.metrics.similarity import normalize

_RELU_FUNCTIONS = frozenset({"relu", "relu_", "threshold", "threshold_"})


class _RectifiedBackward(torch.autograd.Function):
    """ReLU whose gradient passes where it is positive and, if guided, where the input was positive, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, guided: bool) -> Tensor:
        ctx.guided = guided
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        positive = gradients[0].clamp(min=0)
        return positive * ctx.saved_tensors[0] if ctx.guided else positive, None


class _ReluReplacementMode(TorchFunctionMode):
    """A mode in which every ReLU that a network calls follows the rule, module or function, in place or not."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided, self.n_relu_calls = guided, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _RELU_FUNCTIONS and args and isinstance(args[0], Tensor):
            self.n_relu_calls += 1
            return _RectifiedBackward.apply(args[0], self.guided)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _rectified_gradient(context: BatchContext, targets: Tensor, guided: bool) -> Tensor:
    """Compute gradients (N, T, C, h, w) under the rule."""
    rules = _ReluReplacementMode(guided)
    gradients = context.input_gradient(targets, rules)
    if not rules.n_relu_calls:
        raise SightlineError(
            f"{context.model.name} calls no ReLU; guided backpropagation and deconvnet are rules for ReLU"
        )
    return gradients


@methods(
    "guided-backprop",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Springenberg et al. 2015, arXiv:1412.6806",
)
def guided_backprop(context: BatchContext, targets: Tensor, *, reduce: str = "sum") -> Tensor:
    """Compute gradients that pass a ReLU only where they and its input are positive; float32 (N, T, side, side).

    Parameters
    ----------
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
    """
    return reduce_channels(_rectified_gradient(context, targets, guided=True), reduce)


@methods(
    "deconvnet",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Zeiler and Fergus 2014, arXiv:1311.2901",
)
def deconvnet(context: BatchContext, targets: Tensor, *, reduce: str = "sum") -> Tensor:
    """Compute gradients that pass a ReLU only where they are positive; float32 (N, T, side, side).

    Parameters
    ----------
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
    """
    return reduce_channels(_rectified_gradient(context, targets, guided=False), reduce)


@methods(
    "guided-grad-cam",
    needs="features",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Selvaraju et al. 2017, arXiv:1610.02391, section 3.2",
)
def guided_grad_cam(context: BatchContext, targets: Tensor, *, reduce: str = "sum", normalized: bool = False) -> Tensor:
    """Multiply guided backpropagation by Grad-CAM enlarged to the input (bilinear); float32 (N, T, side, side).

    Raw maps are multiplied, as in the paper.

    Parameters
    ----------
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
    normalized : bool
        Multiply the magnitudes of both maps, each cut at its 99th percentile and scaled to [0, 1], as Arun et al. 2021
        do with reduce=abs-sum, 10.1148/ryai.2021200267.
    """
    coarse = F.interpolate(grad_cam(context, targets), context.x.shape[2:], mode="bilinear", align_corners=False)
    fine = guided_backprop(context, targets, reduce=reduce)
    if not normalized:
        return fine * coarse
    first, second = (normalize(maps.detach().cpu().numpy(), "published") for maps in (fine, coarse))
    return torch.from_numpy(first * second).float().to(context.x.device)
