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
from sightline.imaging.geometry import place
from sightline.runs.export.dicom_reference import Film, film, hide, save
from sightline.runs.export.items import Export, Line, Plate, cut_by
from sightline.runs.provenance import versions

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

_CODES = {"Pleural Effusion": "60046008", "Pneumothorax": "36118008", "Edema": "19242006"}
"""Findings with a SNOMED CT code that we could check; others are coded in a scheme of our own."""
_MEANINGS = {"60046008": "Pleural effusion", "36118008": "Pneumothorax", "19242006": "Pulmonary edema"}
PLANE = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""Of a Parametric Map, which must lie somewhere: rows to the patient's left, columns to the feet; a frontal film."""


def parametric_maps(plate: Plate, export: Export) -> Iterator[Line]:
    """Each map laid on its radiograph as a Parametric Map: float32, one frame, as large as the radiograph."""
    if not plate.maps:
        return
    shown = film(plate.radiograph, export)
    yield from _film_line(plate, export, shown)
    for m in plate.maps:
        why = _unfit(m, shown)
        if why:
            yield plate.line("", m.source, m.finding, m.status if m.status != "ok" else "refused", why)
            continue
        file = export.place("maps", m.source, f"{m.radiograph}__{m.finding}.dcm")
        save(_parametric(m, shown, export), file)
        yield plate.line(file.relative_to(export.out).as_posix(), m.source, m.finding, m.status, m.why)


def segmentations(plate: Plate, export: Export) -> Iterator[Line]:
    """The masks of each source as one Segmentation: a segment per finding, then what readers marked."""
    if not plate.maps and not plate.marks:
        return
    shown = film(plate.radiograph, export)
    yield from _film_line(plate, export, shown)
    for source, maps in plate.by_source().items():
        fit = [m for m in maps if not _unfit(m, shown)]
        for m in maps:
            if m not in fit:
                yield plate.line("", source, m.finding, m.status if m.status != "ok" else "refused", _unfit(m, shown))
        marks = [mark for mark in plate.marks if mark.size == shown.size]
        masks = [plate.mask(m) for m in fit] + [plate.area(mark) for mark in marks]
        if not masks:
            continue
        told = [(m.finding, source, f"{m.finding} ({cut_by(plate.protocol, m.finding)})") for m in fit]
        readers = [(mark, str(Source.from_reader(mark.reader))) for mark in marks]
        told += [(mark.finding, reader, f"{mark.finding} ({mark.reader})") for mark, reader in readers]
        file = export.place("segmentations", source, f"{plate.radiograph.id}.dcm")
        save(_segmentation(np.stack(masks, -1)[None], told, shown, export, plate.radiograph.id, source), file)
        for m in fit:
            yield plate.line(file.relative_to(export.out).as_posix(), source, m.finding, m.status, m.why)


def check() -> None:
    """Errors: `DataError` if the package that writes these objects is missing."""
    if importlib.util.find_spec("highdicom") is None:
        raise DataError("DICOM objects are written by highdicom, which is missing; pip install 'sightline[dicom]'")


def _film_line(plate: Plate, export: Export, shown: Film) -> Iterator[Line]:
    if shown.written:
        yield plate.line(shown.path.relative_to(export.out).as_posix(), "radiograph", "")


def _unfit(m: SaliencyMap, shown: Film) -> str:
    """Why a map cannot lie on its radiograph, or ''."""
    if not m.values.size:
        return m.why or "there is no such map"
    if not np.isfinite(m.values).all():
        return m.why or "the map has values that are not finite, which DICOM does not hold"
    if m.frame.size != shown.size:
        return f"the map is of an image of {m.frame.size}, the radiograph is {shown.size} (rows, columns)"
    return ""


def laid(m: SaliencyMap) -> tuple[Array, float | None]:
    """A map on its radiograph, float32 (H, W), and the value of pixels that the model did not see (None: saw all).

    That value is the largest float32 below all others, so that it shows as the lowest, and can be told from it.
    """
    placed, window = place(m.values, m.frame)
    if placed.shape == m.frame.size:
        return placed, None
    outside = np.nextafter(placed.min() if placed.size else np.float32(0), np.float32(-np.inf))
    whole = np.full(m.frame.size, outside, np.float32)
    whole[window] = placed
    return whole, float(outside)


