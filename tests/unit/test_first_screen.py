"""Every number of the first screen, against recomputed.py: what the page says on one side, the trials' files on the other."""

from __future__ import annotations

import ast
import json
import re
import statistics
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import recomputed
from committed import FAULTS, RUN, TOGETHER
from make_results import five, make
from recomputed import ratio
from test_report import Page

from bench import report
from bench.report import figures, gather, headline, text

NUMBER = re.compile(r"(?<![\w.+=])(\d[\d,]*(?:\.\d+)?)\s?(ns|µs|ms|s\b|×|%|/s\b|B\b)?")  # noqa: RUF001
UNITS = {"ns": 1.0, "µs": 1e3, "ms": 1e6, "s": 1e9}
ROUNDS_OF = re.compile(r"([a-z-]+|did not reach the rate) in (\d+) of (\d+) rounds?")


class Screen(Page):
    """The answers too: [(sentence, [(label, words)])]."""

    def __init__(self, html):
        self.answers = []
        self._attributes, self._text, self._label = {}, "", ""
        super().__init__(html)

    def rows(self, caption):
        """A table's figures: [(group, {head: cell})]."""
        head, *others = self.tables[caption]
        found, group = [], ""
        for row in others:
            if len(row) == len(head):
                found.append((group, dict(zip(head, row, strict=True))))
            else:
                [group] = row
        return found

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag in ("p", "dt", "dd"):
            self._attributes, self._text = dict(attrs), ""

    def handle_data(self, data):
        super().handle_data(data)
        self._text += data

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        text = " ".join(self._text.split())
        if tag == "p" and self._attributes.get("class") == "sentence":
            self.answers.append((text, []))
        elif tag == "dt":
            self._label = text
        elif tag == "dd" and self.answers and not self.tables:
            self.answers[-1][1].append((self._label, text))


def printed(text):
    """[(value, half a unit of its last digit, unit)]: durations in ns, everything else as it stands."""
    found = []
    for digits, unit in NUMBER.findall(text):
        scale = UNITS.get(unit, 1.0)
        last = 10.0 ** -len(digits.partition(".")[2])
        found.append((float(digits.replace(",", "")) * scale, 0.5001 * last * scale, "ns" if unit in UNITS else unit))
    return found


def shows(text, *values, unit=None):
    """Whether a text has these numbers, in this order, and no other."""
    found = printed(text)
    assert len(found) == len(values), f"{text!r}: {len(found)} numbers, expected {values}"
    for (value, half, own), expected in zip(found, values, strict=True):
        assert abs(value - expected) <= half + 1e-9 * abs(expected), f"{text!r}: {value} is not {expected}"
        assert unit is None or own == unit


def ranged(text, values, scale=1.0):
    """A cell with a median, and smallest and largest where they differ once printed."""
    low, high = min(values) / scale, max(values) / scale
    shows(text, statistics.median(values) / scale, *([low, high] if "(" in text else []))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("first-screen")
    files = report.write(RUN, out)
    return Screen(files.html.read_text()), json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def points():
    return recomputed.points(RUN)


def test_the_other_side_is_independent():
    tree = ast.parse(Path(recomputed.__file__).read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in named if name.split(".")[0] in ("bench", "adapters")}


def boards(results):
    """By promise, best first: what may be ranked."""
    rankable = [one for one in results if one.ok and not one.emulator and not one.reference and one.quantiles[0.99] is not None]
    found = {}
    for one in sorted(rankable, key=lambda one: one.quantiles[0.99]):
        found.setdefault(one.delivery, []).append(one)
    return found


def check_row(cells, one):
    for head, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        value = one.quantiles.get(q)
        shows(cells[head], *([value] if value is not None else []))
    ranged(cells["Delivered /s"], one.rate.values())
    ranged(cells["CPU µs/msg"], one.cpu.values(), 1e3)
    shows(cells["Delivery"], *([one.lost] if one.lost else []), one.processed)


