"""A small trainable element that has a classifier show where its evidence lies, told where or from labels alone.

A reconstruction: of Aggarwal et al. 2020, arXiv:2011.07482, only the abstract is public ("a model design element
agnostic to both architecture complexity and model task"). The gate is the reading that fits it best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sightline.errors import SightlineError
from sightline.models.feature_layer import FeatureLayer, replace_features
from sightline.models.losses import label_loss, mask_loss
from sightline.models.pooling import POOLS, weighted_mean

KINDS = ("gate", *POOLS, "mask", "decoder", "cam")
"""Where the map stands in the network.

gate: weighs places before they are pooled. lse, noisy-or, pcam, wildcat: the evidence of each place, pooled into the
logit. mask: weighs the pixels of the image, which is then read again. decoder: reads the features and decides nothing.
cam: the network's own Grad-CAM of each finding; nothing is added."""
MAPS_PER = ("finding", "image")
SUPERVISIONS = ("labels", "masks", "boxes", "gaze")
"""What the maps learn from beside the loss of the labels; boxes are those around the pieces of marks."""
TASKS = ("classification", "regression")
INITIAL_GATE_LOGIT = 2.0
"""Where a gate begins: nearly open, so that it does not starve the classifier."""


@dataclass(frozen=True, slots=True)
class SaliencyHeadConfig:
    """How an element is made and taught."""

    kind: str = "gate"
    maps_per: str = "finding"
    """One map of each finding, or one of the image for all findings."""
    supervision: str = "labels"
    weight: float = 1.0
    """Of the error of the maps where images are marked."""
    sparsity: float = 0.0
    """Of the mean of each map as a share of its peak: a gate that is dimmed everywhere does not get sparse."""
    variation: float = 0.0
    """Of the mean difference between neighboring places as a share of the peak (total variation)."""
    task: str = "classification"

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("maps_per", MAPS_PER), ("supervision", SUPERVISIONS), ("task", TASKS)):
            if getattr(self, name) not in allowed:
                raise SightlineError(f"{name}={getattr(self, name)}; allowed: {', '.join(allowed)}")
        for name in ("weight", "sparsity", "variation"):
            if not getattr(self, name) >= 0:
                raise SightlineError(f"{name}={getattr(self, name)}; allowed: from 0")
        only = "image" if self.kind in ("mask", "decoder") else self.maps_per if self.kind == "gate" else "finding"
        if self.maps_per != only:
            raise SightlineError(
                f"kind={self.kind} has no map of each {self.maps_per}; give maps_per={only}, or kind=gate"
            )
        chances = self.kind in ("noisy-or", "cam") or (self.pools_evidence and self.supervision != "labels")
        if self.task == "regression" and chances:
            raise SightlineError(
                f"kind={self.kind} gives no map in [0, 1] without chances; for a regression: kind=gate"
            )

    @property
    def pools_evidence(self) -> bool:
        """Whether the map is the evidence itself."""
        return self.kind in POOLS

    @property
    def makes_logits(self) -> bool:
        """Whether the element makes the logits, from what the network passes at the cut, in place of its head."""
        return self.pools_evidence or (self.kind == "gate" and self.maps_per == "finding")


class SaliencyHead(nn.Module):
    """What is added to a network: from its features to a map, and where the element classifies, to evidence.

    (N, K, h, w) -> map (N, T, h, w), T = F for a map of each finding, else 1; in [0, 1] but for a regression by pooled
    evidence. `evidence` (N, F, h, w) goes beside it where the element classifies.
    """

    def __init__(self, config: SaliencyHeadConfig, feature_layer: FeatureLayer, outputs: int) -> None:
        super().__init__()
        channels, height, width = feature_layer.shape
        self.config = config
        self.features = nn.Identity()
        """Where methods find the features: what enters the element."""
        if config.makes_logits:
            self.evidence = nn.Conv2d(channels, outputs, 1)
            if config.kind == "noisy-or":  # as likely as not that any place of all speaks
                nn.init.constant_(self.evidence.bias, -math.log(height * width))  # type: ignore[arg-type]
        if config.kind == "decoder":
            hidden = min(64, channels)
            self.gate: nn.Module = nn.Sequential(
                nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 1, 1)
            )
        elif not config.pools_evidence:
            self.gate = nn.Conv2d(channels, outputs if config.maps_per == "finding" else 1, 1)
            nn.init.constant_(self.gate.bias, INITIAL_GATE_LOGIT)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.features(features)
        evidence: Tensor | None = self.evidence(features) if self.config.makes_logits else None
        if self.config.pools_evidence and evidence is not None:
            return (evidence if self.config.task == "regression" else evidence.sigmoid()), evidence
        gate: Tensor = self.gate(features).sigmoid()
        return gate, evidence


