"""`pretrain`: train an image encoder on reports, or on images alone, without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.rng import PRETRAINING_WEIGHTS, PROJECTIONS, TEXT_ENCODER, keyed_rng
from sightline.core import Array, Dataset
from sightline.errors import DataError, SightlineError
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_safely, load_weights, save_atomically, save_checkpoint
from sightline.models.convirt import EMBEDDING_DIM, DualEncoder, ImageEncoder, contrastive_loss
from sightline.models.image_text import save_dual_encoder
from sightline.models.pretrained import FROZEN_LAYERS, open_hub_encoder
from sightline.models.text_encoder import TextEncoder, Vocabulary
from sightline.runs.run import Run
from sightline.training.config import TrainingConfig
from sightline.training.contrastive_pairs import PAIR_WITH, ContrastivePairs, PairSource, PairWith, make_pairs
from sightline.training.contrastive_validation import validate_pairs
from sightline.training.distributed import ProcessGroup, run_processes
from sightline.training.loop import STATE_FORMAT, load_state, run_training, update_info
from sightline.training.prefetch import DataWait
from sightline.training.schedule import learning_rate

TRAINED_HERE = "scratch"
"""Text encoder that is trained on the reports; any other is one of Hugging Face."""
CONTRASTIVE_CONFIG = TrainingConfig(lr=1e-3, weight_decay=1e-6)
"""Configuration of a pre-training, to be changed by `dataclasses.replace`; the weight decay is that of ConVIRT."""
CONFIG_FIELDS = ("epochs", "batch_size", "lr", "weight_decay", "seed", "precision")
"""Fields of a configuration that a pre-training uses."""


def pretrain(
    model: Model,
    data: Dataset,
    out: str | Path,
    config: TrainingConfig = CONTRASTIVE_CONFIG,
    *,
    pair_with: PairWith = "reports",
    text_encoder: str = TRAINED_HERE,
    frozen_layers: int = FROZEN_LAYERS,
    embedding_dim: int = EMBEDDING_DIM,
    split_seed: int | None = None,
    validation_fraction: float = 0.15,
    cache: Path | None = None,
    workers: int = 1,
    n_devices: int = 1,
) -> Model:
    """Train the body of a copy of `model` contrastively; its head stays as it was.

    Images without a usable report (none, no findings or impression, not English) are left out and counted in run.json.
    Patients are split as in `fit`; labels are used for retrieval alone. AdamW, one cosine cycle; random numbers are
    keyed by (seed, epoch).

    The run folder gets best.pt, a checkpoint of the classifier with the body of the lowest validation loss; joint.pt,
    the pair of encoders for 'contrastive:joint.pt'; and in run.json losses, the precision of retrieval at 5, 10 and 50,
    image to image (the same findings) and text to image (a finding's name), and the share of the time that steps waited
    for data. The same call continues a run that was killed and ends with the same weights on the same machine.

    Parameters
    ----------
    model
        Classifier with spatial features.
    data
        Data set with images, and with reports for pairs of image and report.
    out
        Run folder.
    config
        Configuration, as `replace(CONTRASTIVE_CONFIG, ...)` of the fields in `CONFIG_FIELDS`.
    pair_with
        'reports' pairs an image with a sentence of its report, a new one each epoch (Zhang et al. 2020,
        arXiv:2010.00747: τ 0.1, λ 0.75); 'images' with another augmentation of itself.
    text_encoder
        'scratch', a small transformer with the vocabulary of the reports, or an encoder of Hugging Face by name or
        folder.
    frozen_layers
        Number of first layers of an encoder of Hugging Face that are not trained; its embeddings never are.
    embedding_dim
        Dimension of the joint space of images and sentences.
    split_seed
        Seed of the split; by default that of the configuration.
    validation_fraction
        Share of the patients used for validation if the data set has no validation split.
    cache
        Folder of decoded images that trainings on the same images share; by default the run's own.
    workers
        Number of processes that decode images.
    n_devices
        Number of processes that train, each on its own device (Lightning Fabric).

    Returns
    -------
    Model
        The pre-trained model, without a training record.

    Raises
    ------
    DataError
        If the data set has no reports, or fewer than two batches of usable ones.
    SightlineError
        For a network without spatial features, or a configuration with fields that a pre-training does not use.
    """
    _check_options(model, config, pair_with, text_encoder, embedding_dim, n_devices)
    seed, batch_size = config.seed, config.batch_size
    splitting = seed if split_seed is None else split_seed
    options = {
        **asdict(config),
        "pair_with": pair_with,
        "text_encoder": text_encoder,
        "frozen_layers": frozen_layers,
        "embedding_dim": embedding_dim,
        "data": data.spec,
        "validation_fraction": validation_fraction,
        "split_seed": splitting,
    }
    run = Run.start(out, "pretrain", {**options, "model": model.name, "initial": state_hash(model.net)})
    with run.lock():
        pairs = make_pairs(run, model, PairSource(data, pair_with, validation_fraction, splitting, cache, workers))
        encoder = None
        if pair_with == "reports":
            pairs, encoder = _with_tokenizer(pairs, text_encoder, frozen_layers, seed)
        if len(pairs.train) < 2 * batch_size or len(pairs.val) < 2:
            raise DataError(
                f"{data.spec!r}: {len(pairs.train)} images for training and {len(pairs.val)} for validation have a "
                f"usable {pair_with[:-1]}; at least {2 * batch_size} and 2 are needed"
            )
        student = replace(model, net=copy.deepcopy(model.net), training_record=None)
        joint = _make_dual_encoder(student, encoder, embedding_dim, seed)
        record = TrainingRecord(data.spec, 1.0, seed, derived=("reports without labels",))
        run_processes(n_devices, model.device.type, _train, run.path, student, joint, pairs, config, record)
        load_weights(student.net, run.path / "best.pt", load_safely(run.path / "best.pt"))
    return student


def _check_options(
    model: Model, config: TrainingConfig, pair_with: str, text_encoder: str, embedding_dim: int, n_devices: int
) -> None:
    if pair_with not in PAIR_WITH or config.batch_size % n_devices or embedding_dim < 1:
        raise SightlineError(
            f"pair_with={pair_with!r}, batch_size={config.batch_size}, embedding_dim={embedding_dim}, "
            f"n_devices={n_devices}; allowed: {', '.join(PAIR_WITH)}, batch_size a multiple of n_devices, "
            "embedding_dim from 1"
        )
    unused = [f.name for f in fields(TrainingConfig) if f.name not in CONFIG_FIELDS]
    changed = [
        f"{name}={value!r}" for name in unused if (value := getattr(config, name)) != getattr(CONTRASTIVE_CONFIG, name)
    ]
    if changed:
        raise SightlineError(
            f"a pre-training uses {', '.join(CONFIG_FIELDS)} of a configuration; leave out {', '.join(changed)}"
        )
    if pair_with == "images" and text_encoder != TRAINED_HERE:
        raise SightlineError(
            f"pairs of images need no text encoder; leave out text_encoder={text_encoder!r}, or pre-train with reports"
        )
    if model.feature_layer is None:
        raise SightlineError(f"{model.name} has no spatial features to pre-train; name a network that has")


def _with_tokenizer(
    pairs: ContrastivePairs, text_encoder: str, frozen_layers: int, seed: int
) -> tuple[ContrastivePairs, nn.Module]:
    """Return the pairs with a tokenizer, and the text encoder."""
    if text_encoder != TRAINED_HERE:
        tokenizer, encoder = open_hub_encoder(text_encoder, frozen_layers)
        return replace(pairs, tokenizer=tokenizer), encoder
    vocabulary = Vocabulary.from_sentences(s for i in pairs.train for s in pairs.sentences[i])
    with _seed_torch(seed, TEXT_ENCODER):
        return replace(pairs, tokenizer=vocabulary), TextEncoder(len(vocabulary), vocabulary.max_length)


def _make_dual_encoder(model: Model, text_encoder: nn.Module | None, embedding_dim: int, seed: int) -> DualEncoder:
    """Return the network of both encoders; its projections are drawn from the seed."""
    assert model.feature_layer is not None
    with _seed_torch(seed, PROJECTIONS):
        image_encoder = ImageEncoder(model.net, model.feature_layer, embedding_dim)
        return DualEncoder(image_encoder, text_encoder, embedding_dim).to(model.device)


@contextmanager
def _seed_torch(seed: int, part: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keyed_rng(seed, PRETRAINING_WEIGHTS, part).integers(2**62)))
        yield


@dataclass(slots=True)
class ContrastiveTrainer:
    """A pair of encoders in training: a `sightline.training.loop.Trainer`."""

    process_group: ProcessGroup
    """Processes that train together; the images of one are negatives of the others."""
    out: Path
    """Run folder."""
    model: Model
    """Classifier whose body is the image encoder."""
    encoder: DualEncoder
    """Encoders of images and sentences."""
    net: nn.Module
    """The encoders to call in training, with gradients of all processes."""
    optimizer: torch.optim.Optimizer
    """Optimizer of the encoders."""
    pairs: ContrastivePairs
    """Images and their partners."""
    config: TrainingConfig
    """Options of the optimization."""
    record: TrainingRecord
    """Record of the pre-training, completed in every checkpoint."""
    best_loss: float = math.inf
    """Lowest validation loss."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Result of each epoch, as in run.json."""
    title: str = "pre-train"

    def is_finished(self) -> bool:
        """Return False: all epochs are run.

        Returns
        -------
        bool
        """
        return False

    def draw_batch(self, rows: Array, interval: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Load and augment one batch.

        Parameters
        ----------
        rows : (B,) int64
            Rows of the pairs.
        interval
            Number of the epoch.
        generator
            Random numbers of the epoch.

        Returns
        -------
        tuple of Tensor
            Images and partners, see `ContrastivePairs.draw_batch`.
        """
        return self.pairs.draw_batch(rows, self.config, interval, generator)

    def step(self, batch: tuple[Tensor, Tensor], share_done: float) -> float:
        """Train on this process's share of one batch.

        Parameters
        ----------
        batch
            Result of `draw_batch`.
        share_done
            Share of the training that is done.

        Returns
        -------
        float
            Loss of this process.
        """
        device, group = self.model.device, self.process_group
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate(self.config, share_done, 0)
        self.net.train()
        share = slice(group.rank, None, group.size)
        images, partners = batch[0][share].to(device), batch[1][share].to(device)
        if partners.is_floating_point():
            partners = self.model.normalize(partners)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            v, u = self.net(self.model.normalize(images), partners)
        v, u = v.float(), u.float()
        loss = contrastive_loss(group.gather(v), group.gather(u), first_row=group.rank * len(v), n_rows=len(v))
        self.optimizer.zero_grad()
        group.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def finish_interval(self, losses: Sequence[float], wait: DataWait) -> str:
        """Validate and save.

        Parameters
        ----------
        losses
            Losses of the epoch.
        wait
            Time that was spent waiting for data.

        Returns
        -------
        str
            Result for the progress bar.
        """
        epoch, loss = len(self.history) + 1, float(np.mean(losses))
        row = {"epoch": epoch, "loss": loss, **validate_pairs(self.encoder, self.model, self.pairs, self.config)}
        is_best = row["val_loss"] < self.best_loss or epoch == 1
        self.history.append(row)
        self.best_loss = min(self.best_loss, row["val_loss"])
        if self.process_group.rank == 0:
            self._save(is_best)
            update_info(self.out, data_wait=wait.summary)
        return f"loss {loss:.3f}, validation {row['val_loss']:.3f}"

    def _save(self, is_best: bool) -> None:
        if is_best:
            save_checkpoint(self.model, self.out / "best.pt")
            trained = replace(self.model, training_record=replace(self.record, epochs=len(self.history)))
            save_dual_encoder(trained, self.encoder, self.pairs.tokenizer, self.out / "joint.pt")
        weights = {"net": self.encoder.state_dict(), "optimizer": self.optimizer.state_dict()}
        state = {"format": STATE_FORMAT, "best_loss": self.best_loss, "history": self.history, **weights}
        save_atomically(state, self.out / "last.pt")
        update_info(self.out, history=self.history)


def _train(
    process_group: ProcessGroup,
    out: Path,
    model: Model,
    encoder: DualEncoder,
    pairs: ContrastivePairs,
    config: TrainingConfig,
    record: TrainingRecord,
) -> None:
    """Train a pair of encoders from where last.pt is; only the first process writes."""
    model = replace(model, net=encoder.image_encoder.net)  # one and the same, also if both were sent to a process
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    best_loss, history = math.inf, list[dict[str, Any]]()
    if (out / "last.pt").is_file():
        content = load_state(out / "last.pt")
        encoder.load_state_dict(content["net"])
        optimizer.load_state_dict(content["optimizer"])
        best_loss, history = content["best_loss"], content["history"]
    net = process_group.wrap_network(encoder, optimizer)
    trainer = ContrastiveTrainer(
        process_group, out, model, encoder, net, optimizer, pairs, config, record, best_loss, history
    )
    run_training(trainer, config, pairs.train, len(history), process_group)
