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
from sightline.report.run_view import View, higher_is_better, title
from sightline.runs.run import Run
from sightline.web.server.encoding import pack
from sightline.web.viewer.run_index import Atlas, batches, codes

FORM = 2
"""Of the files written here; another number makes them anew."""
NOTHING = 255
"""Status of a case for which a source has no map and owes none."""
TOLD = 5000
"""Failures that are listed with their reason; all of them are counted."""
_SHAPES = ("size", "elongation", "irrectangularity", "instances")


def prepared(atlas: Atlas) -> Path:
    """The folder with the columns of a run: RUN/view, or a temporary one where the run may not be written to."""
    stamp = _stamp(atlas)
    folder = atlas.run.path / "view"
    try:
        if json.loads((folder / "data" / "index.json").read_text("utf-8"))["stamp"] == stamp:
            return folder
    except (OSError, ValueError, KeyError):
        pass  # none yet, or half of one
    try:
        partial = Path(tempfile.mkdtemp(prefix=".view-", dir=atlas.run.path))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="sightline-view-"))
        _Writer.of(atlas, folder / "data").write(stamp)
        return folder
    try:
        _Writer.of(atlas, partial / "data").write(stamp)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _stamp(atlas: Atlas) -> str:
    """Changes with the run's tables and maps, and with whether its data set can be opened."""
    path = atlas.run.path
    told = [FORM, str(path.resolve()), bool(atlas.data), *atlas.notes]
    for file in sorted([path / "run.json", *path.glob("tables/*.parquet"), *path.glob("parts/maps-*")]):
        about = file.stat()
        told += [file.name, about.st_mtime_ns, about.st_size]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Writer:
    """Writes the columns of one run into a folder."""

    atlas: Atlas
    folder: Path
    row: Mapping[str, int]
    """Radiograph -> its number."""
    column: Mapping[str, int]
    """Finding -> its number."""
    source: Mapping[str, int]

    @classmethod
    def of(cls, atlas: Atlas, folder: Path) -> _Writer:
        numbered = ({name: i for i, name in enumerate(n)} for n in (atlas.radiographs, atlas.findings, atlas.sources))
        folder.mkdir(parents=True)
        return cls(atlas, folder, *numbered)

    @property
    def cases(self) -> int:
        return len(self.row) * len(self.column)

    def write(self, stamp: str) -> None:
        if not self.cases:
            raise RunError(f"{self.atlas.run.path} holds neither maps nor scores; finish it, then look at it")
        fates = self._fates()
        facts, arrays = self._cases(fates)
        scores, areas = self._scores()
        arrays["area"] = areas
        (self.folder / "cases.bin").write_bytes(pack(facts, arrays))
        write_text_atomic(self.folder / "failures.json", json.dumps(fates.failures))
        index = {
            "stamp": stamp,
            **_about(self.atlas, scores),
            "columns": scores,
            "failed": fates.counts(self.atlas.sources),
        }
        write_text_atomic(self.folder / "index.json", json.dumps(index, allow_nan=False))

    # -- maps: what became of them --------------------------------------------------------------------------------

    def _fates(self) -> _Fates:
        """Status and probability of every source: from the stored maps, then from the table maps, which knows more."""
        shape = (len(self.source), self.cases)
        fates = _Fates(
            _array(self.folder / "status.u8", shape, np.uint8, NOTHING),
            _array(self.folder / "probability.f32", shape, np.float32, np.nan),
            np.zeros(self.cases, np.uint8), [],
        )  # fmt: skip
        for part in self.atlas.parts():
            rows = np.array([self.row[r] for r in part["radiographs"]])
            places = (rows[:, None] * len(self.column) + [self.column[f] for f in part["findings"]]).ravel()
            for source, told in part["sources"].items():
                number = self.source[source]
                fates.status[number, places] = told["statuses"]
                fates.probability[number, places] = [np.nan if p is None else p for p in told["probabilities"]]
                whys = ((places[int(i)], why) for i, why in told["whys"].items())
                fates.tell(number, ((p, STATUSES[fates.status[number, p]], why) for p, why in whys))
        if self.atlas.run.has_table("maps"):
            fates.failures.clear()  # the table names them all, those without a stored map as well
            self._from_ledger(fates)
        for name, array in (("status", fates.status), ("probability", fates.probability)):
            _split(self.folder, name, array)
        return fates

    def _from_ledger(self, fates: _Fates) -> None:
        columns = ["source", "radiograph", "finding", "status", "why", "probability", "marked"]
        readers = [i for name, i in self.source.items() if Source.parse(name).kind == "reader"]
        known: dict[str, int] = {status: i for i, status in enumerate(STATUSES)}
        for batch in batches(self.atlas.run, "maps", columns):
            places, good = self._places(batch)
            source, status = codes(batch["source"], dict(self.source)), codes(batch["status"], known)
            fates.status[source[good], places[good]] = status[good]
            probability = batch["probability"].to_numpy(zero_copy_only=False).astype(np.float32)
            fates.probability[source[good], places[good]] = probability[good]
            marked = batch["marked"].to_numpy(zero_copy_only=False).astype(bool)
            fates.marked[places[good & marked]] = 1
            for i in np.flatnonzero(good & (status != 0) & ~np.isin(source, readers)):
                why = batch["why"][int(i)].as_py()
                fates.tell(int(source[i]), [(places[i], STATUSES[status[i]], why)])

    def _places(self, batch: Any) -> tuple[Array, Array]:
        """The case of every row, and whether it is one."""
        row, column = codes(batch["radiograph"], dict(self.row)), codes(batch["finding"], dict(self.column))
        return row * len(self.column) + column, (row >= 0) & (column >= 0)

    # -- cases: what is known of them whatever the source ---------------------------------------------------------

    def _cases(self, fates: _Fates) -> tuple[dict[str, Any], dict[str, Array]]:
        names, count = list(self.row), len(self.row)
        patients, splits, views = [""] * count, [""] * count, [""] * count
        label = np.full((count, len(self.column)), -128, np.int8)
        place = np.array([self.atlas.places.get(name, -1) for name in names], np.int32)
        for i in range(count):
            if place[i] >= 0 and self.atlas.data is not None:
                r = self.atlas.data.radiographs[int(place[i])]
                patients[i], splits[i], views[i] = r.patient, r.split, r.view
                for finding, number in self.column.items():
                    value = r.labels.get(finding, np.nan)
                    label[i, number] = -128 if np.isnan(value) else int(value)
        if self.atlas.data is None:
            self._patients(patients)
        flat = label.ravel()
        flat[(flat == -128) & (fates.marked == 1)] = 1
        numbers: dict[str, int] = {}
        patient = np.array([numbers.setdefault(p, len(numbers)) for p in patients], np.uint32)
        facts = {"radiographs": names, "patients": list(numbers), "splits": splits, "views": views}
        arrays = {"label": flat, "marked": fates.marked, "patient": patient, "place": place, **self._shapes()}
        return facts, arrays

    def _patients(self, patients: list[str]) -> None:
        """From the scores, where the data set is gone."""
        if not self.atlas.run.has_table("scores"):
            return
        for batch in batches(self.atlas.run, "scores", ["radiograph", "patient"]):
            rows = codes(batch["radiograph"], dict(self.row))
            first = np.unique(rows, return_index=True)[1]
            for i in first.tolist():
                if rows[i] >= 0:
                    patients[int(rows[i])] = batch["patient"][i].as_py()

    def _shapes(self) -> dict[str, Array]:
        """How the marks look, under the main protocol."""
        found = {name: np.full(self.cases, np.nan, np.float32) for name in _SHAPES}
        if not self.atlas.run.has_table("shapes"):
            return found
        main = View.of(self.atlas.run).protocol if self.atlas.run.has_table("estimates") else ""
        for batch in batches(self.atlas.run, "shapes", ["protocol", "radiograph", "finding", *_SHAPES]):
            places, good = self._places(batch)
            good &= codes(batch["protocol"], {main: 0}) == 0
            for name in _SHAPES:
                found[name][places[good]] = batch[name].to_numpy(zero_copy_only=False).astype(np.float32)[good]
        return found

    # -- scores ---------------------------------------------------------------------------------------------------

    def _scores(self) -> tuple[list[dict[str, Any]], Array]:
        """One file per (protocol, metric, source), and the share of the image that each mark covers."""
        (self.folder / "columns").mkdir()
        areas = np.full(self.cases, np.nan, np.float32)
        if not self.atlas.run.has_table("scores"):
            return [], areas
        columns = ["protocol", "source", "radiograph", "finding", "metric", "value", "area"]
        protocols: dict[str, int] = {}
        metrics: dict[str, int] = {}
        made: dict[int, Array] = {}
        for batch in batches(self.atlas.run, "scores", columns):
            places, good = self._places(batch)
            protocol, metric = (
                codes(batch["protocol"], protocols, grow=True),
                codes(batch["metric"], metrics, grow=True),
            )
            key = np.where(good, (protocol << 32) | (metric << 16) | codes(batch["source"], dict(self.source)), -1)
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
                    made[which] = _array(file, (self.cases,), np.float32, np.nan)
                made[which][places[some]] = values[some]
        names = [list(protocols), list(metrics), list(self.source)]
        listed = [
            {"protocol": names[0][k >> 32], "metric": names[1][(k >> 16) & 0xFFFF], "source": names[2][k & 0xFFFF],
             "file": i, "n": int(np.count_nonzero(~np.isnan(array)))}
            for i, (k, array) in enumerate(made.items())
        ]  # fmt: skip
        return listed, areas


