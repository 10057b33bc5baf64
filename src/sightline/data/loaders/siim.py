"""Loader of SIIM-ACR Pneumothorax Segmentation: masks as relative run lengths on NIH radiographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.image_index import find_images_below, handle_missing_images
from sightline.data.loaders.rsna import RELEASED_SIZE
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.data.splits import apply_split, make_pseudonym, read_published_split
from sightline.errors import DataError
from sightline.imaging import image_files

FINDING = "Pneumothorax"
TABLE_FILES = ("train-rle.csv", "stage_2_train.csv")
LICENSE = "competition terms of the SIIM-ACR Pneumothorax Segmentation Challenge"
CITATION = "https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation"


@datasets("siim", title="SIIM-ACR Pneumothorax Segmentation 2019", source=f"SIIM-ACR 2019, {CITATION}", license=LICENSE)
def load_siim(path: str, missing: str = "keep", split: str = "all", identify: bool = False) -> Dataset:
    """Open SIIM-ACR: train-rle.csv (or stage_2_train.csv) and, in any folder below, an image per id.

    Images are DICOM files (ID.dcm), or PNG or JPEG of the same name. A row of ImageId and EncodedPixels (published with
    and without a blank before the name) is one region; several rows of an id are several regions, -1 is no region. Runs
    are relative: each start counts from the end of the run before, column by column, in a frame of 1024 × 1024.
    The patient is PatientID of the DICOM header; without one, each image counts as a patient of its own.

    Parameters
    ----------
    path : str
        Folder of the download.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.
    split : {'all', 'train', 'val', 'test'}
        Split to keep, published in pneumothorax_splits.csv (Image_ID, Split) or else drawn by patient (80, 10 and
        10 %).
    identify : bool
        Keep PatientID; by default it is replaced by a pseudonym.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout; the row of an invalid region is named.
    """
    root = Path(path)
    source = next((root / name for name in TABLE_FILES if (root / name).is_file()), None)
    if source is None:
        raise DataError(f"{root} holds neither {' nor '.join(TABLE_FILES)}; give the folder of the SIIM-ACR download")
    regions = _read_regions(read_csv(source, ("ImageId", "EncodedPixels")))
    files = find_images_below(root, regions)
    names, warnings = handle_missing_images(list(regions), files, missing, root)
    radiographs = [_make_radiograph(root, name, files.get(name), bool(regions[name])) for name in names]
    selected = apply_split(radiographs, read_published_split(root / "pneumothorax_splits.csv"), split)
    return Dataset(
        name="siim",
        spec=f"siim:{path}?missing={missing}&split={split}&identify={str(identify).lower()}",
        findings=(FINDING,),
        radiographs=selected if identify else tuple(map(_pseudonymize, selected)),
        annotation=SiimAnnotations({name: runs for name, runs in regions.items() if runs}, files),
        readers=(REFERENCE_READER,),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": tuple(warnings)},
    )


def _make_radiograph(root: Path, name: str, file: Path | None, positive: bool) -> Radiograph:
    metadata = image_files.read_patient_metadata(file) if file is not None else {}
    return Radiograph(
        id=name,
        patient=metadata.pop("patient", "") or name,
        read=partial(image_files.read_image, file or root / f"{name}.dcm"),
        study=name,
        view="frontal",
        labels={FINDING: float(positive)},
        metadata={key: value for key, value in metadata.items() if value},
    )


def _pseudonymize(radiograph: Radiograph) -> Radiograph:
    """Replace the patient by a pseudonym, where a header names one."""
    if radiograph.patient == radiograph.id:
        return radiograph
    return replace(radiograph, patient=make_pseudonym(radiograph.patient))


def _read_regions(table: CsvTable) -> dict[str, list[Array]]:
    """Read regions as ImageId -> runs int64 (K, 2) of each, in order of first appearance; none where it is negative."""
    table.require_filled("ImageId")
    regions: dict[str, list[Array]] = {}
    last_texts: dict[str, str] = {}
    for i, (name, text) in enumerate(zip(table.text("ImageId"), table.text("EncodedPixels"), strict=True)):
        row, before = table.row_number(i), last_texts.get(name)
        if before is not None and (before == "-1") != (text == "-1"):
            raise table.error(row, f"{name} has a region in one row and -1 in another; remove one")
        last_texts[name] = text
        regions.setdefault(name, [])
        if text == "-1":
            continue
        runs = _parse_runs(table, row, text)
        if not any(np.array_equal(runs, known) for known in regions[name]):  # the release lists some rows twice
            regions[name].append(runs)
    return regions


def _parse_runs(table: CsvTable, row: int, text: str) -> Array:
    try:
        numbers = np.array([int(part) for part in text.split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise table.error(
            row, f"EncodedPixels is {text[:40]!r}; pairs of start and length, or -1, were expected"
        ) from error
    if numbers.size == 0 or numbers.size % 2:
        raise table.error(row, f"EncodedPixels has {numbers.size} numbers; they come in pairs of start and length")
    if (numbers < 0).any() or (numbers[1::2] == 0).any():
        raise table.error(row, "EncodedPixels has a negative start or an empty run; starts are at least 0, lengths 1")
    if numbers.sum() > RELEASED_SIZE[0] * RELEASED_SIZE[1]:
        raise table.error(
            row, f"the runs end at pixel {numbers.sum():,}, but the frame has {RELEASED_SIZE[0] * RELEASED_SIZE[1]:,}"
        )
    pairs: Array = numbers.reshape(-1, 2)
    return pairs


def runs_to_mask(runs: Array, size: Size) -> Array:
    """Draw relative runs, which go down the columns, as a mask.

    Parameters
    ----------
    runs : (K, 2) int64
        Start, counted from the end of the run before, and length.
    size : tuple of int
        (H, W) of the mask.

    Returns
    -------
    (H, W) bool
        The mask.

    Examples
    --------
    >>> runs_to_mask(np.array([[1, 2], [1, 1]]), (3, 2)).astype(int).tolist()
    [[0, 0], [1, 1], [1, 0]]
    """
    ends = np.cumsum(runs.ravel())  # start and end of each run, in turn
    flat = np.zeros(size[0] * size[1] + 1, np.int8)
    flat[ends[0::2]] += 1
    np.subtract.at(flat, ends[1::2], 1)  # a run may begin where another ends
    return np.ascontiguousarray(np.cumsum(flat[:-1], dtype=np.int8).reshape(size[1], size[0]).T.astype(bool))


def mask_to_runs(mask: Array) -> Array:
    """Encode a mask as relative runs, the reverse of `runs_to_mask`.

    Parameters
    ----------
    mask : (H, W) bool
        The mask.

    Returns
    -------
    (K, 2) int64
        Start and length of each run; K is 0 for an empty mask.

    Examples
    --------
    >>> mask_to_runs(np.array([[0, 0], [1, 1], [1, 0]], bool)).tolist()
    [[1, 2], [1, 1]]
    """
    flat = np.concatenate([[0], np.asarray(mask, np.int8).T.ravel(), [0]])
    edges = np.flatnonzero(np.diff(flat))
    runs: Array = np.diff(edges, prepend=0).reshape(-1, 2)
    return runs


@dataclass(frozen=True, slots=True)
class SiimAnnotations:
    """`Dataset.annotation` from masks of `RELEASED_SIZE`, resized by nearest pixel to images of other sizes."""

    runs: Mapping[str, list[Array]]
    """Radiograph id -> runs int64 (K, 2) of each region."""
    files: Mapping[str, Path]
    """Radiograph id -> image."""
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        if finding != FINDING or reader != REFERENCE_READER or radiograph not in self.runs:
            return None
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            self._sizes[radiograph] = image_files.read_size(file) if file is not None else RELEASED_SIZE
        return Annotation(
            radiograph, finding, reader, "region", self._sizes[radiograph], partial(self._mask, radiograph)
        )

    def _mask(self, radiograph: str) -> Array:
        mask = np.zeros(RELEASED_SIZE, bool)
        for runs in self.runs[radiograph]:
            mask |= runs_to_mask(runs, RELEASED_SIZE)
        size = self._sizes[radiograph]
        rows, cols = (
            ((np.arange(n) + 0.5) * full / n).astype(int) for n, full in zip(size, RELEASED_SIZE, strict=True)
        )
        resized: Array = mask[np.ix_(rows, cols)]
        return resized
