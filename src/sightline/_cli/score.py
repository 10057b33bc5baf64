"""The command `score`: maps that another tool computed, scored on one set of findings for every source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from sightline.core import Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.patients import require_disjoint_patients
from sightline.errors import DataError
from sightline.evaluation.analysis import analyze
from sightline.evaluation.chexlocalize_csv import (
    check_chexlocalize_options,
    chexlocalize_folders,
    write_chexlocalize_csv,
)
from sightline.evaluation.comparison import main_metrics, write_comparisons
from sightline.evaluation.prior import open_prior, prior_source
from sightline.evaluation.score_rows import METRICS, ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.scoring import require_annotations
from sightline.evaluation.selection import SELECTION_FOLDER, is_run, read_selection
from sightline.evaluation.thresholds import resolve_protocols, threshold_provenance
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps, WithFindings
from sightline.maps.folder import MapFolder, open_maps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.metrics.registry import require_annotation_metric, resolve_metric_aliases
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import record_inputs, recorded_options
from sightline.runs.run import Run

Control = Literal["center", "noise", "edges", "average-mask"]
CONTROLS: tuple[Control, ...] = ("center", "noise", "edges", "average-mask")
_MAX_PROBLEMS = 3
"""Files that are no maps, named in an error."""
_MAX_UNUSED = 5
"""Files that are no maps, named before scoring."""


def score_maps(
    maps: Path,
    *,
    data: str,
    out: Path = Path("runs/score"),
    metrics: tuple[str, ...] = METRICS,
    controls: tuple[Control, ...] = CONTROLS,
    findings: str = "",
    protocol: ProtocolChoice = "corrected",
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: str = "",
    probability_cutoffs: str = "",
    include_unannotated: bool = True,
    chexlocalize_csv: Path | None = None,
    chexlocalize_csv_flat: bool = False,
    select_on: str = "",
    prior: str = "",
    seed: int = 0,
) -> Run:
    """Score maps that another tool computed, with controls and the data set's readers, and write a report.

    Parameters
    ----------
    maps
        Folder (or file) of maps: CheXlocalize pickles, NPZ, Zarr, PNG, NIfTI or DICOM.
    data
        Data set with annotations, as NAME:PATH?option=value, for example chexlocalize:/data/CheXlocalize.
    out
        Run folder; the same command continues it.
    metrics
        Metrics; `sightline list metrics` names them.
    controls
        Maps that no model computed, scored for comparison: center, noise, edges, average-mask.
    findings
        Findings, comma-separated, each of which counts even without a map; by default those that any map is of.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    binarizer
        Rule that turns maps into masks, instead of the protocol's own: otsu, above:T or top:FRACTION.
    smooth_window
        Side of a box filter before Otsu's threshold: a share of the height if below 1, else pixels; 0 for none.
    map_thresholds
        Thresholds of maps per finding, tuned on other data: a run folder, or a CSV with columns threshold and task.
    probability_cutoffs
        Probability cutoffs per finding, for the results on all images: a run folder, or a CSV with columns
        prob_threshold and task.
    include_unannotated
        Include images without annotations, for the results on all images.
    chexlocalize_csv
        Folder for files as the public CheXlocalize scripts write them, one folder per source (published protocol).
    chexlocalize_csv_flat
        Write the files of a single source into that folder itself.
    select_on
        Validation data on which the best source of each kind is chosen, so that the data are used once, to test it: a
        run folder in which the same sources were scored, or a data set whose maps are in the same folder. Without it,
        the best is chosen on the data themselves, and the intervals of the report hold for all sources of a kind
        together.
    prior
        Training data whose annotations, averaged for each finding, are one more control; its patients must be others.
        The control average-mask averages those of the other patients of the data instead.
    seed
        Seed of noise and bootstrap resamples.

    Returns
    -------
    Run
        The run with its tables.

    Raises
    ------
    SightlineError
        For an option that is not allowed, data or maps that cannot be read, or a folder that holds another run.
    """
    options = recorded_options(locals())
    protocols = resolve_protocols(protocol, binarizer, smooth_window, map_thresholds, probability_cutoffs)
    check_chexlocalize_options(chexlocalize_csv, protocols, metrics, include_unannotated)
    metrics = resolve_metric_aliases(metrics)
    for name in metrics:
        require_annotation_metric(name)
    opened = open_dataset(data)
    folder = open_maps(maps, opened)
    scored = select_scored_findings(folder, findings)
    for line in (*_list_unused_files(folder.problems), *describe_scored_findings(folder, scored)):
        print(line, file=sys.stderr)
    csv_folders = (
        chexlocalize_folders(chexlocalize_csv, list(folder.sources), flat=chexlocalize_csv_flat)
        if chexlocalize_csv
        else {}
    )
    run = Run.start(out, "score", options)
    with run.lock():
        run = record_inputs(run, opened, protocols, maps=folder, title=f"Maps in {maps.resolve().name}")
        provenance = threshold_provenance(run, opened, map_thresholds, probability_cutoffs)
        run.update_info(problems=folder.problems, findings=scored, threshold_provenance=provenance)
        scoring = ScoringOptions(protocols, scored, metrics, seed, include_unannotated)
        names = (controls, prior)
        selection = _select(run, folder, select_on, names, scoring) if select_on else None
        all_maps = CombinedMaps((_maps_and_controls(folder, names, scoring), ReaderMaps(opened, scored)))
        scores = score_run(run, all_maps, opened, scoring)
        analyze(scores, opened, protocols, seed=seed, selection=selection)
        write_comparisons(scores, protocols, main_metrics(metrics), seed)
        if csv_folders:
            write_chexlocalize_csv(scores, folder, opened, csv_folders, protocols, seed)
    return run


ControlNames = tuple[tuple[Control, ...], str]
"""Controls, and the training data whose annotations are averaged as one more; empty for none."""


def _maps_and_controls(folder: MapFolder, names: ControlNames, scoring: ScoringOptions) -> CombinedMaps:
    """Return the maps of a folder and the controls of its data set, all of the findings that are scored."""
    controls, prior = names
    maps: list[Maps] = [WithFindings(folder, scoring.findings)]
    maps.append(ControlMaps(replace(folder.data, findings=scoring.findings), controls, scoring.seed))
    if prior:
        maps.append(open_prior(folder.data, open_dataset(prior), scoring.findings))
    return CombinedMaps(tuple(maps))


def _select(run: Run, folder: MapFolder, select_on: str, names: ControlNames, scoring: ScoringOptions) -> pd.DataFrame:
    """Write and return the scores of the same sources on other data, by which the best one is chosen."""
    controls, prior = names
    candidates = [*folder.sources, *(str(Source("control", "", name)) for name in controls)]
    candidates += [prior_source(prior)] if prior else []
    selection = Run.open(select_on) if is_run(select_on) else _score_selection(run, folder, select_on, names, scoring)
    table, origin = read_selection(selection, (run, folder.data), candidates, scoring)
    run.write_table("selection", table)
    run.update_info(selection=origin)
    return table


def _score_selection(run: Run, folder: MapFolder, spec: str, names: ControlNames, scoring: ScoringOptions) -> Run:
    """Score the maps of the selection data, in the same folder, in a run of their own below that of the command."""
    data = open_dataset(spec)
    require_disjoint_patients("the choice of the best source", spec, {r.patient for r in data.radiographs}, folder.data)
    others = open_maps(folder.path, data)
    select_scored_findings(others, ",".join(scoring.findings))
    nested = Run.start(run.path / SELECTION_FOLDER, "score", {**run.info["options"], "data": spec, "select_on": ""})
    with nested.lock():
        record_inputs(nested, data, scoring.protocols, maps=others, title=f"Maps in {folder.path.resolve().name}")
        nested.update_info(findings=scoring.findings)
        score_run(
            nested,
            _maps_and_controls(others, names, scoring),
            data,
            replace(scoring, include_unannotated=False),
        )
    return nested


def select_scored_findings(maps: MapFolder, findings: str = "") -> tuple[str, ...]:
    """Select the findings that every source of a folder, every control and every reader is scored on.

    Parameters
    ----------
    maps
        Folder of maps.
    findings
        Findings, comma-separated, each of which counts whether there are maps of it or not; by default those that any
        map is of.

    Returns
    -------
    tuple of str
        The findings.

    Raises
    ------
    DataError
        If no file of the folder is a map of the data set, if no map is of a finding that is named, or if nobody
        annotated any of the findings.
    UnknownNameError
        For a finding that the data set does not have.
    """
    data = maps.data
    require_annotations(data)
    named = select_findings(findings or None, data.findings)
    if not len(maps):
        raise DataError(_no_usable_map_message(maps))
    mapped = {finding for covered in maps.sources.values() for finding in covered}
    covered = tuple(finding for finding in data.findings if finding in mapped)
    if findings and not mapped & set(named):
        raise DataError(
            f"no map in {maps.path} is of {' or '.join(named) or 'any finding'}; it has maps of {', '.join(covered)}"
        )
    scored = named if findings else covered
    if not any(_is_annotated(data, finding) for finding in scored):
        raise DataError(_no_annotation_message(data, scored))
    return scored


def describe_scored_findings(maps: MapFolder, findings: Sequence[str]) -> list[str]:
    """Describe which findings are scored, and which of them lack maps or annotations.

    Parameters
    ----------
    maps
        Folder of maps.
    findings
        Findings that are scored.

    Returns
    -------
    list of str
        Sentences for the user.
    """
    mapped = {finding for covered in maps.sources.values() for finding in covered}
    others = len(maps.data.findings) - len(findings)
    lines = [
        f"findings scored: {', '.join(findings)}"
        + (f" ({others} other{'s are' if others > 1 else ' is'} not)" if others else "")
    ]
    for finding in findings:
        if not _is_annotated(maps.data, finding):
            lines.append(f"nobody annotated {finding} in {maps.data.spec}: it has no score")
        elif finding not in mapped:
            lines.append(f"no map is of {finding}: each of its annotations counts as a missing map, the worst score")
        else:
            without = [source for source, covered in maps.sources.items() if finding not in covered]
            if without:
                lines.append(
                    f"no map of {', '.join(without)} is of {finding}: each of its annotations counts as missing"
                )
    return lines


def _is_annotated(data: Dataset, finding: str) -> bool:
    return any(data.annotation(r.id, finding, data.reference_reader) is not None for r in data.radiographs)


def _no_usable_map_message(maps: MapFolder) -> str:
    data, count = maps.data, len(maps.problems)
    if not count:
        return f"{maps.path} holds no file; give a folder of maps named RADIOGRAPH_FINDING"
    example = f"{data.radiographs[0].id}_{data.findings[0]}.npz"
    files = f"none of the {count:,} files in" if count > 1 else "the only file in"
    problem = f"{files} {maps.path} is a map of {data.spec}; names must be RADIOGRAPH_FINDING, such as {example}"
    more = [f"and {count - _MAX_PROBLEMS:,} more"] if count > _MAX_PROBLEMS else []
    return "\n".join([f"{problem}:", *maps.problems[:_MAX_PROBLEMS], *more])


def _no_annotation_message(data: Dataset, findings: Sequence[str]) -> str:
    counts = {
        f: sum(data.annotation(r.id, f, data.reference_reader) is not None for r in data.radiographs)
        for f in data.findings
    }
    annotated = ", ".join(f"{finding} ({count:,})" for finding, count in counts.items() if count)
    return (
        f"{data.spec} has no annotation of {' or '.join(findings)} to score against; "
        f"it has annotations of: {annotated or 'nothing'}"
    )


def _list_unused_files(problems: Sequence[str]) -> list[str]:
    """Return lines on the first files that are no maps; a folder may hold thousands."""
    more = [f"and {len(problems) - _MAX_UNUSED:,} more, all in run.json"] if len(problems) > _MAX_UNUSED else []
    return [*(f"not scored: {problem}" for problem in problems[:_MAX_UNUSED]), *more]
