"""A study's maps read in words: measured case by case, narrated, and every claim of any narrative checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.core import NAN, Array, Case, Dataset, Frame
from sightline.data.report_labeler import mentions
from sightline.errors import DataError
from sightline.evaluation.narration import Facts, check, contradiction_rate, measured, narrate
from sightline.evaluation.narration.check import THIRDS
from sightline.evaluation.narration.facts import SIDES, lifts, shapes, zones
from sightline.evaluation.sampling import another, case_task
from sightline.imaging.geometry import cut, region
from sightline.maps.resample import GRID, on_grid
from sightline.metrics.similarity import rank_correlation
from sightline.runs.chunks import schema_of, write_chunks
from sightline.runs.run import Run
from sightline.stats.bootstrap import mean_with_ci


class Measure(NamedTuple):
    """One number of one map."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """A place's lift, or how the evidence lies: `sightline.evaluation.narration.facts.shapes`."""
    value: float


def measure(run: Run, data: Dataset, sources: Mapping[str, str], some: Sequence[Case]) -> pd.DataFrame:
    """Where the evidence of every map lies, in the table map_facts; Measure's columns.

    sources: source of maps in the run -> what its model is called. Maps that point nowhere have no place: they are
    counted as failures elsewhere. Places follow from the lungs' masks where the data set has them, else from the film.
    """

    def made(part: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        for name in dict.fromkeys(case.radiograph.id for case in part):
            places = _places(data, name)
            held = {(m.source, m.finding): m for m in run.of(name, list(sources))}
            for case in (c for c in part if c.radiograph.id == name):
                for source, model in sources.items():
                    m = held.get((source, case.finding))
                    values = np.zeros(GRID) if m is None else on_grid(m)
                    told = {**shapes(values), **lifts(values, places)}
                    for what, value in told.items():
                        yield Measure(model, name, case.radiograph.patient, case.finding, what, value)

    write_chunks(
        run, "map_facts", {"map_facts": schema_of(Measure)}, case_task("map_facts", "measuring maps", some, made)
    )
    return run.table("map_facts")


def _places(data: Dataset, radiograph: str) -> dict[str, Array]:
    masks = {name: _mask(data, radiograph, name) for name in ("Left Lung", "Right Lung", "Heart", "Mediastinum")}
    lungs = [m for name in ("Left Lung", "Right Lung") if (m := masks[name]) is not None]
    both = np.any(lungs, axis=0) if len(lungs) == 2 else np.ones(GRID, bool)
    return zones(both, masks["Heart"], masks["Mediastinum"])


def _mask(data: Dataset, radiograph: str, name: str) -> Array | None:
    mark = data.marks(radiograph, name, data.truth) if name in data.regions else None
    if mark is None:
        return None
    try:
        mask = region(mark)
    except (DataError, OSError):
        return None
    small: Array = cut(mask, Frame.whole(mask.shape), GRID) >= 0.5
    return small if small.any() else None


def read_aloud(run: Run, table: pd.DataFrame, seed: int) -> Facts:
    """Write the tables facts and fact_differences, narrative.md, and its claims with their verdicts in `claims`."""
    facts = measured(table, seed)
    run.write_table("facts", facts.table)
    run.write_table("fact_differences", facts.differences)
    text = narrate(facts)
    write_text_atomic(run.path / "narrative.md", text)
    run.write_table("claims", checked_table(text, facts))
    return facts


def checked_table(text: str, facts: Facts, models: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A row per claim of a text: text, kind, model, versus, finding, where, focused, verdict, why."""
    rows = [{
        "text": c.claim.text, "kind": c.claim.kind, "model": c.claim.model, "versus": c.claim.versus,
        "finding": c.claim.finding, "where": ", ".join(sorted(c.claim.where)), "focused": c.claim.focused,
        "verdict": c.verdict, "why": c.why,
    } for c in check(text, facts, models)]  # fmt: skip
    columns = ["text", "kind", "model", "versus", "finding", "where", "focused", "verdict", "why"]
    return pd.DataFrame(rows, columns=columns)


def controls(text: str, facts: Facts, models: Mapping[str, str] | None = None) -> dict[str, float]:
    """Contradiction rates of a text as it is, with its models exchanged in a circle, and with its findings.

    A text that was read off the maps is contradicted more often when it is laid beside others; one that repeats the
    textbook is not. NaN where nothing could be checked.
    """
    known = dict(models) if models is not None else {name: name for name in facts.models}
    names, own = list(known), list(known.values())
    turned = dict(zip(names, [*own[1:], *own[:1]], strict=True))
    findings = list(facts.findings)
    after = dict(zip(findings, [*findings[1:], *findings[:1]], strict=True))
    moved = Facts(facts.table.assign(finding=facts.table["finding"].replace(after)),
                  facts.differences.assign(finding=facts.differences["finding"].replace(after)))  # fmt: skip
    return {
        "as it is": contradiction_rate(check(text, facts, known)),
        "models exchanged": contradiction_rate(check(text, facts, turned)) if len(own) > 1 else NAN,
        "findings exchanged": contradiction_rate(check(text, moved, known)) if len(findings) > 1 else NAN,
    }


class Meeting(NamedTuple):
    """Whether a map points where a report says the finding is."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """'side' or 'third', or 'image and words'."""
    value: float
    """1 if the map is densest in the place that the report names, 0 if not, or if the map points nowhere; of image and
    words, a rank correlation."""
    chance: float
    """The same with the report on, or the words' map of, another patient with the finding; NaN without one."""


def meet_reports(table: pd.DataFrame, data: Dataset, some: Sequence[Case], seed: int) -> pd.DataFrame:
    """Maps beside what reports say of the same finding: Meeting's columns, of reports that name one side or third.

    table: of `measure`. Cross-modal: nobody marked anything.
    """
    if data.reports is None:
        return pd.DataFrame(columns=list(Meeting._fields))
    said = {(c.radiograph.id, c.finding): _said_places(data, c) for c in some}
    lift = {(r["model"], r["radiograph"], r["finding"], r["measure"]): r["value"] for r in table.to_dict("records")}
    models = list(dict.fromkeys(table["model"]))
    rows = []
    for case in some:
        other = another(case, some, seed)
        for measure, group in GROUPS.items():
            own = said[case.radiograph.id, case.finding].get(measure)
            far = said[other.radiograph.id, other.finding].get(measure) if other else None
            for model in models if own else ():
                there = {p: lift.get((model, case.radiograph.id, case.finding, p), NAN) for p in group}
                known = {p: value for p, value in there.items() if value == value}
                top = max(known, key=lambda p: known[p]) if known else ""
                chance = NAN if far is None else float(top == far)
                rows.append(Meeting(model, case.radiograph.id, case.radiograph.patient, case.finding, measure,
                                    float(top == own), chance))  # fmt: skip
    return pd.DataFrame(rows, columns=list(Meeting._fields))


def meet_words(run: Run, sources: Mapping[str, str], words: str, some: Sequence[Case], seed: int) -> pd.DataFrame:
    """Maps beside where the contrastive model finds the image like the words for the finding: Meeting's columns.

    sources: source of maps in the run -> what it is called; words: the source of the maps of words. value: rank
    correlation of the two over the image; chance: with the map of words on another patient with the finding. Maps that
    say nothing, the same everywhere, agree with nothing: 0.
    """

    @lru_cache(maxsize=64)
    def held(radiograph: str) -> dict[tuple[str, str], Array]:
        return {(m.source, m.finding): on_grid(m) for m in run.of(radiograph, [*sources, words])}

    rows = []
    for case in some:
        other = another(case, some, seed)
        own = held(case.radiograph.id).get((words, case.finding))
        far = None if other is None else held(other.radiograph.id).get((words, other.finding))
        for source, called in sources.items():
            there = held(case.radiograph.id).get((source, case.finding), np.zeros(GRID))
            alike, chance = (NAN if m is None else float(rank_correlation(there, m)) for m in (own, far))
            rows.append(Meeting(called, case.radiograph.id, case.radiograph.patient, case.finding, "image and words",
                                alike, chance))  # fmt: skip
    return pd.DataFrame(rows, columns=list(Meeting._fields))


GROUPS = {"side": SIDES, "third": THIRDS}


def _said_places(data: Dataset, case: Case) -> dict[str, str]:
    """'side' and 'third' that a report names for a finding that it affirms; none where it names two, or none."""
    try:
        report = data.reports(case.radiograph.id) if data.reports else None
    except DataError:
        report = None
    told = [m for m in mentions(report.text()) if m.finding == case.finding and m.present] if report else []
    named = {"side": {s for m in told for s in m.sides}, "third": {z for m in told for z in m.zones if z in THIRDS}}
    return {measure: next(iter(names)) for measure, names in named.items() if len(names) == 1}


def met(meetings: pd.DataFrame, seed: int) -> pd.DataFrame:
    """How often each model's maps meet the reports, and how much more often than reports on other patients.

    Columns: model, measure, mean, low, high, n, patients, gap, gap_low, gap_high (95 %, resampling patients).
    """
    rows = []
    for (model, measure), part in meetings.groupby(["model", "measure"], sort=False):
        gap = mean_with_ci(part["value"] - part["chance"], part["patient"], seed)
        rows.append({"model": model, "measure": measure, **mean_with_ci(part["value"], part["patient"], seed),
                     "gap": gap["mean"], "gap_low": gap["low"], "gap_high": gap["high"]})  # fmt: skip
    columns = ["model", "measure", "mean", "low", "high", "n", "patients", "gap", "gap_low", "gap_high"]
    return pd.DataFrame(rows, columns=columns)
