"""Self-explaining study: maps of a trainable saliency head compared with post-hoc maps and with detectors.

A reconstruction: of Aggarwal et al. 2020, arXiv:2011.07482, only the abstract is public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sightline._util.rng import IMAGE_SUBSET, key_digest
from sightline.core import Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.faithfulness import score_faithfulness
from sightline.evaluation.froc_candidates import write_candidates
from sightline.evaluation.randomization import compare_models, randomize_cascade
from sightline.evaluation.robustness import score_robustness
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.sanity_check import SCHEMA, SanityCheck, write_similarity
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.evaluation.score_table import ScoreTable
from sightline.evaluation.thresholds import resolve_protocols
from sightline.evaluation.timing import write_timings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import TargetOutput
from sightline.methods.explain import explain, require_methods
from sightline.methods.inference import ExplainOptions
from sightline.models import Model
from sightline.models.map_collapse import MIN_IMAGES, collapse_reason, join_reasons
from sightline.models.weight_randomization import find_blocks
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import recorded_options
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.faithfulness import summarize_faithfulness
from sightline.stats.froc import froc
from sightline.stats.label_budget import SALIENCY_HEAD, label_budget_curves
from sightline.stats.model_comparison import discrimination
from sightline.stats.noninferiority import MARGIN, noninferiority
from sightline.stats.sanity_checks import similarity_levels, verdicts
from sightline.stats.utility import AVERAGE_MASK, compare_with_prior
from sightline.stats.verdicts import parse_smallest_effects
from sightline.studies.common import PUBLISHED_METHODS, StudyContext, note_signed_channels, start_study
from sightline.studies.selfexplain_models import (
    SelfExplainModels,
    SelfExplainModelSpecs,
    SupervisedModel,
    train_on_phantom,
)
from sightline.studies.selfexplain_ratings import write_ratings

PHANTOM_DATA = "phantom:1200?split=test&size=192"
PHANTOM_FINDINGS = "Cardiomegaly, Consolidation, Lung Lesion, Pleural Effusion, Pneumothorax"
"""Findings explained on the phantom: large and small, central and at the border. Its networks learn all ten."""
METHODS = (
    "grad-cam",
    "gradient",
    "smoothgrad-squared",
    "integrated-gradients?nodes=10",
    "smooth-ig?squared=true",
    "guided-backprop",
    "guided-grad-cam",
    "xrai",
)
"""The eight of Arun et al. 2021."""
PHANTOM_METHODS = (
    "grad-cam",
    "gradient",
    "smoothgrad-squared?samples=3",
    "integrated-gradients?nodes=4",
    "smooth-ig?samples=2&nodes=3&squared=true",
    "guided-backprop",
    "guided-grad-cam",
    "xrai?nodes=2",
)
"""The same methods with fewer samples, for the phantom."""
METRICS = ("average-precision", "pr-area", "iou", "dice", "pointing-game", "relevance-mass")
INTRINSIC, GRAD_CAM = "intrinsic", "grad-cam"
BUDGET = "budget/"
"""Prefix of a network's name in the sources of the label budget."""


