"""Pre-training study: effect of initial weights after equal training on 1, 10 and 100 % of the labels.

After Zhang et al. 2020, arXiv:2010.00747 (ConVIRT): all initializations are trained in the same way before anything is
compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sightline.core import Case, Dataset, Source
from sightline.data import open_dataset
from sightline.data.patients import require_disjoint_patients
from sightline.data.registry import is_synthetic
from sightline.errors import DataError
from sightline.evaluation.narration.measure import (
    compare_with_reports,
    compare_with_text_maps,
    measure_maps,
    summarize_agreement,
    write_narrative,
)
from sightline.evaluation.thresholds import resolve_protocols
from sightline.findings import select_findings
from sightline.maps.collections import CombinedMaps
from sightline.maps.references import ControlMaps, ReaderMaps
from sightline.methods.explain import require_methods
from sightline.methods.inference import ExplainOptions
from sightline.models import Model, open_model
from sightline.protocol import ProtocolChoice
from sightline.runs.provenance import recorded_options
from sightline.runs.run import Run
from sightline.stats.auroc import estimate_auroc
from sightline.stats.learning_curves import auroc_by_cell, initialization_gains, learning_curves
from sightline.stats.learning_curves import learning_modes as compare_learning_modes
from sightline.stats.verdicts import parse_smallest_effects
from sightline.studies.common import StudyContext, start_study
from sightline.studies.initializations import RANDOM_INIT, make_initializations, pretraining_folder
from sightline.studies.leakage import training_patients
from sightline.training.config import SamplingConfig, Trainable, TrainingConfig
from sightline.training.fit import fit

PHANTOM_TRAIN_DATA = "phantom:2000?start=100000&size=96"
PHANTOM_DATA = "phantom:1200?split=test&size=96"
DEFAULT_ARCH = "small?side=96"
METHODS = ("gradient", "grad-cam", "grad-cam++", "integrated-gradients?nodes=8")
IMAGE_TEXT_MODEL, IMAGE_TEXT_METHOD = "words", "image-text"
"""Name of the image-text model among the sources, and its method."""
METRICS = ("iou", "pointing-game", "relevance-mass", "pr-area", "peak-box-iou")
LearningMode = Literal["all", "head", "layers"]
"""Fine-tuning, linear evaluation, and fine-tuning with a lower learning rate the deeper a layer lies."""
LEARNING_MODES: tuple[LearningMode, ...] = ("all", "head", "layers")
PHANTOM_EPOCHS = {"all": {0.01: 20, 0.1: 12, 1.0: 8}, "head": {0.01: 12, 0.1: 8, 1.0: 4}}
"""Epochs of the phantom's networks, by learning mode and share of the labels."""


@dataclass(frozen=True, slots=True)
class TrainingCell:
    """One training of the grid."""

    init: str
    """Name of the initial weights."""
    learn: LearningMode
    """Learning mode."""
    fraction: float
    """Share of the training patients, in (0, 1]."""
    seed: int
    """Seed of labels and batches."""

    @property
    def name(self) -> str:
        """Name of the network among the models of the run."""
        return f"{self.init}-{self.learn}-{self.fraction:g}-{self.seed}"

    def columns(self) -> dict[str, Any]:
        """Return the cell as columns of a table.

        Returns
        -------
        dict
            initialization, learning_mode, fraction, seed.
        """
        return {"initialization": self.init, "learning_mode": self.learn, "fraction": self.fraction, "seed": self.seed}


