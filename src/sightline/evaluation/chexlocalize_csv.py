"""The files that the public scripts of CheXlocalize write, with the names and columns of their code.

Programs that read those files go on working, and the published figures can be checked against these. Everything follows
the published protocol; docs/chexlocalize-scripts.md maps each script and flag to a command here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sightline.core import Dataset, Maps, SaliencyMap
from sightline.errors import DataError
from sightline.evaluation.case_table import (
    IOU_SWEEP,
    THRESHOLD_GRID,
    CaseTable,
    cutoff_grid,
    iou_on_all_images,
    model_sources,
    second_readers,
)
from sightline.evaluation.score_table import ScoreTable
from sightline.findings import CHEXLOCALIZE_FINDINGS
from sightline.imaging.masks import mask_to_rle
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import PUBLISHED, Protocol
from sightline.stats.bootstrap import draw_published_weights, replicate
from sightline.stats.regression import regress_on_confidence, regress_on_features

_PUBLIC_NAMES = {"Lung Opacity": "Airspace Opacity"}
_CANONICAL = {public: canonical for canonical, public in _PUBLIC_NAMES.items()}
TASKS = tuple(_PUBLIC_NAMES.get(f, f) for f in CHEXLOCALIZE_FINDINGS)
"""The ten findings, spelled and ordered as in the files."""
_FEATURE_COLUMNS = {
    "num_instances": "instances",
    "area_ratio": "size",
    "elongation": "elongation",
    "rec_area_ratio": "rec_area_ratio",
}
_FEATURE_NAMES = {"instances": "n_instance", "size": "area_ratio"}
_OUTCOME_COLUMNS = {
    "pred_iou": "iou",
    "pred_hitmiss": "pointing-game",
    "iou_diff": "iou-gap",
    "hitmiss_diff": "pointing-game-gap",
}


def check_chexlocalize_options(
    folder: Path | None, protocols: Sequence[Protocol], metrics: Sequence[str], include_unannotated: bool
) -> None:
    """Check, before any work, that the options of a run allow to write the files.

    Parameters
    ----------
    folder : Path or None
        Folder of the files; None if they are not requested.
    protocols : sequence of Protocol
        Protocols of the run; the published one has to be among them.
    metrics : sequence of str
        Metrics of the run.
    include_unannotated : bool
        True if radiographs without annotations are scored, too.

    Raises
    ------
    DataError
        If the files are requested and the options do not allow them.
    """
    if folder is None:
        return
    missing = [m for m in ("iou", "pointing-game", *IOU_SWEEP) if m not in metrics]
    if PUBLISHED.name not in [p.name for p in protocols] or missing or not include_unannotated:
        raise DataError(
            "--chexlocalize-csv needs the published protocol (--protocol published or both), all images "
            f"(--include-unannotated) and the metrics iou, pointing-game and {', '.join(IOU_SWEEP)}; "
            f"missing: {', '.join(missing) or 'none of the metrics'}"
        )


def chexlocalize_folders(folder: Path, sources: Sequence[str], *, flat: bool = False) -> dict[str, Path]:
    """Return the folder of the files of every model source.

    Parameters
    ----------
    folder : Path
        Folder of all files.
    sources : sequence of str
        Sources of a run; those that are no maps of a model have no files.
    flat : bool
        True to use the folder itself, which only a single source can.

    Returns
    -------
    dict of str to Path
        By source: FOLDER/SOURCE, where '/', '?' and the like become '-'; the folder itself if `flat`.

    Raises
    ------
    DataError
        If the files of several sources would be written into one folder.

    Examples
    --------
    >>> chexlocalize_folders(Path("files"), ["small/grad-cam"])["small/grad-cam"].name
    'small-grad-cam'
    """
    models = model_sources(sources)
    if flat and len(models) > 1:
        raise DataError(
            f"--chexlocalize-csv-flat writes the files of one source, but there are {len(models)}: "
            f"{', '.join(models)}; leave it out for a folder per source"
        )
    return {source: folder if flat else folder / re.sub(r"[^\w.+-]+", "-", source) for source in models}


def write_chexlocalize_csv(
    scores: ScoreTable,
    maps: Maps,
    data: Dataset,
    folders: Mapping[str, Path],
    protocols: Sequence[Protocol],
    seed: int,
) -> None:
    """Write every file for every model source.

    Parameters
    ----------
    scores : ScoreTable
        Tables of a run with the published protocol.
    maps : Maps
        The maps that were scored.
    data : Dataset
        The data set.
    folders : mapping of str to Path
        Folder of each source, see `chexlocalize_folders`.
    protocols : sequence of Protocol
        Protocols of the run.
    seed : int
        Seed of the bootstrap.
    """
    protocol = next(p for p in protocols if p.name == PUBLISHED.name)
    readers = second_readers(scores.sources)[:1]  # the files have one human benchmark
    human = pool_pixels(scores.cases(protocol, readers[0]).table) if readers else None
    for source, out in folders.items():
        out.mkdir(parents=True, exist_ok=True)
        _write_source(scores.cases(protocol, source, readers), out, seed)
        if human is not None:
            human.to_csv(out / "hb_precision_recall_specificity.csv")
    _write_masks(maps, data, protocol, {s: out / "saliency_segmentations.json" for s, out in folders.items()})


def _write_source(case_table: CaseTable, out: Path, seed: int) -> None:
    # The scripts do not count a missing map
    hits = case_table.table["pointing-game"].where(case_table.table["status"] != "missing")
    case_table = replace(case_table, table=case_table.table.assign(**{"pointing-game": hits}))
    benchmark = {"iou": case_table.table["human_iou"], "pointing-game": case_table.table["human_hit"]}
    human = case_table.table.assign(**benchmark)
    tables = {
        "iou_": _pivot_by_task(case_table.table.assign(iou=case_table.overlap("gt&pred")), "iou", case_table),
        "hitmiss_": _pivot_by_task(case_table.table, "pointing-game", case_table),
        "iou_humanbenchmark_": _pivot_by_task(human, "iou", case_table),
        "hitmiss_humanbenchmark_": _pivot_by_task(human, "pointing-game", case_table),
    }
    draws = {}
    for name, table in tables.items():
        _write_wide(table, out / f"{name}results_per_cxr.csv")
        draws[name] = bootstrap_means(table, seed)
        draws[name].to_csv(out / f"{name}bootstrap_results_per_cxr.csv", index=False)
        summarize_draws(draws[name]).to_csv(out / f"{name}summary_results.csv", index=False)
    full = _pivot_by_task(
        case_table.table.assign(iou=case_table.overlap("full")), "iou", case_table, all_radiographs=True
    )
    _write_wide(full, out / "iou_full_results_per_cxr.csv")
    for name, kind in (("miou", "iou_"), ("hitrate", "hitmiss_")):
        pct = percentage_decrease(draws[f"{kind}humanbenchmark_"], draws[kind])
        pct.to_csv(out / f"{name}_pct_decrease.csv")
    _write_features(case_table, out)
    _write_regressions(case_table, out)
    _write_tuning(case_table, out)
    kept = case_table.table.assign(
        predicted_pixels=case_table.table["predicted_pixels"].where(case_table.is_predicted),
        overlap_pixels=case_table.table["overlap_pixels"].where(case_table.is_predicted),
    )
    pool_pixels(kept).to_csv(out / "pred_precision_recall_specificity.csv")
    _pivot_by_task(
        case_table.table.assign(has=case_table.is_predicted), "has", case_table, all_radiographs=True
    ).sum().astype(int).to_csv(out / "n_segs.csv")


def _pivot_by_task(
    table: pd.DataFrame, column: str, case_table: CaseTable, *, all_radiographs: bool = False
) -> pd.DataFrame:
    """Return a row per radiograph with any annotation (or per radiograph), indexed by `img_id`, and a column per task.

    Tasks have their public names and are in alphabetical order, as the scripts sort them.
    """
    kept = (
        table
        if all_radiographs
        else table[table["radiograph"].isin(case_table.table.loc[case_table.is_annotated, "radiograph"])]
    )
    wide = kept.pivot_table(index="radiograph", columns="finding", values=column, aggfunc="first", dropna=False)
    wide = wide.sort_index().rename(columns=_PUBLIC_NAMES).reindex(columns=sorted(TASKS))
    return wide.rename_axis(index="img_id", columns=None)


def _write_wide(table: pd.DataFrame, file: Path) -> None:
    table.reset_index()[[*table.columns, "img_id"]].to_csv(file, index=False)


def bootstrap_means(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the means of each task in 1000 resamples of radiographs, drawn as eval.py draws them.

    Parameters
    ----------
    table : DataFrame
        A row per radiograph, a column per task.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        A row per resample; columns in the order of the constants of eval.py.
    """
    values = table[list(TASKS)].to_numpy(float)  # (N, 10)
    drawn = replicate(values, np.arange(len(values)), draw_published_weights(len(values), 1000, seed))
    return pd.DataFrame(drawn.draws, columns=pd.Index(TASKS))


