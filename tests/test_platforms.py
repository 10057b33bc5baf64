"""Scoring and reporting import and lock without what only POSIX has."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def test_scoring_needs_no_module_of_posix(tmp_path: Path) -> None:
    code = """
        import sys

        sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "syslog", "termios")))  # import fails

        import sightline._cli.app
        import sightline.evaluation.score_run
        import sightline.report
        from sightline.runs.run import Run

        with Run.start(sys.argv[1], "localization", {}).lock():
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")], check=True)
