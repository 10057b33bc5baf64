"""Modules import only from lower floors, and everything but the torch side is free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightline"
FLOORS = (
    ("_util", "core", "notebook", "registry", "spec", "findings", "protocol", "theirs"),
    ("geometry", "dicom", "images", "histogram", "binarize", "metrics", "stats", "store", "pickles", "controls",
     "packing", "placed", "shapes", "imputing", "memory", "gaze", "reports", "mentions", "narrate", "sheets",
     "engine", "runs"),
    ("inputs", "answers", "data", "models", "mapfiles", "witness"),
    ("methods", "training", "benchmark", "record"),
    ("scoring", "explaining", "evaluate", "cases", "tuning", "analyses", "legacy", "casework", "asking", "scope",
     "sanity", "faithfulness", "steadiness", "agreement", "reading", "froc"),
    ("studies", "testing"),
    ("report", "web", "viewer", "exporting", "readers", "checks", "doctor", "showing", "commands", "cli"),
)  # fmt: skip
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
WITH_TORCH = {
    "models",
    "methods",
    "training",
    "explaining",
    "asking",
    "sanity",
    "faithfulness",
    "steadiness",
    "studies",
}
MODULES = sorted(SOURCE.rglob("*.py"))


def home(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "sightline":
            found += [f"sightline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in FLOOR, f"{own} stands on no floor: add it to FLOORS"
    for module in imports(path):
        if module.startswith("sightline.") and home(module) != own:
            assert FLOOR[home(module)] <= FLOOR[own], f"{path.name} imports {module} from a higher floor"


def test_same_floor_has_no_cycle() -> None:
    edges = {
        (path.relative_to(SOURCE).parts[0].removesuffix(".py"), home(module))
        for path in MODULES
        for module in imports(path)
        if module.startswith("sightline.")
    }
    graph = {name: {b for a, b in edges if a == name and b != name} for name in FLOOR}
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph), f"cycle among {sorted(set(graph) - done)}"


def test_the_check_rejects_an_upward_import(tmp_path: Path) -> None:
    path = tmp_path / "core.py"
    path.write_text("from sightline.report import report\n")
    assert FLOOR[home(imports(path)[0])] > FLOOR["core"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_torch_stays_on_its_side(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own in WITH_TORCH:
        return
    tree = ast.parse(path.read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in top if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in top if isinstance(n, ast.ImportFrom)}
    assert not names & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize(
    "modules",
    [
        ["sightline", "sightline.cli"],
        ["sightline.scoring", "sightline.evaluate", "sightline.mapfiles"],
        [
            "sightline.report",
            "sightline.commands",
            "sightline.web.guard",
            "sightline.web.app",
            "sightline.web.pixels",
            "sightline.viewer.server",
        ],
    ],
)
def test_scoring_reporting_and_start_up_need_no_torch(modules: list[str]) -> None:
    lines = ["import sys", *(f"import {m}" for m in modules), "assert 'torch' not in sys.modules, 'torch came along'"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_help_imports_no_pandas() -> None:
    code = (
        "import sys, sightline.cli as c\nc.main(['--help'])\nassert not {'torch', 'pandas', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "localization" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, f"{path.name} has over 400 lines: which noun is missing?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= 45, f"{path.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.js")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_scripts_stay_small(path: Path) -> None:
    assert path.read_text().count("\n") <= 400, f"{path.name} has over 400 lines: which noun is missing?"


def test_every_exported_name_exists() -> None:
    import sightline

    assert sorted(sightline.__all__) == sightline.__all__
    for name in sightline.__all__:
        assert getattr(sightline, name) is not None
