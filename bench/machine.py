"""What the machine did in a trial's measured window: its cores, what was taken from them, the servers at work and those idle.

Two readings of the kernel's counters, one at each edge of the window. Sources: proc(5) for /proc/stat, /proc/loadavg and
/proc/PID/task/TID/stat; the kernel's Documentation/admin-guide/cgroup-v2.rst for cpu.stat. None = cannot be known here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.clock import cpu_ns, cpu_of_process_ns

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Process(Protocol):
    """A node of a server, as far as it is measured (bench.servers.base.Node)."""

    @property
    def name(self) -> str:
        """Its name, such as kafka.1."""

    @property
    def role(self) -> str:
        """What it is, such as broker."""

    @property
    def pid(self) -> int | None:
        """None where it runs elsewhere."""


class Nodes:
    """CPU of a server's processes between two times, of each one's busiest thread too, and their memory."""

    def __init__(self, nodes: Sequence[Process]) -> None:
        self._nodes = nodes
        self._start = [(_cpu(node.pid), _threads(node.pid)) for node in nodes]

    def end(self) -> list[dict[str, Any]]:
        """Return name, role, CPU since the start (ns), that of the busiest thread (ns), memory now (bytes); null where unknown."""
        rows = []
        for node, (before, threads) in zip(self._nodes, self._start, strict=True):
            after = _cpu(node.pid)
            used = None if before is None or after is None else after - before
            busiest = max((cpu - threads.get(tid, 0) for tid, cpu in _threads(node.pid).items()), default=None)
            rows.append({"name": node.name, "role": node.role, "cpu_ns": used, "thread_ns": busiest, "rss_b": _rss_b(node.pid)})
        return rows


class Watch:
    """The machine between two times. ``idle``: pids of this run's processes that have nothing to do in between; of the runner too."""

    def __init__(self, idle: Iterable[int] = (), root: Path = Path("/")) -> None:
        self._root = root
        self._idle = tuple(idle)
        self._cgroup = _cgroup(root)
        self._stat = _stat(root)
        self._throttled = _throttled_ns(self._cgroup)
        self._idle_ns = self._idle_now()

    def _idle_now(self) -> dict[int, int]:
        found = {pid: cpu for pid in self._idle if (cpu := _cpu(pid)) is not None}
        return found | {os.getpid(): cpu_ns()}

    def end(self, window_s: float) -> dict[str, Any]:
        """Return "machine" of trial.json; shares are of the time of all cores, cores of ``window_s``."""
        stat, throttled, idle = _stat(self._root), _throttled_ns(self._cgroup), self._idle_now()
        total = stat["total"] - self._stat["total"]

        def share(name: str) -> float | None:
            return (stat[name] - self._stat[name]) / total if total > 0 else None

        idle_ns = sum(cpu - self._idle_ns[pid] for pid, cpu in idle.items() if pid in self._idle_ns)
        return {
            "cores": os.cpu_count() or 1,
            "busy": share("busy"),
            "steal": share("steal"),
            "throttled_s": None if throttled is None or self._throttled is None else (throttled - self._throttled) / 1e9,
            "load_1m": _load_1m(self._root),
            "idle_servers_cores": idle_ns / (window_s * 1e9),
        }


def _cpu(pid: int | None) -> int | None:
    if pid is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        return cpu_of_process_ns(pid)
    return None


def _threads(pid: int | None) -> dict[int, int]:
    """CPU in ns of each thread of a process, in steps of a kernel tick (10 ms)."""
    found: dict[int, int] = {}
    if pid is None:
        return found
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # some sixty threads of a JVM, within a trial: Path costs half as much again
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/task/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
                found[int(name)] = (int(fields[11]) + int(fields[12])) * _TICK_NS
    return found


def _rss_b(pid: int | None) -> int | None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return None


def _stat(root: Path) -> dict[str, int]:
    """Busy, stolen and total time of all cores, in ticks."""
    ticks = [int(word) for word in (root / "proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    ticks += [0] * (8 - len(ticks))
    # Stolen time is time that nothing here could have: neither busy nor idle.
    return {"busy": sum(ticks) - ticks[3] - ticks[4], "steal": ticks[7], "total": sum(ticks)}


def _load_1m(root: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float((root / "proc/loadavg").read_text().split()[0])
    return None


def _cgroup(root: Path) -> Path | None:
    """cpu.stat of this process's own control group: version 2, else version 1; None where neither is mounted."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            # Within a container the path is the host's, and the own group is mounted as the top.
            for folder in (base / path.lstrip("/"), base):
                if (folder / "cpu.stat").is_file():
                    return folder / "cpu.stat"
    return None


def _throttled_ns(path: Path | None) -> int | None:
    """How long its quota has kept the group from running; None where it has no quota."""
    if path is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        rows = dict(line.split() for line in path.read_text().splitlines())
        if "throttled_usec" in rows:
            return int(rows["throttled_usec"]) * 1000
        if "throttled_time" in rows:
            return int(rows["throttled_time"])
    return None
