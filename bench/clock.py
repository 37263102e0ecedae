"""The one module that reads clocks; everything else is given times.

All times are CLOCK_MONOTONIC in nanoseconds: the same clock for every process of one host, never stepped.
"""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime

now_ns = time.perf_counter_ns
"""CLOCK_MONOTONIC on Linux (CPython documents perf_counter as system-wide there); 35 ns a call from Python."""

cpu_ns = time.process_time_ns
"""CPU time of this process, all threads, user and system."""

_PR_SET_TIMERSLACK = 29


def sleep_until(deadline_ns: int) -> None:
    """Sleep until the monotonic time ``deadline_ns``; returns at once if it has passed. Overshoots by 20-80 us."""
    left = deadline_ns - now_ns()
    if left > 0:
        time.sleep(left / 1e9)


def sharpen_sleep() -> bool:
    """Let this process's sleeps overshoot by microseconds, not the kernel's default 50 us (prctl PR_SET_TIMERSLACK)."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0) == 0)


def cpu_of_process_ns(pid: int) -> int:
    """CPU time of another process, ns, all its threads (also ended ones); ProcessLookupError when it is gone.

    The clock id is the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED): include/linux/posix-timers.h.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(pid) from error


def epoch_s(monotonic_ns: int) -> float:
    """A monotonic time of this host as seconds since 1970, by what both clocks say now: for logs that people read."""
    return (time.time_ns() - now_ns() + monotonic_ns) / 1e9


def monotonic_ns(epoch_ns: int) -> int:
    """The inverse, of ns since 1970: as wrong as the wall clock was set since then."""
    return epoch_ns - time.time_ns() + now_ns()


def utc_now() -> str:
    """Wall-clock time, ISO 8601 with milliseconds and Z: for people, never for a difference."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
