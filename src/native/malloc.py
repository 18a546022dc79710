"""Settings of the C library's memory allocator."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
LARGEST = 32 * 2**20  # bytes; glibc's maximum for M_MMAP_THRESHOLD


def keep_freed_memory() -> None:
    """Make glibc keep freed memory; returned to the system, each 4 KiB would cost a page fault in the next step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # missing in other C libraries
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, 2**30)
