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
from sightline.models.text_encoder import masked_max

CONVIRT_TEXT_ENCODER = "emilyalsentzer/Bio_ClinicalBERT"
"""Of ConVIRT (Alsentzer et al. 2019, 10.18653/v1/W19-1909, MIT license); trained on the notes of MIMIC-III."""
FROZEN_LAYERS = 6
"""First layers that stay as they are, with the embeddings below them (Zhang et al. 2020, arXiv:2010.00747)."""
MAX_LENGTH = 64
"""Pieces of words of a text that are read."""


@dataclass(frozen=True, slots=True)
class HubTokenizer:
    """A tokenizer of Hugging Face; it can be sent to another process."""

    tokenizer: Any
    max_length: int = MAX_LENGTH

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """int64 (n, L), L of the longest, at most `length`."""
        found = self.tokenizer(
            list(sentences), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        tokens: Tensor = found["input_ids"]
        return tokens

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(str(folder))


class HubTextEncoder(nn.Module):
    """int64 (N, L) of a `HubTokenizer` -> float32 (N, width): largest value of each channel over the pieces.

    body: an encoder of `transformers`; pad: its padding; frozen: layers from the first that stay as they are.
    """

    def __init__(self, body: nn.Module, padding_id: int, frozen_layers: int = FROZEN_LAYERS) -> None:
        super().__init__()
        self.body, self.padding_id = body, padding_id
        self.width = int(body.config.hidden_size)  # type: ignore[union-attr,arg-type]
        for module in _lowest_layers(body, frozen_layers):
            module.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        empty = tokens == self.padding_id
        y = self.body(input_ids=tokens, attention_mask=(~empty).long()).last_hidden_state  # (N, L, width)
        return masked_max(y, empty)


def _lowest_layers(body: nn.Module, n_layers: int) -> list[nn.Module]:
    """Embeddings and the first `frozen` layers. Errors: `SightlineError` for an encoder that is not built of layers."""
    if n_layers == 0:
        return []
    embeddings = getattr(body, "embeddings", None)
    layers = next((m for m in body.modules() if isinstance(m, nn.ModuleList)), None)
    if embeddings is None or layers is None or len(layers) < n_layers:
        has = "no list of layers" if layers is None else f"{len(layers)} layers"
        raise SightlineError(
            f"{type(body).__name__} has {has}, of which {n_layers} cannot stay as they are; freeze fewer"
        )
    return [embeddings, *layers[:n_layers]]


def open_hub_encoder(
    name: str, frozen_layers: int = FROZEN_LAYERS, max_length: int = MAX_LENGTH
) -> tuple[HubTokenizer, HubTextEncoder]:
    """A tokenizer and an encoder with its weights. Nothing is run that comes with them.

    name: 'emilyalsentzer/Bio_ClinicalBERT', or a folder that `save_pretrained` wrote. Errors: `SightlineError` without
    `transformers`, `DataError` for what is neither a folder nor to be had from the Hub.
    """
    transformers = _import_transformers()
    place = _resolve_name(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        body = transformers.AutoModel.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"text={name!r} gives no text encoder: {first}") from error
    if tokenizer.pad_token_id is None:
        raise DataError(f"text={name!r}: its tokenizer has no padding; sentences of one batch differ in length")
    return HubTokenizer(tokenizer, max_length), HubTextEncoder(body.float(), int(tokenizer.pad_token_id), frozen_layers)


def open_saved_encoder(folder: Path, max_length: int = MAX_LENGTH) -> tuple[HubTokenizer, HubTextEncoder]:
    """What `save_text_encoder` wrote, its weights yet to be loaded. Errors: as `open_hub_encoder`."""
    transformers = _import_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no tokenizer and configuration of a text encoder: {error}") from error
    with torch.random.fork_rng(devices=[]):
        body = transformers.AutoModel.from_config(config, trust_remote_code=False)
    return HubTokenizer(tokenizer, max_length), HubTextEncoder(body, int(tokenizer.pad_token_id), 0)


def save_text_encoder(tokenizer: HubTokenizer, encoder: HubTextEncoder, folder: Path) -> None:
    """Tokenizer and configuration, without weights, so that a checkpoint beside them can be opened anywhere."""
    tokenizer.save(folder)
    encoder.body.config.save_pretrained(str(folder))  # type: ignore[union-attr,operator]


def download_weights(spec: str) -> dict[str, Any]:
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


def _resolve_name(name: str) -> str:
    """The name where the Hub can be asked for it, else a folder. Errors: `DataError` where there is neither."""
    if Path(name).is_dir():
        return name
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise DataError(
            f"text={name!r} is no folder; give one that save_pretrained wrote, or a name such as {CONVIRT_TEXT_ENCODER}"
        )
    if is_hub_reachable():
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


def is_hub_reachable() -> bool:
    """Whether the Hub answers; its library would try for a minute. Behind a proxy, only the library can tell."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    hub = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SightlineError(
            "text encoders of Hugging Face need transformers; pip install 'sightline[text]'"
        ) from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers
