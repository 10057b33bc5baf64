"""A training to be killed, or done by several processes: `python train_blobs.py FOLDER [DEVICES]`."""

from __future__ import annotations

import sys

from blobs import blobs

from sightline.core import Dataset
from sightline.models import Model, open_model
from sightline.training import TrainingConfig, fit


def train(out: str, devices: int = 1) -> Model:
    data: Dataset = blobs(96)
    return fit(
        open_model("small?side=32&width=8", data.findings),
        data,
        out,
        TrainingConfig(epochs=5, batch_size=16),
        n_devices=devices,
    )


if __name__ == "__main__":
    train(sys.argv[1], *map(int, sys.argv[2:]))
