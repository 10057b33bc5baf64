"""The networks of a self-explaining study: with and without the element, trained again, and told by marks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline._util.spec import format_spec, parse_spec
from sightline.core import OTHER_ARCHITECTURE, RETRAINED, Dataset
from sightline.data import open_dataset
from sightline.data.registry import datasets
from sightline.errors import DataError, RunError
from sightline.findings import select_findings
from sightline.models import Model, state_hash
from sightline.models.model import with_normalization
from sightline.models.trainable_saliency import TrainableSaliency
from sightline.models.zoo import open_model
from sightline.runs.run import Run
from sightline.stats.label_budget import DETECTOR, SALIENCY_HEAD
from sightline.studies.leakage import require_held_out
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

SIDE = 128
PHANTOM_TRAIN_DATA = f"phantom:660?start=100000&size={SIDE}"
BASELINE, UNET = f"small?side={SIDE}", f"unet?side={SIDE}"
SELF_EXPLAINING = f"selfexplaining:{BASELINE}&kind=gate&sparsity=0.1"
TRAINING_CONFIG = TrainingConfig(epochs=14, batch_size=16, augment=False)
"""Of every network that learns from labels: what is compared differs by one thing alone."""
LABEL_BUDGETS = (10, 30, 100, 300)
"""Marked films that element and detector are told by on the phantom; the last makes the localizers."""
SUPERVISED_EPOCHS = 10
"""Of all that marks teach alike; fewer for one would make it seem to need more radiographs. Twice as many bring the
detector 0.04 to 0.09 in average precision, the element up to 0.06 (`benchmarks/longer.py`)."""


@dataclass(frozen=True, slots=True)
class SupervisedModel:
    """A network that learned from the marks of so many films."""

    role: str
    """'self-explaining' or 'detector'."""
    n_annotated: int
    model: Model
    training_folder: Path | None = None
    """Folder of its training; None where nobody knows."""

    @property
    def training_length(self) -> dict[str, float]:
        """epochs of its training, and best, the one whose weights these are; empty where no record tells."""
        try:
            history = Run.open(self.training_folder).info.get("history", []) if self.training_folder else []
        except RunError:
            return {}
        best = self.model.training_record.epochs if self.model.training_record else None
        return {} if best is None or not history else {"epochs": float(history[-1]["epoch"]), "best": float(best)}


@dataclass(frozen=True, slots=True)
class SelfExplainModels:
    """Whose maps are compared."""

    self_explaining: Model
    """Trained on labels alone, with the element."""
    baseline: Model
    """The same backbone without."""
    replicates: tuple[Model, ...] = ()
    """The element trained again with other seeds."""
    other_architectures: tuple[Model, ...] = ()
    """On other architectures."""
    localizers: tuple[Model, ...] = ()
    """Trained on marks: detector, U-Net, and the element supervised."""
    mask_supervised: tuple[SupervisedModel, ...] = ()

    @property
    def compared_models(self) -> tuple[Model, ...]:
        """Those whose accuracy and maps stand in the tables."""
        return self.self_explaining, self.baseline, *self.localizers

    @property
    def all_models(self) -> tuple[Model, ...]:
        return (
            *self.compared_models,
            *self.replicates,
            *self.other_architectures,
            *(t.model for t in self.mask_supervised),
        )

    @property
    def comparisons(self) -> dict[str, str]:
        """Whom the element is compared with for repeatability and reproducibility."""
        kinds = ((RETRAINED, self.replicates), (OTHER_ARCHITECTURE, self.other_architectures))
        return {m.name: kind for kind, some in kinds for m in some}

    def shared_findings(self, data: Dataset, findings: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.all_models) and f != "No Finding")
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.all_models)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(select_findings(findings or None, shared))

    def validate(self, data: Dataset) -> SelfExplainModels:
        """Itself. Errors: `DataError` for networks that are not what they are named for, or learned from this data."""
        if not isinstance(self.self_explaining.net, TrainableSaliency):
            raise DataError(
                f"{self.self_explaining.name} has no element; train one: train classifier --model 'selfexplaining:ARCH'"
            )
        if self.self_explaining.net.supervision != "labels":
            raise DataError(
                f"{self.self_explaining.name} learned from {self.self_explaining.net.supervision}; name it in "
                "--localizers"
            )
        apart = (
            *self.compared_models,
            *self.replicates,
            *self.other_architectures,
        )  # the last budget may be a localizer
        hashes = [state_hash(m.net) for m in apart]
        twins = [m.name for m, digest in zip(apart, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(f"{' and '.join(twins)} have the same weights: name each network once")
        mapless = [
            m.name for m in (*self.localizers, *(t.model for t in self.mask_supervised)) if not hasattr(m.net, "maps")
        ]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )
        require_same_backbone(self.self_explaining, self.baseline)
        require_held_out(self.all_models, data)
        return self


def require_same_backbone(self_explaining: Model, baseline: Model) -> None:
    """Errors: `DataError` where `plain` is not the backbone of `element`, trained alike, as far as both tell.

    A network of the user's own tells no architecture, and one trained elsewhere no data set.
    """
    apart = dict[str, tuple[object, object]]()
    if self_explaining.arch and baseline.arch:
        apart = {
            "architecture": (_backbone_name(self_explaining), baseline.arch.partition("?")[0]),
            "side": (self_explaining.side, baseline.side),
        }
        if self_explaining.findings == baseline.findings:
            apart["size"] = (_weight_count(self_explaining), _weight_count(baseline))
    a, b = self_explaining.training_record, baseline.training_record
    if a and b and _is_data_set_spec(a.data) and _is_data_set_spec(b.data):
        apart |= {"data": (a.data, b.data), "fraction": (a.fraction, b.fraction)}
    differ = [f"{what} {x} and {y}" for what, (x, y) in apart.items() if x != y]
    if differ:
        recipe = f"'{_backbone_name(self_explaining)}'" if self_explaining.arch else "its backbone"
        raise DataError(
            f"{self_explaining.name} and {baseline.name} differ by more than the element: {'; '.join(differ)}; "
            "for --baseline train "
            f"{recipe} on the data of {self_explaining.name}, at the same side, by the same options"
        )


def _backbone_name(element: Model) -> str:
    """The architecture inside: 'densenet121' of 'selfexplaining:densenet121?kind=gate'."""
    return parse_spec(element.arch)[1]


def _weight_count(m: Model) -> str:
    """Weights of the backbone, in words."""
    net = m.net.net if isinstance(m.net, TrainableSaliency) else m.net
    return f"{sum(p.numel() for p in net.parameters()):,} weights"


def _is_data_set_spec(data: str) -> bool:
    """Whether a training record names a data set, and not a sentence of where the training was."""
    return data.partition(":")[0].partition("?")[0] in datasets


def from_specs(
    model: str,
    baseline: str,
    replicates: Sequence[str],
    other_architectures: Sequence[str],
    localizers: Sequence[str],
    mask_supervised: Sequence[str],
    detectors: Sequence[str],
    seed: int,
) -> SelfExplainModels:
    """The networks by their specs, under names that tell them apart."""
    if not baseline:
        raise DataError("--baseline: name the same backbone without the element, which it is compared with")

    def named(role: str, specs: Sequence[str], arch: bool) -> tuple[Model, ...]:
        found = [open_model(s, seed=seed) for s in specs]
        kinds = [_architecture_label(m) if arch else "" for m in found]
        several = any(kinds.count(k) > 1 for k in kinds)
        return tuple(
            replace(m, name=f"{role}{k}{f'-{i + 1}' if several or not k else ''}")
            for i, (m, k) in enumerate(zip(found, kinds, strict=True))
        )

    budgets = [
        _open_supervised(role, text, seed)
        for role, some in ((SALIENCY_HEAD, mask_supervised), (DETECTOR, detectors))
        for text in some
    ]
    return SelfExplainModels(
        replace(open_model(model, seed=seed), name="self-explaining"),
        replace(open_model(baseline, seed=seed), name="baseline"),
        named("again", replicates, False),
        named("other", other_architectures, False),
        named("", localizers, True),
        tuple(budgets),
    )


def _architecture_label(m: Model) -> str:
    """What a localizer is called: by its architecture, an element 'supervised'."""
    return "supervised" if isinstance(m.net, TrainableSaliency) else m.arch.partition("?")[0] or m.name


def _open_supervised(role: str, text: str, seed: int) -> SupervisedModel:
    films, _, spec = text.partition("=")
    if not films.isdigit() or not spec:
        raise DataError(f"{text!r}: write FILMS=CHECKPOINT, as 30=runs/thirty/best.pt")
    home = Path(spec).parent if Path(spec).is_file() else None
    return SupervisedModel(role, int(films), replace(open_model(spec, seed=seed), name=f"{role}-{films}"), home)


def train_on_phantom(folder: Path, seed: int, device: str) -> SelfExplainModels:
    """Small networks on films that no study looks at.

    With labels: the backbone with and without the element, the element again, and on a narrower backbone. With all
    marks a RetinaNet; with more and more of them, those of `train_label_budgets`.
    """
    source = open_dataset(PHANTOM_TRAIN_DATA)

    def made(name: str, arch: str, number: int = 0, epochs: int = TRAINING_CONFIG.epochs) -> Model:
        blank = open_model(arch, source.findings, seed=seed + number)
        blank.net.to(device)
        return _train(folder, name, blank, source, replace(TRAINING_CONFIG, epochs=epochs, seed=seed + number), seed)

    plain, element = made("baseline", BASELINE), made("self-explaining", SELF_EXPLAINING)
    again, other = made("again-1", SELF_EXPLAINING, 1), made("other-1", f"{SELF_EXPLAINING}&width=12", 2)
    retinanet = made("retinanet", f"retinanet?side={SIDE}", 3, epochs=SUPERVISED_EPOCHS)
    *fewer, marked, unet = train_label_budgets(folder, element, source, seed)
    marked = replace(marked, model=replace(marked.model, name="supervised"))
    unet = replace(unet, model=replace(unet.model, name="unet"))
    return SelfExplainModels(
        element, plain, (again,), (other,), (unet.model, retinanet, marked.model), (*fewer, marked, unet)
    )


def train_label_budgets(
    folder: Path, self_explaining: Model, train_data: Dataset, seed: int, epochs: int = SUPERVISED_EPOCHS
) -> tuple[SupervisedModel, ...]:
    """For every budget the trained element taught on, and a U-Net from the beginning, as long; most films last.

    Taught on without a mark, too: what more of the labels alone gives is not credited to marks. As all are, they are
    chosen by how well they know the labels of films that validate: where those are marked, too, that costs marks.
    """
    learned = list[SupervisedModel]()
    for films in (0, *LABEL_BUDGETS):
        starts = [(SALIENCY_HEAD, make_mask_supervised(self_explaining), 2)]
        if films:
            starts.append((DETECTOR, open_model(UNET, self_explaining.findings, seed=seed + 5), 5))
        for role, start, number in starts:
            name = f"{role}-{films}"
            start.net.to(self_explaining.device)
            recipe = replace(TRAINING_CONFIG, epochs=epochs, seed=seed + number)
            made = _train(folder, name, start, limit_annotations(train_data, films, seed), recipe, seed)
            learned.append(SupervisedModel(role, films, made, folder / name))
    return tuple(learned)


def _train(folder: Path, name: str, start: Model, data: Dataset, recipe: TrainingConfig, seed: int) -> Model:
    done = fit(
        start,
        data,
        folder / name,
        recipe,
        SamplingConfig(split_seed=seed),
        cache=folder / "images",
        workers=os.cpu_count() or 1,
    )
    return replace(done, name=name)


def make_mask_supervised(self_explaining: Model) -> Model:
    """The trained element, to be taught on by masks."""
    spec = format_spec(self_explaining.arch, supervision="masks")
    start = open_model(spec, self_explaining.findings)
    start.net.load_state_dict(self_explaining.net.state_dict())
    return with_normalization(start, self_explaining.mean, self_explaining.std)
