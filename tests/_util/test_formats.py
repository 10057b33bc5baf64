"""What is of another format is refused in one sentence: what it states, what is read, what to do."""

from __future__ import annotations

import pytest

from sightline._util.formats import check_format
from sightline.errors import DataError, RunError


@pytest.mark.parametrize("found", [None, 1, 3, "2", True, [2]])
def test_another_format_is_refused(found: object) -> None:
    stated = "no format" if found is None else f"format {found!r}"
    with pytest.raises(RunError) as caught:
        check_format(found, 2, "run", "runs/a", RunError)
    assert str(caught.value) == (
        f"runs/a: this run states {stated}, and this version reads format 2; make the run again with this version"
    )


def test_the_format_that_is_read_passes_and_the_remedy_is_the_callers() -> None:
    check_format(2, 2, "run", "runs/a", RunError)
    with pytest.raises(DataError, match=r"reads format 'net-2'; train it again$"):
        check_format("net-1", "net-2", "checkpoint", "a.pt", DataError, "train it again")
