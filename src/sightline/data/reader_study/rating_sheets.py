"""Case sheets for readers: which maps of which films they judge, blinded and shuffled, and what they are asked.

A sheet shows one film and several maps of one finding under letters; what made them stays in the file. Every reader
judges the same cases, each in an order of their own, and some of them twice. The full text of the study that had maps
judged by an expert (Aggarwal et al. 2020, arXiv:2011.07482) is not public: questions and scales are ours.
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
"""Name in a run folder."""
RATING_COLUMNS = ("reader", "radiograph", "patient", "finding", "source", "question", "value", "occasion")
"""Of a table of ratings, a row per reader, map, question and occasion. value: 1 to 5; of the choice 1 for the map that
was chosen, else 0. occasion: 0 at first sight, 1 when the case came again."""
SIMULATED_PREFIX = "simulated"
"""How the names of readers who are none begin."""
CaseKey = tuple[str, str, str]
"""Radiograph, patient, finding."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every map of a sheet, on a scale whose points are worded, from worst to best."""

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
        "Would the map help you to read this film?",
        (
            "It would mislead me",
            "It would distract me",
            "Neither helps nor harms",
            "It would help somewhat",
            "It would help much",
        ),
    ),
)
CHOICE_QUESTION = Question("choice", "If you could have only one of these maps beside the film, which?", ())
"""Exactly one of the maps of a sheet."""


@dataclass(frozen=True, slots=True)
class RatingCase:
    """One film, one finding, and the maps that a reader judges side by side."""

    radiograph: str
    patient: str
    finding: str
    sources: tuple[str, ...]
    """Sources of maps in the order they are shown, behind letters: never told to the reader."""
    reader: str = ""
    occasion: int = 0
    """0 when the reader sees the case first, 1 when it comes again."""

    @property
    def labels(self) -> dict[str, str]:
        """What the reader sees -> what it is.

        >>> RatingCase("film", "person", "Edema", ("net/intrinsic", "net/grad-cam")).labels
        {'A': 'net/intrinsic', 'B': 'net/grad-cam'}
        """
        return {chr(ord("A") + at): source for at, source in enumerate(self.sources)}


def sample_rating_cases(
    cases: Sequence[CaseKey],
    sources: Sequence[str],
    readers: Sequence[str],
    *,
    max_cases: int = 40,
    repeat_share: float = 0.25,
    seed: int = 0,
) -> list[RatingCase]:
    """The sheets of every reader, one reader after the other, in the order they are to be read.

    At most `most` cases are drawn, one of a patient, findings in turn, by their ids whatever else there is; all readers
    get them. The order of cases, and of sources on each sheet, follows from (seed, reader) alone. `repeated` is the
    share of a reader's cases that come again after all others, shown in a new order; those seen earliest come again, so
    that at least 1 - repeated of the cases lie between.

    Errors: `DataError` without cases, for fewer than two sources or more than 26, a source or reader named twice, no
    reader, or shares outside [0, 1].
    """
    _check_arguments(cases, sources, readers, max_cases, repeat_share)
    chosen, sheets = _sample_cases(cases, max_cases, seed), list[RatingCase]()
    for reader in readers:
        order = sorted(chosen, key=lambda case: key_digest(seed, SHEET_ORDER, reader, *case))
        again = order[: round(repeat_share * len(order))]
        for occasion, some in enumerate((order, again)):
            for case in some:
                shown = _shuffle_sources(sources, (seed, MAP_ORDER, reader, case[0], case[2]), occasion)
                sheets.append(RatingCase(*case, shown, reader, occasion))
    return sheets


def _shuffle_sources(sources: Sequence[str], key: tuple[object, ...], occasion: int) -> tuple[str, ...]:
    """An order of the sources; on the second occasion drawn until it is not that of the first."""
    before = _shuffle_sources(sources, key, 0) if occasion else None
    rng = keyed_rng(*key, occasion)
    while (shown := tuple(sources[i] for i in rng.permutation(len(sources)))) == before:
        pass
    return shown


def _check_arguments(
    cases: Sequence[CaseKey], sources: Sequence[str], readers: Sequence[str], max_cases: int, repeat_share: float
) -> None:
    if not cases:
        raise DataError("no case to draw sheets from: a case is a film that shows a finding and was explained")
    if not 2 <= len(sources) <= 26 or len(set(sources)) < len(sources):
        raise DataError(f"{len(sources)} sources ({', '.join(sources)}); allowed: 2 to 26, each once")
    if not readers or len(set(readers)) < len(readers):
        raise DataError(f"readers {', '.join(readers) or '(none)'}; allowed: one or more, each once")
    if max_cases < 1 or not 0 <= repeat_share <= 1:
        raise DataError(f"most={max_cases}, repeated={repeat_share}; allowed: cases from 1, a share from 0 to 1")


