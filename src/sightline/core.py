"""The nouns of Sightline: small frozen records that every other module speaks in.

Conventions, nowhere contradicted: coordinates are (row, col) with the origin at the top-left corner; the center of
pixel (r, c) lies at (r + 0.5, c + 0.5); sizes are (H, W); right and left are the patient's; probabilities are after the
sigmoid; maps are never normalized in storage.
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
"""What the values of a map mean: graded evidence; an extent (0 or 1: its peak means nothing); points (its extent means
nothing). A metric that asks what a kind cannot answer is not computed for it."""
Status = Literal["ok", "flat", "non-finite", "missing", "refused", "unreadable"]
"""What became of a map. Everything but `ok` points nowhere: it is scored as a failure, never dropped."""
Definition = Literal["published", "corrected"]
"""How a quantity is computed that published code defines in one way and this package in another."""

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a grid (a network's input, a saliency map of any resolution) lies on the original image.

    Resizing, cropping and padding compose to an axis-aligned box, so the box is all there is to know, and it holds
    for every resolution of the grid.

    >>> Frame.whole((2320, 2828)).is_whole
    True
    """

    size: Size
    """(H, W) of the original image, pixels."""
    box: tuple[float, float, float, float]
    """(top, left, bottom, right): the part of the original that the grid covers, in pixel *edges* (0 is the outer edge
    of the first pixel, H that of the last). Inside the image after a crop; beyond it after padding."""

    @classmethod
    def whole(cls, size: Size) -> Frame:
        """The frame of a grid stretched over the whole image."""
        return cls(size, (0.0, 0.0, float(size[0]), float(size[1])))

    @property
    def is_whole(self) -> bool:
        return self.box == (0.0, 0.0, float(self.size[0]), float(self.size[1]))


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One image, read when asked."""

    id: str
    """Unique within its data set."""
    patient: str
    """Splits and bootstrap group by this, never by image."""
    read: Callable[[], Array] = field(repr=False, compare=False)
    """-> float32 (H, W) in [0, 1]; more = more radio-opaque."""
    study: str = ""
    """Examination: radiographs of one study share it; empty where the data set has no such notion."""
    view: str = ""
    """'frontal', 'lateral', or empty where unknown."""
    size: Size | None = None
    """(H, W) of the original, or None where only opening the file would tell."""
    split: str = ""
    """'train', 'val', 'test', or empty."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """finding -> 1 present, 0 absent, -1 uncertain as read, NaN unknown."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What else the data set says: sex, age, projection, path."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one reader said about where one finding (or anatomical region) lies on one radiograph; decoded when read."""

    radiograph: str
    finding: str
    reader: str
    kind: AnnotationKind
    size: Size
    """(H, W) of the image the mark was made on."""
    read: Callable[[], Any] = field(repr=False, compare=False)
    """region: bool (H, W); contours: list of float (K, 2) as (row, col); boxes: float (K, 4) as (top, left, bottom,
    right), edges; points: float (K, 2) as (row, col); density: float32 (h, w) over the whole image, sum 1; fixations: a
    `sightline.data.gaze.Gaze`."""
    n_outlines: int | None = None
    """Of a region: how many outlines the reader drew, where a file tells; they may touch or overlap."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Radiographs, the marks readers left on them, and where it all comes from."""

    name: str
    """Short, for tables: 'chexlocalize'."""
    spec: str
    """What `sightline.open_dataset` was given; opening it again gives the same data, before what `derived` names."""
    findings: tuple[str, ...]
    """Canonical names, in the data set's own order."""
    radiographs: Sequence[Radiograph]
    """In a fixed order; may be lazy and very long."""
    annotation: Callable[[str, str, str], Annotation | None] = field(repr=False, compare=False)
    """(radiograph id, finding or region, reader) -> Mark, or None where that reader left none. Cheap: decoding waits
    for `Mark.read`."""
    readers: tuple[str, ...] = ()
    """Readers that left marks; the first is the reference standard ('truth')."""
    regions: tuple[str, ...] = ()
    """Anatomical regions for which `marks` answers under the reference reader."""
    gaze_readers: tuple[str, ...] = ()
    """Readers whose eyes were followed: `marks(id, 'gaze', reader)` gives their fixations, `marks(id, FINDING, reader)`
    the density of the looking while they spoke of it."""
    reports: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)
    """radiograph id -> `sightline.data.reports.Report` of its study, or None where there is none; None where the data
    set
    has no reports at all."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """version, license, citation, notes found while loading ('warnings': tuple of str)."""
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """Files and folders that it is read from; empty where that is all below the folder that the spec names."""
    derived: tuple[str, ...] = ()
    """What was done to the data set after it was opened, a phrase each, in order; a data set that has any is not opened
    again by its `spec`."""

    @property
    def reference_reader(self) -> str:
        """The reference reader, or '' where the data set has no marks."""
        return self.readers[0] if self.readers else ""


SourceKind = Literal["model", "control", "reader", "localizer", "ceiling"]
"""What a source of maps is: a model under study, a control, a reader, a localizer (a network that learned from
annotations), or a ceiling (the reference itself, as a map)."""


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
    model: str
    """Name of the network or reader that made the map; empty where there is none, as for most controls and folders."""
    method: str
    """Method with its options, name of the control or folder; of a reader 'points' or empty."""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read the string of a source, such as tables store; every string is the string of one source."""
        head, _, rest = text.partition("/")
        if head == "reader":
            return cls.from_reader(rest)
        kind: SourceKind = _PREFIXES.get(head, "model")
        path, question, options = (text if kind == "model" else rest).partition("?")
        model, _, method = path.rpartition("/")
        return cls(kind, model, f"{method}{question}{options}")

    @classmethod
    def from_reader(cls, name: str) -> Source:
        """Create the source of a data set's reader; a name that ends with ' points' is that of a reader's points."""
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
    """One map for one finding on one radiograph: raw, unscaled, with the frame that places it.

    `source` is the string of a `Source`: 'MODEL/METHOD', 'control/NAME', 'reader/NAME' or the name of a folder of maps.
    """

    radiograph: str
    finding: str
    source: str
    values: Array = field(repr=False)
    """float32 (h, w); higher = more evidence FOR the finding; never normalized. (0, 0) where there is none."""
    frame: Frame
    probability: float = NAN
    """The model's probability of the finding, after the sigmoid; NaN where no model made the map."""
    status: Status = "ok"
    reason: str = ""
    """One sentence, empty when ok."""
    kind: MapKind = "map"

    def _repr_html_(self) -> str:
        from sightline._util.html import map_html  # asked for by notebooks only

        return map_html(self)


