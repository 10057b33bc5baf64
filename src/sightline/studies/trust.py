"""May a saliency method be trusted on a model: does it depend on what was learned, come back, and beat a prior?

After Arun et al. 2021, 10.1148/ryai.2021200267, and Adebayo et al. 2018, arXiv:1810.03292.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.faithfulness import score_faithfulness
from sightline.evaluation.randomization import compare_models, randomize_cascade
from sightline.evaluation.robustness import score_robustness
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.sanity_check import SCHEMA, SanityCheck, write_similarity
from sightline.evaluation.score_run import score_run
from sightline.evaluation.thresholds import resolve_protocols
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import TargetOutput
from sightline.methods.explain import explain, require_methods
from sightline.methods.inference import ExplainOptions, sample_background
from sightline.models import with_random_weights
from sightline.models.warnings import warn_about_models
from sightline.models.weight_randomization import LayerBlock, RandomizationOrder, find_blocks, split_by_layer
from sightline.protocol import Protocol
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.faithfulness import summarize_faithfulness
from sightline.stats.sanity_checks import similarity_levels, verdicts
from sightline.stats.utility import AVERAGE_MASK, compare_with_prior
from sightline.studies import trust_models as teams
from sightline.studies.localization import UNTRAINED, describe_methods, describe_model, move_to_device
from sightline.studies.trust_models import TrustModels

PHANTOM_DATA = "phantom:80?split=test&size=192"
METHODS = ("grad-cam", "gradient", "integrated-gradients?nodes=8", "guided-backprop", "edges", "noise")
METRICS = ("average-precision", "pr-area", "iou", "pointing-game")


def trust(
    *,
    data: str = PHANTOM_DATA,
    model: str = "",
    replicates: tuple[str, ...] = (),
    other_architectures: tuple[str, ...] = (),
    shuffled_labels: tuple[str, ...] = (),
    localizers: tuple[str, ...] = (),
    methods: tuple[str, ...] = METHODS,
    randomization_orders: tuple[RandomizationOrder, ...] = ("top-down",),
    layerwise: bool = False,
    repeats: int = 1,
    noise_copies: int = 0,
    explain_predicted_class: bool = False,
    max_radiographs: int = 100,
    findings: str = "",
    protocol: str = "both",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/trust"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Randomize a model block by block, train it again, and see what becomes of its maps; score them beside a prior.

    Parameters
    ----------
    data
        Data set with marks, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoint, or a model as NAME?option=value (`sightline list models`); on the phantom, all networks are trained
        if none is named.
    replicates
        Checkpoints of the same architecture trained with other seeds: are maps repeatable?
    other_architectures
        Checkpoints of other architectures: are maps reproducible?
    shuffled_labels
        Checkpoints trained on shuffled labels (`train classifier --shuffle-labels`): their maps should differ.
    localizers
        Networks trained on marks (unet, retinanet), as the ceiling; the first is compared with the others.
    methods
        Saliency methods, as NAME?option=value; the controls edges and noise show what the tests can detect.
    randomization_orders
        Order of weight randomization: top-down (from the logits to the image), bottom-up, independent (one block at a
        time).
    layerwise
        Randomize layer by layer instead of block by block.
    repeats
        How often the weights are randomized, each time with another seed.
    noise_copies
        During weight randomization, compare means of maps over this many noisy copies; 0 compares maps of the
        radiograph itself.
    explain_predicted_class
        During weight randomization, explain under `published` the class that each network prefers, finding present or
        absent, as the published code does; costs up to twice as much. Otherwise, and under `corrected`, the finding.
    max_radiographs
        Radiographs compared, at most.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    target_output
        What is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    explain_batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    """
    named = {
        "model": model,
        "replicates": replicates,
        "other_architectures": other_architectures,
        "shuffled_labels": shuffled_labels,
        "localizers": localizers,
    }
    records = resolve_protocols(protocol, "", 0.0, "", "")
    require_methods(methods)
    opened = open_dataset(data)
    options = {
        "data": data,
        **named,
        "methods": methods,
        "randomization_orders": randomization_orders,
        "layerwise": layerwise,
        "repeats": repeats,
        "noise_copies": noise_copies,
        "explain_predicted_class": explain_predicted_class,
        "max_radiographs": max_radiographs,
        "findings": findings,
        "protocol": protocol,
        "target_output": target_output,
        "seed": seed,
    }
    run = Run.start(out, "trust", options)
    with run.lock():
        run = record_inputs(run, opened, records, title="Trust")
        team = _open_models(run, opened, named, seed, device)
        run = run.update_info(notes=warn_about_models(team.all_models))
        wanted = team.shared_findings(opened, findings)
        facts = check_model_weights(run, [describe_model(m) for m in team.all_models])
        run = run.update_info(
            models=facts, evaluated_model=team.model.name, methods=describe_methods(methods), findings=wanted
        )
        run = _explain(run, opened, team, methods, wanted, target_output, explain_batch, seed)
        controls = ControlMaps(opened, ("average-mask", "center"), seed)
        held = CombinedMaps((run, controls, ReaderMaps(opened)))
        score_run(run, held, opened, metrics=METRICS, protocols=records, findings=wanted, seed=seed)
        some = tuple(sample_positive_cases(opened, wanted, max_radiographs, seed))
        if not some:
            raise DataError(f"{opened.spec!r} labels none of {', '.join(wanted)} as present; nothing can be compared")
        asked = ExplainOptions(
            wanted, target_output, seed, explain_batch, sample_background(opened, team.model, methods, seed)
        )
        comparison = SanityCheck(
            run, team.model, methods, some, tuple(records), asked, noise_copies, explain_predicted_class
        )
        drawn = (split_by_layer if layerwise else find_blocks)(team.model)
        _run_sanity_checks(comparison, team, drawn, randomization_orders, repeats)
        _run_perturbations(comparison, team, controls)
        _summarize(run, team, records, seed)
        return run.update_info(sources=list(held.sources), randomization_stages=[b.title for b in drawn])


