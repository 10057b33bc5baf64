from sightline.models import vision_ops as vision_ops  # before the tests import torchvision
