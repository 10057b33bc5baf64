"""Trainable saliency: an element in a classifier whose maps are trained on labels, annotations or gaze.

A reconstruction: of Aggarwal et al. 2020, arXiv:2011.07482, only the abstract is public ("a model design element
agnostic to both architecture complexity and model task"). The gate is the reading that fits it best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sightline.errors import SightlineError
from sightline.models.feature_layer import FeatureLayer, replace_features
from sightline.models.losses import label_loss, mask_loss
from sightline.models.pooling import POOLS, weighted_mean

KINDS = ("gate", *POOLS, "mask", "decoder", "cam")
"""Place of the map in the network.

gate: weighs positions before they are pooled. lse, noisy-or, pcam, wildcat: the evidence of each position, pooled into
the logit. mask: weighs the pixels of the image, which is then read again. decoder: reads the features and has no effect
on the logits. cam: the network's own Grad-CAM of each finding; nothing is added."""
MAPS_PER = ("finding", "image")
SUPERVISIONS = ("labels", "masks", "boxes", "gaze")
"""Source that the maps learn from besides labels: masks of annotations, boxes around their parts, or gaze."""
TASKS = ("classification", "regression")
INITIAL_GATE_LOGIT = 2.0
"""Initial logit of a gate: nearly open, so that the classifier gets gradients."""


@dataclass(frozen=True, slots=True)
class SaliencyHeadConfig:
    """How the element is built and trained.

    Raises
    ------
    SightlineError
        For values that are not allowed, or do not fit each other.
    """

    kind: str = "gate"
    """Place of the map in the network, see `KINDS`."""
    maps_per: str = "finding"
    """'finding' for one map per finding, 'image' for one map for all findings."""
    supervision: str = "labels"
    """Source that the maps learn from, see `SUPERVISIONS`."""
    weight: float = 1.0
    """Weight of the error of the maps, for images with annotations or gaze."""
    sparsity: float = 0.0
    """Weight of the mean of each map as a share of its peak: a gate that is dimmed everywhere does not get sparse."""
    variation: float = 0.0
    """Weight of the mean difference between neighboring positions as a share of the peak (total variation)."""
    task: str = "classification"
    """'classification' or 'regression'."""

    def __post_init__(self) -> None:
        choices = (("kind", KINDS), ("maps_per", MAPS_PER), ("supervision", SUPERVISIONS), ("task", TASKS))
        for name, allowed in choices:
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
        needs_probabilities = self.kind in ("noisy-or", "cam") or (self.pools_evidence and self.supervision != "labels")
        if self.task == "regression" and needs_probabilities:
            raise SightlineError(
                f"kind={self.kind} gives no map in [0, 1] without probabilities; for a regression: kind=gate"
            )

    @property
    def pools_evidence(self) -> bool:
        """True if the map is the evidence itself."""
        return self.kind in POOLS

    @property
    def makes_logits(self) -> bool:
        """True if the element computes the logits from the features, in place of the network's head."""
        return self.pools_evidence or (self.kind == "gate" and self.maps_per == "finding")

    @property
    def spec_options(self) -> str:
        """All fields as options of a spec, 'kind=gate&maps_per=finding&...'."""
        return "&".join(f"{name}={value}" for name, value in asdict(self).items())


class SaliencyHead(nn.Module):
    """Layers that are added to a network: from its features to maps, and to evidence if they compute the logits.

    Parameters
    ----------
    config
        How the element is built.
    feature_layer
        Feature layer of the network.
    outputs
        Number F of findings.
    """

    def __init__(self, config: SaliencyHeadConfig, feature_layer: FeatureLayer, outputs: int) -> None:
        super().__init__()
        channels, height, width = feature_layer.shape
        self.config = config
        self.features = nn.Identity()
        """Module whose output is the input of the element, where methods find the features."""
        if config.makes_logits:
            self.evidence = nn.Conv2d(channels, outputs, 1)
            if config.kind == "noisy-or":  # initial probability of one half that any position shows the finding
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
        """Compute maps and evidence.

        Parameters
        ----------
        features : (N, K, h, w)
            Feature map of the network.

        Returns
        -------
        maps : (N, T, h, w)
            T = F for maps per finding, otherwise 1; in [0, 1] except for a regression by pooled evidence.
        evidence : (N, F, h, w) or None
            Logits of positions if the element computes the logits.
        """
        features = self.features(features)
        evidence: Tensor | None = self.evidence(features) if self.config.makes_logits else None
        if self.config.pools_evidence and evidence is not None:
            return (evidence if self.config.task == "regression" else evidence.sigmoid()), evidence
        gate: Tensor = self.gate(features).sigmoid()
        return gate, evidence


