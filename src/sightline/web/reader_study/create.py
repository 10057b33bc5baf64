"""A study from a data set or a run: which cases are asked, by which tasks."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightline._util.rng import ABSENT_FINDING, STUDY_ORDER, key_digest
from sightline.core import Dataset, Radiograph, Size, Source
from sightline.data import open_dataset
from sightline.data.reader_study.database import StudyDatabase, utc_now
from sightline.data.reader_study.rating_sheets import sample_rating_cases
from sightline.data.reader_study.schedule import RATING_TASKS
from sightline.data.reader_study.schema import Study, StudyCase
from sightline.errors import DataError, UnknownNameError
from sightline.findings import select_findings
from sightline.runs.run import Run

TASKS = {
    "contour": "outline every instance of a finding",
    "point": "mark the one point that shows a finding best",
    "search": "click where one looks, in the order of looking",
    "rate": "rate maps of a run, side by side and blinded",
    "choice": "choose the one map of several that helps most",
}
MAX_MAPS = 6
"""On a sheet: more do not fit on a tablet."""
CandidateCase = tuple[Radiograph, str]
"""A radiograph and the finding that is asked for."""


@dataclass(frozen=True, slots=True)
class StudyInputs:
    """What a study is made of."""

    data_or_run: str
    data: Dataset
    run: Run | None
    sources: tuple[str, ...] = field(default=())
    """Whose maps are judged."""

    @classmethod
    def open(cls, data_or_run: str, sources: Sequence[str] = (), needs_maps: bool = False) -> StudyInputs:
        """A data spec, or a run folder, whose data set is opened.

        Errors: `DataError` if maps are to be judged and there is no run, or fewer than two of them;
        `UnknownNameError` for a source that the run lacks.
        """
        if not (Path(data_or_run) / "run.json").is_file():
            if needs_maps:
                raise DataError(
                    f"{data_or_run} is no run folder: tasks {' and '.join(RATING_TASKS)} show maps of a run; name one"
                )
            return cls(data_or_run, open_dataset(data_or_run), None)
        run = Run.open(data_or_run)
        spec = run.info.get("dataset", {}).get("spec")
        if not spec:
            raise DataError(f"{data_or_run} does not say which data set it is of; give the data set instead")
        return cls(data_or_run, open_dataset(spec), run, _select_sources(run, sources) if needs_maps else ())


def _select_sources(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    there = run.sources
    for name in names:
        if name not in there:
            raise UnknownNameError(f"{run.path} has no maps of {name!r}; it has: {', '.join(there) or 'none'}")
    chosen = tuple(names) or tuple(s for s in there if Source.parse(s).kind == "model")[:MAX_MAPS]
    if not 2 <= len(chosen) <= MAX_MAPS:
        raise DataError(f"{len(chosen)} sources of maps; 2 to {MAX_MAPS} can be judged side by side: name them")
    return chosen


def create_study(
    data_or_run: str,
    out: str | Path,
    *,
    tasks: Sequence[str] = ("contour", "point"),
    findings: str = "",
    max_radiographs: int = 0,
    absent_ratio: float = 0.25,
    repeat_share: float = 0.1,
    sources: Sequence[str] = (),
    seed: int = 0,
    title: str = "Reader study",
) -> StudyDatabase:
    """Make a study at `out` (a folder or the URL of a database) from a data spec or a run folder.

    tasks: of `TASKS`; findings: comma-separated, all by default; cases: radiographs asked for, drawn by `seed`, 0 all;
    absent: cases without the finding, as a share of those with it, so that being asked says nothing; repeats: share of
    the cases that each reader gets a second time; sources: whose maps are judged, by default the models' of the run.
    Errors: `DataError` for options outside their ranges and where nothing is left to ask; as `Book.open`.
    """
    _check_options(tasks, max_radiographs, absent_ratio, repeat_share)
    judged = [task for task in tasks if task in RATING_TASKS]
    material = StudyInputs.open(data_or_run, sources, bool(judged))
    wanted = select_findings(findings or None, material.data.findings)
    limit = max_radiographs or len(material.data.radiographs)
    asked = list(_sample_cases(material.data, wanted, limit, absent_ratio, seed))
    made = [
        *_make_cases("search", [(r, "") for r in {r.id: r for r, _ in asked}.values()]),
        *(case for task in ("contour", "point") for case in _make_cases(task, asked)),
    ]
    kept = [case for case in made if case.task in tasks]
    for task in judged:
        kept += _make_cases(task, _sample_rating_cases(material, asked, limit, seed))
    missing = [task for task in tasks if not any(case.task == task for case in kept)]
    if missing:
        raise DataError(
            f"{data_or_run} has no case for {missing[0]}: no radiograph shows {', '.join(wanted) or 'a finding'}"
        )
    book = StudyDatabase.open(out, new=True)
    with book.write_session() as session:
        session.add(
            Study(
                key=secrets.token_urlsafe(12),
                title=title,
                data_or_run=data_or_run,
                dataset_spec=material.data.spec,
                tasks=list(dict.fromkeys(tasks)),
                findings=list(wanted),
                sources=list(material.sources),
                seed=seed,
                repeat_share=repeat_share,
                created=utc_now(),
            )
        )
        session.add_all(kept)
    return book


def _check_options(tasks: Sequence[str], max_radiographs: int, absent_ratio: float, repeat_share: float) -> None:
    for task in tasks:
        if task not in TASKS:
            raise UnknownNameError(f"no task is called {task!r}; there are {', '.join(TASKS)}")
    if not tasks or max_radiographs < 0 or not 0 <= absent_ratio <= 10 or not 0 <= repeat_share <= 1:
        raise DataError(
            f"tasks {', '.join(tasks) or '(none)'}, cases {max_radiographs}, absent {absent_ratio:g}, repeats "
            f"{repeat_share:g}; "
            "give at least one task, cases from 0 (all), absent from 0 to 10, repeats from 0 to 1"
        )


def _sample_cases(
    data: Dataset, findings: Sequence[str], limit: int, absent_ratio: float, seed: int
) -> Iterator[CandidateCase]:
    """Every finding where it is to be seen on the radiographs drawn, and where it is not on a share of others."""
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, STUDY_ORDER, r.id))
    if not data.readers and not any(r.labels for r in drawn[:1000]):  # nobody knows what is there: ask for everything
        yield from ((r, finding) for r in drawn[:limit] for finding in findings)
        return
    present = {finding: [r for r in drawn if _has_finding(data, r, finding)] for finding in findings}
    shown = {finding: {r.id for r in of} for finding, of in present.items()}
    healthy = {r.id for r in drawn}.difference(*shown.values())
    some = {r.id for r in [r for r in drawn if r.id not in healthy][:limit]}
    for finding in findings:
        seen = [r for r in present[finding] if r.id in some]
        without = [r for r in drawn if r.id in some | healthy and _lacks_finding(r, finding, shown[finding])]
        others = sorted(without, key=lambda r: key_digest(seed, ABSENT_FINDING, finding, r.id))
        yield from ((r, finding) for r in (*seen, *others[: round(absent_ratio * len(seen))]))


def _has_finding(data: Dataset, radiograph: Radiograph, finding: str) -> bool:
    """Whether the reference reader marked the finding; where nobody marked anything, whether it is labeled so."""
    if data.readers:
        return data.annotation(radiograph.id, finding, data.reference_reader) is not None
    return radiograph.labels.get(finding) == 1


def _lacks_finding(radiograph: Radiograph, finding: str, positive_ids: Collection[str]) -> bool:
    """Certainly not there: an uncertain label is no absence."""
    return radiograph.id not in positive_ids and radiograph.labels.get(finding, 0) == 0


def _sample_rating_cases(
    inputs: StudyInputs, candidates: Sequence[CandidateCase], limit: int, seed: int
) -> list[CandidateCase]:
    """Cases whose maps are all there, one of a patient, drawn as every study of maps draws them."""
    by = {(r.id, r.patient, finding): (r, finding) for r, finding in candidates if _has_all_maps(inputs, r, finding)}
    sheets = sample_rating_cases(list(by), inputs.sources, ["anyone"], max_cases=limit, repeat_share=0, seed=seed)
    return [by[sheet.radiograph, sheet.patient, sheet.finding] for sheet in sheets]


def _has_all_maps(inputs: StudyInputs, radiograph: Radiograph, finding: str) -> bool:
    if inputs.run is None or not _has_finding(inputs.data, radiograph, finding):
        return False
    maps = inputs.run.maps_for(radiograph.id, inputs.sources)
    return len({m.source for m in maps if m.finding == finding and m.status == "ok"}) == len(inputs.sources)


def _make_cases(task: str, candidates: Sequence[CandidateCase]) -> Iterator[StudyCase]:
    for radiograph, finding in candidates:
        height, width = _image_size(radiograph)
        yield StudyCase(
            task=task, radiograph=radiograph.id, patient=radiograph.patient, finding=finding, height=height, width=width
        )


def _image_size(radiograph: Radiograph) -> Size:
    if radiograph.size is not None:
        return radiograph.size
    height, width = radiograph.read().shape
    return height, width
