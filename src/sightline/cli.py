"""The command line. Options are read off the signature of the function behind each command; nothing is said twice.

Commands are named by import path, so that `sightline --help` imports neither torch nor pandas.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

from cyclopts import App, Group, Parameter

from sightline.core import SightlineError
from sightline.memory import keep_freed_memory

app = App(
    name="sightline",
    help="Does a radiology model look where the evidence is, and can you trust the map that says so?",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    version_flags=["--version"],
)
Command = tuple[str, str]
"""Where the function is, below `sightline`, and what it does."""
_COMMANDS: dict[str, dict[str, Command]] = {
    "Studies": {
        "localization": ("studies.localization:localization",
                         "Do maps find what radiologists marked? Trains, explains, scores and reports."),
        "trust": ("studies.trust:trust",
                  "Do maps depend on what a network learned, and come back when it is trained again?"),
        "gaze": ("studies.gaze:gaze",
                 "Do maps agree with where a radiologist looked, and does training on gaze help?"),
        "pretraining": ("studies.pretraining:pretraining",
                        "Does it matter how a network began, by accuracy and maps, at 1, 10 and 100 % of the labels?"),
        "selfexplain": ("studies.selfexplain:selfexplain",
                        "Does a network that shows where explain itself better than post-hoc maps?"),
    },
    "Maps and people": {
        "score": ("commands:score_maps", "Score maps made elsewhere against a data set's marks. Needs no torch."),
        "readers": ("readers.commands:app",
                    "Radiologists draw, point and rate in the browser, and become the human benchmark."),
    },
    "Runs": {
        "view": ("viewer.server:view", "Look at a run in the browser, or write it as a static site."),
        "show": ("commands:show", "Print what a run found."),
        "report": ("commands:write_report", "Write a run's report again."),
        "narrate": ("reading:narrate_run", "A reading of a run's maps in words, and its check."),
        "check-text": ("reading:check_text", "Check what a text says of a run's maps against the numbers."),
        "export": ("exporting:export", "A run's maps as DICOM, NIfTI, NPZ, or masks as COCO."),
        "mlflow": ("exporting.tracking:mlflow", "Log a run to MLflow."),
    },
    "Data and models": {
        "data write": ("commands:write_data", "Write a data set in a published layout."),
        "data check": ("commands:check_data", "Look for what would spoil a study."),
        "train classifier": ("training.commands:train", "One network."),
        "train taught": ("training.commands:train_taught", "A network by labels and gaze."),
        "train contrastive": ("training.commands:train_contrastive", "An encoder, by reports or by images alone."),
        "train chexpert": ("training.chexpert:train_chexpert", "An ensemble, by CheXpert's recipe."),
        "check-model": ("checks:check_models", "What each method gives on a model, and whether it holds."),
        "check-method": ("checks:check_methods", "Try the laws every method must hold to, on your own."),
    },
    "Help": {
        "list": ("commands:list_names", "Data sets, models, methods, metrics and studies that can be named."),
        "doctor": ("doctor:doctor", "Versions, devices, fast paths, data: what is here, and what is missing."),
    },
}  # fmt: skip


_PARENTS = {
    "data": "Write a data set in a published layout, or check one.",
    "train": "Train a classifier on a data set, or an ensemble by a published recipe.",
}


def _fill(app: App) -> None:
    """Every command in its place; 'train chexpert' is the command chexpert of the app train."""
    parents: dict[str, App] = {}
    for order, (title, commands) in enumerate(_COMMANDS.items()):
        group = Group(title, sort_key=order)
        for name, (path, told) in commands.items():
            parent, _, word = name.rpartition(" ")
            if not parent:
                app.command(f"sightline.{path}", name=word, help=told, group=group)
                continue
            if parent not in parents:
                parents[parent] = App(name=parent, help=_PARENTS[parent], group=group)
                app.command(parents[parent])
            parents[parent].command(f"sightline.{path}", name=word, help=told)


_fill(app)
app.register_install_completion_command(help="Complete commands and options in this shell (bash, zsh, fish).")


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 for an error that is told, 130 when interrupted."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    keep_freed_memory()
    try:
        words = _load_plugins(words)
        outcome = app(words, result_action="return_value")
        if outcome is not None and not isinstance(outcome, int):
            from sightline.commands import finish

            finish(outcome)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        return 1
    except SightlineError as error:
        print(told(f"sightline: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsightline: stopped; what is done is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return outcome if isinstance(outcome, int) else 0


def told(message: str) -> str:
    """A message for standard error: wrapped at the width of a terminal, as it is where it goes to a file or a pipe.

    Paths and commands are not broken, so that they can be copied.
    """
    if not sys.stderr.isatty():
        return message
    width = max(40, shutil.get_terminal_size().columns - 1)
    lines = (textwrap.wrap(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
             for line in message.splitlines())  # fmt: skip
    return "\n".join("\n".join(some) for some in lines)


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more (`| head`); it is pointed at nothing then."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _load_plugins(words: list[str]) -> list[str]:
    """Take every `--plugin FILE` out of the command line and run the file, before any name is looked up."""
    from sightline.registry import load_plugin

    rest: list[str] = []
    position = 0
    while position < len(words):
        if words[position] == "--plugin" and position + 1 < len(words):
            load_plugin(words[position + 1])
            position += 2
        else:
            rest.append(words[position])
            position += 1
    return rest
