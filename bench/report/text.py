"""Numbers and names in a reader's words. Each function takes the stored unit (ns, bytes) and prints its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.analysis.summary import Spread

RUN = "run"
"""In a point where runs stand side by side: what tells this one's run from the others."""
NONE = "n/a"
DASH = "\u2013"
TIMES = "\u00d7"


def many(count_: int, name: str) -> str:
    """1 cell, 2 cells."""
    return f"{count_:,} {name}{'s' * (count_ != 1)}"


def tagged(name: str, tag: str) -> str:
    """A name with what tells it from others alike: "Capacity (2026-11-22 17:01)"; alone where there is none."""
    return f"{name} ({tag})" if tag else name


def number(value: float) -> str:
    """Three significant digits, thousands with commas, no exponent: 0.0123, 1.31, 48.2, 1,234."""
    if value == 0:
        return "0"
    size = abs(float(f"{value:.3g}"))  # 99.96 is 100, not 100.0
    if size >= 100:
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}"


def duration(ns: float | None) -> str:
    """A latency in the unit that suits it; always with the unit."""
    if ns is None:
        return NONE
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size * 0.9995:
            return f"{number(ns / size)} {unit}"
    return f"{number(ns)} ns"


def micro(ns: float | None) -> str:
    """CPU of a message in microseconds: one unit down a column, so that it can be compared at a glance."""
    return NONE if ns is None else number(ns / 1e3)


def milli(ns: float | None) -> str:
    """A latency in milliseconds, without the unit: it stands in the column's head."""
    return NONE if ns is None else number(ns / 1e6)


def mebi(size_b: float | None) -> str:
    """Memory in MiB, without the unit: it stands in the column's head."""
    return NONE if size_b is None else number(size_b / 2**20)


def count(value: float | None) -> str:
    """A whole number; a dash where it was not counted."""
    return DASH if value is None else f"{value:,.0f}"


def between(values: Iterable[float], form: Callable[[float], str] = count) -> str:
    """The smallest and the largest: 3 to 8; one where they are the same."""
    known = [*values]
    low, high = form(min(known)), form(max(known))
    return low if low == high else f"{low} to {high}"


def rounds(counts: Iterable[int]) -> str:
    """1 round, 8 rounds, 3 to 8 rounds."""
    told = between(counts)
    return f"{told} round{'s' * (told != '1')}"


def percent(share: float) -> str:
    """A share or probability: 14%, 4.5%."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def ranged(spread: Spread | None, form: Any = number) -> str:
    """The median, with smallest and largest over rounds where there are several."""
    if spread is None:
        return NONE
    middle = str(form(spread.median))
    if spread.rounds < 2 or form(spread.low) == form(spread.high):
        return middle
    return f"{middle} ({form(spread.low)}-{form(spread.high)})".replace("-", DASH)


def ratio(value: float, low: float | None = None, high: float | None = None) -> str:
    """1.31x (1.22 to 1.40), with the sign once; without brackets where an end is not known."""
    told = f"{number(value)}{TIMES}"
    return told if low is None or high is None else f"{told} ({number(low)}{DASH}{number(high)})"


def times(spread: Spread | None) -> str:
    """A ratio: 1.31x (1.22 to 1.40), with the sign once."""
    if spread is None:
        return ""
    told = ranged(spread)
    return told.replace(" (", f"{TIMES} (", 1) if " (" in told else told + TIMES


def point_name(point: Mapping[str, Any]) -> str:
    """2,000/s, 256 B, partitions 4."""
    words = []
    for name, value in point.items():
        if name == "rate_per_s":
            words.append(_load(point))
        elif name in ("schedule", RUN):
            continue
        elif name == "payload":
            words.append(str(value))
        elif name == "size_b" and "payload" in point:
            continue  # said better there
        elif name == "distance_s":
            words.append(f"{duration(value * 1e9)} away" if value else "through the proxy, at no distance")
        elif name == "size_b":
            words.append(f"{value:,} B" if isinstance(value, int) else f"{value} B")
        else:
            words.append(f"{name} {value}")
    return tagged(", ".join(words) or "the only point", str(point.get(RUN) or ""))


def _load(point: Mapping[str, Any]) -> str:
    """The load of a point: "2,000/s", "as fast as it goes", "poisson, mean 2,000/s"."""
    rate, schedule = point.get("rate_per_s"), point.get("schedule")
    if schedule == "closed":
        return "closed loop (hides stalls)"
    if rate is None:
        return "as fast as it goes"
    return f"{schedule}, mean {number(rate)}/s" if schedule else f"{number(rate)}/s"


def at(point: Mapping[str, Any]) -> str:
    """The point after a name: "at 2,000/s, 256 B", "as fast as it goes, 256 B"."""
    name = point_name(point)
    return f"at {name}" if point.get("rate_per_s") is not None else name


def shortened(words: str, most: int = 90) -> str:
    """The first line, cut at a length that a sentence bears."""
    line = (words.splitlines() or [""])[0]
    return line if len(line) <= most else f"{line[: most - 1]}\u2026"


def variant_name(variant: Mapping[str, Any]) -> str:
    """The pair that is compared: system and client, with the profile where it is not the default one."""
    client = variant.get("client")
    return system_name(variant, f" ({client})" if client else "")


def system_name(variant: Mapping[str, Any], more: str = "") -> str:
    """The system, and what tells it from another of its kind, without the client."""
    return ", ".join([f"{variant.get('title') or variant.get('system') or variant.get('id')}{more}", *own_settings(variant)])


def pair(variant: Mapping[str, Any]) -> str:
    """Apache Kafka through kafka-python."""
    return f"{variant.get('title') or variant.get('system')} through {variant.get('client')}"


def own_settings(variant: Mapping[str, Any]) -> list[str]:
    """What tells a variant from another of its system and client: a profile that is not the default, settings of its SPEC."""
    profile = str(variant.get("profile") or "defaults")
    asked = str(variant.get("spec") or "").split(",")[1:]
    return [*([profile] if profile != "defaults" else []), *(word for word in asked if not word.startswith(("profile=", "client=")))]


def acknowledged(variant: Mapping[str, Any]) -> str:
    """What the producer's acknowledgement says: how far the message got, on how many nodes."""
    mode = variant.get("mode") or {}
    where, copies = mode.get("persistence") or "unknown", mode.get("copies")
    if not variant.get("confirms"):
        return f"none (a send returns at: {where})"
    return held(str(where), copies)


def held(where: str, copies: int | None) -> str:
    """Both axes of what "acknowledged" means: "page cache, 1 copy", "fsync, at least 2 copies"."""
    return f"{where}, {'1 copy' if copies == 1 else f'at least {copies} copies'}"


def promise(delivery: str) -> str:
    """The name of a board."""
    return "no delivery guarantee" if delivery == "none" else delivery


def listed(words: Iterable[str]) -> str:
    """a, b and c."""
    known = list(words)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else ""


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested data as dotted names and text, in its own order."""
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list | tuple):
        if any(isinstance(v, Mapping | list | tuple) for v in value):
            return [row for i, inner in enumerate(value) for row in flat(inner, f"{prefix}.{i}")]
        return [(prefix, ", ".join(str(v) for v in value) or "none")]
    return [(prefix, "not known" if value is None else str(value))]
