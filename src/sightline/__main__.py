"""Run the command line with `python -m sightline`."""

from __future__ import annotations

import sys

from sightline._cli.app import main

if __name__ == "__main__":
    sys.exit(main())
