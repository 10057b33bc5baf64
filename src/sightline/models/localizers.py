"""Networks that learn from marks where findings are: what a saliency method could at best hope for.

Each takes (N, 1, side, side), gives one logit per finding like any classifier, and has `maps(x)`, its evidence for each
place (the method `intrinsic`). It `learns` from marks, `grid` is their side, and `loss(outputs, labels, marks)` how.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise

import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models.losses import mask_loss
from sightline.models.small_resnet import ResidualBlock, make_stem

INITIAL_PROBABILITY = 0.01
"""Chance of a mark that every place begins with: epochs go by, else, in learning that most places have none."""
TOP_SHARE = 0.01
"""Share of the places whose mean logit speaks for the image."""


class UNet(nn.Module):
    """A small U-Net: Ronneberger et al. 2015, arXiv:1505.04597, with residual blocks and batch norm.

    Evaluated: (N, 1, side, side) -> logits (N, F), the mean of the top 1 % of places. Training: (N, F, grid, grid).
    """

    supervision = "masks"

    def __init__(self, outputs: int, side: int, width: int = 16) -> None:
        super().__init__()
        self.grid = side // 4
        widths = [width, 2 * width, 4 * width, 6 * width]  # at 1/4, 1/8, 1/16 and 1/32
        self.stem = make_stem(width)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(ResidualBlock(fine, coarse, 2) for fine, coarse in pairs)
        self.up = nn.ModuleList(ResidualBlock(coarse + fine, fine) for fine, coarse in reversed(pairs))
        self.head = nn.Conv2d(width, outputs, 1)
        nn.init.constant_(self.head.bias, math.log(INITIAL_PROBABILITY / (1 - INITIAL_PROBABILITY)))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        places = self.map_logits(x)
        if self.training:
            return places
        flat = places.flatten(2)
        return flat.topk(max(1, round(TOP_SHARE * flat.shape[2])), dim=2).values.mean(2)

    def map_logits(self, x: Tensor) -> Tensor:
        """Logits (N, F, grid, grid)."""
        passed = [self.stem(x)]
        for block in self.down:
            passed.append(block(passed[-1]))
        y = passed.pop()
        for block in self.up:
            fine = passed.pop()
            y = block(torch.cat([F.interpolate(y, fine.shape[2:], mode="nearest"), fine], 1))
        logits: Tensor = self.head(y)
        return logits

    def maps(self, x: Tensor) -> Tensor:
        """Probability that a place is marked, (N, F, grid, grid) in [0, 1]."""
        return self.map_logits(x).sigmoid()

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Binary cross-entropy and soft Dice over places; marks (B, F, grid, grid) in [0, 1], NaN where unknown."""
        return mask_loss(outputs, mask_targets)


