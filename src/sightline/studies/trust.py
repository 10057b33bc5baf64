"""Trust study: dependence of maps on what a network learned, repeatability, reproducibility and utility.

After Arun et al. 2021, 10.1148/ryai.2021200267, and Adebayo et al. 2018, arXiv:1810.03292.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Case, Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.faithfulness import score_faithfulness
from sightline.evaluation.randomization import compare_models, randomize_cascade
from sightline.evaluation.robustness import score_robustness
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.sanity_check import SCHEMA, SanityCheck, write_similarity
from sightline.evaluation.score_table import ScoreTable
from sightline.evaluation.thresholds import resolve_protocols
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import TargetOutput
from sightline.methods.explain import require_methods
from sightline.methods.inference import ExplainOptions, sample_background
from sightline.models import with_random_weights
from sightline.models.weight_randomization import LayerBlock, RandomizationOrder, find_blocks, split_by_layer
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import recorded_options
from sightline.runs.run import Run
from sightline.stats.comparison import compare
from sightline.stats.faithfulness import summarize_faithfulness
from sightline.stats.sanity_checks import similarity_levels, verdicts
from sightline.stats.trainings import estimates_over_trainings, similarity_over_trainings
from sightline.stats.utility import AVERAGE_MASK, compare_with_prior
from sightline.stats.verdicts import parse_smallest_effects
from sightline.studies.common import (
    PUBLISHED_METHODS,
    UNTRAINED,
    StudyContext,
    note_signed_channels,
    start_study,
)
from sightline.studies.trust_models import TrustModels, TrustModelSpecs, train_on_phantom

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
    methods: tuple[str, ...] = (),
    randomization_orders: tuple[RandomizationOrder, ...] = ("top-down",),
    layerwise: bool = False,
    repeats: int = 1,
    noise_copies: int = 0,
    explain_predicted_class: bool = False,
    max_radiographs: int = 100,
    findings: str = "",
    smallest_effects: tuple[str, ...] = (),
    protocol: ProtocolChoice = "both",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/trust"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare maps with those of randomized and retrained models, and score them beside controls and localizers.

    Parameters
    ----------
    data
        Data set with annotations, as NAME:PATH?option=value; by default the phantom, which is synthetic.
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
        Networks trained on annotations (unet, retinanet), as the ceiling; the first is compared with the others.
    methods
        Saliency methods, as NAME?option=value; the controls edges and noise show what the tests can detect. By default
        Grad-CAM, three methods of gradients, and the controls; with `--model` and `--protocol published` the eight of
        Arun et al. with the options of their code.
    randomization_orders
        Order of weight randomization: top-down (from the logits to the image), bottom-up, independent (one block at a
        time).
    layerwise
        Randomize layer by layer instead of block by block.
    repeats
        Number of weight randomizations, each with another seed.
    noise_copies
        During weight randomization, compare means of maps over this many noisy copies; 0 compares maps of the
        radiograph itself.
    explain_predicted_class
        During weight randomization, explain under `published` the class that each network predicts, finding present or
        absent, as the published code does; costs up to twice as much. Otherwise, and under `corrected`, the finding.
    max_radiographs
        Largest number of radiographs compared.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    smallest_effects
        Smallest differences that count, as MEASURE=VALUE: a verdict is shown or shown absent only if its whole interval
        lies beyond them; by default those of `sightline.stats.verdicts`.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    target_output
        Output that is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    explain_batch
        Images per batch of explanations; no result depends on it.
    device
        Device of the models: cpu or cuda.

    Returns
    -------
    Run
        The run with its tables.

    Raises
    ------
    SightlineError
        For an option that is not allowed, data that cannot be read, or a folder that holds another run.
    """
    options = recorded_options(locals())
    specs = TrustModelSpecs(model, replicates, other_architectures, shuffled_labels, localizers)
    protocols = resolve_protocols(protocol)
    effects = parse_smallest_effects(smallest_effects)
    methods = methods or (PUBLISHED_METHODS if model and protocol == "published" else METHODS)
    require_methods(methods)
    opened = open_dataset(data)
    with start_study("trust", opened, protocols, options | {"methods": methods}, out) as run:
        models = _open_models(run, opened, specs, seed, device)
        explain_options = ExplainOptions(
            models.model_set.findings(opened, findings), target_output, seed, explain_batch
        )
        study = StudyContext(run, opened, protocols, models, explain_options)
        notes = note_signed_channels(models.classifiers, methods, protocols)
        fields: dict[str, Any] = {"published_notes": notes, "smallest_effects": effects}
        study.record_models(models.model_set.models, methods, evaluated_model=models.model.name, **fields)
        _explain(study, methods)
        controls = ControlMaps(opened, ("average-mask", "center"), seed)
        maps = CombinedMaps((run, controls, ReaderMaps(opened)))
        scores = study.score(maps, METRICS)
        cases = _sample_cases(study, max_radiographs)
        background = sample_background(opened, models.model, methods, seed)
        check = SanityCheck(
            run,
            models.model,
            methods,
            cases,
            protocols,
            replace(explain_options, background=background),
            noise_copies,
            explain_predicted_class,
        )
        blocks = (split_by_layer if layerwise else find_blocks)(models.model)
        _run_sanity_checks(check, models, blocks, randomization_orders, repeats)
        _run_perturbations(check, models, controls)
        _summarize(study, scores, effects)
        _write_trainings(study, scores)
        return run.update_info(sources=list(maps.sources), randomization_stages=[block.title for block in blocks])


