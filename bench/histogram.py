"""HdrHistogram's layout (3 significant digits, 1 ns to 1 hour), vectorised by numpy, and its log format.

Counts, quantiles and the encoded text are bit-identical to the reference implementation (tests/unit/test_histogram.py
compares them with the package ``hdrhistogram``), so that any HdrHistogram tool reads ``latency.hlog``. As there, the
smallest and largest value are those of their buckets: a histogram says the same before and after it went through a file.
Recording costs some nanoseconds a value in batches; ``add_one`` is the path for a handful of values.
"""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.errors import Incompatible

LOWEST_NS: Final = 1
HIGHEST_NS: Final = 3_600_000_000_000  # one hour
DIGITS: Final = 3
HALF_BITS: Final = 10  # 2 * 10^3 distinct values need 2^11 sub-buckets; half of them are new in each bucket
HALF: Final = 1 << HALF_BITS
LENGTH: Final = 33 * HALF  # 32 buckets reach 2^42 ns, the first holds two halves
BEYOND_MIN: Final = 10  # samples beyond a quantile for it to mean something (docs/method.md)

_COOKIE: Final = 0x1C849303 | 0x10  # V2, zero runs coded
_COOKIE_DEFLATED: Final = 0x1C849304 | 0x10
_OUTER: Final = struct.Struct(">II")  # cookie, bytes that follow
_INNER: Final = struct.Struct(">IIIIQQd")  # cookie, bytes that follow, index offset, digits, lowest, highest, conversion ratio
_LINE: Final = re.compile(r"(?:Tag=([^,]*),)?([\d.]+),([\d.]+),([\d.]+),(\S+)")
_START: Final = re.compile(r"#\[StartTime: ([\d.]+) ")
GATHERED: Final = 2048  # durations: 16 KiB, and by then the fixed cost is a hundredth of a microsecond each
_ASIDE: Final = re.compile(r"#\[Aside Tag=([^,]*), negative=(\d+), over=(\d+)\]")


Used = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]
"""Counters that are not 0: their indices, rising, and their counts; of a log in the narrowest types that hold them, some bytes each."""
Slice = tuple[float, float, "Histogram"]
"""Start in seconds after the log's, length in seconds, what was counted in it."""


