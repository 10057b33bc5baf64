"""The records that every other module exchanges: radiograph, annotation, data set, source, saliency map, frame.

Conventions: coordinates are (row, col) with the origin at the top-left corner; the center of pixel (r, c) lies at
(r + 0.5, c + 0.5); sizes are (H, W); right and left are the patient's; probabilities are after the sigmoid; maps are
never normalized in storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = tuple[int, int]
"""(H, W) in pixels."""

AnnotationKind = Literal["region", "contours", "boxes", "points", "density", "fixations"]
MapKind = Literal["map", "mask", "points"]
"""Meaning of the values of a map: graded evidence; an extent (0 or 1, so that its peak has no meaning); points (whose
extent has no meaning). A metric that a kind cannot answer is not computed for it."""
Status = Literal["ok", "flat", "non-finite", "missing", "refused", "unreadable"]
"""Outcome of a map. Every status but `ok` points nowhere: such a map is scored as a failure and never dropped."""
STATUSES: tuple[Status, ...] = ("ok", "flat", "non-finite", "missing", "refused", "unreadable")
"""All statuses, in the order in which files store them by number."""
Definition = Literal["published", "corrected"]
"""Way to compute a quantity that published code defines in one way and this package in another."""
SourceKind = Literal["model", "control", "reader", "localizer", "ceiling"]
"""Kind of a source of maps: a model under study, a control, a reader, a localizer (a network trained on annotations),
or a ceiling (the reference itself, as a map)."""

NAN = float("nan")
WITHOUT = " without "
"""Between the name of a reference that combines readers and the reader whose annotations are left out."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Place of a grid (the input of a network, a saliency map of any resolution) on the original image.

    Resizing, cropping and padding compose to an axis-aligned box. The box is therefore all that has to be known, and
    it holds for every resolution of the grid.

    Examples
    --------
    >>> Frame.whole((2320, 2828)).is_whole
    True
    """

    size: Size
    """(H, W) of the original image, in pixels."""
    box: tuple[float, float, float, float]
    """(top, left, bottom, right): the part of the original that the grid covers, in pixel *edges* (0 is the outer edge
    of the first pixel, H that of the last). It lies inside the image after a crop and beyond it after padding."""

    @classmethod
    def whole(cls, size: Size) -> Frame:
        """Create the frame of a grid that is stretched over the whole image.

        Parameters
        ----------
        size : (H, W)
            Size of the original image, in pixels.

        Returns
        -------
        Frame
            Frame whose box is the whole image.
        """
        return cls(size, (0.0, 0.0, float(size[0]), float(size[1])))

    @property
    def is_whole(self) -> bool:
        """Whether the grid covers exactly the whole image."""
        return self.box == (0.0, 0.0, float(self.size[0]), float(self.size[1]))


@dataclass(frozen=True, slots=True)
class Radiograph:
    """Record of one image; the pixels are read on demand."""

    id: str
    """Identifier, unique within the data set."""
    patient: str
    """Patient; splits and the bootstrap group by patients, never by images."""
    read: Callable[[], Array] = field(repr=False, compare=False)
    """Function that returns the pixels: float32 (H, W) in [0, 1], higher = more radio-opaque."""
    study: str = ""
    """Examination, shared by its radiographs; empty where the data set has none."""
    view: str = ""
    """'frontal', 'lateral', or empty where unknown."""
    size: Size | None = None
    """(H, W) of the original, or None where only opening the file would tell."""
    split: str = ""
    """'train', 'val', 'test', or empty."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Finding -> 1 present, 0 absent, -1 uncertain according to the report, NaN unknown."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the data set, such as sex, age, projection and path."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Place that one reader gave for one finding (or anatomical region) on one radiograph; decoded on demand."""

    radiograph: str
    """Identifier of the radiograph."""
    finding: str
    """Finding or anatomical region."""
    reader: str
    """Name of the reader."""
    kind: AnnotationKind
    """Form of what `read` returns."""
    size: Size
    """(H, W) of the image that was annotated."""
    read: Callable[[], Any] = field(repr=False, compare=False)
    """Function that returns, by kind: region: bool (H, W); contours: list of float (K, 2) as (row, col); boxes: float
    (K, 4) as (top, left, bottom, right), edges; points: float (K, 2) as (row, col); density: float32 (h, w) over the
    whole image, with sum 1; fixations: a `sightline.data.gaze.Gaze`."""
    n_outlines: int | None = None
    """Number of outlines that the reader drew of a region, where a file states it; they may touch or overlap."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Radiographs with the annotations of their readers, and where both come from."""

    name: str
    """Short name for tables, such as 'chexlocalize'."""
    spec: str
    """Argument of `sightline.open_dataset` that opens the same data again, before the changes that `derived` names."""
    findings: tuple[str, ...]
    """Canonical names of the findings, in the data set's own order."""
    radiographs: Sequence[Radiograph]
    """Radiographs in a fixed order; the sequence may be lazy and very long."""
    annotation: Callable[[str, str, str], Annotation | None] = field(repr=False, compare=False)
    """Function of (radiograph id, finding or region, reader) that returns an annotation, or None where that reader gave
    none. It is cheap, because decoding waits for `Annotation.read`."""
    readers: tuple[str, ...] = ()
    """Readers that annotated; the first is the reference standard ('truth')."""
    regions: tuple[str, ...] = ()
    """Anatomical regions that the reference reader annotated."""
    gaze_readers: tuple[str, ...] = ()
    """Readers whose gaze was recorded: `annotation(id, 'gaze', reader)` gives their fixations, `annotation(id, FINDING,
    reader)` the density of gaze while they mentioned the finding."""
    reports: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)
    """Function of a radiograph id that returns the `sightline.data.reports.Report` of its study, or None where there is
    none; None for a data set without reports."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Version, license, citation, and what was noticed while loading ('warnings': tuple of str)."""
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """Files and folders that it is read from; empty where all of them lie below the folder that the spec names."""
    derived: tuple[str, ...] = ()
    """Changes made to the data set after it was opened, a phrase each, in order. A data set with any is not opened
    again by its `spec`."""
    combined_readers: tuple[str, ...] = ()
    """Readers whose annotations the reference combines; empty where the reference was made without its readers."""
    readers_of: Callable[[str], Sequence[str]] | None = field(default=None, repr=False, compare=False)
    """Function of a radiograph id that returns the names of the readers who read it; None where all read all."""

    @property
    def reference_reader(self) -> str:
        """Name of the reference reader; '' for a data set without annotations."""
        return self.readers[0] if self.readers else ""

    def reference_for(self, reader: str) -> str:
        """Name the reference that a reader is scored against, which never contains this reader's own annotations.

        Parameters
        ----------
        reader : str
            Name of a reader.

        Returns
        -------
        str
            The reference reader; 'REFERENCE without READER' where the reference combines annotations of this reader.
            `annotation` takes both.
        """
        person = Source.from_reader(reader).model
        return f"{self.reference_reader}{WITHOUT}{person}" if person in self.combined_readers else self.reference_reader

    def has_read(self, reader: str, radiograph: str) -> bool:
        """Return False if a data set states who read a radiograph, and does not name this reader.

        Parameters
        ----------
        reader, radiograph : str
            Name of a reader and identifier of a radiograph.

        Returns
        -------
        bool
            True for a reader who read it, whatever was annotated.
        """
        return self.readers_of is None or Source.from_reader(reader).model in self.readers_of(radiograph)


