"""Whether the maps that a network shows still say anything of where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

MIN_RANGE, MIN_SPREAD = 0.02, 0.01
"""Below this range within each map, and below this spread between images, maps say nothing."""
MIN_IMAGES = 2
"""Images that show a finding, for its maps to be judged by them alone."""


def find_collapsed_maps(maps: Tensor, findings: Sequence[str] = (), present: Tensor | None = None) -> str:
    """Which of the maps (N, T, h, w) of many images say nothing of where, and why; '' where all do.

    Every column is judged by itself: one that collapsed does not hide among others. findings: what the columns are
    called (T); shown: bool (N, T), the images that show each, which alone judge it if there are two or more: a map that
    is empty on all others is as it should be.

    >>> import torch
    >>> maps = torch.rand(4, 2, 8, 8)
    >>> find_collapsed_maps(torch.ones(4, 2, 8, 8)), find_collapsed_maps(maps)
    ('all ones', '')
    >>> maps[:, 1] = 0
    >>> find_collapsed_maps(maps, ["Edema", "Fracture"])
    'all zeros (Fracture)'
    """
    columns = list(maps.unbind(1))
    if present is not None:
        columns = [
            m[there] if int(there.sum()) >= MIN_IMAGES else m for m, there in zip(columns, present.T, strict=True)
        ]
    names = findings or [f"map {i + 1}" for i in range(len(columns))]
    return join_reasons({name: collapse_reason(column) for name, column in zip(names, columns, strict=True)})


def collapse_reason(maps: Tensor) -> str:
    """Why maps (N, h, w) of one finding say nothing of where; '' where they do.

    'all ones', 'all zeros' or 'flat': nine of ten maps span less than 0.02 from their lowest to their highest place, or
    less than a fiftieth of what all maps together span. 'the same for every image': over the images, places spread by
    less than a hundredth of the range of a map.
    """
    reach = maps.amax((1, 2)) - maps.amin((1, 2))  # (N,)
    whole = float(maps.max() - maps.min())
    if float((reach < MIN_RANGE * max(1.0, whole)).float().mean()) >= 0.9:
        mean = float(maps.mean())
        return "all ones" if mean > 1 - MIN_RANGE else "all zeros" if abs(mean) < MIN_RANGE else "flat"
    if len(maps) > 1 and float(maps.std(0).mean()) < MIN_SPREAD * float(reach.mean()):
        return "the same for every image"
    return ""


def join_reasons(reason_by_finding: Mapping[str, str]) -> str:
    """Why the maps of each finding say nothing, in words: the reason alone where it is that of every finding.

    >>> join_reasons({"Edema": "flat", "Nodule": "", "Fracture": "flat"})
    'flat (Edema, Fracture)'
    """
    reasons = set(reason_by_finding.values())
    if len(reasons) == 1:
        return reasons.pop()
    return "; ".join(
        f"{why} ({', '.join(name for name, one in reason_by_finding.items() if one == why)})"
        for why in sorted(reasons - {""})
    )


@contextmanager
def record_maps(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within, what every forward of a network leaves at its module `map_output`, (N, T, h, w) each; nothing without
    one."""
    heard: list[Tensor] = []
    shown = getattr(net, "map_output", None)
    if not isinstance(shown, nn.Module):
        yield heard
        return
    handle = shown.register_forward_hook(lambda module, given, out: heard.append(out.detach()))
    try:
        yield heard
    finally:
        handle.remove()
