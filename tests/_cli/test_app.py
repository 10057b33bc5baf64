"""The command line: every command on real input, and errors a user can act on."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from PIL import Image

from sightline._cli.app import app, main, wrap_message
from sightline.metrics.registry import metrics

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_maps_of_another_tool_are_scored_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a quality engineer does: images, masks and maps in folders, one command, a report."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks/Edema", "maps"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for n in range(6):
        mask = np.zeros((60, 80), np.uint8)
        mask[10 + 3 * n : 30 + 3 * n, 20:45] = 255
        Image.fromarray(rng.integers(0, 255, (60, 80), np.uint8)).save(tmp_path / f"data/images/case{n}.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/Edema/case{n}.png")
        if n < 5:
            np.savez(tmp_path / f"data/maps/case{n}_Edema.npz", map=mask[::4, ::4].astype(np.float32))
    (tmp_path / "data/maps/stranger_Edema.npz").write_bytes((tmp_path / "data/maps/case0_Edema.npz").read_bytes())
    out = tmp_path / "run"
    words = ["score", str(tmp_path / "data/maps"), "--data", f"folder:{tmp_path / 'data'}", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "maps: 1 of 6 maps missing, first case5/Edema: there is no such map" in printed.out
    assert "not scored:" in printed.err and "stranger" in printed.err
    assert "files that were not used: 1, first:" in printed.out
    assert "stranger" in (out / "run.json").read_text()
    page = (out / "report.html").read_text()
    assert "missing" in page
    scores = (out / "tables/scores.csv").read_text()
    assert '"missing"' in scores
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == page
    assert main(["show", str(out)]) == 0


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("phantom", "chexlocalize", "grad-cam", "average-mask", "densenet121", "pixel-auroc", "selfexplain"):
        assert name in printed
    assert main(["list", "studies"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "Do maps find what radiologists annotated" in listed and "pixel-auroc" not in listed


def test_only_what_is_there_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "foo"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert '"foo"' in printed.err
    assert all(f'"{kind}"' in printed.err for kind in ("datasets", "models", "methods", "metrics", "studies"))


def commands(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command below, each once, with the words that call it."""
    yield words, app
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], (*words, name))


def test_every_command_and_every_option_of_it_has_help() -> None:
    """One entry of the docstring per option: of 'epochs, batch: ...' nothing would be shown for either."""
    every = dict(commands(app))
    assert {
        ("localization",),
        ("train", "gaze"),
        ("narrate", "check"),
        ("narrate", "write"),
        ("readers",),
        ("readers", "invite"),
        ("list",),
    } <= every.keys()
    help_texts = {words: command.help for words, command in every.items()}
    for words, command in every.items():
        if command.default_command is not None:
            options = command.assemble_argument_collection(parse_docstring=True)
            help_texts |= {(*words, option.name): option.parameter.help or "" for option in options}
    assert ("pretraining", "--head-only-steps") in help_texts
    assert [words for words, text in help_texts.items() if not text.strip()] == []
    assert [words for words, text in help_texts.items() if text.startswith("Of ")] == []  # "Seed of ...", not "Of ..."


def test_data_write_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "written"
    assert main(["data", "write", "phantom:6?size=64", "--format", "chexlocalize", "--out", str(out)]) == 0
    assert main(["data", "check", f"chexlocalize:{out}?split=test"]) == 0
    assert "2 radiographs of 1 patient, " in capsys.readouterr().out
    assert main(["data", "write", "phantom:6?size=64", "--format", "chexlocalize", "--out", str(out)]) == 1
    assert str(out) in capsys.readouterr().err


