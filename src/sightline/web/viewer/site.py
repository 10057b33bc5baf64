"""A run as a web site: a name for every file, and the function that makes it. Server and `--export` know no more."""

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
from sightline.web.server.encoding import film, thumbnail, unpack
from sightline.web.viewer import payloads
from sightline.web.viewer.column_store import prepared
from sightline.web.viewer.run_index import Atlas

_STATIC = re.compile(r"(app|web)/[a-z0-9-]+\.(js|css|svg)")
_TABLE = re.compile(
    r"data/(index\.json|cases\.bin|failures\.json|columns/[0-9]{1,6}\.f32|(status|probability)/[0-9]{1,6}\.bin)"
)
_PICTURE = re.compile(
    r"data/(?:(film)/([0-9]{1,9})\.png|(thumb)/([0-9]{1,9})\.jpg|(preview|marks|scores)/([0-9]{1,9})\.bin)"
)
_MAPS = re.compile(r"data/maps/([0-9]{1,9})-([0-9]{1,6})\.bin")
_BYTES = "application/octet-stream"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".json": "application/json", ".png": "image/png", ".jpg": "image/jpeg",
    ".bin": _BYTES, ".f32": _BYTES,
}  # fmt: skip
_HOME = {"app": "sightline.web.viewer", "web": "sightline.web.server"}


@dataclass(frozen=True)
class Site:
    """The files of a run's viewer. Names hold numbers, never an id: no id can lead anywhere."""

    atlas: Atlas
    folder: Path
    """Where the columns lie."""
    stamp: str
    """Changes with what the run holds: what was kept under another is stale."""
    _gate: Any = field(default_factory=lambda: threading.BoundedSemaphore(os.cpu_count() or 1), repr=False)
    """Radiographs are large: no more are opened at once than there are processors."""

    @classmethod
    def of(cls, run: Run) -> Site:
        """Open a run, and make its columns where they are not there yet."""
        atlas = Atlas.of(run)
        folder = prepared(atlas)
        return cls(atlas, folder, json.loads((folder / "data" / "index.json").read_text("utf-8"))["stamp"])

    @cached_property
    def _cases(self) -> tuple[list[str], list[int], list[str]]:
        """Ids of radiographs, where they stand in the data set, findings."""
        facts, arrays = unpack((self.folder / "data" / "cases.bin").read_bytes())
        index = json.loads((self.folder / "data" / "index.json").read_text("utf-8"))
        return facts["radiographs"], arrays["place"].tolist(), index["findings"]

    def names(self) -> Iterator[str]:
        """Every file, in an order in which those of one radiograph follow each other."""
        yield "index.html"
        for home, package in _HOME.items():
            for file in sorted((files(package) / "static").iterdir(), key=lambda f: f.name):
                if _STATIC.fullmatch(name := f"{home}/{file.name}"):
                    yield name
        for path in sorted((self.folder / "data").rglob("*")):
            if _TABLE.fullmatch(name := path.relative_to(self.folder).as_posix()):
                yield name
        _, places, findings = self._cases
        for i, place in enumerate(places):
            yield from (f"data/preview/{i}.bin", f"data/scores/{i}.bin")
            if place >= 0 and self.atlas.data is not None:
                yield from (f"data/thumb/{i}.jpg", f"data/film/{i}.png", f"data/marks/{i}.bin")
            yield from (f"data/maps/{i}-{f}.bin" for f in range(len(findings)))

    def file(self, name: str) -> tuple[bytes, str]:
        """(bytes, media type) of a file.

        Errors: `UnknownNameError` for a name that is none, `DataError` for a radiograph that cannot be read.
        """
        return self._maker(name)(), _TYPES[Path(name).suffix]

    def _maker(self, name: str) -> Callable[[], bytes]:
        if name == "index.html":
            return (files("sightline.web.viewer") / "static" / "index.html").read_bytes
        if _STATIC.fullmatch(name):
            home, _, file = name.partition("/")
            return self._there(files(_HOME[home]) / "static" / file, name)
        if _TABLE.fullmatch(name):
            return self._there(self.folder / name, name)
        if found := _PICTURE.fullmatch(name):
            kind, number = filter(None, found.groups())
            return lambda: self._picture(kind, int(number))
        if found := _MAPS.fullmatch(name):
            return lambda: self._maps(int(found[1]), int(found[2]))
        raise UnknownNameError(f"there is no file {name!r}")

    @staticmethod
    def _there(file: Any, name: str) -> Callable[[], bytes]:
        if not file.is_file():
            raise UnknownNameError(f"there is no file {name!r}")
        read: Callable[[], bytes] = file.read_bytes
        return read

    def _id(self, number: int) -> str:
        ids = self._cases[0]
        if number >= len(ids):
            raise UnknownNameError(f"there is no radiograph number {number}; the run has {len(ids)}")
        return ids[number]

    def _radiograph(self, number: int) -> Radiograph | None:
        id_, place = self._id(number), self._cases[1][number]
        if self.atlas.data is None or place < 0:
            return None
        radiograph = self.atlas.data.radiographs[place]
        if radiograph.id != id_:
            raise DataError(
                f"radiograph {id_!r} is no longer where it was in {self.atlas.data.spec!r}; open the run again"
            )
        return radiograph

    def _held(self, number: int, finding: str | None = None) -> Iterator[SaliencyMap]:
        return self.atlas.maps(self._id(number), finding, known=self._cases[1][number] >= 0)

    @cached_property
    def _columns(self) -> int:
        return len(list((self.folder / "data" / "columns").iterdir()))

    def _scores(self, number: int) -> bytes:
        """All scores of one radiograph, float32 (columns, findings): a little of every column."""
        self._id(number)
        width = 4 * len(self._cases[2])
        parts = []
        for column in range(self._columns):
            with (self.folder / "data" / "columns" / f"{column}.f32").open("rb") as file:
                file.seek(number * width)
                parts.append(file.read(width))
        return b"".join(parts)

    def _picture(self, kind: str, number: int) -> bytes:
        if kind == "scores":
            return self._scores(number)
        radiograph, findings = self._radiograph(number), self._cases[2]
        with self._gate:
            if kind == "preview":
                data = self.atlas.data
                lines = payloads.outlines(data, radiograph.id, findings) if data and radiograph else {}
                size = radiograph.size if radiograph else None
                return payloads.previews(self._held(number), lines, size)
            if radiograph is None or self.atlas.data is None:
                raise UnknownNameError(f"the radiograph {self._id(number)!r} is gone: its data set cannot be opened")
            if kind == "marks":
                return payloads.marks(self.atlas.data, radiograph, findings)
            return film(radiograph.read()) if kind == "film" else thumbnail(radiograph.read())

    def _maps(self, number: int, finding: int) -> bytes:
        findings = self._cases[2]
        if finding >= len(findings):
            raise UnknownNameError(f"there is no finding number {finding}; the run has {len(findings)}")
        with self._gate:
            return payloads.maps(self._held(number, findings[finding]))
