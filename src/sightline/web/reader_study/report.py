"""The report of a reader study: one page, and its tables as CSV."""

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
from sightline.web.reader_study.export import ratings_table

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{ title }}</title><style>{{ css }}</style></head><body>
<header><p class="kicker">Sightline · reader study</p><h1>{{ title }}</h1>
<p class="subtitle">{% for part in facts %}<span>{{ part }}</span>{% endfor %}</p></header><main>
{% for name, note, table in sections %}
<section><h2>{{ name }}</h2><p>{{ note }}</p><div class="scroll"><table>
<thead><tr>{% for head in table.columns %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
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
}


@dataclass(frozen=True, slots=True)
class StudyReport:
    """What was written."""

    page: Path
    tables: list[tuple[str, pd.DataFrame]]
    """Titles, and rows as they are read."""


def write_report(location: str, out: Path, seed: int = 0) -> StudyReport:
    """Write OUT/report.html and OUT/*.csv of a study's finished cases. Errors: `DataError` without any."""
    with StudyDatabase.open(location) as book:
        study, said = book.study(), list(completed_readings(book))
    if not said:
        raise DataError(f"nobody has finished a case of {location}")
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for file, name, note, table in _report_tables(study, location, said, seed):
        if not table.empty:
            write_text_atomic(out / f"{file}.csv", table.to_csv(index=False, lineterminator="\n"))
            sections.append((name, note, _format_table(table)))
    names = list(dict.fromkeys(r.reader for r in said))
    facts = [
        study.dataset_spec,
        f"{len(said)} finished cases",
        f"readers: {', '.join(names)}",
        f"{study.created:%Y-%m-%d}",
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    css = Markup((files("sightline.report") / "style.css").read_text("utf-8"))
    page = environment.from_string(_PAGE).render(title=study.title, css=css, facts=facts, sections=sections)
    write_text_atomic(out / "report.html", page)
    return StudyReport(out / "report.html", [(name, table) for name, _, table in sections])


def _report_tables(
    study: Study, location: str, readings: list[CompletedReading], seed: int
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """(file, title, what to know, numbers), in reading order."""
    if any(r.case.task in ("contour", "point") and r.occasion == 0 for r in readings):
        note = f"Every reader scored as any map is, on the radiographs that all have finished. {_INTERVALS_NOTE}"
        yield (
            "benchmark",
            "Against the reference",
            note,
            score_readers(add_study_readers(open_dataset(study.dataset_spec), location), seed),
        )
    found = measure_agreement(readings, seed)
    note = "A case that one marked and the other did not overlaps by 0. Presence is Cohen's kappa; the ICC is that of "
    note += f"absolute agreement. Hit: the point of the first in the outline of the second. {_INTERVALS_NOTE}"
    yield "between", "Between readers", note, found[found["kind"] == "between"]
    note = f"The same case at first sight, and again at least half of the list later. {_INTERVALS_NOTE}"
    yield "within", "Within readers", note, found[found["kind"] == "within"]
    rated = ratings_table(readings)
    if not rated.empty:
        note = f"From 1 to 5; of the choice, how often. {_INTERVALS_NOTE}"
        yield "ratings_means", "What readers made of the maps", note, mean_ratings(rated, seed)
        note = f"Paired by reader and case. {_INTERVALS_NOTE}"
        yield "ratings_contrasts", "Maps against one another", note, contrasts(rated, seed)
        note = f"Quadratic kappa; of the choice, unweighted. {_INTERVALS_NOTE}"
        yield "ratings_agreement", "Do raters agree?", note, rater_agreement(rated, seed)
    yield (
        "times",
        "Time a case",
        f"Seconds at work: the page in view and a hand on it. {_INTERVALS_NOTE}",
        reading_times(readings, seed),
    )


def _format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are read: estimate and interval in one cell, names in words, no column that says nothing."""
    value = next(c for c in ("value", "mean", "kappa", "seconds") if c in table.columns)
    digits = 1 if value == "seconds" else 2
    said = [_format_number(*ends, digits) for ends in zip(table[value], table["low"], table["high"], strict=True)]
    rest = table.drop(columns=[c for c in ("low", "high", "kind", "protocol") if c in table.columns])
    made = rest.assign(**{value: said})
    for column in made.columns:
        if column == "measure" or column == "metric":
            made[column] = [_MEASURE_LABELS.get(name, name) for name in made[column]]
        elif pd.api.types.is_float_dtype(made[column]):
            made[column] = [_format_number(x, digits=digits if column == "median" else 3) for x in made[column]]
    return made.rename(columns={value: f"{value} [95 %]"})


def _format_number(value: float, low: float = float("nan"), high: float = float("nan"), digits: int = 2) -> str:
    """'0.31 [0.28, 0.34]'; a dash for what is undefined.

    >>> _format_number(0.312, 0.28, 0.34), _format_number(float("nan"))
    ('0.31 [0.28, 0.34]', '–')
    """
    if pd.isna(value):
        return "–"
    ends = "" if pd.isna(low) or pd.isna(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{ends}".replace("-", "−")
