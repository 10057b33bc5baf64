"""The string of a source and its parts: what is stored is never changed by reading it."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Source, SourceKind

TEXTS = {
    "densenet121/grad-cam": ("model", "densenet121", "grad-cam"),
    "densenet121/rise?masks=8&seed=1": ("model", "densenet121", "rise?masks=8&seed=1"),
    "net/lrp?composite=rules/mine.py": ("model", "net", "lrp?composite=rules/mine.py"),
    "hospital/net/grad-cam": ("model", "hospital/net", "grad-cam"),
    "budget/element-30/intrinsic": ("model", "budget/element-30", "intrinsic"),
    "our maps": ("model", "", "our maps"),
    "grad-cam?layer=layer4/2": ("model", "", "grad-cam?layer=layer4/2"),
    "control/center": ("control", "", "center"),
    "control/untrained": ("control", "", "untrained"),
    "control/untrained/grad-cam": ("control", "untrained", "grad-cam"),
    "controls/grad-cam": ("model", "controls", "grad-cam"),
    "reader/radiologist": ("reader", "radiologist", ""),
    "reader/radiologist points": ("reader", "radiologist", "points"),
    "reader/points": ("reader", "points", ""),
    "reader/ points": ("reader", " points", ""),
    "reader/A/B? points": ("reader", "A/B?", "points"),
    "readers": ("model", "", "readers"),
    "localizer/unet/intrinsic": ("localizer", "unet", "intrinsic"),
    "localizer/zoo/unet/intrinsic": ("localizer", "zoo/unet", "intrinsic"),
    "ceiling/the gaze itself": ("ceiling", "", "the gaze itself"),
    "control": ("control", "", ""),
    "": ("model", "", ""),
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_of_every_form(text: str) -> None:
    source = Source.parse(text)
    assert (source.kind, source.model, source.method) == TEXTS[text]
    assert str(source) == text


def test_kinds_are_those_of_the_first_part_alone() -> None:
    assert {Source.parse(f"{kind}/a/b").kind for kind in get_args(SourceKind)} == set(get_args(SourceKind))
    assert Source.parse("model/grad-cam") == Source("model", "model", "grad-cam")
    assert Source.parse("Reader/a").kind == Source.parse("net/control").kind == "model"


def test_a_readers_name_is_the_one_of_the_data_set() -> None:
    for name in ("radiologist", "radiologist points", "points", "A / B"):
        assert Source.from_reader(name).name == name and str(Source.from_reader(name)) == f"reader/{name}"


PARTS = st.text(st.characters(exclude_characters="/"), min_size=1)


@given(st.lists(PARTS, max_size=4), st.sampled_from(["", "model", "control", "reader", "localizer", "ceiling"]))
def test_reading_a_string_and_writing_it_again_changes_nothing(parts: list[str], kind: str) -> None:
    text = "/".join(filter(None, [kind, *parts]))
    source = Source.parse(text)
    assert str(source) == text and Source.parse(str(source)) == source


NAMES = st.text(st.characters(exclude_characters="/?"), min_size=1)
METHODS = st.tuples(NAMES, st.one_of(st.just(""), st.text(min_size=1).map("?{}".format))).map("".join)


@given(st.sampled_from(["model", "control", "localizer", "ceiling"]), st.lists(NAMES, max_size=3), METHODS)
def test_parts_survive_the_string(kind: SourceKind, names: list[str], method: str) -> None:
    named = Source(kind, "/".join(names), method)
    first = (names or [method])[0]
    if kind != "model" or first not in get_args(SourceKind)[1:]:
        assert Source.parse(str(named)) == named


@given(NAMES, st.sampled_from(["", "points"]))
def test_readers_survive_the_string(name: str, method: str) -> None:
    named = Source("reader", name, method)
    if not name.endswith(" points"):
        assert Source.parse(str(named)) == named
