"""A small residual network that trains on a few thousand radiographs within minutes on two CPU cores."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def _conv_norm(inputs: int, outputs: int, stride: int = 1, kernel_size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class ResidualBlock(nn.Module):
    """Two convolutions of a side around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel_size: int = 3) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, stride, kernel_size)
        self.second = _conv_norm(outputs, outputs, 1, kernel_size)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv_norm(inputs, outputs, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h / stride, w / stride)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def make_stem(width: int) -> nn.Sequential:
    """(N, 1, h, w) -> (N, width, h / 4, w / 4)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )


class SmallResNet(nn.Module):
    """float32 (N, 1, h, w) -> logits (N, outputs). Features (N, 6 width, h / 8, w / 8) enter an average pooling.

    Short and fine on purpose: a feature sees 83 pixels, about half of the input's width. With more blocks or a coarser
    grid it is no less accurate on the phantom, but a feature then sees most of the chest and maps say less about where.
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
        features = self.body(self.stem(x))  # (N, 6 width, h / 8, w / 8)
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits
