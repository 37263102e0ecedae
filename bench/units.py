"""Quantities with their units, as scenarios and the command line write them: `2 kHz`, `512 B`, `50 ms`.

A number without its unit is refused: `timeout: 5` has cost more experiments than any typing has. Parsing goes through
decimals, so that `0.1 s` is not 0.1000000000000000055 times something, and printing picks a unit that reads back as
the very same value.
"""

# ruff: noqa: TRY004  # a value of the wrong type is the user's input here: ValueError is what a model's validator turns into a message
from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from bench.errors import UsageError

DURATIONS: Mapping[str, Decimal] = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
}
"""Seconds in each unit of time."""

SIZES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    "kB": Decimal(1000),
    "KiB": Decimal(1024),
    "MB": Decimal(1000**2),
    "MiB": Decimal(1024**2),
    "GB": Decimal(1000**3),
    "GiB": Decimal(1024**3),
}
"""Bytes in each unit of size: kB is 1,000 and KiB 1,024, as IEC 80000-13 has it."""

RATES: Mapping[str, Decimal] = {
    "/s": Decimal(1),
    "k/s": Decimal(1000),
    "M/s": Decimal(1000**2),
    "Hz": Decimal(1),
    "kHz": Decimal(1000),
    "MHz": Decimal(1000**2),
}
"""Messages a second in each unit of rate."""

# Other ways to write the same, which are not ambiguous: accepted, never printed.
_ALIASES = {"µs": "us", "μs": "us", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "m": "min", "hour": "h"}
_ALIASES |= {"KB": "kB", "byte": "B", "bytes": "B", "b": "B", "hz": "Hz", "khz": "kHz", "mhz": "MHz", "KHz": "kHz", "K/s": "k/s"}
_ALIASES |= {"msg/s": "/s", "msgs/s": "/s", "kmsg/s": "k/s", "per s": "/s"}

# 2000, 2,000, 2_000, 0.5, 1e6; the groups of three must be whole, so that "2,0" is an error and not 20.
_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:_\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d{1,3})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([^\d\s].*?)?\s*", re.DOTALL)

# No quantity here needs more: it keeps "1e999 s" from becoming a number of a thousand digits.
_LARGEST = Decimal("1e18")


def duration_s(value: object) -> float:
    """Seconds, of a text such as `50 ms`; raises ValueError that says what would be right."""
    return float(_parse(value, DURATIONS, "a duration", "5 s"))


def size_b(value: object) -> int:
    """Bytes, of a text such as `1 KiB`; raises ValueError that says what would be right."""
    size = _parse(value, SIZES, "a size", "512 B")
    if size != size.to_integral_value():
        raise ValueError(f"{value} is not a whole number of bytes")
    return int(size)


def rate_per_s(value: object) -> float:
    """Messages a second, of a text such as `2 kHz` or `200/s`; raises ValueError that says what would be right."""
    return float(_parse(value, RATES, "a rate", "200/s"))


def count(value: object) -> int:
    """A whole number without a unit (`10000` or `10,000`); raises ValueError that says what would be right."""
    if isinstance(value, bool):
        raise ValueError(f'"{str(value).lower()}" is a truth value here; write a whole number such as 100')
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        raise ValueError(f"{value} is not a whole number")
    if not isinstance(value, str):
        raise ValueError(f"{_kind(value)} where a whole number belongs, such as 100")
    match = _QUANTITY.fullmatch(value)
    if match is None or not _digits(match[1]):
        raise ValueError(f'"{_short(value)}" is not a whole number; write one such as 100')
    if match[2]:
        raise ValueError(f'"{_short(value)}": this is a plain number without a unit; write {match[1]}')
    number = _decimal(match[1])
    if abs(number) > _LARGEST or number != number.to_integral_value():
        raise ValueError(f"{_short(value)} is not a whole number")
    return int(number)


def of_option(option: str, text: str, read: Callable[[object], float]) -> float:
    """What an option was given, by one of the above; raises UsageError that names the option, also where it is not above 0."""
    try:
        value = float(read(text))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if value <= 0:
        raise UsageError(f"{option} {text}: to be above 0")
    return value


def show_duration(seconds: float) -> str:
    """`0.05` as `50 ms`: reads back as the same number."""
    return _show(seconds, DURATIONS, ("h", "min", "s", "ms", "us", "ns"), read=duration_s, plain="s")


