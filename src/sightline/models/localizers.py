"""Localizers: networks that learn from annotations where findings are, the best that a saliency method could reach.

Each takes (N, 1, side, side) and returns one logit per finding like any classifier. `maps(x)` is its evidence for each
position (the method 'intrinsic'), `supervision` names the source it learns from besides labels, `grid` is the side of
its targets, and `loss(outputs, labels, mask_targets)` its loss.
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
from sightline.models.torchvision_compat import define_missing_operators

INITIAL_PROBABILITY = 0.01
"""Initial probability of every position: otherwise the first epochs only learn that most positions are negative."""
TOP_SHARE = 0.01
"""Share of the positions whose mean logit is the logit of the image."""


class UNet(nn.Module):
    """A small U-Net: Ronneberger et al. 2015, arXiv:1505.04597, with residual blocks and batch norm."""

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
        """Compute logits.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        Tensor : (N, F)
            Mean logit of the top 1 % of the positions; in training (N, F, grid, grid), the logits of all positions.
        """
        logits = self.map_logits(x)
        if self.training:
            return logits
        flat = logits.flatten(2)
        return flat.topk(max(1, round(TOP_SHARE * flat.shape[2])), dim=2).values.mean(2)

    def map_logits(self, x: Tensor) -> Tensor:
        """Compute the logits of all positions.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        Tensor : (N, F, grid, grid)
            Logits.
        """
        skipped = [self.stem(x)]
        for block in self.down:
            skipped.append(block(skipped[-1]))
        y = skipped.pop()
        for block in self.up:
            fine = skipped.pop()
            y = block(torch.cat([F.interpolate(y, fine.shape[2:], mode="nearest"), fine], 1))
        logits: Tensor = self.head(y)
        return logits

    def maps(self, x: Tensor) -> Tensor:
        """Compute the probability of each position.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        Tensor : (N, F, grid, grid) in [0, 1]
            Probability that a position is annotated.
        """
        return self.map_logits(x).sigmoid()

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Compute the binary cross-entropy and soft Dice loss over positions.

        Parameters
        ----------
        outputs : (B, F, grid, grid)
            Result of `forward` in training.
        labels : (B, F)
            Not used.
        mask_targets : (B, F, grid, grid)
            Annotated share of each cell in [0, 1], NaN for unknown.

        Returns
        -------
        Tensor : ()
            Loss.
        """
        return mask_loss(outputs, mask_targets)


class FeaturePyramid(nn.Module):
    """Features of one width at 1/8, 1/16 and 1/32 of the input: Lin et al. 2017, arXiv:1612.03144."""

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
        """Compute the features of each level.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        OrderedDict of str to Tensor : (N, out_channels, h, w)
            Features from the finest level to the coarsest.
        """
        y, levels = self.stem(x), []
        for block, lateral in zip(self.down, self.lateral, strict=True):
            y = block(y)
            levels.append(lateral(y))
        for level in (1, 0):
            levels[level] = levels[level] + F.interpolate(levels[level + 1], levels[level].shape[2:], mode="nearest")
        return OrderedDict((str(i), s(y)) for i, (s, y) in enumerate(zip(self.smooth, levels, strict=True)))


class RetinaNet(nn.Module):
    """A small one-stage detector: Lin et al. 2017, arXiv:1708.02002; anchors, head and losses are torchvision's.

    It learns from the boxes around the connected parts of annotations.
    """

    supervision = "masks"

    def __init__(self, outputs: int, side: int, width: int = 16) -> None:
        define_missing_operators()
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.retinanet import RetinaNet as Detector
        from torchvision.models.detection.retinanet import RetinaNetHead

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
        outputs: dict[str, Tensor] = self.detector.head(list(self.detector.backbone(x).values()))
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        Tensor : (N, F)
            Logit of the most certain box of each finding; in training (N, A, F + 4), the logits and offsets of all
            anchors.
        """
        heads = self._head_outputs(x)
        logits = heads["cls_logits"]  # (N, A, F)
        if self.training:
            return torch.cat([logits, heads["bbox_regression"]], 2)  # (N, A, F + 4)
        return logits.amax(1)

    def maps(self, x: Tensor) -> Tensor:
        """Compute the probability that one of the boxes over a position is right, if they are independent.

        The 100 most certain boxes of each finding count; overlapping ones are kept, because they agree.

        Parameters
        ----------
        x : (N, 1, side, side) float32
            Images.

        Returns
        -------
        Tensor : (N, F, grid, grid) in [0, 1]
            Probabilities.
        """
        heads = self._head_outputs(x)
        out = x.new_zeros((len(x), self.outputs, self.grid, self.grid))
        centers = (torch.arange(self.grid, device=x.device) + 0.5) * (self.side / self.grid)
        for n, anchors in enumerate(self._anchors(x)):
            boxes = self.detector.box_coder.decode_single(heads["bbox_regression"][n], anchors)  # (A, 4)
            certainty, order = heads["cls_logits"][n].sigmoid().topk(min(100, len(anchors)), dim=0)  # (100, F)
            left, top, right, bottom = boxes[order].unbind(-1)  # (100, F) each
            rows = (centers >= top[..., None]) & (centers <= bottom[..., None])  # (100, F, grid)
            cols = (centers >= left[..., None]) & (centers <= right[..., None])
            for index in range(self.outputs):
                missed = torch.log1p(-certainty[:, index].clamp(max=1 - 1e-6))
                within = torch.einsum("kr,kc,k->rc", rows[:, index].float(), cols[:, index].float(), missed)
                out[n, index] = -torch.expm1(within)
        return out

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Compute the focal loss of the classes and the L1 loss of the boxes.

        Parameters
        ----------
        outputs : (B, A, F + 4)
            Result of `forward` in training.
        labels : (B, F)
            Not used.
        mask_targets : (B, F, grid, grid)
            Annotated share of each cell in [0, 1], NaN for unknown; images with unknown cells are left out.

        Returns
        -------
        Tensor : ()
            Loss; 0 if every image is left out.
        """
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
        """Anchors (A, 4) of each image of x (N, 1, side, side), which depend on its size alone."""
        from torchvision.models.detection.image_list import ImageList

        sides = [-(-self.side // stride) for stride in (8, 16, 32)]
        features = [x.new_zeros((len(x), 1, s, s)) for s in sides]
        anchors: list[Tensor] = self.detector.anchor_generator(
            ImageList(x, [(self.side, self.side)] * len(x)), features
        )
        return anchors

    def _boxes(self, mask_targets: Tensor) -> dict[str, Tensor]:
        """{boxes (K, 4) as (left, top, right, bottom) in input pixels, labels (K,)} of targets (F, grid, grid)."""
        scale = self.side / self.grid
        boxes, labels = [], []
        for index, plane in enumerate(mask_targets.cpu().numpy() >= 0.5):
            if plane.any():
                components, _ = ndimage.label(plane)
                for rows, cols in ndimage.find_objects(components):
                    boxes.append([cols.start, rows.start, cols.stop, rows.stop])
                    labels.append(index)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32, device=mask_targets.device).reshape(-1, 4) * scale,
            "labels": torch.tensor(labels, dtype=torch.int64, device=mask_targets.device),
        }
