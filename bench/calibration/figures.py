"""A figure of the harness beside the true one, and tables of such (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

RESOLUTION: Final = 1 / 1024
"""Of a histogram of three significant digits (HdrHistogram's 2^10 values a bucket): the largest error of one value, relative."""


@dataclass(frozen=True)
class Figure:
    """``allowed`` is relative to the truth; 0 = the two must be equal. None = not printed, for want of samples."""

    case: str
    name: str
    harness: float | None
    truth: float | None
    allowed: float = 0.0
    unit: str = ""  # "ns", "/s" or none

    @property
    def difference(self) -> float | None:
        """Harness minus truth."""
        return None if self.harness is None or self.truth is None else self.harness - self.truth

    @property
    def right(self) -> bool:
        """Whether the harness is as near as it must be."""
        if self.harness is None or self.truth is None:
            return self.harness is self.truth
        return abs(self.harness - self.truth) <= self.allowed * abs(self.truth)

    @property
    def error(self) -> float:
        """The relative difference, for the choice of the worst; infinite where one of the two is missing."""
        if self.right and self.difference in (None, 0):
            return 0.0
        if self.difference is None:
            return float("inf")
        return abs(self.difference) / max(abs(self.truth or 0.0), 1e-9)

    def to_json(self) -> dict[str, Any]:
        """One row of calibration.json."""
        return {**asdict(self), "difference": self.difference, "right": self.right}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Figure:
        """The inverse of to_json()."""
        return cls(*(row[name] for name in ("case", "name", "harness", "truth", "allowed", "unit")))

    def cells(self) -> tuple[str, str, str, str, str]:
        """By the harness, in truth, difference, allowed, verdict: for people."""
        if self.difference is None:
            difference = ""
        elif self.difference and self.truth:
            difference = f"{_shown(self.difference, self.unit)} ({100 * self.difference / self.truth:+.2f}%)"
        else:
            difference = _shown(self.difference, self.unit)
        allowed = "exact" if self.allowed < 1e-9 else f"{100 * self.allowed:.2g}%"  # less is a division's rounding
        return _shown(self.harness, self.unit), _shown(self.truth, self.unit), difference, allowed, "right" if self.right else "WRONG"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    if unit == "ns":
        return f"{value / 1e6:,.3f} ms"
    return f"{value:,}{unit}" if isinstance(value, int) else f"{value:,.2f}{unit}"


def worst(figures: Iterable[Figure]) -> list[tuple[Figure, int]]:
    """Of the figures of one name, the one that is furthest from the truth (the largest, where all agree), and how many there were."""
    by_name: dict[str, list[Figure]] = {}
    for figure in figures:
        by_name.setdefault(figure.name, []).append(figure)
    return [(max(same, key=lambda f: (not f.right, f.error, f.truth or 0.0)), len(same)) for same in by_name.values()]


HEAD: Final = ("figure", "by the harness", "recounted", "difference", "allowed", "verdict")


def rows(figures: Sequence[Figure], *, every: bool) -> list[tuple[str, ...]]:
    """The table: all figures with their cases, or (``every`` False) one row a name, the worst of its cases, with their number."""
    if every:
        return [(figure.case, figure.name, *figure.cells()) for figure in figures]
    return [(f"{figure.name} ({count})", *figure.cells()) for figure, count in worst(figures)]


def text(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = []
    for row in (head, *body):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)) + "\n"
