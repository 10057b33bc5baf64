"""Tables of a pre-training study: accuracy, maps, narratives, and agreement with reports."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.evaluation.narration.facts import SHAPE_MEASURES, Measurements
from sightline.report.estimate import Estimate, format_decimal
from sightline.report.phrasing import count_noun
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining.results import (
    IMAGE_TEXT_MODEL,
    LEARNING_MODE_LABELS,
    differences_to_random,
    format_share,
    format_signed,
    initializations,
    main_metric,
    read_table,
    to_estimate,
)
from sightline.report.tables import Table
from sightline.report.titles import metric_title

_MAP_METRICS = ("iou", "pointing-game", "relevance-mass", "pr-area", "peak-box-iou")
"""Metrics of the table of maps, where they were scored."""


def auc_table(view: RunView) -> Table | None:
    """Make the table of AUROC by initialization, mode of training and share of the labels, in the layout of ConVIRT.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "learning_curves")
    if table.empty:
        return None
    columns = [
        (how, f)
        for how in ("head", "all", "layers")
        for f in sorted(set(table["fraction"]))
        if ((table["learning_mode"] == how) & (table["fraction"] == f)).any()
    ]
    rows = []
    for init in initializations(view):
        by = {(r["learning_mode"], r["fraction"]): r for r in table[table["initialization"] == init].to_dict("records")}
        rows.append([init, *(_curve_cell(by.get(c)) for c in columns)])
    seeds = int(table["seeds"].max())
    caption = (
        f"AUROC averaged over findings, mean of {count_noun(seeds, 'seed')} [95 % over {_scope(table)}] ± standard "
        f"deviation over seeds; {_test_set_phrase(view)}"
    )
    head = ["Initialization", *(f"{LEARNING_MODE_LABELS[how]}, {format_share(f)}" for how, f in columns)]
    return Table.create(caption, head, rows, table_name="learning_curves")


def _scope(table: pd.DataFrame) -> str:
    """Return what the intervals of a table of learning curves cover."""
    return " or ".join(f"test {scope}" for scope in dict.fromkeys(table["scope"]))


def _test_set_phrase(view: RunView) -> str:
    """Return the number of radiographs and patients that accuracy was measured on."""
    table = view.run.table("predictions", ["radiograph", "patient"])
    radiographs, patients = table["radiograph"].nunique(), table["patient"].nunique()
    return f"{count_noun(radiographs, 'radiograph')} of {count_noun(patients, 'patient')}"


def _curve_cell(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return "–"
    mean, low, high, spread = (float(str(row[k])) for k in ("mean", "low", "high", "spread"))
    text = Estimate(mean, low, high, 0, 0).text(3).replace(" [", "\n[")
    return text if np.isnan(spread) else f"{text}\n± {format_decimal(spread, 3)}"


def gain_table(view: RunView) -> Table | None:
    """Make the table of the gain of each initialization over the random one, by the share of the labels.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "learning_curve_differences")
    if table.empty:
        return None
    rows = [
        [
            r["initialization"],
            LEARNING_MODE_LABELS[r["learning_mode"]],
            format_share(r["fraction"]),
            LEARNING_MODE_LABELS.get(r["versus"], str(r["versus"])),
            Estimate(r["mean"], r["low"], r["high"], 0, 0).text(3),
            "< 0.001" if r["p"] < 0.001 else format_decimal(r["p"], 3),
            format_decimal(r["spread"], 3),
        ]
        for r in table.to_dict("records")
    ]
    caption = (
        f"Paired differences of AUROC [95 % over {_scope(table)}]; p of the same t distribution, not adjusted; "
        "standard deviation over seeds; "
        f"{_test_set_phrase(view)}"
    )
    return Table.create(
        caption,
        ["Initialization", "Training", "Labels", "Compared with", "Difference", "p", "SD over seeds"],
        rows,
        4,
        "learning_curve_differences",
    )


def map_table(view: RunView) -> Table | None:
    """Make the table of the localization by every explained network, with the difference from random initialization.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    explained = {row["model"]: row for row in view.info.get("explained_models", ())}
    if not initializations(view) or not explained:
        return None
    metrics = [m for m in _MAP_METRICS if m in view.metrics]
    gaps = dict(differences_to_random(view))
    rows = []
    for source in dict.fromkeys(view.estimates["source"]):
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        scores = [view.estimate(source, m).text() for m in metrics]
        if name in explained:
            row = explained[name]
            share = format_share(row["fraction"])
            gap = gaps.get(f"{row['initialization']}, {share}, {view.label(method)}")
            rows.append([view.label(method), share, row["initialization"], *scores, gap.text(3) if gap else "–"])
        elif name == IMAGE_TEXT_MODEL:
            rows.append([view.label(method), "none", "reports, as text", *scores, "–"])
    head = [
        "Method",
        "Labels",
        "Initialization",
        *map(metric_title, metrics),
        f"{metric_title(main_metric(view))} minus random",
    ]
    n = view.estimate(next(iter(view.estimates["source"])), metrics[0])
    skipped = "".join(f". {note}" for note in view.info.get("skipped", ()))
    caption = (
        "Maps of the fine-tuned networks of the first seed, each for the finding that is scored: mean [95 %] over "
        f"{count_noun(n.n, 'annotation')} of {count_noun(n.patients, 'patient')}{skipped}"
    )
    return Table.create(caption, head, sorted(rows, key=lambda r: (r[0], r[1])), 3, "estimates")


def shape_table(view: RunView) -> Table | None:
    """Make the table of how concentrated the maps are, and of the difference from the random initialization.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table, gaps = read_table(view, "map_measurement_means"), read_table(view, "map_measurement_differences")
    if table.empty or gaps.empty:
        return None
    facts, base = Measurements(table, gaps), initializations(view)[0]
    rows = []
    for model in facts.models:
        cells = []
        for measure in SHAPE_MEASURES:
            gap = facts.difference(model, base, "average", measure)
            cells += [
                _format_estimate(facts.estimate(model, "average", measure)),
                format_signed(to_estimate(gap)) if gap else "–",
            ]
        rows.append([model, *cells])
    caption = (
        "Concentration of the maps: focus (Gini index, 1 = all in one place), entropy (1 = uniform), spread around the "
        "center of mass (0.41 = uniform), over all cases [95 % over patients]"
    )
    head = ["Initialization", *(text for measure in SHAPE_MEASURES for text in (measure.capitalize(), f"minus {base}"))]
    return Table.create(caption, head, rows, table_name="map_measurement_means")


def _format_estimate(fact: Mapping[str, float] | None) -> str:
    return to_estimate(fact).text(3) if fact else "–"


def narrative_paragraphs(view: RunView) -> list[str]:
    """Read the narrative of the run, without its emphasis.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Paragraphs; none if the run has no narrative.
    """
    file = view.run.path / "narrative.md"
    if not initializations(view) or not file.is_file():
        return []
    return [line.replace("**", "") for line in file.read_text("utf-8").splitlines() if line.strip()]


def claim_table(view: RunView) -> Table | None:
    """Make the table of the claims of the narrative, each with its verdict by the measurements.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "narrative_claims")
    if table.empty:
        return None
    rows = [[r["verdict"], r["model"], r["finding"], r["text"], r["reason"]] for r in table.to_dict("records")]
    judged = table[table["verdict"].isin(["supported", "contradicted"])]
    rate = f"{(judged['verdict'] == 'contradicted').mean():.0%}" if len(judged) else "no claim could be checked"
    caption = f"Claims of the narrative, checked against the measurements; contradicted: {rate}"
    return Table.create(
        caption, ["Verdict", "Initialization", "Finding", "Claim", "Measured"], rows, 5, "narrative_claims"
    )


