"""Ensembles: a list of checkpoints per finding, whose probabilities and maps are averaged one member at a time."""

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
from sightline.models.model import Model
from sightline.models.training_record import TrainingRecord
from sightline.models.zoo import open_model

Scale = Literal["raw", "equal"]
"""How the members' maps are averaged: as they are, so that confident members weigh more (published), or each divided
by its largest magnitude first."""


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint of an ensemble, not opened."""

    spec: str
    """Spec for `open_model`."""
    findings: tuple[str, ...]
    """Findings that it contributes to; it may know more."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several models with a joint result: the mean (or maximum) of probabilities and the mean of maps.

    Members are opened one after the other and released, so that memory does not grow with their number.
    """

    name: str
    """Short name, for tables."""
    findings: tuple[str, ...]
    """Findings of all members, in the order of the first member's logits."""
    members: tuple[Member, ...]
    """Checkpoints of the ensemble."""
    aggregation: Literal["mean", "max"]
    """How probabilities are combined."""
    scale: Scale
    """How maps are combined."""
    output_findings: tuple[str, ...]
    """Findings of every member's logits, in their order; empty if the checkpoints state them."""
    first_member: Model
    """First member, opened: all members take their input as it does."""

    @property
    def device(self) -> torch.device:
        """Device of the first member, to which the others are moved."""
        return self.first_member.device

    @property
    def training_record(self) -> TrainingRecord | None:
        """Record of the first member; the others were trained on the same data with other seeds or policies."""
        return self.first_member.training_record

    def open_members(self) -> Iterator[tuple[Model, tuple[str, ...]]]:
        """Open each member on the ensemble's device.

        Yields
        ------
        model : Model
            Member.
        findings : tuple of str
            Findings that it contributes to.

        Raises
        ------
        DataError
            For a checkpoint that does not open, or whose input differs from that of the first member.
        """
        first = self.first_member
        for member in self.members:
            model = open_model(member.spec, self.output_findings or None)
            if (model.side, model.resize) != (first.side, first.resize):
                raise DataError(
                    f"{member.spec} takes {model.side} pixels ({model.resize}), the first member {first.side} "
                    f"({first.resize}); maps of one ensemble must lie on the same frame"
                )
            model.net.to(self.device)
            yield model, member.findings


def open_ensemble(spec: str) -> Ensemble:
    """Open a list of checkpoints per finding, as `sightline train chexpert` and CheXpert's own code write it.

    The file is {"aggregation_method": "mean" or "max", "task2models": {finding: [{"ckpt_path": ..., "is_3class": true
    or false}, ...]}}. Paths are relative to it; a path that does not exist is searched for by its last parts below the
    file's folder.

    Parameters
    ----------
    spec
        Path and options, as 'final.json?arch=densenet121&side=320&scale=equal'. arch, side: of checkpoints that do not
        state them (these have the fourteen findings of CheXpert, in its order). scale: see `Scale`. name: for tables.

    Returns
    -------
    Ensemble
        The ensemble, its first member opened.

    Raises
    ------
    DataError
        If the file, or a checkpoint that it names, is missing or wrong.
    SightlineError
        For an unknown option.
    """
    path, options = _parse_options(spec)
    content = _read_member_list(path)
    findings_by_member: dict[str, list[str]] = {}
    for task, entries in content["task2models"].items():
        for entry in entries:
            findings_by_member.setdefault(_member_spec(path, entry, options), []).append(canonical_name(task))
    if options["arch"] == "":
        for checkpoint in findings_by_member:  # each once, and before any work
            _require_sightline_format(Path(checkpoint))
    members = tuple(Member(member, tuple(dict.fromkeys(names))) for member, names in findings_by_member.items())
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
    """Open an ensemble if the spec names a .json file, otherwise a model.

    Parameters
    ----------
    spec
        Spec for `open_ensemble` or `sightline.models.open_model`.
    seed
        Seed of random weights of a model.

    Returns
    -------
    Model or Ensemble
        What the spec names.
    """
    head = spec.partition("?")[0]
    return open_ensemble(spec) if head.endswith(".json") else open_model(spec, seed=seed)


def _parse_options(spec: str) -> tuple[Path, dict[str, Any]]:
    head, _, query = spec.partition("?")
    _, _, stated = parse_spec(f"ensemble?{query}" if query else "ensemble")
    options: dict[str, Any] = {"arch": "", "side": "", "scale": "raw", "name": "", **stated}
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
        raise DataError(f'{path} must contain {{"task2models": {{finding: [{{"ckpt_path": ...}}, ...]}}}}')
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
        raise DataError(f"{checkpoint} does not state its architecture; add ?arch=densenet121&side=320")


def _locate_checkpoint(path: Path, checkpoint: str) -> Path:
    """Find a checkpoint by its path, or by its last parts below the folder of the list: lists move with their files."""
    parts = PurePosixPath(checkpoint).parts
    candidates = [path.parent / checkpoint, *(path.parent.joinpath(*parts[i:]) for i in range(1, len(parts)))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{path} names {checkpoint}, which does not exist, nor does a file of its last parts below {path.parent}"
    )
