"""Where a reader study lives: a folder (SQLite) or the URL of a PostgreSQL database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from sightline._util.formats import check_format
from sightline.data.reader_study.events import CONTENT_KINDS, OPERATION_ADAPTER, CaseState, Operation, replay
from sightline.data.reader_study.group_commit import GroupCommit
from sightline.data.reader_study.schema import STUDY_FORMAT, Assignment, Base, Event, Reader, Study, StudyCase
from sightline.errors import DataError, SightlineError, UnknownNameError

DATABASE_FILE = "study.db"
"""Of a study in a folder."""
_BUSY_TIMEOUT_MS = 20_000
"""Milliseconds to wait for another writer."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StudyDatabase:
    """An open reader study."""

    location: str
    """As it was named: a folder, or a URL without its password."""
    engine: Engine
    group_commit: GroupCommit = field(default_factory=GroupCommit, compare=False, repr=False)

    @classmethod
    def open(cls, location: str | Path, *, new: bool = False) -> StudyDatabase:
        """Open a study, or with `new` the empty place for one.

        place: a folder, or postgresql://USER@HOST/DATABASE (by the driver pg8000, which the URL may name).
        Errors: `DataError` where there is no study (or, with `new`, already one), or where it was made by another
        version; `SightlineError` for a database that cannot be reached.
        """
        location = str(location)
        url = "://" in location
        if not url:
            _check_folder(Path(location), new)
        with _database_errors(location):
            engine = _postgres(location) if url else _sqlite(Path(location) / DATABASE_FILE)
            shown = engine.url.render_as_string(hide_password=True) if url else location
            if new:
                Base.metadata.create_all(engine)
            there = _read_version(engine)
            book = cls(shown, engine)
        if new and there is not None:
            raise DataError(f"{shown} already holds a study; name an empty database")
        if not new and there is None:
            raise DataError(f"{shown} holds no study; make one with `sightline readers create`")
        if not new:
            remedy = "make the study again with `sightline readers create`"
            check_format(there, STUDY_FORMAT, "reader study", shown, DataError, remedy)
        return book

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections; it opens new ones if it is used again."""
        self.engine.dispose()

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """A transaction: committed, on disk, when the block ends, or undone if it raises."""
        with (
            self.engine.connect().execution_options(write=True) as connection,
            connection.begin(),
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session
            session.flush()

    def study(self) -> Study:
        with self.read_session() as session:
            return session.scalars(select(Study)).one()

    def cases(self) -> Sequence[StudyCase]:
        """Everything that is asked."""
        with self.read_session() as session:
            return session.scalars(select(StudyCase).order_by(StudyCase.number)).all()

    def count_cases(self) -> dict[str, int]:
        """Task -> cases, in the order of the study's tasks."""
        with self.read_session() as session:
            rows = session.execute(select(StudyCase.task, func.count()).group_by(StudyCase.task)).all()
        found: dict[str, int] = {task: count for task, count in rows}  # noqa: C416  rows are typed one by one
        return {task: found[task] for task in self.study().tasks}

    # -- readers --------------------------------------------------------------------------------------------------

    def readers(self) -> Sequence[Reader]:
        """In the order of their invitation."""
        with self.read_session() as session:
            return session.scalars(select(Reader).order_by(Reader.number)).all()

    def reader(self, name: str) -> Reader:
        """Errors: `UnknownNameError` names those there are."""
        for reader in (there := self.readers()):
            if reader.name == name:
                return reader
        known = ", ".join(repr(r.name) for r in there) or "nobody"
        raise UnknownNameError(f"no reader of {self.location} is called {name!r}; invited: {known}")

    def authenticate(self, token: str) -> Reader | None:
        """The reader whose token this is, None for a wrong or a revoked one; equally fast for any wrong secret."""
        number, _, _ = token.partition("-")
        if not number.isascii() or not number.isdigit() or len(token) > 100:
            return None
        with self.read_session() as session:
            reader = session.get(Reader, int(number[:9]))
        expected = reader.digest if reader else bytes(32)
        fits = hmac.compare_digest(token_digest(token, reader.salt if reader else bytes(16)), expected)
        return reader if reader is not None and fits and reader.revoked is None else None

    def revoke(self, name: str) -> None:
        """Shut a reader out, at once; what was said stays. Errors: as `reader`."""
        number = self.reader(name).number
        with self.write_session() as session:
            session.get_one(Reader, number).revoked = utc_now()

    def rotate_token(self, name: str) -> str:
        """A new token for a reader; the old one opens nothing any more. Errors: as `reader`."""
        number = self.reader(name).number
        token, salt, digest = new_token(number)
        with self.write_session() as session:
            reader = session.get_one(Reader, number)
            reader.salt, reader.digest, reader.revoked = salt, digest, None
        return token

    # -- the log --------------------------------------------------------------------------------------------------

    def append(self, assignment: str, operations: Sequence[Operation]) -> int:
        """Add operations to the log of an assignment; those already there are passed over. Returns how many were new.

        When it returns, they are on disk. Errors: `DataError` for an id that stands for another operation.
        """
        received = utc_now()
        rows = [
            {
                "assignment": assignment,
                "id": o.id,
                "clock": o.clock,
                "kind": o.kind,
                "body": o.model_dump_json(),
                "received": received,
            }
            for o in operations
        ]
        if not rows:
            return 0
        insert = (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert
        added = insert(Event).values(rows).on_conflict_do_nothing().returning(Event.id)

        def add(session: Session) -> int:
            new = set(session.scalars(added))
            if len(new) < len(rows):
                _check_unchanged(session, assignment, [row for row in rows if row["id"] not in new])
            return len(new)

        return self.group_commit.write(add, self.write_session)

    def find_assignment(self, reader: Reader, key: str) -> tuple[Assignment, int] | None:
        """A case of a reader and how many operations it has, None if it is not theirs."""
        many = select(func.count()).where(Event.assignment == Assignment.key).correlate(Assignment).scalar_subquery()
        of = select(Assignment, many).where(Assignment.key == key, Assignment.reader_number == reader.number)
        with self.read_session() as session:
            found = session.execute(of).one_or_none()
        return None if found is None else (found[0], found[1])

    def operations(self, assignment: str) -> list[Operation]:
        """The log of an assignment, in the order of its clocks."""
        with self.read_session() as session:
            bodies = session.scalars(select(Event.body).where(Event.assignment == assignment))
            return sorted(OPERATION_ADAPTER.validate_json(body) for body in bodies)

    def finished_assignments(self, reader_number: int) -> frozenset[str]:
        """Keys of a reader's finished assignments, by clocks alone, as `replay` tells it."""
        mine = select(Assignment.key).where(Assignment.reader_number == reader_number)
        last = select(Event.assignment, Event.kind, func.max(Event.clock)).where(
            Event.assignment.in_(mine), Event.kind.in_((*CONTENT_KINDS, "finish"))
        )
        with self.read_session() as session:
            rows = session.execute(last.group_by(Event.assignment, Event.kind)).all()
        done = {key: clock for key, kind, clock in rows if kind == "finish"}
        changed: dict[str, int] = {}
        for key, kind, clock in rows:
            if kind != "finish":
                changed[key] = max(clock, changed.get(key, 0))
        return frozenset(key for key, clock in done.items() if clock > changed.get(key, 0))

    def case_states(self, reader_number: int) -> dict[str, CaseState]:
        """Assignment -> what was said, of every assignment of a reader that was begun."""
        mine = select(Assignment.key).where(Assignment.reader_number == reader_number)
        logs: dict[str, list[Operation]] = {}
        with self.read_session() as session:
            for key, body in session.execute(select(Event.assignment, Event.body).where(Event.assignment.in_(mine))):
                logs.setdefault(key, []).append(OPERATION_ADAPTER.validate_json(body))
        return {key: replay(log) for key, log in logs.items()}

    def assignments(self, reader_number: int) -> Sequence[Assignment]:
        """In the order in which the reader meets them."""
        of = select(Assignment).where(Assignment.reader_number == reader_number).order_by(Assignment.position)
        with self.read_session() as session:
            return session.scalars(of).all()


def new_token(number: int) -> tuple[str, bytes, bytes]:
    """(token, salt, digest) for the reader of a number; only salt and digest are kept."""
    token, salt = f"{number}-{secrets.token_urlsafe(32)}", secrets.token_bytes(16)
    return token, salt, token_digest(token, salt)


def token_digest(token: str, salt: bytes) -> bytes:
    """Keyed digest of a token, 32 bytes. A token holds 256 random bits, so no slow hash is needed."""
    return hmac.new(salt, token.encode("utf-8", "replace"), hashlib.sha256).digest()


def _check_unchanged(session: Session, assignment: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Errors: `DataError` if an operation that was sent again says something else than before."""
    wanted = {row["id"]: row["body"] for row in rows}
    of = select(Event.id, Event.body).where(Event.assignment == assignment, Event.id.in_(wanted))
    for name, body in session.execute(of):
        if body != wanted[name]:
            raise DataError(f"operation {name!r} came before with other content; nothing of this request was kept")


def _read_version(engine: Engine) -> int | None:
    """Of the study in a database, None where there is none. Leaves no connection open."""
    try:
        with engine.connect() as connection:
            there = inspect(connection).has_table(Study.__tablename__)
            return connection.scalar(select(Study.version)) if there else None
    finally:
        engine.dispose()


def _check_folder(folder: Path, new: bool) -> None:
    there = (folder / DATABASE_FILE).is_file()
    if new and there:
        raise DataError(f"{folder} already holds a study; name a new folder")
    if new and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is already there and not an empty folder; name a new one")
    if not new and not there:
        raise DataError(f"{folder} holds no study ({DATABASE_FILE}); make one with `sightline readers create`")
    folder.mkdir(parents=True, exist_ok=True)


def _sqlite(file: Path) -> Engine:
    """Writers queue up, readers never wait for them, and a commit is on disk before it returns: full synchronization
    keeps what was acknowledged through a kill and a power failure."""
    engine = create_engine(
        f"sqlite:///{file}", connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A reading transaction that turns to writing fails at once when another one wrote meanwhile: ask first.
        writes = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(url: str) -> Engine:
    named = make_url(url)
    if named.drivername == "postgresql":  # the driver may be left out: '+' would be a blank in a spec
        named = named.set(drivername="postgresql+pg8000")
    if named.get_backend_name() != "postgresql":
        raise DataError(
            f"studies are kept in a folder or in postgresql://USER@HOST/DATABASE, not in {named.drivername}"
        )
    return create_engine(named, pool_pre_ping=True)


@contextmanager
def _database_errors(location: str) -> Iterator[None]:
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
