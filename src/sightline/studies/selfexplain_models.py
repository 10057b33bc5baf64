"""The networks of a self-explaining study: with and without the element, trained again, and told by marks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline._util.spec import parse_spec
from sightline.core import AGAIN, OTHER, Dataset
from sightline.data import dataset
from sightline.data.registry import datasets
from sightline.errors import DataError, RunError
from sightline.findings import choose
from sightline.models import Model, state_hash
from sightline.models.model import normalized
from sightline.models.trainable_saliency import TrainableSaliency
from sightline.models.zoo import open_model
from sightline.runs.run import Run
from sightline.stats.label_budget import DETECTOR, ELEMENT
from sightline.studies.leakage import require_held_out
from sightline.training.config import Recipe, Sample
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations

SIDE = 128
TRAINING = f"phantom:660?start=100000&size={SIDE}"
PLAIN, UNET = f"small?side={SIDE}", f"unet?side={SIDE}"
WITH = f"selfexplaining:{PLAIN}&kind=gate&sparsity=0.1"
RECIPE = Recipe(epochs=14, batch=16, augmented=False)
"""Of every network that learns from labels: what is compared differs by one thing alone."""
BUDGETS = (10, 30, 100, 300)
"""Marked films that element and detector are told by on the phantom; the last makes the localizers."""
TOLD_EPOCHS = 10
"""Of all that marks teach alike; fewer for one would make it seem to need more radiographs. Twice as many bring the
detector 0.04 to 0.09 in average precision, the element up to 0.06 (`benchmarks/longer.py`)."""


@dataclass(frozen=True, slots=True)
class Told:
    """A network that learned from the marks of so many films."""

    role: str
    """'element' or 'detector'."""
    films: int
    model: Model
    home: Path | None = None
    """Folder of its training; None where nobody knows."""

    @property
    def length(self) -> dict[str, float]:
        """epochs of its training, and best, the one whose weights these are; empty where no record tells."""
        try:
            history = Run.open(self.home).info.get("history", []) if self.home else []
        except RunError:
            return {}
        best = self.model.training.epochs if self.model.training else None
        return {} if best is None or not history else {"epochs": float(history[-1]["epoch"]), "best": float(best)}


@dataclass(frozen=True, slots=True)
class Elements:
    """Whose maps are compared."""

    element: Model
    """Trained on labels alone, with the element."""
    plain: Model
    """The same backbone without."""
    replicates: tuple[Model, ...] = ()
    """The element trained again with other seeds."""
    others: tuple[Model, ...] = ()
    """On other architectures."""
    localizers: tuple[Model, ...] = ()
    """Trained on marks: detector, U-Net, and the element supervised."""
    told: tuple[Told, ...] = ()

    @property
    def compared(self) -> tuple[Model, ...]:
        """Those whose accuracy and maps stand in the tables."""
        return self.element, self.plain, *self.localizers

    @property
    def everyone(self) -> tuple[Model, ...]:
        return *self.compared, *self.replicates, *self.others, *(t.model for t in self.told)

    @property
    def partners(self) -> dict[str, str]:
        """Whom the element is compared with for repeatability and reproducibility."""
        kinds = ((AGAIN, self.replicates), (OTHER, self.others))
        return {m.name: kind for kind, some in kinds for m in some}

    def findings(self, data: Dataset, wanted: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.everyone) and f != "No Finding")
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.everyone)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(choose(wanted or None, shared))

    def checked(self, data: Dataset) -> Elements:
        """Itself. Errors: `DataError` for networks that are not what they are named for, or learned from this data."""
        if not isinstance(self.element.net, TrainableSaliency):
            raise DataError(
                f"{self.element.name} has no element; train one: train classifier --model 'selfexplaining:ARCH'"
            )
        if self.element.net.learns != "labels":
            raise DataError(f"{self.element.name} learned from {self.element.net.learns}; name it in --localizers")
        apart = (*self.compared, *self.replicates, *self.others)  # the last budget may be a localizer
        hashes = [state_hash(m.net) for m in apart]
        twins = [m.name for m, digest in zip(apart, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(f"{' and '.join(twins)} have the same weights: name each network once")
        mapless = [m.name for m in (*self.localizers, *(t.model for t in self.told)) if not hasattr(m.net, "maps")]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )
        require_alike(self.element, self.plain)
        require_held_out(self.everyone, data)
        return self


def require_alike(element: Model, plain: Model) -> None:
    """Errors: `DataError` where `plain` is not the backbone of `element`, trained alike, as far as both tell.

    A network of the user's own tells no architecture, and one trained elsewhere no data set.
    """
    apart = dict[str, tuple[object, object]]()
    if element.arch and plain.arch:
        apart = {"architecture": (_backbone(element), plain.arch.partition("?")[0]), "side": (element.side, plain.side)}
        if element.findings == plain.findings:
            apart["size"] = (_size(element), _size(plain))
    a, b = element.training, plain.training
    if a and b and _known(a.data) and _known(b.data):
        apart |= {"data": (a.data, b.data), "fraction": (a.fraction, b.fraction)}
    differ = [f"{what} {x} and {y}" for what, (x, y) in apart.items() if x != y]
    if differ:
        recipe = f"'{_backbone(element)}'" if element.arch else "its backbone"
        raise DataError(
            f"{element.name} and {plain.name} differ by more than the element: {'; '.join(differ)}; for --plain train "
            f"{recipe} on the data of {element.name}, at the same side, by the same options"
        )


def _backbone(element: Model) -> str:
    """The architecture inside: 'densenet121' of 'selfexplaining:densenet121?kind=gate'."""
    return parse_spec(element.arch)[1]


def _size(m: Model) -> str:
    """Weights of the backbone, in words."""
    net = m.net.net if isinstance(m.net, TrainableSaliency) else m.net
    return f"{sum(p.numel() for p in net.parameters()):,} weights"


def _known(data: str) -> bool:
    """Whether a training record names a data set, and not a sentence of where the training was."""
    return data.partition(":")[0].partition("?")[0] in datasets


def opened(
    model: str, plain: str, replicates: Sequence[str], others: Sequence[str], localizers: Sequence[str],
    told: Sequence[str], detectors: Sequence[str], seed: int,
) -> Elements:  # fmt: skip
    """The networks by their specs, under names that tell them apart."""
    if not plain:
        raise DataError("--plain: name the same backbone without the element, which it is compared with")

    def named(role: str, specs: Sequence[str], arch: bool) -> tuple[Model, ...]:
        found = [open_model(s, seed=seed) for s in specs]
        kinds = [_kind(m) if arch else "" for m in found]
        several = any(kinds.count(k) > 1 for k in kinds)
        return tuple(replace(m, name=f"{role}{k}{f'-{i + 1}' if several or not k else ''}")
                     for i, (m, k) in enumerate(zip(found, kinds, strict=True)))  # fmt: skip

    budgets = [_budget(role, text, seed) for role, some in ((ELEMENT, told), (DETECTOR, detectors)) for text in some]
    return Elements(
        replace(open_model(model, seed=seed), name="element"), replace(open_model(plain, seed=seed), name="plain"),
        named("again", replicates, False), named("other", others, False), named("", localizers, True), tuple(budgets),
    )  # fmt: skip


def _kind(m: Model) -> str:
    """What a localizer is called: by its architecture, an element 'supervised'."""
    return "supervised" if isinstance(m.net, TrainableSaliency) else m.arch.partition("?")[0] or m.name


def _budget(role: str, text: str, seed: int) -> Told:
    films, _, spec = text.partition("=")
    if not films.isdigit() or not spec:
        raise DataError(f"{text!r}: write FILMS=CHECKPOINT, as 30=runs/thirty/best.pt")
    home = Path(spec).parent if Path(spec).is_file() else None
    return Told(role, int(films), replace(open_model(spec, seed=seed), name=f"{role}-{films}"), home)


def trained(folder: Path, seed: int, device: str) -> Elements:
    """Small networks on films that no study looks at.

    With labels: the backbone with and without the element, the element again, and on a narrower backbone. With all
    marks a RetinaNet; with more and more of them, those of `taught`.
    """
    source = dataset(TRAINING)

    def made(name: str, arch: str, number: int = 0, epochs: int = RECIPE.epochs) -> Model:
        blank = open_model(arch, source.findings, seed=seed + number)
        blank.net.to(device)
        return _made(folder, name, blank, source, replace(RECIPE, epochs=epochs, seed=seed + number), seed)

    plain, element = made("plain", PLAIN), made("element", WITH)
    again, other = made("again-1", WITH, 1), made("other-1", f"{WITH}&width=12", 2)
    retinanet = made("retinanet", f"retinanet?side={SIDE}", 3, epochs=TOLD_EPOCHS)
    *fewer, marked, unet = taught(folder, element, source, seed)
    marked = replace(marked, model=replace(marked.model, name="supervised"))
    unet = replace(unet, model=replace(unet.model, name="unet"))
    return Elements(element, plain, (again,), (other,), (unet.model, retinanet, marked.model), (*fewer, marked, unet))


def taught(folder: Path, element: Model, source: Dataset, seed: int, epochs: int = TOLD_EPOCHS) -> tuple[Told, ...]:
    """For every budget the trained element taught on, and a U-Net from the beginning, as long; most films last.

    Taught on without a mark, too: what more of the labels alone gives is not credited to marks. As all are, they are
    chosen by how well they know the labels of films that validate: where those are marked, too, that costs marks.
    """
    learned = list[Told]()
    for films in (0, *BUDGETS):
        starts = [(ELEMENT, supervised(element), 2)]
        if films:
            starts.append((DETECTOR, open_model(UNET, element.findings, seed=seed + 5), 5))
        for role, start, number in starts:
            name = f"{role}-{films}"
            start.net.to(element.device)
            recipe = replace(RECIPE, epochs=epochs, seed=seed + number)
            made = _made(folder, name, start, limit_annotations(source, films, seed), recipe, seed)
            learned.append(Told(role, films, made, folder / name))
    return tuple(learned)


def _made(folder: Path, name: str, start: Model, data: Dataset, recipe: Recipe, seed: int) -> Model:
    done = fit(start, data, folder / name, recipe, Sample(split_seed=seed), cache=folder / "images",
               workers=os.cpu_count() or 1)  # fmt: skip
    return replace(done, name=name)


def supervised(element: Model) -> Model:
    """The trained element, to be taught on by masks."""
    start = open_model(f"{element.arch.replace('learns=labels', 'learns=marks')}", element.findings)
    start.net.load_state_dict(element.net.state_dict())
    return normalized(start, element.mean, element.std)
