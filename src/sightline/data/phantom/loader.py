"""`phantom:N`: a data set of rendered radiographs, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.data.gaze import ALL_GAZE, Gaze, annotation_from_mentions
from sightline.data.phantom.render import render_image, render_masks
from sightline.data.phantom.scene import Scene, make_scene, patient_and_visit
from sightline.data.phantom.simulated_gaze import DEFAULT_SIMULATOR, simulate_gaze
from sightline.data.phantom.simulated_readers import DEFAULT_READER, draw_contour, overlooks, place_point
from sightline.data.phantom.simulated_reports import simulate_report
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS, canonical_name

REGIONS = ("Right Lung", "Left Lung", "Mediastinum", "Heart", "Aortic Knob")
REFERENCE_READER, CONTOUR_READER, POINT_READER = "truth", "simulated radiologist", "simulated radiologist points"
GAZE_READERS = ("simulated gaze", "simulated gaze of another")
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
    gaze_share: float = 1.0
    """Share of the films whose reading was followed."""

    def scene(self, index: int) -> Scene:
        made = make_scene(self.seed, index)
        if not self.artifact:
            return made
        agrees = np.random.default_rng((self.seed, 6, index)).random() < self.correlation
        present = (self.shortcut_finding in made.findings) == agrees
        return replace(made, artifact=self.artifact if present else "")

    def split(self, index: int) -> str:
        """By patient, whatever else is in the data set."""
        draw = np.random.default_rng((self.seed, 7, patient_and_visit(index)[0])).random()
        for name, share in SPLITS:
            if draw < share:
                return name
            draw -= share
        return "test"

    def labels(self, index: int, scene: Scene) -> dict[str, float]:
        """1 or 0 per finding; of the split that trains, a few are -1."""
        labels = {finding: float(finding in scene.findings) for finding in CHEXLOCALIZE_FINDINGS}
        if self.uncertain and self.split(index) == "train":
            doubtful = np.random.default_rng((self.seed, 9, index)).random(len(labels)) < self.uncertain
            labels |= {finding: -1.0 for finding, doubt in zip(CHEXLOCALIZE_FINDINGS, doubtful, strict=True) if doubt}
        return labels

    def image(self, index: int) -> Array:
        """float32 (H, W) in [0, 1]."""
        return render_image(self.scene(index), self.size)

    def counterfactual(self, index: int, finding: str) -> Array:
        """The same patient, moment and noise without the finding: float32 (H, W) in [0, 1]."""
        return render_image(self.scene(index).without_finding(canonical_name(finding)), self.size)

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
            metadata={
                "sex": "Female" if a.female else "Male",
                "projection": "AP" if a.portable else "PA",
                "artifact": made.artifact,
            },
        )

    def annotation(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Marks of the truth, of the two simulated readers, of regions and of the shortcut."""
        index = int(radiograph.removeprefix("phantom"))
        made = self.scene(index)
        if reader in GAZE_READERS:
            return self._gaze_annotation(radiograph, index, finding, reader)
        known = {*made.findings, *REGIONS, *(("Shortcut",) if made.artifact else ())}
        if finding not in known or (reader != REFERENCE_READER and finding not in made.findings):
            return None
        if reader not in (REFERENCE_READER, CONTOUR_READER, POINT_READER):
            return None
        size = (round(self.size * made.anatomy.aspect), self.size)
        number = CHEXLOCALIZE_FINDINGS.index(finding) if finding in CHEXLOCALIZE_FINDINGS else 99
        key = (self.seed, 8, index, number)

        def mask() -> Array:
            return render_masks(made, self.size)[finding]

        if reader == REFERENCE_READER:
            return Annotation(radiograph, finding, reader, "region", size, mask)
        if overlooks(DEFAULT_READER, mask(), key) or not mask().any():
            return None
        if reader == CONTOUR_READER:
            return Annotation(
                radiograph, finding, reader, "region", size, lambda: draw_contour(DEFAULT_READER, mask(), key)
            )
        return Annotation(radiograph, finding, reader, "points", size, lambda: place_point(DEFAULT_READER, mask(), key))

    def gaze(self, index: int, reader: str) -> Gaze:
        """How a simulated reader looked at a film."""
        made = self.scene(index)
        findings = tuple(finding for finding in CHEXLOCALIZE_FINDINGS if finding in made.findings)
        key = (self.seed, 10, index, GAZE_READERS.index(reader))
        return simulate_gaze(render_masks(made, self.size), findings, key, f"phantom{index:06d}", reader)

    def report(self, radiograph: str) -> Report:
        """What was dictated of a film."""
        index = int(radiograph.removeprefix("phantom"))
        made = self.scene(index)
        study = f"patient{made.patient:06d}_study{made.visit + 1}"
        return simulate_report(made, render_masks(made, self.size), (self.seed, 12, index), study)

    def _gaze_annotation(self, radiograph: str, index: int, finding: str, reader: str) -> Annotation | None:
        """All of a reading, or the density while a finding was spoken of."""
        if np.random.default_rng((self.seed, 11, index)).random() >= self.gaze_share:
            return None
        if finding == ALL_GAZE:
            size = (round(self.size * self.scene(index).anatomy.aspect), self.size)
            return Annotation(radiograph, ALL_GAZE, reader, "fixations", size, partial(self.gaze, index, reader))
        return annotation_from_mentions(self.gaze(index, reader), finding)


@dataclass(frozen=True, slots=True)
class _PhantomRadiographs(Sequence[Radiograph]):
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
            return _PhantomRadiographs(self.phantom, self.indices[place])
        return self.phantom.radiograph(self.indices[place])

    def __iter__(self) -> Iterator[Radiograph]:
        return (self.phantom.radiograph(index) for index in self.indices)


def _phantom_identity(argument: str, options: Mapping[str, str]) -> str:
    """Return the seed: it decides the patients, whatever their number or split."""
    return options.get("seed", "0")


@datasets(
    "phantom",
    title="Sightline chest phantom (rendered)",
    source="Sightline",
    license="public domain (CC0)",
    is_synthetic=True,
    identity=_phantom_identity,
)
def load_phantom(
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
    target = canonical_name(target)
    if shortcut and (artifact not in ARTIFACTS or target not in CHEXLOCALIZE_FINDINGS or not 0 <= correlation <= 1):
        raise DataError(
            f"shortcut={shortcut!r} with correlation={correlation}: give ARTIFACT:FINDING, one of "
            f"{', '.join(ARTIFACTS)}, a finding among {', '.join(CHEXLOCALIZE_FINDINGS)}, and a correlation from 0 to 1"
        )
    made = Phantom(seed, size, artifact if shortcut else "", target, correlation, uncertain, gazed)
    indices: Sequence[int] = range(start, start + count)
    if split:
        indices = [index for index in indices if made.split(index) == split]
    facts: dict[str, Any] = {
        "reader": asdict(DEFAULT_READER),
        "looker": asdict(DEFAULT_SIMULATOR),
        "phantom": made,
        "warnings": (),
    }
    return Dataset(
        "phantom",
        f"phantom:{count}",
        CHEXLOCALIZE_FINDINGS,
        _PhantomRadiographs(made, indices),
        made.annotation,
        (REFERENCE_READER, CONTOUR_READER, POINT_READER),
        REGIONS,
        GAZE_READERS,
        made.report,
        facts,
    )
