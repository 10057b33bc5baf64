"""The loop of a training: stretches of batches, each followed by a validation, a few files, and a place to resume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from sightline._util.formats import check_format
from sightline._util.progress import progress
from sightline.core import Array
from sightline.errors import RunError, SightlineError
from sightline.metrics.classification import auroc
from sightline.models import Model, TrainingRecord, state_hash, study_probabilities
from sightline.models.checkpoint import load_safely, load_weights, save_checkpoint, save_whole
from sightline.models.losses import masked_loss, three_class_loss
from sightline.models.map_collapse import collapse, listening
from sightline.models.memory_format import lay_out, layout
from sightline.models.multiclass_heads import Triples
from sightline.models.weight_randomization import blocks
from sightline.runs.run import Run
from sightline.training.augmentation import augment
from sightline.training.config import Recipe
from sightline.training.distributed import Team
from sightline.training.prefetch import Wait, ahead

STATE_FORMAT = 2
"""Format of last.pt, from which a training continues."""
WARM_UP = 0.1
"""Share of the steps over which the learning rate rises; then it falls along a cosine."""
AT_ONCE = 32
"""Images validated at once at least: a training of few labels has batches of few, in which a network is slow."""
PATIENCE, GIVE_UP = 3, 10
"""Of 'plateau': validations without a lower loss after which the learning rate is halved, and the training ends
(CheXclusion, Seyyed-Kalantari et al. 2021, arXiv:2003.00827)."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The images and labels of one training. Images stay on disk, so that it travels to other processes."""

    file: Path
    """uint8 (n, side, side), .npy."""
    labels: Array
    """float32 (n, F): 1, 0, NaN where unknown; -1 = uncertain where that is a class."""
    train: Array
    val: Array
    """Rows, int64."""
    studies: tuple[tuple[str, str], ...]
    """Patient and study of each validation row: names of studies may repeat between patients."""
    marks: Path | None = None
    """int8 (n, F, g, g) in percent, -1 where unknown, .npy; for a network that learns from marks."""

    def images(self, rows: Array) -> Tensor:
        """float32 (B, side, side) in [0, 1]."""
        return torch.from_numpy(np.load(self.file, mmap_mode="r")[rows]).float() / 255

    def marked(self, rows: Array) -> Tensor | None:
        """float32 (B, F, g, g) in [0, 1], NaN where unknown; None for a network that learns from labels alone."""
        if self.marks is None:
            return None
        percent = torch.from_numpy(np.load(self.marks, mmap_mode="r")[rows]).float()
        return torch.where(percent < 0, torch.nan, percent / 100)


@dataclass(slots=True)
class State:
    """How far a training has come."""

    done: int = 0
    """Stretches."""
    best: float = -math.inf
    """Validation AUROC of best.pt; NaN validations count as -infinity."""
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: list[tuple[float, str]] = field(default_factory=list)
    """The best checkpoints: validation AUROC and name, best first; of equals the earlier."""


@dataclass(slots=True)
class Course:
    """One training under way: what learns, from what, by which rules, with whom."""

    team: Team
    model: Model
    net: nn.Module
    """The model's network as the team calls it in training."""
    optimizer: torch.optim.Optimizer
    examples: Examples
    recipe: Recipe
    state: State
    layout: torch.memory_format
    head: tuple[str, ...] = ()
    """Paths of the modules that learn where the rest does not."""
    collapsed: str | None = None
    """Why the maps that the network shows say nothing ('' where they do), as last validated; None of one without."""


