"""Classifiers that are taught where a radiologist looked, beside the labels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sightline.core import SightlineError
from sightline.models.cut import Cut, changed
from sightline.models.losses import masked_loss

TEACHING = ("decoder", "cam", "gate")
"""What is compared with gaze: a decoder's reading of the features, the network's own Grad-CAM of the findings that are
there, or a gate that also weighs the features before they are pooled."""


class Taught(nn.Module):
    """A classifier with an estimate of where its image was looked at, and a loss that compares it with gaze.

    After Kim, Zhou and Lipton 2021 (DenseNet-Aug): binary cross-entropy, and where gaze exists `weight` times the mean
    squared error of the estimate; both lie in [0, 1], gaze divided by its peak. How the estimate is made was not said:
    see `TEACHING`.

    net: (N, C, h, w) -> logits (N, F); cut: where its features are, a square map (`sightline.models.cut.find_cut`).
    """

    learns = "gaze"

    def __init__(self, net: nn.Module, cut: Cut, by: str, weight: float) -> None:
        super().__init__()
        channels, height, width = cut.shape
        if height != width or height < 2:
            raise SightlineError(
                f"the features are {height} × {width} places; a square map of at least 2 × 2 is needed"
            )
        self.net, self.cut, self.by, self.weight, self.grid = net, cut, by, weight, height
        if by == "decoder":
            hidden = min(64, channels)
            self.look: nn.Module = nn.Sequential(
                nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 1, 1), nn.Sigmoid()
            )
        elif by == "gate":
            gate = nn.Conv2d(channels, 1, 1)
            nn.init.constant_(gate.bias, 2.0)  # type: ignore[arg-type]  # begins open, so that it does not starve the classifier
            self.look = nn.Sequential(gate, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, F); in training with the estimate behind them, (N, F + T · grid²), which the loss takes apart."""
        if not self.training:
            logits: Tensor = self._with_features(x)[0] if self.by == "gate" else self.net(x)
            return logits
        logits, maps = self._estimated(x)
        return torch.cat([logits, maps.flatten(1)], 1)

    def maps(self, x: Tensor) -> Tensor:
        """The estimate, (N, F, grid, grid) in [0, 1]; the same for every finding but for 'cam'."""
        with torch.enable_grad():
            logits, maps = self._estimated(x)
        return maps.detach().expand(-1, logits.shape[1], -1, -1)

    def loss(self, outputs: Tensor, labels: Tensor, marks: Tensor) -> Tensor:
        """outputs: of `forward`; labels (B, F), NaN where unknown; marks (B, 1, grid, grid), NaN where there is none.

        The error of images without gaze, and for 'cam' of images without a finding, is 0.
        """
        count = labels.shape[1]
        logits, maps = outputs[:, :count], outputs[:, count:].reshape(len(outputs), -1, self.grid, self.grid)
        if self.by == "cam":
            there = (labels == 1).to(maps)[..., None, None]  # (B, F, 1, 1)
            known = there.any(1, keepdim=True)
            maps = (maps * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
        else:
            known = torch.ones_like(maps[:, :, :1, :1], dtype=torch.bool)
        known = known & ~marks.isnan().flatten(1).any(1)[:, None, None, None]  # (B, 1, 1, 1)
        error = ((maps - marks.nan_to_num()) ** 2).mean((2, 3), keepdim=True)
        return masked_loss(logits, labels) + self.weight * (error * known).mean()

    def _estimated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, F) and estimates (N, T, grid, grid), T = F for 'cam', else 1."""
        logits, raw, estimate = self._with_features(x)
        return (logits, estimate) if estimate is not None else (logits, self._cams(logits, raw))

    def _with_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, what the network passes at the cut, and the estimate unless it is made of gradients."""
        seen: list[tuple[Tensor, Tensor | None]] = []

        def change(raw: Tensor) -> Tensor:
            if self.by == "cam":
                raw = raw if raw.requires_grad else raw.detach().requires_grad_()
                seen.append((raw, None))
                return raw.clone()  # the head may work in place
            look: Callable[[Tensor], Tensor] = self.look
            estimate = look(self.cut.as_map(raw))
            seen.append((raw, estimate))
            if self.by != "gate":
                return raw
            return self.cut.weighed(raw, estimate / estimate.mean((2, 3), keepdim=True))  # moves, does not dim

        # Gradients of gradients need the attention that is written out: the fused ones have none
        plain = sdpa_kernel(SDPBackend.MATH) if self.by == "cam" else nullcontext()
        with changed(self.net, self.cut, change), plain:
            logits: Tensor = self.net(x)
        return logits, *seen[-1]

    def _cams(self, logits: Tensor, raw: Tensor) -> Tensor:
        """Grad-CAM of every finding divided by its peak, (N, F, grid, grid) in [0, 1], to be differentiated again."""
        made = []
        for target in range(logits.shape[1]):
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), raw, create_graph=True)
            weights = self.cut.as_map(gradient).mean((2, 3), keepdim=True)
            made.append(F.relu((weights * self.cut.as_map(raw)).sum(1)))
        cams = torch.stack(made, 1)
        return cams / cams.amax((2, 3), keepdim=True).clamp(min=1e-6)
