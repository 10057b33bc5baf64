"""Image-text models: contrastively trained encoders as a zero-shot classifier, with similarity maps.

Zhang et al. 2020, arXiv:2010.00747 (ConVIRT); Boecking et al. 2022, arXiv:2204.09817 (similarity of positions).
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
from sightline.models.model import Model, wrap
from sightline.models.pretrained import HubTextEncoder, HubTokenizer, open_saved_encoder, save_text_encoder
from sightline.models.text_encoder import TextEncoder, Tokenizer, Vocabulary
from sightline.models.training_record import TrainingRecord
from sightline.models.zoo import models, open_model


class ImageTextClassifier(nn.Module):
    """Zero-shot classifier: similarity to the phrases for a finding minus that to its absence, divided by τ.

    Parameters
    ----------
    image_encoder
        Encoder of images.
    text_embeddings : (F, 2, D) float32
        Unit vectors of the phrases for presence and absence of each finding.
    """

    text_embeddings: Tensor

    def __init__(self, image_encoder: ImageEncoder, text_embeddings: Tensor) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.register_buffer("text_embeddings", text_embeddings)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the image encoder.

        Returns
        -------
        Tensor : (N, F)
            Logits.
        """
        similarity = torch.einsum("nd,fkd->nfk", self.image_encoder(x), self.text_embeddings)
        return (similarity[..., 0] - similarity[..., 1]) / TEMPERATURE

    def patch_embeddings(self, x: Tensor) -> Tensor:
        """Embed each position of the feature map, for the method 'image-text'.

        Parameters
        ----------
        x : (N, C, h, w) float32
            Input of the image encoder.

        Returns
        -------
        Tensor : (N, D, h', w')
            Embeddings, not normalized.
        """
        return self.image_encoder.patch_embeddings(x)


def describe_finding(finding: str) -> tuple[list[str], list[str]]:
    """Write phrases that state the presence and the absence of a finding.

    Parameters
    ----------
    finding
        Canonical name.

    Returns
    -------
    present, absent : list of str
        Phrases by the name and the terms of the finding.

    Examples
    --------
    >>> describe_finding("Pneumothorax")
    (['there is pneumothorax'], ['there is no pneumothorax'])
    """
    terms = [term for term in FINDING_TERMS.get(finding, ()) if " is" not in term]
    names = list(dict.fromkeys([finding.lower(), *terms]))
    return [f"there is {name}" for name in names], [f"there is no {name}" for name in names]


@torch.no_grad()
def embed_findings(encoder: DualEncoder, tokenizer: Tokenizer, findings: tuple[str, ...]) -> Tensor:
    """Embed the phrases for presence and absence of each finding.

    Parameters
    ----------
    encoder
        Encoders of images and sentences.
    tokenizer
        Tokenizer of the text encoder.
    findings
        Canonical names of the F findings.

    Returns
    -------
    Tensor : (F, 2, D) float32
        Unit vectors of the mean direction of the phrases, on the CPU.
    """
    device = next(encoder.parameters()).device
    rows = [
        [
            F.normalize(encoder.encode_text(tokenizer.encode(phrases).to(device)).mean(0), dim=0)
            for phrases in describe_finding(finding)
        ]
        for finding in findings
    ]
    return torch.stack([torch.stack(row) for row in rows]).float().cpu()


def save_dual_encoder(model: Model, encoder: DualEncoder, tokenizer: Tokenizer | None, path: Path) -> None:
    """Write a checkpoint that `contrastive:PATH` opens.

    A tokenizer of Hugging Face is saved in the folder text/ next to it.

    Parameters
    ----------
    model
        Classifier whose body is the image encoder, with the record of its pre-training.
    encoder
        Encoders to save.
    tokenizer
        Tokenizer of the text encoder; None without one.
    path
        File to write.
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
    """Open a contrastively trained pair of encoders as a zero-shot classifier, trained without labels.

    The method 'image-text' maps the similarity of each position to the phrases for a finding.
    """
    content = load_safely(Path(path))
    if content.get("format") != PAIR_FORMAT:
        raise DataError(f"{path} has no pair of encoders; give the joint.pt that `train contrastive` wrote")
    if content["text"]["kind"] == "images":
        raise DataError(
            f"{path} was pre-trained with images alone, so it cannot classify by name; pre-train with reports"
        )
    names = tuple(canonical_name(f) for f in findings or content["findings"])
    blank = open_model(content["arch"], content["findings"])
    tokenizer, text_encoder = _load_text_encoder(content, Path(path))
    assert blank.feature_layer is not None
    embedding_dim = int(content["state"]["image_encoder.projection.2.weight"].shape[0])
    image_encoder = ImageEncoder(blank.net, blank.feature_layer, embedding_dim)
    encoder = DualEncoder(image_encoder, text_encoder, embedding_dim)
    encoder.load_state_dict(content["state"])
    encoder.eval()
    net = ImageTextClassifier(encoder.image_encoder, embed_findings(encoder, tokenizer, names))
    record = content["training_record"]
    return wrap(
        net,
        names,
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
        vocabulary = Vocabulary(tuple(text["words"]), text["length"])
        return vocabulary, TextEncoder(len(vocabulary), vocabulary.max_length)
    return open_saved_encoder(path.parent / "text", text["length"])
