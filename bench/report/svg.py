"""What all charts share: colours that follow the page, series told apart without colour, a clean self-contained SVG."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, QUIET, GRID, PAPER = "#1b1f24", "#5b6470", "#d5d9de", "#fffffe"
# Okabe and Ito's palette, the two lightest darkened for white paper; told apart also by marker and dash.
SERIES = ("#0072b2", "#d55e00", "#008f6b", "#b04f8a", "#9a6a00", "#3a86c8", "#6b5bb5", "#55606b")
DASHES: tuple[tuple[int, tuple[float, ...]] | str, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.4)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    "-",
    (0, (5, 2)),
    (0, (1, 1.4)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# The page's variables for the same colours: inline, a chart follows light and dark.
_VARIABLES = {INK: "--ink", QUIET: "--quiet", GRID: "--grid", PAPER: "--paper"} | {c: f"--s{i}" for i, c in enumerate(SERIES)}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # real text: small, selectable; laid out with DejaVu, which is wider than what pages use
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # a name with a $ is a name
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "figure.facecolor": PAPER,
    "hatch.linewidth": 0.6,
    "hatch.color": PAPER,
}


@dataclass(frozen=True)
class Chart:
    """One chart: ``inline`` goes into the page and follows its colours, ``standalone`` is a file of its own."""

    name: str
    title: str
    alt: str
    inline: str
    standalone: str


def render(figure: Figure, name: str, title: str, alt: str) -> Chart:
    """The figure as SVG: no metadata, no reference outside, ids that carry the chart's name (several share one page)."""
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):  # equal input, equal bytes
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]  # matplotlib leaves its backends untyped
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    label = f'role="img" aria-label="{escape(alt, quote=True)}"'
    width = re.search(r'viewBox="0 0 ([\d.]+) ', text)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", text, count=1)
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"([^>]*?)height="[^"]*"', r"<svg \1\2", text, count=1)
    text = text.replace("<svg ", f'<svg {label} width="{float(width[1]) * 4 / 3:.0f}" ' if width else f"<svg {label} ", 1)
    inline = text
    for colour, variable in _VARIABLES.items():
        inline = re.sub(rf'fill="{colour}"', f'style="fill: {colour}"', inline)
        inline = re.sub(rf"(?<=: ){colour}", f"var({variable})", inline)
    return Chart(name, title, alt, inline.strip(), text.strip() + "\n")