class Histogram:
    """Counts of durations in nanoseconds.

    ``counts`` is the whole array of LENGTH counters. ``negative``: values below 0, recorded as 0 (clocks that
    disagree must show). ``over``: values above one hour, recorded as one hour.
    """

    __slots__ = ("_view", "counts", "n", "negative", "over")

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(LENGTH, np.int64)
        self._view = self.counts.data  # one counter through it costs half of what numpy takes
        self.n = 0
        self.negative = 0
        self.over = 0

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Record durations in nanoseconds (int64, any length)."""
        if not values.size:
            return
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > HIGHEST_NS:
            self.negative += int(np.count_nonzero(values < 0))
            self.over += int(np.count_nonzero(values > HIGHEST_NS))
            values = np.clip(values, 0, HIGHEST_NS)
        np.add.at(self.counts, indices(values), 1)
        self.n += values.size

    def add_one(self, value: int, count: int = 1) -> None:
        """Record one duration in nanoseconds, ``count`` times: cheaper than add() up to about 16 values."""
        if value < 0:
            self.negative += count
            value = 0
        elif value > HIGHEST_NS:
            self.over += count
            value = HIGHEST_NS
        bucket = value.bit_length() - HALF_BITS - 1
        self._view[value if bucket <= 0 else (bucket << HALF_BITS) + (value >> bucket)] += count
        self.n += count

    def count(self, used: Used) -> None:
        """Add counters in use, each index at most once."""
        self.counts[used[0]] += used[1].astype(np.int64)
        self.n += int(used[1].sum(dtype=np.int64))

    def merge(self, other: Histogram) -> None:
        """Add all that ``other`` holds."""
        self.counts += other.counts
        self.n += other.n
        self.negative += other.negative
        self.over += other.over

    @property
    def min(self) -> int:
        """The lowest value of the first bucket in use, ns; raises ValueError when empty."""
        return lowest(self._used()[0])

    @property
    def max(self) -> int:
        """The highest value of the last bucket in use, ns (as the reference has it); raises ValueError when empty."""
        last = self._used()[-1]
        return highest(last) if last else 0

    def _used(self) -> list[int]:
        if not self.n:
            raise ValueError("an empty histogram has no smallest and no largest value: look at n first")
        used = np.flatnonzero(self.counts)
        return [int(used[0]), int(used[-1])]

    def _target(self, q: float) -> int:
        # Written as the reference writes it, with percentages: other roundings differ by one sample now and then.
        return max(int(min(q * 100.0, 100.0) * self.n / 100 + 0.5), 1)

    def quantile(self, q: float) -> int:
        """The value in ns that a share ``q`` (0..1) of all values does not exceed, within 0.1%; raises ValueError when empty."""
        return self.quantiles([q])[0]

    def quantiles(self, shares: Sequence[float]) -> list[int]:
        """As quantile(), of several shares at once: the counters are added up once."""
        wrong = next((q for q in shares if not 0.0 <= q <= 1.0), None)
        if wrong is not None:
            raise ValueError(f"a quantile lies in 0..1, not {wrong}")
        if not self.n:
            raise ValueError("an empty histogram has no quantiles: look at n first")
        used = np.flatnonzero(self.counts)
        reached = np.searchsorted(np.cumsum(self.counts[used]), [self._target(q) for q in shares])
        at = used[reached].tolist()
        return [highest(index) if q else lowest(index) for q, index in zip(shares, at, strict=True)]

    def supported(self, q: float) -> bool:
        """Whether at least 10 samples lie beyond quantile ``q``: with fewer it is a report of single events."""
        return round(self.n * (1.0 - q), 6) >= BEYOND_MIN  # rounded: 100 * (1 - 0.9) is a little below 10

    def summary(self) -> dict[str, int | None]:
        """SUMMARY of results/README.md; null = no samples, or fewer than 10 beyond the quantile."""
        quantiles = {name: self.quantile(q) if self.supported(q) else None for name, q in _SUMMARY.items()}
        return {
            "n": self.n,
            "min_ns": self.min if self.n else None,
            **quantiles,
            "max_ns": self.max if self.n else None,
            "negative": self.negative,
        }


_SUMMARY: Final = {"p50_ns": 0.50, "p90_ns": 0.90, "p99_ns": 0.99, "p999_ns": 0.999}


class Gathered:
    """Durations on their way into a histogram: add() there costs 25 us, however few they are (after a sleep), here one.

    Who reads the histogram takes what flush() returns.
    """

    __slots__ = ("_at", "_values", "histogram")

    def __init__(self, histogram: Histogram | None = None) -> None:
        self.histogram = Histogram() if histogram is None else histogram
        self._values = np.empty(GATHERED, np.int64)
        self._at = 0

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Record durations in nanoseconds (int64, any length), at the latest at the next flush()."""
        end = self._at + len(values)
        if end > GATHERED:
            self.flush()
            end = len(values)
            if end > GATHERED:
                self.histogram.add(values)
                return
        self._values[self._at : end] = values
        self._at = end

    def flush(self) -> Histogram:
        """Record what was gathered; return the histogram."""
        if self._at:
            self.histogram.add(self._values[: self._at])
            self._at = 0
        return self.histogram


