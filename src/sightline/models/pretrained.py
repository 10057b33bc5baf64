"""What others published, where it can be reached: text encoders of Hugging Face, and weights of the zoos.

Both are other people's, under their own licenses; Sightline ships none and runs none of their code.
"""

from __future__ import annotations

import os
import re
import socket
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import DataError, SightlineError
from sightline.models.text_encoder import largest

PUBLISHED = "emilyalsentzer/Bio_ClinicalBERT"
"""Of ConVIRT (Alsentzer et al. 2019, 10.18653/v1/W19-1909, MIT license); trained on the notes of MIMIC-III."""
FROZEN = 6
"""First layers that stay as they are, with the embeddings below them (Zhang et al. 2020, arXiv:2010.00747)."""
LENGTH = 64
"""Pieces of words of a text that are read."""


@dataclass(frozen=True, slots=True)
class HubWords:
    """A tokenizer of Hugging Face; it can be sent to another process."""

    tokenizer: Any
    length: int = LENGTH

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """int64 (n, L), L of the longest, at most `length`."""
        found = self.tokenizer(list(sentences), padding=True, truncation=True, max_length=self.length,
                               return_tensors="pt")  # fmt: skip
        tokens: Tensor = found["input_ids"]
        return tokens

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(str(folder))


class HubText(nn.Module):
    """int64 (N, L) of a `HubWords` -> float32 (N, width): largest value of each channel over the pieces.

    body: an encoder of `transformers`; pad: its padding; frozen: layers from the first that stay as they are.
    """

    def __init__(self, body: nn.Module, pad: int, frozen: int = FROZEN) -> None:
        super().__init__()
        self.body, self.pad = body, pad
        self.width = int(body.config.hidden_size)  # type: ignore[union-attr,arg-type]
        for module in _lowest(body, frozen):
            module.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        empty = tokens == self.pad
        y = self.body(input_ids=tokens, attention_mask=(~empty).long()).last_hidden_state  # (N, L, width)
        return largest(y, empty)


def _lowest(body: nn.Module, frozen: int) -> list[nn.Module]:
    """Embeddings and the first `frozen` layers. Errors: `SightlineError` for an encoder that is not built of layers."""
    if frozen == 0:
        return []
    embeddings = getattr(body, "embeddings", None)
    layers = next((m for m in body.modules() if isinstance(m, nn.ModuleList)), None)
    if embeddings is None or layers is None or len(layers) < frozen:
        has = "no list of layers" if layers is None else f"{len(layers)} layers"
        raise SightlineError(
            f"{type(body).__name__} has {has}, of which {frozen} cannot stay as they are; freeze fewer"
        )
    return [embeddings, *layers[:frozen]]


def hub_text(name: str, frozen: int = FROZEN, length: int = LENGTH) -> tuple[HubWords, HubText]:
    """A tokenizer and an encoder with its weights. Nothing is run that comes with them.

    name: 'emilyalsentzer/Bio_ClinicalBERT', or a folder that `save_pretrained` wrote. Errors: `SightlineError` without
    `transformers`, `DataError` for what is neither a folder nor to be had from the Hub.
    """
    transformers = _library()
    place = _place(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        body = transformers.AutoModel.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"text={name!r} gives no text encoder: {first}") from error
    if tokenizer.pad_token_id is None:
        raise DataError(f"text={name!r}: its tokenizer has no padding; sentences of one batch differ in length")
    return HubWords(tokenizer, length), HubText(body.float(), int(tokenizer.pad_token_id), frozen)


def saved_text(folder: Path, length: int = LENGTH) -> tuple[HubWords, HubText]:
    """What `keep_text` wrote, its weights yet to be loaded. Errors: as `hub_text`."""
    transformers = _library()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no tokenizer and configuration of a text encoder: {error}") from error
    with torch.random.fork_rng(devices=[]):
        body = transformers.AutoModel.from_config(config, trust_remote_code=False)
    return HubWords(tokenizer, length), HubText(body, int(tokenizer.pad_token_id), 0)


def keep_text(words: HubWords, text: HubText, folder: Path) -> None:
    """Tokenizer and configuration, without weights, so that a checkpoint beside them can be opened anywhere."""
    words.save(folder)
    text.body.config.save_pretrained(str(folder))  # type: ignore[union-attr,operator]


def fetched(spec: str) -> dict[str, Any]:
    """The weights that the authors of a zoo publish for 'timm:NAME' or 'torchvision:NAME': ImageNet's, as a rule.

    Errors: `DataError` where they cannot be had.
    """
    zoo, _, name = spec.partition(":")
    try:
        if zoo == "timm":
            import timm

            net = timm.create_model(name, pretrained=True)
        else:
            import torchvision

            net = torchvision.models.get_model(name, weights="DEFAULT")
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the weights of {spec!r} cannot be had ({type(error).__name__}); fetch them where there is a network, "
            "torch.save(net.state_dict(), 'weights.pt'), and give the file"
        ) from error
    return dict(net.state_dict())


def _place(name: str) -> str:
    """The name where the Hub can be asked for it, else a folder. Errors: `DataError` where there is neither."""
    if Path(name).is_dir():
        return name
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise DataError(
            f"text={name!r} is no folder; give one that save_pretrained wrote, or a name such as {PUBLISHED}"
        )
    if reachable():
        return name
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise DataError(
            f"text={name!r} is not on this machine, and the Hub cannot be reached; fetch it where it can (hf download "
            f"{name} --local-dir DIR) and give the folder, or leave text as it is: the encoder that is trained on the "
            "spot needs nothing"
        ) from error


def reachable() -> bool:
    """Whether the Hub answers; its library would try for a minute. Behind a proxy, only the library can tell."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    hub = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SightlineError(
            "text encoders of Hugging Face need transformers; pip install 'sightline[text]'"
        ) from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers
