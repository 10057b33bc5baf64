"""Who may talk to a server of Sightline, and what its pages may do: one ASGI wrapper around every app.

Loopback is open; any other address demands a token, which a cookie remembers. Requests that another site had a browser
make are refused, and so are hosts of another name (DNS rebinding). Nothing that a page loads comes from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from sightline.core import SightlineError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMIT = 1 << 20
"""Bytes a request may carry."""
SHORTEST = 12
"""Characters a token must have."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy: no script, style or picture that is not a file of ours, nothing inline, no frame."""
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE = ("GET", "HEAD")
AGAIN = "again"
"""Parameter with which web/static/again.js asks once more for what a link from another site asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, made without asking the app."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def error(cls, status: int, sentence: str) -> Answer:
        """{"error": sentence}, which every page knows how to show."""
        return cls(status, json.dumps({"error": sentence}).encode(), (("content-type", "application/json"),))


Gate = Callable[["Request"], Answer | None]
"""Looks at a request before the app does: None lets it pass."""


@dataclass(frozen=True, slots=True)
class Request:
    """The part of an ASGI scope that a gate judges by."""

    method: str
    path: str
    query: str
    scheme: str
    headers: dict[str, str]
    """By lower-case name; of equal names the last."""

    @classmethod
    def of(cls, scope: Scope) -> Request:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        return cls(scope.get("method", "GET"), scope["path"], query, scope.get("scheme", "http"), headers)

    def cookie(self, name: str) -> str:
        """A cookie's value, '' where there is none."""
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return ""
        return "" if found is None else found.value

    @property
    def wants_page(self) -> bool:
        """Whether a person waits for it, so that an answer in HTML is read."""
        return self.method == "GET" and "text/html" in self.headers.get("accept", "")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_host(given: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server: one of `names`, or an address, which no foreign DNS entry can claim.

    >>> is_host("127.0.0.1:8000", ()), is_host("[::1]:8000", ()), is_host("evil.example", ("localhost",))
    (True, True, False)
    """
    name = given.rpartition("]")[0].removeprefix("[") if given.startswith("[") else given.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in names
    return True


def is_foreign(request: Request) -> bool:
    """Whether another site had the browser send this: anything but following a link to a page.

    A client that is no browser sends neither `Sec-Fetch-Site` nor `Origin`, and no foreign page can make it act.
    """
    site, origin = request.headers.get("sec-fetch-site", ""), request.headers.get("origin")
    followed = request.method in _SAFE and request.headers.get("sec-fetch-mode") == "navigate"
    if site not in ("", "same-origin", "none") and not followed:
        return True
    own = f"{request.scheme}://{request.headers.get('host', '')}"
    return origin is not None and origin != own and request.method not in _SAFE


def token_gate(token: str, cookie: str) -> Gate:
    """Lets in who has the token: once as `?token=...`, from then on by a cookie.

    The cookie is a keyed digest of the token, so that it outlives a restart with the same token and does not tell it.
    """
    seal = hmac.new(token.encode(), b"sightline cookie", hashlib.sha256).hexdigest()

    def gate(request: Request) -> Answer | None:
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        if hmac.compare_digest(request.cookie(cookie).encode(), seal.encode()):
            return _elsewhere(request, AGAIN) if AGAIN in given else None
        if "token" in given and hmac.compare_digest(given["token"].encode(), token.encode()):
            secure = "; Secure" if request.scheme == "https" else ""
            kept = f"{cookie}={seal}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000{secure}"
            return _elsewhere(request, "token", ("set-cookie", kept))
        if request.wants_page:
            page = _page(wrong="token" in given, linked=request.headers.get("sec-fetch-site") == "cross-site")
            return Answer(401, page, (("content-type", "text/html; charset=utf-8"),))
        return Answer.error(401, "this server asks for its token; open the address that it printed")

    return gate


def _elsewhere(request: Request, without: str, *headers: tuple[str, str]) -> Answer:
    """To the same place without one parameter; a browser keeps what stands after `#`."""
    rest = urlencode([pair for pair in parse_qsl(request.query, keep_blank_values=True) if pair[0] != without])
    # `//name` would lead to another host; one slash never does.
    place = "/" + request.path.lstrip("/") + (f"?{rest}" if rest else "")
    return Answer(303, b"", (("location", place), *headers))


def _page(*, wrong: bool, linked: bool) -> bytes:
    """Asks for the token. Whoever followed a link from elsewhere may have the cookie, but his browser sends it only
    from here (SameSite=Strict): a script, which only he can load, asks for the same place again."""
    said = "That is not the token." if wrong else "This server asks for its token."
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sightline</title>'
        + ('<script src="/web/again.js" defer></script>' if linked else "")
        + f'<form><p>{said}</p><label>Token <input name="token" type="password" autofocus></label> '
        "<button>Open</button></form></html>"
    ).encode()


def guarded(app: ASGIApp, *, names: Collection[str] = (), gates: Collection[Gate] = (), limit: int = LIMIT) -> ASGIApp:
    """Wrap an app: hosts, foreign requests, gates, bounded bodies, headers of every answer.

    names: host names it goes by, beside localhost and addresses; gates: asked in order, after the other checks; limit:
    bytes a body may have. The whole body is read before the app is called, so that too large a one never reaches it.
    """
    known = {"localhost", *(name.lower() for name in names)}

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSockets here
        request = Request.of(scope)
        answer = _refusal(request, known, limit) or next((a for g in gates if (a := g(request)) is not None), None)
        if answer is None:
            body = await _body(receive, limit)
            if body is not None:
                await app(scope, _replay(body, receive), _with_headers(send))
                return
            answer = _too_large(limit)
        await _send(answer, _with_headers(send))

    return wrapper


def _refusal(request: Request, known: Collection[str], limit: int) -> Answer | None:
    if not is_host(request.headers.get("host", ""), known):
        return Answer.error(421, "this server does not go by that name; open the address that it printed")
    if is_foreign(request):
        return Answer.error(403, "this request was made by another site; open the address that the server printed")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return Answer.error(400, "the length of the request is not a number")
    return _too_large(limit) if int(length[:20]) > limit else None


def _too_large(limit: int) -> Answer:
    return Answer.error(413, f"the request is larger than {limit} bytes; send less at once")


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None if it is larger than the limit."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def wrapper(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            there = {name.lower() for name, _ in own}
            if b"cache-control" not in there:
                own.append((b"cache-control", b"no-store"))
            own += [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": own}
        await send(message)

    return wrapper


async def _send(answer: Answer, send: Send) -> None:
    headers = [(k.encode(), v.encode("latin-1")) for k, v in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def check_token(host: str, token: str) -> None:
    """Errors: `SightlineError` for an address beyond loopback without a token, and for one that can be guessed."""
    if not token and not is_loopback(host):
        raise SightlineError(
            f"--host {host} lets others in: give a token, for example --token {secrets.token_urlsafe(16)}, or stay on "
            "127.0.0.1"
        )
    if token and len(token) < SHORTEST:
        raise SightlineError(
            f"the token has {len(token)} characters; give at least {SHORTEST}, for example {secrets.token_urlsafe(16)}"
        )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Errors: `SightlineError` if the address cannot be had."""
    made = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(found[0], found[1])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[4])
    except OSError as error:
        if made is not None:
            made.close()
        raise SightlineError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; give another --port (0 takes a free one)"
        ) from error
    return made


