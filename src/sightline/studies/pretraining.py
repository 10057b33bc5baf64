"""Does it matter how a network began? Accuracy and maps after the same training on 1, 10 and 100 % of the labels.

After Zhang et al. 2020, arXiv:2010.00747 (ConVIRT): every beginning is trained alike before anything is compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sightline.core import Case, Dataset, Source
from sightline.data import dataset
from sightline.errors import DataError
from sightline.evaluation.narration.measure import measure, meet_reports, meet_words, met, read_aloud
from sightline.evaluation.score_run import evaluate
from sightline.evaluation.thresholds import chosen
from sightline.findings import choose
from sightline.maps.collections import Together
from sightline.maps.references import Controls, Readers
from sightline.methods.explain import check_methods, explain
from sightline.methods.inference import predict
from sightline.models import Model, open_model
from sightline.protocol import Protocol
from sightline.runs.provenance import describe, same_models
from sightline.runs.run import Run
from sightline.stats.auroc import accuracy
from sightline.stats.estimates import paired
from sightline.stats.learning_curves import cells, curves, gains, ways
from sightline.studies.initializations import RANDOM, begun, home
from sightline.studies.leakage import learned, require_apart
from sightline.studies.localization import method_facts, model_facts
from sightline.training.config import Learn, Recipe, Sample
from sightline.training.fit import fit

TRAINING = "phantom:2000?start=100000&size=96"
TEST = "phantom:1200?split=test&size=96"
ARCH = "small?side=96"
METHODS = ("gradient", "grad-cam", "grad-cam++", "integrated-gradients?nodes=8")
WORDS, LIKENESS = "words", "image-text"
"""What the contrastive pair is called among sources, and its method."""
METRICS = ("iou", "hit", "mass", "pr-area")
Ways = Literal["all", "head", "layers"]
"""Fine-tuning, linear evaluation, and fine-tuning with a lower learning rate the deeper a layer lies."""
WAYS: tuple[Ways, ...] = ("all", "head", "layers")
EPOCHS = {"all": {0.01: 20, 0.1: 12, 1.0: 8}, "head": {0.01: 12, 0.1: 8, 1.0: 4}}
"""Of the phantom's networks, by what learns and the share of the labels."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training of the grid."""

    init: str
    learn: Ways
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.init}-{self.learn}-{self.fraction:g}-{self.seed}"


