"""A small residual network that trains on a few thousand radiographs within minutes on two CPU cores."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def _conv_norm(inputs: int, outputs: int, stride: int = 1, kernel_size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class ResidualBlock(nn.Module):
    """Two convolutions of one kernel size with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel_size: int = 3) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, stride, kernel_size)
        self.second = _conv_norm(outputs, outputs, 1, kernel_size)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv_norm(inputs, outputs, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output of the block.

        Parameters
        ----------
        x : (N, C, h, w)
            Features.

        Returns
        -------
        Tensor : (N, C', h / stride, w / stride)
            Features.
        """
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def make_stem(width: int) -> nn.Sequential:
    """Create the first layers of a network: (N, 1, h, w) -> (N, width, h / 4, w / 4).

    Parameters
    ----------
    width
        Number of channels of the result.

    Returns
    -------
    nn.Sequential
        Convolution, batch norm, ReLU and maximum pooling.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )


class SmallResNet(nn.Module):
    """Small residual network, with features (N, 6 width, h / 8, w / 8) before its average pooling.

    It is short and fine on purpose: the receptive field of a feature is 83 pixels, about half of the width of the
    input. With more blocks or a coarser grid it is no less accurate on the phantom, but a feature then sees most of the
    chest and maps say less about where.
    """

    def __init__(self, outputs: int, width: int = 16) -> None:
        super().__init__()
        self.stem = make_stem(width)
        self.body = nn.Sequential(
            ResidualBlock(width, width),
            ResidualBlock(width, 2 * width, 2),  # h / 8
            ResidualBlock(2 * width, 4 * width),
            ResidualBlock(4 * width, 6 * width, kernel_size=1),
        )
        self.head = nn.Linear(6 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, 1, h, w) float32
            Images.

        Returns
        -------
        Tensor : (N, outputs)
            Logits.
        """
        features = self.body(self.stem(x))  # (N, 6 width, h / 8, w / 8)
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits
