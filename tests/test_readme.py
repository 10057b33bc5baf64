"""The README's Python example runs as printed, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    exec(compile(code[1], "README.md", "exec"), {})
    assert "small/grad-cam" in capsys.readouterr().out


def test_its_commands_exist() -> None:
    words = set(re.findall(r"sightline ([\w-]+)", README)) - {"as"}
    assert words
    for word in words:
        assert word in app, word


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link
