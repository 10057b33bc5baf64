"""Serving of an app over HTTP: the check of the token, the socket, and the URL to open."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sightline.errors import SightlineError
from sightline.web.server.security import is_loopback, require_token, secure

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MIN_TOKEN_LENGTH = 12
"""Smallest length of a token, in characters."""


def check_token(host: str, token: str) -> None:
    """Check that a token is given where one is needed, and is long enough.

    Parameters
    ----------
    host : str
        Address to listen on.
    token : str
        Token, '' for none.

    Raises
    ------
    SightlineError
        If an address beyond loopback has no token, or the token can be guessed.
    """
    if not token and not is_loopback(host):
        raise SightlineError(
            f"--host {host} admits other machines: give a token, for example --token {secrets.token_urlsafe(16)}, or "
            "stay on 127.0.0.1"
        )
    if token and len(token) < MIN_TOKEN_LENGTH:
        raise SightlineError(
            f"the token has {len(token)} characters; give at least {MIN_TOKEN_LENGTH}, for example "
            f"{secrets.token_urlsafe(16)}"
        )


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 takes a free one.

    Returns
    -------
    socket.socket

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
    """Return the URL to open in a browser.

    Parameters
    ----------
    host : str
        Address that the server listens on; for all addresses, the URL has the name of this machine.
    port : int
        Port of the server.
    token : str
        Token to include, '' for none.

    Returns
    -------
    str

    Examples
    --------
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
    app : ASGI app
        App to serve, not yet secured.
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 takes a free one.
    token : str
        Secret that a browser must give once.
    host_names : collection of str
        Host names of the server behind a proxy.
    on_ready : callable, optional
        Called with the URL once the server listens.
    app_authenticates : bool, default False
        True if the app checks its own tokens, so that no token is needed at any address.

    Raises
    ------
    SightlineError
        If a token is missing or too short, or the address cannot be used.
    """
    import uvicorn

    if not app_authenticates:
        check_token(host, token)
    # The socket listens before the URL is printed, because a program that reads the URL may connect at once.
    with bind_socket(host, port) as listener:
        port = int(listener.getsockname()[1])
        checks = [require_token(token, f"sightline-{port}")] if token else []
        secured = secure(app, host_names={host, socket.gethostname(), *host_names}, checks=checks)
        config = uvicorn.Config(secured, log_level="warning", access_log=False, server_header=False, ws="none")
        url = server_url(host, port, token)
        print(f"open {url}   (stop with Ctrl-C)", flush=True)
        if on_ready is not None:
            on_ready(url)
        uvicorn.Server(config).run(sockets=[listener])
