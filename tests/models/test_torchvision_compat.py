from __future__ import annotations

import subprocess
import sys

import torch

from sightline.models import torchvision_compat


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_operators_are_defined_once_an_architecture_of_torchvision_opens_and_not_before() -> None:
    """Then torchvision and timm can be imported, and the operators work."""
    run(
        "import torch, sightline.models, sightline.methods, sightline.training.fit\n"
        "from sightline.models import open_model\n"
        "open_model('small?side=32', ['Edema'])\n"
        "assert not hasattr(torch.ops.torchvision, 'nms')\n"
        "open_model('torchvision:resnet18?side=32', ['Edema'])\n"
        "import torchvision, timm\n"
        "assert torchvision.models.resnet18(num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)\n"
        "assert torch.ops.torchvision.nms(torch.tensor([[0., 0, 1, 1]]), torch.tensor([1.0]), 0.5).tolist() == [0]\n"
    )


def test_it_does_nothing_where_the_operators_exist() -> None:
    torchvision_compat.define_missing_operators()
    torchvision_compat.define_missing_operators.cache_clear()
    assert not torchvision_compat.define_missing_operators()


def test_it_leaves_a_library_that_knows_fewer_operators_alone() -> None:
    """torchvision 0.26 brings nms but no qnms; to define nms again would end the process."""
    run(
        "import torch\n"
        "from sightline.models.torchvision_compat import define_missing_operators\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "assert not define_missing_operators()\n"
    )


def test_nms_keeps_what_a_plain_double_loop_keeps() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand((40, 2), generator=generator) * 6
    boxes = torch.cat([corner, corner + 1 + torch.rand((40, 2), generator=generator) * 3], 1)
    scores = torch.rand(40, generator=generator)

    def iou(a: list[float], b: list[float]) -> float:
        wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        return wide / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide)

    kept: list[int] = []
    for i in sorted(range(40), key=lambda i: -float(scores[i])):
        if all(iou(boxes[i].tolist(), boxes[j].tolist()) <= 0.3 for j in kept):
            kept.append(i)
    assert 1 < len(kept) < 40
    assert torchvision_compat.nms(boxes, scores, 0.3).tolist() == kept
    assert torchvision_compat.nms(boxes[:0], scores[:0], 0.3).tolist() == []
