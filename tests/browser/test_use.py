"""The page is used as a reader uses it: heads of tables sort, by mouse and by keyboard; links lead to what they name."""

from __future__ import annotations

import json
import re

import looking
import pytest
from committed import TOGETHER

from bench import cli

UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@pytest.fixture(scope="module")
def look(browser, pages):
    with looking.window(browser) as opened:
        yield opened.open(pages("run"))


@pytest.fixture
def fresh(look):
    """The page as it is when it has just been opened."""
    look.page.reload()
    look.page.evaluate(looking.CHECKS)
    return look.page


COLUMN = """(body, column) => [...body.rows].filter((row) => row.cells.length > 1).map((row) => row.cells[column].textContent.trim())"""


def columns(table, column):
    """The texts of a column, group by group."""
    return [body.evaluate(COLUMN, column) for body in table.query_selector_all("tbody")]


def number(text):
    """What a cell's text begins with, in base units; None where it has no number."""
    found = re.match(r"(?:>=|<|n =)?\s*(-?[\d,]+(?:\.\d+)?)\s*(ns|µs|ms|s\b)?", text)
    if text == "best":
        return 1.0
    return float(found[1].replace(",", "")) * UNITS.get(found[2], 1.0) if found else None


def in_order(texts, descending):
    """Numbers in their order, then what is no number."""
    values = [number(text) for text in texts]
    known = [value for value in values if value is not None]
    return values == sorted(known, reverse=descending) + [None] * (len(values) - len(known))


def sortable(page):
    return [table for table in page.query_selector_all("table") if table.query_selector("thead button")]


def test_a_click_sorts_within_each_group_and_says_so(fresh):
    table = sortable(fresh)[0]
    heads = table.query_selector_all("thead th")
    column = next(i for i, head in enumerate(heads) if "number" in (head.get_attribute("class") or "") and "p99" in head.inner_text())
    before = columns(table, column)
    assert max(map(len, before)) > 1, "nothing to sort"
    heads[column].query_selector("button").click()
    assert heads[column].get_attribute("aria-sort") == "ascending"
    ascending = columns(table, column)
    assert all(in_order(group, descending=False) for group in ascending)
    assert [sorted(group) for group in ascending] == [sorted(group) for group in before]
    heads[column].query_selector("button").click()
    assert heads[column].get_attribute("aria-sort") == "descending"
    assert all(in_order(group, descending=True) for group in columns(table, column))
    assert [head.get_attribute("aria-sort") for head in heads if head != heads[column]].count(None) == len(heads) - 1


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_reaches_every_head_and_sorts(fresh, key):
    table = sortable(fresh)[0]
    buttons = table.query_selector_all("thead button")
    buttons[0].focus()
    seen = []
    for _ in buttons:
        seen.append(fresh.evaluate("document.activeElement.textContent"))
        outline = fresh.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "where the keyboard is cannot be seen"
        fresh.keyboard.press("Tab")
    assert seen == [button.text_content() for button in buttons]
    buttons[-1].focus()
    fresh.keyboard.press(key)
    head = table.query_selector_all("thead th")[-1]
    assert head.get_attribute("aria-sort") == "ascending"


# Of each column of each table, once its head was pressed: the texts by group.
ALL_SORTED = """() => [...document.querySelectorAll("table")].filter((table) => table.querySelector("thead button")).map((table) =>
  [...table.tHead.rows[0].cells].map((head, column) => {
    head.querySelector("button").click();
    const groups = [...table.tBodies].map((body) => [...body.rows].filter((row) => row.cells.length > 1));
    return [head.textContent, groups.map((rows) => rows.map((row) => row.cells[column].textContent.trim())),
            groups.map((rows) => rows.map((row) => row.textContent).sort())];
  }))"""


def test_every_column_of_every_table_sorts(fresh):
    tables = fresh.evaluate(ALL_SORTED)
    assert len(tables) >= 5
    for table in tables:
        assert all(rows == table[0][2] for _, _, rows in table), "a row went astray"
        for name, groups, _ in table:
            if all(number(text) is not None or text in {"", "n/a", "\u2013"} for group in groups for text in group):
                assert all(in_order(group, descending=False) for group in groups), name


def test_the_first_key_leads_past_the_top(fresh):
    fresh.keyboard.press("Tab")
    assert fresh.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert fresh.evaluate("checks.contrast().filter((one) => one.includes('skip')).length") == 0


def test_a_link_opens_what_is_folded(browser, pages):
    with looking.window(browser) as look:
        look.open(pages("guarantees"))
        link = next(one for one in look.page.query_selector_all("td a[href^='#cell-']") if one.is_visible())
        target = link.get_attribute("href")[1:]
        assert look.page.evaluate(f"document.getElementById('{target}').open") is False
        link.click()
        look.page.wait_for_selector(f"details#{target}[open]")
        assert look.said == []


NEEDS = (
    ({}, []),
    ({"delivery": "at least once: never lost"}, ["--delivery", "at-least-once"]),
    (
        {"delivery": "at least once: never lost", "rate": "200", "p99": "5"},
        ["--delivery", "at-least-once", "--rate", "200/s", "--p99", "5 ms"],
    ),
    ({"rate": "1000000"}, ["--rate", "1M/s"]),
)


@pytest.fixture(scope="module")
def choosing(browser, pages):
    with looking.window(browser) as opened:
        yield opened.open(pages("reference"))


@pytest.mark.parametrize(("fields", "words"), NEEDS)
def test_the_chooser_answers_as_the_command_does(choosing, fields, words, capsys):
    page = choosing.page
    page.click("#choose-form button[type=reset]")
    for name, value in fields.items():
        field = page.locator(f"#choose-{name}")
        if field.evaluate("(one) => one.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)
    assert page.is_visible("#choose-table") is not bool(fields)
    assert page.is_visible("#choose-answers") is bool(fields)
    if not fields:
        return
    cli.main(["choose", *map(str, TOGETHER), *words, "--json"])
    told = {}
    for one in json.loads(capsys.readouterr().out)["answers"]:
        name = one["name"] + (f" on {one['emulator']}, an emulator" if one["emulator"] else "")
        told.setdefault(one["answer"], set()).add(name)
    shown = page.eval_on_selector_all(
        "#choose-answers > div", "(all) => all.map((one) => [one.className, [...one.querySelectorAll('strong')].map((s) => s.textContent)])"
    )
    assert {kind.replace("-", " "): set(names) for kind, names in shown} == told
    assert choosing.said == []
    assert choosing.check("overflow") + choosing.check("cut") + choosing.check("contrast") == []
    status = page.inner_text("#choose-told")
    assert all(f"{kind}: {len(names)}" in status for kind, names in told.items())


def test_without_script_the_page_is_whole(browser, pages):
    context = browser.new_context(java_script_enabled=False, viewport={"width": looking.WIDE, "height": 900})
    page = context.new_page()
    page.goto(pages("run").as_uri())
    assert page.locator("table tbody tr").count() > 20
    assert page.locator("thead button").count() == 0
    assert page.locator("footer").is_visible()
    context.close()
