"""Networks of a self-explaining study: with and without saliency head, trained again, and trained on annotations."""

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
from sightline.models import Model
from sightline.models.model import with_normalization
from sightline.models.trainable_saliency import TrainableSaliency
from sightline.models.zoo import open_model
from sightline.runs.run import Run
from sightline.stats.label_budget import DETECTOR, SALIENCY_HEAD
from sightline.studies.leakage import require_held_out
from sightline.studies.model_set import ModelSet, architecture_name, open_models
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

SIDE = 128
PHANTOM_TRAIN_DATA = f"phantom:660?start=100000&size={SIDE}"
BASELINE, UNET = f"small?side={SIDE}", f"unet?side={SIDE}"
SELF_EXPLAINING = f"selfexplaining:{BASELINE}&kind=gate&sparsity=0.1"
TRAINING_CONFIG = TrainingConfig(epochs=14, batch_size=16, augment=False)
"""Training of every network that learns from labels: networks that are compared differ by one thing alone."""
LABEL_BUDGETS = (10, 30, 100, 300)
"""Numbers of annotated radiographs that saliency head and detector learn from on the phantom; the last makes the
localizers."""
SUPERVISED_EPOCHS = 10
"""Epochs of every training on annotations; fewer for one network would make it seem to need more radiographs. Twice as
many raise the average precision of the detector by 0.04 to 0.09, of the saliency head by up to 0.06
(`benchmarks/longer.py`)."""


@dataclass(frozen=True, slots=True)
class SelfExplainModelSpecs:
    """Checkpoints, or models as NAME?option=value, of the networks of a self-explaining study."""

    model: str
    """The self-explaining network; empty to train all on the phantom."""
    baseline: str
    """Its backbone without saliency head."""
    replicates: tuple[str, ...] = ()
    """The self-explaining network, trained with other seeds."""
    other_architectures: tuple[str, ...] = ()
    """Saliency heads on other architectures."""
    localizers: tuple[str, ...] = ()
    """Networks trained on annotations."""
    mask_supervised: tuple[str, ...] = ()
    """N=CHECKPOINT: saliency heads trained on annotations of N radiographs."""
    detectors: tuple[str, ...] = ()
    """N=CHECKPOINT: detectors trained on annotations of N radiographs."""


@dataclass(frozen=True, slots=True)
class SupervisedModel:
    """A network trained on the annotations of a number of radiographs."""

    role: str
    """'self-explaining' or 'detector'."""
    n_annotated: int
    """Number of annotated radiographs that it learned from."""
    model: Model
    """The network."""
    training_folder: Path | None = None
    """Folder of its training; None if unknown."""

    @property
    def training_length(self) -> dict[str, float]:
        """Epochs of its training, and best, the epoch whose weights these are; empty if no record states them."""
        try:
            history = Run.open(self.training_folder).info.get("history", []) if self.training_folder else []
        except RunError:
            return {}
        best = self.model.training_record.epochs if self.model.training_record else None
        return {} if best is None or not history else {"epochs": float(history[-1]["epoch"]), "best": float(best)}


