"""Loader of Open-I, the chest X-ray collection of Indiana University: reports with indexing terms, and images."""

from __future__ import annotations

import re
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sightline.core import NAN, Dataset, Radiograph
from sightline.data.loaders.annotation_index import no_annotations
from sightline.data.loaders.image_index import first_file
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging.image_files import read_image

LICENSE = "CC BY-NC-ND 4.0"
CITATION = "Demner-Fushman et al. 2016, 10.1093/jamia/ocv080; https://openi.nlm.nih.gov"
TERM_FINDINGS = {
    "Cardiomegaly": "Cardiomegaly",
    "Pulmonary Atelectasis": "Atelectasis",
    "Pleural Effusion": "Pleural Effusion",
    "Pneumothorax": "Pneumothorax",
    "Hydropneumothorax": "Pneumothorax",
    "Consolidation": "Consolidation",
    "Pulmonary Edema": "Edema",
    "Pulmonary Congestion": "Edema",
    "Pneumonia": "Pneumonia",
    "Nodule": "Lung Lesion",
    "Mass": "Lung Lesion",
    "Granuloma": "Lung Lesion",
    "Calcified Granuloma": "Lung Lesion",
    "Granulomatous Disease": "Lung Lesion",
    "Opacity": "Lung Opacity",
    "Infiltrate": "Lung Opacity",
    "Airspace Disease": "Lung Opacity",
    "Fractures, Bone": "Fracture",
    "Catheters, Indwelling": "Support Devices",
    "Tube, Inserted": "Support Devices",
    "Implanted Medical Device": "Support Devices",
}
"""Major indexing term up to its first slash -> finding."""
FINDINGS = tuple(f for f in CHEXPERT_FINDINGS if f in set(TERM_FINDINGS.values()))


@datasets("openi", title="Open-I Indiana University Chest X-rays", source=CITATION, license=LICENSE)
def load_openi(path: str, images: str = "") -> Dataset:
    """Open the chest X-ray collection of Open-I: a folder of XML reports, or NLMCXR_reports.tgz as it is downloaded.

    A study is a report, and stands for its patient, whom the release does not name. A finding is present if a major
    indexing term names it, absent if the report was indexed without such a term, and unknown if it was not indexed.
    Reports that cannot be read are left out with a warning.

    Parameters
    ----------
    path : str
        Folder or archive of the reports.
    images : str
        Folder of the images, named as in the reports, PNG, JPEG or DICOM; by default that of `path`.

    Raises
    ------
    DataError
        If there are no reports at `path`.
    """
    source = Path(path)
    radiographs: list[Radiograph] = []
    reports: dict[str, Report] = {}
    warnings: list[str] = []
    base = Path(images) if images else (source if source.is_dir() else source.parent)
    for name, text in _read_report_files(source):
        try:
            images_of_report, report = _parse_report(text, base)
        except (ET.ParseError, DataError) as error:
            warnings.append(f"{path}, {name}: no report can be read from it ({error}); left out")
            continue
        radiographs += images_of_report
        reports |= dict.fromkeys((radiograph.id for radiograph in images_of_report), report)
    if not reports:
        raise DataError(f"{path} holds no Open-I reports; give NLMCXR_reports.tgz, or the folder of its XML files")
    return Dataset(
        name="openi",
        spec=f"openi:{path}?images={images}",
        findings=FINDINGS,
        radiographs=tuple(radiographs),
        annotation=no_annotations,
        reports=reports.get,
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


def _read_report_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, sorted by the number of the report."""
    if source.is_dir():
        for path in sorted(source.rglob("*.xml"), key=lambda f: _report_number(f.name)):
            yield path.name, path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".xml")]
            for member in sorted(members, key=lambda m: _report_number(m.name)):
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{source} is neither a folder nor an archive of reports: {error}") from error


def _report_number(name: str) -> tuple[int, str]:
    digits = re.findall(r"\d+", name.rsplit("/", 1)[-1])
    return int(digits[0]) if digits else 0, name


def _parse_report(text: bytes, base: Path) -> tuple[list[Radiograph], Report]:
    if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
        raise DataError("it defines entities, which no report of this release does")
    root = ET.fromstring(text)
    uid = root.find("uId")
    study = uid.get("id", "") if uid is not None else ""
    if not study:
        raise DataError("it names no study (uId)")
    abstract = {
        (element.get("Label") or "").lower(): (element.text or "").strip() for element in root.iter("AbstractText")
    }
    report = Report(study, {heading: body for heading, body in abstract.items() if body})
    majors = [(element.text or "").strip() for element in root.iter("major")]
    labels = _labels_from_terms(majors)
    radiographs = [
        Radiograph(
            name,
            study,
            partial(read_image, _image_path(base, name)),
            study=study,
            labels=labels,
            metadata={"terms": tuple(majors)},
        )
        for image in root.iter("parentImage")
        if (name := image.get("id", ""))
    ]
    return radiographs, report


def _labels_from_terms(majors: list[str]) -> dict[str, float]:
    if not majors or "No Indexing" in majors:
        return dict.fromkeys(FINDINGS, NAN)
    present = {TERM_FINDINGS[term] for major in majors if (term := major.split("/")[0].strip()) in TERM_FINDINGS}
    return {finding: float(finding in present) for finding in FINDINGS}


def _image_path(base: Path, name: str) -> Path:
    png, *others = (base / f"{name}{suffix}" for suffix in (".png", ".jpg", ".dcm"))
    return first_file((png, *others)) or png
