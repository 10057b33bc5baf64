"""Narratives in studies: measurements of maps case by case, a narrative, and checks against reports and text maps."""

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
from sightline.stats.intervals import mean_with_ci


class MapMeasurement(NamedTuple):
    """One measurement of one map."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """A place, whose relative density is given, or one of `SHAPE_MEASURES`."""
    value: float


def measure_maps(run: Run, data: Dataset, sources: Mapping[str, str], cases: Sequence[Case]) -> pd.DataFrame:
    """Measure where the evidence of every map lies, in the table map_measurements.

    Places follow from the masks of the lungs if the data set has them, else from the image. Flat maps have no place:
    they count as failures elsewhere.

    Parameters
    ----------
    run : Run
        The run that stores the maps and gets the table, locked by the caller.
    data : Dataset
        The data set.
    sources : mapping of str to str
        Source of maps in the run to the name of its model.
    cases : sequence of Case
        Cases to measure.

    Returns
    -------
    DataFrame
        Columns of `MapMeasurement`.
    """

    def compute_rows(part: Sequence[Case]) -> Iterator[tuple[Any, ...]]:
        for name in dict.fromkeys(case.radiograph.id for case in part):
            places = _zone_masks(data, name)
            maps = {(m.source, m.finding): m for m in run.maps_for(name, list(sources))}
            for case in (c for c in part if c.radiograph.id == name):
                for source, model in sources.items():
                    m = maps.get((source, case.finding))
                    values = np.zeros(GRID_SHAPE) if m is None else resample_to_grid(m)
                    measured = {**measure_shape(values), **relative_density(values, places)}
                    for measure, value in measured.items():
                        yield MapMeasurement(model, name, case.radiograph.patient, case.finding, measure, value)

    write_chunks(
        run,
        "map_measurements",
        {"map_measurements": schema_for(MapMeasurement)},
        case_task("map_measurements", "measuring maps", cases, compute_rows),
    )
    return run.table("map_measurements")


def _zone_masks(data: Dataset, radiograph: str) -> dict[str, Array]:
    masks = {name: _region_mask(data, radiograph, name) for name in ("Left Lung", "Right Lung", "Heart", "Mediastinum")}
    lungs = [m for name in ("Left Lung", "Right Lung") if (m := masks[name]) is not None]
    both = np.any(lungs, axis=0) if len(lungs) == 2 else np.ones(GRID_SHAPE, bool)
    return make_zone_masks(both, masks["Heart"], masks["Mediastinum"])


def _region_mask(data: Dataset, radiograph: str, name: str) -> Array | None:
    annotation = data.annotation(radiograph, name, data.reference_reader) if name in data.regions else None
    if annotation is None:
        return None
    try:
        mask = rasterize_annotation(annotation)
    except (DataError, OSError):
        return None
    small: Array = resample_area(mask, Frame.whole(mask.shape), GRID_SHAPE) >= 0.5
    return small if small.any() else None


def write_narrative(run: Run, table: pd.DataFrame) -> Measurements:
    """Write the tables map_measurement_means, map_measurement_differences and narrative_claims, and narrative.md.

    Parameters
    ----------
    run : Run
        The run that gets the tables, locked by the caller.
    table : DataFrame
        Measurements of the maps, as `measure_maps` returns them.

    Returns
    -------
    Measurements
    """
    facts = estimate_measurements(table)
    run.write_table("map_measurement_means", facts.table)
    run.write_table("map_measurement_differences", facts.differences)
    text = narrate(facts)
    write_text_atomic(run.path / "narrative.md", text)
    run.write_table("narrative_claims", tabulate_claims(text, facts))
    return facts


def tabulate_claims(text: str, measurements: Measurements, models: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Check the claims of a text, and return them as a table.

    Parameters
    ----------
    text : str
        The text.
    measurements : Measurements
        Measurements of the maps that the text describes.
    models : mapping of str to str, optional
        Name of a model in the text to its name in the measurements; by default the same.

    Returns
    -------
    DataFrame
        A row per claim: its fields, the verdict and the reason.
    """
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
    """Return contradiction rates of a text as it is, with its models exchanged in a cycle, and with its findings.

    A text that describes the maps is contradicted more often when it is compared with other maps; one that repeats the
    textbook is not.

    Parameters
    ----------
    text : str
        The text.
    measurements : Measurements
        Measurements of the maps that the text describes.
    models : mapping of str to str, optional
        Name of a model in the text to its name in the measurements; by default the same.

    Returns
    -------
    dict of str to float
        Rates in [0, 1]; NaN where nothing could be checked.
    """
    known = dict(models) if models is not None else {name: name for name in measurements.models}
    names, targets = list(known), list(known.values())
    exchanged = dict(zip(names, [*targets[1:], *targets[:1]], strict=True))
    findings = list(measurements.findings)
    next_finding = dict(zip(findings, [*findings[1:], *findings[:1]], strict=True))
    moved = Measurements(
        measurements.table.assign(finding=measurements.table["finding"].replace(next_finding)),
        measurements.differences.assign(finding=measurements.differences["finding"].replace(next_finding)),
    )
    return {
        "as it is": contradiction_rate(check_claims(text, measurements, known)),
        "models exchanged": contradiction_rate(check_claims(text, measurements, exchanged))
        if len(targets) > 1
        else NAN,
        "findings exchanged": contradiction_rate(check_claims(text, moved, known)) if len(findings) > 1 else NAN,
    }


