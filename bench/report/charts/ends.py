"""Names beside curves: each at the height of its curve's end, none on another, led to it by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from bench.report.sheet import EDGE, LABEL, SAMPLE, SMALL, SPACED, WIDTH, Sheet, named_height, spread, width_of, wrapped
from bench.report.svg import SERIES

ROOM = 166.0
"""To the right of the axes, for the names."""
_LEAD = 16.0  # from the axes to the sample of the line
_GAP = 6.0


@dataclass(frozen=True)
class End:
    """The end of a curve, in the data's units; its name and what stands beneath it, in parts that stay whole where they fit."""

    x: float
    y: float
    name: str
    under: tuple[str, ...]
    colour: int

    def lines(self) -> tuple[list[str], list[str]]:
        """Name and what stands beneath, in lines that fit."""
        room = ROOM - _LEAD - SAMPLE - 5 - EDGE
        under: list[str] = []
        for part in self.under:
            joined = f"{under[-1]}, {part}" if under else part
            if under and width_of(joined, SMALL) <= room:
                under[-1] = joined
            else:
                under += wrapped(part, room, SMALL, most=2)
        return wrapped(self.name, room, LABEL, most=3) or ["?"], under

    def height(self) -> float:
        """Of the whole label, with the gap to the next."""
        name, under = self.lines()
        return named_height(name, under) + _GAP


def height(ends: Sequence[End]) -> float:
    """What the labels need, one upon another."""
    return sum(end.height() for end in ends)


def draw(sheet: Sheet, axes: Axes, ends: Sequence[End]) -> None:
    """Write the labels to the right of the axes, whose limits have to be final."""
    right = WIDTH - ROOM
    placed = sorted(((*sheet.place(axes, end.x, end.y), i) for i, end in enumerate(ends)), key=lambda at: (at[1], at[2]))
    ordered = [ends[i] for _, _, i in placed]
    centres = spread([y for _, y, _ in placed], [end.height() for end in ordered], sheet.bottom, sheet.top)
    for (x, y, _), end, centre in zip(placed, ordered, centres, strict=True):
        name, under = end.lines()
        top = centre + (end.height() - _GAP) / 2
        middle = top - LABEL * SPACED / 2  # of the first line: there the sample stands
        at = right + _LEAD
        colour = SERIES[end.colour]
        sheet.line((x, right), (y, y), color=colour, linewidth=0.5, linestyle=(0, (1, 3)))
        sheet.line((right, right + 2, at), (y, y, middle), color=colour, linewidth=0.6, alpha=0.8)
        sheet.sample(at, middle, end.colour)
        sheet.named(at + SAMPLE + 5, top, name, under)
