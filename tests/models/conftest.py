from __future__ import annotations

from sightline.models.torchvision_compat import define_missing_operators

define_missing_operators()  # before tests import torchvision or timm
