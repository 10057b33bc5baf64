"""Is a trainable element in the network a better explanation than post-hoc maps, and how close to a detector?

A reconstruction: of Aggarwal et al. 2020, arXiv:2011.07482, only the abstract is public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sightline._util.rng import IMAGE_SUBSET, key_digest
from sightline.core import Dataset, Maps, Source
from sightline.data import open_dataset
from sightline.data.reader_study.rating_sheets import (
    RATING_CASES_FILE,
    SIMULATED_PREFIX,
    RatingCase,
    sample_rating_cases,
    simulate_ratings,
    write_rating_cases,
)
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.faithfulness import score_faithfulness
from sightline.evaluation.froc_candidates import write_candidates
from sightline.evaluation.randomization import compare_models, randomize_cascade
from sightline.evaluation.robustness import score_robustness
from sightline.evaluation.sampling import sample_positive_cases
from sightline.evaluation.sanity_check import SCHEMA, SanityCheck, write_similarity
from sightline.evaluation.score_run import score_run
from sightline.evaluation.thresholds import resolve_protocols
from sightline.evaluation.timing import write_timings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods import TargetOutput
from sightline.methods.explain import explain, require_methods
from sightline.methods.inference import ExplainOptions
from sightline.methods.predictions import predict
from sightline.models import warnings
from sightline.models.map_collapse import MIN_IMAGES, collapse_reason, join_reasons
from sightline.models.weight_randomization import find_blocks
from sightline.protocol import Protocol
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.estimates import paired_differences
from sightline.stats.faithfulness import summarize_faithfulness
from sightline.stats.froc import froc
from sightline.stats.label_budget import SALIENCY_HEAD, label_budget_curves
from sightline.stats.model_comparison import discrimination
from sightline.stats.noninferiority import MARGIN, noninferiority
from sightline.stats.ratings import contrasts, mean_ratings, rater_agreement
from sightline.stats.sanity_checks import similarity_levels, verdicts
from sightline.stats.utility import AVERAGE_MASK, compare_with_prior
from sightline.studies import selfexplain_models
from sightline.studies.localization import describe_methods, describe_model, move_to_device
from sightline.studies.selfexplain_models import SelfExplainModels, SupervisedModel

PHANTOM_DATA = "phantom:1200?split=test&size=192"
PHANTOM_FINDINGS = "Cardiomegaly, Consolidation, Lung Lesion, Pleural Effusion, Pneumothorax"
"""Explained on the phantom: large and small, central and at the border. Its networks learn all ten."""
METHODS = (
    "grad-cam",
    "gradient",
    "smoothgrad-squared",
    "integrated-gradients?nodes=10",
    "smooth-ig",
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
    "smooth-ig?samples=2&nodes=3",
    "guided-backprop",
    "guided-grad-cam",
    "xrai?nodes=2",
)
"""The same, as the phantom's few minutes allow them."""
METRICS = ("average-precision", "pr-area", "iou", "dice", "pointing-game", "relevance-mass")
INTRINSIC, GRAD_CAM = "intrinsic", "grad-cam"
BUDGET = "budget/"
"""Prefix of a network's name in the sources of the label budget."""
SIMULATED_READERS = (f"{SIMULATED_PREFIX} 1", f"{SIMULATED_PREFIX} 2")


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
    protocol: str = "corrected",
    target_output: TargetOutput = "logit",
    out: Path = Path("runs/selfexplain"),
    seed: int = 0,
    explain_batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare a network that shows where with the same without, with post-hoc maps of both, and with detectors.

    Parameters
    ----------
    data
        Data set with marks, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoint of a network with the self-explaining element, trained on labels: `train classifier --model
        'selfexplaining:ARCH?kind=gate'`; on the phantom, all networks are trained if none is named.
    baseline
        Checkpoint of the same network without the element, trained alike.
    replicates
        Checkpoints of `--model` trained with other seeds: are its maps repeatable?
    other_architectures
        Checkpoints of the element in other architectures: are its maps reproducible?
    localizers
        Networks trained on marks: retinanet, unet, or the element itself ('selfexplaining:ARCH?supervision=masks').
    mask_supervised
        Elements trained with marks on N radiographs, as N=CHECKPOINT. 0=CHECKPOINT had as long a training without
        marks; by default it is `--model`.
    detectors
        Detectors trained with marks on N radiographs, as N=CHECKPOINT.
    methods
        Post-hoc saliency methods, as NAME?option=value; by default the eight of Arun et al.
    margin
        Noninferiority margin in AUROC: the element is no worse if the interval of the difference lies above minus this.
    max_radiographs
        Radiographs explained, at most; accuracy is that of all of them.
    rating_cases
        Cases on the blinded sheets for readers, at most.
    perturbation_images
        Radiographs for the tests that randomize weights or erase parts of the image, at most.
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
    records = resolve_protocols(protocol, "", 0.0, "", "")
    methods = methods or (METHODS if model else PHANTOM_METHODS)
    require_methods(methods)
    if not 0 < margin < 0.5 or min(max_radiographs, rating_cases, perturbation_images) < 1:
        given = f"margin={margin}, images={max_radiographs}, sheets={rating_cases}, tried_on={perturbation_images}"
        raise DataError(f"{given}; allowed: a margin above 0 below 0.5, the others from 1")
    opened = open_dataset(data)
    named = {
        "model": model,
        "baseline": baseline,
        "replicates": replicates,
        "other_architectures": other_architectures,
        "localizers": localizers,
        "mask_supervised": mask_supervised,
        "detectors": detectors,
    }
    options = {
        "data": data,
        **named,
        "methods": methods,
        "margin": margin,
        "max_radiographs": max_radiographs,
        "rating_cases": rating_cases,
        "perturbation_images": perturbation_images,
        "findings": findings,
        "protocol": protocol,
        "target_output": target_output,
        "seed": seed,
    }
    run = Run.start(out, "selfexplain", options)
    with run.lock():
        run = record_inputs(run, opened, records, title="Self-explaining models")
        team = _open_models(run, opened, named, seed, device)
        wanted = team.shared_findings(opened, findings if findings or model else PHANTOM_FINDINGS)
        run = run.update_info(notes=warnings.warn_about_models(team.all_models))
        facts = check_model_weights(
            run, [describe_model(m) for m in (*team.compared_models, *team.replicates, *team.other_architectures)]
        )
        run = run.update_info(models=facts, methods=describe_methods((*methods, INTRINSIC)), findings=wanted)
        _predict(run, opened, team, wanted, margin, seed)
        part = _sample_radiographs(opened, max_radiographs, seed)
        run = _explain(run, part, team, methods, wanted, target_output, explain_batch, seed)
        controls = ControlMaps(opened, ("average-mask", "center"), seed)
        held = CombinedMaps((run, controls, ReaderMaps(part)))
        score_run(run, held, part, metrics=METRICS, protocols=records, findings=wanted, seed=seed)
        _write_froc(run, held, part, wanted, seed)
        run = _write_label_budget(run, part, team, wanted, records, explain_batch, seed)
        some = tuple(sample_positive_cases(part, wanted, perturbation_images, seed))
        asked = ExplainOptions(wanted, target_output, seed, explain_batch)
        _run_sanity_checks(
            SanityCheck(run, team.self_explaining, (INTRINSIC, GRAD_CAM), some, tuple(records), asked),
            part,
            team,
            controls,
        )
        _summarize(run, team, methods, records, seed)
        _write_ratings(run, team, records, rating_cases, seed)
        write_timings(run, (team.baseline, team.self_explaining), team.localizers, methods, wanted)
        shown = {
            "sources": list(held.sources),
            "self_explaining_model": team.self_explaining.name,
            "explained": len(part.radiographs),
        }
        shown["collapsed"] = _find_collapsed_maps(run, part, team)
        return run.update_info(**shown, randomization_stages=[b.title for b in find_blocks(team.self_explaining)])


