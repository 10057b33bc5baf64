"""The command `list`: everything that can be named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline._cli.commands import _torch_registry
from sightline.data.registry import datasets
from sightline.errors import UnknownNameError
from sightline.metrics.registry import metrics as metric_registry
from sightline.registry import Registry
from sightline.studies import STUDIES

KINDS = ("datasets", "models", "methods", "metrics", "studies")


def list_names(kind: str = "") -> None:
    """Everything that can be named, with one line on each.

    Parameters
    ----------
    kind
        What to list: datasets, models, methods, metrics or studies; all by default.

    Errors: `UnknownNameError` for any other kind.
    """
    if kind not in ("", *KINDS):
        raise UnknownNameError(f"nothing of the kind {kind!r} can be listed; allowed: {', '.join(KINDS)}")
    console = Console()
    for name in (kind,) if kind else KINDS:
        lines = _lines(name)
        if lines is None:
            console.print(f"[bold]{name}[/]: need torch; pip install 'sightline\\[torch]'")
            continue
        table = Table("name", "what", title=name, title_justify="left", show_edge=False, box=None)
        for entry, line in lines.items():
            table.add_row(entry, escape(line))
        console.print(table)
        console.print()


def _lines(kind: str) -> Mapping[str, str] | None:
    """Name -> one line on it; None where torch, which is not installed, is needed to know."""
    if kind == "studies":
        return STUDIES
    homes: dict[str, Registry[Any]] = {"datasets": datasets, "metrics": metric_registry}
    registry = homes.get(kind) or _torch_registry(kind)
    if registry is None:
        return None
    return {entry.name: getattr(entry.facts, "title", "") or entry.summary for entry in registry.values()}
