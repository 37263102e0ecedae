"""Charts over time: faults of one variant, heat maps of all; what they say, that their data is what is drawn, that nothing overlaps."""

import math

import pytest
from drawn import misplaced, rows, tags, words
from made_over_time import HOSTILE, Made, fault, histogram, used_of

from bench.analysis.summary import summarise
from bench.report import over_time
from bench.report.charts import course, heat, timeline

AWAY = (4, 9)


def one(made):
    (point,) = summarise(made)
    return point


@pytest.fixture(scope="module")
def away():
    made = Made()
    made.add(away=AWAY, faults=[fault()])
    return made


@pytest.fixture(scope="module")
def drawn(away):
    return timeline.draw(away, one(away).results[0], "timeline-1")


# ---- bins


def test_bins_hold_all_that_happened_and_the_largest_backlog(away):
    bins = over_time.bins(away, away.trials[0], 1)
    assert [b.start_s for b in bins] == list(range(20))
    assert [b.delivered_per_s["away"] for b in bins] == [1000] * 4 + [0] * 5 + [6000] + [1000] * 10
    assert [b.behind["away"] for b in bins[3:10]] == [0, 500, 1500, 2500, 3500, 4500, 5000]
    assert "away" not in bins[5].latency
    assert bins[1].latency == {}, "the warm-up has no latencies"
    wide = over_time.bins(away, away.trials[0], 5)
    assert [b.delivered_per_s["away"] for b in wide] == [800, 1200, 1000, 1000]
    assert [b.behind["away"] for b in wide] == [500, 5000, 0, 0]
    assert sum(b.latency[""].n for b in wide) == sum(b.latency[""].n for b in bins if b.latency)


def test_without_the_journals_backlog_the_series_say_what_was_not_delivered_yet(away):
    trial = dict(away.trials[0], phases=None)
    assert not over_time.exact(trial)
    assert over_time.exact(away.trials[0])
    assert [b.behind["away"] for b in over_time.bins(away, trial, 1)] == [0] * 4 + [1000, 2000, 3000, 4000, 5000] + [0] * 11


def test_a_log_that_was_not_kept_over_time_has_no_latency_over_time():
    made = Made()
    trial = made.add(groups=("g",), sliced=False)
    assert all(b.latency == {} for b in over_time.bins(made, trial, 1))


