"""Every door of a server, tried over HTTP."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.web.server.app import new_app
from sightline.web.server.security import is_cross_site, is_known_host, require_token, secure
from sightline.web.server.serving import bind_socket, check_token

TOKEN = "a long enough token"


def app() -> Any:
    made = new_app()
    made.state.changes = 0

    @made.post("/change")
    def change(text: dict[str, Any]) -> dict[str, int]:
        made.state.changes += 1
        return {"length": len(json.dumps(text))}

    @made.get("/page/{name}")
    def page(name: str) -> dict[str, str]:
        return {"name": name}

    @made.get("/fail/{how}")
    def fail(how: str) -> None:
        raise {"unknown": UnknownNameError("no such"), "data": DataError("bad data"), "bug": ValueError("secret")}[how]

    return made


def client(
    made: Any | None = None, *, base: str = "http://127.0.0.1:8000", token: str = "", **options: Any
) -> TestClient:
    checks = [require_token(token, "sightline-8000")] if token else []
    wrapped = secure(made or app(), checks=checks, **options)
    return TestClient(wrapped, base_url=base, raise_server_exceptions=False, follow_redirects=False)


def test_every_answer_carries_the_policy() -> None:
    for path in ("/page/a", "/nothing", "/fail/bug", "/web/image-canvas.js"):
        headers = client().get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "no-cache")


def test_modules_are_served_as_modules() -> None:
    answer = client().get("/web/dom.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/web/../guard.py", "/web/%2e%2e/guard.py", "/web/..%2fguard.py", "/web//etc/passwd", "/web/%00"]
)
def test_no_path_leads_out_of_the_static_files(path: str) -> None:
    answer = client().get(path)
    assert answer.status_code in (400, 404, 500)
    assert b"import" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    ("how", "status", "sentence"),
    [
        ("unknown", 404, "no such"),
        ("data", 400, "bad data"),
        ("bug", 500, "the server failed"),
    ],
)
def test_errors_are_sentences(how: str, status: int, sentence: str) -> None:
    answer = client().get(f"/fail/{how}")
    assert answer.status_code == status
    assert answer.json()["error"].startswith(sentence)
    assert "secret" not in answer.text


def test_invalid_and_unknown_requests_are_sentences_too() -> None:
    assert "valid" in client().post("/change", content="[").json()["error"]
    assert client().get("/nothing").json() == {"error": "Not Found"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_is_refused(host: str) -> None:
    assert client().get("/page/a", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.1.7:8000", "Reading-Room:80"])
def test_own_names_and_addresses_are_answered(host: str) -> None:
    assert client(host_names=["reading-room"]).get("/page/a", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"origin": "https://127.0.0.1:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_another_site_changes_nothing(headers: dict[str, str]) -> None:
    made = app()
    assert client(made).post("/change", json={}, headers=headers).status_code == 403
    assert made.state.changes == 0


def test_own_pages_and_programs_may_change() -> None:
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client().post("/change", json={}, headers=own).status_code == 200
    assert client().post("/change", json={}).status_code == 200


def test_another_site_reads_nothing_but_may_link() -> None:
    image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client().get("/page/a", headers=image).status_code == 403
    assert client().get("/page/a", headers=link).status_code == 200


def test_large_bodies_never_reach_the_app() -> None:
    made = app()
    asked = client(made, max_body_bytes=1000)
    assert asked.post("/change", json={"a": "x" * 900}).status_code == 200
    assert asked.post("/change", json={"a": "x" * 1000}).status_code == 413
    assert "1000 bytes" in asked.post("/change", content=iter([b"x" * 600] * 3)).json()["error"]  # without a length
    assert asked.post("/change", json={}, headers={"content-length": "9" * 40}).status_code == 413
    assert asked.post("/change", json={}, headers={"content-length": "-1"}).status_code == 400
    assert made.state.changes == 1


def test_a_token_is_asked_for_once_and_remembered() -> None:
    asked = client(token=TOKEN)
    assert asked.get("/page/a").status_code == 401
    assert asked.get("/web/image-canvas.js").status_code == 401
    assert asked.get("/page/a", params={"token": "wrong"}).status_code == 401
    first = asked.get("/page/a", params={"token": TOKEN, "b": "c d"})
    assert (first.status_code, first.headers["location"]) == (303, "/page/a?b=c+d")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert asked.get("/page/a").status_code == 200


def test_the_cookie_outlives_a_restart_but_not_another_token() -> None:
    asked = client(token=TOKEN)
    cookie = asked.get("/page/a", params={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    again = client(token=TOKEN)
    assert again.get("/page/a", headers={"cookie": cookie}).status_code == 200
    assert client(token=TOKEN + "!").get("/page/a", headers={"cookie": cookie}).status_code == 401
    assert again.get("/page/a", headers={"cookie": "sightline-8000=" + "0" * 64}).status_code == 401
    assert client(token=TOKEN).get("/page/a", headers={"cookie": "=;;=\x7f"}).status_code == 401


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//evil.example/a", "/evil.example/a"),
        ("/%5Cevil.example/a", "/%5Cevil.example/a"),  # browsers read a backslash as a slash
        ("/a%0D%0Aset-cookie:%20b", "/a%0D%0Aset-cookie%3A%20b"),
    ],
)
def test_the_token_never_sends_a_browser_elsewhere(path: str, location: str) -> None:
    first = client(token=TOKEN).get(f"http://127.0.0.1:8000{path}", params={"token": TOKEN})
    assert first.headers["location"] == location


def test_a_client_that_leaves_in_the_middle_of_a_body_never_reaches_the_app() -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/change",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1")],
    }
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"a": 1', "more_body": True},
        {"type": "http.disconnect"},
    ]
    calls: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def record(*call: Any) -> None:
        calls.append(call)

    with ThreadPoolExecutor(1) as pool:  # not in this thread, in which a browser of other tests keeps a loop running
        pool.submit(asyncio.run, secure(record)(scope, receive, record)).result()
    assert not messages
    assert not calls


def test_a_retry_with_the_cookie_is_sent_to_the_place_of_the_link() -> None:
    browser = client(token=TOKEN)
    browser.get("/page/a", params={"token": TOKEN})
    retried = browser.get("/page/a?b=1&retry=")
    assert (retried.status_code, retried.headers["location"]) == (303, "/page/a?b=1")
    assert "set-cookie" not in retried.headers


def test_a_person_is_asked_for_the_token_in_a_page() -> None:
    html = {"accept": "text/html"}
    page = client(token=TOKEN).get("/page/a", headers=html)
    assert page.status_code == 401
    assert 'name="token"' in page.text
    assert "retry.js" not in page.text
    linked = client(token=TOKEN).get(
        "/page/a", headers={**html, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    )
    assert "retry.js" in linked.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "reading-room"])
def test_no_address_beyond_loopback_without_a_token(host: str) -> None:
    with pytest.raises(SightlineError, match="--token"):
        check_token(host, "")
    check_token(host, TOKEN)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(SightlineError, match="5 characters"):
        check_token("127.0.0.1", "short")
    check_token("127.0.0.1", "")


def test_a_taken_port_is_told() -> None:
    taken = bind_socket("127.0.0.1", 0)
    taken.listen(1)
    with taken, pytest.raises(SightlineError, match="give another --port"):
        bind_socket("127.0.0.1", taken.getsockname()[1])


def test_hosts_with_odd_brackets() -> None:
    assert not is_known_host("[evil.example]:80", ())
    assert not is_known_host("[", ())
    assert not is_cross_site(Request({"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": []}))
