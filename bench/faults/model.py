"""A fault as plain data: what is done to what, when, for how long. Standard library only; bench.scenario_faults reads it from YAML.

Times are seconds from the start of the load (its warm-up is counted in). A fault without `for` lasts until the load has ended:
then everything is healed before anybody says "lost" (docs/guarantees.md, Faults).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import units

KINDS = ("kill", "pause", "stop", "network", "slow", "away")
COUNTS = ("acknowledged", "processed", "sent")
"""What a condition counts: outcomes OK, deliveries PROCESSED of the group that has fewest, messages attempted."""
DIRECTIONS = ("both", "up", "down")
"""Of the network: towards the server (or the peer that listens), from it, both."""

TOXICS: Mapping[str, tuple[str, ...]] = {
    "latency": ("latency", "jitter"),
    "bandwidth": ("rate",),
    "timeout": ("timeout",),
    "reset_peer": ("timeout",),
    "slicer": ("average_size", "size_variation", "delay"),
    "slow_close": ("delay",),
    "limit_data": ("bytes",),
    "down": (),
}
"""Toxiproxy's toxics by name, with its names of their attributes. Here in SI units: seconds, bytes, bytes a second."""
NEEDED = ("latency", "rate", "average_size", "delay", "bytes")
"""Attributes that have no default where a toxic has them (of slicer: average_size)."""

TARGETS: Mapping[str, tuple[str, ...]] = {
    "kill": ("server", "producer", "consumer"),
    "pause": ("server", "producer", "consumer"),
    "stop": ("server",),
    "network": ("server", "peer", "links"),
    "slow": ("consumer",),
    "away": ("consumer",),
}
"""What each kind can be done to."""


LEADER = "leader"
"""In place of a node's name: whichever leads the first of what the server's nodes share out, when the fault is injected."""


@dataclass(frozen=True)
class Target:
    """What a fault is done to: a node of the server, a producer, one member or all of a consumer group, a peer.

    ``name`` is a node's own ("kafka.1") where the fault names it so, ``number`` counts servers and peers from 1, producers and
    members from 0; None = all members of ``group``. A node's name may be LEADER.
    """

    part: str  # "server", "producer", "consumer", "peer", "links" (every way that the variant has)
    number: int | None = None
    group: str = ""
    name: str = ""


def target_of(text: str) -> Target:
    """Read `server.1`, `server.leader`, `kafka.1`, `producer.0`, `consumer.inventory.0`, `consumer.inventory`, `peer.1`, `links`.

    Raises ValueError.
    """
    if text == "links":
        return Target("links")
    part, _, rest = text.partition(".")
    what = (
        "a target is server.1, server.leader, producer.0, consumer.GROUP.0, consumer.GROUP (all its members), peer.1, "
        "links (every way that there is) or a node's name such as kafka.1"
    )
    if text == f"server.{LEADER}":
        return Target("server", name=LEADER)
    if part in ("server", "producer", "peer"):
        if not rest.isdigit() or (part != "producer" and int(rest) < 1):
            raise ValueError(f'"{text}": {part} is followed by a number, such as {part}.{int(part != "producer")}; {what}')
        return Target(part, int(rest))
    if part == "consumer":
        group, _, member = rest.partition(".")
        if not group or not (member.isdigit() or not member) or rest.endswith("."):
            raise ValueError(f'"{text}": {what}')
        return Target(part, int(member) if member else None, group)
    name, _, number = text.rpartition(".")
    if not name or not number.isdigit():
        raise ValueError(f'"{text}": {what}')
    return Target("server", name=text)


