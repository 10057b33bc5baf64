"""Registries: one table per extension point, of names, the functions registered under them, and a typed record."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from sightline._util.plugin_errors import wrap_plugin_errors
from sightline._util.text import did_you_mean
from sightline.errors import SightlineError, UnknownNameError

F = TypeVar("F", bound=Callable[..., Any])
Info = TypeVar("Info")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Info]):
    """Registered function with the record of what it declares. Calling the entry calls the function."""

    name: str
    """Name under which the function is registered."""
    target: Callable[..., Any] | str
    """The function, or its import path as "package.module:name", which is imported when it is first needed."""
    info: Info
    """Record of the fields given at registration."""

    @property
    def function(self) -> Callable[..., Any]:
        """The registered function."""
        function: Callable[..., Any] = import_object(self.target) if isinstance(self.target, str) else self.target
        return function

    @property
    def summary(self) -> str:
        """First line of the docstring of the function."""
        return (self.function.__doc__ or "").strip().split("\n")[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function of the entry."""
        return self.function(*args, **kwargs)


class Registry(Mapping[str, Entry[Info]]):
    """Table of an extension point: a mapping of names to entries, and a decorator that adds entries.

    `@registry("name", **fields)` stores the function and returns it unchanged; `registry["name"]` is its `Entry`. The
    fields are those of the dataclass given at construction, so a misspelled or missing field fails at registration.
    Packages add entries through the entry-point group `sightline.KIND`, which is loaded when a name is first missing;
    files add them through `load_plugin`.

    Parameters
    ----------
    kind : str
        Noun for messages, such as 'metric'.
    info_type : type
        Dataclass of the fields of an entry.
    modules : Mapping of str to str
        Name -> module that registers it; the module is imported when the name is first looked up.

    Raises
    ------
    UnknownNameError
        If a name is looked up that no entry has.
    SightlineError
        If a name is registered twice, or with fields that do not fit.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class ColorInfo:
    ...     unit: str
    >>> colors = Registry("color", ColorInfo)
    >>> @colors("red", unit="nm")
    ... def red():
    ...     "About 700."
    >>> colors["red"].info.unit, colors["red"].summary
    ('nm', 'About 700.')
    >>> colors["rad"]
    Traceback (most recent call last):
    sightline.errors.UnknownNameError: no color is called 'rad'; did you mean 'red'? Known: red
    """

    def __init__(
        self, kind: str, info_type: Callable[..., Info], modules: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.kind = kind
        self._info_type = info_type
        self._modules = dict(modules)
        self._entries: dict[str, Entry[Info]] = {}
        self._entry_points_loaded = False

    def __call__(self, name: str, **fields: Any) -> Callable[[F], F]:
        """Make a decorator that adds a function under a name, with the fields of its info record."""

        def register(function: F) -> F:
            if self._modules.get(name, function.__module__) != function.__module__:
                self._import_entry(name)
            self.add(name, function, **fields)
            return function

        return register

    def _import_entry(self, name: str) -> None:
        if name not in self._entries and name in self._modules:
            importlib.import_module(self._modules[name])

    def add(self, name: str, target: Callable[..., Any] | str, **fields: Any) -> None:
        """Register a function, or the import path of one, under a name.

        Parameters
        ----------
        name : str
            Name of the entry.
        target : callable or str
            The function, or its import path as "package.module:name".
        **fields
            Fields of the registry's dataclass.

        Raises
        ------
        SightlineError
            If the name is taken, or if a field is misspelled or missing.
        """
        if name in self._entries:
            old, new = _describe_target(self._entries[name].target), _describe_target(target)
            raise SightlineError(f"{self.kind} {name!r} is registered twice: by {old} and by {new}; rename one")
        try:
            self._entries[name] = Entry(name, target, self._info_type(**fields))
        except TypeError as error:
            raise SightlineError(f"{self.kind} {name!r}: {error}") from error

    def load_entry_points(self) -> None:
        """Import what installed packages register through the entry-point group `sightline.KIND`, once.

        Raises
        ------
        SightlineError
            If such a package raises anything itself.
        """
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for point in entry_points(group=f"sightline.{self.kind}"):
            with wrap_plugin_errors(f"{point.value}, which an installed package registers,"):
                point.load()

    def __getitem__(self, name: str) -> Entry[Info]:
        self._import_entry(name)
        if name not in self._entries:
            self.load_entry_points()
        if name not in self._entries:
            known = ", ".join(sorted(self))
            hint = f"{did_you_mean(name, self)} ".lstrip()
            raise UnknownNameError(f"no {self.kind} is called {name!r}; {hint}Known: {known}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._modules, *self._entries)))

    def __len__(self) -> int:
        return len({*self._modules, *self._entries})


def _describe_target(target: Callable[..., Any] | str) -> str:
    return target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"


def import_object(path: str) -> Any:
    """Import an object by its path.

    Parameters
    ----------
    path : str
        Import path as "package.module:name".

    Returns
    -------
    Any
        The object of that name.

    Examples
    --------
    >>> import_object("math:pi")
    3.141592653589793
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def load_plugin(path: str | Path) -> None:
    """Run a Python file of a user, so that what it registers can be used by name.

    A file that was already loaded is not run again.

    Parameters
    ----------
    path : str or Path
        Python file.

    Raises
    ------
    SightlineError
        If the file is missing, or if it raises anything itself.
    """
    path = Path(path)
    if not path.is_file():
        raise SightlineError(f"plugin {path} is not a file; give the path of a Python file that registers something")
    name = f"sightline_plugin_{path.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path.resolve()):
        return
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise SightlineError(f"plugin {path} cannot be imported; give the path of a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with wrap_plugin_errors(f"plugin {path}"):
            spec.loader.exec_module(module)
    except SightlineError:
        del sys.modules[name]  # half of it ran: it is no module to be found again
        raise
