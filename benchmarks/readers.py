"""Twenty readers who draw at once: how long a stroke takes to be kept.

    python benchmarks/readers.py [SECONDS]

A server of its own on this machine's loopback and as many clients, each of which saves a stroke of a hundred points
every half second or so, as fast drawing does; then without a pause. Stops after SECONDS (20) or 200 strokes each.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from sightline.data.reader_study.schedule import invite_reader
from sightline.web.reader_study.create import create_study

READERS, STROKES, POINTS, PAUSE = 20, 200, 100, 0.5
SERVE = "import sys; from sightline._cli.app import main; sys.exit(main(sys.argv[1:]))"


def draw(port: int, token: str, pause: float, end: float, seconds: list[float]) -> None:
    """One reader: in by the link, then stroke after stroke over one connection, as a browser does."""
    host = {"content-type": "application/json"}
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request("POST", "/api/enter", json.dumps({"token": token}), host)
    answer = line.getresponse()
    answer.read()
    host["cookie"] = answer.headers["set-cookie"].partition(";")[0]
    line.request("GET", "/api/me", headers=host)
    key = json.loads(line.getresponse().read())["turns"][0]["key"]
    rng = random.Random(token)
    for number in range(STROKES):
        if time.monotonic() > end:
            break
        if pause:
            time.sleep(rng.uniform(0.5, 1.5) * pause)
        points = [[rng.uniform(0, 60), rng.uniform(0, 60)] for _ in range(POINTS)]
        said = {
            "id": f"{pause}-{number}".replace(".", "_"),
            "clock": number + 1,
            "kind": "put",
            "shape": f"s{number}",
            "points": points,
            "closed": True,
        }
        began = time.perf_counter()
        line.request("POST", f"/api/turns/{key}/operations", json.dumps({"operations": [said]}), host)
        answer = line.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        seconds.append(time.perf_counter() - began)
    line.close()


def load(port: int, tokens: list[str], pause: float, length: float) -> list[float]:
    seconds: list[float] = []
    end = time.monotonic() + length
    hands = [threading.Thread(target=draw, args=(port, token, pause, end, seconds)) for token in tokens]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    return seconds


def main(length: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "study")
        with create_study("phantom:2?size=64", place, tasks=("contour",)) as book:
            tokens = [invite_reader(book, f"Reader {i}") for i in range(READERS)]
        words = [sys.executable, "-c", SERVE, "readers", "serve", place, "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().split()[1].rstrip("/").rpartition(":")[2])
            try:
                for pause, name in ((PAUSE, f"a stroke every {PAUSE} s each"), (0.0, "without a pause")):
                    found = sorted(load(port, tokens, pause, length))
                    late = statistics.quantiles(found, n=100)
                    print(
                        f"{READERS} readers, {name}: {len(found)} strokes kept, median {1000 * late[49]:.0f} ms, "
                        f"95th percentile {1000 * late[94]:.0f} ms, slowest {1000 * found[-1]:.0f} ms"
                    )
            finally:
                server.terminate()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
