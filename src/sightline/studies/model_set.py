"""The networks of a study as one set: opened by their specs, placed on a device, and checked against the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sightline.core import Dataset
from sightline.errors import DataError
from sightline.findings import select_findings
from sightline.models import Model, state_hash
from sightline.models.ensemble import Ensemble
from sightline.models.zoo import open_model, stated_name


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Networks that a study compares."""

    models: tuple[Model | Ensemble, ...]
    """The networks, in the order of their tables."""

    def __iter__(self) -> Iterator[Model | Ensemble]:
        return iter(self.models)

    def findings(self, data: Dataset, names: str = "", *, without: str = "") -> tuple[str, ...]:
        """Select the findings of a study.

        Parameters
        ----------
        data
            Data set of the study.
        names
            Findings, comma-separated; by default those of the data set that every network has an output for.
        without
            Finding that is never taken.

        Returns
        -------
        tuple of str
            The findings.

        Raises
        ------
        DataError
            If no finding of the data set is known to all networks.
        UnknownNameError
            For a name that is none of the shared findings.
        """
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.models) and f != without)
        if not shared:
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {self.known_findings()}")
        return tuple(select_findings(names or None, shared))

    def known_findings(self) -> str:
        """Return the findings of every network as text.

        Returns
        -------
        str
            Such as 'net: Edema, Mass'.
        """
        return "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.models)

    def require_distinct_names(self) -> None:
        """Refuse networks that tables could not tell from each other.

        Raises
        ------
        DataError
            If two networks have the same name.
        """
        names = [model.name for model in self.models]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise DataError(f"two models are called {', '.join(twice)}; name them apart, as in CHECKPOINT?name=seed-1")

    def require_distinct_weights(self, reason: str) -> None:
        """Refuse networks that share their weights.

        Parameters
        ----------
        reason
            Why they may not, as the end of the error.

        Raises
        ------
        DataError
            If two networks have the same weights.
        """
        hashes = [state_hash(m.net) for m in self.models if isinstance(m, Model)]
        twins = [m.name for m, digest in zip(self.models, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(f"{' and '.join(twins)} have the same weights: {reason}")

    def require_own_maps(self) -> None:
        """Refuse networks that compute no maps of their own.

        Raises
        ------
        DataError
            If a network has no method `maps`.
        """
        mapless = [m.name for m in self.models if isinstance(m, Model) and not callable(getattr(m.net, "maps", None))]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )

    def to_device(self, device: str) -> None:
        """Move every network to a device.

        Parameters
        ----------
        device
            Device as PyTorch names it, such as 'cpu' or 'cuda'.

        Raises
        ------
        DataError
            If the device cannot be used here.
        """
        for model in self.models:
            network = model.first_member if isinstance(model, Ensemble) else model
            try:
                network.net.to(device)
            except (RuntimeError, AssertionError) as error:
                raise DataError(f"--device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error


def open_models(specs: Sequence[str], seed: int, name: Callable[[int, Model], str]) -> tuple[Model, ...]:
    """Open networks by their specs.

    Parameters
    ----------
    specs
        Checkpoints, or models as NAME?option=value.
    seed
        Seed of weights that no checkpoint gives.
    name
        Computes the name of a network in the study from its number, from 1, and the network; a name that a spec states
        goes before it.

    Returns
    -------
    tuple of Model
        The networks under their names.
    """
    models = [open_model(spec, seed=seed) for spec in specs]
    return tuple(
        replace(model, name=stated_name(spec) or name(number, model))
        for number, (spec, model) in enumerate(zip(specs, models, strict=True), 1)
    )


def architecture_name(model: Model) -> str:
    """Return the architecture without its options, or the name of a network that has none.

    Parameters
    ----------
    model
        The network.

    Returns
    -------
    str
        Such as 'densenet121'.
    """
    return model.arch.partition("?")[0] or model.name
