"""Column store of the viewer: the tables of a run as one array per score, so that a browser reads only what it shows.

Every array has a value per case; case r * F + f is finding f of F on radiograph r. Arrays are little-endian, and are
kept in RUN/view until the tables or maps of the run change. Tables are read in batches: memory does not grow with
their rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline._util.files import write_text_atomic
from sightline.core import STATUSES, Array, Source
from sightline.errors import RunError
from sightline.report.run_view import RunView
from sightline.report.titles import higher_is_better, metric_title
from sightline.runs.run import Run
from sightline.web.server.encoding import encode_bundle
from sightline.web.viewer.run_index import RunIndex, encode_categories, read_batches

FORMAT_VERSION = 2
"""Format of the files of this module; files of another format are written again."""
NO_MAP = 255
"""Status of a case for which a source has no map and needs none."""
MAX_FAILURES = 5000
"""Greatest number of failures that are listed with their reasons; all of them are counted."""
_SHAPE_COLUMNS = ("size", "elongation", "irrectangularity", "instances")


def prepare_columns(run_index: RunIndex) -> Path:
    """Write the columns of a run unless they exist.

    Parameters
    ----------
    run_index : RunIndex
        Content of the run.

    Returns
    -------
    Path
        RUN/view, or a temporary folder if the folder of the run is read-only.
    """
    stamp = _stamp(run_index)
    folder = run_index.run.path / "view"
    try:
        if json.loads((folder / "data" / "index.json").read_text("utf-8"))["stamp"] == stamp:
            return folder
    except (OSError, ValueError, KeyError):
        pass  # not written yet, or incomplete
    try:
        partial = Path(tempfile.mkdtemp(prefix=".view-", dir=run_index.run.path))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="sightline-view-"))
        _ColumnWriter.create(run_index, folder / "data").write(stamp)
        return folder
    try:
        _ColumnWriter.create(run_index, partial / "data").write(stamp)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _stamp(run_index: RunIndex) -> str:
    """Return a digest of the state of the run's tables and maps, and of the availability of its data set."""
    path = run_index.run.path
    state = [FORMAT_VERSION, str(path.resolve()), bool(run_index.data), *run_index.notes]
    for file in sorted([path / "run.json", *path.glob("tables/*.parquet"), *path.glob("parts/maps-*")]):
        stat = file.stat()
        state += [file.name, stat.st_mtime_ns, stat.st_size]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _ColumnWriter:
    """Writer of the columns of a run into a folder."""

    run_index: RunIndex
    folder: Path
    radiograph_numbers: Mapping[str, int]
    """Numbers of radiographs, by id."""
    finding_numbers: Mapping[str, int]
    """Numbers of findings, by name."""
    source_numbers: Mapping[str, int]
    """Numbers of sources, by name."""

    @classmethod
    def create(cls, run_index: RunIndex, folder: Path) -> _ColumnWriter:
        numbers = (
            {name: i for i, name in enumerate(names)}
            for names in (run_index.radiographs, run_index.findings, run_index.sources)
        )
        folder.mkdir(parents=True)
        return cls(run_index, folder, *numbers)

    @property
    def n_cases(self) -> int:
        return len(self.radiograph_numbers) * len(self.finding_numbers)

    def write(self, stamp: str) -> None:
        if not self.n_cases:
            raise RunError(f"{self.run_index.run.path} holds neither maps nor scores; finish the run first")
        statuses = self._map_statuses()
        fields, arrays = self._case_columns(statuses)
        scores, areas = self._write_score_columns()
        arrays["area"] = areas
        (self.folder / "cases.bin").write_bytes(encode_bundle(fields, arrays))
        write_text_atomic(self.folder / "failures.json", json.dumps(statuses.failures))
        index = {
            "stamp": stamp,
            **_index_fields(self.run_index, scores),
            "columns": scores,
            "failed": statuses.count_failures(self.run_index.sources),
        }
        write_text_atomic(self.folder / "index.json", json.dumps(index, allow_nan=False))

    # -- statuses of maps ------------------------------------------------------------------------------------------

    def _map_statuses(self) -> _MapStatuses:
        """Read statuses and probabilities from the stored maps, and from the table maps, which is more complete."""
        shape = (len(self.source_numbers), self.n_cases)
        statuses = _MapStatuses(
            _create_array(self.folder / "status.u8", shape, np.uint8, NO_MAP),
            _create_array(self.folder / "probability.f32", shape, np.float32, np.nan),
            np.zeros(self.n_cases, np.uint8),
            [],
        )
        for part in self.run_index.map_attributes():
            rows = np.array([self.radiograph_numbers[r] for r in part["radiographs"]])
            columns = [self.finding_numbers[f] for f in part["findings"]]
            cases = (rows[:, None] * len(self.finding_numbers) + columns).ravel()
            for source, attributes in part["sources"].items():
                number = self.source_numbers[source]
                statuses.status[number, cases] = attributes["statuses"]
                statuses.probability[number, cases] = [np.nan if p is None else p for p in attributes["probabilities"]]
                reasons = ((cases[int(i)], reason) for i, reason in attributes["reasons"].items())
                statuses.add_failures(number, ((c, STATUSES[statuses.status[number, c]], r) for c, r in reasons))
        if self.run_index.run.has_table("maps"):
            statuses.failures.clear()  # the table names all of them, also those without a stored map
            self._read_maps_table(statuses)
        for name, array in (("status", statuses.status), ("probability", statuses.probability)):
            _split_by_source(self.folder, name, array)
        return statuses

    def _read_maps_table(self, statuses: _MapStatuses) -> None:
        columns = ["source", "radiograph", "finding", "status", "reason", "probability", "annotated"]
        readers = [i for name, i in self.source_numbers.items() if Source.parse(name).kind == "reader"]
        known: dict[str, int] = {status: i for i, status in enumerate(STATUSES)}
        for batch in read_batches(self.run_index.run, "maps", columns):
            cases, valid = self._case_positions(batch)
            source = encode_categories(batch["source"], dict(self.source_numbers))
            status = encode_categories(batch["status"], known)
            statuses.status[source[valid], cases[valid]] = status[valid]
            probability = batch["probability"].to_numpy(zero_copy_only=False).astype(np.float32)
            statuses.probability[source[valid], cases[valid]] = probability[valid]
            annotated = batch["annotated"].to_numpy(zero_copy_only=False).astype(bool)
            statuses.annotated[cases[valid & annotated]] = 1
            for i in np.flatnonzero(valid & (status != 0) & ~np.isin(source, readers)):
                reason = batch["reason"][int(i)].as_py()
                statuses.add_failures(int(source[i]), [(cases[i], STATUSES[status[i]], reason)])

    def _case_positions(self, batch: Any) -> tuple[Array, Array]:
        """Return the case of every row of a table, and a mask of the rows that belong to a case."""
        row = encode_categories(batch["radiograph"], dict(self.radiograph_numbers))
        column = encode_categories(batch["finding"], dict(self.finding_numbers))
        return row * len(self.finding_numbers) + column, (row >= 0) & (column >= 0)

    # -- attributes of cases --------------------------------------------------------------------------------------

    def _case_columns(self, statuses: _MapStatuses) -> tuple[dict[str, Any], dict[str, Array]]:
        names, count = list(self.radiograph_numbers), len(self.radiograph_numbers)
        patients, splits, views = [""] * count, [""] * count, [""] * count
        label = np.full((count, len(self.finding_numbers)), -128, np.int8)
        position = np.array([self.run_index.positions.get(name, -1) for name in names], np.int32)
        for i in range(count):
            if position[i] >= 0 and self.run_index.data is not None:
                r = self.run_index.data.radiographs[int(position[i])]
                patients[i], splits[i], views[i] = r.patient, r.split, r.view
                for finding, number in self.finding_numbers.items():
                    value = r.labels.get(finding, np.nan)
                    label[i, number] = -128 if np.isnan(value) else int(value)
        if self.run_index.data is None:
            self._fill_patients(patients)
        flat = label.ravel()
        flat[(flat == -128) & (statuses.annotated == 1)] = 1
        numbers: dict[str, int] = {}
        patient = np.array([numbers.setdefault(p, len(numbers)) for p in patients], np.uint32)
        fields = {"radiographs": names, "patients": list(numbers), "splits": splits, "views": views}
        arrays = {
            "label": flat,
            "annotated": statuses.annotated,
            "patient": patient,
            "place": position,
            **self._shape_columns(),
        }
        return fields, arrays

    def _fill_patients(self, patients: list[str]) -> None:
        """Take the patients from the table of scores, for a run whose data set is not available."""
        if not self.run_index.run.has_table("scores"):
            return
        for batch in read_batches(self.run_index.run, "scores", ["radiograph", "patient"]):
            rows = encode_categories(batch["radiograph"], dict(self.radiograph_numbers))
            first = np.unique(rows, return_index=True)[1]
            for i in first.tolist():
                if rows[i] >= 0:
                    patients[int(rows[i])] = batch["patient"][i].as_py()

    def _shape_columns(self) -> dict[str, Array]:
        """Return the descriptors of shape of the annotations, under the main protocol."""
        shapes = {name: np.full(self.n_cases, np.nan, np.float32) for name in _SHAPE_COLUMNS}
        if not self.run_index.run.has_table("shapes"):
            return shapes
        main = RunView.from_run(self.run_index.run).protocol if self.run_index.run.has_table("estimates") else ""
        for batch in read_batches(self.run_index.run, "shapes", ["protocol", "radiograph", "finding", *_SHAPE_COLUMNS]):
            cases, valid = self._case_positions(batch)
            valid &= encode_categories(batch["protocol"], {main: 0}) == 0
            for name in _SHAPE_COLUMNS:
                shapes[name][cases[valid]] = batch[name].to_numpy(zero_copy_only=False).astype(np.float32)[valid]
        return shapes

    # -- scores ---------------------------------------------------------------------------------------------------

    def _write_score_columns(self) -> tuple[list[dict[str, Any]], Array]:
        """Write a file per (protocol, metric, source); return their list, and the relative areas of annotations."""
        (self.folder / "columns").mkdir()
        areas = np.full(self.n_cases, np.nan, np.float32)
        if not self.run_index.run.has_table("scores"):
            return [], areas
        columns = ["protocol", "source", "radiograph", "finding", "metric", "value", "area"]
        protocols: dict[str, int] = {}
        metrics: dict[str, int] = {}
        arrays: dict[int, Array] = {}
        for batch in read_batches(self.run_index.run, "scores", columns):
            cases, valid = self._case_positions(batch)
            protocol = encode_categories(batch["protocol"], protocols, add_new=True)
            metric = encode_categories(batch["metric"], metrics, add_new=True)
            source = encode_categories(batch["source"], dict(self.source_numbers))
            key = np.where(valid, (protocol << 32) | (metric << 16) | source, -1)
            values = batch["value"].to_numpy(zero_copy_only=False).astype(np.float32)
            areas[cases[valid]] = batch["area"].to_numpy(zero_copy_only=False).astype(np.float32)[valid]
            order = np.argsort(key, kind="stable")
            starts = np.flatnonzero(np.diff(key[order], prepend=-2))
            for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
                rows, column = order[start:stop], int(key[order[start]])
                if column < 0:
                    continue
                if column not in arrays:
                    file = self.folder / "columns" / f"{len(arrays)}.f32"
                    arrays[column] = _create_array(file, (self.n_cases,), np.float32, np.nan)
                arrays[column][cases[rows]] = values[rows]
        names = [list(protocols), list(metrics), list(self.source_numbers)]
        entries = [
            {
                "protocol": names[0][k >> 32],
                "metric": names[1][(k >> 16) & 0xFFFF],
                "source": names[2][k & 0xFFFF],
                "file": i,
                "n": int(np.count_nonzero(~np.isnan(array))),
            }
            for i, (k, array) in enumerate(arrays.items())
        ]
        return entries, areas