def train(team: Team, out: Path, model: Model, examples: Examples, recipe: Recipe, record: TrainingRecord) -> None:
    """Stretch after stretch, from wherever last.pt stands. Only the first process of the team writes."""
    form = layout(model.net)
    lay_out(model.net, form)
    optimizer = torch.optim.AdamW(groups(model, recipe), lr=recipe.lr, weight_decay=recipe.weight_decay)
    last = out / "last.pt"
    state = _resume(last, model, optimizer) if last.is_file() else State()
    head = blocks(model)[0].layers if recipe.learn == "head" else ()
    course = Course(team, model, team.join(model.net, optimizer), optimizer, examples, recipe, state, form, head)
    steps = max(1, len(examples.train) // recipe.batch)
    seen = [math.nan if (loss := h.get("val_loss")) is None else loss for h in state.history]  # of every process
    quality_seen = [math.nan if (q := h["val_auroc"]) is None else q for h in state.history]
    wait = Wait()
    with progress() as bar:
        before = round(steps * state.done / recipe.stretches)
        task = bar.add_task("train", total=steps * recipe.epochs, completed=before, unit="batches")
        for index in range(state.done, recipe.epochs * recipe.stretches):
            losses, (halvings, stale) = [], plateaus(seen)
            tired = recipe.patience and plateaus([-q for q in quality_seen])[1] >= recipe.patience
            if tired or (recipe.schedule == "plateau" and stale >= GIVE_UP):
                break
            with randomness(recipe, index) as generator:
                drawn = partial(_drawn, examples, recipe, generator)
                for share, rows, images, marks in ahead(batches(examples.train, recipe, index), drawn, wait):
                    alone = round(share * steps * recipe.epochs) < min(recipe.warm_up, steps * recipe.epochs // 2)
                    losses.append(_step(course, rows, images, marks, rate(recipe, share, halvings), alone))
                    bar.advance(task)
            state.done = index + 1
            with listening(model.net) as heard:
                result = validate(team, model, examples, max(recipe.batch, AT_ONCE))
            course.collapsed = _collapsed(course, heard)
            seen.append(cross_entropy(result[0], examples.labels[examples.val]))
            loss = float(np.mean(losses)) if losses else math.nan
            if team.rank == 0:
                _conclude(out, course, record, loss, *result)
                note(out, data_wait=wait.facts)
            quality = _mean(result[1], recipe.select)
            quality_seen.append(quality)
            said = f", maps {course.collapsed}" if course.collapsed else ""
            bar.update(task, description=f"train (loss {loss:.3f}, validation AUROC {quality:.3f}{said})")
            team.wait()
    lay_out(model.net, torch.contiguous_format)


def _conclude(
    out: Path, course: Course, record: TrainingRecord, loss: float, probabilities: Array, each: dict[str, float]
) -> None:
    """Write what a stretch has come to. Files that a kill leaves unfinished are written again, alike."""
    state, recipe, model = course.state, course.recipe, course.model
    quality, epoch, name = _mean(each, recipe.select), state.done / recipe.stretches, f"{state.done:06d}"
    val_loss = cross_entropy(probabilities, course.examples.labels[course.examples.val])
    facts = {"epoch": epoch, "loss": _or_none(loss), "val_auroc": _or_none(quality), "val_loss": _or_none(val_loss),
             "checkpoint": name}  # fmt: skip
    if course.collapsed is not None:
        facts["collapsed"] = course.collapsed
    state.history.append({**facts, "aurocs": {finding: _or_none(value) for finding, value in each.items()}})
    rank = -math.inf if math.isnan(quality) else quality
    sealed = replace(record, epochs=epoch, checkpoint=state_hash(model.net), val_auroc=_or_none(quality))
    state.kept = sorted([*state.kept, (rank, name)], key=lambda one: -one[0])[: recipe.keep]
    if (rank, name) in state.kept:
        _keep(out / "kept", name, replace(model, training=sealed), probabilities)
    if state.done == 1 or rank > state.best:
        state.best = rank
        if course.collapsed is not None:
            note(out, collapsed=course.collapsed)
        save_checkpoint(replace(model, training=sealed), out / "best.pt")
    weights = {"net": model.net.state_dict(), "optimizer": course.optimizer.state_dict()}
    save_whole({"format": STATE_FORMAT, **asdict(state), **weights}, out / "last.pt")
    note(out, history=state.history, kept=[name for _, name in state.kept])
    for file in (out / "kept").glob("*.*"):
        if file.stem not in {name for _, name in state.kept}:
            file.unlink()


def _keep(folder: Path, name: str, model: Model, probabilities: Array) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", probabilities)
    save_checkpoint(model, folder / f"{name}.pt")


def _resume(path: Path, model: Model, optimizer: torch.optim.Optimizer) -> State:
    content = load_state(path)
    load_weights(model.net, path, {"state": content["net"]})
    optimizer.load_state_dict(content["optimizer"])
    return State(content["done"], content["best"], content["history"], [tuple(one) for one in content["kept"]])


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training. Errors: as `load_safely`; `RunError` for one of another format."""
    content = load_safely(path)
    remedy = "start the training again in a new folder"
    check_format(content.get("format"), STATE_FORMAT, "state of a training", path, RunError, remedy)
    return content


def _key(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def batches(rows: Array, recipe: Recipe, index: int) -> Iterator[tuple[float, Array]]:
    """The batches of one stretch: (share of the training done, rows), in an order keyed by (seed, epoch).

    Batches are whole; what is left over waits for another epoch, because a batch of one breaks batch norm.
    """
    epoch, stretch = divmod(index, recipe.stretches)
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(_key(recipe.seed, epoch))).numpy()]
    steps = max(1, len(order) // recipe.batch)
    first, end = (round(steps * part / recipe.stretches) for part in (stretch, stretch + 1))
    for step in range(first, end):
        yield (epoch * steps + step) / (steps * recipe.epochs), order[step * recipe.batch : (step + 1) * recipe.batch]


@contextmanager
def randomness(recipe: Recipe, index: int) -> Iterator[torch.Generator]:
    """Random numbers of one stretch, keyed by (seed, epoch, stretch): continuing needs no stored state."""
    epoch, stretch = divmod(index, recipe.stretches)
    key = _key(recipe.seed, epoch, stretch + 1)
    with torch.random.fork_rng():
        torch.manual_seed(key)  # dropout draws from the global generator
        yield torch.Generator().manual_seed(key)


def plateaus(losses: Sequence[float]) -> tuple[int, int]:
    """How often validation losses stood still for `PATIENCE` validations, and for how many they stand still now.

    >>> plateaus([0.5, 0.4, 0.4, 0.41, 0.42, 0.3])
    (1, 0)
    """
    best, stale, waited, halvings = math.inf, 0, 0, 0
    for loss in losses:
        if loss < best:
            best, stale, waited = loss, 0, 0
            continue
        stale, waited = stale + 1, waited + 1
        if waited == PATIENCE:
            halvings, waited = halvings + 1, 0
    return halvings, stale


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean binary cross-entropy over the labels that are 0 or 1; NaN without any."""
    known = np.isin(labels, (0, 1))
    p = np.clip(np.where(labels == 1, probabilities, 1 - probabilities)[known], 1e-7, 1)
    return float(-np.log(p).mean()) if p.size else math.nan


def rate(recipe: Recipe, done: float, halvings: int) -> float:
    """Learning rate after the share `done` of all steps, and so many plateaus."""
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "plateau":
        return float(recipe.lr * 0.5**halvings)
    if done < WARM_UP:
        return recipe.lr * (0.1 + 0.9 * done / WARM_UP)
    return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2)


def groups(model: Model, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters that learn, for an optimizer: with `scale`, the share of the learning rate, and whether of the `head`.

    The head is the block of layers nearest to the logits (`sightline.models.weight_randomization.blocks`). What does
    not learn is
    frozen.
    """
    if recipe.learn == "all" and recipe.layer_decay == 1 and not recipe.warm_up:
        return [{"params": list(model.net.parameters()), "scale": 1.0, "head": True}]
    depth = {name: at for at, block in enumerate(blocks(model)) for name in block.layers}
    made: dict[int, list[nn.Parameter]] = {}
    for name, module in model.net.named_modules():
        for parameter in module.parameters(recurse=False):
            at = depth.get(name, len(depth))  # of no block: nothing depends on it
            parameter.requires_grad_(at == 0 or recipe.learn == "all")
            made.setdefault(at, []).append(parameter)
    kept = [at for at in sorted(made) if at == 0 or recipe.learn == "all"]
    return [{"params": made[at], "scale": recipe.layer_decay**at, "head": at == 0} for at in kept]


def _drawn(
    examples: Examples, recipe: Recipe, generator: torch.Generator, one: tuple[float, Array]
) -> tuple[float, Array, Tensor, Tensor | None]:
    """(share of the training done, rows, images (B, side, side), marks (B, F, g, g)) of a batch."""
    share, rows = one
    images, marks = examples.images(rows), examples.marked(rows)
    if recipe.augmented:
        images, marks = augment(images, generator, marks)
    return share, rows, images, marks


def _step(course: Course, rows: Array, images: Tensor, marks: Tensor | None, rate: float, alone: bool) -> float:
    """One batch, shared out over the team. Returns the loss of this process's share. alone: the head learns alone."""
    model, recipe, team, device = course.model, course.recipe, course.team, course.model.device
    course.net.train(not course.head)  # where the head learns alone, the rest stays as it is, statistics included
    for name in course.head:
        model.net.get_submodule(name).train()
    mine = slice(team.rank, None, team.size)
    x = model.normalize(images[mine].to(device)).contiguous(memory_format=course.layout)
    for group in course.optimizer.param_groups:
        group["lr"] = rate * group["scale"] * (group["head"] or not alone)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        outputs = course.net(x).float()  # (B, F), or what the network's own loss takes
    labels = torch.from_numpy(course.examples.labels[rows][mine]).to(device)
    loss = _loss(model.net, outputs, labels, None if marks is None else marks[mine].to(device))
    course.optimizer.zero_grad()
    team.backward(loss)
    course.optimizer.step()
    return float(loss.detach())


def _loss(net: nn.Module, outputs: Tensor, labels: Tensor, marks: Tensor | None) -> Tensor:
    if hasattr(net, "loss"):
        own: Tensor = net.loss(outputs, labels, marks)  # type: ignore[operator]
        return own
    return three_class_loss(outputs, labels) if isinstance(net, Triples) else masked_loss(outputs, labels)


def validate(team: Team, model: Model, examples: Examples, batch: int) -> tuple[Array, dict[str, float]]:
    """Probabilities (V, F) of the validation rows, and the AUROC of each finding over studies; NaN if undefined."""
    model.net.eval()
    logits = torch.zeros((len(examples.val), len(model.findings)), device=model.device)
    with torch.inference_mode():
        for mine in _turns(team, len(examples.val), batch):
            images = examples.images(examples.val[mine])
            logits[mine] = model.net(model.normalize(images.to(model.device))).float()
    scores = team.total(logits).double().cpu().numpy()  # (V, F)
    if not np.isfinite(scores).all():
        raise SightlineError("the network's logits are no longer finite; train with a smaller lr, in a new folder")
    probabilities: Array = expit(scores)
    return probabilities, study_aurocs(probabilities, examples.labels[examples.val], examples.studies, model.findings)


def _turns(team: Team, count: int, batch: int) -> Iterator[slice]:
    """The batches of `count` rows that this process takes."""
    return (slice(start, start + batch) for start in range(team.rank * batch, count, team.size * batch))


def _collapsed(course: Course, heard: Sequence[Tensor]) -> str | None:
    """Which maps of a validation say nothing, judged by the images that show the finding; None of a network without."""
    if not heard:
        return None
    maps, examples, findings = torch.cat(list(heard)), course.examples, course.model.findings
    if maps.shape[1] != len(findings):  # one map for all findings
        return collapse(maps)
    turns = _turns(course.team, len(examples.val), max(course.recipe.batch, AT_ONCE))
    shown = np.concatenate([examples.labels[examples.val[mine]] == 1 for mine in turns])
    return collapse(maps, findings, torch.from_numpy(shown).to(maps.device))


def study_aurocs(
    probabilities: Array, labels: Array, studies: tuple[tuple[str, str], ...], findings: tuple[str, ...]
) -> dict[str, float]:
    """AUROC per finding of the greatest probability (V, F) and label (V, F) among the views of each study."""
    if not studies:
        return dict.fromkeys(findings, math.nan)
    _, scores = study_probabilities(probabilities, studies)
    known = np.isfinite(labels)
    _, truth = study_probabilities(np.where(known, labels, -1.0), studies)  # -1: no view has a label
    truth[truth < 0] = np.nan
    return {finding: auroc(scores[:, i], truth[:, i]) for i, finding in enumerate(findings)}


def _mean(each: dict[str, float], select: tuple[str, ...]) -> float:
    """Over the findings that decide, of those that are defined; NaN if none is."""
    values = [each[f] for f in select if f in each and not math.isnan(each[f])]
    return float(np.mean(values)) if values else math.nan


def note(out: Path, **facts: Any) -> None:
    """Add to run.json as it stands now, so that no earlier note is lost."""
    Run.open(out).describe(**facts)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
