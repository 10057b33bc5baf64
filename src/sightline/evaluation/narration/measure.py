"""A study's maps read in words: measured case by case, narrated, and every claim of any narrative checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.core import NAN, Array, Case, Dataset, Frame
from sightline.data.report_labeler import find_mentions
from sightline.errors import DataError
from sightline.evaluation.narration import (
    Measurements,
    check_claims,
    contradiction_rate,
    estimate_measurements,
    narrate,
)
from sightline.evaluation.narration.check import THIRDS
from sightline.evaluation.narration.facts import SIDES, make_zone_masks, measure_shape, relative_density
from sightline.evaluation.sampling import case_task, draw_other_patient
from sightline.imaging.geometry import resample_area
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.resample import GRID_SHAPE, resample_to_grid
from sightline.metrics.similarity import rank_correlation
from sightline.runs.chunks import schema_for, write_chunks
from sightline.runs.run import Run
from sightline.stats.bootstrap import mean_with_ci


class MapMeasurement(NamedTuple):
    """One number of one map."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """A place's lift, or how the evidence lies: `sightline.evaluation.narration.facts.measure_shape`."""
    value: float


def measure_maps(run: Run, data: Dataset, sources: Mapping[str, str], cases: Sequence[Case]) -> pd.DataFrame:
    """Where the evidence of every map lies, in the table map_measurements; Measure's columns.

    sources: source of maps in the run -> what its model is called. Maps that point nowhere have no place: they are
    counted as failures elsewhere. Places follow from the lungs' masks where the data set has them, else from the film.
    """

    def made(part: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        for name in dict.fromkeys(case.radiograph.id for case in part):
            places = _zone_masks(data, name)
            held = {(m.source, m.finding): m for m in run.maps_for(name, list(sources))}
            for case in (c for c in part if c.radiograph.id == name):
                for source, model in sources.items():
                    m = held.get((source, case.finding))
                    values = np.zeros(GRID_SHAPE) if m is None else resample_to_grid(m)
                    told = {**measure_shape(values), **relative_density(values, places)}
                    for what, value in told.items():
                        yield MapMeasurement(model, name, case.radiograph.patient, case.finding, what, value)

    write_chunks(
        run,
        "map_measurements",
        {"map_measurements": schema_for(MapMeasurement)},
        case_task("map_measurements", "measuring maps", cases, made),
    )
    return run.table("map_measurements")


def _zone_masks(data: Dataset, radiograph: str) -> dict[str, Array]:
    masks = {name: _region_mask(data, radiograph, name) for name in ("Left Lung", "Right Lung", "Heart", "Mediastinum")}
    lungs = [m for name in ("Left Lung", "Right Lung") if (m := masks[name]) is not None]
    both = np.any(lungs, axis=0) if len(lungs) == 2 else np.ones(GRID_SHAPE, bool)
    return make_zone_masks(both, masks["Heart"], masks["Mediastinum"])


def _region_mask(data: Dataset, radiograph: str, name: str) -> Array | None:
    mark = data.annotation(radiograph, name, data.reference_reader) if name in data.regions else None
    if mark is None:
        return None
    try:
        mask = rasterize_annotation(mark)
    except (DataError, OSError):
        return None
    small: Array = resample_area(mask, Frame.whole(mask.shape), GRID_SHAPE) >= 0.5
    return small if small.any() else None


def write_narrative(run: Run, table: pd.DataFrame, seed: int) -> Measurements:
    """Write the tables map_measurement_means and map_measurement_differences, narrative.md, and its claims with
    their verdicts (`narrative_claims`)."""
    facts = estimate_measurements(table, seed)
    run.write_table("map_measurement_means", facts.table)
    run.write_table("map_measurement_differences", facts.differences)
    text = narrate(facts)
    write_text_atomic(run.path / "narrative.md", text)
    run.write_table("narrative_claims", tabulate_claims(text, facts))
    return facts


def tabulate_claims(text: str, measurements: Measurements, models: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A row per claim of a text: text, kind, model, versus, finding, places, is_focused, verdict, reason."""
    rows = [
        {
            "text": c.claim.text,
            "kind": c.claim.kind,
            "model": c.claim.model,
            "versus": c.claim.versus,
            "finding": c.claim.finding,
            "places": ", ".join(sorted(c.claim.places)),
            "is_focused": c.claim.is_focused,
            "verdict": c.verdict,
            "reason": c.reason,
        }
        for c in check_claims(text, measurements, models)
    ]
    columns = ["text", "kind", "model", "versus", "finding", "places", "is_focused", "verdict", "reason"]
    return pd.DataFrame(rows, columns=columns)


def permutation_controls(
    text: str, measurements: Measurements, models: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Contradiction rates of a text as it is, with its models exchanged in a circle, and with its findings.

    A text that was read off the maps is contradicted more often when it is laid beside others; one that repeats the
    textbook is not. NaN where nothing could be checked.
    """
    known = dict(models) if models is not None else {name: name for name in measurements.models}
    names, own = list(known), list(known.values())
    turned = dict(zip(names, [*own[1:], *own[:1]], strict=True))
    findings = list(measurements.findings)
    after = dict(zip(findings, [*findings[1:], *findings[:1]], strict=True))
    moved = Measurements(
        measurements.table.assign(finding=measurements.table["finding"].replace(after)),
        measurements.differences.assign(finding=measurements.differences["finding"].replace(after)),
    )
    return {
        "as it is": contradiction_rate(check_claims(text, measurements, known)),
        "models exchanged": contradiction_rate(check_claims(text, measurements, turned)) if len(own) > 1 else NAN,
        "findings exchanged": contradiction_rate(check_claims(text, moved, known)) if len(findings) > 1 else NAN,
    }


class ReportAgreement(NamedTuple):
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


def compare_with_reports(measurements: pd.DataFrame, data: Dataset, cases: Sequence[Case], seed: int) -> pd.DataFrame:
    """Maps beside what reports say of the same finding: Meeting's columns, of reports that name one side or third.

    table: of `measure_maps`. Cross-modal: nobody marked anything.
    """
    if data.reports is None:
        return pd.DataFrame(columns=list(ReportAgreement._fields))
    said = {(c.radiograph.id, c.finding): _reported_locations(data, c) for c in cases}
    lift = {
        (r["model"], r["radiograph"], r["finding"], r["measure"]): r["value"] for r in measurements.to_dict("records")
    }
    models = list(dict.fromkeys(measurements["model"]))
    rows = []
    for case in cases:
        other = draw_other_patient(case, cases, seed)
        for measure, group in LOCATION_GROUPS.items():
            own = said[case.radiograph.id, case.finding].get(measure)
            far = said[other.radiograph.id, other.finding].get(measure) if other else None
            for model in models if own else ():
                there = {p: lift.get((model, case.radiograph.id, case.finding, p), NAN) for p in group}
                known = {p: value for p, value in there.items() if value == value}
                top = max(known, key=lambda p: known[p]) if known else ""
                chance = NAN if far is None else float(top == far)
                rows.append(
                    ReportAgreement(
                        model,
                        case.radiograph.id,
                        case.radiograph.patient,
                        case.finding,
                        measure,
                        float(top == own),
                        chance,
                    )
                )
    return pd.DataFrame(rows, columns=list(ReportAgreement._fields))


def compare_with_text_maps(
    run: Run, sources: Mapping[str, str], text_source: str, cases: Sequence[Case], seed: int
) -> pd.DataFrame:
    """Maps beside where the contrastive model finds the image like the words for the finding: Meeting's columns.

    sources: source of maps in the run -> what it is called; words: the source of the maps of words. value: rank
    correlation of the two over the image; chance: with the map of words on another patient with the finding. Maps that
    say nothing, the same everywhere, agree with nothing: 0.
    """

    @lru_cache(maxsize=64)
    def held(radiograph: str) -> dict[tuple[str, str], Array]:
        return {(m.source, m.finding): resample_to_grid(m) for m in run.maps_for(radiograph, [*sources, text_source])}

    rows = []
    for case in cases:
        other = draw_other_patient(case, cases, seed)
        own = held(case.radiograph.id).get((text_source, case.finding))
        far = None if other is None else held(other.radiograph.id).get((text_source, other.finding))
        for source, called in sources.items():
            there = held(case.radiograph.id).get((source, case.finding), np.zeros(GRID_SHAPE))
            alike, chance = (NAN if m is None else float(rank_correlation(there, m)) for m in (own, far))
            rows.append(
                ReportAgreement(
                    called, case.radiograph.id, case.radiograph.patient, case.finding, "image and words", alike, chance
                )
            )
    return pd.DataFrame(rows, columns=list(ReportAgreement._fields))


LOCATION_GROUPS = {"side": SIDES, "third": THIRDS}


def _reported_locations(data: Dataset, case: Case) -> dict[str, str]:
    """'side' and 'third' that a report names for a finding that it affirms; none where it names two, or none."""
    try:
        report = data.reports(case.radiograph.id) if data.reports else None
    except DataError:
        report = None
    told = [m for m in find_mentions(report.text()) if m.finding == case.finding and m.is_present] if report else []
    named = {"side": {s for m in told for s in m.sides}, "third": {z for m in told for z in m.zones if z in THIRDS}}
    return {measure: next(iter(names)) for measure, names in named.items() if len(names) == 1}


def summarize_agreement(agreements: pd.DataFrame, seed: int) -> pd.DataFrame:
    """How often each model's maps meet the reports, and how much more often than reports on other patients.

    Columns: model, measure, mean, low, high, n, patients, gap, gap_low, gap_high (95 %, resampling patients).
    """
    rows = []
    for (model, measure), part in agreements.groupby(["model", "measure"], sort=False):
        gap = mean_with_ci(part["value"] - part["chance"], part["patient"], seed)
        rows.append(
            {
                "model": model,
                "measure": measure,
                **mean_with_ci(part["value"], part["patient"], seed),
                "gap": gap["mean"],
                "gap_low": gap["low"],
                "gap_high": gap["high"],
            }
        )
    columns = ["model", "measure", "mean", "low", "high", "n", "patients", "gap", "gap_low", "gap_high"]
    return pd.DataFrame(rows, columns=columns)
