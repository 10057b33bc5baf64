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
from sightline.findings import FINDING_TERMS, canonical_name
from sightline.models.checkpoint import PAIR_FORMAT, checkpoint_content, load_safely, save_atomically
from sightline.models.convirt import TEMPERATURE, DualEncoder, ImageEncoder
from sightline.models.model import Model, TrainingRecord, wrap
from sightline.models.pretrained import HubTextEncoder, HubTokenizer, open_saved_encoder, save_text_encoder
from sightline.models.text_encoder import TextEncoder, Tokenizer, Vocabulary
from sightline.models.zoo import models, open_model


class ImageTextClassifier(nn.Module):
    """float32 (N, C, h, w) -> logits (N, F): likeness to the words for a finding less that to its denial, over τ.

    texts: float32 (F, 2, D), unit vectors of what is there, and of what is not.
    """

    text_embeddings: Tensor

    def __init__(self, image_encoder: ImageEncoder, text_embeddings: Tensor) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.register_buffer("text_embeddings", text_embeddings)

    def forward(self, x: Tensor) -> Tensor:
        likeness = torch.einsum("nd,fkd->nfk", self.image_encoder(x), self.text_embeddings)
        return (likeness[..., 0] - likeness[..., 1]) / TEMPERATURE

    def patch_embeddings(self, x: Tensor) -> Tensor:
        """(N, D, h', w'), for the method 'image-text'."""
        return self.image_encoder.patch_embeddings(x)


def describe_finding(finding: str) -> tuple[list[str], list[str]]:
    """Ways of saying that a finding is there, and that it is not.

    >>> describe_finding("Pneumothorax")
    (['there is pneumothorax'], ['there is no pneumothorax'])
    """
    spoken = [word for word in FINDING_TERMS.get(finding, ()) if " is" not in word]
    names = list(dict.fromkeys([finding.lower(), *spoken]))
    return [f"there is {name}" for name in names], [f"there is no {name}" for name in names]


@torch.no_grad()
def embed_findings(encoder: DualEncoder, tokenizer: Tokenizer, findings: tuple[str, ...]) -> Tensor:
    """float32 (F, 2, D): the mean direction of the phrases for each finding, and of those for its absence."""
    device = next(encoder.parameters()).device
    rows = [
        [
            F.normalize(encoder.encode_text(tokenizer.encode(ways).to(device)).mean(0), dim=0)
            for ways in describe_finding(finding)
        ]
        for finding in findings
    ]
    return torch.stack([torch.stack(row) for row in rows]).float().cpu()


def save_dual_encoder(model: Model, encoder: DualEncoder, tokenizer: Tokenizer | None, path: Path) -> None:
    """Write what `contrastive:PATH` opens. A tokenizer of Hugging Face is kept in the folder text/ beside it.

    model: the classifier whose body `pair` holds, described by a record of its pre-training.
    """
    text: dict[str, Any] = {"kind": "images"}
    if isinstance(tokenizer, Vocabulary):
        text = {"kind": "scratch", "words": list(tokenizer.words), "length": tokenizer.max_length}
    elif isinstance(tokenizer, HubTokenizer):
        assert isinstance(encoder.text_encoder, HubTextEncoder)
        save_text_encoder(tokenizer, encoder.text_encoder, path.parent / "text")
        text = {"kind": "hub", "length": tokenizer.max_length}
    state = {name: tensor.detach().cpu() for name, tensor in encoder.state_dict().items()}
    save_atomically({**checkpoint_content(model), "format": PAIR_FORMAT, "text": text, "state": state}, path)


@models("contrastive", argument="joint.pt of `train contrastive`", source="Zhang et al. 2020, arXiv:2010.00747")
def contrastive(path: str, findings: tuple[str, ...] | None) -> Model:
    """A contrastive pair, asked for findings by name: no labels were seen. Its method 'image-text' maps the words."""
    content = load_safely(Path(path))
    if content.get("format") != PAIR_FORMAT:
        raise DataError(f"{path} holds no pair of encoders; give the joint.pt that `train contrastive` wrote")
    if content["text"]["kind"] == "images":
        raise DataError(f"{path} was pre-trained by images alone, so nothing can be named to it; pre-train by reports")
    wanted = tuple(canonical_name(f) for f in findings or content["findings"])
    blank = open_model(content["arch"], content["findings"])
    words, text = _load_text_encoder(content, Path(path))
    assert blank.feature_layer is not None
    width = int(content["state"]["image_encoder.projection.2.weight"].shape[0])
    pair = DualEncoder(ImageEncoder(blank.net, blank.feature_layer, width), text, width)
    pair.load_state_dict(content["state"])
    pair.eval()
    net = ImageTextClassifier(pair.image_encoder, embed_findings(pair, words, wanted))
    record = content["training"]
    return wrap(
        net,
        wanted,
        content["side"],
        content["resize"],
        channels=content["channels"],
        mean=content["mean"],
        std=content["std"],
        name="contrastive",
        arch=f"contrastive:{path}",
        training_record=TrainingRecord(**record) if record else None,
    )


def _load_text_encoder(content: dict[str, Any], path: Path) -> tuple[Tokenizer, nn.Module]:
    text = content["text"]
    if text["kind"] == "scratch":
        words = Vocabulary(tuple(text["words"]), text["length"])
        return words, TextEncoder(len(words), words.max_length)
    return open_saved_encoder(path.parent / "text", text["length"])
