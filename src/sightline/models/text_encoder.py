"""Reports as input of a network: a tokenizer and a small text encoder that is trained on the reports themselves.

Encoders of Hugging Face, by name or from a folder, are in `sightline.models.pretrained`.
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
"""Tokens for padding and for a word that is not in the vocabulary."""


class Tokenizer(Protocol):
    """Conversion of sentences to tokens."""

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Convert sentences to tokens.

        Parameters
        ----------
        sentences
            The n sentences.

        Returns
        -------
        Tensor : (n, L) int64
            Tokens, with the encoder's padding at the end.
        """


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their tokens, which begin at 2; 0 is padding, 1 stands for any other word."""

    words: tuple[str, ...]
    """Lower-case words and numbers."""
    max_length: int = 32
    """Number of words of a sentence that are read."""

    @classmethod
    def from_sentences(
        cls, sentences: Iterable[str], max_words: int = 4000, min_count: int = 2, max_length: int = 32
    ) -> Vocabulary:
        """Create the vocabulary of the most frequent words; of equally frequent ones the alphabet decides.

        Parameters
        ----------
        sentences
            Sentences whose words are counted.
        max_words
            Greatest number of words.
        min_count
            Least number of occurrences of a word.
        max_length
            Number of words of a sentence that are read.

        Returns
        -------
        Vocabulary
            Words by falling frequency.
        """
        counts = Counter(word for sentence in sentences for word in _split_words(sentence))
        ranked = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls(tuple(ranked[:max_words]), max_length)

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Convert sentences to tokens; a sentence without words is one unknown word.

        Parameters
        ----------
        sentences
            The n sentences.

        Returns
        -------
        Tensor : (n, max_length) int64
            Tokens, with padding at the end.

        Examples
        --------
        >>> Vocabulary(("no", "effusion"), max_length=4).encode(["No effusion!", "Edema"]).tolist()
        [[2, 3, 0, 0], [1, 0, 0, 0]]
        """
        tokens = {word: index + 2 for index, word in enumerate(self.words)}
        out = torch.zeros((len(sentences), self.max_length), dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            known = [tokens.get(word, UNKNOWN) for word in _split_words(sentence)][: self.max_length] or [UNKNOWN]
            out[row, : len(known)] = torch.tensor(known)
        return out


def _split_words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+(?:\.\d+)?", sentence.lower())


class TextEncoder(nn.Module):
    """Transformer over the tokens of a `Vocabulary` with maximum pooling, as in ConVIRT.

    Zhang et al. 2020, arXiv:2010.00747.
    """

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
        """Encode sentences.

        Parameters
        ----------
        tokens : (N, L) int64
            Tokens, with padding at the end.

        Returns
        -------
        Tensor : (N, width) float32
            Largest value of each channel over the words.
        """
        is_padding = tokens == PAD
        embedded = self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]]
        return masked_max(self.layers(embedded, src_key_padding_mask=is_padding), is_padding)


def masked_max(hidden: Tensor, is_padding: Tensor) -> Tensor:
    """Take the maximum of each channel over the words.

    Genuine zeros count, which the usual `y * mask` with a test for zero loses.

    Parameters
    ----------
    hidden : (N, L, width)
        Channels of each word.
    is_padding : (N, L) bool
        True for padding.

    Returns
    -------
    Tensor : (N, width)
        Maxima.

    Examples
    --------
    >>> masked_max(torch.tensor([[[-1.0], [0.0], [9.0]]]), torch.tensor([[False, False, True]])).tolist()
    [[0.0]]
    """
    pooled: Tensor = hidden.masked_fill(is_padding[..., None], -torch.inf).amax(1)
    return pooled
