"""Runs on the same data as one table of scores: other models, methods or versions, source by source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from sightline.core import Source, SourceKind
from sightline.data.registry import is_synthetic
from sightline.errors import DataError, RunError
from sightline.protocol import Protocol
from sightline.runs.fingerprints import load_fingerprints
from sightline.runs.run import Run

_CASE = ["radiograph", "finding"]
_NUMBERS = ["protocol", "metric", "finding", "radiograph"]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A run that takes part in a comparison."""

    label: str
    """Name of the run in the comparison."""
    run: Run
    """The run."""

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Its table `scores`."""
        return self.run.table("scores")

    @cached_property
    def cases(self) -> pd.DataFrame:
        """Annotated radiographs and findings that were scored: patient, reader, and area of the annotation."""
        columns = [*_CASE, "patient", "reader", "area"]
        of_readers = self.scores["source_kind"] == "reader"  # they may have another reference, without themselves
        rows = self.scores if of_readers.all() else self.scores[~of_readers]
        return rows[columns].drop_duplicates(_CASE).sort_values(_CASE, ignore_index=True)

    def values(self, column: str) -> list[str]:
        """Return the distinct values of a column of its scores.

        Parameters
        ----------
        column
            Name of the column.

        Returns
        -------
        list of str
            The values in order of appearance.
        """
        return list(dict.fromkeys(self.scores[column]))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file of its scores.

        Returns
        -------
        str
            Hexadecimal digits.
        """
        with (self.run.path / "tables" / "scores.parquet").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_scored_runs(specs: Sequence[str]) -> tuple[ScoredRun, ...]:
    """Open runs that are compared, each under a name of its own.

    Parameters
    ----------
    specs
        Folders of runs, as FOLDER or NAME=FOLDER. Without a name, a run is called by its folder; runs whose folders
        have the same name, by the folders above them as well.

    Returns
    -------
    tuple of ScoredRun
        The runs in the same order.

    Raises
    ------
    RunError
        For a folder that is no run, a run without scores, or a run that is named twice.
    DataError
        For a name that cannot be part of the name of a source.
    """
    parts = [spec.partition("=") if "=" in spec and not Path(spec).exists() else ("", "", spec) for spec in specs]
    folders = [Path(folder).resolve() for _, _, folder in parts]
    for folder in folders:
        if folders.count(folder) > 1:
            raise RunError(f"{folder} is named twice; name each run once")
    labels = [name or _short_name(folder, folders) for (name, _, _), folder in zip(parts, folders, strict=True)]
    runs = tuple(ScoredRun(label, Run.open(folder)) for label, folder in zip(labels, folders, strict=True))
    for label, scored in zip(labels, runs, strict=True):
        if not label or "?" in label or label.split("/")[0] in get_args(SourceKind) or labels.count(label) > 1:
            raise DataError(f"a run cannot be called {label!r} here; give each a name of its own, as in first=FOLDER")
        if not scored.run.has_table("scores") or not scored.run.has_table("estimates"):
            raise RunError(f"{scored.run.path} has no scores; let it finish, or name a run whose maps were scored")
    return runs


def _short_name(folder: Path, folders: Sequence[Path]) -> str:
    """Return the last parts of a path that no other folder ends with."""
    parts = folder.parts
    for count in range(1, len(parts)):
        if sum(other.parts[-count:] == parts[-count:] for other in folders) == 1:
            return ".".join(parts[-count:])
    return folder.name


