"""Results written by an enemy: whatever their strings hold, no script runs, nothing is asked for, and the page stays a page."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET

import hostile
import looking
import pytest
import reports
from make_results import POINTS, five, make


def small(place):
    """A run of which every string is shown, quickly."""
    fakes = five()[:5]
    fakes[0].status, fakes[0].reason = "failed", "exit code 1"
    rows = [{"variant": "kinesis", "reason": "no emulator here", "get": "pip install it"}]
    return make(place / "runs" / "order-events-1", fakes, rounds=1, samples=600, points=POINTS[:1], not_run=rows)


KINDS = {"run": small, "capacity": reports.capacity, "guarantees": reports.guarantees}
CHANGES = {"everything": hostile.everything, "elsewhere": hostile.elsewhere}


@pytest.fixture(scope="module")
def innocent(tmp_path_factory):
    made = {}

    def report(kind):
        if kind not in made:
            place = tmp_path_factory.mktemp(f"innocent-{kind}")
            folder = KINDS[kind](place)
            made[kind] = (folder, reports.reported(place / "out", [folder]))
        return made[kind]

    return report


@pytest.fixture(scope="module", params=[(kind, change) for kind in KINDS for change in CHANGES], ids="-".join)
def spoiled(request, innocent, tmp_path_factory):
    """(the page of an innocent folder, that of the same folder spoiled)."""
    kind, change = request.param
    folder, page = innocent(kind)
    place = tmp_path_factory.mktemp(f"{kind}-{change}")
    copy = place / "runs" / folder.name
    shutil.copytree(folder, copy)
    touched = {path.name for path in hostile.spoil(copy, CHANGES[change])}
    assert touched >= {"run.json", "plan.json", "environment.json", "trial.json", "scenario.yaml", "trials.csv"}
    return page, reports.reported(place / "out", [copy])


@pytest.fixture(scope="module")
def window(browser):
    with looking.window(browser) as look:
        yield look


SHAPE = """Object.fromEntries("script style h1 h2 h3 section main header footer nav figure svg details select input label".split(" ")
  .map((name) => [name, document.querySelectorAll(name).length]))"""


def test_no_script_runs_and_nothing_is_asked_for(spoiled, window):
    page, bad = spoiled
    shape = window.open(page).page.evaluate(SHAPE)
    window.open(bad)
    assert "hostile" in window.page.evaluate("document.body.textContent"), "the enemy's words do not reach the page"
    assert window.page.evaluate("window.hostile") is None
    assert (window.said, window.asked, window.foreign()) == ([], [], [])
    assert window.page.evaluate(SHAPE) == shape
    assert window.page.is_visible("footer")
    # What the chooser writes, it writes as text too.
    for field in window.page.query_selector_all("#choose-form select"):
        field.select_option(index=1)
        assert window.page.evaluate("window.hostile") is None
        assert (window.said, window.asked, window.foreign()) == ([], [], [])


def test_no_word_breaks_the_page(spoiled, window):
    window.open(spoiled[1])
    window.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for width in (looking.WIDE, looking.NARROW):
        window.set(width=width)
        assert window.check("overflow") == []
        assert [one for one in window.check("cut") if "<text" not in one] == []
    window.set(width=looking.WIDE)


def test_the_charts_are_well_formed(spoiled):
    for path in spoiled[1].parent.rglob("*.svg"):
        tree = ET.parse(path)
        assert not [one for one in tree.iter() if one.tag.rpartition("}")[2] in {"script", "foreignObject", "image", "a"}]


def plain(markdown):
    """Without the fenced blocks, in which nothing has a meaning."""
    return re.sub(r"^(`{3,})\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)


def structure(markdown):
    """Headings, and how many items: what lines begin with."""
    lines = plain(markdown).splitlines()
    return [line.split()[0] for line in lines if line.startswith("#")], sum(line.startswith("- ") for line in lines)


def ragged(markdown):
    """Rows of a table that have not as many columns as its head."""
    found, head = [], ""
    for line in plain(markdown).splitlines():
        columns = len(re.findall(r"(?<!\\)\|", line))
        if not line.startswith("|"):
            head = ""
        elif not head:
            head = line
        elif columns != len(re.findall(r"(?<!\\)\|", head)):
            found.append(line)
    return found


def test_the_markdown_has_no_markup_but_its_own(spoiled):
    page, bad = (next(path.parent.glob("*.md")).read_text(encoding="utf-8") for path in spoiled)
    assert "hostile" in bad
    assert structure(bad) == structure(page)
    assert ragged(bad) == []
    text = plain(bad)
    assert set(re.findall(r"<(?=[a-zA-Z/!?])[^>]*>?", text)) <= {"<details>", "</details>", "<summary>", "</summary>", "<br>"}
    assert [where for where in re.findall(r"(?<!\\)\]\(([^)]*)", text) if not where.startswith(("https://", "http://"))] == []
    spans = re.findall(r"(?<!\\)`[^`\n]*`", text)
    assert set(spans) == set(re.findall(r"(?<!\\)`[^`\n]*`", plain(page)))
    assert len(re.findall(r"(?<!\\)`", text)) == 2 * len(spans)
