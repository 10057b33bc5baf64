"""Writer of MIMIC-CXR's layout: tables, JPEG images, and a text file for each study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from sightline.core import Dataset, Radiograph
from sightline.data.loaders.mimic import FILE_PREFIX
from sightline.data.reports import Report
from sightline.data.writers.registry import JPEG_QUALITY, WithProgress, formats, read_8_bit
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS


@formats(
    "mimic",
    layout=f"files/pNN/pPATIENT/sSTUDY/*.jpg, files/pNN/pPATIENT/sSTUDY.txt, {FILE_PREFIX}-metadata.csv, "
    "-chexpert.csv, -split.csv",
    loader="mimic:DIR",
)
def write_mimic(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write images, labels and reports as MIMIC-CXR-JPG does, with patients and studies numbered as they appear."""
    if dataset.reports is None:
        raise DataError(f"{dataset.spec} has no reports, which is what this layout is for")
    patients: dict[str, int] = {}
    studies: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    labels: dict[int, dict[str, Any]] = {}
    for radiograph in with_progress(dataset.radiographs):
        patient = patients.setdefault(radiograph.patient, 10_000_000 + len(patients))
        study = studies.setdefault(radiograph.study or radiograph.id, 50_000_000 + len(studies))
        folder = out / f"files/p{str(patient)[:2]}/p{patient}/s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = read_8_bit(radiograph)
        Image.fromarray(pixels).save(folder / f"{radiograph.id}.jpg", quality=JPEG_QUALITY)
        report = dataset.reports(radiograph.id)
        if report is not None:
            folder.with_suffix(".txt").write_text(_format_report(report), "utf-8")
        projections = {"frontal": str(radiograph.metadata.get("projection") or "PA"), "lateral": "LATERAL"}
        rows.append(
            {
                "dicom_id": radiograph.id,
                "subject_id": patient,
                "study_id": study,
                "ViewPosition": projections.get(radiograph.view, ""),
                "Rows": pixels.shape[0],
                "Columns": pixels.shape[1],
                "split": {"val": "validate"}.get(radiograph.split, radiograph.split or "train"),
            }
        )
        known = {finding: radiograph.labels[finding] for finding in CHEXPERT_FINDINGS if finding in radiograph.labels}
        labels[study] = {"subject_id": patient, "study_id": study, **known}
    table = pd.DataFrame(rows)
    keys = ["dicom_id", "study_id", "subject_id", "split"]
    table[keys].to_csv(out / f"{FILE_PREFIX}-split.csv", index=False)
    table.drop(columns="split").to_csv(out / f"{FILE_PREFIX}-metadata.csv", index=False)
    pd.DataFrame(labels.values()).to_csv(out / f"{FILE_PREFIX}-chexpert.csv", index=False)
    return ["Patients and studies are numbered in order of first appearance."]


def _format_report(report: Report) -> str:
    body = [f" {heading.upper()}:\n\n {text}\n" if heading else text for heading, text in report.sections.items()]
    return "                                 FINAL REPORT\n" + "\n".join(body)