class Maps(Protocol):
    """Anything that holds maps: a run, a folder made by another tool, a second reader, a list in memory."""

    @property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """Source -> the findings it answers for: where it has no map of one of them, that map is missing."""

    def maps_for(self, radiograph: str) -> Iterable[SaliencyMap]:
        """The maps of one radiograph, of every source, in a fixed order."""


def map_status(values: Array) -> Status:
    """'non-finite' if any value is NaN or infinite, 'flat' if all are equal (or there are none), else 'ok'.

    >>> map_status(np.zeros((2, 2), np.float32)), map_status(np.eye(2, dtype=np.float32))
    ('flat', 'ok')
    """
    if not np.isfinite(values).all():
        return "non-finite"
    return "flat" if values.size == 0 or values.min() == values.max() else "ok"


STATUSES: tuple[Status, ...] = ("ok", "flat", "non-finite", "missing", "refused", "unreadable")


@dataclass(frozen=True, slots=True)
class Case:
    """A radiograph and a finding that it shows."""

    radiograph: Radiograph
    finding: str


PAIR, RETRAINED, OTHER_ARCHITECTURE, FORGETTING = "pair", "repeatability", "reproducibility", "randomization"


LABEL_RANDOMIZATION, COMPLEXITY = "label-randomization", "complexity"
