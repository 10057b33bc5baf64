"""Sightline: does a radiology model look where the evidence is, and can you trust the map that says so?

    import sightline as sl
    data = sl.dataset("phantom:200")
    maps = sl.explain(data, model, ["grad-cam"])
    table = sl.score(maps, data, ["iou", "hit"])

Names load on first use, so that importing the package, scoring and reporting need no torch. No module is called like
a name exported here: importing a submodule binds its name on the package and would hide the function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.benchmark import Readers
    from sightline.core import (
        DataError,
        Dataset,
        Frame,
        Maps,
        Mark,
        Radiograph,
        RunError,
        SaliencyMap,
        SightlineError,
        UnknownNameError,
    )
    from sightline.data import dataset
    from sightline.explaining import explain
    from sightline.mapfiles import maps_in
    from sightline.methods import saliency
    from sightline.models.wrap import Model, wrap
    from sightline.models.zoo import open_model
    from sightline.notebook import Estimates
    from sightline.protocol import Protocol
    from sightline.registry import load_plugin
    from sightline.scoring import score
    from sightline.stats.tables import differences, estimates
    from sightline.store import Run
    from sightline.studies.localization import localization

_HOME = {
    "DataError": "core",
    "Dataset": "core",
    "Estimates": "notebook",
    "Frame": "core",
    "Maps": "core",
    "Mark": "core",
    "Model": "models.wrap",
    "Protocol": "protocol",
    "Radiograph": "core",
    "Readers": "benchmark",
    "Run": "store",
    "RunError": "core",
    "SaliencyMap": "core",
    "SightlineError": "core",
    "UnknownNameError": "core",
    "dataset": "data",
    "differences": "stats.tables",
    "estimates": "stats.tables",
    "explain": "explaining",
    "load_plugin": "registry",
    "localization": "studies.localization",
    "maps_in": "mapfiles",
    "open_model": "models.zoo",
    "saliency": "methods",
    "score": "scoring",
    "wrap": "models.wrap",
}

__version__ = "0.1.0"
__all__ = [
    "DataError",
    "Dataset",
    "Estimates",
    "Frame",
    "Maps",
    "Mark",
    "Model",
    "Protocol",
    "Radiograph",
    "Readers",
    "Run",
    "RunError",
    "SaliencyMap",
    "SightlineError",
    "UnknownNameError",
    "dataset",
    "differences",
    "estimates",
    "explain",
    "load_plugin",
    "localization",
    "maps_in",
    "open_model",
    "saliency",
    "score",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sightline.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
