"""Commands without the report that no test reads: its figures take longer than what such a test looks at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sightline._cli import report


@contextmanager
def without_reports() -> Iterator[None]:
    """Let commands end without writing report.html; they print their results as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "report", lambda run: run.path / "report.html")
        yield
