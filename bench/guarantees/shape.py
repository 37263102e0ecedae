"""The scenario of a cell: a workload that has something in flight whenever the fault strikes, and the fault as often as it fits (pure).

Messages come in bursts, each worked off for 40% of the time until the next; injections drift through that time. What strikes a
consumer strikes several groups in turn where recovery takes long: each has its own copy of every message, so these injections are
independent. The next injection into a group comes only when the timers say that the last one is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bench.guarantees.named import FAULTS, Named
from bench.guarantees.timers import Timers

PER_TRIAL = 5  # injections into a group: more in one trial would be lost together where it fails, and the other cells wait longer
NAME = "guarantees"
_FIRST_S = 1.02  # of the load: a burst is being worked off
_AT_START_S = 0.06  # the first burst is on its way
_BURSTS_PER_S = 5
_BUSY = 0.4
_PHASE_S = 0.005  # by which the next injection comes later after its burst: ten of them within the 80 ms that it is worked off
_SETTLED_S = 1.0  # between recovery and the next injection
_GROUPS_MAX = 3
_APART_S = 3.0  # between injections into two groups, where there are several
_BASELINE_S = 4.0
_WARMUP_S = 0.5


@dataclass(frozen=True)
class Shape:
    """A trial of a cell, times in seconds. ``copies``: groups suffer apart, as a server keeps a copy of each message for each."""

    spec: str
    title: str
    fault: str
    times: int  # injections into each group
    timers: Timers
    server: bool
    copies: bool
    shares: bool  # members of a group share its work
    groups_max: int = _GROUPS_MAX

    @property
    def named(self) -> Named:
        """Its fault."""
        return FAULTS[self.fault]

    @property
    def period_s(self) -> float:
        """From one injection to the next into the same group: whole bursts and a bit.

        What came while nothing was worked off has to be caught up with, else each injection finds a longer queue than the last.
        """
        away_s = self.named.lasts(self.timers) + self.named.recovers(self.timers)
        takes_s = away_s / (1 - _BUSY) + _SETTLED_S
        return math.ceil(takes_s * self._bursts_per_s) / self._bursts_per_s + _PHASE_S

    @property
    def _bursts_per_s(self) -> int:
        """Of a server's death only what no consumer has can tell: then bursts are longer than what a consumer takes at once."""
        return 1 if self.named.on == "server" else _BURSTS_PER_S

    @property
    def groups(self) -> int:
        """How many groups are struck in turn: several only where each waits long."""
        if self.named.on != "consumer" or not self.copies:
            return 1
        return max(1, min(int(self.period_s / _APART_S), _GROUPS_MAX, self.groups_max))

    @property
    def injections(self) -> int:
        """Of one trial, in all."""
        return self.times * self.groups if self.named.fault else 1

    @property
    def load_s(self) -> float:
        """Warm-up and measurement: the last injection has its time to recover."""
        if not self.named.fault:
            return _BASELINE_S
        return round(_FIRST_S + (self.groups - 1) * self._apart_s + self.times * self.period_s + 0.5, 1)

    @property
    def trial_s(self) -> float:
        """About how long a trial takes with all around it."""
        return self.load_s + self.timers.around_s + self.timers.handover_s

    @property
    def _apart_s(self) -> float:
        return math.floor(self.period_s / self.groups * _BURSTS_PER_S) / _BURSTS_PER_S + _PHASE_S

    @property
    def _work_s(self) -> float:
        return _BUSY / self.timers.rate_per_s

    def yaml(self) -> str:
        """The scenario, as a file that `brokerbench run` takes too."""
        members = self.named.members if self.shares else 1
        names = [f"g{i + 1}" for i in range(self.groups)]
        burst = self.timers.rate_per_s // self._bursts_per_s
        data: dict[str, Any] = {
            "name": NAME,
            "title": self.title,
            "systems": [self.spec],
            "topology": {"producers": 1, "groups": dict.fromkeys(names, members), "partitions": members, "routing": "round-robin"},
            "payload": {"size": "128 B"},
            "load": {"schedule": "bursts", "rate": f"{self.timers.rate_per_s}/s", "burst": burst},
            "timing": {"warmup": _time(_WARMUP_S), "measure": _time(self.load_s - _WARMUP_S), "drain": "60 s"},
            "batch": {"send": self.timers.rate_per_s // _BURSTS_PER_S, "ack_every": 10, "ack_interval": "20 ms"},
            "processing": _time(self._work_s),
            "rounds": 1,
            "lanes": {"aa": False, "floor": False},
        }
        if self.named.fault:
            data["faults"] = self._faults(names)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

    def _faults(self, names: Sequence[str]) -> list[dict[str, Any]]:
        named = self.named
        made = []
        for i, name in enumerate(names):
            one: dict[str, Any] = {"fault": named.fault, "target": self._target(name), **named.more}
            if named.fault == "slow":
                one["processing"] = _time(10 * self._work_s)
            one |= {"at": _time(_AT_START_S if named.at_start else _FIRST_S + i * self._apart_s), "for": _time(named.lasts(self.timers))}
            if self.times > 1:
                one |= {"times": self.times, "every": _time(self.period_s)}
            made.append(one)
        return made

    def _target(self, group: str) -> str:
        on = self.named.on
        if on == "link":
            return "server.1" if self.server else "peer.1"
        return {
            "server": self.named.target or "server.1",
            "producer": "producer.0",
            "consumer": f"consumer.{group}.0",
            "group": f"consumer.{group}",
        }[on]


def times(fault: str, wanted: int) -> int:
    """How many injections into a group one trial is to make, where so many are wanted of it."""
    named = FAULTS[fault]
    return 1 if not named.fault or named.at_start else max(1, min(wanted, PER_TRIAL))


def _time(seconds: float) -> str:
    """As a scenario has it: 1.06 s, not 1.0600000000000001 s."""
    if 0 < seconds < 0.001:
        return f"{round(seconds * 1e6):g} us"
    return f"{round(seconds * 1000):g} ms" if 0 < seconds < 1 else f"{round(seconds, 3):g} s"