class TrainableSaliency(nn.Module):
    """A network with an element that shows where its evidence is.

    One forward pass computes logits and, through the module `map_output`, the maps (N, T, grid, grid), which a hook can
    read (`sightline.methods.intrinsic`). The maps of a gate are divided by their mean before they weigh features: a
    gate moves weight, and does not dim. Supervised by gaze with the weight of the error alone it is Kim, Zhou and
    Lipton 2021 (DenseNet-Aug), who do not state how the estimate of the gaze is made.

    Parameters
    ----------
    net
        Classifier from (N, C, h, w) to logits (N, F).
    feature_layer
        Feature layer of the classifier, a square map, see `sightline.models.feature_search.find_feature_layer`.
    outputs
        Number F of findings.
    config
        How the element is built and trained.

    Raises
    ------
    SightlineError
        If the features are no square map of at least 2 × 2.
    """

    def __init__(self, net: nn.Module, feature_layer: FeatureLayer, outputs: int, config: SaliencyHeadConfig) -> None:
        super().__init__()
        _, height, width = feature_layer.shape
        if height != width or height < 2:
            raise SightlineError(
                f"the features are {height} × {width} positions; a square map of at least 2 × 2 is needed"
            )
        self.net, self.feature_layer, self.config = net, feature_layer, config
        self.grid, self.supervision = height, config.supervision
        self.map_output = nn.Identity()
        if config.kind != "cam":
            self.saliency_head = SaliencyHead(config, feature_layer, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the classifier.

        Returns
        -------
        Tensor : (N, F)
            Logits; in training followed by the maps, (N, F + T · grid²), which `loss` takes.
        """
        if self.config.kind == "cam" and not self.training:
            plain: Tensor = self.net(x)  # its maps cost gradients: `maps` computes them when asked
            return plain
        logits, maps = self._logits_and_maps(x)
        maps = self.map_output(maps)
        return torch.cat([logits, maps.flatten(1)], 1) if self.training else logits

    def maps(self, x: Tensor) -> Tensor:
        """Compute the maps alone.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the classifier.

        Returns
        -------
        Tensor : (N, F, grid, grid)
            Maps, detached; the same one for all findings if there is one per image.
        """
        with torch.enable_grad():
            logits, maps = self._logits_and_maps(x)
        return maps.detach().expand(-1, logits.shape[1], -1, -1)

    def loss(self, outputs: Tensor, labels: Tensor, mask_targets: Tensor | None = None) -> Tensor:
        """Compute the loss of labels and maps.

        Parameters
        ----------
        outputs : (B, F + T · grid²)
            Result of `forward` in training.
        labels : (B, F)
            Labels, NaN for unknown.
        mask_targets : (B, F, grid, grid), or (B, 1, grid, grid) for gaze
            Annotated share of each cell, or density of the gaze, in [0, 1]; NaN for unknown. None if maps learn from
            labels alone. An image without targets contributes its labels only.

        Returns
        -------
        Tensor : ()
            Loss.
        """
        count = labels.shape[1]
        logits, maps = outputs[:, :count], outputs[:, count:].reshape(len(outputs), -1, self.grid, self.grid)
        total = label_loss(logits, labels, self.config.task) + self._regularization(maps)
        if mask_targets is None or self.config.supervision == "labels":
            return total
        map_loss = self._gaze_loss if self.config.supervision == "gaze" else self._annotation_loss
        return total + self.config.weight * map_loss(maps, labels, mask_targets)

    def _regularization(self, maps: Tensor) -> Tensor | float:
        """Sparsity and total variation, each as a share of the peak of the map's magnitudes."""
        if not (self.config.sparsity or self.config.variation):
            return 0.0
        share = maps.abs() / maps.abs().amax((2, 3), keepdim=True).clamp(min=1e-3)
        steps = (share.diff(dim=2).abs().mean() + share.diff(dim=3).abs().mean()) / 2
        return self.config.sparsity * share.mean() + self.config.variation * steps

    def _gaze_loss(self, maps: Tensor, labels: Tensor, gaze: Tensor) -> Tensor:
        """Mean squared error of the map, or the mean map of present findings, with the gaze; 0 for images without."""
        known = ~gaze.isnan().flatten(1).any(1)[:, None, None, None]  # (B, 1, 1, 1)
        if self.config.maps_per == "finding":
            present = (labels == 1).to(maps)[..., None, None]  # (B, F, 1, 1)
            known = known & present.bool().any(1, keepdim=True)
            maps = (maps * present).sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
        error = ((maps - gaze.nan_to_num()) ** 2).mean((2, 3), keepdim=True)
        return (error * known).mean()

    def _annotation_loss(self, maps: Tensor, labels: Tensor, mask_targets: Tensor) -> Tensor:
        """Error of the maps with annotations; a map per image is compared with those of all findings together."""
        if self.config.maps_per == "image":
            mask_targets = mask_targets.amax(1, keepdim=True)  # NaN if any is
        elif self.config.kind == "cam":  # a Grad-CAM divided by its peak has a peak even if the finding is absent
            mask_targets = mask_targets.where((labels == 1)[..., None, None], torch.nan)
        return mask_loss(torch.logit(maps, eps=1e-5), mask_targets)

    def _logits_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, F) and maps (N, T, grid, grid)."""
        if self.config.kind == "cam":
            logits, raw = self._forward_with(x, lambda raw: raw if raw.requires_grad else raw.detach().requires_grad_())
            return logits, self._grad_cams(logits, raw)
        captured: list[tuple[Tensor, Tensor | None]] = []

        def change(raw: Tensor) -> Tensor:
            gate, evidence = self.saliency_head(self.feature_layer.as_map(raw))
            captured.append((gate, evidence))
            if self.config.kind != "gate" or evidence is not None:
                return raw
            return self.feature_layer.apply_gate(raw, gate / gate.mean((2, 3), keepdim=True))

        logits, _ = self._forward_with(x, change)
        gate, evidence = captured[-1]
        if evidence is not None:
            pooled = self._pool(gate, evidence)
            # Several processes need a gradient for every weight, also of the head that is not used
            return (pooled + 0 * logits if self.training else pooled), gate
        return (self.net(self._mask_image(gate, x)) if self.config.kind == "mask" else logits), gate

    def _forward_with(self, x: Tensor, transform: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the network with transformed features, and these features."""
        captured: list[Tensor] = []

        def capture(raw: Tensor) -> Tensor:
            captured.append(transform(raw))
            return captured[-1].clone() if self.config.kind == "cam" else captured[-1]  # the head may work in place

        # Gradients of gradients need the attention that is written out: the fused kernels have none
        attention = sdpa_kernel(SDPBackend.MATH) if self.config.kind == "cam" else nullcontext()
        with replace_features(self.net, self.feature_layer, capture), attention:
            logits: Tensor = self.net(x)
        return logits, captured[-1]

    def _pool(self, gate: Tensor, evidence: Tensor) -> Tensor:
        flat = evidence.flatten(2)
        return POOLS[self.config.kind](flat) if self.config.pools_evidence else weighted_mean(flat, gate.flatten(2))

    def _mask_image(self, gate: Tensor, x: Tensor) -> Tensor:
        """Return the image where the mask is open, and its mean where it is closed."""
        mask = F.interpolate(gate, x.shape[2:], mode="bilinear", align_corners=False)
        flat = x.flatten(2).mean(2)[..., None, None]
        return flat + mask * (x - flat)

    def _grad_cams(self, logits: Tensor, raw: Tensor) -> Tensor:
        """Grad-CAM of every finding divided by its peak, (N, F, grid, grid) in [0, 1], to be differentiated again."""
        maps = []
        for target in range(logits.shape[1]):
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), raw, create_graph=True)
            weights = self.feature_layer.as_map(gradient).mean((2, 3), keepdim=True)
            maps.append(F.relu((weights * self.feature_layer.as_map(raw)).sum(1)))
        cams = torch.stack(maps, 1)
        return cams / cams.amax((2, 3), keepdim=True).clamp(min=1e-6)
