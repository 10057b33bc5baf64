"""The tables of a run as columns, one array per score, aligned with the cases: a browser reads only what it shows.

Case r × F + f is finding f on radiograph r. Columns are plain little-endian arrays, made once and kept in RUN/view as
long as the run's tables and maps stay as they are. Tables are read batch by batch: memory does not grow with rows.
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
from sightline.report.run_view import RunView, higher_is_better, metric_title
from sightline.runs.run import Run
from sightline.web.server.encoding import encode_bundle
from sightline.web.viewer.run_index import RunIndex, encode_categories, read_batches

FORMAT_VERSION = 2
"""Of the files written here; another number makes them anew."""
NO_MAP = 255
"""Status of a case for which a source has no map and owes none."""
MAX_FAILURES = 5000
"""Failures that are listed with their reason; all of them are counted."""
_SHAPE_COLUMNS = ("size", "elongation", "irrectangularity", "instances")


def prepare_columns(run_index: RunIndex) -> Path:
    """The folder with the columns of a run: RUN/view, or a temporary one where the run may not be written to."""
    stamp = _stamp(run_index)
    folder = run_index.run.path / "view"
    try:
        if json.loads((folder / "data" / "index.json").read_text("utf-8"))["stamp"] == stamp:
            return folder
    except (OSError, ValueError, KeyError):
        pass  # none yet, or half of one
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
    """Changes with the run's tables and maps, and with whether its data set can be opened."""
    path = run_index.run.path
    told = [FORMAT_VERSION, str(path.resolve()), bool(run_index.data), *run_index.notes]
    for file in sorted([path / "run.json", *path.glob("tables/*.parquet"), *path.glob("parts/maps-*")]):
        about = file.stat()
        told += [file.name, about.st_mtime_ns, about.st_size]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _ColumnWriter:
    """Writes the columns of one run into a folder."""

    run_index: RunIndex
    folder: Path
    radiograph_numbers: Mapping[str, int]
    """Radiograph -> its number."""
    finding_numbers: Mapping[str, int]
    """Finding -> its number."""
    source_numbers: Mapping[str, int]

    @classmethod
    def create(cls, run_index: RunIndex, folder: Path) -> _ColumnWriter:
        numbered = (
            {name: i for i, name in enumerate(n)}
            for n in (run_index.radiographs, run_index.findings, run_index.sources)
        )
        folder.mkdir(parents=True)
        return cls(run_index, folder, *numbered)

    @property
    def n_cases(self) -> int:
        return len(self.radiograph_numbers) * len(self.finding_numbers)

    def write(self, stamp: str) -> None:
        if not self.n_cases:
            raise RunError(f"{self.run_index.run.path} holds neither maps nor scores; finish it, then look at it")
        fates = self._map_statuses()
        facts, arrays = self._case_columns(fates)
        scores, areas = self._write_score_columns()
        arrays["area"] = areas
        (self.folder / "cases.bin").write_bytes(encode_bundle(facts, arrays))
        write_text_atomic(self.folder / "failures.json", json.dumps(fates.failures))
        index = {
            "stamp": stamp,
            **_index_fields(self.run_index, scores),
            "columns": scores,
            "failed": fates.count_failures(self.run_index.sources),
        }
        write_text_atomic(self.folder / "index.json", json.dumps(index, allow_nan=False))

    # -- maps: what became of them --------------------------------------------------------------------------------

    def _map_statuses(self) -> _MapStatuses:
        """Status and probability of every source: from the stored maps, then from the table maps, which knows more."""
        shape = (len(self.source_numbers), self.n_cases)
        fates = _MapStatuses(
            _create_array(self.folder / "status.u8", shape, np.uint8, NO_MAP),
            _create_array(self.folder / "probability.f32", shape, np.float32, np.nan),
            np.zeros(self.n_cases, np.uint8),
            [],
        )
        for part in self.run_index.map_attributes():
            rows = np.array([self.radiograph_numbers[r] for r in part["radiographs"]])
            places = (
                rows[:, None] * len(self.finding_numbers) + [self.finding_numbers[f] for f in part["findings"]]
            ).ravel()
            for source, told in part["sources"].items():
                number = self.source_numbers[source]
                fates.status[number, places] = told["statuses"]
                fates.probability[number, places] = [np.nan if p is None else p for p in told["probabilities"]]
                whys = ((places[int(i)], why) for i, why in told["reasons"].items())
                fates.add_failures(number, ((p, STATUSES[fates.status[number, p]], why) for p, why in whys))
        if self.run_index.run.has_table("maps"):
            fates.failures.clear()  # the table names them all, those without a stored map as well
            self._read_maps_table(fates)
        for name, array in (("status", fates.status), ("probability", fates.probability)):
            _split_by_source(self.folder, name, array)
        return fates

    def _read_maps_table(self, statuses: _MapStatuses) -> None:
        columns = ["source", "radiograph", "finding", "status", "reason", "probability", "annotated"]
        readers = [i for name, i in self.source_numbers.items() if Source.parse(name).kind == "reader"]
        known: dict[str, int] = {status: i for i, status in enumerate(STATUSES)}
        for batch in read_batches(self.run_index.run, "maps", columns):
            places, good = self._case_positions(batch)
            source, status = (
                encode_categories(batch["source"], dict(self.source_numbers)),
                encode_categories(batch["status"], known),
            )
            statuses.status[source[good], places[good]] = status[good]
            probability = batch["probability"].to_numpy(zero_copy_only=False).astype(np.float32)
            statuses.probability[source[good], places[good]] = probability[good]
            marked = batch["annotated"].to_numpy(zero_copy_only=False).astype(bool)
            statuses.annotated[places[good & marked]] = 1
            for i in np.flatnonzero(good & (status != 0) & ~np.isin(source, readers)):
                why = batch["reason"][int(i)].as_py()
                statuses.add_failures(int(source[i]), [(places[i], STATUSES[status[i]], why)])

    def _case_positions(self, batch: Any) -> tuple[Array, Array]:
        """The case of every row, and whether it is one."""
        row, column = (
            encode_categories(batch["radiograph"], dict(self.radiograph_numbers)),
            encode_categories(batch["finding"], dict(self.finding_numbers)),
        )
        return row * len(self.finding_numbers) + column, (row >= 0) & (column >= 0)

    # -- cases: what is known of them whatever the source ---------------------------------------------------------

    def _case_columns(self, statuses: _MapStatuses) -> tuple[dict[str, Any], dict[str, Array]]:
        names, count = list(self.radiograph_numbers), len(self.radiograph_numbers)
        patients, splits, views = [""] * count, [""] * count, [""] * count
        label = np.full((count, len(self.finding_numbers)), -128, np.int8)
        place = np.array([self.run_index.positions.get(name, -1) for name in names], np.int32)
        for i in range(count):
            if place[i] >= 0 and self.run_index.data is not None:
                r = self.run_index.data.radiographs[int(place[i])]
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
        facts = {"radiographs": names, "patients": list(numbers), "splits": splits, "views": views}
        arrays = {
            "label": flat,
            "annotated": statuses.annotated,
            "patient": patient,
            "place": place,
            **self._shape_columns(),
        }
        return facts, arrays

    def _fill_patients(self, patients: list[str]) -> None:
        """From the scores, where the data set is gone."""
        if not self.run_index.run.has_table("scores"):
            return
        for batch in read_batches(self.run_index.run, "scores", ["radiograph", "patient"]):
            rows = encode_categories(batch["radiograph"], dict(self.radiograph_numbers))
            first = np.unique(rows, return_index=True)[1]
            for i in first.tolist():
                if rows[i] >= 0:
                    patients[int(rows[i])] = batch["patient"][i].as_py()

    def _shape_columns(self) -> dict[str, Array]:
        """How the marks look, under the main protocol."""
        found = {name: np.full(self.n_cases, np.nan, np.float32) for name in _SHAPE_COLUMNS}
        if not self.run_index.run.has_table("shapes"):
            return found
        main = RunView.from_run(self.run_index.run).protocol if self.run_index.run.has_table("estimates") else ""
        for batch in read_batches(self.run_index.run, "shapes", ["protocol", "radiograph", "finding", *_SHAPE_COLUMNS]):
            places, good = self._case_positions(batch)
            good &= encode_categories(batch["protocol"], {main: 0}) == 0
            for name in _SHAPE_COLUMNS:
                found[name][places[good]] = batch[name].to_numpy(zero_copy_only=False).astype(np.float32)[good]
        return found

    # -- scores ---------------------------------------------------------------------------------------------------

    def _write_score_columns(self) -> tuple[list[dict[str, Any]], Array]:
        """One file per (protocol, metric, source), and the share of the image that each mark covers."""
        (self.folder / "columns").mkdir()
        areas = np.full(self.n_cases, np.nan, np.float32)
        if not self.run_index.run.has_table("scores"):
            return [], areas
        columns = ["protocol", "source", "radiograph", "finding", "metric", "value", "area"]
        protocols: dict[str, int] = {}
        metrics: dict[str, int] = {}
        made: dict[int, Array] = {}
        for batch in read_batches(self.run_index.run, "scores", columns):
            places, good = self._case_positions(batch)
            protocol, metric = (
                encode_categories(batch["protocol"], protocols, add_new=True),
                encode_categories(batch["metric"], metrics, add_new=True),
            )
            key = np.where(
                good,
                (protocol << 32) | (metric << 16) | encode_categories(batch["source"], dict(self.source_numbers)),
                -1,
            )
            values = batch["value"].to_numpy(zero_copy_only=False).astype(np.float32)
            areas[places[good]] = batch["area"].to_numpy(zero_copy_only=False).astype(np.float32)[good]
            order = np.argsort(key, kind="stable")
            cuts = np.flatnonzero(np.diff(key[order], prepend=-2))
            for start, stop in zip(cuts, [*cuts[1:], len(order)], strict=True):
                some, which = order[start:stop], int(key[order[start]])
                if which < 0:
                    continue
                if which not in made:
                    file = self.folder / "columns" / f"{len(made)}.f32"
                    made[which] = _create_array(file, (self.n_cases,), np.float32, np.nan)
                made[which][places[some]] = values[some]
        names = [list(protocols), list(metrics), list(self.source_numbers)]
        listed = [
            {
                "protocol": names[0][k >> 32],
                "metric": names[1][(k >> 16) & 0xFFFF],
                "source": names[2][k & 0xFFFF],
                "file": i,
                "n": int(np.count_nonzero(~np.isnan(array))),
            }
            for i, (k, array) in enumerate(made.items())
        ]
        return listed, areas


