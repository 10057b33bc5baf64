"""FastAPI apps that report errors as sentences in JSON and serve the files of the browser code."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any

from sightline.errors import RunError, SightlineError, UnknownNameError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

mimetypes.add_type("text/javascript", ".js")  # some systems say text/plain, which browsers refuse for modules
mimetypes.add_type("text/css", ".css")


def new_app(**options: Any) -> FastAPI:
    """Create an app that serves the shared files at `/web` and reports errors as {"error": sentence}.

    A `SightlineError` has status 404 for an unknown name, 409 for a run in use, else 400. Any other exception has
    status 500; its message is in the log of the server and is not sent.

    Parameters
    ----------
    **options
        Options of `fastapi.FastAPI`.

    Returns
    -------
    fastapi.FastAPI
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, **options)

    @app.exception_handler(HTTPException)
    def _http(_: Any, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Any, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return error_response(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(SightlineError)
    def _expected(_: Any, error: SightlineError) -> Response:
        status = 404 if isinstance(error, UnknownNameError) else 409 if isinstance(error, RunError) else 400
        return error_response(status, str(error))

    @app.exception_handler(Exception)
    def _unexpected(_: Any, __: Exception) -> Response:
        return error_response(500, "the server failed; its log states the error")

    mount_static(app, "/web", "sightline.web.server")
    return app


def mount_static(app: FastAPI, path: str, package: str) -> None:
    """Serve the folder `static` of a package; browsers check for changes at every visit.

    Parameters
    ----------
    app : fastapi.FastAPI
        App to extend.
    path : str
        Path of the folder on the server.
    package : str
        Name of the package.
    """
    from starlette.staticfiles import StaticFiles

    class RevalidatedFiles(StaticFiles):
        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            response = super().file_response(*args, **kwargs)
            response.headers["cache-control"] = "no-cache"
            return response

    app.mount(path, RevalidatedFiles(packages=[(package, "static")]))


def error_response(status: int, sentence: str) -> Response:
    """Create the response for an error, in the form that all pages read.

    Parameters
    ----------
    status : int
        HTTP status.
    sentence : str
        Message for the user.

    Returns
    -------
    starlette.responses.Response
    """
    from starlette.responses import JSONResponse

    return JSONResponse({"error": sentence}, status)
