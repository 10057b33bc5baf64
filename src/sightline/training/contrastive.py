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

from sightline._util.progress import progress
from sightline._util.rng import PRETRAINING_WEIGHTS, PROJECTIONS, REPORT_SENTENCE, TEXT_ENCODER, keyed_rng
from sightline.core import Array, Dataset, Radiograph
from sightline.data.reports import is_english
from sightline.errors import DataError, SightlineError
from sightline.metrics.retrieval import AT, precision_at
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_safely, load_weights, save_checkpoint, save_whole
from sightline.models.convirt import WIDTH, Images, Pair, contrastive_loss
from sightline.models.image_text import save_pair, texts_of
from sightline.models.pretrained import FROZEN, hub_text
from sightline.models.text_encoder import TextEncoder, Vocabulary, Words
from sightline.runs.run import Run
from sightline.stats.bootstrap import nanmean
from sightline.training.augmentation import STRONG, augment
from sightline.training.config import Recipe
from sightline.training.distributed import Team, run_team
from sightline.training.image_cache import decoded, image_home
from sightline.training.loop import STATE_FORMAT, batches, load_state, note, randomness, rate
from sightline.training.prefetch import Wait, ahead
from sightline.training.split import split_by_patient

By = Literal["reports", "images"]
BYS: tuple[By, ...] = ("reports", "images")
"""What an image is paired with: a sentence of its report (ConVIRT), or another view of itself (as SimCLR)."""
OWN = "own"
"""The text encoder that is trained on the spot; any other is one of Hugging Face."""
CONTRASTIVE = Recipe(lr=1e-3, weight_decay=1e-6)
"""What a recipe of a pre-training is made from, by `dataclasses.replace`; the decay is ConVIRT's."""
FOLLOWED = ("epochs", "batch", "lr", "weight_decay", "seed", "precision")
"""What of a recipe a pre-training follows."""


