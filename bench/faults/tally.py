"""What the journals of a running trial say so far: what is acknowledged, what is processed, and what is missing still.

The drain waits for it (bench.faults.drain) and conditions ("after 10,000 acknowledged") look at it. A count of deliveries would be
a hint only, as one duplicate hides one loss; and endpoints that are frozen or dead can be asked nothing, their journals can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_sent import longs
from bench.faults.tail import Tail
from bench.journal import ALL, CANARY, CORRUPT, REFUSED, Form, Kind, Records

Ident = tuple[int, int]
"""(producer, epoch)."""
Sets = dict[Ident, BitMap64]


@dataclass
class _Followed:
    tail: Tail
    group: int  # of a consumer: index of its group; of a producer: ALL


class Tally:
    """Follows the journals of a trial. Counts are of distinct messages, groups by index."""

    def __init__(self, folder: Path, trial: int, groups: int) -> None:
        self._folder, self._trial = folder, trial
        self._followed: list[_Followed] = []
        self._attempted: Sets = {}
        self._ok: dict[int, Sets] = {group: {} for group in (ALL, *range(groups))}
        self._processed: list[Sets] = [{} for _ in range(groups)]
        self._refused: list[Sets] = [{} for _ in range(groups)]  # poison: received, given back, never processed

    def follow(self, name: str, start: int, group: int = ALL) -> None:
        """Take up a journal from record ``start`` on; ``group``: of a consumer."""
        self._followed.append(_Followed(Tail(self._folder, name, start), group))

    def update(self) -> int:
        """Read what came since the last time; return how many deliveries that were, repeated ones included."""
        came = 0
        for one in self._followed:
            records = one.tail.new()
            rows = records.rows
            if not len(rows):
                continue
            wanted = (rows["trial"] == self._trial) & (rows["flags"] & (CANARY | CORRUPT) == 0)
            if one.group == ALL:
                _add(self._attempted, records, wanted & (rows["kind"] == Kind.ATTEMPT))
                for group, sets in self._ok.items():
                    _add(sets, records, wanted & (rows["kind"] == Kind.OK) & (rows["group"] == group))
            else:
                done = wanted & (rows["kind"] == Kind.PROCESSED)
                came += int(rows["count"][done].sum(dtype=np.int64))
                _add(self._processed[one.group], records, done)
                _add(self._refused[one.group], records, wanted & (rows["kind"] == Kind.RECEIVED) & (rows["flags"] & REFUSED != 0))
        return came

    def missing(self) -> list[int]:
        """How many messages are acknowledged and neither processed nor refused, by group."""
        nothing = BitMap64()
        found = []
        for group, (done, refused) in enumerate(zip(self._processed, self._refused, strict=True)):
            count = 0
            for ident in {*self._ok[ALL], *self._ok[group]}:
                ok = self._ok[ALL].get(ident, nothing) | self._ok[group].get(ident, nothing)
                count += len(ok - done.get(ident, nothing) - refused.get(ident, nothing))
            found.append(count)
        return found

    def refused(self) -> list[int]:
        """How many messages were given back as poison, by group."""
        return [_size(sets) for sets in self._refused]

    def count(self, what: str) -> int:
        """One of bench.faults.model.COUNTS: of the group that has fewest, where groups differ."""
        if what == "sent":
            return _size(self._attempted)
        if what == "processed":
            return min(map(_size, self._processed))
        return _size(self._ok[ALL]) + min(_size(sets) for group, sets in self._ok.items() if group != ALL)


@dataclass(frozen=True)
class Fed:
    """A tally of a group's outputs, which the runner has to read first (bench.outputs): ``take``."""

    tally: Tally
    take: Callable[[], object]

    def update(self) -> int:
        """As Tally.update()."""
        self.take()
        return self.tally.update()

    def missing(self) -> list[int]:
        """As Tally.missing()."""
        return self.tally.missing()


def _size(sets: Sets) -> int:
    return sum(map(len, sets.values()))


def _add(sets: Sets, records: Records, chosen: npt.NDArray[np.bool_]) -> None:
    """Add the messages of the chosen records (a mask): ranges as such, never unrolled."""
    places = np.flatnonzero(chosen)
    rows = records.rows[places]
    dense = (rows["form"] == Form.RANGE) & ((rows["stride"] == 1) | (rows["count"] == 1))
    columns = (rows[name].tolist() for name in ("producer", "epoch", "first", "count"))
    for i, whole, producer, epoch, first, count in zip(places.tolist(), dense.tolist(), *columns, strict=True):
        bitmap = sets.setdefault((producer, epoch), BitMap64())
        if whole:
            bitmap.add_range(first, first + count)
            continue
        bitmap.update(longs(records.sequences(i)))