TrainedCells = dict[TrainingCell, Model]
"""Cell of the grid -> its trained network."""


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
    smallest_effects: tuple[str, ...] = (),
    protocol: ProtocolChoice = "corrected",
    out: Path = Path("runs/pretraining"),
    seed: int = 0,
    device: str = "cpu",
) -> Run:
    """Train initializations on the same shares of the labels, and compare accuracy and maps.

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
        Parts that learn: all (fine-tuning), head (linear evaluation), layers (fine-tuning with `--layer-decay`).
    fractions
        Shares of the training patients, nested and stratified by finding.
    repeats
        Trainings of each cell, with other seeds; labels and order of batches are the same for all initial weights.
    epochs
        Epochs of every training; 0 takes the phantom's own, or 10 on other data.
    train_batch
        Radiographs per training step; fewer if they would be more than a quarter of the training patients.
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
        Largest number of radiographs explained.
    findings
        Findings, comma-separated; by default those that the two data sets share.
    smallest_effects
        Smallest differences that count, as MEASURE=VALUE: a verdict is shown or shown absent only if its whole interval
        lies beyond them; by default those of `sightline.stats.verdicts`.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    out
        Run folder; the same command continues it, cell by cell.
    seed
        Seed of random weights, shares of the labels and bootstrap resamples.
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
    protocols = resolve_protocols(protocol)
    require_methods(methods)
    effects = parse_smallest_effects(smallest_effects)
    source, compared = open_dataset(train_data), open_dataset(data)
    _check_grid(fractions, learning_modes, repeats)
    scored_findings = _select_findings(source, compared, findings)
    config = TrainingConfig(
        batch_size=train_batch,
        lr=lr,
        augment=False,
        head_only_steps=head_only_steps,
        layer_decay=layer_decay,
        patience=patience,
    )
    with start_study("pretraining", compared, protocols, options, out) as run:
        starts = make_initializations(
            run.path / "training", source, open_model(arch, scored_findings, seed=seed), initializations, seed, device
        )
        grid = [
            TrainingCell(init, mode, fraction, seed + number)
            for number in range(repeats)
            for fraction in sorted(fractions)
            for mode in learning_modes
            for init in starts
        ]
        cells = {cell: _train_cell(run, source, starts[cell.init], cell, epochs, config, seed) for cell in grid}
        study = StudyContext(run, compared, protocols, cells, ExplainOptions(scored_findings, seed=seed))
        study.record_models(list(cells.values()), methods, initializations=list(starts), smallest_effects=effects)
        _predict(study)
        _explain(study, _open_image_text_model(study, image_text_model, device), methods, max_radiographs)
        return run


def _check_grid(fractions: Sequence[float], modes: Sequence[str], repeats: int) -> None:
    """Check the options of the grid before any work is done."""
    allowed = bool(fractions) and min(fractions) > 0 and max(fractions) <= 1
    if not allowed or repeats < 1 or not modes or not set(modes) <= set(LEARNING_MODES):
        raise DataError(
            f"fractions={fractions}, learning_modes={tuple(modes)}, repeats={repeats}; allowed: above 0 up to 1, "
            f"{', '.join(LEARNING_MODES)}, from 1"
        )


def _select_findings(source: Dataset, compared: Dataset, findings: str) -> tuple[str, ...]:
    """Return the findings of both data sets; `DataError` if they share none, or share patients."""
    shared = tuple(f for f in source.findings if f in compared.findings and f != "No Finding")
    if not shared:
        raise DataError(f"{source.spec!r} and {compared.spec!r} share no finding")
    require_disjoint_patients("the networks", source.spec, training_patients(source), compared)
    return tuple(select_findings(findings or None, shared))


def _train_cell(
    run: Run, source: Dataset, start: Model, cell: TrainingCell, epochs: int, config: TrainingConfig, seed: int
) -> Model:
    """Train a cell of the grid; its share of the labels follows from its seed, whatever the initial weights."""
    trainable: Trainable = "head" if cell.learn == "head" else "all"
    default_epochs = PHANTOM_EPOCHS[trainable].get(cell.fraction, 10) if is_synthetic(source.spec) else 10
    patients = len({r.patient for r in source.radiographs})
    config = replace(
        config,
        epochs=epochs or default_epochs,
        batch_size=min(config.batch_size, max(2, round(0.25 * cell.fraction * patients))),
        seed=cell.seed,
        trainable=trainable,
        layer_decay=config.layer_decay if cell.learn == "layers" else 1.0,
    )
    model = fit(
        start,
        source,
        run.path / "training" / cell.name,
        config,
        SamplingConfig(fraction=cell.fraction, split_seed=seed + cell.seed, stratified=True),
        cache=run.path / "training" / "images",
        workers=os.cpu_count() or 1,
    )
    return replace(model, name=cell.name)


def _predict(study: StudyContext[TrainedCells]) -> None:
    """Write the tables predictions, classification, learning_curves and learning_curve_differences."""
    run = study.run
    table = study.predict(list(study.models.values()))
    run.write_table("classification", estimate_auroc(table.drop(columns="radiograph")))
    by_name = {cell.name: cell for cell in study.models}
    columns = pd.DataFrame([by_name[name].columns() for name in table["model"]], index=table.index)
    accuracy = auroc_by_cell(table.join(columns))
    run.write_table("learning_curves", learning_curves(accuracy))
    gains = [initialization_gains(accuracy, RANDOM_INIT), compare_learning_modes(accuracy, "all")]
    run.write_table("learning_curve_differences", pd.concat(gains, ignore_index=True))


def _open_image_text_model(study: StudyContext[TrainedCells], path: str, device: str) -> Model | None:
    """Open the image-text model named, or that of the study's own pre-training; None without any."""
    pretrained = pretraining_folder(study.run.path / "training", "reports") / "joint.pt"
    path = path or (str(pretrained) if pretrained.is_file() else "")
    if not path:
        return None
    model = replace(open_model(f"contrastive:{path}", study.findings), name=IMAGE_TEXT_MODEL)
    model.net.to(device)
    return model


