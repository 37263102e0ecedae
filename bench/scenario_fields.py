"""The parts of a scenario and the values they take: each with its unit, its bounds and the reason for them."""

# ruff: noqa: TRY004  # ValueError is what pydantic turns into a message, also for a wrong type
from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from bench import units
from bench.content import RATIO_MAX
from bench.workload import ROUTINGS

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
# series.csv has columns of these names beside the groups', latency.hlog a tag e2e-sent beside e2e-GROUP.
_TAKEN = ("second", "published", "sent")


@dataclass(frozen=True)
class Quantity:
    """How one kind of number is read, bounded and printed (pydantic calls `read` before it checks the type)."""

    parse: Callable[[object], float]
    show: Callable[[Any], str]
    lowest: float
    highest: float
    low_reason: str = ""
    high_reason: str = ""

    def read(self, value: object) -> float:
        """The number that was written; raises ValueError with the bound and its reason."""
        number = self.parse(value)
        for wrong, word, bound, reason in (
            (number < self.lowest, "least", self.lowest, self.low_reason),
            (number > self.highest, "most", self.highest, self.high_reason),
        ):
            if wrong:
                raise ValueError(f"{self.show(number)}: at {word} {self.show(bound)}" + (f", {reason}" if reason else ""))
        return number

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Pydantic's protocol for a validator that stands in Annotated."""
        return core_schema.no_info_before_validator_function(self.read, handler(source))


class _Tick(Quantity):
    """A duration, or "spin": 0, never to sleep."""

    SPIN = "spin"

    def read(self, value: object) -> float:
        """Seconds."""
        return 0.0 if value == self.SPIN else super().read(value)


class _Routing(Quantity):
    """No number: how a message finds its partition, as an axis."""

    def read(self, value: object) -> Any:
        """One of ROUTINGS."""
        return one_of(value, ROUTINGS)


def _count(lowest: int, highest: int, low_reason: str = "", high_reason: str = "") -> Quantity:
    return Quantity(units.count, lambda n: f"{n:,}", lowest, highest, low_reason, high_reason)


def _duration(lowest: float, highest: float, low_reason: str = "", high_reason: str = "") -> Quantity:
    return Quantity(units.duration_s, units.show_duration, lowest, highest, low_reason, high_reason)


RATE = Quantity(
    units.rate_per_s, units.show_rate, 0.1, 50e6, "a slower load measures nothing within an hour", "no client here comes near more"
)
SIZE = Quantity(
    units.size_b,
    units.show_size,
    64,
    128 << 20,
    "the header that proves delivery takes 64 B",
    "RabbitMQ takes no larger message by default",
)
PROCESSES = _count(1, 64, high_reason="each is a process of its own on this machine")
PARTITIONS = _count(1, 4096, high_reason="each is a topic partition or a queue that the server has to open")
ROUTING = _Routing(units.count, str, 0, 0)
GROUP_COUNT = _count(1, 32, high_reason="each group has processes of its own on this machine")
BATCH = _count(1, 65_536, high_reason="a batch is one buffer in memory")
WINDOW = _count(1, 10_000_000, high_reason="every unresolved message is held in memory")
KEYS = _count(1, 65_536, high_reason="keys are drawn once into a table of 65,536")
HOUR = _duration(0, 3600, high_reason="a trial that long is a soak test; use more rounds")
MEASURE = _duration(0.1, 3600, "a shorter window is all start-up", "a trial that long is a soak test; use more rounds")
TICK = _Tick(
    units.duration_s, lambda seconds: units.show_duration(seconds) if seconds else _Tick.SPIN, 10e-6, 1, "no sleep is that exact",
    "a producer that wakes once a second makes bursts",
)  # fmt: skip
ACK_INTERVAL = _duration(0.001, 60)
DISTANCE = _duration(0, 1, high_reason="no place on earth is further away")
ROUNDS = _count(1, 1000)
POISON = _count(2, 1_000_000_000, "else nothing is left to be processed")
SERIES = _count(1, 100)
SEED = _count(0, 2**63 - 1)
EXPONENT_MAX = 5.0
SIGMA_MAX = 4.0


def read_groups(value: object) -> dict[str, int]:
    """Members by group, of a mapping (name: members) or a list of names with one member each."""
    if isinstance(value, list):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is not a group's name; write a word such as inventory")
        if len(set(value)) != len(value):
            raise ValueError("a group is named twice")
        value = dict.fromkeys(value, 1)
    if not isinstance(value, dict) or not value:
        raise ValueError("groups are a mapping of name: members, such as {inventory: 1, payment: 2}")
    GROUP_COUNT.read(len(value))
    for name in value:
        if not NAME.fullmatch(str(name)):
            raise ValueError(f'"{name}": a group\'s name has small letters, digits, - and _, at most 32, as queues are named after it')
        if name in _TAKEN:
            raise ValueError(f'"{name}": the name is taken in the result files ({", ".join(_TAKEN)}); choose another')
    try:
        return {name: int(PROCESSES.read(members)) for name, members in value.items()}
    except ValueError as error:
        raise ValueError(f"members of a group: {error}") from error


