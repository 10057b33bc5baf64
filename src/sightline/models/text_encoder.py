"""Reports as a network reads them: words become numbers, and an encoder reads those.

Two are at hand: a small transformer with a vocabulary made of the reports (nothing is downloaded), and any encoder of
Hugging Face, by name or from a folder (`sightline.models.pretrained`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1


class Tokenizer(Protocol):
    """How sentences become numbers."""

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """int64 (n, L), filled up with the encoder's padding."""


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their numbers, which begin at 2; 0 fills up, 1 stands for any other word."""

    words: tuple[str, ...]
    max_length: int = 32
    """Words of a sentence that are read."""

    @classmethod
    def from_sentences(
        cls, sentences: Iterable[str], max_words: int = 4000, min_count: int = 2, max_length: int = 32
    ) -> Vocabulary:
        """The `most` commonest words that occur at least `fewest` times; of equals the first in the alphabet."""
        counts = Counter(word for sentence in sentences for word in _split_words(sentence))
        ranked = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls(tuple(ranked[:max_words]), max_length)

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """int64 (n, length); a sentence without words is one unknown word.

        >>> Vocabulary(("no", "effusion"), max_length=4).encode(["No effusion!", "Edema"]).tolist()
        [[2, 3, 0, 0], [1, 0, 0, 0]]
        """
        numbers = {word: at + 2 for at, word in enumerate(self.words)}
        out = torch.zeros((len(sentences), self.max_length), dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            known = [numbers.get(word, UNKNOWN) for word in _split_words(sentence)][: self.max_length] or [UNKNOWN]
            out[row, : len(known)] = torch.tensor(known)
        return out


def _split_words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+(?:\.\d+)?", sentence.lower())


class TextEncoder(nn.Module):
    """int64 (N, L) of a `Vocabulary` -> float32 (N, width): a transformer, and the largest value of each channel over
    the words, as ConVIRT pools (Zhang et al. 2020, arXiv:2010.00747)."""

    def __init__(
        self, vocabulary_size: int, max_length: int, width: int = 128, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.width = width
        self.token_embedding = nn.Embedding(vocabulary_size, width, padding_idx=PAD)
        self.position_embedding = nn.Parameter(torch.randn(max_length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        empty = tokens == PAD
        y = self.layers(
            self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]], src_key_padding_mask=empty
        )
        return masked_max(y, empty)


def masked_max(hidden: Tensor, is_padding: Tensor) -> Tensor:
    """(N, L, width) -> (N, width): of each channel over the words; empty: bool (N, L), what only fills up.

    Genuine zeros count, which the usual `y * mask` with a test for zero loses.

    >>> masked_max(torch.tensor([[[-1.0], [0.0], [9.0]]]), torch.tensor([[False, False, True]])).tolist()
    [[0.0]]
    """
    pooled: Tensor = hidden.masked_fill(is_padding[..., None], -torch.inf).amax(1)
    return pooled
