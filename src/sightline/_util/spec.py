"""Specs 'name:argument?key=value&key=value', by which data sets, models and methods are named with options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from sightline.errors import SightlineError


def parse_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """Split 'name:argument?key=value&key=value' into its three parts.

    >>> parse_spec("integrated-gradients?nodes=32")
    ('integrated-gradients', '', {'nodes': '32'})
    """
    head, _, query = spec.partition("?")
    name, _, argument = head.partition(":")
    try:
        return name, argument, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise SightlineError(f"{spec!r}: options are written ?key=value&key=value, not {query!r}") from error


def format_spec(spec: str, **options: str) -> str:
    """Return a spec with options changed or added.

    >>> format_spec("selfexplaining:small?kind=gate&supervision=labels", supervision="boxes")
    'selfexplaining:small?kind=gate&supervision=boxes'
    """
    query = "&".join(f"{key}={value}" for key, value in (parse_spec(spec)[2] | options).items())
    return f"{spec.partition('?')[0]}?{query}"


def parse_options(
    spec: str, function: Callable[..., Any], values: Mapping[str, str], other_options: Sequence[str] = ()
) -> dict[str, Any]:
    """Convert options to the types of their defaults in the signature of `function`.

    Positional parameters are no options; `other_options` are options that other code reads, for the list in the error.
    Raises `SightlineError` for an option that does not exist or a value of the wrong type.

    >>> def blur(image, sigma=1.0): ...
    >>> parse_options("blur?sigma=2", blur, {"sigma": "2"})
    {'sigma': 2.0}
    """
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    options: dict[str, Any] = {}
    for key, text in values.items():
        if key not in defaults:
            raise SightlineError(
                f"{spec!r} has no option {key!r}; allowed: {', '.join([*defaults, *other_options]) or 'none'}"
            )
        kind = type(defaults[key])
        if kind is bool and text.lower() not in _TRUE | _FALSE:
            raise SightlineError(f"{spec!r}: option {key} takes true or false, not {text!r}")
        try:
            options[key] = text.lower() in _TRUE if kind is bool else kind(text)
        except ValueError as error:
            raise SightlineError(f"{spec!r}: option {key} takes {kind.__name__}, not {text!r}") from error
    return options


_TRUE = {"1", "true", "yes"}
_FALSE = {"0", "false", "no"}
