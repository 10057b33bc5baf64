"""Cases (a radiograph and a finding) drawn from a data set by keys, whatever its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline._util.rng import PAIRED_CASE, key_digest, keyed_rng
from sightline.core import Case, Dataset
from sightline.runs.chunks import ChunkedTask, Rows


def sample_positive_cases(data: Dataset, findings: Sequence[str], max_radiographs: int, seed: int) -> list[Case]:
    """The positive findings of at most `most` radiographs, drawn by their ids whatever the order of the data set."""
    positive = [r for r in data.radiographs if any(r.labels.get(f) == 1 for f in findings)]
    chosen = sorted(sorted(positive, key=lambda r: key_digest(seed, r.id))[:max_radiographs], key=lambda r: r.id)
    return [Case(r, f) for r in chosen for f in findings if r.labels.get(f) == 1]


def draw_other_patient(case: Case, cases: Sequence[Case], seed: int) -> Case | None:
    """Another patient's case of the same finding, keyed by (seed, id, finding); None without any."""
    there = [c for c in cases if c.finding == case.finding and c.radiograph.patient != case.radiograph.patient]
    if not there:
        return None
    return there[int(keyed_rng(seed, PAIRED_CASE, case.radiograph.id, case.finding).integers(len(there)))]


def case_task(
    table: str, title: str, cases: Sequence[Case], rows_of: Callable[[Sequence[Case]], Rows]
) -> ChunkedTask[str]:
    """Return the task that computes rows of a table for the cases of a few radiographs at a time."""

    def rows_of_radiographs(ids: Sequence[str]) -> dict[str, Rows]:
        return {table: rows_of([c for c in cases if c.radiograph.id in ids])}

    radiographs = list(dict.fromkeys(c.radiograph.id for c in cases))
    return ChunkedTask(title, radiographs, rows_of_radiographs, folder=title.replace(" ", "-"))