class ReportAgreement(NamedTuple):
    """Agreement of a map with the location of a finding in a report, or with the map of a text."""

    model: str
    radiograph: str
    patient: str
    finding: str
    measure: str
    """'side' or 'third' of a report, or 'image and words' for the map of a text."""
    value: float
    """1 if the map is densest in the place that the report names, 0 if not, or if the map is flat; for the map of a
    text, the rank correlation."""
    chance: float
    """The value with the report, or the text's map, of another patient with the finding; NaN without one."""


def compare_with_reports(measurements: pd.DataFrame, data: Dataset, cases: Sequence[Case], seed: int) -> pd.DataFrame:
    """Compare maps with the locations that reports name for the same finding, if they name one side or third.

    Parameters
    ----------
    measurements : DataFrame
        Measurements of the maps, as `measure_maps` returns them.
    data : Dataset
        The data set, with reports; no annotation is used.
    cases : sequence of Case
        Cases to compare.
    seed : int
        Seed of the draw of other patients.

    Returns
    -------
    DataFrame
        Columns of `ReportAgreement`; empty without reports.
    """
    if data.reports is None:
        return pd.DataFrame(columns=list(ReportAgreement._fields))
    reported = {(c.radiograph.id, c.finding): _reported_locations(data, c) for c in cases}
    densities = {
        (r["model"], r["radiograph"], r["finding"], r["measure"]): r["value"] for r in measurements.to_dict("records")
    }
    models = list(dict.fromkeys(measurements["model"]))
    rows = []
    for case in cases:
        radiograph, other = case.radiograph, draw_other_patient(case, cases, seed)
        for measure, group in LOCATION_GROUPS.items():
            location = reported[radiograph.id, case.finding].get(measure)
            other_location = reported[other.radiograph.id, other.finding].get(measure) if other else None
            for model in models if location else ():
                by_place = {place: densities.get((model, radiograph.id, case.finding, place), NAN) for place in group}
                known = {place: value for place, value in by_place.items() if value == value}
                top = max(known, key=lambda place: known[place]) if known else ""
                chance = NAN if other_location is None else float(top == other_location)
                agrees = float(top == location)
                rows.append(
                    ReportAgreement(model, radiograph.id, radiograph.patient, case.finding, measure, agrees, chance)
                )
    return pd.DataFrame(rows, columns=list(ReportAgreement._fields))


def compare_with_text_maps(
    run: Run, sources: Mapping[str, str], text_source: str, cases: Sequence[Case], seed: int
) -> pd.DataFrame:
    """Compare maps with those of a contrastive model, which compares the image with a text for the finding.

    Flat maps agree with nothing: 0.

    Parameters
    ----------
    run : Run
        The run that stores the maps.
    sources : mapping of str to str
        Source of maps in the run to its name in the table.
    text_source : str
        Source of the maps of the text.
    cases : sequence of Case
        Cases to compare.
    seed : int
        Seed of the draw of other patients.

    Returns
    -------
    DataFrame
        Columns of `ReportAgreement`. value: rank correlation of the two maps over the image; chance: that with the
        text's map of another patient with the finding.
    """

    @lru_cache(maxsize=64)
    def load_maps(radiograph: str) -> dict[tuple[str, str], Array]:
        return {(m.source, m.finding): resample_to_grid(m) for m in run.maps_for(radiograph, [*sources, text_source])}

    rows = []
    for case in cases:
        radiograph, other = case.radiograph, draw_other_patient(case, cases, seed)
        own_map = load_maps(radiograph.id).get((text_source, case.finding))
        other_map = None if other is None else load_maps(other.radiograph.id).get((text_source, other.finding))
        for source, name in sources.items():
            values = load_maps(radiograph.id).get((source, case.finding), np.zeros(GRID_SHAPE))
            correlation, chance = (
                NAN if m is None else float(rank_correlation(values, m)) for m in (own_map, other_map)
            )
            measure = "image and words"
            rows.append(
                ReportAgreement(name, radiograph.id, radiograph.patient, case.finding, measure, correlation, chance)
            )
    return pd.DataFrame(rows, columns=list(ReportAgreement._fields))


LOCATION_GROUPS = {"side": SIDES, "third": THIRDS}
"""Measure -> places of which a report names one."""


def _reported_locations(data: Dataset, case: Case) -> dict[str, str]:
    """Return the side and the third that a report names for a present finding, each only if it names just one."""
    try:
        report = data.reports(case.radiograph.id) if data.reports else None
    except DataError:
        report = None
    mentions = find_mentions(report.text()) if report else []
    present = [m for m in mentions if m.finding == case.finding and m.is_present]
    thirds = {zone for m in present for zone in m.zones if zone in THIRDS}
    named = {"side": {side for m in present for side in m.sides}, "third": thirds}
    return {measure: next(iter(names)) for measure, names in named.items() if len(names) == 1}


def summarize_agreement(agreements: pd.DataFrame) -> pd.DataFrame:
    """Average the agreement of each model's maps, and its excess over chance.

    Parameters
    ----------
    agreements : DataFrame
        Columns of `ReportAgreement`.

    Returns
    -------
    DataFrame
        Columns model, measure, mean, low, high, n, patients, gap, gap_low, gap_high (95 %, over patients).
    """
    rows = []
    for (model, measure), part in agreements.groupby(["model", "measure"], sort=False):
        gap = mean_with_ci(part["value"] - part["chance"], part["patient"])
        rows.append(
            {
                "model": model,
                "measure": measure,
                **mean_with_ci(part["value"], part["patient"]),
                "gap": gap["mean"],
                "gap_low": gap["low"],
                "gap_high": gap["high"],
            }
        )
    columns = ["model", "measure", "mean", "low", "high", "n", "patients", "gap", "gap_low", "gap_high"]
    return pd.DataFrame(rows, columns=columns)