class TrainableSaliency(nn.Module):
    """A network with an element that shows where it finds what it finds.

    net: (N, C, h, w) -> logits (N, F); cut: where its features are, a square map
    (`sightline.models.feature_layer.find_feature_layer`);
    outputs: F; way: see `SaliencyHeadConfig`. Taught by gaze with the weight of the error alone it is Kim, Zhou and
    Lipton 2021
    (DenseNet-Aug), who do not say how the estimate of the gaze is made.

    One forward gives logits and, through the module `map_output`, the maps (N, T, grid, grid): whoever wants them
    listens
    there (`sightline.methods.intrinsic`). A gate's maps are divided by their mean before they weigh: it moves, not
    dims.
    """

    def __init__(self, net: nn.Module, feature_layer: FeatureLayer, outputs: int, config: SaliencyHeadConfig) -> None:
        super().__init__()
        _, height, width = feature_layer.shape
        if height != width or height < 2:
            raise SightlineError(
                f"the features are {height} × {width} places; a square map of at least 2 × 2 is needed"
            )
        self.net, self.feature_layer, self.config, self.grid, self.supervision = (
            net,
            feature_layer,
            config,
            height,
            config.supervision,
        )
        self.map_output = nn.Identity()
        if config.kind != "cam":
            self.saliency_head = SaliencyHead(config, feature_layer, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, F); in training with the maps behind them, (N, F + T · grid²), which the loss takes apart."""
        if self.config.kind == "cam" and not self.training:
            plain: Tensor = self.net(x)  # its maps cost gradients: `maps` computes them when asked
            return plain
        logits, maps = self._logits_and_maps(x)
        maps = self.map_output(maps)
        return torch.cat([logits, maps.flatten(1)], 1) if self.training else logits

    def maps(self, x: Tensor) -> Tensor:
        """The maps alone, (N, F, grid, grid); one for all findings where there is only one of the image."""
        with torch.enable_grad():
            logits, maps = self._logits_and_maps(x)
        return maps.detach().expand(-1, logits.shape[1], -1, -1)

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor | None = None) -> Tensor:
        """outputs: of `forward` in training; labels (B, F), NaN where unknown.

        marks: (B, F, grid, grid) in [0, 1], or the density of the gaze (B, 1, grid, grid), NaN where there is none;
        None where maps learn from labels alone. An image without marks adds nothing but its labels.
        """
        count = labels.shape[1]
        logits, maps = outputs[:, :count], outputs[:, count:].reshape(len(outputs), -1, self.grid, self.grid)
        total = label_loss(logits, labels, self.config.task) + self._regularization(maps)
        if mask_targets is None or self.config.supervision == "labels":
            return total
        return total + self.config.weight * (
            self._gaze_loss(maps, labels, mask_targets)
            if self.config.supervision == "gaze"
            else self._annotation_loss(maps, labels, mask_targets)
        )

    def _regularization(self, maps: Tensor) -> Tensor | float:
        """Sparsity and total variation, each as a share of the peak of the map's magnitudes."""
        if not (self.config.sparsity or self.config.variation):
            return 0.0
        share = maps.abs() / maps.abs().amax((2, 3), keepdim=True).clamp(min=1e-3)
        steps = (share.diff(dim=2).abs().mean() + share.diff(dim=3).abs().mean()) / 2
        return self.config.sparsity * share.mean() + self.config.variation * steps

    def _gaze_loss(self, maps: Tensor, labels: Tensor, gaze: Tensor) -> Tensor:
        """Mean squared error of the map with the gaze, of maps of findings that of those that are there. 0 for images
        without gaze, and where maps are of findings, without one."""
        known = ~gaze.isnan().flatten(1).any(1)[:, None, None, None]  # (B, 1, 1, 1)
        if self.config.maps_per == "finding":
            there = (labels == 1).to(maps)[..., None, None]  # (B, F, 1, 1)
            known = known & there.bool().any(1, keepdim=True)
            maps = (maps * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
        error = ((maps - gaze.nan_to_num()) ** 2).mean((2, 3), keepdim=True)
        return (error * known).mean()

    def _annotation_loss(self, maps: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Error of the maps with marks; a map of the image with all of them together, where all are known."""
        if self.config.maps_per == "image":
            mask_targets = mask_targets.amax(1, keepdim=True)  # NaN if any is
        elif self.config.kind == "cam":  # has its peak somewhere, whatever is there
            mask_targets = mask_targets.where((labels == 1)[..., None, None], torch.nan)
        return mask_loss(torch.logit(maps, eps=1e-5), mask_targets)

    def _logits_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, F) and maps (N, T, grid, grid)."""
        if self.config.kind == "cam":
            logits, raw = self._forward_with(x, lambda raw: raw if raw.requires_grad else raw.detach().requires_grad_())
            return logits, self._grad_cams(logits, raw)
        found: list[tuple[Tensor, Tensor | None]] = []

        def change(raw: Tensor) -> Tensor:
            gate, evidence = self.saliency_head(self.feature_layer.as_map(raw))
            found.append((gate, evidence))
            if self.config.kind != "gate" or evidence is not None:
                return raw
            return self.feature_layer.apply_gate(raw, gate / gate.mean((2, 3), keepdim=True))

        logits, _ = self._forward_with(x, change)
        gate, evidence = found[-1]
        if evidence is not None:
            made = self._pool(gate, evidence)
            # A team of processes wants a gradient for every weight, of the head that is not asked, too
            return (made + 0 * logits if self.training else made), gate
        return (self.net(self._mask_image(gate, x)) if self.config.kind == "mask" else logits), gate

    def _forward_with(self, x: Tensor, transform: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the network whose head works on `change(what it passes at the cut)`, and that."""
        seen: list[Tensor] = []

        def kept(raw: Tensor) -> Tensor:
            seen.append(transform(raw))
            return seen[-1].clone() if self.config.kind == "cam" else seen[-1]  # the head may work in place

        # Gradients of gradients need the attention that is written out: the fused ones have none
        plain = sdpa_kernel(SDPBackend.MATH) if self.config.kind == "cam" else nullcontext()
        with replace_features(self.net, self.feature_layer, kept), plain:
            logits: Tensor = self.net(x)
        return logits, seen[-1]

    def _pool(self, gate: Tensor, evidence: Tensor) -> Tensor:
        flat = evidence.flatten(2)
        return POOLS[self.config.kind](flat) if self.config.pools_evidence else weighted_mean(flat, gate.flatten(2))

    def _mask_image(self, gate: Tensor, x: Tensor) -> Tensor:
        """The image where the mask is open, and its mean where it is closed."""
        mask = F.interpolate(gate, x.shape[2:], mode="bilinear", align_corners=False)
        flat = x.flatten(2).mean(2)[..., None, None]
        return flat + mask * (x - flat)

    def _grad_cams(self, logits: Tensor, raw: Tensor) -> Tensor:
        """Grad-CAM of every finding divided by its peak, (N, F, grid, grid) in [0, 1], to be differentiated again."""
        made = []
        for target in range(logits.shape[1]):
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), raw, create_graph=True)
            weights = self.feature_layer.as_map(gradient).mean((2, 3), keepdim=True)
            made.append(F.relu((weights * self.feature_layer.as_map(raw)).sum(1)))
        cams = torch.stack(made, 1)
        return cams / cams.amax((2, 3), keepdim=True).clamp(min=1e-6)
