"""Commands that try what others bring: a method, a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.data import dataset
from sightline.errors import DataError
from sightline.findings import spelled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.methods.method_checks import Verdict
    from sightline.models import Model


def check_methods(methods: str, /) -> int:
    """Try the laws that every method must hold to, on a small network. Returns 1 if one does not hold.

    Parameters
    ----------
    methods
        Python file that registers methods of your own, or a method, as NAME?option=value.
    """
    from sightline.methods.method_checks import check_method
    from sightline.methods.registry import methods as registry
    from sightline.registry import load_plugin

    known = set(registry)
    if methods.endswith(".py"):
        load_plugin(methods)
    names = sorted(set(registry) - known) if methods.endswith(".py") else [methods]
    if not names:
        raise DataError(f"{methods} registers no method; decorate a function with @methods(...) of sightline.methods")
    console = _console()
    return int(sum(_told(console, name, check_method(name)) for name in names) > 0)


def check_models(
    model: str, /, *, data: str = "phantom:8", images: int = 4, methods: list[str] | None = None, findings: str = ""
) -> int:
    """Try whether a model holds still, and what each method gives on it. Returns 1 if a law of models does not hold.

    Parameters
    ----------
    model
        Checkpoint (best.pt), or a model as NAME?option=value, for example densenet121?side=320,
        xrv:densenet121-res224-all.
    data
        Data set to try the model on, best your own.
    images
        How many of its radiographs, from the first.
    methods
        Saliency methods, as NAME?option=value; by default all, the slow ones with few steps.
    findings
        Findings of the model, comma-separated, if it does not name its own; CheXpert's by default.
    """
    import torch

    from sightline.methods.model_checks import check_model, services
    from sightline.models.warnings import told
    from sightline.models.zoo import open_model

    opened = dataset(data)
    subject = open_model(model, spelled(findings) if findings else None)
    told([subject])
    chosen = opened.radiographs[: max(images, 2)]
    x = torch.stack([subject.prepare(r.read())[0] for r in chosen]).to(subject.device)  # (N, C, side, side)
    console = _console()
    console.print(_described(subject))
    broken = _told(console, f"{subject.name}, on {len(x)} radiographs of {opened.name}", check_model(subject, x))
    table = Table("method", "", "sum off by", "ms/image", "", title="What each method gives")
    for one in services(subject, x, methods or _brief()):
        sums = "" if np.isnan(one.error) else f"{one.error:.1%}"
        mark = "serves" if one.serves else "REFUSED"
        table.add_row(one.method, mark, sums, f"{1000 * one.seconds:.0f}" if one.serves else "", escape(one.why))
    console.print(table)
    return int(broken > 0)


_BRIEF = {
    "rise": "rise?samples=20", "score-cam": "score-cam?channels=16", "guided-ig": "guided-ig?nodes=10",
    "smoothgrad": "smoothgrad?samples=4", "smoothgrad-squared": "smoothgrad-squared?samples=4",
    "vargrad": "vargrad?samples=4", "smooth-ig": "smooth-ig?samples=2&nodes=4",
    "gradient-shap": "gradient-shap?samples=4", "deepshap": "deepshap?samples=2", "xrai": "xrai?nodes=4",
    "integrated-gradients": "integrated-gradients?nodes=16",
}  # fmt: skip
"""Methods that would take minutes, with few steps: enough to see whether they serve."""


def _brief() -> list[str]:
    from sightline.methods.registry import methods

    return [_BRIEF.get(name, name) for name, entry in methods.items() if entry.facts.needs != "prior"]


def _described(model: Model) -> str:
    parameters = sum(p.numel() for p in model.net.parameters()) / 1e6
    if model.cut is None:
        where = "no features found: wrap it with features='path.of.module' for class activation maps"
    else:
        k, h, w = model.cut.shape
        how = "output of module" if not model.cut.calls else "what enters"
        where = f"features are {how} {model.cut.where}: {k} channels of {h} x {w} cells"
        where += ", behind them an affine head (cam, grad-cam, hires-cam, xgrad-cam are one map)" * model.head_is_affine
    seen = f"{parameters:.1f} million parameters, input {model.channels} x {model.side}² ({model.resize})"
    return f"{model.name}: {seen}; {where}"


def _told(console: Console, title: str, verdicts: Iterable[Verdict]) -> int:
    """Print verdicts as a table; how many laws are broken."""
    table, broken = Table("law", "", "what was seen", title=title), 0
    for verdict in verdicts:
        table.add_row(verdict.law, "holds" if verdict.holds else "BROKEN", escape(verdict.detail))
        broken += not verdict.holds
    console.print(table)
    return broken


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)
