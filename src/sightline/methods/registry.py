"""The registry of saliency methods, and how a method is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sightline._util.spec import parse_options, parse_spec
from sightline.errors import SightlineError
from sightline.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Properties of a method that are known before it runs."""

    needs: Literal["features", "input-gradient", "attention", "intrinsic", "text", "nothing", "prior"]
    """What the method needs of a network: a feature map; a gradient with respect to the image; the attention of a
    plain vision transformer; maps of the network's own (intrinsic); embeddings of patches and of texts (text); nothing
    but its outputs, if these; or, instead, maps that the caller gives (prior)."""
    signed: bool
    """True if negative values mean evidence against the finding."""
    class_agnostic: bool
    """True if all findings of an image get the same map."""
    resolution: Literal["features", "input", "intrinsic"]
    """Resolution of the maps: that of the feature map, that of the input, or another."""
    source: str
    """Where the method is defined: DOI or arXiv id, or a sentence."""


methods: Registry[MethodInfo] = Registry("method", MethodInfo)
"""Registry of saliency methods, by name.

A method is a function of two positional parameters; its options are keyword arguments with defaults. It returns a map
for each image and finding, in the method's own resolution: higher values mean more evidence for the finding, and maps
are never normalized.

Parameters
----------
context : BatchContext
    One model on one batch of N images.
targets : Tensor, (T,) int64
    Indices of the findings among the logits.

Returns
-------
Tensor, (N, T, h', w') float32
"""


def parse_method(spec: str) -> tuple[Entry[MethodInfo], str, dict[str, Any]]:
    """Look up a method by its spec.

    Parameters
    ----------
    spec : str
        'NAME' or 'NAME?option=value'. Every method that needs features has the option `layer`: the path of a module
        whose output they are.

    Returns
    -------
    method : Entry
        The registered method.
    layer : str
        Path of the module whose output the features are; '' for the model's own feature layer.
    options : dict
        Keyword arguments for the method.

    Raises
    ------
    UnknownNameError
        If no method has the name.
    SightlineError
        If the method has no such option.

    Examples
    --------
    >>> method, layer, options = parse_method("grad-cam?layer=features.denseblock3")
    >>> method.name, layer, options
    ('grad-cam', 'features.denseblock3', {})
    """
    name, argument, given = parse_spec(spec)
    method = methods[name]
    if argument:
        raise SightlineError(f"{spec!r}: a method takes options only, as in {name}?key=value")
    shared = ("layer",) if method.info.needs == "features" else ()
    layer = given.pop("layer", "") if shared else ""
    return method, layer, parse_options(spec, method.function, given, shared)
