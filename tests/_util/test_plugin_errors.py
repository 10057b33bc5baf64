"""What goes wrong in code that users bring is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline._cli.app import main
from sightline._util.plugin_errors import wrap_plugin_errors
from sightline.errors import DataError, SightlineError
from sightline.registry import load_plugin


def test_the_last_line_of_the_users_own_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import json\n\ndef read():\n    return json.loads('{')\n")
    space: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    with pytest.raises(SightlineError, match=rf"^mine:read raised JSONDecodeError: .*\({file}, line 4\)$") as caught:  # noqa: SIM117
        with wrap_plugin_errors("mine:read"):
            space["read"]()  # type: ignore[operator]
    assert caught.value.__cause__ is not None


def test_a_line_of_this_package_is_not_one_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from sightline.imaging.geometry import resample_area\n\ndef read():\n    resample_area(None, 3)\n")
    namespace: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    with pytest.raises(SightlineError, match=rf"\({file}, line 4\)$"), wrap_plugin_errors("mine:read"):
        namespace["read"]()  # type: ignore[operator]


def test_long_messages_are_cut_and_announcements_are_followed() -> None:
    with pytest.raises(SightlineError) as caught, wrap_plugin_errors("it"):
        raise RuntimeError("Error(s) in loading:\n\tUnexpected key: " + ", ".join(map(str, range(1000))) + "\nmore")
    assert "Error(s) in loading: Unexpected key: 0, 1" in str(caught.value)
    assert len(str(caught.value)) < 400 and "more" not in str(caught.value)


def test_errors_raised_on_purpose_and_interrupts_pass() -> None:
    with pytest.raises(DataError, match="as it is"), wrap_plugin_errors("it"):
        raise DataError("as it is")
    with pytest.raises(KeyboardInterrupt), wrap_plugin_errors("it"):
        raise KeyboardInterrupt
    with (
        pytest.raises(ValueError, match="spared"),
        wrap_plugin_errors("it", passes_through=lambda error: "spared" in str(error)),
    ):
        raise ValueError("spared")


@pytest.mark.parametrize(
    ("code", "said"), [("x = 1\ndef (", "SyntaxError: .*line 2"), ("\n\n1 / 0\n", "ZeroDivisionError: .*line 3")]
)
def test_a_broken_plugin_is_told_with_its_line_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, said: str
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(code)
    assert main(["--plugin", str(file), "list"]) == 1
    told = capsys.readouterr().err
    assert str(file) in told and len(told.splitlines()) == 1
    for _ in range(2):
        with pytest.raises(SightlineError, match=said):
            load_plugin(file)
