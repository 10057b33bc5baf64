"""The manifest of a run, run.json: what was asked, and what the run is made from."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline._util.files import write_text_atomic
from sightline._util.formats import check_format
from sightline.errors import RunError

RUN_FORMAT = 2
"""Format of a run folder: run.json, its parts and tables. Raise it when any of them changes its meaning."""
_DISK_FULL = "the disk is full; free some space and give the same command again: what is done is kept"


class RunManifest:
    """Fields of a run's run.json: read once, changed in memory, written whole.

    Every `Run` that follows from one opening of a folder shares its manifest.
    """

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path = path
        """Folder of the run."""
        self.fields = fields
        """study, options, dataset, models, methods, protocols, versions, created and more."""
        self._version = self._file_version()

    @classmethod
    def create(cls, path: Path, fields: Mapping[str, Any]) -> RunManifest:
        """Make the folder of a run and its run.json.

        Parameters
        ----------
        path
            Folder of the run.
        fields
            Fields of run.json; format and time of creation are added.

        Returns
        -------
        RunManifest
            The manifest.

        Raises
        ------
        RunError
            If the folder cannot be written.
        """
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        manifest = cls(path, {})
        manifest.update(format=RUN_FORMAT, **fields, created=created)
        return manifest

    @classmethod
    def read(cls, path: Path) -> RunManifest:
        """Read the run.json of a folder.

        Parameters
        ----------
        path
            Folder of the run.

        Returns
        -------
        RunManifest
            The manifest.

        Raises
        ------
        RunError
            If there is none, or it is damaged or of another format.
        """
        return cls(path, _read_fields(path))

    def update(self, **fields: Any) -> None:
        """Set fields and write run.json.

        Parameters
        ----------
        fields
            Values, stored as JSON has them; NaN and infinity are refused.

        Raises
        ------
        RunError
            If the disk is full, or the folder cannot be written.
        """
        changed = self.fields | json.loads(to_json(fields))
        with disk_errors(self.path):
            write_text_atomic(self.path / "run.json", to_json(changed))
        self.fields = changed
        self._version = self._file_version()

    def refresh(self) -> None:
        """Read run.json again if another process wrote it since."""
        if self._file_version() != self._version:
            self.fields = _read_fields(self.path)
            self._version = self._file_version()

    def _file_version(self) -> tuple[int, int] | None:
        """Inode and time of change of run.json, which differ after every write; None before the first."""
        try:
            stat = (self.path / "run.json").stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns


def _read_fields(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    try:
        fields = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is not a run folder: it has no run.json; give the folder named by --out") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is damaged: {error}; start the run again in a new folder") from error
    if not isinstance(fields, dict):
        raise RunError(f"{file} is damaged: it holds no object; start the run again in a new folder")
    check_format(fields.get("format"), RUN_FORMAT, "run", path, RunError, "start it again in a new folder")
    return fields


def to_json(value: Any) -> str:
    """Encode a value as strict JSON.

    Parameters
    ----------
    value
        The value; parts that JSON lacks, such as paths, are written as text.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        For NaN and infinity.
    """
    return json.dumps(value, indent=1, allow_nan=False, default=str)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the disk within the block into a `RunError` that says what to do.

    Parameters
    ----------
    path
        Folder that is written.

    Yields
    ------
    None

    Raises
    ------
    RunError
        If the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{path}: {_DISK_FULL}") from error
        raise RunError(f"{path} cannot be written: {error.strerror}; give --out a folder you may write to") from error


def refuse_other_options(path: Path, fields: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Refuse to continue a run of another study or of other options.

    Parameters
    ----------
    path
        Folder of the run.
    fields
        Its run.json.
    requested
        study and options of the command.

    Raises
    ------
    RunError
        If they differ; the error names each option that does.
    """
    if fields.get("study") != requested["study"]:
        raise RunError(
            f"{path} holds a {fields.get('study')!r} run, not {requested['study']!r}; give --out another folder"
        )
    old, new = fields.get("options", {}), requested["options"]
    other = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if other:
        raise RunError(f"{path} holds a run with other options ({'; '.join(other)}); give --out another folder")
