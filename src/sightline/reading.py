"""A study's maps read in words: measured case by case, narrated, and every claim of any narrative checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.agreement import GRID, on_grid
from sightline.casework import Case, worked
from sightline.core import NAN, Array, DataError, Dataset, Frame
from sightline.evaluate import schema_of
from sightline.geometry import cut, region
from sightline.narrate import Facts, check, contradiction_rate, measured, narrate
from sightline.narrate.endpoint import Endpoint, read_panel
from sightline.narrate.facts import FOCUS, gini, lifts, zones
from sightline.store import Run, write_text


class Measure(NamedTuple):
    """One number of one map."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """A place's lift, or 'focus'."""
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
                    told = {FOCUS: gini(values), **lifts(values, places)}
                    for what, value in told.items():
                        yield Measure(model, name, case.radiograph.patient, case.finding, what, value)

    keys = worked(run, "map_facts", "measuring maps", schema_of(Measure), some, made)
    run.join_parts("map_facts", keys, "map_facts")
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
    """Write the tables facts and focus_differences, narrative.md, and its claims with their verdicts in `claims`."""
    facts = measured(table, seed)
    run.write_table("facts", facts.table)
    run.write_table("focus_differences", facts.differences)
    text = narrate(facts)
    write_text(run.path / "narrative.md", text)
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


def check_text(run: Path, text: Path, *, models: tuple[str, ...] = ()) -> None:
    """Check what a text claims of a run's maps against what was measured, and print every claim with its verdict.

    Parameters
    ----------
    run
        Run folder of a pre-training study.
    text
        File with the text, whoever wrote it.
    models
        NAME=MODEL where the text calls a model otherwise than the run.
    """
    from rich.console import Console
    from rich.markup import escape

    opened = Run.open(run)
    facts = Facts(opened.table("facts"), opened.table("focus_differences"))
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
        Base of an endpoint that speaks OpenAI's chat completions, https://HOST/v1; without one, the template.
    model
        Its name there.
    with_facts
        Give it the measurements beside the picture.
    key
        Environment variable that holds the key; it is written nowhere.
    timeout
        Seconds for one attempt, of three.
    price, cap
        Of a thousand tokens, and what a call may cost at most.
    """
    opened = Run.open(run)
    facts = Facts(opened.table("facts"), opened.table("focus_differences"))
    if not url:
        text = narrate(facts)
        write_text(run / "narrative.md", text)
        print(text)
        return
    panel = run / "figures" / "panel.png"
    if not panel.is_file():
        raise DataError(f"{panel} is not there; `sightline report {run}` draws it")
    endpoint = Endpoint(url, model, key, timeout=timeout, price=price, cap=cap)
    name = re.sub(r"[^\w.-]+", "-", model) or "model"
    told = facts.table.to_csv(index=False, float_format="%.3f") if with_facts else ""
    text = read_panel(endpoint, panel, run / "narratives" / f"{name}.json", told)
    write_text(run / "narratives" / f"{name}.md", text + "\n")
    check_text(run, run / "narratives" / f"{name}.md")