def _confidence_interval(draws: pd.Series[float]) -> tuple[float, float, float]:
    """Return (lower, mean, upper) to three digits: sorted replicates 24 and 974 from 0, undefined ones last."""
    ordered = draws.sort_values().to_numpy()
    return round(ordered[24], 3), round(float(draws.mean()), 3), round(ordered[974], 3)


def summarize_draws(draws: pd.DataFrame) -> pd.DataFrame:
    """Summarize bootstrap means by their mean, as published, and interval.

    Parameters
    ----------
    draws : DataFrame
        Means of tasks, as `bootstrap_means` returns them.

    Returns
    -------
    DataFrame
        A row per task, by name: name, lower, mean, upper.
    """
    rows = [(task, *_confidence_interval(draws[task])) for task in sorted(draws.columns)]
    return pd.DataFrame(rows, columns=pd.Index(["name", "lower", "mean", "upper"]))


def percentage_decrease(human: pd.DataFrame, model: pd.DataFrame) -> pd.DataFrame:
    """Compute the percentage decrease of the model from the human benchmark.

    Parameters
    ----------
    human, model : DataFrame
        Means of tasks, as `bootstrap_means` returns them.

    Returns
    -------
    DataFrame
        A row per task, largest decrease first, and the average from rounded means: hb, pred, pct_diff and its interval.
    """
    ratio = (human - model) / human
    table = pd.DataFrame({"hb": human.mean(), "pred": model.mean()})
    table["pct_diff"] = ((table["hb"] - table["pred"]) / table["hb"] * 100).round(3)
    bounds = [_confidence_interval(ratio[task]) for task in ratio.columns]
    table["pct_diff_lower"] = [round(low * 100, 3) for low, _, _ in bounds]
    table["pct_diff_upper"] = [round(high * 100, 3) for _, _, high in bounds]
    table = table.sort_values("pct_diff", ascending=False)
    hb, pred = round(table["hb"].mean(), 3), round(table["pred"].mean(), 3)
    decrease = 100 * (human.mean(axis=1) - model.mean(axis=1)) / human.mean(axis=1)
    low, _, high = _confidence_interval(decrease)
    table.loc["Average"] = [hb, pred, round((hb - pred) / hb * 100, 3), low, high]
    return table


