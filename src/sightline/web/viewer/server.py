"""The command `view`: serve the site of a run over HTTP, or write its files to a folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sightline._util.progress import progress_bar
from sightline.errors import RunError, SightlineError
from sightline.runs.run import Run
from sightline.web.server.app import new_app
from sightline.web.server.serving import bind_socket, check_token, serve
from sightline.web.viewer.site import Site

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

DEFAULT_PORT = 8400
"""First port that a viewer tries, so that links to its pages remain valid."""


def make_app(site: Site) -> FastAPI:
    """Create the app that serves the files of a site, each rendered on request.

    A file that is requested with `?v=STAMP` may be kept by browsers without a check, because other content has another
    stamp; other files are checked at every visit.

    Parameters
    ----------
    site : Site
        Site of a run.

    Returns
    -------
    fastapi.FastAPI
    """
    from fastapi import Request
    from fastapi import Response as PlainResponse

    app = new_app()

    def file(name: str, request: Request) -> Response:
        name = name or "index.html"
        is_data = name.startswith("data/")
        body, media_type = (b"", "") if is_data else site.render_file(name)
        tag = f'"{hashlib.sha256(f"{site.stamp} {name}".encode() if is_data else body).hexdigest()[:24]}"'
        is_immutable = is_data and request.query_params.get("v") == site.stamp
        age = "max-age=31536000, immutable" if is_immutable else "no-cache"
        headers = {"etag": tag, "cache-control": f"private, {age}"}
        if request.headers.get("if-none-match") == tag:
            return PlainResponse(status_code=304, headers=headers)
        if is_data:
            body, media_type = site.render_file(name)
        return PlainResponse(body, media_type=media_type, headers=headers)

    file.__annotations__["request"] = Request  # imported late, so FastAPI cannot look the name up
    app.add_api_route("/{name:path}", file, methods=["GET", "HEAD"], response_class=PlainResponse)
    return app


def write_site(site: Site, folder: Path) -> int:
    """Write every file of a site to a folder.

    Files of the same run that exist are kept, so that an interrupted export continues. An image that cannot be read is
    left out, with a message.

    Parameters
    ----------
    site : Site
        Site of a run.
    folder : Path
        New or empty folder, or one with an earlier export.

    Returns
    -------
    int
        Number of files that were written.

    Raises
    ------
    RunError
        If the folder holds something else.
    """
    index = folder / "data" / "index.json"
    if folder.exists() and any(folder.iterdir()) and not index.is_file():
        raise RunError(f"{folder} holds other files; give --export a new or empty folder")
    is_same_run = index.is_file() and site.stamp in index.read_text("utf-8")
    names, n_written, errors = list(site.file_names()), 0, list[str]()
    with progress_bar() as bar:
        task = bar.add_task("writing the site", total=len(names), unit="files")
        for name in names:
            path = folder / name
            bar.advance(task)
            if is_same_run and name.startswith("data/") and path.is_file():
                continue
            try:
                body, _ = site.render_file(name)
            except SightlineError as error:
                errors.append(str(error))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(body)
            partial.replace(path)
            n_written += 1
    for message in dict.fromkeys(errors):
        print(f"left out: {message}", file=sys.stderr)
    return n_written


def view(
    run: Path,
    *,
    export: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    open: bool = True,
) -> None:
    """Show the cases, maps and scores of a run in the browser, or write them as a static site.

    Parameters
    ----------
    run
        Run folder.
    export
        Folder of a static site, which is written in place of serving the run; any web server can serve it.
    host
        Address to listen on; any other than that of this machine needs a token.
    port
        Port to listen on; 0 takes 8400 or the next free one.
    token
        Secret of at least 12 characters that a browser must give once; by default that of SIGHTLINE_TOKEN.
    open
        Open a browser window.
    """
    token = token or os.environ.get("SIGHTLINE_TOKEN", "")
    if export is None:
        check_token(host, token)
    site = Site.from_run(Run.open(run))
    for note in site.run_index.notes:
        print(f"note: {note}", file=sys.stderr)
    if export is not None:
        count = write_site(site, export)
        print(
            f"{count} files written; any web server can serve them, for example: "
            f"python -m http.server --directory {shlex.quote(str(export))}"
        )
        return
    serve(
        make_app(site),
        host,
        port or _find_free_port(host),
        token,
        on_ready=_open_browser if open and _has_display() else None,
    )


def _find_free_port(host: str) -> int:
    for port in range(DEFAULT_PORT, DEFAULT_PORT + 50):
        with suppress(SightlineError):
            bind_socket(host, port).close()
            return port
    return 0


def _has_display() -> bool:
    """Return True if a browser window can be opened; a browser in the terminal would block it."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(url: str) -> None:
    webbrowser.open(url)