def _sample_cases(cases: Sequence[CaseKey], max_cases: int, seed: int) -> list[CaseKey]:
    """Findings in turn, each with its next case of a patient who has none yet."""
    left = {
        finding: sorted((c for c in set(cases) if c[2] == finding), key=lambda c: key_digest(seed, SHEET_CASE, *c))
        for finding in sorted({c[2] for c in cases})
    }
    chosen, patients = list[CaseKey](), set[str]()
    while len(chosen) < max_cases and any(left.values()):
        for queue in left.values():
            while queue and queue[0][1] in patients:
                queue.pop(0)
            if queue and len(chosen) < max_cases:
                chosen.append(queue.pop(0))
                patients.add(chosen[-1][1])
    return chosen


def write_rating_cases(path: Path, rating_cases: Sequence[RatingCase]) -> None:
    """Sheets and questions as one JSON file, whole or not at all."""
    asked = {"questions": [asdict(q) for q in QUESTIONS], "choice": asdict(CHOICE_QUESTION)}
    write_text_atomic(
        path, json.dumps({"format": SHEETS_FORMAT, **asked, "sheets": [asdict(s) for s in rating_cases]}, indent=1)
    )


def read_rating_cases(path: Path) -> list[RatingCase]:
    """What `write_rating_cases` wrote. Errors: `DataError` for anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
        check_format(content.get("format"), SHEETS_FORMAT, "file of case sheets", path, DataError)
        return [RatingCase(**{**one, "shown": tuple(one["shown"])}) for one in content["sheets"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no case sheets ({error!r}); `sightline selfexplain` writes {RATING_CASES_FILE}"
        ) from error


Quality = Callable[[str, RatingCase], Mapping[str, float]]
"""(source, sheet) -> question -> how good that map is, in [0, 1]; NaN counts as 0."""


def simulate_ratings(
    rating_cases: Sequence[RatingCase],
    quality: Quality,
    *,
    noise_std: float = 0.12,
    leniency_std: float = 0.08,
    seed: int = 0,
) -> pd.DataFrame:
    """Ratings of readers who are simulated, to exercise the analysis: they say nothing of what radiologists would say.

    A reader's impression is the quality of the map, plus a leniency of their own (standard deviation `leniency`) and
    noise anew for each map, question and occasion (`spread`); the scale cuts [0, 1] into five equal parts. The map of
    the sheet whose usefulness impresses most is chosen. Errors: `DataError` for a reader whose name does not begin with
    'simulated'.
    """
    rows = list[dict[str, Any]]()
    for sheet in rating_cases:
        if not sheet.reader.startswith(SIMULATED_PREFIX):
            raise DataError(
                f"reader {sheet.reader!r} would be simulated; call them {SIMULATED_PREFIX!r}, as in 'simulated 1'"
            )
        mild = float(keyed_rng(seed, READER_LENIENCY, sheet.reader).normal(0, leniency_std))
        case = {
            "reader": sheet.reader,
            "radiograph": sheet.radiograph,
            "patient": sheet.patient,
            "finding": sheet.finding,
            "occasion": sheet.occasion,
        }
        felt = {}
        for source in sheet.sources:
            word = key_word(source, SOURCE_WORDS)
            key = (seed, sheet.reader, sheet.radiograph, sheet.finding, sheet.occasion, word)
            noise = keyed_rng(*key).normal(mild, noise_std, len(QUESTIONS))
            good = quality(source, sheet)
            for question, extra in zip(QUESTIONS, noise, strict=True):
                impression = float(np.nan_to_num(good[question.name]) + extra)
                value = 1 + min(max(int(impression * 5), 0), 4)
                rows.append({**case, "source": source, "question": question.name, "value": value})
            felt[source] = impression  # of the last question, usefulness
        best = max(felt, key=lambda source: felt[source])
        rows += [
            {**case, "source": s, "question": CHOICE_QUESTION.name, "value": int(s == best)} for s in sheet.sources
        ]
    return pd.DataFrame(rows, columns=pd.Index(RATING_COLUMNS))