def pretraining(
    *,
    data: str = TRAINING,
    test: str = TEST,
    inits: tuple[str, ...] = (),
    arch: str = ARCH,
    learn: tuple[Ways, ...] = ("all", "head"),
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0),
    seeds: int = 2,
    epochs: int = 0,
    batch: int = 32,
    lr: float = 3e-3,
    layer_decay: float = 0.6,
    warm_up: int = 30,
    patience: int = 0,
    methods: tuple[str, ...] = METHODS,
    words: str = "",
    images: int = 50,
    findings: str = "",
    protocol: str = "corrected",
    out: Path = Path("runs/pretraining"),
    seed: int = 0,
    device: str = "cpu",
) -> Run:
    """Train each beginning on the same shares of the labels, compare accuracy, and see what becomes of the maps.

    Parameters
    ----------
    data
        Data set to train on, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    test
        Data set to test on, with other patients; all of it is used whatever the share of labels.
    inits
        Initial weights, as NAME=CHECKPOINT, all of one architecture (convirt=runs/pre/best.pt imagenet=resnet50.pt);
        random weights are always added. On the phantom, pre-training on reports and on images if none is named.
    arch
        Architecture of every network, as NAME?option=value (`sightline list models`).
    learn
        What learns: all (fine-tuning), head (linear evaluation), layers (fine-tuning with `--layer-decay`).
    fractions
        Shares of the training patients, nested and stratified by finding.
    seeds
        Trainings of each cell, with other seeds; labels and order of batches are alike for all initial weights.
    epochs
        Epochs of every training; 0 takes the phantom's own, or 10 on other data.
    batch
        Radiographs per training step; fewer where they would be more than a quarter of the training patients.
    lr
        Highest learning rate; it rises to it, then falls along a cosine.
    layer_decay
        For `--learn layers`: learning rate of each block as a share of that of the next block toward the head.
    warm_up
        Steps at the start in which the head learns alone; at most half of all.
    patience
        Stop a training after this many validations without a better AUROC; 0 never stops early.
    methods
        Saliency methods, as NAME?option=value; they explain the fine-tuned networks of the first seed.
    words
        joint.pt of a contrastive pre-training on reports; its maps for a finding's name are compared with those of the
        classifiers. On the phantom, the study's own.
    images
        Radiographs explained, at most.
    findings
        Findings, comma-separated; by default those that the two data sets share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    out
        Run folder; the same command continues it, cell by cell.
    seed
        Seed of random weights, shares of the labels and bootstrap resamples.
    device
        cpu or cuda.
    """
    records = chosen(protocol, "", 0.0, "", "")
    check_methods(methods)
    source, compared = dataset(data), dataset(test)
    wanted = _checked(source, compared, findings, fractions, learn, seeds)
    options = {
        "data": data, "test": test, "inits": inits, "arch": arch, "learn": learn, "fractions": fractions,
        "seeds": seeds, "epochs": epochs, "batch": batch, "lr": lr, "layer_decay": layer_decay, "warm_up": warm_up,
        "patience": patience, "methods": methods, "words": words, "images": images, "findings": findings,
        "protocol": protocol, "seed": seed,
    }  # fmt: skip
    recipe = Recipe(batch=batch, lr=lr, augmented=False, warm_up=warm_up, layer_decay=layer_decay, patience=patience)
    run = Run.start(out, "pretraining", options)
    with run.lock():
        run = describe(run, compared, records, title="Pre-training")
        starts = begun(run, source, inits, arch, wanted, seed, device)
        grid = [Cell(init, how, fraction, seed + number) for number in range(seeds) for fraction in sorted(fractions)
                for how in learn for init in starts]  # fmt: skip
        made = {cell: _trained(run, source, starts[cell.init], cell, epochs, recipe, seed) for cell in grid}
        facts = same_models(run, [model_facts(m) for m in made.values()])
        run = run.describe(models=facts, methods=method_facts(methods),
                           findings=wanted, inits=list(starts))  # fmt: skip
        _asked(run, compared, made, wanted, seed)
        worded = _worded(run, words, wanted, device)
        run = _explained(run, compared, made, worded, methods, wanted, images, records, seed)
        return run


def _checked(
    source: Dataset, compared: Dataset, findings: str, fractions: Sequence[float], learn: Sequence[str], seeds: int
) -> tuple[str, ...]:
    """The findings. Errors: `DataError` for a grid that cannot be, or patients in both data sets."""
    shares = bool(fractions) and min(fractions) > 0 and max(fractions) <= 1
    if not shares or seeds < 1 or not learn or not set(learn) <= set(WAYS):
        raise DataError(
            f"fractions={fractions}, learn={tuple(learn)}, seeds={seeds}; allowed: above 0 up to 1, "
            f"{', '.join(WAYS)}, from 1"
        )
    shared = tuple(f for f in source.findings if f in compared.findings and f != "No Finding")
    if not shared:
        raise DataError(f"{source.spec!r} and {compared.spec!r} share no finding")
    require_apart("the networks", source.spec, learned(source), compared)
    return tuple(choose(findings or None, shared))


def _trained(run: Run, source: Dataset, begun: Model, cell: Cell, epochs: int, recipe: Recipe, seed: int) -> Model:
    """A cell of the grid. The shares of the labels are those of the seed of the cell, whatever the beginning."""
    how: Learn = "head" if cell.learn == "head" else "all"
    count = epochs or (EPOCHS[how].get(cell.fraction, 10) if source.spec.startswith("phantom") else 10)
    patients = len({r.patient for r in source.radiographs})
    recipe = replace(
        recipe, epochs=count, batch=min(recipe.batch, max(2, round(0.25 * cell.fraction * patients))), seed=cell.seed,
        learn=how, layer_decay=recipe.layer_decay if cell.learn == "layers" else 1.0,
    )  # fmt: skip
    sample = Sample(fraction=cell.fraction, split_seed=seed + cell.seed, stratified=True)
    done = fit(begun, source, run.path / "training" / cell.name, recipe, sample,
               cache=run.path / "training" / "images", workers=os.cpu_count() or 1)  # fmt: skip
    return replace(done, name=cell.name)


