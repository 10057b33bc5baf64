"""The command `list`: names of data sets, models, methods, metrics and studies."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.data.registry import datasets
from sightline.metrics.registry import metrics as metric_registry
from sightline.registry import Registry
from sightline.studies.registry import studies

Kind = Literal["datasets", "models", "methods", "metrics", "studies"]


def list_names(kind: Kind | None = None) -> None:
    """List the data sets, models, methods, metrics and studies, with one line on each.

    Parameters
    ----------
    kind
        Kind of names to list; all by default.
    """
    console = Console()
    for name in (kind,) if kind else get_args(Kind):
        lines = _describe_entries(name)
        if lines is None:
            console.print(f"[bold]{name}[/]: need torch; pip install 'sightline\\[torch]'")
            continue
        table = Table("name", "description", title=name, title_justify="left", show_edge=False, box=None)
        for entry, line in lines.items():
            table.add_row(entry, escape(line))
        console.print(table)
        console.print()


def _describe_entries(kind: str) -> Mapping[str, str] | None:
    """Return one line on each name; None where torch is needed and not installed."""
    if kind == "studies":
        studies.load_entry_points()
        return {entry.name: entry.info.question for entry in studies.values()}
    registries: dict[str, Registry[Any]] = {"datasets": datasets, "metrics": metric_registry}
    registry = registries.get(kind) or _load_torch_registry(kind)
    if registry is None:
        return None
    return {entry.name: getattr(entry.info, "title", "") or entry.summary for entry in registry.values()}


def _load_torch_registry(name: str) -> Registry[Any] | None:
    if importlib.util.find_spec("torch") is None:
        return None
    module = {"models": "sightline.models.zoo", "methods": "sightline.methods"}[name]
    registry: Registry[Any] = getattr(importlib.import_module(module), name)
    return registry
