"""What maps made elsewhere are scored on: one set of findings for every source, told before any work is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.evaluation.analysis import analyze
from sightline.evaluation.chexlocalize_csv import check_chexlocalize_options, write_chexlocalize_csv
from sightline.evaluation.score_run import METRICS, score_run
from sightline.evaluation.scoring import require_annotations
from sightline.evaluation.thresholds import resolve_protocols, threshold_provenance
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps, WithFindings
from sightline.maps.folder import MapFolder, open_maps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.metrics.registry import require_annotation_metric, resolve_metric_aliases
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run

_MAX_EXAMPLES = 3


def select_scored_findings(maps: MapFolder, findings: str = "") -> tuple[str, ...]:
    """The findings that every source of a folder, every control and every reader is scored on.

    named: a comma-separated list, each of which counts whether there are maps of it or not; without one those that
    any map is of.
    Errors: `DataError` if nothing in the folder can be used, if no map is of a finding that was named, or if nobody
    marked any of the findings; `UnknownNameError` for a finding that the data set does not have.
    """
    data = maps.data
    require_annotations(data)
    asked = select_findings(findings or None, data.findings)
    if not len(maps):
        raise DataError(_no_usable_map_message(maps))
    there = {finding for covered in maps.sources.values() for finding in covered}
    covered = tuple(finding for finding in data.findings if finding in there)
    if findings and not there & set(asked):
        raise DataError(
            f"no map in {maps.path} is of {' or '.join(asked) or 'any finding'}; it has maps of {', '.join(covered)}"
        )
    wanted = asked if findings else covered
    if not any(_is_annotated(data, finding) for finding in wanted):
        raise DataError(_no_annotation_message(data, wanted))
    return wanted


def describe_scored_findings(maps: MapFolder, findings: Sequence[str]) -> list[str]:
    """What a user should know of the findings that are scored: which, which not, and which have no maps or no marks."""
    there = {finding for covered in maps.sources.values() for finding in covered}
    others = len(maps.data.findings) - len(findings)
    lines = [
        f"findings scored: {', '.join(findings)}"
        + (f" ({others} other{'s are' if others > 1 else ' is'} not)" if others else "")
    ]
    for finding in findings:
        if not _is_annotated(maps.data, finding):
            lines.append(f"nobody marked {finding} in {maps.data.spec}: it has no score")
        elif finding not in there:
            lines.append(f"no map is of {finding}: each of its marks counts as a missing map, the worst score")
        else:
            without = [source for source, covered in maps.sources.items() if finding not in covered]
            if without:
                lines.append(f"no map of {', '.join(without)} is of {finding}: each of its marks counts as missing")
    return lines


def _is_annotated(data: Dataset, finding: str) -> bool:
    return any(data.annotation(r.id, finding, data.reference_reader) is not None for r in data.radiographs)


def _no_usable_map_message(maps: MapFolder) -> str:
    data, count = maps.data, len(maps.problems)
    if not count:
        return f"{maps.path} holds no file; give a folder of maps named RADIOGRAPH_FINDING"
    example = f"{data.radiographs[0].id}_{data.findings[0]}.npz"
    files = f"none of the {count:,} files in" if count > 1 else "the only file in"
    head = f"{files} {maps.path} is a map of {data.spec}; names must be RADIOGRAPH_FINDING, such as {example}"
    more = [f"and {count - _MAX_EXAMPLES:,} more"] if count > _MAX_EXAMPLES else []
    return "\n".join([f"{head}:", *maps.problems[:_MAX_EXAMPLES], *more])


def _no_annotation_message(data: Dataset, findings: Sequence[str]) -> str:
    counts = {
        f: sum(data.annotation(r.id, f, data.reference_reader) is not None for r in data.radiographs)
        for f in data.findings
    }
    there = ", ".join(f"{finding} ({count:,})" for finding, count in counts.items() if count)
    return f"{data.spec} has no mark of {' or '.join(findings)} to score against; it has marks of: {there or 'nothing'}"


CONTROLS = ("center", "noise", "edges", "average-mask")


_MAX_EXAMPLES = 5


def score_maps(
    maps: Path,
    *,
    data: str,
    out: Path = Path("runs/score"),
    metrics: tuple[str, ...] = METRICS,
    controls: tuple[str, ...] = CONTROLS,
    findings: str = "",
    protocol: str = "corrected",
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: str = "",
    probability_cutoffs: str = "",
    include_unannotated: bool = True,
    chexlocalize_csv: Path | None = None,
    seed: int = 0,
) -> Run:
    """Score maps made elsewhere, with controls and the data set's readers beside them, and write a report.

    Parameters
    ----------
    maps
        Folder (or file) of maps: CheXlocalize pickles, NPZ, Zarr, PNG, NIfTI or DICOM.
    data
        Data set with the marks, as NAME:PATH?option=value, for example chexlocalize:/data/CheXlocalize.
    out
        Run folder; the same command continues it.
    metrics
        Metrics; `sightline list metrics` names them.
    controls
        Maps that never saw a model, scored for comparison: center, noise, edges, average-mask.
    findings
        Findings, comma-separated, each of which counts even without a map; by default those that any map is of.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    binarizer
        Rule that turns maps into masks, instead of the protocol's own: otsu, above:T or top:FRACTION.
    smooth_window
        Side of a box filter before Otsu's threshold: a share of the height if below 1, else pixels; 0 for none.
    map_thresholds
        Thresholds per finding, tuned on other data: a run folder, or a CSV with columns threshold and task.
    probability_cutoffs
        Probability cutoffs per finding, for the results on all images: a run folder, or a CSV with columns
        prob_threshold and task.
    include_unannotated
        Include images without marks, for the results on all images.
    chexlocalize_csv
        Folder for files as the public CheXlocalize scripts write them, one folder per source (published protocol).
    seed
        Seed of noise and bootstrap resamples.
    """
    records = resolve_protocols(protocol, binarizer, smooth_window, map_thresholds, probability_cutoffs)
    metrics = resolve_metric_aliases(metrics)
    check_chexlocalize_options(chexlocalize_csv, records, metrics, include_unannotated)
    for name in metrics:
        require_annotation_metric(name)
    opened = open_dataset(data)
    folder = open_maps(maps, opened)
    wanted = select_scored_findings(folder, findings)
    for line in (*_list_unused_files(folder.problems), *describe_scored_findings(folder, wanted)):
        print(line, file=sys.stderr)
    options = {
        "maps": str(maps),
        "data": data,
        "metrics": metrics,
        "controls": controls,
        "findings": findings,
        "protocol": protocol,
        "binarizer": binarizer,
        "smooth_window": smooth_window,
        "map_thresholds": map_thresholds,
        "probability_cutoffs": probability_cutoffs,
        "include_unannotated": include_unannotated,
        "seed": seed,
    }
    run = Run.start(out, "score", options)
    with run.lock():
        run = record_inputs(
            run,
            opened,
            records,
            maps=folder,
            title=f"Maps made elsewhere: {maps.resolve().name}",
            problems=folder.problems,
            findings=wanted,
            threshold_provenance=threshold_provenance(opened, map_thresholds, probability_cutoffs),
        )
        blind = ControlMaps(replace(opened, findings=wanted), controls, seed)
        held = CombinedMaps((WithFindings(folder, wanted), blind, ReaderMaps(opened, wanted)))
        score_run(
            run,
            held,
            opened,
            metrics=metrics,
            protocols=records,
            findings=wanted,
            seed=seed,
            include_unannotated=include_unannotated,
        )
        analyze(run, records, seed=seed)
        if chexlocalize_csv is not None:
            write_chexlocalize_csv(run, folder, opened, chexlocalize_csv, records, seed)
    return run


def _list_unused_files(problems: Sequence[str]) -> list[str]:
    """The first files that are no maps; a folder may hold thousands."""
    more = [f"and {len(problems) - _MAX_EXAMPLES:,} more, all in run.json"] if len(problems) > _MAX_EXAMPLES else []
    return [*(f"not scored: {problem}" for problem in problems[:_MAX_EXAMPLES]), *more]