@dataclass(frozen=True)
class Pairs:
    """Images and what goes with them."""

    file: Path
    """uint8 (n, side, side), .npy."""
    sentences: tuple[tuple[str, ...], ...]
    """Of each image; empty by images alone."""
    labels: Array
    """float32 (n, F), NaN where unknown: for retrieval alone, nothing is learned from them."""
    train: Array
    val: Array
    words: Words | None
    """None by images alone."""

    def images(self, rows: Array) -> Tensor:
        """float32 (B, side, side) in [0, 1]."""
        return torch.from_numpy(np.load(self.file, mmap_mode="r")[rows]).float() / 255

    def said(self, rows: Array, seed: int, epoch: int) -> Tensor:
        """int64 (B, L): a sentence of each report, drawn by (seed, epoch, row)."""
        assert self.words is not None
        drawn = [keyed_rng(seed, REPORT_SENTENCE, epoch, int(row)).integers(len(self.sentences[row])) for row in rows]
        return self.words.encode([self.sentences[row][at] for row, at in zip(rows, drawn, strict=True)])

    def drawn(self, rows: Array, recipe: Recipe, epoch: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """One batch: images (B, side, side) in [0, 1], and what goes with them: sentences, or second views."""
        images = self.images(rows)
        first = augment(images, draw, reach=STRONG)[0]
        if self.words is None:
            return first, augment(images, draw, reach=STRONG)[0]
        return first, self.said(rows, recipe.seed, epoch)


def pretrain(
    model: Model,
    data: Dataset,
    out: str | Path,
    recipe: Recipe = CONTRASTIVE,
    *,
    by: By = "reports",
    text: str = OWN,
    frozen: int = FROZEN,
    width: int = WIDTH,
    split_seed: int | None = None,
    val_share: float = 0.15,
    cache: Path | None = None,
    workers: int = 1,
    devices: int = 1,
) -> Model:
    """Train the body of a copy of `model` contrastively and return it, its head as it was, without a training record.

    by: 'reports' pairs an image with a sentence of its report, a new one each epoch (Zhang et al. 2020,
    arXiv:2010.00747: τ 0.1, λ 0.75); 'images' with another augmentation of itself. text: 'own', a small transformer
    whose vocabulary is that of the reports, or an encoder of Hugging Face by name or folder, of which the embeddings
    and the first `frozen` layers stay as they are. width: of the space in which both meet. Images without a usable
    report (none, no findings or impression, not English) are left out and counted in run.json. Patients are split as
    `fit` splits them; labels serve retrieval alone. AdamW, one cosine cycle; random numbers keyed by (seed, epoch).
    recipe: `replace(CONTRASTIVE, ...)` of what is in `FOLLOWED`.

    The run folder gets best.pt, a checkpoint of the classifier for `open_model`, with the body of the best validation
    loss; joint.pt, the pair of encoders for 'contrastive:joint.pt'; in run.json losses, the precision of retrieval at
    5, 10 and 50, image to image (the same findings) and text to image (a finding's name), and the share of the time
    that steps waited for data. The same call continues a run that was killed and ends with the same weights on the
    same machine.

    Errors: `DataError` if the data set has no reports, or fewer than two batches of usable ones; `SightlineError` for a
    network without spatial features, or a recipe that asks for what a pre-training does not follow.
    """
    _check(model, recipe, by, text, width, devices)
    seed, batch = recipe.seed, recipe.batch
    splitting = seed if split_seed is None else split_seed
    options = {**asdict(recipe), "by": by, "text": text, "frozen": frozen, "width": width, "data": data.spec,
               "val_share": val_share, "split_seed": splitting}  # fmt: skip
    run = Run.start(out, "pretrain", {**options, "model": model.name, "initial": state_hash(model.net)})
    with run.lock():
        pairs = _pairs(run, cache, model, data, by, val_share, splitting, workers)
        encoder = None
        if by == "reports":
            pairs, encoder = _with_words(pairs, text, frozen, seed)
        if len(pairs.train) < 2 * batch or len(pairs.val) < 2:
            raise DataError(
                f"{data.spec!r}: {len(pairs.train)} images to learn from and {len(pairs.val)} to validate by have a "
                f"usable {'report' if by == 'reports' else 'image'}; at least {2 * batch} and 2 are needed"
            )
        student = replace(model, net=copy.deepcopy(model.net), training=None)
        joint = _joint(student, encoder, width, seed)
        run_team(devices, model.device.type, _train, run.path, student, joint, pairs, recipe, data.spec)
        load_weights(student.net, run.path / "best.pt", load_safely(run.path / "best.pt"))
    return student


def _check(model: Model, recipe: Recipe, by: str, text: str, width: int, devices: int) -> None:
    if by not in BYS or recipe.batch % devices or width < 1:
        raise SightlineError(
            f"by={by!r}, batch={recipe.batch}, width={width}, devices={devices}; allowed: {', '.join(BYS)}, "
            "batch a multiple of devices, width from 1"
        )
    others = [field.name for field in fields(Recipe) if field.name not in FOLLOWED]
    ignored = [f"{name}={asked!r}" for name in others if (asked := getattr(recipe, name)) != getattr(CONTRASTIVE, name)]
    if ignored:
        raise SightlineError(
            f"a pre-training follows {', '.join(FOLLOWED)} of a recipe; leave out {', '.join(ignored)}"
        )
    if by == "images" and text != OWN:
        raise SightlineError(f"by images alone no text is read; leave out text={text!r}, or pre-train by reports")
    if model.cut is None:
        raise SightlineError(f"{model.name} has no spatial features to pre-train; name a network that has")


def _pairs(
    run: Run, cache: Path | None, model: Model, data: Dataset, by: By, val_share: float, seed: int, workers: int
) -> Pairs:
    if by == "reports" and data.reports is None:
        raise DataError(f"{data.spec!r} has no reports; data sets with reports are mimic:DIR, openi:PATH and phantom:N")
    radiographs = list(data.radiographs)
    split = split_by_patient(radiographs, val_share, 1.0, seed)
    home = image_home(run, cache, model, data.spec)
    films = decoded(home, model, radiographs, np.concatenate([split.train, split.val]), workers)
    chosen = [radiographs[i] for i in films.indices]
    said, told = _sentences(data, chosen) if by == "reports" else ([()] * len(chosen), {})
    usable = np.array([i not in films.reasons and (by == "images" or len(said[i]) > 0) for i in range(len(chosen))])
    train, val = ((rows := films.rows(some))[usable[rows]] for some in (split.train, split.val))
    note(run.path, unreadable=list(films.reasons.values()), reports=told, radiographs=[len(train), len(val)])
    labels = np.array([[r.labels.get(f, np.nan) for f in model.findings] for r in chosen], np.float32)
    return Pairs(films.file, tuple(said), labels, train, val, None)


def _with_words(pairs: Pairs, text: str, frozen: int, seed: int) -> tuple[Pairs, nn.Module]:
    """How sentences are read, and by what."""
    if text != OWN:
        words, encoder = hub_text(text, frozen)
        return replace(pairs, words=words), encoder
    vocabulary = Vocabulary.of(s for i in pairs.train for s in pairs.sentences[i])
    with _drawn_from(seed, TEXT_ENCODER):
        return replace(pairs, words=vocabulary), TextEncoder(len(vocabulary), vocabulary.length)


def _sentences(data: Dataset, radiographs: Sequence[Radiograph]) -> tuple[list[tuple[str, ...]], dict[str, int]]:
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


def _joint(model: Model, text: nn.Module | None, width: int, seed: int) -> Pair:
    """The network of both encoders; its projections are drawn from the seed."""
    assert model.cut is not None
    with _drawn_from(seed, PROJECTIONS):
        return Pair(Images(model.net, model.cut, width), text, width).to(model.device)


@contextmanager
def _drawn_from(seed: int, part: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(keyed_rng(seed, PRETRAINING_WEIGHTS, part).integers(2**62)))
        yield


def _train(team: Team, out: Path, model: Model, net: Pair, pairs: Pairs, recipe: Recipe, data: str) -> None:
    """Epoch after epoch, from wherever last.pt stands. Only the first process writes."""
    model = replace(model, net=net.images.net)  # one and the same, also where both traveled here
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=recipe.lr,
                                  weight_decay=recipe.weight_decay)  # fmt: skip
    done, best, history = 0, math.inf, list[dict[str, Any]]()
    if (out / "last.pt").is_file():
        content = load_state(out / "last.pt")
        net.load_state_dict(content["net"])
        optimizer.load_state_dict(content["optimizer"])
        done, best, history = content["done"], content["best"], content["history"]
    joined = team.join(net, optimizer)
    steps = max(1, len(pairs.train) // recipe.batch)
    with progress() as bar:
        task = bar.add_task("pre-train", total=steps * recipe.epochs, completed=steps * done, unit="batches")
        for epoch in range(done, recipe.epochs):
            losses, wait = [], Wait()
            with randomness(recipe, epoch) as draw:
                for share, batch in _fed(pairs, recipe, epoch, draw, wait):
                    for group in optimizer.param_groups:
                        group["lr"] = rate(recipe, share, 0)
                    losses.append(_step(team, joined, model, optimizer, recipe, *batch))
                    bar.advance(task)
            facts = {"epoch": epoch + 1, "loss": float(np.mean(losses)), **validate(net, model, pairs, recipe)}
            history.append(facts)
            if team.rank == 0:
                better = facts["val_loss"] < best or epoch == 0
                record = TrainingRecord(data, 1.0, recipe.seed, epoch + 1, derived=("reports without labels",))
                _conclude(out, model, net, optimizer, pairs, history, record, better, min(best, facts["val_loss"]))
                note(out, data_wait=wait.facts)
            best = min(best, facts["val_loss"])
            bar.update(task, description=f"pre-train (loss {facts['loss']:.3f}, validation {facts['val_loss']:.3f})")
            team.wait()


def _fed(
    pairs: Pairs, recipe: Recipe, epoch: int, draw: torch.Generator, wait: Wait
) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
    """(share of the training done, batch) of an epoch; the next batches are made while a step runs."""

    def made(one: tuple[float, Array]) -> tuple[float, tuple[Tensor, Tensor]]:
        return one[0], pairs.drawn(one[1], recipe, epoch, draw)

    return ahead(batches(pairs.train, recipe, epoch), made, wait)


def _step(
    team: Team, net: nn.Module, model: Model, optimizer: torch.optim.Optimizer, recipe: Recipe, images: Tensor,
    other: Tensor,
) -> float:  # fmt: skip
    """One batch, shared out over the team, whose members are each other's negatives."""
    net.train()
    mine = slice(team.rank, None, team.size)
    first, second = images[mine].to(model.device), other[mine].to(model.device)
    if second.is_floating_point():
        second = model.normalize(second)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        v, u = net(model.normalize(first), second)
    v, u = v.float(), u.float()
    loss = contrastive_loss(team.gather(v), team.gather(u), start=team.rank * len(v), rows=len(v))
    optimizer.zero_grad()
    team.backward(loss)
    optimizer.step()
    return float(loss.detach())


def validate(net: Pair, model: Model, pairs: Pairs, recipe: Recipe) -> dict[str, float]:
    """The loss over batches of the validation pairs, and the precision of retrieval among them."""
    net.eval()
    vs, us, losses = [], [], []
    draw = torch.Generator().manual_seed(0)  # the same second views each time
    with torch.no_grad():
        for start in range(0, len(pairs.val), recipe.batch):
            rows = pairs.val[start : start + recipe.batch]
            images = pairs.images(rows)
            other = (pairs.said(rows, recipe.seed, 0) if pairs.words is not None
                     else model.normalize(augment(images, draw, reach=STRONG)[0])).to(model.device)  # fmt: skip
            v, u = net(model.normalize(images).to(model.device), other)
            losses.append(float(contrastive_loss(v.float(), u.float())) * len(rows))
            vs.append(v.float().cpu())
            us.append(u.float().cpu())
    if not all(map(math.isfinite, losses)):
        raise SightlineError("the contrastive loss is no longer finite; train with a smaller lr, in a new folder")
    return {"val_loss": sum(losses) / len(pairs.val)} | _retrieval(net, model, pairs, torch.cat(vs).numpy())


def _retrieval(net: Pair, model: Model, pairs: Pairs, images: Array) -> dict[str, float]:
    """Mean precision at 5, 10, 50: images of exactly the same findings, and images of the finding that is named."""
    known = pairs.labels[pairs.val] == 1  # (n, F)
    shown = known.any(1)
    alike = (known[:, None] == known[None]).all(2)
    np.fill_diagonal(alike, False)  # nothing retrieves itself
    found = {"image": nanmean(precision_at(images[shown], images, alike[shown]).T)}
    if pairs.words is not None:
        text = texts_of(net, pairs.words, model.findings)[:, 0].numpy()
        found["text"] = nanmean(precision_at(text, images, known.T).T)
    told = {f"{kind}-at-{k}": float(value) for kind, row in found.items() for k, value in zip(AT, row, strict=True)}
    return {name: value for name, value in told.items() if not math.isnan(value)}  # fewer films than that


def _conclude(
    out: Path, model: Model, net: Pair, optimizer: torch.optim.Optimizer, pairs: Pairs, history: list[dict[str, Any]],
    record: TrainingRecord, better: bool, best: float,
) -> None:  # fmt: skip
    if better:
        save_checkpoint(model, out / "best.pt")
        save_pair(replace(model, training=record), net, pairs.words, out / "joint.pt")
    weights = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    save_whole(
        {"format": STATE_FORMAT, "done": len(history), "best": best, "history": history, **weights}, out / "last.pt"
    )
    note(out, history=history)
