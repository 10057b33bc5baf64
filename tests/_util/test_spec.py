from __future__ import annotations

import pytest

from sightline._util.spec import parse_options, parse_spec
from sightline.errors import SightlineError


def function(argument: str, *, side: int = 3, share: float = 0.5, loud: bool = False, name: str = "") -> None: ...


def test_parts_of_a_spec() -> None:
    assert parse_spec("a") == ("a", "", {})
    assert parse_spec("a:/x/y.pt?side=3&name=") == ("a", "/x/y.pt", {"side": "3", "name": ""})
    with pytest.raises(SightlineError, match=r"written \?key=value"):
        parse_spec("a?side")


def test_options_arrive_as_the_type_of_their_default() -> None:
    given = {"side": "4", "share": "1", "loud": "True", "name": "x"}
    assert parse_options("f", function, given) == {"side": 4, "share": 1.0, "loud": True, "name": "x"}
    for key, text, message in (
        ("side", "4.5", "takes int"),
        ("loud", "maybe", "true or false"),
        ("argument", "x", "no option 'argument'; allowed: side, share, loud, name"),
    ):
        with pytest.raises(SightlineError, match=message):
            parse_options("f", function, {key: text})
