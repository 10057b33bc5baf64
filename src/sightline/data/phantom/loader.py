"""`phantom:N`: a data set of rendered radiographs, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np

from sightline.core import Array, Dataset, Mark, Radiograph
from sightline.data.gaze import WHOLE, Gaze, spoken_density
from sightline.data.phantom.render import image, masks
from sightline.data.phantom.scene import Scene, patient_of, scene
from sightline.data.phantom.simulated_gaze import LOOKER, look
from sightline.data.phantom.simulated_readers import READER, contour, misses, point
from sightline.data.phantom.simulated_reports import dictate
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE, canonical

REGIONS = ("Right Lung", "Left Lung", "Mediastinum", "Heart", "Aortic Knob")
TRUTH, CONTOURS, POINTS = "truth", "simulated radiologist", "simulated radiologist points"
LOOKERS = ("simulated gaze", "simulated gaze of another")
ARTIFACTS = ("marker", "text", "drain")
SPLITS = (("train", 0.6), ("val", 0.15), ("test", 0.25))


@dataclass(frozen=True, slots=True)
class Phantom:
    """What decides every film of a phantom data set."""

    seed: int
    size: int
    """Pixels of the shorter side."""
    artifact: str
    """Shortcut drawn on films, or empty."""
    shortcut_finding: str
    correlation: float
    """Chance that the shortcut agrees with the label of its finding."""
    uncertain: float = 0.0
    """Chance that a training label is reported as uncertain (-1)."""
    gazed: float = 1.0
    """Share of the films whose reading was followed."""

    def scene(self, index: int) -> Scene:
        made = scene(self.seed, index)
        if not self.artifact:
            return made
        agrees = np.random.default_rng((self.seed, 6, index)).random() < self.correlation
        present = (self.shortcut_finding in made.findings) == agrees
        return replace(made, artifact=self.artifact if present else "")

    def split(self, index: int) -> str:
        """By patient, whatever else is in the data set."""
        draw = np.random.default_rng((self.seed, 7, patient_of(index)[0])).random()
        for name, share in SPLITS:
            if draw < share:
                return name
            draw -= share
        return "test"

    def labels(self, index: int, made: Scene) -> dict[str, float]:
        """1 or 0 per finding; of the split that trains, a few are -1."""
        labels = {finding: float(finding in made.findings) for finding in CHEXLOCALIZE}
        if self.uncertain and self.split(index) == "train":
            doubtful = np.random.default_rng((self.seed, 9, index)).random(len(labels)) < self.uncertain
            labels |= {finding: -1.0 for finding, doubt in zip(CHEXLOCALIZE, doubtful, strict=True) if doubt}
        return labels

    def image(self, index: int) -> Array:
        """float32 (H, W) in [0, 1]."""
        return image(self.scene(index), self.size)

    def counterfactual(self, index: int, finding: str) -> Array:
        """The same patient, moment and noise without the finding: float32 (H, W) in [0, 1]."""
        return image(self.scene(index).without(canonical(finding)), self.size)

    def radiograph(self, index: int) -> Radiograph:
        made = self.scene(index)
        a = made.anatomy
        return Radiograph(
            id=f"phantom{index:06d}",
            patient=f"patient{made.patient:06d}",
            read=partial(self.image, index),  # a lambda could not be sent to a decoding process
            study=f"patient{made.patient:06d}_study{made.visit + 1}",
            view="frontal",
            size=(round(self.size * a.aspect), self.size),
            split=self.split(index),
            labels=self.labels(index, made),
            facts={"sex": "Female" if a.female else "Male", "projection": "AP" if a.portable else "PA",
                   "artifact": made.artifact},
        )  # fmt: skip

    def mark(self, radiograph: str, finding: str, reader: str) -> Mark | None:
        """Marks of the truth, of the two simulated readers, of regions and of the shortcut."""
        index = int(radiograph.removeprefix("phantom"))
        made = self.scene(index)
        if reader in LOOKERS:
            return self._looked(radiograph, index, finding, reader)
        known = {*made.findings, *REGIONS, *(("Shortcut",) if made.artifact else ())}
        if finding not in known or (reader != TRUTH and finding not in made.findings):
            return None
        if reader not in (TRUTH, CONTOURS, POINTS):
            return None
        size = (round(self.size * made.anatomy.aspect), self.size)
        number = CHEXLOCALIZE.index(finding) if finding in CHEXLOCALIZE else 99
        key = (self.seed, 8, index, number)

        def mask() -> Array:
            return masks(made, self.size)[finding]

        if reader == TRUTH:
            return Mark(radiograph, finding, reader, "region", size, mask)
        if misses(READER, mask(), key) or not mask().any():
            return None
        if reader == CONTOURS:
            return Mark(radiograph, finding, reader, "region", size, lambda: contour(READER, mask(), key))
        return Mark(radiograph, finding, reader, "points", size, lambda: point(READER, mask(), key))

    def gaze(self, index: int, reader: str) -> Gaze:
        """How a simulated reader looked at a film."""
        made = self.scene(index)
        findings = tuple(finding for finding in CHEXLOCALIZE if finding in made.findings)
        key = (self.seed, 10, index, LOOKERS.index(reader))
        return look(masks(made, self.size), findings, key, f"phantom{index:06d}", reader)

    def report(self, radiograph: str) -> Report:
        """What was dictated of a film."""
        index = int(radiograph.removeprefix("phantom"))
        made = self.scene(index)
        study = f"patient{made.patient:06d}_study{made.visit + 1}"
        return dictate(made, masks(made, self.size), (self.seed, 12, index), study)

    def _looked(self, radiograph: str, index: int, finding: str, reader: str) -> Mark | None:
        """All of a reading, or the density while a finding was spoken of."""
        if np.random.default_rng((self.seed, 11, index)).random() >= self.gazed:
            return None
        if finding == WHOLE:
            size = (round(self.size * self.scene(index).anatomy.aspect), self.size)
            return Mark(radiograph, WHOLE, reader, "fixations", size, partial(self.gaze, index, reader))
        return spoken_density(self.gaze(index, reader), finding)


@dataclass(frozen=True, slots=True)
class _Radiographs(Sequence[Radiograph]):
    """Radiographs made when asked for; indices of the chosen split, or a plain range."""

    phantom: Phantom
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> Radiograph: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Radiograph]: ...
    def __getitem__(self, place: int | slice) -> Radiograph | Sequence[Radiograph]:
        if isinstance(place, slice):
            return _Radiographs(self.phantom, self.indices[place])
        return self.phantom.radiograph(self.indices[place])

    def __iter__(self) -> Iterator[Radiograph]:
        return (self.phantom.radiograph(index) for index in self.indices)


@datasets("phantom", title="Sightline chest phantom (rendered)", source="Sightline", license="public domain (CC0)")
def phantom(
    argument: str,
    size: int = 512,
    seed: int = 0,
    split: str = "",
    start: int = 0,
    shortcut: str = "",
    correlation: float = 0.95,
    uncertain: float = 0.0,
    gazed: float = 1.0,
) -> Dataset:
    """Rendered chest radiographs with known findings, simulated readers and true counterfactuals.

    argument: how many radiographs, 'phantom:200'; size: pixels of the shorter side; start: first index (any image is
    made alone from seed and index); split: keep 'train', 'val' or 'test'; shortcut: 'marker:Cardiomegaly',
    'text:Edema' or 'drain:Pneumothorax' draws that artifact so that it agrees with the label with chance
    `correlation`; uncertain: share of the training labels that is reported as -1; gazed: share of the films whose
    reading was followed. Errors: `DataError` for a count, size, split, share or shortcut that cannot be.
    """
    try:
        count = int(argument or "200")
    except ValueError as error:
        raise DataError(f"'phantom:{argument}': give the number of radiographs, as in phantom:200") from error
    if count < 1 or not 32 <= size <= 4096 or split not in ("", "train", "val", "test") or start < 0:
        raise DataError(
            f"phantom:{count}?size={size}&split={split}&start={start}: allowed are a count from 1, a size of 32 to "
            "4096 pixels, split train, val or test, start from 0"
        )
    if not 0 <= uncertain < 1:
        raise DataError(f"uncertain={uncertain}: give the share of training labels, from 0 below 1")
    if not 0 <= gazed <= 1:
        raise DataError(f"gazed={gazed}: give the share of films with gaze, from 0 to 1")
    artifact, _, target = shortcut.partition(":")
    target = canonical(target)
    if shortcut and (artifact not in ARTIFACTS or target not in CHEXLOCALIZE or not 0 <= correlation <= 1):
        raise DataError(
            f"shortcut={shortcut!r} with correlation={correlation}: give ARTIFACT:FINDING, one of "
            f"{', '.join(ARTIFACTS)}, a finding among {', '.join(CHEXLOCALIZE)}, and a correlation from 0 to 1"
        )
    made = Phantom(seed, size, artifact if shortcut else "", target, correlation, uncertain, gazed)
    indices: Sequence[int] = range(start, start + count)
    if split:
        indices = [index for index in indices if made.split(index) == split]
    facts: dict[str, Any] = {"reader": asdict(READER), "looker": asdict(LOOKER), "phantom": made, "warnings": ()}
    return Dataset(
        "phantom", f"phantom:{count}", CHEXLOCALIZE, _Radiographs(made, indices), made.mark,
        (TRUTH, CONTOURS, POINTS), REGIONS, LOOKERS, made.report, facts,
    )  # fmt: skip
