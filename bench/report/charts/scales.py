"""Logarithmic axes whose ticks can be read: few, round, without exponents, also over a narrow range or a single value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.sheet import width_of


def logarithmic(axis: Axis, values: Iterable[float], *, room: float = 1.25, most: int = 6) -> None:
    """Scale the axis so that it holds the values (above 0), with a margin; at most so many ticks, and at least two."""
    known = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(known) / room, max(known) * room
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis.set_major_locator(FixedLocator(ticks(low, high, most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))


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


def short(value: float) -> str:
    """As plain(), in at most seven signs: 100k for what would be 100,000."""
    return f"{value / 1e3:,.0f}k" if value >= 1e5 else plain(value) if value else "0"


def apart(axes: Axes, values: Sequence[float], names: Sequence[str], size: float = 10.0) -> None:
    """Ticks of the axis of x at these values (ascending), but for those whose names would touch the next; the limits have to be final."""
    low, high = axes.transScale.transform([(v, 1.0) for v in axes.get_xlim()])[:, 0]
    figure = axes.get_figure(root=True)
    assert figure is not None  # what is drawn on a sheet has one
    wide = axes.get_position().width * figure.get_figwidth() * 72
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
    """0.001, 0.5, 20, 1,500, 20,000, 2 million: as a reader writes it."""
    if value >= 1e6:
        return f"{value / 1e6:g} million"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}" if value >= 1e-4 else f"{value:.0e}"
