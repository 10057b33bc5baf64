"""Does it matter how a network began? Accuracy and maps after the same training on 1, 10 and 100 % of the labels.

After Zhang et al. 2020, arXiv:2010.00747 (ConVIRT): every beginning is trained alike before anything is compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sightline.core import Case, Dataset, Source
from sightline.data import open_dataset
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.narration.measure import (
    compare_with_reports,
    compare_with_text_maps,
    measure_maps,
    summarize_agreement,
    write_narrative,
)
from sightline.evaluation.score_run import score_run
from sightline.evaluation.thresholds import resolve_protocols
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods.explain import explain, require_methods
from sightline.methods.predictions import predict
from sightline.models import Model, open_model
from sightline.protocol import Protocol
from sightline.runs.provenance import check_model_weights, record_inputs
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.estimates import paired_differences
from sightline.stats.learning_curves import auroc_by_cell, initialization_gains, learning_curves, learning_modes
from sightline.studies.initializations import RANDOM_INIT, make_initializations, pretraining_folder
from sightline.studies.leakage import require_disjoint_patients, training_patients
from sightline.studies.localization import describe_methods, describe_model
from sightline.training.config import SamplingConfig, Trainable, TrainingConfig
from sightline.training.fit import fit

PHANTOM_TRAIN_DATA = "phantom:2000?start=100000&size=96"
PHANTOM_DATA = "phantom:1200?split=test&size=96"
DEFAULT_ARCH = "small?side=96"
METHODS = ("gradient", "grad-cam", "grad-cam++", "integrated-gradients?nodes=8")
IMAGE_TEXT_MODEL, IMAGE_TEXT_METHOD = "words", "image-text"
"""What the contrastive pair is called among sources, and its method."""
METRICS = ("iou", "pointing-game", "relevance-mass", "pr-area")
LearningMode = Literal["all", "head", "layers"]
"""Fine-tuning, linear evaluation, and fine-tuning with a lower learning rate the deeper a layer lies."""
LEARNING_MODES: tuple[LearningMode, ...] = ("all", "head", "layers")
PHANTOM_EPOCHS = {"all": {0.01: 20, 0.1: 12, 1.0: 8}, "head": {0.01: 12, 0.1: 8, 1.0: 4}}
"""Of the phantom's networks, by what learns and the share of the labels."""


@dataclass(frozen=True, slots=True)
class TrainingCell:
    """One training of the grid."""

    init: str
    learn: LearningMode
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.init}-{self.learn}-{self.fraction:g}-{self.seed}"


