"""A study's maps read in words: measured case by case, narrated, and every claim of any narrative checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.agreement import GRID, on_grid
from sightline.casework import Case, another, case_task
from sightline.core import NAN, Array, DataError, Dataset, Frame
from sightline.geometry import cut, region
from sightline.mentions import mentions
from sightline.metrics.similarity import rank_correlation
from sightline.narrate import Facts, check, contradiction_rate, measured, narrate
from sightline.narrate.check import THIRDS
from sightline.narrate.endpoint import Endpoint, read_panel
from sightline.narrate.facts import SIDES, lifts, shapes, zones
from sightline.runs.chunks import schema_of, write_chunks
from sightline.stats.bootstrap import mean_with_ci
from sightline.store import Run


class Measure(NamedTuple):
    """One number of one map."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """A place's lift, or how the evidence lies: `sightline.narrate.facts.shapes`."""
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


def check_text(run: Path, text: Path, *, models: tuple[str, ...] = ()) -> None:
    """Check what a text claims of a run's maps against what was measured, and print every claim with its verdict.

    Parameters
    ----------
    run
        Run folder of a pre-training study.
    text
        File with the text, whoever wrote it.
    models
        Names the text gives to models, as NAME=MODEL, where they differ from the run's.
    """
    from rich.console import Console
    from rich.markup import escape

    opened = Run.open(run)
    facts = Facts(opened.table("facts"), opened.table("fact_differences"))
    stated = dict(pair.split("=", 1) for pair in models if "=" in pair)
    known = {name: name for name in facts.models} | stated
    try:
        body = text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{text} cannot be read as text: {error}") from error
    console = Console()
    for row in checked_table(body, facts, known).to_dict("records"):
        console.print(f"{row['verdict']}: {escape(str(row['text']))}", soft_wrap=True)
        console.print(f"    {row['kind']}, {row['model']}, {row['finding']}: {escape(str(row['why']))}", soft_wrap=True)
    for name, rate in controls(body, facts, known).items():
        console.print(f"contradicted, {name}: {'nothing checkable' if rate != rate else f'{rate:.0%}'}")


def narrate_run(
    run: Path,
    *,
    url: str = "",
    model: str = "",
    with_facts: bool = False,
    key: str = "OPENAI_API_KEY",
    timeout: float = 60.0,
    price: float = 0.0,
    cap: float = 1.0,
) -> None:
    """Write a reading of a run's maps and check it: by the numbers, or by a vision-language model before the panel.

    Parameters
    ----------
    run
        Run folder of a pre-training study, with its report.
    url
        Base address of a vision-language model with OpenAI's chat-completions API, https://HOST/v1; without it,
        sentences are written from the measurements.
    model
        Name of the model at that address.
    with_facts
        Give the model the measurements along with the figure.
    key
        Environment variable that holds the API key; the key is written nowhere.
    timeout
        Seconds for each of three attempts.
    price
        Price of a thousand tokens, in any currency.
    cap
        Most that one call may cost, in the same currency; a call that may cost more is not made.
    """
    opened = Run.open(run)
    facts = Facts(opened.table("facts"), opened.table("fact_differences"))
    if not url:
        text = narrate(facts)
        write_text_atomic(run / "narrative.md", text)
        print(text)
        return
    panel = run / "figures" / "panel.png"
    if not panel.is_file():
        raise DataError(f"{panel} is not there; `sightline report {run}` draws it")
    endpoint = Endpoint(url, model, key, timeout=timeout, price=price, cap=cap)
    name = re.sub(r"[^\w.-]+", "-", model) or "model"
    told = facts.table.to_csv(index=False, float_format="%.3f") if with_facts else ""
    text = read_panel(endpoint, panel, run / "narratives" / f"{name}.json", told)
    write_text_atomic(run / "narratives" / f"{name}.md", text + "\n")
    check_text(run, run / "narratives" / f"{name}.md")
