"""A real browser (Debian's Chromium, headless) and a real server, shared by every test that needs them.

Where Chromium is missing such tests are skipped, as `services` says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from services import need
from sightline.web.server.security import AccessCheck, secure
from sightline.web.server.serving import bind_socket

OpenPage = Callable[..., Any]
TIMEOUT = 15_000
"""Milliseconds that any wait in a browser may take on a busy machine."""


@contextmanager
def served(app: Any, checks: tuple[AccessCheck, ...] = (), **options: Any) -> Iterator[str]:
    """Run an app behind the guard on a free port of this machine, in a thread; gives its address, without a slash."""
    import uvicorn

    bound = bind_socket("127.0.0.1", 0)
    config = uvicorn.Config(
        secure(app, checks=checks, **options), log_level="error", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for the session."""
    from playwright.sync_api import sync_playwright

    path = need("chromium")
    with sync_playwright() as p:
        launched = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """`open_page(url, **context options)` -> a page of a fresh browser profile.

    What the page's console calls an error (a broken module, a refused policy) fails the test; `page.problems` holds
    it, for tests that provoke some and clear it.
    """
    contexts, pages = [], []

    def make(url: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        pages.append(page)
        page.goto(url)
        return page

    yield make
    problems = [problem for page in pages for problem in page.problems]
    for context in contexts:
        context.close()
    assert not problems, problems


def until(page: Any, condition: str, seconds: float = TIMEOUT / 1000) -> None:
    """Wait for a condition in JavaScript. Playwright's own wait evaluates inside the page, which our policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"() => Boolean({condition})"):
        assert time.monotonic() < end, f"not within {seconds:g} s: {condition}"
        page.wait_for_timeout(15)


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., AbstractContextManager[str]]:
    """`with serve_app(app) as url:`"""
    return served
