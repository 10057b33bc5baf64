"""The log of a case: what a reader did, as operations that may come twice, late or in any order, and what they come to.

Every operation carries an id that the browser made and a clock, one more than any that it had seen of the case (Lamport
1978, 10.1145/359545.359563). What a case looks like follows from the *set* of its operations, taken in the order of
(clock, id): a request that is sent again after a dropped connection changes nothing, and two windows on one case agree
as soon as they have heard of each other. src/sightline/readers/static/log.js is the same fold in the browser.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

ClientId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
"""Whatever a browser makes up: ids of operations and of shapes."""
FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
CONTENT_KINDS = ("put", "remove", "answer")
"""Kinds that change what was said; after one of them, a case has to be finished again."""


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ClientId
    clock: Annotated[int, Field(ge=1, le=2**31 - 1)]

    def __lt__(self, other: _Operation) -> bool:
        return (self.clock, self.id) < (other.clock, other.id)


class PutShape(_Operation):
    """Draw a shape, or replace it: a contour (closed, or still being drawn), a point, or one click of a search."""

    kind: Literal["put"] = "put"
    shape: ClientId
    points: Annotated[tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=1, max_length=4000)]
    """(row, col) in pixels of the original, (0, 0) the outer corner of its first pixel."""
    closed: bool = False
    at: Annotated[FiniteNumber, Field(ge=0)] = 0.0
    """Active seconds into the case when it was begun."""


class RemoveShape(_Operation):
    """Take a shape away. One that is not there stays away."""

    kind: Literal["remove"] = "remove"
    shape: ClientId


class AnswerQuestion(_Operation):
    """Answer a question about a source, by its letter on the sheet ('' where the question is about the radiograph)."""

    kind: Literal["answer"] = "answer"
    question: ClientId
    source: Annotated[str, Field(pattern=r"^[A-Z]{0,2}$")] = ""
    value: Annotated[str, Field(max_length=40)]
    """'' takes an answer back."""


class AddTime(_Operation):
    """Seconds at work on the case since the last such message: visible, and with a hand on the mouse or the pen."""

    kind: Literal["time"] = "time"
    seconds: Annotated[FiniteNumber, Field(ge=0, le=600)]


class FinishCase(_Operation):
    """Done with this case, as far as it goes: a later change opens it again."""

    kind: Literal["finish"] = "finish"


Operation = Annotated[PutShape | RemoveShape | AnswerQuestion | AddTime | FinishCase, Field(discriminator="kind")]
OPERATION_ADAPTER: TypeAdapter[Operation] = TypeAdapter(Operation)
ABSENT_QUESTION = "absent"
"""The question whose answer 'yes' says that the finding is not there to be marked."""


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """One contour, point or click."""

    points: tuple[tuple[float, float], ...]
    closed: bool
    started_at: float


@dataclass(frozen=True, slots=True)
class CaseState:
    """What the operations of a case come to."""

    shapes: dict[str, DrawnShape] = field(default_factory=dict)
    """In the order in which they were first drawn."""
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """(question, letter of the source) -> value."""
    seconds: float = 0.0
    finished: bool = False
    clock: int = 0
    """The highest of any operation."""

    @property
    def is_absent(self) -> bool:
        return self.answers.get((ABSENT_QUESTION, "")) == "yes"


def replay(operations: Iterable[Operation]) -> CaseState:
    """The state that a set of operations comes to, whatever their order and however often each is there.

    >>> draw = PutShape(id="a", clock=1, shape="s", points=((1.0, 2.0),))
    >>> replay([RemoveShape(id="b", clock=2, shape="s"), draw, draw]).shapes
    {}
    """
    shapes: dict[str, DrawnShape] = {}
    answers: dict[tuple[str, str], str] = {}
    seconds, changed, finished, clock = 0.0, 0, 0, 0
    for operation in sorted({o.id: o for o in operations}.values()):
        clock = operation.clock
        if isinstance(operation, PutShape):
            shapes[operation.shape] = DrawnShape(operation.points, operation.closed, operation.at)
        elif isinstance(operation, RemoveShape):
            shapes.pop(operation.shape, None)
        elif isinstance(operation, AnswerQuestion):
            answers[operation.question, operation.source] = operation.value
        elif isinstance(operation, AddTime):
            seconds += operation.seconds
        else:
            finished = operation.clock
        if operation.kind in CONTENT_KINDS:
            changed = operation.clock
    said = {key: value for key, value in answers.items() if value}
    return CaseState(shapes, said, seconds, finished > changed, clock)
