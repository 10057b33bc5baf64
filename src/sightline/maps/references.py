"""Maps of readers and controls, which are scored by the same code as the maps of every method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sightline.core import Annotation, Array, Dataset, Frame, MapKind, Radiograph, SaliencyMap, Source, Status
from sightline.errors import DataError, UnknownNameError
from sightline.imaging.geometry import resample_area
from sightline.imaging.masks import rasterize_annotation
from sightline.maps import controls


@dataclass(frozen=True)
class ReaderMaps:
    """Masks or points of every reader except the reference reader, each a source 'reader/NAME'.

    Where the reference combines the annotations of readers, a reader answers for what the others annotated together:
    `Dataset.reference_for` names that reference, and scoring uses it. A radiograph that a reader did not read has no
    map of this reader.
    """

    data: Dataset
    """Data set whose readers are used."""
    findings: tuple[str, ...] = ()
    """Findings that they must answer for; all of the data set by default."""
    kinds: dict[str, MapKind] = field(init=False)
    """Reader -> kind of its maps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", self.findings or self.data.findings)
        kinds: dict[str, MapKind] = {}
        for reader in self.data.readers[1:]:
            first = next(self._annotations(reader), None)
            if first is not None:
                kinds[reader] = "points" if first.kind == "points" else "mask"
        object.__setattr__(self, "kinds", kinds)

    def _annotations(self, reader: str) -> Iterator[Annotation]:
        for radiograph in self.data.radiographs:
            for finding in self.data.findings:
                annotation = self.data.annotation(radiograph.id, finding, reader)
                if annotation is not None:
                    yield annotation

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for."""
        return {str(Source.from_reader(reader)): self.findings for reader in self.kinds}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Yields
        ------
        SaliencyMap
            A map per reader of the radiograph and finding that this reader or the reference for this reader annotated;
            its status is 'missing' where this reader did not.
        """
        for reader in self.kinds:
            if not self.data.has_read(reader, radiograph):
                continue
            for finding in self.findings:
                reference = self.data.annotation(radiograph, finding, self.data.reference_for(reader))
                annotation = self.data.annotation(radiograph, finding, reader)
                if annotation is not None:
                    yield annotation_to_map(annotation)
                elif reference is not None:
                    yield self._missing_map(reader, reference)

    def _missing_map(self, reader: str, reference: Annotation) -> SaliencyMap:
        return SaliencyMap(
            reference.radiograph,
            reference.finding,
            str(Source.from_reader(reader)),
            np.zeros((0, 0), np.float32),
            Frame.whole(reference.size),
            status="missing",
            reason=f"{reader} gave no annotation",
            kind=self.kinds[reader],
        )


def annotation_to_map(annotation: Annotation) -> SaliencyMap:
    """Convert an annotation to a map over the whole image.

    Parameters
    ----------
    annotation : Annotation
        Annotation of any kind. Points become their number in each pixel (coordinates truncated, as in the published
        code); all other kinds become masks of 0 and 1.

    Returns
    -------
    SaliencyMap
        Map of the kind 'points' or 'mask'.
    """
    values: Array
    if annotation.kind == "points":
        values = np.zeros(annotation.size, np.float32)
        for row, col in np.asarray(annotation.read(), float).reshape(-1, 2).astype(int):
            if 0 <= row < annotation.size[0] and 0 <= col < annotation.size[1]:
                values[row, col] += 1
    else:
        values = rasterize_annotation(annotation).astype(np.float32)
    kind: MapKind = "points" if annotation.kind == "points" else "mask"
    source = str(Source.from_reader(annotation.reader))
    return SaliencyMap(
        annotation.radiograph, annotation.finding, source, values, Frame.whole(annotation.size), kind=kind
    )


