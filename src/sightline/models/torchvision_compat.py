"""Let `import torchvision` succeed if its operator library does not load.

The torchvision wheel of the package index is built for CUDA. With a CPU-only torch its library `_C` does not load, its
operators stay undefined, and `import torchvision` (hence timm and torchxrayvision) raises `operator torchvision::nms
does not exist`. Everything Sightline uses of torchvision is plain Python, so it is enough to define the two operators
that the import looks up. Nothing happens when this module is imported: `define_missing_operators` is called right
before torchvision is.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_OPERATORS: Any = torch.ops  # torch leaves these two untyped
_LIBRARY: Any = torch.library.Library
_KEPT_LIBRARIES: list[Any] = []
"""Libraries defined here: operators vanish with the object that defined them."""

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""Operators for which torchvision registers shape functions while it is imported."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes that overlap a box with a higher score (greedy non-maximum suppression).

    Parameters
    ----------
    boxes : (K, 4)
        Corners (x1, y1, x2, y2) of the boxes.
    scores : (K,)
        Score of each box.
    iou_threshold
        A box is removed if its intersection over union with a kept one exceeds this.

    Returns
    -------
    Tensor : (n,) int64
        Indices of the kept boxes, by falling score.

    Examples
    --------
    >>> nms(torch.tensor([[0., 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]), torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist()
    [1, 2]
    """
    order = torch.argsort(scores, descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # (K,)
    kept: list[int] = []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = torch.maximum(boxes[best, :2], boxes[order, :2])
        high = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = order[shared <= iou_threshold * (area[best] + area[order] - shared)]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def _operators_exist() -> bool:
    """Return True if torchvision's operators are defined: every version brings `nms`, only newer ones `qnms`."""
    return hasattr(_OPERATORS.torchvision, "nms")


def _load_library() -> bool:
    """Try what `torchvision.extension` will try; loading a library twice is harmless."""
    package = importlib.util.find_spec("torchvision")
    for folder in (package.submodule_search_locations or []) if package else []:
        for path in sorted(Path(folder).glob("_C*")):
            try:
                _OPERATORS.load_library(str(path))
            except OSError:
                continue
            return _operators_exist()
    return False


@lru_cache
def define_missing_operators() -> bool:
    """Define the operators that torchvision needs, if it is installed and its own library does not load.

    Call it right before torchvision, timm or torchxrayvision is imported; further calls do nothing.

    Returns
    -------
    bool
        True if operators were defined; False if there was nothing to do.
    """
    if importlib.util.find_spec("torchvision") is None or _operators_exist() or _load_library():
        return False
    library = _LIBRARY("torchvision", "DEF")
    for schema in SCHEMAS.values():
        library.define(schema)
    library.impl("nms", nms, "CPU")
    _KEPT_LIBRARIES.append(library)
    return True
