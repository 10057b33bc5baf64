"""The trust study end to end on the phantom: the tests of maps are tested with maps whose answer is known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.evaluation.sampling import sample_positive_cases
from sightline.models import Model, TrainingRecord, open_model
from sightline.models.checkpoint import save_checkpoint
from sightline.report import report
from sightline.runs.run import Run
from sightline.studies.trust import trust
from sightline.studies.trust_models import TrustModels
from viewing import can_be_looked_at

DATA = "phantom:16?size=64"
METHODS = ("grad-cam", "guided-backprop", "edges", "noise")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Networks that differ: three of one architecture, one of another width, and two that have maps of their own."""
    folder, findings = tmp_path_factory.mktemp("models"), open_dataset(DATA).findings
    made = []
    specs = ("small?side=64",) * 2 + ("small?side=64&width=8", "small?side=64") + ("unet?side=64&width=4",) * 2
    for number, spec in enumerate(specs):
        save_checkpoint(open_model(spec, findings, seed=number), folder / f"{number}.pt")
        made.append(str(folder / f"{number}.pt"))
    return made


@pytest.fixture(scope="module")
def finished(checkpoints: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trust") / "run"
    study(checkpoints, out)
    return out


def study(checkpoints: list[str], out: Path) -> Run:
    first, again, other, shuffled, *localizers = checkpoints
    return trust(
        data=DATA,
        model=first,
        replicates=(again,),
        other_architectures=(other,),
        shuffled_labels=(shuffled,),
        methods=METHODS,
        localizers=tuple(localizers),
        findings="Lung Opacity, Pleural Effusion, Support Devices",
        max_radiographs=9,  # of 8 patients, the least of a verdict
        randomization_orders=("top-down", "independent"),
        out=out,
    )


def digest(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((run / "tables").iterdir())}


def final(run: Path, criterion: str, method: str, measure: str = "ssim") -> dict[str, object]:
    table = Run.open(run).table("verdicts")
    rows = table[(table["criterion"] == criterion) & (table["method"] == method) & (table["measure"] == measure)]
    (row,) = rows[rows["protocol"] == "corrected"].to_dict("records")
    return row


def test_what_does_not_need_the_network_fails_and_comes_back_whatever_is_trained(finished: Path) -> None:
    for criterion in ("randomization", "label-randomization"):
        row = final(finished, criterion, "edges")
        assert row["level"] == pytest.approx(1) and row["verdict"] == "shown absent"
    assert final(finished, "repeatability", "edges")["level"] == pytest.approx(1)


def test_noise_forgets_at_once_and_never_comes_back(finished: Path) -> None:
    for criterion in ("randomization", "repeatability", "reproducibility"):
        row = final(finished, criterion, "noise", "rank")
        assert abs(row["level"]) < 0.1 and abs(row["chance"]) < 0.1
        assert row["verdict"] in ("undecided", "shown" if criterion == "randomization" else "shown absent")
    assert final(finished, "repeatability", "noise")["verdict"] != "shown"  # no more alike than two patients' noise


def test_only_what_reaches_networks_trained_on_annotations_is_repeatable(finished: Path) -> None:
    noise, edges = (final(finished, "repeatability-ceiling", method) for method in ("noise", "edges"))
    assert noise["level"] < 0.2 and noise["verdict"] != "shown"
    if edges["chance"] >= 0.5:  # the level of two networks without training, which is theirs by chance
        assert edges["verdict"] == "shown"
    else:
        assert edges["verdict"] == "not estimable" and "networks trained on annotations" in str(edges["reason"])


def test_the_response_of_the_network_to_erasing_is_known(finished: Path) -> None:
    summary = Run.open(finished).table("perturbation_summary").set_index(["measure", "method"])
    response = summary.loc[("response", "random"), "mean"]
    judged = summary.loc[("deletion", "grad-cam")]
    assert 0 <= response <= 1 and (response < judged["smallest_effect"]) <= (judged["verdict"] != "shown absent")
    assert Run.open(finished).info["smallest_effects"]["ssim"] == 0.05


def test_guided_backpropagation_recovers_the_image_more_than_the_decision(finished: Path) -> None:
    levels = (
        Run.open(finished)
        .table("similarity_levels")
        .query("protocol == 'corrected' and measure == 'ssim' and step == 1")
    )
    head = levels[levels["order"] == "top-down"].set_index("method")["mean"]
    assert head["guided-backprop"] > head["grad-cam"] + 0.2  # new logits change it little: Adebayo et al. 2018


def test_every_stage_order_and_criterion_is_there(finished: Path) -> None:
    run = Run.open(finished)
    similarity = run.table("map_similarity")
    assert set(similarity["comparison"]) == {
        "pair",
        "repeatability",
        "reproducibility",
        "randomization",
        "label-randomization",
        "complexity",
    }
    assert set(run.table("faithfulness")["source"]) == {
        *METHODS,
        "random",
        "control/average-mask",
        "localizer/net-1-unet/intrinsic",
        "localizer/net-2-unet/intrinsic",
    }
    assert set(run.table("robustness")["method"]) == set(METHODS)
    forgot = similarity[similarity["comparison"] == "randomization"]
    assert list(dict.fromkeys(forgot[forgot["order"] == "top-down"]["versus"])) == run.info["randomization_stages"]
    assert set(forgot["order"]) == {"top-down", "independent"} and forgot["radiograph"].nunique() == 9
    assert set(run.table("verdicts")["criterion"]) >= {"utility", "randomization", "repeatability", "reproducibility"}
    assert similarity[similarity["comparison"] != "complexity"]["value"].dropna().between(-1, 1).all()


def test_continued_gives_the_same_bytes_and_the_report_shows_it(finished: Path, checkpoints: list[str]) -> None:
    from sightline.report import report

    before = digest(finished)
    for part in sorted((finished / "parts" / "map_similarity" / "randomizing").iterdir())[-2:]:
        shutil.rmtree(part)
    study(checkpoints, finished)
    assert digest(finished) == before
    page = report(Run.open(finished)).read_text()
    assert "Results of the sanity checks" in page and (finished / "figures" / "cascade.svg").exists()


def test_copies_and_strangers_are_no_replicates(checkpoints: list[str], tmp_path: Path) -> None:
    first, _, other, *_ = checkpoints
    with pytest.raises(DataError, match="a network does not repeat itself by being copied"):
        trust(data=DATA, model=first, replicates=(first,), methods=("grad-cam",), out=tmp_path / "a")
    with pytest.raises(DataError, match="name it in --other-architectures"):
        trust(data=DATA, model=first, replicates=(other,), methods=("grad-cam",), out=tmp_path / "b")
    (tmp_path / "films" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "films" / "images" / "a.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match="no model is named"):
        trust(data=f"folder:{tmp_path / 'films'}", out=tmp_path / "c")


def test_cases_are_drawn_by_id_whatever_the_order(toy_data: Dataset) -> None:
    from dataclasses import replace

    chosen = sample_positive_cases(toy_data, ["Edema", "Mass"], 4, seed=0)
    turned = sample_positive_cases(
        replace(toy_data, radiographs=toy_data.radiographs[::-1]), ["Edema", "Mass"], 4, seed=0
    )
    assert [(c.radiograph.id, c.finding) for c in chosen] == [(c.radiograph.id, c.finding) for c in turned]
    assert len({c.radiograph.id for c in chosen}) == 4
    assert all(c.radiograph.labels[c.finding] == 1 for c in chosen)


def record(name: str, seed: int, data: str = DATA, fraction: float = 1.0, spec: str = "small?side=64") -> Model:
    made = open_model(spec, open_dataset(DATA).findings, seed=seed)
    return replace(made, name=name, training_record=TrainingRecord(data, fraction, seed))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (record("again-1", 1, "nih:elsewhere"), "learned from nih:elsewhere .* differs by its seed alone"),
        (record("again-1", 1, fraction=0.1), r"share 0\.1"),
        (
            replace(record("again-1", 1), training_record=TrainingRecord("phantom:99", 1.0, 0)),
            "with the seed of one, 0",
        ),
    ],
)
def test_replicates_differ_by_their_seed_alone(other: Model, message: str) -> None:
    first = record("one", 0, "phantom:99" if other.training_record and other.training_record.data != DATA else DATA)
    with pytest.raises(DataError, match=message):
        TrustModels(first, (other,)).validate(open_dataset("phantom:8?size=64&split=test"))


