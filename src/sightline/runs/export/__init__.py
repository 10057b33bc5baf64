"""Export of a run to the formats of other programs. A writer is a function of an `ExportItem` and an `ExportJob`."""

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
    """Declaration of a format."""

    title: str
    """What is written, and which programs open it."""
    check: Callable[[], None] = _do_nothing
    """Function that raises `DataError` if a package is missing."""
    finish: Callable[[ExportJob, Iterator[Path]], None] = _do_nothing
    """Function of the job and the folders of all parts, in order, that joins them."""


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
    """Write the maps, masks and annotations of a run for other programs; a stopped export continues.

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
        Rule that turns maps into masks, instead of that of the run: otsu, above:T or top:FRACTION.
    identify
        Keep patients' names and the original images' identifiers. Without it, DICOM objects carry pseudonyms and refer
        to a copy of the radiograph without its header.

    Raises
    ------
    DataError
        If the run has no such maps, a package is missing, or the folder holds something else.
    """
    opened = Run.open(run)
    writer = exporters[format]
    writer.info.check()
    data, maps = open_inputs(opened)
    known = tuple(maps.sources)
    unknown = [s for s in sources if s not in known]
    if unknown or not known:
        raise DataError(
            f"{run} has no maps of {', '.join(unknown) or 'any source'}; it has: {', '.join(known) or 'none'}"
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
    print(f"{counts['ok']} written, {counts['not']} not ({out / INDEX_FILE} gives reasons); {writer.info.title}: {out}")
    if format in ("npz", "nifti", "dicom-pm"):
        print(f"score them: sightline score {out / 'maps'} --data '{data.spec}'")


def _start_export(job: ExportJob, format: str) -> None:
    """Create the folder, or raise `DataError` if it holds something else, or another export."""
    options = {
        "run": str(job.run.path.resolve()),
        "format": format,
        "sources": job.sources,
        "findings": job.findings,
        "protocol": repr(job.protocol),
        "identify": job.identify,
    }
    file, text = job.out / _OPTIONS_FILE, json.dumps(options, indent=1)
    if file.is_file():
        if file.read_text("utf-8") != text:
            raise DataError(
                f"{job.out} holds an export of another run, or with other options; give --out another folder"
            )
        return
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise DataError(f"{job.out} is not empty and no export of this package; give --out a new or empty folder")
    job.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(file, text)


def _export_items(job: ExportJob, format: str) -> None:
    """Export every radiograph that is not done; one that a kill interrupted is written again."""
    units = {f"{i:07d}": radiograph for i, radiograph in enumerate(job.data.radiographs)}
    if (job.out / INDEX_FILE).is_file():
        return

    def work(unit: str) -> None:
        item = job.item(units[unit])
        rows = [*_export_item(job, format, item), *missing_rows(item, job)]
        write_text_atomic(job.part_folder(units[unit]) / ROWS_FILE, json.dumps(rows))

    run_resumable(
        format, list(units), lambda unit: (job.part_folder(units[unit]) / ROWS_FILE).is_file(), work, unit="radiographs"
    )


def _export_item(job: ExportJob, format: str, item: ExportItem) -> list[ExportRow]:
    """Export one radiograph; one that cannot be read is listed, and the export continues."""
    done: list[ExportRow] = []
    try:
        done.extend(exporters[format](item, job))
    except DataError as error:
        keys = {(row.source, row.finding) for row in done}
        remaining = [m for m in item.maps if (m.source, m.finding) not in keys]
        done.extend(item.row("", m.source, m.finding, "unreadable", str(error)) for m in remaining)
    return done


def _write_index(job: ExportJob, info: ExporterInfo) -> dict[str, int]:
    """Join the parts, write the index and remove the parts; return the numbers of written and of other rows."""
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
