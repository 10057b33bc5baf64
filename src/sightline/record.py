"""What a run records about itself, so that its report can say what was done and the same command can do it again."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sightline.core import Dataset, Maps, RunError
from sightline.data import dataset, datasets
from sightline.mapfiles import maps_in
from sightline.protocol import Protocol
from sightline.spec import parse_spec
from sightline.store import Run

_PACKAGES = (
    "sightline",
    "numpy",
    "scipy",
    "pandas",
    "opencv-python-headless",
    "pillow",
    "zarr",
    "torch",
    "torchvision",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # torch is optional
    return found


def describe_data(data: Dataset) -> dict[str, Any]:
    """Facts of a data set for run.json, with a fingerprint of its ids, patients and labels."""
    digest, patients = hashlib.sha256(), set()
    for radiograph in data.radiographs:
        patients.add(radiograph.patient)
        digest.update(f"{radiograph.id}\t{radiograph.patient}\t{sorted(radiograph.labels.items())}\n".encode())
    facts = datasets[parse_spec(data.spec)[0]].facts
    return {
        "name": data.name,
        "title": facts.title,
        "spec": data.spec,
        "radiographs": len(data.radiographs),
        "patients": len(patients),
        "findings": data.findings,
        "readers": data.readers,
        "license": facts.license,
        "source": facts.source,
        "simulated": bool(data.facts.get("simulated", data.name == "phantom")),
        "warnings": list(data.facts.get("warnings", ())),
        "fingerprint": digest.hexdigest(),
    }


def describe(run: Run, data: Dataset, chosen: Sequence[Protocol], **facts: Any) -> Run:
    """Add data, protocols and versions to run.json.

    Errors: `RunError` if the folder's parts were made from other data than this spec gives now.
    """
    described = describe_data(data)
    before = run.info.get("dataset", {}).get("fingerprint")
    if before not in (None, described["fingerprint"]):
        raise RunError(
            f"{data.spec!r} is not the data that {run.path} was begun with (images, patients or labels changed); "
            "give --out another folder"
        )
    protocols = {protocol.name: asdict(protocol) for protocol in chosen}
    return run.describe(dataset=described, protocols=protocols, versions=versions(), **facts)


def reopened(run: Run) -> tuple[Dataset, Maps]:
    """The data set that a run was made from, and its maps: stored in the run, or in the folder that was scored.

    Errors: `DataError` where they are gone; `RunError` for a run that names no data set.
    """
    spec = run.info.get("dataset", {}).get("spec")
    if not spec:
        raise RunError(f"{run.path} does not say what data it was made from; name a run with a data set")
    data = dataset(spec)
    elsewhere = run.info.get("options", {}).get("maps")
    return data, maps_in(elsewhere, data) if elsewhere else run


def command(study: str, options: Mapping[str, Any], out: object) -> str:
    """The command line that makes a run again.

    >>> command("localization", {"data": "phantom:9", "model": [], "seed": 0, "untrained": False}, "runs/a")
    'sightline localization --data phantom:9 --seed 0 --no-untrained --out runs/a'
    """
    words = ["sightline", *study.split()]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list | tuple):
            words += [flag, *map(str, value)] if value else []
        elif value not in ("", None):
            words += [flag, str(value)]
    return shlex.join([*words, "--out", str(out)])