def pretraining(
    *,
    train_data: str = PHANTOM_TRAIN_DATA,
    data: str = PHANTOM_DATA,
    initializations: tuple[str, ...] = (),
    arch: str = DEFAULT_ARCH,
    learning_modes: tuple[LearningMode, ...] = ("all", "head"),
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0),
    repeats: int = 2,
    epochs: int = 0,
    train_batch: int = 32,
    lr: float = 3e-3,
    layer_decay: float = 0.6,
    head_only_steps: int = 30,
    patience: int = 0,
    methods: tuple[str, ...] = METHODS,
    image_text_model: str = "",
    max_radiographs: int = 50,
    findings: str = "",
    protocol: str = "corrected",
    out: Path = Path("runs/pretraining"),
    seed: int = 0,
    device: str = "cpu",
) -> Run:
    """Train each beginning on the same shares of the labels, compare accuracy, and see what becomes of the maps.

    Parameters
    ----------
    train_data
        Data set to train on, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    data
        Data set to test on, with other patients; all of it is used whatever the share of labels.
    initializations
        Initial weights, as NAME=CHECKPOINT, all of one architecture (convirt=runs/pre/best.pt imagenet=resnet50.pt);
        random weights are always added. On the phantom, pre-training on reports and on images if none is named.
    arch
        Architecture of every network, as NAME?option=value (`sightline list models`).
    learning_modes
        What learns: all (fine-tuning), head (linear evaluation), layers (fine-tuning with `--layer-decay`).
    fractions
        Shares of the training patients, nested and stratified by finding.
    repeats
        Trainings of each cell, with other seeds; labels and order of batches are alike for all initial weights.
    epochs
        Epochs of every training; 0 takes the phantom's own, or 10 on other data.
    train_batch
        Radiographs per training step; fewer where they would be more than a quarter of the training patients.
    lr
        Highest learning rate; it rises to it, then falls along a cosine.
    layer_decay
        For `--learning-modes layers`: learning rate of each block as a share of that of the next block toward the head.
    head_only_steps
        Steps at the start in which the head learns alone; at most half of all.
    patience
        Stop a training after this many validations without a better AUROC; 0 never stops early.
    methods
        Saliency methods, as NAME?option=value; they explain the fine-tuned networks of the first seed.
    image_text_model
        joint.pt of a contrastive pre-training on reports; its maps for a finding's name are compared with those of the
        classifiers. On the phantom, the study's own.
    max_radiographs
        Radiographs explained, at most.
    findings
        Findings, comma-separated; by default those that the two data sets share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    out
        Run folder; the same command continues it, cell by cell.
    seed
        Seed of random weights, shares of the labels and bootstrap resamples.
    device
        cpu or cuda.
    """
    records = resolve_protocols(protocol, "", 0.0, "", "")
    require_methods(methods)
    source, compared = open_dataset(train_data), open_dataset(data)
    wanted = _validate_grid(source, compared, findings, fractions, learning_modes, repeats)
    options = {
        "train_data": train_data,
        "data": data,
        "initializations": initializations,
        "arch": arch,
        "learning_modes": learning_modes,
        "fractions": fractions,
        "repeats": repeats,
        "epochs": epochs,
        "train_batch": train_batch,
        "lr": lr,
        "layer_decay": layer_decay,
        "head_only_steps": head_only_steps,
        "patience": patience,
        "methods": methods,
        "image_text_model": image_text_model,
        "max_radiographs": max_radiographs,
        "findings": findings,
        "protocol": protocol,
        "seed": seed,
    }
    recipe = TrainingConfig(
        batch_size=train_batch,
        lr=lr,
        augment=False,
        head_only_steps=head_only_steps,
        layer_decay=layer_decay,
        patience=patience,
    )
    run = Run.start(out, "pretraining", options)
    with run.lock():
        run = record_inputs(run, compared, records, title="Pre-training")
        starts = make_initializations(run, source, initializations, arch, wanted, seed, device)
        grid = [
            TrainingCell(init, how, fraction, seed + number)
            for number in range(repeats)
            for fraction in sorted(fractions)
            for how in learning_modes
            for init in starts
        ]
        made = {cell: _train_cell(run, source, starts[cell.init], cell, epochs, recipe, seed) for cell in grid}
        facts = check_model_weights(run, [describe_model(m) for m in made.values()])
        run = run.update_info(
            models=facts, methods=describe_methods(methods), findings=wanted, initializations=list(starts)
        )
        _predict(run, compared, made, wanted, seed)
        worded = _open_image_text_model(run, image_text_model, wanted, device)
        run = _explain(run, compared, made, worded, methods, wanted, max_radiographs, records, seed)
        return run


def _validate_grid(
    source: Dataset, compared: Dataset, findings: str, fractions: Sequence[float], learn: Sequence[str], seeds: int
) -> tuple[str, ...]:
    """The findings. Errors: `DataError` for a grid that cannot be, or patients in both data sets."""
    shares = bool(fractions) and min(fractions) > 0 and max(fractions) <= 1
    if not shares or seeds < 1 or not learn or not set(learn) <= set(LEARNING_MODES):
        raise DataError(
            f"fractions={fractions}, learn={tuple(learn)}, seeds={seeds}; allowed: above 0 up to 1, "
            f"{', '.join(LEARNING_MODES)}, from 1"
        )
    shared = tuple(f for f in source.findings if f in compared.findings and f != "No Finding")
    if not shared:
        raise DataError(f"{source.spec!r} and {compared.spec!r} share no finding")
    require_disjoint_patients("the networks", source.spec, training_patients(source), compared)
    return tuple(select_findings(findings or None, shared))


def _train_cell(
    run: Run, source: Dataset, begun: Model, cell: TrainingCell, epochs: int, recipe: TrainingConfig, seed: int
) -> Model:
    """A cell of the grid. The shares of the labels are those of the seed of the cell, whatever the beginning."""
    how: Trainable = "head" if cell.learn == "head" else "all"
    count = epochs or (PHANTOM_EPOCHS[how].get(cell.fraction, 10) if is_synthetic(source.spec) else 10)
    patients = len({r.patient for r in source.radiographs})
    recipe = replace(
        recipe,
        epochs=count,
        batch_size=min(recipe.batch_size, max(2, round(0.25 * cell.fraction * patients))),
        seed=cell.seed,
        trainable=how,
        layer_decay=recipe.layer_decay if cell.learn == "layers" else 1.0,
    )
    sample = SamplingConfig(fraction=cell.fraction, split_seed=seed + cell.seed, stratified=True)
    done = fit(
        begun,
        source,
        run.path / "training" / cell.name,
        recipe,
        sample,
        cache=run.path / "training" / "images",
        workers=os.cpu_count() or 1,
    )
    return replace(done, name=cell.name)


