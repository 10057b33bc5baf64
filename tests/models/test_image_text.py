"""A contrastive pair as a model: found by words, mapped by words, opened again from its file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from sightline.errors import DataError
from sightline.methods import saliency
from sightline.models import Model, TrainingRecord, open_model, state_hash
from sightline.models.convirt import DualEncoder, ImageEncoder
from sightline.models.image_text import describe_finding, embed_findings, save_dual_encoder
from sightline.models.pretrained import open_hub_encoder
from sightline.models.text_encoder import TextEncoder, Vocabulary

sys.path.insert(0, str(Path(__file__).parent))

from test_pretrained import tiny_bert

FINDINGS = ("Edema", "Pneumothorax", "Cardiomegaly")


def pair(path: Path, text: str = "scratch") -> tuple[Model, DualEncoder]:
    """A pair with weights at random, as pre-training writes it."""
    model = open_model("small?side=48&width=8", FINDINGS, seed=1)
    assert model.feature_layer is not None
    torch.manual_seed(0)
    if text == "scratch":
        words = Vocabulary.from_sentences(p for f in FINDINGS for ways in describe_finding(f) for p in ways * 2)
        net = DualEncoder(
            ImageEncoder(model.net, model.feature_layer, 24), TextEncoder(len(words), words.max_length), 24
        )
    elif text == "images":
        words, net = None, DualEncoder(ImageEncoder(model.net, model.feature_layer, 24), None, 24)
    else:
        words, encoder = open_hub_encoder(text, frozen_layers=1)
        net = DualEncoder(ImageEncoder(model.net, model.feature_layer, 24), encoder, 24)
    record = TrainingRecord("phantom:8", 1.0, 0, 3, derived=("reports without labels",))
    save_dual_encoder(replace(model, training_record=record), net.eval(), words, path)
    return model, net


@pytest.mark.parametrize("text", ["scratch", "hub"])
def test_a_pair_opens_as_a_model_that_is_asked_in_words(tmp_path: Path, text: str) -> None:
    _, net = pair(tmp_path / "joint.pt", "scratch" if text == "scratch" else str(tiny_bert(tmp_path / "bert")))
    opened = open_model(f"contrastive:{tmp_path / 'joint.pt'}")
    assert opened.findings == FINDINGS and opened.training_record is not None and opened.training_record.epochs == 3
    x = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        v, logits = net.image_encoder(x), opened.net.eval()(x)
    texts = opened.net.text_embeddings
    wanted = torch.stack([(v @ texts[i, 0] - v @ texts[i, 1]) / 0.1 for i in range(3)], 1)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(3, 2))
    again = open_model(f"contrastive:{tmp_path / 'joint.pt'}")
    assert state_hash(again.net) == state_hash(opened.net)


def test_any_finding_can_be_named(tmp_path: Path) -> None:
    pair(tmp_path / "joint.pt")
    opened = open_model(f"contrastive:{tmp_path / 'joint.pt'}", ["Pneumothorax", "Scoliosis"])
    assert opened.findings == ("Pneumothorax", "Scoliosis") and opened.net.text_embeddings.shape == (2, 2, 24)


def test_its_maps_are_those_of_words_and_of_gradients(tmp_path: Path) -> None:
    pair(tmp_path / "joint.pt")
    opened = open_model(f"contrastive:{tmp_path / 'joint.pt'}")
    x = torch.randn(2, 1, 48, 48)
    found = saliency(opened, x, ["Edema"], ["image-text", "grad-cam", "gradient"])
    with torch.no_grad():
        patches = F.normalize(opened.net.patch_embeddings(x), dim=1)
    own = opened.net.text_embeddings[0]
    torch.testing.assert_close(found["image-text"][:, 0], torch.einsum("ndhw,d->nhw", patches, own[0] - own[1]))
    assert found["grad-cam"].shape[-1] == 6 and float(found["gradient"].abs().max()) > 0
    leaf = x.clone().requires_grad_()
    opened.net.eval()(leaf)[:, 0].sum().backward()
    torch.testing.assert_close(found["gradient"][:, 0].abs(), leaf.grad[:, 0].abs(), rtol=1e-3, atol=1e-6)


def test_phrases_name_a_finding_as_radiologists_do() -> None:
    there, absent = describe_finding("Enlarged Cardiomediastinum")
    assert "there is widened mediastinum" in there and "there is no widened mediastinum" in absent
    assert describe_finding("Scoliosis") == (["there is scoliosis"], ["there is no scoliosis"])


def test_texts_are_the_mean_direction_of_the_phrases(tmp_path: Path) -> None:
    _, net = pair(tmp_path / "joint.pt")
    words = Vocabulary.from_sentences(p for f in FINDINGS for ways in describe_finding(f) for p in ways * 2)
    with torch.no_grad():
        mean = F.normalize(
            torch.stack([net.encode_text(words.encode([p]))[0] for p in describe_finding("Edema")[1]]).mean(0), dim=0
        )
    torch.testing.assert_close(embed_findings(net, words, ("Edema",))[0, 1], mean)


def test_a_pair_of_another_format_is_refused(tmp_path: Path) -> None:
    pair(tmp_path / "joint.pt")
    content = torch.load(tmp_path / "joint.pt", weights_only=True)
    torch.save({**content, "format": "sightline-pair-1"}, tmp_path / "joint.pt")
    with pytest.raises(DataError, match=r"states format 'sightline-pair-1', .* 'sightline-pair-2'; train it again"):
        open_model(f"contrastive:{tmp_path / 'joint.pt'}")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    model, _ = pair(tmp_path / "joint.pt", "images")
    with pytest.raises(DataError, match="with images alone, so it cannot classify by name"):
        open_model(f"contrastive:{tmp_path / 'joint.pt'}")
    torch.save(model.net.state_dict(), tmp_path / "other.pt")
    with pytest.raises(DataError, match="has no pair of encoders"):
        open_model(f"contrastive:{tmp_path / 'other.pt'}")
