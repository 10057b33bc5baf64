"""A study from a data set or a run: which cases are asked, by which tasks."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightline._util.rng import ABSENT_FINDING, STUDY_ORDER, key_digest
from sightline.core import Dataset, Radiograph, Size, Source
from sightline.data import dataset
from sightline.data.reader_study.database import Book, now
from sightline.data.reader_study.rating_sheets import draw_sheets
from sightline.data.reader_study.schedule import JUDGED
from sightline.data.reader_study.schema import Case, Study
from sightline.errors import DataError, UnknownNameError
from sightline.findings import choose
from sightline.runs.run import Run

TASKS = {
    "contour": "outline every instance of a finding",
    "point": "mark the one point that shows a finding best",
    "look": "click where one looks, in the order of looking",
    "rate": "rate maps of a run, side by side and blinded",
    "choice": "choose the one map of several that helps most",
}
MOST_MAPS = 6
"""On a sheet: more do not fit on a tablet."""
Question = tuple[Radiograph, str]
"""A radiograph and the finding that is asked for."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a study is made of."""

    source: str
    data: Dataset
    run: Run | None
    sources: tuple[str, ...] = field(default=())
    """Whose maps are judged."""

    @classmethod
    def open(cls, source: str, sources: Sequence[str] = (), judged: bool = False) -> Material:
        """A data spec, or a run folder, whose data set is opened.

        Errors: `DataError` if maps are to be judged and there is no run, or fewer than two of them;
        `UnknownNameError` for a source that the run lacks.
        """
        if not (Path(source) / "run.json").is_file():
            if judged:
                raise DataError(f"{source} is no run folder: tasks {' and '.join(JUDGED)} show maps of a run; name one")
            return cls(source, dataset(source), None)
        run = Run.open(source)
        spec = run.info.get("dataset", {}).get("spec")
        if not spec:
            raise DataError(f"{source} does not say which data set it is of; give the data set instead")
        return cls(source, dataset(spec), run, _sources(run, sources) if judged else ())


def _sources(run: Run, wanted: Sequence[str]) -> tuple[str, ...]:
    there = run.sources
    for name in wanted:
        if name not in there:
            raise UnknownNameError(f"{run.path} has no maps of {name!r}; it has: {', '.join(there) or 'none'}")
    chosen = tuple(wanted) or tuple(s for s in there if Source.parse(s).kind == "model")[:MOST_MAPS]
    if not 2 <= len(chosen) <= MOST_MAPS:
        raise DataError(f"{len(chosen)} sources of maps; 2 to {MOST_MAPS} can be judged side by side: name them")
    return chosen


def create(
    source: str,
    out: str | Path,
    *,
    tasks: Sequence[str] = ("contour", "point"),
    findings: str = "",
    cases: int = 0,
    absent: float = 0.25,
    repeats: float = 0.1,
    sources: Sequence[str] = (),
    seed: int = 0,
    title: str = "Reader study",
) -> Book:
    """Make a study at `out` (a folder or the URL of a database) from a data spec or a run folder.

    tasks: of `TASKS`; findings: comma-separated, all by default; cases: radiographs asked for, drawn by `seed`, 0 all;
    absent: cases without the finding, as a share of those with it, so that being asked says nothing; repeats: share of
    the cases that each reader gets a second time; sources: whose maps are judged, by default the models' of the run.
    Errors: `DataError` for options outside their ranges and where nothing is left to ask; as `Book.open`.
    """
    _check(tasks, cases, absent, repeats)
    judged = [task for task in tasks if task in JUDGED]
    material = Material.open(source, sources, bool(judged))
    wanted = choose(findings or None, material.data.findings)
    limit = cases or len(material.data.radiographs)
    asked = list(_asked(material.data, wanted, limit, absent, seed))
    made = [
        *_cases("look", [(r, "") for r in {r.id: r for r, _ in asked}.values()]),
        *(case for task in ("contour", "point") for case in _cases(task, asked)),
    ]
    kept = [case for case in made if case.task in tasks]
    for task in judged:
        kept += _cases(task, _on_sheets(material, asked, limit, seed))
    missing = [task for task in tasks if not any(case.task == task for case in kept)]
    if missing:
        raise DataError(
            f"{source} has no case for {missing[0]}: no radiograph shows {', '.join(wanted) or 'a finding'}"
        )
    book = Book.open(out, new=True)
    with book.write() as session:
        session.add(
            Study(
                key=secrets.token_urlsafe(12), title=title, source=source, data=material.data.spec,
                tasks=list(dict.fromkeys(tasks)),
                findings=list(wanted), sources=list(material.sources), seed=seed, repeats=repeats, created=now(),
            )
        )  # fmt: skip
        session.add_all(kept)
    return book


