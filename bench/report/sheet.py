"""The paper that a chart is drawn on: its title and caption set in lines, room for labels measured, labels spread apart.

Lengths are points (72 an inch), from the lower left corner. Text is measured with the font that it is drawn with.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from bench.report.svg import CAPTION, DASHES, INK, MARKERS, QUIET, SERIES, TITLE

WIDTH = 461.0
"""614 CSS pixels: half of a page, or a phone at half size, at which the smallest text must be legible."""
BIG, LABEL, SMALL = 12.0, 10.5, 9.5
"""Sizes of text: titles; names and values; what stands beneath them."""
EDGE = 8.0
"""Empty at each edge."""
_LINE = 1.3  # of a line, in its size
SPACED = 1.24
"""The same of names beside a drawing."""
SAMPLE = 22.0
"""How long a piece of a line is that shows what it looks like."""
_HINTED = 1.03  # letters set on whole pixels are up to that much wider
_ELLIPSIS = "\u2026"
_TIED = "\0"
_UNIT = re.compile(r"(?<=\d) (?=(?:B|ns|µs|ms|s|KiB|MiB|times)\b)|(?<=n) (?== )|(?<=n =) ")  # no line ends between a number and its unit


@dataclass(frozen=True)
class Sheet:
    """A figure with title above and caption below; ``bottom`` and ``top``: between them lies the body, which a chart fills."""

    figure: Figure
    title: str
    caption: str
    title_pt: float
    bottom: float
    top: float

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        """Axes that keep these distances to the edges of the body: ticks, labels and names stand there."""
        x, low = self._share(left, self.bottom + bottom)
        edge, high = self._share(WIDTH - right, self.top - top)
        return self.figure.add_axes((x, low, edge - x, high - low))

    def ylabel(self, axes: Axes, words: str) -> None:
        """Name a vertical axis at the left edge: matplotlib places it by how long the ticks' labels are, perhaps off the paper."""
        axes.set_ylabel(words)
        place = axes.get_position()
        axes.yaxis.set_label_coords((17 / WIDTH - place.x0) / place.width, 0.5)

    def text(self, x: float, y: float, words: str, size: float = LABEL, **more: Any) -> None:
        """Text at a place of the sheet."""
        self.figure.text(*self._share(x, y), words, fontsize=size, **more)

    def line(self, xs: Sequence[float], ys: Sequence[float], **more: Any) -> None:
        """A line, with markers where asked for, over places of the sheet."""
        places = [self._share(x, y) for x, y in zip(xs, ys, strict=True)]
        self.figure.add_artist(Line2D(*zip(*places, strict=True), transform=self.figure.transFigure, **more))

    def sample(self, x: float, y: float, number: int) -> None:
        """What a series looks like: a piece of its line, with its marker in the middle."""
        self.line((x, x + SAMPLE), (y, y), color=SERIES[number], linestyle=DASHES[number], linewidth=1.6)
        self.line((x + SAMPLE / 2,), (y,), color=SERIES[number], marker=MARKERS[number], markersize=5, linestyle="none")

    def named(self, x: float, top: float, name: Sequence[str], under: Sequence[str]) -> None:
        """A name in lines, and what stands beneath it, from ``top`` down; as high as ``named_height`` says."""
        for line in name:
            self.text(x, top - 0.82 * LABEL * SPACED, line, color=INK)
            top -= LABEL * SPACED
        for line in under:
            self.text(x, top - 0.8 * SMALL * SPACED, line, SMALL, color=QUIET)
            top -= SMALL * SPACED

    def box(self, x: float, y: float, width: float, height: float, **more: Any) -> None:
        """A rectangle at a place of the sheet."""
        (left, low), (wide, high) = self._share(x, y), self._share(width, height)
        self.figure.add_artist(Rectangle((left, low), wide, high, transform=self.figure.transFigure, **more))

    def place(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Where a point of the axes stands on the sheet; their limits and scales have to be final."""
        across, up = self.figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
        return float(across * WIDTH), float(up * self._height)

    def _share(self, x: float, y: float) -> tuple[float, float]:
        return x / WIDTH, y / self._height

    @property
    def _height(self) -> float:
        return self.title_pt + self.top


def sheet(title: str, caption: str, body: float) -> Sheet:
    """An empty sheet with a body of that height. To be used within ``svg.style()``."""
    title, caption = " ".join(title.split()), " ".join(caption.split())
    heads = wrapped(title, WIDTH - 2 * EDGE, BIG, bold=True)
    feet = wrapped(caption, WIDTH - 2 * EDGE, SMALL)
    title_pt = len(heads) * BIG * _LINE + EDGE if title else 0.0
    caption_pt = len(feet) * SMALL * _LINE + EDGE if caption else 0.0
    height = title_pt + body + caption_pt
    made = Sheet(Figure(figsize=(WIDTH / 72, height / 72)), title, caption, title_pt, caption_pt, caption_pt + body)
    if title:
        # Set from the baseline up: the lines of a block aligned at its top depend on which letters it has.
        made.text(EDGE, height - EDGE * 0.6, "\n".join(heads), BIG, fontweight="bold", va="top", linespacing=_LINE - 0.14, gid=TITLE)
    if caption:
        made.text(EDGE, caption_pt - 1, "\n".join(feet), SMALL, va="top", linespacing=_LINE - 0.14, gid=CAPTION, color=QUIET)
    return made


def named_height(name: Sequence[str], under: Sequence[str]) -> float:
    """Of ``Sheet.named``."""
    return (len(name) * LABEL + len(under) * SMALL) * SPACED


@lru_cache(maxsize=4096)
def width_of(words: str, size: float, *, bold: bool = False) -> float:
    """The width of one line, in points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a sign that the font lacks: it is drawn as a box, which has a width
        font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
        return _HINTED * float(text_to_path.get_text_width_height_descent(words, font, ismath=False)[0])


def fitted(words: str, room: float, size: float, *, bold: bool = False) -> str:
    """One line, cut with an ellipsis where it is wider than the room."""
    line = drawable(words)
    if width_of(line, size, bold=bold) <= room:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(line[:middle].rstrip() + _ELLIPSIS, size, bold=bold) <= room:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + _ELLIPSIS


def wrapped(words: str, room: float, size: float, *, bold: bool = False, most: int = 0) -> list[str]:
    """Lines that fit the room; a word that is wider is cut, and so is the last line where there may be ``most`` only."""
    lines: list[str] = []
    rest = [word.replace(_TIED, " ") for word in _UNIT.sub(_TIED, drawable(words)).split(" ") if word]
    while rest:
        if most and len(lines) == most - 1:
            lines.append(fitted(" ".join(rest), room, size, bold=bold))
            break
        count = 1
        while count < len(rest) and width_of(" ".join(rest[: count + 1]), size, bold=bold) <= room:
            count += 1
        lines.append(fitted(" ".join(rest[:count]), room, size, bold=bold))
        rest = rest[count:]
    return lines


def drawable(words: str) -> str:
    """One line without what no font can draw: control characters, halves of surrogate pairs."""
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())


def spread(wants: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of blocks of these sizes, none on another, between low and high, as near to the wanted ones as can be.

    ``wants`` ascend. Least squares under that order (isotonic regression, pool adjacent violators): less the room that those below
    it take, a centre has only to be no smaller than its neighbour's. Where the room is too small they begin at low and leave it.
    """
    offsets = [0.0]
    for one, other in pairwise(sizes):
        offsets.append(offsets[-1] + (one + other) / 2)
    pools: list[tuple[float, int]] = []  # mean, how many
    for want, offset in zip(wants, offsets, strict=False):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (mean, count), (before, several) = pools.pop(), pools.pop()
            pools.append(((before * several + mean * count) / (several + count), several + count))
    if not pools:
        return []
    least = low + sizes[0] / 2
    most = max(high - sizes[-1] / 2 - offsets[-1], least)
    flat = [min(max(mean, least), most) for mean, count in pools for _ in range(count)]
    return [place + offset for place, offset in zip(flat, offsets, strict=True)]
