"""Contrastive pre-training, and what fine-tuning makes of it: what learns, when, and on which patients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import sightline as sl
from sightline.core import Dataset, Radiograph
from sightline.data.reports import Report
from sightline.errors import DataError, SightlineError
from sightline.metrics.retrieval import precision_at_k
from sightline.models import open_model, state_hash
from sightline.models.convirt import contrastive_loss
from sightline.models.pretrained import open_hub_encoder
from sightline.models.text_encoder import TextEncoder, Vocabulary
from sightline.models.weight_randomization import find_blocks
from sightline.runs.run import Run
from sightline.studies.localization import localization
from sightline.studies.trust import trust
from sightline.training.classifier import ClassifierTrainer
from sightline.training.config import TrainingConfig
from sightline.training.contrastive import CONTRASTIVE_CONFIG, ContrastiveTrainer, pretrain
from sightline.training.contrastive_pairs import PairWith
from sightline.training.fit import fit
from sightline.training.schedule import param_groups
from sightline.training.split import order_stratified, split_by_patient

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from test_pretrained import tiny_bert

DATA = "phantom:40?size=64"
BRIEF = replace(CONTRASTIVE_CONFIG, epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return sl.open_dataset(DATA)


def small(data: Dataset) -> sl.Model:
    return open_model("small?side=64&width=8", data.findings)


@pytest.mark.parametrize("block", [3, 7, 100])
def test_the_loss_is_that_of_its_definition_whatever_the_blocks(block: int) -> None:
    v, u = (F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=1).requires_grad_() for _ in range(2))
    sims = v @ u.T / 0.1
    wanted = 0.75 * -sims.log_softmax(1).diagonal().mean() + 0.25 * -sims.log_softmax(0).diagonal().mean()
    ours = contrastive_loss(v, u, block_rows=block)
    torch.testing.assert_close(ours, wanted)
    for a, b in zip(torch.autograd.grad(ours, (v, u)), torch.autograd.grad(wanted, (v, u)), strict=True):
        torch.testing.assert_close(a, b)
    parts = [contrastive_loss(v, u, first_row=s, n_rows=n) * n for s, n in ((0, 3), (3, 4))]
    torch.testing.assert_close(sum(parts) / 7, wanted)


def test_no_more_than_a_block_of_similarities_is_held() -> None:
    """Of 2048 pairs, 16 MB of similarities in all: in blocks, the graph keeps none of them."""
    v, u = (F.normalize(torch.randn(2048, 16), dim=1).requires_grad_() for _ in range(2))
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        loss = contrastive_loss(v, u, block_rows=128)
    assert max(held) <= 2048 * 16 and bool(torch.isfinite(loss))


def test_sentences_become_numbers_and_padding_changes_nothing() -> None:
    vocabulary = Vocabulary.from_sentences(
        ["No effusion.", "No pneumothorax.", "No effusion seen 2.5 cm"], min_count=1, max_length=6
    )
    assert vocabulary.words[0] == "no" and vocabulary.words[1] == "effusion" and "2.5" in vocabulary.words
    assert vocabulary.encode(["gibberish", ""]).tolist() == [[1, 0, 0, 0, 0, 0]] * 2
    torch.manual_seed(0)
    short, long = TextEncoder(len(vocabulary), 6).eval(), TextEncoder(len(vocabulary), 6).eval()
    long.load_state_dict(short.state_dict())
    tokens = vocabulary.encode(["no effusion"])
    with torch.no_grad():
        torch.testing.assert_close(short(tokens), long(torch.cat([tokens, tokens])[:1]))
        assert not torch.allclose(short(tokens), short(vocabulary.encode(["effusion no"])))  # places count


def test_precision_of_retrieval_beside_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 8))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    alike = rng.random((6, 40)) < 0.3
    ours = precision_at_k(gallery[:6], gallery, alike, (5, 10))
    near = NearestNeighbors(metric="cosine").fit(gallery).kneighbors(gallery[:6], 10, return_distance=False)
    np.testing.assert_allclose(ours[:, 1], [alike[q][near[q]].mean() for q in range(6)])
    assert np.isnan(precision_at_k(gallery[:1], gallery, np.zeros((1, 40), bool))).all()
    assert np.isnan(precision_at_k(gallery[:1], gallery, alike[:1])[0, 2])  # fewer than fifty there


@pytest.mark.parametrize("by", ["reports", "images"])
def test_a_killed_pre_training_ends_with_the_same_weights(
    data: Dataset, tmp_path: Path, by: PairWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(BRIEF, epochs=3, seed=1)
    whole = pretrain(small(data), data, tmp_path / "whole", recipe, pair_with=by, validation_fraction=0.2)
    history = Run.open(tmp_path / "whole").info["history"]
    assert len(history) == 3 and all(np.isfinite(h["loss"]) and np.isfinite(h["val_loss"]) for h in history)
    assert ("text-at-5" in history[0]) == (by == "reports")
    step, calls = ContrastiveTrainer.step, []

    def stop(trainer: ContrastiveTrainer, batch: tuple[torch.Tensor, torch.Tensor], share_done: float) -> float:
        calls.append(1)
        if len(calls) > 5:  # in the second epoch
            raise KeyboardInterrupt
        return step(trainer, batch, share_done)

    monkeypatch.setattr(ContrastiveTrainer, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(small(data), data, tmp_path / "part", recipe, pair_with=by, validation_fraction=0.2)
    monkeypatch.setattr(ContrastiveTrainer, "step", step)
    assert len(Run.open(tmp_path / "part").info["history"]) == 1
    again = pretrain(small(data), data, tmp_path / "part", recipe, pair_with=by, validation_fraction=0.2)
    assert state_hash(again.net) == state_hash(whole.net) != state_hash(small(data).net)
    assert whole.training_record is None  # nothing was learned of any finding: maps of it are controls
    opened = open_model(str(tmp_path / "whole" / "best.pt"))
    assert opened.training_record is None and state_hash(opened.net) == state_hash(whole.net)


def with_reports(data: Dataset, reports: Callable[[str], Report | None]) -> Dataset:
    return replace(data, reports=reports, spec=f"{data.spec}, other reports")


def test_reports_that_teach_nothing_are_counted_and_left_out(data: Dataset, tmp_path: Path) -> None:
    def told(radiograph: str) -> Report | None:
        number = int(radiograph[-6:])
        if number % 8 == 1:
            return None
        if number % 8 == 2:
            return Report.from_text("s", "FINDINGS:\n\nIMPRESSION:\n")
        if number % 8 == 3:
            return Report.from_text(
                "s", "FINDINGS: Herz normal groß, kein Erguss, Zwerchfelle glatt begrenzt beidseits."
            )
        if number % 8 == 4:
            raise DataError("damaged")
        assert data.reports is not None
        found: Report = data.reports(radiograph)
        return found

    pretrain(
        small(data), with_reports(data, told), tmp_path / "run", replace(BRIEF, batch_size=4), validation_fraction=0.2
    )
    info = Run.open(tmp_path / "run").info
    kept = sum(info["radiographs"])
    assert info["reports"]["usable"] == kept and all(n > 0 for n in info["reports"].values())


def test_what_cannot_be_pre_trained(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no reports"):
        pretrain(small(data), replace(data, reports=None), tmp_path / "a")
    with pytest.raises(DataError, match="at least 200 and 2 are needed"):
        pretrain(small(data), data, tmp_path / "b", replace(BRIEF, batch_size=100))
    with pytest.raises(SightlineError, match="no spatial features"):
        pretrain(open_model("unet?side=64&width=4", data.findings), data, tmp_path / "c")
    with pytest.raises(SightlineError, match="allowed: reports, images"):
        pretrain(small(data), data, tmp_path / "d", pair_with="magic")  # type: ignore[arg-type]
    with pytest.raises(SightlineError, match=r"leave out schedule='plateau', max_checkpoints=2"):
        pretrain(small(data), data, tmp_path / "e", replace(BRIEF, schedule="plateau", max_checkpoints=2))


def test_a_folder_of_the_same_options_goes_on(data: Dataset, tmp_path: Path) -> None:
    options = {
        "epochs": 1,
        "batch_size": 8,
        "lr": 1e-3,
        "weight_decay": 1e-6,
        "schedule": "cosine",
        "seed": 0,
        "augment": True,
        "precision": "float32",
        "validation_interval": 1.0,
        "max_checkpoints": 0,
        "selection_findings": [],
        "trainable": "all",
        "head_only_steps": 0,
        "layer_decay": 1.0,
        "patience": 0,
        "pair_with": "images",
        "text_encoder": "scratch",
        "frozen_layers": 6,
        "embedding_dim": 128,
        "data": DATA,
        "validation_fraction": 0.2,
        "split_seed": 0,
        "model": "small",
        "initial": state_hash(small(data).net),
    }
    Run.start(tmp_path / "old", "pretrain", options)
    pretrain(small(data), data, tmp_path / "old", BRIEF, pair_with="images", validation_fraction=0.2)
    assert len(Run.open(tmp_path / "old").info["history"]) == 1


def test_the_head_learns_alone_where_features_stay(data: Dataset, tmp_path: Path) -> None:
    start = small(data)
    done = fit(start, data, tmp_path / "run", TrainingConfig(epochs=2, batch_size=8, trainable="head", lr=0.05))
    moved = {name for name, w in done.net.state_dict().items() if not torch.equal(w, start.net.state_dict()[name])}
    assert moved == {"head.weight", "head.bias"}  # not even the statistics of a norm


def test_layers_learn_more_slowly_the_deeper_they_lie(data: Dataset) -> None:
    m = small(data)
    made = param_groups(m, TrainingConfig(layer_decay=0.5))
    assert [g["scale"] for g in made] == [0.5**i for i in range(len(find_blocks(m)))]
    assert sum(p.numel() for g in made for p in g["params"]) == sum(p.numel() for p in m.net.parameters())
    assert made[0]["head"] and sum(g["head"] for g in made) == 1
    assert len(param_groups(m, TrainingConfig())) == 1


def test_the_head_warms_up_and_a_tired_training_ends(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = small(data)
    done = fit(
        start, data, tmp_path / "warm", TrainingConfig(epochs=1, batch_size=8, head_only_steps=100, augment=False)
    )
    assert not any(torch.equal(a, b) for a, b in zip(start.net.parameters(), done.net.parameters(), strict=True))
    head_only, is_head_only = list[bool](), ClassifierTrainer.is_head_only

    def record(trainer: ClassifierTrainer, share_done: float) -> bool:
        head_only.append(is_head_only(trainer, share_done))
        return head_only[-1]

    monkeypatch.setattr(ClassifierTrainer, "is_head_only", record)
    fit(start, data, tmp_path / "few", TrainingConfig(epochs=2, batch_size=8, head_only_steps=3, augment=False))
    fit(start, data, tmp_path / "many", TrainingConfig(epochs=2, batch_size=8, head_only_steps=100, augment=False))
    half = len(head_only) // 2  # each training's steps, of which no more than half are the head's alone
    assert head_only == [True] * 3 + [False] * (half - 3) + [True] * (half // 2) + [False] * (half - half // 2)
    monkeypatch.setattr(ClassifierTrainer, "is_head_only", is_head_only)
    fit(start, data, tmp_path / "tired", TrainingConfig(epochs=40, batch_size=8, lr=1e-9, patience=2, augment=False))
    assert len(Run.open(tmp_path / "tired").info["history"]) < 40


def films(count: int = 600) -> list[Radiograph]:
    rng = np.random.default_rng(0)
    shares = {"Common": 0.4, "Rare": 0.02}
    drawn = [{f: float(rng.random() < s) for f, s in shares.items()} for _ in range(count)]
    return [Radiograph(f"r{i}", f"p{i // 2}", lambda: np.zeros(1), labels=drawn[i]) for i in range(count)]


def test_shares_are_nested_by_patient_and_hold_every_finding_in_its_share() -> None:
    radiographs = films()
    taken = [set(split_by_patient(radiographs, 0.2, f, 0, ("Common", "Rare")).train.tolist()) for f in (0.1, 0.3, 1.0)]
    assert taken[0] < taken[1] < taken[2]
    val = [split_by_patient(radiographs, 0.2, f, 0, ("Common", "Rare")).val.tolist() for f in (0.1, 1.0)]
    assert val[0] == val[1]  # what is validated by never shrinks with the share
    patients = [{radiographs[i].patient for i in some} for some in taken]
    assert all(len(some) == 2 * len(p) for some, p in zip(taken, patients, strict=True))
    for finding in ("Common", "Rare"):
        share = [np.mean([radiographs[i].labels[finding] for i in some]) for some in taken]
        assert abs(share[0] - share[2]) < 0.35 * share[2], (finding, share)
    plain = split_by_patient(radiographs, 0.2, 1.0, 0).train.tolist()
    assert set(plain) == taken[2]


def test_the_order_of_patients_is_a_permutation_that_does_not_depend_on_their_films() -> None:
    radiographs = films(200)
    patients = sorted({r.patient for r in radiographs})
    first = order_stratified(patients, radiographs, ("Common", "Rare"))
    assert sorted(first) == patients and first == order_stratified(patients, radiographs[::-1], ("Common", "Rare"))


def test_a_share_without_a_case_is_refused() -> None:
    radiographs = [replace(r, labels={"Once": float(i == 599)}) for i, r in enumerate(films())]
    with pytest.raises(DataError, match=r"1\.00% of the training patients have no case of 'Once', of which the whole"):
        for seed in range(3):
            split_by_patient(radiographs, 0.0, 0.01, seed, ("Once",))


def test_a_text_encoder_of_hugging_face_reads_the_reports(data: Dataset, tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path / "bert")
    run = tmp_path / "run"
    pretrain(
        small(data),
        data,
        run,
        BRIEF,
        validation_fraction=0.2,
        text_encoder=str(bert),
        frozen_layers=2,
        embedding_dim=32,
    )
    content = torch.load(run / "joint.pt", weights_only=True)
    assert content["text"]["kind"] == "hub" and content["state"]["text_projection.2.weight"].shape[0] == 32
    start = open_hub_encoder(str(bert), 2)[1].state_dict()
    same = {k: torch.equal(w, content["state"][f"text_encoder.{k}"]) for k, w in start.items()}
    assert all(v for k, v in same.items() if ".embeddings." in k or "layer.0." in k or "layer.1." in k)
    assert not any(v for k, v in same.items() if "layer.2." in k and "weight" in k)
    opened = open_model(f"contrastive:{run / 'joint.pt'}")
    assert opened.findings == data.findings and opened.training_record is not None
    assert opened.training_record.data == DATA and opened.training_record.derived == ("reports without labels",)
    with pytest.raises(SightlineError, match="pairs of images need no text encoder"):
        pretrain(small(data), data, tmp_path / "x", pair_with="images", text_encoder=str(bert))


def test_the_share_of_waiting_for_data_is_recorded(data: Dataset, tmp_path: Path) -> None:
    pretrain(small(data), data, tmp_path / "run", replace(BRIEF, batch_size=4), validation_fraction=0.2)
    wait = Run.open(tmp_path / "run").info["data_wait"]
    assert 0 <= wait["share"] < 1 and wait["seconds"] > 0


@pytest.mark.parametrize("study", ["trust", "localization"])
def test_every_other_study_takes_what_was_pre_trained(data: Dataset, tmp_path: Path, study: str) -> None:
    pretrain(small(data), data, tmp_path / "run", BRIEF, validation_fraction=0.2)
    films = "phantom:8?start=500&size=64"
    joint = f"contrastive:{tmp_path / 'run' / 'joint.pt'}"
    if study == "localization":
        run = localization(data=films, model=(joint,), methods=("image-text", "grad-cam"), out=tmp_path / "out")
        assert {"contrastive/image-text", "contrastive/grad-cam"} <= set(run.table("scores")["source"])
    else:
        run = trust(
            data=films,
            model=joint,
            methods=("image-text", "edges"),
            max_radiographs=4,
            findings="Lung Opacity",
            out=tmp_path / "out",
        )
        assert "contrastive/image-text" in set(run.table("scores")["source"])