def _parametric(m: SaliencyMap, shown: Film, export: Export) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    pixels, outside = laid(m)
    low, high = float(m.values.min()), float(m.values.max())
    of = (export.data.name, m.radiograph, m.source)
    names = export.pseudonyms
    real = RealWorldValueMapping(
        lut_label=_label(m.finding), lut_explanation=f"Evidence for {m.finding}: higher is more; not normalized"[:64],
        unit=codes.UCUM.NoUnits, value_range=(float(pixels.min()), float(pixels.max())), slope=1.0, intercept=0.0,
    )  # fmt: skip
    made = ParametricMap(
        [_in_space(shown, names.uid("space", *of[:2]))], pixels, names.uid("series", "map", *of), 100,
        names.uid("map", *of, m.finding), 1 + export.findings.index(m.finding), **_made(),
        real_world_value_mappings=[real],
        contains_recognizable_visual_features=False, content_label=_label(m.finding),
        content_description=f"{m.source}: {m.finding}; {export.protocol.name} protocol"[:64],
        series_description=m.source[:64], derived_pixel_contrast=DerivedPixelContrastValues.NONE,
        voi_lut_transformations=[
            VOILUTTransformation(
                _short((low + high) / 2), _short(high - low) or 1.0, voi_lut_function="LINEAR_EXACT"  # of any width
            )
        ],
    )  # fmt: skip
    if outside is not None:
        made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = outside
    return _finished(made, shown, export)


def _in_space(shown: Film, space: str) -> Dataset:
    """A header with the frame of reference that a Parametric Map must have: nominal, all maps of a radiograph alike."""
    header = deepcopy(shown.header)
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = space, ""
    header.ImageOrientationPatient, header.ImagePositionPatient = list(PLANE), [0.0, 0.0, 0.0]
    header.PixelSpacing, header.SliceThickness = list(shown.spacing or (1.0, 1.0)), 1.0
    return header


def _segmentation(
    masks: Array, told: list[tuple[str, str, str]], shown: Film, export: Export, radiograph: str, source: str
) -> Dataset:
    from highdicom.seg import Segmentation

    of = (export.data.name, radiograph, source)
    names = export.pseudonyms
    made = Segmentation(
        [shown.header], masks, "BINARY", [_segment(i + 1, *words) for i, words in enumerate(told)],
        names.uid("series", "segmentation", *of), 200, names.uid("segmentation", *of), 1, **_made(),
        content_label="SALIENCY", content_description=f"{source}; {export.protocol.name} protocol"[:64],
        series_description=source[:64], omit_empty_frames=False,
    )  # fmt: skip
    made.PatientOrientation = shown.header.get("PatientOrientation")
    return _finished(made, shown, export)


def _segment(number: int, finding: str, source: str, label: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    code = _CODES.get(finding)
    kind = Code(code, "SCT", _MEANINGS[code]) if code else Code(_label(finding), "99SIGHTLINE", finding[:64])
    category = codes.SCT.MorphologicallyAbnormalStructure
    if Source.parse(source).kind == "reader":
        return SegmentDescription(number, label[:64], category, kind, "MANUAL")
    made_by = AlgorithmIdentificationSequence(source[:64], codes.DCM.ArtificialIntelligence, _version())
    return SegmentDescription(number, label[:64], category, kind, "AUTOMATIC", algorithm_identification=made_by)


def _finished(made: Dataset, shown: Film, export: Export) -> Dataset:
    if "BodyPartExamined" not in made:
        made.BodyPartExamined = shown.header.get("BodyPartExamined") or "CHEST"
    if not export.identify:
        hide(made)
    return made


def _made() -> dict[str, Any]:
    return {"manufacturer": "Sightline", "manufacturer_model_name": "sightline", "software_versions": _version(),
            "device_serial_number": "1"}  # fmt: skip


@cache
def _version() -> str:
    return versions().get("sightline", "unknown")


def _label(text: str) -> str:
    """A code string of at most 16 signs: 'LUNG OPACITY'."""
    return re.sub(r"[^A-Z0-9_ ]+", "_", text.upper())[:16].strip()


def _short(value: float) -> float:
    """As many digits as a decimal string of DICOM holds."""
    return float(f"{value:.8g}")
