"""Loader of the phantom: rendered radiographs, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np

from sightline.core import Annotation, AnnotationKind, Array, Dataset, Radiograph, Size
from sightline.data.gaze import ALL_GAZE, Gaze, annotation_from_mentions
from sightline.data.phantom import simulated_readers
from sightline.data.phantom.render import render_image, render_masks
from sightline.data.phantom.scene import Scene, draw_age, make_scene, patient_and_visit
from sightline.data.phantom.simulated_gaze import DEFAULT_SIMULATOR, simulate_gaze
from sightline.data.phantom.simulated_readers import DEFAULT_READER, reader_names
from sightline.data.phantom.simulated_reports import simulate_report
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS, canonical_name

REGIONS = ("Right Lung", "Left Lung", "Mediastinum", "Heart", "Aortic Knob")
GAZE_READERS = ("simulated gaze", "simulated gaze of another")
ARTIFACTS = ("marker", "text", "drain")
SPLITS = (("train", 0.6), ("val", 0.15), ("test", 0.25))


@dataclass(frozen=True, slots=True)
class Phantom:
    """Parameters that determine every radiograph of a phantom data set."""

    seed: int
    """Seed of all random numbers."""
    size: int
    """Pixels of the shorter side."""
    artifact: str
    """Artifact drawn as a shortcut: 'marker', 'text' or 'drain'; empty for none."""
    shortcut_finding: str
    """Finding whose label the artifact agrees with."""
    correlation: float
    """Chance that the artifact agrees with the label of its finding."""
    uncertain: float = 0.0
    """Chance that a training label is reported as uncertain (-1)."""
    gaze_share: float = 1.0
    """Share of the radiographs with gaze."""
    readers: int = 1
    """Number of simulated readers, each of whom draws contours and places points."""

    def scene(self, index: int) -> Scene:
        """Return the scene of a radiograph, with its artifact.

        Parameters
        ----------
        index : int
            Index of the radiograph.

        Returns
        -------
        Scene
            The scene.
        """
        scene = make_scene(self.seed, index)
        if not self.artifact:
            return scene
        agrees = np.random.default_rng((self.seed, 6, index)).random() < self.correlation
        is_drawn = (self.shortcut_finding in scene.findings) == agrees
        return replace(scene, artifact=self.artifact if is_drawn else "")

    def split(self, index: int) -> str:
        """Return the split of a radiograph, drawn by patient, whatever else is in the data set.

        Parameters
        ----------
        index : int
            Index of the radiograph.

        Returns
        -------
        str
            'train', 'val' or 'test', with the chances `SPLITS`.
        """
        draw = np.random.default_rng((self.seed, 7, patient_and_visit(index)[0])).random()
        for name, share in SPLITS:
            if draw < share:
                return name
            draw -= share
        return "test"

    def labels(self, index: int, scene: Scene) -> dict[str, float]:
        """Return the labels of a radiograph.

        Parameters
        ----------
        index : int
            Index of the radiograph.
        scene : Scene
            Its scene.

        Returns
        -------
        dict of str to float
            Finding -> 1 or 0; in the training split -1 with the chance `uncertain`.
        """
        labels = {finding: float(finding in scene.findings) for finding in CHEXLOCALIZE_FINDINGS}
        if self.uncertain and self.split(index) == "train":
            is_doubtful = np.random.default_rng((self.seed, 9, index)).random(len(labels)) < self.uncertain
            labels |= {
                name: -1.0 for name, doubtful in zip(CHEXLOCALIZE_FINDINGS, is_doubtful, strict=True) if doubtful
            }
        return labels

    def image(self, index: int) -> Array:
        """Render a radiograph.

        Parameters
        ----------
        index : int
            Index of the radiograph.

        Returns
        -------
        (H, W) float32
            Image in [0, 1].
        """
        return render_image(self.scene(index), self.size)

    def counterfactual(self, index: int, finding: str) -> Array:
        """Render a radiograph without a finding: the same patient, position and noise.

        Parameters
        ----------
        index : int
            Index of the radiograph.
        finding : str
            Finding to leave out, with what it implies (`Scene.without_finding`).

        Returns
        -------
        (H, W) float32
            Image in [0, 1].
        """
        return render_image(self.scene(index).without_finding(canonical_name(finding)), self.size)

    def radiograph(self, index: int) -> Radiograph:
        """Return the record of a radiograph, whose image is rendered when it is read.

        Parameters
        ----------
        index : int
            Index of the radiograph.

        Returns
        -------
        Radiograph
            The record.
        """
        scene = self.scene(index)
        return Radiograph(
            id=f"phantom{index:06d}",
            patient=f"patient{scene.patient:06d}",
            read=partial(self.image, index),  # a lambda could not be sent to another process
            study=_study_id(scene),
            view="frontal",
            size=self._image_size(scene),
            split=self.split(index),
            labels=self.labels(index, scene),
            metadata={
                "sex": "Female" if scene.anatomy.female else "Male",
                "age": draw_age(self.seed, scene.patient),
                "projection": "AP" if scene.anatomy.portable else "PA",
                "artifact": scene.artifact,
            },
        )

    def annotation(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return an annotation: the `Dataset.annotation` of the phantom.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.
        finding : str
            Finding, region, 'Shortcut' (the artifact), or `ALL_GAZE`.
        reader : str
            Reference reader, one of the simulated readers, or a gaze reader.

        Returns
        -------
        Annotation or None
            None where the reader annotated nothing.
        """
        index = _parse_index(radiograph)
        scene = self.scene(index)
        if reader in GAZE_READERS:
            return self._gaze_annotation(radiograph, index, finding, reader)
        visible = {*scene.findings, *REGIONS, *(("Shortcut",) if scene.artifact else ())}
        if finding not in visible or (reader != REFERENCE_READER and finding not in scene.findings):
            return None
        if reader != REFERENCE_READER and reader not in reader_names(self.readers):
            return None
        size = self._image_size(scene)
        number = CHEXLOCALIZE_FINDINGS.index(finding) if finding in CHEXLOCALIZE_FINDINGS else 99

        def mask() -> Array:
            return render_masks(scene, self.size)[finding]

        if reader == REFERENCE_READER:
            return Annotation(radiograph, finding, reader, "region", size, mask)
        errors, key = simulated_readers.find_reader(reader, self.seed, (index, number))
        if simulated_readers.overlooks(errors, mask(), key) or not mask().any():
            return None
        kind: AnnotationKind = "points" if reader.endswith(" points") else "region"
        answer = simulated_readers.place_points if kind == "points" else simulated_readers.draw_contour
        return Annotation(radiograph, finding, reader, kind, size, lambda: answer(errors, mask(), key))

    def gaze(self, index: int, reader: str) -> Gaze:
        """Simulate the gaze of a reading.

        Parameters
        ----------
        index : int
            Index of the radiograph.
        reader : str
            One of `GAZE_READERS`.

        Returns
        -------
        Gaze
            Fixations and phrases.
        """
        scene = self.scene(index)
        findings = tuple(finding for finding in CHEXLOCALIZE_FINDINGS if finding in scene.findings)
        key = (self.seed, 10, index, GAZE_READERS.index(reader))
        return simulate_gaze(render_masks(scene, self.size), findings, key, f"phantom{index:06d}", reader)

    def report(self, radiograph: str) -> Report:
        """Simulate the report of a radiograph.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.

        Returns
        -------
        Report
            The report.
        """
        index = _parse_index(radiograph)
        scene = self.scene(index)
        return simulate_report(scene, render_masks(scene, self.size), (self.seed, 12, index), _study_id(scene))

    def _image_size(self, scene: Scene) -> Size:
        return round(self.size * scene.anatomy.aspect), self.size

    def _gaze_annotation(self, radiograph: str, index: int, finding: str, reader: str) -> Annotation | None:
        """Return the fixations of a whole reading, or the density while a finding was mentioned."""
        if np.random.default_rng((self.seed, 11, index)).random() >= self.gaze_share:
            return None
        if finding == ALL_GAZE:
            size = self._image_size(self.scene(index))
            return Annotation(radiograph, ALL_GAZE, reader, "fixations", size, partial(self.gaze, index, reader))
        return annotation_from_mentions(self.gaze(index, reader), finding)


