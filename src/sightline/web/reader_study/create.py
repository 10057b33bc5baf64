"""Creation of a reader study from a data set or a run: the choice of its cases."""

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
from sightline.data.reader_study.schedule import AIDED_TASKS, RATING_TASKS
from sightline.data.reader_study.schema import Study, StudyCase
from sightline.errors import DataError, UnknownNameError
from sightline.findings import select_findings
from sightline.runs.run import Run

TASKS = {
    "contour": "outline every instance of a finding",
    "point": "click the most representative point of a finding",
    "search": "click where one looks, in the order of looking",
    "rate": "rate maps of a run, side by side and blinded",
    "choice": "choose the one map of several that helps most",
}
"""Tasks of readers, with a description each."""
MAX_MAPS = 6
"""Greatest number of maps that are judged side by side; more do not fit on a tablet."""
CandidateCase = tuple[Radiograph, str]
"""Radiograph, and the finding that readers are asked about."""


@dataclass(frozen=True, slots=True)
class StudyInputs:
    """Data set and maps that a study is created from."""

    data_or_run: str
    data: Dataset
    run: Run | None
    sources: tuple[str, ...] = field(default=())
    """Sources of the maps that are judged."""

    @classmethod
    def open(cls, data_or_run: str, sources: Sequence[str] = (), needs_maps: bool = False) -> StudyInputs:
        """Open the data set of a data spec or of a run folder.

        Parameters
        ----------
        data_or_run : str
            Data spec or run folder.
        sources : sequence of str
            Sources of the maps to judge; by default those of the run's models. An unknown source raises
            `UnknownNameError`.
        needs_maps : bool, default False
            True if readers judge maps.

        Returns
        -------
        StudyInputs

        Raises
        ------
        DataError
            If maps are needed and there is no run, or not 2 to 6 sources; or if the run names no data set.
        """
        if not (Path(data_or_run) / "run.json").is_file():
            if needs_maps:
                raise DataError(
                    f"{data_or_run} is no run folder, and the tasks {' and '.join(RATING_TASKS)} need maps: name a run"
                )
            return cls(data_or_run, open_dataset(data_or_run), None)
        run = Run.open(data_or_run)
        spec = run.info.get("dataset", {}).get("spec")
        if not spec:
            raise DataError(f"{data_or_run} does not name its data set; give the data set instead")
        return cls(data_or_run, open_dataset(spec), run, _select_sources(run, sources) if needs_maps else ())


def _select_sources(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    available = run.sources
    for name in names:
        if name not in available:
            raise UnknownNameError(f"{run.path} has no maps of {name!r}; it has: {', '.join(available) or 'none'}")
    sources = tuple(names) or tuple(s for s in available if Source.parse(s).kind == "model")[:MAX_MAPS]
    if not 2 <= len(sources) <= MAX_MAPS:
        raise DataError(f"{len(sources)} sources of maps; 2 to {MAX_MAPS} can be judged side by side: name them")
    return sources


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
    aid: str = "",
    seed: int = 0,
    title: str = "Reader study",
) -> StudyDatabase:
    """Create a study from a data spec or a run folder.

    Parameters
    ----------
    data_or_run : str
        Data spec, or run folder.
    out : str or Path
        Folder of the study, or URL of its database.
    tasks : sequence of str
        Tasks, of `TASKS`.
    findings : str
        Findings, comma-separated; all by default.
    max_radiographs : int, default 0
        Greatest number of radiographs, drawn by `seed`; 0 takes all.
    absent_ratio : float, default 0.25
        Number of cases without a finding for each case with it, in [0, 10], so that being asked reveals nothing.
    repeat_share : float, default 0.1
        Share of the cases that each reader reads a second time, in [0, 1].
    sources : sequence of str
        Sources of the maps to judge; by default those of the run's models.
    aid : str
        Source of the run whose map is shown in one of the two readings of each contour or point case; each case is then
        read twice, with the map and without it, and none is repeated otherwise.
    seed : int, default 0
        Seed of the choice of cases and of the orders of reading.
    title : str
        Title that readers see.

    Returns
    -------
    StudyDatabase
        Open database of the new study.

    Raises
    ------
    DataError
        If an option is out of its range, a task has no case, or there is already a study.
    """
    _check_options(tasks, max_radiographs, absent_ratio, repeat_share)
    inputs = StudyInputs.open(data_or_run, sources, any(task in RATING_TASKS for task in tasks))
    _check_aid(inputs, tasks, aid)
    names = select_findings(findings or None, inputs.data.findings)
    limit = max_radiographs or len(inputs.data.radiographs)
    cases = _select_cases(inputs, tasks, names, limit, absent_ratio, seed)
    if aid:
        cases = [case for case in cases if case.task not in AIDED_TASKS or _has_map(inputs, case, aid)]
    missing = [task for task in tasks if not any(case.task == task for case in cases)]
    if missing:
        raise DataError(
            f"{data_or_run} has no case for the task {missing[0]}: no radiograph shows "
            f"{', '.join(names) or 'a finding'}{f', or has a map of {aid}' if aid else ''}"
        )
    database = StudyDatabase.open(out, new=True)
    with database.write_session() as session:
        session.add(
            Study(
                key=secrets.token_urlsafe(12),
                title=title,
                data_or_run=data_or_run,
                dataset_spec=inputs.data.spec,
                tasks=list(dict.fromkeys(tasks)),
                findings=list(names),
                sources=list(inputs.sources),
                aid=aid,
                seed=seed,
                repeat_share=repeat_share,
                created=utc_now(),
            )
        )
        session.add_all(cases)
    return database


