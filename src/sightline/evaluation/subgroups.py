"""Localization in subgroups of patients and cases: sex, age, view, projection, devices, and size of the finding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sightline.core import Array, Dataset
from sightline.data.subgroups import ATTRIBUTES, DEVICE_FINDING, GROUPS, group_table
from sightline.evaluation.score_table import ScoreTable
from sightline.protocol import Protocol
from sightline.stats.estimates import ScoreMatrix
from sightline.stats.subgroups import COLUMNS, Membership, estimate_subgroups

SIZE_GROUPS = ("smallest third", "middle third", "largest third")
"""Thirds of the annotations of each finding by their area."""
SUBGROUP_METRICS = ("iou", "pointing-game")
"""Metrics that are reported by subgroup."""


def compare_subgroups(scores: ScoreTable, data: Dataset, protocols: Sequence[Protocol], *, seed: int) -> None:
    """Write the table `subgroups` of a scored run.

    Parameters
    ----------
    scores : ScoreTable
        Tables of the run.
    data : Dataset
        Data set that was scored, which states the attributes of its radiographs.
    protocols : sequence of Protocol
        Protocols of scoring.
    seed : int
        Seed of the bootstrap.
    """
    shapes = scores.run.table("shapes", ["protocol", "radiograph", "finding", "size"])
    shapes = shapes[shapes["protocol"] == protocols[0].name]
    attributes = group_table(data, shapes["radiograph"]).set_index("radiograph")
    frames = []
    for metric in SUBGROUP_METRICS:
        if not (scores.estimates["metric"] == metric).any():
            continue
        for protocol in protocols:
            matrix = scores.matrix(metric, protocol, seed)
            findings = list(dict.fromkeys(finding for _, finding in matrix.keys))
            memberships = [
                *(_attribute_membership(name, matrix, findings, attributes[name]) for name in ATTRIBUTES),
                _size_membership(matrix, findings, shapes),
            ]
            frames.append(estimate_subgroups(matrix, findings, memberships, protocol, metric))
    filled = [frame for frame in frames if not frame.empty]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=pd.Index(COLUMNS))
    scores.run.write_table("subgroups", table)


def _attribute_membership(
    attribute: str, matrix: ScoreMatrix, findings: Sequence[str], groups: pd.Series[str]
) -> Membership:
    """Return the cases of each group of radiographs; the device itself is no case of the attribute device."""
    of_row = groups.reindex(matrix.radiographs).fillna("").to_numpy(str)
    counts = np.array([attribute != "device" or finding != DEVICE_FINDING for finding in findings])
    return Membership(attribute, {name: (of_row == name)[:, None] & counts for name in GROUPS[attribute]})


def _size_membership(matrix: ScoreMatrix, findings: Sequence[str], shapes: pd.DataFrame) -> Membership:
    """Return the cases of each third of the annotations of a finding by area."""
    sizes = shapes.pivot_table(index="radiograph", columns="finding", values="size")
    area: Array = sizes.reindex(index=matrix.radiographs, columns=list(findings)).to_numpy(float)  # (N, F)
    with np.errstate(invalid="ignore"):
        known = sizes.reindex(columns=list(findings)).to_numpy(float)
        defined = ~np.isnan(known).all(axis=0)
        edges = np.full((2, len(findings)), np.nan)
        edges[:, defined] = np.nanquantile(known[:, defined], [1 / 3, 2 / 3], axis=0)
        small, large = area <= edges[0], area > edges[1]
        middle = (area > edges[0]) & (area <= edges[1])
    return Membership("size", dict(zip(SIZE_GROUPS, (small, middle, large), strict=True)))