def _study_id(scene: Scene) -> str:
    return f"patient{scene.patient:06d}_study{scene.visit + 1}"


def _parse_index(radiograph: str) -> int:
    return int(radiograph.removeprefix("phantom"))


@dataclass(frozen=True, slots=True)
class _PhantomRadiographs(Sequence[Radiograph]):
    """Sequence of radiographs that are made when asked for, by their indices."""

    phantom: Phantom
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, item: int) -> Radiograph: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Radiograph]: ...
    def __getitem__(self, item: int | slice) -> Radiograph | Sequence[Radiograph]:
        if isinstance(item, slice):
            return _PhantomRadiographs(self.phantom, self.indices[item])
        return self.phantom.radiograph(self.indices[item])

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
    readers: int = 1,
) -> Dataset:
    """Open the phantom: rendered radiographs with known findings, simulated readers and true counterfactuals.

    Any radiograph is determined by the seed and its index alone.

    Parameters
    ----------
    argument : str
        Number of radiographs, as in 'phantom:200'; by default 200.
    size : int
        Pixels of the shorter side, 32 to 4096.
    seed : int
        Seed; another seed has other patients.
    split : {'', 'train', 'val', 'test'}
        Split to keep; by default all.
    start : int
        Index of the first radiograph.
    shortcut : str
        'ARTIFACT:FINDING', such as 'marker:Cardiomegaly', 'text:Edema' or 'drain:Pneumothorax': draw the artifact so
        that it agrees with the label of the finding.
    correlation : float
        Chance that the artifact agrees with the label.
    uncertain : float
        Share of the training labels that are -1.
    gazed : float
        Share of the radiographs with gaze.
    readers : int
        Number of simulated readers, 1 to 20; their skill differs.

    Raises
    ------
    DataError
        If an option is out of its range.
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
        raise DataError(f"gazed={gazed}: give the share of radiographs with gaze, from 0 to 1")
    artifact, _, target = shortcut.partition(":")
    target = canonical_name(target)
    if shortcut and (artifact not in ARTIFACTS or target not in CHEXLOCALIZE_FINDINGS or not 0 <= correlation <= 1):
        raise DataError(
            f"shortcut={shortcut!r} with correlation={correlation}: give ARTIFACT:FINDING, one of "
            f"{', '.join(ARTIFACTS)}, a finding among {', '.join(CHEXLOCALIZE_FINDINGS)}, and a correlation from 0 to 1"
        )
    phantom = Phantom(seed, size, artifact if shortcut else "", target, correlation, uncertain, gazed, readers)
    indices: Sequence[int] = range(start, start + count)
    if split:
        indices = [index for index in indices if phantom.split(index) == split]
    metadata: dict[str, Any] = {
        "reader": asdict(DEFAULT_READER),
        "looker": asdict(DEFAULT_SIMULATOR),
        "phantom": phantom,
        "warnings": (),
    }
    return Dataset(
        "phantom",
        f"phantom:{count}",
        CHEXLOCALIZE_FINDINGS,
        _PhantomRadiographs(phantom, indices),
        phantom.annotation,
        (REFERENCE_READER, *reader_names(readers)),
        REGIONS,
        GAZE_READERS,
        phantom.report,
        metadata,
    )
