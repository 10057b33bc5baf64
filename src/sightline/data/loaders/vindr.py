"""VinDr-CXR: boxes by seventeen radiologists, as on PhysioNet and in the VinBigData challenge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.data.loaders.csv_tables import CsvTable, describe_outside_box, read_csv
from sightline.data.loaders.rsna import handle_missing_images
from sightline.data.registry import datasets
from sightline.data.splits import apply_split
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files

TABLE_SPLITS = {"annotations_train.csv": "train", "annotations_test.csv": "test", "train.csv": ""}
"""File -> its split: two of PhysioNet, one of the challenge (which published boxes for its training images alone)."""
NO_FINDING = "No finding"
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
LICENSE = "PhysioNet credentialed health data license, or the terms of the VinBigData challenge"
CITATION = "doi:10.1038/s41597-022-01498-w"


@dataclass(frozen=True, slots=True)
class ReaderBoxes:
    """What was drawn, and by whom."""

    boxes: Mapping[tuple[str, str, str], Array]
    """(radiograph, finding, radiologist) -> float64 (K, 4) as (top, left, bottom, right), pixels of the image."""
    radiologists: Mapping[str, Sequence[str]]
    """radiograph -> who read it, in order of the table."""
    splits: Mapping[str, str]


@datasets("vindr", title="VinDr-CXR", source=f"Nguyen 2022, {CITATION}", license=LICENSE)
def load_vindr(path: str, agree: int = 2, missing: str = "keep", split: str = "all") -> Dataset:
    """VinDr-CXR: DIR holds annotations_train.csv and annotations_test.csv (PhysioNet) or train.csv (the challenge).

    Images lie in any folder below, named by image_id, at their original size: boxes are in their pixels. A training
    image was read by three radiologists each; a finding is present when at least `agree` of them boxed it, and its
    truth is the union of their boxes. Test images carry one consensus. Each radiologist is also a reader (R1, R2, ...).
    The release names no patients: each image counts as one. split: 'train', 'test' or 'all' where the release has
    them, else drawn (80, 10 and 10 %). missing: as in `rsna`.
    Errors: `DataError` for a folder or file that is not of this layout; on reading a mark that leaves its image.
    """
    if agree < 1:
        raise DataError(f"option agree is {agree}; at least 1 radiologist must have boxed a finding")
    root = Path(path)
    tables = [root / name for name in TABLE_SPLITS if (root / name).is_file()]
    if not tables:
        raise DataError(f"{root} holds none of {', '.join(TABLE_SPLITS)}; give the folder of VinDr-CXR")
    boxed = _read_boxes(tables)
    found = (f for f in sorted(root.rglob("*")) if f.suffix.lower() in image_files.SUFFIXES)
    files = {file.stem: file for file in found if file.stem in boxed.radiologists}
    names, warnings = handle_missing_images(list(boxed.radiologists), files, missing, root)
    marks = VindrAnnotations(boxed, files, agree)
    findings = tuple(sorted({finding for _, finding, _ in boxed.boxes}))
    radiographs = [
        Radiograph(
            id=name,
            patient=name,
            read=partial(image_files.read_image, files.get(name, root / f"{name}.dicom")),
            study=name,
            view="frontal",
            labels={finding: float(marks.has_agreement(name, finding)) for finding in findings},
            metadata={"radiologists": ", ".join(boxed.radiologists[name])},
        )
        for name in names
    ]
    readers = sorted({r for some in boxed.radiologists.values() for r in some} - {"consensus"}, key=_reader_sort_key)
    return Dataset(
        name="vindr",
        spec=f"vindr:{path}?agree={agree}&missing={missing}&split={split}",
        findings=findings,
        radiographs=apply_split(radiographs, boxed.splits, split),
        annotation=marks,
        readers=("truth", *readers),
        metadata={
            "license": LICENSE,
            "citation": CITATION,
            "warnings": (*warnings, "no patients are published: each image counts as a patient of its own"),
        },
    )


def _reader_sort_key(reader: str) -> tuple[int, str]:
    """R2 before R10."""
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
            known = radiologists.setdefault(name, [])
            if reader not in known:
                known.append(reader)
            if finding:
                boxes[name, finding, reader].append(box)
    return ReaderBoxes({key: np.stack(some) for key, some in boxes.items()}, radiologists, splits)


def _iterate_rows(table: CsvTable) -> Iterator[tuple[str, str, str, Array]]:
    """(image, finding or '', radiologist, box (4,))."""
    left, top, right, bottom = corners = np.stack([table.numbers(name) for name in BOX_COLUMNS])  # (4, N)
    given = ~np.isnan(corners)
    readers = table.text("rad_id") if "rad_id" in table.rows else ["consensus"] * len(table.rows)
    columns = zip(table.text("image_id"), table.text("class_name"), readers, strict=True)
    for at, (name, finding, reader) in enumerate(columns):
        row = table.row_number(at)
        if finding.casefold() == NO_FINDING.casefold():
            if given[:, at].any():
                raise table.error(row, f"{finding} has a box; remove it, or name what it shows")
            yield name, "", reader, corners[:, at]
        elif not given[:, at].all():
            raise table.error(row, f"the box of {finding!r} is incomplete; it needs all of {', '.join(BOX_COLUMNS)}")
        elif right[at] <= left[at] or bottom[at] <= top[at]:
            size = f"{right[at] - left[at]:g} × {bottom[at] - top[at]:g}"
            raise table.error(row, f"the box is {size} (width × height); both must be above 0")
        else:
            yield name, canonical_name(finding), reader, np.array([top[at], left[at], bottom[at], right[at]])


@dataclass(frozen=True, slots=True)
class VindrAnnotations:
    """`Dataset.annotation`: each radiologist's boxes, and 'truth', on which enough of them agree."""

    reader_boxes: ReaderBoxes
    files: Mapping[str, Path]
    min_agreement: int
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def has_agreement(self, radiograph: str, finding: str) -> bool:
        """Whether at least `agree` of its radiologists boxed it; where fewer read the image, all of them."""
        known = self.reader_boxes.radiologists[radiograph]
        return sum((radiograph, finding, r) in self.reader_boxes.boxes for r in known) >= min(
            self.min_agreement, len(known)
        )

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        known = self.reader_boxes.radiologists.get(radiograph, ())
        if reader == "truth" and known and not self.has_agreement(radiograph, finding):
            return None
        who = known if reader == "truth" else [reader]
        found = [
            self.reader_boxes.boxes[key] for r in who if (key := (radiograph, finding, r)) in self.reader_boxes.boxes
        ]
        if not found:
            return None
        return Annotation(
            radiograph,
            finding,
            reader,
            "boxes",
            self._image_size(radiograph),
            partial(self._check_inside, radiograph, np.concatenate(found)),
        )

    def _image_size(self, radiograph: str) -> Size:
        """Of the image; where there is none, what holds every box on it."""
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            if file is None:
                drawn = [some for (name, _, _), some in self.reader_boxes.boxes.items() if name == radiograph]
                bottom, right = np.ceil(np.concatenate(drawn)[:, 2:].max(0)).astype(int)
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
                    f"radiograph {radiograph!r}: {describe_outside_box(box, (height, width))}; VinDr's boxes "
                    "are in the pixels "
                    "of the original image, so give images that were not resized"
                )
        return boxes
