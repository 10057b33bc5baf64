"""Keep freed memory in the process: the tensors of one pass have the sizes of the pass before."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h."""


def disable_malloc_trim() -> bool:
    """Have the C library keep freed memory for the next tensor, for this process; return True where that is possible.

    A quarter of the processor time of a gradient otherwise goes into pages that were just given back. glibc only.
    """
    maximum = 2**31 - 1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(parameter, maximum) == 1 for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
