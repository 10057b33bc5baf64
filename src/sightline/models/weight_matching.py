"""Find the weights of a network in a checkpoint, whatever program wrote it.

Training scripts save weights under a key of their own, beside the state of losses, metrics and averages, and under the
prefixes of whatever wrapped the network. What all matching names share is their prefix, so that no list of prefixes is
needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sightline.errors import DataError

_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing insert into names, at any depth."""
_AVERAGES = re.compile(r"ema|average|momentum|target", re.IGNORECASE)
"""Keys and prefixes of averages of the network that training keeps beside it."""
_BESIDE = re.compile(r"loss|criterion|metric|pos_weight|class_weight|auc|accuracy|num_updates|n_averaged|queue", re.I)
"""Names of what training keeps beside the network: weights of losses, states of metrics."""
_RENAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)"), r"\1\2"),  # DenseNet of torchvision before 0.2.2
    (re.compile(r"\.\d+\.(weight|bias)$"), r".\1"),  # a head inside nn.Sequential, beside a dropout or a sigmoid
)
"""Pattern and replacement for names that do not occur in the network."""
_DEPTH = 3
"""Dictionaries inside dictionaries that are searched."""


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """Weights of a network as they were found in a checkpoint."""

    weights: dict[str, Tensor]
    """Weights under the names of the network, and under their own names if they have none there."""
    place: str
    """Keys and prefix that they were found under, such as 'state_dict/model.'; empty for none."""
    passed_over: tuple[str, ...]
    """Names of tensors and keys of dictionaries of tensors that are not of the network."""


def find_weights(content: Mapping[str, Any], names: Collection[str], part: str = "") -> FoundWeights:
    """Find the weights of a network in the content of a checkpoint.

    Parameters
    ----------
    content
        Content of a checkpoint.
    names
        Names of the network's weights.
    part
        Key or word of the prefix of the copy that is wanted, such as 'teacher' or 'ema'; needed where a checkpoint has
        several copies that differ. An average is passed over unless it is wanted or alone.

    Returns
    -------
    FoundWeights
        The weights; those whose names match no name of the network keep their own.

    Raises
    ------
    DataError
        If several copies that differ fit equally well, or none is of the part.
    """
    names = set(names)
    places = [p for p in _places(content, names) if not part or part in p.place.replace("/", ".").split(".")]
    if part and not places:
        raise DataError(f"it has no weights under {part!r}; it has {_list_keys(content)}")
    if not places:
        return FoundWeights({}, "", tuple(map(str, content)))
    most = max(place.matches for place in places)
    best = [place for place in places if place.matches == most]
    usual = [place for place in best if not _AVERAGES.search(place.place)] or best
    if any(not usual[0].equals(other) for other in usual[1:]):
        given = " and ".join(repr(place.place) for place in usual)
        raise DataError(f"it has several copies of the network, under {given}; choose one, as in 'file.pt#teacher'")
    others = tuple(place.place.rstrip("./") for place in places if place.keys != usual[0].keys and place.matches)
    return FoundWeights(usual[0].weights, usual[0].place, (*usual[0].beside, *others))


@dataclass(frozen=True, slots=True)
class _Place:
    """A dictionary of tensors and a prefix of its names."""

    keys: str
    prefix: str
    matches: int
    weights: dict[str, Tensor]
    beside: tuple[str, ...]

    @property
    def place(self) -> str:
        return self.keys + self.prefix

    def equals(self, other: _Place) -> bool:
        """Return True if both have the same weights, as a checkpoint has that keeps them twice."""
        return self.weights.keys() == other.weights.keys() and all(
            torch.equal(weight, other.weights[name]) for name, weight in self.weights.items()
        )


def _places(content: Mapping[str, Any], names: set[str], keys: str = "", depth: int = 0) -> Iterator[_Place]:
    """Yield every dictionary of tensors in a checkpoint with every prefix of names that fits best."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        clean = {_WRAPPERS.sub("", name): value for name, value in tensors.items()}
        counts = Counter(prefix for name in clean for prefix in _prefixes(name, names))
        most = max(counts.values(), default=0)
        for prefix in [p for p, count in counts.items() if count == most] or [""]:
            yield _take(keys, prefix, clean, names)
    for key, value in content.items() if depth < _DEPTH else ():
        if isinstance(value, Mapping):
            yield from _places(value, names, f"{keys}{key}/", depth + 1)


def _prefixes(name: str, names: set[str]) -> Iterator[str]:
    """Yield what stands before a name of the network."""
    words = name.split(".")
    for start in range(len(words)):
        if _rename(".".join(words[start:]), names) in names:
            yield "".join(f"{word}." for word in words[:start])


def _take(keys: str, prefix: str, tensors: dict[str, Tensor], names: set[str]) -> _Place:
    """Separate the weights under a prefix, renamed where only their names are old, from what stands beside them."""
    under = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    beside = [name for name in tensors if not name.startswith(prefix)]
    weights: dict[str, Tensor] = {}
    for name, value in under.items():
        renamed = _rename(name, names)
        renamed = name if renamed in under else renamed
        if renamed not in names and _BESIDE.search(name.partition(".")[0]):
            beside.append(prefix + name)
        else:
            weights[renamed] = value
    return _Place(keys, prefix, sum(name in names for name in weights), weights, tuple(beside))


def _rename(name: str, names: set[str]) -> str:
    """Return the name that a weight has in the network, or its own if it has none."""
    renamed = (pattern.sub(replacement, name) for pattern, replacement in _RENAMES if name not in names)
    return next((other for other in renamed if other in names), name)


def _list_keys(content: Mapping[str, Any]) -> str:
    """List the keys of dictionaries, or the first words of the names of tensors."""
    words = dict.fromkeys(str(key) if isinstance(v, Mapping) else str(key).split(".")[0] for key, v in content.items())
    for value in content.values():
        if isinstance(value, Mapping):
            words |= dict.fromkeys(str(key).split(".")[0] for key, v in value.items() if isinstance(v, Tensor))
    return ", ".join(list(words)[:12]) or "nothing"
