"""What all charts share: a clean SVG under a strict policy, labels that fit and lie apart, the same bytes for the same data."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report import svg
from bench.report.charts import scales
from bench.report.sheet import fitted, sheet, spread, width_of, wrapped
from bench.report.table import Builder, Cell

HOSTILE = '</svg><script>alert(1)</script>\'"& style="fill: red" id="x" href="#y" url(#z) $x_1$ \x00\x1b\ud800 \u4f60'


def chart(name="c-1", title="What is to be seen", caption="n = 3", words="in the body"):
    builder = Builder("Drawn", (("Name", False), ("Value", True)))
    builder.add("a", [(words, "1,234.5"), (Cell("=x", "bad"), Cell("1,2", ""))])
    with svg.style():
        paper = sheet(title, caption, 150)
        axes = paper.axes(40, 30, 20, 10)
        axes.plot([1, 2, 3], [1, 4, 2], color=svg.SERIES[1], marker="s", linestyle=svg.DASHES[1])
        axes.grid()
        axes.barh(2, 2, hatch="////", color=svg.SERIES[0])
        axes.fill_between([1, 2], [1, 2], [2, 3], alpha=0.2, color=svg.SERIES[2])
        paper.text(60, 60, fitted(words, 200, 10))
        return svg.render(paper, name, "the numbers", builder.build())


def test_no_inline_style_no_reference_outside_and_the_pages_colours():
    made = chart()
    root = ET.fromstring(made.inline)  # our own text
    for element in root.iter():
        assert "style" not in element.attrib
        assert not element.tag.endswith("}style")
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith("#c-1-")
            assert not re.search(r"url\((?!#c-1-)", value)
            assert not key.startswith("on")
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', made.inline)) - {"none"}
    assert {"var(--s0)", "var(--s1)", "var(--s2)", "var(--ink)", "var(--paper)", "var(--grid)"} <= colours
    assert all(c.startswith(("var(--", "url(#c-1-")) for c in colours), colours
    assert "var(" not in made.standalone  # a file of its own has no page around it


def test_the_page_prints_title_and_caption_and_so_the_inline_chart_does_not():
    made = chart()
    whole, part = ET.fromstring(made.standalone), ET.fromstring(made.inline)
    assert "What is to be seen" in "".join(whole.itertext())
    assert "n = 3" in "".join(whole.itertext())
    assert "What is to be seen" not in "".join(part.itertext())
    assert "in the body" in "".join(part.itertext())
    _, top, _, height = map(float, part.get("viewBox").split())
    assert top > 0
    assert height == pytest.approx(150)
    assert part.get("role") == "img"
    assert part.get("aria-label") == "What is to be seen the numbers"


def test_no_two_of_24_series_look_alike():
    looks = [*zip(svg.SERIES, svg.DASHES, svg.MARKERS, strict=True)]
    assert len(set(looks)) == len(looks) == 24
    assert len({(dash, marker) for _, dash, marker in looks[:8]}) == 8  # without colour too


def test_hostile_words_stay_words():
    made = chart(title=HOSTILE, caption=HOSTILE, words=HOSTILE)
    for text in (made.inline, made.standalone):
        root = ET.fromstring(text)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in tags
        assert not [e for e in root.iter() if "style" in e.attrib or e.get("fill") == "red"]
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        assert all(one.startswith("c-1-") for one in ids)


def test_ids_of_two_charts_never_meet_and_the_same_data_gives_the_same_bytes():
    one, other, again = chart("a"), chart("b"), chart("a")
    ids = [re.findall(r'\bid="([^"]+)"', made.inline) for made in (one, other)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    assert one.inline == again.inline
    assert one.standalone == again.standalone
    assert one.png() == again.png()


def test_a_chart_is_three_files(tmp_path):
    path = svg.write(chart(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c-1.csv", "c-1.png", "c-1.svg"]
    assert path.name == "c-1.svg"
    assert (tmp_path / "c-1.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.reader(io.StringIO((tmp_path / "c-1.csv").read_text())))
    assert rows == [["group", "Name", "Value"], ["a", "in the body", "1234.5"], ["a", "=x", "1,2"]]


@given(st.text(max_size=80), st.floats(30, 300))
@settings(max_examples=30, deadline=None)
def test_lines_fit_their_room(words, room):
    for line in (*wrapped(words, room, 10, most=2), *wrapped(words, room, 10), fitted(words, room, 10)):
        assert width_of(line, 10) <= room
        assert line.isprintable()
    assert len(wrapped(words, room, 10, most=2)) <= 2


@given(st.lists(st.tuples(st.floats(-50, 500), st.floats(1, 60)), max_size=9))
def test_labels_lie_apart_within_the_paper_and_stay_where_there_is_room(pairs):
    pairs = sorted(pairs)
    wants, sizes = [want for want, _ in pairs], [size for _, size in pairs]
    high = max(400.0, sum(sizes))
    places = spread(wants, sizes, 0, high)
    assert len(places) == len(wants)
    for (one, size), (other, its) in pairwise(zip(places, sizes, strict=True)):
        assert other - one >= (size + its) / 2 - 1e-6
    if places:
        assert places[0] - sizes[0] / 2 >= -1e-6
        assert places[-1] + sizes[-1] / 2 <= high + 1e-6
    if len(wants) == 1:
        assert places[0] == pytest.approx(min(max(wants[0], sizes[0] / 2), high - sizes[0] / 2))


@given(st.floats(-9, 9), st.floats(1e-3, 12), st.integers(3, 8))
def test_ticks_are_few_round_and_within(power, decades, most):
    low, high = 10**power, 10 ** (power + decades)
    found = scales.ticks(low, high, most)
    assert 1 <= len(found) <= most
    assert found == sorted(set(found))
    assert all(low * 0.99 <= v <= high * 1.01 for v in found)
    assert len({scales.plain(v) for v in found}) == len(found)
