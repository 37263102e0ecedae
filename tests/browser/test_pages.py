"""Every kind of report in a real browser: it says and asks for nothing, and whatever the window, nothing is cut or hard to read."""

from __future__ import annotations

import looking
import pytest

KINDS = ("run", "reference", "capacity", "guarantees", "several")


@pytest.fixture(scope="module", params=KINDS)
def look(request, browser, pages):
    """One open page; a test leaves it wide, light, on the screen."""
    with looking.window(browser) as opened:
        opened.open(pages(request.param))
        opened.kind = request.param
        yield opened


@pytest.fixture
def all_open(look):
    """With all that is folded unfolded."""
    closed = look.page.evaluate_handle("[...document.querySelectorAll('details:not([open])')]")
    closed.evaluate("(all) => all.forEach((one) => (one.open = true))")
    yield look
    closed.evaluate("(all) => all.forEach((one) => (one.open = false))")
    look.set(width=looking.WIDE, dark=False, printed=False)


def test_it_says_nothing_and_asks_for_nothing(look):
    assert look.said == []
    assert look.asked == []
    assert look.foreign() == []


@pytest.mark.parametrize("check", ["headings", "figures", "links"])
def test_its_structure(look, check):
    assert look.check(check) == []


SECTIONS = ("answers", "ratios", "charts", "ladder", "choose", "delivery", "capacity", "more-charts", "findings", "method", "settings")
IDS = """[...document.querySelectorAll("[id]")].map((one) => one.id)"""


def test_answers_stand_first_and_the_rest_in_order(look):
    ids = look.page.evaluate(IDS)
    found = [name for name in SECTIONS if name in ids]
    assert found == sorted(found, key=ids.index)
    assert {"answers", "method", "settings"} <= set(found)
    assert {"run": "ratios", "reference": "choose", "capacity": "capacity", "guarantees": "delivery", "several": "choose"}[
        look.kind
    ] in found
    # Where one looks first: a sentence with a place and a figure, before any table or picture.
    first = look.page.query_selector("main p.sentence, header p.sentence")
    assert first.bounding_box()["y"] < 900
    assert first.evaluate("(one) => [...document.querySelectorAll('table, svg')].every((o) => one.compareDocumentPosition(o) & 4)")


@pytest.mark.parametrize("width", [looking.WIDE, 768, looking.NARROW])
def test_nothing_is_cut_whatever_the_width(all_open, width):
    all_open.set(width=width)
    assert all_open.check("overflow") == []
    assert all_open.check("cut") == []


def test_a_wide_window_shows_the_first_tables_whole(look):
    inner = "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.getAttribute('aria-label'))"
    assert look.page.eval_on_selector_all("#ratios .scroll", inner) == []


def test_no_label_lies_on_another_and_a_phone_shows_them_legibly(look):
    assert look.check("overlapping") == []
    look.set(width=looking.NARROW)
    assert look.check("small", 6.5) == []
    look.set(width=looking.WIDE)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(all_open, dark):
    all_open.set(dark=dark)
    assert all_open.check("contrast") == []
    assert all_open.check("colours") == []


def test_on_paper_nothing_is_cut(all_open):
    all_open.set(width=looking.PAPER, printed=True)
    assert all_open.check("overflow") == []
    assert all_open.check("cut") == []
    assert all_open.check("contrast") == []


def test_axe_finds_nothing_serious(all_open):
    # Its rule of contrast takes ten times as long as all others and leaves out charts: it judges the first screen, test_contrast the rest.
    assert all_open.axe(without=["color-contrast"]) == []
    all_open.set(width=looking.NARROW)  # which changes nothing but where things are
    assert all_open.axe(only=["target-size", "scrollable-region-focusable", "meta-viewport"]) == []
    for dark in (False, True):
        all_open.set(dark=dark)
        assert all_open.axe(only=["color-contrast", "link-in-text-block"], within=("header", "nav")) == []
