"""Rating cases: maps that readers judge, blinded and shuffled, with the questions that they answer.

A rating case shows one radiograph with several maps of one finding, each under a letter, without their sources. Every
reader judges the same cases, in an individual order, and some of them twice. The full text of the study in which an
expert judged maps (Aggarwal et al. 2020, arXiv:2011.07482) is not public: the questions and scales are our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline._util.formats import check_format
from sightline._util.rng import (
    MAP_ORDER,
    READER_LENIENCY,
    SHEET_CASE,
    SHEET_ORDER,
    SOURCE_WORDS,
    key_digest,
    key_word,
    keyed_rng,
)
from sightline.errors import DataError

SHEETS_FORMAT = 2
"""Format of `RATING_CASES_FILE`."""
RATING_CASES_FILE = "reader_sheets.json"
"""Name of the file of rating cases in a run folder."""
RATING_COLUMNS = ("reader", "radiograph", "patient", "finding", "source", "question", "value", "occasion")
"""Columns of a table of ratings, which has a row per reader, map, question and occasion. value: 1 to 5, and for the
choice 1 for the chosen map, else 0. occasion: 0 for the first reading of a case, 1 for the repeated one."""
SIMULATED_PREFIX = "simulated"
"""Prefix of the names of simulated readers."""
CaseKey = tuple[str, str, str]
"""(radiograph, patient, finding)."""


@dataclass(frozen=True, slots=True)
class Question:
    """Question about a map, with a scale whose points are in words, from worst to best."""

    name: str
    text: str
    anchors: tuple[str, ...]


QUESTIONS = (
    Question(
        "location",
        "Does the map point to the finding?",
        (
            "No: it points elsewhere",
            "Hardly: its main focus is elsewhere",
            "Partly: finding and other places alike",
            "Mostly: minor foci elsewhere",
            "Yes: to the finding alone",
        ),
    ),
    Question(
        "extent",
        "Does the map outline the finding?",
        (
            "No overlap to speak of",
            "Far too small or too large",
            "Recognizable, with coarse errors",
            "Good, with minor errors",
            "As I would draw it",
        ),
    ),
    Question(
        "usefulness",
        "Would the map help you to read this radiograph?",
        (
            "It would mislead me",
            "It would distract me",
            "Neither helps nor harms",
            "It would help somewhat",
            "It would help much",
        ),
    ),
)
CHOICE_QUESTION = Question("choice", "If you could have only one of these maps with the radiograph, which?", ())
"""Question that is answered by exactly one of the maps of a rating case."""


@dataclass(frozen=True, slots=True)
class RatingCase:
    """Radiograph, finding, and the maps that a reader judges side by side."""

    radiograph: str
    patient: str
    finding: str
    sources: tuple[str, ...]
    """Sources of the maps in the order of their letters; readers do not see them."""
    reader: str = ""
    occasion: int = 0
    """0 for the first reading of the case, 1 for the repeated one."""

    @property
    def labels(self) -> dict[str, str]:
        """Sources by their letters.

        >>> RatingCase("r1", "p1", "Edema", ("net/intrinsic", "net/grad-cam")).labels
        {'A': 'net/intrinsic', 'B': 'net/grad-cam'}
        """
        return {chr(ord("A") + i): source for i, source in enumerate(self.sources)}


def sample_rating_cases(
    cases: Sequence[CaseKey],
    sources: Sequence[str],
    readers: Sequence[str],
    *,
    max_cases: int = 40,
    repeat_share: float = 0.25,
    seed: int = 0,
) -> list[RatingCase]:
    """Draw the rating cases of every reader.

    Cases are drawn by their ids, one per patient, findings in turn; all readers get the same ones. The order of the
    cases, and of the sources of each, depends on `seed` and the reader alone. Repeated cases come after all others, in
    a new order of sources; they are the first ones that the reader read, so that at least 1 - repeat_share of the cases
    lie between.

    Parameters
    ----------
    cases : sequence of (str, str, str)
        Candidates: radiograph, patient, finding.
    sources : sequence of str
        Sources of the maps, 2 to 26.
    readers : sequence of str
        Names of the readers.
    max_cases : int, default 40
        Greatest number of cases.
    repeat_share : float, default 0.25
        Share of the cases that each reader reads a second time, in [0, 1].
    seed : int, default 0
        Seed of the choice and of the orders.

    Returns
    -------
    list of RatingCase
        Reader by reader, in the order of reading.

    Raises
    ------
    DataError
        Without cases, sources or readers, or for one that is named twice or a number out of range.
    """
    _check_arguments(cases, sources, readers, max_cases, repeat_share)
    sampled, rating_cases = _sample_cases(cases, max_cases, seed), list[RatingCase]()
    for reader in readers:
        order = sorted(sampled, key=lambda case: key_digest(seed, SHEET_ORDER, reader, *case))
        repeated = order[: round(repeat_share * len(order))]
        for occasion, cases_read in enumerate((order, repeated)):
            for case in cases_read:
                shuffled = _shuffle_sources(sources, (seed, MAP_ORDER, reader, case[0], case[2]), occasion)
                rating_cases.append(RatingCase(*case, shuffled, reader, occasion))
    return rating_cases


def _shuffle_sources(sources: Sequence[str], key: tuple[object, ...], occasion: int) -> tuple[str, ...]:
    """Draw an order of the sources, which on the second occasion differs from that of the first."""
    first = _shuffle_sources(sources, key, 0) if occasion else None
    rng = keyed_rng(*key, occasion)
    while (shuffled := tuple(sources[i] for i in rng.permutation(len(sources)))) == first:
        pass
    return shuffled


def _check_arguments(
    cases: Sequence[CaseKey], sources: Sequence[str], readers: Sequence[str], max_cases: int, repeat_share: float
) -> None:
    if not cases:
        raise DataError("there are no cases to rate: a case is a radiograph with a finding of which there are maps")
    if not 2 <= len(sources) <= 26 or len(set(sources)) < len(sources):
        raise DataError(f"{len(sources)} sources ({', '.join(sources)}); allowed: 2 to 26, each once")
    if not readers or len(set(readers)) < len(readers):
        raise DataError(f"readers {', '.join(readers) or '(none)'}; allowed: one or more, each once")
    if max_cases < 1 or not 0 <= repeat_share <= 1:
        raise DataError(
            f"max_cases={max_cases}, repeat_share={repeat_share}; allowed: 1 case or more, a share from 0 to 1"
        )


def _sample_cases(cases: Sequence[CaseKey], max_cases: int, seed: int) -> list[CaseKey]:
    """Take the next case of each finding in turn, one case per patient."""
    queues = {
        finding: sorted((c for c in set(cases) if c[2] == finding), key=lambda c: key_digest(seed, SHEET_CASE, *c))
        for finding in sorted({c[2] for c in cases})
    }
    chosen, patients = list[CaseKey](), set[str]()
    while len(chosen) < max_cases and any(queues.values()):
        for queue in queues.values():
            while queue and queue[0][1] in patients:
                queue.pop(0)
            if queue and len(chosen) < max_cases:
                chosen.append(queue.pop(0))
                patients.add(chosen[-1][1])
    return chosen


def write_rating_cases(path: Path, rating_cases: Sequence[RatingCase]) -> None:
    """Write rating cases and questions to a JSON file, atomically.

    Parameters
    ----------
    path : Path
        File to write.
    rating_cases : sequence of RatingCase
        Cases of all readers.
    """
    content = {
        "format": SHEETS_FORMAT,
        "questions": [asdict(question) for question in QUESTIONS],
        "choice": asdict(CHOICE_QUESTION),
        "sheets": [asdict(case) for case in rating_cases],
    }
    write_text_atomic(path, json.dumps(content, indent=1))


def read_rating_cases(path: Path) -> list[RatingCase]:
    """Read a file of `write_rating_cases`.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    list of RatingCase

    Raises
    ------
    DataError
        If the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        check_format(content.get("format"), SHEETS_FORMAT, "file of rating cases", path, DataError)
        return [RatingCase(**{**case, "sources": tuple(case["sources"])}) for case in content["sheets"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no rating cases ({error!r}); `sightline selfexplain` writes {RATING_CASES_FILE}"
        ) from error


Quality = Callable[[str, RatingCase], Mapping[str, float]]
"""Function of (source, rating case) that returns the quality of the map by question, in [0, 1]; NaN counts as 0."""


def simulate_ratings(
    rating_cases: Sequence[RatingCase],
    quality: Quality,
    *,
    noise_std: float = 0.12,
    leniency_std: float = 0.08,
    seed: int = 0,
) -> pd.DataFrame:
    """Simulate ratings, to exercise the analysis; they do not predict what radiologists would answer.

    The impression of a reader is the quality of the map, plus the leniency of the reader, plus noise for each map,
    question and occasion. The scale divides [0, 1] into five equal parts. The map whose usefulness impresses most is
    chosen.

    Parameters
    ----------
    rating_cases : sequence of RatingCase
        Cases to rate. The names of the readers must begin with 'simulated'.
    quality : callable
        Quality of a map, as in `Quality`.
    noise_std : float, default 0.12
        Standard deviation of the noise.
    leniency_std : float, default 0.08
        Standard deviation of the leniency among readers.
    seed : int, default 0
        Seed of leniency and noise.

    Returns
    -------
    pandas.DataFrame
        Columns as in `RATING_COLUMNS`.

    Raises
    ------
    DataError
        If the name of a reader does not begin with 'simulated'.
    """
    rows = list[dict[str, Any]]()
    for rating_case in rating_cases:
        if not rating_case.reader.startswith(SIMULATED_PREFIX):
            raise DataError(
                f"reader {rating_case.reader!r} would be simulated; the name must begin with {SIMULATED_PREFIX!r}"
            )
        leniency = float(keyed_rng(seed, READER_LENIENCY, rating_case.reader).normal(0, leniency_std))
        fields = {
            name: getattr(rating_case, name) for name in ("reader", "radiograph", "patient", "finding", "occasion")
        }
        usefulness = {}
        for source in rating_case.sources:
            word = key_word(source, SOURCE_WORDS)
            key = (
                seed,
                rating_case.reader,
                rating_case.radiograph,
                rating_case.finding,
                rating_case.occasion,
                word,
            )
            noise = keyed_rng(*key).normal(leniency, noise_std, len(QUESTIONS))
            qualities = quality(source, rating_case)
            for question, error in zip(QUESTIONS, noise, strict=True):
                impression = float(np.nan_to_num(qualities[question.name]) + error)
                value = 1 + min(max(int(impression * 5), 0), 4)
                rows.append({**fields, "source": source, "question": question.name, "value": value})
            usefulness[source] = impression  # of the last question
        best = max(usefulness, key=lambda source: usefulness[source])
        rows += [
            {**fields, "source": source, "question": CHOICE_QUESTION.name, "value": int(source == best)}
            for source in rating_case.sources
        ]
    return pd.DataFrame(rows, columns=pd.Index(RATING_COLUMNS))
