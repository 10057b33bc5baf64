"""The commands that are not studies. Each is a function whose signature is its options."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from sightline._cli.score import _FIRST
from sightline.core import Dataset
from sightline.data.validate import Problem, summary
from sightline.registry import Registry
from sightline.report.phrasing import counted


def _torch_registry(name: str) -> Registry[Any] | None:
    if importlib.util.find_spec("torch") is None:
        return None
    home = {"models": "sightline.models.zoo", "methods": "sightline.methods"}[name]
    found: Registry[Any] = getattr(importlib.import_module(home), name)
    return found


def _grouped(problems: Sequence[Problem]) -> Iterator[str]:
    """Every kind of problem, errors first: how often, the first few with where they are, and what to do."""
    for (severity, kind), count in summary(problems).items():
        yield f"{severity}: {kind}" + (f", {count:,} times" if count > 1 else "")
        some = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        for p in some[:_FIRST]:
            where = ", ".join(filter(None, (p.radiograph, p.finding)))
            yield f"    {where}: {p.what}" if where else f"    {p.what}"
        if count > _FIRST:
            yield f"    and {count - _FIRST:,} more"
        yield f"    what to do: {' or: '.join(dict.fromkeys(p.remedy for p in some))}"


def _summary(data: Dataset, problems: Sequence[Problem]) -> str:
    patients = len({r.patient for r in data.radiographs})
    severities = [problem.severity for problem in problems]
    counts = [counted(n, word) for word in ("error", "warning", "note") if (n := severities.count(word))]
    return (
        f"{counted(len(data.radiographs), 'radiograph')} of {counted(patients, 'patient')}, "
        f"{counted(len(data.findings), 'finding')}, readers: {', '.join(data.readers) or 'none'}; "
        f"{', '.join(counts) or 'no problem'}"
    )
