"""The commands that are not studies. Each is a function whose signature is its options."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.analyses import analyze
from sightline.benchmark import Answering, Controls, Readers, Together
from sightline.core import Dataset, UnknownNameError
from sightline.data import dataset, datasets
from sightline.data.check import Problem, check, summary
from sightline.data.write import write
from sightline.evaluate import METRICS, evaluate
from sightline.legacy import check_legacy, write_legacy
from sightline.mapfiles import maps_in
from sightline.metrics import marks_metric
from sightline.metrics import metrics as metric_registry
from sightline.record import describe
from sightline.registry import Registry
from sightline.report import report
from sightline.report.words import counted
from sightline.scope import findings_to_score, told
from sightline.showing import show
from sightline.store import Run
from sightline.studies import STUDIES
from sightline.tuning import chosen, tuned_on

CONTROLS = ("center", "noise", "edges", "average-mask")
KINDS = ("datasets", "models", "methods", "metrics", "studies")
_FIRST = 5


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
    smooth: float = 0.0,
    thresholds: str = "",
    cutoffs: str = "",
    full: bool = True,
    legacy_csv: Path | None = None,
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
    smooth
        Side of a box filter before Otsu's threshold: a share of the height if below 1, else pixels; 0 for none.
    thresholds
        Thresholds per finding, tuned on other data: a run folder, or a CSV with columns threshold and task.
    cutoffs
        Probability cutoffs per finding, for the results on all images: a run folder, or a CSV with columns
        prob_threshold and task.
    full
        Include images without marks, for the results on all images.
    legacy_csv
        Folder for files as the public CheXlocalize scripts write them, one folder per source (published protocol).
    seed
        Seed of noise and bootstrap resamples.
    """
    records = chosen(protocol, binarizer, smooth, thresholds, cutoffs)
    check_legacy(legacy_csv, records, metrics, full)
    for name in metrics:
        marks_metric(name)
    opened = dataset(data)
    folder = maps_in(maps, opened)
    wanted = findings_to_score(folder, findings)
    for line in (*_not_used(folder.problems), *told(folder, wanted)):
        print(line, file=sys.stderr)
    options = {
        "maps": str(maps), "data": data, "metrics": metrics, "controls": controls, "findings": findings,
        "protocol": protocol, "binarizer": binarizer, "smooth": smooth, "thresholds": thresholds, "cutoffs": cutoffs,
        "full": full, "seed": seed,
    }  # fmt: skip
    run = Run.start(out, "score", options)
    with run.lock():
        run = describe(
            run, opened, records, maps=folder, title=f"Maps made elsewhere: {maps.resolve().name}",
            problems=folder.problems, findings=wanted, tuned=tuned_on(opened, thresholds, cutoffs),
        )  # fmt: skip
        blind = Controls(replace(opened, findings=wanted), controls, seed)
        held = Together((Answering(folder, wanted), blind, Readers(opened, wanted)))
        evaluate(run, held, opened, names=metrics, chosen=records, findings=wanted, seed=seed, full=full)
        analyze(run, records, seed=seed)
        if legacy_csv is not None:
            write_legacy(run, folder, opened, legacy_csv, records, seed)
    return run


def _not_used(problems: Sequence[str]) -> list[str]:
    """The first files that are no maps; a folder may hold thousands."""
    more = [f"and {len(problems) - _FIRST:,} more, all in run.json"] if len(problems) > _FIRST else []
    return [*(f"not scored: {problem}" for problem in problems[:_FIRST]), *more]


def finish(run: Run) -> None:
    """What every command that ends in a run does last: write its report and print what it found."""
    with run.lock():
        report(run)
    show(run.path)


def write_report(run: Path) -> None:
    """Write RUN/report.html and RUN/figures again from the run's tables and maps.

    Parameters
    ----------
    run
        Run folder.
    """
    opened = Run.open(run)
    with opened.lock():
        print(report(opened))