def _explain(
    run: Run,
    data: Dataset,
    team: TrustModels,
    methods: tuple[str, ...],
    wanted: tuple[str, ...],
    of: TargetOutput,
    batch: int,
    seed: int,
) -> Run:
    """Maps of every network: by the methods, of localizers their own, and of the model untrained."""
    for number, m in enumerate(team.classifiers):
        run = explain(
            data, m, methods, findings=wanted, out=run, target_output=of, batch_size=batch, seed=seed + number
        )
    for m in team.localizers:
        prefix = str(Source("localizer", m.name, ""))
        run = explain(
            data, m, ("intrinsic",), findings=wanted, out=run, target_output=of, batch_size=batch, source_prefix=prefix
        )
    control = str(Source("control", UNTRAINED, ""))
    return explain(
        data,
        with_random_weights(team.model, seed),
        methods,
        findings=wanted,
        out=run,
        target_output=of,
        batch_size=batch,
        seed=seed,
        source_prefix=control,
    )


def _run_sanity_checks(
    c: SanityCheck, team: TrustModels, drawn: Sequence[LayerBlock], orders: Sequence[RandomizationOrder], draws: int
) -> None:
    """Write the table map_similarity."""
    tasks = [randomize_cascade(c, drawn, orders, draws), compare_models(c, team.comparisons)]
    if team.localizers:
        ceiling = replace(c, model=team.localizers[0], methods=("intrinsic",), kind="localizer")
        tasks.append(compare_models(ceiling, team.localizer_comparisons))
    write_similarity(c.run, *tasks)


def _run_perturbations(c: SanityCheck, team: TrustModels, controls: Maps) -> None:
    """Write the tables faithfulness and robustness."""
    sources = {f"{team.model.name}/{m}": m for m in c.methods} | {AVERAGE_MASK: AVERAGE_MASK}
    sources |= {source: source for m in team.localizers for source in [str(Source("localizer", m.name, "intrinsic"))]}
    score_faithfulness(c.run, controls, team.model, sources, c.cases, c.options.seed)
    score_robustness(c.run, team.model, c.methods, c.cases, c.options)


def _open_models(run: Run, data: Dataset, named: Mapping[str, Any], seed: int, device: str) -> TrustModels:
    """Open the networks, or train them on the phantom."""
    if named["model"]:
        team = teams.from_specs(**named, seed=seed)
    elif is_synthetic(data.spec):
        team = teams.train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError(
            "no model is named: give --model CHECKPOINT, and --replicates and --other-architectures to compare it with"
        )
    for m in team.all_models:
        move_to_device(m, device)
    return team.validate(data)


def _summarize(run: Run, team: TrustModels, protocols: Sequence[Protocol], seed: int) -> None:
    """Write the tables similarity_levels and verdicts, from similarity and scores."""
    similarity = run.table("map_similarity", SCHEMA.names)
    run.write_table("similarity_levels", similarity_levels(similarity, seed))
    run.write_table(
        "perturbation_summary", summarize_faithfulness(run.table("faithfulness"), run.table("robustness"), seed)
    )
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    gained = compare_with_prior(scores, run.table("differences"), team.model.name, protocols)
    run.write_table("verdicts", pd.concat([verdicts(similarity, seed), gained], ignore_index=True))
