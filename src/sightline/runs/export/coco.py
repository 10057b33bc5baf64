"""Export of the masks of maps and of annotations as one COCO file of run lengths."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from sightline.core import Array, Size, Source
from sightline.imaging.image_files import source_path
from sightline.imaging.masks import mask_to_rle
from sightline.runs.export.items import ExportItem, ExportJob, ExportRow, binarizer_label

ANNOTATIONS_FILE = "annotations.json"
"""File with all images and annotations."""
PART_FILE = "coco.json"
"""File with those of one radiograph, until all are written."""


def write_coco(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Write the image of a radiograph and an annotation per mask; `join_parts` numbers and joins them.

    The `source` of an annotation is MODEL/METHOD, or reader/NAME.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps and annotations.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        A row per map and annotation of a reader.
    """
    annotations: list[dict[str, Any]] = []
    size: Size | None = None
    for m in item.maps:
        if m.status != "ok":
            yield item.row("", m.source, m.finding, m.status, m.reason)
            continue
        size = m.frame.size
        extra: dict[str, Any] = {"binarizer": binarizer_label(item.protocol, m.finding), "frame": list(m.frame.box)}
        if not math.isnan(m.probability):
            extra["score"] = m.probability
        annotations.append(_coco_annotation(item.mask(m), m.source, m.finding, job, extra))
        yield item.row(ANNOTATIONS_FILE, m.source, m.finding)
    for annotation in item.annotations:
        size = size or annotation.size
        source, mask = str(Source.from_reader(annotation.reader)), item.annotation_mask(annotation)
        annotations.append(_coco_annotation(mask, source, annotation.finding, job, {"kind": annotation.kind}))
        yield item.row(ANNOTATIONS_FILE, source, annotation.finding)
    if size is not None:
        path = source_path(item.radiograph.read)
        image = {
            "file_name": path.name if path else item.radiograph.id,
            "height": size[0],
            "width": size[1],
            "radiograph": item.radiograph.id,
        }
        (job.part_folder(item.radiograph) / PART_FILE).write_text(
            json.dumps({"image": image, "annotations": annotations})
        )


def _coco_annotation(
    mask: Array, source: str, finding: str, job: ExportJob, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an annotation of COCO; the box of an empty mask is all zeros."""
    runs = mask_to_rle(mask)
    return {
        "category_id": job.findings.index(finding) + 1,
        "segmentation": runs,
        "area": int(rle.area(runs)),
        "bbox": [float(v) for v in rle.toBbox(runs)],
        "iscrowd": 0,
        "source": source,
        **extra,
    }


def join_parts(job: ExportJob, parts: Iterator[Path]) -> None:
    """Write annotations.json from the parts of all radiographs; images and annotations are numbered from 1.

    Parameters
    ----------
    job : ExportJob
        What is exported, and where to.
    parts : iterator of Path
        Folders of the parts, in order.
    """
    head = {
        "info": {
            "description": f"{job.run.info.get('title', job.run.path.name)}: masks of saliency maps",
            "contributor": "Sightline",
            "data": job.data.name,
            "protocol": job.protocol.name,
        },
        "categories": [{"id": i + 1, "name": f, "supercategory": "finding"} for i, f in enumerate(job.findings)],
    }
    file = job.out / ANNOTATIONS_FILE
    partial, count = file.with_name(f".{ANNOTATIONS_FILE}.partial"), 0
    images: list[dict[str, Any]] = []
    with partial.open("w", encoding="utf-8") as out:
        out.write(json.dumps(head)[:-1] + ', "annotations": [')
        for folder in parts:
            if not (folder / PART_FILE).is_file():
                continue
            part = json.loads((folder / PART_FILE).read_text("utf-8"))
            images.append({"id": len(images) + 1, **part["image"]})
            for annotation in part["annotations"]:
                out.write(",\n" if count else "\n")
                count += 1
                out.write(json.dumps({"id": count, "image_id": len(images), **annotation}))
        out.write(f'\n], "images": {json.dumps(images)}}}\n')
    partial.replace(file)
