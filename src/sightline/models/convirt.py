"""Contrastive learning: images and sentences, or two views of an image, embedded in one space.

Zhang et al. 2020, arXiv:2010.00747 (ConVIRT); Chen et al. 2020, arXiv:2002.05709 (images alone).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sightline.models.feature_layer import FeatureLayer, replace_features

TEMPERATURE, IMAGE_TO_TEXT_WEIGHT = 0.1, 0.75
"""Temperature τ, and weight λ of the direction from image to text."""
EMBEDDING_DIM = 128
"""Dimension of the space of images and sentences; 512 in ConVIRT."""


class ImageEncoder(nn.Module):
    """The body of a classifier and a projection: float32 (N, C, h, w) -> unit vectors (N, D).

    Parameters
    ----------
    net
        Classifier, whose logits are not used.
    feature_layer
        Feature layer of the classifier.
    embedding_dim
        Dimension D of the embeddings.
    """

    def __init__(self, net: nn.Module, feature_layer: FeatureLayer, embedding_dim: int = EMBEDDING_DIM) -> None:
        super().__init__()
        self.net, self.feature_layer = net, feature_layer
        self.projection = _make_projection(feature_layer.shape[0], embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the classifier.

        Returns
        -------
        Tensor : (N, D)
            Unit vectors.
        """
        return F.normalize(self.projection(self.features(x).mean((2, 3))), dim=1)

    def patch_embeddings(self, x: Tensor) -> Tensor:
        """Project the features of each position into the space of the embeddings.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the classifier.

        Returns
        -------
        Tensor : (N, D, h', w')
            Embeddings, not normalized.
        """
        projected: Tensor = self.projection(self.features(x).permute(0, 2, 3, 1))
        return projected.permute(0, 3, 1, 2)

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the classifier's pooling.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the classifier.

        Returns
        -------
        Tensor : (N, K, h', w')
            Features.
        """
        captured: list[Tensor] = []

        def capture(raw: Tensor) -> Tensor:
            captured.append(raw)
            return raw.clone()  # the head may work in place

        with replace_features(self.net, self.feature_layer, capture):
            self.net(x)
        return self.feature_layer.as_map(captured[-1])


class DualEncoder(nn.Module):
    """An encoder of images, and one of sentences if images are paired with sentences.

    Parameters
    ----------
    image_encoder
        Encoder of images.
    text_encoder
        Encoder of int64 (N, L) with a `width`; None if an image is paired with a second view of itself.
    embedding_dim
        Dimension D of the embeddings.
    """

    def __init__(
        self, image_encoder: ImageEncoder, text_encoder: nn.Module | None, embedding_dim: int = EMBEDDING_DIM
    ) -> None:
        super().__init__()
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        width = 0 if text_encoder is None else int(text_encoder.width)  # type: ignore[arg-type]
        self.text_projection = None if text_encoder is None else _make_projection(width, embedding_dim)

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Embed images and their partners.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Images.
        other : (N, L) int64 or (N, C, h, w) float32
            Sentences, or second views of the images.

        Returns
        -------
        images, partners : (N, D)
            Unit vectors.
        """
        images = self.image_encoder(x)
        return images, self.image_encoder(other) if self.text_encoder is None else self.encode_text(other)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed sentences.

        Parameters
        ----------
        tokens : (N, L) int64
            Sentences, as the tokenizer encodes them.

        Returns
        -------
        Tensor : (N, D)
            Unit vectors.
        """
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
    """Compute the contrastive loss: mean of λ · CE(image to text) + (1 − λ) · CE(text to image).

    Similarities are computed `block_rows` rows at a time, and again for the backward pass, to bound memory.

    Parameters
    ----------
    images, partners : (N, D)
        Unit vectors of pairs.
    temperature
        Divisor τ of the similarities.
    image_to_text_weight
        Weight λ.
    block_rows
        Rows of similarities that are in memory at a time.
    first_row, n_rows
        Pairs whose losses this process computes, by default all; the others are their negatives.

    Returns
    -------
    Tensor : ()
        Loss.
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
    v: Tensor, u: Tensor, all_v: Tensor, all_u: Tensor, first: int, temperature: float, weight: float
) -> Tensor:
    target = torch.arange(first, first + len(v), device=v.device)
    image_to_text = F.cross_entropy(v @ all_u.T / temperature, target, reduction="sum")
    text_to_image = F.cross_entropy(u @ all_v.T / temperature, target, reduction="sum")
    return weight * image_to_text + (1 - weight) * text_to_image
