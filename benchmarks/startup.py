"""Wall seconds of `sightline --help`, as a process of its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def main() -> None:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        code = "from sightline._cli.app import main; main(['--help'])"
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    print(f"sightline --help: median {statistics.median(times):.2f} s, slowest {max(times):.2f} s")


if __name__ == "__main__":
    main()
