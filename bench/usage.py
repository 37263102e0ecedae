"""What this process used: CPU and memory at the edges of the measured window, garbage collections in it."""

from __future__ import annotations

import ctypes
import gc
import os

from bench.clock import cpu_ns

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_KEPT_B = 256 << 20
_PAGE_B = os.sysconf("SC_PAGE_SIZE")


def rss_b() -> int:
    """Return the resident memory of this process, bytes."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # open() is a third of Path.read_bytes(), and this runs within a trial
        return int(file.read().split()[1]) * _PAGE_B


def peak_b(pid: int | None = None) -> int | None:
    """Return the most memory that a process ever had resident (None: this one), bytes; None where it is gone. VmHWM of proc(5)."""
    try:
        with open(f"/proc/{pid or 'self'}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123  # as above
            found = [line.split()[1] for line in file if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(found[0]) * 1024 if found else None


def collections() -> int:
    """Return how many garbage collections there were since the start."""
    return sum(int(generation["collections"]) for generation in gc.get_stats())


class Meter:
    """CPU and messages between two times, memory at the second; asked on every turn of a loop."""

    def __init__(self) -> None:
        self.cpu_ns: int | None = None
        self.rss_b: int | None = None
        self.collections: int | None = None
        self.messages: int | None = None
        self._edges = [1 << 62, 1 << 62]
        self._at_start = (0, 0, 0)

    def window(self, start_ns: int, end_ns: int) -> None:
        """Measure between these monotonic times."""
        self._edges = [start_ns, end_ns]

    def turn(self, now_ns: int, done: int = 0) -> None:
        """Take what is due to be taken at ``now_ns``: a comparison when nothing is. ``done``: messages up to now.

        The CPU is that of ``messages``, to the message: both are taken at the same two moments, near the edges.
        """
        if not self._edges or now_ns < self._edges[0]:
            return
        self._edges.pop(0)
        if self._edges:
            self._at_start = (cpu_ns(), collections(), done)
        else:
            self.cpu_ns = cpu_ns() - self._at_start[0]
            self.collections = collections() - self._at_start[1]
            self.messages = done - self._at_start[2]
            self.rss_b = rss_b()

    def report(self) -> dict[str, int | None]:
        """Return what was measured, null where the window was not reached."""
        return {"cpu_ns": self.cpu_ns, "rss_b": self.rss_b, "collections": self.collections, "metered": self.messages}


def keep_memory() -> bool:
    """Have the C library keep what it was given back (up to 256 MiB) instead of returning it to the kernel; glibc only.

    Buffers over 128 KiB are mapped anew each time otherwise, and every page of them faults again: 1.8 us each on a virtual
    machine, more than what is done with the 4 KiB. Set in bare loops (bench/overhead/bare) too. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_B) and mallopt(_M_TRIM_THRESHOLD, _KEPT_B))


def quiet_collector() -> None:
    """Collect once, then keep the collector from running in a trial; collections are counted all the same."""
    gc.collect()
    gc.freeze()
    gc.disable()
