"""The table of saliency methods, and how a method is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sightline._util.spec import parse_options, parse_spec
from sightline.errors import SightlineError
from sightline.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What is known of a method before it runs."""

    needs: Literal["features", "input-gradient", "attention", "own", "text", "nothing", "prior"]
    """attention: a plain vision transformer; own, text: a network with maps, or with patches and texts, of its own;
    nothing: no gradient and no features, perhaps the image; prior: maps given by the caller."""
    signed: bool
    """Whether negative values mean evidence against the finding."""
    class_agnostic: bool
    """Whether all findings of an image get the same map."""
    resolution: Literal["features", "input", "own"]
    source: str
    """Where it is defined: DOI or arXiv id, or a sentence for our own."""


methods: Registry[MethodInfo] = Registry("method", MethodInfo)
"""name -> function of (p: Pass, targets: Tensor int64 (T,)) -> Tensor float32 (N, T, h', w'), in its own resolution,
higher = more evidence for the finding, never normalized; options are keyword arguments with defaults."""


def parse_method(spec: str) -> tuple[Entry[MethodInfo], str, dict[str, Any]]:
    """'NAME?option=value' -> the method, the layer named for its features ('' for the model's own), its options.

    layer is an option of every method that needs features: the path of a module whose output they are.
    Errors: `UnknownNameError` for a method that does not exist; `SightlineError` for an option it has not.

    >>> entry, layer, options = parse_method("grad-cam?layer=features.denseblock3")
    >>> entry.name, layer, options
    ('grad-cam', 'features.denseblock3', {})
    """
    name, argument, given = parse_spec(spec)
    method = methods[name]
    if argument:
        raise SightlineError(f"{spec!r}: a method takes options only, as in {name}?key=value")
    shared = ("layer",) if method.info.needs == "features" else ()
    layer = given.pop("layer", "") if shared else ""
    return method, layer, parse_options(spec, method.function, given, shared)