class FeaturePyramid(nn.Module):
    """(N, 1, side, side) -> features of one width at 1/8, 1/16 and 1/32: Lin et al. 2017, arXiv:1612.03144."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stem = make_stem(width)
        widths = [2 * width, 4 * width, 6 * width]
        inputs = [width, *widths[:-1]]
        self.down = nn.ModuleList(ResidualBlock(i, o, 2) for i, o in zip(inputs, widths, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(w, out_channels, 1) for w in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in widths)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        y, levels = self.stem(x), []
        for block, across in zip(self.down, self.lateral, strict=True):
            y = block(y)
            levels.append(across(y))
        for at in (1, 0):
            levels[at] = levels[at] + F.interpolate(levels[at + 1], levels[at].shape[2:], mode="nearest")
        return OrderedDict((str(i), s(y)) for i, (s, y) in enumerate(zip(self.smooth, levels, strict=True)))


class RetinaNet(nn.Module):
    """A small one-stage detector: Lin et al. 2017, arXiv:1708.02002; anchors, head and losses are torchvision's.

    Evaluated: (N, 1, side, side) -> logits (N, F), of each finding's most certain box. Marks become the boxes around
    their connected parts.
    """

    supervision = "masks"

    def __init__(self, outputs: int, side: int, width: int = 16) -> None:
        from sightline.models import torchvision_compat  # noqa: F401  # before torchvision

        from torchvision.models.detection.anchor_utils import AnchorGenerator  # isort: skip
        from torchvision.models.detection.retinanet import RetinaNet as Detector  # isort: skip
        from torchvision.models.detection.retinanet import RetinaNetHead  # isort: skip

        super().__init__()
        self.grid, self.side, self.outputs = side // 4, side, outputs
        # A tenth, a fifth and two fifths of the side, and two steps of a third of an octave above each
        sizes = tuple(tuple(int(side * share * 2 ** (step / 3)) for step in range(3)) for share in (0.1, 0.2, 0.4))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        pyramid = FeaturePyramid(width, 2 * width)
        head = RetinaNetHead(2 * width, anchors.num_anchors_per_location()[0], outputs, norm_layer=nn.BatchNorm2d)
        self.detector = Detector(pyramid, outputs, anchor_generator=anchors, head=head)

    def _head_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """{cls_logits (N, A, F), bbox_regression (N, A, 4)}."""
        found: dict[str, Tensor] = self.detector.head(list(self.detector.backbone(x).values()))
        return found

    def forward(self, x: Tensor) -> Tensor:
        heads = self._head_outputs(x)
        logits = heads["cls_logits"]  # (N, A, F)
        if self.training:
            return torch.cat([logits, heads["bbox_regression"]], 2)  # (N, A, F + 4)
        return logits.amax(1)

    def maps(self, x: Tensor) -> Tensor:
        """Chance that one of the boxes over a place is right, were they independent: (N, F, grid, grid) in [0, 1].

        Of the 100 most certain boxes of a finding; overlapping ones are kept, because they say where most agree.
        """
        heads = self._head_outputs(x)
        out = x.new_zeros((len(x), self.outputs, self.grid, self.grid))
        centers = (torch.arange(self.grid, device=x.device) + 0.5) * (self.side / self.grid)
        for n, boxes in enumerate(self._anchors(x)):
            moved = self.detector.box_coder.decode_single(heads["bbox_regression"][n], boxes)  # (A, 4)
            sure, which = heads["cls_logits"][n].sigmoid().topk(min(100, len(boxes)), dim=0)  # (100, F)
            left, top, right, bottom = moved[which].unbind(-1)  # (100, F) each
            rows = (centers >= top[..., None]) & (centers <= bottom[..., None])  # (100, F, grid)
            cols = (centers >= left[..., None]) & (centers <= right[..., None])
            for place in range(self.outputs):
                missed = torch.log1p(-sure[:, place].clamp(max=1 - 1e-6))
                within = torch.einsum("kr,kc,k->rc", rows[:, place].float(), cols[:, place].float(), missed)
                out[n, place] = -torch.expm1(within)
        return out

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Focal loss of the class and L1 of the box, over images of which all findings are known where they are."""
        known = [i for i in range(len(mask_targets)) if not mask_targets[i].isnan().any()]
        if not known:
            return outputs.sum() * 0
        anchors = self._anchors(outputs.new_zeros((len(known), 1, self.side, self.side)))
        logits, boxes = outputs[known, :, : self.outputs], outputs[known, :, self.outputs :]
        heads = {"cls_logits": logits, "bbox_regression": boxes}
        losses = self.detector.compute_loss([self._boxes(mask_targets[i]) for i in known], heads, anchors)
        total: Tensor = losses["classification"] + losses["bbox_regression"]
        return total

    def _anchors(self, x: Tensor) -> list[Tensor]:
        """Boxes (A, 4) of each image of x (N, 1, side, side): they follow from its size alone."""
        from torchvision.models.detection.image_list import ImageList

        sides = [-(-self.side // stride) for stride in (8, 16, 32)]
        features = [x.new_zeros((len(x), 1, s, s)) for s in sides]
        found: list[Tensor] = self.detector.anchor_generator(ImageList(x, [(self.side, self.side)] * len(x)), features)
        return found

    def _boxes(self, mask_targets: Tensor) -> dict[str, Tensor]:
        """{boxes (K, 4) as (left, top, right, bottom) in input pixels, labels (K,)} of marks (F, grid, grid)."""
        scale = self.side / self.grid
        boxes, labels = [], []
        for place, plane in enumerate(mask_targets.cpu().numpy() >= 0.5):
            if plane.any():
                found, _ = ndimage.label(plane)
                for rows, cols in ndimage.find_objects(found):
                    boxes.append([cols.start, rows.start, cols.stop, rows.stop])
                    labels.append(place)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32, device=mask_targets.device).reshape(-1, 4) * scale,
            "labels": torch.tensor(labels, dtype=torch.int64, device=mask_targets.device),
        }
