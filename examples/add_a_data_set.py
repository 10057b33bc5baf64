"""Add a data set: images in DIR, a CSV of circles (image, finding, row, col, radius)."""

import csv
from collections import defaultdict
from pathlib import Path

from sightline import Annotation, DataError, Dataset, Radiograph
from sightline.data.registry import datasets
from sightline.imaging.image_files import read_image, read_size
from sightline.imaging.masks import points_to_mask


@datasets("circles", title="Circles in a folder", source="our own", license="yours")
def circles(path):
    """Images of DIR with circles.csv beside them."""
    rows = defaultdict(list)
    for row in csv.DictReader((Path(path) / "circles.csv").read_text().splitlines()):
        rows[row["image"], row["finding"]].append([float(row[key]) for key in ("row", "col", "radius")])
    files = sorted(Path(path).glob("*.png"))
    if not files:
        raise DataError(f"{path} holds no .png; give the folder of the images")
    sizes = {file.stem: read_size(file) for file in files}

    def marks(image, finding, reader):
        found, size = rows.get((image, finding)), sizes[image]
        return Annotation(image, finding, reader, "region", size, lambda: drawn(found, size)) if found else None

    radiographs = tuple(Radiograph(f.stem, f.stem, lambda f=f: read_image(f), size=sizes[f.stem]) for f in files)
    findings = tuple(sorted({finding for _, finding in rows}))
    return Dataset("circles", f"circles:{path}", findings, radiographs, marks, ("truth",))


def drawn(found, size):
    """Union of circles as a mask."""
    return sum(points_to_mask([[row, col]], size, radius) for row, col, radius in found) > 0
