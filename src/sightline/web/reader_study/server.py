"""Server of a reader study: login, assignments, images, maps, and the log. It sends readers no reference annotation.

The token of a reader is in the fragment of the link, which no server and no log receives. The page sends it once, and
gets a cookie that scripts cannot read. Every request is checked against the database: a revoked reader loses access at
once, and a restart of the server logs nobody out.
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
from sightline.data.reader_study.schedule import AIDED_TASKS
from sightline.data.reader_study.schema import Assignment, Reader, Study
from sightline.errors import SightlineError
from sightline.web.reader_study.create import StudyInputs
from sightline.web.server.app import mount_static, new_app
from sightline.web.server.encoding import encode_bundle, encode_image

_COOKIE_MAX_AGE = 365 * 24 * 3600
"""Lifetime of a cookie, in seconds; revoking the reader ends it earlier."""
MAX_IMAGE_SIDE = 3072
"""Longer side of an image that is sent, in pixels: more than a screen shows at once."""
_MAX_CACHED_IMAGES = 16
"""Number of encoded images kept in memory: the readers of a study read the same ones."""
MAX_OPERATIONS = 20_000
"""Greatest number of operations of a case, which hours of drawing do not reach."""
_INSTRUCTIONS = {
    "contour": ("Outline ", ", everywhere you see it."),
    "point": ("Click the one point that shows ", " best."),
    "search": ("Click where you would look, in the order in which you would look.", ""),
    "rate": ("How well does each map show ", "?"),
    "choice": ("If you could have only one of these maps with the radiograph: which for ", "?"),
}


class LoginRequest(BaseModel):
    """Body of a login: the token of the reader's link."""

    token: Annotated[str, Field(max_length=200)]


class OperationBatch(BaseModel):
    """Body of a request that adds operations to the log of an assignment."""

    operations: Annotated[list[Operation], Field(max_length=500)]


@dataclass(frozen=True)
class ServedStudy:
    """Study with its inputs, and the answers to requests of its readers."""

    database: StudyDatabase
    inputs: StudyInputs
    study: Study

    @cached_property
    def cookie_name(self) -> str:
        """Name of the cookie, which differs between studies on one host."""
        return f"sightline-readers-{key_digest(self.study.key).hex()[:8]}"

    @cached_property
    def encoded_image(self) -> Callable[[str], bytes]:
        """Function of the id of a radiograph that returns its image as PNG; recent ones are kept in memory."""
        radiographs = self.inputs.data.radiographs
        positions = {radiograph.id: i for i, radiograph in enumerate(radiographs)}

        @lru_cache(maxsize=_MAX_CACHED_IMAGES)
        def encode(radiograph: str) -> bytes:
            try:
                return encode_image(radiographs[positions[radiograph]].read(), MAX_IMAGE_SIDE)
            except (SightlineError, KeyError) as error:  # the message names a file, hence a patient: not for readers
                print(f"sightline: radiograph {radiograph!r} cannot be shown: {error}", file=sys.stderr)
                raise HTTPException(500, "this image cannot be read; please inform the person in charge") from error

        return encode

    def current_reader(self, request: Request) -> Reader:
        """Return the reader who sent a request.

        Parameters
        ----------
        request : Request
            Request with the cookie of the study; without a valid one, as in `authenticate`.

        Returns
        -------
        Reader
        """
        return self.authenticate(request.cookies.get(self.cookie_name, ""))

    def authenticate(self, token: str) -> Reader:
        """Return the reader of a token.

        Parameters
        ----------
        token : str
            Token of a personal link.

        Returns
        -------
        Reader

        Raises
        ------
        HTTPException
            With status 401 for a wrong token or a revoked reader.
        """
        reader = self.database.authenticate(token)
        if reader is None:
            raise HTTPException(401, "this link is not valid, or no longer valid; ask for a new one")
        return reader

    def assignment(self, request: Request, key: str) -> Assignment:
        """Return an assignment of the reader who sent a request.

        Parameters
        ----------
        request : Request
            Request of a reader.
        key : str
            Key of the assignment; for one of another reader, as in `assignment_with_count`.

        Returns
        -------
        Assignment
        """
        return self.assignment_with_count(request, key)[0]

    def assignment_with_count(self, request: Request, key: str) -> tuple[Assignment, int]:
        """Return an assignment of the reader who sent a request, and the number of its operations.

        Parameters
        ----------
        request : Request
            Request of a reader.
        key : str
            Key of the assignment.

        Returns
        -------
        tuple of (Assignment, int)

        Raises
        ------
        HTTPException
            With status 404 if the reader has no such assignment.
        """
        match = self.database.find_assignment(self.current_reader(request), key)
        if match is None:
            raise HTTPException(404, "there is no such case for you")
        return match

    def encode_map(self, assignment: Assignment, letter: str) -> bytes:
        """Encode the values and the frame of a map, without its source.

        Parameters
        ----------
        assignment : Assignment
            Assignment in which maps are judged.
        letter : str
            Letter of the map.

        Returns
        -------
        bytes
            Bundle with the fields box and size, and the array values.

        Raises
        ------
        HTTPException
            With status 404 if there is no such map.
        """
        run, sources = self.inputs.run, dict(zip(_source_letters(assignment), assignment.sources, strict=True))
        if letter not in sources or run is None:
            raise HTTPException(404, "this case has no map of that letter")
        maps = run.maps_for(assignment.case.radiograph, [sources[letter]])
        match = next((m for m in maps if m.finding == assignment.case.finding), None)
        if match is None:
            raise HTTPException(404, "this map no longer exists; please inform the person in charge")
        return encode_bundle({"box": match.frame.box, "size": match.frame.size}, {"values": match.values})


