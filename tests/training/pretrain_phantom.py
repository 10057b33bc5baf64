"""A contrastive pre-training by several processes: `python pretrain_phantom.py FOLDER DEVICES`."""

from __future__ import annotations

import sys

import sightline as sl
from sightline.training.pretrain import pretrain

if __name__ == "__main__":
    data = sl.dataset("phantom:40?size=48")
    start = sl.open_model("small?side=48&width=8", data.findings)
    pretrain(start, data, sys.argv[1], epochs=2, batch=12, val_share=0.2, devices=int(sys.argv[2]))
