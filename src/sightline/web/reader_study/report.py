"""Report of a reader study: a page, and its tables as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from sightline._util.files import write_text_atomic
from sightline.data import open_dataset
from sightline.data.reader_study.annotations import CompletedReading, add_study_readers, completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.schema import Study
from sightline.errors import DataError
from sightline.stats.ratings import contrasts, mean_ratings, rater_agreement
from sightline.web.reader_study.agreement import measure_agreement, reading_times, score_readers
from sightline.web.reader_study.aid import compare_arms
from sightline.web.reader_study.export import ratings_table

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{ title }}</title><style>{{ css }}</style></head><body>
<header><p class="kicker">Sightline · reader study</p><h1>{{ title }}</h1>
<p class="subtitle">{% for part in subtitle %}<span>{{ part }}</span>{% endfor %}</p></header><main>
{% for name, note, table in sections %}
<section><h2>{{ name }}</h2><p>{{ note }}</p><div class="scroll"><table>
<thead><tr>{% for column in table.columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.values.tolist() %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div></section>
{% endfor %}
</main></body></html>
"""
_INTERVALS_NOTE = "Intervals are 95 % and resample patients."
_MEASURE_LABELS = {
    "iou": "IoU",
    "dice": "Dice",
    "pointing-game": "pointing game",
    "distance": "distance of points",
    "icc area": "ICC of the area",
    "presence": "right about presence",
    "seconds": "active seconds",
}


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Page and tables of a written report."""

    page: Path
    """HTML file."""
    tables: list[tuple[str, pd.DataFrame]]
    """(title, formatted table) of every section."""


def write_report(location: str, out: Path) -> StudyReport:
    """Write report.html, and a CSV file per table, of the finished cases of a study.

    Parameters
    ----------
    location : str
        Folder or database URL of the study.
    out : Path
        Folder to write to.

    Returns
    -------
    StudyReport

    Raises
    ------
    DataError
        If no case is finished.
    """
    with StudyDatabase.open(location) as database:
        study, readings = database.study(), list(completed_readings(database, include_aided=True))
    if not readings:
        raise DataError(f"nobody has finished a case of {location}")
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for file, name, note, table in _report_tables(study, location, readings):
        if not table.empty:
            write_text_atomic(out / f"{file}.csv", table.to_csv(index=False, lineterminator="\n"))
            sections.append((name, note, _format_table(table)))
    names = list(dict.fromkeys(r.reader for r in readings))
    subtitle = [
        study.dataset_spec,
        f"{len(readings)} finished cases",
        f"readers: {', '.join(names)}",
        f"{study.created:%Y-%m-%d}",
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    css = Markup((files("sightline.report") / "style.css").read_text("utf-8"))
    page = environment.from_string(_PAGE).render(title=study.title, css=css, subtitle=subtitle, sections=sections)
    write_text_atomic(out / "report.html", page)
    return StudyReport(out / "report.html", [(name, table) for name, _, table in sections])


def _report_tables(
    study: Study, location: str, readings: list[CompletedReading]
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Yield (file name, title, note, table) of every section, in the order of the page."""
    if study.aid:
        note = f"Each reader read each case with the map of {study.aid} and without it, half of the cases with it "
        note += "first, and the next reader the other half. The mean is that of the paired differences, aided minus "
        note += f"unaided; it speaks of these readers. Other sections leave aided readings out. {_INTERVALS_NOTE}"
        arms = compare_arms(readings, open_dataset(study.dataset_spec))
        yield "aid", "With the map and without it", note, arms
    readings = [r for r in readings if not r.is_aided]
    if any(r.case.task in ("contour", "point") and r.occasion == 0 for r in readings):
        note = f"Readers are scored as maps are, on the radiographs that all readers have finished. {_INTERVALS_NOTE}"
        data = add_study_readers(open_dataset(study.dataset_spec), location)
        yield "benchmark", "Against the reference", note, score_readers(data)
    agreement = measure_agreement(readings)
    note = "The overlap of a case that only one reader annotated is 0. Presence is Cohen's kappa; the ICC is that of "
    note += "absolute agreement. Pointing game: the share of points of the first reader in the outline of the second. "
    note += _INTERVALS_NOTE
    yield "between", "Between readers", note, agreement[agreement["kind"] == "between"]
    note = f"First reading of a case, and its repeated reading at least half of the list later. {_INTERVALS_NOTE}"
    yield "within", "Within readers", note, agreement[agreement["kind"] == "within"]
    rated = ratings_table(readings)
    if not rated.empty:
        note = f"Ratings are from 1 to 5; a choice is the share of cases. {_INTERVALS_NOTE}"
        yield "ratings_means", "Ratings of the maps", note, mean_ratings(rated)
        note = f"Paired by reader and case. {_INTERVALS_NOTE}"
        yield "ratings_contrasts", "Differences between maps", note, contrasts(rated)
        note = f"Kappa with quadratic weights; for the choice, unweighted. {_INTERVALS_NOTE}"
        yield "ratings_agreement", "Agreement on ratings", note, rater_agreement(rated)
    note = f"Active seconds: the page is visible and the mouse, pen or keyboard is in use. {_INTERVALS_NOTE}"
    yield "times", "Time per case", note, reading_times(readings)


def _format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for reading: estimate and interval in one cell, measures in words, no constant columns."""
    value = next(c for c in ("value", "mean", "kappa", "seconds") if c in table.columns)
    digits = 1 if value == "seconds" else 2
    cells = [
        _format_number(*numbers, digits) for numbers in zip(table[value], table["low"], table["high"], strict=True)
    ]
    rest = table.drop(columns=[c for c in ("low", "high", "kind", "protocol") if c in table.columns])
    formatted = rest.assign(**{value: cells})
    for column in formatted.columns:
        if column == "measure" or column == "metric":
            formatted[column] = [_MEASURE_LABELS.get(name, name) for name in formatted[column]]
        elif pd.api.types.is_float_dtype(formatted[column]):
            places = digits if column == "median" else 3
            formatted[column] = [_format_number(number, digits=places) for number in formatted[column]]
    return formatted.rename(columns={value: f"{value} [95 %]"})


def _format_number(value: float, low: float = float("nan"), high: float = float("nan"), digits: int = 2) -> str:
    """Format a number with its interval, as '0.31 [0.28, 0.34]', or an undefined one as a dash.

    >>> _format_number(0.312, 0.28, 0.34), _format_number(float("nan"))
    ('0.31 [0.28, 0.34]', '–')
    """
    if pd.isna(value):
        return "–"
    interval = "" if pd.isna(low) or pd.isna(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}".replace("-", "−")