def _explain(
    study: StudyContext[TrainedCells], image_text_model: Model | None, methods: Sequence[str], max_radiographs: int
) -> None:
    """Explain the fine-tuned networks of the first seed on frontal radiographs with a finding, and score the maps."""
    cells = [cell for cell in study.models if cell.learn == "all" and cell.seed == study.seed] or list(study.models)[:1]
    frontal = [r for r in study.data.radiographs if r.view != "lateral"]
    positive = [r for r in frontal if any(r.labels.get(f) == 1 for f in study.findings)]
    part = replace(study.data, radiographs=tuple(positive[:max_radiographs]))
    if not part.readers or not methods:
        return
    if lateral := len(study.data.radiographs) - len(frontal):
        note = f"{lateral:,} lateral radiographs have no maps: descriptions of places are those of a frontal radiograph"
        study.run.update_info(skipped=[note])
    for cell in cells:
        study.explain(study.models[cell], methods, data=part)
    if image_text_model is not None:
        study.explain(image_text_model, [IMAGE_TEXT_METHOD], data=part)
    controls = ControlMaps(part, ("average-mask", "center"), study.seed)
    maps = CombinedMaps((study.run, controls, ReaderMaps(part)))
    scores = study.score(maps, METRICS, part)
    study.add_differences(scores, lambda sources: _paired_sources(cells, sources))
    _narrate(study, part, cells, methods)
    study.run.update_info(
        sources=list(maps.sources), explained_models=[{"model": cell.name, **cell.columns()} for cell in cells]
    )


def _narrate(
    study: StudyContext[TrainedCells], part: Dataset, cells: Sequence[TrainingCell], methods: Sequence[str]
) -> None:
    """Narrate the first method's maps of every initialization, trained on the smallest share of the labels."""
    run, seed = study.run, study.seed
    least = min(cell.fraction for cell in cells)
    smallest = [cell for cell in cells if cell.fraction == least]
    sources = {f"{cell.name}/{methods[0]}": cell.init for cell in smallest}
    cases = [Case(r, f) for r in part.radiographs for f in study.findings if r.labels.get(f) == 1]
    table = measure_maps(run, part, sources, cases)
    write_narrative(run, table)
    agreement = compare_with_reports(table, part, cases, seed)
    run.write_table("report_agreement", summarize_agreement(agreement))
    text_source = f"{IMAGE_TEXT_MODEL}/{IMAGE_TEXT_METHOD}"
    if text_source in run.sources:
        compared = {f"{cell.name}/{method}": f"{cell.init}/{method}" for cell in smallest for method in methods}
        similarity = compare_with_text_maps(run, compared, text_source, cases, seed)
        run.write_table("text_map_agreement", summarize_agreement(similarity))


def _paired_sources(cells: Sequence[TrainingCell], sources: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of sources that are compared.

    The same method after the same labels, minus that from random weights; and every map minus that of the image-text
    model.
    """
    by_name = {cell.name: cell for cell in cells}
    text_source = f"{IMAGE_TEXT_MODEL}/{IMAGE_TEXT_METHOD}"
    paired = []
    for source in sources:
        parsed = Source.parse(source)
        cell = by_name.get(parsed.model)
        if cell is not None and cell.init != RANDOM_INIT:
            other = f"{replace(cell, init=RANDOM_INIT).name}/{parsed.method}"
            paired += [(source, other)] if other in sources else []
        if cell is not None and text_source in sources:
            paired.append((source, text_source))
    return paired
