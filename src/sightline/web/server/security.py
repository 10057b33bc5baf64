"""Access control for every server of Sightline, and what its pages may do: one ASGI wrapper around each app.

Loopback is open; any other address demands a token, which a cookie remembers. Requests that another site had a browser
make are refused, and so are hosts of another name (DNS rebinding). Nothing that a page loads comes from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sightline.errors import SightlineError
from sightline.web.server.app import error_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20
"""Largest body of a request, in bytes."""
MIN_TOKEN_LENGTH = 12
"""Smallest length of a token, in characters."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy: no script, style or picture that is not a file of ours, nothing inline, no frame."""
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE_METHODS = ("GET", "HEAD")
RETRY = "retry"
"""Query parameter with which web/static/retry.js repeats the request that a link from another site made."""

AccessCheck = Callable[["Request"], "Response | None"]
"""Check of a request before the app sees it: None lets it pass, a response is sent instead."""


def is_loopback(host: str) -> bool:
    """Return True if an address can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_known_host(header: str, host_names: Collection[str]) -> bool:
    """Return True if a Host header names this server: one of `names`, or any IP address.

    An address cannot be claimed by a foreign DNS entry, so DNS rebinding always shows a name.

    Parameters
    ----------
    header
        Value of the Host header, with or without a port.
    names
        Names of this server, in lower case.

    Examples
    --------
    >>> is_known_host("127.0.0.1:8000", ()), is_known_host("[::1]:8000", ()), is_known_host("evil.example",
    ("localhost",))
    (True, True, False)
    """
    name = header.rpartition("]")[0].removeprefix("[") if header.startswith("[") else header.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in host_names
    return True


def is_cross_site(request: Request) -> bool:
    """Return True if another site had the browser send this request, unless a link to a page was followed.

    A client that is no browser sends neither `Sec-Fetch-Site` nor `Origin`, and no foreign page can make it act.
    """
    headers = request.headers
    is_link = request.method in _SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "") not in ("", "same-origin", "none") and not is_link:
        return True
    same_origin = f"{request['scheme']}://{headers.get('host', '')}"
    return request.method not in _SAFE_METHODS and headers.get("origin", same_origin) != same_origin


def require_token(token: str, cookie_name: str) -> AccessCheck:
    """Return a gate that admits clients with the token: once as `?token=...`, from then on by a cookie.

    The cookie is a keyed digest of the token, so that it survives a restart with the same token and does not reveal it.

    Parameters
    ----------
    token
        Secret that a client must give.
    cookie
        Name of the cookie.
    """
    from starlette.responses import HTMLResponse

    digest = hmac.new(token.encode(), b"sightline cookie", hashlib.sha256).hexdigest()

    def gate(request: Request) -> Response | None:
        query, headers = request.query_params, request.headers
        if hmac.compare_digest(request.cookies.get(cookie_name, "").encode(), digest.encode()):
            return _redirect_without(RETRY, request) if RETRY in query else None
        if "token" in query and hmac.compare_digest(query["token"].encode(), token.encode()):
            response = _redirect_without("token", request)
            secure = request["scheme"] == "https"
            response.set_cookie(cookie_name, digest, 365 * 86400, secure=secure, httponly=True, samesite="strict")
            return response
        if request.method == "GET" and "text/html" in headers.get("accept", ""):
            is_link = headers.get("sec-fetch-site") == "cross-site"
            return HTMLResponse(_token_page(is_wrong="token" in query, is_link=is_link), 401)
        return error_response(401, "this server asks for its token; open the address that it printed")

    return gate


def _redirect_without(parameter: str, request: Request) -> Response:
    """Redirect to the same place without one query parameter; a browser keeps the fragment."""
    from starlette.responses import RedirectResponse

    query = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != parameter])
    # `//name` and `/\name` would lead to another host; one slash before a quoted path never does.
    path = "/" + quote(request["path"].lstrip("/"))
    return RedirectResponse(path + (f"?{query}" if query else ""), 303)


def _token_page(*, is_wrong: bool, is_link: bool) -> str:
    """Return a page that asks for the token, and after a link from another site first retries with the cookie.

    With SameSite=Strict a browser sends the cookie only for requests from our own pages: the script makes one.
    """
    message = "That is not the token." if is_wrong else "This server asks for its token."
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sightline</title>'
        + ('<script src="/web/retry.js" defer></script>' if is_link else "")
        + f'<form><p>{message}</p><label>Token <input name="token" type="password" autofocus></label> '
        "<button>Open</button></form></html>"
    )


def secure(
    app: ASGIApp, *, names: Collection[str] = (), gates: Collection[AccessCheck] = (), limit: int = MAX_BODY_BYTES
) -> ASGIApp:
    """Wrap an app: check hosts, cross-site requests, gates and body sizes, and add headers to every response.

    The whole body is read before the app is called, so that too large a one never reaches it.

    Parameters
    ----------
    app
        App to protect.
    names
        Host names of the server, in addition to localhost and addresses.
    gates
        Further checks, made in order after those of host, origin and length.
    limit
        Largest body, in bytes.
    """
    from starlette.requests import ClientDisconnect, Request

    known = {"localhost", *(name.lower() for name in names)}

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        if scope["type"] != "http":
            return  # no WebSockets here
        request = Request(scope, receive)
        response = _refuse(request, known, limit) or next(filter(None, (gate(request) for gate in gates)), None)
        if response is None:
            try:
                body = await _read_body(request, limit)
            except ClientDisconnect:
                return
            response, receive = (_too_large(limit), receive) if body is None else (None, _receive_body(body, receive))
        await (response or app)(scope, receive, _add_headers(send))

    return wrapper


def _refuse(request: Request, names: Collection[str], limit: int) -> Response | None:
    """Return an error for a foreign host, a cross-site request or a bad length, else None."""
    if not is_known_host(request.headers.get("host", ""), names):
        return error_response(421, "this server does not go by that name; open the address that it printed")
    if is_cross_site(request):
        return error_response(403, "this request was made by another site; open the address that the server printed")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return error_response(400, "the length of the request is not a number")
    return _too_large(limit) if int(length[:20]) > limit else None


def _too_large(max_body_bytes: int) -> Response:
    return error_response(413, f"the request is larger than {max_body_bytes} bytes; send less at once")


async def _read_body(request: Request, limit: int) -> bytes | None:
    """Read the whole body, or return None as soon as it is larger than the limit."""
    body = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > limit:
                return None
    return bytes(body)


def _receive_body(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that gives a body that was read already, then what follows."""
    waiting = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return replay