def test_problems_are_grouped_with_examples_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder as a newcomer makes it: a column misspelled, masks of another size; then one with images alone."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks/Pleural Efusion"):
        (tmp_path / folder).mkdir(parents=True)
    for n in range(7):
        Image.fromarray(rng.integers(0, 255, (30, 40), np.uint8)).save(tmp_path / f"images/case{n}.png")
        Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / f"masks/Pleural Efusion/case{n}.png")
    (tmp_path / "labels.csv").write_text("image,patient,Edemma\n" + "".join(f"case{n},p{n},0\n" for n in range(7)))
    assert main(["data", "check", f"folder:{tmp_path}"]) == 1
    said = capsys.readouterr().out
    assert "Problem(" not in said
    assert said.startswith(
        "error: annotation of another size, 7 times\n    case0, Pleural Efusion by truth: the mask is (9, 9)"
    )
    assert said.count("the mask is (9, 9)") == 5 and "    and 2 more\n    what to do: save the mask at" in said
    assert "note: finding misspelled?, 2 times" in said
    assert "did you mean 'Edema'?" in said and "did you mean 'Pleural Effusion'?" in said
    assert said.endswith("readers: truth; 7 errors, 2 notes\n")
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "labels.csv").write_text("image,patient,Edema\n" + "".join(f"case{n},p{n},0\n" for n in range(7)))
    assert main(["data", "check", f"folder:{tmp_path}"]) == 0
    bare = capsys.readouterr().out
    assert "no reader annotated any finding" in bare and bare.endswith("readers: none; 1 note\n")


def test_a_plugin_is_listed(capsys: pytest.CaptureFixture[str], plugin) -> None:
    with plugin("add_a_metric", metrics, "center-hit"):
        assert main(["--plugin", str(EXAMPLES / "add_a_metric.py"), "list", "--kind", "metrics"]) == 0
    assert "center-hit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nowhere"], "nowhere is not a run folder"),
        (["--plugin", "nowhere.py", "list"], "nowhere.py is not a file"),
        (["data", "check", "phantum:9"], "did you mean 'phantom'"),
        (["data", "check", "phantom:9?sise=3"], "no option 'sise'"),
        (["localization", "--data", "phantom:4?split=test"], "holds no radiograph; give another split"),
        (["score", "nowhere", "--data", "phantom:2?size=64"], "nowhere"),
        (["score", "nowhere", "--data", "phantom:2?size=64", "--metrics", "iou@often"], "allowed: 'otsu'"),
        (["score", "nowhere", "--data", "phantom:2?size=64", "--binarizer", "often"], "allowed: 'otsu'"),
    ],
)
def test_errors_say_what_to_do(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", ["score maps --data folder:x", "localization", "gaze"])
def test_findings_are_one_argument(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option, hint in (("--findings=Edema", True), ("--findings Edema", True), ("--seed 1", False)):
        with pytest.raises(SystemExit) as stopped:
            main([*words.split(), *option.split(), "Pleural Effusion"])
        said = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
        assert stopped.value.code == 2 and "No option takes 'Pleural Effusion'" in said
        assert ("comma-separated, in one quoted argument" in said) == hint


def test_errors_are_wrapped_for_a_terminal_of_80_columns_only(capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal: at most 80 columns, continued under themselves. In a pipe: one line, for those who grep."""
    asked = ["show", "no/such/run"]
    assert main(asked) == 1
    piped = capsys.readouterr().err
    assert piped.count("\n") == 1
    code = "import sys; from sightline._cli.app import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, *asked]
    near, far = os.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shell = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    code = subprocess.run(words, stdin=far, stdout=far, stderr=far, check=False, env=shell).returncode
    shown = os.read(near, 65536).decode().replace("\r\n", "\n")
    os.close(near), os.close(far)
    lines = shown.splitlines()
    assert code == 1 and len(lines) > 1 and all(len(line) <= 80 for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == piped.strip()


def test_paths_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    path = "/data/" + "a" * 70 + ".png"
    lines = wrap_message(
        f"image {path} does not exist; and more words follow, so that another line is needed\nsecond"
    ).split("\n")
    assert path in [line.strip() for line in lines] and lines[-1] == "second"
    assert all(len(line) <= 59 for line in lines if path not in line)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_our_commands(shell: str, tmp_path: Path) -> None:
    script = app.generate_completion(prog_name="sightline", shell=shell)
    for word in ("localization", "export", "doctor", "chexpert", "--format", "--protocol"):
        assert word in script
    if shell == "bash" and shutil.which("bash"):
        (tmp_path / "sightline").write_text(script)
        asked = "COMP_WORDS=(sightline ex); COMP_CWORD=1; _sightline; echo ${COMPREPLY[@]}"
        done = subprocess.run(
            ["bash", "-c", f"source {tmp_path / 'sightline'}; {asked}"], capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == ["export"] and done.stderr == ""
