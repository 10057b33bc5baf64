"""Maps as DICOM Parametric Maps and Segmentations, which lie on the radiograph they were made from."""

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
"""Findings with a SNOMED CT code that we could check; others are coded in a scheme of our own."""
_SNOMED_MEANINGS = {"60046008": "Pleural effusion", "36118008": "Pneumothorax", "19242006": "Pulmonary edema"}
FRONTAL_ORIENTATION = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""Of a Parametric Map, which must lie somewhere: rows to the patient's left, columns to the feet; a frontal film."""


def write_parametric_maps(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Each map laid on its radiograph as a Parametric Map: float32, one frame, as large as the radiograph."""
    if not item.maps:
        return
    shown = make_reference_image(item.radiograph, job)
    yield from _reference_row(item, job, shown)
    for m in item.maps:
        why = _misfit_reason(m, shown)
        if why:
            yield item.row("", m.source, m.finding, m.status if m.status != "ok" else "refused", why)
            continue
        file = job.file_path("maps", m.source, f"{m.radiograph}__{m.finding}.dcm")
        write_dicom(_make_parametric_map(m, shown, job), file)
        yield item.row(file.relative_to(job.out).as_posix(), m.source, m.finding, m.status, m.reason)


def write_segmentations(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """The masks of each source as one Segmentation: a segment per finding, then what readers marked."""
    if not item.maps and not item.annotations:
        return
    shown = make_reference_image(item.radiograph, job)
    yield from _reference_row(item, job, shown)
    for source, maps in item.maps_by_source().items():
        fit = [m for m in maps if not _misfit_reason(m, shown)]
        for m in maps:
            if m not in fit:
                yield item.row(
                    "", source, m.finding, m.status if m.status != "ok" else "refused", _misfit_reason(m, shown)
                )
        marks = [mark for mark in item.annotations if mark.size == shown.size]
        masks = [item.mask(m) for m in fit] + [item.annotation_mask(mark) for mark in marks]
        if not masks:
            continue
        told = [(m.finding, source, f"{m.finding} ({binarizer_label(item.protocol, m.finding)})") for m in fit]
        readers = [(mark, str(Source.from_reader(mark.reader))) for mark in marks]
        told += [(mark.finding, reader, f"{mark.finding} ({mark.reader})") for mark, reader in readers]
        file = job.file_path("segmentations", source, f"{item.radiograph.id}.dcm")
        write_dicom(_make_segmentation(np.stack(masks, -1)[None], told, shown, job, item.radiograph.id, source), file)
        for m in fit:
            yield item.row(file.relative_to(job.out).as_posix(), source, m.finding, m.status, m.reason)


def check_highdicom() -> None:
    """Errors: `DataError` if the package that writes these objects is missing."""
    if importlib.util.find_spec("highdicom") is None:
        raise DataError("DICOM objects are written by highdicom, which is missing; pip install 'sightline[dicom]'")


def _reference_row(item: ExportItem, job: ExportJob, reference: ReferenceImage) -> Iterator[ExportRow]:
    if reference.is_copy:
        yield item.row(reference.path.relative_to(job.out).as_posix(), "radiograph", "")


def _misfit_reason(m: SaliencyMap, reference: ReferenceImage) -> str:
    """Why a map cannot lie on its radiograph, or ''."""
    if not m.values.size:
        return m.reason or "there is no such map"
    if not np.isfinite(m.values).all():
        return m.reason or "the map has values that are not finite, which DICOM does not hold"
    if m.frame.size != reference.size:
        return f"the map is of an image of {m.frame.size}, the radiograph is {reference.size} (rows, columns)"
    return ""


def project_with_padding(m: SaliencyMap) -> tuple[Array, float | None]:
    """A map on its radiograph, float32 (H, W), and the value of pixels that the model did not see (None: saw all).

    That value is the largest float32 below all others, so that it shows as the lowest, and can be told from it.
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
    of = (job.data.name, m.radiograph, m.source)
    names = job.pseudonyms
    real = RealWorldValueMapping(
        lut_label=_code_string(m.finding),
        lut_explanation=f"Evidence for {m.finding}: higher is more; not normalized"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(float(pixels.min()), float(pixels.max())),
        slope=1.0,
        intercept=0.0,
    )
    made = ParametricMap(
        [_with_frame_of_reference(reference, names.uid("space", *of[:2]))],
        pixels,
        names.uid("series", "map", *of),
        100,
        names.uid("map", *of, m.finding),
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
        made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = outside
    return _finalize(made, reference, job)


def _with_frame_of_reference(reference: ReferenceImage, frame_uid: str) -> Dataset:
    """A header with the frame of reference that a Parametric Map must have: nominal, all maps of a radiograph alike."""
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

    of = (job.data.name, radiograph, source)
    names = job.pseudonyms
    made = Segmentation(
        [reference.header],
        masks,
        "BINARY",
        [_describe_segment(i + 1, *words) for i, words in enumerate(segments)],
        names.uid("series", "segmentation", *of),
        200,
        names.uid("segmentation", *of),
        1,
        **_equipment_fields(),
        content_label="SALIENCY",
        content_description=f"{source}; {job.protocol.name} protocol"[:64],
        series_description=source[:64],
        omit_empty_frames=False,
    )
    made.PatientOrientation = reference.header.get("PatientOrientation")
    return _finalize(made, reference, job)


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
    made_by = AlgorithmIdentificationSequence(source[:64], codes.DCM.ArtificialIntelligence, _software_version())
    return SegmentDescription(number, label[:64], category, kind, "AUTOMATIC", algorithm_identification=made_by)


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
    """A code string of at most 16 signs: 'LUNG OPACITY'."""
    return re.sub(r"[^A-Z0-9_ ]+", "_", text.upper())[:16].strip()


def _round_decimal(value: float) -> float:
    """As many digits as a decimal string of DICOM holds."""
    return float(f"{value:.8g}")
