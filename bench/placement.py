"""Which core each endpoint and server runs on: a plan (pure), and its execution.

Where a process runs is a tenfold effect on these figures (../shared/measurement.md), so it is pinned where there are cores enough:
one for each endpoint, one for each node of a server, and one for the rest of the machine. With fewer, pinning makes processes wait
for one core while another is idle: then it is off, and says so. Source: sched_setaffinity(2), which sets one *thread*: an endpoint
pins itself before its client has any, a server's threads are set one by one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WORDS = ("auto", "on", "off")


@dataclass(frozen=True)
class Decision:
    """Whether a whole run is pinned, and why. ``cores``: those that it may use."""

    asked: str  # one of WORDS
    pinned: bool
    why: str
    cores: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """Part of "placement" of environment.json."""
        return {"pin": self.asked, "pinned": self.pinned, "why": self.why}


@dataclass(frozen=True)
class Placement:
    """The cores of one variant's processes; equal for all variants of a point."""

    producers: tuple[int, ...]  # of each
    consumers: tuple[int, ...]
    nodes: tuple[int, ...]  # that all nodes of a server share

    def described(self) -> dict[str, Any]:
        """`placement` of trial.json."""
        return {"pinned": True, "producers": list(self.producers), "consumers": list(self.consumers), "nodes": list(self.nodes)}


UNPINNED = {"pinned": False, "producers": [], "consumers": [], "nodes": []}
"""`placement` of trial.json where the kernel chooses."""


def usable() -> tuple[int, ...]:
    """The cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def decide(asked: str, cores: Sequence[int], *, endpoints: int, nodes: int, quota: float | None = None) -> Decision:
    """Decide for a run from its largest point.

    ``endpoints`` and ``nodes``: of one variant, at most; ``quota``: cores that a control group allows, None = all.
    """
    needed = endpoints + nodes + 1
    have = len(cores) if quota is None else min(len(cores), int(quota))
    parts = f"{endpoints} endpoints, {nodes} server {'node' if nodes == 1 else 'nodes'} and the rest of the machine"
    if asked == "off":
        return Decision(asked, pinned=False, why="asked for", cores=tuple(cores))
    if asked == "on":
        short = f", though {have} cores are fewer than the {needed} for {parts}" if have < needed else ""
        return Decision(asked, pinned=True, why=f"asked for{short}", cores=tuple(cores))
    if have < needed:
        return Decision(asked, pinned=False, why=f"{have} cores are fewer than the {needed} for {parts}", cores=tuple(cores))
    return Decision(asked, pinned=True, why=f"{have} cores are enough for {parts}", cores=tuple(cores))


def assign(cores: Sequence[int], *, producers: int, consumers: int, nodes: int) -> Placement:
    """Give each process its cores: the first is left to the rest of the machine, then one for each endpoint, all others to the server.

    With too few, endpoints share: dealt over all cores in turn, and the server may use every core.
    """
    endpoints = producers + consumers
    if len(cores) >= endpoints + nodes + 1:
        given = tuple(cores[1 : 1 + endpoints])
        rest = tuple(cores[1 + endpoints :])
    else:
        given = tuple(cores[i % len(cores)] for i in range(endpoints))
        rest = tuple(cores)
    return Placement(given[:producers], given[producers:], rest if nodes else ())


def pin(pid: int, cores: Sequence[int]) -> None:
    """Set every thread of another process to these cores; what has ended meanwhile is left alone."""
    for _ in range(2):  # a thread that was being made while the first pass ran has its maker's old cores
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # see bench.machine
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(name), cores)