@dataclass(frozen=True)
class ControlMaps:
    """Control maps, which know nothing about the model, or about this image.

    'center': a Gaussian in the middle; 'noise': as coarse as a class activation map, keyed by (seed, radiograph,
    finding); 'edges': gradient magnitude of the image; 'average-mask': mean annotation of the finding over the
    radiographs of *other patients* of the same data and the same view, because places on a lateral radiograph are not
    those on a frontal one.

    Raises
    ------
    UnknownNameError
        If a control does not exist.
    """

    data: Dataset
    """Data set."""
    names: tuple[str, ...] = ("center", "noise", "edges", "average-mask")
    """Controls."""
    seed: int = 0
    """Seed of the noise."""
    grid_side: int = 64
    """Cells along each side of a map, stretched over the image."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in _CONTROL_NAMES:
                raise UnknownNameError(f"no control is called {name!r}; allowed: {', '.join(_CONTROL_NAMES)}")

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for."""
        return {str(Source("control", "", name)): self.data.findings for name in self.names}

    @cached_property
    def _by_id(self) -> dict[str, Radiograph]:
        return {r.id: r for r in self.data.radiographs}

    @cached_property
    def _by_patient(self) -> dict[str, list[str]]:
        ids: dict[str, list[str]] = {}
        for radiograph in self.data.radiographs:
            ids.setdefault(radiograph.patient, []).append(radiograph.id)
        return ids

    @cached_property
    def _mask_sums(self) -> dict[tuple[str, str], tuple[Array, int]]:
        """(Finding, view) -> (sum of annotations (grid, grid), their number)."""
        by_view: dict[str, list[str]] = {}
        for radiograph in self.data.radiographs:
            by_view.setdefault(radiograph.view, []).append(radiograph.id)
        return {
            (f, view): _sum_masks(self.data, f, ids, self.grid_side)
            for f in self.data.findings
            for view, ids in by_view.items()
        }

    def average_mask(self, radiograph: str, finding: str) -> tuple[Array, int]:
        """Average the annotations of a finding over other patients and the same view.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph whose patient is left out, and whose view is averaged.
        finding : str
            Finding.

        Returns
        -------
        mean : (grid_side, grid_side) float32
            Mean annotation; zeros without any.
        count : int
            Number of annotations.
        """
        view = self._by_id[radiograph].view
        total, count = self._mask_sums[finding, view]
        of_patient = self._by_patient[self._by_id[radiograph].patient]
        same_view = [i for i in of_patient if self._by_id[i].view == view]
        same, same_count = _sum_masks(self.data, finding, same_view, self.grid_side)
        others = count - same_count
        return ((total - same) / max(others, 1)).astype(np.float32), others

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the control maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Yields
        ------
        SaliencyMap
            A map per control and finding with a reference annotation; other findings have nothing to compare with.
        """
        references = [self.data.annotation(radiograph, f, self.data.reference_reader) for f in self.data.findings]
        for name in self.names:
            for annotation in references:
                if annotation is not None:
                    yield self._make_map(name, annotation)

    def _make_map(self, name: str, annotation: Annotation) -> SaliencyMap:
        status: Status = "ok"
        reason = ""
        values = np.zeros((0, 0), np.float32)
        if name == "average-mask":
            values, others = self.average_mask(annotation.radiograph, annotation.finding)
            if not others:
                view = self._by_id[annotation.radiograph].view
                place = f" on a {view} radiograph" if view else ""
                status = "refused"
                reason = f"no other patient has an annotation of {annotation.finding!r}{place} to average"
        elif name == "edges":
            try:
                values = self._make_edge_map(annotation.radiograph)
            except DataError as error:
                status, reason = "unreadable", str(error)
        elif name == "center":
            values = controls.center_map(self.grid_side, self.grid_side)
        else:
            values = controls.noise_map(self.seed, annotation.radiograph, annotation.finding, height=10, width=10)
        frame = Frame.whole(annotation.size)
        source = str(Source("control", "", name))
        radiograph, finding = annotation.radiograph, annotation.finding
        return SaliencyMap(radiograph, finding, source, values, frame, status=status, reason=reason)

    def _make_edge_map(self, radiograph: str) -> Array:
        image = self._by_id[radiograph].read()
        shape = (min(4 * self.grid_side, image.shape[0]), min(4 * self.grid_side, image.shape[1]))
        return controls.edge_map(resample_area(image, Frame.whole(image.shape), shape))


_CONTROL_NAMES = ("center", "noise", "edges", "average-mask")


def _sum_masks(data: Dataset, finding: str, radiographs: Iterable[str], side: int) -> tuple[Array, int]:
    """Return the sum (side, side) of the reference annotations of a finding, and their number."""
    total, count = np.zeros((side, side), np.float64), 0
    for radiograph in radiographs:
        annotation = data.annotation(radiograph, finding, data.reference_reader)
        if annotation is not None:
            mask = rasterize_annotation(annotation)
            total += resample_area(mask, Frame.whole(mask.shape), (side, side))
            count += 1
    return total, count


@dataclass(frozen=True)
class PriorMaps:
    """Average annotation of each finding in training data, as a control.

    It knows where a finding usually lies, and nothing of the image (Arun et al. 2021, 10.1148/ryai.2021200267, average
    the masks of the training and validation data). It answers for the findings that the training data annotate.

    Raises
    ------
    DataError
        If the training data annotate none of the findings.
    """

    data: Dataset
    """Data set that is scored."""
    prior: Dataset
    """Training data, whose patients must be others; the caller checks this."""
    source: str
    """Name of the control."""
    findings: tuple[str, ...] = ()
    """Findings to answer for, as far as they are annotated; all of the data set by default."""
    grid_side: int = 64
    """Cells along each side of a map, stretched over the image."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", self.findings or self.data.findings)
        if not any(self.counts.values()):
            raise DataError(f"{self.prior.spec} has no annotation of {' or '.join(self.findings)} to average")

    @property
    def counts(self) -> dict[str, int]:
        """Finding -> number of annotations that are averaged."""
        return {finding: count for finding, (_, count) in self._sums.items()}

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for."""
        return {self.source: tuple(finding for finding, count in self.counts.items() if count)}

    @cached_property
    def _sums(self) -> dict[str, tuple[Array, int]]:
        ids = [radiograph.id for radiograph in self.prior.radiographs]
        return {finding: _sum_masks(self.prior, finding, ids, self.grid_side) for finding in self.findings}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the control maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Yields
        ------
        SaliencyMap
            A map per finding with a reference annotation, and annotations in the training data.
        """
        for finding, (total, count) in self._sums.items():
            annotation = self.data.annotation(radiograph, finding, self.data.reference_reader)
            if annotation is not None and count:
                values = (total / count).astype(np.float32)
                yield SaliencyMap(radiograph, finding, self.source, values, Frame.whole(annotation.size))
