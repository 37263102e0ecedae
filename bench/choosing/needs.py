"""What can be asked of a system: names, options, units, and how an answer becomes numbers that rules compare (pure).

Needs are numbers by key: ``{"rate": 2000.0, "lossless": 1}``; a need that is not there is not asked. Of every key but ``p99_ns``
more is stricter. Delivery is two keys, as neither of at-most-once and at-least-once implies the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.units import count, did_you_mean, duration_s, rate_per_s, show_duration, show_rate, show_size, size_b

Asked = Mapping[str, float]

NONE, KEY, PRODUCER, TOTAL = range(4)
"""Scopes of order: of nothing, of one key's messages, of one producer's, of all."""


@dataclass(frozen=True)
class Choice:
    """One word that an option takes, and what is asked by it."""

    word: str
    asks: Asked
    label: str


@dataclass(frozen=True)
class Need:
    """One option. Exactly one of ``read`` (a quantity: its key, and how a text is read), ``choices``, ``flag`` (a key) is set."""

    name: str  # of the option, without dashes
    label: str  # in the page's form
    help: str
    section: str  # the form's fieldset
    key: str = ""
    read: Callable[[object], float] | None = None
    show: Callable[[float], str] | None = None
    example: str = ""
    unit: str = ""  # of the form's field, which takes a plain number
    scale: float = 1  # from the form's unit to the key's
    choices: tuple[Choice, ...] = ()

    @property
    def flag(self) -> bool:
        """Whether it is asked by its name alone."""
        return self.read is None and not self.choices


def _ns(value: object) -> float:
    return float(round(duration_s(value) * 1e9))


def _time(ns: float) -> str:
    return show_duration(ns / 1e9)


def _size(size: float) -> str:
    return show_size(int(size))


def _plain(value: float) -> str:
    return f"{value:,.0f}"


_HOLD, _LOAD, _CONSUMERS = "What must hold", "Load", "Consumers"


NEEDS = (
    Need(
        "delivery",
        "Delivery",
        "what the mode must promise, and no trial may have broken",
        _HOLD,
        choices=(
            Choice("none", {}, "no promise needed"),
            Choice("at-most-once", {"unrepeated": 1}, "at most once: never repeated"),
            Choice("at-least-once", {"lossless": 1}, "at least once: never lost"),
            Choice("exactly-once", {"lossless": 1, "unrepeated": 1}, "exactly once"),
        ),
    ),
    Need(
        "ordering",
        "Order",
        "of one key's messages, of one producer's, or of all (total), as promised for the workload that was measured",
        _HOLD,
        choices=(
            Choice("none", {}, "no order needed"),
            Choice("key", {"order": KEY}, "of one key's messages"),
            Choice("producer", {"order": PRODUCER}, "of one producer's messages"),
            Choice("total", {"order": TOTAL}, "of all messages"),
        ),
    ),
    Need(
        "persistence",
        "Where an acknowledged message must be",
        "where a message is when the producer is told that it was taken",
        _HOLD,
        choices=(
            Choice("none", {}, "anywhere"),
            Choice("memory", {"persistence": 1}, "in the server's memory"),
            Choice("page-cache", {"persistence": 2}, "in its page cache"),
            Choice("fsync", {"persistence": 3}, "on its disk (fsync)"),
        ),
    ),
    Need("copies", "Copies of it", "on how many nodes it is then", _HOLD, "copies", count, _plain, "3", "nodes"),
    Need("rate", "Rate", "messages a second, to each group", _LOAD, "rate", rate_per_s, show_rate, "2k/s", "messages a second"),
    Need("p99", "p99 of latency, at most", "end to end, from the intended time", _LOAD, "p99_ns", _ns, _time, "20 ms", "ms", 1e6),
    Need("payload", "Message", "size of a message", _LOAD, "payload_b", size_b, _size, "1 KiB", "bytes"),
    Need(
        "groups", "Groups that each get every message", "consumer groups that each get every message", _LOAD, "groups", count, _plain, "3"
    ),
    Need("members", "Consumers that share a group's work", "consumers that share a group's work", _LOAD, "members", count, _plain, "4"),
    Need(
        "late-subscribers",
        "Late subscribers get what waited for them",
        "a subscriber that was not there gets what came since its queue was declared",
        _CONSUMERS,
        "late",
    ),
    Need(
        "replay",
        "Replay: a new group reads from the beginning",
        "a new group reads what was sent before it was there",
        _CONSUMERS,
        "replay",
    ),
    Need(
        "isolation",
        "A slow consumer does not hold up others",
        "a slow consumer holds up neither producers nor other groups",
        _CONSUMERS,
        "isolation",
    ),
)
"""All that can be asked, in the order of help and form."""
BY_NAME = {need.name: need for need in NEEDS}
SHORT = {
    "lossless": "delivery", "unrepeated": "delivery", "order": "order", "persistence": "persistence", "copies": "copies", "rate": "rate",
    "p99_ns": "p99", "payload_b": "payload", "groups": "groups", "members": "shared work", "late": "late subscribers", "replay": "replay",
    "isolation": "isolation",
}  # fmt: skip
"""A key in a reader's words."""
SMALLER_IS_STRICTER = frozenset({"p99_ns"})


def parse(given: Mapping[str, Any]) -> dict[str, float]:
    """Needs by option (a text for a quantity or choice, True for a flag; None and False: not asked) as numbers by key.

    Raises:
        UsageError: an unknown option, a word that no choice has, a quantity without its unit or of zero.
    """
    asked: dict[str, float] = {}
    for name, value in given.items():
        if name not in BY_NAME:
            raise UsageError(f'"{name}" is no need; {did_you_mean(name, BY_NAME)}')
        if value is not None and value is not False:
            asked |= _one(BY_NAME[name], value)
    return asked


def _one(need: Need, value: object) -> dict[str, float]:
    if need.choices:
        word = "none" if value == "any" else str(value).lower().replace("_", "-").replace(" ", "-")  # scenarios say any
        found = next((choice for choice in need.choices if choice.word == word), None)
        if found is None:
            raise UsageError(f'--{need.name} "{value}": {did_you_mean(word, [choice.word for choice in need.choices])}')
        return dict(found.asks)
    if need.read is None:
        return {need.key: 1}
    try:
        number = need.read(value)
    except ValueError as error:
        raise UsageError(f"--{need.name}: {error}") from error
    if number <= 0:
        raise UsageError(f'--{need.name} "{value}": must be more than 0, such as "{need.example}"')
    return {need.key: number}


def told(asked: Asked) -> list[str]:
    """What is asked, in words: ["delivery at-least-once", "rate 2,000/s", "replay"]."""
    words = []
    for need in NEEDS:
        if need.choices:
            # The strictest word of which all is asked: exactly-once, not at-least-once.
            met = [c for c in need.choices if c.asks and all(asked.get(key, 0) >= value for key, value in c.asks.items())]
            words += [f"{need.name} {met[-1].word}"] if met else []
        elif need.key in asked:
            words.append(f"{need.name} {need.show(asked[need.key])}" if need.show else need.name)
    return words
