"""What arrived, of the accountant (bench.audit): one group's deliveries, taken in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_order import CHUNK, Order
from bench.audit_repeats import Causes, told_apart
from bench.audit_sent import ConsumerSource, Ident, LaneOf, Sent, fill, longs, parted
from bench.journal import ANY_LANE, CANARY, CORRUPT, REFUSED, Form, Kind, Records, read

_Who = tuple[int, Ident, int]
"""Consumer, (producer, epoch), between which cuts."""


_Row = tuple[_Who, int, int, int, bool, int]
"""Deliveries that continue one another: whose, lane, first, size, whether dense, place of the (first) record in its own journal."""
_AT_ONCE: Final = 1 << 16  # of these made into Python's objects at a time: millions of them would take more memory than all else


class Deliveries:
    """Takes one group's deliveries. ``seen``, ``dead_lettered``, ``expired``, ``refused``: attempted, disjoint; ``received``: any of them.

    ``cuts``: times, ascending; what is repeated or out of order is counted apart for what came before the first of them, from the
    first on, from the second on, ...: ``reordered`` and ``causes.by_cut`` have one place more than cuts.
    """

    def __init__(self, sent: dict[Ident, Sent], lane_of: LaneOf | None, cuts: Sequence[int] = ()) -> None:
        self._sent = sent
        self._lane_of = lane_of
        self._cuts = np.array(cuts, np.int64)
        self._nothing = BitMap64()
        self.seen = {ident: BitMap64() for ident in sent}
        self.twice = {ident: BitMap64() for ident in sent}
        self.stray: dict[Ident, BitMap64] = {}
        self.received = {ident: BitMap64() for ident in sent}
        self.dead_lettered = {ident: BitMap64() for ident in sent}
        self.expired = {ident: BitMap64() for ident in sent}
        self.refused = {ident: BitMap64() for ident in sent}
        self._orders: dict[tuple[int, Ident], Order] = {}
        self.corrupted = self.late = 0
        self.duplicated = 0
        self.causes = Causes(by_cut=[0] * (len(cuts) + 1))  # of all that is duplicated
        self.reordered = [0] * (len(cuts) + 1)

    def take(self, sources: Sequence[ConsumerSource], trial: int) -> None:
        """Account the journals of all members; once."""
        journals = [read(source.folder, source.name, source.start, source.stop) for source in sources]
        chosen = [self._choose(records, trial, worked=source.worked) for source, records in zip(sources, journals, strict=True)]
        if sum(map(len, chosen)):
            self._take(sources, journals, chosen)
        for ident, seen in self.seen.items():
            attempted = self._sent[ident].attempted
            self.received[ident] &= attempted
            self.dead_lettered[ident] &= attempted - seen
            self.expired[ident] &= attempted - seen - self.dead_lettered[ident]
            self.refused[ident] &= attempted - seen - self.dead_lettered[ident] - self.expired[ident]

    @property
    def reordered_max(self) -> int:
        """The largest distance of a first delivery below the highest before it."""
        return max((order.reordered_max for order in self._orders.values()), default=0)

    @property
    def misplaced(self) -> dict[Ident, BitMap64]:
        """Messages whose first delivery was out of order."""
        found: dict[Ident, BitMap64] = {}
        for (_, ident), order in self._orders.items():
            if order.misplaced:
                found[ident] = found.get(ident, self._nothing) | order.misplaced
        return found

    def came_to_an_end(self, ident: Ident) -> BitMap64:
        """Messages of ``ident`` of which is known where they are: processed, dead-lettered, expired, refused."""
        return self.seen[ident] | self.dead_lettered[ident] | self.expired[ident] | self.refused[ident]

    def _take(self, sources: Sequence[ConsumerSource], journals: Sequence[Records], chosen: Sequence[npt.NDArray[np.int64]]) -> None:
        rows, consumer, place = in_order([records.rows[i] for records, i in zip(journals, chosen, strict=True)], chosen)
        for source, records, places in zip(sources, journals, chosen, strict=True):
            self._compare_lanes(source.name, records.rows, places)
        for who, lane, first, size, dense, row in _joined(rows, consumer, place, self._cuts, lanes_known=self._lane_of is not None):
            if dense:
                self._dense(who, lane, first, first + size)
            else:
                records = journals[who[0]]
                self._listed(who, records.sequences(row), records.lanes(row))
        self.causes = told_apart(rows, lambda i: journals[consumer[i]].sequences(int(place[i])), self.twice, self._cuts)

    def _choose(self, records: Records, trial: int, *, worked: bool) -> npt.NDArray[np.int64]:
        """Places of this trial's sound deliveries; what else was delivered is counted. ``worked``: as of ConsumerSource."""
        rows = records.rows
        kind, sound = rows["kind"], rows["flags"] & (CANARY | CORRUPT) == 0
        if worked:
            self._note(self.received, records, np.flatnonzero(sound & (rows["trial"] == trial) & (kind == Kind.RECEIVED)))
            return np.empty(0, np.int64)
        corrupt = (rows["flags"] & (CANARY | CORRUPT) == CORRUPT) & ((kind == Kind.RECEIVED) | (kind == Kind.PROCESSED))
        self.corrupted += int(rows["count"][corrupt].sum(dtype=np.int64))
        mine = sound & (rows["trial"] == trial)
        for bitmaps, of_it in ((self.received, Kind.RECEIVED), (self.dead_lettered, Kind.DEAD), (self.expired, Kind.EXPIRED)):
            self._note(bitmaps, records, np.flatnonzero(mine & (kind == of_it)))
        self._note(self.refused, records, np.flatnonzero(mine & (kind == Kind.RECEIVED) & (rows["flags"] & REFUSED != 0)))
        processed = kind == Kind.PROCESSED
        self.late += int(rows["count"][processed & sound & ~mine].sum(dtype=np.int64))
        return np.flatnonzero(processed & mine)

    def _note(self, bitmaps: dict[Ident, BitMap64], records: Records, places: npt.NDArray[np.int64]) -> None:
        """Add the messages of some records, as far as anything is known of their senders."""
        for chosen in parted(places, [records.rows["producer"][places], records.rows["epoch"][places]]):
            row = records.rows[chosen[0]]
            ident = int(row["producer"]), int(row["epoch"])
            if ident in bitmaps:
                fill(bitmaps[ident], records, chosen)

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

    def _order(self, who: _Who) -> Order:
        order = self._orders.get(who[:2])
        if order is None:
            order = self._orders[who[:2]] = Order(who[1][0], self._lane_of)
        return order

    def _in_order(self, who: _Who, first: int, stop: int, lane: int) -> bool:
        """Take first..stop-1 where that needs no list (Order.dense)."""
        order = self._order(who)
        before = order.reordered
        taken = order.dense(first, stop, lane)
        self.reordered[who[2]] += order.reordered - before
        return taken

    def _dense(self, who: _Who, lane: int, first: int, stop: int) -> None:
        """Take first..stop-1: whole where nothing about it is odd."""
        ident = who[1]
        sent = self._sent.get(ident)
        if sent is not None and sent.attempted.contains_range(first, stop):
            seen = self.seen[ident]
            if not seen.range_cardinality(first, stop) and self._in_order(who, first, stop, lane):
                seen.add_range(first, stop)
                return
        for start in range(first, stop, CHUNK):
            self._listed(who, np.arange(start, min(start + CHUNK, stop), dtype=np.uint64), lane)

    def _listed(self, who: _Who, sequences: npt.NDArray[np.uint64], lanes: npt.NDArray[Any] | int) -> None:
        """Take messages in their order of arrival."""
        ident = who[1]
        distinct = BitMap64(longs(sequences))
        sent = self._sent.get(ident)
        expected = distinct & sent.attempted if sent is not None else self._nothing
        if len(expected) != len(distinct):
            self.stray[ident] = self.stray.get(ident, self._nothing) | (distinct - expected)
            known = _among(sequences, expected)
            sequences = sequences[known]
            lanes = lanes if isinstance(lanes, int) else lanes[known]
            if not len(sequences):
                return
        seen = self.seen[ident]
        again = expected & seen
        fresh = None
        if again or len(expected) != len(sequences):
            fresh = np.zeros(len(sequences), dtype=bool)
            fresh[np.unique(sequences, return_index=True)[1]] = True
            fresh &= ~_among(sequences, again)
            extra = len(sequences) - int(np.count_nonzero(fresh))
            self.duplicated += extra
            self.twice[ident].update(longs(sequences[~fresh]))
        self.seen[ident] = seen | expected if len(expected) > len(seen) else _added(seen, expected)
        order = self._order(who)
        before = order.reordered
        order.listed(sequences, lanes, fresh)
        self.reordered[who[2]] += order.reordered - before


