"""The commands of a study, as one types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline._cli.app import main


def test_create_invite_revoke_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "study")
    assert main(["readers", "create", "phantom:6?size=64", "--tasks", "contour", "point", "--out", place]) == 0
    printed = capsys.readouterr().out
    assert "× contour" in printed and f"sightline readers invite {place}" in printed
    assert main(["readers", "invite", place, "Dr [bold]A"]) == 0
    link = capsys.readouterr().out.strip()
    assert link.startswith("http://127.0.0.1:8460/#token=1-")
    assert main(["readers", "invite", place, "Dr [bold]A"]) == 1
    assert "--renew" in capsys.readouterr().err
    assert main(["readers", "invite", place, "Dr [bold]A", "--renew", "--base-url", "https://study.example/"]) == 0
    assert capsys.readouterr().out.startswith("https://study.example/#token=1-")
    assert main(["readers", "revoke", place, "Dr [bold]A"]) == 0
    assert main(["readers", "status", place]) == 0
    printed = capsys.readouterr().out
    assert "Dr [bold]A (revoked)" in printed and "0 of" in printed


def test_an_unknown_task_is_answered_by_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["readers", "create", "phantom:6?size=64", "--tasks", "paint"])
    printed = capsys.readouterr().err
    assert '"paint"' in printed and "contour" in printed and "point" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "phantom:6?size=64", "--tasks", "rate"], "is no run folder"),
        (["create", "phantom:6?size=64", "--repeat-share", "2"], "repeat_share 2"),
        (["create", "phantom:6?size=64", "--findings", "Gout"], "'Gout' is not among"),
        (["invite", "nowhere", "Dr A"], "nowhere holds no study"),
        (["report", "nowhere"], "nowhere holds no study"),
        (["serve", "nowhere"], "nowhere holds no study"),
    ],
)
def test_errors_say_what_to_do(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["readers", *words]) == 1
    assert message in capsys.readouterr().err
