"""Masks of maps, and readers' marks, as one COCO file of run lengths."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from sightline.core import Array, Size, Source
from sightline.imaging.geometry import mask_to_rle
from sightline.imaging.image_files import path_of
from sightline.runs.export.items import Export, Line, Plate, cut_by

FILE = "annotations.json"
PART = "coco.json"


def coco(plate: Plate, export: Export) -> Iterator[Line]:
    """A part of annotations.json: the image, an annotation per mask and mark; `joined` numbers and joins them.

    An annotation's `source` says who claims it: MODEL/METHOD, or reader/NAME.
    """
    annotations: list[dict[str, Any]] = []
    size: Size | None = None
    for m in plate.maps:
        if m.status != "ok":
            yield plate.line("", m.source, m.finding, m.status, m.why)
            continue
        size = m.frame.size
        extra: dict[str, Any] = {"binarizer": cut_by(plate.protocol, m.finding), "frame": list(m.frame.box)}
        if not math.isnan(m.probability):
            extra["score"] = m.probability
        annotations.append(_annotation(plate.mask(m), m.source, m.finding, export, extra))
        yield plate.line(FILE, m.source, m.finding)
    for mark in plate.marks:
        size = size or mark.size
        extra = {"kind": mark.kind}
        source = str(Source.from_reader(mark.reader))
        annotations.append(_annotation(plate.area(mark), source, mark.finding, export, extra))
        yield plate.line(FILE, source, mark.finding)
    if size is not None:
        path = path_of(plate.radiograph.read)
        image = {"file_name": path.name if path else plate.radiograph.id, "height": size[0], "width": size[1],
                 "radiograph": plate.radiograph.id}  # fmt: skip
        (export.part(plate.radiograph) / PART).write_text(json.dumps({"image": image, "annotations": annotations}))


def _annotation(mask: Array, source: str, finding: str, export: Export, extra: Mapping[str, Any]) -> dict[str, Any]:
    """x, y, width, height of its box; zeros for an empty mask, which is a claim, too."""
    runs = mask_to_rle(mask)
    return {
        "category_id": export.findings.index(finding) + 1, "segmentation": runs, "area": int(rle.area(runs)),
        "bbox": [float(v) for v in rle.toBbox(runs)], "iscrowd": 0, "source": source, **extra,
    }  # fmt: skip


def joined(export: Export, parts: Iterator[Path]) -> None:
    """Write annotations.json from the parts of every radiograph: images and annotations are counted from 1."""
    head = {
        "info": {"description": f"{export.run.info.get('title', export.run.path.name)}: masks of saliency maps",
                 "contributor": "Sightline", "data": export.data.name, "protocol": export.protocol.name},
        "categories": [{"id": i + 1, "name": f, "supercategory": "finding"} for i, f in enumerate(export.findings)],
    }  # fmt: skip
    file = export.out / FILE
    partial, count = file.with_name(f".{FILE}.partial"), 0
    images: list[dict[str, Any]] = []
    with partial.open("w", encoding="utf-8") as out:
        out.write(json.dumps(head)[:-1] + ', "annotations": [')
        for folder in parts:
            if not (folder / PART).is_file():
                continue
            part = json.loads((folder / PART).read_text("utf-8"))
            images.append({"id": len(images) + 1, **part["image"]})
            for annotation in part["annotations"]:
                out.write(",\n" if count else "\n")
                count += 1
                out.write(json.dumps({"id": count, "image_id": len(images), **annotation}))
        out.write(f'\n], "images": {json.dumps(images)}}}\n')
    partial.replace(file)
