"""Fingerprints of a run's input files, recorded at its start and compared when it continues.

A file is identified by its name, size and SHA-256. Contents are read once: as long as size and time of change stay,
the recorded hash is taken; where the time differs (touched, restored, copied back), the contents are hashed again.
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
"""Size in bytes above which an image of a data set is hashed at its start, middle and end only."""
PIECE_BYTES = 1 << 16
"""Bytes of each of the three pieces."""
CLOCK_RESOLUTION_NS = 2 * 10**9
"""Nanoseconds within which two writes may have the same time: a file changed so lately is hashed again next time."""
_TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".json", ".txt", ".xml")
_PART = ("inputs", "files.parquet")


class FileFingerprint(NamedTuple):
    """Name, size, time of change and hash of a file."""

    kind: str
    """'data' or 'maps'."""
    file: str
    """Path of the file."""
    size: int
    """Bytes; −1 for a file that could not be read."""
    ctime_ns: int
    """Time of the last change (ctime, which cannot be set), ns since 1970; 0 if within `CLOCK_RESOLUTION_NS` of now."""
    digest: str
    """SHA-256 in hexadecimal digits; '' for a file that could not be read."""


def list_input_files(data: Dataset) -> Iterator[Path]:
    """Yield the tables, annotations and images that a data set is read from.

    These are its `files`; without any, the images of its own radiographs and the tables below the folder that its spec
    names, because a release holds many more images than a split of it. Runs below the folder, hidden files and files
    of other suffixes are left out.

    Parameters
    ----------
    data
        The data set.

    Yields
    ------
    Path
        The files.
    """
    if data.files:
        yield from _find_files(data.files, (*_TABLE_SUFFIXES, *SUFFIXES))
        return
    root = "" if is_synthetic(data.spec) else parse_spec(data.spec)[1]  # a rendered data set reads no files
    yield from _find_files([Path(root)] if root else [], _TABLE_SUFFIXES)
    yield from (path for path in (source_path(r.read) for r in data.radiographs) if path is not None)


def _find_files(roots: Iterable[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield files of these suffixes among the roots and below them, every folder once however it is linked."""
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
    """Load the fingerprints that a run recorded.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    dict or None
        (kind, file) -> fingerprint; None for a run that recorded none.
    """
    file = run.part(*_PART)
    if not file.is_file():
        return None
    return {(row[0], row[1]): FileFingerprint(*row) for row in pd.read_parquet(file).itertuples(index=False, name=None)}


def fingerprint_files(
    files: Mapping[str, Iterable[Path]], before: Mapping[tuple[str, str], FileFingerprint] | None
) -> dict[tuple[str, str], FileFingerprint]:
    """Fingerprint files as they are now.

    Parameters
    ----------
    files
        Kind ('data' or 'maps') -> files; a folder stands for all files below it.
    before
        Fingerprints recorded earlier: files of the same size and time of change are not hashed again.

    Returns
    -------
    dict
        (kind, file) -> fingerprint.
    """
    fingerprints = {}
    for kind, paths in files.items():
        for path in paths:
            for file in _expand_folder(path):
                fingerprints[kind, str(file)] = _fingerprint(kind, file, (before or {}).get((kind, str(file))))
    return fingerprints


def save_fingerprints(run: Run, fingerprints: Mapping[tuple[str, str], FileFingerprint]) -> None:
    """Store fingerprints in a run.

    Parameters
    ----------
    run
        Run locked by the caller.
    fingerprints
        (kind, file) -> fingerprint.
    """
    frame = pd.DataFrame(fingerprints.values(), columns=list(FileFingerprint._fields))
    run.write_part(*_PART, lambda path: frame.to_parquet(path, index=False))


def describe_changes(
    before: Mapping[tuple[str, str], FileFingerprint], now: Mapping[tuple[str, str], FileFingerprint]
) -> str:
    """Describe how files changed, by kind, with one example of each change.

    Parameters
    ----------
    before, now
        (kind, file) -> fingerprint.

    Returns
    -------
    str
        The changes; empty if there are none.

    Examples
    --------
    >>> old = {("maps", "a.npz"): FileFingerprint("maps", "a.npz", 9, 0, "1f")}
    >>> describe_changes(old, {("maps", "a.npz"): FileFingerprint("maps", "a.npz", 9, 5, "2e")})
    'of maps: 1 changed (a.npz)'
    """
    same = {key for key in before.keys() & now.keys() if before[key][2::2] == now[key][2::2]}  # size and digest
    changes = []
    for kind in ("data", "maps"):
        keys_by_change = {
            "changed": (before.keys() & now.keys()) - same,
            "added": now.keys() - before.keys(),
            "gone": before.keys() - now.keys(),
        }
        files = {change: sorted(file for k, file in keys if k == kind) for change, keys in keys_by_change.items()}
        counts = [f"{len(names)} {change} ({names[0]})" for change, names in files.items() if names]
        changes += [f"of {kind}: {', '.join(counts)}"] if counts else []
    return "; ".join(changes)


def _expand_folder(path: Path) -> Iterator[Path]:
    """Yield the file itself, or every file of a folder that is one map."""
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def _fingerprint(kind: str, file: Path, before: FileFingerprint | None) -> FileFingerprint:
    """Return `before` if size and time of change are the same; hash the file otherwise."""
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
        return FileFingerprint(kind, str(file), -1, 0, "")  # the reader of the file reports the error
    return FileFingerprint(kind, str(file), stat.st_size, stat.st_ctime_ns if settled else 0, digest.hexdigest())
