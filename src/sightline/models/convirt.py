"""Images and sentences in one space: contrastive pre-training of an image encoder by reports, or by its own images.

Zhang et al. 2020, arXiv:2010.00747 (ConVIRT); Chen et al. 2020, arXiv:2002.05709 (images alone).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sightline.models.feature_layer import Cut, changed

TEMPERATURE, IMAGE_SHARE = 0.1, 0.75
"""τ, and the weight λ of the direction from image to text."""
WIDTH = 128
"""Of the space in which images and sentences meet; 512 in ConVIRT."""


class Images(nn.Module):
    """The body of a classifier and a projection: float32 (N, C, h, w) -> unit vectors (N, width).

    net: (N, C, h, w) -> logits, which are not used; cut: where its features are.
    """

    def __init__(self, net: nn.Module, cut: Cut, width: int = WIDTH) -> None:
        super().__init__()
        self.net, self.cut = net, cut
        self.head = _projection(cut.shape[0], width)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.features(x).mean((2, 3))), dim=1)

    def patches(self, x: Tensor) -> Tensor:
        """Each place of the features in the space of the words, (N, width, h', w')."""
        projected: Tensor = self.head(self.features(x).permute(0, 2, 3, 1))
        return projected.permute(0, 3, 1, 2)

    def features(self, x: Tensor) -> Tensor:
        """What enters the pooling of the classifier, (N, K, h', w')."""
        seen: list[Tensor] = []

        def keep(raw: Tensor) -> Tensor:
            seen.append(raw)
            return raw.clone()  # the head may work in place

        with changed(self.net, self.cut, keep):
            self.net(x)
        return self.cut.as_map(seen[-1])


class Pair(nn.Module):
    """An encoder of images and one of what goes with them.

    text: of sentences, from int64 (N, L), with a `width`; None where a second view of the image goes with it.
    """

    def __init__(self, images: Images, text: nn.Module | None, width: int = WIDTH) -> None:
        super().__init__()
        self.images, self.text = images, text
        self.text_head = None if text is None else _projection(int(text.width), width)  # type: ignore[arg-type]

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (N, width) of images, and of sentences or second views."""
        return self.images(x), self.images(other) if self.text is None else self.said(other)

    def said(self, tokens: Tensor) -> Tensor:
        """Unit vectors (N, width) of sentences."""
        assert self.text is not None and self.text_head is not None
        return F.normalize(self.text_head(self.text(tokens)), dim=1)


def _projection(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, width))


def contrastive_loss(
    v: Tensor,
    u: Tensor,
    temperature: float = TEMPERATURE,
    share: float = IMAGE_SHARE,
    block: int = 1024,
    start: int = 0,
    rows: int | None = None,
) -> Tensor:
    """Mean of `share` · CE(image to text) + (1 − `share`) · CE(text to image) of unit vectors (N, D) in pairs.

    No more than `block` rows of similarities are held at a time: those of a block are computed again for the backward.
    start, rows: of the pairs whose losses are this process's, by default all; the others are their negatives.
    """
    end = len(v) if rows is None else start + rows
    total = v.new_zeros(())
    for first in range(start, end, block):
        part = slice(first, min(first + block, end))
        total = total + checkpoint(_block, v[part], u[part], v, u, first, temperature, share, use_reentrant=False)
    return total / (end - start)


def _block(v: Tensor, u: Tensor, all_v: Tensor, all_u: Tensor, first: int, temperature: float, share: float) -> Tensor:
    target = torch.arange(first, first + len(v), device=v.device)
    there = F.cross_entropy(v @ all_u.T / temperature, target, reduction="sum")
    back = F.cross_entropy(u @ all_v.T / temperature, target, reduction="sum")
    return share * there + (1 - share) * back
