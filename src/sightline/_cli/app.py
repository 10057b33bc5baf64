"""The command line: options follow from the signature and the docstring of the function behind each command.

Commands are named by import path, so that `sightline --help` imports neither torch nor pandas.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cyclopts import App, CycloptsError, CycloptsPanel, Group, Parameter, UnusedCliTokensError

from sightline._util.malloc import disable_malloc_trim
from sightline.errors import SightlineError
from sightline.studies.registry import studies


def _format_default(value: object) -> str | None:
    """Return a default as it would be typed, None for an empty one."""
    if value is None:
        return None
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or None


_HELP = """Measure saliency maps in radiology: do they locate findings, and can they be trusted?

Start with `sightline localization`, which needs no data: it trains and explains a model on synthetic radiographs, the
phantom. `sightline COMMAND --help` explains a command. The option `--plugin FILE` of every command runs a Python file
that registers your own methods, metrics, models or data sets.
"""


def _format_parse_error(error: CycloptsError) -> Any:
    """Return the error of a command line in a frame, with a hint for words that belong to no option."""
    if not isinstance(error, UnusedCliTokensError):
        return CycloptsPanel(error)
    message = f"No option takes {shlex.join(error.unused_tokens or ())}"
    if any(word.startswith("--findings") for word in error.root_input_tokens or ()):
        message += ': findings are comma-separated, in one quoted argument, as --findings "Edema, Pleural Effusion"'
    return CycloptsPanel(f"{message}.")


app = App(
    name="sightline",
    help=_HELP,
    default_parameter=Parameter(consume_multiple=True, negative_iterable=(), show_default=_format_default),
    group_commands=Group("Options", sort_key=9),
    version_flags=["--version"],
    error_formatter=_format_parse_error,
)
Command = tuple[str, str]
"""Import path of a function below `sightline`, and a description."""
_COMMANDS: dict[str, dict[str, Command]] = {
    "Maps and readers": {
        "score": (
            "_cli.score:score_maps",
            "Score maps of any tool against the annotations of a data set. Needs no torch.",
        ),
        "readers": (
            "_cli.reader_study:app",
            "Run a reader study: radiologists draw, point and rate in the browser, as a human benchmark.\n\n"
            "`create` creates a study, `invite` prints the link of a reader, `serve` serves the study. Without a "
            "command, a trial study of the phantom is opened on this machine.",
        ),
    },
    "Runs": {
        "view": ("web.viewer.server:view", "Show a run in the browser, or write it as a static site."),
        "show": ("report.terminal:show", "Print the main results of a run."),
        "compare": (
            "_cli.compare:compare_runs",
            "Compare runs on the same data: all pairs of models and methods, with intervals and ranks.",
        ),
        "report": ("_cli.report:write_report", "Write a run's report again."),
        "narrate write": (
            "_cli.narrate:write_narrative",
            "Describe a run's maps in words, and check the words against the measurements.",
        ),
        "narrate check": (
            "_cli.narrate:check_narrative",
            "Check what a text says about a run's maps against the measurements.",
        ),
        "export": ("runs.export:export_run", "Write a run's maps as DICOM, NIfTI or NPZ, or its masks as COCO."),
        "mlflow": ("runs.export.mlflow:log_to_mlflow", "Log a run to MLflow."),
    },
    "Data and models": {
        "data write": ("_cli.data:write_data", "Write a data set in a published layout."),
        "data check": (
            "_cli.data:check_data",
            "Check a data set for errors: unreadable images, patients in two splits, duplicates.",
        ),
        "train classifier": (
            "_cli.train:train_classifier",
            "Train a network on labels, or a localizer on annotations.",
        ),
        "train gaze": (
            "_cli.train:train_gaze",
            "Train a network on labels and gaze, and its control on shuffled gaze.",
        ),
        "train contrastive": (
            "_cli.train:train_contrastive",
            "Pre-train an image encoder on reports, or on images alone.",
        ),
        "train chexpert": ("_cli.train:train_chexpert", "Train an ensemble with the recipe of CheXpert."),
        "check-model": ("_cli.models:check_models", "Check a model, and run every saliency method on it."),
        "check-method": (
            "_cli.models:check_methods",
            "Check a saliency method of your own against the properties that every method must have.",
        ),
    },
    "Help": {
        "list": ("_cli.list:list_names", "List the available data sets, models, methods, metrics and studies."),
        "doctor": (
            "_cli.doctor:doctor",
            "Show which packages, devices, fast code paths, programs and data sets are available.",
        ),
    },
}


_PARENTS = {
    "data": "Write a data set in a published layout, or check one.",
    "narrate": "Describe the maps of a run in words, or check such a description.",
    "train": "Train a network on labels, annotations, gaze or reports, or the ensemble of CheXpert.",
}


_STUDY_GROUP = Group("Studies", sort_key=0)


def _register_studies(app: App) -> None:
    """Register a command for every study that has none yet; those of plug-ins come late."""
    for order, entry in enumerate(studies.values()):
        if entry.name not in app:
            app.command(entry.target, name=entry.name, help=entry.info.question, group=_STUDY_GROUP, sort_key=order)


def _register_commands(app: App) -> None:
    """Register every command in its group; 'train chexpert' becomes the command chexpert of the app train."""
    _register_studies(app)
    parents: dict[str, App] = {}
    for order, (title, commands) in enumerate(_COMMANDS.items(), start=1):
        group = Group(title, sort_key=order)
        for place, (name, (path, text)) in enumerate(commands.items()):
            parent, _, word = name.rpartition(" ")
            if not parent:
                app.command(f"sightline.{path}", name=word, help=text, group=group, sort_key=place)
                continue
            if parent not in parents:
                parents[parent] = App(
                    name=parent, help=_PARENTS[parent], group=group, group_commands="Commands", sort_key=place
                )
                app.command(parents[parent])
            parents[parent].command(f"sightline.{path}", name=word, help=text, sort_key=place)


_register_commands(app)
app.register_install_completion_command(help="Complete commands and options in this shell (bash, zsh, fish).")


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        Words of the command line; by default those of the process.

    Returns
    -------
    int
        Exit code: 0, 1 after an error that was printed, 130 after an interruption.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    disable_malloc_trim()
    try:
        words = _load_plugins(words)
        if not words or words[0].startswith("-") or words[0] not in app:
            studies.load_entry_points()
        _register_studies(app)
        with _log_to_stderr():
            outcome = app(words, result_action="return_value")
        if outcome is not None and not isinstance(outcome, int):
            from sightline._cli.report import finish_run

            finish_run(outcome)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _is_pipe_closed():
            raise
        return 1
    except SightlineError as error:
        print(wrap_message(f"sightline: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nsightline: interrupted; finished parts are kept, and the same command continues from there",
            file=sys.stderr,
        )
        return 130
    return outcome if isinstance(outcome, int) else 0


class _LogFormatter(logging.Formatter):
    """Warnings as notes, other messages as they are."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "note: " if record.levelno >= logging.WARNING else ""
        return f"{prefix}{record.getMessage()}"


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Print what the library logs on standard error."""
    logger = logging.getLogger("sightline")
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(_LogFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def wrap_message(message: str) -> str:
    """Wrap a message at the width of the terminal, if standard error is one.

    Paths and commands are not broken, so that they can be copied.

    Parameters
    ----------
    message : str
        One or more lines.

    Returns
    -------
    str
    """
    if not sys.stderr.isatty():
        return message
    width = max(40, shutil.get_terminal_size().columns - 1)
    lines = (
        textwrap.wrap(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in message.splitlines()
    )
    return "\n".join("\n".join(parts) for parts in lines)


def _is_pipe_closed() -> bool:
    """Return True if standard output is a closed pipe (`| head`), after redirecting it to nowhere."""
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
