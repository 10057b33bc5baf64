"""Programs that some tests drive: found, or the test is skipped and says which one it lacked.

With SIGHTLINE_REQUIRE_SERVICES=1, as where changes are judged, a missing program fails the test instead.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import pytest

Service = Literal["chromium", "postgresql", "dicom3tools"]
"""Names of Debian's packages; tests/services.sh installs them."""
_PROGRAMS: dict[Service, tuple[str, ...]] = {
    "chromium": ("chromium", "chromium-browser"),
    "postgresql": ("initdb",),
    "dicom3tools": ("dciodvfy",),
}


def need(service: Service) -> Path:
    """The program behind a service ('postgresql': initdb, with its siblings beside it). Skips the test without it."""
    for name in _PROGRAMS[service]:
        if found := shutil.which(name):
            return Path(found).resolve()
    if service == "postgresql":  # Debian keeps it out of PATH
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4]))
        if versions:
            return versions[-1]
    said = f"{service} is not installed (tests/services.sh installs it where it may)"
    if os.environ.get("SIGHTLINE_REQUIRE_SERVICES") == "1":
        pytest.fail(said)
    pytest.skip(said)