def indices(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The counter of each value; values in 0..HIGHEST_NS."""
    # frexp's exponent is the bit length: exact, as every value up to an hour fits a double's 53 bits.
    bucket = np.frexp(values)[1].astype(np.int64)
    bucket -= HALF_BITS + 1
    np.maximum(bucket, 0, out=bucket)
    index: npt.NDArray[np.int64] = values >> bucket
    bucket <<= HALF_BITS
    index += bucket
    return index


def lowest(index: int) -> int:
    """The lowest value in ns that counter ``index`` stands for."""
    bucket = max((index >> HALF_BITS) - 1, 0)
    return (index - (bucket << HALF_BITS)) << bucket


def highest(index: int) -> int:
    """The highest value in ns that counter ``index`` stands for."""
    bucket = max((index >> HALF_BITS) - 1, 0)
    return lowest(index) + (1 << bucket) - 1


def encode(histogram: Histogram) -> str:
    """HDR V2 compressed encoding, base64; without ``negative`` and ``over``, for which it has no place."""
    words = bytearray()
    expected = 0
    for index in np.flatnonzero(histogram.counts).tolist():
        if gap := index - expected:
            _put(words, -gap)  # zeros, counted
        _put(words, int(histogram.counts[index]))
        expected = index + 1
    inner = _INNER.pack(_COOKIE, len(words), 0, DIGITS, LOWEST_NS, HIGHEST_NS, 1.0)
    deflated = zlib.compress(inner + words)
    return base64.b64encode(_OUTER.pack(_COOKIE_DEFLATED, len(deflated)) + deflated).decode()


def decode(text: str) -> Histogram:
    """The inverse of encode(); raises Incompatible for damaged text and other layouts."""
    histogram = Histogram()
    histogram.count(decode_used(text))
    return histogram


def decode_used(text: str) -> Used:
    """As decode(), the counters that are not 0 only."""
    words = _words(_payload(text))
    # A word below 0 stands for so many counters that are 0, any other for one counter.
    steps = np.where(words < 0, -np.maximum(words, -(LENGTH + 1)), 1)
    at = (np.cumsum(steps) - steps)[words >= 0]
    if at.size and at[-1] >= LENGTH:
        raise Incompatible(f"damaged HdrHistogram encoding: more than {LENGTH} counters")
    counts = words[words >= 0]
    at, counts = at[counts > 0].astype(np.uint16), counts[counts > 0]
    narrow = np.min_scalar_type(counts.max()) if counts.size else np.uint8
    return at, counts.astype(narrow)


def pack(histogram: Histogram) -> dict[str, str | int]:
    """Plain data for the control connection, whole: encode() and what it has no place for."""
    return {"log": encode(histogram), "negative": histogram.negative, "over": histogram.over}


def in_use(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counters that are not 0: their indices and counts, shape (2, n)."""
    used = np.flatnonzero(counts)
    return np.stack((used, counts[used]))


def pack_counts(used: npt.NDArray[np.int64]) -> str:
    """in_use() as text. Cheaper than encode(), for what is read once."""
    return base64.b64encode(zlib.compress(used.astype("<i8").tobytes(), 1)).decode()


def add_packed(histogram: Histogram, text: str) -> None:
    """Add what pack_counts() packed."""
    used, counts = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8").reshape(2, -1)
    histogram.count((used, counts))


def unpack(data: Mapping[str, Any]) -> Histogram:
    """The inverse of pack()."""
    histogram = decode(data["log"])
    histogram.negative, histogram.over = data["negative"], data["over"]
    return histogram


def _payload(text: str) -> bytes:
    """The coded counters in ``text``, after its two headers."""
    try:
        packed = base64.b64decode(text, validate=True)
        cookie, length = _OUTER.unpack_from(packed)
        if cookie != _COOKIE_DEFLATED or length != len(packed) - _OUTER.size:
            raise Incompatible("not an HdrHistogram V2 encoding, or cut off")
        body = zlib.decompress(packed[_OUTER.size :])
        cookie, length, offset, digits, low, high, ratio = _INNER.unpack_from(body)
    except (ValueError, struct.error, zlib.error) as error:
        raise Incompatible(f"damaged HdrHistogram encoding: {error}") from error
    if (cookie, length, offset, ratio) != (_COOKIE, len(body) - _INNER.size, 0, 1.0):
        raise Incompatible("not an HdrHistogram V2 encoding of whole numbers without offset")
    if (digits, low, high) != (DIGITS, LOWEST_NS, HIGHEST_NS):
        raise Incompatible(f"histogram of {digits} digits, {low}..{high}: brokerbench writes {DIGITS} digits, {LOWEST_NS}..{HIGHEST_NS}")
    return body[_INNER.size :]


def _put(out: bytearray, value: int) -> None:
    """ZigZag LEB128 in at most 9 bytes: the ninth carries 8 bits."""
    word = (value << 1) ^ (value >> 63)
    for _ in range(8):
        if word < 0x80:
            out.append(word)
            return
        out.append(word & 0x7F | 0x80)
        word >>= 7
    out.append(word)


def _words(data: bytes) -> npt.NDArray[np.int64]:
    """Numbers in ZigZag LEB128, each in at most 9 bytes."""
    if not data:
        return np.zeros(0, np.int64)
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    lengths = np.diff(ends, prepend=-1)
    if raw[-1] >= 0x80 or lengths.max() > 8:
        return _long_words(data)
    starts = ends - lengths + 1
    place = np.arange(raw.size) - np.repeat(starts, lengths)
    coded = np.add.reduceat((raw & 0x7F).astype(np.int64) << (7 * place), starts)
    words: npt.NDArray[np.int64] = (coded >> 1) ^ -(coded & 1)
    return words


def _long_words(data: bytes) -> npt.NDArray[np.int64]:
    """Where a number has its ninth byte, of which all 8 bits count; or the last one ends too soon."""
    found = []
    word = shift = 0
    for byte in data:
        if shift == 56:
            word |= byte << shift
        else:
            word |= (byte & 0x7F) << shift
            if byte & 0x80:
                shift += 7
                continue
        found.append((word >> 1) ^ -(word & 1))
        word = shift = 0
    if shift:
        raise Incompatible("damaged HdrHistogram encoding: ends inside a number")
    return np.array(found, np.int64)


def write_log(
    path: Path, histograms: Mapping[str, Histogram], start_s: float, duration_s: float, slices: Mapping[str, Iterable[Slice]] | None = None
) -> None:
    """Write an HdrHistogram log: one line a tag, all over [start_s, start_s + duration_s) (seconds since the epoch).

    ``slices``: tags that have a line for each of several intervals instead, in order of time as the format wants it; together they
    hold what the tag's histogram holds.

    Counts of negative values and of values over an hour stand in comments, which other tools skip. Raises ValueError for a
    tag that the format cannot hold, OSError where the file cannot be written.
    """
    lines = ["#[Histogram log format version 1.3]", f"#[StartTime: {start_s:.3f} (seconds since epoch)]"]
    lines.append('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"')
    cut = slices or {}
    for tag, histogram in histograms.items():
        if not re.fullmatch(r"[^,\s]+", tag):
            raise ValueError(f"tag {tag!r}: a tag of a histogram log is not empty and has no comma and no white space")
        if histogram.negative or histogram.over:
            lines.append(f"#[Aside Tag={tag}, negative={histogram.negative}, over={histogram.over}]")
        if tag not in cut:
            lines.append(_line(tag, start_s, duration_s, histogram))
    lines += [_line(tag, start_s + after_s, length_s, part) for tag, parts in cut.items() for after_s, length_s, part in parts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(tag: str, start_s: float, length_s: float, histogram: Histogram) -> str:
    max_ms = histogram.max / 1e6 if histogram.n else 0.0  # the format's own unit for this column
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{max_ms:.3f},{encode(histogram)}"


def percentile_text(histogram: Histogram, unit_ns: float = 1e3, ticks: int = 5) -> str:
    """HdrHistogram's percentile distribution (its ``.hgrm`` files), values in units of ``unit_ns``: microseconds.

    Rows as outputPercentileDistribution has them: from each level, ``ticks`` steps to half the distance to 100%.
    """
    rows = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    used = np.flatnonzero(histogram.counts)
    sums = np.cumsum(histogram.counts[used])
    reached = 100.0 * sums / histogram.n if histogram.n else sums
    level, at = 0.0, -1
    while at < len(used) - 1:
        at = int(np.searchsorted(reached, level))
        rows.append(f"{highest(int(used[at])) / unit_ns:12.3f} {level / 100:2.12f} {sums[at]:10d} {1 / (1 - level / 100):14.2f}")
        # Written as the reference writes it: other roundings differ in the twelfth digit.
        level += 100.0 / (ticks * math.pow(2, math.log(100 / (100.0 - level)) / math.log(2) + 1))
    if histogram.n:
        rows.append(f"{histogram.max / unit_ns:12.3f} {1.0:2.12f} {histogram.n:10d}")
    bucket = np.maximum((used >> HALF_BITS) - 1, 0)
    first = (used - (bucket << HALF_BITS)) << bucket
    middles = (first + ((1 << bucket) >> 1)).astype(np.float64)
    counts = histogram.counts[used]
    mean = float((middles * counts).sum() / histogram.n) if histogram.n else 0.0
    deviation = float(np.sqrt(((middles - mean) ** 2 * counts).sum() / histogram.n)) if histogram.n else 0.0
    top = histogram.max / unit_ns if histogram.n else 0.0
    rows.append(f"#[Mean    = {mean / unit_ns:12.3f}, StdDeviation   = {deviation / unit_ns:12.3f}]")
    rows.append(f"#[Max     = {top:12.3f}, Total count    = {histogram.n:12d}]")
    rows.append(f"#[Buckets = {LENGTH // HALF - 1:12d}, SubBuckets     = {2 * HALF:12d}]")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True)
class Log:
    """A histogram log as it was read, in some KB where each Histogram has 270: the counters in use of every line."""

    lines: tuple[tuple[str, float, float, Used], ...]  # tag ("" = untagged), start (seconds since the epoch), length in s, counts
    start_s: float | None  # its StartTime
    asides: Mapping[str, tuple[int, int]]  # tag -> negative values, values over an hour

    def histograms(self) -> dict[str, Histogram]:
        """By tag, lines of one tag merged."""
        merged: dict[str, Histogram] = {}
        for tag, _, _, used in self.lines:
            merged.setdefault(tag, Histogram()).count(used)
        for tag, (negative, over) in self.asides.items():
            if tag in merged:
                merged[tag].negative, merged[tag].over = negative, over
        return merged

    def intervals(self) -> Iterator[tuple[str, float, float, Used]]:
        """Line by line, as write_log() was given them: tag, start in seconds after the log's own, length in seconds, counts.

        ValueError for a log that does not say when it starts.
        """
        if self.start_s is None:
            raise ValueError("no line with the StartTime of an HdrHistogram log")
        for tag, at_s, length_s, used in self.lines:
            yield tag, at_s - self.start_s, length_s, used


def read_log(path: Path) -> dict[str, Histogram]:
    """The histograms of a log by tag ("" = untagged), lines of one tag merged; raises what read_lines() raises."""
    return read_lines(path).histograms()


def read_lines(path: Path) -> Log:
    """A log, line by line.

    Raises Incompatible (with file and line) for what is damaged or of another layout, OSError for a missing file.
    """
    text = path.read_text(encoding="utf-8").splitlines()
    start = next((found for line in text if (found := _START.match(line))), None)
    asides: dict[str, tuple[int, int]] = {}
    for tag, negative, over in (aside.groups() for line in text if (aside := _ASIDE.fullmatch(line))):
        before = asides.get(tag, (0, 0))
        asides[tag] = before[0] + int(negative), before[1] + int(over)
    return Log(tuple(_intervals(path, text)), float(start[1]) if start else None, asides)


def _intervals(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, float, float, Used]]:
    for number, line in enumerate(lines, 1):
        if not line or line.startswith(("#", '"')):
            continue
        interval = _LINE.fullmatch(line)
        if not interval:
            raise Incompatible(f"{path}:{number}: not a line of an HdrHistogram log (Tag=NAME,start,length,max,histogram)")
        try:
            used = decode_used(interval[5])
            yield interval[1] or "", float(interval[2]), float(interval[3]), used
        except (Incompatible, ValueError) as error:
            raise Incompatible(f"{path}:{number}: {error}") from error
