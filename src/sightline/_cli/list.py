"""The command `list`: everything that can be named."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.data.registry import datasets
from sightline.errors import UnknownNameError
from sightline.metrics.registry import metrics as metric_registry
from sightline.registry import Registry
from sightline.studies.registry import studies

LISTABLE_KINDS = ("datasets", "models", "methods", "metrics", "studies")


def list_names(kind: str = "") -> None:
    """Everything that can be named, with one line on each.

    Parameters
    ----------
    kind
        What to list: datasets, models, methods, metrics or studies; all by default.

    Errors: `UnknownNameError` for any other kind.
    """
    if kind not in ("", *LISTABLE_KINDS):
        raise UnknownNameError(f"nothing of the kind {kind!r} can be listed; allowed: {', '.join(LISTABLE_KINDS)}")
    console = Console()
    for name in (kind,) if kind else LISTABLE_KINDS:
        lines = _describe_entries(name)
        if lines is None:
            console.print(f"[bold]{name}[/]: need torch; pip install 'sightline\\[torch]'")
            continue
        table = Table("name", "what", title=name, title_justify="left", show_edge=False, box=None)
        for entry, line in lines.items():
            table.add_row(entry, escape(line))
        console.print(table)
        console.print()


def _describe_entries(kind: str) -> Mapping[str, str] | None:
    """Name -> one line on it; None where torch, which is not installed, is needed to know."""
    if kind == "studies":
        studies.load_entry_points()
        return {entry.name: entry.info.question for entry in studies.values()}
    homes: dict[str, Registry[Any]] = {"datasets": datasets, "metrics": metric_registry}
    registry = homes.get(kind) or _load_torch_registry(kind)
    if registry is None:
        return None
    return {entry.name: getattr(entry.info, "title", "") or entry.summary for entry in registry.values()}


def _load_torch_registry(name: str) -> Registry[Any] | None:
    if importlib.util.find_spec("torch") is None:
        return None
    home = {"models": "sightline.models.zoo", "methods": "sightline.methods"}[name]
    found: Registry[Any] = getattr(importlib.import_module(home), name)
    return found
