"""What all charts share: colours that follow the page, series told apart without colour; a chart as SVG, PNG and CSV."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image  # comes with matplotlib, which writes its pictures by it

from bench.report.table import Table

if TYPE_CHECKING:
    from bench.report.sheet import Sheet

TITLE, CAPTION = "chart-title", "chart-caption"
"""Groups of the SVG that the page leaves out: it prints them itself."""
INK, QUIET, GRID, PAPER = "#1b1f24", "#5b6470", "#d5d9de", "#fffffe"
# Okabe and Ito's palette, the two lightest darkened for white paper; told apart also by marker and dash.
_COLOURS = ("#0072b2", "#d55e00", "#008f6b", "#b04f8a", "#9a6a00", "#3a86c8", "#6b5bb5", "#55606b")
_DASHES: tuple[tuple[int, tuple[float, ...]] | str, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.4)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    (0, (9, 2)),
    (0, (4, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2, 1, 1, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# From the ninth on a colour comes again, with another dash and marker.
_ALL = range(3 * len(_COLOURS))
SERIES = tuple(_COLOURS[i % 8] for i in _ALL)
DASHES = tuple(_DASHES[(i + i // 8) % 8] for i in _ALL)
MARKERS = tuple(_MARKERS[(i + 3 * (i // 8)) % 8] for i in _ALL)
HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----", "||||", "++++", "....")
# The page's variables (report.css) for the same colours, in light, dark and print. As attributes, because a policy without
# 'unsafe-inline' forbids style="": presentation attributes are parsed as CSS, so var() holds in them, and are no inline style.
VARIABLES = {INK: "--ink", QUIET: "--quiet", GRID: "--grid", PAPER: "--paper"} | {c: f"--s{i}" for i, c in enumerate(_COLOURS)}
FONTS = "'DejaVu Sans', Verdana, sans-serif"
PNG_DPI = 192
"""Two pixels a CSS pixel."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # real text: small, selectable; laid out with DejaVu, which is wider than what pages use
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # a name with a $ is a name
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "figure.facecolor": PAPER,
    "hatch.linewidth": 0.6,
    "hatch.color": PAPER,
    "path.simplify": True,
}
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


@dataclass(frozen=True)
class Chart:
    """One chart; ``data``: what is drawn, as a table.

    ``inline`` goes into the page without title and caption, which the page prints, and follows its colours; ``standalone`` is
    a file of its own, with both.
    """

    name: str
    title: str  # what is to be seen, a sentence
    caption: str  # conditions, n, how to read it
    alt: str  # for who cannot see it
    inline: str
    standalone: str
    data: Table
    figure: Figure = field(repr=False, compare=False)

    def png(self) -> bytes:
        """The chart as a picture on white paper, two pixels a CSS pixel."""
        buffer = io.BytesIO()
        with style():
            self.figure.set_dpi(PNG_DPI)
            canvas = FigureCanvasAgg(self.figure)
            canvas.draw()  # type: ignore[no-untyped-call]
            # A palette: a third of the bytes and two thirds of the time to compress. Nothing else in it: equal input, equal bytes.
            picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
            picture.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "png")
        return buffer.getvalue()

    def csv(self) -> str:
        """What is drawn, for other tools: numbers without the commas, the group of a row in a column of its own where there are several."""
        grouped = any(group.label for group in self.data.groups)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*(["group"] if grouped else []), *(label for label, _ in self.data.head)])
        for group in self.data.groups:
            for row in group.rows:
                cells = [re.sub(r"(?<=\d),(?=\d{3})", "", c.text) if c.kind == "number" else c.text for c in row]
                writer.writerow([*([group.label] if grouped else []), *cells])
        return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for our charts; a sign that the font lacks is drawn as a box, without a word on stderr."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def write(chart: Chart, folder: Path) -> Path:
    """Write NAME.svg, NAME.png and NAME.csv into ``folder``; return the first. Raises OSError."""
    path = folder / f"{chart.name}.svg"
    path.write_text(chart.standalone, encoding="utf-8")
    path.with_suffix(".png").write_bytes(chart.png())
    path.with_suffix(".csv").write_text(chart.csv(), encoding="utf-8", errors="replace")
    return path


