"""The command `compare`: runs on the same data, all their maps against each other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sightline.errors import DataError, RunError
from sightline.evaluation.comparison import write_comparisons
from sightline.evaluation.run_comparison import (
    ScoredRun,
    combine_tables,
    find_shared_options,
    model_names,
    name_sources,
    open_scored_runs,
    require_same_data,
)
from sightline.evaluation.score_run import summarize
from sightline.evaluation.score_table import ScoreTable
from sightline.metrics.registry import resolve_metric_aliases
from sightline.runs.provenance import package_versions, recorded_options
from sightline.runs.run import Run

_LOG = logging.getLogger(__name__)


def compare_runs(
    runs: tuple[str, ...],
    *,
    metrics: tuple[str, ...] = (),
    out: Path = Path("runs/compare"),
    seed: int = 0,
) -> Run:
    """Compare the maps of runs on the same data: all pairs of models and methods, paired, and their ranks.

    Parameters
    ----------
    runs
        Folders of runs that were scored on the same radiographs and annotations, as FOLDER or NAME=FOLDER. Sources that
        differ between runs get the name of their run in front, by default that of its folder.
    metrics
        Metrics by which the maps are compared; by default all that the runs share.
    out
        Run folder.
    seed
        Seed of the bootstrap resamples.

    Returns
    -------
    Run
        The run with its tables.

    Raises
    ------
    SightlineError
        If the data of the runs differ, if they share no protocol, metric or finding, or if there is nothing to compare.
    """
    options = recorded_options(locals())
    scored = open_scored_runs(runs)
    shared = find_shared_options(scored)
    require_same_data(scored)
    chosen = resolve_metric_aliases(metrics) or shared.metrics
    if unknown := [name for name in chosen if name not in shared.metrics]:
        raise DataError(f"not all runs have {', '.join(unknown)}; all have {', '.join(shared.metrics)}")
    names = name_sources(scored, shared)
    tables = combine_tables(scored, shared, names)
    models = [model for part in scored for model in _rename_models(part, names[part.label])]
    described = {part.label: _describe(part, names[part.label]) for part in scored}
    run = Run.start(out, "compare", options)
    with run.lock():
        _refuse_changes(run, described)
        for note in shared.notes:
            _LOG.info(note)
        run.update_info(
            title=f"Comparison of {' and '.join(described)}",
            dataset=scored[0].run.info["dataset"],
            protocols={p.name: scored[0].run.info["protocols"][p.name] for p in shared.protocols},
            findings=shared.findings,
            models=models,
            methods={k: v for part in scored for k, v in part.run.info.get("methods", {}).items()},
            versions=package_versions(),
            notes=list(shared.notes),
            runs=described,
        )
        for name, table in tables.items():
            run.write_table(name, table)
        scores = ScoreTable(run)
        summarize(scores, chosen, shared.protocols, seed)
        write_comparisons(scores, shared.protocols, chosen, seed, models)
        if not run.has_table("comparisons"):
            raise DataError("the runs have maps of one source, the same in all; there is no pair to compare")
        return run.update_info(sources=scores.sources)


def _rename_models(part: ScoredRun, names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the descriptions of the models of a run under their names in the comparison."""
    renamed = model_names(names)
    models = part.run.info.get("models", ())
    return [{**model, "name": renamed[model["name"]]} for model in models if model["name"] in renamed]


def _describe(part: ScoredRun, names: dict[str, str]) -> dict[str, Any]:
    """Describe a run for the run.json of the comparison."""
    info = part.run.info
    fields = {key: info.get(key) for key in ("study", "created", "versions")}
    return {"path": str(part.run.path), **fields, "scores": part.fingerprint(), "sources": names}


def _refuse_changes(run: Run, described: dict[str, dict[str, Any]]) -> None:
    """Refuse to continue a comparison of runs that were scored again since."""
    for label, before in run.info.get("runs", {}).items():
        if described.get(label, {}).get("scores") != before["scores"]:
            raise RunError(f"{run.path} compared other scores of {label}; give --out another folder")
