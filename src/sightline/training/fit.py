"""`fit`: train a multi-label classifier, surviving a kill at any moment with the same result."""

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
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.distributed import run_processes
from sightline.training.image_cache import DecodedImages, decode_images, open_image_cache
from sightline.training.labels import make_label_matrix
from sightline.training.loop import Examples, train, update_info
from sightline.training.mask_targets import rasterize_targets
from sightline.training.split import Split, split_by_patient


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
    """Train a copy of `model` and return it with the weights that validated best.

        fit(model, data, "runs/mine", Recipe(epochs=20, seed=1), Sample(uncertain="zeros"))

    Loss: binary cross-entropy with logits over the labels that are known; uncertain ones (-1) are ignored, zeros, ones
    or (for a model 'three-class:ARCH') a class of their own; blank ones are ignored or zeros. A network with a
    `loss(outputs, labels, marks)` of its own learns by that, from the data set's marks instead if it `learns` from them
    (`sightline.models.localizers`), or besides from marks, boxes or gaze (`sightline.models.trainable_saliency`).
    Radiographs are split by patient (`sightline.training.split`) and decoded once; unreadable ones are left out and
    named in run.json. AdamW; all random numbers keyed by (seed, epoch), on the device of the model.

    Validation, every `validate` of an epoch: AUROC per finding of the greatest probability among the views of each
    study, uncertain labels left out; its mean over the findings `select` decides.

    The run folder `out` gets best.pt (for `sightline.models.open_model`), last.pt (to continue from), and in run.json
    the loss and AUROC of each validation. The same call continues a run that was killed, and ends with the same weights
    on the same machine. cache: a folder for the decoded images that trainings on the same patients share, by default
    the run's own. workers: processes that decode images, devices: processes that train (Lightning Fabric); more than 1
    only from a program whose main module may be imported again (`if __name__ == "__main__":`).

    Errors: `DataError` for a patient in two splits, a label that is none, or a finding without any known label;
    `RunError` if the folder is in use or belongs to other options.
    """
    if (sampling.uncertainty_policy == "3-class") != isinstance(model.net, ThreeClassHead):
        raise SightlineError(
            f"uncertain={sampling.uncertainty_policy!r} and {model.name!r} do not fit; allowed: '3-class' with a model "
            f"'three-class:ARCH', any other with any other model"
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
        record = TrainingRecord(spec, sampling.fraction, config.seed, derived=data.derived)
        run_processes(n_devices, model.device.type, train, run.path, student, examples, config, record)
        content = load_safely(run.path / "best.pt")
        load_weights(student.net, run.path / "best.pt", content)
    return replace(student, training_record=TrainingRecord(**content["training_record"]))


def _make_examples(
    run: Run, cache: Path | None, model: Model, data: Dataset, sampling: SamplingConfig, seed: int, workers: int
) -> Examples:
    radiographs = list(data.radiographs)
    findings = model.findings if sampling.stratified else ()
    split = split_by_patient(radiographs, sampling.validation_fraction, sampling.fraction, seed, findings)
    home = open_image_cache(run, cache, model, data.spec or data.name)
    # What is shared is decoded whole, whatever share of it this training learns from
    pool = split if cache is None else split_by_patient(radiographs, sampling.validation_fraction, 1.0, seed)
    films = decode_images(home, model, radiographs, np.concatenate([pool.train, pool.val]), workers)
    chosen = [radiographs[i] for i in films.indices]
    labels = _make_labels(run, radiographs, split, films, model.findings, sampling)
    marks = (
        rasterize_targets(home, model, data, chosen, workers)
        if getattr(model.net, "supervision", "labels") != "labels"
        else None
    )
    train, val = films.readable_rows(split.train), films.readable_rows(split.val)
    unread = [why for row, why in films.reasons.items() if films.indices[row] in {*split.train, *split.val}]
    update_info(run.path, unreadable=unread, radiographs=[len(split.train), len(split.val)])
    studies = [(chosen[i].patient, chosen[i].study or chosen[i].id) for i in val]
    who = pd.DataFrame(studies, columns=pd.Index(["patient", "study"]))[["study", "patient"]]
    run.write_table("validation", who.join(pd.DataFrame(labels[val], columns=pd.Index(model.findings))))
    return Examples(films.file, labels, train, val, tuple(studies), marks)


def _make_labels(
    run: Run,
    radiographs: Sequence[Radiograph],
    split: Split,
    images: DecodedImages,
    findings: Sequence[str],
    sampling: SamplingConfig,
) -> Array:
    """float32 (n, F), a row per film, NaN for those of neither part. Policies shape what is learned from; what is
    validated by is never made up.

    Errors: `DataError` for a finding that no training radiograph has a known label of, or if every finding is always
    there or never: nothing tells where it is then. Findings of one class beside others are named in run.json.
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
            f"of {', '.join(alike)} the {len(learned)} training radiographs have labels of one class only; add "
            "radiographs of the other, or take a larger fraction"
        )
    if alike:
        update_info(run.path, one_class=alike)
    labels = np.full((len(images.indices), len(findings)), np.nan, np.float32)
    labels[images.rows(split.train)] = learned
    labels[images.rows(split.val)] = make_label_matrix([radiographs[i] for i in split.val], findings, "ignore")
    return labels
