"""Operations in the log of a case, and the state that follows from them.

Every operation carries an id from the browser and a logical clock: one more than the highest clock of the case that
the browser knew (Lamport 1978, 10.1145/359545.359563). The state of a case follows from the *set* of its operations,
applied in the order of (clock, id). A request that is sent again after a lost connection therefore changes nothing, and
two windows on one case agree as soon as both know the same operations. static/log.js of `sightline.web.reader_study`
computes the same state in the browser.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

ClientId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
"""Random id from a browser, of an operation or a shape."""
FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
CONTENT_KINDS = ("put", "remove", "answer")
"""Kinds that change an annotation or an answer; after one of them, a case has to be finished again."""


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ClientId
    clock: Annotated[int, Field(ge=1, le=2**31 - 1)]

    def __lt__(self, other: _Operation) -> bool:
        return (self.clock, self.id) < (other.clock, other.id)


class PutShape(_Operation):
    """Draws a shape or replaces it: a contour (closed, or still being drawn), a point, or one click of a search."""

    kind: Literal["put"] = "put"
    shape: ClientId
    points: Annotated[tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=1, max_length=4000)]
    """(row, col) in pixels of the original image; (0, 0) is the outer corner of its first pixel."""
    closed: bool = False
    at: Annotated[FiniteNumber, Field(ge=0)] = 0.0
    """Active seconds spent on the case when the shape was begun."""


class RemoveShape(_Operation):
    """Removes a shape; a shape that does not exist is ignored."""

    kind: Literal["remove"] = "remove"
    shape: ClientId


class AnswerQuestion(_Operation):
    """Answers a question about a map, named by its letter, or about the radiograph, whose letter is ''."""

    kind: Literal["answer"] = "answer"
    question: ClientId
    source: Annotated[str, Field(pattern=r"^[A-Z]{0,2}$")] = ""
    value: Annotated[str, Field(max_length=40)]
    """Answer; '' withdraws an earlier one."""


class AddTime(_Operation):
    """Adds active seconds: the page was visible, and the mouse, pen or keyboard was in use."""

    kind: Literal["time"] = "time"
    seconds: Annotated[FiniteNumber, Field(ge=0, le=600)]


class FinishCase(_Operation):
    """Finishes the case; a later change of its content opens it again."""

    kind: Literal["finish"] = "finish"


Operation = Annotated[PutShape | RemoveShape | AnswerQuestion | AddTime | FinishCase, Field(discriminator="kind")]
OPERATION_ADAPTER: TypeAdapter[Operation] = TypeAdapter(Operation)
ABSENT_QUESTION = "absent"
"""Name of the question whose answer 'yes' states that the finding is not visible."""


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """Contour, point or click that a reader has drawn."""

    points: tuple[tuple[float, float], ...]
    closed: bool
    started_at: float


@dataclass(frozen=True, slots=True)
class CaseState:
    """State of a case after all of its operations."""

    shapes: dict[str, DrawnShape] = field(default_factory=dict)
    """Shapes by id, in the order in which they were first drawn."""
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Answers by (question, letter of the map)."""
    seconds: float = 0.0
    finished: bool = False
    clock: int = 0
    """Highest clock of any operation."""

    @property
    def is_absent(self) -> bool:
        """True if the reader answered that the finding is not visible."""
        return self.answers.get((ABSENT_QUESTION, "")) == "yes"


def replay(operations: Iterable[Operation]) -> CaseState:
    """Compute the state that follows from a set of operations.

    Parameters
    ----------
    operations : iterable of Operation
        Operations of one case, in any order, each any number of times.

    Returns
    -------
    CaseState

    Examples
    --------
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
    given = {key: value for key, value in answers.items() if value}
    return CaseState(shapes, given, seconds, finished > changed, clock)
