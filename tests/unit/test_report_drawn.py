"""The charts of a run: what is drawn stands in their tables, titles say what is to be seen, no text is cut or lies on another."""

import copy
import xml.etree.ElementTree as ET
from dataclasses import replace

import make_results
import pytest
from drawn import misplaced, rows
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from make_results import Fake, finding

from bench.analysis.summary import Spread, summarise
from bench.report import figures, svg
from bench.report.charts import cost, forest, names, percentiles, rates
from bench.report.charts.load import Curve, Load

RATES = (200, 2000, 8000)


class Run:
    """A run in memory: what make_results would write, without the folder."""

    run, status, plan, environment, scenario_text = {"scenario": "s"}, "complete", (), {}, ""

    def __init__(self, fakes, rounds, rates_=(2000,), samples=400):
        self.trials, self.logs = [], {}
        for rate in rates_:
            for turn in range(1, rounds + 1):
                for fake in fakes:
                    loaded = copy.copy(fake)
                    loaded.p50_ms = fake.p50_ms / (1 - (rate or 0) / 10_000)
                    entry = {"trial": len(self.trials) + 1, "point": {"rate_per_s": rate, "size_b": 256}, "round": turn, "position": 1}
                    make_results._trial(self, loaded, entry, samples)

    def save_trial(self, number, trial, logs, series):
        self.trials.append(trial)
        self.logs[number] = logs

    def histograms(self, number):
        return self.logs[number]


def fakes(count, *, long=False):
    made = []
    for i in range(count):
        name = f"A product with a very long name, number {i}, Enterprise Edition" if long else f"System {i}"
        one = Fake(f"k{i}", f"kafka{i}", name, "client-python", "at-least-once" if i % 3 else "at-most-once", "page cache",
                   1.5 * (1.02 if i in {1, 4} else 1 + i * 0.8), (21.0, 30.0 * i if i % 4 else None, 14.0))  # fmt: skip
        one.intermediary, one.product = bool(i % 4), "P" if i % 4 else ""
        made.append(one)
    return made


def drawn(points, colours):
    """Every chart of these points."""
    found = [rates.draw(sweep, "rates-1", colours) for sweep in rates.sweeps(points)]
    point = points[-1]
    measured = [r for r in point.results if r.rate]
    found += [module.draw(point, measured, f"{module.__name__.rpartition('.')[2]}-1", colours) for module in (forest, percentiles, cost)]
    return [chart for chart in found if chart]


def numbered(points):
    return {result.id: i for i, result in enumerate(points[0].results)}


@pytest.fixture(scope="module")
def five():
    return summarise(Run(fakes(5), 8, RATES[:2]))


@pytest.mark.parametrize(("count", "rounds", "long"), [(1, 1, True), (2, 3, True), (5, 2, False), (8, 6, True)])
def test_no_text_is_cut_and_none_lies_on_another(count, rounds, long):
    points = summarise(Run(fakes(count, long=long), rounds, RATES[:2], samples=340))
    charts = drawn(points, numbered(points))
    assert len(charts) == (4 if count > 2 else 3), [chart.name for chart in charts]
    assert {chart.name: wrong for chart in charts if (wrong := misplaced(chart))} == {}


def test_the_check_itself_finds_what_is_cut_and_what_overlaps(five):
    chart = percentiles.draw(five[0], five[0].results, "p", numbered(five))
    chart.figure.text(0.98, 0.5, "cut at the edge")
    chart.figure.text(0.15, 0.5, "one")
    chart.figure.text(0.15, 0.5, "another")
    wrong = misplaced(chart)
    assert any("'cut at the edge' leaves the paper" in one for one in wrong)
    assert "'one' lies on 'another'" in wrong


def number(cell):
    return float(cell.replace(",", ""))


def test_percentiles_are_drawn_as_their_table_says(five):
    point = five[1]
    chart = percentiles.draw(point, point.results, "p", numbered(five))
    lines = chart.figure.axes[0].get_lines()
    counts, *told = rows(chart)
    assert counts == ["n", *(f"{r.latency['e2e'].n:,}" for r in point.results)]
    for column, (line, result) in enumerate(zip(lines, point.results, strict=True), 1):
        known = [(1 / (1 - float(row[0]) / 100), number(row[column])) for row in told if row[column]]
        assert len(known) == len(line.get_xdata())
        for (x, y), at, value in zip(known, line.get_xdata(), line.get_ydata(), strict=True):
            assert x == pytest.approx(at, rel=0.06)
            assert y == pytest.approx(value, rel=0.01)
        # The last one has ten samples beyond it, and the next would not.
        n = result.latency["e2e"].n
        assert n / 10 / 10 ** (1 / 24) < line.get_xdata()[-1] <= n / 10 + 1e-6
        assert line.get_ydata()[0] == pytest.approx(result.latency["e2e"].p50_ns / 1e6)
    assert next(row for row in told if row[0] == "99")[1] == figures.latency_cell(point.results[0], "e2e", "p99_ns").split()[0]


