from __future__ import annotations

import torch

from sightline.training.augmentation import augment


def test_it_is_keyed_light_and_never_mirrors() -> None:
    rows = torch.arange(64)[:, None].expand(64, 64) / 63
    left = (torch.arange(64)[None] < 20).float().expand(64, 64)
    images = torch.stack([rows, left] * 20)
    out, _ = augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(out, augment(images, torch.Generator().manual_seed(0))[0])
    assert not torch.equal(out, augment(images, torch.Generator().manual_seed(1))[0])
    assert out.shape == images.shape and float(out.min()) >= 0 and float(out.max()) <= 1
    middle = out[:, 16:48, 16:48]
    assert bool((middle[::2, -8:].mean((1, 2)) > middle[::2, :8].mean((1, 2))).all())  # bright stays below
    assert bool((out[1::2, 20:44, 4:12].mean((1, 2)) > out[1::2, 20:44, 40:60].mean((1, 2)) + 0.2).all())  # and left
