"""Sightline measures the saliency maps of radiology models: localization, trust, gaze, pre-training, self-explanation.

    import sightline as sl
    data = sl.open_dataset("phantom:200")
    maps = sl.explain(data, model, ["grad-cam"])
    table = sl.score(maps, data, ["iou", "pointing-game"])

Names load on first use, so that importing the package, scoring and reporting need no torch. No module is called like
a name exported here: importing a submodule binds its name on the package and would hide the function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline._util.html import Estimates
    from sightline.core import Annotation, Dataset, Frame, Maps, Radiograph, SaliencyMap
    from sightline.data import open_dataset
    from sightline.errors import DataError, RunError, SightlineError, UnknownNameError
    from sightline.evaluation.scoring import score
    from sightline.maps.folder import open_maps
    from sightline.maps.references import ReaderMaps
    from sightline.methods import saliency
    from sightline.methods.explain import explain
    from sightline.models.model import Model, wrap
    from sightline.models.training_record import TrainingRecord
    from sightline.models.zoo import open_model
    from sightline.protocol import Protocol
    from sightline.registry import load_plugin
    from sightline.runs.run import Run
    from sightline.stats.comparison import compare
    from sightline.stats.estimates import differences, estimates
    from sightline.studies.gaze import gaze
    from sightline.studies.localization import localization
    from sightline.studies.pretraining import pretraining
    from sightline.studies.selfexplain import selfexplain
    from sightline.studies.trust import trust

_HOME = {
    "Annotation": "core",
    "DataError": "errors",
    "Dataset": "core",
    "Estimates": "_util.html",
    "Frame": "core",
    "Maps": "core",
    "Model": "models.model",
    "Protocol": "protocol",
    "Radiograph": "core",
    "ReaderMaps": "maps.references",
    "Run": "runs.run",
    "RunError": "errors",
    "SaliencyMap": "core",
    "SightlineError": "errors",
    "TrainingRecord": "models.training_record",
    "UnknownNameError": "errors",
    "compare": "stats.comparison",
    "differences": "stats.estimates",
    "estimates": "stats.estimates",
    "explain": "methods.explain",
    "gaze": "studies.gaze",
    "load_plugin": "registry",
    "localization": "studies.localization",
    "open_dataset": "data",
    "open_maps": "maps.folder",
    "open_model": "models.zoo",
    "pretraining": "studies.pretraining",
    "saliency": "methods",
    "score": "evaluation.scoring",
    "selfexplain": "studies.selfexplain",
    "trust": "studies.trust",
    "wrap": "models.model",
}

__version__ = "0.1.0"
__all__ = [
    "Annotation",
    "DataError",
    "Dataset",
    "Estimates",
    "Frame",
    "Maps",
    "Model",
    "Protocol",
    "Radiograph",
    "ReaderMaps",
    "Run",
    "RunError",
    "SaliencyMap",
    "SightlineError",
    "TrainingRecord",
    "UnknownNameError",
    "compare",
    "differences",
    "estimates",
    "explain",
    "gaze",
    "load_plugin",
    "localization",
    "open_dataset",
    "open_maps",
    "open_model",
    "pretraining",
    "saliency",
    "score",
    "selfexplain",
    "trust",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sightline.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
