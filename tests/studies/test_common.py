"""Options of methods that published code has, and the note where a run lacks them."""

from __future__ import annotations

from types import SimpleNamespace

from sightline.methods.explain import require_methods
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.studies.common import PUBLISHED_METHODS, note_signed_channels

GRAY, COLOR = SimpleNamespace(channels=1), SimpleNamespace(channels=3)


def test_published_methods_are_methods_without_signed_channels() -> None:
    require_methods(PUBLISHED_METHODS)
    assert note_signed_channels([COLOR], PUBLISHED_METHODS, [PUBLISHED]) == []


def test_signed_channels_are_named_where_they_change_a_published_number() -> None:
    methods = ("grad-cam", "gradient", "integrated-gradients?nodes=8", "guided-backprop?reduce=abs-sum")
    (note,) = note_signed_channels([GRAY, COLOR], methods, [PUBLISHED, CORRECTED])
    assert "but gradient, integrated-gradients?nodes=8 sum signed channels first" in note
    assert note_signed_channels([GRAY], methods, [PUBLISHED]) == []
    assert note_signed_channels([COLOR], methods, [CORRECTED]) == []
