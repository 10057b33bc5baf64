"""Validation of a contrastive pre-training: its loss, and the precision of retrieval."""

from __future__ import annotations

import math

import numpy as np
import torch

from sightline.core import Array
from sightline.errors import SightlineError
from sightline.metrics.retrieval import DEFAULT_KS, precision_at_k
from sightline.models import Model
from sightline.models.convirt import DualEncoder, contrastive_loss
from sightline.models.image_text import embed_findings
from sightline.stats.jackknife import nanmean
from sightline.training.augmentation import STRONG_AUGMENTATION, augment
from sightline.training.config import TrainingConfig
from sightline.training.contrastive_pairs import ContrastivePairs


def validate_pairs(
    encoder: DualEncoder, model: Model, pairs: ContrastivePairs, config: TrainingConfig
) -> dict[str, float]:
    """Compute the loss and the precision of retrieval of the validation pairs.

    Parameters
    ----------
    encoder
        Encoders, left in evaluation mode.
    model
        Classifier whose body is the image encoder.
    pairs
        Images and their partners.
    config
        Options of the optimization.

    Returns
    -------
    dict of str to float
        `val_loss`, and precision by kind and number such as `image-at-5`, without those that are undefined.

    Raises
    ------
    SightlineError
        If the loss is not finite.
    """
    encoder.eval()
    embeddings, losses = [], []
    generator = torch.Generator().manual_seed(0)  # the same second views each time
    with torch.no_grad():
        for start in range(0, len(pairs.val), config.batch_size):
            rows = pairs.val[start : start + config.batch_size]
            images = pairs.load_images(rows)
            partners = (
                pairs.draw_sentences(rows, config.seed, 0)
                if pairs.tokenizer is not None
                else model.normalize(augment(images, generator, strength=STRONG_AUGMENTATION)[0])
            ).to(model.device)
            v, u = encoder(model.normalize(images).to(model.device), partners)
            losses.append(float(contrastive_loss(v.float(), u.float())) * len(rows))
            embeddings.append(v.float().cpu())
    if not all(map(math.isfinite, losses)):
        raise SightlineError("the contrastive loss is no longer finite; train with a smaller lr, in a new folder")
    precision = _retrieval_precision(encoder, model, pairs, torch.cat(embeddings).numpy())
    return {"val_loss": sum(losses) / len(pairs.val), **precision}


def _retrieval_precision(
    encoder: DualEncoder, model: Model, pairs: ContrastivePairs, images: Array
) -> dict[str, float]:
    """Mean precision at 5, 10, 50: images of exactly the same findings, and images of the finding that is named."""
    positive = pairs.labels[pairs.val] == 1  # (n, F)
    has_finding = positive.any(1)
    alike = (positive[:, None] == positive[None]).all(2)
    np.fill_diagonal(alike, False)  # nothing retrieves itself
    precision = {"image": nanmean(precision_at_k(images[has_finding], images, alike[has_finding]), 0)}
    if pairs.tokenizer is not None:
        text = embed_findings(encoder, pairs.tokenizer, model.findings)[:, 0].numpy()
        precision["text"] = nanmean(precision_at_k(text, images, positive.T), 0)
    values = {
        f"{kind}-at-{k}": float(value)
        for kind, row in precision.items()
        for k, value in zip(DEFAULT_KS, row, strict=True)
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}  # undefined for fewer images than k
