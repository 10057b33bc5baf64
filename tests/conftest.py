"""A data set small enough to check by eye: bright disks on a dark field, two findings, a reader who is a little off."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from browser import browser, open_page, serve_app  # noqa: F401  (fixtures of every test with a browser)
from clusters import cluster, place  # noqa: F401  (and of every test with a database)
from sightline.core import Annotation, Array, Dataset, Frame, Radiograph, SaliencyMap
from sightline.registry import Registry, load_plugin

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# The same examples every time, so that a change is judged by what it changed; `make proofs` looks for new ones.
settings.register_profile("sightline", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("SIGHTLINE_HYPOTHESIS", "sightline"))

FINDINGS = ("Edema", "Mass")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What a test draws does not depend on the tests before it in its process; torch is not loaded for it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def disk(number: int, finding: str, shift: float = 0.0, size: tuple[int, int] = (40, 48)) -> Array:
    """bool (H, W): where a finding lies on radiograph `number`."""
    rng = np.random.default_rng((number, FINDINGS.index(finding)))
    row, col, radius = rng.uniform([10, 10, 5], [30, 38, 9])
    rows, cols = np.ogrid[: size[0], : size[1]]
    return (rows + 0.5 - row - shift) ** 2 + (cols + 0.5 - col) ** 2 <= radius**2


def has(number: int, finding: str) -> bool:
    return number % 2 == 0 if finding == "Edema" else number % 3 == 0


def toy(count: int = 12) -> Dataset:
    """`count` radiographs of count / 2 patients; 'truth' and a second reader whose marks lie a pixel lower."""

    def read(number: int) -> Array:
        image = np.random.default_rng(number).random((40, 48), np.float32) * 0.2
        for finding in FINDINGS:
            if has(number, finding):
                image[disk(number, finding)] += 0.6
        return image

    def marks(radiograph: str, finding: str, reader: str) -> Annotation | None:
        number = int(radiograph.removeprefix("toy"))
        if finding not in FINDINGS or not has(number, finding) or reader not in ("truth", "second"):
            return None
        shift = 1.0 if reader == "second" else 0.0
        return Annotation(radiograph, finding, reader, "region", (40, 48), lambda: disk(number, finding, shift))

    radiographs = tuple(
        Radiograph(
            f"toy{n}", f"p{n // 2}", lambda n=n: read(n), size=(40, 48), labels={f: float(has(n, f)) for f in FINDINGS}
        )
        for n in range(count)
    )
    return Dataset("toy", "toy", FINDINGS, radiographs, marks, ("truth", "second"))


def good_map(radiograph: str, finding: str, source: str = "net/cam") -> SaliencyMap:
    """A blurred copy of the truth at an eighth of the resolution, with noise."""
    number = int(radiograph.removeprefix("toy"))
    coarse = disk(number, finding).reshape(5, 8, 6, 8).mean((1, 3)) if has(number, finding) else np.zeros((5, 6))
    noise = np.random.default_rng((number, 7)).random((5, 6)) * 0.3
    return SaliencyMap(radiograph, finding, source, (coarse + noise).astype(np.float32), Frame.whole((40, 48)), 0.5)


@contextmanager
def plugged(name: str, registry: Registry, entry: str) -> Iterator[None]:
    """Load an example as a plugin, and take it out of its registry afterwards: registries outlive a test."""
    load_plugin(EXAMPLES / f"{name}.py")
    try:
        yield
    finally:
        registry._entries.pop(entry)
        sys.modules.pop(f"sightline_plugin_{name}")


@pytest.fixture
def plugin():
    """`with plugin("add_a_metric", metrics, "center-hit"):`"""
    return plugged


@pytest.fixture
def toy_data() -> Dataset:
    return toy()


@pytest.fixture
def toy_maps() -> list[SaliencyMap]:
    return [good_map(f"toy{n}", f) for n in range(12) for f in FINDINGS]
