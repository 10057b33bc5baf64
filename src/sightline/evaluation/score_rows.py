"""Rows of the tables of a scored run, and the options that they follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sightline.errors import DataError
from sightline.evaluation.case_table import IOU_SWEEP
from sightline.protocol import Protocol

METRICS = (
    "iou",
    "dice",
    "pointing-game",
    "precision",
    "recall",
    "specificity",
    "pixel-auroc",
    "average-precision",
    "pr-area",
    "relevance-mass",
    "relevance-rank",
    "box-iou",
    "chance-corrected-iou",
    "chance-corrected-hit",
    "prior-corrected-iou",
    "prior-corrected-hit",
    "iou-ceiling",
    *IOU_SWEEP,
)
"""Metrics of a run by default."""


class Score(NamedTuple):
    """One score with its origin: a row of the score table."""

    protocol: str
    """Name of the protocol."""
    source: str
    """Source of the map."""
    source_kind: str
    """'model', 'control', 'localizer', 'reader' or 'ceiling'."""
    radiograph: str
    """Id of the radiograph."""
    patient: str
    """Id of the patient."""
    finding: str
    """Name of the finding."""
    reader: str
    """Reference that the map is scored against: the reference reader, or 'REFERENCE without READER'."""
    metric: str
    """Name of the metric."""
    value: float
    """The score; NaN where it is undefined."""
    status: str
    """Status of the map; everything but 'ok' scored the worst value."""
    reason: str
    """Reason of the status."""
    probability: float
    """Probability that the model gives the finding, in [0, 1]; NaN without one."""
    area: float
    """Share of the image that the annotation covers, in (0, 1]."""


class MapOutcome(NamedTuple):
    """Status of one map, whether it is scored or not: a row of the table `maps`."""

    source: str
    """Source of the map."""
    radiograph: str
    """Id of the radiograph."""
    finding: str
    """Name of the finding."""
    status: str
    """Status of the map."""
    reason: str
    """Reason of the status."""
    probability: float
    """Probability that the model gives the finding, in [0, 1]; NaN without one."""
    annotated: bool
    """True if the reference reader annotated the finding; without an annotation there is no score."""


class PixelCounts(NamedTuple):
    """Predicted and annotated pixels of one image, annotated or not, from which full-data results are computed."""

    protocol: str
    """Name of the protocol."""
    source: str
    """Source of the map."""
    radiograph: str
    """Id of the radiograph."""
    patient: str
    """Id of the patient."""
    finding: str
    """Name of the finding."""
    image_pixels: int
    """Pixels of the image."""
    annotated_pixels: int
    """Pixels of the annotation; 0 without one."""
    predicted_pixels: int
    """Pixels of the binarized map; 0 for a map that failed."""
    overlap_pixels: int
    """Pixels that are annotated and predicted."""
    probability: float
    """Probability that the model gives the finding, in [0, 1]; NaN without one."""
    status: str
    """Status of the map."""


class AnnotationShape(NamedTuple):
    """Shape of an annotation by the definitions of one protocol; see `sightline.imaging.shape`."""

    protocol: str
    """Name of the protocol."""
    radiograph: str
    """Id of the radiograph."""
    patient: str
    """Id of the patient."""
    finding: str
    """Name of the finding."""
    instances: float
    """Number of separate regions."""
    size: float
    """Share of the image that the annotation covers, in (0, 1]."""
    elongation: float
    """Ratio of the sides of the bounding rectangle."""
    irrectangularity: float
    """Share of the bounding rectangle that the annotation leaves out."""


class RadiographScores(NamedTuple):
    """Rows of five tables of one radiograph."""

    scores: list[Score]
    """Rows of the table `scores`."""
    maps: list[MapOutcome]
    """Rows of the table `maps`."""
    pixel_counts: list[PixelCounts]
    """Rows of the table `pixel_counts`."""
    shapes: list[AnnotationShape]
    """Rows of the table `shapes`."""
    leave_one_out: list[Score]
    """Rows of the table `leave_one_out`: scores against each reference that leaves one reader out, which a reader is
    compared with; none where the reference was made without its readers."""


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """Options of scoring maps."""

    protocols: tuple[Protocol, ...]
    """Protocols of scoring."""
    findings: tuple[str, ...]
    """Findings that are scored."""
    metrics: tuple[str, ...] = METRICS
    """Names of metrics."""
    seed: int = 0
    """Seed of the bootstrap."""
    include_unannotated: bool = False
    """Count the pixels of maps without an annotation, too, for the results on all images."""

    def __post_init__(self) -> None:
        if len({p.point_radius for p in self.protocols}) > 1:
            radii = ", ".join(f"{p.name}: {p.point_radius:g}" for p in self.protocols)
            raise DataError(
                f"the protocols of a run draw annotated points with different radii ({radii}); give them one "
                "point_radius, because all of them score against the same masks"
            )
