"""A PostgreSQL of its own for the tests: made in a folder, on a free port of this machine, gone afterwards.

PostgreSQL refuses to run as root; where the tests do, it runs as the user `postgres` that Debian's package brings.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services import need


@dataclass(frozen=True)
class Cluster:
    """A running server, and its programs."""

    bin: Path
    folder: Path
    port: int

    def run(self, program: str, *words: str) -> None:
        """Errors: `AssertionError` with what the program said."""
        said = self.folder / "said.txt"  # a pipe would be held open by the server that pg_ctl leaves behind
        with said.open("w") as out:
            options = {"stdout": out, "stderr": subprocess.STDOUT, "cwd": self.folder, **_unprivileged()}
            done = subprocess.run([self.bin / program, *words], check=False, **options)
        assert done.returncode == 0, f"{program}: {said.read_text()}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"study_{uuid4().hex[:8]}"
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sightline", name)
        return f"postgresql://sightline@127.0.0.1:{self.port}/{name}"


def _unprivileged() -> dict[str, Any]:
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    programs = need("postgresql").parent
    memory = Path("/dev/shm")  # where syncing costs nothing; sockets need short names in any case
    home = memory if os.access(memory, os.W_OK) else Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="sightline-pg-", dir=home))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = Cluster(programs, folder, free.getsockname()[1])
    try:
        made.run(
            "initdb", "-D", str(folder / "data"), "-U", "sightline", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"
        )
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a study can be made: a folder, and an empty PostgreSQL database."""
    if request.param == "sqlite":
        return str(tmp_path / "study")
    made: Cluster = request.getfixturevalue("cluster")
    return made.database()
