"""Commands that train one network. Each is a function whose signature is its options."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sightline.data import open_dataset
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
        Architecture, for example small, densenet121?side=320, timm:resnet50; unet and retinanet learn from marks.
    findings
        Findings, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch
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
    uncertain
        What uncertain labels count as: ignore (unknown), zeros (absent) or ones (present).
    shuffle_labels
        Give each radiograph the labels of another: the control that `trust --shuffled` takes.
    shuffle_gaze
        Give each radiograph the gaze at another patient's: the control that `gaze --shuffled` takes.
    device
        cpu or cuda.
    """
    from sightline.models.zoo import open_model
    from sightline.training import labels
    from sightline.training.config import SamplingConfig, TrainingConfig
    from sightline.training.fit import fit

    recipe = TrainingConfig(epochs=epochs, batch_size=batch_size, lr=lr, schedule=schedule, seed=seed)
    sample = SamplingConfig(fraction=fraction, uncertainty_policy=uncertainty_policy)
    opened = labels.shuffle_labels(open_dataset(data), seed) if shuffle_labels else open_dataset(data)
    opened = labels.shuffle_gaze(opened, seed) if shuffle_gaze else opened
    start = open_model(model, select_findings(findings or None, opened.findings), seed=seed)
    start.net.to(device)
    trained = fit(start, opened, out, recipe, sample, workers=os.cpu_count() or 1)
    quality = trained.training_record.val_auroc if trained.training_record else None
    print(f"{out / 'best.pt'}: mean validation AUROC {quality if quality is None else round(quality, 3)}")


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
    """Teach a network by gaze with several weights of the gaze term, keep the best in validation, and its control.

    Parameters
    ----------
    data
        Data set with labels and gaze, as NAME:PATH?option=value.
    out
        Folder; its best.pt is what `gaze --taught` takes, its shuffled/best.pt what `gaze --shuffled` takes.
    model
        Architecture, for example densenet121?side=256.
    by
        What is compared with gaze: the map of a decoder, the network's own Grad-CAM (cam), or a gate on the features.
    weights
        Weights of the gaze loss to try; the one with the best mean validation AUROC is kept.
    findings
        Findings, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch
        Radiographs per training step.
    lr
        Highest learning rate.
    schedule
        Schedule of the learning rate: cosine (rises, then falls), constant, or plateau, which halves it after 3
        validations without a lower loss and stops after 10.
    seed
        Seed of initial weights, split of the patients and order of batches.
    uncertain
        What uncertain labels count as: ignore (unknown), zeros (absent) or ones (present).
    device
        cpu or cuda.
    """
    from sightline.models.checkpoint import save_checkpoint
    from sightline.models.zoo import open_model
    from sightline.training.config import SamplingConfig, TrainingConfig
    from sightline.training.gaze_weight_search import search_gaze_weight

    recipe = TrainingConfig(epochs=epochs, batch_size=batch_size, lr=lr, schedule=schedule, seed=seed)
    opened = open_dataset(data)
    wanted, (head, _, options) = select_findings(findings or None, opened.findings), model.partition("?")

    def make(weight: float) -> Model:
        spec = (
            f"gaze-supervised:{head}?supervised_map={supervised_map}&weight={weight:g}{'&' if options else ''}{options}"
        )
        blank = open_model(spec, wanted, seed=seed)
        blank.net.to(device)
        return blank

    found = search_gaze_weight(
        make,
        opened,
        out,
        gaze_weights,
        recipe,
        SamplingConfig(uncertainty_policy=uncertainty_policy),
        cache=out / "images",
        workers=os.cpu_count() or 1,
    )
    save_checkpoint(found.supervised, out / "best.pt")
    tried = ", ".join(f"{weight:g}: {auroc:.3f}" for weight, auroc in found.aurocs.items())
    print(f"{out / 'best.pt'}: weight {found.best_weight:g}; mean validation AUROC by weight {tried}")


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
    """Teach a network by reports or by images alone, without labels; the same command continues.

    Parameters
    ----------
    data
        Data set with reports, as mimic:DIR, openi:PATH or phantom:N; for `--by images`, any.
    out
        Run folder. Its best.pt is what `pretraining --inits NAME=best.pt` and `train classifier --model ARCH:best.pt`
        take; contrastive:joint.pt is a model that finds what is described in words.
    model
        Architecture of the image encoder, for example torchvision:resnet50?side=224.
    by
        What an image is paired with: its report (reports, ConVIRT) or a second view of itself (images).
    text
        Text encoder: own, a small transformer trained here, or one of Hugging Face by name or folder (in ConVIRT
        emilyalsentzer/Bio_ClinicalBERT).
    frozen
        How many of the first layers of a Hugging Face encoder stay frozen; its embeddings always do.
    width
        Dimension of the joint space of images and sentences; 512 in ConVIRT.
    findings
        Findings on which retrieval is tested, comma-separated; all of the data set by default.
    epochs
        Passes over the training data.
    batch
        Radiographs per training step; each is contrasted with the others in its batch.
    lr
        Highest learning rate.
    seed
        Seed of initial weights, split of the patients and order of batches.
    precision
        float32, or bfloat16 for the forward pass.
    devices
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
    told = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name != "epoch")
    print(f"{out / 'best.pt'}: {told}; waited for data {info['data_wait']['share']:.1%} of the time")
