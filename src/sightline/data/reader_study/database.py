"""Database of a reader study: SQLite in a folder, or PostgreSQL at a URL."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from sightline._util.formats import check_format
from sightline.data.reader_study.engines import (
    DATABASE_FILE,
    check_folder,
    database_errors,
    postgres_engine,
    read_version,
    sqlite_engine,
)
from sightline.data.reader_study.events import CONTENT_KINDS, OPERATION_ADAPTER, CaseState, Operation, replay
from sightline.data.reader_study.group_commit import GroupCommit
from sightline.data.reader_study.schema import STUDY_FORMAT, Assignment, Base, Event, Reader, Study, StudyCase
from sightline.data.reader_study.tokens import new_token, token_digest
from sightline.errors import DataError, UnknownNameError


def utc_now() -> datetime:
    """Return the present time with its time zone.

    Returns
    -------
    datetime.datetime
        In UTC.
    """
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StudyDatabase:
    """Open database of a reader study."""

    location: str
    """Folder, or URL without its password."""
    engine: Engine
    group_commit: GroupCommit = field(default_factory=GroupCommit, compare=False, repr=False)

    @classmethod
    def open(cls, location: str | Path, *, new: bool = False) -> StudyDatabase:
        """Open the database of a study.

        Parameters
        ----------
        location : str or Path
            Folder, or postgresql://USER@HOST/DATABASE (the driver is pg8000, which the URL may name).
        new : bool, default False
            Create the tables of a new study in an empty folder or database.

        Returns
        -------
        StudyDatabase

        Raises
        ------
        DataError
            If the location holds no study (with `new`: holds one already), or one of another format.
        SightlineError
            If the database cannot be reached.
        """
        location = str(location)
        is_url = "://" in location
        if not is_url:
            check_folder(Path(location), new)
        with database_errors(location):
            engine = postgres_engine(location) if is_url else sqlite_engine(Path(location) / DATABASE_FILE)
            name = engine.url.render_as_string(hide_password=True) if is_url else location
            if new:
                Base.metadata.create_all(engine)
            version = read_version(engine)
        if new and version is not None:
            raise DataError(f"{name} already holds a study; name an empty database")
        if not new and version is None:
            raise DataError(f"{name} holds no study; create one with `sightline readers create`")
        if not new:
            remedy = "create the study again with `sightline readers create`"
            check_format(version, STUDY_FORMAT, "reader study", name, DataError, remedy)
        return cls(name, engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections; new ones are opened if the object is used again."""
        self.engine.dispose()

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Open a session for reading.

        Yields
        ------
        sqlalchemy.orm.Session
        """
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open a session for writing: committed to the disk when the block ends, rolled back if it raises.

        Yields
        ------
        sqlalchemy.orm.Session
        """
        with (
            self.engine.connect().execution_options(write=True) as connection,
            connection.begin(),
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session
            session.flush()

    def study(self) -> Study:
        """Return the row that describes the study.

        Returns
        -------
        Study
        """
        with self.read_session() as session:
            return session.scalars(select(Study)).one()

    def cases(self) -> Sequence[StudyCase]:
        """Return all cases of the study.

        Returns
        -------
        sequence of StudyCase
            In the order of their numbers.
        """
        with self.read_session() as session:
            return session.scalars(select(StudyCase).order_by(StudyCase.number)).all()

    def count_cases(self) -> dict[str, int]:
        """Count the cases of each task.

        Returns
        -------
        dict of str to int
            Number of cases by task, in the order of the study's tasks.
        """
        with self.read_session() as session:
            rows = session.execute(select(StudyCase.task, func.count()).group_by(StudyCase.task)).all()
        counts: dict[str, int] = {task: count for task, count in rows}  # noqa: C416  rows are typed one by one
        return {task: counts[task] for task in self.study().tasks}

    def readers(self) -> Sequence[Reader]:
        """Return all readers, also those whose access was revoked.

        Returns
        -------
        sequence of Reader
            In the order of their invitation.
        """
        with self.read_session() as session:
            return session.scalars(select(Reader).order_by(Reader.number)).all()

    def reader(self, name: str) -> Reader:
        """Return the reader of a name.

        Parameters
        ----------
        name : str
            Name of the reader.

        Returns
        -------
        Reader

        Raises
        ------
        UnknownNameError
            If nobody of that name was invited; the message lists all readers.
        """
        for reader in (readers := self.readers()):
            if reader.name == name:
                return reader
        known = ", ".join(repr(r.name) for r in readers) or "nobody"
        raise UnknownNameError(f"no reader of {self.location} is called {name!r}; invited: {known}")

    def authenticate(self, token: str) -> Reader | None:
        """Return the reader whose token this is, in the same time for every wrong secret.

        Parameters
        ----------
        token : str
            Token of a personal link.

        Returns
        -------
        Reader or None
            None for a wrong token, and for a reader whose access was revoked.
        """
        number, _, _ = token.partition("-")
        if not number.isascii() or not number.isdigit() or len(token) > 100:
            return None
        with self.read_session() as session:
            reader = session.get(Reader, int(number[:9]))
        expected = reader.digest if reader else bytes(32)
        matches = hmac.compare_digest(token_digest(token, reader.salt if reader else bytes(16)), expected)
        return reader if reader is not None and matches and reader.revoked is None else None

    def revoke(self, name: str) -> None:
        """Revoke the access of a reader at once; the reader's annotations and answers stay.

        Parameters
        ----------
        name : str
            Name of the reader; an unknown one raises as in `reader`.
        """
        number = self.reader(name).number
        with self.write_session() as session:
            session.get_one(Reader, number).revoked = utc_now()

    def rotate_token(self, name: str) -> str:
        """Replace the token of a reader, which restores a revoked access.

        Parameters
        ----------
        name : str
            Name of the reader; an unknown one raises as in `reader`.

        Returns
        -------
        str
            The new token. The old one is no longer valid.
        """
        number = self.reader(name).number
        token, salt, digest = new_token(number)
        with self.write_session() as session:
            reader = session.get_one(Reader, number)
            reader.salt, reader.digest, reader.revoked = salt, digest, None
        return token

    def append(self, assignment: str, operations: Sequence[Operation]) -> int:
        """Append operations to the log of an assignment, and return once they are on disk.

        Parameters
        ----------
        assignment : str
            Key of the assignment.
        operations : sequence of Operation
            Those already in the log are skipped; one with other content raises `DataError`, and nothing is stored.

        Returns
        -------
        int
            Number of operations that were new.
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
        """Return an assignment of a reader and the number of its operations.

        Parameters
        ----------
        reader : Reader
            Reader who must hold the assignment.
        key : str
            Key of the assignment.

        Returns
        -------
        tuple of (Assignment, int) or None
            None if the reader has no such assignment.
        """
        count = select(func.count()).where(Event.assignment == Assignment.key).correlate(Assignment).scalar_subquery()
        query = select(Assignment, count).where(Assignment.key == key, Assignment.reader_number == reader.number)
        with self.read_session() as session:
            row = session.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def operations(self, assignment: str) -> list[Operation]:
        """Return the log of an assignment.

        Parameters
        ----------
        assignment : str
            Key of the assignment.

        Returns
        -------
        list of Operation
            In the order of (clock, id).
        """
        with self.read_session() as session:
            bodies = session.scalars(select(Event.body).where(Event.assignment == assignment))
            return sorted(OPERATION_ADAPTER.validate_json(body) for body in bodies)

    def finished_assignments(self, reader_number: int) -> frozenset[str]:
        """Return the finished assignments of a reader, from the clocks alone; the result is that of `replay`.

        Parameters
        ----------
        reader_number : int
            Number of the reader.

        Returns
        -------
        frozenset of str
            Keys of the assignments.
        """
        keys = select(Assignment.key).where(Assignment.reader_number == reader_number)
        last = select(Event.assignment, Event.kind, func.max(Event.clock)).where(
            Event.assignment.in_(keys), Event.kind.in_((*CONTENT_KINDS, "finish"))
        )
        with self.read_session() as session:
            rows = session.execute(last.group_by(Event.assignment, Event.kind)).all()
        finished = {key: clock for key, kind, clock in rows if kind == "finish"}
        changed: dict[str, int] = {}
        for key, kind, clock in rows:
            if kind != "finish":
                changed[key] = max(clock, changed.get(key, 0))
        return frozenset(key for key, clock in finished.items() if clock > changed.get(key, 0))

    def case_states(self, reader_number: int) -> dict[str, CaseState]:
        """Return the state of every assignment that a reader has begun.

        Parameters
        ----------
        reader_number : int
            Number of the reader.

        Returns
        -------
        dict of str to CaseState
            State by key of the assignment.
        """
        keys = select(Assignment.key).where(Assignment.reader_number == reader_number)
        logs: dict[str, list[Operation]] = {}
        with self.read_session() as session:
            for key, body in session.execute(select(Event.assignment, Event.body).where(Event.assignment.in_(keys))):
                logs.setdefault(key, []).append(OPERATION_ADAPTER.validate_json(body))
        return {key: replay(log) for key, log in logs.items()}

    def assignments(self, reader_number: int) -> Sequence[Assignment]:
        """Return all assignments of a reader.

        Parameters
        ----------
        reader_number : int
            Number of the reader.

        Returns
        -------
        sequence of Assignment
            In the order in which the reader reads them.
        """
        query = select(Assignment).where(Assignment.reader_number == reader_number).order_by(Assignment.position)
        with self.read_session() as session:
            return session.scalars(query).all()


def _check_unchanged(session: Session, assignment: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Raise `DataError` if an operation that was sent again has other content than before."""
    bodies = {row["id"]: row["body"] for row in rows}
    query = select(Event.id, Event.body).where(Event.assignment == assignment, Event.id.in_(bodies))
    for name, body in session.execute(query):
        if body != bodies[name]:
            raise DataError(
                f"operation {name!r} was received before with other content; nothing of this request was stored"
            )