def test_a_forest_is_drawn_as_its_table_says_and_what_is_close_is_hollow(five):
    point = five[1]
    chart = forest.draw(point, point.results, "f", numbered(five))
    told = rows(chart)
    assert [group.label for group in chart.data.groups] == ["Promise: at-least-once", "Promise: at-most-once"]
    assert [row[7] for row in told] == ["best", "too close to call", "told apart", "best", "told apart"]
    lines = [line for line in chart.figure.axes[0].get_lines() if line.get_marker() not in {"None", None}]
    bars = [line for line in lines if line.get_marker() == "|"]
    markers = [line for line in lines if line.get_marker() != "|"]
    assert [m.get_xdata()[0] for m in markers] == [pytest.approx(number(row[2]), rel=0.01) for row in told]
    assert [bar.get_xdata()[0] for bar in bars] == [pytest.approx(number(row[3]), rel=0.01) for row in told if row[3] != "n/a"]
    assert [bar.get_xdata()[1] for bar in bars] == [pytest.approx(number(row[4]), rel=0.01) for row in told if row[4] != "n/a"]
    hollow = [m.get_markerfacecolor() != m.get_markeredgecolor() for m in markers]
    assert hollow == [row[7] == "too close to call" for row in told]
    assert {row[5] for row in told} == {"n/a", "95% interval"}
    assert "95% intervals over 8 paired rounds" in chart.caption


def test_below_six_rounds_ranges_are_drawn_and_said_to_be_none():
    (point,) = summarise(Run(fakes(5), 3))
    chart = forest.draw(point, point.results, "f", {})
    assert "ranges over 3 rounds, too few for an interval" in chart.caption
    assert {row[5] for row in rows(chart)} == {"n/a", "range over rounds"}
    assert not [line for line in chart.figure.axes[0].get_lines() if line.get_marker() == "|"]  # no caps: no interval
    (alone,) = summarise(Run(fakes(1), 3))
    assert forest.draw(alone, alone.results, "f", {}) is None


def test_bars_of_cost_are_what_their_table_says(five):
    point = five[1]
    chart = cost.draw(point, point.results, "c", {})
    cpu, memory = chart.figure.axes
    for axes, columns in ((cpu, (2, 3, 4)), (memory, (8, 9, 10))):
        told = [number(cell) for row in rows(chart) for cell in (row[c] for c in columns) if cell not in {"none", "n/a"}]
        assert [patch.get_width() for patch in axes.patches] == [pytest.approx(v, rel=0.01) for v in told]
    by_name = {row[0]: row for row in rows(chart)}
    without = by_name["System 0 (client-python)"]
    assert without[1] == "no intermediary"
    assert without[3] == without[9] == "none"
    assert by_name["System 1 (client-python)"][1] == "server: kafka1.1"
    total = point.results[0].cost.total
    assert number(rows(chart)[0][5]) == pytest.approx(total.median / 1e3, rel=0.01)
    assert sum(number(cell) for cell in rows(chart)[0][8:11] if cell != "none") == pytest.approx(number(rows(chart)[0][11]), rel=0.01)


def test_idle_servers_are_told_beside_the_cost(five):
    trials = tuple(trial | {"machine": {"idle_servers_cores": 0.12}} for trial in five[1].results[0].trials)
    result = replace(five[1].results[0], trials=trials)
    chart = cost.draw(five[1], [result, five[1].results[1]], "c", {})
    assert "Idle servers used 0.120 cores" in chart.caption
    assert [row[-1] for row in rows(chart)] == ["0.120", "n/a"]


def test_a_server_that_was_not_measured_leaves_the_total_open(five):
    result = next(r for r in five[1].results if r.variant["intermediary"])
    open_ = replace(result, cost=replace(result.cost, intermediary=None, total=None, nodes={}, nodes_b={}))
    (row,) = rows(cost.draw(five[1], [open_], "c", {}))
    assert row[1] == "server not measured"
    assert row[3] == row[5] == row[11] == row[12] == "n/a"


