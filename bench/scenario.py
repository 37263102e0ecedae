"""Scenarios: a workload in YAML, strictly modelled, whose sweep axes make the points that are measured.

`load` reads one by name or path. Whatever is wrong in a file is told at once, each with file, line, field and what would
be right. `Scenario.points` resolves it into plain workloads; nothing after that knows YAML.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from bench import (
    marked_yaml,
    placement,
    plan,
    scenario_errors,
    scenario_faults,
    scenario_ladder,
    scenario_load,
    scenario_payload,
    spec,
    units,
)
from bench.errors import UsageError
from bench.scenario_faults import FaultPart
from bench.scenario_fields import (
    AXES,
    NAME,
    ROUNDS,
    SEED,
    SERIES,
    TICK,
    WINDOW,
    Asks,
    Batch,
    Keys,
    Lanes,
    Part,
    Payload,
    Poison,
    Quantity,
    Sweep,
    Timing,
    Topology,
    a_list,
    choice,
    part_of,
    pin_word,
)
from bench.scenario_gate import Gate
from bench.scenario_load import Load
from bench.workload import Point, Workload

FIVE = ("kafka", "rabbitmq", "sqs", "zeromq", "redis_pubsub")
"""What is compared where a scenario names no systems."""

FLOOR = "tcp"
"""The system of the floor's lane."""

PROCESSES_MAX = 128  # endpoints of one variant on one machine
POINTS_MAX = 1000
BLOCK_BYTES_MAX = 256 << 20  # a batch is one buffer
SCALE_MIN, SCALE_MAX = 0.001, 100.0  # of the command line: a tenth of a second is the shortest window anyhow
HELD_BYTES_MAX = 2 << 30  # what one producer may hold unresolved


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f'"{value}": a scenario\'s name has small letters, digits, - and _, at most 32, as folders are named after it')
    return value


def _systems(value: object) -> tuple[str, ...]:
    listed = a_list(value)
    assert isinstance(listed, Sequence)
    if not listed or not all(isinstance(item, str) for item in listed):
        raise ValueError("systems are a list of SPECs, such as [kafka, 'zeromq,profile=tuned']")
    try:
        return tuple(variant.spec for variant in spec.parse_all(list(listed)))
    except UsageError as error:
        raise ValueError(str(error)) from error


