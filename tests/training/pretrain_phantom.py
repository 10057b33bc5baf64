"""A contrastive pre-training by several processes: `python pretrain_phantom.py FOLDER DEVICES`."""

from __future__ import annotations

import sys
from dataclasses import replace

import sightline as sl
from sightline.training.contrastive import CONTRASTIVE_CONFIG, pretrain


def pretrain_phantom(out: str, devices: int) -> None:
    data = sl.open_dataset("phantom:40?size=48")
    start = sl.open_model("small?side=48&width=8", data.findings)
    recipe = replace(CONTRASTIVE_CONFIG, epochs=2, batch_size=12)
    pretrain(start, data, out, recipe, validation_fraction=0.2, n_devices=devices)


if __name__ == "__main__":
    pretrain_phantom(sys.argv[1], int(sys.argv[2]))
