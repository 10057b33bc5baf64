"""Learning curves and gains, on predictions whose quality is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.metrics.classification import auroc
from sightline.stats.learning_curves import auroc_by_cell, initialization_gains, learning_curves

SHIFT = {("random", 0.01): 0.3, ("random", 1.0): 2.0, ("reports", 0.01): 1.5, ("reports", 1.0): 2.0}


def predictions(seeds: int = 2, patients: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = {f: rng.integers(0, 2, patients) for f in ("Edema", "Fracture")}
    base = {f: rng.normal(size=patients) for f in label}
    rows = []
    who = {"radiograph": [f"r{i}" for i in range(patients)], "patient": [f"p{i // 2}" for i in range(patients)]}
    for (init, fraction), shift in SHIFT.items():
        for seed in range(seeds):
            for f, y in label.items():
                score = shift * y + base[f] + 0.3 * rng.normal(size=patients)
                rows.append(
                    pd.DataFrame(
                        {
                            "initialization": init,
                            "learning_mode": "all",
                            "fraction": fraction,
                            "seed": seed,
                            "finding": f,
                            **who,
                            "probability": 1 / (1 + np.exp(-score)),
                            "label": y.astype(float),
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def test_a_cell_is_the_mean_over_findings_of_the_aurocs() -> None:
    table = predictions()
    found = auroc_by_cell(table)
    assert len(found) == 8 and all(cell.left_out.shape == (30, 1) for cell in found.values())
    one = table[(table["initialization"] == "reports") & (table["fraction"] == 0.01) & (table["seed"] == 1)]
    each = [auroc(p["probability"].to_numpy(), p["label"].to_numpy()) for _, p in one.groupby("finding")]
    assert found["reports", "all", 0.01, 1].point[0] == pytest.approx(np.mean(each))


def test_curves_are_means_over_seeds_with_intervals_over_patients() -> None:
    found = auroc_by_cell(predictions())
    table = learning_curves(found).set_index(["initialization", "fraction"])
    for (init, fraction), row in table.iterrows():
        points = [d.point[0] for k, d in found.items() if (k[0], k[2]) == (init, fraction)]
        assert row["mean"] == pytest.approx(np.mean(points)) and row["spread"] == pytest.approx(np.std(points, ddof=1))
        assert row["low"] < row["mean"] < row["high"] and row["minimum"] <= row["mean"] <= row["maximum"]
    assert np.isnan(learning_curves(auroc_by_cell(predictions(1)))["spread"]).all()


def test_what_helps_with_few_labels_alone_is_told_so() -> None:
    table = initialization_gains(auroc_by_cell(predictions()), "random").set_index(["fraction", "versus"])
    few, many, extra = (table.loc[key] for key in ((0.01, "random"), (1.0, "random"), (0.01, "gain at 1")))
    assert few["low"] > 0.05 and few["p"] < 0.02  # two trainings: two degrees of freedom
    assert many["low"] < 0 < many["high"]
    assert extra["low"] > 0 and extra["mean"] == pytest.approx(few["mean"] - many["mean"])


def test_cells_without_a_partner_have_no_gain() -> None:
    found = auroc_by_cell(predictions())
    del found["random", "all", 0.01, 0], found["random", "all", 0.01, 1]
    table = initialization_gains(found, "random")
    assert set(table["fraction"]) == {1.0}


def test_findings_of_one_class_and_unknown_labels_take_no_part() -> None:
    table = predictions(1)
    table.loc[table["finding"] == "Fracture", "label"] = 1.0
    table.loc[table.index[:3], "label"] = -1.0
    found = auroc_by_cell(table)
    one = table[(table["initialization"] == "random") & (table["fraction"] == 1.0) & (table["finding"] == "Edema")]
    assert found["random", "all", 1.0, 0].point[0] == pytest.approx(
        auroc(one["probability"].to_numpy(), one["label"].to_numpy())
    )
