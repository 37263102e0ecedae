"""What was sent, of the accountant (bench.audit): attempts and outcomes as bitmaps, and what became of every message."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.journal import CANARY, Form, Kind, Records, read

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
    """The same of one consumer: member ``member`` of the group with index ``group``. A restarted member is a new consumer.

    ``worked``: what it processed is judged elsewhere, on what it wrote (bench.outputs): of its journal only RECEIVED counts.
    """

    folder: Path
    name: str
    start: int = 0
    stop: int | None = None
    group: int = 0
    member: int = 0
    worked: bool = False


Sets = dict[tuple[int, Ident, int], BitMap64]
"""By (kind, (producer, epoch), attempt)."""


@dataclass(frozen=True)
class Sent:
    """What became of one producer's messages, for one group: every attempted one is in exactly one of ok, info, fail."""

    attempted: BitMap64
    ok: BitMap64
    info: BitMap64
    fail: BitMap64


def collect(sources: Sequence[Source], trial: int) -> dict[int, Sets]:
    """Attempts and outcomes as bitmaps, by group."""
    sets: dict[int, Sets] = {}
    for source in sources:
        records = read(source.folder, source.name, source.start, source.stop)
        rows = records.rows
        wanted = np.flatnonzero(of_producer(rows, trial))
        columns = [rows[name][wanted] for name in ("attempt", "epoch", "producer", "kind", "group")]
        for chosen in parted(wanted, columns):
            row = rows[chosen[0]]
            key = (int(row["kind"]), (int(row["producer"]), int(row["epoch"])), int(row["attempt"]))
            fill(sets.setdefault(int(row["group"]), {}).setdefault(key, BitMap64()), records, chosen)
    return sets


def of_producer(rows: npt.NDArray[np.void], trial: int) -> npt.NDArray[np.bool_]:
    """Which records are attempts and outcomes of ``trial``."""
    wanted: npt.NDArray[np.bool_] = (rows["trial"] == trial) & (rows["kind"] <= Kind.INFO) & (rows["flags"] & CANARY == 0)
    return wanted


def parted(places: npt.NDArray[np.int64], columns: Sequence[npt.NDArray[Any]]) -> Iterator[npt.NDArray[np.int64]]:
    """``places`` by equal values of ``columns`` (one each of the shape of places), in their order within each part."""
    if not len(places):
        return
    order = np.lexsort(columns)
    cuts = np.zeros(len(order) - 1, dtype=bool)
    for column in columns:
        cuts |= column[order][1:] != column[order][:-1]
    yield from np.split(places[order], np.flatnonzero(cuts) + 1)


def fill(bitmap: BitMap64, records: Records, chosen: npt.NDArray[np.int64]) -> None:
    """Add the messages of the chosen records."""
    rows = records.rows[chosen]
    dense = (rows["form"] == Form.RANGE) & (rows["stride"] == 1)
    if dense.any():
        order = np.argsort(rows["first"][dense], kind="stable")
        first = rows["first"][dense][order]
        ends = np.maximum.accumulate((rows["first"] + rows["count"])[dense][order])
        gaps = np.flatnonzero(first[1:] > ends[:-1])
        starts, stops = first[np.concatenate(([0], gaps + 1))], ends[np.concatenate((gaps, [-1]))]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            bitmap.add_range(start, stop)
    for i in chosen[~dense].tolist():
        bitmap.update(longs(records.sequences(i)))


def longs(sequences: npt.NDArray[np.uint64]) -> array[int]:
    """For pyroaring, which takes an array.array ten times faster than one of numpy."""
    longs = array("Q")
    longs.frombytes(sequences.tobytes())
    return longs


def outcomes(parts: Sequence[Sets]) -> dict[Ident, Sent]:
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
        sent[ident] = Sent(attempted, ok, attempted - ok - fail, fail)
    return sent