def render(sheet: Sheet, name: str, alt: str, data: Table) -> Chart:
    """The sheet as a chart: no metadata, no reference outside, ids that carry the chart's name (several share one page)."""
    buffer = io.StringIO()
    with style(), mpl.rc_context({"svg.hashsalt": name}):  # equal input, equal bytes
        FigureCanvasSVG(sheet.figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]  # matplotlib leaves its backends untyped
    source = _FORBIDDEN.sub("\ufffd", buffer.getvalue())
    body = source[source.index(">", source.index("<svg")) + 1 : source.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style[^<]*</style>\s*</defs>", "", body, flags=re.DOTALL)
    referred = frozenset(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r"<[a-z][^>]*>", lambda tag: _tag(tag[0], name, referred), body)  # text holds no "<": matplotlib escapes it
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    width, height = (72 * inches for inches in sheet.figure.get_size_inches())
    standalone = _root(body, sheet.title, alt, (0, width, height), f' font-family="{FONTS}"')
    top, bottom = sheet.title_pt, sheet.bottom
    inline = re.sub(rf'<g class="(?:{TITLE}|{CAPTION})">.*?</g>\n?', "", body, flags=re.DOTALL)
    inline = re.sub(r"<[a-z][^>]*>", lambda tag: _follow(tag[0]), inline)
    inline = _root(inline, sheet.title, alt, (top, width, height - top - bottom), "")
    return Chart(name, sheet.title, sheet.caption, alt, inline, standalone + "\n", data, sheet.figure)


def _root(body: str, title: str, alt: str, box: tuple[float, float, float], more: str) -> str:
    """The outermost element. Its attributes are inherited, as matplotlib's style sheet held for all."""
    y, width, height = box
    label = escape(_FORBIDDEN.sub("\ufffd", alt if alt.startswith(title) else f"{title} {alt}"), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{label}" '
        f'width="{width * 4 / 3:.0f}" height="{height * 4 / 3:.0f}" viewBox="0 {y:g} {width:g} {height:g}" '
        f'stroke-linejoin="round" stroke-linecap="butt"{more}>\n{body}\n</svg>'
    )


def _tag(tag: str, name: str, referred: frozenset[str]) -> str:
    """One tag of matplotlib's: styles as attributes, ids only where something refers to them, no font of its own."""

    def attributes(found: re.Match[str]) -> str:
        pairs = (one.split(":", 1) for one in found[1].split(";") if ":" in one)
        return " ".join(f'{key.strip()}="{value.strip()}"' for key, value in pairs if key.strip() != "font-family")

    def identity(found: re.Match[str]) -> str:
        if found[1] in referred:
            return f' id="{name}-{found[1]}"'
        return f' class="{found[1]}"' if found[1] in (TITLE, CAPTION) else ""

    tag = re.sub(r'\bstyle="([^"]*)"', attributes, tag)
    tag = re.sub(r'\sid="([^"]*)"', identity, tag)
    tag = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", tag)
    tag = re.sub(r'href="#', f'href="#{name}-', tag)
    return re.sub(r"url\(#", f"url(#{name}-", tag)


def _follow(tag: str) -> str:
    """The same tag with the page's variables for our colours."""

    def variable(found: re.Match[str]) -> str:
        known = VARIABLES.get(found[2])
        return f'{found[1]}="var({known})"' if known else found[0]

    return re.sub(r'\b(fill|stroke)="(#[0-9a-f]{6})"', variable, tag)


def colour(colours: Mapping[str, int], variant: str) -> int:
    """The number of a variant's colour, marker and dash: the same in all charts of a page."""
    return colours.get(variant, 0) % len(SERIES)
