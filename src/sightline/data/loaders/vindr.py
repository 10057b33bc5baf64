"""VinDr-CXR: boxes by seventeen radiologists, as on PhysioNet and in the VinBigData challenge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Array, Dataset, Mark, Radiograph, Size
from sightline.data.loaders.csv_tables import Table, outside_text, read_csv
from sightline.data.loaders.rsna import present
from sightline.data.registry import datasets
from sightline.data.splits import divided
from sightline.errors import DataError
from sightline.findings import canonical
from sightline.imaging import image_files

TABLES = {"annotations_train.csv": "train", "annotations_test.csv": "test", "train.csv": ""}
"""File -> its split: two of PhysioNet, one of the challenge (which published boxes for its training images alone)."""
NONE = "No finding"
COLUMNS = ("x_min", "y_min", "x_max", "y_max")
LICENSE = "PhysioNet credentialed health data license, or the terms of the VinBigData challenge"
CITATION = "doi:10.1038/s41597-022-01498-w"


@dataclass(frozen=True, slots=True)
class Boxed:
    """What was drawn, and by whom."""

    boxes: Mapping[tuple[str, str, str], Array]
    """(radiograph, finding, radiologist) -> float64 (K, 4) as (top, left, bottom, right), pixels of the image."""
    radiologists: Mapping[str, Sequence[str]]
    """radiograph -> who read it, in order of the table."""
    splits: Mapping[str, str]


@datasets("vindr", title="VinDr-CXR", source=f"Nguyen 2022, {CITATION}", license=LICENSE)
def vindr(path: str, agree: int = 2, missing: str = "keep", split: str = "all") -> Dataset:
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
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if not tables:
        raise DataError(f"{root} holds none of {', '.join(TABLES)}; give the folder of VinDr-CXR")
    boxed = _read(tables)
    found = (f for f in sorted(root.rglob("*")) if f.suffix.lower() in image_files.SUFFIXES)
    files = {file.stem: file for file in found if file.stem in boxed.radiologists}
    names, warnings = present(list(boxed.radiologists), files, missing, root)
    marks = Boxes(boxed, files, agree)
    findings = tuple(sorted({finding for _, finding, _ in boxed.boxes}))
    radiographs = [
        Radiograph(
            id=name,
            patient=name,
            read=partial(image_files.read, files.get(name, root / f"{name}.dicom")),
            study=name,
            view="frontal",
            labels={finding: float(marks.agreed(name, finding)) for finding in findings},
            facts={"radiologists": ", ".join(boxed.radiologists[name])},
        )
        for name in names
    ]
    readers = sorted({r for some in boxed.radiologists.values() for r in some} - {"consensus"}, key=_numbered)
    return Dataset(
        name="vindr",
        spec=f"vindr:{path}?agree={agree}&missing={missing}&split={split}",
        findings=findings,
        radiographs=divided(radiographs, boxed.splits, split),
        marks=marks,
        readers=("truth", *readers),
        facts={"license": LICENSE, "citation": CITATION,
               "warnings": (*warnings, "no patients are published: each image counts as a patient of its own")},
    )  # fmt: skip


def _numbered(reader: str) -> tuple[int, str]:
    """R2 before R10."""
    digits = reader.lstrip("R")
    return (int(digits) if digits.isdecimal() else 0, reader)


def _read(files: Sequence[Path]) -> Boxed:
    boxes: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    radiologists: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for file in files:
        table = read_csv(file, ("image_id", "class_name", *COLUMNS))
        table.require_filled("image_id")
        for name, finding, reader, box in _rows(table):
            if TABLES[file.name] and splits.setdefault(name, TABLES[file.name]) != TABLES[file.name]:
                raise DataError(f"{file} names {name}, which is a training image; an image has one split")
            known = radiologists.setdefault(name, [])
            if reader not in known:
                known.append(reader)
            if finding:
                boxes[name, finding, reader].append(box)
    return Boxed({key: np.stack(some) for key, some in boxes.items()}, radiologists, splits)


def _rows(table: Table) -> Iterator[tuple[str, str, str, Array]]:
    """(image, finding or '', radiologist, box (4,))."""
    left, top, right, bottom = corners = np.stack([table.numbers(name) for name in COLUMNS])  # (4, N)
    given = ~np.isnan(corners)
    readers = table.text("rad_id") if "rad_id" in table.rows else ["consensus"] * len(table.rows)
    columns = zip(table.text("image_id"), table.text("class_name"), readers, strict=True)
    for at, (name, finding, reader) in enumerate(columns):
        row = table.row(at)
        if finding.casefold() == NONE.casefold():
            if given[:, at].any():
                raise table.error(row, f"{finding} has a box; remove it, or name what it shows")
            yield name, "", reader, corners[:, at]
        elif not given[:, at].all():
            raise table.error(row, f"the box of {finding!r} is incomplete; it needs all of {', '.join(COLUMNS)}")
        elif right[at] <= left[at] or bottom[at] <= top[at]:
            size = f"{right[at] - left[at]:g} × {bottom[at] - top[at]:g}"
            raise table.error(row, f"the box is {size} (width × height); both must be above 0")
        else:
            yield name, canonical(finding), reader, np.array([top[at], left[at], bottom[at], right[at]])


@dataclass(frozen=True, slots=True)
class Boxes:
    """`Dataset.marks`: each radiologist's boxes, and 'truth', on which enough of them agree."""

    boxed: Boxed
    files: Mapping[str, Path]
    agree: int
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def agreed(self, radiograph: str, finding: str) -> bool:
        """Whether at least `agree` of its radiologists boxed it; where fewer read the image, all of them."""
        known = self.boxed.radiologists[radiograph]
        return sum((radiograph, finding, r) in self.boxed.boxes for r in known) >= min(self.agree, len(known))

    def __call__(self, radiograph: str, finding: str, reader: str) -> Mark | None:
        known = self.boxed.radiologists.get(radiograph, ())
        if reader == "truth" and known and not self.agreed(radiograph, finding):
            return None
        who = known if reader == "truth" else [reader]
        found = [self.boxed.boxes[key] for r in who if (key := (radiograph, finding, r)) in self.boxed.boxes]
        if not found:
            return None
        return Mark(radiograph, finding, reader, "boxes", self._size(radiograph),
                    partial(self._checked, radiograph, np.concatenate(found)))  # fmt: skip

    def _size(self, radiograph: str) -> Size:
        """Of the image; where there is none, what holds every box on it."""
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            if file is None:
                drawn = [some for (name, _, _), some in self.boxed.boxes.items() if name == radiograph]
                bottom, right = np.ceil(np.concatenate(drawn)[:, 2:].max(0)).astype(int)
            else:
                bottom, right = image_files.size_of(file)
            self._sizes[radiograph] = int(bottom), int(right)
        return self._sizes[radiograph]

    def _checked(self, radiograph: str, boxes: Array) -> Array:
        height, width = self._size(radiograph)
        for top, left, bottom, right in boxes:
            if bottom > height + 1 or right > width + 1 or top < -1 or left < -1:
                box = np.array([left, top, right - left, bottom - top])
                raise DataError(
                    f"radiograph {radiograph!r}: {outside_text(box, (height, width))}; VinDr's boxes are in the pixels "
                    "of the original image, so give images that were not resized"
                )
        return boxes