@dataclass(frozen=True, slots=True)
class Case:
    """A radiograph and a finding that it shows."""

    radiograph: Radiograph
    """The radiograph."""
    finding: str
    """The finding."""


_PREFIXES: Mapping[str, SourceKind] = {"control": "control", "localizer": "localizer", "ceiling": "ceiling"}


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a map: which model or reader made it, and by which method.

    Tables store the string of a source; its forms are 'MODEL/METHOD' or the name of a folder of maps for the kind
    'model', and 'KIND/MODEL/METHOD', 'KIND/METHOD' or 'reader/NAME' for the others. The method may carry options
    ('rise?masks=8') whose values contain slashes, and the name of a model may contain slashes.

    Examples
    --------
    >>> Source.parse("densenet121/grad-cam")
    Source(kind='model', model='densenet121', method='grad-cam')
    >>> Source.parse("control/untrained/rise?masks=8").method, Source.parse("control/center").model
    ('rise?masks=8', '')
    >>> str(Source("reader", "radiologist", "points"))
    'reader/radiologist points'
    """

    kind: SourceKind
    """Kind of the source."""
    model: str
    """Name of the network or reader that made the map; empty where there is none, as for most controls and folders."""
    method: str
    """Method with its options, name of the control or folder; of a reader 'points' or empty."""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Parse the string of a source, as tables store it; every string is the string of one source.

        Parameters
        ----------
        text : str
            Stored string, such as 'densenet121/grad-cam'.

        Returns
        -------
        Source
            Source whose string is `text`.
        """
        head, _, rest = text.partition("/")
        if head == "reader":
            return cls.from_reader(rest)
        kind: SourceKind = _PREFIXES.get(head, "model")
        path, question, options = (text if kind == "model" else rest).partition("?")
        model, _, method = path.rpartition("/")
        return cls(kind, model, f"{method}{question}{options}")

    @classmethod
    def from_reader(cls, name: str) -> Source:
        """Create the source of a reader of a data set.

        Parameters
        ----------
        name : str
            Name of the reader; a name that ends with ' points' stands for the points of a reader.

        Returns
        -------
        Source
            Source of the kind 'reader'.
        """
        reader = name.removesuffix(" points")
        return cls("reader", reader, "points") if "" != reader != name else cls("reader", name, "")

    @property
    def name(self) -> str:
        """The string without the kind; of a reader the name that its data set uses."""
        return (" " if self.kind == "reader" else "/").join(filter(None, (self.model, self.method)))

    def __str__(self) -> str:
        return "/".join(filter(None, ("" if self.kind == "model" else self.kind, self.name)))


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """Map of one finding on one radiograph: raw, unscaled, with the frame that places it on the image."""

    radiograph: str
    """Identifier of the radiograph."""
    finding: str
    """Finding whose evidence the map shows."""
    source: str
    """String of a `Source`: 'MODEL/METHOD', 'control/NAME', 'reader/NAME' or the name of a folder of maps."""
    values: Array = field(repr=False)
    """float32 (h, w), higher = more evidence for the finding, never normalized; (0, 0) where there are none."""
    frame: Frame
    """Place of the values on the image."""
    probability: float = NAN
    """The model's probability of the finding, after the sigmoid; NaN where no model made the map."""
    status: Status = "ok"
    """Outcome of the map."""
    reason: str = ""
    """One sentence on the status; empty for 'ok'."""
    kind: MapKind = "map"
    """Meaning of the values."""

    def summary_lines(self) -> list[str]:
        """Describe the map in short lines: source, values, place, probability and status.

        Returns
        -------
        list of str
            Three to five lines.
        """
        (height, width), box = self.frame.size, self.frame.box
        lines = [self.source]
        if self.values.size:
            shape = f"{self.values.shape[0]} × {self.values.shape[1]}"
            kind = "" if self.kind == "map" else f" ({self.kind})"
            lines.append(f"{shape}{kind}, {self.values.min():.3g} to {self.values.max():.3g}")
        if self.frame.is_whole:
            lines.append(f"covers the radiograph, {height} × {width}")
        else:
            edges = ", ".join(f"{edge:g}" for edge in box)
            lines.append(f"covers ({edges}) of the radiograph, {height} × {width} (top, left, bottom, right)")
        if not np.isnan(self.probability):
            lines.append(f"probability {self.probability:.3f}")
        if self.status != "ok":
            lines.append(f"{self.status}: {self.reason}" if self.reason else self.status)
        return lines

    def _repr_html_(self) -> str:
        from sightline._util.html import map_html  # only notebooks ask for it

        title = f"{self.finding} on {self.radiograph}"
        return map_html(self.values, self.frame.size, self.frame.box, title, self.summary_lines())


