"""Ensembles: per finding a list of checkpoints, whose probabilities and maps are averaged one member at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from sightline._util.spec import parse_spec
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.models.checkpoint import FORMAT, load_safely
from sightline.models.model import Model, TrainingRecord
from sightline.models.zoo import open_model

Scale = Literal["raw", "equal"]
"""How members' maps are averaged: as they are, so that confident members weigh more (published), or each divided by
its largest magnitude first."""


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint of an ensemble, not opened."""

    spec: str
    """What `open_model` opens."""
    findings: tuple[str, ...]
    """Those it speaks for; it may know more."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several models that answer together: the mean (or maximum) of probabilities and the mean of maps.

    Members are opened one after the other and let go, so that memory does not grow with their number.
    """

    name: str
    findings: tuple[str, ...]
    members: tuple[Member, ...]
    aggregation: Literal["mean", "max"]
    """Of probabilities."""
    scale: Scale
    output_findings: tuple[str, ...]
    """Findings of every member's logits, in their order; empty where checkpoints know it themselves."""
    first_member: Model
    """The first member, opened: all members see images as it does."""

    @property
    def device(self) -> torch.device:
        """Where the first member is, and the others will be."""
        return self.first_member.device

    @property
    def training_record(self) -> TrainingRecord | None:
        """Of the first member; the others were trained on the same data by other seeds or policies."""
        return self.first_member.training_record

    def open_members(self) -> Iterator[tuple[Model, tuple[str, ...]]]:
        """Each member, on the ensemble's device, and the findings it speaks for.

        Errors: `DataError` for a checkpoint that does not open, or one that sees images otherwise than the first.
        """
        for member in self.members:
            model = open_model(member.spec, self.output_findings or None)
            if (model.side, model.resize) != (self.first_member.side, self.first_member.resize):
                raise DataError(
                    f"{member.spec} sees {model.side} pixels ({model.resize}), the first member "
                    f"{self.first_member.side} "
                    f"({self.first_member.resize}); maps of one ensemble must lie on the same frame"
                )
            model.net.to(self.device)
            yield model, member.findings


def open_ensemble(spec: str) -> Ensemble:
    """Open a list of checkpoints per finding, as `sightline train chexpert` and CheXpert's own code write it.

    spec: 'final.json?arch=densenet121&side=320&scale=equal'. The file: {"aggregation_method": "mean" or "max",
    "task2models": {finding: [{"ckpt_path": ..., "is_3class": true or false}, ...]}}; paths are relative to it, and a
    path that is not there is looked for by its last parts below the file's folder. arch, side: of checkpoints that do
    not say it themselves (those have the fourteen findings of CheXpert, in its order). scale: see `Scale`.
    Errors: `DataError` naming what the file lacks, `SightlineError` for an option.
    """
    path, options = _parse_options(spec)
    content = _read_member_list(path)
    speaks: dict[str, list[str]] = {}
    for task, entries in content["task2models"].items():
        for entry in entries:
            speaks.setdefault(_member_spec(path, entry, options), []).append(canonical_name(task))
    if options["arch"] == "":
        for checkpoint in speaks:  # each once, and before any work
            _require_sightline_format(Path(checkpoint))
    members = tuple(Member(member, tuple(dict.fromkeys(findings))) for member, findings in speaks.items())
    if not members:
        raise DataError(f"{path} names no checkpoint; each finding needs a list of them")
    outputs = () if options["arch"] == "" else CHEXPERT_FINDINGS
    first = open_model(members[0].spec, outputs or None)
    findings = tuple(f for f in first.findings if any(f in m.findings for m in members))
    unknown = sorted({f for m in members for f in m.findings} - set(first.findings))
    if unknown:
        raise DataError(f"{path} names {', '.join(unknown)}; its checkpoints know {', '.join(first.findings)}")
    name = options["name"] or (path.parent.name if path.stem == "final" else path.stem) or "ensemble"
    return Ensemble(name, findings, members, content["aggregation_method"], options["scale"], outputs, first)


def open_model_or_ensemble(spec: str, *, seed: int = 0) -> Model | Ensemble:
    """A model, or an ensemble where the spec names a .json file."""
    head = spec.partition("?")[0]
    return open_ensemble(spec) if head.endswith(".json") else open_model(spec, seed=seed)


def _parse_options(spec: str) -> tuple[Path, dict[str, Any]]:
    head, _, query = spec.partition("?")
    _, _, given = parse_spec(f"ensemble?{query}" if query else "ensemble")
    options: dict[str, Any] = {"arch": "", "side": "", "scale": "raw", "name": "", **given}
    unknown = set(options) - {"arch", "side", "scale", "name"}
    if unknown:
        raise SightlineError(f"{spec!r} has no option {', '.join(sorted(unknown))}; allowed: arch, side, scale, name")
    if options["scale"] not in ("raw", "equal"):
        raise UnknownNameError(f"{spec!r}: scale={options['scale']!r}; allowed: raw, equal")
    return Path(head), options


def _read_member_list(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is not a file; give the path of an ensemble's .json") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    tasks = content.get("task2models") if isinstance(content, dict) else None
    if not isinstance(tasks, dict) or not all(isinstance(entries, list) for entries in tasks.values()):
        raise DataError(f'{path} must hold {{"task2models": {{finding: [{{"ckpt_path": ...}}, ...]}}}}')
    method = content.setdefault("aggregation_method", "mean")
    if method not in ("mean", "max"):
        raise DataError(f"{path}: aggregation_method is {method!r}; allowed: 'mean', 'max'")
    return dict(content)


def _member_spec(path: Path, entry: Any, options: dict[str, Any]) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("ckpt_path"), str):
        raise DataError(f'{path}: an entry is {entry!r}; it must be {{"ckpt_path": ..., "is_3class": ...}}')
    checkpoint = _locate_checkpoint(path, entry["ckpt_path"])
    if options["arch"] == "":
        return str(checkpoint)
    side = f"side={options['side']}" if options["side"] else ""
    if entry.get("is_3class"):
        return f"three-class:{options['arch']}?" + "&".join(filter(None, [f"checkpoint={checkpoint}", side]))
    return f"{options['arch']}:{checkpoint}" + (f"?{side}" if side else "")


def _require_sightline_format(checkpoint: Path) -> None:
    if load_safely(checkpoint).get("format") != FORMAT:
        raise DataError(f"{checkpoint} does not say what network it belongs to; add ?arch=densenet121&side=320")


def _locate_checkpoint(path: Path, checkpoint: str) -> Path:
    """The checkpoint where it was, or by its last parts below the folder of the list: lists travel with their files."""
    parts = PurePosixPath(checkpoint).parts
    tried = [path.parent / checkpoint, *(path.parent.joinpath(*parts[i:]) for i in range(1, len(parts)))]
    for place in tried:
        if place.is_file():
            return place
    raise DataError(f"{path} names {checkpoint}, which is not there, nor by its last parts below {path.parent}")