@dataclass(frozen=True)
class _Fates:
    """What became of the maps."""

    status: Array
    """uint8 (sources, cases): place in `STATUSES`, or `NOTHING`."""
    probability: Array
    """float32 (sources, cases)."""
    marked: Array
    """uint8 (cases,)."""
    failures: list[tuple[int, int, str, str]]
    """(case, source, status, why), the first `TOLD`."""

    def tell(self, source: int, rows: Any) -> None:
        for place, status, why in rows:
            if len(self.failures) < TOLD:
                self.failures.append((int(place), source, status, why))

    def counts(self, sources: tuple[str, ...]) -> list[dict[str, Any]]:
        """Failed maps by source and status. A mark that a reader did not make is no failure of a map."""
        out = []
        for number, source in enumerate(sources):
            if Source.parse(source).kind == "reader":
                continue
            counted = np.bincount(self.status[number], minlength=256)
            told = [(STATUSES[s], int(counted[s])) for s in range(1, len(STATUSES)) if counted[s]]
            out += [{"source": source, "status": status, "maps": n} for status, n in told]
        return out


def _array(file: Path, shape: tuple[int, ...], dtype: Any, value: float) -> Array:
    made: Array = np.memmap(file, dtype, "w+", shape=shape)
    made[:] = value
    return made