class Maps(Protocol):
    """Collection of maps: a run, a folder made by another tool, a second reader, a list in memory."""

    @property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for; a map of one of them that is not there counts as missing."""

    def maps_for(self, radiograph: str) -> Iterable[SaliencyMap]:
        """Yield the maps of one radiograph, of every source, in a fixed order.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Returns
        -------
        iterable of SaliencyMap
            Maps of the radiograph.
        """


def map_status(values: Array) -> Status:
    """Judge the values of a map.

    Parameters
    ----------
    values : (h, w) array
        Values of a map.

    Returns
    -------
    Status
        'non-finite' if any value is NaN or infinite, 'flat' if all are equal or there are none, otherwise 'ok'.

    Examples
    --------
    >>> map_status(np.zeros((2, 2), np.float32)), map_status(np.eye(2, dtype=np.float32))
    ('flat', 'ok')
    """
    if not np.isfinite(values).all():
        return "non-finite"
    return "flat" if values.size == 0 or values.min() == values.max() else "ok"


CHANCE = "pair"
"""Comparison of a map with that of another patient who shows the same finding."""
RETRAINED = "repeatability"
"""Comparison with the same architecture, trained again."""
OTHER_ARCHITECTURE = "reproducibility"
"""Comparison with another architecture, trained on the same data."""
WEIGHT_RANDOMIZATION = "randomization"
"""Comparison with the same network after weights were drawn again."""
LABEL_RANDOMIZATION = "label-randomization"
"""Comparison with the same architecture, trained on shuffled labels."""
COMPLEXITY = "complexity"
"""Change of the entropy of maps while weights are drawn again."""