def _check_options(tasks: Sequence[str], max_radiographs: int, absent_ratio: float, repeat_share: float) -> None:
    for task in tasks:
        if task not in TASKS:
            raise UnknownNameError(f"there is no task {task!r}; allowed: {', '.join(TASKS)}")
    if not tasks or max_radiographs < 0 or not 0 <= absent_ratio <= 10 or not 0 <= repeat_share <= 1:
        raise DataError(
            f"tasks {', '.join(tasks) or '(none)'}, max_radiographs {max_radiographs}, absent_ratio {absent_ratio:g}, "
            f"repeat_share {repeat_share:g}; allowed: at least one task, max_radiographs from 0 (all), absent_ratio "
            "from 0 to 10, repeat_share from 0 to 1"
        )


def _check_aid(inputs: StudyInputs, tasks: Sequence[str], aid: str) -> None:
    """Refuse a map that aids readers where there is no such map, or no task that it could aid."""
    if not aid:
        return
    if not set(tasks) & set(AIDED_TASKS):
        raise DataError(f"aid {aid!r}: a map aids the tasks {' and '.join(AIDED_TASKS)}, not {', '.join(tasks)}")
    if inputs.run is None:
        raise DataError(f"aid {aid!r}: {inputs.data_or_run} is no run folder; name a run that has maps of {aid!r}")
    if aid not in inputs.run.sources:
        raise UnknownNameError(f"{inputs.run.path} has no maps of {aid!r}; it has: {', '.join(inputs.run.sources)}")


def _has_map(inputs: StudyInputs, case: StudyCase, source: str) -> bool:
    maps = inputs.run.maps_for(case.radiograph, [source]) if inputs.run else ()
    return any(m.finding == case.finding and m.status == "ok" for m in maps)


def _select_cases(
    inputs: StudyInputs, tasks: Sequence[str], findings: Sequence[str], limit: int, absent_ratio: float, seed: int
) -> list[StudyCase]:
    """Return the cases of all tasks: those without maps first, then those in which maps are judged."""
    candidates = list(_sample_cases(inputs.data, findings, limit, absent_ratio, seed))
    cases = [
        *_make_cases("search", [(r, "") for r in {r.id: r for r, _ in candidates}.values()]),
        *(case for task in ("contour", "point") for case in _make_cases(task, candidates)),
    ]
    cases = [case for case in cases if case.task in tasks]
    for task in tasks:
        if task in RATING_TASKS:
            cases += _make_cases(task, _sample_rating_cases(inputs, candidates, limit, seed))
    return cases


def _sample_cases(
    data: Dataset, findings: Sequence[str], limit: int, absent_ratio: float, seed: int
) -> Iterator[CandidateCase]:
    """Yield every finding on the drawn radiographs that show it, and on a share of radiographs that do not."""
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, STUDY_ORDER, r.id))
    if not data.readers and not any(r.labels for r in drawn[:1000]):  # nothing is known: ask for every finding
        yield from ((r, finding) for r in drawn[:limit] for finding in findings)
        return
    present = {finding: [r for r in drawn if _has_finding(data, r, finding)] for finding in findings}
    present_ids = {finding: {r.id for r in radiographs} for finding, radiographs in present.items()}
    normal = {r.id for r in drawn}.difference(*present_ids.values())
    selected = {r.id for r in [r for r in drawn if r.id not in normal][:limit]}
    for finding in findings:
        positive = [r for r in present[finding] if r.id in selected]
        negative = [r for r in drawn if r.id in selected | normal and _lacks_finding(r, finding, present_ids[finding])]
        negative = sorted(negative, key=lambda r: key_digest(seed, ABSENT_FINDING, finding, r.id))
        yield from ((r, finding) for r in (*positive, *negative[: round(absent_ratio * len(positive))]))


def _has_finding(data: Dataset, radiograph: Radiograph, finding: str) -> bool:
    """Return True if the reference reader annotated the finding or, without readers, if the label is positive."""
    if data.readers:
        return data.annotation(radiograph.id, finding, data.reference_reader) is not None
    return radiograph.labels.get(finding) == 1


def _lacks_finding(radiograph: Radiograph, finding: str, positive_ids: Collection[str]) -> bool:
    """Return True if the finding is certainly absent: an uncertain label does not count as absence."""
    return radiograph.id not in positive_ids and radiograph.labels.get(finding, 0) == 0


def _sample_rating_cases(
    inputs: StudyInputs, candidates: Sequence[CandidateCase], limit: int, seed: int
) -> list[CandidateCase]:
    """Sample the cases of which all maps exist, one per patient."""
    by_key = {
        (r.id, r.patient, finding): (r, finding) for r, finding in candidates if _has_all_maps(inputs, r, finding)
    }
    sampled = sample_rating_cases(list(by_key), inputs.sources, ["anyone"], max_cases=limit, repeat_share=0, seed=seed)
    return [by_key[case.radiograph, case.patient, case.finding] for case in sampled]


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
