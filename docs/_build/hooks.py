"""What building the documentation does beside what MkDocs does: decisions are listed where they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Put the list of decisions, title by title, behind the text of their own page."""
    if page.file.src_uri != "decisions/index.md":
        return markdown
    return f"{markdown}\n{decisions(Path(config.docs_dir) / 'decisions')}"


def decisions(folder: Path) -> str:
    """'1. [Title](0001-name.md)', a line each."""
    found = []
    for file in sorted(folder.glob("0*.md")):
        number, _, title = file.read_text("utf-8").partition("\n")[0].removeprefix("# ").partition(". ")
        found.append(f"{number}. [{title}]({file.name})")
    return "\n".join(found)
