"""The pre-training study: every beginning is trained alike, and the defects of an earlier comparison cannot happen."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline._cli import app
from sightline._cli.narrate import write_narrative
from sightline.errors import DataError
from sightline.metrics.classification import auroc
from sightline.models import open_model, state_hash
from sightline.models.checkpoint import save_checkpoint
from sightline.report import report
from sightline.report.run_view import RunView
from sightline.runs.run import Run
from sightline.studies import initializations
from sightline.studies.initializations import RANDOM_INIT, load_backbone, recalibrate_batch_norm
from sightline.studies.pretraining import TrainingCell, pretraining
from sightline.training.split import split_by_patient
from viewing import can_be_looked_at

DATA, TEST = "phantom:60?start=1000&size=48", "phantom:24?size=48"
SMALL = {
    "train_data": DATA,
    "data": TEST,
    "arch": "small?side=48&width=8",
    "fractions": (0.3, 1.0),
    "repeats": 2,
    "epochs": 1,
    "train_batch": 8,
    "learning_modes": ("all", "head", "layers"),
    "methods": ("gradient", "grad-cam"),
    "max_radiographs": 8,
    "findings": "Lung Opacity,Cardiomegaly,Enlarged Cardiomediastinum",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretraining") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            initializations, "PRETRAINING_CONFIG", replace(initializations.PRETRAINING_CONFIG, epochs=1, batch_size=8)
        )
        pretraining(**SMALL, out=out)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return report(Run.open(finished)).read_text("utf-8")


def test_every_beginning_is_trained_on_the_same_labels(finished: Path) -> None:
    """Defect (a) of the earlier comparison: columns that were never fine-tuned."""
    run = Run.open(finished)
    assert run.info["initializations"] == [RANDOM_INIT, "reports", "images"]
    models = {m["name"]: m["training"] for m in run.info["models"]}
    assert len(models) == 3 * 3 * 2 * 2 and all(record is not None for record in models.values())
    for init in ("reports", "images"):
        for learn in ("all", "head", "layers"):
            for fraction in ("0.3", "1"):
                mine, base = (models[f"{i}-{learn}-{fraction}-0"] for i in (init, RANDOM_INIT))
                assert {k: mine[k] for k in ("data", "fraction", "seed")} == {
                    k: base[k] for k in ("data", "fraction", "seed")
                }
                assert mine["weights_hash"] != base["weights_hash"]


def test_maps_are_of_the_finding_they_are_scored_for_and_findings_have_their_own_names(finished: Path) -> None:
    """Defects (b) and (c): each column explained the class it liked best, under names that were shifted by one."""
    run, data = Run.open(finished), sl.open_dataset(TEST)
    scores = run.table("scores", ["source", "radiograph", "finding", "value"])
    labels = {r.id: r.labels for r in data.radiographs}
    assert all(labels[i][f] == 1 for i, f in zip(scores["radiograph"], scores["finding"], strict=True))
    sources = [s for s in run.sources if "/" in s and s.split("/")[0] in {m["name"] for m in run.info["models"]}]
    for source in sources:
        own = scores[scores["source"] == source]
        base = scores[scores["source"] == f"{RANDOM_INIT}{source[source.index('-') :]}"]
        assert set(zip(own["radiograph"], own["finding"], strict=True)) == set(
            zip(base["radiograph"], base["finding"], strict=True)
        )


def test_frontal_films_and_several_of_each_finding_are_shown(finished: Path) -> None:
    """Defect (d): one image a row, one of them lateral."""
    run, data = Run.open(finished), sl.open_dataset(TEST)
    views = {r.id: r.view for r in data.radiographs}
    counts = run.table("estimates")
    assert counts[counts["finding"] == "Lung Opacity"]["n"].max() > 1
    assert {views[i] for i in run.table("scores")["radiograph"]} == {"frontal"}


def test_the_test_films_never_shrink_and_belong_to_other_patients(finished: Path) -> None:
    """Defects (f) and (g): the share was taken before the split, and 117 images had to do."""
    table = Run.open(finished).table("predictions")
    assert set(table.groupby("model")["radiograph"].nunique()) == {24}
    trained = {r.patient for r in sl.open_dataset(DATA).radiographs}
    assert not trained & set(table["patient"])


def test_shares_of_labels_are_nested_and_the_same_for_every_beginning() -> None:
    radiographs = list(sl.open_dataset(DATA).radiographs)
    some = [set(split_by_patient(radiographs, 0.15, f, 0, ("Lung Opacity",)).train.tolist()) for f in (0.3, 1.0)]
    assert some[0] < some[1]


def test_numbers_come_from_predictions(finished: Path) -> None:
    """Defect (e): a curve that was drawn from a sentence."""
    run = Run.open(finished)
    table, curve = run.table("predictions"), run.table("learning_curves")
    row = curve[
        (curve["initialization"] == RANDOM_INIT) & (curve["learning_mode"] == "all") & (curve["fraction"] == 1.0)
    ].iloc[0]
    means = []
    for seed in (0, 1):
        part = table[table["model"] == f"{RANDOM_INIT}-all-1-{seed}"]
        each = [auroc(p["probability"].to_numpy(), p["label"].to_numpy()) for _, p in part.groupby("finding")]
        means.append(np.nanmean(each))
    assert row["mean"] == pytest.approx(np.mean(means))
    assert row["seeds"] == 2 and row["minimum"] <= row["mean"] <= row["maximum"]
    assert set(run.table("learning_curve_differences")["versus"]) == {RANDOM_INIT, "gain at 1", "all"}


def test_the_report_shows_curves_tables_and_what_was_published(finished: Path, page: str) -> None:
    for text in ("Effect of the initialization", "Linear evaluation", "Fine-tuning", "Published AUC", "85.9"):
        assert text in page, text
    assert (finished / "figures" / "curves.svg").is_file() and not (finished / "figures" / "accuracy.svg").is_file()


def test_the_same_command_continues(finished: Path) -> None:
    before = (finished / "tables" / "learning_curves.parquet").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            initializations, "PRETRAINING_CONFIG", replace(initializations.PRETRAINING_CONFIG, epochs=1, batch_size=8)
        )
        pretraining(**SMALL, out=finished)  # type: ignore[arg-type]
    assert (finished / "tables" / "learning_curves.parquet").read_bytes() == before


def test_beginnings_from_checkpoints_keep_the_body_and_not_the_head(tmp_path: Path) -> None:
    other = open_model("small?side=48&width=8", ["Edema", "Fracture", "Pneumonia"], seed=5)
    save_checkpoint(other, tmp_path / "body.pt")
    blank = open_model("small?side=48&width=8", ["Edema", "Fracture"], seed=0)
    begun = load_backbone(str(tmp_path / "body.pt"), blank)
    own, given = begun.net.state_dict(), other.net.state_dict()
    assert all((own[k] == given[k]).all() for k in own if not k.startswith("head."))
    assert state_hash(begun.net) != state_hash(blank.net) and own["head.weight"].shape[0] == 2
    assert (own["head.weight"] == blank.net.state_dict()["head.weight"]).all()
    wide = open_model("small?side=48&width=12", ["Edema"], seed=0)
    with pytest.raises(DataError, match="initial weights are of the same architecture"):
        load_backbone(str(tmp_path / "body.pt"), wide)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data": DATA}, r"the networks learned from .* such as patient"),
        ({"fractions": (0.0,)}, "allowed: above 0 up to 1"),
        ({"repeats": 0}, "from 1"),
        ({"initializations": ("nonsense",)}, "is not NAME=CHECKPOINT"),
        ({"initializations": ("random=x.pt",)}, "is taken"),
        ({"fractions": (0.001,)}, "have no case of"),
    ],
)
def test_grids_that_cannot_be(tmp_path: Path, other: dict[str, object], said: str) -> None:
    start = open_model("small?side=48&width=8", sl.open_dataset(DATA).findings, seed=3)
    save_checkpoint(start, tmp_path / "x.pt")
    named = {**SMALL, "initializations": (f"mine={tmp_path / 'x.pt'}",), "methods": (), **other}
    with pytest.raises(DataError, match=said):
        pretraining(**named, out=tmp_path / "run")  # type: ignore[arg-type]


def test_every_module_that_a_command_names_is_there() -> None:
    """Defect (h): the entry script imported modules that were not in the repository."""
    paths = [path for commands in app._COMMANDS.values() for path, _ in commands.values()]
    named = {(f"sightline.{module}", function) for module, _, function in (path.partition(":") for path in paths)}
    assert ("sightline._cli.train", "train_contrastive") in named
    for module, function in sorted(named):
        assert hasattr(importlib.import_module(module), function), (module, function)


def test_no_column_is_a_network_that_was_never_trained(finished: Path) -> None:
    """Defect (a) again, in the report: whatever was not trained is called so, and no cell of the grid is."""
    run = Run.open(finished)
    view = RunView.from_run(run)
    cells = {row["model"] for row in run.info["explained_models"]}
    assert len(cells) == 3 * 2 and not cells & set(view.untrained_models)
    bare = open_model(str(finished / "training" / "pretraining-reports" / "best.pt"))
    assert (
        bare.training_record is None
    )  # pre-trained, its head at random: wherever it is compared as it is, it is a control


def test_cells_are_named_by_what_they_are() -> None:
    assert TrainingCell("reports", "all", 0.01, 3).name == "reports-all-0.01-3"


def test_norms_of_the_network_at_random_are_settled_on_films_without_labels() -> None:
    data = sl.open_dataset("phantom:12?start=1000&size=48")
    blank = open_model("small?side=48&width=8", data.findings, seed=0)
    made = recalibrate_batch_norm(blank, data)
    own, given = blank.net.state_dict(), made.net.state_dict()
    moved = {k for k in own if not (own[k] == given[k]).all()}
    assert moved and all("running" in k or "num_batches" in k for k in moved)
    x = np.stack([blank.prepare(r.read())[0].numpy() for r in data.radiographs])
    with torch.no_grad():
        features = made.net.stem[:2](torch.from_numpy(x))  # what the first norm gives
    mean, deviation = features.mean((0, 2, 3)), features.std((0, 2, 3))
    assert float(mean.abs().max()) < 0.35 and float((deviation - 1).abs().max()) < 0.35
    assert all(m.momentum == 0.1 for m in made.net.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_the_maps_are_read_in_words_and_the_words_are_checked(
    finished: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.open(finished)
    assert (finished / "narrative.md").read_text("utf-8").count("Recommendations") == 1
    facts, claims = run.table("map_measurement_means"), run.table("narrative_claims")
    assert set(facts["model"]) == {RANDOM_INIT, "reports", "images"} and "focus" in set(facts["measure"])
    assert not len(claims) or set(claims["verdict"]) == {"supported"}
    assert "minus random" in page and "Concentration of the maps" in page
    assert (finished / "figures" / "panel.png").stat().st_size > 10_000
    write_narrative(finished)
    assert "Perspectives" in capsys.readouterr().out


def test_layers_that_learn_more_slowly_are_a_condition_of_their_own(finished: Path, page: str) -> None:
    """The recommendation of the earlier comparison: the same beginning, share and seed, only the rates differ."""
    run = Run.open(finished)
    options = {how: Run.open(finished / "training" / f"reports-{how}-1-0").info["options"] for how in ("all", "layers")}
    differ = {k for k in options["all"] if options["all"][k] != options["layers"][k]}
    assert differ == {"layer_decay"} and options["layers"]["layer_decay"] == 0.6
    gap = run.table("learning_curve_differences").query("versus == 'all'")
    assert set(gap["learning_mode"]) == {"layers"} and set(gap["initialization"]) == {RANDOM_INIT, "reports", "images"}
    curve = run.table("learning_curves").set_index(["initialization", "learning_mode", "fraction"])["mean"]
    row = gap[(gap["initialization"] == "reports") & (gap["fraction"] == 1.0)].iloc[0]
    assert row["mean"] == pytest.approx(curve["reports", "layers", 1.0] - curve["reports", "all", 1.0])
    assert "Fine-tuning, lower learning rate in lower layers" in page


def test_maps_of_words_stand_beside_those_of_the_classifiers(finished: Path, page: str) -> None:
    """Cross-modal: where the contrastive pair finds the image like the words, without any label."""
    run = Run.open(finished)
    source = "words/image-text"
    assert source in run.sources and source in set(run.table("estimates")["source"])
    against = run.table("differences").query("versus == @source")["source"]
    assert {s.split("-")[0] for s in against} == {RANDOM_INIT, "reports", "images"}
    table = run.table("text_map_agreement")
    assert set(table["model"]) == {
        f"{i}/{m}" for i in (RANDOM_INIT, "reports", "images") for m in ("gradient", "grad-cam")
    }
    assert table["mean"].between(-1, 1).all() and (table["low"] <= table["high"]).all()
    assert "map of the image-text model" in page.replace("\n", " ") and "reports, as text" in page


def test_a_run_without_facts_or_panel_has_nothing_to_narrate(tmp_path: Path) -> None:
    with pytest.raises(sl.SightlineError):
        write_narrative(tmp_path)


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)
