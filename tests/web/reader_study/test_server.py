"""What the server tells and takes: by invitation only, nothing of the truth, bounded, and from its own pages."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sightline.data import open_dataset
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.schedule import invite_reader
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.reader_study.server import reader_app
from visitor import Visitor, stroke

DATA = "phantom:6?size=64"
SQUARE = ((10.0, 10.0), (10.0, 30.0), (30.0, 30.0))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyDatabase]:
    with create_study(DATA, tmp_path_factory.mktemp("s") / "study", tasks=("contour", "point", "search")) as made:
        yield made


@pytest.fixture(scope="module")
def url(book: StudyDatabase, serve_app: Callable[..., Any]) -> Iterator[str]:
    with serve_app(reader_app(book, StudyInputs.open(DATA))) as where:
        yield where


@pytest.fixture
def visitor(book: StudyDatabase, url: str, request: pytest.FixtureRequest) -> Visitor:
    return Visitor(url, invite_reader(book, request.node.name[:80]))


def test_nobody_enters_uninvited(url: str, book: StudyDatabase) -> None:
    stranger = Visitor(url)
    token = invite_reader(book, "somebody")
    key = book.assignments(book.reader("somebody").number)[0].key
    paths = ("/api/me", f"/api/turns/{key}", f"/api/turns/{key}/film", f"/api/turns/{key}/maps/A")
    assert [stranger.get(path)[0] for path in paths] == [401] * 4
    assert stranger.save(key, stroke("a", 1, *SQUARE))[0] == 401
    assert stranger.post("/api/enter", {"token": token[:-1]})[0] == 401
    assert stranger.get("/")[0] == 200, "the page itself says nothing"


def test_the_cookie_is_no_script_s_business(visitor: Visitor) -> None:
    (cookie,) = visitor.jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite").lower() == "strict"


def test_a_case_says_nothing_but_its_question(visitor: Visitor) -> None:
    data = open_dataset(DATA)
    secrets = (
        {r.id for r in data.radiographs} | {r.patient for r in data.radiographs} | {"truth", "phantom", "occasion"}
    )
    told = [json.dumps(visitor.get("/api/me")[1])]
    for turn in visitor.turns[:8]:
        status, said = visitor.get(f"/api/turns/{turn['key']}")
        assert status == 200
        assert set(said) == {"key", "task", "finding", "before", "after", "size", "letters", "questions", "operations"}
        told.append(json.dumps(said))
    assert not [s for s in secrets for text in told if s in text]
    status, film = visitor.get(f"/api/turns/{visitor.turns[0]['key']}/film")
    assert status == 200 and film.startswith(b"\x89PNG")
    assert not [s for s in secrets if s.encode() in film]


def test_a_reader_has_no_part_in_another_s_cases(visitor: Visitor, url: str, book: StudyDatabase) -> None:
    other = Visitor(url, invite_reader(book, "another"))
    key = other.turns[0]["key"]
    assert visitor.get(f"/api/turns/{key}")[0] == 404
    assert visitor.save(key, stroke("a", 1, *SQUARE))[0] == 404
    assert visitor.get("/api/turns/none")[0] == 404
    assert not book.operations(key)


def test_saving_twice_is_saving_once(visitor: Visitor) -> None:
    key = visitor.turns[0]["key"]
    said = [stroke("a", 1, *SQUARE), {"id": "t", "clock": 2, "kind": "time", "seconds": 3.5}]
    assert visitor.save(key, *said) == (200, {"new": 2, "saved": 2})
    assert visitor.save(key, *said, {"id": "f", "clock": 3, "kind": "finish"}) == (200, {"new": 1, "saved": 3})
    log = visitor.get(f"/api/turns/{key}")[1]["operations"]
    assert [o["id"] for o in log] == ["a", "t", "f"] and log[0]["points"] == [list(p) for p in SQUARE]
    assert [t["finished"] for t in visitor.turns][:2] == [True, False]
    status, said = visitor.save(key, stroke("a", 9, *SQUARE))
    assert status == 400 and "was received before with other content" in said["error"]


@pytest.mark.parametrize(
    "operation",
    [
        stroke("x", 1, (500.0, 1.0), (2.0, 2.0), (3.0, 1.0)),
        stroke("x", 1),
        stroke("x" * 41, 1, *SQUARE),
        {"id": "x", "clock": 1, "kind": "answer", "question": "extent", "source": "A", "value": "5"},
        {"id": "x", "clock": 1, "kind": "answer", "question": "absent", "source": "", "value": "maybe"},
        {"id": "x", "clock": 0, "kind": "finish"},
        {"id": "x", "clock": 1, "kind": "finish", "more": 1},
    ],
)
def test_what_was_not_asked_is_refused(operation: dict[str, Any], url: str, book: StudyDatabase) -> None:
    name = f"asked {abs(hash(str(operation)))}"
    visitor = Visitor(url, invite_reader(book, name))
    key = visitor.turns[0]["key"]
    status, said = visitor.save(key, stroke("good", 1, *SQUARE), operation)
    assert status == 422 and said["error"]
    assert visitor.get(f"/api/turns/{key}")[1]["operations"] == []


def test_uploads_are_bounded(visitor: Visitor) -> None:
    key = visitor.turns[0]["key"]
    line = http.client.HTTPConnection(visitor.url.removeprefix("http://"), timeout=30)
    line.request("POST", f"/api/turns/{key}/operations", headers={"content-length": str(2 << 20)})
    refused = line.getresponse()  # before any of it is sent
    assert refused.status == 413 and b"larger than" in refused.read()
    line.close()
    many = [{"id": f"t{i}", "clock": i + 1, "kind": "time", "seconds": 1} for i in range(501)]
    assert visitor.save(key, *many)[0] == 422
    assert visitor.post(f"/api/turns/{key}/operations", b"{")[0] == 422


def test_a_case_does_not_grow_forever(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.web.reader_study.server.MAX_OPERATIONS", 3)
    key = visitor.turns[0]["key"]
    assert visitor.save(key, *(stroke(f"s{i}", i + 1, *SQUARE) for i in range(3)))[0] == 200
    assert visitor.save(key, stroke("s3", 4, *SQUARE))[0] == 422


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_other_sites_are_refused(headers: dict[str, str], url: str, book: StudyDatabase) -> None:
    visitor = Visitor(url, invite_reader(book, f"crossed {headers}"))
    key = visitor.turns[0]["key"]
    body = {"operations": [stroke("a", 1, *SQUARE)]}
    assert visitor.post(f"/api/turns/{key}/operations", body, **headers)[0] == 403
    assert visitor.post("/api/enter", {"token": "x"}, **headers)[0] == 403
    assert not book.operations(key)


def test_who_is_revoked_is_out_at_once(url: str, book: StudyDatabase) -> None:
    token = invite_reader(book, "leaver")
    visitor = Visitor(url, token)
    key = visitor.turns[0]["key"]
    assert visitor.save(key, stroke("a", 1, *SQUARE))[0] == 200
    book.revoke("leaver")
    assert visitor.get("/api/me")[0] == 401 and visitor.save(key, stroke("b", 2, *SQUARE))[0] == 401
    assert Visitor(url).post("/api/enter", {"token": token})[0] == 401
    assert [o.id for o in book.operations(key)] == ["a"], "what was said stays"


def test_a_film_that_is_gone_names_nobody(book: StudyDatabase, serve_app: Callable[..., Any]) -> None:
    with serve_app(reader_app(book, StudyInputs.open("phantom:1?size=64"))) as url:
        visitor = Visitor(url, invite_reader(book, "late"))
        films = [visitor.get(f"/api/turns/{t['key']}/film") for t in visitor.turns[:12]]
    assert {status for status, _ in films} <= {200, 500} and 500 in {status for status, _ in films}
    assert all("inform the person in charge" in said["error"] for status, said in films if status == 500)


def test_what_a_film_shows(visitor: Visitor, book: StudyDatabase) -> None:
    import io

    from PIL import Image

    data = {r.id: r for r in open_dataset(DATA).radiographs}
    turn = visitor.turns[0]
    case = next(t.case for t in book.assignments(int(book.readers()[-1].number)) if t.key == turn["key"])
    shown = np.asarray(Image.open(io.BytesIO(visitor.get(f"/api/turns/{turn['key']}/film")[1]))).astype(int)
    gray = shown[..., 0] * 256 + shown[..., 1] if shown.ndim == 3 else shown * 257
    assert np.abs(gray / 65535 - data[case.radiograph].read()).max() < 1e-4
