"""The language of the code: no private words as identifiers, and documentation of everything public.

Run as a program on files or folders, it lists what it finds: `python tests/test_language.py src/sightline/maps`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightline"
FORBIDDEN = frozenset(
    {
        "told",
        "said",
        "found",
        "made",
        "held",
        "some",
        "there",
        "own",
        "one",
        "who",
        "what",
        "of",
        "theirs",
        "meant",
        "asked",
        "seen",
        "film",
        "films",
        "heard",
        "wanted",
        "worked",
        "tried",
        "shown",
        "liked",
        "risen",
        "look",
        "looks",
    }
)
"""Words that a reader who knows the field and not this project has to ask about, whatever they name."""
REGISTRIES = frozenset({"methods", "metrics", "models", "datasets", "formats", "exporters", "studies"})
"""Decorators that register a function: the contract of its positional parameters is documented by the registry."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of everything that a module names: functions, classes, parameters, variables, imports."""
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.lineno, node.name
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, alias.asname or alias.name
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.lineno, node.name


def forbidden_identifiers(path: Path) -> list[str]:
    """List the identifiers of a file that are forbidden, a leading underscore aside."""
    tree = ast.parse(path.read_text("utf-8"))
    return [f"{path}:{line}: {name!r}" for line, name in bound_names(tree) if name.strip("_") in FORBIDDEN]


def is_registered(node: Function) -> bool:
    """Return True for a function that a decorator puts into a registry."""
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id in REGISTRIES
        for d in node.decorator_list
    )


def is_property(node: Function) -> bool:
    """Return True for a property, cached or not, which a phrase documents."""
    names = {d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in node.decorator_list}
    return bool(names & {"property", "cached_property", "overload", "setter"})


def public_functions(body: list[ast.stmt]) -> Iterator[Function]:
    """Yield the public functions of a module and the public methods of its public classes."""
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)


def raises_errors(node: Function) -> bool:
    """Return True where the function itself raises something with a message."""
    inner = {id(x) for f in ast.walk(node) if isinstance(f, Function) and f is not node for x in ast.walk(f)}
    return any(isinstance(x, ast.Raise) and x.exc is not None and id(x) not in inner for x in ast.walk(node))


def missing_sections(node: Function) -> list[str]:
    """List the numpydoc sections that the docstring of a public function lacks."""
    text = ast.get_docstring(node)
    if text is None:
        return ["a docstring"]
    if is_property(node):
        return []
    arguments = node.args
    positional = [] if is_registered(node) else [*arguments.posonlyargs, *arguments.args]
    named = [a.arg for a in (*positional, *arguments.kwonlyargs) if a.arg not in ("self", "cls")]
    returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")
    needed = [("Parameters", bool(named)), ("Returns|Yields", returns and not is_registered(node))]
    needed.append(("Raises", raises_errors(node) and not is_registered(node)))
    missing = [s for s, is_needed in needed if is_needed and not re.search(rf"^\s*({s})\n\s*-{{3,}}$", text, re.M)]
    if "Parameters" not in missing:
        missing += [
            f"parameter {name}" for name in named if not re.search(rf"^\s*(\w+, )*\*{{0,2}}{name}\b", text, re.M)
        ]
    return missing


def undocumented(path: Path) -> list[str]:
    """List what the documentation of a file lacks, a line for each public function and class."""
    if any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(SOURCE).parts):
        return []
    tree = ast.parse(path.read_text("utf-8"))
    lines = [] if ast.get_docstring(tree) else [f"{path}:1: the module has no docstring"]
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    lines += [f"{path}:{c.lineno}: class {c.name} has no docstring" for c in classes if not ast.get_docstring(c)]
    for node in public_functions(tree.body):
        if missing := missing_sections(node):
            lines.append(f"{path}:{node.lineno}: {node.name} lacks {', '.join(missing)}")
    return lines


PATHS = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the path below the package, for the names of tests."""
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_identifiers_are_words_of_the_field(path: Path) -> None:
    assert not forbidden_identifiers(path)


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_everything_public_is_documented(path: Path) -> None:
    assert not undocumented(path)


def test_formatting_is_left_to_the_formatter() -> None:
    assert sum(path.read_text("utf-8").count("# fmt: skip") for path in PATHS) <= 20


def test_the_checks_see_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def told(rows: list[int]) -> int:\n    '''Count.'''\n    found = len(rows)\n    return found\n")
    assert [line.rpartition(": ")[2] for line in forbidden_identifiers(path)] == ["'told'", "'found'"]
    function = next(public_functions(ast.parse(path.read_text()).body))
    assert missing_sections(function) == ["Parameters", "Returns|Yields"]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        place = Path(argument).resolve()
        SOURCE = next(p for p in (place, *place.parents) if p.name == "sightline")
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            print(*forbidden_identifiers(file), *undocumented(file), sep="\n", end="\n")