def _add_headers(send: Send) -> Send:
    """Return a send function that adds our headers where the app set none of that name."""
    from starlette.datastructures import MutableHeaders

    async def wrapper(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return wrapper


def check_token(host: str, token: str) -> None:
    """Check that a token is given where one is needed, and is long enough.

    Raises
    ------
    SightlineError
        If an address beyond loopback has no token, or the token can be guessed.
    """
    if not token and not is_loopback(host):
        raise SightlineError(
            f"--host {host} lets others in: give a token, for example --token {secrets.token_urlsafe(16)}, or stay on "
            "127.0.0.1"
        )
    if token and len(token) < MIN_TOKEN_LENGTH:
        raise SightlineError(
            f"the token has {len(token)} characters; give at least {MIN_TOKEN_LENGTH}, for example "
            f"{secrets.token_urlsafe(16)}"
        )


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises
    ------
    SightlineError
        If the address cannot be used.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=128, dualstack_ipv6=dual)
    except OSError as error:
        raise SightlineError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; give another --port (0 takes a free one)"
        ) from error


def server_url(host: str, port: int, token: str = "") -> str:
    """Return the URL to open in a browser on this machine, or elsewhere by this machine's name.

    >>> server_url("127.0.0.1", 8000), server_url("::1", 8000, "a b")
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
    host_names: Collection[str] = (),
    on_ready: Callable[[str], None] | None = None,
    app_authenticates: bool = False,
) -> None:
    """Serve an app until it is interrupted, and print the URL to open.

    Parameters
    ----------
    app
        App to serve, not yet secured.
    host, port
        Address to listen on; port 0 takes a free one.
    token
        Secret that a browser must give once.
    names
        Host names of the server behind a proxy.
    opened
        Called with the URL once the server listens.
    app_authenticates
        True if the app checks tokens of its own, so that no token is needed at any address.

    Raises
    ------
    SightlineError
        If a token is missing or too short, or the address cannot be used.
    """
    import uvicorn

    if not app_authenticates:
        check_token(host, token)
    # The socket listens before the URL is printed: a reader of it may connect at once.
    with bind_socket(host, port) as listening:
        port = int(listening.getsockname()[1])
        gates = [require_token(token, f"sightline-{port}")] if token else []
        secured = secure(app, names={host, socket.gethostname(), *host_names}, gates=gates)
        config = uvicorn.Config(secured, log_level="warning", access_log=False, server_header=False, ws="none")
        url = server_url(host, port, token)
        print(f"open {url}   (stop with Ctrl-C)", flush=True)
        if on_ready is not None:
            on_ready(url)
        uvicorn.Server(config).run(sockets=[listening])