@pytest.mark.parametrize(("seconds", "most", "width"), [(18, 90, 1), (90, 90, 1), (91, 90, 2), (3600, 90, 60), (10**6, 90, 11112)])
def test_bins_are_few(seconds, most, width):
    assert over_time.width(seconds, most) == width
    assert -(-seconds // width) <= most


def test_the_percentile_is_one_that_nine_in_ten_messages_can_bear():
    few, many, handful = (over_time.Latency.of([used_of(histogram(1, each=each))]) for each in (500, 1000, 30))
    assert over_time.percentile([many] * 9 + [few])[1] == "p99"
    assert over_time.percentile([many] * 4 + [few])[1] == "p90"
    assert over_time.percentile([handful])[1] == "p50"
    assert over_time.percentile([])[1] == "p99"
    assert over_time.at(few, 0.99) is None
    assert over_time.at(None, 0.5) is None
    assert over_time.at(many, 0.99) == 1


# ---- the timeline


def test_the_title_says_what_the_fault_did(away):
    result, trial = one(away).results[0], away.trials[0]
    assert timeline.title(result, trial) == (
        "Redis, away consumer.away: away was 5,000 messages behind at the worst, caught up 500 ms after the last heal; nothing lost"
    )
    still = [fault() | {"counts": {group: {"unavailable_to_consumers_s": gap} for group, gap in (("live", 3.5), ("away", 5.0))}}]
    assert timeline.title(result, trial | {"faults": still}).endswith("after the last heal; live got nothing for 3.50 s; nothing lost")
    still[0]["counts"]["live"]["unavailable_to_consumers_s"] = 0.2
    assert "got nothing" not in timeline.title(result, trial | {"faults": still}), "and the group that was struck had to"
    lost = trial | {"audit": {"live": {"lost": 3, "unknown": 0}, "away": {"lost": 1200, "unknown": 40}}}
    assert timeline.title(result, lost).endswith("; 1,203 lost, 40 without outcome never came")
    assert timeline.title(result, trial | {"audit": {"away": {"lost": None}}}).endswith("lost: not decided")
    never = {"away": {"backlog_max": 7, "caught_up_s": None}}
    assert "7 messages behind at the worst, not caught up in this trial" in timeline.title(result, trial | {"phases": {"groups": never}})
    two = [fault("kill", "consumer.away.0"), fault("kill", "consumer.away.0", 12, 13), fault("network", "links", toxic="timeout")]
    assert timeline.title(result, trial | {"faults": two}).startswith("Redis, kill consumer.away.0 (2 times) and black hole links: ")


def test_kinds_of_fault_have_hatches_of_their_own_and_names():
    assert len(set(timeline._HATCHES.values())) == len(timeline._HATCHES) >= 6
    assert timeline.called(fault("network", "server.1", toxic="latency")) == "network latency server.1"
    assert timeline.called(fault("network", "server.1", toxic="down")) == "black hole server.1"


def test_the_table_is_what_is_drawn(drawn, away):
    bins = over_time.bins(away, away.trials[0], 1)
    heads = [label for label, _ in drawn.data.head]
    assert heads == ["From, s", "To, s", "Sent /s", "Delivered /s", "Behind", "n", "p50, ms", "p99, ms"]
    table = rows(drawn, "away")
    backlog, rate, latency = drawn.figure.axes[0], drawn.figure.axes[1], drawn.figure.axes[2]
    stairs = [patch for patch in backlog.patches if hasattr(patch, "get_data")]
    assert [f"{v:,.0f}" for v in stairs[1].get_data().values] == [row[4] for row in table] == [f"{b.behind['away']:,}" for b in bins]
    delivered = [patch for patch in rate.patches if hasattr(patch, "get_data")][-1]
    assert [f"{v:,.0f}" for v in delivered.get_data().values] == [row[3] for row in table]
    p99 = latency.lines[-1].get_ydata()
    assert [row[7] == "n/a" for row in table] == [math.isnan(v) for v in p99]
    assert float(table[9][7]) == pytest.approx(p99[9], rel=0.01)
    assert len(rows(drawn, "live")) == len(bins)


def test_the_faults_are_marked_in_every_panel(drawn):
    for axes in drawn.figure.axes[:3]:
        assert any(
            patch.get_x() == 4.0 and patch.get_width() == pytest.approx(5.0) for patch in axes.patches if hasattr(patch, "get_width")
        )
    assert "away consumer.away" in words(drawn)
    assert "4.0 s to 9.0 s" in drawn.alt
    assert misplaced(drawn) == []


def test_the_middle_round_by_its_backlog_is_shown():
    made = Made()
    for number, away in enumerate([(4, 6), (4, 9), (4, 7)], 1):
        made.add(groups=("away",), away=away, faults=[fault(healed=away[1])], round_=number)
    chart = timeline.draw(made, one(made).results[0], "t")
    assert "3,000 messages behind" in chart.title
    assert "Round 3, the middle one of 3" in chart.caption
    assert "2,000\u20135,000" in chart.caption


def test_nothing_to_draw_without_a_fault_or_a_series():
    made = Made()
    made.add()
    made.add(round_=2, faults=[dict(fault(), injected_s=None)])
    assert timeline.draw(made, one(made).results[0], "t") is None
    made.add(round_=3, faults=[fault()])
    made.rows.clear()
    assert timeline.draw(made, one(made).results[0], "t") is None


def test_odd_trials_are_drawn_too():
    """One second; nothing delivered; no end of the fault, many faults and groups; markup in names; an older format without a backlog."""
    short = Made()
    short.add(groups=("g",), seconds=1, warmup=0.0, faults=[fault(injected=0.2, healed=0.4, recovered=None)], rate=3)
    dead = Made()
    dead.add(groups=(HOSTILE, "g2"), title=HOSTILE, away=(4, 9), faults=[fault(target=HOSTILE, healed=None)], phases=False)
    for row in dead.rows[1]:
        row |= {HOSTILE: 0, "g2": 0, "published": 0}
    dead.logs[1] = {}
    many = Made()
    names = [f"a group with a long name {i}" for i in range(8)]
    struck = [fault(kind, f"consumer.group-{i}.0", 3 + i, 3.5 + i) for i in range(9) for kind in ("kill", "pause")]
    many.add(groups=names, seconds=14, rate=60, faults=struck)
    for made in (short, dead, many):
        chart = timeline.draw(made, one(made).results[0], "t")
        assert misplaced(chart) == []
        assert "script" not in tags(chart)
    assert "3 groups less behind not drawn" in chart.caption
    assert len(chart.data.groups) == 8
    assert "nothing that was due" in words(timeline.draw(dead, one(dead).results[0], "t"))


# ---- the heat map


def two(rounds=2, seconds=8, **more):
    made = Made()
    for number in range(1, rounds + 1):
        made.add("redis", groups=("g",), seconds=seconds, round_=number, **more)
        made.add("kafka", groups=("g",), seconds=seconds, title="Apache Kafka", round_=number, middle_ms=9.0, **more)
    return made


def shown(made, results=None):
    point = one(made)
    return heat.draw(made, point, results or point.results, "heat-1")


def test_the_heat_map_counts_every_message_once():
    chart = shown(two())
    assert misplaced(chart) == []
    assert [group.label for group in chart.data.groups] == ["Redis (client)", "Apache Kafka (client)"]
    for group in chart.data.groups:
        assert [(row[0].text, row[1].text) for row in group.rows] == [(r, str(s)) for r in "12" for s in range(2, 8)]
        told = [sum(int(cell.rpartition(": ")[2]) for cell in row[-1].text.split(", ")) for row in group.rows]
        assert told == [int(row[3].text.replace(",", "")) for row in group.rows] == [1000] * 12
    assert "2 rounds" in chart.caption


def test_shades_are_of_the_cells_and_cover_no_more():
    made = Made()
    made.add(groups=("g",), seconds=5, warmup=0.0)
    made.logs[1]["e2e"] = [(float(i), 1.0, histogram(1_000_000, each=n)) for i, n in enumerate((5, 50, 50, 2000))]
    chart = shown(made)
    axes = chart.figure.axes[0]
    strips = [line for line in axes.lines if line.get_alpha()]
    assert [line.get_alpha() for line in strips] == [0.16, 0.36, 1.0]
    assert [list(line.get_xdata())[:2] for line in strips] == [[0.0, 1.0], [1.0, 3.0], [3.0, 4.0]], "neighbours of one shade are one strip"
    low, high = (72 * axes.figure.get_figheight() * axes.figure.transFigure.inverted().transform(axes.transData.transform((0, y)))[1]
                 for y in (1.0, 10 ** (1 / 8)))  # fmt: skip
    assert strips[0].get_linewidth() == pytest.approx(high - low, rel=0.01), "as high as a cell"


def test_the_title_says_whose_latency_changes_most():
    made = two(rounds=1)
    made.logs[2]["e2e"][3] = (made.logs[2]["e2e"][3][0], 1.0, histogram(90_000_000, each=1000))
    chart = shown(made)
    assert chart.title.startswith("Over time at 1,000/s, 256 B, the p99 of the worst second is ")
    assert "times that of the middle one with Apache Kafka (90.0 ms)" in chart.title
    assert chart.title.rstrip(")").split(", ")[-1].split(" with ")[1].startswith("Redis (")


def test_no_latency_over_time_is_quoted_from_a_saturated_round():
    assert shown(two(rate=None)) is None
    made = two()
    for trial in made.trials[2:]:
        trial["findings"] = [{"code": "rate-not-reached"}]
    chart = shown(made)
    assert {row[0].text for group in chart.data.groups for row in group.rows} == {"1"}
    struck = two(rounds=1, faults=[fault(injected=3.0, healed=5.0)], codes=["rate-not-reached"])
    assert "Bars and dotted lines: faults" in shown(struck).caption


def test_nothing_to_draw_where_no_latency_was_kept_over_time():
    assert shown(two(sliced=False)) is None
    assert shown(two(rounds=1, seconds=4)) is None, "two bins are no course of time"


def test_odd_heat_maps_are_drawn_too():
    """Eight variants with long names and markup; many rounds; a zero; latencies over nine decades."""
    made = Made()
    for i in range(8):
        made.add(f"v{i}", groups=("g",), seconds=7, rate=40, title=f"{HOSTILE} {i}"[-60:] if i else HOSTILE, delivery="none")
    chart = shown(made)
    assert misplaced(chart) == []
    assert "script" not in tags(chart)
    long = Made()
    for number in range(1, 25):
        long.add(groups=("g",), seconds=8, rate=20, round_=number)
    long.logs[1]["e2e"][0] = (0.0, 1.0, histogram(0, 3_599_000_000_000))
    chart = shown(long)
    assert misplaced(chart) == []
    assert len(chart.data.groups[0].rows) <= heat.COLUMNS_MAX
    assert sum(int(row[3].text) for row in chart.data.groups[0].rows) == 24 * 6 * 20 - 18


# ---- a load without faults


def plain(made):
    point = one(made)
    return course.draw(made, point, point.results, "course-1", {"redis": 0, "kafka": 2})


def test_a_load_without_faults_shows_all_variants_round_by_round():
    made = two(rounds=2)
    made.rows[2][4] |= {"g": 700}  # of kafka's first round: 300 wait
    chart = plain(made)
    assert chart.title == "Over time at 1,000/s, 256 B, Apache Kafka was at most 300 messages behind, Redis 0"
    behind, delivered, latency = chart.figure.axes
    kafka = rows(chart, "Apache Kafka (client)")
    assert [(row[0], row[1]) for row in kafka] == [(r, str(s)) for r in "12" for s in range(8)]
    drawn_ = [line.get_ydata() for line in (behind.lines[1], delivered.lines[1], latency.lines[1])]
    known = [[value for value in values if not math.isnan(value)] for values in drawn_]
    assert [f"{v:,.0f}" for v in known[0]] == [row[3] for row in kafka] == ["0"] * 4 + ["300"] * 4 + ["0"] * 8
    assert [f"{v:,.0f}" for v in known[1]] == [row[4] for row in kafka]
    assert known[2] == pytest.approx([float(row[5]) for row in kafka if row[5] != "n/a"], rel=0.01)
    assert [row[5] for row in kafka].count("n/a") == 4, "the two seconds of each warm-up"
    assert misplaced(chart) == []


def test_a_saturated_load_has_rates_and_no_latency():
    chart = plain(two(rate=None))
    assert len(chart.figure.axes) == 2
    assert [label for label, _ in chart.data.head][-1] == "Delivered /s"
    assert misplaced(chart) == []


def test_the_drain_and_what_is_left_of_a_second_are_no_rate():
    made = two(rounds=1)
    for trial in made.trials:
        trial["workload"]["measure_s"] = 3.5
    chart = plain(made)
    assert [row[1].text for row in chart.data.groups[0].rows] == ["0", "1", "2", "3", "4"]


def test_a_load_with_faults_or_of_four_seconds_is_not_drawn_as_one_without():
    assert plain(two(rounds=1, faults=[fault()])) is None
    assert plain(two(rounds=1, seconds=4, warmup=0.0)) is None
    assert plain(Made(trials=[dict(two(rounds=1).trials[0], status="failed")])) is None


def test_eight_variants_with_long_names_over_many_rounds_fit():
    made = Made()
    for i in range(8):
        for number in (1, 2, 3):
            made.add(f"v{i}", groups=("g",), seconds=4, rate=40, title=f"{HOSTILE} {i}"[-60:] if i else HOSTILE, round_=number, warmup=0.0)
    chart = plain(made)
    assert misplaced(chart) == []
    assert "script" not in tags(chart)
