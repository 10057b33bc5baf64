"""What the report of a self-explaining study may say, from tables whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain.sentences import summary_sentences, training_length_note
from sightline.runs.run import Run
from sightline.stats.noninferiority import NOT_ABOVE_CHANCE

OWN, METHODS = "self-explaining/intrinsic", [f"method-{i}" for i in range(16)]
PRIOR = "control/average-mask"
HEAD = {"protocol": "corrected", "metric": "average-precision", "finding": "average", "n": 45, "patients": 27}


def told(out: Path, gaps: pd.DataFrame, robustness: pd.DataFrame, **facts: object) -> str:
    """The sentences of a run whose differences are `gaps` (source, versus, mean, low, high, p)."""
    run = Run.start(out, "selfexplain", {"model": ""})
    run = run.update_info(
        self_explaining_model="self-explaining",
        models=[{"name": m, "training": {}} for m in ("self-explaining", "baseline")],
        **facts,
    )
    sources = sorted({*gaps["source"], *gaps["versus"], OWN})
    run.write_table("estimates", pd.DataFrame({"source": sources, "mean": 0.2, "low": 0.1, "high": 0.3, **HEAD}))
    run.write_table("differences", gaps.assign(**HEAD))
    run.write_table("perturbation_summary", robustness)
    return " ".join(summary_sentences(RunView.from_run(run)))


def gap(source: str, versus: str, mean: float, p: float = 0.002, half: float = 0.02) -> dict[str, object]:
    return {"source": source, "versus": versus, "mean": mean, "low": mean - half, "high": mean + half, "p": p}


def erased(verdict: str, random: str) -> pd.DataFrame:
    """Insertion by the intrinsic map: verdicts against another patient's map and against random places."""
    sign = {"shown": 0.1, "shown absent": -0.133, "undecided": 0.0}[random]
    columns = {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 45, "patients": 27}
    columns |= {"gap": 0.04, "gap_low": 0.03, "gap_high": 0.05, "direction": "higher", "smallest_effect": 0.02}
    columns |= {"verdict": verdict, "patients_needed": 60.0, "reason": "few"}
    columns |= {"random": sign, "random_low": sign - 0.03, "random_high": sign + 0.03}
    columns |= {"random_verdict": random, "random_patients_needed": 90.0, "random_reason": ""}
    return pd.DataFrame([{"measure": "insertion", "method": "intrinsic", **columns}])


def test_better_and_worse_are_counted_after_holm_and_the_best_is_called_so(tmp_path: Path) -> None:
    rows = [gap(OWN, f"baseline/{m}", 0.05, p=0.002 if i < 3 else 0.04) for i, m in enumerate(METHODS[:15])]
    rows.append(gap(OWN, f"baseline/{METHODS[15]}", -0.03, p=0.002))
    text = told(tmp_path / "run", pd.DataFrame(rows), erased("shown", "shown"))
    assert "significantly better than 3 and worse than 1 of 16 post-hoc maps" in text
    assert "(p below 0.05, adjusted by Holm over all 16)" in text
    assert f"The best of them is {METHODS[15]} · baseline" in text and "nearest" not in text


@pytest.mark.parametrize(
    ("mean", "where"), [(-0.1, "thus below the lower"), (0.01, "thus not clearly above the lower")]
)
def test_detectors_that_do_not_beat_the_average_mask_are_no_ceiling(tmp_path: Path, mean: float, where: str) -> None:
    rows = [gap("localizer/unet/intrinsic", PRIOR, mean), gap("localizer/retinanet/intrinsic", PRIOR, mean - 0.1)]
    text = told(tmp_path / "run", pd.DataFrame(rows), erased("shown", "shown"))
    assert "None of the 2 networks trained on annotations" in text and where in text
    rows.append(gap("localizer/supervised/intrinsic", PRIOR, 0.1))
    assert "None of the" not in told(tmp_path / "other", pd.DataFrame(rows), erased("shown", "shown"))


