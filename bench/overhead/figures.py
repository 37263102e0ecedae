"""From measured blocks to figures with intervals, and whether they are within what was set as a target (pure).

The lanes of a block are a pair: what is compared is taken within each, then over the rounds. Estimates are Hodges and
Lehmann's with the exact interval of Wilcoxon's signed ranks (bench/analysis/signed_rank.py): of logarithms for ratios, of
differences for what is added. Columns that stand for themselves are medians.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import units
from bench.analysis import signed_rank
from bench.overhead.record import Measured
from bench.spec import parse

ALPHA = 0.05
HARNESS, BARE, PUBLIC, DISTINCT = "harness", "bare", "public", "distinct"
SLOW_NS = 5000.0  # a client of more CPU a message, on its dearer side, is a slow one
MEASURES = ("rate_per_s", "send_ns", "receive_ns", "send_peak_b", "receive_peak_b")
SIDES = ("producer", "consumer")

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval of at least 95%; no interval below six rounds."""

    value: float
    low: float | None
    high: float | None
    rounds: int

    def scaled(self, by: float) -> Estimate:
        """In another unit."""
        ends = [None if end is None else end * by for end in (self.low, self.high)]
        return Estimate(self.value * by, ends[0], ends[1], self.rounds)


@dataclass(frozen=True)
class Cell:
    """One variant at one size. ``medians`` by lane and measure; the rest against the bare loop of the same API and settings."""

    variant: str
    size_b: int
    medians: Mapping[str, Mapping[str, float]]
    ratio: Estimate  # of rates
    public_ratio: Estimate | None  # harness over the bare loop of the client's public API (a variant that uses another)
    distinct_ratio: Estimate | None  # over the bare loop whose payloads differ
    send_ns: Estimate  # CPU added to a send
    receive_ns: Estimate
    both_ns: Estimate
    distinct_send_ns: Estimate | None  # the same against payloads that differ: what the harness itself adds
    distinct_receive_ns: Estimate | None
    send_peak_b: Estimate | None  # memory added
    receive_peak_b: Estimate | None
    promises_broken: int  # rounds whose audit found so


@dataclass(frozen=True)
class StartUp:
    """Of one variant's endpoints: the import of the adapter with its client, and all the rest until it says hello. ns."""

    variant: str
    side: str  # of SIDES
    import_ns: Estimate
    rest_ns: Estimate


@dataclass(frozen=True)
class Target:
    """What issue 4 asks for, and what was found. ``verdict``: met, missed, or open where the interval holds the bound."""

    variant: str
    size_b: int | None  # None: of every size
    what: str
    bound: float
    at_most: bool
    unit: str
    found: Estimate

    @property
    def verdict(self) -> str:
        """By the interval; by the value alone where there is none."""
        low = self.found.value if self.found.low is None else self.found.low
        high = self.found.value if self.found.high is None else self.found.high
        if not self.at_most:
            low, high = -high, -low
        bound = self.bound if self.at_most else -self.bound
        return "met" if high <= bound else "missed" if low > bound else "open"


def estimate(values: Sequence[float]) -> Estimate:
    """The centre of values that are symmetric about it. Raises ValueError without values."""
    if not values:
        raise ValueError("no round measured it")
    interval = signed_rank.interval(values, ALPHA)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Estimate(signed_rank.centre(values), low, high, len(values))


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """Second over first, of pairs above 0."""
    log = estimate([math.log(head / base) for base, head in pairs])
    ends = [None if end is None else math.exp(end) for end in (log.low, log.high)]
    return Estimate(math.exp(log.value), ends[0], ends[1], log.rounds)


def cells(measured: Measured) -> list[Cell]:
    """One for each size that was measured, smallest first."""
    by_size: dict[int, list[Mapping[str, Sample]]] = {}
    for block in measured.blocks:
        by_size.setdefault(block["size_b"], []).append({sample["lane"]: sample for sample in block["samples"]})
    return [_cell(measured.variant, size_b, blocks) for size_b, blocks in sorted(by_size.items())]