def _added(bitmap: BitMap64, other: BitMap64) -> BitMap64:
    bitmap |= other
    return bitmap


def _among(sequences: npt.NDArray[np.uint64], bitmap: BitMap64) -> npt.NDArray[np.bool_]:
    """Which sequences are in ``bitmap``, a part of them."""
    return np.isin(sequences, np.asarray(bitmap.to_array(), dtype=np.uint64))


def in_order(
    parts: Sequence[npt.NDArray[np.void]], places: Sequence[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The members' deliveries in one order, by time, and each member's as it wrote them: records, whose they are, their places there."""
    rows = np.concatenate(parts)
    consumer = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    # A member's own order stands whatever its clock says.
    times = np.concatenate([np.maximum.accumulate(part["t_last"]) if len(part) else part["t_last"] for part in parts])
    order = np.lexsort((consumer, times))
    return rows[order], consumer[order], np.concatenate(places)[order]


def _joined(
    rows: npt.NDArray[np.void], consumer: npt.NDArray[np.int64], place: npt.NDArray[np.int64], cuts: npt.NDArray[np.int64],
    *, lanes_known: bool,
) -> Iterator[_Row]:  # fmt: skip
    """Join neighbours that continue one another, in order."""
    first, count = rows["first"], rows["count"].astype(np.int64)
    dense = (rows["form"] == Form.RANGE) & ((rows["stride"] == 1) | (count == 1))
    joined = dense[1:] & dense[:-1] & (first[1:] == first[:-1] + count[:-1].astype(np.uint64)) & (consumer[1:] == consumer[:-1])
    slot = np.searchsorted(cuts, rows["t_last"], side="right")
    joined &= slot[1:] == slot[:-1]
    for name in ("producer", "epoch"):
        joined &= rows[name][1:] == rows[name][:-1]
    same_lane = rows["lane"][1:] == rows["lane"][:-1]
    if not lanes_known:
        joined &= same_lane
    starts = np.concatenate(([0], np.flatnonzero(~joined) + 1))
    # Joined over several lanes: lane_of says which.
    mixed = np.add.reduceat(np.concatenate(([False], joined & ~same_lane)).astype(np.int64), starts) > 0
    lane = np.where(mixed, ANY_LANE, rows["lane"][starts])
    size = np.add.reduceat(count, starts)
    for at in range(0, len(starts), _AT_ONCE):
        part, some = starts[at : at + _AT_ONCE], slice(at, at + _AT_ONCE)
        idents = zip(rows["producer"][part].tolist(), rows["epoch"][part].tolist(), strict=True)
        who = zip(consumer[part].tolist(), idents, slot[part].tolist(), strict=True)
        columns = (lane[some], first[part], size[some], dense[part], place[part])
        yield from zip(who, *(column.tolist() for column in columns), strict=True)
