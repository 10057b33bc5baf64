"""Engines of SQLAlchemy for the databases of reader studies: SQLite in a folder, or PostgreSQL at a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from sightline.data.reader_study.schema import Study
from sightline.errors import DataError, SightlineError

DATABASE_FILE = "study.db"
"""Name of the SQLite file in the folder of a study."""
_BUSY_TIMEOUT_MS = 20_000
"""Time to wait for another writer, in milliseconds."""


def read_version(engine: Engine) -> int | None:
    """Return the format of the study in a database, and leave no connection open.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Engine of the database.

    Returns
    -------
    int or None
        None if the database holds no study.
    """
    try:
        with engine.connect() as connection:
            has_study = inspect(connection).has_table(Study.__tablename__)
            return connection.scalar(select(Study.version)) if has_study else None
    finally:
        engine.dispose()


def check_folder(folder: Path, new: bool) -> None:
    """Check that a folder holds a study, or can hold a new one, and create it.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    new : bool
        True for a new study.

    Raises
    ------
    DataError
        If the folder holds no study or, for a new one, anything.
    """
    has_study = (folder / DATABASE_FILE).is_file()
    if new and has_study:
        raise DataError(f"{folder} already holds a study; name a new folder")
    if new and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; name a new one")
    if not new and not has_study:
        raise DataError(f"{folder} holds no study ({DATABASE_FILE}); create one with `sightline readers create`")
    folder.mkdir(parents=True, exist_ok=True)


def sqlite_engine(file: Path) -> Engine:
    """Create an engine for SQLite in which writers queue, readers never wait, and commits are on disk at their end.

    Parameters
    ----------
    file : Path
        File of the database.

    Returns
    -------
    sqlalchemy.Engine
    """
    # Full synchronization: an acknowledged operation survives a kill and a power failure.
    engine = create_engine(
        f"sqlite:///{file}", connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reading transaction that starts to write fails at once if another one wrote meanwhile: lock at its start.
        writes = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def postgres_engine(url: str) -> Engine:
    """Create an engine for PostgreSQL.

    Parameters
    ----------
    url : str
        postgresql://USER@HOST/DATABASE; the driver pg8000 may be omitted.

    Returns
    -------
    sqlalchemy.Engine

    Raises
    ------
    DataError
        If the URL is that of another kind of database.
    """
    address = make_url(url)
    if address.drivername == "postgresql":  # the driver may be omitted: '+' would be a blank in a data spec
        address = address.set(drivername="postgresql+pg8000")
    if address.get_backend_name() != "postgresql":
        raise DataError(
            f"a study is stored in a folder or in postgresql://USER@HOST/DATABASE, not in {address.drivername}"
        )
    return create_engine(address, pool_pre_ping=True)


@contextmanager
def database_errors(location: str) -> Iterator[None]:
    """Convert errors of SQLAlchemy and of drivers in a block to a `SightlineError` that states the remedy.

    Parameters
    ----------
    location : str
        Folder or URL of the study.

    Yields
    ------
    None

    Raises
    ------
    SightlineError
        If the database cannot be opened or used.
    """
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SightlineError(
            f"{location.partition('@')[0].partition(':')[0]}: this database cannot be opened ({error}); write "
            "postgresql://USER@HOST/DATABASE, and install the driver with: pip install 'sightline[postgres]'"
        ) from error
    except DBAPIError as error:
        raise SightlineError(f"the database of the study cannot be used: {error.orig}") from error
    except SQLAlchemyError as error:
        raise SightlineError(f"the database of the study cannot be used: {error}") from error
