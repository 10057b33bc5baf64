"""Loader of VinDr-CXR: boxes by seventeen radiologists, as on PhysioNet and in the VinBigData challenge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import WITHOUT, Annotation, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import CsvTable, describe_outside_box, read_csv
from sightline.data.loaders.image_index import find_images_below, handle_missing_images
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.data.splits import apply_split
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files

TABLE_SPLITS = {"annotations_train.csv": "train", "annotations_test.csv": "test", "train.csv": ""}
"""File -> split: two files of PhysioNet, one of the challenge (which published boxes for training images only)."""
NO_FINDING = "No finding"
CONSENSUS = "consensus"
"""Reader of tables without the column rad_id, such as that of the test images."""
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
LICENSE = "PhysioNet credentialed health data license, or the terms of the VinBigData challenge"
CITATION = "doi:10.1038/s41597-022-01498-w"


@dataclass(frozen=True, slots=True)
class ReaderBoxes:
    """Boxes by radiologist, and who read which radiograph."""

    boxes: Mapping[tuple[str, str, str], Array]
    """(radiograph, finding, radiologist) -> float64 (K, 4) as (top, left, bottom, right), pixels of the image."""
    radiologists: Mapping[str, Sequence[str]]
    """radiograph -> radiologists who read it, in order of the table."""
    splits: Mapping[str, str]
    """radiograph -> split, where the release has splits."""


@datasets("vindr", title="VinDr-CXR", source=f"Nguyen 2022, {CITATION}", license=LICENSE)
def load_vindr(path: str, agree: int = 2, missing: str = "keep", split: str = "all") -> Dataset:
    """Open VinDr-CXR: annotations_train.csv and annotations_test.csv (PhysioNet) or train.csv (VinBigData challenge).

    Images lie in any folder below, named by image_id, at their original size, in whose pixels the boxes are. Three
    radiologists read each training image; a finding is present if at least `agree` of them boxed it, and its reference
    annotation is the union of their boxes (or what `reference=majority` or `reference=staple` make of them). Test
    images have one consensus. Each radiologist is also a reader (R1, R2, ...), who is scored on the images that this
    radiologist read, against the boxes of the others. The release names no patients: each image counts as one.

    Parameters
    ----------
    path : str
        Folder of the release.
    agree : int
        Least number of radiologists who boxed a finding; where fewer read the image, all of them.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.
    split : {'all', 'train', 'val', 'test'}
        Split to keep: train or test of the release, or, for the challenge, drawn (80, 10 and 10 %).

    Raises
    ------
    DataError
        If the folder or a file is not of this layout; on reading a box that leaves its image.
    """
    if agree < 1:
        raise DataError(f"option agree is {agree}; at least 1 radiologist must have boxed a finding")
    root = Path(path)
    tables = [root / name for name in TABLE_SPLITS if (root / name).is_file()]
    if not tables:
        raise DataError(f"{root} holds none of {', '.join(TABLE_SPLITS)}; give the folder of VinDr-CXR")
    reader_boxes = _read_boxes(tables)
    files = find_images_below(root, reader_boxes.radiologists)
    names, warnings = handle_missing_images(list(reader_boxes.radiologists), files, missing, root)
    annotations = VindrAnnotations(reader_boxes, files, agree)
    findings = tuple(sorted({finding for _, finding, _ in reader_boxes.boxes}))
    radiographs = [
        Radiograph(
            id=name,
            patient=name,
            read=partial(image_files.read_image, files.get(name, root / f"{name}.dicom")),
            study=name,
            view="frontal",
            labels={finding: float(annotations.has_agreement(name, finding)) for finding in findings},
            metadata={"radiologists": ", ".join(reader_boxes.radiologists[name])},
        )
        for name in names
    ]
    readers = {reader for readers in reader_boxes.radiologists.values() for reader in readers} - {CONSENSUS}
    return Dataset(
        name="vindr",
        spec=f"vindr:{path}?agree={agree}&missing={missing}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, reader_boxes.splits, split),
        annotation=annotations,
        readers=(REFERENCE_READER, *sorted(readers, key=_reader_sort_key)),
        combined_readers=tuple(sorted(readers, key=_reader_sort_key)),
        readers_of=partial(_readers_of, reader_boxes.radiologists),
        metadata={
            "license": LICENSE,
            "citation": CITATION,
            "warnings": (*warnings, "no patients are published: each image counts as a patient of its own"),
        },
    )


def _readers_of(radiologists: Mapping[str, Sequence[str]], radiograph: str) -> Sequence[str]:
    """Return the radiologists who read a radiograph, in order of the table."""
    return radiologists.get(radiograph, ())


def _reader_sort_key(reader: str) -> tuple[int, str]:
    """Sort R2 before R10."""
    digits = reader.lstrip("R")
    return (int(digits) if digits.isdecimal() else 0, reader)


def _read_boxes(files: Sequence[Path]) -> ReaderBoxes:
    boxes: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    radiologists: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for file in files:
        table = read_csv(file, ("image_id", "class_name", *BOX_COLUMNS))
        table.require_filled("image_id")
        for name, finding, reader, box in _iterate_rows(table):
            if TABLE_SPLITS[file.name] and splits.setdefault(name, TABLE_SPLITS[file.name]) != TABLE_SPLITS[file.name]:
                raise DataError(f"{file} names {name}, which is a training image; an image has one split")
            readers = radiologists.setdefault(name, [])
            if reader not in readers:
                readers.append(reader)
            if finding:
                boxes[name, finding, reader].append(box)
    return ReaderBoxes({key: np.stack(group) for key, group in boxes.items()}, radiologists, splits)


def _iterate_rows(table: CsvTable) -> Iterator[tuple[str, str, str, Array]]:
    """Yield (image, finding or '', radiologist, box (4,)) of each row."""
    left, top, right, bottom = corners = np.stack([table.numbers(name) for name in BOX_COLUMNS])  # (4, N)
    is_given = ~np.isnan(corners)
    readers = table.text("rad_id") if "rad_id" in table.rows else [CONSENSUS] * len(table.rows)
    columns = zip(table.text("image_id"), table.text("class_name"), readers, strict=True)
    for i, (name, finding, reader) in enumerate(columns):
        row = table.row_number(i)
        if finding.casefold() == NO_FINDING.casefold():
            if is_given[:, i].any():
                raise table.error(row, f"{finding} has a box; remove it, or name the finding in it")
            yield name, "", reader, corners[:, i]
        elif not is_given[:, i].all():
            raise table.error(row, f"the box of {finding!r} is incomplete; it needs all of {', '.join(BOX_COLUMNS)}")
        elif right[i] <= left[i] or bottom[i] <= top[i]:
            size = f"{right[i] - left[i]:g} × {bottom[i] - top[i]:g}"
            raise table.error(row, f"the box is {size} (width × height); both must be above 0")
        else:
            yield name, canonical_name(finding), reader, np.array([top[i], left[i], bottom[i], right[i]])


@dataclass(frozen=True, slots=True)
class VindrAnnotations:
    """`Dataset.annotation` from the boxes of each radiologist, and for the reference those on which enough agree."""

    reader_boxes: ReaderBoxes
    """Boxes of all readers."""
    files: Mapping[str, Path]
    """Radiograph id -> image."""
    min_agreement: int
    """Least number of radiologists who boxed a finding that is present."""
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def has_agreement(self, radiograph: str, finding: str, left_out: str = "") -> bool:
        """Return True if at least `min_agreement` radiologists boxed a finding; where fewer read it, all of them.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.
        finding : str
            The finding.
        left_out : str
            Radiologist who has no vote.

        Returns
        -------
        bool
            True if the finding is present.
        """
        readers = [r for r in _readers_of(self.reader_boxes.radiologists, radiograph) if r != left_out]
        votes = sum((radiograph, finding, reader) in self.reader_boxes.boxes for reader in readers)
        return 0 < min(self.min_agreement, len(readers)) <= votes

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        name, _, left_out = reader.partition(WITHOUT)
        is_reference = name == REFERENCE_READER
        if is_reference and not self.has_agreement(radiograph, finding, left_out):
            return None
        radiologists = _readers_of(self.reader_boxes.radiologists, radiograph)
        names = [r for r in radiologists if r != left_out] if is_reference else [reader]
        keys = [(radiograph, finding, name) for name in names]
        boxes = [self.reader_boxes.boxes[key] for key in keys if key in self.reader_boxes.boxes]
        if not boxes:
            return None
        return Annotation(
            radiograph,
            finding,
            reader,
            "boxes",
            self._image_size(radiograph),
            partial(self._check_inside, radiograph, np.concatenate(boxes)),
        )

    def _image_size(self, radiograph: str) -> Size:
        """Return the size of the image; where there is none, that of the area with all its boxes."""
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            if file is None:
                boxes = [group for (name, _, _), group in self.reader_boxes.boxes.items() if name == radiograph]
                bottom, right = np.ceil(np.concatenate(boxes)[:, 2:].max(0)).astype(int)
            else:
                bottom, right = image_files.read_size(file)
            self._sizes[radiograph] = int(bottom), int(right)
        return self._sizes[radiograph]

    def _check_inside(self, radiograph: str, boxes: Array) -> Array:
        height, width = self._image_size(radiograph)
        for top, left, bottom, right in boxes:
            if bottom > height + 1 or right > width + 1 or top < -1 or left < -1:
                box = np.array([left, top, right - left, bottom - top])
                raise DataError(
                    f"radiograph {radiograph!r}: {describe_outside_box(box, (height, width))}; the boxes of VinDr-CXR "
                    "are in pixels of the original image, so give images that were not resized"
                )
        return boxes
