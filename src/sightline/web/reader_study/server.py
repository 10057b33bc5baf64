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
from sightline.data.reader_study.annotations import DRAWN
from sightline.data.reader_study.database import Book
from sightline.data.reader_study.events import ABSENT, Answer, Operation
from sightline.data.reader_study.rating_sheets import CHOICE, QUESTIONS
from sightline.data.reader_study.schema import Assignment, Reader, Study
from sightline.errors import SightlineError
from sightline.web.reader_study.create import Material
from sightline.web.server.app import mount_static, new_app
from sightline.web.server.encoding import film, pack

_KEPT = 365 * 24 * 3600
"""Seconds a cookie lives; being revoked ends it earlier."""
LONGEST_SIDE = 3072
"""Pixels of a film that are sent: more than any screen shows at once."""
_FILMS = 16
"""Encoded films kept in memory: readers of one study see the same ones."""
MOST_OPERATIONS = 20_000
"""Of one case. Hours of drawing stay far below."""
_SENTENCES = {
    "contour": ("Outline ", ", everywhere you see it."),
    "point": ("Click the one point that shows ", " best."),
    "look": ("Click where you would look, in the order in which you would look.", ""),
    "rate": ("How well does each map show ", "?"),
    "choice": ("If you could have only one of these maps beside the film: which for ", "?"),
}


class Entering(BaseModel):
    token: Annotated[str, Field(max_length=200)]


class Batch(BaseModel):
    operations: Annotated[list[Operation], Field(max_length=500)]


@dataclass(frozen=True)
class Room:
    """One study and what it is made of, as its visitors meet it."""

    book: Book
    material: Material
    study: Study

    @cached_property
    def cookie(self) -> str:
        """Two studies may share a host."""
        return f"sightline-readers-{key_digest(self.study.key).hex()[:8]}"

    @cached_property
    def film(self) -> Callable[[str], bytes]:
        """radiograph id -> PNG; the last few are kept."""
        radiographs = self.material.data.radiographs
        at = {radiograph.id: i for i, radiograph in enumerate(radiographs)}

        @lru_cache(maxsize=_FILMS)
        def encoded(radiograph: str) -> bytes:
            try:
                return film(radiographs[at[radiograph]].read(), LONGEST_SIDE)
            except (SightlineError, KeyError) as error:  # names a file, hence a patient: not for readers
                print(f"sightline: film {radiograph!r} cannot be shown: {error}", file=sys.stderr)
                raise HTTPException(500, "this film cannot be read; please tell whoever runs the study") from error

        return encoded

    def reader(self, request: Request) -> Reader:
        """Who asks. Errors: HTTP 401 for anybody who was not invited, or is not any more."""
        return self.admit(request.cookies.get(self.cookie, ""))

    def admit(self, token: str) -> Reader:
        found = self.book.admit(token)
        if found is None:
            raise HTTPException(401, "this link is not valid, or not any more; ask for a new one")
        return found

    def turn(self, request: Request, key: str) -> Assignment:
        """A case of the reader who asks. Errors: HTTP 404 for any other."""
        return self.counted(request, key)[0]

    def counted(self, request: Request, key: str) -> tuple[Assignment, int]:
        """The same, and how many operations there are of it."""
        found = self.book.turn(self.reader(request), key)
        if found is None:
            raise HTTPException(404, "there is no such case for you")
        return found

    def map(self, turn: Assignment, letter: str) -> bytes:
        """Values and place of a map; of where it comes from, nothing."""
        run, sources = self.material.run, dict(zip(_letters(turn), turn.shown, strict=True))
        if letter not in sources or run is None:
            raise HTTPException(404, "there is no such map on this sheet")
        of = run.of(turn.case.radiograph, [sources[letter]])
        found = next((m for m in of if m.finding == turn.case.finding), None)
        if found is None:
            raise HTTPException(404, "this map is no longer there; please tell whoever runs the study")
        return pack({"box": found.frame.box, "size": found.frame.size}, {"values": found.values})


def reader_app(book: Book, material: Material) -> FastAPI:
    """The pages and the interface of one study."""
    app = new_app(title="Sightline readers")
    mount_static(app, "/readers", "sightline.web.reader_study")
    room = Room(book, material, book.study())
    _entrance(app, room)
    _cases(app, room)
    return app


