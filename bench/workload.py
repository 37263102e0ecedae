"""One workload, all numbers plain and in SI units: what the runner hands to every endpoint. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import PurePath
from typing import Any

from bench import units
from bench.errors import UsageError
from bench.faults import model
from bench.faults.model import Fault

ROUTINGS = ("key", "round-robin")
DISTANCE_AXIS = "distance_s"
"""What the axis `distance` is called in "point" of trial.json, where names have their unit."""
SCHEDULES = ("constant", "poisson", "steps", "ramp", "bursts", "replay", "max", "closed")


@dataclass(frozen=True)
class Bodies:
    """What messages carry, where they are not random bytes of one size. Sizes are of whole messages, header included."""

    distribution: str  # "one size", "uniform", "lognormal", "choice", "file", "replay"
    smallest_b: int
    mean_b: float
    largest_b: int
    sizes_b: tuple[int, ...] = ()  # of message n: sizes_b[n % len(sizes_b)]; () where a file or a table of the producer's has them
    ratio: float = 0.0  # by how much zlib (level 1) compresses a body; 0 = not at all
    file: str = ""  # where real ones lie (bench.corpus), an absolute path
    digest: str = ""  # and what they are
    table: str = ""  # of "replay": path of the sizes by message of all producers, a .npy file of int64

    @property
    def one_size(self) -> bool:
        """Whether all messages are of one size: they take the faster way of bench.payload and bench.account."""
        return self.distribution == "one size"

    def described(self) -> dict[str, Any]:
        """`workload.bodies` of trial.json (results/README.md): where the file lay is nobody's business."""
        names = ("distribution", "smallest_b", "mean_b", "largest_b", "ratio", "digest")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Workload:
    """A point of a scenario, resolved. Rates are messages a second of *all* producers together, sizes bytes, times seconds."""

    rate_per_s: float | None  # None = as fast as the system takes them, or as it confirms them; of steps, ramp, replay the window's mean
    size_b: int  # of one message, header included; where they vary, the mean in whole bytes
    warmup_s: float
    measure_s: float
    drain_s: float  # deadline for what is under way when the load ends
    tick_s: float  # shortest time between two wake-ups of a producer
    batch: int  # most messages in one send() or poll()
    ack_every: int  # messages between two ack()s of a consumer
    ack_interval_s: float  # and the longest time between them
    window: int  # most unresolved messages of one producer
    producers: int
    groups: tuple[tuple[str, int], ...]  # (name, members): each group gets every message
    partitions: int
    routing: str  # one of ROUTINGS
    key_count: int  # how many keys its messages are about; 0 = none. They are sent where routing is by key
    key_zipf: float  # exponent of the keys' popularity; 0 = uniform
    seed: int
    arrivals: str = ""  # one of SCHEDULES; "" = by the rate: "constant", or "max" where there is none
    steps: tuple[tuple[float, float], ...] = ()  # of "steps": (messages a second, seconds)
    ramp: tuple[float, float] = (0.0, 0.0)  # of "ramp": messages a second at the start, and at the end of the measurement
    burst: int = 0  # of "bursts": messages due at the same time
    replay: str = ""  # of "replay": path of the times, a .npy file (bench.replay_file)
    outstanding: int = 0  # of "closed": most unresolved messages of one producer
    bodies: Bodies | None = None  # None: random ones of one size
    processing_s: tuple[float, ...] = ()  # a consumer's work on each message, by group; () = none
    faults: tuple[Fault, ...] = ()  # what the runner breaks meanwhile
    poison_every: int = 0  # consumers never process the last of each so many of a producer's messages; 0 = none is poison
    poison_how: str = "requeue"  # what they do with it: "requeue" or "reject"
    distance_s: float | None = None  # what a proxy adds to every connection, each way; None = no proxy
    key_table: str = ""  # of recorded keys: path of the keys by message of all producers (bench.scenario_load)

    @property
    def largest_b(self) -> int:
        """Bytes of the largest message: what adapters and buffers are made for."""
        return self.size_b if self.bodies is None else self.bodies.largest_b

    @property
    def mean_b(self) -> float:
        """Bytes of a message on average, exactly: a rate times it is bytes a second."""
        return self.size_b if self.bodies is None else self.bodies.mean_b

    @property
    def schedule(self) -> str:
        """How intended send times are made: one of SCHEDULES (bench.pacing)."""
        return self.arrivals or ("max" if self.rate_per_s is None else "constant")

    @property
    def wiring_key(self) -> tuple[Any, ...]:
        """What needs new connections when it changes. Points that agree in it share endpoints, topics and queues.

        Batch and ack cadence are in it because an adapter is made with them (adapters.base.Options). The size is not:
        the runner makes adapters for the largest size of the scenario.
        """
        return (self.producers, self.groups, self.partitions, self.batch, self.ack_every, self.distance_s)

    def at_rate(self, rate_per_s: float | None) -> Workload:
        """The same at another rate, None = as fast as it goes: Poisson and bursts stay what they are, all others become constant."""
        kept = self.arrivals in ("poisson", "bursts") and rate_per_s is not None
        return replace(
            self, rate_per_s=rate_per_s, arrivals=self.arrivals if kept else "", burst=self.burst if kept else 0, steps=(), ramp=(0.0, 0.0),
            replay="", outstanding=0,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back to an equal workload."""
        return asdict(self) | {"groups": dict(self.groups)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Workload:
        """The workload that `to_json` wrote; raises UsageError for a missing or unknown field."""
        known = {field.name for field in fields(cls)}
        if known != set(data):
            missing, unknown = sorted(known - set(data)), sorted(set(data) - known)
            raise UsageError(f"not a workload of this version: missing {missing}, unknown {unknown}")
        groups = tuple((name, members) for name, members in data["groups"].items())
        bodies = data["bodies"] and Bodies(**{**data["bodies"], "sizes_b": tuple(data["bodies"]["sizes_b"])})
        steps = tuple((rate, seconds) for rate, seconds in data["steps"])
        more = {"processing_s": tuple(data["processing_s"]), "faults": model.of_json(data["faults"])}
        return cls(**{**data, "groups": groups, "bodies": bodies, "steps": steps, "ramp": tuple(data["ramp"]), **more})

    def described(self) -> dict[str, Any]:
        """`workload` of trial.json (results/README.md)."""
        names = ("producers", "partitions", "routing", "batch", "ack_every", "ack_interval_s", "warmup_s", "measure_s", "drain_s", "tick_s")
        more = ("window", "key_count", "key_zipf", "seed")
        replay = f"{PurePath(self.replay).stem}.csv"  # beside run.json
        of_schedule: dict[str, dict[str, Any]] = {
            "steps": {"steps": self.steps}, "ramp": {"ramp": self.ramp}, "bursts": {"burst": self.burst}, "replay": {"replay": replay},
            "closed": {"outstanding": self.outstanding},
        }  # fmt: skip
        return {
            "schedule": self.schedule,
            **of_schedule.get(self.schedule, {}),
            "groups": dict(self.groups),
            **{name: getattr(self, name) for name in names + more},
            "bodies": self.bodies and self.bodies.described(),
            **({"processing_s": dict(zip(dict(self.groups), self.processing_s, strict=True))} if self.processing_s else {}),
            **({"faults": [fault.to_json() for fault in self.faults]} if self.faults else {}),
            **({"poison": {"every": self.poison_every, "how": self.poison_how}} if self.poison_every else {}),
        }


@dataclass(frozen=True)
class Point:
    """One value of each of a scenario's sweep axes, and the workload they make."""

    workload: Workload
    axes: tuple[tuple[str, float], ...] = ()  # swept ones besides rate and size, which are always told

    @property
    def rate_per_s(self) -> float | None:
        """Messages a second of all producers together, where it varies the window's mean; None = max or closed loop."""
        return self.workload.rate_per_s

    @property
    def size_b(self) -> int:
        """Bytes of a message; the mean where sizes vary."""
        return self.workload.size_b

    def values(self) -> dict[str, float | int | str | None]:
        """`point` of trial.json: rate and size always, schedule and payload where these do not tell all, other axes where swept."""
        load = self.workload
        schedule = {} if load.schedule in ("constant", "max") else {"schedule": load.schedule}
        payload = {} if load.bodies is None else {"payload": units.show_bodies(load.bodies.described())}
        axes = {DISTANCE_AXIS if name == "distance" else name: value for name, value in self.axes}
        return {"rate_per_s": self.rate_per_s, **schedule, "size_b": self.size_b, **payload, **axes}

    @property
    def label(self) -> str:
        """For people: "2,000/s, 256 B, 4 partitions"."""
        rate = _said(self.workload)
        told = {"batch": "batches of {}".format, "distance": lambda seconds: f"{units.show_duration(seconds)} away"}
        others = [f"{value} {name[:-1] if value == 1 and name.endswith('s') else name}" for name, value in self.axes if name not in told]
        others += [told[name](value) for name, value in self.axes if name in told]
        size = self.values().get("payload") or units.show_size(self.size_b)
        return ", ".join([rate, str(size), *others])


def _said(load: Workload) -> str:
    """The load in a few words: "2,000/s", "2,000/s in bursts of 100", "max"."""
    if load.schedule == "closed":
        return f"closed loop of {load.outstanding}"
    if load.rate_per_s is None:
        return "max"
    mean = units.show_rate(load.rate_per_s)
    if load.schedule == "ramp":
        return f"{units.show_rate(load.ramp[0])} to {units.show_rate(load.ramp[1])}"
    words = {"poisson": f"{mean} poisson", "bursts": f"{mean} in bursts of {load.burst:,}"}
    return words.get(load.schedule, mean if load.schedule == "constant" else f"{load.schedule} of {mean} on average")
