"""Web site of a run: the names of its files, and their content. The server and `--export` both use it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from sightline.core import Radiograph, SaliencyMap
from sightline.errors import DataError, UnknownNameError
from sightline.runs.run import Run
from sightline.web.server.encoding import decode_bundle, encode_image, encode_thumbnail
from sightline.web.viewer import payloads
from sightline.web.viewer.column_store import prepare_columns
from sightline.web.viewer.run_index import RunIndex

_STATIC_FILE = re.compile(r"(app|web)/[a-z0-9-]+\.(js|css|svg)")
_COLUMN_FILE = re.compile(
    r"data/(index\.json|cases\.bin|failures\.json|columns/[0-9]{1,6}\.f32|(status|probability)/[0-9]{1,6}\.bin)"
)
_RADIOGRAPH_FILE = re.compile(
    r"data/(?:(film)/([0-9]{1,9})\.png|(thumb)/([0-9]{1,9})\.jpg|(preview|marks|scores)/([0-9]{1,9})\.bin)"
)
_MAPS_FILE = re.compile(r"data/maps/([0-9]{1,9})-([0-9]{1,6})\.bin")
_BINARY_TYPE = "application/octet-stream"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".bin": _BINARY_TYPE,
    ".f32": _BINARY_TYPE,
}
_STATIC_PACKAGES = {"app": "sightline.web.viewer", "web": "sightline.web.server"}


@dataclass(frozen=True)
class Site:
    """Files of the viewer of a run. Their names hold numbers and no ids, so that no id can name another file."""

    run_index: RunIndex
    """Content of the run."""
    folder: Path
    """Folder of the columns."""
    stamp: str
    """Identifier of the content of the run: files that a browser kept under another stamp are outdated."""
    _semaphore: Any = field(default_factory=lambda: threading.BoundedSemaphore(os.cpu_count() or 1), repr=False)
    """Limit on images that are decoded at the same time, which are large: the number of processors."""

    @classmethod
    def from_run(cls, run: Run) -> Site:
        """Open a run, and write its columns if they do not exist yet.

        Parameters
        ----------
        run : Run
            Run to show.

        Returns
        -------
        Site
        """
        index = RunIndex.from_run(run)
        folder = prepare_columns(index)
        return cls(index, folder, json.loads((folder / "data" / "index.json").read_text("utf-8"))["stamp"])

    @cached_property
    def _case_names(self) -> tuple[list[str], list[int], list[str]]:
        """Ids of radiographs, their positions in the data set (-1: not in it), and findings."""
        fields, arrays = decode_bundle((self.folder / "data" / "cases.bin").read_bytes())
        index = json.loads((self.folder / "data" / "index.json").read_text("utf-8"))
        return fields["radiographs"], arrays["place"].tolist(), index["findings"]

    def file_names(self) -> Iterator[str]:
        """Yield the names of all files; those of one radiograph follow each other.

        Yields
        ------
        str
        """
        yield "index.html"
        for folder, package in _STATIC_PACKAGES.items():
            for file in sorted((files(package) / "static").iterdir(), key=lambda f: f.name):
                if _STATIC_FILE.fullmatch(name := f"{folder}/{file.name}"):
                    yield name
        for path in sorted((self.folder / "data").rglob("*")):
            if _COLUMN_FILE.fullmatch(name := path.relative_to(self.folder).as_posix()):
                yield name
        _, positions, findings = self._case_names
        for i, position in enumerate(positions):
            yield from (f"data/preview/{i}.bin", f"data/scores/{i}.bin")
            if position >= 0 and self.run_index.data is not None:
                yield from (f"data/thumb/{i}.jpg", f"data/film/{i}.png", f"data/marks/{i}.bin")
            yield from (f"data/maps/{i}-{f}.bin" for f in range(len(findings)))

    def render_file(self, name: str) -> tuple[bytes, str]:
        """Return the content of a file.

        Parameters
        ----------
        name : str
            Name of a file. An unknown name raises `UnknownNameError`, an image that cannot be read `DataError`.

        Returns
        -------
        tuple of (bytes, str)
            Content and media type.
        """
        return self._file_maker(name)(), _MEDIA_TYPES[Path(name).suffix]

    def _file_maker(self, name: str) -> Callable[[], bytes]:
        if name == "index.html":
            return (files("sightline.web.viewer") / "static" / "index.html").read_bytes
        if _STATIC_FILE.fullmatch(name):
            folder, _, file = name.partition("/")
            return self._existing_file(files(_STATIC_PACKAGES[folder]) / "static" / file, name)
        if _COLUMN_FILE.fullmatch(name):
            return self._existing_file(self.folder / name, name)
        if match := _RADIOGRAPH_FILE.fullmatch(name):
            kind, digits = filter(None, match.groups())
            return lambda: self._encode_radiograph_file(kind, int(digits))
        if match := _MAPS_FILE.fullmatch(name):
            number, finding = map(int, match.groups())
            return lambda: self._encode_finding_maps(number, finding)
        raise UnknownNameError(f"there is no file {name!r}")

    @staticmethod
    def _existing_file(file: Any, name: str) -> Callable[[], bytes]:
        if not file.is_file():
            raise UnknownNameError(f"there is no file {name!r}")
        read: Callable[[], bytes] = file.read_bytes
        return read

    def _radiograph_id(self, number: int) -> str:
        ids = self._case_names[0]
        if number >= len(ids):
            raise UnknownNameError(f"there is no radiograph number {number}; the run has {len(ids)}")
        return ids[number]

    def _radiograph(self, number: int) -> Radiograph | None:
        id_, position = self._radiograph_id(number), self._case_names[1][number]
        if self.run_index.data is None or position < 0:
            return None
        radiograph = self.run_index.data.radiographs[position]
        if radiograph.id != id_:
            raise DataError(f"radiograph {id_!r} has moved in {self.run_index.data.spec!r}; open the run again")
        return radiograph

    def _maps_for(self, number: int, finding: str | None = None) -> Iterator[SaliencyMap]:
        return self.run_index.maps_for(
            self._radiograph_id(number), finding, in_dataset=self._case_names[1][number] >= 0
        )

    @cached_property
    def _n_columns(self) -> int:
        return len(list((self.folder / "data" / "columns").iterdir()))

    def _encode_scores(self, number: int) -> bytes:
        """Return all scores of a radiograph, float32 (columns, findings), read from every column."""
        self._radiograph_id(number)
        width = 4 * len(self._case_names[2])
        parts = []
        for column in range(self._n_columns):
            with (self.folder / "data" / "columns" / f"{column}.f32").open("rb") as file:
                file.seek(number * width)
                parts.append(file.read(width))
        return b"".join(parts)

    def _encode_radiograph_file(self, kind: str, number: int) -> bytes:
        if kind == "scores":
            return self._encode_scores(number)
        radiograph, findings = self._radiograph(number), self._case_names[2]
        with self._semaphore:
            if kind == "preview":
                data = self.run_index.data
                outlines = payloads.reference_outlines(data, radiograph.id, findings) if data and radiograph else {}
                size = radiograph.size if radiograph else None
                return payloads.encode_previews(self._maps_for(number), outlines, size)
            if radiograph is None or self.run_index.data is None:
                raise UnknownNameError(
                    f"radiograph {self._radiograph_id(number)!r} is not available: its data set cannot be opened"
                )
            if kind == "marks":
                return payloads.encode_annotations(self.run_index.data, radiograph, findings)
            return encode_image(radiograph.read()) if kind == "film" else encode_thumbnail(radiograph.read())

    def _encode_finding_maps(self, number: int, finding: int) -> bytes:
        findings = self._case_names[2]
        if finding >= len(findings):
            raise UnknownNameError(f"there is no finding number {finding}; the run has {len(findings)}")
        with self._semaphore:
            return payloads.encode_maps(self._maps_for(number, findings[finding]))