@pytest.mark.parametrize(
    ("other", "random", "sentence"),
    [
        (
            "shown",
            "shown",
            "are more sufficient for the decision than those of the map of another patient (0.040 [0.030, 0.050]; n = "
            "45 maps of 27 patients) and random places (0.100 [0.070, 0.130]); differences in insertion from 0.02 on",
        ),
        ("shown", "undecided", "(undecided: about 90 patients would decide); differences in insertion"),
        ("undecided", "undecided", "are not shown to be more sufficient for the decision than those of the map of"),
        (
            "shown",
            "shown absent",
            "are not more sufficient for the decision than random places (−0.133 [−0.163, −0.103])",
        ),
        ("not estimable", "shown", "(not estimable: few)"),
    ],
)
def test_sufficient_is_what_random_places_are_not(tmp_path: Path, other: str, random: str, sentence: str) -> None:
    text = told(tmp_path / "run", pd.DataFrame([gap(OWN, PRIOR, 0.1)]), erased(other, random))
    assert sentence in text and ("places are more sufficient" in text) == (other == random == "shown")


@pytest.mark.parametrize(("model", "best", "there"), [("", 3, True), ("best.pt", 7, True), ("best.pt", 4, False)])
def test_a_crossing_tells_how_long_its_networks_learned(tmp_path: Path, model: str, best: int, there: bool) -> None:
    Run.start(tmp_path / "run", "selfexplain", {"model": model})
    lengths = {"detector-10": {"epochs": 7.0, "best": best}, "self-explaining-10": {"epochs": 7.0, "best": 2}}
    run = Run.open(tmp_path / "run").update_info(self_explaining_model="self-explaining", training_lengths=lengths)
    run.write_table("estimates", pd.DataFrame([{"source": OWN, "mean": 0.2, "low": 0.1, "high": 0.3, **HEAD}]))
    text = " ".join(training_length_note(RunView.from_run(run)))
    count = int(best > 0.75 * 7)
    assert (f"trained for 7 epochs, and {count} of 2 were best in the last quarter" in text) == there


def test_a_table_without_random_places_shows_nothing_sufficient(tmp_path: Path) -> None:
    old = erased("shown", "shown").drop(columns=["random", "random_low", "random_high", "random_verdict"])
    assert "are not shown to be more sufficient for the decision than random places" in told(
        tmp_path / "run", pd.DataFrame([gap(OWN, PRIOR, np.nan)]), old
    )


def test_a_network_at_chance_allows_no_statement_about_accuracy(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "selfexplain", {"model": ""}).update_info(self_explaining_model="self-explaining")
    row = {
        "model": "self-explaining",
        "versus": "baseline",
        "mean": 0.1,
        "low": -0.01,
        "high": 0.2,
        "n": 90,
        "patients": 40,
    }
    judged = {"verdict": "not estimable", "reason": NOT_ABOVE_CHANCE, "patients_needed": np.nan}
    table = pd.DataFrame([{**row, "finding": "average", "margin": 0.05, **judged}])
    run.write_table("noninferiority", table)
    area = {"model": "baseline", "finding": "average", "metric": "auroc", "mean": 0.51, "low": 0.45, "high": 0.56}
    run.write_table("classification", pd.DataFrame([{**area, "n": 90, "positives": 9, "patients": 40}]))
    run.write_table("estimates", pd.DataFrame([{"source": OWN, "mean": 0.2, "low": 0.1, "high": 0.3, **HEAD}]))
    text = " ".join(summary_sentences(RunView.from_run(run)))
    assert (
        "No statement about accuracy is possible: the network without the saliency head is not above chance (AUROC "
        in text
    )
    assert "0.510 [0.450, 0.560], chance 0.5)" in text and "0.100 [−0.010, 0.200]; n = 90 labels of 40 patients" in text
    assert "as good as" not in text
    reason = "the difference has no interval"
    run.write_table("noninferiority", table.assign(low=np.nan, high=np.nan, reason=reason))
    sentences = " ".join(summary_sentences(RunView.from_run(run)))
    opening = "No statement about accuracy is possible: the difference has no interval (difference 0.100 (no interval: "
    assert opening in sentences
    run.write_table("noninferiority", table.assign(verdict="undecided", reason="", patients_needed=123.0))
    sentences = " ".join(summary_sentences(RunView.from_run(run)))
    assert "margin 0.05; undecided: about 130 patients would decide)" in sentences