def test_rates_are_drawn_as_their_table_says_and_saturated_ones_have_no_latency():
    made = fakes(3)
    made[2].findings = {8000: [finding("rate-not-reached")]}
    points = summarise(Run(made, 3, RATES))
    (sweep,) = rates.sweeps(points)
    chart = rates.draw(sweep, "r", numbered(points))
    high, low, share = chart.figure.axes
    told = {group.label.split(":")[0]: [[cell.text for cell in row] for row in group.rows] for group in chart.data.groups}
    assert [row[-1] for row in told["System 2"]] == ["", "", "saturated: no latency"]
    assert told["System 2"][2][4:10] == ["n/a"] * 6
    assert [row[-1] for row in told["System 0"]] == ["", "", "knee"]
    quoted = {tuple(map(number, (row[0], row[7]))) for group in told.values() for row in group if row[7] != "n/a"}
    curves = [line for line in high.get_lines() if len(line.get_xdata()) > 2 or line.get_linestyle() not in {"None", "-"}]
    shown = {
        (x, y) for line in high.get_lines() if line.get_marker() not in {"o0", "x", "_"} for x, y in zip(*line.get_data(), strict=True)
    }
    for x, y in quoted:
        assert any(at == x and value == pytest.approx(y, rel=0.01) for at, value in shown), (x, y)
    assert curves
    crosses = [line for axes in (high, share) for line in axes.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[8000.0], [8000.0]]
    assert crosses[0].get_ydata()[0] == high.get_ylim()[1]  # on the edge: there is no latency to place it at
    assert crosses[1].get_ydata()[0] == pytest.approx(121 / 8000, rel=0.02)
    assert low.get_lines()
    assert "saturated at 8,000/s for System 2" in chart.title
    assert "the knee is between 2,000 and 8,000/s for System 1 and System 0" in chart.title


def test_points_that_differ_in_more_than_the_rate_are_no_sweep(five):
    assert len(rates.sweeps(five)) == 1
    other = replace(five[1], point=five[1].point | {"size_b": 1})
    assert rates.sweeps([five[0], other]) == []
    assert rates.sweeps([replace(one, point=one.point | {"rate_per_s": None}) for one in five]) == []


def curve(name, *loads, knee=None):
    return Curve(name, (), 0, tuple(Load(rate, rate, 9, 1, p99, 1.0, saturated=p99 is None) for rate, p99 in loads), knee)


def test_what_is_not_valid_makes_no_knee_and_is_said_so():
    made = fakes(2)
    made[0].findings = {8000: [finding("sender-late")]}
    points = summarise(Run(made, 2, RATES))
    chart = rates.draw(rates.sweeps(points)[0], "r", numbered(points))
    told = {group.label.split(":")[0]: [row[-1].text for row in group.rows] for group in chart.data.groups}
    assert told == {"System 0": ["", "", "not valid"], "System 1": ["", "", "knee"]}
    assert chart.title == ("p99 against rate, 256 B: the knee is between 2,000 and 8,000/s for System 1; not valid at 8,000/s for System 0")
    hollow = {line.get_xdata()[0] for line in chart.figure.axes[0].get_lines() if line.get_markerfacecolor() == svg.PAPER}
    assert hollow == {8000.0}


def test_titles_of_rates_say_who_ends_first():
    a, b = curve("A", (100, 1.0), (200, 1.1), (400, 9.0), knee=400), curve("B", (100, 1.0), (200, 1.0), (400, None))
    c = curve("C", (100, 1.0), (400, 1.0))
    knee = "the knee is between 200 and 400/s for A"
    assert rates.title([a], "the only point") == f"p99 against rate: {knee}"
    assert rates.title([c, a], "256 B") == f"p99 against rate, 256 B: {knee}; no knee up to 400/s for C"
    assert rates.title([b, c], "256 B") == "p99 against rate, 256 B: saturated at 400/s for B; no knee up to 400/s for C"
    same = [replace(c, name=name) for name in "CDEF"]
    assert rates.title(same[:2], "256 B") == "p99 against rate, 256 B: no knee up to 400/s for C and D"
    assert rates.title([*same, b], "256 B") == "p99 against rate, 256 B: saturated at 400/s for B; no knee up to 400/s for 4 variants"


