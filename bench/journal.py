"""Evidence that survives a crash: what was attempted, what became of it, what arrived, as ranges in mapped files.

A journal NAME is a row of fixed 64-byte records in segments NAME.rec.0000, .0001, ... that are mapped into memory, so what was
written outlives a SIGKILL of the writer; what does not fit a record goes to NAME.blob.NNNN *before* the record that points
at it. A record counts when its check holds; a reader stops at the first that does not. The layout is RECORD below:

=======  ==============================================================================================================
form     what ``first``, ``count``, ``stride`` and ``aux`` mean
=======  ==============================================================================================================
RANGE    sequences first, first + stride, ...: ``count`` of them; aux = 1 + the broker's position of the first, the others' follow
         it one by one; 0 = no positions
COLUMNS  in order of arrival: ``count`` lanes, then ``count`` sequences minus ``first``
LIST     in order of arrival: ``count`` sequences minus ``first``
BITMAP   ascending: bit i of the blob (most significant first) = sequence first + i
=======  ==============================================================================================================

With a blob ``stride`` is its length in bytes and aux its place: offset (bits 0-31), segment (32-55), log2 of the bytes of a
lane (56-59) and of a sequence (60-63). A MARK is a LIST of UTF-8 bytes. A record with lane = ANY_LANE ascends, and so ascends in
each of its lanes: which message is of which lane is a function of the workload, and need not be stored.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

ALL: Final = 0xFFFF  # group: holds for every group
ANY_LANE: Final = 0xFFFFFFFF
FEW: Final = 8  # up to here few() costs less than batch()

# Flags of a record: the low bits are the header's own.
CANARY: Final = 0x0001  # header flag: asks whether the way is open, never counted
REFUSED: Final = 0x0800  # received, and given back or rejected on purpose: poison (bench.poison)
REDELIVERED: Final = 0x4000  # the broker said so
CORRUPT: Final = 0x8000  # header or body check failed: the id is not trusted


class Kind(IntEnum):
    """What a record is evidence of. PROCESSED implies RECEIVED."""

    ATTEMPT = 1
    OK = 2
    FAIL = 3
    INFO = 4  # indeterminate: nobody can know
    RECEIVED = 5
    PROCESSED = 6
    ACKED = 7
    MARK = 8
    DEAD = 9  # found in the dead-letter queue of its group, by the runner after the drain; not PROCESSED by anybody
    EXPIRED = 10  # the same of what the broker no longer kept


class Form(IntEnum):
    """How a record says which messages it is about."""

    RANGE = 1
    COLUMNS = 2
    LIST = 3
    BITMAP = 4


RECORD: Final = np.dtype(
    [
        ("check", "<u4"),  # CRC-32 of the other 60 bytes
        ("kind", "u1"),
        ("form", "u1"),
        ("group", "<u2"),
        ("trial", "<u4"),
        ("producer", "<u2"),
        ("epoch", "<u2"),
        ("lane", "<u4"),
        ("count", "<u4"),
        ("stride", "<u4"),
        ("attempt", "<u2"),
        ("flags", "<u2"),
        ("first", "<u8"),
        ("t_first", "<i8"),
        ("t_last", "<i8"),
        ("aux", "<u8"),
    ]
)
SIZE: Final = RECORD.itemsize
_BODY: Final = struct.Struct("<BBHIHHIIIHHQqqQ")
_CHECK: Final = struct.Struct("<I")
_OFFSET_BITS: Final = 32
_SEGMENT_BITS: Final = 24
_UNSIGNED: Final = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))

Column = npt.NDArray[Any]
Columns = Mapping[str, "Column | int"] | npt.NDArray[np.void]
Row = tuple[int, int, int, int, int, int]
"""producer, epoch, lane, attempt, flags, sequence."""


class EvidenceMissing(BenchError):
    """A journal that does not hold what was promised: a missing file, fewer records than were reported, a cut blob."""


class Writer:
    """Writes one journal; for one thread. ``segment_b``: bytes a file grows by, a multiple of 64, at most 4 GiB.

    Raises FileExistsError when the journal is there (evidence is never overwritten), OSError naming the file when the
    disk is full: segments are allocated whole, so a full disk never is a SIGBUS in the middle of a trial.
    """

    def __init__(self, folder: Path, name: str, segment_b: int = 64 << 20) -> None:
        if segment_b < SIZE or segment_b % SIZE or segment_b > 1 << _OFFSET_BITS:
            raise ValueError(f"segment_b = {segment_b}: must be a multiple of {SIZE}, at most {1 << _OFFSET_BITS}")
        self.name = name
        self._closed = False
        self._records = _Segments(folder, name, "rec")
        self._blobs = _Segments(folder, name, "blob")
        self._segment_b = segment_b
        self._before = 0  # records in earlier segments
        self._at = 0
        self._end = segment_b
        self._map = self._records.next(0, segment_b)
        self._blob_at = self._blob_end = 0  # no blob file until there is a blob

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def position(self) -> int:
        """How many records were written so far: the place where the next will stand."""
        return self._before + self._at // SIZE

    def span(
        self, kind: int, *, trial: int, producer: int, first: int, count: int, stride: int = 1, group: int = ALL, epoch: int = 0,
        lane: int = ANY_LANE, attempt: int = 0, flags: int = 0, t_first: int = 0, t_last: int = 0, aux: int = 0,
    ) -> None:  # fmt: skip
        """Write sequences first, first + stride, ... as one RANGE; times in monotonic ns. Costs about a microsecond."""
        at = self._at
        if at == self._end:
            at = self._roll()
        body, view = at + 4, self._map
        _BODY.pack_into(
            view, body, kind, 1, group, trial, producer, epoch, lane, count, stride, attempt, flags, first, t_first, t_last, aux
        )  # fmt: skip
        # The check goes last: until then the record does not count.
        _CHECK.pack_into(view, at, zlib.crc32(view[body : at + 64]))
        self._at = at + 64

    def batch(
        self, kind: int, columns: Columns, *, trial: int, group: int = ALL, t_first: int = 0, t_last: int = 0, flags: int = 0
    ) -> None:
        """Write many messages, given by columns in order of arrival: producer, epoch, lane, attempt, flags, sequence.

        ``columns``: a structured array or a mapping of arrays or constants; absent: lane = ANY_LANE, the others 0. Keeps the order
        of arrival within each lane of a (producer, epoch), nothing more. ``flags`` is added to every message's.
        """
        sequence, other = _split(columns)
        n = len(sequence)
        if not n:
            return
        common = {"trial": trial, "group": group, "t_first": t_first, "t_last": t_last}
        varying = [name for name, value in other.items() if not isinstance(value, int) and not _constant(value)]
        if not varying or varying == ["lane"]:
            one = {name: int(value if isinstance(value, int) else value[0]) for name, value in other.items()}
            one["flags"] |= flags
            if not varying:
                self._stream(kind, sequence, None, one | common)
            else:
                lanes = other["lane"]
                assert not isinstance(lanes, int)
                self._stream(kind, sequence, lanes, one | common)
            return
        table = {name: np.full(n, value, np.int64) if isinstance(value, int) else value for name, value in other.items()}
        for chosen in _runs(table):
            one = {name: int(table[name][chosen[0]]) for name in ("producer", "epoch", "attempt")}
            one["flags"] = flags | int(table["flags"][chosen[0]])
            lanes = table["lane"][chosen]
            if _constant(lanes):
                self._stream(kind, sequence[chosen], None, one | common | {"lane": int(lanes[0])})
            else:
                self._stream(kind, sequence[chosen], lanes, one | common)

    def few(self, kind: int, rows: Sequence[Row], *, trial: int, group: int = ALL, t: int = 0) -> None:
        """Write a few messages without the fixed cost of vectors; neighbours that ascend in one lane become one record."""
        i = 0
        n = len(rows)
        while i < n:
            row = rows[i]
            producer, epoch, lane, attempt, flags, first = row
            count = 1
            i += 1
            while i < n and rows[i] == (producer, epoch, lane, attempt, flags, first + count):
                count += 1
                i += 1
            self.span(
                kind, trial=trial, producer=producer, first=first, count=count, group=group, epoch=epoch, lane=lane, attempt=attempt,
                flags=flags, t_first=t, t_last=t,
            )  # fmt: skip

    def placed(
        self, kind: int, rows: Sequence[Row], positions: Sequence[int], *, trial: int, group: int = ALL, t_first: int = 0, t_last: int = 0
    ) -> None:
        """Write messages with the broker's position of each (0 <= position < 2^64 - 1), in order of arrival.

        What ascends evenly, in positions one by one, becomes one record; else a message is one: 64 bytes, about 1.5 us.
        """
        i, n = 0, len(rows)
        while i < n:
            row, position = rows[i], positions[i]
            count, stride = 1, 1
            step = rows[i + 1][5] - row[5] if i + 1 < n else 0
            if 0 < step < 1 << 32:
                same, first = row[:5], row[5]
                while (
                    i + count < n
                    and positions[i + count] == position + count
                    and rows[i + count][5] == first + count * step
                    and rows[i + count][:5] == same
                ):
                    count += 1
                stride = step if count > 1 else 1
            producer, epoch, lane, attempt, flags, first = row
            self.span(
                kind, trial=trial, producer=producer, first=first, count=count, stride=stride, group=group, epoch=epoch, lane=lane,
                attempt=attempt, flags=flags, t_first=t_first, t_last=t_last, aux=position + 1,
            )  # fmt: skip
            i += count

    def corrupt(self, *, trial: int, group: int, t: int, count: int = 1) -> None:
        """Write that ``count`` messages arrived damaged: nothing in them is trusted, so no id is kept."""
        self.span(Kind.RECEIVED, trial=trial, producer=0, first=0, count=count, group=group, flags=CORRUPT, t_first=t, t_last=t)

    def mark(self, trial: int, t: int, text: str) -> None:
        """Write a remark: for people, the accountant passes over it."""
        data = np.frombuffer(text.encode() or b" ", np.uint8)
        common = {"trial": trial, "group": ALL, "t_first": t, "t_last": t, "producer": 0, "epoch": 0, "attempt": 0, "flags": 0}
        self._blob(Kind.MARK, Form.LIST, data, common | {"lane": ANY_LANE}, first=0, count=len(data))

    def close(self) -> None:
        """Cut the files to what was used; what is written after it raises ValueError. Idempotent."""
        self._closed = True
        self._end = self._at  # so that the next record comes to _roll()
        self._records.close(self._at)
        self._blobs.close(self._blob_at)

    def _roll(self) -> int:
        """Begin the next segment of records."""
        self._alive()
        self._map = self._records.next(self._at, self._segment_b)
        self._before += self._at // SIZE
        self._at = 0
        return 0

    def _alive(self) -> None:
        if self._closed:
            raise ValueError(f"journal {self.name} is closed: nothing can be written to it")

    def _stream(self, kind: int, sequence: Column, lanes: Column | None, one: dict[str, int]) -> None:
        """Write messages that differ in lane and sequence only; ``lanes`` None = all of one["lane"]."""
        n = len(sequence)
        first, last = int(sequence[0]), int(sequence[-1])
        ascending = n == 1 or (last > first and bool(np.logical_and.reduce(sequence[1:] > sequence[:-1])))
        if lanes is not None:
            if not ascending and _ascends_in_lanes(lanes, sequence):
                # Lanes are apart from one another, so their order of arrival is kept by sorting them into one.
                merged = np.sort(sequence)
                ascending = bool((merged[1:] > merged[:-1]).all())  # not so where one sequence stands in two lanes
                if ascending:
                    sequence = merged
                    first, last = int(merged[0]), int(merged[-1])
            if not ascending:
                self._columns(kind, sequence, lanes, one)
                return
            one["lane"] = ANY_LANE
        if ascending and last - first == n - 1:
            self.span(kind, first=first, count=n, **one)
            return
        self._irregular(kind, sequence, ascending, one)

    def _irregular(self, kind: int, sequence: Column, ascending: bool, one: dict[str, int]) -> None:
        """Write what is not one dense range: some ranges, a bitmap or a list, whichever is smallest."""
        n = len(sequence)
        steps = np.diff(sequence.astype(np.int64))
        low = int(sequence.min())
        span = int(sequence.max()) - low + 1
        width = _width(span - 1)
        stride = int(steps.min()) if ascending else 1
        cuts = np.flatnonzero(steps != stride)
        list_b = n << width
        blob_b = min((span + 7) // 8, list_b) if ascending else list_b
        if 0 < stride < 1 << 32 and len(cuts) * SIZE <= blob_b:
            starts = [0, *(cuts + 1).tolist(), n]
            for lo, hi in pairwise(starts):
                self.span(kind, first=int(sequence[lo]), count=hi - lo, stride=stride if hi - lo > 1 else 1, **one)
        elif blob_b < list_b:
            bits = np.zeros(span, np.uint8)
            bits[(sequence - sequence[0]).astype(np.int64)] = 1
            self._blob(kind, Form.BITMAP, np.packbits(bits), one, first=low, count=n)
        else:
            offsets = (sequence - np.uint64(low)).astype(_UNSIGNED[width])
            self._blob(kind, Form.LIST, offsets.view(np.uint8), one, first=low, count=n, width=width)

    def _columns(self, kind: int, sequence: Column, lanes: Column, one: dict[str, int]) -> None:
        low = int(sequence.min())
        width, lane_width = _width(int(sequence.max()) - low), _width(int(lanes.max()))
        offsets = (sequence - np.uint64(low)).astype(_UNSIGNED[width])
        data = np.concatenate([lanes.astype(_UNSIGNED[lane_width]).view(np.uint8), offsets.view(np.uint8)])
        one = one | {"lane": ANY_LANE}
        self._blob(kind, Form.COLUMNS, data, one, first=low, count=len(sequence), lane_width=lane_width, width=width)

    def _blob(
        self, kind: int, form: Form, data: Column, one: dict[str, int], *, first: int, count: int, lane_width: int = 0, width: int = 0
    ) -> None:
        """Write ``data`` and then the record that points at it; widths are log2 of the bytes of a lane and of a sequence."""
        self._alive()
        size = len(data)
        if self._blob_at + size > self._blob_end:
            self._blob_end = max(self._segment_b, size)
            self._blobs.next(self._blob_at, self._blob_end)
            self._blob_at = 0
        at = self._blob_at
        self._blobs.map[at : at + size] = data.tobytes()
        self._blob_at = at + size
        place = at | self._blobs.number << _OFFSET_BITS
        place |= lane_width << _OFFSET_BITS + _SEGMENT_BITS | width << _OFFSET_BITS + _SEGMENT_BITS + 4
        at = self._at
        if at == self._end:
            at = self._roll()
        _BODY.pack_into(
            self._map, at + 4, kind, form, one["group"], one["trial"], one["producer"], one["epoch"], one["lane"], count, size,
            one["attempt"], one["flags"], first, one["t_first"], one["t_last"], place,
        )  # fmt: skip
        _CHECK.pack_into(self._map, at, zlib.crc32(self._map[at + 4 : at + SIZE]))
        self._at = at + SIZE


class _Segments:
    """The numbered, mapped files of one kind of a journal: one is open at a time."""

    def __init__(self, folder: Path, name: str, suffix: str) -> None:
        self._folder, self._name, self._suffix = folder, name, suffix
        self._file = -1
        self.number = -1
        self.map: mmap.mmap

    def next(self, used: int, size: int) -> mmap.mmap:
        """Cut the current file to ``used`` bytes and begin another of ``size`` zero bytes."""
        path = segment_path(self._folder, self._name, self._suffix, self.number + 1)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise FileExistsError(f"journal {path} is there already: evidence is never overwritten, give another folder or name") from None
        try:
            os.posix_fallocate(file, 0, size)  # now, as an error: later it would be a SIGBUS
            view = mmap.mmap(file, size)
        except OSError as error:
            os.close(file)
            path.unlink()
            raise OSError(error.errno, f"journal: cannot have {size >> 20 or 1} MiB ({error.strerror})", str(path)) from error
        self.close(used)
        self._file, self.map = file, view
        self.number += 1
        return view

    def close(self, used: int) -> None:
        if self._file < 0:
            return
        self.map.close()
        os.ftruncate(self._file, used)
        os.close(self._file)
        self._file = -1


def segment_path(folder: Path, name: str, suffix: str, number: int) -> Path:
    """Where a segment of a journal lies; ``suffix``: rec or blob."""
    return folder / f"{name}.{suffix}.{number:04d}"


def _width(value: int) -> int:
    """log2 of the bytes that hold ``value``."""
    return 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3


def _constant(column: Column) -> bool:
    data = column.tobytes()  # comparing bytes costs a third of what `(column == column[0]).all()` does
    return data == data[: column.itemsize] * len(column)


_DEFAULTS: Final = {"producer": 0, "epoch": 0, "lane": ANY_LANE, "attempt": 0, "flags": 0}


def _split(columns: Columns) -> tuple[Column, dict[str, Column | int]]:
    """The sequences (contiguous, u64) and the five other columns."""
    names: Any = columns.dtype.names if isinstance(columns, np.ndarray) else columns
    other: dict[str, Column | int] = {name: columns[name] if name in names else default for name, default in _DEFAULTS.items()}
    return np.ascontiguousarray(columns["sequence"], dtype=np.uint64), other


def _runs(table: Mapping[str, Column]) -> Iterator[Column]:
    """Places of messages that one record can hold: of one (producer, epoch), neighbours in it of one attempt and one set of flags.

    Not all of one attempt together: that would lose the order of a lane in which attempts alternate.
    """
    who = table["producer"].astype(np.int64) << 16 | table["epoch"]
    how = table["attempt"].astype(np.int64) << 16 | table["flags"]
    order = np.argsort(who, kind="stable")
    who, how = who[order], how[order]
    cuts = np.flatnonzero((who[1:] != who[:-1]) | (how[1:] != how[:-1])) + 1
    yield from np.split(order, cuts)


def _ascends_in_lanes(lanes: Column, sequence: Column) -> bool:
    """Whether each lane's sequences strictly ascend in the order given."""
    if int(lanes.max()) < 1 << 16:
        lanes = lanes.astype(np.uint16)  # sorted by radix: several times faster
    order = np.argsort(lanes, kind="stable")
    lanes, sequence = lanes[order], sequence[order]
    return bool(((sequence[1:] > sequence[:-1]) | (lanes[1:] != lanes[:-1])).all())


