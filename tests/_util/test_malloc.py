"""Freed memory is kept where the C library can, and nothing breaks where it cannot."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sightline._util.malloc import disable_malloc_trim

FAULTS = """
import resource, sys
import numpy as np
from sightline._util.malloc import disable_malloc_trim
if "keep" in sys.argv:
    assert disable_malloc_trim()
for _ in range(3):
    np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_same_pages_serve_again() -> None:
    keep, plain = (
        int(subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True).stdout)
        for word in ("keep", "plain")
    )
    assert keep < 0.2 * plain


def test_without_a_c_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: object) -> object:
        raise OSError("no library")

    monkeypatch.setattr("sightline._util.malloc.ctypes.CDLL", nothing)
    assert disable_malloc_trim() is False
