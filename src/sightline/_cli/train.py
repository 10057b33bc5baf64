"""Commands that train networks. Each is a function whose signature is its options."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sightline._util.spec import format_spec
from sightline.data import open_dataset
from sightline.errors import SightlineError
from sightline.findings import select_findings
from sightline.runs.run import Run

if TYPE_CHECKING:
    from sightline.models import Model


def train_classifier(
    *,
    data: str,
    out: Path,
    model: str = "small",
    findings: str = "",
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 2e-3,
    schedule: Literal["cosine", "constant", "plateau"] = "cosine",
    seed: int = 0,
    fraction: float = 1.0,
    prevalence: str = "",
    uncertainty_policy: Literal["ignore", "zeros", "ones"] = "ignore",
    shuffle_labels: bool = False,
    shuffle_gaze: bool = False,
    device: str = "cpu",
) -> None:
    """Train a network on a data set; the same command continues a training that was stopped.

    Parameters
    ----------
    data
        Data set with labels, as NAME:PATH?option=value.
    out
        Run folder; its best.pt is what `--model` of the studies takes.
    model
        Architecture, for example small, densenet121?side=320, timm:resnet50; unet and retinanet learn from
        annotations.
    findings
        Findings, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch_size
        Radiographs per training step.
    lr
        Highest learning rate.
    seed
        Seed of initial weights, split of the patients and order of batches.
    schedule
        Schedule of the learning rate: cosine (rises, then falls), constant, or plateau, which halves it after 3
        validations without a lower loss and stops after 10.
    fraction
        Share of the training patients to use.
    prevalence
        FINDING=SHARE: train on radiographs of which this share shows the finding, such as "Pleural Effusion=0.05". All
        shares of one data set have the same number of radiographs, so that trainings differ in prevalence alone.
    uncertainty_policy
        Value of uncertain labels: ignore (unknown), zeros (absent) or ones (present).
    shuffle_labels
        Give each radiograph the labels of another: the control for `trust --shuffled-labels`.
    shuffle_gaze
        Give each radiograph the gaze at one of another patient: the control for `gaze --shuffled-gaze`.
    device
        cpu or cuda.
    """
    from sightline.models.zoo import open_model
    from sightline.training import labels
    from sightline.training.config import SamplingConfig, TrainingConfig
    from sightline.training.fit import fit

    recipe = TrainingConfig(epochs=epochs, batch_size=batch_size, lr=lr, schedule=schedule, seed=seed)
    opened = open_dataset(data)
    share = parse_prevalence(prevalence, opened.findings) if prevalence else None
    sample = SamplingConfig(fraction=fraction, uncertainty_policy=uncertainty_policy, prevalence=share)
    opened = labels.shuffle_labels(opened, seed) if shuffle_labels else opened
    opened = labels.shuffle_gaze(opened, seed) if shuffle_gaze else opened
    start = open_model(model, select_findings(findings or None, opened.findings), seed=seed)
    start.net.to(device)
    trained = fit(start, opened, out, recipe, sample, workers=os.cpu_count() or 1)
    quality = trained.training_record.val_auroc if trained.training_record else None
    print(f"{out / 'best.pt'}: mean validation AUROC {quality if quality is None else round(quality, 3)}")


def parse_prevalence(text: str, findings: tuple[str, ...]) -> tuple[str, float]:
    """Parse a finding with the share of the training radiographs that show it.

    Parameters
    ----------
    text
        FINDING=SHARE.
    findings
        Findings of the data set.

    Returns
    -------
    tuple of (str, float)
        Canonical name of the finding, and the share.

    Raises
    ------
    SightlineError
        If the text has another form, or the data set has no such finding.

    Examples
    --------
    >>> parse_prevalence("pleural effusion=0.05", ("Edema", "Pleural Effusion"))
    ('Pleural Effusion', 0.05)
    """
    name, _, share = text.rpartition("=")
    try:
        number = float(share)
    except ValueError:
        name, number = "", 0.0
    if not name:
        raise SightlineError(f'--prevalence {text!r}: write FINDING=SHARE, as "Pleural Effusion=0.05"')
    (finding,) = select_findings(name, findings)
    return finding, number


def train_gaze(
    *,
    data: str,
    out: Path,
    model: str = "small",
    supervised_map: Literal["decoder", "cam", "gate"] = "cam",
    gaze_weights: tuple[float, ...] = (1.0, 3.0, 10.0),
    findings: str = "",
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 2e-3,
    schedule: Literal["cosine", "constant", "plateau"] = "cosine",
    seed: int = 0,
    uncertainty_policy: Literal["ignore", "zeros", "ones"] = "ignore",
    device: str = "cpu",
) -> None:
    """Train a network on labels and gaze with several weights of the gaze loss, and the control of the best.

    Parameters
    ----------
    data
        Data set with labels and gaze, as NAME:PATH?option=value.
    out
        Folder; `gaze --gaze-supervised` takes its best.pt, `gaze --shuffled-gaze` its shuffled/best.pt.
    model
        Architecture, for example densenet121?side=256.
    supervised_map
        Map that is compared with gaze: that of a decoder, the network's own Grad-CAM (cam), or a gate on the features.
    gaze_weights
        Weights of the gaze loss to try; the one with the best mean validation AUROC is kept.
    findings
        Findings, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch_size
        Radiographs per training step.
    lr
        Highest learning rate.
    schedule
        Schedule of the learning rate: cosine (rises, then falls), constant, or plateau, which halves it after 3
        validations without a lower loss and stops after 10.
    seed
        Seed of initial weights, split of the patients and order of batches.
    uncertainty_policy
        Value of uncertain labels: ignore (unknown), zeros (absent) or ones (present).
    device
        cpu or cuda.
    """
    from sightline.models.checkpoint import save_checkpoint
    from sightline.models.zoo import open_model
    from sightline.training.config import SamplingConfig, TrainingConfig
    from sightline.training.gaze_weight_search import search_gaze_weight

    recipe = TrainingConfig(epochs=epochs, batch_size=batch_size, lr=lr, schedule=schedule, seed=seed)
    opened = open_dataset(data)
    names = select_findings(findings or None, opened.findings)

    def make(weight: float) -> Model:
        spec = format_spec(f"gaze-supervised:{model}", supervised_map=supervised_map, weight=f"{weight:g}")
        blank = open_model(spec, names, seed=seed)
        blank.net.to(device)
        return blank

    search = search_gaze_weight(
        make,
        opened,
        out,
        gaze_weights,
        recipe,
        SamplingConfig(uncertainty_policy=uncertainty_policy),
        cache=out / "images",
        workers=os.cpu_count() or 1,
    )
    save_checkpoint(search.supervised, out / "best.pt")
    aurocs = ", ".join(f"{weight:g}: {auroc:.3f}" for weight, auroc in search.aurocs.items())
    print(f"{out / 'best.pt'}: weight {search.best_weight:g}; mean validation AUROC by weight {aurocs}")


def train_contrastive(
    *,
    data: str,
    out: Path,
    model: str = "small",
    pair_with: Literal["reports", "images"] = "reports",
    text_encoder: str = "scratch",
    frozen_layers: int = 6,
    embedding_dim: int = 128,
    findings: str = "",
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    n_devices: int = 1,
    device: str = "cpu",
) -> None:
    """Pre-train an image encoder on reports, or on images alone, without labels; the same command continues.

    Parameters
    ----------
    data
        Data set with reports, as mimic:DIR, openi:PATH or phantom:N; for `--pair-with images`, any.
    out
        Run folder. `pretraining --initializations NAME=best.pt` and `train classifier --model ARCH:best.pt` take its
        best.pt; contrastive:joint.pt is a model that finds what is described in words.
    model
        Architecture of the image encoder, for example torchvision:resnet50?side=224.
    pair_with
        Partner of an image: its report (reports, ConVIRT) or a second view of itself (images).
    text_encoder
        Text encoder: scratch, a small transformer trained here, or one of Hugging Face by name or folder (in ConVIRT
        emilyalsentzer/Bio_ClinicalBERT).
    frozen_layers
        Number of first layers of a Hugging Face encoder that are not trained; its embeddings never are.
    embedding_dim
        Dimension of the joint space of images and sentences; 512 in ConVIRT.
    findings
        Findings on which retrieval is tested, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch_size
        Radiographs per training step; each is contrasted with the others in its batch.
    lr
        Highest learning rate.
    seed
        Seed of initial weights, split of the patients and order of batches.
    precision
        float32, or bfloat16 for the forward pass.
    n_devices
        Processes that train together, each on its own device (Lightning Fabric); each takes a part of the batch.
    device
        cpu or cuda.
    """
    from sightline.models.zoo import open_model
    from sightline.training.contrastive import CONTRASTIVE_CONFIG, pretrain

    recipe = replace(CONTRASTIVE_CONFIG, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, precision=precision)
    opened = open_dataset(data)
    start = open_model(model, select_findings(findings or None, opened.findings), seed=seed)
    start.net.to(device)
    pretrain(
        start,
        opened,
        out,
        recipe,
        pair_with=pair_with,
        text_encoder=text_encoder,
        frozen_layers=frozen_layers,
        embedding_dim=embedding_dim,
        n_devices=n_devices,
        workers=os.cpu_count() or 1,
    )
    info = Run.open(out).info
    last = info["history"][-1]
    results = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name != "epoch")
    print(f"{out / 'best.pt'}: {results}; waited for data {info['data_wait']['share']:.1%} of the time")


def train_chexpert(
    *,
    data: str,
    out: Path,
    arch: str = "densenet121",
    uncertainty_policies: tuple[Literal["ignore", "zeros", "ones", "3-class"], ...] = (
        "ignore",
        "zeros",
        "ones",
        "3-class",
    ),
    runs_per_policy: int = 3,
    epochs: int = 3,
    batch_size: int = 16,
    lr: float = 0.0,
    validation_interval: float = 0.1,
    checkpoints_per_run: int = 10,
    checkpoints_per_finding: int = 10,
    side: int = 320,
    findings: str = "",
    initial_weights: str = "",
    validation_fraction: float = 0.15,
    augment: bool = True,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
    device: str = "cpu",
    n_devices: int = 1,
    seed: int = 0,
) -> None:
    """Train an ensemble by the recipe of CheXpert; the same command continues one that was stopped.

    OUT/final.json is what `--model` takes: for each finding its best checkpoints. OUT/selection.csv has their
    validation AUROC, and that of the ensembles.

    Parameters
    ----------
    data
        Data set with labels; chexpert:DIR reads train.csv and valid.csv.
    out
        Folder of the ensemble; each run gets a folder POLICY-RUN in it.
    arch
        Architecture without its size, for example densenet121, resnet152, inception_v4.
    uncertainty_policies
        Values of uncertain labels: ignore (unknown), zeros, ones, 3-class (a class of its own). Each policy has its
        own runs.
    runs_per_policy
        Runs per policy, with different seeds.
    epochs
        Passes over the training data in each run.
    batch_size
        Radiographs per training step.
    lr
        Learning rate of Adam; 0 takes the published one of the architecture, or 1e-4.
    validation_interval
        Share of an epoch between validations.
    checkpoints_per_run
        Checkpoints kept per run: the best by mean AUROC over the five competition findings.
    checkpoints_per_finding
        Checkpoints per finding in the ensemble: the best of all runs by that finding's AUROC.
    side
        Height and width of the input, in pixels.
    findings
        Findings, comma-separated; all of the data set by default.
    initial_weights
        Checkpoint to start from, for example ImageNet weights; its last layer is left out if it does not fit.
    validation_fraction
        Share of the patients used for validation if the data set has no validation split.
    augment
        Rotate, shift and scale images and change their exposure, a little.
    precision
        bfloat16 (mixed precision) or float32.
    device
        cpu or cuda.
    n_devices
        Devices that train one network together.
    seed
        Seed of the first run; run N of a policy has seed + N.
    """
    from sightline.training.chexpert import EnsembleConfig, train_ensemble

    opened = open_dataset(data)
    config = EnsembleConfig(
        arch=arch,
        uncertainty_policies=uncertainty_policies,
        runs_per_policy=runs_per_policy,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        validation_interval=validation_interval,
        checkpoints_per_run=checkpoints_per_run,
        checkpoints_per_finding=checkpoints_per_finding,
        side=side,
        initial_weights=initial_weights,
        validation_fraction=validation_fraction,
        augment=augment,
        precision=precision,
        seed=seed,
    )
    names = select_findings(findings or None, opened.findings)
    _print_ensemble(train_ensemble(opened, out, config, names, device=device, n_devices=n_devices), out)


def _print_ensemble(run: Run, out: Path) -> None:
    from sightline.stats.estimates import AVERAGE

    table = run.table("classification")
    for model, part in table.groupby("model", sort=False):
        findings, row = part[part["finding"] != AVERAGE], part.iloc[-1]  # the average, or the only finding
        interval = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}] over {len(findings)} findings"
        print(f"{model}: mean validation AUROC {interval}, {findings['n'].max()} studies of {row['patients']} patients")
    print(f"Selected on these same patients: estimate its accuracy on other data. Written: {out / 'final.json'}")
