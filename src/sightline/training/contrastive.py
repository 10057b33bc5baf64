"""`pretrain`: teach an image encoder by the reports that go with its images, or by its images alone, without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.progress import progress_bar
from sightline._util.rng import PRETRAINING_WEIGHTS, PROJECTIONS, REPORT_SENTENCE, TEXT_ENCODER, keyed_rng
from sightline.core import Array, Dataset, Radiograph
from sightline.data.reports import is_english
from sightline.errors import DataError, SightlineError
from sightline.metrics.retrieval import DEFAULT_KS, precision_at_k
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_safely, load_weights, save_atomically, save_checkpoint
from sightline.models.convirt import EMBEDDING_DIM, DualEncoder, ImageEncoder, contrastive_loss
from sightline.models.image_text import embed_findings, save_dual_encoder
from sightline.models.pretrained import FROZEN_LAYERS, open_hub_encoder
from sightline.models.text_encoder import TextEncoder, Tokenizer, Vocabulary
from sightline.runs.run import Run
from sightline.stats.bootstrap import nanmean
from sightline.training.augmentation import STRONG_AUGMENTATION, augment
from sightline.training.config import TrainingConfig
from sightline.training.distributed import ProcessGroup, run_processes
from sightline.training.image_cache import decode_images, open_image_cache
from sightline.training.loop import (
    STATE_FORMAT,
    iterate_batches,
    learning_rate,
    load_state,
    seeded_generator,
    update_info,
)
from sightline.training.prefetch import DataWait, prefetch_timed
from sightline.training.split import split_by_patient

PairWith = Literal["reports", "images"]
PAIR_WITH: tuple[PairWith, ...] = ("reports", "images")
"""What an image is paired with: a sentence of its report (ConVIRT), or another view of itself (as SimCLR)."""
TRAINED_HERE = "scratch"
"""The text encoder that is trained on the spot; any other is one of Hugging Face."""
CONTRASTIVE_CONFIG = TrainingConfig(lr=1e-3, weight_decay=1e-6)
"""What a recipe of a pre-training is made from, by `dataclasses.replace`; the decay is ConVIRT's."""
CONFIG_FIELDS = ("epochs", "batch_size", "lr", "weight_decay", "seed", "precision")
"""What of a recipe a pre-training follows."""