def _check(tasks: Sequence[str], cases: int, absent: float, repeats: float) -> None:
    for task in tasks:
        if task not in TASKS:
            raise UnknownNameError(f"no task is called {task!r}; there are {', '.join(TASKS)}")
    if not tasks or cases < 0 or not 0 <= absent <= 10 or not 0 <= repeats <= 1:
        raise DataError(
            f"tasks {', '.join(tasks) or '(none)'}, cases {cases}, absent {absent:g}, repeats {repeats:g}; "
            "give at least one task, cases from 0 (all), absent from 0 to 10, repeats from 0 to 1"
        )


def _asked(data: Dataset, findings: Sequence[str], limit: int, absent: float, seed: int) -> Iterator[Question]:
    """Every finding where it is to be seen on the radiographs drawn, and where it is not on a share of others."""
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, STUDY_ORDER, r.id))
    if not data.readers and not any(r.labels for r in drawn[:1000]):  # nobody knows what is there: ask for everything
        yield from ((r, finding) for r in drawn[:limit] for finding in findings)
        return
    present = {finding: [r for r in drawn if _shows(data, r, finding)] for finding in findings}
    shown = {finding: {r.id for r in of} for finding, of in present.items()}
    healthy = {r.id for r in drawn}.difference(*shown.values())
    some = {r.id for r in [r for r in drawn if r.id not in healthy][:limit]}
    for finding in findings:
        seen = [r for r in present[finding] if r.id in some]
        without = [r for r in drawn if r.id in some | healthy and _lacks(r, finding, shown[finding])]
        others = sorted(without, key=lambda r: key_digest(seed, ABSENT_FINDING, finding, r.id))
        yield from ((r, finding) for r in (*seen, *others[: round(absent * len(seen))]))


def _shows(data: Dataset, radiograph: Radiograph, finding: str) -> bool:
    """Whether the reference reader marked the finding; where nobody marked anything, whether it is labeled so."""
    if data.readers:
        return data.marks(radiograph.id, finding, data.truth) is not None
    return radiograph.labels.get(finding) == 1


def _lacks(radiograph: Radiograph, finding: str, shown: Collection[str]) -> bool:
    """Certainly not there: an uncertain label is no absence."""
    return radiograph.id not in shown and radiograph.labels.get(finding, 0) == 0


def _on_sheets(material: Material, asked: Sequence[Question], limit: int, seed: int) -> list[Question]:
    """Cases whose maps are all there, one of a patient, drawn as every study of maps draws them."""
    by = {(r.id, r.patient, finding): (r, finding) for r, finding in asked if _explained(material, r, finding)}
    sheets = draw_sheets(list(by), material.sources, ["anyone"], most=limit, repeated=0, seed=seed)
    return [by[sheet.radiograph, sheet.patient, sheet.finding] for sheet in sheets]


def _explained(material: Material, radiograph: Radiograph, finding: str) -> bool:
    if material.run is None or not _shows(material.data, radiograph, finding):
        return False
    maps = material.run.of(radiograph.id, material.sources)
    return len({m.source for m in maps if m.finding == finding and m.status == "ok"}) == len(material.sources)


def _cases(task: str, asked: Sequence[Question]) -> Iterator[Case]:
    for radiograph, finding in asked:
        height, width = _size(radiograph)
        yield Case(
            task=task, radiograph=radiograph.id, patient=radiograph.patient, finding=finding, height=height, width=width
        )


def _size(radiograph: Radiograph) -> Size:
    if radiograph.size is not None:
        return radiograph.size
    height, width = radiograph.read().shape
    return height, width
