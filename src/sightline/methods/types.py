"""Types that methods and their callers share: the explained output, prior maps, flags of maps, errors of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sightline.errors import SightlineError

TargetOutput = Literal["logit", "probability"]
"""Output that is explained: the logit of a finding, or its probability (the sigmoid of the logit)."""

Prior = Tensor | Callable[[tuple[str, ...], tuple[str, ...]], Tensor]
"""Maps that are known before the model sees an image: (N, T, h, w), or a function of (ids, findings) returning them."""


class BatchMemoryError(SightlineError):
    """A batch was too large for the memory of the device; the model is as it was."""

    @classmethod
    def from_batch(cls, model: str, n_images: int, side: int) -> BatchMemoryError:
        """Return the error of a batch.

        Parameters
        ----------
        model : str
            Name of the model.
        n_images : int
            Images of the batch.
        side : int
            Height and width of the images, in pixels.

        Returns
        -------
        BatchMemoryError
        """
        return cls(
            f"{model} ran out of memory with {n_images} images of {side} x {side} at once; "
            f"give fewer (batch={max(1, n_images // 2)}) or a smaller side"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if torch failed for lack of memory.

    Parameters
    ----------
    error : BaseException
        Any exception. Accelerators raise a type of their own, the CPU a plain error with a sentence.

    Returns
    -------
    bool
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True, slots=True, eq=False)
class MapFlags:
    """Maps of a batch that share a problem."""

    mask: Tensor
    """bool (N, T): True for each map that has the problem."""
    reason: str
    """The problem, in a sentence."""
