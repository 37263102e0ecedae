"""How many brokers, partitions and clients a load takes, from what a message was measured to cost (pure). docs/scale.md says what to trust.

The costs are lines: cores = standing + rate x seconds of CPU a message, one through the points of a run at several rates. A broker that
leads a partition pays for the producer and the groups, one that follows for its copy:

    brokers' cores = brokers x standing + rate x (lead + (factor - 1) x follow)
    into the brokers = rate x bytes x factor;  out of them = rate x bytes x (groups + factor - 1)

``lead`` is the slope of a run with one copy, ``follow`` what each further copy adds to it. Load is taken to spread evenly, and a broker
less has to carry it too, or the first failure is an overload. Nothing here knows of disks, of page caches that are too small, of keys that
are not even, of larger batches at higher rates (which make messages cheaper), of cores that are faster than those that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import UsageError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """Cores at a rate: ``standing`` cores, whatever the rate, and ``each_s`` seconds of CPU a message."""

    standing: float
    each_s: float

    def at(self, rate_per_s: float) -> float:
        """Cores."""
        return self.standing + rate_per_s * self.each_s


@dataclass(frozen=True)
class Measured:
    """What one run says. ``brokers`` is of all nodes together; clients are of one producer process and one group."""

    factor: int
    nodes: int
    size_b: int
    groups: int
    brokers: Line
    producer: Line
    consumer: Line
    partition_per_s: float  # the highest rate that a partition was seen to carry: not a limit, only what was tried
    rates: tuple[float, ...]  # at which it was measured


@dataclass(frozen=True)
class Costs:
    """What the model takes: seconds of CPU a message and cores a process, by part. ``size_b``, ``groups``: what they were measured with."""

    lead_s: float
    follow_s: float
    standing: float  # cores of a broker
    producer_s: float
    consumer_s: float
    size_b: int
    groups: int
    partition_per_s: float


@dataclass(frozen=True)
class Wanted:
    """A load, and what it may use. ``busy``: the share of a core, or of a network card, to plan with; ``work_s``: on each message."""

    rate_per_s: float
    factor: int = 3
    broker_cores: int = 16
    network_b_per_s: float = 10e9 / 8
    busy: float = 0.6
    work_s: float = 0.0
    partition_per_s: float | None = None  # that a partition is to carry at most; None = what was seen


@dataclass(frozen=True)
class Plan:
    """What it takes. ``by``: what decides the number of brokers: "CPU", "network in", "network out", "copies"."""

    brokers: int
    by: str
    broker_cores: float  # in use in all
    in_b_per_s: float  # of the busiest direction of all brokers
    out_b_per_s: float
    producers: int
    members: int  # of each group
    partitions: int


def line(points: Iterable[tuple[float, float]]) -> Line:
    """The least-squares line through (rate, cores), not below 0 at rest. UsageError where cores do not grow with the rate."""
    known = np.array(sorted(points), dtype=float).reshape(-1, 2)
    if len(np.unique(known[:, 0])) < 2:
        raise UsageError("a line of cost needs trials at two rates at least that were reached")
    rates, cores = known[:, 0], known[:, 1]
    slope, standing = (float(value) for value in np.polyfit(rates, cores, 1))
    if slope <= 0:
        told = ", ".join(f"{used:.2f} at {rate:,.0f}/s" for rate, used in known.tolist())
        raise UsageError(f"cores do not grow with the rate ({told}): a machine that others use, or rates too close to each other")
    return Line(standing, slope) if standing >= 0 else Line(0.0, float(rates @ cores / (rates @ rates)))  # through the origin


def measured(trials: Sequence[Json]) -> Measured:
    """Of the trials of one variant at several rates. UsageError where nothing can be made of them."""
    kept = [trial for trial in trials if trial.get("status") == "ok" and trial.get("nodes") and not trial.get("lane") and _reached(trial)]
    if not kept:
        raise UsageError("no trial of a server whose CPU is known")
    first = kept[0]
    groups = len(first["workload"]["groups"])
    at: dict[str, list[tuple[float, float]]] = {"brokers": [], "producer": [], "consumer": []}
    for trial in kept:
        rate, window_ns = float(trial["rates"]["published_per_s"]), trial["window_s"] * 1e9
        for part, rows, count in (("brokers", "nodes", 1), ("producer", "producers", 1), ("consumer", "consumers", groups)):
            used = [row["cpu_ns"] for row in trial[rows]]
            if None in used:
                raise UsageError(f"trial {trial['trial']}: the CPU of its {part} is not known")
            at[part].append((rate, sum(used) / window_ns / count))
    lines = {}
    for part, points in at.items():
        try:
            lines[part] = line(points)
        except UsageError as error:
            raise UsageError(f"{first['variant']['spec']}, {part}: {error}") from error
    settings = first["variant"]["settings"]["producer"]
    partitions = int(first["workload"]["partitions"])
    rates = sorted({float(trial["rates"]["published_per_s"]) for trial in kept})
    return Measured(
        factor=int(settings["replication_factor"]), nodes=len(first["nodes"]), size_b=int(first["point"]["size_b"]), groups=groups,
        **lines, partition_per_s=rates[-1] / partitions, rates=tuple(rates),
    )  # fmt: skip


def _reached(trial: Json) -> bool:
    """Whether the load was what was asked for: one that starves for cores says what was left over, not what it costs."""
    return all(finding.get("code") != "rate-not-reached" for finding in trial.get("findings") or ())


def costs(one: Measured, copied: Measured) -> Costs:
    """From a run with one copy and a run with more on as many brokers or more. UsageError where they do not go together."""
    if one.factor != 1 or copied.factor < 2:
        raise UsageError(f"one run with one copy and one with several: these have {one.factor} and {copied.factor}")
    if (one.size_b, one.groups) != (copied.size_b, copied.groups):
        raise UsageError("both runs have to be of the same size of messages and number of groups")
    follow = max(0.0, copied.brokers.each_s - one.brokers.each_s) / (copied.factor - 1)
    return Costs(
        lead_s=one.brokers.each_s, follow_s=follow, standing=max(one.brokers.standing / one.nodes, copied.brokers.standing / copied.nodes),
        producer_s=one.producer.each_s, consumer_s=one.consumer.each_s, size_b=one.size_b, groups=one.groups,
        partition_per_s=max(one.partition_per_s, copied.partition_per_s),
    )  # fmt: skip


def plan(known: Costs, wanted: Wanted) -> Plan:
    """What a load takes, one broker being away. UsageError where a broker's cores do not even bear its standing cost."""
    rate, size, copies = wanted.rate_per_s, known.size_b, wanted.factor - 1
    room = wanted.broker_cores * wanted.busy - known.standing
    if room <= 0:
        used = f"{wanted.busy:.0%} of {wanted.broker_cores} cores"
        raise UsageError(f"{used} do not bear what a broker takes at rest, {known.standing:.2f}")
    cores = rate * (known.lead_s + copies * known.follow_s)
    into, out = rate * size * wanted.factor, rate * size * (known.groups + copies)
    card = wanted.network_b_per_s * wanted.busy
    needs = {
        "CPU": math.ceil(cores / room), "network in": math.ceil(into / card), "network out": math.ceil(out / card), "copies": wanted.factor,
    }  # fmt: skip
    by = max(needs, key=lambda name: needs[name])
    brokers = needs[by] + 1
    members = max(1, math.ceil(rate * (known.consumer_s + wanted.work_s) / wanted.busy))
    partitions = max(members, math.ceil(rate / (wanted.partition_per_s or known.partition_per_s)))
    return Plan(
        brokers=brokers, by=by, broker_cores=cores + brokers * known.standing, in_b_per_s=into, out_b_per_s=out,
        producers=max(1, math.ceil(rate * known.producer_s / wanted.busy)), members=members,
        partitions=math.ceil(partitions / brokers) * brokers,
    )  # fmt: skip