def _predict(run: Run, compared: Dataset, made: Mapping[TrainingCell, Model], wanted: Sequence[str], seed: int) -> None:
    """The tables predictions, classification, curves and gains."""
    predict(run, compared, list(made.values()), wanted)
    table = run.table("predictions")
    run.write_table("classification", estimate_auroc(table.drop(columns="radiograph"), seed=seed))
    by = {cell.name: cell for cell in made}
    told = pd.DataFrame([cell_columns(by[name]) for name in table["model"]], index=table.index)
    found = auroc_by_cell(table.join(told), seed=seed)
    run.write_table("learning_curves", learning_curves(found))
    run.write_table(
        "learning_curve_differences",
        pd.concat([initialization_gains(found, RANDOM_INIT), learning_modes(found, "all")], ignore_index=True),
    )


def cell_columns(cell: TrainingCell) -> dict[str, Any]:
    return {"initialization": cell.init, "learning_mode": cell.learn, "fraction": cell.fraction, "seed": cell.seed}


def _open_image_text_model(run: Run, words: str, wanted: tuple[str, ...], device: str) -> Model | None:
    """The contrastive pair that is asked in words; None without any."""
    own = pretraining_folder(run, "reports") / "joint.pt"
    path = words or (str(own) if own.is_file() else "")
    if not path:
        return None
    found = replace(open_model(f"contrastive:{path}", wanted), name=IMAGE_TEXT_MODEL)
    found.net.to(device)
    return found


def _explain(
    run: Run,
    compared: Dataset,
    made: Mapping[TrainingCell, Model],
    worded: Model | None,
    methods: Sequence[str],
    wanted: tuple[str, ...],
    images: int,
    records: Sequence[Protocol],
    seed: int,
) -> Run:
    """Maps of the fine-tuned networks of the first seed, scored beside marks: frontal films that show a finding."""
    shown = [cell for cell in made if cell.learn == "all" and cell.seed == seed] or list(made)[:1]
    frontal = [r for r in compared.radiographs if r.view != "lateral" and any(r.labels.get(f) == 1 for f in wanted)]
    part = replace(compared, radiographs=tuple(frontal[:images]))
    if not part.readers or not methods:
        return run
    for cell in shown:
        run = explain(part, made[cell], methods, findings=wanted, out=run, seed=seed)
    if worded is not None:
        run = explain(part, worded, [IMAGE_TEXT_METHOD], findings=wanted, out=run, seed=seed)
    held = CombinedMaps((run, ControlMaps(part, ("average-mask", "center"), seed), ReaderMaps(part)))
    score_run(run, held, part, metrics=METRICS, protocols=records, findings=wanted, seed=seed)
    names = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
    between = paired_differences(
        run.table("scores", names), lambda sources: _paired_sources(shown, sources), records, seed=seed
    )
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    _narrate(run, part, shown, methods, wanted, seed)
    return run.update_info(
        sources=list(held.sources), explained_models=[{"model": c.name, **cell_columns(c)} for c in shown]
    )


def _narrate(
    run: Run, part: Dataset, shown: Sequence[TrainingCell], methods: Sequence[str], wanted: tuple[str, ...], seed: int
) -> None:
    """Narrate the first method's maps of every beginning, as trained on the smallest share of the labels."""
    least = min(cell.fraction for cell in shown)
    sources = {f"{cell.name}/{methods[0]}": cell.init for cell in shown if cell.fraction == least}
    some = [Case(r, f) for r in part.radiographs for f in wanted if r.labels.get(f) == 1]
    table = measure_maps(run, part, sources, some)
    write_narrative(run, table, seed)
    run.write_table("report_agreement", summarize_agreement(compare_with_reports(table, part, some, seed), seed))
    if any(source == f"{IMAGE_TEXT_MODEL}/{IMAGE_TEXT_METHOD}" for source in run.sources):
        every = {
            f"{cell.name}/{method}": f"{cell.init}/{method}"
            for cell in shown
            if cell.fraction == least
            for method in methods
        }
        alike = compare_with_text_maps(run, every, f"{IMAGE_TEXT_MODEL}/{IMAGE_TEXT_METHOD}", some, seed)
        run.write_table("text_map_agreement", summarize_agreement(alike, seed))


def _paired_sources(shown: Sequence[TrainingCell], sources: Sequence[str]) -> list[tuple[str, str]]:
    """The same method after the same labels, less the beginning at random; and every map less that of the words."""
    by = {c.name: c for c in shown}
    worded = f"{IMAGE_TEXT_MODEL}/{IMAGE_TEXT_METHOD}"
    found = []
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        if name in by and by[name].init != RANDOM_INIT:
            other = f"{replace(by[name], init=RANDOM_INIT).name}/{method}"
            found += [(source, other)] if other in sources else []
        if name in by and worded in sources:
            found.append((source, worded))
    return found
