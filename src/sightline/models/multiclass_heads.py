"""Heads of several classes per finding, read as one logit: absent and present, or with uncertain besides."""

from __future__ import annotations

from torch import Tensor, nn


class ThreeClassHead(nn.Module):
    """A network of three outputs per finding, read as one logit: positive against negative, uncertain left out.

    In evaluation, (N, C, h, w) -> (N, F): the difference of two logits is the logit of the softmax over the two, which
    is how CheXpert reads this head. In training, the triples (N, 3 F) themselves, which the loss needs.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        triples: Tensor = self.net(x)  # (N, 3 F)
        if self.training:
            return triples
        return triples[:, 2::3] - triples[:, 1::3]


class TwoClassHead(nn.Module):
    """A network of two outputs per finding, absent and present, read as one logit: their difference.

    The softmax over a pair is the sigmoid of that difference, and so is its cross-entropy that of the one logit: the
    two-class networks of Arun et al. 2021 are trained and explained as any other. (N, C, h, w) -> (N, F).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        pairs: Tensor = self.net(x)  # (N, 2 F)
        return pairs[:, 1::2] - pairs[:, 0::2]
