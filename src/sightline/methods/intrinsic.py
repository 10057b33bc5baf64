"""Intrinsic maps: those that a network reasons with, and the similarity of its image patches to texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


@methods(
    "intrinsic",
    needs="intrinsic",
    signed=True,
    class_agnostic=False,
    resolution="intrinsic",
    source="what the network's author calls its explanation",
)
def intrinsic(context: BatchContext, targets: Tensor) -> Tensor:
    """Return the maps of a network that explains itself; float32 (N, T, h, w), signed.

    The network has a method `maps(x)`: float32 (N, C, side, side) -> float32 (N, F, h, w), higher = more evidence. Maps
    that its forward leaves at a module `map_output` (`sightline.models.trainable_saliency`) are taken from there and
    cost nothing more.
    """
    maps = context.intrinsic_maps
    if maps is None:
        call = _require_attribute(
            context, "maps", "a method maps(x) -> (N, F, h, w), its evidence for each of its findings"
        )
        with torch.no_grad():
            maps = cast("Callable[[Tensor], Tensor]", call)(context.x)
    count = len(context.model.findings)
    if maps.dim() != 4 or maps.shape[:2] != (context.x.shape[0], count):
        raise SightlineError(
            f"maps(x) of {context.model.name} gives {tuple(maps.shape)}; it must give ({context.x.shape[0]}, "
            f"{count}, h, w)"
        )
    return maps[:, targets].float()


@methods(
    "image-text",
    needs="text",
    signed=True,
    class_agnostic=False,
    resolution="intrinsic",
    source="Boecking et al. 2022, arXiv:2204.09817 (similarity of patches and phrase); Zhang et al. 2020, "
    "arXiv:2010.00747 (the contrastive model)",
)
def image_text(context: BatchContext, targets: Tensor) -> Tensor:
    """Compare each patch of the image with the text of a finding; float32 (N, T, h, w), cosines, signed.

    The network has a method `patch_embeddings(x)`: float32 (N, C, side, side) -> float32 (N, D, h, w), and
    `text_embeddings`, float32 (F, D): one text per finding; or (F, 2, D): the finding present and absent, and the
    cosine of the latter is subtracted.
    """
    call = _require_attribute(
        context, "patch_embeddings", "a method patch_embeddings(x) -> (N, D, h, w) in the space of its texts"
    )
    description = "text_embeddings (F, D), or (F, 2, D) for the finding present and absent"
    texts = cast("Tensor", _require_attribute(context, "text_embeddings", description))
    with torch.no_grad():
        patches = F.normalize(cast("Callable[[Tensor], Tensor]", call)(context.x).float(), dim=1)  # (N, D, h, w)
    count, width = len(context.model.findings), patches.shape[1]
    if tuple(texts.shape) not in ((count, width), (count, 2, width)):
        raise SightlineError(
            f"text_embeddings of {context.model.name} are {tuple(texts.shape)}; allowed: ({count}, {width}) or "
            f"({count}, 2, {width}), one row per finding, as wide as its patches"
        )
    normalized = F.normalize(texts.detach().float(), dim=-1).reshape(count, -1, width)[targets]  # (T, 1 or 2, D)
    cosines = torch.einsum("ndhw,tkd->ntkhw", patches, normalized)
    return cosines[:, :, 0] if cosines.shape[2] == 1 else cosines[:, :, 0] - cosines[:, :, 1]


def _require_attribute(context: BatchContext, name: str, description: str) -> object:
    value = getattr(context.model.net, name, None)
    if value is None:
        raise SightlineError(f"{context.model.name} has no {name!r}; this method needs a network with {description}")
    return value
