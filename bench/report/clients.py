"""What the choice of client costs, in a sentence: variants of one system that differ in nothing else their SPECs say (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.analysis.summary import VariantPoint
from bench.report import text

LABEL = "Choice of client"
Figure = Callable[[VariantPoint], str]


def sentence(results: Sequence[VariantPoint], figure: Figure, what: str) -> str:
    """The clients of each system that has several, the one that takes least CPU first; "" where none has.

    ``figure``: what the point is ranked by, in words, and ``what`` that is. CPU is of the producers and consumers, for a delivered message.
    """
    groups: dict[str, list[VariantPoint]] = {}
    for result in results:
        if result.valid and _cpu_ns(result):
            words = str(result.variant.get("spec") or "").split(",")
            groups.setdefault(",".join(word for word in words if not word.startswith("client=")), []).append(result)
    return "; ".join(_told(group, figure, what) for group in groups.values() if len({_client(one) for one in group}) > 1)


def _told(group: Sequence[VariantPoint], figure: Figure, what: str) -> str:
    first, *others = sorted(group, key=_cpu_ns)
    words = [f"{_client(first)} {figure(first)}, {text.micro(_cpu_ns(first))} µs"]
    words += [
        f"{_client(one)} {figure(one)}, {text.micro(_cpu_ns(one))} µs ({text.ratio(_cpu_ns(one) / _cpu_ns(first))})" for one in others
    ]
    return f"{text.system_name(first.variant)}, {what} and the clients' CPU for a message: {'; '.join(words)}"


def _client(result: VariantPoint) -> str:
    return str(result.variant.get("client"))


def _cpu_ns(result: VariantPoint) -> float:
    """Of both sides; 0 where one is not known."""
    sides = (result.cost.producers, result.cost.consumers)
    return sum(side.median for side in sides if side) if None not in sides else 0.0
