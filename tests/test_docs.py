"""The documentation can't rot: its blocks run, its commands parse, its lists are complete, and it builds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

import sightline
from docpages import DOCS, ROOT, Block, blocks, inline_commands, pages, undocumented
from sightline._cli.app import _register_studies, app, main
from sightline._util.spec import parse_options, parse_spec
from sightline.data.registry import datasets
from sightline.methods.registry import methods, parse_method
from sightline.metrics.registry import metrics, parse_metric
from sightline.registry import Registry, load_plugin
from sightline.studies.registry import studies

READ = {str(p.relative_to(ROOT)): p.read_text() for p in (*pages(), ROOT / "README.md", ROOT / "CONTRIBUTING.md")}
RUN = [name for name, text in READ.items() if name.startswith("docs/") and any(b.runs for b in blocks(text))]
PROGRAMS = {"make", "pip", "git", "cd", "export", "python"}


def parsed(words: list[str]) -> None:
    """The command exists, its options exist, their values parse, and the names among them are known."""
    plugged = "--plugin" in words
    if plugged:
        at = words.index("--plugin")
        if (ROOT / words[at + 1]).is_file():  # a study of a plug-in is a command of its own
            load_plugin(ROOT / words[at + 1])
            _register_studies(app)
        words = words[:at] + words[at + 2 :]
    _, bound, _ = app.parse_args(words[1:], print_error=False, exit_on_error=False, help_on_error=False)
    for name, value in bound.arguments.items() if not plugged else ():
        for one in [value] if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if name in ("data", "test", "validation") and not one.isupper():  # SPEC
                loader, _, options = parse_spec(one)
                options.pop("readers", None)  # every loader's
                parse_options(one, datasets[loader].function, options)
            if name == "metrics":
                parse_metric(one)
            if name == "methods" and not one.endswith(".py"):
                parse_method(one)


def run_words(words: list[str]) -> None:
    if words[0] == "sightline":
        assert main(words[1:]) == 0, words
    else:
        assert words[0] in PROGRAMS, words


def masked(text: str) -> list[str]:
    """Lines without numbers, spaces and the lines of tables, so that a page may show what was printed."""
    return [re.sub(r"[\W\d_]+", " ", line).strip() for line in text.splitlines()]


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a page registers or imports is gone after it."""
    for registry in (methods, metrics, datasets, studies):
        assert isinstance(registry, Registry)
        monkeypatch.setattr(registry, "_entries", {name: registry[name] for name in registry})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "sightline_plugin_")):
            del sys.modules[name]


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize("name", RUN)
def test_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as Python does in a session
    space: dict[str, object] = {"__name__": "page"}
    printed = ""
    for block in blocks(READ[name]):
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), space)
        elif block.runs:
            for words in block.commands:
                run_words(words)
            space = {"__name__": "page"}  # who goes to the shell comes back to a new Python
        printed += "".join(capsys.readouterr())
        if block.language == "text" and not block.title:
            for line in filter(None, masked(block.text)):
                assert line in masked(printed), f"{name}:{block.line} shows {line!r}, which nothing printed"
    for run in {file.parent for file in tmp_path.rglob("run.json") if (file.parent / "report.html").exists()}:
        assert undocumented(run) == []


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize("name", READ)
def test_commands_are_commands(name: str) -> None:
    for block in blocks(READ[name]):
        for words in block.commands:
            if words[0] == "sightline":
                check(words, f"{name}:{block.line}")
            elif words[0] == "make":
                assert f"\n{words[1]}: " in (ROOT / "Makefile").read_text()
            else:
                assert words[0] in PROGRAMS or "=" in words[0], f"{name}:{block.line}: what is {words[0]!r}?"
    for words in inline_commands(READ[name]):
        check(words, name, whole=False)


def check(words: list[str], where: str, whole: bool = True) -> None:
    try:
        parsed(words)
    except MissingArgumentError as error:
        assert not whole, f"{where}: {' '.join(words)}: {error}"
    except (CycloptsError, sightline.SightlineError) as error:
        raise AssertionError(f"{where}: {' '.join(words)}: {error}") from error


def test_the_check_of_commands_refuses_what_does_not_exist() -> None:
    for line in (
        "score maps --dta x:y",
        "trust --images many",
        "localisation",
        "score m --data nothere:x",
        "localization --methods grad-kam",
        "gaze --data phantom:9?sise=3",
    ):
        with pytest.raises(AssertionError):
            check(["sightline", *line.split()], "here")


def test_blocks_that_do_not_run_say_why() -> None:
    for name, text in READ.items():
        for block in blocks(text):
            if name.startswith("docs/"):
                assert not block.title or block.file or block.language != "python", (
                    f"{name}:{block.line}: {block.title!r}"
                )


def test_blocks_are_found() -> None:
    text = 'a\n```python title="b/c.py"\n1\n```\n\n```sh\nsightline list \\\n  --kind x  # y\n```\n'
    assert [(b.language, b.file, b.line) for b in blocks(text)] == [("python", "b/c.py", 3), ("sh", "", 7)]
    assert blocks(text)[1].commands == [["sightline", "list", "--kind", "x"]]
    assert Block("sh", "on your data", "", 1).file == ""


def test_every_public_name_has_its_place_in_the_reference() -> None:
    shown = set(re.findall(r"^::: sightline\.(\w+)$", READ["docs/api.md"], re.MULTILINE))
    assert shown == set(sightline.__all__)


def test_every_table_that_the_code_writes_is_listed() -> None:
    code = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    written = set(re.findall(r'write_table\("(\w+)"', code)) | set(
        re.findall(r'"(\w+)": (?:schema_of\(|SCHEMA\b)', code)
    )
    assert {"estimates", "map_similarity"} < written
    assert not [name for name in written if f"`{name}`" not in READ["docs/formats.md"]]


def test_the_catalogue_is_what_the_registry_says() -> None:
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "docs/_build/catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    catalogue = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(catalogue)
    made = json.loads((DOCS / "figures/methods/made.json").read_text())
    again = "`python docs/_build/catalogue.py page` writes it again"
    assert catalogue.page(made) == READ["docs/catalogue.md"], again
    for name in methods:
        assert f'<div id="{name}">' in READ["docs/catalogue.md"]
        assert name in made["undrawn"] or (DOCS / "figures/methods" / catalogue._file(name)).exists()


def test_figures_are_small() -> None:
    assert sum(file.stat().st_size for file in (DOCS / "figures").rglob("*")) < 3_000_000


def test_the_site_builds_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strictly: a dead link, a page in no menu or a name without docstring is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {file: file.read_text() for file in (tmp_path / "site").rglob("*.html")}
    assert len(built) >= len(pages())
    for file, text in built.items():
        assert not re.findall(
            r'<(?:script|img|iframe)[^>]*src="?(?:https?:)?//|<link[^>]*stylesheet[^>]*//|mermaid', text
        ), file
    for image in re.findall(r'src="?([^" >]+\.(?:png|svg))', built[tmp_path / "site/catalogue.html"]):
        assert (tmp_path / "site" / image).exists(), image
