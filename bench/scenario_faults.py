"""The parts `faults:` and `processing:` of a scenario: what is broken while the load runs, and how long a consumer works on a message."""

# ruff: noqa: TRY004  # ValueError is what pydantic turns into a message, also for a wrong type
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bench import units
from bench.faults import model
from bench.faults.model import Fault
from bench.scenario_errors import Problem
from bench.scenario_fields import NAME, Part, Quantity, choice

TIME = Quantity(units.duration_s, units.show_duration, 0, 3600, high_reason="a trial that long is a soak test")
LASTING = Quantity(
    units.duration_s, units.show_duration, 0.001, 3600, "no process is started again that fast", "a trial that long is a soak test"
)
WORK = Quantity(units.duration_s, units.show_duration, 0, 60, high_reason="clients lose their leases")
TIMES = Quantity(units.count, "{:,}".format, 1, 1000)
BYTES = Quantity(units.size_b, units.show_size, 1, 1 << 40)
_AFTER = re.compile(r"([\d,_]+)\s+([a-z]+)")


def read_work(value: object) -> dict[str, float]:
    """Seconds by group, of one duration ("": all groups) or of a mapping {group: duration}."""
    if not isinstance(value, dict):
        return {"": WORK.read(value)}
    if not value:
        raise ValueError("a duration such as 2 ms, or one by group such as {inventory: 2 ms, payment: 20 ms}")
    for name in value:
        if name and not NAME.fullmatch(str(name)):
            raise ValueError(f'"{name}" is not the name of a group')
    return {name: WORK.read(one) for name, one in value.items()}


def show_work(work: Mapping[str, float]) -> Any:
    """As YAML has it."""
    shown = {name: units.show_duration(seconds) for name, seconds in work.items()}
    return shown[""] if set(shown) == {""} else shown


def _after(value: object) -> tuple[int, str]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return int(value[0]), str(value[1])
    match = _AFTER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in model.COUNTS:
        raise ValueError(f'"{value}": a number and what is counted, such as "10,000 acknowledged" ({", ".join(model.COUNTS)})')
    number = units.count(match[1])
    if number < 1:
        raise ValueError("at least 1 message; at: 0 s is the start of the load")
    return number, match[2]


def _target(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a target is a text such as server.1, producer.0 or consumer.inventory.0")
    model.target_of(value)
    return value


class FaultPart(Part):
    """One entry of `faults`."""

    fault: Annotated[str, choice(*model.KINDS)] = Field(
        description="kill (SIGKILL, then started again) | pause (SIGSTOP ... SIGCONT) | stop (a server in order, then started again) | "
        "network | slow | away (a consumer leaves in order, then comes back)"
    )
    target: Annotated[str, BeforeValidator(_target)] = Field(
        description="server.1, a node's name (kafka.1) or server.leader (of the first partition, when it is injected), producer.0, "
        "consumer.GROUP.MEMBER, consumer.GROUP (all members), peer.1, links (every way that there is)"
    )
    at: Annotated[float | None, TIME] = Field(None, description="when, from the start of the load on (its warm-up is counted in)")
    after: Annotated[tuple[int, str] | None, BeforeValidator(_after)] = Field(
        None, description='instead of at: on a condition, such as "10,000 acknowledged" (or processed, sent)'
    )
    for_: Annotated[float | None, LASTING] = Field(
        None, alias="for", description="how long until it is healed; without it until the load has ended"
    )
    times: Annotated[int, TIMES] = Field(1, description="how often, one after another")
    every: Annotated[float | None, LASTING] = Field(None, description="from one to the next")
    processing: Annotated[float | None, WORK] = Field(None, description="of slow: a consumer's work on each message")
    toxic: Annotated[str | None, choice(*model.TOXICS)] = Field(None, description=f"of network: {' | '.join(model.TOXICS)} (Toxiproxy's)")
    direction: Annotated[str, choice(*model.DIRECTIONS)] = Field("both", description="of network: both | up (towards the server) | down")
    latency: Annotated[float | None, TIME] = Field(None, description="of toxic latency: added to what passes")
    jitter: Annotated[float | None, TIME] = Field(None, description="of toxic latency: it varies by so much")
    rate: Annotated[int | None, BYTES] = Field(None, description="of toxic bandwidth: bytes a second, such as 100 kB")
    timeout: Annotated[float | None, TIME] = Field(
        None,
        description="of toxic timeout and reset_peer: the connection ends after so long; 0 s = at once (timeout: when healed)",
    )
    average_size: Annotated[int | None, BYTES] = Field(None, description="of toxic slicer: bytes of a piece")
    size_variation: Annotated[int | None, BYTES] = Field(None, description="of toxic slicer: pieces vary by so much")
    delay: Annotated[float | None, TIME] = Field(
        None, description="of toxic slicer: between pieces; of slow_close: before the connection ends"
    )
    bytes: Annotated[int | None, BYTES] = Field(None, description="of toxic limit_data: the connection ends after so many")

    def plain(self) -> Fault:
        """As the runner takes it."""
        names = dict.fromkeys(name for takes in model.TOXICS.values() for name in takes)
        attributes = tuple((name, float(value)) for name in names if (value := getattr(self, name)) is not None)
        return Fault(
            kind=self.fault, target=self.target, at_s=self.at, after=self.after, for_s=self.for_, times=self.times,
            every_s=self.every or 0.0, toxic=self.toxic or "", direction=self.direction, attributes=attributes,
            processing_s=self.processing or 0.0,
        )  # fmt: skip

    def shown(self, data: dict[str, Any]) -> dict[str, Any]:
        """``data``, as bench.scenario prints a part, the way YAML has it: without defaults, the condition as it is written."""
        if self.after is not None:
            data["after"] = f"{self.after[0]:,} {self.after[1]}"
        idle = {"times": 1, "direction": "both"}
        return {name: value for name, value in data.items() if name not in idle or value != idle[name]}


def work_of(work: Mapping[str, float], groups: Mapping[str, int]) -> tuple[float, ...]:
    """Seconds for each of ``groups``, in their order; () where there is nothing to do."""
    seconds = tuple(work.get(name, work.get("", 0.0)) for name in groups)
    return seconds if any(seconds) else ()


def scaled(data: dict[str, Any], factor: float) -> None:
    """Multiply how long a scenario's load lasts and when its faults come, in its plain data; conditions and the drain stay."""
    for part, names in ((data["timing"], ("warmup", "measure")), *((fault, ("at", "for", "every")) for fault in data.get("faults", ()))):
        part.update({name: units.show_duration(round(units.duration_s(part[name]) * factor, 6)) for name in names if name in part})


def problems(
    faults: tuple[FaultPart, ...], work: Mapping[str, float] | None, groups: Mapping[str, int], *, producers: int, load_s: float
) -> list[Problem]:
    """What does not go together, with the path of the field."""
    found: list[Problem] = []
    for i, fault in enumerate(faults):
        wrong = model.problems(fault.plain(), groups=groups, producers=producers, load_s=load_s)
        found += [(("faults", i, field) if field else ("faults", i), text) for field, text in wrong]
    for name in work or {}:
        if name and name not in groups:
            found.append((("processing", name), f'there is no group "{name}"; {units.did_you_mean(name, groups)}'))
    return found
