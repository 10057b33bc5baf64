"""Maps as NumPy archives and as NIfTI files: what other tools of ours, and of others, read."""

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
"""One step along column, row and slice, as (right, anterior, superior): a frontal film, seen from the front."""


def write_npz(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Each map raw, as it is stored: arrays map (h, w), box (top, left, bottom, right: pixel edges), probability."""
    for m in item.maps:
        if not m.values.size:
            yield item.row("", m.source, m.finding, m.status, m.reason)
            continue
        facts = {"map": m.values, "box": np.array(m.frame.box), "size": np.array(m.frame.size)}
        if not math.isnan(m.probability):
            facts["probability"] = np.array(m.probability)
        name, partial = _output_paths(job, m, ".npz")
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **facts)
        yield _finish_file(item, job, m, name, partial)


def write_nifti(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Each map laid on its radiograph: float32, axes (column, row, slice of 1), in a nominal frontal plane.

    Pixels that the model did not see have the map's lowest value; a comment in the header says which it saw, and with
    what probability. Millimeters are pixels: a projection has no scale of its own.
    """
    import nibabel  # takes 0.3 s: only who writes NIfTI pays

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
    """What a laid map says of itself: the pixels that the model saw, and its probability."""
    return {
        "source": m.source,
        "finding": m.finding,
        "seen": visible_box(m),
        "probability": None if math.isnan(m.probability) else m.probability,
    }


def visible_box(m: SaliencyMap) -> list[int]:
    """[top, left, bottom, right] of the pixels of the original that a map covers."""
    rows, cols = project_to_image(np.zeros((1, 1), np.float32), m.frame)[1]
    return [int(rows.start), int(cols.start), int(rows.stop), int(cols.stop)]


def _output_paths(job: ExportJob, m: SaliencyMap, suffix: str) -> tuple[str, Path]:
    """Where a map goes, below the folder, and the hidden file that it is written to first."""
    file = job.file_path("maps", m.source, f"{m.radiograph}__{m.finding}{suffix}")
    return file.relative_to(job.out).as_posix(), file.with_name(f".{file.name.removesuffix(suffix)}.partial{suffix}")


def _finish_file(item: ExportItem, job: ExportJob, m: SaliencyMap, name: str, partial: Path) -> ExportRow:
    partial.replace(job.out / name)
    return item.row(name, m.source, m.finding, m.status, m.reason)


def _ascii(text: str, max_length: int) -> bytes:
    return text.encode("ascii", "replace")[:max_length]
