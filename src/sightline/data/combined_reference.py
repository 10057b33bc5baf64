"""A reference that combines the annotations of all readers, and for each reader one of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sightline.core import WITHOUT, Annotation, Array, Dataset
from sightline.data.reader_names import REFERENCE_READER
from sightline.errors import DataError
from sightline.imaging.consensus import CONSENSUS_RULES, ConsensusRule, combine_masks
from sightline.imaging.masks import rasterize_annotation


def combine_readers(data: Dataset, rule: ConsensusRule) -> Dataset:
    """Return a data set whose reference combines the annotations of its readers, which it replaces.

    A finding is present where more than half of those who read a radiograph annotated it (of two readers, both). Each
    reader is scored against the same combination of the other readers. Points enter no combination; a reader who set
    them is scored without this reader's own contours.

    Parameters
    ----------
    data : Dataset
        Data set with at least two readers of regions. A reference reader other than 'truth' is one of them.
    rule : {'union', 'majority', 'staple'}
        Rule, see `sightline.imaging.consensus.combine_masks`.

    Returns
    -------
    Dataset
        The same radiographs; its reference reader is 'truth'.

    Raises
    ------
    DataError
        If the rule does not exist, or fewer than two readers annotated regions.

    Examples
    --------
    >>> from sightline.data import open_dataset
    >>> data = combine_readers(open_dataset("phantom:4?size=64&readers=3"), "majority")
    >>> data.reference_for("simulated radiologist 2")
    'truth without simulated radiologist 2'
    """
    if rule not in CONSENSUS_RULES:
        raise DataError(f"{data.spec!r}: no reference is called {rule!r}; allowed: {', '.join(CONSENSUS_RULES)}")
    people = tuple(reader for reader in data.readers if reader != REFERENCE_READER)
    members = tuple(reader for reader in people if _draws_regions(data, reader))
    if len(members) < 2:
        listed = ", ".join(members) or "nobody"
        raise DataError(
            f"{data.spec!r}: reference={rule} needs at least two readers who annotated regions, and {listed} did; "
            "leave the option out"
        )
    return replace(
        data,
        annotation=_CombinedAnnotations(data, members, rule),
        readers=(REFERENCE_READER, *people),
        combined_readers=members,
        metadata={**data.metadata, "reference": f"{rule} of {len(members)} readers"},
    )


def _draws_regions(data: Dataset, reader: str) -> bool:
    """Return True if the first annotation of a reader is not points."""
    first = next((a for r in data.radiographs for f in data.findings if (a := data.annotation(r.id, f, reader))), None)
    return first is not None and first.kind != "points"


@dataclass(frozen=True, slots=True)
class _CombinedAnnotations:
    """`Dataset.annotation` of a combined reference; that of a reader, or of a region, is the data set's own."""

    data: Dataset
    members: tuple[str, ...]
    rule: ConsensusRule

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        name, _, left_out = reader.partition(WITHOUT)
        if name != REFERENCE_READER:
            return self.data.annotation(radiograph, finding, reader)
        if finding not in self.data.findings:  # an anatomical region
            return self.data.annotation(radiograph, finding, self.data.reference_reader)
        voters = [m for m in self.members if m != left_out and self.data.has_read(m, radiograph)]
        given = [a for m in voters if (a := self.data.annotation(radiograph, finding, m)) is not None]
        if not given or 2 * len(given) <= len(voters):
            return None
        read = partial(self._combine, given, len(voters))
        return Annotation(radiograph, finding, reader, "region", given[0].size, read)

    def _combine(self, given: Sequence[Annotation], voters: int) -> Array:
        masks = np.stack([rasterize_annotation(annotation) for annotation in given])
        empty = np.zeros((voters - len(masks), *masks.shape[1:]), bool)
        return combine_masks(np.concatenate([masks, empty]), self.rule)
