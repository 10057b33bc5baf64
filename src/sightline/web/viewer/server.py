"""A run's site over HTTP, as files in a folder, and the command that does either."""

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
from sightline.web.server.security import bind_socket, check_token, serve
from sightline.web.viewer.site import Site

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

DEFAULT_PORT = 8400
"""Where a viewer is looked for first, so that deep links outlive it."""


def make_app(site: Site) -> FastAPI:
    """A run's files, each made when it is asked for.

    What is asked for with `?v=STAMP` may be kept for good, because another run has another stamp; the rest is checked
    again at every visit.
    """
    from fastapi import Request
    from fastapi import Response as Plain

    made = new_app()

    def file(name: str, request: Request) -> Response:
        name = name or "index.html"
        of_run = name.startswith("data/")
        body, kind = (b"", "") if of_run else site.render_file(name)
        tag = f'"{hashlib.sha256(f"{site.stamp} {name}".encode() if of_run else body).hexdigest()[:24]}"'
        kept = of_run and request.query_params.get("v") == site.stamp
        headers = {"etag": tag, "cache-control": f"private, {'max-age=31536000, immutable' if kept else 'no-cache'}"}
        if request.headers.get("if-none-match") == tag:
            return Plain(status_code=304, headers=headers)
        if of_run:
            body, kind = site.render_file(name)
        return Plain(body, media_type=kind, headers=headers)

    file.__annotations__["request"] = Request  # imported late, so FastAPI cannot look the name up
    made.add_api_route("/{name:path}", file, methods=["GET", "HEAD"], response_class=Plain)
    return made


def write_site(site: Site, folder: Path) -> int:
    """Write every file of a site. Returns how many; what is already there of the same run is kept, so that a stopped
    export goes on.

    Errors: `RunError` if the folder holds something else. A radiograph that cannot be read is told and left out.
    """
    index = folder / "data" / "index.json"
    if folder.exists() and any(folder.iterdir()) and not index.is_file():
        raise RunError(f"{folder} holds other things; give --export a new or empty folder")
    same = index.is_file() and site.stamp in index.read_text("utf-8")
    names, written, failed = list(site.file_names()), 0, list[str]()
    with progress_bar() as bar:
        task = bar.add_task("writing the site", total=len(names), unit="files")
        for name in names:
            path = folder / name
            bar.advance(task)
            if same and name.startswith("data/") and path.is_file():
                continue
            try:
                body, _ = site.render_file(name)
            except SightlineError as error:
                failed.append(str(error))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(body)
            partial.replace(path)
            written += 1
    for sentence in dict.fromkeys(failed):
        print(f"left out: {sentence}", file=sys.stderr)
    return written


def view(
    run: Path,
    *,
    export: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    open: bool = True,
) -> None:
    """Look at a run in the browser: cases, maps, scores.

    Parameters
    ----------
    run
        Run folder.
    export
        Folder for a static site, written instead of serving; any web server can serve it.
    host
        Address to listen on; any but this machine's own needs a token.
    port
        Port to listen on; 0 takes 8400 or the next free one.
    token
        Token that a browser must give once; also read from SIGHTLINE_TOKEN.
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
            f"{count} files written; any web server shows them, for example: "
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
    """Whether a window can be opened; a browser in the terminal would stand in the way."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(url: str) -> None:
    webbrowser.open(url)