@dataclass(frozen=True)
class ContrastivePairs:
    """Images and what goes with them."""

    file: Path
    """uint8 (n, side, side), .npy."""
    sentences: tuple[tuple[str, ...], ...]
    """Of each image; empty by images alone."""
    labels: Array
    """float32 (n, F), NaN where unknown: for retrieval alone, nothing is learned from them."""
    train: Array
    val: Array
    tokenizer: Tokenizer | None
    """None by images alone."""

    def load_images(self, rows: Array) -> Tensor:
        """float32 (B, side, side) in [0, 1]."""
        return torch.from_numpy(np.load(self.file, mmap_mode="r")[rows]).float() / 255

    def draw_sentences(self, rows: Array, seed: int, epoch: int) -> Tensor:
        """int64 (B, L): a sentence of each report, drawn by (seed, epoch, row)."""
        assert self.tokenizer is not None
        drawn = [keyed_rng(seed, REPORT_SENTENCE, epoch, int(row)).integers(len(self.sentences[row])) for row in rows]
        return self.tokenizer.encode([self.sentences[row][at] for row, at in zip(rows, drawn, strict=True)])

    def draw_batch(
        self, rows: Array, config: TrainingConfig, epoch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """One batch: images (B, side, side) in [0, 1], and what goes with them: sentences, or second views."""
        images = self.load_images(rows)
        first = augment(images, generator, strength=STRONG_AUGMENTATION)[0]
        if self.tokenizer is None:
            return first, augment(images, generator, strength=STRONG_AUGMENTATION)[0]
        return first, self.draw_sentences(rows, config.seed, epoch)


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
    """Train the body of a copy of `model` contrastively and return it, its head as it was, without a training record.

    by: 'reports' pairs an image with a sentence of its report, a new one each epoch (Zhang et al. 2020,
    arXiv:2010.00747: τ 0.1, λ 0.75); 'images' with another augmentation of itself. text: 'scratch', a small transformer
    whose vocabulary is that of the reports, or an encoder of Hugging Face by name or folder, of which the embeddings
    and the first `frozen` layers stay as they are. width: of the space in which both meet. Images without a usable
    report (none, no findings or impression, not English) are left out and counted in run.json. Patients are split as
    `fit` splits them; labels serve retrieval alone. AdamW, one cosine cycle; random numbers keyed by (seed, epoch).
    recipe: `replace(CONTRASTIVE, ...)` of what is in `CONFIG_FIELDS`.

    The run folder gets best.pt, a checkpoint of the classifier for `open_model`, with the body of the best validation
    loss; joint.pt, the pair of encoders for 'contrastive:joint.pt'; in run.json losses, the precision of retrieval at
    5, 10 and 50, image to image (the same findings) and text to image (a finding's name), and the share of the time
    that steps waited for data. The same call continues a run that was killed and ends with the same weights on the
    same machine.

    Errors: `DataError` if the data set has no reports, or fewer than two batches of usable ones; `SightlineError` for a
    network without spatial features, or a recipe that asks for what a pre-training does not follow.
    """
    _check_options(model, config, pair_with, text_encoder, embedding_dim, n_devices)
    seed, batch = config.seed, config.batch_size
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
        pairs = _make_pairs(run, cache, model, data, pair_with, validation_fraction, splitting, workers)
        encoder = None
        if pair_with == "reports":
            pairs, encoder = _with_tokenizer(pairs, text_encoder, frozen_layers, seed)
        if len(pairs.train) < 2 * batch or len(pairs.val) < 2:
            raise DataError(
                f"{data.spec!r}: {len(pairs.train)} images to learn from and {len(pairs.val)} to validate by have a "
                f"usable {'report' if pair_with == 'reports' else 'image'}; at least {2 * batch} and 2 are needed"
            )
        student = replace(model, net=copy.deepcopy(model.net), training_record=None)
        joint = _make_dual_encoder(student, encoder, embedding_dim, seed)
        run_processes(n_devices, model.device.type, _train, run.path, student, joint, pairs, config, data.spec)
        load_weights(student.net, run.path / "best.pt", load_safely(run.path / "best.pt"))
    return student


def _check_options(
    model: Model, config: TrainingConfig, pair_with: str, text_encoder: str, embedding_dim: int, n_devices: int
) -> None:
    if pair_with not in PAIR_WITH or config.batch_size % n_devices or embedding_dim < 1:
        raise SightlineError(
            f"by={pair_with!r}, batch={config.batch_size}, width={embedding_dim}, devices={n_devices}; "
            f"allowed: {', '.join(PAIR_WITH)}, "
            "batch a multiple of devices, width from 1"
        )
    others = [field.name for field in fields(TrainingConfig) if field.name not in CONFIG_FIELDS]
    ignored = [
        f"{name}={asked!r}" for name in others if (asked := getattr(config, name)) != getattr(CONTRASTIVE_CONFIG, name)
    ]
    if ignored:
        raise SightlineError(
            f"a pre-training follows {', '.join(CONFIG_FIELDS)} of a recipe; leave out {', '.join(ignored)}"
        )
    if pair_with == "images" and text_encoder != TRAINED_HERE:
        raise SightlineError(
            f"by images alone no text is read; leave out text={text_encoder!r}, or pre-train by reports"
        )
    if model.feature_layer is None:
        raise SightlineError(f"{model.name} has no spatial features to pre-train; name a network that has")


def _make_pairs(
    run: Run,
    cache: Path | None,
    model: Model,
    data: Dataset,
    pair_with: PairWith,
    validation_fraction: float,
    seed: int,
    workers: int,
) -> ContrastivePairs:
    if pair_with == "reports" and data.reports is None:
        raise DataError(f"{data.spec!r} has no reports; data sets with reports are mimic:DIR, openi:PATH and phantom:N")
    radiographs = list(data.radiographs)
    split = split_by_patient(radiographs, validation_fraction, 1.0, seed)
    home = open_image_cache(run, cache, model, data.spec)
    films = decode_images(home, model, radiographs, np.concatenate([split.train, split.val]), workers)
    chosen = [radiographs[i] for i in films.indices]
    said, told = _usable_sentences(data, chosen) if pair_with == "reports" else ([()] * len(chosen), {})
    usable = np.array(
        [i not in films.reasons and (pair_with == "images" or len(said[i]) > 0) for i in range(len(chosen))]
    )
    train, val = ((rows := films.rows(some))[usable[rows]] for some in (split.train, split.val))
    update_info(run.path, unreadable=list(films.reasons.values()), reports=told, radiographs=[len(train), len(val)])
    labels = np.array([[r.labels.get(f, np.nan) for f in model.findings] for r in chosen], np.float32)
    return ContrastivePairs(films.file, tuple(said), labels, train, val, None)


def _with_tokenizer(
    pairs: ContrastivePairs, text_encoder: str, frozen_layers: int, seed: int
) -> tuple[ContrastivePairs, nn.Module]:
    """How sentences are read, and by what."""
    if text_encoder != TRAINED_HERE:
        words, encoder = open_hub_encoder(text_encoder, frozen_layers)
        return replace(pairs, tokenizer=words), encoder
    vocabulary = Vocabulary.from_sentences(s for i in pairs.train for s in pairs.sentences[i])
    with _seed_torch(seed, TEXT_ENCODER):
        return replace(pairs, tokenizer=vocabulary), TextEncoder(len(vocabulary), vocabulary.max_length)


def _usable_sentences(data: Dataset, radiographs: Sequence[Radiograph]) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Usable sentences of each report, and how many reports are usable and why others are not."""
    assert data.reports is not None
    found: list[tuple[str, ...]] = []
    told = {"usable": 0, "missing": 0, "damaged": 0, "not English": 0, "without findings or impression": 0}
    for radiograph in radiographs:
        try:
            report = data.reports(radiograph.id)
        except DataError:
            told["damaged"] += 1
            found.append(())
            continue
        sentences = () if report is None else tuple(report.sentences())
        if sentences and not is_english(" ".join(sentences)):
            why, sentences = "not English", ()
        else:
            why = "usable" if sentences else "missing" if report is None else "without findings or impression"
        told[why] += 1
        found.append(sentences)
    return found, told


def _make_dual_encoder(model: Model, text_encoder: nn.Module | None, embedding_dim: int, seed: int) -> DualEncoder:
    """The network of both encoders; its projections are drawn from the seed."""
    assert model.feature_layer is not None
    with _seed_torch(seed, PROJECTIONS):
        return DualEncoder(ImageEncoder(model.net, model.feature_layer, embedding_dim), text_encoder, embedding_dim).to(
            model.device
        )


@contextmanager
def _seed_torch(seed: int, part: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keyed_rng(seed, PRETRAINING_WEIGHTS, part).integers(2**62)))
        yield


def _train(
    process_group: ProcessGroup,
    out: Path,
    model: Model,
    net: DualEncoder,
    pairs: ContrastivePairs,
    config: TrainingConfig,
    data: str,
) -> None:
    """Epoch after epoch, from wherever last.pt stands. Only the first process writes."""
    model = replace(model, net=net.image_encoder.net)  # one and the same, also where both traveled here
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr=config.lr, weight_decay=config.weight_decay
    )
    done, best, history = 0, math.inf, list[dict[str, Any]]()
    if (out / "last.pt").is_file():
        content = load_state(out / "last.pt")
        net.load_state_dict(content["net"])
        optimizer.load_state_dict(content["optimizer"])
        done, best, history = content["done"], content["best"], content["history"]
    joined = process_group.wrap_network(net, optimizer)
    steps = max(1, len(pairs.train) // config.batch_size)
    with progress_bar() as bar:
        task = bar.add_task("pre-train", total=steps * config.epochs, completed=steps * done, unit="batches")
        for epoch in range(done, config.epochs):
            losses, wait = [], DataWait()
            with seeded_generator(config, epoch) as draw:
                for share, batch in _prefetch_batches(pairs, config, epoch, draw, wait):
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate(config, share, 0)
                    losses.append(_train_step(process_group, joined, model, optimizer, config, *batch))
                    bar.advance(task)
            facts = {"epoch": epoch + 1, "loss": float(np.mean(losses)), **validate(net, model, pairs, config)}
            history.append(facts)
            if process_group.rank == 0:
                better = facts["val_loss"] < best or epoch == 0
                record = TrainingRecord(data, 1.0, config.seed, epoch + 1, derived=("reports without labels",))
                _save_epoch(out, model, net, optimizer, pairs, history, record, better, min(best, facts["val_loss"]))
                update_info(out, data_wait=wait.summary)
            best = min(best, facts["val_loss"])
            bar.update(task, description=f"pre-train (loss {facts['loss']:.3f}, validation {facts['val_loss']:.3f})")
            process_group.synchronize()


def _prefetch_batches(
    pairs: ContrastivePairs, config: TrainingConfig, epoch: int, draw: torch.Generator, wait: DataWait
) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
    """(share of the training done, batch) of an epoch; the next batches are made while a step runs."""

    def made(one: tuple[float, Array]) -> tuple[float, tuple[Tensor, Tensor]]:
        return one[0], pairs.draw_batch(one[1], config, epoch, draw)

    return prefetch_timed(iterate_batches(pairs.train, config, epoch), made, wait)


def _train_step(
    process_group: ProcessGroup,
    net: nn.Module,
    model: Model,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    images: Tensor,
    other: Tensor,
) -> float:
    """One batch, shared out over the team, whose members are each other's negatives."""
    net.train()
    mine = slice(process_group.rank, None, process_group.size)
    first, second = images[mine].to(model.device), other[mine].to(model.device)
    if second.is_floating_point():
        second = model.normalize(second)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        v, u = net(model.normalize(first), second)
    v, u = v.float(), u.float()
    loss = contrastive_loss(
        process_group.gather(v), process_group.gather(u), first_row=process_group.rank * len(v), n_rows=len(v)
    )
    optimizer.zero_grad()
    process_group.backward(loss)
    optimizer.step()
    return float(loss.detach())


def validate(net: DualEncoder, model: Model, pairs: ContrastivePairs, config: TrainingConfig) -> dict[str, float]:
    """The loss over batches of the validation pairs, and the precision of retrieval among them."""
    net.eval()
    vs, us, losses = [], [], []
    draw = torch.Generator().manual_seed(0)  # the same second views each time
    with torch.no_grad():
        for start in range(0, len(pairs.val), config.batch_size):
            rows = pairs.val[start : start + config.batch_size]
            images = pairs.load_images(rows)
            other = (
                pairs.draw_sentences(rows, config.seed, 0)
                if pairs.tokenizer is not None
                else model.normalize(augment(images, draw, strength=STRONG_AUGMENTATION)[0])
            ).to(model.device)
            v, u = net(model.normalize(images).to(model.device), other)
            losses.append(float(contrastive_loss(v.float(), u.float())) * len(rows))
            vs.append(v.float().cpu())
            us.append(u.float().cpu())
    if not all(map(math.isfinite, losses)):
        raise SightlineError("the contrastive loss is no longer finite; train with a smaller lr, in a new folder")
    return {"val_loss": sum(losses) / len(pairs.val)} | _retrieval_precision(net, model, pairs, torch.cat(vs).numpy())


def _retrieval_precision(net: DualEncoder, model: Model, pairs: ContrastivePairs, images: Array) -> dict[str, float]:
    """Mean precision at 5, 10, 50: images of exactly the same findings, and images of the finding that is named."""
    known = pairs.labels[pairs.val] == 1  # (n, F)
    shown = known.any(1)
    alike = (known[:, None] == known[None]).all(2)
    np.fill_diagonal(alike, False)  # nothing retrieves itself
    found = {"image": nanmean(precision_at_k(images[shown], images, alike[shown]).T)}
    if pairs.tokenizer is not None:
        text = embed_findings(net, pairs.tokenizer, model.findings)[:, 0].numpy()
        found["text"] = nanmean(precision_at_k(text, images, known.T).T)
    told = {
        f"{kind}-at-{k}": float(value) for kind, row in found.items() for k, value in zip(DEFAULT_KS, row, strict=True)
    }
    return {name: value for name, value in told.items() if not math.isnan(value)}  # fewer films than that


def _save_epoch(
    out: Path,
    model: Model,
    net: DualEncoder,
    optimizer: torch.optim.Optimizer,
    pairs: ContrastivePairs,
    history: list[dict[str, Any]],
    record: TrainingRecord,
    better: bool,
    best: float,
) -> None:
    if better:
        save_checkpoint(model, out / "best.pt")
        save_dual_encoder(replace(model, training_record=record), net, pairs.tokenizer, out / "joint.pt")
    weights = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    save_atomically(
        {"format": STATE_FORMAT, "done": len(history), "best": best, "history": history, **weights}, out / "last.pt"
    )
    update_info(out, history=history)