def reader_app(database: StudyDatabase, inputs: StudyInputs) -> FastAPI:
    """Create the app of a study, with its pages and its interface.

    Parameters
    ----------
    database : StudyDatabase
        Open database of the study.
    inputs : StudyInputs
        Data set and run of the study.

    Returns
    -------
    FastAPI
        App that checks the tokens of readers itself.
    """
    app = new_app(title="Sightline readers")
    mount_static(app, "/readers", "sightline.web.reader_study")
    served = ServedStudy(database, inputs, database.study())
    _add_login_routes(app, served)
    _add_case_routes(app, served)
    return app


def _add_login_routes(app: FastAPI, served: ServedStudy) -> None:
    page = (files("sightline.web.reader_study") / "static" / "index.html").read_text("utf-8")

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"cache-control": "no-cache"})

    @app.post("/api/enter")
    def enter(login: LoginRequest, request: Request, response: Response) -> dict[str, bool]:
        served.authenticate(login.token)
        secure = request.url.scheme == "https"
        response.set_cookie(
            served.cookie_name,
            login.token,
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
        finished = served.database.finished_assignments(reader.number)
        assignments = served.database.assignments(reader.number)
        return {
            "reader": reader.name,
            "title": served.study.title,
            "turns": [{"key": a.key, "task": a.case.task, "finished": a.key in finished} for a in assignments],
            # Name under which the browser stores unsent work: it survives a new link, and differs between studies.
            "shelf": key_digest(served.study.key, reader.number).hex()[:16],
        }


def _add_case_routes(app: FastAPI, served: ServedStudy) -> None:
    @app.get("/api/turns/{key}")
    def case(key: str, request: Request) -> dict[str, Any]:
        return case_payload(served.assignment(request, key)) | {
            "operations": [o.model_dump() for o in served.database.operations(key)]
        }

    @app.post("/api/turns/{key}/operations")
    def save(key: str, batch: OperationBatch, request: Request) -> dict[str, int]:
        _check_operations(batch.operations, *served.assignment_with_count(request, key))
        return {"new": served.database.append(key, batch.operations), "saved": len(batch.operations)}

    @app.get("/api/turns/{key}/film")
    def image(key: str, request: Request) -> Response:
        return _cacheable_response(served.encoded_image(served.assignment(request, key).case.radiograph), "image/png")

    @app.get("/api/turns/{key}/maps/{letter}")
    def saliency_map(key: str, letter: str, request: Request) -> Response:
        return _cacheable_response(
            served.encode_map(served.assignment(request, key), letter), "application/octet-stream"
        )


def case_payload(assignment: Assignment) -> dict[str, Any]:
    """Return the description of a case for the browser, without identifiers, labels, sources and annotations.

    Parameters
    ----------
    assignment : Assignment
        Assignment of a reader.

    Returns
    -------
    dict
        Instruction, image size (H, W), letters of the maps, and questions.
    """
    case, (before, after) = assignment.case, _INSTRUCTIONS[assignment.case.task]
    if case.task in AIDED_TASKS and assignment.sources:
        after += " The colors are the map of a model, which may be wrong."
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
    """Return a response that the reader's browser may keep: a case that is opened again needs no connection."""
    return Response(body, media_type=kind, headers={"cache-control": "private, max-age=86400"})


def _check_operations(operations: list[Operation], assignment: Assignment, n_stored: int) -> None:
    """Raise HTTP error 422 for an answer to no question, a point outside the image, or too many operations."""
    allowed = _allowed_answers(assignment)
    height, width = assignment.case.height, assignment.case.width
    for o in operations:
        if isinstance(o, AnswerQuestion) and o.value and o.value not in allowed.get((o.question, o.source), ()):
            raise HTTPException(
                422, f"{o.question!r} of {o.source!r} is {o.value!r}, which is no answer to a question of this case"
            )
        if o.kind == "put" and (
            assignment.case.task not in ANNOTATION_TASKS or any(r > height or c > width for r, c in o.points)
        ):
            raise HTTPException(422, "a shape lies outside the image, or the task has no shapes")
    if n_stored + len(operations) > MAX_OPERATIONS:
        raise HTTPException(422, f"a case may have at most {MAX_OPERATIONS} changes")


def _allowed_answers(assignment: Assignment) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the allowed answers by (question, letter)."""
    letters = _source_letters(assignment)
    if assignment.case.task == "rate":
        return {(q.name, letter): _rating_scale(len(q.anchors)) for q in QUESTIONS for letter in letters}
    if assignment.case.task == "choice":
        return {(CHOICE_QUESTION.name, ""): tuple(letters)}
    return {(ABSENT_QUESTION, ""): ("yes",)} if assignment.case.task != "search" else {}


def _rating_scale(points: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(points))
