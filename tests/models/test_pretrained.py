"""Text encoders of Hugging Face, on a tiny one made on the spot: nothing is downloaded."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch

from sightline.errors import DataError, SightlineError
from sightline.models import open_model, pretrained
from sightline.models.pretrained import (
    CONVIRT_TEXT_ENCODER,
    HubTokenizer,
    open_hub_encoder,
    open_saved_encoder,
    save_text_encoder,
)
from sightline.models.torchvision_compat import define_missing_operators
from sightline.studies.initializations import load_backbone

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "there", "is", "small", "left", "effusion", "edema", "."]


def tiny_bert(folder: Path) -> Path:
    """A BERT of three layers and thirteen words, as `save_pretrained` writes it."""
    transformers = pytest.importorskip("transformers")
    define_missing_operators()  # transformers imports torchvision, whatever ran before in this process
    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = transformers.BertTokenizerFast(vocab={word: at for at, word in enumerate(WORDS)})
    tokenizer.save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert")


def test_sentences_are_read_and_padding_changes_nothing(bert: Path) -> None:
    words, text = open_hub_encoder(str(bert), frozen_layers=2)
    text.eval()
    tokens = words.encode(["No effusion.", "There is small left edema."])
    assert tokens[0].tolist() == [2, 5, 10, 12, 3, 0, 0, 0] and tokens.shape == (2, 8)
    with torch.no_grad():
        together, alone = text(tokens), text(words.encode(["No effusion."]))
        inner = text.body(input_ids=tokens[:1, :5]).last_hidden_state.amax(1)
    assert together.shape == (2, text.width) == (2, 16)
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(alone, inner)
    assert HubTokenizer(words.tokenizer, 4).encode(["There is small left edema."]).shape == (1, 4)
    assert pickle.loads(pickle.dumps(words)).encode(["No edema"]).tolist() == words.encode(["No edema"]).tolist()


def test_embeddings_and_the_first_layers_stay_as_they_are(bert: Path) -> None:
    _, text = open_hub_encoder(str(bert), frozen_layers=2)
    learns = {name.split(".")[3] for name, p in text.named_parameters() if p.requires_grad and ".layer." in name}
    stays = {name for name, p in text.named_parameters() if not p.requires_grad}
    assert learns == {"2"} and any("embeddings" in n for n in stays) and any("layer.1." in n for n in stays)
    assert all(p.requires_grad for p in open_hub_encoder(str(bert), frozen_layers=0)[1].parameters())
    with pytest.raises(SightlineError, match="has 3 layers, of which 6 cannot be frozen"):
        open_hub_encoder(str(bert))


def test_what_is_kept_opens_without_the_weights_of_others(bert: Path, tmp_path: Path) -> None:
    words, text = open_hub_encoder(str(bert), frozen_layers=1)
    save_text_encoder(words, text, tmp_path / "text")
    assert not list((tmp_path / "text").glob("*.safetensors"))
    again, blank = open_saved_encoder(tmp_path / "text")
    blank.load_state_dict(text.state_dict())
    tokens = again.encode(["small edema"])
    with torch.no_grad():
        torch.testing.assert_close(blank.eval()(tokens), text.eval()(words.encode(["small edema"])))
    with pytest.raises(DataError, match="has no tokenizer and configuration"):
        open_saved_encoder(tmp_path / "nothing")


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(pretrained, "is_hub_reachable", lambda: False)
    with pytest.raises(
        DataError, match=r"the Hub cannot be reached; download it on a machine that can .hf download emilyalsen"
    ):
        open_hub_encoder(CONVIRT_TEXT_ENCODER)
    with pytest.raises(DataError, match="is no folder; give one that save_pretrained wrote, or a name such as"):
        open_hub_encoder("/nowhere/at/all")


def test_whether_the_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not pretrained.is_hub_reachable()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert pretrained.is_hub_reachable()  # the library has to try


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="does not open: "):
        open_hub_encoder(str(tmp_path))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SightlineError, match=r"pip install 'sightline\[text\]'"):
        open_hub_encoder(CONVIRT_TEXT_ENCODER)


def test_weights_that_a_zoo_publishes_begin_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **k: make(name, **{**k, "pretrained": False}))
    torch.manual_seed(3)
    begun = load_backbone("timm:resnet10t", open_model("timm:resnet10t?side=64", ["Edema"], seed=1))
    torch.manual_seed(3)
    theirs = make("resnet10t").state_dict()
    own = begun.net.state_dict()
    assert all(torch.equal(own[k], theirs[k]) for k in own if not k.startswith("fc."))
    assert own["fc.weight"].shape[0] == 1


@pytest.mark.parametrize("spec", ["timm:resnet10t", "torchvision:resnet18"])
def test_weights_out_of_reach_are_no_reason_to_begin_at_random(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    def gone(*given: object, **named: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", gone)
    monkeypatch.setattr(torchvision.models, "get_model", gone)
    with pytest.raises(DataError, match=r"cannot be downloaded .OSError.; download them on a machine with a network"):
        pretrained.download_weights(spec)