def _sample_radiographs(data: Dataset, images: int, seed: int) -> Dataset:
    """At most so many radiographs, drawn by id, in the order of the data set. Errors: `DataError` without a mark."""
    ids = set(sorted((r.id for r in data.radiographs), key=lambda name: key_digest(seed, IMAGE_SUBSET, name))[:images])
    part = replace(data, radiographs=tuple(r for r in data.radiographs if r.id in ids))
    if not any(data.annotation(r.id, f, data.reference_reader) for r in part.radiographs for f in data.findings):
        raise DataError(f"none of {len(ids)} radiographs of {data.spec!r} has a mark; give more --max-radiographs")
    return part


def _open_models(run: Run, data: Dataset, named: Mapping[str, Any], seed: int, device: str) -> SelfExplainModels:
    """Open the networks, or train them on the phantom."""
    if named["model"]:
        team = selfexplain_models.from_specs(**named, seed=seed)
    elif is_synthetic(data.spec):
        team = selfexplain_models.train_on_phantom(run.path / "training", seed, device)
    else:
        raise DataError(
            "no model is named: give --model CHECKPOINT, and --baseline, the same backbone without the element"
        )
    for m in team.all_models:
        move_to_device(m, device)
    return team.validate(data)


def _find_collapsed_maps(run: Run, data: Dataset, team: SelfExplainModels) -> dict[str, str]:
    """Network -> which of its own maps in this run say nothing of where, and why, whoever trained it.

    Judged by the films that show the finding, or all where fewer than two do.
    """
    found, known = dict[str, str](), {m.name for m in team.all_models}
    for one in (run, *([Run.open(run.path / "budget")] if team.mask_supervised else [])):
        for source, findings in one.sources.items():
            parsed = Source.parse(source)
            name = parsed.model.removeprefix(BUDGET)
            if parsed.method == INTRINSIC and name in known:  # in the budget some have another name, too
                why = join_reasons(
                    {
                        f: collapse_reason(maps)
                        for f in findings
                        if len(maps := _read_intrinsic_maps(one, data, source, f))
                    }
                )
                found |= {name: why} if why else {}
    return found


