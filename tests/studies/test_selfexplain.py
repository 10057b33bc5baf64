"""The self-explaining study end to end on the phantom, with networks whose answers can be told beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.data import open_dataset
from sightline.data.reader_study.rating_sheets import RATING_CASES_FILE, read_rating_cases
from sightline.errors import DataError
from sightline.models import TrainingRecord, open_model, wrap
from sightline.models.checkpoint import save_checkpoint
from sightline.report import report
from sightline.runs.run import Run
from sightline.studies.selfexplain import selfexplain
from sightline.studies.selfexplain_models import require_same_backbone
from viewing import can_be_looked_at

DATA = "phantom:24?size=96"
LABELED, MARKED = "selfexplaining:small?kind=lse&side=64", "selfexplaining:small?kind=lse&supervision=masks&side=64"
SPECS = {
    "element": LABELED,
    "plain": "small?side=64",
    "again": LABELED,
    "other": "selfexplaining:small?kind=lse&width=8&side=64",
    "unet": "unet?side=64&width=4",
    "supervised": MARKED,
    "narrow": "small?side=64&width=8",
    "element-10": MARKED,
    "detector-10": "unet?side=64&width=4",
    "element-30": MARKED,
    "detector-30": "unet?side=64&width=4",
    "large": "small?side=96",
    "trained": LABELED,
    "half": "small?side=64",
    "elsewhere": "small?side=64",
    "told": "small?side=64",
}
RECORDS = {
    "trained": TrainingRecord("phantom:8?start=9000"),
    "half": TrainingRecord("phantom:8?start=9000", 0.5),
    "elsewhere": TrainingRecord("phantom:8?start=9008"),
    "told": TrainingRecord("as in weights.pt"),
}
METHODS = ("grad-cam", "gradient")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, findings = tmp_path_factory.mktemp("models"), open_dataset(DATA).findings
    for number, (name, spec) in enumerate(SPECS.items()):
        made = replace(open_model(spec, findings, seed=number), training_record=RECORDS.get(name))
        if name == "element-30":
            with torch.no_grad():
                made.net.saliency_head.evidence.weight.mul_(1000)[findings.index("Cardiomegaly")] = 0
        save_checkpoint(made, folder / f"{name}.pt")
    return {name: str(folder / f"{name}.pt") for name in SPECS}


def study(c: dict[str, str], out: Path, **other: object) -> Run:
    named = {
        "model": c["element"],
        "baseline": c["plain"],
        "replicates": (c["again"],),
        "other_architectures": (c["other"],),
        "localizers": (c["unet"], c["supervised"]),
        "mask_supervised": (f"10={c['element-10']}", f"30={c['element-30']}"),
        "detectors": (f"10={c['detector-10']}", f"30={c['detector-30']}"),
    }
    return selfexplain(
        data=DATA,
        **{**named, **other},
        methods=METHODS,
        max_radiographs=20,
        rating_cases=8,
        perturbation_images=4,
        findings="Cardiomegaly,Pleural Effusion",
        out=out,
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(checkpoints: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("selfexplain") / "run"
    study(checkpoints, out)
    return out


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return report(Run.open(finished)).read_text("utf-8")


def test_all_that_was_asked_is_there(finished: Path) -> None:
    run = Run.open(finished)
    sources = set(run.table("estimates")["source"])
    assert {
        "self-explaining/intrinsic",
        "self-explaining/grad-cam",
        "baseline/gradient",
        "localizer/unet/intrinsic",
        "localizer/supervised/intrinsic",
        "control/average-mask",
    } <= sources
    assert set(run.table("similarity_levels")["comparison"]) >= {
        "randomization",
        "repeatability",
        "reproducibility",
        "pair",
    }
    assert set(run.table("perturbation_summary")["measure"]) >= {"deletion", "insertion", "rank-correlation"}
    ours = {"intrinsic", "grad-cam", "localizer/unet/intrinsic", "localizer/supervised/intrinsic"}
    assert set(run.table("verdicts")["method"]) == ours
    robust = run.table("perturbation_summary").set_index(["measure", "method"])
    assert np.isfinite(robust.loc[[("insertion", "intrinsic"), ("deletion", "intrinsic")], "random"]).all()
    gap = run.table("differences")
    assert len(gap[(gap["source"] == "self-explaining/intrinsic") & (gap["versus"] == "baseline/grad-cam")])
    froc = run.table("froc")
    assert set(froc["radiographs"]) == {"annotated", "all"} and "control/average-mask" not in set(
        froc[froc["radiographs"] == "all"]["source"]
    )
    assert run.table("label_budget")["n_annotated"].tolist() == [10, 30, 0, 10, 30] and run.info["crossing"]["text"]
    costs = run.table("timings").set_index(["model", "operation"])["median"]
    assert (
        costs["self-explaining", "intrinsic"] > 0
        and ("baseline", "gradient") in costs
        and ("baseline", "intrinsic") not in costs
    )


def test_maps_that_collapsed_are_told_of_a_network_of_the_users(finished: Path, page: str) -> None:
    assert Run.open(finished).info["collapsed"]["self-explaining-30"] == "flat (Cardiomegaly)"
    assert "self-explaining-30, flat (Cardiomegaly)" in page


def test_no_worse_is_judged_by_the_interval(finished: Path) -> None:
    table = Run.open(finished).table("noninferiority")
    assert set(table["finding"]) == {"Cardiomegaly", "Pleural Effusion", "average"} and (table["margin"] == 0.05).all()
    assert dict.fromkeys(table["model"]) == {"self-explaining": None, "again-1": None}, "every seed of the element"
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()


def test_sheets_hide_what_made_the_maps_and_simulated_readers_are_called_so(finished: Path) -> None:
    sheets = read_rating_cases(finished / RATING_CASES_FILE)
    assert {s.reader for s in sheets} == {"simulated 1", "simulated 2"}
    shown = {"self-explaining/intrinsic", "self-explaining/grad-cam", "baseline/grad-cam", "localizer/unet/intrinsic"}
    assert all(set(s.sources) == shown for s in sheets)
    run = Run.open(finished)
    assert set(run.table("ratings")["question"]) == {"location", "extent", "usefulness", "choice"}
    assert {"between", "within"} == set(run.table("ratings_agreement")["kind"])


def test_the_same_command_adds_nothing(finished: Path, checkpoints: dict[str, str]) -> None:
    before = {p.name: p.read_bytes() for p in (finished / "tables").iterdir()}
    study(checkpoints, finished)
    assert {p.name: p.read_bytes() for p in (finished / "tables").iterdir()} == before


def test_the_report_stands(page: str) -> None:
    for said in (
        "Intrinsic map",
        "Label budget",
        "Necessity",
        "simulated",
        "reconstruction",
        "Accuracy with and without the saliency head",
        "The seed alone changes the difference by",
    ):
        assert said in page, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "plain"}, "has no saliency head"),
        ({"model": "supervised"}, "learned from masks"),
        ({"baseline": ""}, "--baseline"),
        ({"replicates": ("element",)}, "have the same weights"),
        ({"localizers": ("narrow",)}, "has no maps"),
        ({"mask_supervised": ("ten",)}, "RADIOGRAPHS=CHECKPOINT"),
        ({"margin": 0.7}, "margin=0.7"),
        ({"baseline": "narrow"}, "differ by more than the saliency head: size"),
        ({"baseline": "large"}, "side 64 and 96"),
        ({"baseline": "detector-10"}, "architecture small and unet"),
        ({"baseline": "element-10"}, "architecture small and selfexplaining:small"),
        ({"model": "trained", "baseline": "half"}, "fraction 1.0 and 0.5"),
        ({"model": "trained", "baseline": "elsewhere"}, "data phantom:8.start=9000 and phantom:8.start=9008"),
    ],
)
def test_what_cannot_be_compared(
    change: dict[str, object], said: str, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    def path(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(checkpoints.get(v, v) for v in value)
        return checkpoints.get(value, value) if isinstance(value, str) else value

    with pytest.raises(DataError, match=said):
        study(checkpoints, tmp_path / "run", **{k: path(v) for k, v in change.items()})


def test_what_a_network_does_not_tell_is_not_held_against_it(checkpoints: dict[str, str]) -> None:
    element, plain = open_model(checkpoints["trained"]), open_model(checkpoints["told"])
    require_same_backbone(element, plain)
    require_same_backbone(element, wrap(open_model(checkpoints["large"]).net, element.findings, 96, channels=1))


def test_own_maps_of_the_study_are_those_of_the_network(finished: Path, checkpoints: dict[str, str]) -> None:
    run, m = Run.open(finished), open_model(checkpoints["element"])
    radiograph = next(
        r for r in open_dataset(DATA).radiographs if run.map("self-explaining/intrinsic", r.id, "Cardiomegaly")
    )
    stored = run.map("self-explaining/intrinsic", radiograph.id, "Cardiomegaly")
    assert stored is not None
    x, _ = m.prepare(radiograph.read())
    wanted = m.net.eval().maps(x[None])[0, m.index("Cardiomegaly")].numpy()
    np.testing.assert_allclose(stored.values, wanted, atol=1e-4)


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)