def rounded_duration(ns: float, digits: int) -> str:
    """`5040000.0` as `5.04 ms`, of so many significant digits: for people, ``show_duration`` is what reads back."""
    size, unit = next(((size, unit) for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")) if ns >= size), (1.0, "ns"))
    return f"{ns / size:.{digits}g} {unit}"


def show_size(size: int) -> str:
    """`1024` as `1 KiB`: reads back as the same number."""
    return _show(size, SIZES, ("GiB", "MiB", "GB", "MB", "KiB", "kB", "B"), read=size_b, plain="B")


def show_rate(per_s: float) -> str:
    """`2000.0` as `2,000/s`: reads back as the same number. Never kHz, since tables put rates beside each other."""
    number = Decimal(repr(per_s))
    if number == number.to_integral_value():
        return f"{int(number):,}/s"
    return f"{format(number, 'f')}/s"


def show_bodies(bodies: Mapping[str, Any]) -> str:
    """`bodies` of trial.json in words: `64 B to 12 KiB (mean 700 B, lognormal)`, `1 KiB (compressible 4:1)`."""
    words = [f"compressible {bodies['ratio']:g}:1"] if bodies["ratio"] else []
    sizes = show_size(bodies["largest_b"])
    if bodies["distribution"] != "one size":
        sizes = f"{show_size(bodies['smallest_b'])} to {sizes}"
        words = [f"mean {show_size(round(bodies['mean_b']))}", str(bodies["distribution"]), *words]
    return f"{sizes} ({', '.join(words)})"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    words = {name.lower(): name for name in known}
    begins = [name for name in sorted(words) if len(word) >= 3 and name.startswith(word.lower())]
    found = begins or difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return words[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: the nearest known one, else all of them."""
    names = sorted(known)
    near = nearest(word, names)
    return f'did you mean "{near}"?' if near else f"known: {', '.join(names)}"


def _parse(value: object, units: Mapping[str, Decimal], what: str, example: str) -> Decimal:
    listed = ", ".join(units)
    if isinstance(value, (bool, type(None))) or not isinstance(value, (str, int, float)):
        raise ValueError(f'{_kind(value)} where {what} belongs, such as "{example}"')
    if not isinstance(value, str):
        raise ValueError(f'{value} has no unit: write {what} such as "{example}" (units: {listed})')
    match = _QUANTITY.fullmatch(value)
    if match is None or not _digits(match[1]):
        raise ValueError(f'"{_short(value)}" is not {what}: write one such as "{example}" (units: {listed})')
    number, unit = _decimal(match[1]), match[2]
    if unit is None:
        raise ValueError(f'{_short(value)} has no unit: write {what} such as "{example}" (units: {listed})')
    if unit not in units and _ALIASES.get(unit) not in units:
        near = next((known for known in units if known.lower() == unit.lower()), None) or nearest(unit, units)
        hint = f'did you mean "{match[1]} {near}"?' if near else f'write one such as "{example}"'
        raise ValueError(f'"{_short(value)}": "{_short(unit)}" is not a unit of {what[2:]}; {hint} (units: {listed})')
    scaled = number * (units[unit] if unit in units else units[_ALIASES[unit]])
    if scaled < 0:
        raise ValueError(f'"{_short(value)}" is negative')
    if scaled > _LARGEST:
        raise ValueError(f'"{_short(value)}" is too large for {what}')
    return scaled


def _show(value: float, units: Mapping[str, Decimal], order: tuple[str, ...], *, read: Callable[[object], float], plain: str) -> str:
    number = Decimal(repr(value))
    if number == 0:
        return f"0 {plain}"
    for unit in order:
        amount = number / units[unit]
        text = f"{format(amount.normalize(), 'f')} {unit}"
        # 90 s rather than 1.5 min: a unit is taken where it gives a whole number, the plain one with decimals else.
        if amount == amount.to_integral_value() and amount < 100_000 and read(text) == value:
            return text
    return f"{format(number, 'f')} {plain}"


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("_", ""))


def _digits(text: str) -> bool:
    """False for what the pattern's optional parts let through: "", "+", "e5"."""
    return bool(re.match(r"[+-]?[.\d]", text))


def _kind(value: object) -> str:
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing", bool: "a truth value"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _short(text: str) -> str:
    """What the user wrote, printable and not a screenful."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 40 else clean[:37] + "..."
