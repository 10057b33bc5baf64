"""The table of studies: the question of each, its function, and its part of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import UnknownNameError
from sightline.registry import Registry, import_object

if TYPE_CHECKING:
    from sightline.core import Dataset, Maps
    from sightline.report.layout import Section, Tile
    from sightline.report.run_view import RunView
    from sightline.report.svg import Plot
    from sightline.report.tables import Table


def _nothing(view: RunView) -> Sequence[str]:
    return ()


def _no_tiles(view: RunView) -> Sequence[Tile]:
    return ()


def _no_sections(view: RunView, plots: Mapping[str, Plot]) -> Sequence[Section]:
    return ()


@dataclass(frozen=True, slots=True)
class StudySection:
    """Part of a report that belongs to one study: functions of a run's view that return what there is to show."""

    sentences: Callable[[RunView], Sequence[str]] = _nothing
    """Sentences that summarize the run at the top; where there are none, the general summary stands there."""
    tiles: Callable[[RunView], Sequence[Tile]] = _no_tiles
    """Headline numbers; where there are none, the general ones are shown."""
    plots: Sequence[Callable[[RunView], Plot | None]] = ()
    """Functions that draw the study's figures, or return None where the run has no data for one."""
    sections: Callable[[RunView, Mapping[str, Plot]], Sequence[Section]] = _no_sections
    """Sections of the page, before the general ones; from the drawn figures by name."""
    panels: Sequence[Callable[[RunView, Dataset, Maps], Plot | None]] = ()
    """Functions that draw the study's grids of images, which replace the general example images."""
    terminal_table: Callable[[RunView], Table | None] | None = None
    """Function that returns a table to print before the averages on a terminal."""
    localization_title: str = "Localization by finding"
    """Title of the general section that shows every metric finding by finding."""
    compared_models: Callable[[RunView], Sequence[str]] = _nothing
    """Names of the models that the study compares, in the order that fixes their colors; empty for any."""
    control_warnings: tuple[str, str] | None = (
        "A control localizes the findings better than the best map",
        "No map is shown to localize the findings better than a control",
    )
    """Titles of the warnings where the best map scores below a control, or not clearly above it; None for no warning,
    where the study's own tables judge that."""


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """Facts of a study."""

    question: str
    """Question that the study answers, in one sentence."""
    section: StudySection | str = StudySection()
    """Part of the report, or its import path as "package.module:name", which is imported when a report is written."""


studies: Registry[StudyInfo] = Registry("study", StudyInfo)
"""Studies by name. A function that is registered here becomes the command of that name; it returns the `Run`."""


def load_section(study: str) -> StudySection:
    """Return the part of the report that belongs to a study.

    Parameters
    ----------
    study : str
        Name that the run records.

    Returns
    -------
    StudySection
        The registered section; an empty one for what is no registered study.

    Examples
    --------
    >>> load_section("score") == StudySection()
    True
    """
    try:
        section = studies[study].info.section
    except UnknownNameError:
        return StudySection()
    loaded: StudySection = import_object(section) if isinstance(section, str) else section
    return loaded


def _add_built_in(name: str, question: str, section: StudySection | str) -> None:
    studies.add(name, f"sightline.studies.{name}:{name}", question=question, section=section)


_add_built_in(
    "localization",
    "Do maps find what radiologists annotated, and how far are they below a second radiologist?",
    StudySection(),
)
_add_built_in(
    "trust",
    "Do maps depend on what a network learned, and do they repeat when it is retrained?",
    "sightline.report.sections.trust:SECTION",
)
_add_built_in(
    "gaze",
    "Do maps agree with where a radiologist looked, and does training on gaze help?",
    "sightline.report.sections.gaze:SECTION",
)
_add_built_in(
    "pretraining",
    "Does pre-training improve accuracy and maps, at 1, 10 and 100 % of the labels?",
    "sightline.report.sections.pretraining:SECTION",
)
_add_built_in(
    "selfexplain",
    "Does a network that explains itself give better maps than post-hoc methods?",
    "sightline.report.sections.selfexplain:SECTION",
)