@dataclass(frozen=True)
class _MapStatuses:
    """What became of the maps."""

    status: Array
    """uint8 (sources, cases): place in `STATUSES`, or `NO_MAP`."""
    probability: Array
    """float32 (sources, cases)."""
    annotated: Array
    """uint8 (cases,)."""
    failures: list[tuple[int, int, str, str]]
    """(case, source, status, why), the first `MAX_FAILURES`."""

    def add_failures(self, source: int, rows: Any) -> None:
        for place, status, why in rows:
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((int(place), source, status, why))

    def count_failures(self, sources: tuple[str, ...]) -> list[dict[str, Any]]:
        """Failed maps by source and status. A mark that a reader did not make is no failure of a map."""
        out = []
        for number, source in enumerate(sources):
            if Source.parse(source).kind == "reader":
                continue
            counted = np.bincount(self.status[number], minlength=256)
            told = [(STATUSES[s], int(counted[s])) for s in range(1, len(STATUSES)) if counted[s]]
            out += [{"source": source, "status": status, "maps": n} for status, n in told]
        return out


def _create_array(file: Path, shape: tuple[int, ...], dtype: Any, value: float) -> Array:
    made: Array = np.memmap(file, dtype, "w+", shape=shape)
    made[:] = value
    return made


def _split_by_source(folder: Path, name: str, array: Array) -> None:
    """A file per source."""
    (folder / name).mkdir()
    for number, row in enumerate(array):
        (folder / name / f"{number}.bin").write_bytes(np.ascontiguousarray(row).tobytes())


def _index_fields(run_index: RunIndex, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first page needs: names, and what they mean."""
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
            name: {"all": r.get("binarizer", "otsu"), "by": dict(r.get("map_thresholds", ()))}
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
    """Probability from which a model calls a finding present, where the run chose one; elsewhere it is 0.5."""
    chosen = [dict(c) for c in run.info.get("cutoffs") or ()]
    for record in run.info.get("protocols", {}).values():
        chosen += [{"model": "", "finding": f, "cutoff": c} for f, c in record.get("probability_cutoffs", ())]
    return chosen
