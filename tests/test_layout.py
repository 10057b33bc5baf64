"""Packages import only from lower levels, nothing imports in a circle, and only the network side loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightline"
LEVELS = (
    ("errors",),
    ("_util",),
    ("core",),
    ("findings", "imaging", "protocol"),
    ("maps", "registry"),
    ("data", "metrics", "models"),
    ("runs", "stats"),
    ("methods", "training"),
    ("evaluation",),
    ("studies",),
    ("report",),
    ("web",),
    ("_cli",),
    ("__main__",),
)
"""Packages and loose modules, lowest level first; those of one level do not import each other."""
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
WITH_TORCH = (
    "models",
    "methods",
    "training",
    "studies",
    "evaluation.faithfulness",
    "evaluation.randomization",
    "evaluation.robustness",
    "evaluation.sanity_check",
    "evaluation.timing",
)
"""Packages and modules that may import torch when they are imported."""
MAX_LOOSE_MODULES = 6


def module_name(path: Path) -> str:
    """Dotted name below `sightline`; empty for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported_modules(path: Path, known: Mapping[str, Path] = MODULES) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, type-checking blocks aside."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("sightline."):
                    yield alias.name.removeprefix("sightline.")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sightline":
            package = (node.module or "").removeprefix("sightline").removeprefix(".")
            for alias in node.names:
                module = f"{package}.{alias.name}".removeprefix(".")
                yield module if module in known else package


def package_of(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_imports_point_downward(module: str) -> None:
    package = package_of(module)
    assert package in LEVEL, f"{package} stands on no level: add it to LEVELS"
    for imported in imported_modules(MODULES[module]):
        other = package_of(imported)
        if other not in ("", package):
            assert LEVEL[other] < LEVEL[package], f"{module} imports {imported}, which is not on a lower level"


def test_modules_import_in_no_circle() -> None:
    """Imports of a package's own `__init__` by its modules count only if `__init__` defines what they take."""
    graph = {name: set(imported_modules(path)) & set(MODULES) - {name, ""} for name, path in MODULES.items() if name}
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph), f"a circle among {sorted(set(graph) - done)}"


def test_the_check_rejects_an_upward_import(tmp_path: Path) -> None:
    path = tmp_path / "core.py"
    path.write_text("from sightline.report import report\n")
    assert LEVEL[package_of(next(imported_modules(path)))] > LEVEL["core"]


def test_few_modules_lie_loose() -> None:
    loose = [name for name, path in MODULES.items() if path.parent == SOURCE and name and not name.startswith("__")]
    assert len(loose) <= MAX_LOOSE_MODULES, f"{loose}: which package does the new one belong to?"


@pytest.mark.parametrize("module", MODULES)
def test_torch_stays_on_its_side(module: str) -> None:
    if any(module == name or module.startswith(f"{name}.") for name in WITH_TORCH):
        return
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in top if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in top if isinstance(n, ast.ImportFrom)}
    assert not names & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize(
    "modules",
    [
        ["", "_cli.app"],
        ["evaluation.scoring", "evaluation.score_run", "maps.folder"],
        ["report", "_cli.score", "web.server.security", "web.server.app", "web.server.encoding", "web.viewer.server"],
    ],
)
def test_scoring_reporting_and_start_up_need_no_torch(modules: list[str]) -> None:
    lines = [
        "import sys",
        *(f"import {f'sightline.{m}'.removesuffix('.')}" for m in modules),
        "assert 'torch' not in sys.modules, 'torch was imported'",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_help_imports_no_pandas() -> None:
    code = (
        "import sys, sightline._cli.app as c\nc.main(['--help'])\n"
        "assert not {'torch', 'pandas', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "localization" in done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module: str) -> None:
    text = MODULES[module].read_text("utf-8")
    assert text.count("\n") <= 400, f"{module} has over 400 lines: which noun is missing?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= 45, f"{module}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.js")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_scripts_stay_small(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= 400, f"{path.name} has over 400 lines: which noun is missing?"


def test_every_exported_name_exists() -> None:
    import sightline

    assert sorted(sightline.__all__) == sightline.__all__
    for name in sightline.__all__:
        assert getattr(sightline, name) is not None
