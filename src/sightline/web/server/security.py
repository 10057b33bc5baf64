"""Security of all servers of this package: an ASGI wrapper that controls access and restricts pages.

The loopback address needs no token; any other address does, and a cookie remembers it. Requests that another site made
a browser send are refused, and so are requests to a foreign host name (DNS rebinding). Pages load nothing from other
sites.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sightline.web.server.app import error_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20
"""Largest body of a request, in bytes."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy: scripts, styles and images from this server only, nothing inline, no frames."""
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
"""Query parameter with which static/retry.js repeats a request that a link on another site made."""

AccessCheck = Callable[["Request"], "Response | None"]
"""Check of a request before the app sees it: None lets it pass, a response is sent instead."""


def is_loopback(host: str) -> bool:
    """Return True if an address can be reached from this machine only.

    Parameters
    ----------
    host : str
        Address or name.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_known_host(header: str, host_names: Collection[str]) -> bool:
    """Return True if a Host header names this server: one of its names, or any IP address.

    A foreign DNS entry cannot claim an address, so that DNS rebinding always shows a name.

    Parameters
    ----------
    header : str
        Value of the Host header, with or without a port.
    host_names : collection of str
        Names of this server, in lower case.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_known_host("127.0.0.1:8000", ()), is_known_host("[::1]:8000", ())
    (True, True)
    >>> is_known_host("evil.example", ("localhost",))
    False
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

    Parameters
    ----------
    request : starlette.requests.Request
        Request to check.

    Returns
    -------
    bool
    """
    headers = request.headers
    is_link = request.method in _SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "") not in ("", "same-origin", "none") and not is_link:
        return True
    same_origin = f"{request['scheme']}://{headers.get('host', '')}"
    return request.method not in _SAFE_METHODS and headers.get("origin", same_origin) != same_origin


def require_token(token: str, cookie_name: str) -> AccessCheck:
    """Return a check that admits clients with the token: once as `?token=...`, from then on by a cookie.

    The cookie is a keyed digest of the token, so that it survives a restart with the same token and does not reveal it.

    Parameters
    ----------
    token : str
        Secret that a client must give.
    cookie_name : str
        Name of the cookie.

    Returns
    -------
    callable
        Check, as in `AccessCheck`.
    """
    from starlette.responses import HTMLResponse

    digest = hmac.new(token.encode(), b"sightline cookie", hashlib.sha256).hexdigest()

    def check(request: Request) -> Response | None:
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

    return check


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
    app: ASGIApp,
    *,
    host_names: Collection[str] = (),
    checks: Collection[AccessCheck] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> ASGIApp:
    """Wrap an app: check hosts, cross-site requests, access and body sizes, and add headers to every response.

    The whole body is read before the app is called, so that one that is too large never reaches it.

    Parameters
    ----------
    app : ASGI app
        App to protect.
    host_names : collection of str
        Host names of the server, in addition to localhost and addresses.
    checks : collection of callable
        Further checks, as in `AccessCheck`, after those of host, origin and length.
    max_body_bytes : int
        Largest body of a request.

    Returns
    -------
    ASGI app
    """
    from starlette.requests import ClientDisconnect, Request

    known_names = {"localhost", *(name.lower() for name in host_names)}

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        if scope["type"] != "http":
            return  # WebSockets are not served
        request = Request(scope, receive)
        response = _refuse(request, known_names, max_body_bytes)
        response = response or next(filter(None, (check(request) for check in checks)), None)
        if response is None:
            try:
                body = await _read_body(request, max_body_bytes)
            except ClientDisconnect:
                return
            if body is None:
                response = _too_large(max_body_bytes)
            else:
                receive = _receive_body(body, receive)
        await (response or app)(scope, receive, _add_headers(send))

    return wrapper


def _refuse(request: Request, host_names: Collection[str], max_body_bytes: int) -> Response | None:
    """Return an error for a foreign host, a cross-site request or a bad length, else None."""
    if not is_known_host(request.headers.get("host", ""), host_names):
        return error_response(421, "this server has another name; open the address that it printed")
    if is_cross_site(request):
        return error_response(403, "this request was made by another site; open the address that the server printed")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return error_response(400, "the length of the request is not a number")
    return _too_large(max_body_bytes) if int(length[:20]) > max_body_bytes else None


def _too_large(max_body_bytes: int) -> Response:
    return error_response(413, f"the request is larger than {max_body_bytes} bytes; send fewer data at once")


async def _read_body(request: Request, max_body_bytes: int) -> bytes | None:
    """Read the whole body, or return None as soon as it is larger than the limit."""
    body = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > max_body_bytes:
                return None
    return bytes(body)


def _receive_body(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that gives a body that was already read, then further messages."""
    waiting = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return replay


def _add_headers(send: Send) -> Send:
    """Return a send function that adds the security headers which the app did not set."""
    from starlette.datastructures import MutableHeaders

    async def wrapper(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return wrapper
