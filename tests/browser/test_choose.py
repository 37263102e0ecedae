"""The chooser in the page: by keyboard, on a phone, and its script over many needs (test_use.py holds it against the command)."""

from __future__ import annotations

import looking
import pytest
from committed import TOGETHER
from make_choosing import needs_at_random

from bench.choosing import needs
from bench.choosing.answers import HEADINGS, answers
from bench.report import choose
from bench.report.collection import gather


@pytest.fixture(scope="module")
def candidates():
    return choose.candidates(gather(TOGETHER))


@pytest.fixture(scope="module")
def look(browser, pages):
    with looking.window(browser) as opened:
        yield opened.open(pages("reference"))


def shown(page):
    """heading -> names of variants, as they are seen."""
    return page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("#choose-answers > div")].filter((e) => e.checkVisibility()).map((group) =>
             [group.querySelector("h3").textContent, [...group.querySelectorAll("strong")].map((e) => e.textContent)]))"""
    )


def expected(candidates, **given):
    found = {}
    for one in answers(candidates, needs.parse({key.replace("_", "-"): value for key, value in given.items()})):
        found.setdefault(one.answer, []).append(one.candidate.called)
    return {f"{HEADINGS[kind]} ({len(names)})": names for kind, names in found.items()}


def test_by_mouse_and_keyboard_it_answers_as_the_command_does(look, candidates):
    page = look.page
    page.locator("#choose-form").get_by_label("Delivery").select_option(label="at least once: never lost")
    assert shown(page) == expected(candidates, delivery="at-least-once")
    page.locator("#choose-form").get_by_label("Rate, messages a second").press_sequentially("150")
    page.keyboard.press("Tab")
    page.keyboard.type("20")  # ms of p99
    page.locator("#choose-form").get_by_label("Replay").press("Space")
    assert shown(page) == expected(candidates, delivery="at-least-once", rate="150/s", p99="20 ms", replay=True)
    assert page.get_by_role("status").inner_text().startswith("met: ")
    assert page.locator("#choose-table").is_hidden()
    page.get_by_role("button", name="Ask for nothing").press("Enter")
    page.wait_for_function("document.getElementById('choose-answers').hidden")
    assert shown(page) == {}
    assert look.said == []


def test_the_script_answers_as_python_does(look, candidates):
    asked = needs_at_random(200)
    ask = "(asked) => { const data = JSON.parse(document.getElementById('choose-data').textContent);"
    ask += " return asked.map((needs) => data.candidates.map((one) => chooser.answer(data, one, needs))); }"
    found = look.page.evaluate(ask, asked)
    for given, theirs in zip(asked, found, strict=True):
        ours = {one.candidate.id: [one.answer, [list(words) for words in one.words]] for one in answers(candidates, given)}
        assert theirs == [ours[one.id] for one in candidates], given


@pytest.mark.parametrize("width", [looking.WIDE, looking.NARROW])
def test_answers_are_legible(look, width):
    look.set(width=width, dark=False)
    look.page.locator("#choose-ordering").select_option(label="of one key's messages")
    assert look.check("overflow") == []
    assert look.check("cut") == []
    look.set(dark=True)
    assert look.check("contrast") == []
