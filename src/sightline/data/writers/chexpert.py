"""Writer of CheXpert's layout, with the ids, images and label rows that the layout of CheXlocalize shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sightline.core import Dataset, Radiograph
from sightline.data.loaders.chexlocalize import METADATA_COLUMNS, VIEW_PATH_PATTERN
from sightline.data.writers.registry import JPEG_QUALITY, WithProgress, formats, read_8_bit
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS


@formats("chexpert", layout="{train,valid,test}.csv, {train,valid,test}/patientN/studyN/*.jpg", loader="chexpert:DIR")
def write_chexpert(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write images and labels as CheXpert does, which has no place for annotations.

    Radiographs of no split go to train.
    """
    renamed = with_published_ids(dataset, out)
    tables: dict[str, list[dict[str, object]]] = {}
    for radiograph in with_progress(renamed):
        folder = {"val": "valid", "": "train"}.get(radiograph.split, radiograph.split)
        path = f"{folder}/{image_path(radiograph)}"
        save_image(radiograph, out / path)
        tables.setdefault(folder, []).append(label_row(f"CheXpert-v1.0/{path}", radiograph, with_metadata=True))
    for folder, rows in tables.items():
        pd.DataFrame(rows).to_csv(out / f"{folder}.csv", index=False)
    readers = ", ".join(dataset.readers)
    notes = [f"Annotations by {readers} are not written: CheXpert has none."] if readers else []
    return notes + omitted_label_notes(renamed)


def with_published_ids(dataset: Dataset, out: Path) -> Sequence[Radiograph]:
    """Give radiographs ids of the form patientN_studyN_viewN_frontal, and write a map to ids.csv if any changes.

    Parameters
    ----------
    dataset : Dataset
        Data set.
    out : Path
        Folder for ids.csv.

    Returns
    -------
    sequence of Radiograph
        The radiographs in the same order.

    Raises
    ------
    DataError
        If two radiographs share an id.
    """
    radiographs = dataset.radiographs
    counts = Counter(radiograph.id for radiograph in radiographs)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise DataError(
            f"{dataset.spec} has several radiographs with id {repeated[0]!r}; they would overwrite each other"
        )
    if all(VIEW_PATH_PATTERN.search(_id_to_path(radiograph.id)) for radiograph in radiographs):
        return radiographs
    names = _number_ids(radiographs)
    rows = [(radiograph.id, name) for radiograph, name in zip(radiographs, names, strict=True)]
    pd.DataFrame(rows, columns=["id", "written"]).to_csv(out / "ids.csv", index=False)
    return [replace(radiograph, id=name) for radiograph, name in zip(radiographs, names, strict=True)]


def _number_ids(radiographs: Sequence[Radiograph]) -> list[str]:
    """List ids patientN_studyN_viewN_frontal, counted in order of appearance within patient and study."""
    patients: dict[str, int] = {}
    studies: dict[str, dict[str, int]] = {}
    views: dict[tuple[str, str], int] = {}
    names = []
    for radiograph in radiographs:
        patient = patients.setdefault(radiograph.patient, len(patients) + 1)
        studies_of_patient = studies.setdefault(radiograph.patient, {})
        key = radiograph.study or radiograph.id
        study = studies_of_patient.setdefault(key, len(studies_of_patient) + 1)
        view = views[radiograph.patient, key] = views.get((radiograph.patient, key), 0) + 1
        names.append(f"patient{patient:05d}_study{study}_view{view}_{radiograph.view or 'frontal'}")
    return names


def _id_to_path(name: str) -> str:
    """Convert patientN_studyN_view1_frontal to patientN/studyN/view1_frontal.jpg."""
    return name.replace("_", "/", 2) + ".jpg"


def image_path(radiograph: Radiograph) -> str:
    """Return the path of an image below the folder of its split.

    Parameters
    ----------
    radiograph : Radiograph
        Radiograph with a published id.

    Returns
    -------
    str
        patientN/studyN/viewN_frontal.jpg.
    """
    return _id_to_path(radiograph.id)


def save_image(radiograph: Radiograph, file: Path) -> None:
    """Save the image of a radiograph as JPEG, and create the folder.

    Parameters
    ----------
    radiograph : Radiograph
        The radiograph.
    file : Path
        File to write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read_8_bit(radiograph)).save(file, quality=JPEG_QUALITY)


def label_row(path: str, radiograph: Radiograph, with_metadata: bool) -> dict[str, object]:
    """Make the row of a radiograph in a label file.

    Parameters
    ----------
    path : str
        Cell of the column Path.
    radiograph : Radiograph
        The radiograph.
    with_metadata : bool
        Add sex, age, view and projection, which the published test labels lack.

    Returns
    -------
    dict of str to object
        Column -> cell; NaN for an unknown label.
    """
    columns = {column: radiograph.metadata.get(name, "") for column, name in METADATA_COLUMNS.items()}
    metadata = {
        "Sex": columns["Sex"],
        "Age": columns["Age"],
        "Frontal/Lateral": (radiograph.view or "frontal").capitalize(),
        "AP/PA": columns["AP/PA"],
    }
    labels = {finding: radiograph.labels.get(finding, np.nan) for finding in CHEXPERT_FINDINGS}
    return {"Path": path, **(metadata if with_metadata else {}), **labels}


def omitted_label_notes(radiographs: Sequence[Radiograph]) -> list[str]:
    """Note which labels the layout has no place for.

    Parameters
    ----------
    radiographs : sequence of Radiograph
        Radiographs; the labels of the first stand for all.

    Returns
    -------
    list of str
        One note, or none.
    """
    labels = radiographs[0].labels if len(radiographs) else {}
    omitted = [finding for finding in labels if finding not in CHEXPERT_FINDINGS]
    if not omitted:
        return []
    return [f"Left out, because the layout has no place for these labels: {', '.join(omitted)}."]
