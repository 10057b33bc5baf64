"""Whether the maps that a network shows still say anything of where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

FLAT, SAME = 0.02, 0.01
"""Below this range within each map, and below this spread between images, maps say nothing."""


def collapse(maps: Tensor) -> str:
    """Why maps (N, T, h, w) of many images say nothing of where; '' where they do.

    'all ones', 'all zeros' or 'flat': nine of ten maps span less than 0.02 from their lowest to their highest place, or
    less than a fiftieth of what all maps together span. 'the same for every image': over the images, places spread by
    less than a hundredth of the range of a map.

    >>> import torch
    >>> collapse(torch.ones(4, 1, 8, 8)), collapse(torch.rand(4, 1, 8, 8))
    ('all ones', '')
    """
    reach = maps.amax((2, 3)) - maps.amin((2, 3))  # (N, T)
    whole = float(maps.max() - maps.min())
    if float((reach < FLAT * max(1.0, whole)).float().mean()) >= 0.9:
        mean = float(maps.mean())
        return "all ones" if mean > 1 - FLAT else "all zeros" if abs(mean) < FLAT else "flat"
    if len(maps) > 1 and float(maps.std(0).mean()) < SAME * float(reach.mean()):
        return "the same for every image"
    return ""


@contextmanager
def listening(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within, what every forward of a network leaves at its module `shown`, (N, T, h, w) each; nothing without one."""
    heard: list[Tensor] = []
    shown = getattr(net, "shown", None)
    if not isinstance(shown, nn.Module):
        yield heard
        return
    handle = shown.register_forward_hook(lambda module, given, out: heard.append(out.detach()))
    try:
        yield heard
    finally:
        handle.remove()
