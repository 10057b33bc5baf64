"""Examples of a training: images, labels and targets, on disk so that they can be sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightline.core import Array


@dataclass(frozen=True, slots=True)
class Examples:
    """Images and labels of one training."""

    file: Path
    """File of the images, uint8 (n, side, side), .npy."""
    labels: Array
    """Labels, float32 (n, F): 1, 0, NaN for unknown; -1 for uncertain if that is a class."""
    train: Array
    """Training rows, int64."""
    val: Array
    """Validation rows, int64."""
    studies: tuple[tuple[str, str], ...]
    """Patient and study of each validation row: study names may repeat between patients."""
    mask_targets: Path | None = None
    """File of int8 (n, F, g, g) in percent, -1 for unknown, .npy; None for a network that learns from labels alone."""

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

    def load_mask_targets(self, rows: Array) -> Tensor | None:
        """Load the targets of maps.

        Parameters
        ----------
        rows : (B,) int64
            Rows to load.

        Returns
        -------
        Tensor or None : (B, F, g, g) float32 in [0, 1]
            NaN for unknown; None for a network that learns from labels alone.
        """
        if self.mask_targets is None:
            return None
        percent = torch.from_numpy(np.load(self.mask_targets, mmap_mode="r")[rows]).float()
        return torch.where(percent < 0, torch.nan, percent / 100)
