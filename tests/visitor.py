"""A reader without a browser: requests with a cookie jar."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.request
from typing import Any


class Visitor:
    """Remembers cookies; tells (status, what the server said)."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.jar = url.rstrip("/"), http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({})
        )
        if token:
            status, said = self.post("/api/enter", {"token": token})
            assert status == 200, said

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._ask(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **headers}
        return self._ask(urllib.request.Request(self.url + path, data, headers, method="POST"))

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, _read(answer.headers.get_content_type(), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.headers.get_content_type(), error.read())

    def save(self, key: str, *operations: dict[str, Any]) -> tuple[int, Any]:
        return self.post(f"/api/turns/{key}/operations", {"operations": operations})

    @property
    def turns(self) -> list[dict[str, Any]]:
        return self.get("/api/me")[1]["turns"]


def _read(kind: str, body: bytes) -> Any:
    return json.loads(body) if kind == "application/json" else body


def stroke(name: str, clock: int, *points: tuple[float, float], shape: str = "") -> dict[str, Any]:
    """A closed outline, as the page sends it."""
    return {
        "id": name,
        "clock": clock,
        "kind": "put",
        "shape": shape or name,
        "points": points,
        "closed": True,
        "at": 1.0,
    }