def _cell(variant: str, size_b: int, blocks: Sequence[Mapping[str, Sample]]) -> Cell:
    lanes = [lane for lane in (BARE, PUBLIC, DISTINCT, HARNESS) if all(lane in block for block in blocks)]

    def rates(lane: str) -> Estimate | None:
        return ratio([(block[lane]["rate_per_s"], block[HARNESS]["rate_per_s"]) for block in blocks]) if lane in lanes else None

    def added(of: Callable[[Sample], float | None], lane: str = BARE) -> Estimate | None:
        pairs = [(of(block[lane]), of(block[HARNESS])) for block in blocks] if lane in lanes else []
        known = [head - base for base, head in pairs if base is not None and head is not None]
        return estimate(known) if known else None

    over_bare, send, receive = rates(BARE), added(lambda one: one["send_ns"]), added(lambda one: one["receive_ns"])
    both = added(lambda one: one["send_ns"] + one["receive_ns"])
    assert over_bare is not None and send is not None and receive is not None and both is not None  # noqa: PT018  # a block has both lanes
    return Cell(
        variant, size_b, {lane: _medians([block[lane] for block in blocks]) for lane in lanes},
        ratio=over_bare, public_ratio=rates(PUBLIC), distinct_ratio=rates(DISTINCT), send_ns=send, receive_ns=receive, both_ns=both,
        distinct_send_ns=added(lambda one: one["send_ns"], DISTINCT), distinct_receive_ns=added(lambda one: one["receive_ns"], DISTINCT),
        send_peak_b=added(lambda one: one["send_peak_b"]), receive_peak_b=added(lambda one: one["receive_peak_b"]),
        promises_broken=sum(block[HARNESS]["audit"] == "violated" for block in blocks),
    )  # fmt: skip


def _medians(samples: Sequence[Sample]) -> dict[str, float]:
    known = {name: [one[name] for one in samples if one[name] is not None] for name in MEASURES}
    return {name: statistics.median(values) for name, values in known.items() if values}


def start_ups(measured: Measured) -> list[StartUp]:
    """Of both sides, over every endpoint that was started for a block."""
    samples = [sample for block in measured.blocks for sample in block["samples"] if sample["lane"] == HARNESS]
    found = []
    for side in SIDES:
        each = [sample["start_up"][side] for sample in samples if sample["start_up"].get(side)]
        if each:
            imports, rests = (estimate([float(one[name]) for one in each]) for name in ("import_ns", "rest_ns"))
            found.append(StartUp(measured.variant, side, imports, rests))
    return found


def targets(found: Sequence[Cell], started: Sequence[StartUp]) -> list[Target]:
    """Issue 4, "How fast, how small", where what was measured says something of it."""
    listed: list[Target] = []
    for cell in found:
        variant, size_b = parse(cell.variant), cell.size_b

        def at_most(what: str, bound: float, one: Estimate, cell: Cell = cell) -> Target:
            return Target(cell.variant, cell.size_b, what, bound, at_most=True, unit="ns", found=one)

        def at_least(what: str, bound: float, one: Estimate, cell: Cell = cell) -> Target:
            return Target(cell.variant, cell.size_b, what, bound, at_most=False, unit="x", found=one)

        if variant.system == "zeromq" and size_b == 100:
            listed += [
                at_most("CPU added to a send", 40, cell.send_ns),
                at_most("CPU added to a receive", 100, cell.receive_ns),
                at_least("rate over bare", 0.90, cell.ratio),
            ]
            if cell.public_ratio is not None:
                listed.append(at_least("rate over the public API's bare loop", 1.25, cell.public_ratio))
        elif variant.system == "zeromq" and size_b == 1024:
            listed.append(at_least("rate over bare", 0.95, cell.ratio))
        elif variant.system == "tcp" and size_b == 100:
            listed.append(at_most("CPU added to send and receive together", 80, cell.both_ns))
        bare = cell.medians[BARE]
        if max(bare["send_ns"], bare["receive_ns"]) > SLOW_NS:
            listed.append(at_least("rate over bare", 0.97, cell.ratio))
    ready = "ready, after its client's import"
    return listed + [
        Target(one.variant, None, f"{one.side} {ready}", 300, at_most=True, unit="ms", found=one.rest_ns.scaled(1e-6)) for one in started
    ]


def size_or_all(size_b: int | None) -> str:
    """A size for a table."""
    return "all" if size_b is None else units.show_size(size_b)
