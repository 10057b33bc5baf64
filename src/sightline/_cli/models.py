"""Commands that check a method or a model of a user."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.findings import parse_findings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sightline.methods.method_checks import LawResult
    from sightline.models import Model


def check_methods(method: str, /) -> int:
    """Check the laws of saliency methods on a small network; exit with 1 if one is broken.

    Parameters
    ----------
    method
        Python file that registers methods of your own, or a method, as NAME?option=value.
    """
    from sightline.methods.method_checks import check_method
    from sightline.methods.registry import methods as registry
    from sightline.registry import load_plugin

    known = set(registry)
    if method.endswith(".py"):
        load_plugin(method)
    names = sorted(set(registry) - known) if method.endswith(".py") else [method]
    if not names:
        raise DataError(f"{method} registers no method; decorate a function with @methods(...) of sightline.methods")
    console = _make_console()
    return int(sum(_print_verdicts(console, name, check_method(name)) for name in names) > 0)


def check_models(
    model: str,
    /,
    *,
    data: str = "phantom:8",
    max_radiographs: int = 4,
    methods: list[str] | None = None,
    findings: str = "",
) -> int:
    """Check the properties of a model, and run every method on it; exit with 1 if a property is violated.

    Parameters
    ----------
    model
        Checkpoint (best.pt), or a model as NAME?option=value, for example densenet121?side=320,
        xrv:densenet121-res224-all.
    data
        Data set, as NAME:PATH?option=value.
    max_radiographs
        Number of its radiographs, from the first.
    methods
        Saliency methods, as NAME?option=value; by default all, slow ones with few steps.
    findings
        Findings of the model, comma-separated, if it does not state them; those of CheXpert by default.
    """
    import torch

    from sightline.methods.model_checks import check_model, probe_methods
    from sightline.models.warnings import warn_about_models
    from sightline.models.zoo import open_model

    opened = open_dataset(data)
    subject = open_model(model, parse_findings(findings) if findings else None)
    warn_about_models([subject])
    chosen = opened.radiographs[: max(max_radiographs, 2)]
    x = torch.stack([subject.prepare(r.read())[0] for r in chosen]).to(subject.device)  # (N, C, side, side)
    console = _make_console()
    console.print(_describe_model(subject))
    broken = _print_verdicts(
        console, f"{subject.name}, on {len(x)} radiographs of {opened.name}", check_model(subject, x)
    )
    table = Table("method", "", "completeness error", "ms/image", "", title="Methods on this model")
    for probe in probe_methods(subject, x, methods or _quick_methods()):
        error = "" if np.isnan(probe.completeness_error) else f"{probe.completeness_error:.1%}"
        milliseconds = f"{1000 * probe.seconds_per_image:.0f}" if probe.is_usable else ""
        status = "usable" if probe.is_usable else "REFUSED"
        table.add_row(probe.method, status, error, milliseconds, escape(probe.reason))
    console.print(table)
    return int(broken > 0)


_QUICK_OPTIONS = {
    "rise": "rise?samples=20",
    "score-cam": "score-cam?channels=16",
    "guided-ig": "guided-ig?nodes=10",
    "smoothgrad": "smoothgrad?samples=4",
    "smoothgrad-squared": "smoothgrad-squared?samples=4",
    "vargrad": "vargrad?samples=4",
    "smooth-ig": "smooth-ig?samples=2&nodes=4",
    "gradient-shap": "gradient-shap?samples=4",
    "deepshap": "deepshap?samples=2",
    "xrai": "xrai?nodes=4",
    "integrated-gradients": "integrated-gradients?nodes=16",
}
"""Methods that would take minutes, with few steps: enough to see whether they are usable."""


def _quick_methods() -> list[str]:
    from sightline.methods.registry import methods

    return [_QUICK_OPTIONS.get(name, name) for name, entry in methods.items() if entry.info.needs != "prior"]


def _describe_model(model: Model) -> str:
    parameters = sum(p.numel() for p in model.net.parameters()) / 1e6
    if model.feature_layer is None:
        features = "no features found: wrap it with feature_module='path.of.module' for class activation maps"
    else:
        k, h, w = model.feature_layer.shape
        source = "output of module" if not model.feature_layer.call_indices else "input of"
        features = f"features are the {source} {model.feature_layer.name}: {k} channels of {h} x {w} cells"
        if model.has_affine_head:
            features += ", followed by an affine head (cam, grad-cam, hires-cam, xgrad-cam are one map)"
    network = f"{parameters:.1f} million parameters, input {model.channels} x {model.side}² ({model.resize})"
    return f"{model.name}: {network}; {features}"


def _print_verdicts(console: Console, title: str, verdicts: Iterable[LawResult]) -> int:
    """Print verdicts as a table and return the number of broken laws."""
    table, broken = Table("law", "", "observation", title=title), 0
    for verdict in verdicts:
        table.add_row(verdict.law, "holds" if verdict.is_met else "BROKEN", escape(verdict.detail))
        broken += not verdict.is_met
    console.print(table)
    return broken


def _make_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)
