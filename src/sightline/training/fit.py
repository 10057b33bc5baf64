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
from sightline.models.multiclass_heads import Triples
from sightline.runs.run import Run
from sightline.training.config import Recipe, Sample
from sightline.training.distributed import run_team
from sightline.training.image_cache import Films, decoded, image_home
from sightline.training.labels import label_matrix
from sightline.training.loop import Examples, note, train
from sightline.training.mask_targets import gridded
from sightline.training.split import Split, split_by_patient


def fit(
    model: Model,
    data: Dataset,
    out: str | Path,
    recipe: Recipe = Recipe(),
    sample: Sample = Sample(),
    *,
    cache: Path | None = None,
    workers: int = 1,
    devices: int = 1,
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
    if (sample.uncertain == "3-class") != isinstance(model.net, Triples):
        raise SightlineError(
            f"uncertain={sample.uncertain!r} and {model.name!r} do not fit; allowed: '3-class' with a model "
            f"'three-class:ARCH', any other with any other model"
        )
    recipe = replace(recipe, select=tuple(recipe.select) or model.findings)
    splitting = recipe.seed if sample.split_seed is None else sample.split_seed
    spec = data.spec or data.name
    options = {
        **asdict(recipe),
        "data": spec,
        "derived": data.derived,
        **asdict(sample),
        "split_seed": splitting,
        "devices": devices,
    }
    run = Run.start(out, "fit", {**options, "model": model.name, "initial": state_hash(model.net)})
    with run.lock():
        examples = _examples(run, cache, model, data, sample, splitting, workers)
        student = replace(model, net=copy.deepcopy(model.net))
        record = TrainingRecord(spec, sample.fraction, recipe.seed, derived=data.derived)
        run_team(devices, model.device.type, train, run.path, student, examples, recipe, record)
        content = load_safely(run.path / "best.pt")
        load_weights(student.net, run.path / "best.pt", content)
    return replace(student, training=TrainingRecord(**content["training"]))


def _examples(
    run: Run, cache: Path | None, model: Model, data: Dataset, sample: Sample, seed: int, workers: int
) -> Examples:
    radiographs = list(data.radiographs)
    findings = model.findings if sample.stratified else ()
    split = split_by_patient(radiographs, sample.val_share, sample.fraction, seed, findings)
    home = image_home(run, cache, model, data.spec or data.name)
    # What is shared is decoded whole, whatever share of it this training learns from
    pool = split if cache is None else split_by_patient(radiographs, sample.val_share, 1.0, seed)
    films = decoded(home, model, radiographs, np.concatenate([pool.train, pool.val]), workers)
    chosen = [radiographs[i] for i in films.indices]
    labels = _labels(run, radiographs, split, films, model.findings, sample)
    marks = gridded(home, model, data, chosen, workers) if getattr(model.net, "learns", "labels") != "labels" else None
    train, val = films.readable(split.train), films.readable(split.val)
    unread = [why for row, why in films.reasons.items() if films.indices[row] in {*split.train, *split.val}]
    note(run.path, unreadable=unread, radiographs=[len(split.train), len(split.val)])
    studies = [(chosen[i].patient, chosen[i].study or chosen[i].id) for i in val]
    who = pd.DataFrame(studies, columns=pd.Index(["patient", "study"]))[["study", "patient"]]
    run.write_table("validation", who.join(pd.DataFrame(labels[val], columns=pd.Index(model.findings))))
    return Examples(films.file, labels, train, val, tuple(studies), marks)


def _labels(
    run: Run, radiographs: Sequence[Radiograph], split: Split, films: Films, findings: Sequence[str], sample: Sample
) -> Array:
    """float32 (n, F), a row per film, NaN for those of neither part. Policies shape what is learned from; what is
    validated by is never made up.

    Errors: `DataError` for a finding that no training radiograph has a known label of, or if every finding is always
    there or never: nothing tells where it is then. Findings of one class beside others are named in run.json.
    """
    learned = label_matrix([radiographs[i] for i in split.train], findings, sample.uncertain, sample.blank)
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
        note(run.path, one_class=alike)
    labels = np.full((len(films.indices), len(findings)), np.nan, np.float32)
    labels[films.rows(split.train)] = learned
    labels[films.rows(split.val)] = label_matrix([radiographs[i] for i in split.val], findings, "ignore")
    return labels
