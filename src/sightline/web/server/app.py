"""A FastAPI app as Sightline's servers want it: errors are short sentences in JSON, and files of the front end."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any

from sightline.errors import RunError, SightlineError, UnknownNameError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

mimetypes.add_type("text/javascript", ".js")  # some machines say text/plain, which browsers refuse for modules
mimetypes.add_type("text/css", ".css")


def new_app(**options: Any) -> FastAPI:
    """An app without pages of its own, with `/web` (`sightline.web.server`'s static files) and errors as {"error":
    sentence}.

    A `SightlineError` is answered by its sentence: 404 for an unknown name, 409 for a run in use, else 400. What nobody
    foresaw is 500, told in the server's log and not to the client.
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
        return error_response(500, "something went wrong in the server; its log says what")

    mount_static(app, "/web", "sightline.web.server")
    return app


def mount_static(app: FastAPI, path: str, package: str) -> None:
    """Serve the folder `static` of a package: checked for changes at every visit, kept in between."""
    from starlette.staticfiles import StaticFiles

    class Revalidated(StaticFiles):
        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            response = super().file_response(*args, **kwargs)
            response.headers["cache-control"] = "no-cache"
            return response

    app.mount(path, Revalidated(packages=[(package, "static")]))


def error_response(status: int, sentence: str) -> Response:
    """An error as every page understands it."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": sentence}, status)
