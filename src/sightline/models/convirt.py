"""Images and sentences in one space: contrastive pre-training of an image encoder by reports, or by its own images.

Zhang et al. 2020, arXiv:2010.00747 (ConVIRT); Chen et al. 2020, arXiv:2002.05709 (images alone).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sightline.models.feature_layer import FeatureLayer, replace_features

TEMPERATURE, IMAGE_TO_TEXT_WEIGHT = 0.1, 0.75
"""τ, and the weight λ of the direction from image to text."""
EMBEDDING_DIM = 128
"""Of the space in which images and sentences meet; 512 in ConVIRT."""


class ImageEncoder(nn.Module):
    """The body of a classifier and a projection: float32 (N, C, h, w) -> unit vectors (N, width).

    net: (N, C, h, w) -> logits, which are not used; cut: where its features are.
    """

    def __init__(self, net: nn.Module, feature_layer: FeatureLayer, embedding_dim: int = EMBEDDING_DIM) -> None:
        super().__init__()
        self.net, self.feature_layer = net, feature_layer
        self.projection = _make_projection(feature_layer.shape[0], embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.projection(self.features(x).mean((2, 3))), dim=1)

    def patch_embeddings(self, x: Tensor) -> Tensor:
        """Each place of the features in the space of the words, (N, width, h', w')."""
        projected: Tensor = self.projection(self.features(x).permute(0, 2, 3, 1))
        return projected.permute(0, 3, 1, 2)

    def features(self, x: Tensor) -> Tensor:
        """What enters the pooling of the classifier, (N, K, h', w')."""
        seen: list[Tensor] = []

        def keep(raw: Tensor) -> Tensor:
            seen.append(raw)
            return raw.clone()  # the head may work in place

        with replace_features(self.net, self.feature_layer, keep):
            self.net(x)
        return self.feature_layer.as_map(seen[-1])


class DualEncoder(nn.Module):
    """An encoder of images and one of what goes with them.

    text: of sentences, from int64 (N, L), with a `width`; None where a second view of the image goes with it.
    """

    def __init__(
        self, image_encoder: ImageEncoder, text_encoder: nn.Module | None, embedding_dim: int = EMBEDDING_DIM
    ) -> None:
        super().__init__()
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        width = 0 if text_encoder is None else int(text_encoder.width)  # type: ignore[arg-type]
        self.text_projection = None if text_encoder is None else _make_projection(width, embedding_dim)

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (N, width) of images, and of sentences or second views."""
        return self.image_encoder(x), self.image_encoder(other) if self.text_encoder is None else self.encode_text(
            other
        )

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors (N, width) of sentences."""
        assert self.text_encoder is not None and self.text_projection is not None
        return F.normalize(self.text_projection(self.text_encoder(tokens)), dim=1)


def _make_projection(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, width))


def contrastive_loss(
    images: Tensor,
    partners: Tensor,
    temperature: float = TEMPERATURE,
    image_to_text_weight: float = IMAGE_TO_TEXT_WEIGHT,
    block_rows: int = 1024,
    first_row: int = 0,
    n_rows: int | None = None,
) -> Tensor:
    """Mean of `share` · CE(image to text) + (1 − `share`) · CE(text to image) of unit vectors (N, D) in pairs.

    No more than `block` rows of similarities are held at a time: those of a block are computed again for the backward.
    start, rows: of the pairs whose losses are this process's, by default all; the others are their negatives.
    """
    end = len(images) if n_rows is None else first_row + n_rows
    total = images.new_zeros(())
    for first in range(first_row, end, block_rows):
        part = slice(first, min(first + block_rows, end))
        total = total + checkpoint(
            _block_loss,
            images[part],
            partners[part],
            images,
            partners,
            first,
            temperature,
            image_to_text_weight,
            use_reentrant=False,
        )
    return total / (end - first_row)


def _block_loss(
    v: Tensor, u: Tensor, all_v: Tensor, all_u: Tensor, first: int, temperature: float, share: float
) -> Tensor:
    target = torch.arange(first, first + len(v), device=v.device)
    there = F.cross_entropy(v @ all_u.T / temperature, target, reduction="sum")
    back = F.cross_entropy(u @ all_v.T / temperature, target, reduction="sum")
    return share * there + (1 - share) * back
