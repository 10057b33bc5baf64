"""A head of three classes per finding: uncertain, negative, positive."""

from __future__ import annotations

from torch import Tensor, nn


class Triples(nn.Module):
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