def address(host: str, port: int, token: str = "") -> str:
    """What to open in a browser on this machine, or for an address beyond it, by this machine's name.

    >>> address("127.0.0.1", 8000), address("::1", 8000, "a b")
    ('http://127.0.0.1:8000/', 'http://[::1]:8000/?token=a+b')
    """
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?{urlencode({'token': token})}" if token else "")


def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    *,
    gates: Collection[Gate] = (),
    names: Collection[str] = (),
    limit: int = LIMIT,
    opened: Callable[[str], None] | None = None,
    asks: bool = False,
) -> None:
    """Serve an app until it is interrupted, and print the address to open.

    gates: further ones, asked after the token; names: host names it goes by behind a proxy; opened: called with the
    address once it is listened on; asks: the app itself asks everyone who they are, so that none but its own tokens is
    needed at any address. Errors: `SightlineError` as `check_token` and `listen`.
    """
    import uvicorn

    if not asks:
        check_token(host, token)
    bound = listen(host, port)
    port = int(bound.getsockname()[1])
    first = [token_gate(token, f"sightline-{port}")] if token else []
    own = {host, socket.gethostname(), *names}
    wrapped = guarded(app, names=own, gates=[*first, *gates], limit=limit)
    config = uvicorn.Config(wrapped, log_level="warning", access_log=False, server_header=False, ws="none")
    where = address(host, port, token)
    bound.listen(128)  # before the address is told: whoever reads it may come at once
    print(f"open {where}   (stop with Ctrl-C)", flush=True)
    if opened is not None:
        opened(where)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        bound.close()