def _read_intrinsic_maps(run: Run, data: Dataset, source: str, finding: str) -> Tensor:
    """Stored maps (N, h, w) of the films that show a finding, or of all where fewer than two do."""
    showing = [r for r in data.radiographs if r.labels.get(finding) == 1]
    some = showing if len(showing) >= MIN_IMAGES else data.radiographs
    maps = (run.map(source, r.id, finding) for r in some)
    values = [m.values for m in maps if m is not None and m.status in ("ok", "flat")]
    return torch.from_numpy(np.stack(values)) if values else torch.empty(0)


def _predict(run: Run, data: Dataset, team: SelfExplainModels, wanted: Sequence[str], margin: float, seed: int) -> None:
    """The tables predictions, classification, discrimination and noninferiority, of the element by every seed."""
    predict(run, data, (*team.compared_models, *team.replicates), wanted)
    table = run.table("predictions").drop(columns="radiograph")
    run.write_table("classification", estimate_auroc(table, seed=seed))
    run.write_table("discrimination", discrimination(table, seed))
    pairs = [(m.name, team.baseline.name) for m in (team.self_explaining, *team.replicates)]
    run.write_table("noninferiority", noninferiority(table, pairs, margin, seed))


def _explain(
    run: Run,
    data: Dataset,
    team: SelfExplainModels,
    methods: tuple[str, ...],
    wanted: tuple[str, ...],
    of: TargetOutput,
    batch: int,
    seed: int,
) -> Run:
    """Post-hoc maps of the backbone with and without the element, and every network's own."""
    run = explain(
        data,
        team.self_explaining,
        (INTRINSIC, *methods),
        findings=wanted,
        out=run,
        target_output=of,
        batch_size=batch,
        seed=seed,
    )
    run = explain(data, team.baseline, methods, findings=wanted, out=run, target_output=of, batch_size=batch, seed=seed)
    for m in team.localizers:
        prefix = str(Source("localizer", m.name, ""))
        run = explain(data, m, (INTRINSIC,), findings=wanted, out=run, batch_size=batch, source_prefix=prefix)
    return run


def _write_froc(run: Run, held: Maps, data: Dataset, wanted: Sequence[str], seed: int) -> None:
    """Write the tables froc_candidates and froc."""
    write_candidates(run, held, data, [s for s in held.sources if Source.parse(s).kind != "reader"], wanted)
    run.write_table("froc", froc(run.table("froc_candidates"), seed))


def _write_label_budget(
    run: Run,
    data: Dataset,
    team: SelfExplainModels,
    wanted: tuple[str, ...],
    records: Sequence[Protocol],
    batch: int,
    seed: int,
) -> Run:
    """Write the table label_budget, of average precision by marked films, and where curves cross, in its own folder."""
    if not team.mask_supervised:
        return run
    part = Run.start(run.path / "budget", "budget", {"seed": seed})
    without = [t for t in team.mask_supervised if not t.n_annotated and t.role == SALIENCY_HEAD] or [
        SupervisedModel(SALIENCY_HEAD, 0, team.self_explaining)
    ]
    everyone = (*without, *(t for t in team.mask_supervised if t.n_annotated))
    names = {f"{BUDGET}{t.role}-{t.n_annotated}": t for t in everyone}
    for name, one in names.items():
        part = explain(data, one.model, (INTRINSIC,), findings=wanted, out=part, batch_size=batch, source_prefix=name)
    score_run(part, part, data, metrics=METRICS[:1], protocols=records[-1:], findings=wanted, seed=seed)
    scores = part.table("scores", ["source", "radiograph", "patient", "finding", "value"])
    who = scores["source"].map(lambda source: names[Source.parse(source).model])
    scores = scores.assign(role=[t.role for t in who], n_annotated=[t.n_annotated for t in who])
    curve, crossing = label_budget_curves(scores, seed)
    run.write_table("label_budget", curve)
    clean = {k: None if v != v else v for k, v in crossing.items()}
    lengths = {f"{t.role}-{t.n_annotated}": t.training_length for t in team.mask_supervised if t.training_length}
    return run.update_info(crossing=clean, training_lengths=lengths)


