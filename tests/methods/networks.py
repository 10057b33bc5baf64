"""Small networks whose maps are known, or hard, in one way each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models import Model, wrap
from sightline.models.torchvision_compat import define_missing_operators

FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")
SIDE = 24
FAST = {
    "guided-ig": "guided-ig?nodes=4",
    "blur-ig": "blur-ig?nodes=4",
    "layer-conductance": "layer-conductance?nodes=4",
    "xrai": "xrai?nodes=4",
    "integrated-gradients": "integrated-gradients?nodes=4",
    "smooth-ig": "smooth-ig?nodes=2&samples=2",
    "smoothgrad": "smoothgrad?samples=3",
    "smoothgrad-squared": "smoothgrad-squared?samples=3",
    "vargrad": "vargrad?samples=3",
    "gradient-shap": "gradient-shap?samples=3",
    "deepshap": "deepshap?samples=2",
    "occlusion": "occlusion?window=8&stride=8",
    "rise": "rise?samples=6&grid=3",
}
"""Methods with few nodes or samples."""


class Plain(nn.Module):
    """Convolutions with batch norm, a functional in-place ReLU, global average pooling and one linear layer.

    mirrored: kernels are their own mirror images, so that a mirrored input gives mirrored maps.
    """

    def __init__(self, mirrored: bool = False) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.second, self.out = nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, 3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.running_mean)
        self.text_embeddings = nn.Parameter(torch.randn(3, 2, 12, generator=torch.Generator().manual_seed(4)))
        if mirrored:
            for conv in (self.first, self.second):
                conv.weight.data += conv.weight.data.flip(-1)

    def body(self, x: Tensor) -> Tensor:
        return self.second(F.max_pool2d(F.relu(self.norm(self.first(x)), inplace=True), 2))

    def patch_embeddings(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x), inplace=True)

    def maps(self, x: Tensor) -> Tensor:
        return torch.einsum("nkhw,fk->nfhw", self.patch_embeddings(x), self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.adaptive_avg_pool2d(self.patch_embeddings(x), 1).flatten(1))


class Flattened(nn.Module):
    """A head that keeps places apart, so that gradients differ within a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 6, 5, 4), nn.ReLU()
        self.hidden, self.out = nn.Linear(150, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.softplus(self.hidden(self.relu(self.conv(x)).flatten(1))))


def model(net: nn.Module | None = None, seed: int = 0, mirrored: bool = False) -> Model:
    if net is None:
        torch.manual_seed(seed)
        net = Plain(mirrored)
    return wrap(net, FINDINGS, side=SIDE, mean=0.3, std=0.4)


def batch(count: int, seed: int = 1) -> Tensor:
    return torch.randn((count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def transformer() -> Model:
    """A vision transformer of two blocks with a class token, on the same input."""
    define_missing_operators()
    import timm

    torch.manual_seed(0)
    net = timm.models.VisionTransformer(img_size=SIDE, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=3)
    for block in net.blocks:
        nn.init.normal_(block.attn.qkv.weight, 0, 0.3)
    nn.init.normal_(net.head.weight)
    return wrap(net, FINDINGS, side=SIDE, mean=0.3, std=0.4, feature_module="blocks.1.norm1")


def model_for(needs: str, mirrored: bool = False) -> Model:
    """A network that can serve a method."""
    return transformer() if needs == "attention" else model(mirrored=mirrored)


def last_bias(net: nn.Module) -> nn.Parameter:
    """Of the logits."""
    found = net.head.bias if hasattr(net, "head") else net.out.bias
    assert isinstance(found, nn.Parameter)
    return found