def test_what_was_learned_from_is_not_explained() -> None:
    for spec in (DATA, "phantom:8?size=64", "phantom:2?start=3"):  # the same patients under another name
        with pytest.raises(
            DataError, match=r"one learned from phantom:16\?size=64, and .* explain data that was held out"
        ):
            TrustModels(record("one", 0)).validate(open_dataset(spec))
    TrustModels(record("one", 0)).validate(open_dataset("phantom:8?seed=1"))  # others, of the same names
    TrustModels(record("one", 0)).validate(open_dataset("phantom:16?split=test"))
    for elsewhere in ("phantom:16?size=huge", "at the hospital, in 2019?"):
        TrustModels(record("one", 0, elsewhere)).validate(open_dataset(DATA))  # cannot be looked up
    with pytest.raises(DataError, match="has no maps"):
        TrustModels(record("one", 0, "other"), localizers=(record("net-1-small", 1, "other"),)).validate(
            open_dataset(DATA)
        )


def test_an_unknown_smallest_effect_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no measure is called 'sim'"):
        trust(smallest_effects=("sim=0.1",), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_constant_network_is_not_estimable(tmp_path: Path) -> None:
    """A network that always says the same has flat maps: nothing is known of them, and no number says otherwise."""
    findings = open_dataset(DATA).findings
    nets = [open_model("small?side=64", findings, seed=seed) for seed in (0, 1)]
    for number, model in enumerate(nets):
        torch.nn.init.zeros_(model.net.head.weight)  # type: ignore[arg-type, union-attr]
        torch.nn.init.constant_(model.net.head.bias, float(number))  # type: ignore[arg-type, union-attr]
        save_checkpoint(model, tmp_path / f"{number}.pt")
    run = trust(
        data="phantom:6?size=64",
        model=str(tmp_path / "0.pt"),
        replicates=(str(tmp_path / "1.pt"),),
        methods=("grad-cam", "gradient"),
        findings="Cardiomegaly, Pleural Effusion",
        max_radiographs=3,
        protocol="corrected",
        out=tmp_path / "run",
    )
    again = run.table("verdicts").query("criterion == 'repeatability'")
    assert set(again["verdict"]) == {"not estimable"}
    report(run)


def test_a_method_that_compares_with_the_data_is_asked_by_every_test(checkpoints: list[str], tmp_path: Path) -> None:
    names = ("integrated-gradients?baseline=data&nodes=2", "gradient-shap?baseline=data&samples=2")
    run = trust(
        data="phantom:6?size=64",
        model=checkpoints[0],
        methods=names,
        findings="Cardiomegaly, Pleural Effusion",
        max_radiographs=3,
        protocol="corrected",
        explain_batch=2,
        out=tmp_path / "run",
    )
    similarity = run.table("map_similarity").query("comparison == 'randomization'")
    steadiness = run.table("robustness")
    for table, column in ((similarity, "value"), (steadiness, "rank_correlation")):
        known = table[column].notna().groupby(table["method"]).mean()
        assert set(known.index) == set(names) and (known > 0.9).all()


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)
