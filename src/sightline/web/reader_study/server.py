"""The server of a reader study: who reads, what comes next, films, and the log. It tells readers nothing of the truth.

A reader's link carries the token behind '#', where no server and no log sees it; the page hands it over once and gets a
cookie that no script can read. Every request is checked against the database, so that who is revoked is out at once
and a restart shuts nobody out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from sightline._util.rng import key_digest
from sightline.data.reader_study.annotations import ANNOTATION_TASKS
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import ABSENT_QUESTION, AnswerQuestion, Operation
from sightline.data.reader_study.rating_sheets import CHOICE_QUESTION, QUESTIONS
from sightline.data.reader_study.schema import Assignment, Reader, Study
from sightline.errors import SightlineError
from sightline.web.reader_study.create import StudyInputs
from sightline.web.server.app import mount_static, new_app
from sightline.web.server.encoding import encode_bundle, encode_image

_COOKIE_MAX_AGE = 365 * 24 * 3600
"""Seconds a cookie lives; being revoked ends it earlier."""
MAX_IMAGE_SIDE = 3072
"""Pixels of a film that are sent: more than any screen shows at once."""
_MAX_CACHED_IMAGES = 16
"""Encoded films kept in memory: readers of one study see the same ones."""
MAX_OPERATIONS = 20_000
"""Of one case. Hours of drawing stay far below."""
_INSTRUCTIONS = {
    "contour": ("Outline ", ", everywhere you see it."),
    "point": ("Click the one point that shows ", " best."),
    "search": ("Click where you would look, in the order in which you would look.", ""),
    "rate": ("How well does each map show ", "?"),
    "choice": ("If you could have only one of these maps beside the film: which for ", "?"),
}


class LoginRequest(BaseModel):
    token: Annotated[str, Field(max_length=200)]


class OperationBatch(BaseModel):
    operations: Annotated[list[Operation], Field(max_length=500)]


@dataclass(frozen=True)
class ServedStudy:
    """One study and what it is made of, as its visitors meet it."""

    database: StudyDatabase
    inputs: StudyInputs
    study: Study

    @cached_property
    def cookie_name(self) -> str:
        """Two studies may share a host."""
        return f"sightline-readers-{key_digest(self.study.key).hex()[:8]}"

    @cached_property
    def encoded_image(self) -> Callable[[str], bytes]:
        """radiograph id -> PNG; the last few are kept."""
        radiographs = self.inputs.data.radiographs
        at = {radiograph.id: i for i, radiograph in enumerate(radiographs)}

        @lru_cache(maxsize=_MAX_CACHED_IMAGES)
        def encoded(radiograph: str) -> bytes:
            try:
                return encode_image(radiographs[at[radiograph]].read(), MAX_IMAGE_SIDE)
            except (SightlineError, KeyError) as error:  # names a file, hence a patient: not for readers
                print(f"sightline: film {radiograph!r} cannot be shown: {error}", file=sys.stderr)
                raise HTTPException(500, "this film cannot be read; please tell whoever runs the study") from error

        return encoded

    def current_reader(self, request: Request) -> Reader:
        """Who asks. Errors: HTTP 401 for anybody who was not invited, or is not any more."""
        return self.authenticate(request.cookies.get(self.cookie_name, ""))

    def authenticate(self, token: str) -> Reader:
        found = self.database.authenticate(token)
        if found is None:
            raise HTTPException(401, "this link is not valid, or not any more; ask for a new one")
        return found

    def assignment(self, request: Request, key: str) -> Assignment:
        """A case of the reader who asks. Errors: HTTP 404 for any other."""
        return self.assignment_with_count(request, key)[0]

    def assignment_with_count(self, request: Request, key: str) -> tuple[Assignment, int]:
        """The same, and how many operations there are of it."""
        found = self.database.find_assignment(self.current_reader(request), key)
        if found is None:
            raise HTTPException(404, "there is no such case for you")
        return found

    def encode_map(self, assignment: Assignment, letter: str) -> bytes:
        """Values and place of a map; of where it comes from, nothing."""
        run, sources = self.inputs.run, dict(zip(_source_letters(assignment), assignment.sources, strict=True))
        if letter not in sources or run is None:
            raise HTTPException(404, "there is no such map on this sheet")
        of = run.maps_for(assignment.case.radiograph, [sources[letter]])
        found = next((m for m in of if m.finding == assignment.case.finding), None)
        if found is None:
            raise HTTPException(404, "this map is no longer there; please tell whoever runs the study")
        return encode_bundle({"box": found.frame.box, "size": found.frame.size}, {"values": found.values})


def reader_app(database: StudyDatabase, inputs: StudyInputs) -> FastAPI:
    """The pages and the interface of one study."""
    app = new_app(title="Sightline readers")
    mount_static(app, "/readers", "sightline.web.reader_study")
    room = ServedStudy(database, inputs, database.study())
    _add_login_routes(app, room)
    _add_case_routes(app, room)
    return app


def _add_login_routes(app: FastAPI, served: ServedStudy) -> None:
    page = (files("sightline.web.reader_study") / "static" / "index.html").read_text("utf-8")

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"cache-control": "no-cache"})

    @app.post("/api/enter")
    def enter(given: LoginRequest, request: Request, response: Response) -> dict[str, bool]:
        served.authenticate(given.token)
        secure = request.url.scheme == "https"
        response.set_cookie(
            served.cookie_name,
            given.token,
            max_age=_COOKIE_MAX_AGE,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )
        return {"entered": True}

    @app.get("/api/me")
    def me(request: Request) -> dict[str, Any]:
        reader = served.current_reader(request)
        done = served.database.finished_assignments(reader.number)
        turns = served.database.assignments(reader.number)
        return {
            "reader": reader.name,
            "title": served.study.title,
            "turns": [{"key": t.key, "task": t.case.task, "finished": t.key in done} for t in turns],
            # What the browser files unsent work under: the same after a new link, another in another study.
            "shelf": key_digest(served.study.key, reader.number).hex()[:16],
        }


def _add_case_routes(app: FastAPI, served: ServedStudy) -> None:
    @app.get("/api/turns/{key}")
    def asked(key: str, request: Request) -> dict[str, Any]:
        turn = served.assignment(request, key)
        return case_payload(turn) | {"operations": [o.model_dump() for o in served.database.operations(key)]}

    @app.post("/api/turns/{key}/operations")
    def save(key: str, batch: OperationBatch, request: Request) -> dict[str, int]:
        _check_operations(batch.operations, *served.assignment_with_count(request, key))
        return {"new": served.database.append(key, batch.operations), "saved": len(batch.operations)}

    @app.get("/api/turns/{key}/film")
    def pixels(key: str, request: Request) -> Response:
        return _cacheable_response(served.encoded_image(served.assignment(request, key).case.radiograph), "image/png")

    @app.get("/api/turns/{key}/maps/{letter}")
    def judged(key: str, letter: str, request: Request) -> Response:
        return _cacheable_response(
            served.encode_map(served.assignment(request, key), letter), "application/octet-stream"
        )


def case_payload(assignment: Assignment) -> dict[str, Any]:
    """What the browser is told of a case: the question, the size, letters instead of sources. No id, label or truth."""
    case, (before, after) = assignment.case, _INSTRUCTIONS[assignment.case.task]
    questions = [{"name": q.name, "text": q.text, "anchors": q.anchors} for q in QUESTIONS]
    return {
        "key": assignment.key,
        "task": case.task,
        "finding": case.finding,
        "before": before,
        "after": after,
        "size": [case.height, case.width],
        "letters": _source_letters(assignment),
        "questions": questions if case.task == "rate" else [],
    }


def _source_letters(assignment: Assignment) -> list[str]:
    return [chr(ord("A") + i) for i in range(len(assignment.sources))]


def _cacheable_response(body: bytes, kind: str) -> Response:
    """Pixels may stay in the browser of their reader: a case looked at again comes at once, even offline."""
    return Response(body, media_type=kind, headers={"cache-control": "private, max-age=86400"})


def _check_operations(operations: list[Operation], assignment: Assignment, n_stored: int) -> None:
    """Errors: HTTP 422 for an answer to what was not asked, a place outside the film, or more than anyone does."""
    allowed = _allowed_answers(assignment)
    height, width = assignment.case.height, assignment.case.width
    for o in operations:
        if isinstance(o, AnswerQuestion) and o.value and o.value not in allowed.get((o.question, o.source), ()):
            raise HTTPException(422, f"{o.question!r} of {o.source!r} is {o.value!r}, which was not asked for here")
        if o.kind == "put" and (
            assignment.case.task not in ANNOTATION_TASKS or any(r > height or c > width for r, c in o.points)
        ):
            raise HTTPException(422, "a shape lies outside the film, or none was asked for")
    if n_stored + len(operations) > MAX_OPERATIONS:
        raise HTTPException(422, f"more than {MAX_OPERATIONS} changes of one case are not kept")


def _allowed_answers(assignment: Assignment) -> dict[tuple[str, str], tuple[str, ...]]:
    """(question, letter) -> what may be answered."""
    letters = _source_letters(assignment)
    if assignment.case.task == "rate":
        return {(q.name, letter): _rating_scale(len(q.anchors)) for q in QUESTIONS for letter in letters}
    if assignment.case.task == "choice":
        return {(CHOICE_QUESTION.name, ""): tuple(letters)}
    return {(ABSENT_QUESTION, ""): ("yes",)} if assignment.case.task != "search" else {}


def _rating_scale(points: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(points))