def _write_features(case_table: CaseTable, out: Path) -> None:
    t = case_table.table.assign(rec_area_ratio=1 - case_table.table["irrectangularity"])
    for file, column in _FEATURE_COLUMNS.items():
        wide = _pivot_by_task(t, column, case_table)
        wide = wide.fillna(0) if column in ("instances", "size") else wide
        wide = wide.astype(int) if column == "instances" else wide
        _write_wide(wide, out / f"{file}.csv")


def _write_regressions(case_table: CaseTable, out: Path) -> None:
    outcomes = case_table.outcomes("gt&pred")
    for name, outcome in _OUTCOME_COLUMNS.items():
        rows = regress_on_features(outcomes, outcome, "published")
        table = pd.DataFrame({"task": "Overall", "feature": rows["feature"].replace(_FEATURE_NAMES)})
        table["Linear regression coefficients"] = _format_coefficients(rows, "slope", "low", "high", rows["stars"])
        table.to_csv(out / f"regression_features_{name}.csv", index=False)
    for name, values in (
        ("iou", case_table.overlap("full")),  # all radiographs, as in the paper
        ("iou_true_pos_only", case_table.overlap("gt&pred")),
        ("hitmiss", case_table.hits("gt_positive")),
    ):
        rows = regress_on_confidence(case_table.table.assign(outcome=values), "outcome", "published")
        table = pd.DataFrame({"task": rows["finding"].replace({**_PUBLIC_NAMES, "all": "Overall"}), "n": rows["n"]})
        table["Linear regression coefficients"] = _format_coefficients(rows, "slope", "low", "high", rows["stars"])
        table["Spearman correlations"] = _format_coefficients(rows, "rho", "rho_low", "rho_high", rows["rho_stars"])
        table.to_csv(out / f"regression_modelprob_{name}.csv", index=False)


def _format_coefficients(rows: pd.DataFrame, mean: str, low: str, high: str, stars: pd.Series[str]) -> list[str]:
    numbers = rows[[mean, low, high]].round(3).itertuples(index=False)
    return [f"{m}, ({lo}, {hi}){s}" for (m, lo, hi), s in zip(numbers, stars, strict=True)]


