"""The tables of a reader study: what is asked, who reads, who reads what in which order, and what they did."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

STUDY_FORMAT = 2
"""Format of the tables below and of the words in them."""


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), bytes: LargeBinary}  # noqa: RUF012  SQLAlchemy's own form


class Study(Base):
    """The one row that says what the study is."""

    __tablename__ = "study"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    version: Mapped[int] = mapped_column(default=STUDY_FORMAT)
    """Of these tables."""
    key: Mapped[str]
    """Drawn once: tells this study from every other, also in a browser."""
    title: Mapped[str]
    data_or_run: Mapped[str]
    """Data spec or run folder that the cases were taken from."""
    dataset_spec: Mapped[str]
    """Spec of the data set."""
    tasks: Mapped[list[str]] = mapped_column(JSON)
    findings: Mapped[list[str]] = mapped_column(JSON)
    sources: Mapped[list[str]] = mapped_column(JSON)
    """Whose maps are judged; none where no task asks for that."""
    seed: Mapped[int]
    repeat_share: Mapped[float]
    """Share of the cases of a task that each reader gets a second time."""
    created: Mapped[datetime]


class StudyCase(Base):
    """One question: a task on one finding of one radiograph."""

    __tablename__ = "cases"
    number: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    radiograph: Mapped[str]
    patient: Mapped[str]
    finding: Mapped[str]
    height: Mapped[int]
    width: Mapped[int]
    """Of the original, pixels."""


class Reader(Base):
    """Who reads. The token itself is nowhere: only a keyed digest of it."""

    __tablename__ = "readers"
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    salt: Mapped[bytes]
    digest: Mapped[bytes]
    invited: Mapped[datetime]
    revoked: Mapped[datetime | None]
    assignments: Mapped[list[Assignment]] = relationship(back_populates="reader", order_by="Assignment.position")


class Assignment(Base):
    """One reader's turn at one case."""

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("reader_number", "position"),)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    """What the browser knows it by; says nothing."""
    reader_number: Mapped[int] = mapped_column(ForeignKey("readers.number"))
    case_number: Mapped[int] = mapped_column(ForeignKey("cases.number"))
    occasion: Mapped[int]
    """0 the first time, 1 when the same case comes again."""
    position: Mapped[int]
    sources: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Sources of the maps on a sheet, in the order of their letters; readers see the letters alone."""
    reader: Mapped[Reader] = relationship(back_populates="assignments")
    case: Mapped[StudyCase] = relationship(lazy="joined", innerjoin=True)


class Event(Base):
    """One operation of the log, as it came. Rows are added, never changed or removed."""

    __tablename__ = "log"
    assignment: Mapped[str] = mapped_column(ForeignKey("assignments.key"), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    clock: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    body: Mapped[str] = mapped_column(Text)
    """The operation as canonical JSON."""
    received: Mapped[datetime]