def check_ratios(rows, ranked):
    """Rank and ratio to the best of one promise, rows in the order of the table."""
    assert [cells["System (client)"] for cells in rows] == [one.name for one in ranked]
    if len(ranked) == 1:
        assert rows[0]["p99 ÷ best"] == "alone"
        return
    assert rows[0]["p99 ÷ best"] == "best"
    for cells, one in list(zip(rows, ranked, strict=True))[1:]:
        found = ratio(ranked[0].p99, one.p99)
        cell, _, same = cells["p99 ÷ best"].partition("the same within")
        shows(cell, found.ratio, found.low, found.high, *([found.visible] if found.visible and "visible" in cell else []))
        if same:
            shows(same, 10, *([found.visible] if "visible" in same else []))
        family = [found.p, *(ratio(a.p99, b.p99).p for a, b in combinations(ranked, 2) if (a, b) != (ranked[0], one))]
        apart = recomputed.told_apart(ranked[0].p99, one.p99, family)
        assert cells["Rank"].startswith("1") != apart, f"{one.name}: rank {cells['Rank']}, told apart: {apart}"


def test_every_figure_of_the_table(written, points):
    screen, _ = written
    checked = 0
    for rate, results in points.items():
        rows = screen.rows(f"{rate:,.0f}/s, 256 B")
        for _, cells in rows:
            check_row(cells, next(one for one in results.values() if one.name == cells["System (client)"]))
            checked += 1
        for delivery, ranked in boards(results.values()).items():
            promise = "no delivery guarantee" if delivery == "none" else delivery
            check_ratios([cells for group, cells in rows if group.startswith(f"Promise: {promise};")], ranked)
    assert checked == sum(not one.emulator for results in points.values() for one in results.values())


def expected_numbers(rate, results, noise):
    """(value, unit) of all that a point's answer may say, with what is no figure of a variant: rate, size, rounds, level."""
    rounds = max(len(one.rate) for one in results)
    found = [(rate, "/s"), (256, "B"), (rounds, ""), (95, "%"), *((value, "×") for value in noise.values())]  # noqa: RUF001
    for ranked in boards(results).values():
        found += [(one.quantiles[0.99], "ns") for one in ranked]
        for one in ranked[1:]:
            between = ratio(ranked[0].p99, one.p99)
            found += [(value, "") for value in (between.ratio, between.low, between.high)]
    return found


def processed(text, results):
    """Deliveries that a part of an answer counts: of the variants it names."""
    return sum(one.processed for one in results if one.name in text)


def test_every_number_of_the_answers(written, points):
    screen, _ = written
    assert len(screen.answers) == len(points)
    for (sentence, lines), (rate, results) in zip(screen.answers, points.items(), strict=True):
        allowed = expected_numbers(rate, results.values(), recomputed.noise(RUN, rate))
        for part in (sentence, *(words for _, words in lines)):
            counted = re.search(r"none lost in ([\d,]+) deliveries", part)
            if counted:
                assert int(counted[1].replace(",", "")) == processed(part, results.values())
            for told in ROUNDS_OF.finditer(part):
                assert int(told[2]) <= int(told[3]) == max(len(one.rate) for one in results.values())
            for value, half, unit in printed(ROUNDS_OF.sub("", part.replace(counted[0] if counted else "\0", ""))):
                assert any(abs(value - one) <= half + 1e-9 * one and unit == own for one, own in allowed), f"{value} {unit} in {part!r}"
        for one in (ranked[0] for ranked in boards(results.values()).values()):
            name = re.escape(one.name)
            said = [
                re.search(f"{name} (?:leads at p99 with )?([\\d.,]+ (?:ns|µs|ms|s))", text) for text in (sentence, *(w for _, w in lines))
            ]
            [found] = [one for one in said if one]
            shows(found[1], one.quantiles[0.99])


