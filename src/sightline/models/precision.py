"""Precision of a network's arithmetic, and what the device at hand computes quickly."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
"""Arithmetic of a network's forward and backward; weights, images and maps are float32 always."""


def has_bfloat16_hardware() -> bool:
    """Return True if this machine's device computes in bfloat16; emulated, it takes several times as long as float32.

    Returns
    -------
    bool
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
