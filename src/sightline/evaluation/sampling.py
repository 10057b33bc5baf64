"""Samples of cases (a radiograph and a finding), drawn by keys whatever the order of the data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline._util.rng import PAIRED_CASE, key_digest, keyed_rng
from sightline.core import Case, Dataset
from sightline.runs.chunks import ChunkedTask, Rows


def sample_positive_cases(data: Dataset, findings: Sequence[str], max_radiographs: int, seed: int) -> list[Case]:
    """Sample positive cases of some findings.

    Parameters
    ----------
    data : Dataset
        The data set; radiographs are drawn by (seed, id).
    findings : sequence of str
        Findings that count.
    max_radiographs : int
        Most radiographs that are drawn; each contributes all of its positive findings.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of Case
        By id, and in the order of the findings.
    """
    positive = [r for r in data.radiographs if any(r.labels.get(f) == 1 for f in findings)]
    chosen = sorted(sorted(positive, key=lambda r: key_digest(seed, r.id))[:max_radiographs], key=lambda r: r.id)
    return [Case(r, f) for r in chosen for f in findings if r.labels.get(f) == 1]


def draw_other_patient(case: Case, cases: Sequence[Case], seed: int) -> Case | None:
    """Draw a case of the same finding and another patient, keyed by (seed, id, finding).

    Parameters
    ----------
    case : Case
        The case.
    cases : sequence of Case
        Cases to draw from.
    seed : int
        Seed of the draw.

    Returns
    -------
    Case or None
        None if no other patient has the finding.
    """
    candidates = [c for c in cases if c.finding == case.finding and c.radiograph.patient != case.radiograph.patient]
    if not candidates:
        return None
    row = int(keyed_rng(seed, PAIRED_CASE, case.radiograph.id, case.finding).integers(len(candidates)))
    return candidates[row]


def case_task(
    table: str, title: str, cases: Sequence[Case], compute_rows: Callable[[Sequence[Case]], Rows]
) -> ChunkedTask[str]:
    """Return the task that computes rows of a table for the cases of a few radiographs at a time.

    Parameters
    ----------
    table : str
        Name of the table.
    title : str
        Title of the progress bar, and folder of the parts.
    cases : sequence of Case
        The cases.
    compute_rows : callable
        Function of cases, which returns their rows.

    Returns
    -------
    ChunkedTask
    """

    def compute_chunk(ids: Sequence[str]) -> dict[str, Rows]:
        return {table: compute_rows([c for c in cases if c.radiograph.id in ids])}

    radiographs = list(dict.fromkeys(c.radiograph.id for c in cases))
    return ChunkedTask(title, radiographs, compute_chunk, folder=title.replace(" ", "-"))
