"""Maps that say nothing of where are told, finding by finding."""

from __future__ import annotations

import pytest
import torch

from sightline.models.map_collapse import find_collapsed_maps

NAMES = [f"finding {i}" for i in range(10)]


@pytest.mark.parametrize(
    ("maps", "why"),
    [
        (torch.ones(6, 2, 8, 8), "all ones"),
        (torch.zeros(6, 2, 8, 8), "all zeros"),
        (torch.full((6, 2, 8, 8), 0.4), "flat"),
        (torch.rand(1, 2, 8, 8).expand(6, 2, 8, 8), "the same for every image"),
        (torch.rand(6, 2, 8, 8), ""),
        (-5 * torch.rand(6, 2, 8, 8), ""),
    ],
)
def test_maps_that_say_nothing_are_told(maps: torch.Tensor, why: str) -> None:
    assert find_collapsed_maps(maps) == why


@pytest.mark.parametrize(
    ("collapsed", "why"),
    [
        (torch.ones(6, 8, 8, 8), "all ones"),
        (torch.rand(1, 8, 8, 8).expand(6, 8, 8, 8), "the same for every image"),
    ],
)
def test_two_findings_that_say_something_hide_no_others(collapsed: torch.Tensor, why: str) -> None:
    maps = torch.cat([collapsed, torch.rand(6, 2, 8, 8)], 1)
    assert find_collapsed_maps(maps, NAMES) == f"{why} ({', '.join(NAMES[:8])})"


def test_each_reason_names_its_findings() -> None:
    maps = torch.rand(6, 4, 8, 8)
    maps[:, 1], maps[:, 3] = 1, 0
    assert find_collapsed_maps(maps, NAMES[:4]) == "all ones (finding 1); all zeros (finding 3)"
    assert find_collapsed_maps(maps) == "all ones (map 2); all zeros (map 4)"


def test_maps_are_judged_by_the_images_that_show_the_finding() -> None:
    shown = torch.zeros(40, 2, dtype=torch.bool)
    shown[:3, 0] = shown[:3, 1] = True
    maps = torch.zeros(40, 2, 8, 8)
    maps[:3, 0] = torch.rand(3, 8, 8)  # of a rare finding: empty where it is not
    maps[3:, 1] = torch.rand(37, 8, 8)  # says something of everything but what it is asked
    assert find_collapsed_maps(maps, NAMES[:2], shown) == "all zeros (finding 1)"
    assert find_collapsed_maps(maps, NAMES[:2], shown & False) == "flat (finding 0)", "all images, where none shows it"