def _reference(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("the reference is one of the systems, a SPEC such as kafka; leave it out to have them all in turn")  # noqa: TRY004  # what pydantic turns into a message
    try:
        return spec.parse(value).spec if value else ""
    except UsageError as error:
        raise ValueError(str(error)) from error


class Scenario(Part):
    """A workload and the systems that it is to run on. Made by `load` and `parse`, which check what spans several fields."""

    name: Annotated[str, BeforeValidator(_name)] = Field(
        description="short, as folders and commands have it; the file's own name by default"
    )
    title: str = Field("", description="one line for a report's headline")
    description: str = Field("", description="what it stands for, in a few sentences")
    systems: Annotated[tuple[str, ...], BeforeValidator(_systems)] = Field(
        FIVE, description="what is compared, each a SPEC: system[,key=value...]; with a ladder its steps' systems"
    )
    ladder: Annotated[tuple[scenario_ladder.Step, ...], BeforeValidator(scenario_ladder.read)] = Field(
        (), description="steps from one variant to another, each changing what it names: what that one thing costs and buys; a list"
    )
    topology: Topology = Field(default_factory=Topology, description="who talks to whom")
    keys: Keys = Field(default_factory=Keys, description="the keys of messages")
    payload: Payload = Field(default_factory=Payload, description="what a message carries")
    load: Load = Field(default_factory=Load, description="when messages are sent")
    timing: Timing = Field(default_factory=Timing, description="the phases of one trial")
    batch: Batch = Field(default_factory=Batch, description="how messages are bundled")
    processing: Annotated[dict[str, float] | None, BeforeValidator(scenario_faults.read_work)] = Field(
        None, description="a consumer's work on each message, such as 2 ms, or by group: {inventory: 2 ms, payment: 20 ms}; none by default"
    )
    poison: Poison | None = Field(None, description="messages that consumers give back, as one that makes their program fail")
    faults: tuple[FaultPart, ...] = Field((), description="what is broken while the load runs, and healed again; a list")
    tick: Annotated[float, TICK] = Field(
        0.0005,
        description="shortest time between two wake-ups of a producer, all that is due is sent at each; spin = never sleep, "
        "where a core is free for it",
    )
    window: Annotated[int, WINDOW] = Field(
        10_000, description="most messages of a producer without an outcome; a full window blocks the producer"
    )
    rounds: Annotated[int, ROUNDS] = Field(3, description="how often each system is measured at each point, in shuffled order")
    series: Annotated[int, SERIES] = Field(1, description="how often all rounds are repeated on restarted servers")
    reference: Annotated[str, BeforeValidator(_reference)] = Field(
        "", description="the system that is measured twice in each round (lanes.aa); by default all of them in turn"
    )
    pin: Annotated[str, choice(*placement.WORDS), BeforeValidator(pin_word)] = Field(
        "auto", description="auto | on | off: every endpoint and server on cores of its own; auto = where there are enough of them"
    )
    lanes: Lanes = Field(default_factory=Lanes, description="what is measured beside the systems, so that figures can be trusted")
    seed: Annotated[int, SEED] = Field(1, description="of keys, payloads and the order of execution")
    asks: Asks = Field(default_factory=Asks, description="what the workload needs of a system")
    sweep: Sweep = Field(default_factory=Sweep, description="axes whose values are measured one by one")
    gate: Gate | None = Field(None, description="what `brokerbench gate` compares on this scenario, and which change matters")

    def points(self) -> list[Point]:
        """One workload for each combination of the axes' values; the rate varies fastest."""
        axes = {name: values for name in AXES if (values := getattr(self.sweep, name)) is not None}
        return [self._point(dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]

    @property
    def payload_bytes_max(self) -> int:
        """The largest message of any point: what adapters are made for (adapters.base.Options)."""
        return max(point.workload.largest_b for point in self.points())

    def variants(self) -> list[spec.Variant]:
        """What is compared, in the scenario's order."""
        return spec.parse_all(self.systems)

    def floor(self) -> spec.Variant | None:
        """The raw-TCP reference; None where it is switched off or among the systems."""
        return None if not self.lanes.floor or any(one.system == FLOOR for one in self.variants()) else spec.parse(FLOOR)

    def planned(self) -> list[plan.Planned]:
        """All trials in their order, lanes included."""
        reference = spec.parse(self.reference).id if self.reference else ""
        lanes = plan.Lanes(aa=self.lanes.aa, reference=reference, floor=self.floor())
        return plan.make(self.points(), self.variants(), rounds=self.rounds, series=self.series, seed=self.seed, lanes=lanes)

    def load_s(self) -> float:
        """Seconds under load with all systems and lanes: warm-up and measurement of every trial, nothing of starting or draining."""
        a_block = len(self.systems) + self.lanes.aa + (self.floor() is not None)
        return len(self.points()) * a_block * self.rounds * self.series * (self.timing.warmup + self.timing.measure)

    def override(
        self,
        *,
        systems: Sequence[str] | None = None,
        rounds: int | None = None,
        series: int | None = None,
        seed: int | None = None,
        warmup: str | None = None,
        measure: str | None = None,
        drain: str | None = None,
        axes: Mapping[str, Sequence[str]] | None = None,
        lanes: bool = True,
        pin: str | None = None,
        scale: float | None = None,
    ) -> Scenario:
        """This scenario with values of the command line; texts with their units. ``axes`` replaces the values of an axis.

        ``lanes`` False switches both off. A reference that is none of the ``systems`` is forgotten, and so is a ladder of which
        they lack a step. ``scale`` multiplies the times of load and faults, before others are set.
        Raises UsageError as a file with these values would, naming the option instead of a line.
        """
        data = self.to_data()
        given = {"systems": list(systems) if systems else None, "rounds": rounds, "series": series, "seed": seed, "pin": pin}
        data.update({name: value for name, value in given.items() if value is not None})
        for name in self._forgotten(systems or ()):
            data.pop(name, None)
        if not lanes:
            data["lanes"] = dict.fromkeys(Lanes.model_fields, False)
        if scale is not None:
            if not SCALE_MIN <= scale <= SCALE_MAX:
                raise UsageError(f"--scale {scale:g}: a number from {SCALE_MIN:g} to {SCALE_MAX:g}, such as 0.1 for a tenth of the time")
            scenario_faults.scaled(data, scale)
        timing = {"warmup": warmup, "measure": measure, "drain": drain}
        data["timing"].update({name: value for name, value in timing.items() if value is not None})
        for name, values in (axes or {}).items():
            if name not in AXES:
                raise UsageError(f'unknown axis "{name}"; {units.did_you_mean(name, AXES)}')
            field = AXES[name].field
            if field:
                data.get(field[0], {}).pop(field[1], None)
            if name == "size":
                data["payload"] = {key: value for key, value in data.get("payload", {}).items() if key in {"content", "ratio"}}
            data.setdefault("sweep", {})[name] = list(values)
        return _validated(marked_yaml.Marked(f"{self.name} with the values of the command line", data))

    def _forgotten(self, systems: Sequence[str]) -> list[str]:
        """Fields that name a system that is none of ``systems`` (none: as in the file)."""
        if not systems or not (self.reference or self.ladder):
            return []
        chosen = {spec.parse(one).spec for one in systems}
        named = {"reference": {self.reference} - {""}, "ladder": {step.system for step in self.ladder}}
        return [name for name, needed in named.items() if not needed <= chosen]

    def to_data(self) -> dict[str, Any]:
        """Plain data with units, every default written out; `parse` reads it back to an equal scenario."""
        data = {name: _plain(getattr(self, name), field) for name, field in type(self).model_fields.items()}
        for name, axis in AXES.items():
            if axis.field and getattr(self.sweep, name) is not None:
                data[axis.field[0]].pop(axis.field[1], None)  # the axis has the values
        if not self._keyed(self.topology.routing):
            del data["keys"]
        elif self.keys.distribution != "zipf":
            del data["keys"]["exponent"]
        if self.keys.distribution == "replay" and "keys" in data:
            del data["keys"]["count"]
        for name in scenario_payload.idle(self.payload):
            del data["payload"][name]
        if self.processing is not None:
            data["processing"] = scenario_faults.show_work(self.processing)
        return {name: value for name, value in data.items() if value not in ({}, [], "", None)}

    def _keyed(self, routing: str) -> bool:
        """Whether messages are about keys: what is sent by key is, what goes in turn beside that, or where the scenario says which."""
        return "key" in (routing, *(self.sweep.routing or ())) or "keys" in self.model_fields_set

    def kept(self, folder: Path) -> Scenario:
        """This scenario with the files that it names copied to ``folder``, a run's, from where endpoints read them."""
        load, payload = scenario_load.kept(self.load, folder), scenario_payload.kept(self.payload, folder)
        return self.model_copy(update={"load": load, "payload": payload})

    def to_yaml(self, folder: Path | None = None) -> str:
        """The effective scenario, as a file that reads back; what lies in ``folder`` is named as from there."""
        data = self.to_data()
        for part in (data["load"], data.get("payload", {})):
            if folder is not None and "file" in part and Path(part["file"]).is_relative_to(folder):
                part["file"] = str(Path(part["file"]).relative_to(folder))
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

    def recorded_sizes(self) -> scenario_payload.Recorded:
        """Of a replay: the sizes of what is sent in a trial, and where they all are."""
        return scenario_load.sizes(self.load, self.timing.warmup + self.timing.measure)

    def _point(self, at: dict[str, Any]) -> Point:
        names = [f"g{i + 1}" for i in range(at["groups"])] if "groups" in at else list(self.topology.groups or {})
        members = {name: at.get("members", (self.topology.groups or {}).get(name, 1)) for name in names}
        routing = at.get("routing", self.topology.routing)
        keyed = self._keyed(routing)
        recorded = scenario_load.keys(self.load) if keyed and self.keys.distribution == "replay" else None
        batch = at.get("batch", self.batch.send)
        bodies = scenario_payload.bodies(self.payload, at.get("size"), self.seed, self.recorded_sizes())
        size = round(bodies.mean_b) if bodies is not None else at.get("size", self.payload.size)
        assert size is not None  # _spanning() saw to it
        workload = Workload(
            rate_per_s=at.get("rate", self.load.rate),
            size_b=size,
            warmup_s=self.timing.warmup,
            measure_s=self.timing.measure,
            drain_s=self.timing.drain,
            tick_s=self.tick,
            batch=batch,
            ack_every=self.batch.ack_every or batch,
            ack_interval_s=self.batch.ack_interval,
            window=self.window,
            producers=at.get("producers", self.topology.producers),
            groups=tuple(members.items()),
            partitions=at.get("partitions", self.topology.partitions),
            routing=routing,
            key_count=recorded[0] if recorded else self.keys.count if keyed else 0,
            key_table=recorded[1] if recorded else "",
            key_zipf=self.keys.exponent if keyed and self.keys.distribution == "zipf" else 0.0,
            seed=self.seed,
            bodies=bodies,
            processing_s=scenario_faults.work_of(self.processing or {}, members),
            faults=tuple(fault.plain() for fault in self.faults),
            poison_every=self.poison.every if self.poison else 0,
            poison_how=self.poison.how if self.poison else "requeue",
            distance_s=at.get("distance"),
        )
        axes = tuple((name, value) for name, value in at.items() if name not in {"rate", "size"})
        return Point(scenario_load.into(workload, self.load), axes)


def load(path_or_name: str | Path) -> Scenario:
    """The scenario of a file, or a shipped one by its name; raises UsageError with file, line and field."""
    path = path_of(path_or_name)
    try:
        with path.open("rb") as file:
            content = file.read(marked_yaml.BYTES_MAX + 1)  # /dev/zero has no end
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder; give a scenario file, or one of: {', '.join(names())}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).lstrip("-_0123456789")[:32] or "scenario"
    return parse(content, where=str(path), name=name, folder=path.parent)


def parse(content: str | bytes, *, where: str, name: str | None = None, folder: Path = Path()) -> Scenario:
    """The scenario of a YAML text; ``where`` is what errors call it, ``name`` its name unless it has one.

    ``folder``: where the files lie that it names.
    """
    marked = marked_yaml.read(content.encode() if isinstance(content, str) else content, where)
    for part in ("load", "payload"):
        scenario_load.located(marked.data.get(part), folder)
    if name is not None:
        marked.data.setdefault("name", name)
    return _validated(marked)


def path_of(path_or_name: str | Path) -> Path:
    """Where a scenario lies; raises UsageError that says which names there are."""
    text = str(path_or_name)
    path = Path(path_or_name)
    if path.exists() and (isinstance(path_or_name, Path) or "/" in text or path.suffix in {".yaml", ".yml"}):
        return path
    name = text.replace("_", "-")
    if name in names():
        return folder() / f"{name}.yaml"
    if text and path.exists():
        return path
    if "/" in text or path.suffix in {".yaml", ".yml"}:
        near = units.nearest(path.stem.replace("_", "-"), names())
        hint = f'; did you mean the shipped scenario "{near}"?' if near else f"; shipped ones need no path: {', '.join(names())}"
        raise UsageError(f"{text}: no such file{hint}")
    raise UsageError(f'no scenario "{text}"; {units.did_you_mean(name, names())}')


def names() -> list[str]:
    """The shipped scenarios."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def folder() -> Path:
    """Where the shipped scenarios lie: in the wheel beside this module, in a checkout beside its folder."""
    here = Path(__file__).resolve().parent
    packed = here / "data" / "scenarios"
    return packed if packed.is_dir() else here.parent / "scenarios"


def explain() -> list[tuple[str, str, str]]:
    """(field, default, description) of every field, for help texts."""
    return list(_explained(Scenario, ""))


def _explained(model: type[BaseModel], prefix: str) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        inner = part_of(field.annotation)
        if inner is not None:
            rows.append((f"{prefix}{name}", "", field.description or ""))
            rows.extend(_explained(inner, f"{prefix}{name}."))
        else:
            default = "" if field.is_required() or field.default in (None, "", {}) else _plain(field.default, field)
            shown = ", ".join(default) if isinstance(default, list) else str(default).lower() if default is True else str(default)
            rows.append((f"{prefix}{field.alias or name}", shown, field.description or ""))
    return rows


def _plain(value: Any, field: Any) -> Any:
    """A field's value as YAML has it: with its unit, parts as mappings, what is None left out."""
    if isinstance(value, Sweep):
        quantities = {name: axis.quantity for name, axis in AXES.items()}
        return {name: [_shown(v, quantities[name]) for v in values] for name in AXES if (values := getattr(value, name)) is not None}
    if isinstance(value, BaseModel):
        parts = type(value).model_fields
        made = {part.alias or name: _plain(getattr(value, name), part) for name, part in parts.items() if getattr(value, name) is not None}
        return value.shown(made) if isinstance(value, Part) else made
    if isinstance(value, tuple):
        return [_plain(one, field) if isinstance(one, BaseModel) else one for one in value]
    if isinstance(value, dict):
        return dict(value)
    quantity = next((one for one in field.metadata if isinstance(one, Quantity)), None)
    return _shown(value, quantity) if quantity else value


def _shown(value: Any, quantity: Quantity) -> Any:
    return value if quantity.parse is units.count else quantity.show(value)


def _validated(marked: marked_yaml.Marked) -> Scenario:
    try:
        scenario = Scenario.model_validate(marked.data)
    except ValidationError as error:
        raise UsageError(scenario_errors.told(marked, scenario_errors.of_validation(error, Scenario))) from None
    if scenario.ladder and "systems" not in scenario.model_fields_set:
        scenario = scenario.model_copy(update={"systems": tuple(dict.fromkeys(step.system for step in scenario.ladder))})
    problems = [*_spanning(scenario), *_strange_reference(scenario)] or _limits(scenario)
    if problems or marked.problems:
        raise UsageError(scenario_errors.told(marked, problems))
    return scenario


def _spanning(scenario: Scenario) -> list[scenario_errors.Problem]:
    """What only shows when several fields are seen together."""
    problems: list[scenario_errors.Problem] = []
    sweep, load_, topology = scenario.sweep, scenario.load, scenario.topology
    for name, axis in AXES.items():
        if axis.field is None or getattr(sweep, name) is None:
            continue
        if axis.field[1] in getattr(scenario, axis.field[0]).model_fields_set:
            problems.append((axis.field, f"sweep.{name} has the values of this field; remove one of the two"))
    problems += scenario_load.problems(load_, rates_swept=sweep.rate is not None, warmup_s=scenario.timing.warmup)
    problems += scenario_payload.problems(
        scenario.payload, swept=sweep.size is not None, seed=scenario.seed, recorded=scenario.recorded_sizes()
    )
    if sweep.distance is not None and any(fault.fault == "network" for fault in scenario.faults):
        problems.append((("sweep", "distance"), "a network fault is healed by taking all delays off its link; leave one of the two out"))
    if not topology.groups and sweep.groups is None:
        problems.append((("topology",), 'the consumer groups are missing: write "groups: {inventory: 1}" (or sweep.groups)'))
    return problems + scenario_ladder.problems(scenario.ladder, scenario.systems) + _of_keys(scenario)


def _of_keys(scenario: Scenario) -> list[scenario_errors.Problem]:
    keys = scenario.keys
    if keys.distribution == "replay":
        found: list[scenario_errors.Problem] = []
        if scenario_load.keys(scenario.load) is None:
            needs = "replay needs load: {schedule: replay, file: ...}, a file with a column key"
            found.append((("keys", "distribution"), needs))
        return found + [(("keys", n), "the file has the keys; remove it") for n in ("count", "exponent") if n in keys.model_fields_set]
    if keys.distribution == "uniform" and "exponent" in keys.model_fields_set:
        return [(("keys", "exponent"), "belongs to distribution: zipf; remove it, or write distribution: zipf")]
    return []


def _strange_reference(scenario: Scenario) -> list[scenario_errors.Problem]:
    if not scenario.reference or scenario.reference in scenario.systems:
        return []
    return [(("reference",), f'"{scenario.reference}" is none of the systems: {", ".join(scenario.systems)}')]


def _limits(scenario: Scenario) -> list[scenario_errors.Problem]:
    """What a machine cannot hold, judged at every point; each limit is told once."""
    points = scenario.points()
    problems: dict[marked_yaml.Path, str] = {}
    if len(points) > POINTS_MAX:
        return [(("sweep",), f"the axes make {len(points):,} points; at most {POINTS_MAX:,}")]
    for work in (point.workload for point in points):
        processes = work.producers + sum(members for _, members in work.groups)
        if processes > PROCESSES_MAX:
            problems.setdefault(("topology",), f"{processes} processes at one point; at most {PROCESSES_MAX}, as all share this machine")
        for field, count, limit in ((("batch", "send"), work.batch, BLOCK_BYTES_MAX), (("window",), work.window, HELD_BYTES_MAX)):
            if max(count * work.mean_b, work.largest_b) > limit:
                held = f"{count:,} messages of {units.show_size(work.size_b)} do not fit in {units.show_size(limit)}"
                problems.setdefault(field, f"{held}, which is what a producer may hold; at most {int(limit / work.mean_b):,}")
        load_s = work.warmup_s + work.measure_s
        wrong = scenario_faults.problems(scenario.faults, scenario.processing, dict(work.groups), producers=work.producers, load_s=load_s)
        for path, text in wrong:
            problems.setdefault(path, text)
        if work.window < work.batch:
            problems.setdefault(("window",), f"{work.window:,} is less than a batch of {work.batch:,}, which could then never be sent")
    return list(problems.items())