def test_a_forest_of_rates_reads_to_the_left():
    points = summarise(Run(fakes(3), 6, (None,)))
    chart = forest.draw(points[0], points[0].results, "f", {})
    assert points[0].by == "rate"
    assert "left: slower" in chart.figure.axes[0].get_xlabel()
    assert chart.title.startswith("As fast as it goes, 256 B, ")
    assert misplaced(chart) == []
    assert percentiles.draw(points[0], points[0].results, "p", {}) is None  # a latency at full speed is the length of a queue


def test_titles_of_the_others_say_what_is_to_be_seen(five):
    point = five[1]
    assert forest.title(point).startswith("At 2,000/s, 256 B, at-least-once: System ")
    assert " are too close to call in p99; that of System 2 is " in forest.title(point)
    assert "At-most-once: System 0 has the lowest p99; that of System 3 is " in forest.title(point)
    one, other = (next(r for r in point.results if r.id == key) for key in ("k0", "k1"))
    long = replace(other, latency={"e2e": replace(other.latency["e2e"], p50_ns=1e6, p99_ns=2e7)})
    short = replace(one, latency={"e2e": replace(one.latency["e2e"], p50_ns=1e6, p99_ns=2e6)})
    assert percentiles.title(point, [short, long]) == (
        "System 1 has the longest tail at 2,000/s, 256 B: its p99 is 20.0 times its median; System 0 the shortest, 2.00 times"
    )
    assert percentiles.title(point, [short, short]).startswith("The tails are alike")
    assert percentiles.title(point, [short]) == "System 0: the p99 is 2.00 times the median at 2,000/s, 256 B"
    few = replace(short, latency={"e2e": replace(short.latency["e2e"], p99_ns=None)})
    assert percentiles.title(point, [few]) == "Median latency at 2,000/s, 256 B: System 0 1.00 ms; too few samples for a p99"
    unwell = replace(long, standing="not-valid")
    assert percentiles.title(point, [short, unwell]) == percentiles.title(point, [short])  # what is not valid is drawn, and no headline
    assert percentiles.title(point, [unwell]).startswith("Not valid: ")
    cheap = replace(one, cost=replace(one.cost, total=Spread(12e3, 11e3, 13e3, 3)))
    dear = replace(other, cost=replace(other.cost, total=Spread(90e3, 80e3, 95e3, 3)))
    assert (
        cost.title(point, [dear, cheap])
        == "A delivered message costs 12.0 µs of CPU with System 0, 90.0 µs with System 1, at 2,000/s, 256 B"
    )


def test_names_are_as_long_as_tells_them_apart(five):
    one, other = five[0].results[:2]
    client = replace(other, variant=other.variant | {"title": one.variant["title"], "client": "other-client"})
    title = one.variant["title"]
    assert names.called([one, client]) == {one.id: f"{title} (client-python)", other.id: f"{title} (other-client)"}
    same = replace(other, variant=other.variant | {"title": title})
    assert names.called([one, same]) == {key: f"{title} (client-python) [{key}]" for key in (one.id, other.id)}


odd = st.one_of(st.floats(0, 1e15), st.just(0.0), st.floats(1e-12, 1e-6))


@given(st.text(max_size=60), st.lists(odd, min_size=3, max_size=3), odd)
@settings(max_examples=4, deadline=None, phases=[Phase.generate])  # a figure takes its time: found is enough
def test_odd_figures_and_names_are_drawn_without_harm(five, name, figures_, value):
    point = five[1]
    low, middle, high = sorted(figures_)
    spread = Spread(middle, low, high, 2)
    e2e = replace(point.results[0].latency["e2e"], p50_ns=low, p99_ns=high, curve=((1.0, low), (10.0, middle), (100.0, value)))
    odd_one = replace(
        point.results[0], variant=point.results[0].variant | {"title": name}, latency={"e2e": e2e},
        cost=replace(point.results[0].cost, total=spread, producers=spread, intermediary=None, consumers=spread),
    )  # fmt: skip
    place = replace(point.boards[0].places[1], result=odd_one, comparison=None, ratio=spread)
    board = replace(point.boards[0], places=(point.boards[0].places[0], place))
    shown = replace(point, boards=(board,), family=0)
    for chart in drawn([shown], {}):
        ET.fromstring(chart.inline)  # our own text
        ET.fromstring(chart.standalone)
        if max(name, default="") < "\u0180":  # signs that the font lacks are drawn as boxes, taller than its lines
            assert misplaced(chart) == []