def number(lowest: float, highest: float, example: str) -> BeforeValidator:
    """A plain number within bounds."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
            raise ValueError(f"{value}: a number from {lowest:g} to {highest:g}, such as {example}")
        return float(value)

    return BeforeValidator(read)


def read_exponent(value: object) -> float:
    """Of the Zipf distribution; bounded, since beyond 5 one key has all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= EXPONENT_MAX:
        raise ValueError(f"{value}: a number above 0 and up to {EXPONENT_MAX:g}, such as 1.1")
    return float(value)


def read_weights(value: object) -> dict[str, float]:
    """Sizes with how often they come, of a mapping {size: weight}."""
    if not isinstance(value, dict) or not value:
        raise ValueError("weights are a mapping of size: how often it comes, such as {64 B: 90, 10 KiB: 10}")
    weights: dict[str, float] = {}
    for text, weight in value.items():
        size = units.show_size(int(SIZE.read(text)))
        if size in weights:
            raise ValueError(f"{size} is given twice")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ValueError(f"{size}: {weight}: a weight is a number above 0, such as 10")
        weights[size] = float(weight)
    return weights


def _path(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path of a file or a folder, such as orders.jsonl")
    return value


def choice(*known: str) -> BeforeValidator:
    """One of the words, else "did you mean"."""
    return BeforeValidator(lambda value: one_of(value, known))


def one_of(value: object, known: Sequence[str]) -> str:
    """The word; ValueError where it is none of those."""
    if value not in known:
        raise ValueError(f'unknown value "{value}"; {units.did_you_mean(str(value), known)}')
    return str(value)


def a_list(value: object) -> object:
    """One value is a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


class Part(BaseModel):
    """One mapping of a scenario: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def shown(self, data: dict[str, Any]) -> dict[str, Any]:
        """``data``, this part with units by the names of a file, as the file has it: for parts that leave something out."""
        return data


def part_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that holds a mapping of its own, a list of them, or nothing; None for any other."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := part_of(one))), None)


class Topology(Part):
    """Who talks to whom."""

    producers: Annotated[int, PROCESSES] = Field(1, description="sending processes; they share the rate")
    groups: Annotated[dict[str, int] | None, BeforeValidator(read_groups)] = Field(
        None, description="consumer groups, name: members; each group gets every message, its members share them"
    )
    partitions: Annotated[int, PARTITIONS] = Field(
        1, description="order is kept within a partition, and members share by it, where a system has them"
    )
    routing: Annotated[str, choice(*ROUTINGS)] = Field("key", description="how a message finds its partition: key | round-robin")


class Keys(Part):
    """The keys of messages (customers of a shop): sent with routing: key, and what order is audited by wherever this part is given."""

    count: Annotated[int, KEYS] = Field(10_000, description="how many different keys there are")
    distribution: Annotated[str, choice("uniform", "zipf", "replay")] = Field(
        "uniform", description="how often each comes: uniform | zipf (few keys have most) | replay (as in load.file)"
    )
    exponent: Annotated[float, BeforeValidator(read_exponent)] = Field(
        1.1, description="of zipf: key number k comes in proportion to 1 / k^exponent"
    )


class Poison(Part):
    """Messages that no consumer ever processes: it gives each back, however often it comes."""

    every: Annotated[int, POISON] = Field(description="which: the last of each so many of a producer's")
    how: Annotated[str, choice("requeue", "reject")] = Field(
        "requeue", description="requeue (given back, to come again, until the broker gives it up) | reject (refused for good)"
    )


class Sizes(Part):
    """Sizes of messages that differ; each is of the whole message, its header included."""

    distribution: Annotated[str, choice("lognormal", "uniform", "choice", "replay")] = Field(
        description="lognormal (median, sigma; min, max cut it off) | uniform (min, max) | choice (weights) | replay (as in load.file)"
    )
    median: Annotated[int | None, SIZE] = Field(None, description="of lognormal: half of the messages are larger")
    sigma: Annotated[float | None, number(0.01, SIGMA_MAX, "1.2")] = Field(
        None, description="of lognormal: standard deviation of the logarithm; 1 = two thirds lie within a factor of 2.7 of the median"
    )
    min: Annotated[int | None, SIZE] = Field(None, description="no message is smaller")
    max: Annotated[int | None, SIZE] = Field(None, description="no message is larger")
    weights: Annotated[dict[str, float] | None, BeforeValidator(read_weights)] = Field(
        None, description="of choice, size: how often it comes, such as {64 B: 90, 10 KiB: 10}"
    )


class Payload(Part):
    """What a message carries."""

    size: Annotated[int | None, SIZE] = Field(None, description="bytes of a message, the 64 B of the header included")
    sizes: Sizes | None = Field(None, description="instead of size: messages differ in size")
    file: Annotated[str | None, BeforeValidator(_path)] = Field(
        None, description="instead of size: real bodies, a file with one a line or a folder with one a file; from the scenario's folder on"
    )
    digest: str | None = Field(None, description="what the file's bodies have to be; a run's scenario.yaml has it")
    content: Annotated[str, choice("random", "compressible")] = Field("random", description="bytes of a body: random | compressible")
    ratio: Annotated[float, number(1.1, RATIO_MAX, "4")] = Field(
        4.0, description="of compressible: by how much zlib (level 1) makes a body smaller; LZ4 and Snappy come near it"
    )


class Timing(Part):
    """The phases of one trial."""

    warmup: Annotated[float, HOUR] = Field(1.0, description="load before the measurement, counted in the audit, not in rates and latencies")
    measure: Annotated[float, MEASURE] = Field(5.0, description="the window that rates and latencies are of")
    drain: Annotated[float, HOUR] = Field(
        10.0, description="deadline for what is under way when the load ends; what is later counts as late"
    )


class Batch(Part):
    """How messages are bundled: this sets latency, and how many come twice after a crash."""

    send: Annotated[int, BATCH] = Field(100, description="most messages in one send or poll")
    ack_every: Annotated[int | None, BATCH] = Field(
        None, description="messages between two acknowledgements of a consumer; default: as `send`"
    )
    ack_interval: Annotated[float, ACK_INTERVAL] = Field(0.05, description="longest time between two acknowledgements of a consumer")


def pin_word(value: object) -> object:
    """YAML 1.1 reads a bare on and off as true and false."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Lanes(Part):
    """What every block measures beside the systems."""

    aa: Annotated[bool, Field(strict=True)] = Field(
        True, description="one system is measured twice in each round: what the same system measured twice differs by"
    )
    floor: Annotated[bool, Field(strict=True)] = Field(
        True, description="raw TCP is measured too, where it is none of the systems: what harness and machine cost, never ranked"
    )


class Asks(Part):
    """What the workload needs of a system; one that cannot do it is reported as unsupported, with the reason."""

    delivery: Annotated[str, choice("any", "at-most-once", "at-least-once", "exactly-once")] = Field(
        "any", description="any = each system in its default mode; else at-most-once | at-least-once | exactly-once"
    )
    ordering: Annotated[str, choice("any", "lane")] = Field("any", description="any; lane = order kept within producer and partition")


def _values(quantity: Quantity) -> BeforeValidator:
    """The values of one axis: at least one, none twice."""

    def read(value: object) -> tuple[Any, ...]:
        listed = a_list(value)
        assert isinstance(listed, Sequence)
        if not listed:
            raise ValueError("the axis has no value; give some or leave the axis out")
        numbers = tuple(quantity.read(item) for item in listed)
        twice = next((n for i, n in enumerate(numbers) if n in numbers[:i]), None)
        if twice is not None:
            raise ValueError(f"{quantity.show(twice)} is given twice")
        return numbers

    return BeforeValidator(read)


class Sweep(Part):
    """Axes whose values are measured one by one: their cross product makes the points."""

    groups: Annotated[tuple[int, ...] | None, _values(GROUP_COUNT)] = Field(None, description="numbers of groups, named g1, g2, ...")
    members: Annotated[tuple[int, ...] | None, _values(PROCESSES)] = Field(None, description="members of every group")
    partitions: Annotated[tuple[int, ...] | None, _values(PARTITIONS)] = Field(None, description="values of topology.partitions")
    producers: Annotated[tuple[int, ...] | None, _values(PROCESSES)] = Field(None, description="values of topology.producers")
    routing: Annotated[tuple[str, ...] | None, _values(ROUTING)] = Field(None, description="values of topology.routing")
    distance: Annotated[tuple[float, ...] | None, _values(DISTANCE)] = Field(
        None, description="added to every connection, each way, by the suite's own proxy; 0 s = through the proxy, nothing added"
    )
    batch: Annotated[tuple[int, ...] | None, _values(BATCH)] = Field(None, description="values of batch.send")
    size: Annotated[tuple[int, ...] | None, _values(SIZE)] = Field(None, description="values of payload.size")
    rate: Annotated[tuple[float, ...] | None, _values(RATE)] = Field(None, description="values of load.rate")


@dataclass(frozen=True)
class Axis:
    """A sweep axis: the field that it stands for, and its quantity."""

    field: tuple[str, str] | None  # None: members and distance have no field of their own
    quantity: Quantity


AXES: Mapping[str, Axis] = {
    "groups": Axis(("topology", "groups"), GROUP_COUNT),
    "members": Axis(None, PROCESSES),
    "partitions": Axis(("topology", "partitions"), PARTITIONS),
    "producers": Axis(("topology", "producers"), PROCESSES),
    "routing": Axis(("topology", "routing"), ROUTING),
    "distance": Axis(None, DISTANCE),
    "batch": Axis(("batch", "send"), BATCH),
    "size": Axis(("payload", "size"), SIZE),
    "rate": Axis(("load", "rate"), RATE),
}
"""In the order of Sweep's fields: the last varies fastest."""
