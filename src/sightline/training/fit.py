"""`fit`: train a multi-label classifier; killed at any moment and called again, it ends with the same result."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sightline.core import Array, Dataset, Radiograph
from sightline.errors import DataError, SightlineError
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_safely, load_weights
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.runs.run import Run
from sightline.training.classifier import train_classifier
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.distributed import run_processes
from sightline.training.examples import Examples
from sightline.training.image_cache import DecodedImages, decode_images, open_image_cache
from sightline.training.labels import make_label_matrix
from sightline.training.loop import update_info
from sightline.training.mask_targets import rasterize_targets
from sightline.training.split import Split, set_prevalence, split_by_patient


def fit(
    model: Model,
    data: Dataset,
    out: str | Path,
    config: TrainingConfig = TrainingConfig(),
    sampling: SamplingConfig = SamplingConfig(),
    *,
    cache: Path | None = None,
    workers: int = 1,
    n_devices: int = 1,
) -> Model:
    """Train a copy of a model and return it with the weights that validated best.

    The loss is the binary cross-entropy over the labels that are known; that of a model 'three-class:ARCH' has
    uncertain as a class of its own. A network with a method `loss(outputs, labels, mask_targets)` is trained by it:
    with masks of annotations, boxes or gaze if its `supervision` names them (`sightline.models.localizers`,
    `sightline.models.trainable_saliency`). Radiographs are split by patient and decoded once; unreadable ones are left
    out and named in run.json. The optimizer is AdamW; all random numbers are keyed by (seed, epoch).

    Each validation computes the AUROC per finding of the highest probability among the views of each study, without
    uncertain labels; its mean over the selection findings decides which weights are best.

    The run folder gets best.pt (for `sightline.models.open_model`), last.pt (to continue from), and in run.json the
    loss and AUROC of each validation. The same call continues a run that was killed, and ends with the same weights on
    the same machine.

    Parameters
    ----------
    model
        Model to train, which is not changed; training runs on its device.
    data
        Data set with labels.
    out
        Run folder.
    config
        Options of the optimization.
    sampling
        Options of the training data.
    cache
        Folder of decoded images that trainings on the same patients share; by default the run's own.
    workers
        Number of processes that decode images.
    n_devices
        Number of processes that train (Lightning Fabric). More than 1 process of either kind only from a program whose
        main module may be imported again (`if __name__ == "__main__":`).

    Returns
    -------
    Model
        The trained model, with a training record.

    Raises
    ------
    SightlineError
        If the uncertainty policy and the model do not fit each other.
    DataError
        For a patient in two splits, an invalid label, or a finding without any known label.
    RunError
        If the folder is in use or belongs to other options.

    Examples
    --------
    Train 20 epochs with uncertain labels as absent::

        fit(model, data, "runs/mine", TrainingConfig(epochs=20, seed=1), SamplingConfig(uncertainty_policy="zeros"))
    """
    if (sampling.uncertainty_policy == "3-class") != isinstance(model.net, ThreeClassHead):
        raise SightlineError(
            f"uncertainty_policy={sampling.uncertainty_policy!r} and {model.name!r} do not fit; allowed: '3-class' "
            "with a model 'three-class:ARCH', any other with any other model"
        )
    config = replace(config, selection_findings=tuple(config.selection_findings) or model.findings)
    splitting = config.seed if sampling.split_seed is None else sampling.split_seed
    spec = data.spec or data.name
    options = {
        **asdict(config),
        "data": spec,
        "derived": data.derived,
        **asdict(sampling),
        "split_seed": splitting,
        "n_devices": n_devices,
    }
    run = Run.start(out, "fit", {**options, "model": model.name, "initial": state_hash(model.net)})
    with run.lock():
        examples = _make_examples(run, cache, model, data, sampling, splitting, workers)
        student = replace(model, net=copy.deepcopy(model.net))
        derived = data.derived
        if sampling.prevalence is not None:
            finding, share = sampling.prevalence
            derived = (*derived, f"{finding} in {share:.4g} of {len(examples.train):,} training radiographs")
        prevalence = _measure_prevalence(examples.labels[examples.train], model.findings)
        record = TrainingRecord(spec, sampling.fraction, config.seed, derived=derived, prevalence=prevalence)
        run_processes(n_devices, model.device.type, train_classifier, run.path, student, examples, config, record)
        content = load_safely(run.path / "best.pt")
        load_weights(student.net, run.path / "best.pt", content)
    return replace(student, training_record=TrainingRecord(**content["training_record"]))


def _measure_prevalence(labels: Array, findings: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the share of positive among the known labels (n, F) of each finding that has any."""
    known, positive = ((labels == 0) | (labels == 1)).sum(0), (labels == 1).sum(0)
    return tuple((name, float(p / k)) for name, p, k in zip(findings, positive, known, strict=True) if k)


