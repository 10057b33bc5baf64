"""Detect collapsed maps: maps of a trained network that no longer say where anything is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

MIN_RANGE, MIN_SPREAD = 0.02, 0.01
"""Range within each map, and spread between images as a share of it, below which maps are collapsed."""
MIN_IMAGES = 2
"""Number of images with a finding from which its maps are judged by these images alone."""


def find_collapsed_maps(maps: Tensor, findings: Sequence[str] = (), present: Tensor | None = None) -> str:
    """Name the maps that are collapsed, and the reason.

    Every finding is judged by itself, so that one collapsed map is not hidden by others.

    Parameters
    ----------
    maps : (N, T, h, w)
        Maps of N images.
    findings
        Names of the T maps.
    present : (N, T) bool
        Images that show each finding. If there are at least `MIN_IMAGES`, they alone are judged: a map that is empty
        on all others is correct.

    Returns
    -------
    str
        Reasons with findings; empty if no map is collapsed.

    Examples
    --------
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
        columns = [m[rows] if int(rows.sum()) >= MIN_IMAGES else m for m, rows in zip(columns, present.T, strict=True)]
    names = findings or [f"map {i + 1}" for i in range(len(columns))]
    return join_reasons({name: collapse_reason(column) for name, column in zip(names, columns, strict=True)})


def collapse_reason(maps: Tensor) -> str:
    """Return the reason why the maps of one finding are collapsed.

    Parameters
    ----------
    maps : (N, h, w)
        Maps of N images.

    Returns
    -------
    str
        'all ones', 'all zeros' or 'flat' if nine of ten maps span less than 0.02 from lowest to highest value, or less
        than a fiftieth of the span of all maps together; 'the same for every image' if values spread over the images
        by less than a hundredth of the range of a map; otherwise empty.
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
    """Join the reasons of all findings in one text.

    Parameters
    ----------
    reason_by_finding
        Reason of each finding; empty if its maps are not collapsed.

    Returns
    -------
    str
        Each reason with its findings; the reason alone if it is that of every finding.

    Examples
    --------
    >>> join_reasons({"Edema": "flat", "Nodule": "", "Fracture": "flat"})
    'flat (Edema, Fracture)'
    """
    reasons = set(reason_by_finding.values())
    if len(reasons) == 1:
        return reasons.pop()
    return "; ".join(
        f"{reason} ({', '.join(name for name, other in reason_by_finding.items() if other == reason)})"
        for reason in sorted(reasons - {""})
    )


@contextmanager
def record_maps(net: nn.Module) -> Iterator[list[Tensor]]:
    """Record the output of the module `map_output` in every forward pass inside.

    Parameters
    ----------
    net
        Network, in any mode.

    Yields
    ------
    list of Tensor : (N, T, h, w)
        Maps of each forward pass, detached; it stays empty if the network has no such module.
    """
    maps: list[Tensor] = []
    output = getattr(net, "map_output", None)
    if not isinstance(output, nn.Module):
        yield maps
        return
    handle = output.register_forward_hook(lambda module, args, out: maps.append(out.detach()))
    try:
        yield maps
    finally:
        handle.remove()
