"""A contrastive pair of encoders as a classifier of whatever can be named, and as maps of where an image is like words.

Zhang et al. 2020, arXiv:2010.00747 (ConVIRT); Boecking et al. 2022, arXiv:2204.09817 (the likeness of places).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import DataError
from sightline.findings import SPOKEN, canonical
from sightline.models.checkpoint import PAIR_FORMAT, described, load_safely, save_whole
from sightline.models.convirt import TEMPERATURE, Images, Pair
from sightline.models.model import Model, TrainingRecord, wrap
from sightline.models.pretrained import HubText, HubWords, keep_text, saved_text
from sightline.models.text_encoder import TextEncoder, Vocabulary, Words
from sightline.models.zoo import models, open_model


class Grounded(nn.Module):
    """float32 (N, C, h, w) -> logits (N, F): likeness to the words for a finding less that to its denial, over τ.

    texts: float32 (F, 2, D), unit vectors of what is there, and of what is not.
    """

    texts: Tensor

    def __init__(self, images: Images, texts: Tensor) -> None:
        super().__init__()
        self.images = images
        self.register_buffer("texts", texts)

    def forward(self, x: Tensor) -> Tensor:
        likeness = torch.einsum("nd,fkd->nfk", self.images(x), self.texts)
        return (likeness[..., 0] - likeness[..., 1]) / TEMPERATURE

    def patches(self, x: Tensor) -> Tensor:
        """(N, D, h', w'), for the method 'image-text'."""
        return self.images.patches(x)


def phrases(finding: str) -> tuple[list[str], list[str]]:
    """Ways of saying that a finding is there, and that it is not.

    >>> phrases("Pneumothorax")
    (['there is pneumothorax'], ['there is no pneumothorax'])
    """
    spoken = [word for word in SPOKEN.get(finding, ()) if " is" not in word]
    names = list(dict.fromkeys([finding.lower(), *spoken]))
    return [f"there is {name}" for name in names], [f"there is no {name}" for name in names]


@torch.no_grad()
def texts_of(pair: Pair, words: Words, findings: tuple[str, ...]) -> Tensor:
    """float32 (F, 2, D): the mean direction of the phrases for each finding, and of those for its absence."""
    device = next(pair.parameters()).device
    rows = [[F.normalize(pair.said(words.encode(ways).to(device)).mean(0), dim=0) for ways in phrases(finding)]
            for finding in findings]  # fmt: skip
    return torch.stack([torch.stack(row) for row in rows]).float().cpu()


def save_pair(model: Model, pair: Pair, words: Words | None, path: Path) -> None:
    """Write what `contrastive:PATH` opens. A tokenizer of Hugging Face is kept in the folder text/ beside it.

    model: the classifier whose body `pair` holds, described by a record of its pre-training.
    """
    text: dict[str, Any] = {"kind": "images"}
    if isinstance(words, Vocabulary):
        text = {"kind": "own", "words": list(words.words), "length": words.length}
    elif isinstance(words, HubWords):
        assert isinstance(pair.text, HubText)
        keep_text(words, pair.text, path.parent / "text")
        text = {"kind": "hub", "length": words.length}
    state = {name: tensor.detach().cpu() for name, tensor in pair.state_dict().items()}
    save_whole({**described(model), "format": PAIR_FORMAT, "text": text, "state": state}, path)


@models("contrastive", argument="joint.pt of `train contrastive`", source="Zhang et al. 2020, arXiv:2010.00747")
def contrastive(path: str, findings: tuple[str, ...] | None) -> Model:
    """A contrastive pair, asked for findings by name: no labels were seen. Its method 'image-text' maps the words."""
    content = load_safely(Path(path))
    if content.get("format") != PAIR_FORMAT:
        raise DataError(f"{path} holds no pair of encoders; give the joint.pt that `train contrastive` wrote")
    if content["text"]["kind"] == "images":
        raise DataError(f"{path} was pre-trained by images alone, so nothing can be named to it; pre-train by reports")
    wanted = tuple(canonical(f) for f in findings or content["findings"])
    blank = open_model(content["arch"], content["findings"])
    words, text = _text_of(content, Path(path))
    assert blank.cut is not None
    width = int(content["state"]["images.head.2.weight"].shape[0])
    pair = Pair(Images(blank.net, blank.cut, width), text, width)
    pair.load_state_dict(content["state"])
    pair.eval()
    net = Grounded(pair.images, texts_of(pair, words, wanted))
    record = content["training"]
    return wrap(
        net, wanted, content["side"], content["resize"], channels=content["channels"], mean=content["mean"],
        std=content["std"], name="contrastive", arch=f"contrastive:{path}",
        training=TrainingRecord(**record) if record else None,
    )  # fmt: skip


def _text_of(content: dict[str, Any], path: Path) -> tuple[Words, nn.Module]:
    text = content["text"]
    if text["kind"] == "own":
        words = Vocabulary(tuple(text["words"]), text["length"])
        return words, TextEncoder(len(words), words.length)
    return saved_text(path.parent / "text", text["length"])