def _split(folder: Path, name: str, array: Array) -> None:
    """A file per source."""
    (folder / name).mkdir()
    for number, row in enumerate(array):
        (folder / name / f"{number}.bin").write_bytes(np.ascontiguousarray(row).tobytes())


def _about(atlas: Atlas, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first page needs: names, and what they mean."""
    run, info = atlas.run, atlas.run.info
    view = View.of(run) if run.has_table("estimates") else View(run, "")
    data = info.get("dataset", {})
    first = {"iou": 0, "hit": 1}
    metrics = sorted(dict.fromkeys(s["metric"] for s in scores), key=lambda m: ("@" in m, first.get(m, 2)))
    protocols = dict.fromkeys(s["protocol"] for s in scores)
    records = {name: r for name, r in info.get("protocols", {}).items() if name in protocols or not protocols}
    return {
        "title": info.get("title") or info.get("study", "run"),
        "run": run.path.resolve().name,
        "study": info.get("study", ""),
        "created": info.get("created", ""),
        "data": {k: data.get(k) for k in ("name", "title", "license", "source", "radiographs", "patients")},
        "simulated": view.simulated if run.has_table("estimates") else data.get("name") == "phantom",
        "notes": list(atlas.notes),
        "films": atlas.data is not None,
        "findings": list(atlas.findings),
        "sources": [
            {"name": s, "label": view.label(s), "kind": view.kind(s), "model": Source.parse(s).model}
            for s in atlas.sources
        ],
        "protocols": sorted({**protocols, **records}, key=lambda name: name != "corrected"),
        "binarizers": {name: {"all": r.get("binarizer", "otsu"), "by": dict(r.get("thresholds", ()))}
                       for name, r in records.items()},
        "metrics": [{"name": m, "title": title(m), "higher": higher_is_better(m)} for m in metrics],
        "readers": list(atlas.data.readers) if atlas.data else [],
        "gaze": list(atlas.data.gaze_readers) if atlas.data else [],
        "regions": list(atlas.data.regions) if atlas.data else [],
        "statuses": list(STATUSES),
        "cutoffs": _cutoffs(run),
        "best": view.best if run.has_table("estimates") else None,
    }  # fmt: skip


def _cutoffs(run: Run) -> list[dict[str, Any]]:
    """Probability from which a model calls a finding present, where the run chose one; elsewhere it is 0.5."""
    chosen = [dict(c) for c in run.info.get("cutoffs") or ()]
    for record in run.info.get("protocols", {}).values():
        chosen += [{"model": "", "finding": f, "cutoff": c} for f, c in record.get("cutoffs", ())]
    return chosen
