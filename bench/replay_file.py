"""A recorded load as CSV: when each message was sent, and where known its size and key.

The first line names the columns: one of time_s, time_ms, time_us, time_ns (from any origin: the first message is at 0 of the
load), optionally size_b and key. Rows stand in the order of time. Times are read as decimals, digit by digit: seconds since
1970 keep their nanoseconds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.units import did_you_mean

KEY_BYTES_MAX = 255
DIGITS = {"time_s": 9, "time_ms": 6, "time_us": 3, "time_ns": 0}
COLUMNS = (*DIGITS, "size_b", "key")
BYTES_MAX = 1 << 30
T = TypeVar("T")
_NUMBER = re.compile(r"(\d{1,19})(?:\.(\d+))?")
_SPAN_NS = 2 * 3600 * 1_000_000_000  # the longest load there is


@dataclass(frozen=True, eq=False)
class Recorded:
    """The columns of a file: ``times`` int64, ns after the first, ascending; ``sizes`` int64, bytes; ``keys`` as written."""

    times: NDArray[np.int64]
    sizes: NDArray[np.int64] | None
    keys: tuple[str, ...] | None
    sha256: str


def read(path: Path) -> Recorded:
    """Read a recorded load; raises ValueError that names file, line and column. Read once as long as the file stays as it is."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if stat.st_size > BYTES_MAX:
        raise ValueError(f"{path}: {stat.st_size:,} bytes; at most {BYTES_MAX:,}")
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> Recorded:
    del mtime_ns, size  # of the cache's key
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: not a text file in UTF-8; a recorded load is CSV") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = _columns(path, rows)
    times = np.array(columns[0], dtype=np.int64)
    sizes = None if columns[1] is None else np.array(columns[1], dtype=np.int64)
    return Recorded(times, sizes, None if columns[2] is None else tuple(columns[2]), hashlib.sha256(content).hexdigest())


def _columns(path: Path, rows: Iterator[Sequence[str]]) -> tuple[list[int], list[int] | None, list[str] | None]:
    try:
        head = [name.strip() for name in next(rows, [])]
        time_name = _checked(path, head)
        names = list(head)
        lines = [(rows.line_num, row) for row in rows if row]  # type: ignore[attr-defined]  # csv.reader counts lines
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num}: not CSV: {error}") from error  # type: ignore[attr-defined]
    if not lines:
        raise ValueError(f"{path}: no message; below the line of names each line is one")
    for line, row in lines:
        if len(row) != len(names):
            raise ValueError(f"{path}:{line}: {len(row)} values where the first line names {len(names)} columns")
    times = _each(path, time_name, lines, names, lambda text: _scaled(text, DIGITS[time_name]))
    for (line, _), before, after in zip(lines[1:], times[:-1], times[1:], strict=True):
        if after < before:
            raise ValueError(f"{path}:{line}: column {time_name}: earlier than the line before; sort the file by time")
    if times[-1] - times[0] > _SPAN_NS:
        raise ValueError(f"{path}:{lines[-1][0]}: column {time_name}: over 2 h after the first message; is {time_name} the right unit?")
    times = [at - times[0] for at in times]
    sizes = _each(path, "size_b", lines, names, _size) if "size_b" in names else None
    keys = _each(path, "key", lines, names, _key) if "key" in names else None
    return times, sizes, keys


def _checked(path: Path, head: Sequence[str]) -> str:
    """Return the name of the column of times; the others are known and none stands twice."""
    for name in head:
        if name not in COLUMNS:
            raise ValueError(f'{path}:1: unknown column "{name}"; {did_you_mean(name, COLUMNS)}')
        if head.count(name) > 1:
            raise ValueError(f'{path}:1: column "{name}" is named twice')
    times = [name for name in head if name in DIGITS]
    if len(times) != 1:
        raise ValueError(f"{path}:1: one column of times belongs here, one of {', '.join(DIGITS)}; found {', '.join(times) or 'none'}")
    return times[0]


def _each(path: Path, name: str, lines: Sequence[tuple[int, Sequence[str]]], names: Sequence[str], convert: Callable[[str], T]) -> list[T]:
    at = names.index(name)
    values: list[T] = []
    for line, row in lines:
        try:
            values.append(convert(row[at]))
        except ValueError as error:
            raise ValueError(f"{path}:{line}: column {name}: {error}") from error
    return values


def _scaled(text: str, digits: int) -> int:
    """Nanoseconds of a decimal in a unit of 10^digits ns; what is finer is cut off."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text[:40]}" is not a time; write a number such as 0.25')
    fraction = (match[2] or "")[:digits].ljust(digits, "0")
    return int(match[1] + fraction)


def _size(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise ValueError(f'"{text[:40]}" is not a size; write whole bytes such as 256')
    return int(text)


def _key(text: str) -> str:
    if not text or "\0" in text or len(text.encode()) > KEY_BYTES_MAX:
        raise ValueError(f'"{text[:40]}" is not a key; write 1 to {KEY_BYTES_MAX} bytes of text such as customer-17')
    return text
