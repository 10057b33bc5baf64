"""Published weights: text encoders of Hugging Face, and pre-trained classifiers of torchvision and timm.

They come under licenses of their own; Sightline ships none of them and runs none of the code that comes with them.
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
from sightline.models.torchvision_compat import define_missing_operators

CONVIRT_TEXT_ENCODER = "emilyalsentzer/Bio_ClinicalBERT"
"""Text encoder of ConVIRT (Alsentzer et al. 2019, 10.18653/v1/W19-1909, MIT license), trained on MIMIC-III notes."""
FROZEN_LAYERS = 6
"""Number of first layers that are not trained, nor are the embeddings (Zhang et al. 2020, arXiv:2010.00747)."""
MAX_LENGTH = 64
"""Number of word pieces of a sentence that are read."""


@dataclass(frozen=True, slots=True)
class HubTokenizer:
    """A tokenizer of Hugging Face, which can be sent to another process."""

    tokenizer: Any
    """Tokenizer of `transformers`."""
    max_length: int = MAX_LENGTH
    """Number of word pieces of a sentence that are read."""

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Convert sentences to tokens.

        Parameters
        ----------
        sentences
            The n sentences.

        Returns
        -------
        Tensor : (n, L) int64
            Tokens, with padding up to the longest sentence; L is at most `max_length`.
        """
        encoded = self.tokenizer(
            list(sentences), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        tokens: Tensor = encoded["input_ids"]
        return tokens

    def save(self, folder: Path) -> None:
        """Write the files of the tokenizer.

        Parameters
        ----------
        folder
            Folder to write to.
        """
        self.tokenizer.save_pretrained(str(folder))


class HubTextEncoder(nn.Module):
    """Encoder of Hugging Face with maximum pooling over the tokens of a `HubTokenizer`.

    Parameters
    ----------
    body
        Encoder of `transformers`.
    padding_id
        Token for padding.
    frozen_layers
        Number of first layers that are not trained.
    """

    def __init__(self, body: nn.Module, padding_id: int, frozen_layers: int = FROZEN_LAYERS) -> None:
        super().__init__()
        self.body, self.padding_id = body, padding_id
        self.width = int(body.config.hidden_size)  # type: ignore[union-attr,arg-type]
        for module in _lowest_layers(body, frozen_layers):
            module.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode sentences.

        Parameters
        ----------
        tokens : (N, L) int64
            Tokens, with padding at the end.

        Returns
        -------
        Tensor : (N, width) float32
            Largest value of each channel over the tokens.
        """
        is_padding = tokens == self.padding_id
        y = self.body(input_ids=tokens, attention_mask=(~is_padding).long()).last_hidden_state  # (N, L, width)
        return masked_max(y, is_padding)


def _lowest_layers(body: nn.Module, n_layers: int) -> list[nn.Module]:
    """Embeddings and the first layers; `SightlineError` for an encoder that is not built of layers."""
    if n_layers == 0:
        return []
    embeddings = getattr(body, "embeddings", None)
    layers = next((m for m in body.modules() if isinstance(m, nn.ModuleList)), None)
    if embeddings is None or layers is None or len(layers) < n_layers:
        has = "no list of layers" if layers is None else f"{len(layers)} layers"
        raise SightlineError(f"{type(body).__name__} has {has}, of which {n_layers} cannot be frozen; freeze fewer")
    return [embeddings, *layers[:n_layers]]


def open_hub_encoder(
    name: str, frozen_layers: int = FROZEN_LAYERS, max_length: int = MAX_LENGTH
) -> tuple[HubTokenizer, HubTextEncoder]:
    """Open a tokenizer and an encoder with its weights; code that comes with them is not run.

    Parameters
    ----------
    name
        Name on the Hugging Face Hub, such as 'emilyalsentzer/Bio_ClinicalBERT', or a folder that `save_pretrained`
        wrote.
    frozen_layers
        Number of first layers that are not trained.
    max_length
        Number of word pieces of a sentence that are read.

    Returns
    -------
    tokenizer : HubTokenizer
    encoder : HubTextEncoder

    Raises
    ------
    SightlineError
        If `transformers` is not installed, or the encoder has too few layers.
    DataError
        If the name is neither a folder nor available from the Hub.
    """
    transformers = _import_transformers()
    source = _resolve_name(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        body = transformers.AutoModel.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"text_encoder={name!r} does not open: {first}") from error
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"text_encoder={name!r}: its tokenizer has no padding, which batches of sentences need; choose another"
        )
    return HubTokenizer(tokenizer, max_length), HubTextEncoder(body.float(), int(tokenizer.pad_token_id), frozen_layers)


def open_saved_encoder(folder: Path, max_length: int = MAX_LENGTH) -> tuple[HubTokenizer, HubTextEncoder]:
    """Open what `save_text_encoder` wrote; the weights are random until they are loaded.

    Parameters
    ----------
    folder
        Folder with the files of a tokenizer and a configuration.
    max_length
        Number of word pieces of a sentence that are read.

    Returns
    -------
    tokenizer : HubTokenizer
    encoder : HubTextEncoder

    Raises
    ------
    SightlineError
        If `transformers` is not installed.
    DataError
        If the folder has no such files.
    """
    transformers = _import_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} has no tokenizer and configuration of a text encoder: {error}") from error
    with torch.random.fork_rng(devices=[]):
        body = transformers.AutoModel.from_config(config, trust_remote_code=False)
    return HubTokenizer(tokenizer, max_length), HubTextEncoder(body, int(tokenizer.pad_token_id), 0)


def save_text_encoder(tokenizer: HubTokenizer, encoder: HubTextEncoder, folder: Path) -> None:
    """Write the tokenizer and the configuration, so that a checkpoint with the weights can be opened anywhere.

    Parameters
    ----------
    tokenizer
        Tokenizer to write.
    encoder
        Encoder whose configuration is written.
    folder
        Folder to write to.
    """
    tokenizer.save(folder)
    encoder.body.config.save_pretrained(str(folder))  # type: ignore[union-attr,operator]


def download_weights(spec: str) -> dict[str, Any]:
    """Download the weights that timm or torchvision publish for an architecture, as a rule trained on ImageNet.

    Parameters
    ----------
    spec
        'timm:NAME' or 'torchvision:NAME'.

    Returns
    -------
    dict
        State dictionary.

    Raises
    ------
    DataError
        If they cannot be downloaded.
    """
    zoo, _, name = spec.partition(":")
    define_missing_operators()
    try:
        if zoo == "timm":
            import timm

            net = timm.create_model(name, pretrained=True)
        else:
            import torchvision

            net = torchvision.models.get_model(name, weights="DEFAULT")
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the weights of {spec!r} cannot be downloaded ({type(error).__name__}); download them on a machine with a "
            "network, torch.save(net.state_dict(), 'weights.pt'), and give the file"
        ) from error
    return dict(net.state_dict())


def _resolve_name(name: str) -> str:
    """Return the name if the Hub can be reached, else a folder on this machine; `DataError` if there is neither."""
    if Path(name).is_dir():
        return name
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise DataError(
            f"text_encoder={name!r} is no folder; give one that save_pretrained wrote, or a name such as "
            f"{CONVIRT_TEXT_ENCODER}"
        )
    if is_hub_reachable():
        return name
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise DataError(
            f"text_encoder={name!r} is not on this machine, and the Hub cannot be reached; download it on a machine "
            f"that can (hf download {name} --local-dir DIR) and give the folder, or leave text_encoder out: the "
            "default one is trained on the reports and needs no download"
        ) from error


def is_hub_reachable() -> bool:
    """Return True if the Hugging Face Hub can be reached, in at most 5 seconds; its library would try for a minute.

    Returns
    -------
    bool
        True also behind a proxy, where only the library can try.
    """
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