def _make_examples(
    run: Run, cache: Path | None, model: Model, data: Dataset, sampling: SamplingConfig, seed: int, workers: int
) -> Examples:
    radiographs = list(data.radiographs)
    findings = model.findings if sampling.stratified else ()
    split = split_by_patient(radiographs, sampling.validation_fraction, sampling.fraction, seed, findings)
    if sampling.prevalence is not None:
        split = replace(split, train=set_prevalence(radiographs, split.train, *sampling.prevalence, seed))
    image_cache = open_image_cache(run, cache, model, data.spec or data.name)
    # A shared cache is decoded whole, whatever fraction of it this training uses
    pool = split if cache is None else split_by_patient(radiographs, sampling.validation_fraction, 1.0, seed)
    images = decode_images(image_cache, model, radiographs, np.concatenate([pool.train, pool.val]), workers)
    chosen = [radiographs[i] for i in images.indices]
    labels = _make_labels(run, radiographs, split, images, model.findings, sampling)
    targets = None
    if getattr(model.net, "supervision", "labels") != "labels":
        targets = rasterize_targets(image_cache, model, data, chosen, workers)
    train, val = images.readable_rows(split.train), images.readable_rows(split.val)
    selected = {*split.train, *split.val}
    unreadable = [reason for row, reason in images.reasons.items() if images.indices[row] in selected]
    update_info(run.path, unreadable=unreadable, radiographs=[len(split.train), len(split.val)])
    studies = [(chosen[i].patient, chosen[i].study or chosen[i].id) for i in val]
    groups = pd.DataFrame(studies, columns=pd.Index(["patient", "study"]))[["study", "patient"]]
    run.write_table("validation", groups.join(pd.DataFrame(labels[val], columns=pd.Index(model.findings))))
    return Examples(images.file, labels, train, val, tuple(studies), targets)


def _make_labels(
    run: Run,
    radiographs: Sequence[Radiograph],
    split: Split,
    images: DecodedImages,
    findings: Sequence[str],
    sampling: SamplingConfig,
) -> Array:
    """Labels float32 (n, F) of the decoded images, NaN for those of neither part.

    Policies apply to training labels; validation labels are never replaced. `DataError` for a finding without a known
    training label, or if every finding is always present or never. Findings of one class are named in run.json.
    """
    learned = make_label_matrix(
        [radiographs[i] for i in split.train], findings, sampling.uncertainty_policy, sampling.blank_policy
    )
    for finding, column in zip(findings, learned.T, strict=True):
        if np.isnan(column).all():
            raise DataError(f"no training radiograph has a known label for {finding!r}; leave it out of the findings")
    alike = [f for f, column in zip(findings, learned.T, strict=True) if len(np.unique(column[~np.isnan(column)])) < 2]
    if len(alike) == len(findings):
        raise DataError(
            f"the {len(learned)} training radiographs have labels of one class only for {', '.join(alike)}; add "
            "radiographs of the other, or take a larger fraction"
        )
    if alike:
        update_info(run.path, one_class=alike)
    labels = np.full((len(images.indices), len(findings)), np.nan, np.float32)
    labels[images.rows(split.train)] = learned
    labels[images.rows(split.val)] = make_label_matrix([radiographs[i] for i in split.val], findings, "ignore")
    return labels