def _asked(run: Run, compared: Dataset, made: Mapping[Cell, Model], wanted: Sequence[str], seed: int) -> None:
    """The tables predictions, classification, curves and gains."""
    predict(run, compared, list(made.values()), wanted)
    table = run.table("predictions")
    run.write_table("classification", accuracy(table.drop(columns="radiograph"), seed=seed))
    by = {cell.name: cell for cell in made}
    told = pd.DataFrame([vars_of(by[name]) for name in table["model"]], index=table.index)
    found = cells(table.join(told), seed=seed)
    run.write_table("curves", curves(found))
    run.write_table("gains", pd.concat([gains(found, RANDOM), ways(found, "all")], ignore_index=True))


def vars_of(cell: Cell) -> dict[str, Any]:
    return {"init": cell.init, "learn": cell.learn, "fraction": cell.fraction, "seed": cell.seed}


def _worded(run: Run, words: str, wanted: tuple[str, ...], device: str) -> Model | None:
    """The contrastive pair that is asked in words; None without any."""
    own = home(run, "reports") / "joint.pt"
    path = words or (str(own) if own.is_file() else "")
    if not path:
        return None
    found = replace(open_model(f"contrastive:{path}", wanted), name=WORDS)
    found.net.to(device)
    return found


def _explained(
    run: Run, compared: Dataset, made: Mapping[Cell, Model], worded: Model | None, methods: Sequence[str],
    wanted: tuple[str, ...], images: int, records: Sequence[Protocol], seed: int,
) -> Run:  # fmt: skip
    """Maps of the fine-tuned networks of the first seed, scored beside marks: frontal films that show a finding."""
    shown = [cell for cell in made if cell.learn == "all" and cell.seed == seed] or list(made)[:1]
    frontal = [r for r in compared.radiographs if r.view != "lateral" and any(r.labels.get(f) == 1 for f in wanted)]
    part = replace(compared, radiographs=tuple(frontal[:images]))
    if not part.readers or not methods:
        return run
    for cell in shown:
        run = explain(part, made[cell], methods, findings=wanted, out=run, seed=seed)
    if worded is not None:
        run = explain(part, worded, [LIKENESS], findings=wanted, out=run, seed=seed)
    held = Together((run, Controls(part, ("average-mask", "center"), seed), Readers(part)))
    evaluate(run, held, part, names=METRICS, chosen=records, findings=wanted, seed=seed)
    names = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
    between = paired(run.table("scores", names), lambda sources: _between(shown, sources), records, seed=seed)
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    _read(run, part, shown, methods, wanted, seed)
    return run.describe(sources=list(held.sources), shown=[{"model": c.name, **vars_of(c)} for c in shown])


def _read(
    run: Run, part: Dataset, shown: Sequence[Cell], methods: Sequence[str], wanted: tuple[str, ...], seed: int
) -> None:
    """Narrate the first method's maps of every beginning, as trained on the smallest share of the labels."""
    least = min(cell.fraction for cell in shown)
    sources = {f"{cell.name}/{methods[0]}": cell.init for cell in shown if cell.fraction == least}
    some = [Case(r, f) for r in part.radiographs for f in wanted if r.labels.get(f) == 1]
    table = measure(run, part, sources, some)
    read_aloud(run, table, seed)
    run.write_table("report_agreement", met(meet_reports(table, part, some, seed), seed))
    if any(source == f"{WORDS}/{LIKENESS}" for source in run.sources):
        every = {f"{cell.name}/{method}": f"{cell.init}/{method}" for cell in shown if cell.fraction == least
                 for method in methods}  # fmt: skip
        alike = meet_words(run, every, f"{WORDS}/{LIKENESS}", some, seed)
        run.write_table("word_agreement", met(alike, seed))


def _between(shown: Sequence[Cell], sources: Sequence[str]) -> list[tuple[str, str]]:
    """The same method after the same labels, less the beginning at random; and every map less that of the words."""
    by = {c.name: c for c in shown}
    worded = f"{WORDS}/{LIKENESS}"
    found = []
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        if name in by and by[name].init != RANDOM:
            other = f"{replace(by[name], init=RANDOM).name}/{method}"
            found += [(source, other)] if other in sources else []
        if name in by and worded in sources:
            found.append((source, worded))
    return found
