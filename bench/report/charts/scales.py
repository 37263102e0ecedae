"""Logarithmic axes whose ticks can be read: few, round, without exponents, also over a narrow range or a single value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import cast

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.sheet import width_of

_SIZE, _BETWEEN = 10.0, 7.0  # of a tick's label (svg.STYLE), and what is left between two, in points


def logarithmic(axis: Axis, values: Iterable[float], *, room: float = 1.25, most: int = 6) -> None:
    """Scale the axis so that it holds the values (above 0), with a margin; at most so many ticks, and none on another."""
    known = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(known) / room, max(known) * room
    axes, across = axis.axes, axis is axis.axes.xaxis
    if across:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis.set_major_locator(FixedLocator(_legible(low, high, most, _length(axes, across=across), across=across)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))


def _length(axes: Axes, *, across: bool) -> float:
    """Of the axis, in points."""
    place, inches = axes.get_position(), cast("Figure", axes.get_figure(root=True)).get_size_inches()
    return float(72 * (place.width * inches[0] if across else place.height * inches[1]))


def _legible(low: float, high: float, most: int, length: float, *, across: bool) -> list[float]:
    """The finest ticks whose labels lie apart on an axis of that many points; else one only."""
    found = ticks(low, high, most)
    for fewer in range(most, 1, -1):
        found = ticks(low, high, fewer)
        apart = [length * math.log(b / a) / math.log(high / low) for a, b in pairwise(found)]
        sizes = [width_of(plain(v), _SIZE) + _BETWEEN if across else _SIZE * 1.3 for v in found]
        if all(gap >= (a + b) / 2 for gap, (a, b) in zip(apart, pairwise(sizes), strict=True)):
            return found
    return found[-1:]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between low and high: of the finest series that has no more than ``most`` of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, last + 1)
    series = [[round(step * 0.1, 1) for step in range(10, 100)], [1 + step * 0.2 for step in range(45)], [*range(1, 10)]]
    series += [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]
    for steps in series:
        found = [float(f"{step * 10.0**decade:.3g}") for decade in decades for step in steps]
        found = [v for v in found if low <= v <= high]
        if 2 <= len(found) <= most:
            return found
    for every in range(1, last - first + 2):
        found = [10.0**decade for decade in decades if decade % every == 0 and low <= 10.0**decade <= high]
        if len(found) <= most:
            break
    return found or [float(f"{math.sqrt(low * high):.3g}")]


def ms(ns: float, floor_ns: float = 1.0) -> float:
    """Nanoseconds as milliseconds on a logarithmic axis, which has no zero: nothing lies below the floor."""
    return max(ns, floor_ns) / 1e6


def short(value: float) -> str:
    """As plain(), in at most seven signs: 100k for what would be 100,000."""
    return f"{value / 1e3:,.0f}k" if value >= 1e5 else plain(value) if value else "0"


def apart(axes: Axes, values: Sequence[float], names: Sequence[str], size: float = 10.0) -> None:
    """Ticks of the axis of x at these values (ascending), but for those whose names would touch the next; the limits have to be final."""
    low, high = axes.transScale.transform([(v, 1.0) for v in axes.get_xlim()])[:, 0]
    wide = _length(axes, across=True)
    kept: list[tuple[float, str]] = []
    edge = math.inf
    for value, name in zip(reversed(values), reversed(names), strict=True):  # the largest is told in any case
        at = (axes.transScale.transform((value, 1.0))[0] - low) / (high - low) * wide
        half = width_of(name, size) / 2
        if at + half + 5 <= edge:
            kept.append((value, name))
            edge = at - half
    axes.set_xticks([value for value, _ in kept], [name for _, name in kept])
    axes.xaxis.set_minor_locator(NullLocator())


def plain(value: float) -> str:
    """0.001, 0.5, 20, 1,500, 20,000, 2M: as a reader writes it."""
    if 1e6 <= value < 1e10:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:g}"
