from __future__ import annotations

import sys
from pathlib import Path

from sightline.models.torchvision_compat import define_missing_operators

sys.path.insert(0, str(Path(__file__).parent))  # for networks.py
define_missing_operators()  # before tests import torchvision or timm