def list_names(kind: str = "") -> None:
    """Everything that can be named, with one line on each.

    Parameters
    ----------
    kind
        What to list: datasets, models, methods, metrics or studies; all by default.

    Errors: `UnknownNameError` for any other kind.
    """
    if kind not in ("", *KINDS):
        raise UnknownNameError(f"nothing of the kind {kind!r} can be listed; allowed: {', '.join(KINDS)}")
    console = Console()
    for name in (kind,) if kind else KINDS:
        lines = _lines(name)
        if lines is None:
            console.print(f"[bold]{name}[/]: need torch; pip install 'sightline\\[torch]'")
            continue
        table = Table("name", "what", title=name, title_justify="left", show_edge=False, box=None)
        for entry, line in lines.items():
            table.add_row(entry, escape(line))
        console.print(table)
        console.print()


def _lines(kind: str) -> Mapping[str, str] | None:
    """Name -> one line on it; None where torch, which is not installed, is needed to know."""
    if kind == "studies":
        return STUDIES
    homes: dict[str, Registry[Any]] = {"datasets": datasets, "metrics": metric_registry}
    registry = homes.get(kind) or _torch_registry(kind)
    if registry is None:
        return None
    return {entry.name: getattr(entry.facts, "title", "") or entry.summary for entry in registry.values()}


def _torch_registry(name: str) -> Registry[Any] | None:
    if importlib.util.find_spec("torch") is None:
        return None
    home = {"models": "sightline.models.zoo", "methods": "sightline.methods"}[name]
    found: Registry[Any] = getattr(importlib.import_module(home), name)
    return found


def write_data(spec: str, *, format: str, out: Path) -> None:
    """Write a data set, for example the phantom, in a published layout.

    Parameters
    ----------
    spec
        Data set to write, as NAME:PATH?option=value, for example phantom:200.
    format
        Layout: chexpert, chexlocalize, rsna, siim, egd, reflacx, mimic or folder.
    out
        New or empty folder.
    """
    print(write(dataset(spec), format, out))


def check_data(spec: str, *, images: bool = True) -> int:
    """Look for what would spoil a study: unreadable images, masks of another size, patients in two splits, duplicates.

    Parameters
    ----------
    spec
        Data set to check, as NAME:PATH?option=value.
    images
        Open every image, too.

    Returns 1 if anything was found that is an error.
    """
    opened = dataset(spec)
    problems = check(opened, read_images=images)
    console = Console()
    for line in (*_grouped(problems), _summary(opened, problems)):
        console.print(escape(line), soft_wrap=True)
    return int(any(problem.severity == "error" for problem in problems))


def _grouped(problems: Sequence[Problem]) -> Iterator[str]:
    """Every kind of problem, errors first: how often, the first few with where they are, and what to do."""
    for (severity, kind), count in summary(problems).items():
        yield f"{severity}: {kind}" + (f", {count:,} times" if count > 1 else "")
        some = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        for p in some[:_FIRST]:
            where = ", ".join(filter(None, (p.radiograph, p.finding)))
            yield f"    {where}: {p.what}" if where else f"    {p.what}"
        if count > _FIRST:
            yield f"    and {count - _FIRST:,} more"
        yield f"    what to do: {' or: '.join(dict.fromkeys(p.remedy for p in some))}"


def _summary(data: Dataset, problems: Sequence[Problem]) -> str:
    patients = len({r.patient for r in data.radiographs})
    severities = [problem.severity for problem in problems]
    counts = [counted(n, word) for word in ("error", "warning", "note") if (n := severities.count(word))]
    return (
        f"{counted(len(data.radiographs), 'radiograph')} of {counted(patients, 'patient')}, "
        f"{counted(len(data.findings), 'finding')}, readers: {', '.join(data.readers) or 'none'}; "
        f"{', '.join(counts) or 'no problem'}"
    )
