"""Sequences whose items are made when they are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar, overload

T = TypeVar("T")


class LazySequence(Sequence[T]):
    """Sequence that makes an item when it is asked for, so that a long data set takes no time to open.

    Parameters
    ----------
    length : int
        Number of items.
    make : callable
        Function of an index from 0 to `length` - 1 that returns the item.
    """

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            indices = range(self._length)[index]
            return LazySequence(len(indices), lambda i: self._make(indices[i]))
        return self._make(range(self._length)[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._length))


def concatenate(parts: Sequence[LazySequence[T]]) -> LazySequence[T]:
    """Concatenate sequences without making their items.

    Parameters
    ----------
    parts : sequence of LazySequence
        Sequences in order.

    Returns
    -------
    LazySequence
        All items.

    Examples
    --------
    >>> list(concatenate([LazySequence(2, str), LazySequence(1, hex)]))
    ['0', '1', '0x0']
    """
    ends = list(accumulate(len(part) for part in parts))

    def make(index: int) -> T:
        part = bisect_right(ends, index)
        return parts[part][index - (ends[part - 1] if part else 0)]

    return LazySequence(ends[-1] if ends else 0, make)
