"""Heads with several classes per finding, read as one logit: absent and present, or with uncertain in addition."""

from __future__ import annotations

from torch import Tensor, nn


class ThreeClassHead(nn.Module):
    """A network with three outputs per finding, read as one logit: positive against negative, without uncertain.

    The difference of two logits is the logit of the softmax over the two, which is how CheXpert reads this head.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, C, h, w)
            Input of the network.

        Returns
        -------
        Tensor : (N, F)
            One logit per finding; in training (N, 3 F), the logits of uncertain, negative and positive for the loss.
        """
        triples: Tensor = self.net(x)  # (N, 3 F)
        if self.training:
            return triples
        return triples[:, 2::3] - triples[:, 1::3]


class TwoClassHead(nn.Module):
    """A network with two outputs per finding, absent and present, read as one logit: their difference.

    The softmax over a pair is the sigmoid of the difference, and so its cross-entropy is that of the one logit: the
    two-class networks of Arun et al. 2021 are trained and explained like any other.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, C, h, w)
            Input of the network.

        Returns
        -------
        Tensor : (N, F)
            One logit per finding.
        """
        pairs: Tensor = self.net(x)  # (N, 2 F)
        return pairs[:, 1::2] - pairs[:, 0::2]
