"""Doors that only a browser can try: links from other sites, cookies, pages that would read or change ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sightline.web.server.app import new_app
from sightline.web.server.security import require_token

TOKEN = "a long enough token"


def page_app(html: str) -> Any:
    from starlette.responses import HTMLResponse

    app = new_app()
    app.state.changes = 0

    def change() -> dict[str, str]:
        app.state.changes += 1
        return {"secret": "told"}

    app.add_api_route("/", lambda: HTMLResponse(html))
    app.add_api_route("/change", change, methods=["GET", "POST"])
    return app


@pytest.fixture
def ours(serve_app: Callable[..., Any]) -> Any:
    app = page_app("<!doctype html><title>ours</title><h1>In</h1>")
    with serve_app(app, checks=(require_token(TOKEN, "sightline-test"),)) as url:
        yield app, url


def test_the_token_is_asked_for_and_remembered(ours: Any, open_page: Callable[..., Any]) -> None:
    _, url = ours
    page = open_page(url + "/")
    assert page.locator("h1").count() == 0
    page.locator("input[name=token]").fill("wrong, and long enough")
    page.locator("button").click()
    assert "not the token" in page.locator("p").text_content()
    page.locator("input[name=token]").fill(TOKEN)
    page.locator("button").click()
    assert page.locator("h1").text_content() == "In"
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    page.problems.clear()  # the browser's log names the refusals that this test provoked


def test_a_link_from_another_site_opens_at_its_place(
    ours: Any, serve_app: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    _, url = ours
    foreign = page_app(f'<!doctype html><title>x</title><a href="{url}/?a=1#/case/b?c=d">link</a>')
    with serve_app(foreign) as there:
        page = open_page(f"{url}/?token={TOKEN.replace(' ', '+')}")
        page.goto(there.replace("127.0.0.1", "localhost"))  # another name is another site
        page.locator("a").click()
        page.locator("h1").wait_for()
        assert page.url == f"{url}/?a=1#/case/b?c=d"
        page.problems.clear()


def test_another_site_neither_reads_nor_changes(
    ours: Any, serve_app: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    app, url = ours
    with serve_app(page_app("<!doctype html><title>x</title>")) as there:
        page = open_page(f"{url}/?token={TOKEN.replace(' ', '+')}")
        page.goto(there)  # another port is the same site to a cookie, but not the same origin
        for options in ("{}", "{ method: 'POST', mode: 'no-cors', credentials: 'include' }"):
            told = page.evaluate(
                f"() => fetch('{url}/change', {options}).then((a) => a.type + a.status).catch(() => 'refused')"
            )
            assert told in ("refused", "opaque0")
        assert app.state.changes == 0
        page.problems.clear()
