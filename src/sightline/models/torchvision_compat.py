"""Let `import torchvision` succeed beside a torch its operator library was not built for.

The torchvision wheel of the package index is built for CUDA. Beside a CPU-only torch its library `_C` does not load,
its operators stay undefined, and `import torchvision` (hence timm and torchxrayvision) raises `operator
torchvision::nms does not exist`. Everything Sightline uses of torchvision is plain Python, so it is enough to define
the two operators that the import looks up. Import this module before anything that imports torchvision; where the
library loads, or torchvision is absent, it does nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_OPERATORS: Any = torch.ops  # torch leaves these two untyped
_LIBRARY: Any = torch.library.Library

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""The operators for which torchvision registers shape functions while it is imported."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression: int64 indices of the boxes kept, by falling score.

    boxes (K, 4) as (x1, y1, x2, y2), scores (K,); a box goes if its IoU with a kept one exceeds the threshold.

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
    """Whether torchvision's own library is there: it brings `nms` in every version, `qnms` only in newer ones."""
    return hasattr(_OPERATORS.torchvision, "nms")


def _library_loads() -> bool:
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


def define_missing_operators() -> Any:
    """Define the operators if torchvision is installed and cannot bring them; None where there was nothing to do.

    Returns the library object, which must be kept: the operators vanish with it.
    """
    if importlib.util.find_spec("torchvision") is None or _operators_exist() or _library_loads():
        return None
    library = _LIBRARY("torchvision", "DEF")
    for schema in SCHEMAS.values():
        library.define(schema)
    library.impl("nms", nms, "CPU")
    return library


_library = define_missing_operators()
OPERATORS_DEFINED = _library is not None
"""Whether this module had to stand in for torchvision's compiled operators."""