def test_what_other_tools_read_is_the_same(written, points):
    screen, document = written
    assert [point["answer"] for point in document["points"]] == [sentence for sentence, _ in screen.answers]
    for point in document["points"]:
        for result in point["results"]:
            one = points[point["point"]["rate_per_s"]][result["variant"]["id"]]
            e2e = result["latency_ns"]["e2e"]
            assert [e2e.get(name) for name in ("p50", "p99", "p999")] == [one.quantiles.get(q) for q in recomputed.QUANTILES]
            assert e2e["n"] == one.n
            assert result["rate_per_s"]["median"] == pytest.approx(statistics.median(one.rate.values()), rel=1e-12)
            assert result["cpu_ns_per_delivery"]["total"]["median"] == pytest.approx(statistics.median(one.cpu.values()), rel=1e-9)
            assert sum(group["processed"] for group in result["audit"]) == one.processed


def test_from_six_rounds_on_intervals_ranks_and_visible_effects(tmp_path):
    kafka, rabbitmq = five()[0], five()[2]
    close, other = (replace(kafka, id=name, title=name, p50_ms=ms) for name, ms in (("Close", 1.5), ("Other", 3.2)))
    folder = make(tmp_path / "run", [kafka, rabbitmq, close, other], rounds=8, samples=1200, points=({"rate_per_s": 200, "size_b": 256},))
    collection = gather([folder])
    [point] = collection.points(collection.runs[0])
    [ranked] = boards(recomputed.points(folder)[200].values()).values()
    table = figures.ranking(point)
    head = [label for label, _ in table.head]
    group = next(group for group in table.groups if group.label.startswith("Promise: at-least-once"))
    rows = [dict(zip(head, (cell.text for cell in row), strict=True)) for row in group.rows]
    check_ratios(rows, ranked)
    assert {cells["Rank"] for cells in rows} == {f"1{text.DASH}2", f"3{text.DASH}4"}  # two and two cannot be told apart
    sentence = headline.answer("order-events", point).sentence
    for one in ranked[1:]:
        found = ratio(ranked[0].p99, one.p99)
        said = re.search(f"{re.escape(one.name)} [\\d.,]+ ms \\(ratio ([\\d.]+, [\\d.]+.[\\d.]+)", sentence)
        shows(said[1], found.ratio, found.low, found.high)


def test_what_consumer_kills_lost_is_counted_again(points):
    collection = gather(TOGETHER)
    of = collection.faults
    rows = sentences = 0
    for point in collection.points(collection.runs[0]):
        results = points[point.point["rate_per_s"]]
        table = figures.ranking(point, of)
        head = [label for label, _ in table.head]
        for row in (dict(zip(head, (cell.text for cell in row), strict=True)) for group in table.groups for row in group.rows):
            one = next(one for one in results.values() if one.name == row["System (client)"])
            told = re.search(r"consumer-kill in (none|\d+) of (\d+) \((?:p < ([\d.]+)%)?", row["Lost under faults"])
            again = recomputed.kills(FAULTS, one)
            assert bool(told) == bool(again), one.name
            if again:
                n, lost, bound = again
                assert (told[1], int(told[2])) == (str(lost) if lost else "none", n)
                assert lost or abs(float(told[3]) / 100 - bound) <= 0.005
                rows += 1
        said = re.search(r"in (\d+)(?: to (\d+))? consumer kills?(?: each)? \(p < ([\d.]+)%\)", headline.answer("x", point, of).sentence)
        if said:
            ranked = max(boards(results.values()).values(), key=len)
            again = [recomputed.kills(FAULTS, one) for one in ranked]
            assert (int(said[1]), int(said[2] or said[1])) == (min(n for n, _, _ in again), max(n for n, _, _ in again))
            assert not any(lost for _, lost, _ in again)
            assert abs(float(said[3]) / 100 - max(bound for _, _, bound in again)) <= 0.005
            sentences += 1
    assert rows >= 6
    assert sentences