@dataclass(frozen=True, slots=True)
class SelfExplainModels:
    """Networks of a self-explaining study."""

    self_explaining: Model
    """Trained on labels alone, with a saliency head."""
    baseline: Model
    """The same backbone without saliency head."""
    replicates: tuple[Model, ...] = ()
    """The self-explaining network, trained with other seeds."""
    other_architectures: tuple[Model, ...] = ()
    """Saliency heads on other architectures."""
    localizers: tuple[Model, ...] = ()
    """Trained on annotations: detector, U-Net, and the supervised saliency head."""
    mask_supervised: tuple[SupervisedModel, ...] = ()
    """Trained on the annotations of more and more radiographs."""

    @classmethod
    def from_specs(cls, specs: SelfExplainModelSpecs, seed: int) -> SelfExplainModels:
        """Open the networks, each under a name of its role.

        Parameters
        ----------
        specs
            Specs of the networks.
        seed
            Seed of weights that no checkpoint gives.

        Returns
        -------
        SelfExplainModels
            The networks.

        Raises
        ------
        DataError
            If no baseline is named, or a supervised network is not written as N=CHECKPOINT.
        """
        if not specs.baseline:
            raise DataError(
                "--baseline: name the same backbone without saliency head, which the network is compared with"
            )
        supervised = [
            _open_supervised(role, text, seed)
            for role, texts in ((SALIENCY_HEAD, specs.mask_supervised), (DETECTOR, specs.detectors))
            for text in texts
        ]
        roles = ("self-explaining", "baseline")
        network, baseline = open_models((specs.model, specs.baseline), seed, lambda i, m: roles[i - 1])
        return cls(
            network,
            baseline,
            open_models(specs.replicates, seed, lambda i, m: f"again-{i}"),
            open_models(specs.other_architectures, seed, lambda i, m: f"other-{i}"),
            _open_localizers(specs.localizers, seed),
            tuple(supervised),
        )

    @property
    def compared_models(self) -> tuple[Model, ...]:
        """Networks whose accuracy and maps are compared."""
        return self.self_explaining, self.baseline, *self.localizers

    @property
    def recorded_models(self) -> tuple[Model, ...]:
        """Networks whose weights the run records."""
        return *self.compared_models, *self.replicates, *self.other_architectures

    @property
    def model_set(self) -> ModelSet:
        """All networks."""
        return ModelSet((*self.recorded_models, *self.supervised))

    @property
    def supervised(self) -> tuple[Model, ...]:
        """Networks of the label budget."""
        return tuple(supervised.model for supervised in self.mask_supervised)

    @property
    def trainings(self) -> dict[str, list[str]]:
        """Name of a network -> names of its trainings: the self-explaining one with replicates, and the baseline."""
        names = [model.name for model in (self.self_explaining, *self.replicates)]
        return {names[0]: names, self.baseline.name: [self.baseline.name]}

    @property
    def comparisons(self) -> dict[str, str]:
        """Networks that the self-explaining one is compared with -> kind of the comparison."""
        groups = ((RETRAINED, self.replicates), (OTHER_ARCHITECTURE, self.other_architectures))
        return {model.name: kind for kind, models in groups for model in models}

    def validate(self, data: Dataset) -> SelfExplainModels:
        """Check that the networks are what their roles require, and did not learn from the data.

        Parameters
        ----------
        data
            Data set of the study.

        Returns
        -------
        SelfExplainModels
            The same networks.

        Raises
        ------
        DataError
            For networks without a saliency head, with the same weights, without maps of their own, of another backbone
            than their role requires, or trained on patients of `data`.
        """
        head, name = self.self_explaining.net, self.self_explaining.name
        if not isinstance(head, TrainableSaliency):
            raise DataError(f"{name} has no saliency head; train one: train classifier --model 'selfexplaining:ARCH'")
        if head.supervision != "labels":
            raise DataError(f"{name} learned from {head.supervision}; name it in --localizers")
        # The network of the largest budget may be a localizer, too.
        ModelSet(self.recorded_models).require_distinct_names()
        ModelSet(self.recorded_models).require_distinct_weights("name each network once")
        ModelSet((*self.localizers, *self.supervised)).require_own_maps()
        require_same_backbone(self.self_explaining, self.baseline)
        require_held_out(self.model_set.models, data)
        return self


def require_same_backbone(self_explaining: Model, baseline: Model) -> None:
    """Refuse a baseline that is not the backbone of the self-explaining network, trained in the same way.

    Only as far as both state it: a wrapped network states no architecture, and one trained elsewhere no data set.

    Parameters
    ----------
    self_explaining, baseline
        The networks.

    Raises
    ------
    DataError
        If they differ by more than the saliency head.
    """
    facts = dict[str, tuple[object, object]]()
    if self_explaining.arch and baseline.arch:
        facts = {
            "architecture": (_backbone_name(self_explaining), baseline.arch.partition("?")[0]),
            "side": (self_explaining.side, baseline.side),
        }
        if self_explaining.findings == baseline.findings:
            facts["size"] = (_weight_count(self_explaining), _weight_count(baseline))
    a, b = self_explaining.training_record, baseline.training_record
    if a and b and _is_data_set_spec(a.data) and _is_data_set_spec(b.data):
        facts |= {"data": (a.data, b.data), "fraction": (a.fraction, b.fraction)}
    differ = [f"{name} {x} and {y}" for name, (x, y) in facts.items() if x != y]
    if differ:
        backbone = f"'{_backbone_name(self_explaining)}'" if self_explaining.arch else "its backbone"
        raise DataError(
            f"{self_explaining.name} and {baseline.name} differ by more than the saliency head: {'; '.join(differ)}; "
            f"for --baseline train {backbone} on the data of {self_explaining.name}, at the same side, with the same "
            "options"
        )


def _backbone_name(self_explaining: Model) -> str:
    """Return the architecture inside: 'densenet121' of 'selfexplaining:densenet121?kind=gate'."""
    return parse_spec(self_explaining.arch)[1]


def _weight_count(m: Model) -> str:
    """Return the number of weights of the backbone as text."""
    net = m.net.net if isinstance(m.net, TrainableSaliency) else m.net
    return f"{sum(p.numel() for p in net.parameters()):,} weights"


def _is_data_set_spec(data: str) -> bool:
    """Return True if a training record names a data set and is not a sentence."""
    return data.partition(":")[0].partition("?")[0] in datasets


def _open_localizers(specs: Sequence[str], seed: int) -> tuple[Model, ...]:
    """Open localizers, each under the name of its architecture, numbered if two have the same."""
    models = open_models(specs, seed, lambda i, m: _localizer_name(m))
    names = [model.name for model in models]
    if len(set(names)) == len(names):
        return models
    return tuple(replace(model, name=f"{model.name}-{number}") for number, model in enumerate(models, 1))


