"""Memory that a job has freed stays its own, for the next step asks for as much again."""

import ctypes

# of glibc's malloc.h; mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """False where the C library is none of GNU's, and nothing changes.

    A step of training makes and drops some hundred tensors of megabytes. Given back to the system,
    each of their pages is cleared and mapped anew in the next step: a tenth of the time with
    labels. The price is what lies between the pieces in use: with the defaults pre-training takes
    1.0 GB at most instead of 0.8, labels as much as before.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = {
        _MMAP_THRESHOLD: 32 * _MIB,  # the most that older versions take
        _TRIM_THRESHOLD: 2**31 - 1,
        _TOP_PAD: 64 * _MIB,
    }
    return all([mallopt(option, value) for option, value in wanted.items()])
