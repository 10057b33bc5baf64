"""Export of maps as DICOM Parametric Maps and Segmentations on the radiograph from which they were made."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.core import Array, SaliencyMap, Source
from sightline.errors import DataError
from sightline.imaging.geometry import project_to_image
from sightline.runs.export.dicom_reference import ReferenceImage, make_reference_image, set_deidentified, write_dicom
from sightline.runs.export.items import ExportItem, ExportJob, ExportRow, binarizer_label
from sightline.runs.provenance import package_versions

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

_SNOMED_CODES = {"Pleural Effusion": "60046008", "Pneumothorax": "36118008", "Edema": "19242006"}
"""Findings with a SNOMED CT code that was verified; others are coded in the scheme 99SIGHTLINE."""
_SNOMED_MEANINGS = {"60046008": "Pleural effusion", "36118008": "Pneumothorax", "19242006": "Pulmonary edema"}
FRONTAL_ORIENTATION = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""Orientation of Parametric Maps, which need one: rows to the left of the patient, columns to the feet."""


def write_parametric_maps(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Write each map on its radiograph as a Parametric Map: float32, one frame, as large as the radiograph.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps and annotations.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        A row per map, and one for the copy of the radiograph.
    """
    if not item.maps:
        return
    reference = make_reference_image(item.radiograph, job)
    yield from _reference_row(item, job, reference)
    for m in item.maps:
        if reason := _misfit_reason(m, reference):
            yield item.row("", m.source, m.finding, m.status if m.status != "ok" else "refused", reason)
            continue
        file = job.file_path("maps", m.source, f"{m.radiograph}__{m.finding}.dcm")
        write_dicom(_make_parametric_map(m, reference, job), file)
        yield item.row(file.relative_to(job.out).as_posix(), m.source, m.finding, m.status, m.reason)


def write_segmentations(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Write the masks of each source as one Segmentation: a segment per finding, then the annotations of readers.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps and annotations.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        A row per map, and one for the copy of the radiograph.
    """
    if not item.maps and not item.annotations:
        return
    reference = make_reference_image(item.radiograph, job)
    yield from _reference_row(item, job, reference)
    for source, maps in item.maps_by_source().items():
        usable = []
        for m in maps:
            if reason := _misfit_reason(m, reference):
                yield item.row("", source, m.finding, m.status if m.status != "ok" else "refused", reason)
            else:
                usable.append(m)
        annotations = [a for a in item.annotations if a.size == reference.size]
        masks = [item.mask(m) for m in usable] + [item.annotation_mask(a) for a in annotations]
        if not masks:
            continue
        segments = [(m.finding, source, f"{m.finding} ({binarizer_label(item.protocol, m.finding)})") for m in usable]
        readers = [str(Source.from_reader(a.reader)) for a in annotations]
        segments += [(a.finding, r, f"{a.finding} ({a.reader})") for a, r in zip(annotations, readers, strict=True)]
        file = job.file_path("segmentations", source, f"{item.radiograph.id}.dcm")
        stacked = np.stack(masks, -1)[None]
        write_dicom(_make_segmentation(stacked, segments, reference, job, item.radiograph.id, source), file)
        for m in usable:
            yield item.row(file.relative_to(job.out).as_posix(), source, m.finding, m.status, m.reason)


def check_highdicom() -> None:
    """Check that the package that writes these objects is installed.

    Raises
    ------
    DataError
        If highdicom is missing.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise DataError("DICOM objects are written by highdicom, which is missing; pip install 'sightline[dicom]'")


def _reference_row(item: ExportItem, job: ExportJob, reference: ReferenceImage) -> Iterator[ExportRow]:
    if reference.is_copy:
        yield item.row(reference.path.relative_to(job.out).as_posix(), "radiograph", "")


def _misfit_reason(m: SaliencyMap, reference: ReferenceImage) -> str:
    """Return the reason for which a map cannot be placed on its radiograph, or ''."""
    if not m.values.size:
        return m.reason or "there is no such map"
    if not np.isfinite(m.values).all():
        return m.reason or "the map has values that are not finite, which DICOM does not hold"
    if m.frame.size != reference.size:
        return f"the map is of an image of {m.frame.size}, the radiograph is {reference.size} (rows, columns)"
    return ""


def project_with_padding(m: SaliencyMap) -> tuple[Array, float | None]:
    """Place a map on its radiograph, with a padding value for pixels that the model did not see.

    The padding value is the largest float32 below all others, so that it is displayed as the lowest value and can be
    distinguished from it.

    Parameters
    ----------
    m : SaliencyMap
        Map.

    Returns
    -------
    values : (H, W) float32
        Values.
    padding : float or None
        Padding value; None where the model saw the whole image.
    """
    placed, window = project_to_image(m.values, m.frame)
    if placed.shape == m.frame.size:
        return placed, None
    outside = np.nextafter(placed.min() if placed.size else np.float32(0), np.float32(-np.inf))
    whole = np.full(m.frame.size, outside, np.float32)
    whole[window] = placed
    return whole, float(outside)


def _make_parametric_map(m: SaliencyMap, reference: ReferenceImage, job: ExportJob) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    pixels, outside = project_with_padding(m)
    low, high = float(m.values.min()), float(m.values.max())
    key = (job.data.name, m.radiograph, m.source)
    names = job.pseudonyms
    real = RealWorldValueMapping(
        lut_label=_code_string(m.finding),
        lut_explanation=f"Evidence for {m.finding}: higher is more; not normalized"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(float(pixels.min()), float(pixels.max())),
        slope=1.0,
        intercept=0.0,
    )
    ds = ParametricMap(
        [_with_frame_of_reference(reference, names.uid("space", *key[:2]))],
        pixels,
        names.uid("series", "map", *key),
        100,
        names.uid("map", *key, m.finding),
        1 + job.findings.index(m.finding),
        **_equipment_fields(),
        real_world_value_mappings=[real],
        contains_recognizable_visual_features=False,
        content_label=_code_string(m.finding),
        content_description=f"{m.source}: {m.finding}; {job.protocol.name} protocol"[:64],
        series_description=m.source[:64],
        derived_pixel_contrast=DerivedPixelContrastValues.NONE,
        voi_lut_transformations=[
            VOILUTTransformation(
                _round_decimal((low + high) / 2),
                _round_decimal(high - low) or 1.0,
                voi_lut_function="LINEAR_EXACT",  # of any width
            )
        ],
    )
    if outside is not None:
        ds.FloatPixelPaddingValue = ds.FloatPixelPaddingRangeLimit = outside
    return _finalize(ds, reference, job)


def _with_frame_of_reference(reference: ReferenceImage, frame_uid: str) -> Dataset:
    """Return a header with the nominal frame of reference that a Parametric Map needs, the same for all its maps."""
    header = deepcopy(reference.header)
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = frame_uid, ""
    header.ImageOrientationPatient, header.ImagePositionPatient = list(FRONTAL_ORIENTATION), [0.0, 0.0, 0.0]
    header.PixelSpacing, header.SliceThickness = list(reference.spacing or (1.0, 1.0)), 1.0
    return header


def _make_segmentation(
    masks: Array,
    segments: list[tuple[str, str, str]],
    reference: ReferenceImage,
    job: ExportJob,
    radiograph: str,
    source: str,
) -> Dataset:
    from highdicom.seg import Segmentation

    key = (job.data.name, radiograph, source)
    names = job.pseudonyms
    ds = Segmentation(
        [reference.header],
        masks,
        "BINARY",
        [_describe_segment(i + 1, *segment) for i, segment in enumerate(segments)],
        names.uid("series", "segmentation", *key),
        200,
        names.uid("segmentation", *key),
        1,
        **_equipment_fields(),
        content_label="SALIENCY",
        content_description=f"{source}; {job.protocol.name} protocol"[:64],
        series_description=source[:64],
        omit_empty_frames=False,
    )
    ds.PatientOrientation = reference.header.get("PatientOrientation")
    return _finalize(ds, reference, job)


def _describe_segment(number: int, finding: str, source: str, label: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    code = _SNOMED_CODES.get(finding)
    kind = (
        Code(code, "SCT", _SNOMED_MEANINGS[code]) if code else Code(_code_string(finding), "99SIGHTLINE", finding[:64])
    )
    category = codes.SCT.MorphologicallyAbnormalStructure
    if Source.parse(source).kind == "reader":
        return SegmentDescription(number, label[:64], category, kind, "MANUAL")
    algorithm = AlgorithmIdentificationSequence(source[:64], codes.DCM.ArtificialIntelligence, _software_version())
    return SegmentDescription(number, label[:64], category, kind, "AUTOMATIC", algorithm_identification=algorithm)


def _finalize(ds: Dataset, reference: ReferenceImage, job: ExportJob) -> Dataset:
    if "BodyPartExamined" not in ds:
        ds.BodyPartExamined = reference.header.get("BodyPartExamined") or "CHEST"
    if not job.identify:
        set_deidentified(ds)
    return ds


def _equipment_fields() -> dict[str, Any]:
    return {
        "manufacturer": "Sightline",
        "manufacturer_model_name": "sightline",
        "software_versions": _software_version(),
        "device_serial_number": "1",
    }


@cache
def _software_version() -> str:
    return package_versions().get("sightline", "unknown")


def _code_string(text: str) -> str:
    """Convert a text to a code string of at most 16 characters: 'LUNG OPACITY'."""
    return re.sub(r"[^A-Z0-9_ ]+", "_", text.upper())[:16].strip()


def _round_decimal(value: float) -> float:
    """Round to the digits that a decimal string of DICOM holds."""
    return float(f"{value:.8g}")
