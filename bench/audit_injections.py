"""Which injection of a fault was it? The accountant's anomalies (bench.audit), counted by injection, from the journals alone.

An injection reaches from its time to the time at which the group processes again after its heal. What was attempted in that time
and is lost, unknown or recovered belongs to it; what was attempted after that was in flight when the next one hit, and belongs to the
next (to the last where none follows). What a consumer had received, and nobody ever processed, belongs to the first injection after
that receipt. A repeated delivery belongs to the first injection after the delivery before it, which found the message not acknowledged;
where there was none between the two, to the latest before it, as one out of order does; and to none where that came before the first
injection. So sums over all injections are the account's own counts, but for those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_delivered import Deliveries
from bench.audit_sent import ConsumerSource, Ident, LaneOf, Sent, Source, collect, fill, outcomes, parted
from bench.journal import ALL, CANARY, CORRUPT, Kind, Records, read

_NEVER = (1 << 63) - 1


class Injection(NamedTuple):
    """When a fault began and when it was healed: monotonic ns, as in the journals. None = it was not healed."""

    injected_ns: int
    healed_ns: int | None


@dataclass(frozen=True)
class InjectionCount:
    """What one injection did to one group: messages, unless it says otherwise."""

    in_flight: int  # attempted before it; by then neither processed, failed, dead-lettered, nor lost through an earlier one
    received: int  # of those, in the hands of a consumer: RECEIVED before it
    lost: int  # as in GroupAudit, from here on
    unknown: int
    recovered: int
    duplicated: int  # deliveries
    reordered: int  # deliveries
    first_after_ns: int | None  # when the group processed again after the heal; None: never
    gap_ok_ns: int | None  # the longest time without a confirmation between this injection and the next; None: no attempts after it
    gap_processed_ns: int | None  # the same without anything processed by the group


Slots = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]
"""From times to their places among some others."""

_Slotted = dict[Ident, list[BitMap64]]
"""Messages of each (producer, epoch) by such places."""


def by_injection(
    producers: Sequence[Source],
    consumers: Sequence[ConsumerSource],
    *,
    trial: int,
    groups: Sequence[str],
    injections: Sequence[Injection],
    lane_of: LaneOf | None = None,
) -> dict[str, list[InjectionCount]]:
    """Count trial ``trial`` for each of ``groups`` by ``injections``, which are to be in order of their time; sources as bench.audit.audit.

    Without ``lane_of`` the reordered may come out too high, as there. ValueError for injections that are not in order, or healed
    before they begin; EvidenceMissing for journals that are missing or cut.
    """
    for earlier, later in pairwise(injections):
        if later.injected_ns < earlier.injected_ns:
            told = f"injection at {later.injected_ns} ns after one at {earlier.injected_ns} ns"
            raise ValueError(f"{told}: should be in order of time")
    for one in injections:
        if one.healed_ns is not None and one.healed_ns < one.injected_ns:
            raise ValueError(f"injection at {one.injected_ns} ns: healed at {one.healed_ns} ns, before it began")
    if not injections:
        return {name: [] for name in groups}
    sets = collect(producers, trial)
    sent_journals = [read(source.folder, source.name, source.start, source.stop) for source in producers]
    found = {}
    for index, name in enumerate(groups):
        own = [source for source in consumers if source.group == index]
        sent = outcomes([sets.get(ALL, {}), sets.get(index, {})])
        group = _Group(injections, sent, sent_journals, own, trial=trial, index=index, lane_of=lane_of)
        found[name] = group.counts()
    return found


class _Group:
    """One group's evidence, laid out by injection."""

    def __init__(
        self, injections: Sequence[Injection], sent: dict[Ident, Sent], producers: Sequence[Records], consumers: Sequence[ConsumerSource],
        *, trial: int, index: int, lane_of: LaneOf | None,
    ) -> None:  # fmt: skip
        self._begins = np.array([one.injected_ns for one in injections], np.int64)
        self._heals = [_NEVER if one.healed_ns is None else one.healed_ns for one in injections]
        self._sent = sent
        self._delivered = Deliveries(sent, lane_of, self._begins.tolist())
        self._delivered.take(consumers, trial)
        received = [read(source.folder, source.name, source.start, source.stop) for source in consumers]
        judged = [records for source, records in zip(consumers, received, strict=True) if not source.worked]

        def chosen(journals: Sequence[Records], *kinds: Kind) -> list[_Chosen]:
            return [_Chosen(records, _places(records.rows, trial, index, kinds)) for records in journals]

        self._said = chosen(producers, Kind.ATTEMPT, Kind.OK, Kind.FAIL, Kind.INFO)
        self._failed = chosen(producers, Kind.FAIL)
        self._received, self._processed = chosen(received, Kind.RECEIVED), chosen(judged, Kind.PROCESSED)
        self._ended = chosen(judged, Kind.PROCESSED, Kind.DEAD, Kind.EXPIRED)
        self._attempted_ns, self._confirmed_ns = _times(chosen(producers, Kind.ATTEMPT)), _times(chosen(producers, Kind.OK))
        self._processed_ns = _times(self._processed)

    def counts(self) -> list[InjectionCount]:
        """By injection."""
        n = len(self._begins)
        again = [self._first_after(heal) for heal in self._heals]
        lost, unknown, recovered = [0] * n, [0] * n, [0] * n
        gone: _Slotted = {}
        for ident, owned in self._owned(again).items():
            sent, ended, seen = self._sent[ident], self._delivered.came_to_an_end(ident), self._delivered.seen[ident]
            gone[ident] = []
            for i, mine in enumerate(owned):
                missing, silent = (mine & sent.ok) - ended, (mine & sent.info) - ended
                lost[i] += len(missing)
                unknown[i] += len(silent)
                recovered[i] += (mine & sent.info).intersection_cardinality(seen)
                gone[ident].append(missing | silent)
        in_flight, in_hands = self._in_flight(gone)
        delivered = self._delivered
        return [
            InjectionCount(
                in_flight=in_flight[i], received=in_hands[i], lost=lost[i], unknown=unknown[i], recovered=recovered[i],
                duplicated=delivered.causes.by_cut[i + 1], reordered=delivered.reordered[i + 1], first_after_ns=again[i],
                gap_ok_ns=self._gap(self._confirmed_ns, i), gap_processed_ns=self._gap(self._processed_ns, i),
            )
            for i in range(n)
        ]  # fmt: skip

    def _first_after(self, heal: int) -> int | None:
        at = int(np.searchsorted(self._processed_ns, heal))
        return int(self._processed_ns[at]) if at < len(self._processed_ns) else None

    def _owned(self, again: Sequence[int | None]) -> _Slotted:
        """Every attempted message once: by the injection that its fate belongs to, whatever that is."""
        n = len(self._begins)
        ends = accumulate((_NEVER if time is None else time for time in again), max)
        # What is attempted from here on belongs to the injections after the first: when the one before is over, or the next begins.
        starts = np.array([min(int(begin), end + 1) for begin, end in zip(self._begins[1:], ends, strict=False)], np.int64)
        attempted = _slotted(self._said, lambda times: np.searchsorted(starts, times, side="right"), n)
        received = _slotted(self._received, lambda times: np.minimum(np.searchsorted(self._begins, times), n - 1), n)
        owned: _Slotted = {}
        for ident in self._sent:
            stuck = [mine - self._delivered.seen[ident] for mine in _last(received.get(ident, []))]
            moved = BitMap64.union(*stuck) if stuck else BitMap64()
            owned[ident] = [mine - moved for mine in _first(attempted[ident])]
            for mine, more in zip(owned[ident], stuck, strict=False):
                mine |= more & self._sent[ident].attempted  # noqa: PLW2901  # in place
        return owned

    def _in_flight(self, gone: _Slotted) -> tuple[list[int], list[int]]:
        """At each injection: attempted and open; and of those, received."""
        n = len(self._begins)

        def by_then(journals: Sequence[_Chosen]) -> _Slotted:
            return _slotted(journals, lambda times: np.searchsorted(self._begins, times, side="right"), n + 1)

        said, failed, received = by_then(self._said), by_then(self._failed), by_then(self._received)
        ended = by_then(self._ended)
        counts, in_hands = [0] * n, [0] * n
        for ident, sent in self._sent.items():
            before, done, taken = BitMap64(), BitMap64(), BitMap64()
            for i in range(n):
                before |= said[ident][i]
                if ident in ended:
                    done |= ended[ident][i]
                if ident in failed:
                    done |= failed[ident][i] & sent.fail
                if i:
                    done |= gone[ident][i - 1]
                if ident in received:
                    taken |= received[ident][i]
                flying = before - done
                counts[i] += len(flying)
                in_hands[i] += flying.intersection_cardinality(taken)
        return counts, in_hands

    def _gap(self, times: npt.NDArray[np.int64], i: int) -> int | None:
        """The longest time without one of ``times`` from injection i to the next, while there were attempts."""
        begin = int(self._begins[i])
        end = int(self._attempted_ns[-1]) if len(self._attempted_ns) else begin
        if i + 1 < len(self._begins):
            end = min(end, int(self._begins[i + 1]))
        if end <= begin:
            return None
        within = times[np.searchsorted(times, begin) : np.searchsorted(times, end)]
        return int(np.diff(np.concatenate(([begin], within, [end]))).max())


