"""The accountant: what became of every message, from the journals alone (pure; runs years later on another machine).

Definitions (docs/guarantees.md): a message is (producer, epoch, sequence). Loss and duplicates are
judged on PROCESSED. Outcomes of group ALL hold for every group, others for theirs only; one without outcome is
indeterminate (INFO); OK of any attempt outweighs all, FAIL holds only where every attempt failed. Who delivered first is
judged within the group, by the time of the records; order within one consumer and (producer, epoch, lane).

Memory is bounded by roaring bitmaps; what is dense in the journals is handled as ranges and never unrolled.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.journal import ALL, ANY_LANE, CANARY, CORRUPT, REDELIVERED, Form, Kind, Records, read

SAMPLES: Final = 20  # ids that an audit names
_CHUNK: Final = 1 << 20  # sequences unrolled at a time

Ident = tuple[int, int]
"""(producer, epoch)."""

LaneOf = Callable[[int, npt.NDArray[np.uint64]], npt.NDArray[Any]]
"""The lanes of sequences of a producer, as the headers have them: a function of the workload."""


class Source(NamedTuple):
    """Records [start, stop) of a producer's journal; stop None = all that are sound (the writer died)."""

    folder: Path
    name: str
    start: int = 0
    stop: int | None = None


class ConsumerSource(NamedTuple):
    """The same of one consumer: member ``member`` of the group with index ``group``. A restarted member is a new consumer."""

    folder: Path
    name: str
    start: int = 0
    stop: int | None = None
    group: int = 0
    member: int = 0