@dataclass(frozen=True)
class Records:
    """Whole records of one journal, read: ``rows`` (RECORD) from position ``start`` on, with access to their messages."""

    folder: Path
    name: str
    start: int
    rows: npt.NDArray[np.void]
    _blobs: dict[int, mmap.mmap]

    def sequences(self, i: int) -> npt.NDArray[np.uint64]:
        """The sequences of rows[i]: in order of arrival, ascending for a BITMAP. Raises EvidenceMissing for a cut blob."""
        row = self.rows[i]
        first, count, form = np.uint64(row["first"]), int(row["count"]), row["form"]
        if form == Form.RANGE:
            return first + np.arange(count, dtype=np.uint64) * np.uint64(row["stride"])
        data = self._data(row)
        if form == Form.BITMAP:
            return first + np.flatnonzero(np.unpackbits(data)).astype(np.uint64)
        width = int(row["aux"]) >> _OFFSET_BITS + _SEGMENT_BITS + 4
        return first + data[len(data) - (count << width) :].view(_UNSIGNED[width]).astype(np.uint64)

    def lanes(self, i: int) -> npt.NDArray[np.uint32] | int:
        """The lanes of rows[i]: one for each sequence (COLUMNS), else one for all (ANY_LANE: as the workload says)."""
        row = self.rows[i]
        if row["form"] != Form.COLUMNS:
            return int(row["lane"])
        width = int(row["aux"]) >> _OFFSET_BITS + _SEGMENT_BITS & 0xF
        return self._data(row)[: int(row["count"]) << width].view(_UNSIGNED[width]).astype(np.uint32)

    def positions(self, i: int) -> npt.NDArray[np.uint64] | None:
        """The broker's positions of rows[i]'s messages; None where none were written."""
        row = self.rows[i]
        if row["form"] != Form.RANGE or not row["aux"]:
            return None
        return np.uint64(row["aux"] - 1) + np.arange(int(row["count"]), dtype=np.uint64)

    def text(self, i: int) -> str:
        """The remark in rows[i], a MARK."""
        return self._data(self.rows[i]).tobytes().decode()

    def _data(self, row: np.void) -> npt.NDArray[np.uint8]:
        aux, size = int(row["aux"]), int(row["stride"])
        number, offset = aux >> _OFFSET_BITS & (1 << _SEGMENT_BITS) - 1, aux & (1 << _OFFSET_BITS) - 1
        view = self._blobs.get(number)
        if view is None:
            path = segment_path(self.folder, self.name, "blob", number)
            try:
                with path.open("rb") as file:
                    view = self._blobs[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (FileNotFoundError, ValueError):  # ValueError: an empty file cannot be mapped
                raise EvidenceMissing(f"journal {self.name}: {path} is missing or empty, and records point into it") from None
        data = view[offset : offset + size]
        if len(data) != size:
            raise EvidenceMissing(
                f"journal {self.name}: {segment_path(self.folder, self.name, 'blob', number)} is cut off at {len(view)} bytes"
            )
        return np.frombuffer(data, np.uint8)


def read(folder: Path, name: str, start: int = 0, stop: int | None = None) -> Records:
    """The records [start, stop) of a journal that may still be written to; None = all whose check holds.

    Raises EvidenceMissing when there is no such journal, or when fewer than ``stop`` records are sound: what a writer
    reported must be there. Checking costs about 0.1 us a record.
    """
    data = bytearray()  # grows where it is: joining parts would take the room twice
    before = 0  # records in earlier segments
    number = 0
    while stop is None or before < stop or number == 0:
        try:
            with segment_path(folder, name, "rec", number).open("rb") as file:
                held = os.fstat(file.fileno()).st_size // SIZE
                skip = min(max(start - before, 0), held)
                want = held if stop is None else min(held, stop - before)
                file.seek(skip * SIZE)
                sound = sound_part(file.read(max(want - skip, 0) * SIZE))
        except FileNotFoundError:
            if number == 0:
                raise EvidenceMissing(f"journal {name}: there is no {segment_path(folder, name, 'rec', 0)}") from None
            break
        data += sound
        before += skip + len(sound) // SIZE
        number += 1
        if skip + len(sound) // SIZE < held:  # the first that does not hold ends the journal
            break
    if stop is not None and before < stop:
        raise EvidenceMissing(f"journal {name} in {folder}: {stop} records were reported, {before} are there and sound")
    return Records(folder, name, start, np.frombuffer(data, RECORD), {})


def sound_part(data: bytes) -> bytes:
    """The longest beginning of ``data`` whose records' checks all hold."""
    size = len(data) // SIZE * SIZE
    crc32 = zlib.crc32
    for i, (check, body) in enumerate(struct.iter_unpack("<I60s", memoryview(data)[:size])):
        if crc32(body) != check:
            return data[: i * SIZE]
    return data[:size]