@dataclass(frozen=True)
class _MapStatuses:
    """Statuses and probabilities of the maps, and the failures."""

    status: Array
    """Position in `STATUSES`, or `NO_MAP`: uint8 (sources, cases)."""
    probability: Array
    """Predicted probability: float32 (sources, cases)."""
    annotated: Array
    """1 where the reference reader annotated the finding: uint8 (cases,)."""
    failures: list[tuple[int, int, str, str]]
    """(case, source, status, reason) of the first `MAX_FAILURES` failures."""

    def add_failures(self, source: int, rows: Any) -> None:
        """Add the failures (case, status, reason) of a source."""
        for case, status, reason in rows:
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((int(case), source, status, reason))

    def count_failures(self, sources: tuple[str, ...]) -> list[dict[str, Any]]:
        """Count failed maps by source and status. A missing annotation of a reader is no failure of a map."""
        failed = []
        for number, source in enumerate(sources):
            if Source.parse(source).kind == "reader":
                continue
            counts = np.bincount(self.status[number], minlength=256)
            failed += [
                {"source": source, "status": STATUSES[status], "maps": int(counts[status])}
                for status in range(1, len(STATUSES))
                if counts[status]
            ]
        return failed


def _create_array(file: Path, shape: tuple[int, ...], dtype: Any, value: float) -> Array:
    array: Array = np.memmap(file, dtype, "w+", shape=shape)
    array[:] = value
    return array


