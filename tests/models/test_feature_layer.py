from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.models.feature_layer import CallCounter, detach_features
from sightline.models.feature_search import find_feature_layer
from sightline.models.frozen import freeze

X = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """A squeeze-and-excite gate before the head pools; the head is chosen by name."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.conv, self.gate, self.out = nn.Conv2d(3, 6, 3, 4), nn.Conv2d(6, 6, 1), nn.Linear(6, 2)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = F.relu(x * F.adaptive_avg_pool2d(x, 1).sigmoid(), inplace=True)
        pooled = {
            "mean": lambda: x.mean((2, 3)),
            "mean, keepdim": lambda: torch.mean(x, dim=(-2, -1), keepdim=True).flatten(1),
            "average": lambda: F.avg_pool2d(x, x.shape[-1]).flatten(1),
            "maximum": lambda: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0],
            "both": lambda: (F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1)).flatten(1),
            "channels last": lambda: x.permute(0, 2, 3, 1).mean((1, 2)),
        }[self.head]()
        return self.out(pooled)


@pytest.mark.parametrize("head", ["mean", "mean, keepdim", "average", "maximum", "both", "channels last"])
def test_the_cut_is_what_enters_the_last_pooling(head: str) -> None:
    torch.manual_seed(0)
    net = Gated(head)
    with freeze(net):
        cut = find_feature_layer(net, X, None)
        assert cut is not None and cut.shape == (6, 16, 16)
        assert len(cut.call_indices) == (2 if head == "both" else 1)
        with detach_features(net, cut) as joint:
            logits = net(X)
        assert joint.tensor is not None
        features = cut.as_map(joint.tensor.detach())
        assert torch.equal(logits.detach(), net(X))
        x = net.conv(X)
        assert torch.allclose(features, F.relu(x * F.adaptive_avg_pool2d(x, 1).sigmoid()))
        assert features.shape[1:] == cut.shape
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), joint.tensor)
        assert float(gradient.abs().sum()) > 0


def test_a_flattened_map_is_the_cut_of_a_network_without_pooling() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 8), nn.ReLU(True), nn.Flatten(), nn.Linear(256, 2))
    cut = find_feature_layer(net, X, None)
    assert cut is not None and (cut.name, cut.shape) == ("flatten", (4, 8, 8))


def test_a_network_that_pools_no_map_has_no_cut() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 64), nn.Flatten(), nn.Linear(4, 2))  # one cell only
    assert find_feature_layer(net, X, None) is None


def test_densenet_is_read_after_its_functional_in_place_relu() -> None:
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=2)
    with freeze(net), torch.no_grad():
        cut = find_feature_layer(net, X, None)
        assert cut is not None
        with detach_features(net, cut) as joint:
            net(X)
        assert joint.tensor is not None
        assert torch.equal(joint.tensor, F.relu(net.features(X)))
        assert float(net.features(X).min()) < 0  # so that reading before the ReLU would have shown


def test_channels_last_networks() -> None:
    torch.manual_seed(0)
    net = timm.create_model("swin_tiny_patch4_window7_224", num_classes=2, img_size=64, window_size=2)
    with freeze(net), torch.no_grad():
        cut = find_feature_layer(net, X, None)
        assert cut is not None and (cut.layout, cut.shape) == ("nhwc", (768, 2, 2))
        by_name = find_feature_layer(net, X, "layers.3")
        assert by_name is not None and (by_name.layout, by_name.shape) == ("nhwc", (768, 2, 2))


def watched_before_the_head(net: nn.Module) -> list[str]:
    """Functions that a severed forward shows us although they come before the cut; with the logits left as they are."""
    with freeze(net), torch.no_grad():
        cut, plain = find_feature_layer(net, X, None), net(X)
        assert cut is not None
        seen: list[str] = []
        looked = CallCounter.__torch_function__

        def noting(self: CallCounter, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            return looked(self, func, types, args, kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CallCounter, "__torch_function__", noting)
            with detach_features(net, cut) as joint:
                assert torch.equal(net(X), plain)
        assert joint.tensor is not None and joint.tensor.shape[1:] == cut.shape
    return seen[: seen.index(cut.name)]


def test_only_what_follows_the_last_module_before_the_cut_is_looked_at() -> None:
    torch.manual_seed(0)
    assert watched_before_the_head(torchvision.models.densenet121(num_classes=2)) == ["relu"]
    assert watched_before_the_head(torchvision.models.resnet18(num_classes=2)) == []
    net = Gated("both")
    assert "conv2d" not in watched_before_the_head(net) and net.conv._forward_hooks == {}


class Twice(Gated):
    """One ReLU for everything, as in many networks: when it ends says nothing."""

    def __init__(self) -> None:
        super().__init__("mean")
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.gate(self.act(self.conv(x)))).mean((2, 3)))


def test_a_module_that_runs_often_marks_nothing() -> None:
    cut = find_feature_layer(Twice(), X, None)
    assert cut is not None and cut.counted_from == ("gate", 0)


class OnDevice(Gated):
    """Enters a mode of functions before the module behind which the cut comes, and leaves it before the cut."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.device("cpu"):
            x = self.gate(self.conv(x))
        return self.out(x.mean((2, 3)))


