"""Learning curves: AUROC by how a network began and by how many labels it saw, and what a better beginning gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.auroc import auroc_left_out
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, average
from sightline.stats.trainings import interval_left_out

CELL_COLUMNS = ["initialization", "learning_mode", "fraction"]


def auroc_by_cell(predictions: pd.DataFrame) -> dict[tuple[Any, ...], LeaveOneOut]:
    """Compute the AUROC, averaged over findings, of every network of a study of learning curves.

    Parameters
    ----------
    predictions : DataFrame
        Columns init, learn, fraction, seed, radiograph, patient, finding, probability, label. Findings of one class
        are left out.

    Returns
    -------
    dict of (init, learn, fraction, seed) to LeaveOneOut
        AUROC of the sample and without each test patient. The patients are the same for every network, so that
        differences are paired.
    """
    known = predictions[predictions["label"].isin([0, 1]) & predictions["probability"].notna()]
    patients = pd.Index(sorted(known["patient"].unique()))
    areas = {}
    for key, cell in known.groupby([*CELL_COLUMNS, "seed"], sort=False):
        parts = []
        for _, part in cell.groupby("finding", sort=False):
            label = part["label"].to_numpy(int)
            if len(set(label)) == 2:
                group = patients.get_indexer(pd.Index(part["patient"]))
                parts.append(auroc_left_out(part["probability"].to_numpy(float), label, group, len(patients)))
        if parts:
            areas[key if isinstance(key, tuple) else (key,)] = average(parts)
    return areas


def learning_curves(cells: dict[tuple[Any, ...], LeaveOneOut]) -> pd.DataFrame:
    """Average the AUROC of networks over seeds.

    Parameters
    ----------
    cells : dict
        Result of `auroc_by_cell`.

    Returns
    -------
    DataFrame
        Columns initialization, learning_mode, fraction, mean, low, high (95 %, over test patients and, with several
        seeds, over seeds, see `sightline.stats.trainings`), reason (why there is no interval, or ''), scope (what the
        interval covers), spread (standard deviation over seeds; NaN for one), minimum, maximum and number of seeds.
    """
    rows = []
    for key in dict.fromkeys(k[:3] for k in cells):
        networks = [cell for k, cell in cells.items() if k[:3] == key]
        points = np.array([float(cell.point[0]) for cell in networks])
        row = infer(networks[0], "share", (0.0, 1.0)).row() | {"scope": "patients"}
        if len(networks) > 1:
            row = asdict(interval_left_out(networks))
        rows.append(
            {
                **dict(zip(CELL_COLUMNS, key, strict=True)),
                **{name: row[name] for name in ("mean", "low", "high", "reason", "scope")},
                "spread": _spread(points),
                "minimum": points.min(),
                "maximum": points.max(),
                "seeds": len(points),
            }
        )
    return pd.DataFrame(rows)


def _spread(points: Array) -> float:
    return float(points.std(ddof=1)) if len(points) > 1 else NAN


def initialization_gains(cells: dict[tuple[Any, ...], LeaveOneOut], base: str) -> pd.DataFrame:
    """Estimate the gain of each initialization over another, and the difference of gains between shares of labels.

    Seeds are paired: the same seed has the same labels and order of batches.

    Parameters
    ----------
    cells : dict
        Result of `auroc_by_cell`.
    base : str
        Initialization to compare with.

    Returns
    -------
    DataFrame
        Columns init, learn, fraction, versus (`base`, or 'gain at F': minus the gain at the largest share F), mean,
        low, high, p (two-sided; over patients and, with several seeds, over seeds), reason (why there is no interval,
        or ''), scope (what the interval covers), spread (over seeds), seeds.
    """
    rows = []
    for init, learn in dict.fromkeys(k[:2] for k in cells if k[0] != base):
        fractions = sorted({k[2] for k in cells if k[:2] == (init, learn)})
        each = {f: _paired_differences(cells, (init, learn, f), base) for f in fractions}
        most = each[fractions[-1]]
        for fraction, gap in each.items():
            if not gap:
                continue
            head = {"initialization": init, "learning_mode": learn, "fraction": fraction}
            rows.append({**head, "versus": base, **_gain_row(list(gap.values()))})
            if fraction != fractions[-1] and (seeds := sorted(gap.keys() & most.keys())):
                extra = [gap[s] - most[s] for s in seeds]
                rows.append({**head, "versus": f"gain at {fractions[-1]:g}", **_gain_row(extra)})
    return pd.DataFrame(rows)


def learning_modes(cells: dict[tuple[Any, ...], LeaveOneOut], base: str) -> pd.DataFrame:
    """Estimate the gain of each learning mode over another, for the same initialization, share and seeds.

    Linear evaluation ('head') answers another question and is left out.

    Parameters
    ----------
    cells : dict
        Result of `auroc_by_cell`.
    base : str
        Learning mode to compare with.

    Returns
    -------
    DataFrame
        Columns of `initialization_gains`, with versus = `base`.
    """
    rows = []
    for init, learn, fraction in dict.fromkeys(k[:3] for k in cells if k[1] not in (base, "head")):
        gap = {
            k[3]: cell - cells[init, base, *k[2:]]
            for k, cell in cells.items()
            if k[:3] == (init, learn, fraction) and (init, base, *k[2:]) in cells
        }
        if gap:
            head = {"initialization": init, "learning_mode": learn, "fraction": fraction, "versus": base}
            rows.append({**head, **_gain_row(list(gap.values()))})
    return pd.DataFrame(rows)


def _paired_differences(
    cells: dict[tuple[Any, ...], LeaveOneOut], key: tuple[Any, ...], base: str
) -> dict[Any, LeaveOneOut]:
    """Seed -> difference to the base's cell of that seed."""
    return {k[3]: cell - cells[base, *k[1:]] for k, cell in cells.items() if k[:3] == key and (base, *k[1:]) in cells}


def _gain_row(gaps: Sequence[LeaveOneOut]) -> dict[str, Any]:
    points = np.array([float(gap.point[0]) for gap in gaps])
    row = infer(gaps[0], bounds=(-1.0, 1.0)).row() | {"scope": "patients"}
    if len(gaps) > 1:
        row = asdict(interval_left_out(gaps))
    numbers = {name: row[name] for name in ("mean", "low", "high", "p", "reason", "scope")}
    return {**numbers, "spread": _spread(points), "seeds": len(points)}
