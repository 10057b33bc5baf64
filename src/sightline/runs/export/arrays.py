"""Export of maps as NumPy archives and as NIfTI files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import SaliencyMap
from sightline.imaging.geometry import project_to_image, project_whole
from sightline.runs.export.items import ExportItem, ExportJob, ExportRow

AXIS_DIRECTIONS = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
"""One step along column, row and slice, as (right, anterior, superior): a frontal view, seen from the front."""


def write_npz(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Write each map as it is stored: arrays map (h, w), box (top, left, bottom, right: pixel edges), probability.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps and annotations.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        A row per map.
    """
    for m in item.maps:
        if not m.values.size:
            yield item.row("", m.source, m.finding, m.status, m.reason)
            continue
        arrays = {"map": m.values, "box": np.array(m.frame.box), "size": np.array(m.frame.size)}
        if not math.isnan(m.probability):
            arrays["probability"] = np.array(m.probability)
        name, partial = _output_paths(job, m, ".npz")
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        yield _finish_file(item, job, m, name, partial)


def write_nifti(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Write each map on its radiograph: float32, axes (column, row, slice of 1), in a nominal frontal plane.

    Pixels that the model did not see have the lowest value of the map; a comment in the header states which it saw, and
    its probability. Millimeters are pixels, because a projection has no scale.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps and annotations.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        A row per map.
    """
    import nibabel  # takes 0.3 s

    affine = np.eye(4)
    affine[:3, :3] = np.array(AXIS_DIRECTIONS).T
    for m in item.maps:
        if not m.values.size:
            yield item.row("", m.source, m.finding, m.status, m.reason)
            continue
        image: Any = nibabel.nifti1.Nifti1Image(project_whole(m.values, m.frame).T[:, :, None], affine)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = _ascii(f"sightline {m.finding}", 79)
        comment = json.dumps({"sightline": map_fields(m)}).encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment))
        name, partial = _output_paths(job, m, ".nii.gz")
        image.to_filename(partial)
        yield _finish_file(item, job, m, name, partial)


def map_fields(m: SaliencyMap) -> dict[str, object]:
    """Return the fields that are stored with a map on its radiograph.

    Parameters
    ----------
    m : SaliencyMap
        Map.

    Returns
    -------
    dict
        Source, finding, the pixels that the model saw ('seen', see `visible_box`), and probability.
    """
    return {
        "source": m.source,
        "finding": m.finding,
        "seen": visible_box(m),
        "probability": None if math.isnan(m.probability) else m.probability,
    }


def visible_box(m: SaliencyMap) -> list[int]:
    """Return the pixels of the original image that a map covers.

    Parameters
    ----------
    m : SaliencyMap
        Map.

    Returns
    -------
    list of int
        [top, left, bottom, right].
    """
    rows, cols = project_to_image(np.zeros((1, 1), np.float32), m.frame)[1]
    return [int(rows.start), int(cols.start), int(rows.stop), int(cols.stop)]


def _output_paths(job: ExportJob, m: SaliencyMap, suffix: str) -> tuple[str, Path]:
    """Return the name of a file below the folder, and the hidden file that is written first."""
    file = job.file_path("maps", m.source, f"{m.radiograph}__{m.finding}{suffix}")
    return file.relative_to(job.out).as_posix(), file.with_name(f".{file.name.removesuffix(suffix)}.partial{suffix}")


def _finish_file(item: ExportItem, job: ExportJob, m: SaliencyMap, name: str, partial: Path) -> ExportRow:
    partial.replace(job.out / name)
    return item.row(name, m.source, m.finding, m.status, m.reason)


def _ascii(text: str, max_length: int) -> bytes:
    return text.encode("ascii", "replace")[:max_length]
