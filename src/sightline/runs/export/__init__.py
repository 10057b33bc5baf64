"""What a run knows, in the formats that other programs read. A writer is a function of a plate and an export."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sightline._util.files import write_text_atomic
from sightline._util.parallel import run_resumable
from sightline.errors import DataError
from sightline.findings import select_findings
from sightline.registry import Registry
from sightline.runs.export import arrays, coco, dicom
from sightline.runs.export.items import (
    PARTS_FOLDER,
    ExportItem,
    ExportJob,
    ExportRow,
    Pseudonyms,
    missing_rows,
    run_protocol,
)
from sightline.runs.provenance import open_inputs
from sightline.runs.run import Run

__all__ = ["ExporterInfo", "export_run", "exporters"]

INDEX_FILE, ROWS_FILE = "index.csv", "lines.json"
_OPTIONS_FILE = ".export.json"


def _do_nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ExporterInfo:
    """What is known of a format before anything is written."""

    title: str
    """What is written, and what opens it."""
    check: Callable[[], None] = _do_nothing
    """Errors: `DataError` if what it needs is not installed."""
    finish: Callable[[ExportJob, Iterator[Path]], None] = _do_nothing
    """(export, the folders of all parts, in order) -> what is made of all radiographs together."""


exporters: Registry[ExporterInfo] = Registry("exporter", ExporterInfo)
exporters("npz", title="raw maps with box and probability, for NumPy")(arrays.write_npz)
exporters("nifti", title="maps on the grid of the radiograph, for ITK-SNAP, 3D Slicer, nibabel")(arrays.write_nifti)
exporters("dicom-pm", title="Parametric Maps, for a PACS and 3D Slicer", check=dicom.check_highdicom)(
    dicom.write_parametric_maps
)
exporters("dicom-seg", title="Segmentations, for OHIF and a PACS", check=dicom.check_highdicom)(
    dicom.write_segmentations
)
exporters("coco", title="masks as run lengths, for pycocotools, FiftyOne, CVAT", finish=coco.join_parts)(
    coco.write_coco
)


def export_run(
    run: Path,
    *,
    format: str,
    out: Path,
    sources: tuple[str, ...] = (),
    findings: str = "",
    binarizer: str = "",
    identify: bool = False,
) -> None:
    """Write a run's maps, masks and marks for other programs. Safe to stop: the same command goes on from there.

    Parameters
    ----------
    run
        Run folder.
    format
        Format: dicom-seg (segmentations), dicom-pm (parametric maps), coco, nifti or npz.
    out
        Folder to write to; an export that was stopped continues.
    sources
        Sources of the maps, as MODEL/METHOD; by default all in the run.
    findings
        Findings, comma-separated; all by default.
    binarizer
        Rule that turns maps into masks, instead of the run's own: otsu, above:T or top:FRACTION.
    identify
        Keep patients' names and the original images' identifiers. Without it, DICOM objects carry pseudonyms and refer
        to a copy of the radiograph without its header.
    """
    opened = Run.open(run)
    writer = exporters[format]
    writer.info.check()
    data, maps = open_inputs(opened)
    known = tuple(maps.sources)
    strange = [s for s in sources if s not in known]
    if strange or not known:
        raise DataError(
            f"{run} has no maps of {', '.join(strange) or 'any source'}; it has: {', '.join(known) or 'none'}"
        )
    protocol = run_protocol(opened, binarizer)
    job = ExportJob(
        opened,
        data,
        maps,
        out,
        sources or known,
        select_findings(findings or None, data.findings),
        protocol,
        identify,
        Pseudonyms.from_run(opened),
    )
    _start_export(job, format)
    _export_items(job, format)
    counts = _write_index(job, writer.info)
    print(f"{counts['ok']} written, {counts['not']} not ({out / INDEX_FILE} says why); {writer.info.title}: {out}")
    if format in ("npz", "nifti", "dicom-pm"):
        print(f"score them: sightline score {out / 'maps'} --data '{data.spec}'")


def _start_export(job: ExportJob, format: str) -> None:
    """Errors: `DataError` for a folder that holds something else, or another export."""
    asked = {
        "run": str(job.run.path.resolve()),
        "format": format,
        "sources": job.sources,
        "findings": job.findings,
        "protocol": repr(job.protocol),
        "identify": job.identify,
    }
    file, text = job.out / _OPTIONS_FILE, json.dumps(asked, indent=1)
    if file.is_file():
        if file.read_text("utf-8") != text:
            raise DataError(
                f"{job.out} holds an export of another run, or with other options; give --out another folder"
            )
        return
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise DataError(f"{job.out} is not empty, and no export of ours; give --out a new or empty folder")
    job.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(file, text)


def _export_items(job: ExportJob, format: str) -> None:
    """Every radiograph that is not done; what a kill leaves half is written again."""
    units = {f"{at:07d}": radiograph for at, radiograph in enumerate(job.data.radiographs)}
    if (job.out / INDEX_FILE).is_file():
        return

    def work(unit: str) -> None:
        plate = job.item(units[unit])
        lines = [*_export_item(job, format, plate), *missing_rows(plate, job)]
        write_text_atomic(job.part_folder(units[unit]) / ROWS_FILE, json.dumps(lines))

    run_resumable(
        format, list(units), lambda unit: (job.part_folder(units[unit]) / ROWS_FILE).is_file(), work, unit="radiographs"
    )


def _export_item(job: ExportJob, format: str, item: ExportItem) -> list[ExportRow]:
    """What a writer did with a radiograph; one that cannot be read is told, and the export goes on."""
    done: list[ExportRow] = []
    try:
        done.extend(exporters[format](item, job))
    except DataError as error:
        told = {(line.source, line.finding) for line in done}
        left = [m for m in item.maps if (m.source, m.finding) not in told]
        done.extend(item.row("", m.source, m.finding, "unreadable", str(error)) for m in left)
    return done


def _write_index(job: ExportJob, info: ExporterInfo) -> dict[str, int]:
    """Join the parts, write the index and clear up; how many things were written, and how many were not."""
    index, counts = job.out / INDEX_FILE, {"ok": 0, "not": 0}
    if not index.is_file():
        folders = [job.part_folder(radiograph) for radiograph in job.data.radiographs]
        info.finish(job, iter(folders))
        partial = index.with_name(f".{INDEX_FILE}.partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(ExportRow._fields)
            for folder in folders:
                table.writerows(json.loads((folder / ROWS_FILE).read_text("utf-8")))
        partial.replace(index)
    shutil.rmtree(job.out / PARTS_FOLDER, ignore_errors=True)
    with index.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counts["ok" if row["file"] else "not"] += 1
    return counts