def test_modes_of_the_network_itself_are_left_in_order() -> None:
    net = OnDevice("mean")
    with torch.no_grad():
        cut = find_feature_layer(net, X, None)
        assert cut is not None and cut.counted_from is None
        with detach_features(net, cut) as joint:
            logits = net(X)
        assert joint.tensor is not None and torch.equal(net(X), logits)


class Tokens(nn.Module):
    """Patches of 8 × 8 and some leading tokens."""

    def __init__(self, leading: int, patch: int = 8) -> None:
        super().__init__()
        self.patches, self.norm, self.out = nn.Conv2d(3, 5, patch, patch), nn.LayerNorm(5), nn.Linear(5, 2)
        self.leading = nn.Parameter(torch.randn(1, leading, 5))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([self.leading.expand(len(x), -1, -1), tokens], 1))
        return self.out((tokens * tokens.mean(1, keepdim=True)).sum(1))


@pytest.mark.parametrize("leading", [0, 1, 5])
def test_leading_tokens_are_inferred_and_the_grid_is_in_place(leading: int) -> None:
    net = Tokens(leading)
    cut = find_feature_layer(net, X, "norm")
    assert cut is not None and (cut.n_prefix_tokens, cut.shape) == (leading, (5, 8, 8))
    with freeze(net), detach_features(net, cut) as joint:
        net(X)
    assert joint.tensor is not None
    patches = net.norm(net.patches(X).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(cut.as_map(joint.tensor), patches, atol=1e-6)


def test_an_ambiguous_grid_is_refused_until_it_is_stated() -> None:
    net = Tokens(5, patch=32)  # 9 tokens: a grid of 2 × 2 after 5 ... or of 3 × 3, if 64 could be cut in three
    net.leading = nn.Parameter(torch.randn(1, 13, 5))  # 17 tokens: 4 × 4 after 1, or 2 × 2 after 13
    with pytest.raises(SightlineError, match=r"17 tokens .* 2 square grids fit; .*'norm\[1:\]'"):
        find_feature_layer(net, X, "norm")
    cut = find_feature_layer(net, X, "norm[13:]")
    assert cut is not None and (cut.n_prefix_tokens, cut.shape) == (13, (5, 2, 2))
    with pytest.raises(SightlineError, match="no square grid"):
        find_feature_layer(net, X, "norm[2:]")


def test_paths_that_cannot_be_features() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(SightlineError, match="is no module of the network; it has 0, 1, 2, 3, 4"):
        find_feature_layer(net, X, "layer4")
    with pytest.raises(SightlineError, match=r"gives \(2, 2\)"):
        find_feature_layer(net, X, "4")
    with pytest.raises(SightlineError, match="is not a module path"):
        find_feature_layer(net, X, "0[a:]")
    shared = nn.Conv2d(3, 3, 3, 1, 1)
    with pytest.raises(SightlineError, match="ran 2 times"):
        find_feature_layer(nn.Sequential(shared, shared), X, "0")


def test_hooks_are_gone_after_an_exception() -> None:
    net = Tokens(1)
    cut = find_feature_layer(net, X, "norm")
    assert cut is not None
    with pytest.raises(KeyError), detach_features(net, cut):
        raise KeyError
    assert not any(module._forward_hooks for module in net.modules())
