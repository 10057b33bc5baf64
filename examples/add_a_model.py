"""Add a model: any torch module, by 'add_a_model:tiny' on the command line."""

import torch
from torch import nn

import sightline as sl


def tiny():
    """A network of three convolutions for two findings."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1)]
    net = nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    return sl.wrap(net, ["Cardiomegaly", "Pleural Effusion"], side=96, resize="pad", channels=1, name="tiny")