def require_same_data(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs that were not scored on the same radiographs, patients, labels and annotations.

    Parameters
    ----------
    runs
        The runs.

    Raises
    ------
    DataError
        If two runs differ; the error names the first difference.
    """
    first = runs[0]
    for other in runs[1:]:
        difference = next(_list_differences(first, other), "")
        if difference:
            raise DataError(
                f"{first.label} and {other.label} are not of the same data: {difference}; "
                "compare runs on the same radiographs, patients, labels and annotations"
            )


def _list_differences(a: ScoredRun, b: ScoredRun) -> Iterator[str]:
    """Yield what differs between the data of two runs, in words."""
    mine, other = (run.run.info.get("dataset", {}) for run in (a, b))
    shared = set(a.values("finding")) & set(b.values("finding"))
    left, right = (run.cases[run.cases["finding"].isin(shared)] for run in (a, b))
    both = left.merge(right, on=_CASE, how="outer", suffixes=("", "_other"), indicator=True)
    both = both.sort_values(_CASE)
    for side, scored, without in (("left_only", a, b), ("right_only", b, a)):
        for row in both[both["_merge"] == side].to_dict("records"):
            yield f"{row['finding']} on {row['radiograph']} is scored in {scored.label}, and not in {without.label}"
    for key in ("radiographs", "patients"):
        if mine.get(key) != other.get(key):
            yield f"{a.label} has {mine.get(key)} {key}, {b.label} has {other.get(key)}"
    for column, title in (("patient", "the patient"), ("reader", "the reference reader")):
        for row in both[both[column] != both[f"{column}_other"]].to_dict("records"):
            yield (
                f"{title} of {row['radiograph']} is {row[column]!r} in {a.label}, "
                f"and {row[f'{column}_other']!r} in {b.label}"
            )
    for row in both[~np.isclose(both["area"], both["area_other"], rtol=1e-6, equal_nan=True)].to_dict("records"):
        yield (
            f"the annotation of {row['finding']} on {row['radiograph']} covers {row['area']:.4%} of the image in "
            f"{a.label}, and {row['area_other']:.4%} in {b.label}"
        )
    if mine.get("fingerprint") != other.get("fingerprint"):
        yield f"the labels, or radiographs that are not scored, differ ({mine.get('spec')} and {other.get('spec')})"
    if mine.get("spec") != other.get("spec") and is_synthetic(str(mine.get("spec"))):
        yield f"they were rendered with other options ({mine.get('spec')} and {other.get('spec')})"
    files, others = _data_files(a.run), _data_files(b.run)
    for name in sorted(name for name in files.keys() & others.keys() if files[name] != others[name]):
        yield f"the file {name} has other contents"


def _data_files(run: Run) -> dict[str, str]:
    """Return the files of the data set of a run, below the folder that holds all of them -> hash of the contents."""
    recorded = load_fingerprints(run) or {}
    files = {file: f.digest for (kind, file), f in recorded.items() if kind == "data" and f.digest}
    root = os.path.commonpath([Path(file).parent for file in files]) if files else ""
    return {Path(file).relative_to(root).as_posix(): digest for file, digest in files.items()}


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """Protocols, metrics and findings that all runs were scored by."""

    protocols: tuple[Protocol, ...]
    """Protocols whose records are equal."""
    metrics: tuple[str, ...]
    """Metrics."""
    findings: tuple[str, ...]
    """Findings."""
    notes: tuple[str, ...]
    """What some runs have and the comparison leaves out, a sentence each."""


def find_shared_options(runs: Sequence[ScoredRun]) -> SharedOptions:
    """Find the protocols, metrics and findings that all runs were scored by.

    Parameters
    ----------
    runs
        The runs.

    Returns
    -------
    SharedOptions
        What they share, in the order of the first run, and notes on what is left out.

    Raises
    ------
    DataError
        If they share no protocol, metric or finding, or if a protocol has other fields in another run.
    """
    notes, shared = list[str](), dict[str, tuple[str, ...]]()
    for column in ("protocol", "metric", "finding"):
        values = {run.label: run.values(column) for run in runs}
        names = tuple(v for v in values[runs[0].label] if all(v in known for known in values.values()))
        if not names:
            stated = "; ".join(f"{label}: {', '.join(known)}" for label, known in values.items())
            raise DataError(f"the runs share no {column} ({stated}); score them by one that all have")
        for label, known in values.items():
            if left := [value for value in known if value not in names]:
                notes.append(f"Not compared, because not all runs have it: {column} {', '.join(left)} of {label}.")
        shared[column] = names
    return SharedOptions(_shared_protocols(runs, shared["protocol"]), shared["metric"], shared["finding"], tuple(notes))


def _shared_protocols(runs: Sequence[ScoredRun], names: Sequence[str]) -> tuple[Protocol, ...]:
    """Return the records behind names; `DataError` names the field that differs between two runs."""
    first, *others = ({n: _protocol(run.run.info, n) for n in names} for run in runs)
    for run, records in zip(runs[1:], others, strict=True):
        for name in names:
            for key in Protocol.__dataclass_fields__:
                a, b = getattr(first[name], key), getattr(records[name], key)
                if a != b:
                    raise DataError(
                        f"{runs[0].label} and {run.label} were scored by different protocols: {key} of {name!r} is "
                        f"{a!r} and {b!r}; score them alike"
                    )
    return tuple(first.values())


def _protocol(info: Mapping[str, Any], name: str) -> Protocol:
    recorded: dict[str, Any] = info["protocols"][name]
    fields: dict[str, Any] = {k: tuple(map(tuple, v)) if isinstance(v, list) else v for k, v in recorded.items()}
    return Protocol(**{**fields, "name": name})


def name_sources(runs: Sequence[ScoredRun], options: SharedOptions) -> dict[str, dict[str, str]]:
    """Name the sources of several runs so that every name stands for one set of scores.

    A source that has equal scores in all runs that have it, such as a reader or a control, is taken once. If it has
    not, all sources of its model (or reader, or control) get the name of their run in front.

    Parameters
    ----------
    runs
        The runs.
    options
        What they share.

    Returns
    -------
    dict of str to dict of str to str
        Label of the run -> source -> its name in the comparison; sources that an earlier run has are left out.
    """
    values: dict[str, list[pd.Series[float]]] = {}
    for run in runs:
        for source, part in select_scores(run.scores, options).groupby("source", sort=False):
            values.setdefault(str(source), []).append(part.set_index(_NUMBERS)["value"].sort_index())
    conflicts = {_owner(source) for source, copies in values.items() if any(not copies[0].equals(c) for c in copies)}
    names: dict[str, dict[str, str]] = {}
    taken: set[str] = set()
    for run in runs:
        sources = run.values("source")
        named = {s: _prefix(s, run.label) if _owner(s) in conflicts else s for s in sources if s in values}
        names[run.label] = {source: name for source, name in named.items() if name not in taken}
        taken |= set(named.values())
    return names


def _owner(source: str) -> tuple[str, str]:
    """Return kind and model of a source, or its name if no model made it."""
    parsed = Source.parse(source)
    return parsed.kind, parsed.model or parsed.method


def _prefix(source: str, label: str) -> str:
    parsed = Source.parse(source)
    return str(replace(parsed, model=f"{label}/{parsed.model}" if parsed.model else label))


def select_scores(rows: pd.DataFrame, options: SharedOptions) -> pd.DataFrame:
    """Select the scores of a run that all runs share.

    Parameters
    ----------
    rows
        Rows of its table `scores`, or of another one with the same columns.
    options
        What the runs share.

    Returns
    -------
    pandas.DataFrame
        Rows of the shared protocols, metrics and findings.
    """
    return rows[
        rows["protocol"].isin([protocol.name for protocol in options.protocols])
        & rows["metric"].isin(options.metrics)
        & rows["finding"].isin(options.findings)
    ]


def combine_tables(
    runs: Sequence[ScoredRun], options: SharedOptions, names: Mapping[str, Mapping[str, str]]
) -> dict[str, pd.DataFrame]:
    """Combine the tables scores, leave_one_out, maps and classification of several runs.

    Parameters
    ----------
    runs
        The runs.
    options
        What they share.
    names
        Label of a run -> source -> its name in the comparison, as `name_sources` returns them.

    Returns
    -------
    dict of str to pandas.DataFrame
        Name of a table -> its rows; leave_one_out and classification only if a run has them.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        renamed = names[run.label]
        outcomes = run.run.table("maps")
        selected = {"scores": select_scores(run.scores, options)}
        selected["maps"] = outcomes[outcomes["finding"].isin(options.findings)]
        if run.run.has_table("leave_one_out"):
            selected["leave_one_out"] = select_scores(run.run.table("leave_one_out"), options)
        for name, rows in selected.items():
            kept = rows[rows["source"].isin(list(renamed))]
            tables.setdefault(name, []).append(kept.assign(source=kept["source"].map(renamed)))
        if run.run.has_table("classification"):
            rows, models = run.run.table("classification"), model_names(renamed)
            kept = rows[rows["model"].isin(list(models))]
            tables.setdefault("classification", []).append(kept.assign(model=kept["model"].map(models)))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def model_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of models in a comparison.

    Parameters
    ----------
    names
        Source of one run -> its name in the comparison.

    Returns
    -------
    dict of str to str
        Model -> its name in the comparison, for models of which a source is compared.
    """
    parsed = ((Source.parse(old), Source.parse(new)) for old, new in names.items())
    return {old.model: new.model for old, new in parsed if old.kind == "model" and old.model}
