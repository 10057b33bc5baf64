"""What the files that a run is made from were when it began, so that others in their place are found out.

A file is known by its name, size and contents. Contents are read once: as long as size and time of change stay, a file
is the one that was read; where the time differs (touched, restored, copied back), its contents tell.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sightline._util.spec import parse_spec
from sightline.core import Dataset
from sightline.data.registry import is_synthetic
from sightline.imaging.image_files import SUFFIXES, source_path
from sightline.runs.run import Run

MAX_WHOLE_BYTES = 1 << 20
"""Bytes above which an image of a data set is known by its size and three pieces: radiographs are not read whole."""
PIECE_BYTES = 1 << 16
CLOCK_RESOLUTION_NS = 2 * 10**9
"""Nanoseconds within which a clock may not tell two writes apart: what changed so lately is read again next time."""
_TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".json", ".txt", ".xml")
_PART = ("inputs", "files.parquet")


class FileFingerprint(NamedTuple):
    """What a file was."""

    kind: str
    """'data' or 'maps'."""
    file: str
    size: int
    """Bytes; −1 for a file that could not be read."""
    ctime_ns: int
    """When it last changed (ctime: nobody can set it), ns since 1970; 0 where that proves nothing
    (`CLOCK_RESOLUTION_NS`)."""
    digest: str


def list_input_files(data: Dataset) -> Iterator[Path]:
    """Tables, marks and images that a data set is read from: its `files`; else the images of its own radiographs, and
    the tables below the folder that its spec names. A release holds many more images than a split of it.

    Other runs below it, hidden files and files of other suffixes are none of its own.
    """
    if data.files:
        yield from _find_files(data.files, (*_TABLE_SUFFIXES, *SUFFIXES))
        return
    root = "" if is_synthetic(data.spec) else parse_spec(data.spec)[1]  # a rendered data set reads no files
    yield from _find_files([Path(root)] if root else [], _TABLE_SUFFIXES)
    yield from (path for path in (source_path(r.read) for r in data.radiographs) if path is not None)


def _find_files(roots: Iterable[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files of these suffixes among the roots and below them, every folder once however it is linked."""
    walked: set[str] = set()
    for root in roots:
        if root.is_file():
            yield root
        for folder, inner, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if "run.json" in names or real in walked:
                inner.clear()
                continue
            walked.add(real)
            inner[:] = [name for name in inner if not name.startswith(".")]
            for name in names:
                if name.lower().endswith(suffixes) and not name.startswith("."):
                    yield Path(folder, name)


def load_fingerprints(run: Run) -> dict[tuple[str, str], FileFingerprint] | None:
    """(kind, file) -> what it was when the run began; None for a run that kept no record."""
    file = run.part(*_PART)
    if not file.is_file():
        return None
    return {(row[0], row[1]): FileFingerprint(*row) for row in pd.read_parquet(file).itertuples(index=False, name=None)}


def fingerprint_files(
    files: Mapping[str, Iterable[Path]], before: Mapping[tuple[str, str], FileFingerprint] | None
) -> dict[tuple[str, str], FileFingerprint]:
    """(kind, file) -> what it is now; contents are read only of files that are not as they were `before`."""
    found = {}
    for kind, paths in files.items():
        for path in paths:
            for file in _expand_folder(path):
                found[kind, str(file)] = _fingerprint(kind, file, (before or {}).get((kind, str(file))))
    return found


def save_fingerprints(run: Run, now: Mapping[tuple[str, str], FileFingerprint]) -> None:
    """Store what the files are."""
    frame = pd.DataFrame(now.values(), columns=list(FileFingerprint._fields))
    run.write_part(*_PART, lambda path: frame.to_parquet(path, index=False))


def describe_changes(
    before: Mapping[tuple[str, str], FileFingerprint], now: Mapping[tuple[str, str], FileFingerprint]
) -> str:
    """What became of the files, by kind, with an example of each; '' where all are the same.

    >>> old = {("maps", "a.npz"): FileFingerprint("maps", "a.npz", 9, 0, "1f")}
    >>> describe_changes(old, {("maps", "a.npz"): FileFingerprint("maps", "a.npz", 9, 5, "2e")})
    'of maps: 1 changed (a.npz)'
    """
    same = {key for key in before.keys() & now.keys() if before[key][2::2] == now[key][2::2]}  # size and digest
    told = []
    for kind in ("data", "maps"):
        fates = {
            "changed": (before.keys() & now.keys()) - same,
            "added": now.keys() - before.keys(),
            "gone": before.keys() - now.keys(),
        }
        of_kind = {word: sorted(name for k, name in keys if k == kind) for word, keys in fates.items()}
        counted = [f"{len(names)} {word} ({names[0]})" for word, names in of_kind.items() if names]
        told += [f"of {kind}: {', '.join(counted)}"] if counted else []
    return "; ".join(told)


def _expand_folder(path: Path) -> Iterator[Path]:
    """The file itself, or every file of a folder that is one map."""
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def _fingerprint(kind: str, file: Path, before: FileFingerprint | None) -> FileFingerprint:
    try:
        stat = file.stat()
        if before is not None and before[2:4] == (stat.st_size, stat.st_ctime_ns):
            return before
        settled = abs(time.time_ns() - stat.st_ctime_ns) > CLOCK_RESOLUTION_NS
        pieces = kind == "data" and stat.st_size > MAX_WHOLE_BYTES and file.suffix.lower() in SUFFIXES
        with file.open("rb") as stream:
            if pieces:
                digest = hashlib.sha256()
                for start in (0, stat.st_size // 2, stat.st_size - PIECE_BYTES):
                    stream.seek(start)
                    digest.update(stream.read(PIECE_BYTES))
            else:
                digest = hashlib.file_digest(stream, "sha256")
    except OSError:
        return FileFingerprint(kind, str(file), -1, 0, "")  # whoever needs it says why
    return FileFingerprint(kind, str(file), stat.st_size, stat.st_ctime_ns if settled else 0, digest.hexdigest())