def selfexplain(
    *,
    data: str = PHANTOM_DATA,
    model: str = "",
    baseline: str = "",
    replicates: tuple[str, ...] = (),
    other_architectures: tuple[str, ...] = (),
    localizers: tuple[str, ...] = (),
    mask_supervised: tuple[str, ...] = (),
    detectors: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    margin: float = MARGIN,
    max_radiographs: int = 50,
    rating_cases: int = 40,
    perturbation_images: int = 30,
    findings: str = "",
    smallest_effects: tuple[str, ...] = (),
    protocol: ProtocolChoice = "corrected",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/selfexplain"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare a network with a saliency head with its baseline, with post-hoc maps of both, and with detectors.

    Parameters
    ----------
    data
        Data set with annotations, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoint of a network with a saliency head, trained on labels: `train classifier --model
        'selfexplaining:ARCH?kind=gate'`; on the phantom, all networks are trained if none is named.
    baseline
        Checkpoint of the same network without saliency head, trained in the same way.
    replicates
        Checkpoints of `--model` trained with other seeds: are its maps repeatable?
    other_architectures
        Checkpoints of saliency heads on other architectures: are its maps reproducible?
    localizers
        Networks trained on annotations: retinanet, unet, or a saliency head
        ('selfexplaining:ARCH?supervision=masks').
    mask_supervised
        Saliency heads trained on annotations of N radiographs, as N=CHECKPOINT. 0=CHECKPOINT was trained for as long
        without annotations; by default it is `--model`.
    detectors
        Detectors trained on annotations of N radiographs, as N=CHECKPOINT.
    methods
        Post-hoc saliency methods, as NAME?option=value; by default the eight of Arun et al., with the options of their
        code where a model is named and the protocol is published.
    margin
        Noninferiority margin in AUROC: the network is noninferior if the interval of the difference lies above minus
        this.
    max_radiographs
        Largest number of radiographs explained; accuracy is that of all of them.
    rating_cases
        Largest number of cases on the blinded sheets for readers.
    perturbation_images
        Largest number of radiographs for the tests that randomize weights or occlude parts of the image.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    smallest_effects
        Smallest differences that count, as MEASURE=VALUE; by default those of `sightline.stats.verdicts`.
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
    specs = SelfExplainModelSpecs(
        model, baseline, replicates, other_architectures, localizers, mask_supervised, detectors
    )
    protocols = resolve_protocols(protocol)
    if not methods:
        methods = (PUBLISHED_METHODS if protocol == "published" else METHODS) if model else PHANTOM_METHODS
    require_methods(methods)
    effects = parse_smallest_effects(smallest_effects)
    _check_limits(margin, max_radiographs, rating_cases, perturbation_images)
    opened = open_dataset(data)
    with start_study("selfexplain", opened, protocols, options | {"methods": methods}, out) as run:
        models = _open_models(run, opened, specs, seed, device)
        names = findings if findings or model else PHANTOM_FINDINGS
        scored_findings = models.model_set.findings(opened, names, without="No Finding")
        explain_options = ExplainOptions(scored_findings, target_output, seed, explain_batch)
        study = StudyContext(run, opened, protocols, models, explain_options)
        notes = note_signed_channels((models.self_explaining, models.baseline), methods, protocols)
        study.record_models(models.recorded_models, (*methods, INTRINSIC), models.supervised, published_notes=notes)
        _predict(study, margin)
        part = _sample_radiographs(opened, max_radiographs, seed)
        _explain(study, part, methods)
        controls = ControlMaps(opened, ("average-mask", "center"), seed)
        maps = CombinedMaps((run, controls, ReaderMaps(part)))
        scores = study.score(maps, METRICS, part)
        _write_froc(study, maps, part)
        _write_label_budget(study, part)
        cases = tuple(sample_positive_cases(part, study.findings, perturbation_images, seed))
        check = SanityCheck(run, models.self_explaining, (INTRINSIC, GRAD_CAM), cases, protocols, explain_options)
        _run_sanity_checks(study, check, part, controls)
        _summarize(study, scores, methods, effects)
        _write_ratings(study, scores, rating_cases)
        write_timings(run, (models.baseline, models.self_explaining), models.localizers, methods, study.findings)
        return run.update_info(
            sources=list(maps.sources),
            smallest_effects=effects,
            self_explaining_model=models.self_explaining.name,
            baseline_model=models.baseline.name,
            explained=len(part.radiographs),
            collapsed=_find_collapsed_maps(study, part),
            randomization_stages=[block.title for block in find_blocks(models.self_explaining)],
        )


def _check_limits(margin: float, max_radiographs: int, rating_cases: int, perturbation_images: int) -> None:
    """Check numbers before any work is done."""
    if not 0 < margin < 0.5 or min(max_radiographs, rating_cases, perturbation_images) < 1:
        raise DataError(
            f"margin={margin}, max_radiographs={max_radiographs}, rating_cases={rating_cases}, "
            f"perturbation_images={perturbation_images}; allowed: a margin above 0 below 0.5, the others from 1"
        )


def _sample_radiographs(data: Dataset, count: int, seed: int) -> Dataset:
    """Draw radiographs by id, in the order of the data set; `DataError` if none of them has an annotation."""
    order = sorted((r.id for r in data.radiographs), key=lambda name: key_digest(seed, IMAGE_SUBSET, name))
    ids = set(order[:count])
    part = replace(data, radiographs=tuple(r for r in data.radiographs if r.id in ids))
    if not any(data.annotation(r.id, f, data.reference_reader) for r in part.radiographs for f in data.findings):
        raise DataError(
            f"none of {len(ids)} radiographs of {data.spec!r} has an annotation; give a larger --max-radiographs"
        )
    return part


def _open_models(run: Run, data: Dataset, specs: SelfExplainModelSpecs, seed: int, device: str) -> SelfExplainModels:
    """Open the networks, or train them on the phantom."""
    if specs.model:
        models = SelfExplainModels.from_specs(specs, seed)
    elif is_synthetic(data.spec):
        models = train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError(
            "no model is named: give --model CHECKPOINT, and --baseline, the same backbone without saliency head"
        )
    models.model_set.to_device(device)
    return models.validate(data)


def _find_collapsed_maps(study: StudyContext[SelfExplainModels], data: Dataset) -> dict[str, str]:
    """Return the networks whose own maps are the same for all images that show a finding -> the reason."""
    run, collapsed = study.run, dict[str, str]()
    names = {model.name for model in study.models.model_set}
    for maps in (run, *([Run.open(run.path / "budget")] if study.models.mask_supervised else [])):
        for source, findings in maps.sources.items():
            parsed = Source.parse(source)
            name = parsed.model.removeprefix(BUDGET)
            if parsed.method != INTRINSIC or name not in names:  # some have another name in the label budget
                continue
            stored = {finding: _read_intrinsic_maps(maps, data, source, finding) for finding in findings}
            reason = join_reasons(
                {finding: collapse_reason(values) for finding, values in stored.items() if len(values)}
            )
            collapsed |= {name: reason} if reason else {}
    return collapsed


def _read_intrinsic_maps(run: Run, data: Dataset, source: str, finding: str) -> Tensor:
    """Return stored maps (N, h, w) of the radiographs that show a finding, or of all if fewer than two do."""
    positive = [r for r in data.radiographs if r.labels.get(finding) == 1]
    radiographs = positive if len(positive) >= MIN_IMAGES else data.radiographs
    maps = (run.map(source, r.id, finding) for r in radiographs)
    values = [m.values for m in maps if m is not None and m.status in ("ok", "flat")]
    return torch.from_numpy(np.stack(values)) if values else torch.empty(0)


def _predict(study: StudyContext[SelfExplainModels], margin: float) -> None:
    """Write the tables predictions, classification, discrimination and noninferiority, for every seed."""
    run, models = study.run, study.models
    table = study.predict((*models.compared_models, *models.replicates)).drop(columns="radiograph")
    run.write_table("classification", estimate_auroc(table))
    run.write_table("discrimination", discrimination(table))
    pairs = [(model.name, models.baseline.name) for model in (models.self_explaining, *models.replicates)]
    run.write_table("noninferiority", noninferiority(table, pairs, margin))
    study.write_auroc_over_trainings(table, models.trainings)


def _explain(study: StudyContext[SelfExplainModels], part: Dataset, methods: Sequence[str]) -> None:
    """Store post-hoc maps of the network with and without saliency head, and every network's own maps."""
    study.explain(study.models.self_explaining, (INTRINSIC, *methods), data=part)
    study.explain(study.models.baseline, methods, data=part)
    for model in study.models.localizers:
        _explain_intrinsic(study, study.run, model, part, str(Source("localizer", model.name, "")))


def _explain_intrinsic(
    study: StudyContext[SelfExplainModels], run: Run, model: Model, part: Dataset, prefix: str
) -> None:
    """Store a network's own maps; they depend neither on the output that is explained nor on a seed."""
    batch_size = study.options.batch_size
    explain(part, model, (INTRINSIC,), findings=study.findings, out=run, batch_size=batch_size, source_prefix=prefix)


def _write_froc(study: StudyContext[SelfExplainModels], maps: Maps, part: Dataset) -> None:
    """Write the tables froc_candidates and froc."""
    sources = [source for source in maps.sources if Source.parse(source).kind != "reader"]
    write_candidates(study.run, maps, part, sources, study.findings)
    study.run.write_table("froc", froc(study.run.table("froc_candidates")))


def _write_label_budget(study: StudyContext[SelfExplainModels], part: Dataset) -> None:
    """Write the table label_budget, of average precision by annotated radiographs, in a folder of its own."""
    models, seed = study.models, study.seed
    if not models.mask_supervised:
        return
    run = Run.start(study.run.path / "budget", "budget", {"seed": seed})
    unannotated = [m for m in models.mask_supervised if not m.n_annotated and m.role == SALIENCY_HEAD] or [
        SupervisedModel(SALIENCY_HEAD, 0, models.self_explaining)
    ]
    budgets = (*unannotated, *(m for m in models.mask_supervised if m.n_annotated))
    by_name = {f"{BUDGET}{m.role}-{m.n_annotated}": m for m in budgets}
    for name, supervised in by_name.items():
        _explain_intrinsic(study, run, supervised.model, part, name)
    options = ScoringOptions(study.protocols[-1:], study.findings, METRICS[:1], seed)
    scores = score_run(run, run, part, options).scores()
    supervised_by_row = [by_name[Source.parse(source).model] for source in scores["source"]]
    scores = scores.assign(
        role=[m.role for m in supervised_by_row], n_annotated=[m.n_annotated for m in supervised_by_row]
    )
    curve, crossing = label_budget_curves(scores)
    study.run.write_table("label_budget", curve)
    crossing_fields = {name: None if value != value else value for name, value in crossing.items()}
    lengths = {f"{m.role}-{m.n_annotated}": m.training_length for m in models.mask_supervised if m.training_length}
    study.run.update_info(crossing=crossing_fields, training_lengths=lengths)


def _run_sanity_checks(
    study: StudyContext[SelfExplainModels], check: SanityCheck, part: Dataset, controls: Maps
) -> None:
    """Write the tables map_similarity, faithfulness and robustness, of the network's own map and its Grad-CAM."""
    models = study.models
    radiographs = {case.radiograph.id: case.radiograph for case in check.cases}
    compared = replace(part, radiographs=tuple(radiographs.values()))
    findings = tuple(dict.fromkeys(case.finding for case in check.cases))
    for model in (*models.replicates, *models.other_architectures):
        study.explain(model, check.methods, data=compared, findings=findings, seed=0)
    cascade = randomize_cascade(check, find_blocks(models.self_explaining), ("top-down",))
    write_similarity(check.run, cascade, compare_models(check, models.comparisons))
    name = models.self_explaining.name
    sources = {f"{name}/{method}": method for method in check.methods} | {AVERAGE_MASK: AVERAGE_MASK}
    score_faithfulness(check.run, controls, models.self_explaining, sources, check.cases, check.options.seed)
    score_robustness(check.run, models.self_explaining, check.methods, check.cases, check.options)


def _summarize(
    study: StudyContext[SelfExplainModels], scores: ScoreTable, methods: Sequence[str], effects: Mapping[str, float]
) -> None:
    """Write the tables similarity_levels, perturbation_summary and verdicts, and differences from every other map."""
    run, models = study.run, study.models
    similarity = run.table("map_similarity", SCHEMA.names)
    run.write_table("similarity_levels", similarity_levels(similarity))
    faithfulness, robustness = run.table("faithfulness"), run.table("robustness")
    run.write_table("perturbation_summary", summarize_faithfulness(faithfulness, robustness, effects))
    intrinsic = f"{models.self_explaining.name}/{INTRINSIC}"
    posthoc = [f"{model.name}/{method}" for model in (models.self_explaining, models.baseline) for method in methods]
    resamples = max(1000, 50 * len(posthoc))  # with fewer, no p could be below 0.05 after correction for so many
    study.add_differences(scores, lambda names: [(intrinsic, s) for s in posthoc if s in names], resamples)
    differences = run.table("differences")
    gains = compare_with_prior(scores.scores(), differences, models.self_explaining.name, study.protocols, effects)
    compared = [
        method
        for method in gains["method"].unique()
        if method in (INTRINSIC, GRAD_CAM) or Source.parse(method).kind == "localizer"
    ]
    gains = gains[gains["method"].isin(compared)]
    run.write_table("verdicts", pd.concat([verdicts(similarity, effects), gains], ignore_index=True))


def _write_ratings(study: StudyContext[SelfExplainModels], scores: ScoreTable, max_cases: int) -> None:
    """Write sheets for readers, and the ratings of simulated ones."""
    models = study.models
    sources = [
        f"{models.self_explaining.name}/{INTRINSIC}",
        f"{models.self_explaining.name}/{GRAD_CAM}",
        f"{models.baseline.name}/{GRAD_CAM}",
        *(str(Source("localizer", model.name, INTRINSIC)) for model in models.localizers[:1]),
    ]
    available = [source for source in sources if source in study.run.sources]
    rows = scores.scores()
    rows = rows[rows["protocol"] == study.protocols[-1].name]
    write_ratings(study.run, rows, available, max_cases, study.seed)