def report_agreement_table(view: RunView) -> Table | None:
    """Make the table of how often maps are densest where the report of the same radiograph locates the finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "report_agreement")
    if table.empty:
        return None
    rows = [
        [
            r["model"],
            str(r["measure"]),
            Estimate(r["mean"], r["low"], r["high"], 0, 0).text(),
            Estimate(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(),
            f"{r['n']:,}",
            f"{r['patients']:,}",
        ]
        for r in table.to_dict("records")
    ]
    caption = (
        "Agreement of maps with reports: how often the densest side, or third, is the one that the report names [95 "
        "%], and the difference from the report on another patient with the finding"
    )
    head = [
        "Initialization",
        "Location",
        "Agreement with the report",
        "Minus the report on another patient",
        "Cases",
        "Patients",
    ]
    return Table.create(caption, head, rows, 2, "report_agreement")


def image_text_table(view: RunView) -> Table | None:
    """Make the table of the similarity of the maps of classifiers and of the image-text model, and of their scores.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "text_map_agreement")
    if table.empty:
        return None
    names = {(r["initialization"], r["fraction"]): r["model"] for r in view.info.get("explained_models", ())}
    least = min(fraction for _, fraction in names)
    image_text = next(s for s in view.run.sources if Source.parse(s).model == IMAGE_TEXT_MODEL)
    rows = []
    for r in table.to_dict("records"):
        parsed = Source.parse(str(r["model"]))
        init, method = parsed.model, parsed.method
        gap = view.difference(f"{names[init, least]}/{method}", image_text, main_metric(view))
        rows.append(
            [
                init,
                view.label(method),
                Estimate(r["mean"], r["low"], r["high"], 0, 0).text(),
                Estimate(r["gap"], r["gap_low"], r["gap_high"], 0, 0).text(),
                format_signed(gap) if gap.is_defined else "–",
                f"{r['n']:,}",
                f"{r['patients']:,}",
            ]
        )
    metric = metric_title(main_metric(view))
    caption = (
        f"The classifiers' maps (with {format_share(least)} of the labels) compared with the map of the "
        "image-text model for the name of the finding: rank correlation over the image [95 %], the difference from the "
        f"correlation with its map of another patient with the finding, and the difference in {metric}"
    )
    last = f"{metric} minus the image-text model"
    head = ["Initialization", "Method", "Rank correlation", "Minus another patient", last, "Cases", "Patients"]
    return Table.create(caption, head, rows, 2, "text_map_agreement")


def published_auc_table(view: RunView) -> Table | None:
    """Make the table of results that ConVIRT published.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not initializations(view):
        return None
    facts = load_published()["pretraining"]
    entries = [(name, init, values) for name in ("CheXpert", "RSNA") for init, values in facts[name.lower()].items()]
    rows = [
        [data, init, *(f"{v:.1f}" for how in ("linear", "finetune") for v in values[how])]
        for data, init, values in entries
    ]
    head = ["Data", "Initialization", *(f"{how}, {f} %" for how in ("Linear", "Fine-tuning") for f in (1, 10, 100))]
    return Table.create(f"Published AUC: {facts['citation']}", head, rows, 2)