def _open_models(run: Run, data: Dataset, specs: TrustModelSpecs, seed: int, device: str) -> TrustModels:
    """Open the networks, or train them on the phantom."""
    if specs.model:
        models = TrustModels.from_specs(specs, seed)
    elif is_synthetic(data.spec):
        models = train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError(
            "no model is named: give --model CHECKPOINT, and --replicates and --other-architectures to compare it with"
        )
    models.model_set.to_device(device)
    return models.validate(data)


def _explain(study: StudyContext[TrustModels], methods: Sequence[str]) -> None:
    """Store the maps of the methods on every classifier, of the localizers, and of the untrained model."""
    models = study.models
    untrained = with_random_weights(models.model, study.seed)  # first: weights that cannot be drawn anew are refused
    for number, model in enumerate(models.classifiers):
        study.explain(model, methods, seed=study.seed + number)
    for model in models.localizers:
        study.explain(model, ("intrinsic",), prefix=Source("localizer", model.name, ""), seed=0)
    study.explain(untrained, methods, prefix=Source("control", UNTRAINED, ""))


def _sample_cases(study: StudyContext[TrustModels], max_radiographs: int) -> tuple[Case, ...]:
    """Draw positive cases; `DataError` if the data set labels none."""
    cases = tuple(sample_positive_cases(study.data, study.findings, max_radiographs, study.seed))
    if not cases:
        raise DataError(
            f"{study.data.spec!r} labels none of {', '.join(study.findings)} as present; nothing can be compared"
        )
    return cases


def _run_sanity_checks(
    check: SanityCheck,
    models: TrustModels,
    blocks: Sequence[LayerBlock],
    orders: Sequence[RandomizationOrder],
    repeats: int,
) -> None:
    """Write the table map_similarity."""
    tasks = [randomize_cascade(check, blocks, orders, repeats), compare_models(check, models.comparisons)]
    if models.localizers:
        ceiling = replace(check, model=models.localizers[0], methods=("intrinsic",), kind="localizer")
        tasks.append(compare_models(ceiling, models.localizer_comparisons))
    write_similarity(check.run, *tasks)


def _run_perturbations(check: SanityCheck, models: TrustModels, controls: Maps) -> None:
    """Write the tables faithfulness and robustness."""
    sources = {f"{models.model.name}/{method}": method for method in check.methods} | {AVERAGE_MASK: AVERAGE_MASK}
    sources |= {source: source for m in models.localizers for source in [str(Source("localizer", m.name, "intrinsic"))]}
    score_faithfulness(check.run, controls, models.model, sources, check.cases, check.options.seed)
    score_robustness(check.run, models.model, check.methods, check.cases, check.options)


def _summarize(study: StudyContext[TrustModels], scores: ScoreTable, effects: Mapping[str, float]) -> None:
    """Write the tables similarity_levels, perturbation_summary and verdicts."""
    run = study.run
    similarity = run.table("map_similarity", SCHEMA.names)
    run.write_table("similarity_levels", similarity_levels(similarity))
    faithfulness, robustness = run.table("faithfulness"), run.table("robustness")
    run.write_table("perturbation_summary", summarize_faithfulness(faithfulness, robustness, effects))
    name, protocols = study.models.model.name, study.protocols
    gains = compare_with_prior(scores.scores(), run.table("differences"), name, protocols, effects)
    run.write_table("verdicts", pd.concat([verdicts(similarity, effects), gains], ignore_index=True))


def _write_trainings(study: StudyContext[TrustModels], scores: ScoreTable) -> None:
    """Write the tables of the model and its replicates as one network, with intervals over patients and trainings."""
    names = [model.name for model in (study.models.model, *study.models.replicates)]
    if len(names) < 2:
        return
    rows = scores.scores()
    trainings = {f"{names[0]} ({len(names)} trainings)": names}
    sources = [s for s in dict.fromkeys(rows["source"]) if Source.parse(s).model in names or s == AVERAGE_MASK]
    tables = {
        "estimates_over_trainings": estimates_over_trainings(rows, trainings, study.protocols),
        "comparisons_over_trainings": compare(rows, study.protocols, sources=sources, trainings=trainings),
        "similarity_over_trainings": similarity_over_trainings(study.run.table("map_similarity", SCHEMA.names)),
    }
    for name, table in tables.items():
        study.run.write_table(name, table)
