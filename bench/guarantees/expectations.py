"""The table of what the documentation predicts (expectations.toml), checked as it is read; what a row says of a cell."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from adapters.capabilities import Delivery, Mode, Persistence
from bench.errors import UsageError
from bench.guarantees.named import FAULTS
from bench.guarantees.verdicts import ANOMALIES, Expectation
from bench.units import did_you_mean

FILE = Path(__file__).with_name("expectations.toml")
_PATTERNS = ("systems", "modes", "faults")
_LISTS = ("may", "must")
_TEXTS = ("source", "why", "timer", "unsupported")
_BY_PROMISE: Mapping[Delivery, frozenset[str]] = {
    Delivery.NONE: frozenset({"lost", "duplicated", "reordered"}),
    Delivery.AT_MOST_ONCE: frozenset({"lost", "reordered"}),
    Delivery.AT_LEAST_ONCE: frozenset({"duplicated", "reordered"}),
    Delivery.EXACTLY_ONCE: frozenset(),
}


@dataclass(frozen=True)
class Row:
    """One row of the table. Patterns are of fnmatch, those with a leading "!" exclude."""

    systems: tuple[str, ...]
    modes: tuple[str, ...]
    faults: tuple[str, ...]
    expectation: Expectation
    persistence: tuple[str, ...] = ()  # only of modes that declare one of these; () = of all

    def fits(self, system: str, mode: Mode, fault: str) -> bool:
        """Whether it speaks of this cell."""
        kept = not self.persistence or mode.persistence.value in self.persistence
        return kept and _fits(self.systems, system) and _fits(self.modes, mode.name) and _fits(self.faults, fault)


def expected(system: str, mode: Mode, fault: str) -> Expectation:
    """What the documentation predicts; of a system that is not in the table, what its mode promises."""
    for row in table():
        if row.fits(system, mode, fault):
            return row.expectation
    return Expectation(may_show=_BY_PROMISE[mode.delivery], source=mode.source, why=f"the mode promises: {mode.delivery.value}")


@functools.cache
def table() -> tuple[Row, ...]:
    """The rows that come with the suite."""
    return read(FILE)


def read(path: Path) -> tuple[Row, ...]:
    """The rows of a file; UsageError names file, row and what would be right."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["row"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: not a table of expectations ([[row]] ...): {error}") from error
    return tuple(_row(f"{path}: row {i}", row) for i, row in enumerate(rows, 1))


def _row(where: str, row: Mapping[str, Any]) -> Row:
    known = (*_PATTERNS, "persistence", *_LISTS, *_TEXTS)
    for key in row:
        if key not in known:
            raise UsageError(f'{where}: unknown key "{key}"; {did_you_mean(key, known)}')
    patterns = {key: _words(where, key, row.get(key)) for key in _PATTERNS}
    found = {key: frozenset(_words(where, key, row.get(key, ()))) for key in _LISTS}
    for key, names in found.items():
        for name in names - set(ANOMALIES[:3]):
            raise UsageError(f'{where}: {key}: "{name}" is none of {", ".join(ANOMALIES[:3])}')
    for pattern in patterns["faults"]:
        if not any(fnmatchcase(fault, pattern.removeprefix("!")) for fault in FAULTS):
            raise UsageError(f'{where}: no fault is called "{pattern}"; {did_you_mean(pattern, FAULTS)}')
    persistence = _words(where, "persistence", row.get("persistence", ()))
    for name in set(persistence) - {one.value for one in Persistence}:
        raise UsageError(f'{where}: persistence: "{name}" is none of {", ".join(one.value for one in Persistence)}')
    texts = {key: str(row.get(key, "")) for key in _TEXTS}
    if not texts["source"] or not (texts["why"] or texts["unsupported"]):
        raise UsageError(f"{where}: source (a page) and why (or unsupported) have to be there")
    expectation = Expectation(found["may"] | found["must"], found["must"], **texts)
    return Row(patterns["systems"], patterns["modes"], patterns["faults"], expectation, persistence)


def _words(where: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or (not value and key in _PATTERNS) or not all(isinstance(one, str) for one in value):
        raise UsageError(f'{where}: {key} is a list of names, such as ["consumer-kill"]')
    return tuple(value)


def _fits(patterns: Sequence[str], name: str) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    left_out = any(fnmatchcase(name, pattern[1:]) for pattern in patterns if pattern.startswith("!"))
    return not left_out and (not wanted or any(fnmatchcase(name, pattern) for pattern in wanted))