def _run_sanity_checks(c: SanityCheck, data: Dataset, team: SelfExplainModels, controls: Maps) -> None:
    """Write the tables map_similarity, faithfulness and robustness, of the element's own map and its Grad-CAM."""
    radiographs = {x.radiograph.id: x.radiograph for x in c.cases}
    data = replace(data, radiographs=tuple(radiographs.values()))
    findings = tuple(dict.fromkeys(x.finding for x in c.cases))
    for m in (*team.replicates, *team.other_architectures):
        explain(
            data,
            m,
            c.methods,
            findings=findings,
            out=c.run,
            target_output=c.options.target_output,
            batch_size=c.options.batch_size,
        )
    write_similarity(
        c.run,
        randomize_cascade(c, find_blocks(team.self_explaining), ("top-down",)),
        compare_models(c, team.comparisons),
    )
    sources = {f"{team.self_explaining.name}/{m}": m for m in c.methods} | {AVERAGE_MASK: AVERAGE_MASK}
    score_faithfulness(c.run, controls, team.self_explaining, sources, c.cases, c.options.seed)
    score_robustness(c.run, team.self_explaining, c.methods, c.cases, c.options)


def _summarize(
    run: Run, team: SelfExplainModels, methods: Sequence[str], records: Sequence[Protocol], seed: int
) -> None:
    """Write the tables similarity_levels, perturbation_summary and verdicts, and differences from every other map."""
    similarity = run.table("map_similarity", SCHEMA.names)
    run.write_table("similarity_levels", similarity_levels(similarity, seed))
    run.write_table(
        "perturbation_summary", summarize_faithfulness(run.table("faithfulness"), run.table("robustness"), seed)
    )
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    own = f"{team.self_explaining.name}/{INTRINSIC}"
    posthoc = [f"{m.name}/{k}" for m in (team.self_explaining, team.baseline) for k in methods]
    resamples = max(1000, 50 * len(posthoc))  # or no p could be below 0.05 once it is corrected for so many
    between = paired_differences(
        scores, lambda there: [(own, s) for s in posthoc if s in there], records, resamples, seed
    )
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    gained = compare_with_prior(scores, run.table("differences"), team.self_explaining.name, records)
    shown = [m for m in gained["method"].unique() if m in (INTRINSIC, GRAD_CAM) or Source.parse(m).kind == "localizer"]
    gained = gained[gained["method"].isin(shown)]
    run.write_table("verdicts", pd.concat([verdicts(similarity, seed), gained], ignore_index=True))


def _write_ratings(run: Run, team: SelfExplainModels, records: Sequence[Protocol], most: int, seed: int) -> None:
    """The sheets for readers, and the tables ratings, ratings_means, ratings_contrasts and ratings_agreement.

    Those are of simulated readers, who rate by what the scores say.
    """
    sources = [
        f"{team.self_explaining.name}/{INTRINSIC}",
        f"{team.self_explaining.name}/{GRAD_CAM}",
        f"{team.baseline.name}/{GRAD_CAM}",
    ]
    sources += [str(Source("localizer", m.name, INTRINSIC)) for m in team.localizers[:1]]
    sources = [s for s in sources if s in run.sources]
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    scores = scores[scores["protocol"] == records[-1].name]
    values = scores.set_index(["metric", "source", "radiograph", "finding"])["value"].to_dict()
    marked = scores[scores["source"] == sources[0]].drop_duplicates(["radiograph", "finding"])
    some = list(zip(marked["radiograph"], marked["patient"], marked["finding"], strict=True))
    drawn = sample_rating_cases(some, sources, SIMULATED_READERS, max_cases=most, seed=seed)
    write_rating_cases(run.path / RATING_CASES_FILE, drawn)

    def quality(source: str, sheet: RatingCase) -> dict[str, float]:
        at = (source, sheet.radiograph, sheet.finding)
        location = (values["pointing-game", *at] + values["relevance-mass", *at]) / 2
        return {"location": location, "extent": values["dice", *at], "usefulness": values["average-precision", *at]}

    ratings = simulate_ratings(drawn, quality, seed=seed)
    run.write_table("ratings", ratings)
    run.write_table("ratings_means", mean_ratings(ratings, seed))
    run.write_table("ratings_contrasts", contrasts(ratings, seed))
    run.write_table("ratings_agreement", rater_agreement(ratings, seed))