def _split_by_source(folder: Path, name: str, array: Array) -> None:
    """Write a file per source."""
    (folder / name).mkdir()
    for number, row in enumerate(array):
        (folder / name / f"{number}.bin").write_bytes(np.ascontiguousarray(row).tobytes())


def _index_fields(run_index: RunIndex, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields that the first page needs: names and titles of the content of the run."""
    run, info = run_index.run, run_index.run.info
    view = RunView.from_run(run) if run.has_table("estimates") else RunView(run, "")
    data = info.get("dataset", {})
    first = {"iou": 0, "pointing-game": 1}
    metrics = sorted(dict.fromkeys(s["metric"] for s in scores), key=lambda m: ("@" in m, first.get(m, 2)))
    protocols = dict.fromkeys(s["protocol"] for s in scores)
    records = {name: r for name, r in info.get("protocols", {}).items() if name in protocols or not protocols}
    return {
        "title": info.get("title") or info.get("study", "run"),
        "run": run.path.resolve().name,
        "study": info.get("study", ""),
        "created": info.get("created", ""),
        "data": {k: data.get(k) for k in ("name", "title", "license", "source", "radiographs", "patients")},
        "simulated": view.has_simulated_readers if run.has_table("estimates") else bool(data.get("simulated")),
        "notes": list(run_index.notes),
        "films": run_index.data is not None,
        "findings": list(run_index.findings),
        "sources": [
            {"name": s, "label": view.label(s), "kind": view.kind(s), "model": Source.parse(s).model}
            for s in run_index.sources
        ],
        "protocols": sorted({**protocols, **records}, key=lambda name: name != "corrected"),
        "binarizers": {
            name: {
                "all": r.get("binarizer", "otsu"),
                "by": dict(r.get("map_thresholds", ())),
                "positive": r.get("signed_maps", "whole-range") == "positive",
                "drawn": r.get("frame") == "carried" and not r.get("fill_holes") and not r.get("smooth_window"),
            }
            for name, r in records.items()
        },
        "metrics": [{"name": m, "title": metric_title(m), "higher": higher_is_better(m)} for m in metrics],
        "readers": list(run_index.data.readers) if run_index.data else [],
        "gaze": list(run_index.data.gaze_readers) if run_index.data else [],
        "regions": list(run_index.data.regions) if run_index.data else [],
        "statuses": list(STATUSES),
        "cutoffs": _probability_cutoffs(run),
        "best": view.best if run.has_table("estimates") else None,
    }


def _probability_cutoffs(run: Run) -> list[dict[str, Any]]:
    """Return the cutoffs of probability that the run chose for a positive prediction; without one it is 0.5."""
    cutoffs = [dict(c) for c in run.info.get("cutoffs") or ()]
    for record in run.info.get("protocols", {}).values():
        cutoffs += [{"model": "", "finding": f, "cutoff": c} for f, c in record.get("probability_cutoffs", ())]
    return cutoffs
