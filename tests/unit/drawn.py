"""What is to be seen of a chart: its words and its table, and texts that are cut or lie on one another."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from bench.report import svg

EDGE, MEET = 0.5, 0.75  # points by which a text may leave the paper, or reach into another


def rows(chart: svg.Chart, label: str | None = None) -> list[list[str]]:
    """The texts of its table, of one group where one is named."""
    return [[cell.text for cell in row] for group in chart.data.groups if label in {None, group.label} for row in group.rows]


def words(chart: svg.Chart) -> str:
    """All that the page shows of it."""
    return "".join(ET.fromstring(chart.inline).itertext())


def tags(chart: svg.Chart) -> set[str]:
    """What its picture on the page consists of."""
    return {element.tag.rpartition("}")[2] for element in ET.fromstring(chart.inline).iter()}


def boxes(chart: svg.Chart) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its place in pixels, as matplotlib's renderer has it."""
    with svg.style():
        chart.figure.set_dpi(svg.PNG_DPI)  # at 72 a hinted glyph is up to half a pixel wider than its outline
        renderer = FigureCanvasAgg(chart.figure).get_renderer()
        chart.figure.draw_without_rendering()  # which places the axes' labels
        hidden = {id(text) for axes in chart.figure.axes for axis in (axes.xaxis, axes.yaxis) for text in _hidden(axes, axis)}
        texts = [text for text in chart.figure.findobj(Text) if text.get_visible() and text.get_text().strip() and id(text) not in hidden]
        return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


def _hidden(axes: Any, axis: Any) -> list[Text]:
    """What matplotlib keeps and does not draw: labels of ticks outside of their axis, all of an axis that is off."""
    ticks = axis._update_ticks()  # also sets their texts and places
    if not axes.axison:
        return axis.findobj(Text)
    drawn = {id(text) for tick in ticks for text in tick.findobj(Text)}
    return [text for tick in (*axis.majorTicks, *axis.minorTicks) for text in tick.findobj(Text) if id(text) not in drawn]


def misplaced(chart: svg.Chart, *, above: float = MEET) -> list[str]:
    """What is wrong with the places of a chart's texts, in words; nothing where all is well. ``above``: how far lines may meet."""
    found = boxes(chart)
    page, point = chart.figure.bbox, svg.PNG_DPI / 72
    wrong = [] if len(found) > 3 else [f"only {len(found)} texts"]
    for name, box in found:
        for low, start, end, high in ((page.x0, box.x0, box.x1, page.x1), (page.y0, box.y0, box.y1, page.y1)):
            if not low - EDGE * point <= start < end <= high + EDGE * point:
                wrong.append(f"{name!r} leaves the paper: {start:.0f} to {end:.0f} of {high:.0f}")
    for (one, box), (other, its) in combinations(found, 2):
        across, up = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
        if across > MEET * point and up > above * point:
            wrong.append(f"{one!r} lies on {other!r}")
    return wrong