def _localizer_name(model: Model) -> str:
    """Return the architecture of a localizer, or 'supervised' for a saliency head."""
    return "supervised" if isinstance(model.net, TrainableSaliency) else architecture_name(model)


def _open_supervised(role: str, text: str, seed: int) -> SupervisedModel:
    """Open a network of the label budget, named as N=CHECKPOINT."""
    count, _, spec = text.partition("=")
    if not count.isdigit() or not spec:
        raise DataError(f"{text!r}: write RADIOGRAPHS=CHECKPOINT, as 30=runs/thirty/best.pt")
    folder = Path(spec).parent if Path(spec).is_file() else None
    return SupervisedModel(role, int(count), replace(open_model(spec, seed=seed), name=f"{role}-{count}"), folder)


def train_on_phantom(folder: Path, seed: int, device: str) -> SelfExplainModels:
    """Train small networks on radiographs that no study explains.

    On labels: the backbone with and without saliency head, the saliency head again, and on a narrower backbone. On all
    annotations a RetinaNet; on more and more of them the networks of `train_label_budgets`.

    Parameters
    ----------
    folder
        Folder of the trainings.
    seed
        Seed of weights and batches.
    device
        Device of the networks.

    Returns
    -------
    SelfExplainModels
        The networks.
    """
    source = open_dataset(PHANTOM_TRAIN_DATA)

    def train(name: str, arch: str, number: int = 0, epochs: int = TRAINING_CONFIG.epochs) -> Model:
        blank = open_model(arch, source.findings, seed=seed + number)
        blank.net.to(device)
        return _train(folder, name, blank, source, replace(TRAINING_CONFIG, epochs=epochs, seed=seed + number), seed)

    baseline, self_explaining = train("baseline", BASELINE), train("self-explaining", SELF_EXPLAINING)
    again, other = train("again-1", SELF_EXPLAINING, 1), train("other-1", f"{SELF_EXPLAINING}&width=12", 2)
    retinanet = train("retinanet", f"retinanet?side={SIDE}", 3, epochs=SUPERVISED_EPOCHS)
    *smaller, head, unet = train_label_budgets(folder, self_explaining, source, seed)
    head = replace(head, model=replace(head.model, name="supervised"))
    unet = replace(unet, model=replace(unet.model, name="unet"))
    return SelfExplainModels(
        self_explaining,
        baseline,
        (again,),
        (other,),
        (unet.model, retinanet, head.model),
        (*smaller, head, unet),
    )


def train_label_budgets(
    folder: Path, self_explaining: Model, train_data: Dataset, seed: int, epochs: int = SUPERVISED_EPOCHS
) -> tuple[SupervisedModel, ...]:
    """Train the saliency head further, and a U-Net from random weights, on every budget of annotations.

    The saliency head is trained further without annotations, too, so that what more training on labels gains is not
    credited to annotations. As in every training, the weights are chosen by the AUROC on validation radiographs.

    Parameters
    ----------
    folder
        Folder of the trainings.
    self_explaining
        Network trained on labels.
    train_data
        Data set with annotations.
    seed
        Seed of weights, batches and the choice of annotated radiographs.
    epochs
        Epochs of every training.

    Returns
    -------
    tuple of SupervisedModel
        The networks, the largest budget last.
    """
    supervised = list[SupervisedModel]()
    for count in (0, *LABEL_BUDGETS):
        starts = [(SALIENCY_HEAD, make_mask_supervised(self_explaining), 2)]
        if count:
            starts.append((DETECTOR, open_model(UNET, self_explaining.findings, seed=seed + 5), 5))
        for role, start, number in starts:
            name = f"{role}-{count}"
            start.net.to(self_explaining.device)
            config = replace(TRAINING_CONFIG, epochs=epochs, seed=seed + number)
            model = _train(folder, name, start, limit_annotations(train_data, count, seed), config, seed)
            supervised.append(SupervisedModel(role, count, model, folder / name))
    return tuple(supervised)


def _train(folder: Path, name: str, start: Model, data: Dataset, config: TrainingConfig, seed: int) -> Model:
    """Train a network under a name, with the decoded images of the study shared."""
    model = fit(
        start,
        data,
        folder / name,
        config,
        SamplingConfig(split_seed=seed),
        cache=folder / "images",
        workers=os.cpu_count() or 1,
    )
    return replace(model, name=name)


def make_mask_supervised(self_explaining: Model) -> Model:
    """Prepare the trained network with a saliency head for training on annotations.

    Parameters
    ----------
    self_explaining
        Network trained on labels.

    Returns
    -------
    Model
        A copy whose training is supervised by annotations.
    """
    spec = format_spec(self_explaining.arch, supervision="masks")
    start = open_model(spec, self_explaining.findings)
    start.net.load_state_dict(self_explaining.net.state_dict())
    return with_normalization(start, self_explaining.mean, self_explaining.std)
