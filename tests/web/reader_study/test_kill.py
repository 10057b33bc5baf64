"""The server is killed while readers draw: nothing acknowledged is lost, nothing sent again is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.schedule import invite_reader
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.reader_study.server import reader_app
from visitor import Visitor, stroke

DATA = "phantom:4?size=64"
SERVE = "import sys; from sightline._cli.app import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def serving(place: str, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command in a process of its own, and its address."""
    words = ["readers", "serve", place, "--port", "0"]
    with (
        log.open("a") as said,
        subprocess.Popen(
            [sys.executable, "-c", SERVE, *words],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("open http://"), log.read_text()
            yield process, line.split()[1].rstrip("/")
        finally:
            process.kill()


def draw(visitor: Visitor, key: str, acknowledged: list[str], sent: list[dict[str, object]]) -> None:
    """Stroke after stroke, until the server is gone."""
    for number in range(10_000):
        said = stroke(f"o{number}", number + 1, (1.0, 1.0), (1.0, 20.0 + number % 9), (20.0, 20.0))
        sent.append(said)
        try:
            status, _ = visitor.save(key, said)
        except (OSError, urllib.error.URLError):
            return
        assert status == 200
        acknowledged.append(f"o{number}")


def test_killed_in_mid_drawing(place: str, tmp_path: Path, serve_app: Callable[..., Any]) -> None:
    with create_study(DATA, place, tasks=("contour",)) as book:
        tokens = [invite_reader(book, name) for name in ("Dr A", "Dr B")]
    log = tmp_path / "said.txt"
    acknowledged: list[list[str]] = [[], []]
    sent: list[list[dict[str, object]]] = [[], []]
    with serving(place, log) as (process, url):
        visitors = [Visitor(url, token) for token in tokens]
        keys = [v.turns[0]["key"] for v in visitors]
        threads = [
            threading.Thread(target=draw, args=work) for work in zip(visitors, keys, acknowledged, sent, strict=True)
        ]
        for thread in threads:
            thread.start()
        while min(map(len, acknowledged)) < 12:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(30)
    with StudyDatabase.open(place) as book:
        for key, done in zip(keys, acknowledged, strict=True):
            kept = [o.id for o in book.operations(key)]
            assert set(done) <= set(kept), "acknowledged and lost"
            assert len(kept) - len(done) <= 1, "only the stroke in flight may be there unacknowledged"
    with StudyDatabase.open(place) as book, serve_app(reader_app(book, StudyInputs.open(DATA))) as again:
        for visitor, key, strokes in zip(visitors, keys, sent, strict=True):
            visitor.url = again
            status, said = visitor.save(key, *strokes)
            assert status == 200 and said["new"] <= 1, "the session outlives the server; what was kept is not doubled"
            assert [o["id"] for o in visitor.get(f"/api/turns/{key}")[1]["operations"]] == [s["id"] for s in strokes]
    for token in tokens:
        assert token not in log.read_text() and token.partition("-")[2] not in log.read_text()
