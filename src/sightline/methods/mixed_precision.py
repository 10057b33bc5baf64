"""Which methods may be computed in bfloat16: those whose maps agree with float32 on the images at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods import run_method
from sightline.methods.context import BatchContext, Precision, TargetOutput
from sightline.models import Model

MIN_CORRELATION = 0.99
"""Pearson correlation with the float32 map that every map tried must reach."""


def has_bfloat16_hardware() -> bool:
    """Whether this machine's device computes in bfloat16; emulated, it takes several times as long as float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def min_correlation(maps: Tensor, others: Tensor) -> float:
    """Smallest Pearson correlation over maps (N, T, h, w) of two kinds; two flat ones agree, one alone does not.

    >>> min_correlation(torch.eye(4)[None, None], torch.eye(4)[None, None] * 3 + 1)
    1.0
    """
    one, two = (m.flatten(2).double() - m.double().mean((2, 3))[..., None] for m in (maps, others))
    lengths = one.norm(dim=2) * two.norm(dim=2)  # (N, T)
    same = torch.where(lengths > 0, (one * two).sum(2) / lengths.clamp(min=1e-300), 0.0)
    flat = (one.norm(dim=2) == 0) & (two.norm(dim=2) == 0)
    return round(float(torch.where(flat, 1.0, same).min()), 6)


def bfloat16_correlations(
    model: Model,
    x: Tensor,
    specs: Iterable[str],
    targets: Tensor,
    *,
    ids: Sequence[str],
    seed: int,
    target_output: TargetOutput,
    background: Tensor | None = None,
) -> dict[str, float]:
    """Method -> `min_correlation` of its maps in bfloat16 with those in float32, on prepared images (N, C, side, side).

    A method that refuses in either has 0: there is nothing to gain.
    """

    def computed(spec: str, precision: Precision) -> Tensor:
        with BatchContext(
            model, x, ids=ids, seed=seed, target_output=target_output, precision=precision, background=background
        ) as p:
            maps = run_method(p, spec, targets)
            if p.refusals is not None:
                raise SightlineError(p.refusals[1])
            return maps

    found = {}
    for spec in specs:
        try:
            found[spec] = min_correlation(computed(spec, "float32"), computed(spec, "bfloat16"))
        except SightlineError:
            found[spec] = 0.0
    return found
