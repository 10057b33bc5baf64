"""Memory that is freed stays at hand: tensors of one pass have the sizes of the last."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h."""


def disable_malloc_trim() -> bool:
    """Have the C library keep what is freed for the next tensor of the size, instead of handing it back each time.

    A quarter of the processor time of a gradient goes into pages that were just given back. For the process; glibc
    only. Returns whether it took.
    """
    most = 2**31 - 1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(parameter, most) == 1 for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
