"""The blocks of the documentation: what is written to a file, what runs, and what the command line only reads.

In docs/, a block of `python` runs, in a Python that is new after every block of `sh`; so does every `sightline` command
of those, in a folder of the page's own. A title changes that: if it names a file (`title="my_model.py"`), the block is
written there; else it says why the commands do not run here (`title="on your data"`), and they are parsed. `text` is
what the page's commands printed, up to numbers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import parquet

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\w*)(?: +title=\"([^\"]*)\")?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"[\w./-]+\.\w{2,4}")
_PLACEHOLDER = re.compile(r"\.\.\.|…|\bNAME=|<")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    title: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The file that it is the content of, or ''."""
        return self.title if _FILE.fullmatch(self.title) else ""

    @property
    def runs(self) -> bool:
        return self.language in ("python", "sh") and not self.title

    @property
    def commands(self) -> list[list[str]]:
        """The words of every command: continued lines are one, comments are none."""
        if self.language not in ("sh", "") or self.file:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2] or "", m[3], text[: m.start()].count("\n") + 2) for m in _FENCE.finditer(text)]


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def inline_commands(text: str) -> Iterator[list[str]]:
    """Commands within sentences, `sightline trust --images 40`, but for those with something left out."""
    for span in re.findall(r"`(sightline [^`]+)`", _FENCE.sub("", text)):
        if not _PLACEHOLDER.search(span):
            yield shlex.split(span.replace("\n", " "))


def documented_tables() -> dict[str, list[str]]:
    """Table -> its columns, as docs/formats.md lists them."""
    found = {}
    for row in re.findall(r"^\| (`[^|]*) \|[^|]*\| (`[^|]*) \|$", (DOCS / "formats.md").read_text(), re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row[0]):
            found[name] = re.findall(r"`(\w+)`", row[1])
    return found


def undocumented(run: Path) -> list[str]:
    """What docs/formats.md does not say of the tables of a run, or says otherwise."""
    known = documented_tables()
    there = {file.stem: parquet.read_schema(file).names for file in sorted((run / "tables").glob("*.parquet"))}
    return [
        f"{name}: {columns}, not {known.get(name)}" for name, columns in there.items() if known.get(name) != columns
    ]
