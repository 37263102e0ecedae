"""Why a message came more than once, of the accountant (bench.audit): from attempt, position and the broker's flag of each delivery.

The first rule that fits decides. An attempt that had not come before: the application sent it again. A position of the broker that had
come before: one write, delivered again. A position of its own, where those of all earlier deliveries are known: the message was
written twice, by a client that tried again. The redelivered flag: delivered again. Else nobody can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_sent import Ident
from bench.journal import REDELIVERED, Form

_AT_ONCE: Final = 1 << 19  # repeated messages looked at together: bounds the memory

Column = npt.NDArray[Any]
Sequences = Callable[[int], npt.NDArray[np.uint64]]
"""Of a record, by its place."""


@dataclass
class Causes:
    """Deliveries beyond the first of each message, by cause."""

    retried: int = 0
    redelivered: int = 0
    duplicate_writes: int = 0
    cause_unknown: int = 0
    by_cut: list[int] = field(default_factory=list)  # all of them: before the first cut, then by the cut that they belong to


def told_apart(
    rows: npt.NDArray[np.void], sequences: Sequences, twice: dict[Ident, BitMap64], cuts: Sequence[int] | npt.NDArray[np.int64] = ()
) -> Causes:
    """Tell the repeated deliveries of the messages ``twice`` apart. ``rows``: all deliveries' records (bench.journal.RECORD), in order.

    ``cuts``: times, ascending. A repeat belongs to the first cut after the delivery before it, which found the message delivered and
    not acknowledged; where there is none between the two, to the latest before it.
    """
    causes = Causes(by_cut=[0] * (len(cuts) + 1))
    for ident, repeated in twice.items():
        if not repeated:
            continue
        own = np.flatnonzero((rows["producer"] == ident[0]) & (rows["epoch"] == ident[1]))
        members = iter(repeated)
        while len(wanted := np.fromiter(islice(members, _AT_ONCE), np.uint64)):
            _tell(causes, _deliveries(rows, own, sequences, wanted), np.asarray(cuts, np.int64))
    return causes


def _deliveries(
    rows: npt.NDArray[np.void], own: npt.NDArray[np.int64], sequences: Sequences, wanted: npt.NDArray[np.uint64]
) -> list[Column]:  # fmt: skip
    """All deliveries of the messages ``wanted`` (ascending), in order: which of them, attempt, flag, position + 1 (0 = not known), time."""
    parts = [np.concatenate(columns) for columns in zip(*_found(rows, own, sequences, wanted), strict=True)]
    message, row, offset = parts[0], parts[1], parts[2]
    order = np.lexsort((offset, row, message))
    message, row, offset = message[order], row[order], offset[order]
    form, aux = rows["form"][row], rows["aux"][row]
    position = np.where((form == Form.RANGE) & (aux > 0), aux + offset.astype(np.uint64), np.uint64(0))
    return [message, rows["attempt"][row], rows["flags"][row] & REDELIVERED != 0, position, rows["t_last"][row]]


def _found(
    rows: npt.NDArray[np.void], own: npt.NDArray[np.int64], sequences: Sequences, wanted: npt.NDArray[np.uint64]
) -> Iterator[tuple[Column, Column, Column]]:  # fmt: skip
    """(place in ``wanted``, record, place within the record) of their deliveries; the dense records all at once."""
    first, count = rows["first"][own], rows["count"][own]
    dense = (rows["form"][own] == Form.RANGE) & ((rows["stride"][own] == 1) | (count == 1))
    lows = np.searchsorted(wanted, first[dense])
    sizes = np.searchsorted(wanted, first[dense] + count[dense]) - lows
    ends = np.cumsum(sizes)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
    message = np.repeat(lows, sizes) + within
    record = np.repeat(own[dense], sizes)
    yield message, record, (wanted[message] - rows["first"][record]).astype(np.int64)
    for i in own[~dense & (first <= wanted[-1])].tolist():
        numbers = sequences(i)
        offset = np.flatnonzero(np.isin(numbers, wanted))
        yield np.searchsorted(wanted, numbers[offset]), np.full(len(offset), i), offset


def _tell(causes: Causes, deliveries: list[Column], cuts: npt.NDArray[np.int64]) -> None:
    """Count the deliveries of some messages, all of each, sorted by message and in order."""
    message, attempt, flag, position, time = deliveries
    starts = np.flatnonzero(np.concatenate(([True], message[1:] != message[:-1])))
    again = np.ones(len(message), dtype=bool)
    again[starts] = False
    unknown = np.cumsum(position == 0) - (position == 0)  # before each ...
    unknown -= np.repeat(unknown[starts], np.diff(np.append(starts, len(message))))  # ... of its own message
    retried = again & _new(message, attempt)
    known, new = position != 0, _new(message, position)
    redelivered = again & ~retried & known & ~new
    written = again & ~retried & known & new & (unknown == 0)
    rest = again & ~retried & ~redelivered & ~written
    causes.retried += int(np.count_nonzero(retried))
    causes.redelivered += int(np.count_nonzero(redelivered | rest & flag))
    causes.duplicate_writes += int(np.count_nonzero(written))
    causes.cause_unknown += int(np.count_nonzero(rest & ~flag))
    places = np.flatnonzero(again)
    latest, following = np.searchsorted(cuts, time[places], side="right"), np.searchsorted(cuts, time[places - 1], side="right")
    for cut, count in enumerate(np.bincount(np.where(following < latest, following + 1, latest)).tolist()):
        causes.by_cut[cut] += count


def _new(message: Column, value: Column) -> npt.NDArray[np.bool_]:
    """Which deliveries bring a value that no earlier one of their message brought."""
    order = np.lexsort((value, message))  # stable: among equals the earlier comes first
    new = np.ones(len(message), dtype=bool)
    new[order[1:]] = (message[order[1:]] != message[order[:-1]]) | (value[order[1:]] != value[order[:-1]])
    return new
