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
from sightline.findings import choose
from sightline.registry import Registry
from sightline.runs.export import arrays, coco, dicom
from sightline.runs.export.items import PARTS, Export, Line, Plate, Pseudonyms, missing, protocol_of
from sightline.runs.provenance import reopened
from sightline.runs.run import Run

__all__ = ["WriterFacts", "export", "writers"]

INDEX, LINES = "index.csv", "lines.json"
_ASKED = ".export.json"


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class WriterFacts:
    """What is known of a format before anything is written."""

    title: str
    """What is written, and what opens it."""
    check: Callable[[], None] = _nothing
    """Errors: `DataError` if what it needs is not installed."""
    finish: Callable[[Export, Iterator[Path]], None] = _nothing
    """(export, the folders of all parts, in order) -> what is made of all radiographs together."""


writers: Registry[WriterFacts] = Registry("exporter", WriterFacts)
writers("npz", title="raw maps with box and probability, for NumPy")(arrays.npz)
writers("nifti", title="maps on the grid of the radiograph, for ITK-SNAP, 3D Slicer, nibabel")(arrays.nifti)
writers("dicom-pm", title="Parametric Maps, for a PACS and 3D Slicer", check=dicom.check)(dicom.parametric_maps)
writers("dicom-seg", title="Segmentations, for OHIF and a PACS", check=dicom.check)(dicom.segmentations)
writers("coco", title="masks as run lengths, for pycocotools, FiftyOne, CVAT", finish=coco.joined)(coco.coco)


def export(
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
    writer = writers[format]
    writer.facts.check()
    data, maps = reopened(opened)
    known = tuple(maps.sources)
    strange = [s for s in sources if s not in known]
    if strange or not known:
        raise DataError(
            f"{run} has no maps of {', '.join(strange) or 'any source'}; it has: {', '.join(known) or 'none'}"
        )
    protocol = protocol_of(opened, binarizer)
    job = Export(
        opened, data, maps, out, sources or known, choose(findings or None, data.findings), protocol, identify,
        Pseudonyms.of(opened),
    )  # fmt: skip
    _begin(job, format)
    _write(job, format)
    counts = _finish(job, writer.facts)
    print(f"{counts['ok']} written, {counts['not']} not ({out / INDEX} says why); {writer.facts.title}: {out}")
    if format in ("npz", "nifti", "dicom-pm"):
        print(f"score them: sightline score {out / 'maps'} --data '{data.spec}'")


def _begin(job: Export, format: str) -> None:
    """Errors: `DataError` for a folder that holds something else, or another export."""
    asked = {"run": str(job.run.path.resolve()), "format": format, "sources": job.sources, "findings": job.findings,
             "protocol": repr(job.protocol), "identify": job.identify}  # fmt: skip
    file, text = job.out / _ASKED, json.dumps(asked, indent=1)
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


def _write(job: Export, format: str) -> None:
    """Every radiograph that is not done; what a kill leaves half is written again."""
    units = {f"{at:07d}": radiograph for at, radiograph in enumerate(job.data.radiographs)}
    if (job.out / INDEX).is_file():
        return

    def work(unit: str) -> None:
        plate = job.plate(units[unit])
        lines = [*_lines(job, format, plate), *missing(plate, job)]
        write_text_atomic(job.part(units[unit]) / LINES, json.dumps(lines))

    run_resumable(format, list(units), lambda unit: (job.part(units[unit]) / LINES).is_file(), work, unit="radiographs")


def _lines(job: Export, format: str, plate: Plate) -> list[Line]:
    """What a writer did with a radiograph; one that cannot be read is told, and the export goes on."""
    done: list[Line] = []
    try:
        done.extend(writers[format](plate, job))
    except DataError as error:
        told = {(line.source, line.finding) for line in done}
        left = [m for m in plate.maps if (m.source, m.finding) not in told]
        done.extend(plate.line("", m.source, m.finding, "unreadable", str(error)) for m in left)
    return done


def _finish(job: Export, facts: WriterFacts) -> dict[str, int]:
    """Join the parts, write the index and clear up; how many things were written, and how many were not."""
    index, counts = job.out / INDEX, {"ok": 0, "not": 0}
    if not index.is_file():
        folders = [job.part(radiograph) for radiograph in job.data.radiographs]
        facts.finish(job, iter(folders))
        partial = index.with_name(f".{INDEX}.partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(Line._fields)
            for folder in folders:
                table.writerows(json.loads((folder / LINES).read_text("utf-8")))
        partial.replace(index)
    shutil.rmtree(job.out / PARTS, ignore_errors=True)
    with index.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counts["ok" if row["file"] else "not"] += 1
    return counts
