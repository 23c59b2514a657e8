"""The C library's memory allocator, told to keep what it has.

With glibc's defaults every training step gives large arrays back to the system and page-faults them
in again; with these settings the same step on two cores took a third to a half of the time less.
One arena, because others are made of 64 MiB pieces: what XLA's threads ask for in them, hundreds of
megabytes a step, would be mapped and unmapped each time, a quarter of the largest network's time.
The settings are read once, when a process starts, so a process that lacks them starts itself anew.
"""

import os
import platform
import sys

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def missing() -> list[str]:
    """Names of the settings that this process was started without; none where they mean nothing."""
    if platform.libc_ver()[0] != "glibc":
        return []
    return [name for name in SETTINGS if name not in os.environ]


def relaunch() -> None:
    """Replace this process by the same command with the settings, if any is missing.

    Values that the user has set are kept. To be called before anything is started or opened.
    """
    if missing():
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], SETTINGS | os.environ)