@dataclass(frozen=True)
class Fault:
    """One fault, or several of its kind one after another. Plain data: `to_json` and `from_json` of JSON."""

    kind: str  # one of KINDS
    target: str  # as `target_of` reads it
    at_s: float | None = None  # when the first is injected; None: on a condition
    after: tuple[int, str] | None = None  # (10000, "acknowledged"): as soon as so many are; one of COUNTS
    for_s: float | None = None  # until it is healed; None: until the load has ended
    times: int = 1
    every_s: float = 0.0  # from one injection to the next
    toxic: str = ""  # of network: one of TOXICS
    direction: str = "both"  # of network: one of DIRECTIONS
    attributes: tuple[tuple[str, float], ...] = ()  # of the toxic: seconds, bytes, bytes a second
    processing_s: float = 0.0  # of slow: a consumer's work on each message

    @property
    def on(self) -> Target:
        """What it is done to."""
        return target_of(self.target)

    @property
    def label(self) -> str:
        """For people and for marks: "kill consumer.inventory.0", "network (timeout) kafka.1"."""
        return f"{self.kind} {f'({self.toxic}) ' if self.toxic else ''}{self.target}"

    @property
    def last_s(self) -> float | None:
        """When the last of them is over, where that is known beforehand."""
        return None if self.at_s is None else self.at_s + (self.times - 1) * self.every_s + (self.for_s or 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back to an equal fault."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fault:
        """The fault that `to_json` wrote, also after JSON has made lists of its tuples."""
        after = data["after"] and (int(data["after"][0]), str(data["after"][1]))
        attributes = tuple((str(name), float(value)) for name, value in data["attributes"])
        return cls(**{**data, "after": after or None, "attributes": attributes})


def problems(fault: Fault, *, groups: Mapping[str, int], producers: int, load_s: float) -> list[tuple[str, str]]:
    """What does not go together, as (field, text): within the fault, and with a workload's groups (members by name) and its length."""
    found: list[tuple[str, str]] = []
    target = fault.on
    if target.part not in TARGETS[fault.kind]:
        found.append(("target", f"{fault.kind} is for {' or '.join(TARGETS[fault.kind])}, not for {fault.target}"))
    elif target.part == "consumer" and target.group not in groups:
        found.append(("target", f'there is no group "{target.group}"; {units.did_you_mean(target.group, groups)}'))
    elif target.part == "consumer" and target.number is not None and target.number >= groups[target.group]:
        found.append(("target", f'group "{target.group}" has members 0 to {groups[target.group] - 1}'))
    elif target.part == "producer" and (target.number or 0) >= producers:
        found.append(("target", f"there are producers 0 to {producers - 1}"))
    return found + _of_time(fault, load_s) + _of_toxic(fault)


def _of_time(fault: Fault, load_s: float) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if (fault.at_s is None) == (fault.after is None):
        found.append(("at" if fault.at_s is not None else "", 'one of "at: 2 s" and "after: 10,000 acknowledged" says when'))
    if fault.times > 1 and (not fault.every_s or not fault.for_s):
        found.append(("times", "with several times say how long each lasts and how often it comes, such as for: 500 ms, every: 2 s"))
    elif fault.times > 1 and fault.every_s <= (fault.for_s or 0.0):
        found.append(("every", "the next would begin before the last is over; every has to be longer than for"))
    elif fault.times == 1 and fault.every_s:
        found.append(("every", "belongs to times, such as times: 3, every: 2 s"))
    last_s = fault.last_s
    if last_s is not None and (last_s > load_s or (fault.at_s or 0.0) >= load_s):
        over = f"the last of it is over at {last_s:g} s" if fault.for_s else f"it begins at {fault.at_s:g} s"
        found.append(("at", f"{over}, and the load ends at {load_s:g} s (timing.warmup + timing.measure)"))
    return found


def _of_toxic(fault: Fault) -> list[tuple[str, str]]:
    given = dict(fault.attributes)
    if fault.kind == "slow" and not fault.processing_s:
        return [("processing", "slow needs the new time for each message, such as processing: 20 ms")]
    if fault.kind != "slow" and fault.processing_s:
        return [("processing", "belongs to fault: slow; remove it")]
    if fault.kind != "network":
        extra = ["toxic"] * bool(fault.toxic) + ["direction"] * (fault.direction != "both") + list(given)
        return [(name, "belongs to fault: network; remove it") for name in extra]
    if not fault.toxic:
        return [("toxic", f"network needs a toxic; known: {', '.join(TOXICS)}")]
    takes = TOXICS[fault.toxic]
    needed = [name for name in takes if name in NEEDED and name not in given and (fault.toxic, name) != ("slicer", "delay")]
    found = [(name, f"toxic: {fault.toxic} takes {', '.join(takes) or 'no attribute'}; remove it") for name in given if name not in takes]
    return found + [(name, f"toxic: {fault.toxic} needs it") for name in needed]


def of_json(rows: Sequence[Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Faults as Workload.to_json writes them."""
    return tuple(Fault.from_json(row) for row in rows)