def _entrance(app: FastAPI, room: Room) -> None:
    page = (files("sightline.web.reader_study") / "static" / "index.html").read_text("utf-8")

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"cache-control": "no-cache"})

    @app.post("/api/enter")
    def enter(given: Entering, request: Request, response: Response) -> dict[str, bool]:
        room.admit(given.token)
        secure = request.url.scheme == "https"
        response.set_cookie(
            room.cookie, given.token, max_age=_KEPT, httponly=True, samesite="strict", secure=secure, path="/"
        )
        return {"entered": True}

    @app.get("/api/me")
    def me(request: Request) -> dict[str, Any]:
        reader = room.reader(request)
        done = room.book.finished(reader.number)
        turns = room.book.assignments(reader.number)
        return {
            "reader": reader.name, "title": room.study.title,
            "turns": [{"key": t.key, "task": t.case.task, "finished": t.key in done} for t in turns],
            # What the browser files unsent work under: the same after a new link, another in another study.
            "shelf": key_digest(room.study.key, reader.number).hex()[:16],
        }  # fmt: skip


def _cases(app: FastAPI, room: Room) -> None:
    @app.get("/api/turns/{key}")
    def asked(key: str, request: Request) -> dict[str, Any]:
        turn = room.turn(request, key)
        return described(turn) | {"operations": [o.model_dump() for o in room.book.operations(key)]}

    @app.post("/api/turns/{key}/operations")
    def save(key: str, batch: Batch, request: Request) -> dict[str, int]:
        _check_operations(batch.operations, *room.counted(request, key))
        return {"new": room.book.append(key, batch.operations), "saved": len(batch.operations)}

    @app.get("/api/turns/{key}/film")
    def pixels(key: str, request: Request) -> Response:
        return _kept(room.film(room.turn(request, key).case.radiograph), "image/png")

    @app.get("/api/turns/{key}/maps/{letter}")
    def judged(key: str, letter: str, request: Request) -> Response:
        return _kept(room.map(room.turn(request, key), letter), "application/octet-stream")


def described(turn: Assignment) -> dict[str, Any]:
    """What the browser is told of a case: the question, the size, letters instead of sources. No id, label or truth."""
    case, (before, after) = turn.case, _SENTENCES[turn.case.task]
    questions = [{"name": q.name, "text": q.text, "anchors": q.anchors} for q in QUESTIONS]
    return {
        "key": turn.key, "task": case.task, "finding": case.finding, "before": before, "after": after,
        "size": [case.height, case.width], "letters": _letters(turn),
        "questions": questions if case.task == "rate" else [],
    }  # fmt: skip


def _letters(turn: Assignment) -> list[str]:
    return [chr(ord("A") + i) for i in range(len(turn.shown))]


def _kept(body: bytes, kind: str) -> Response:
    """Pixels may stay in the browser of their reader: a case looked at again comes at once, even offline."""
    return Response(body, media_type=kind, headers={"cache-control": "private, max-age=86400"})


def _check_operations(operations: list[Operation], turn: Assignment, there: int) -> None:
    """Errors: HTTP 422 for an answer to what was not asked, a place outside the film, or more than anyone does."""
    allowed = _answers(turn)
    height, width = turn.case.height, turn.case.width
    for o in operations:
        if isinstance(o, Answer) and o.value and o.value not in allowed.get((o.question, o.source), ()):
            raise HTTPException(422, f"{o.question!r} of {o.source!r} is {o.value!r}, which was not asked for here")
        if o.kind == "put" and (turn.case.task not in DRAWN or any(r > height or c > width for r, c in o.points)):
            raise HTTPException(422, "a shape lies outside the film, or none was asked for")
    if there + len(operations) > MOST_OPERATIONS:
        raise HTTPException(422, f"more than {MOST_OPERATIONS} changes of one case are not kept")


def _answers(turn: Assignment) -> dict[tuple[str, str], tuple[str, ...]]:
    """(question, letter) -> what may be answered."""
    letters = _letters(turn)
    if turn.case.task == "rate":
        return {(q.name, letter): _scale(len(q.anchors)) for q in QUESTIONS for letter in letters}
    if turn.case.task == "choice":
        return {(CHOICE.name, ""): tuple(letters)}
    return {(ABSENT, ""): ("yes",)} if turn.case.task != "look" else {}


def _scale(points: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(points))