def _write_tuning(case_table: CaseTable, out: Path) -> None:
    """Write tuning_results.csv (the best threshold per task) and probability_tuning_results.csv (the whole grid)."""
    best, grid = [], []
    cases = case_table.table[case_table.table["status"] != "missing"]
    for task in sorted(TASKS):
        t = cases[cases["finding"].replace(_PUBLIC_NAMES) == task]
        sweep = t.loc[t["annotated_pixels"] > 0].reindex(columns=list(IOU_SWEEP)).mean()
        best.append((THRESHOLD_GRID[int(np.argmax(sweep.fillna(-1.0)))], task))  # the lowest without any case
        cutoffs = cutoff_grid(_CANONICAL.get(task, task), published=True)
        grid += [(cutoff, round(float(iou_on_all_images(t, cutoff).mean()), 3), task) for cutoff in cutoffs]
    pd.DataFrame(best, columns=pd.Index(["threshold", "task"])).to_csv(out / "tuning_results.csv", index=False)
    names = pd.Index(["prob_threshold", "mIoU", "task"])
    pd.DataFrame(grid, columns=names).to_csv(out / "probability_tuning_results.csv", index=False)


def pool_pixels(table: pd.DataFrame) -> pd.DataFrame:
    """Compute precision, recall and specificity over the pooled pixels of the radiographs with any annotation.

    Parameters
    ----------
    table : DataFrame
        Cases with their pixel counts.

    Returns
    -------
    DataFrame
        A row per task: pathology, precision, recall/sensitivity, specificity.
    """
    kept = table[table["radiograph"].isin(table.loc[table["annotated_pixels"] > 0, "radiograph"])]
    rows, pixels = [], float(kept.groupby("radiograph")["image_pixels"].max().sum())
    for task in sorted(TASKS):
        t = kept[kept["finding"].replace(_PUBLIC_NAMES) == task]
        tp, predicted, annotated = (
            float(t[k].sum()) for k in ("overlap_pixels", "predicted_pixels", "annotated_pixels")
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            precision, recall = np.divide(tp, predicted), np.divide(tp, annotated)
            specificity = np.divide(pixels - annotated - predicted + tp, pixels - annotated)
        rows.append((task, precision, recall, specificity))
    return pd.DataFrame(rows, columns=pd.Index(["pathology", "precision", "recall/sensitivity", "specificity"]))


def _write_masks(maps: Maps, data: Dataset, protocol: Protocol, files: Mapping[str, Path]) -> None:
    """Write the masks of every map as COCO run lengths, one radiograph at a time, to a file per source."""
    with ExitStack() as stack:
        streams, partial = {}, {file: file.with_name(f".{file.name}.partial") for file in files.values()}
        for source, file in files.items():
            streams[source] = stack.enter_context(partial[file].open("w", encoding="utf-8"))
        separators = dict.fromkeys(files, "{")
        for radiograph in data.radiographs:
            maps_by_source: dict[str, dict[str, SaliencyMap]] = {}
            for m in maps.maps_for(radiograph.id):
                maps_by_source.setdefault(m.source, {})[m.finding] = m
            for source in [s for s in files if s in maps_by_source]:
                masks = json.dumps(_encode_masks(maps_by_source[source], protocol))
                streams[source].write(f"{separators[source]}{json.dumps(radiograph.id)}: {masks}")
                separators[source] = ",\n"
        for source, stream in streams.items():
            stream.write("}\n" if separators[source] != "{" else "{}\n")
    for file, written in partial.items():
        written.replace(file)


def _encode_masks(maps_by_finding: Mapping[str, SaliencyMap], protocol: Protocol) -> dict[str, dict[str, object]]:
    """Return the run lengths of one radiograph for all ten tasks; zeros without a map or below the cutoff."""
    cutoffs, masks = dict(protocol.probability_cutoffs), {}
    empty = mask_to_rle(np.zeros(next(iter(maps_by_finding.values())).frame.size, bool))
    for finding in CHEXLOCALIZE_FINDINGS:
        m = maps_by_finding.get(finding)
        is_empty = m is None or m.probability < cutoffs.get(finding, -1.0)
        masks[_PUBLIC_NAMES.get(finding, finding)] = (
            empty if m is None or is_empty else mask_to_rle(binarize_map(m, protocol))
        )
    return masks
