from __future__ import annotations

import sys
from pathlib import Path

from sightline.models import vision_ops as vision_ops  # before the tests import torchvision

sys.path.insert(0, str(Path(__file__).parent))  # for networks.py
