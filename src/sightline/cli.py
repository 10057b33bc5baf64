"""The command line. Options are read off the signature of the function behind each command; nothing is said twice.

Commands are named by import path, so that `sightline --help` imports neither torch nor pandas.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

from cyclopts import App, Parameter

from sightline.core import SightlineError
from sightline.memory import keep_freed_memory

app = App(
    name="sightline",
    help="Does a radiology model look where the evidence is, and can you trust the map that says so?",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    version_flags=["--version"],
)
_data = App(name="data", help="Write a data set in a published layout, or check one.")
_train = App(name="train", help="Train a classifier on a data set, or an ensemble by a published recipe.")

_STUDIES = {
    "localization": "Do maps find what radiologists marked? Trains, explains, scores and reports.",
    "gaze": "Do maps agree with where a radiologist looked, and does training on gaze help?",
    "pretraining": "Does it matter how a network began, by accuracy and by maps, at 1, 10 and 100 % of the labels?",
    "selfexplain": "Does a network that shows where explain itself better than post-hoc maps, and near a detector?",
    "trust": "Do maps depend on what a network learned, and come back when it is trained again?",
}
_COMMANDS = {
    "score": ("score_maps", "Score maps made elsewhere against a data set's marks. Needs no torch."),
    "report": ("write_report", "Write a run's report again."),
    "show": ("show", "Print what a run found."),
    "list": ("list_names", "Data sets, models, methods, metrics and studies that can be named."),
}

_OTHERS = {
    "doctor": ("sightline.doctor:doctor", "Versions, devices, fast paths, data: what is here, and what is missing."),
    "export": ("sightline.exporting:export", "A run's maps as DICOM, NIfTI, NPZ, or masks as COCO."),
    "mlflow": ("sightline.exporting.tracking:mlflow", "Log a run to MLflow."),
}

for _name, _help in _STUDIES.items():
    app.command(f"sightline.studies.{_name}:{_name}", name=_name, help=_help)
for _name, (_function, _help) in _COMMANDS.items():
    app.command(f"sightline.commands:{_function}", name=_name, help=_help)
for _name, (_path, _help) in _OTHERS.items():
    app.command(_path, name=_name, help=_help)
app.command(
    "sightline.viewer.server:view", name="view", help="Look at a run in the browser, or write it as a static site."
)
app.command(
    "sightline.checks:check_methods", name="check-method", help="Try the laws every method must hold to, on your own."
)
app.command(
    "sightline.checks:check_models", name="check-model", help="What each method gives on a model, and whether it holds."
)
app.command("sightline.reading:narrate_run", name="narrate", help="A reading of a run's maps in words, and its check.")
app.command(
    "sightline.reading:check_text",
    name="check-text",
    help="Check what a text says of a run's maps against the numbers.",
)
_data.command("sightline.commands:write_data", name="write", help="Write a data set in a published layout.")
_data.command("sightline.commands:check_data", name="check", help="Look for what would spoil a study.")
app.command(_data)
app.command("sightline.readers.commands:app", name="readers",
            help="Radiologists draw, point and rate in the browser, and become the human benchmark.")  # fmt: skip
_train.command("sightline.training.commands:train", name="classifier", help="One network.")
_train.command("sightline.training.commands:train_taught", name="taught", help="A network by labels and gaze.")
_train.command("sightline.training.commands:train_contrastive", name="contrastive",
               help="An encoder, by reports or by images alone.")  # fmt: skip
_train.command("sightline.training.chexpert:train_chexpert", name="chexpert", help="An ensemble, by CheXpert's recipe.")
app.command(_train)
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
