"""Tables of a reader study: the study, its cases, its readers, their assignments, and the log of operations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

STUDY_FORMAT = 3
"""Format of the tables below, and of the words in them."""


class Base(DeclarativeBase):
    """Base class of all tables."""

    type_annotation_map = {datetime: DateTime(timezone=True), bytes: LargeBinary}  # noqa: RUF012  SQLAlchemy's own form


class Study(Base):
    """The single row that describes the study."""

    __tablename__ = "study"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    version: Mapped[int] = mapped_column(default=STUDY_FORMAT)
    """Format of these tables."""
    key: Mapped[str]
    """Random identifier of the study, also in a browser."""
    title: Mapped[str]
    data_or_run: Mapped[str]
    """Data spec or run folder from which the cases were drawn."""
    dataset_spec: Mapped[str]
    """Spec of the data set."""
    tasks: Mapped[list[str]] = mapped_column(JSON)
    findings: Mapped[list[str]] = mapped_column(JSON)
    sources: Mapped[list[str]] = mapped_column(JSON)
    """Sources of the maps that are judged; empty without such a task."""
    aid: Mapped[str] = mapped_column(default="")
    """Source of the map that is shown in one of the two readings of each contour or point case; empty for none."""
    seed: Mapped[int]
    repeat_share: Mapped[float]
    """Share of the cases of a task that each reader reads a second time, in [0, 1]."""
    created: Mapped[datetime]


class StudyCase(Base):
    """Task on one finding of one radiograph."""

    __tablename__ = "cases"
    number: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    radiograph: Mapped[str]
    patient: Mapped[str]
    finding: Mapped[str]
    height: Mapped[int]
    """Height of the original image, in pixels."""
    width: Mapped[int]
    """Width of the original image, in pixels."""


class Reader(Base):
    """Reader of the study. The token is not stored, only a keyed digest of it."""

    __tablename__ = "readers"
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    salt: Mapped[bytes]
    digest: Mapped[bytes]
    invited: Mapped[datetime]
    revoked: Mapped[datetime | None]
    assignments: Mapped[list[Assignment]] = relationship(back_populates="reader", order_by="Assignment.position")


class Assignment(Base):
    """Case in the list of one reader."""

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("reader_number", "position"),)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random identifier for the browser, which reveals nothing about the case."""
    reader_number: Mapped[int] = mapped_column(ForeignKey("readers.number"))
    case_number: Mapped[int] = mapped_column(ForeignKey("cases.number"))
    occasion: Mapped[int]
    """0 for the first reading, 1 for the repeated one."""
    position: Mapped[int]
    sources: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Sources of the maps, in the order of their letters; readers see the letters only. In a contour or point case: the
    map that aids the reading, or nothing."""
    reader: Mapped[Reader] = relationship(back_populates="assignments")
    case: Mapped[StudyCase] = relationship(lazy="joined", innerjoin=True)


class Event(Base):
    """Operation in the log, as received. Rows are added, never changed or removed."""

    __tablename__ = "log"
    assignment: Mapped[str] = mapped_column(ForeignKey("assignments.key"), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    clock: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    body: Mapped[str] = mapped_column(Text)
    """The operation as canonical JSON."""
    received: Mapped[datetime]
