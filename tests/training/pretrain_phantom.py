"""A contrastive pre-training by several processes: `python pretrain_phantom.py FOLDER DEVICES`."""

from __future__ import annotations

import sys
from dataclasses import replace

import sightline as sl
from sightline.training.contrastive import CONTRASTIVE_CONFIG, pretrain

if __name__ == "__main__":
    data = sl.open_dataset("phantom:40?size=48")
    start = sl.open_model("small?side=48&width=8", data.findings)
    recipe = replace(CONTRASTIVE_CONFIG, epochs=2, batch_size=12)
    pretrain(start, data, sys.argv[1], recipe, validation_fraction=0.2, n_devices=int(sys.argv[2]))
