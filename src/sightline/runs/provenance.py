"""What a run records about itself, so that its report can say what was done and the same command can do it again."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sightline._util.spec import parse_spec
from sightline.core import Dataset, Maps
from sightline.data import open_dataset
from sightline.data.registry import datasets, is_synthetic
from sightline.errors import DataError, RunError
from sightline.maps.folder import MapFolder, open_maps
from sightline.protocol import Protocol
from sightline.runs.fingerprints import (
    FileFingerprint,
    describe_changes,
    fingerprint_files,
    list_input_files,
    load_fingerprints,
    save_fingerprints,
)
from sightline.runs.run import Run

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


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # torch is optional
    return found


def describe_dataset(data: Dataset) -> dict[str, Any]:
    """Facts of a data set for run.json, with a fingerprint of its ids, patients and labels."""
    digest, patients = hashlib.sha256(), set()
    for radiograph in data.radiographs:
        patients.add(radiograph.patient)
        digest.update(f"{radiograph.id}\t{radiograph.patient}\t{sorted(radiograph.labels.items())}\n".encode())
    facts = datasets[parse_spec(data.spec)[0]].info
    return {
        "name": data.name,
        "title": facts.title,
        "spec": data.spec,
        "derived": data.derived,
        "radiographs": len(data.radiographs),
        "patients": len(patients),
        "findings": data.findings,
        "readers": data.readers,
        "license": facts.license,
        "source": facts.source,
        "simulated": bool(data.metadata.get("simulated", is_synthetic(data.spec))),
        "warnings": list(data.metadata.get("warnings", ())),
        "fingerprint": digest.hexdigest(),
    }


def record_inputs(
    run: Run, data: Dataset, protocols: Sequence[Protocol], *, maps: MapFolder | None = None, **fields: Any
) -> Run:
    """Add data, protocols and versions to run.json, and keep what the files of the data and of `maps` are.

    Errors: `RunError` if the folder's parts were made from other data, files, thresholds or cutoffs than there are now.
    """
    described = describe_dataset(data)
    before = run.info.get("dataset", {}).get("fingerprint")
    if before not in (None, described["fingerprint"]):
        raise RunError(
            f"{data.spec!r} is not the data that {run.path} was begun with (images, patients or labels changed); "
            "give --out another folder"
        )
    check_inputs_unchanged(run, data, maps)
    records = json.loads(json.dumps({protocol.name: asdict(protocol) for protocol in protocols}))
    for name, known in run.info.get("protocols", {}).items():
        other = [k for k, value in records.get(name, {}).items() if k in known and known[k] != value]
        if other:
            raise RunError(f"{run.path} was begun with another {', '.join(other)} ({name}); give --out a new folder")
    return run.update_info(dataset=described, protocols=records, versions=package_versions(), **fields)


def check_inputs_unchanged(run: Run, data: Dataset, maps: MapFolder | None = None) -> None:
    """Keep what the files of data and maps are, where the run does not know yet.

    Errors: `RunError` if it was begun with others.
    """
    before, now = _compare_fingerprints(run, data, maps)
    told = describe_changes(before, now) if before is not None else ""
    if told:
        raise RunError(f"{run.path} was begun with other files ({told}); give --out a new folder")
    if before != now:
        save_fingerprints(run, now)


def changed_inputs(run: Run, data: Dataset, maps: MapFolder | None = None) -> str:
    """What changed among the files of a run since it began; '' if nothing did, or the run kept no record of them."""
    before, now = _compare_fingerprints(run, data, maps)
    return describe_changes(before, now) if before is not None else ""


def _compare_fingerprints(
    run: Run, data: Dataset, maps: MapFolder | None
) -> tuple[dict[Any, FileFingerprint] | None, dict[Any, FileFingerprint]]:
    files = {"data": list_input_files(data)} | ({"maps": maps.files()} if maps is not None else {})
    before = load_fingerprints(run)
    now = fingerprint_files(files, before)
    known = None if before is None else {key: seen for key, seen in before.items() if key[0] in files}
    return known, now


def check_model_weights(run: Run, models: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Facts of models for run.json, each with a `name` and the hash of its `weights`.

    Errors: `RunError` if a model of the run had other weights when its maps were made.
    """
    known: dict[str, set[str]] = {}
    for model in run.info.get("models", ()):
        known.setdefault(model["name"], set()).add(model.get("weights", ""))
    for model in models:
        before = known.get(model["name"], {""})
        if "" not in before and model["weights"] not in before:
            raise RunError(
                f"{run.path} was begun with other weights of {model['name']!r} (sha256 {min(before)[:12]}, now "
                f"{model['weights'][:12]}); give --out a new folder"
            )
    return models


def refuse_derived(run: Run) -> None:
    """Raise `DataError` if the data set of a run was changed after it was opened, so that its spec opens another."""
    described = run.info.get("dataset", {})
    if derived := described.get("derived"):
        raise DataError(f"{described['spec']} was changed after it was opened ({'; '.join(derived)})")


def open_inputs(run: Run) -> tuple[Dataset, Maps]:
    """The data set that a run was made from, and its maps: stored in the run, or in the folder that was scored.

    Errors: `DataError` where they are gone; `RunError` for a run that names no data set, or whose files changed since.
    """
    spec = run.info.get("dataset", {}).get("spec")
    if not spec:
        raise RunError(f"{run.path} does not say what data it was made from; name a run with a data set")
    refuse_derived(run)
    data = open_dataset(spec)
    elsewhere = run.info.get("options", {}).get("maps")
    maps = open_maps(elsewhere, data) if elsewhere else None
    changed = changed_inputs(run, data, maps)
    if changed:
        raise RunError(f"files changed since {run.path} was made ({changed}); its numbers are of the files before")
    return data, run if maps is None else maps


def command_line(study: str, options: Mapping[str, Any], out: object) -> str:
    """The command line that makes a run again.

    >>> command_line("localization", {"data": "phantom:9", "model": [], "seed": 0, "untrained": False}, "runs/a")
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
