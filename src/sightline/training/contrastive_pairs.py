"""Pairs of a contrastive pre-training: images with sentences of their reports, or with second views of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sightline._util.rng import REPORT_SENTENCE, keyed_rng
from sightline.core import Array, Dataset, Radiograph
from sightline.data.reports import is_english
from sightline.errors import DataError
from sightline.models import Model
from sightline.models.text_encoder import Tokenizer
from sightline.runs.run import Run
from sightline.training.augmentation import STRONG_AUGMENTATION, augment
from sightline.training.config import TrainingConfig
from sightline.training.image_cache import decode_images, open_image_cache
from sightline.training.loop import update_info
from sightline.training.split import split_by_patient

PairWith = Literal["reports", "images"]
"""Partner of an image: a sentence of its report (ConVIRT), or another view of itself (as in SimCLR)."""
PAIR_WITH: tuple[PairWith, ...] = ("reports", "images")


@dataclass(frozen=True)
class ContrastivePairs:
    """Images and their partners."""

    file: Path
    """File of the images, uint8 (n, side, side), .npy."""
    sentences: tuple[tuple[str, ...], ...]
    """Sentences of the report of each image; empty for pairs of images."""
    labels: Array
    """Labels, float32 (n, F), NaN for unknown: for retrieval alone, nothing is learned from them."""
    train: Array
    """Training rows, int64."""
    val: Array
    """Validation rows, int64."""
    tokenizer: Tokenizer | None
    """Tokenizer of the sentences; None for pairs of images."""

    def load_images(self, rows: Array) -> Tensor:
        """Load images.

        Parameters
        ----------
        rows : (B,) int64
            Rows to load.

        Returns
        -------
        Tensor : (B, side, side) float32 in [0, 1]
        """
        return torch.from_numpy(np.load(self.file, mmap_mode="r")[rows]).float() / 255

    def draw_sentences(self, rows: Array, seed: int, epoch: int) -> Tensor:
        """Draw a sentence of each report, keyed by (seed, epoch, row).

        Parameters
        ----------
        rows : (B,) int64
            Rows of the images.
        seed
            Seed of the training.
        epoch
            Number of the epoch.

        Returns
        -------
        Tensor : (B, L) int64
            Tokens.
        """
        assert self.tokenizer is not None
        drawn = [keyed_rng(seed, REPORT_SENTENCE, epoch, int(row)).integers(len(self.sentences[row])) for row in rows]
        return self.tokenizer.encode([self.sentences[row][index] for row, index in zip(rows, drawn, strict=True)])

    def draw_batch(
        self, rows: Array, config: TrainingConfig, epoch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Load and augment one batch.

        Parameters
        ----------
        rows : (B,) int64
            Rows of the images.
        config
            Options of the optimization.
        epoch
            Number of the epoch.
        generator
            Random numbers of the epoch.

        Returns
        -------
        images : (B, side, side) float32 in [0, 1]
        partners : (B, L) int64 or (B, side, side) float32 in [0, 1]
            Sentences, or second views.
        """
        images = self.load_images(rows)
        first = augment(images, generator, strength=STRONG_AUGMENTATION)[0]
        if self.tokenizer is None:
            return first, augment(images, generator, strength=STRONG_AUGMENTATION)[0]
        return first, self.draw_sentences(rows, config.seed, epoch)


@dataclass(frozen=True, slots=True)
class PairSource:
    """Data from which pairs are made."""

    data: Dataset
    """Data set with images, and with reports for pairs of image and report."""
    pair_with: PairWith
    """Partner of an image."""
    validation_fraction: float
    """Share of the patients used for validation if the data set has no validation split."""
    split_seed: int
    """Seed of the split."""
    cache: Path | None
    """Shared folder of decoded images; None for the run itself."""
    workers: int
    """Number of processes that decode images."""


def make_pairs(run: Run, model: Model, source: PairSource) -> ContrastivePairs:
    """Decode images, read reports and split the usable pairs by patient.

    Parameters
    ----------
    run
        Run whose run.json gets the counts of usable and unusable images and reports.
    model
        Model whose input size and findings are used.
    source
        Data from which pairs are made.

    Returns
    -------
    ContrastivePairs
        Pairs without a tokenizer.

    Raises
    ------
    DataError
        If reports are needed and the data set has none.
    """
    data, by_reports = source.data, source.pair_with == "reports"
    if by_reports and data.reports is None:
        raise DataError(f"{data.spec!r} has no reports; data sets with reports are mimic:DIR, openi:PATH and phantom:N")
    radiographs = list(data.radiographs)
    split = split_by_patient(radiographs, source.validation_fraction, 1.0, source.split_seed)
    image_cache = open_image_cache(run, source.cache, model, data.spec)
    selected = np.concatenate([split.train, split.val])
    images = decode_images(image_cache, model, radiographs, selected, source.workers)
    chosen = [radiographs[i] for i in images.indices]
    sentences, counts = _usable_sentences(data, chosen) if by_reports else ([()] * len(chosen), {})
    usable = np.array(
        [i not in images.reasons and (not by_reports or len(sentences[i]) > 0) for i in range(len(chosen))]
    )
    train, val = ((rows := images.rows(indices))[usable[rows]] for indices in (split.train, split.val))
    unreadable = list(images.reasons.values())
    update_info(run.path, unreadable=unreadable, reports=counts, radiographs=[len(train), len(val)])
    labels = np.array([[r.labels.get(f, np.nan) for f in model.findings] for r in chosen], np.float32)
    return ContrastivePairs(images.file, tuple(sentences), labels, train, val, None)


def _usable_sentences(data: Dataset, radiographs: Sequence[Radiograph]) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Usable sentences of each report, and numbers of usable and unusable reports by reason."""
    assert data.reports is not None
    sentences: list[tuple[str, ...]] = []
    counts = {"usable": 0, "missing": 0, "damaged": 0, "not English": 0, "without findings or impression": 0}
    for radiograph in radiographs:
        try:
            report = data.reports(radiograph.id)
        except DataError:
            counts["damaged"] += 1
            sentences.append(())
            continue
        texts = () if report is None else tuple(report.sentences())
        if texts and not is_english(" ".join(texts)):
            reason, texts = "not English", ()
        else:
            reason = "usable" if texts else "missing" if report is None else "without findings or impression"
        counts[reason] += 1
        sentences.append(texts)
    return sentences, counts