class _Chosen(NamedTuple):
    """Some records of a journal."""

    records: Records
    places: npt.NDArray[np.int64]


def _places(rows: npt.NDArray[np.void], trial: int, group: int, kinds: Sequence[Kind]) -> npt.NDArray[np.int64]:
    """Sound records of ``kinds`` of a trial that hold for ``group``."""
    ours = (rows["trial"] == trial) & (rows["flags"] & (CANARY | CORRUPT) == 0) & ((rows["group"] == group) | (rows["group"] == ALL))
    return np.flatnonzero(ours & np.isin(rows["kind"], kinds))


def _times(journals: Sequence[_Chosen]) -> npt.NDArray[np.int64]:
    """First and last times of all records, ascending."""
    columns = [records.rows[name][places] for records, places in journals for name in ("t_first", "t_last")]
    return np.sort(np.concatenate(columns)) if columns else np.zeros(0, np.int64)


def _slotted(journals: Sequence[_Chosen], slot: Slots, n: int) -> _Slotted:
    """Messages by place of their records' time (from when an attempt began, until when a delivery had come), 0 ... n - 1."""
    found: _Slotted = {}
    for records, places in journals:
        rows = records.rows[places]
        times = np.where(rows["kind"] <= Kind.INFO, rows["t_first"], rows["t_last"])
        slots = slot(times)
        for chosen in parted(np.arange(len(places)), [rows["producer"], rows["epoch"], slots]):
            row, at = rows[chosen[0]], int(slots[chosen[0]])
            bitmaps = found.setdefault((int(row["producer"]), int(row["epoch"])), [BitMap64() for _ in range(n)])
            fill(bitmaps[at], records, places[chosen])
    return found


def _first(slots: Sequence[BitMap64]) -> list[BitMap64]:
    """Each message in the first of its places only."""
    before = BitMap64()
    kept = []
    for mine in slots:
        kept.append(mine - before)
        before |= mine
    return kept


def _last(slots: Sequence[BitMap64]) -> list[BitMap64]:
    """Each message in the last of its places only."""
    return _first(slots[::-1])[::-1]
