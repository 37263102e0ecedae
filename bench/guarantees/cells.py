"""Which cells there are: (system, mode, fault), and which of them are tried how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import adapters
from adapters.capabilities import Capabilities, Mode, Support
from adapters.errors import AdapterError, BadSetting
from bench import spec
from bench.deployment import options_of, place_of
from bench.errors import UsageError
from bench.guarantees import shape, timers
from bench.guarantees.expectations import expected
from bench.guarantees.named import BASELINE, FAULTS
from bench.guarantees.shape import Shape
from bench.guarantees.timers import Timers
from bench.guarantees.verdicts import Expectation
from bench.spec import Variant
from bench.units import did_you_mean

CORE_INJECTIONS, INJECTIONS = 20, 3
"""Counted injections of a core cell and of any other, unless the command line says otherwise; a baseline is one trial."""
REFERENCES = ("tcp", "memory")
"""Registered, and no system to choose."""

Picks = Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]]
"""(system, modes, faults)."""

CORE: Picks = (
    ("kafka", ("acks-all", "commit-before"), ("consumer-kill",)),
    ("kafka", ("acks-0", "acks-all", "transactional"), ("server-kill",)),
    ("kafka", ("acks-all",), ("black-hole-long",)),
    ("rabbitmq", ("durable", "transient", "quorum"), ("consumer-kill", "server-kill")),
    ("rabbitmq", ("durable",), ("black-hole-long",)),
    ("sqs", ("standard", "fifo"), ("consumer-kill",)),
    ("zeromq", ("push-pull", "pub-sub", "proxy", "acknowledged"), ("consumer-kill",)),
    ("zeromq", ("push-pull", "acknowledged"), ("producer-kill", "black-hole-long")),
    ("zeromq", ("proxy",), ("server-kill",)),
    ("redis_pubsub", ("pubsub",), ("consumer-kill", "server-kill", "black-hole-long")),
    ("redis_streams", ("group", "noack"), ("consumer-kill",)),
    ("redis_streams", ("group",), ("server-kill", "black-hole-long")),
    ("nats", ("core", "jetstream-file"), ("consumer-kill",)),
    ("nats", ("jetstream-memory", "jetstream-file"), ("server-kill",)),
    ("flume", ("file",), ("server-kill",)),
)
"""What decides between modes: tried often."""

QUICK: Picks = (
    ("redis_pubsub", ("pubsub",), ("consumer-kill", "server-kill")),
    ("redis_streams", ("group", "noack"), ("consumer-kill",)),
    ("zeromq", ("push-pull", "acknowledged"), ("consumer-kill",)),
    ("rabbitmq", ("durable", "transient"), ("consumer-kill",)),
    ("rabbitmq", ("durable",), ("server-kill",)),
    ("kafka", ("acks-all", "commit-before"), ("consumer-kill",)),
    ("kafka", ("acks-all",), ("server-kill",)),
    ("nats", ("jetstream-file",), ("server-kill",)),
)
"""What --quick tries."""


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix; ``wanted``: counted injections."""

    variant: Variant
    mode: Mode
    fault: str
    wanted: int
    core: bool
    expected: Expectation
    timers: Timers
    server: bool
    copies: bool  # a server keeps a copy of each message for each group
    shares: bool  # members of a group share its work

    @property
    def id(self) -> str:
        """Safe in a path: "kafka+mode=acks-all+session_timeout_ms=6000.consumer-kill"."""
        return f"{self.variant.id}.{self.fault}"

    @property
    def name(self) -> str:
        """For people: "kafka acks-all, nodes=3, leader-kill"."""
        options = [f"{key}={value}" for key, value in self.variant.server_options.items()]
        return ", ".join([f"{self.variant.system} {self.mode.name}", *options, self.fault])

    @property
    def unsupported(self) -> str:
        """Why it cannot be tried; "" where it can."""
        return self.expected.unsupported

    def shape(self, missing: int) -> Shape:
        """The trial that makes ``missing`` more injections, or as many of them as fit."""
        title = f"{self.variant.system}, mode {self.mode.name}: {FAULTS[self.fault].title}"
        one = Shape(
            self.variant.spec, title, self.fault, 1, self.timers, server=self.server, copies=self.copies, shares=self.shares,
            groups_max=missing,
        )  # fmt: skip
        return replace(one, times=shape.times(self.fault, -(-missing // one.groups)))


def of(specs: Sequence[str], faults: Sequence[str], *, core: int = CORE_INJECTIONS, others: int = INJECTIONS) -> list[Cell]:
    """The cells of SPECs (a system without mode= stands for all of its modes) and faults by name (patterns; none = all).

    A fault that needs another server than a SPEC has (a leader's death: several nodes) makes no cell with it. Raises UsageError for
    what is unknown.
    """
    variants = [variant for text in specs for variant in _variants(text)]
    for text in (one.spec for i, one in enumerate(variants) if one.spec in {other.spec for other in variants[:i]}):
        raise UsageError(f'"{text}" is named twice')
    wanted = faults_named(faults)
    return [_cell(variant, fault, core, others) for variant in variants for fault in wanted if _there(variant, fault)]


def picked(picks: Picks, wanted: int, systems: Sequence[str] = (), faults: Sequence[str] = ()) -> list[Cell]:
    """The cells that are listed, of modes that there are; ``systems``, ``faults`` (patterns): only of these, () = all."""
    cells: list[Cell] = []
    for system, modes, listed in picks:
        if (systems and system not in systems) or system not in adapters.names():
            continue
        there = {mode.name for mode in adapters.load(system).capabilities.modes}
        chosen = [fault for fault in listed if not faults or fault in faults_named(faults)]
        specs = [f"{system},mode={mode}" for mode in modes if mode in there]
        cells += of(specs, chosen, core=wanted, others=wanted) if chosen and specs else []
    return cells


def systems() -> list[str]:
    """Every system that is compared."""
    return [name for name in adapters.names() if name not in REFERENCES]


def _variants(text: str) -> list[Variant]:
    """A SPEC's variants, one a mode, with the timers of its system among its settings."""
    given = spec.parse(text)
    try:
        modes = adapters.load(given.system, given.client).capabilities.modes
    except AdapterError as error:
        raise UsageError(f'"{text}": {error}') from error
    known = [mode.name for mode in modes]
    if given.mode and given.mode not in known:
        raise UsageError(f'"{text}": unknown mode "{given.mode}"; {did_you_mean(given.mode, known)}')
    made = []
    for mode in [given.mode] if given.mode else known:
        settings = _timers(given, mode).settings
        parts = [given.system, f"mode={mode}"]
        parts += [word for word in given.spec.split(",")[1:] if word.partition("=")[0] not in ("mode", *settings)]
        made.append(spec.parse(",".join(parts + [f"{key}={value}" for key, value in settings.items()])))
    return made


def _timers(variant: Variant, mode: str) -> Timers:
    try:
        nodes = int(variant.server_options.get("nodes", "1"))
        return timers.of(variant.system, mode, dict(variant.settings), nodes=nodes)
    except ValueError as error:
        raise UsageError(f'"{variant.spec}": {error}') from error


def faults_named(patterns: Sequence[str]) -> list[str]:
    """The names that fit the patterns, () = all; UsageError where one fits nothing."""
    for pattern in patterns:
        if not any(fnmatchcase(fault, pattern) for fault in FAULTS):
            raise UsageError(f'unknown fault "{pattern}"; {did_you_mean(pattern, FAULTS)}')
    return [fault for fault in FAULTS if not patterns or any(fnmatchcase(fault, pattern) for pattern in patterns)]


def _there(variant: Variant, fault: str) -> bool:
    """Whether the variant's server has what the fault is done to."""
    return FAULTS[fault].where.items() <= variant.server_options.items()


def _cell(variant: Variant, fault: str, core: int, others: int) -> Cell:
    capabilities, mode = _described(variant)
    is_core = any(variant.system == system and mode.name in modes and fault in faults for system, modes, faults in CORE)
    server = place_of(variant) is not None
    return Cell(
        variant=variant, mode=mode, fault=fault, wanted=1 if fault == BASELINE else core if is_core else others, core=is_core,
        expected=expected(variant.system, mode, fault), timers=_timers(variant, mode.name), server=server,
        copies=server and capabilities.stores and capabilities.fan_out is not Support.UNSUPPORTED,
        shares=capabilities.work_sharing is not Support.UNSUPPORTED,
    )  # fmt: skip


def _described(variant: Variant) -> tuple[Capabilities, Mode]:
    """What an adapter of this variant declares: of its instance, as modes differ."""
    adapter_class = adapters.load(variant.system, variant.client)
    try:
        adapter = adapter_class(options_of(variant))
    except BadSetting as error:
        raise UsageError(f'"{variant.spec}": {error}') from error
    return adapter.capabilities, adapter.mode