@dataclass(frozen=True)
class GroupAudit:
    """The account of one group: messages, unless it says otherwise. The keys of "audit" in results/README.md."""

    sent: int  # distinct, attempted
    acknowledged: int  # distinct, OK
    processed: int  # distinct, attempted and processed
    lost: int  # acknowledged, never processed
    lost_where: dict[str, int]  # of them before the first, after the last processed of their lane, or between ("prefix", "tail", "middle")
    duplicated: int  # deliveries beyond the first of each message
    redelivered: int  # of those, with the broker's redelivered flag
    reordered: int  # first deliveries below the highest sequence already seen in their scope
    reordered_max: int  # the largest distance of one below it, in sequence numbers
    corrupted: int  # deliveries
    unexpected: int  # distinct, processed and never attempted
    unknown: int  # indeterminate and not processed: never counted as lost
    recovered: int  # indeterminate and processed
    failed_delivered: int  # reported as failed and yet processed
    late: int  # deliveries of another trial's messages
    lost_ids: tuple[tuple[int, int, int], ...] = ()  # the first 20: producer, epoch, sequence
    duplicated_ids: tuple[tuple[int, int, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The counts, as trial.json has them (without the verdict)."""
        return {name: value for name, value in self.__dict__.items() if not name.endswith("_ids")}


class Verdict(NamedTuple):
    """``word``: "clean" (nothing to see), "as promised" (anomalies that the mode allows) or "violated"; with reasons."""

    word: str
    reasons: tuple[str, ...]


_MAY_LOSE: Final = {"none": True, "at-most-once": True, "at-least-once": False, "exactly-once": False}
_MAY_REPEAT: Final = {"none": True, "at-most-once": False, "at-least-once": True, "exactly-once": False}


def verdict(audit: GroupAudit, mode_delivery: str, ordered: bool) -> Verdict:
    """Judge an account by the delivery that the mode promises ("at-least-once", ...) and whether it promises order.

    It says nothing on what was still in flight: whether a group was drained is for the caller to know ("undetermined").
    """
    if mode_delivery not in _MAY_LOSE:
        raise ValueError(f"delivery {mode_delivery!r}: one of {', '.join(_MAY_LOSE)}")
    promise = "no delivery guarantee" if mode_delivery == "none" else mode_delivery
    findings = [
        (audit.lost, _MAY_LOSE[mode_delivery], f"{audit.lost:,} acknowledged messages lost ({promise})"),
        (audit.duplicated, _MAY_REPEAT[mode_delivery], f"{audit.duplicated:,} deliveries repeated ({promise})"),
        (audit.reordered, not ordered, f"{audit.reordered:,} deliveries out of order ({'order' if ordered else 'no order'} is promised)"),
        (audit.corrupted, False, f"{audit.corrupted:,} deliveries corrupted"),
        (audit.unexpected, False, f"{audit.unexpected:,} messages delivered that were never sent"),
        (audit.failed_delivered, False, f"{audit.failed_delivered:,} messages delivered that were reported as failed"),
    ]
    broken = tuple(text for count, allowed, text in findings if count and not allowed)
    if broken:
        return Verdict("violated", broken)
    seen = tuple(text for count, _, text in findings if count)
    return Verdict("as promised", seen) if seen else Verdict("clean", ())


def audit(
    producers: Sequence[Source],
    consumers: Sequence[ConsumerSource],
    *,
    trial: int,
    groups: Sequence[str],
    lane_of: LaneOf | None = None,
) -> dict[str, GroupAudit]:
    """Account trial ``trial`` for each of ``groups`` (names; a ConsumerSource has the index).

    ``lane_of`` is called for attempted messages only, numbers lanes as the headers do, and is needed where a producer has several:
    without it, records that span lanes are judged as one lane, so reordering may come out too high, and the place of a loss
    is that in the producer's whole sequence. ValueError where it contradicts the journals; bench.journal.EvidenceMissing for
    journals that are missing or cut.
    """
    for source in consumers:
        if not 0 <= source.group < len(groups):
            raise ValueError(f"consumer journal {source.name}: group index {source.group}, there are {len(groups)} groups")
    sets = _collect(producers, trial)
    shared = _outcomes([sets.get(ALL, {})])
    audits = {}
    for index, name in enumerate(groups):
        sent = _outcomes([sets.get(ALL, {}), sets[index]]) if index in sets else shared
        account = _Account(sent, lane_of)
        account.take([source for source in consumers if source.group == index], trial)
        audits[name] = account.close()
    return audits


# --- what was sent ---------------------------------------------------------------------------------------------------

_Sets = dict[tuple[int, Ident, int], BitMap64]
"""By (kind, (producer, epoch), attempt)."""


@dataclass(frozen=True)
class _Sent:
    """What became of one producer's messages, for one group: every attempted one is in exactly one of ok, info, fail."""

    attempted: BitMap64
    ok: BitMap64
    info: BitMap64
    fail: BitMap64


def _collect(sources: Sequence[Source], trial: int) -> dict[int, _Sets]:
    """Attempts and outcomes as bitmaps, by group."""
    sets: dict[int, _Sets] = {}
    for source in sources:
        records = read(source.folder, source.name, source.start, source.stop)
        rows = records.rows
        wanted = np.flatnonzero((rows["trial"] == trial) & (rows["kind"] <= Kind.INFO) & (rows["flags"] & CANARY == 0))
        if not len(wanted):
            continue
        columns = [rows[name][wanted] for name in ("attempt", "epoch", "producer", "kind", "group")]
        order = np.lexsort(columns)
        cuts = np.zeros(len(order) - 1, dtype=bool)
        for column in columns:
            cuts |= column[order][1:] != column[order][:-1]
        for chosen in np.split(wanted[order], np.flatnonzero(cuts) + 1):
            row = rows[chosen[0]]
            key = (int(row["kind"]), (int(row["producer"]), int(row["epoch"])), int(row["attempt"]))
            _fill(sets.setdefault(int(row["group"]), {}).setdefault(key, BitMap64()), records, chosen)
    return sets


def _fill(bitmap: BitMap64, records: Records, chosen: npt.NDArray[np.int64]) -> None:
    """Add the messages of the chosen records."""
    rows = records.rows[chosen]
    dense = (rows["form"] == Form.RANGE) & (rows["stride"] == 1)
    if dense.any():
        first = np.sort(rows["first"][dense])
        ends = np.maximum.accumulate((rows["first"] + rows["count"])[dense][np.argsort(rows["first"][dense], kind="stable")])
        gaps = np.flatnonzero(first[1:] > ends[:-1])
        starts, stops = first[np.concatenate(([0], gaps + 1))], ends[np.concatenate((gaps, [-1]))]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            bitmap.add_range(start, stop)
    for i in chosen[~dense].tolist():
        bitmap.update(_longs(records.sequences(i)))


def _longs(sequences: npt.NDArray[np.uint64]) -> array[int]:
    """For pyroaring, which takes an array.array ten times faster than one of numpy."""
    longs = array("Q")
    longs.frombytes(sequences.tobytes())
    return longs


def _outcomes(parts: Sequence[_Sets]) -> dict[Ident, _Sent]:
    """Decide for every message between ok, info and fail."""
    sets: dict[Ident, dict[tuple[int, int], BitMap64]] = {}
    for part in parts:
        for (kind, ident, attempt), bitmap in part.items():
            own = sets.setdefault(ident, {})
            own[kind, attempt] = own[kind, attempt] | bitmap if (kind, attempt) in own else bitmap
    sent = {}
    for ident, own in sets.items():
        union = {kind: BitMap64() for kind in (Kind.ATTEMPT, Kind.OK, Kind.FAIL, Kind.INFO)}
        undecided = BitMap64()  # has an attempt that is not known to have failed
        for (kind, attempt), bitmap in own.items():
            union[Kind(kind)] |= bitmap
            if kind == Kind.ATTEMPT:
                undecided |= bitmap - own.get((Kind.FAIL, attempt), BitMap64())
        ok = union[Kind.OK]
        # An outcome without an attempt is a fault of ours or of the adapter: counted as sent, it shows as a loss.
        attempted = union[Kind.ATTEMPT] | ok | union[Kind.FAIL] | union[Kind.INFO]
        fail = union[Kind.FAIL] - ok - union[Kind.INFO] - undecided
        sent[ident] = _Sent(attempted, ok, attempted - ok - fail, fail)
    return sent


# --- what arrived ----------------------------------------------------------------------------------------------------


@dataclass
class _Order:
    """The highest sequence that one consumer has seen in each lane of one (producer, epoch).

    Dense ranges over all lanes that lie above everything before wait in ``pending`` (ascending): their lanes are worked out
    only when something arrives below them.
    """

    producer: int
    lane_of: LaneOf | None
    lanes: dict[int, int] = field(default_factory=dict)
    top: int = -1
    pending: list[tuple[int, int]] = field(default_factory=list)
    reordered: int = 0
    reordered_max: int = 0

    def dense(self, first: int, stop: int, lane: int) -> bool:
        """Take first..stop-1 where nothing in it can be out of order; False = it must be listed. All are first deliveries."""
        if lane == ANY_LANE and self.lane_of is not None:
            if first <= self.top:
                return False
            if self.pending and self.pending[-1][1] == first:
                self.pending[-1] = (self.pending[-1][0], stop)
            else:
                self.pending.append((first, stop))
                if len(self.pending) > _CHUNK:
                    self._fold(0)
            self.top = stop - 1
            return True
        if self.pending and first <= self.top:
            self._fold(first)
        below = self.lanes.get(lane, -1) - first
        if below > 0:
            if stop - first > 1:
                return False
            self.reordered += 1  # a message alone needs no vectors
            self.reordered_max = max(self.reordered_max, below)
            return True
        self.lanes[lane] = stop - 1
        self.top = max(self.top, stop - 1)
        return True

    def listed(self, sequences: npt.NDArray[np.uint64], lanes: npt.NDArray[Any] | int, fresh: npt.NDArray[np.bool_] | None) -> None:
        """Take sequences in their order of arrival; ``fresh``: which are first deliveries (None = all)."""
        if isinstance(lanes, int) and lanes == ANY_LANE and self.lane_of is not None:
            lanes = self.lane_of(self.producer, sequences)
        if self.pending:
            self._fold(int(sequences.min()))
        numbers = sequences.astype(np.int64)
        self.top = max(self.top, int(numbers.max()))
        if isinstance(lanes, int):
            self._lane(lanes, numbers, fresh)
            return
        order = np.argsort(lanes, kind="stable")
        lanes, numbers = lanes[order], numbers[order]
        fresh = None if fresh is None else fresh[order]
        starts = [0, *(np.flatnonzero(lanes[1:] != lanes[:-1]) + 1).tolist()]
        for lo, hi in zip(starts, [*starts[1:], len(numbers)], strict=True):
            self._lane(int(lanes[lo]), numbers[lo:hi], None if fresh is None else fresh[lo:hi])

    def _lane(self, lane: int, numbers: npt.NDArray[np.int64], fresh: npt.NDArray[np.bool_] | None) -> None:
        highest = np.empty(len(numbers) + 1, np.int64)  # before each, and after the last
        highest[0] = self.lanes.get(lane, -1)
        highest[1:] = numbers
        np.maximum.accumulate(highest, out=highest)
        self.lanes[lane] = int(highest[-1])
        below = highest[:-1] - numbers
        if fresh is not None:
            below = below[fresh]
        count = int(np.count_nonzero(below > 0))
        if count:
            self.reordered += count
            self.reordered_max = max(self.reordered_max, int(below.max()))

    def _fold(self, low: int) -> None:
        """Work out the lanes of what is pending from ``low`` on; what is below cannot matter to anything from ``low`` on."""
        assert self.lane_of is not None
        while self.pending and self.pending[-1][1] > low:
            first, stop = self.pending.pop()
            start = max(first, low, stop - _CHUNK)
            if first < start:
                self.pending.append((first, start))
            numbers = np.arange(start, stop, dtype=np.uint64)[::-1]
            lanes, last = np.unique(self.lane_of(self.producer, numbers), return_index=True)
            for lane, number in zip(lanes.tolist(), numbers[last].tolist(), strict=True):
                self.lanes[lane] = max(self.lanes.get(lane, -1), number)


class _Delivered(NamedTuple):
    """One group's deliveries in order, neighbours that continue one another joined: a list a column."""

    who: list[tuple[int, Ident]]  # consumer, (producer, epoch)
    lane: list[int]
    flags: list[int]
    first: list[int]
    size: list[int]
    dense: list[bool]
    row: list[int]  # of the (first) record, in its own journal


class _Account:
    """Takes one group's deliveries and gives its account."""

    def __init__(self, sent: dict[Ident, _Sent], lane_of: LaneOf | None) -> None:
        self._sent = sent
        self._lane_of = lane_of
        self._nothing = BitMap64()
        self._seen = {ident: BitMap64() for ident in sent}
        self._twice = {ident: BitMap64() for ident in sent}
        self._stray: dict[Ident, BitMap64] = {}
        self._orders: dict[tuple[int, Ident], _Order] = {}
        self._corrupted = self._late = self._duplicated = self._redelivered = 0

    def take(self, sources: Sequence[ConsumerSource], trial: int) -> None:
        """Account the journals of all members."""
        journals = [read(source.folder, source.name, source.start, source.stop) for source in sources]
        chosen = [self._choose(records.rows, trial) for records in journals]
        if not sum(map(len, chosen)):
            return
        table = _merge([records.rows[i] for records, i in zip(journals, chosen, strict=True)], chosen, self._lane_of is not None)
        for source, records, places in zip(sources, journals, chosen, strict=True):
            self._compare_lanes(source.name, records.rows, places)
        for who, lane, flags, first, size, dense, row in zip(*table, strict=True):
            if dense:
                self._dense(who, lane, flags, first, first + size)
            else:
                records = journals[who[0]]
                self._listed(who, records.sequences(row), records.lanes(row), flags)

    def _choose(self, rows: npt.NDArray[np.void], trial: int) -> npt.NDArray[np.int64]:
        """Places of this trial's sound deliveries; what else was delivered is counted."""
        counted = rows["flags"] & CANARY == 0
        corrupt = counted & (rows["flags"] & CORRUPT != 0) & ((rows["kind"] == Kind.RECEIVED) | (rows["kind"] == Kind.PROCESSED))
        self._corrupted += int(rows["count"][corrupt].sum(dtype=np.int64))
        processed = counted & ~corrupt & (rows["kind"] == Kind.PROCESSED)
        self._late += int(rows["count"][processed & (rows["trial"] != trial)].sum(dtype=np.int64))
        return np.flatnonzero(processed & (rows["trial"] == trial))

    def _compare_lanes(self, name: str, rows: npt.NDArray[np.void], places: npt.NDArray[np.int64]) -> None:
        """Hold some lanes as recorded against ``lane_of``: two ways of numbering them would hide what is out of order."""
        if self._lane_of is None:
            return
        for place in places[:: len(places) // 16 + 1].tolist():
            row = rows[place]
            producer, epoch, first, lane = (int(row[name]) for name in ("producer", "epoch", "first", "lane"))
            sent = self._sent.get((producer, epoch))
            if lane == ANY_LANE or row["form"] != Form.RANGE or sent is None or first not in sent.attempted:
                continue
            said = int(self._lane_of(producer, np.array([first], np.uint64))[0])
            if said != lane:
                raise ValueError(f"journal {name}: message {first} of producer {producer} came in lane {lane}, by lane_of it is in {said}")

    def _order(self, who: tuple[int, Ident]) -> _Order:
        order = self._orders.get(who)
        if order is None:
            order = self._orders[who] = _Order(who[1][0], self._lane_of)
        return order

    def _dense(self, who: tuple[int, Ident], lane: int, flags: int, first: int, stop: int) -> None:
        """Take first..stop-1: whole where nothing about it is odd."""
        ident = who[1]
        sent = self._sent.get(ident)
        if sent is not None and sent.attempted.contains_range(first, stop):
            seen = self._seen[ident]
            if not seen.range_cardinality(first, stop) and self._order(who).dense(first, stop, lane):
                seen.add_range(first, stop)
                return
        for start in range(first, stop, _CHUNK):
            self._listed(who, np.arange(start, min(start + _CHUNK, stop), dtype=np.uint64), lane, flags)

    def _listed(self, who: tuple[int, Ident], sequences: npt.NDArray[np.uint64], lanes: npt.NDArray[Any] | int, flags: int) -> None:
        """Take messages in their order of arrival."""
        ident = who[1]
        distinct = BitMap64(_longs(sequences))
        sent = self._sent.get(ident)
        expected = distinct & sent.attempted if sent is not None else self._nothing
        if len(expected) != len(distinct):
            self._stray[ident] = self._stray.get(ident, self._nothing) | (distinct - expected)
            known = _among(sequences, expected)
            sequences = sequences[known]
            lanes = lanes if isinstance(lanes, int) else lanes[known]
            if not len(sequences):
                return
        seen = self._seen[ident]
        again = expected & seen
        fresh = None
        if again or len(expected) != len(sequences):
            fresh = np.zeros(len(sequences), dtype=bool)
            fresh[np.unique(sequences, return_index=True)[1]] = True
            fresh &= ~_among(sequences, again)
            extra = len(sequences) - int(np.count_nonzero(fresh))
            self._duplicated += extra
            self._redelivered += extra if flags & REDELIVERED else 0
            self._twice[ident].update(_longs(sequences[~fresh]))
        self._seen[ident] = seen | expected if len(expected) > len(seen) else _added(seen, expected)
        self._order(who).listed(sequences, lanes, fresh)

    def close(self) -> GroupAudit:
        """The account of all that was taken."""
        sent, seen = self._sent, self._seen
        lost = {ident: own.ok - seen[ident] for ident, own in sent.items()}
        where = {"prefix": 0, "middle": 0, "tail": 0}
        for ident, missing in lost.items():
            if missing:
                for place, count in zip(where, _places(missing, seen[ident], ident[0], self._lane_of), strict=True):
                    where[place] += count
        return GroupAudit(
            sent=sum(len(own.attempted) for own in sent.values()),
            acknowledged=sum(len(own.ok) for own in sent.values()),
            processed=sum(map(len, seen.values())),
            lost=sum(map(len, lost.values())),
            lost_where=where,
            duplicated=self._duplicated,
            redelivered=self._redelivered,
            reordered=sum(order.reordered for order in self._orders.values()),
            reordered_max=max((order.reordered_max for order in self._orders.values()), default=0),
            corrupted=self._corrupted,
            unexpected=sum(map(len, self._stray.values())),
            unknown=sum(len(own.info - seen[ident]) for ident, own in sent.items()),
            recovered=sum(own.info.intersection_cardinality(seen[ident]) for ident, own in sent.items()),
            failed_delivered=sum(own.fail.intersection_cardinality(seen[ident]) for ident, own in sent.items()),
            late=self._late,
            lost_ids=_samples(lost),
            duplicated_ids=_samples(self._twice),
        )


def _added(bitmap: BitMap64, other: BitMap64) -> BitMap64:
    bitmap |= other
    return bitmap


def _among(sequences: npt.NDArray[np.uint64], bitmap: BitMap64) -> npt.NDArray[np.bool_]:
    """Which sequences are in ``bitmap``, a part of them."""
    return np.isin(sequences, np.asarray(bitmap.to_array(), dtype=np.uint64))


def _merge(parts: Sequence[npt.NDArray[np.void]], places: Sequence[npt.NDArray[np.int64]], lanes_known: bool) -> _Delivered:
    """Lay the members' deliveries in one order: by time, and each member's as it wrote them."""
    rows = np.concatenate(parts)
    consumer = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    # A member's own order stands whatever its clock says.
    times = np.concatenate([np.maximum.accumulate(part["t_last"]) if len(part) else part["t_last"] for part in parts])
    order = np.lexsort((consumer, times))
    rows, consumer, place = rows[order], consumer[order], np.concatenate(places)[order]
    first, count = rows["first"], rows["count"].astype(np.int64)
    dense = (rows["form"] == Form.RANGE) & ((rows["stride"] == 1) | (count == 1))
    joined = dense[1:] & dense[:-1] & (first[1:] == first[:-1] + count[:-1].astype(np.uint64)) & (consumer[1:] == consumer[:-1])
    for name in ("producer", "epoch", "flags"):
        joined &= rows[name][1:] == rows[name][:-1]
    same_lane = rows["lane"][1:] == rows["lane"][:-1]
    if not lanes_known:
        joined &= same_lane
    starts = np.concatenate(([0], np.flatnonzero(~joined) + 1))
    # Joined over several lanes: lane_of says which.
    mixed = np.add.reduceat(np.concatenate(([False], joined & ~same_lane)).astype(np.int64), starts) > 0
    lane = np.where(mixed, ANY_LANE, rows["lane"][starts])
    idents = zip(rows["producer"][starts].tolist(), rows["epoch"][starts].tolist(), strict=True)
    return _Delivered(
        who=list(zip(consumer[starts].tolist(), idents, strict=True)),
        lane=lane.tolist(),
        flags=rows["flags"][starts].tolist(),
        first=first[starts].tolist(),
        size=np.add.reduceat(count, starts).tolist(),
        dense=dense[starts].tolist(),
        row=place[starts].tolist(),
    )


# --- where a loss lies -----------------------------------------------------------------------------------------------


def _windows(bitmap: BitMap64, *, backwards: bool = False) -> Iterator[npt.NDArray[np.uint64]]:
    """The members of ``bitmap``, ascending in each window, windows from the lowest or from the highest on."""
    if not bitmap:
        return
    starts: Sequence[int] = range(bitmap.min() // _CHUNK * _CHUNK, bitmap.max() + 1, _CHUNK)
    for start in reversed(starts) if backwards else starts:
        if bitmap.range_cardinality(start, start + _CHUNK):
            window = BitMap64()
            window.add_range(start, start + _CHUNK)
            yield np.asarray((bitmap & window).to_array(), dtype=np.uint64)


def _places(lost: BitMap64, seen: BitMap64, producer: int, lane_of: LaneOf | None) -> tuple[int, int, int]:
    """How many of ``lost`` lie before the first, between, after the last of ``seen`` in their lanes; before, where nothing was seen."""
    if lane_of is None:
        if not seen:
            return len(lost), 0, 0
        prefix, tail = lost.range_cardinality(0, seen.min()), lost.range_cardinality(seen.max() + 1, 1 << 64 - 1)
        return prefix, len(lost) - prefix - tail, tail
    wanted: set[int] = set()
    for window in _windows(lost):
        wanted.update(np.unique(lane_of(producer, window)).tolist())
    lows = _bounds(seen, producer, lane_of, wanted, backwards=False)
    highs = _bounds(seen, producer, lane_of, wanted, backwards=True)
    prefix = tail = 0
    for window in _windows(lost):
        lanes, inverse = np.unique(lane_of(producer, window), return_inverse=True)
        low = np.array([lows.get(lane, (1 << 64) - 1) for lane in lanes.tolist()], np.uint64)[inverse]
        high = np.array([highs.get(lane, (1 << 64) - 1) for lane in lanes.tolist()], np.uint64)[inverse]
        prefix += int(np.count_nonzero(window < low))
        tail += int(np.count_nonzero(window > high))
    return prefix, len(lost) - prefix - tail, tail


def _bounds(seen: BitMap64, producer: int, lane_of: LaneOf, wanted: set[int], *, backwards: bool) -> dict[int, int]:
    """The lowest (or highest) sequence seen in each wanted lane: looks no further than needed."""
    found: dict[int, int] = {}
    for window in _windows(seen, backwards=backwards):
        numbers = window[::-1] if backwards else window
        lanes, index = np.unique(lane_of(producer, numbers), return_index=True)
        for lane, number in zip(lanes.tolist(), numbers[index].tolist(), strict=True):
            found.setdefault(lane, number)
        if wanted <= found.keys():
            break
    return found


def _samples(bitmaps: dict[Ident, BitMap64]) -> tuple[tuple[int, int, int], ...]:
    """The first SAMPLES ids."""
    return tuple(islice(((*ident, number) for ident, bitmap in sorted(bitmaps.items()) for number in bitmap), SAMPLES))
