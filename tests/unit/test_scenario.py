"""Scenarios: what is shipped is sound, and whatever is wrong in a file is told with line, field and what would be right."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import bench.scenario
from bench import pacing, replay_file, scenario, sizes
from bench.errors import UsageError
from bench.keys import Router, keys_of, murmur2, router_of
from bench.mixed import block_of, pool_of
from bench.workload import Workload

GOOD = """\
name: shop
systems: [zeromq, kafka]
topology:
  groups: {inventory: 1}
payload: {size: 256 B}
load: {rate: 200/s}
"""


BOMB = "a: &a0 [x]\n" + "".join(f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))


def parse(text):
    return scenario.parse(text, where="shop.yaml")


def refused(text):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, AssertionError)
    return str(caught.value)


# --- what is shipped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", scenario.names())
def test_every_shipped_scenario_loads_and_teaches(name):
    loaded = scenario.load(name)
    assert loaded.name == name
    assert loaded.title
    assert loaded.description
    assert loaded.points()
    assert scenario.path_of(name).read_text().startswith("#"), "begins with what it is for"
    if loaded.ladder:
        assert list(loaded.systems) == [step.system for step in loaded.ladder]
    elif "systems" not in loaded.model_fields_set:  # else for those that it names: that have brokers, that take a message back
        assert [v.system for v in loaded.variants()] == list(scenario.FIVE)


def test_the_shipped_ones_are_there():
    assert {"order-events", "latency", "throughput", "fan-out", "work-queue", "sweep-size", "mixed-sizes", "bursts", "backlog"} <= set(
        scenario.names()
    )


def test_order_events_fits_in_four_minutes_and_delivers_ten_thousand():
    shop = scenario.load("order-events")
    assert [p.values() for p in shop.points()] == [{"rate_per_s": 200.0, "size_b": 256}, {"rate_per_s": 2000.0, "size_b": 256}]
    busy = shop.points()[1].workload
    assert busy.groups == (("inventory", 1), ("payment", 1), ("notification", 1))
    assert (busy.partitions, busy.routing, busy.key_count, busy.key_zipf) == (4, "key", 10_000, 1.1)
    assert busy.rate_per_s * busy.measure_s * shop.rounds >= 10_000
    assert shop.load_s() < 180, "a minute of the four is left for starts, readiness and draining"


def test_the_first_comment_about_the_busiest_customer_is_true():
    weights = [k**-1.1 for k in range(1, 10_001)]
    assert 1 / 8 < weights[0] / sum(weights) < 1 / 6


def test_fan_out_and_work_queue_make_their_points():
    assert [len(p.workload.groups) for p in scenario.load("fan-out").points()] == [1, 2, 4, 8]
    assert [p.workload.groups for p in scenario.load("work-queue").points()] == [(("workers", n),) for n in (1, 2, 4)]
    assert scenario.load("fan-out").points()[1].workload.groups == (("g1", 1), ("g2", 1))
    assert {p.workload.schedule for p in scenario.load("throughput").points()} == {"max"}


# --- finding -----------------------------------------------------------------------------------------------------------


def test_found_by_name_and_by_path(tmp_path, monkeypatch):
    assert scenario.load("order_events") == scenario.load("order-events") == scenario.load(scenario.path_of("order-events"))
    mine = tmp_path / "My Shop.yaml"
    mine.write_text(GOOD.replace("name: shop\n", ""))
    assert scenario.load(mine).name == scenario.load(str(mine)).name == "my-shop"
    monkeypatch.chdir(tmp_path)
    assert scenario.load("My Shop.yaml").name == "my-shop"


def test_found_in_a_wheel(tmp_path, monkeypatch):
    packed = tmp_path / "bench" / "data" / "scenarios"
    packed.mkdir(parents=True)
    (packed / "packed.yaml").write_text(GOOD)
    monkeypatch.setattr(bench.scenario, "__file__", str(tmp_path / "bench" / "scenario.py"))
    assert scenario.names() == ["packed"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("order-event", 'no scenario "order-event"; did you mean "order-events"?'),
        ("xyzzy", "known: backlog, bursts, copies, distance, fan-out, flume-channels"),
        ("nowhere/latency.yaml", 'nowhere/latency.yaml: no such file; did you mean the shipped scenario "latency"?'),
        ("nowhere/x.yaml", "no such file; shipped ones need no path"),
        ("/tmp", "/tmp is a folder; give a scenario file"),
        ("/dev/zero", "a scenario has at most"),
        ("", 'no scenario ""; known'),
    ],
)
def test_what_is_not_there(asked, says):
    with pytest.raises(UsageError) as caught:
        scenario.load(asked)
    assert says in str(caught.value)


# --- what is wrong in a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "shop.yaml: the file is empty"),
        ("# only a comment\n", "shop.yaml: the file is empty"),
        ("- a\n- b\n", "shop.yaml:1: a list; a scenario is a mapping"),
        ("hello", "shop.yaml:1: a single value; a scenario is a mapping"),
        ("load: {rate: 2", "shop.yaml:1: not valid YAML:"),
        ('a: 1\nb: "unterminated\n', "not valid YAML: found unexpected end of stream"),
        ("a:\n\t- b\n", "indent with spaces, not tabs"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: but found another document"),
        ("a: *nowhere\n", "shop.yaml:1: not valid YAML: found undefined alias"),
        ("[" * 5000, "nested too deep"),
        ("a: " * 3, "shop.yaml:1: not valid YAML"),
        ("a: &a [*a]\nb: 1\n", "too large once its aliases are expanded"),
        (BOMB, "too large once its aliases are expanded"),
        ("x: " + "y" * (1 << 20), "a scenario has at most 1,048,576"),
        ("a: \x01\n", "shop.yaml:1: holds control characters"),
    ],
)
def test_files_that_are_no_scenario(text, says):
    assert says in refused(text)


@pytest.mark.parametrize("content", [b"\x00\x01\x02\xff\xfe", b"\x7fELF\x02\x01\x01\x00", b"name: caf\xe9\n", b"\xff\xfen\x00a\x00"])
def test_binary_files(content):
    with pytest.raises(UsageError, match=r"shop.yaml:1: (not a text file|holds control characters)"):
        scenario.parse(content, where="shop.yaml")


def test_a_byte_order_mark_is_fine():
    assert scenario.parse(b"\xef\xbb\xbf" + GOOD.encode(), where="x").name == "shop"


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed("load:", "laod:"), 'shop.yaml:6: laod: unknown key; did you mean "load"?'),
        (changed("rate: 200/s", "rte: 200/s"), 'shop.yaml:6: load.rte: unknown key; did you mean "rate"?'),
        (GOOD + "rate: 5/s\n", 'shop.yaml:7: rate: unknown key here; did you mean "load.rate"?'),
        (GOOD + "timing: {rounds: 3}\n", 'timing.rounds: unknown key here; did you mean "rounds" at the top level?'),
        (GOOD + "xyzzy: 3\n", "xyzzy: unknown key; known: name, title"),
        (changed("200/s", "200"), 'shop.yaml:6: load.rate: 200 has no unit: write a rate such as "200/s"'),
        (changed("256 B", "256 s"), "shop.yaml:5: payload.size:"),
        (changed("256 B", "63 B"), "payload.size: 63 B: at least 64 B, the header that proves delivery takes 64 B"),
        (changed("256 B", "1 GiB"), "payload.size: 1 GiB: at most 128 MiB"),
        (changed("200/s", "0/s"), "load.rate: 0/s: at least 0.1/s"),
        (changed("200/s", "1e12 /s"), "load.rate: 1,000,000,000,000/s: at most 50,000,000/s"),
        (changed("200/s", "-5/s"), 'load.rate: "-5/s" is negative'),
        (GOOD + "timing: {measure: 2 h}\n", "shop.yaml:7: timing.measure: 2 h: at most 1 h"),
        (GOOD + "timing: {measure: 0 s}\n", "timing.measure: 0 s: at least 100 ms"),
        (GOOD + "timing: 5 s\n", "timing: '5 s' where a mapping belongs with warmup, measure, drain"),
        (GOOD + "timing:\n", "timing: nothing where a mapping belongs"),
        (GOOD + "rounds: 0\n", "rounds: 0: at least 1"),
        (GOOD + "rounds: many\n", 'rounds: "many" is not a whole number'),
        (GOOD + "rounds: true\n", "rounds:"),
        (GOOD + "title: 5\n", 'title: 5 where a text belongs; put it in "quotes"'),
        (GOOD + "seed: -1\n", "seed: -1: at least 0"),
        (GOOD + "tick: 1 ns\n", "tick: 1 ns: at least 10 us"),
        (GOOD + "name: other\n", '"name" is given twice (first in line 1)'),
        (changed("groups:", "partitions: 5000\n  groups:"), "shop.yaml:4: topology.partitions: 5,000: at most 4,096"),
        (changed("groups:", "producers: 65\n  groups:"), "topology.producers: 65: at most 64"),
        (changed("groups:", "routing: random\n  groups:"), 'topology.routing: unknown value "random"; known: key, round-robin'),
        (changed("groups:", "routing: round_robin\n  groups:"), 'did you mean "round-robin"?'),
        (changed("{inventory: 1}", "{Inventory: 1}"), "a group's name has small letters"),
        (changed("{inventory: 1}", "{sent: 1}"), "the name is taken in the result files"),
        (changed("{inventory: 1}", "{inventory: 0}"), "members of a group: 0: at least 1"),
        (changed("{inventory: 1}", "[a, a]"), "a group is named twice"),
        (changed("{inventory: 1}", "{}"), "groups are a mapping of name: members"),
        (changed("{inventory: 1}", "5"), "groups are a mapping of name: members"),
        (changed("{inventory: 1}", "{" + ", ".join(f"g{i}: 60" for i in range(3)) + "}"), "181 processes at one point; at most 128"),
        (changed("kafka", "kafak"), 'shop.yaml:2: systems: unknown system "kafak"; did you mean "kafka"?'),
        (changed("kafka", "zeromq"), '"zeromq" is named twice'),
        (changed("[zeromq, kafka]", "[]"), "systems are a list of SPECs"),
        (changed("[zeromq, kafka]", "[5]"), "systems are a list of SPECs"),
        (changed("{rate: 200/s}", "{schedule: max, rate: 200/s}"), "load.rate: schedule: max takes no rate; remove the rate"),
        (changed("{rate: 200/s}", "{schedule: constant}"), 'shop.yaml:6: load: schedule: constant needs a rate, such as "rate: 200/s"'),
        (changed("{rate: 200/s}", "{schedule: maximum}"), 'did you mean "max"?'),
        (changed("{rate: 200/s}", "{schedule: max}") + "sweep: {rate: [5/s]}\n", "sweep.rate: schedule: max takes no rate"),
        (changed("payload: {size: 256 B}\n", ""), "the size of a message is missing"),
        (changed("topology:\n  groups: {inventory: 1}\n", ""), "the consumer groups are missing"),
        (GOOD + "sweep: {rate: [5/s, 6/s]}\n", "load.rate: sweep.rate has the values of this field; remove one of the two"),
        (GOOD + "sweep: {groups: [1, 2]}\n", "topology.groups: sweep.groups has the values"),
        (GOOD + "sweep: {members: []}\n", "sweep.members: the axis has no value"),
        (GOOD + "sweep: {members: [1, 2, 1]}\n", "sweep.members: 1 is given twice"),
        (GOOD + "sweep: {members: [1, 65]}\n", "sweep.members: 65: at most 64"),
        (GOOD + "sweep: {colour: [1]}\n", "sweep.colour: unknown key; known: groups, members"),
        (GOOD + "keys: {exponent: 1.2}\n", "keys.exponent: belongs to distribution: zipf"),
        (GOOD + "keys: {distribution: zipf, exponent: 0}\n", "keys.exponent: 0: a number above 0 and up to 5"),
        (GOOD + "keys: {count: 1000000}\n", "keys.count: 1,000,000: at most 65,536"),
        (
            GOOD + "keys: {distribution: replay}\n",
            "keys.distribution: replay needs load: {schedule: replay,",
        ),
        (GOOD + "keys: {distribution: replay, count: 5}\n", "keys.count: the file has the keys; remove it"),
        (GOOD + "sweep: {routing: [key, random]}\n", 'sweep.routing: unknown value "random"; known: key, round-robin'),
        (GOOD + "sweep: {routing: [key, key]}\n", "sweep.routing: key is given twice"),
        (GOOD + "window: 50\n", "window: 50 is less than a batch of 100"),
        (
            changed("256 B", "1 MiB"),
            "window: 10,000 messages of 1 MiB do not fit in 2 GiB, which is what a producer may hold; at most 2,048",
        ),
        (changed("256 B", "16 MiB") + "batch: {send: 100}\nwindow: 100\n", "batch.send: 100 messages of 16 MiB do not fit in 256 MiB"),
        (GOOD + "asks: {delivery: exactly-onec}\n", 'asks.delivery: unknown value "exactly-onec"; did you mean "exactly-once"?'),
        (GOOD + "a: &x {b: 1}\nkeys: {<<: *x}\n", "merge keys (<<) are not supported"),
        (GOOD + "rounds: !!python/object:os.system 3\n", "is not allowed in a scenario"),
        (GOOD + "? [a, b]\n: 1\n", "a key must be a single word"),
        (GOOD + "title: 2026-11-22\n", None),
    ],
)
def test_wrong_fields(text, says):
    if says is None:
        assert parse(text).title == "2026-11-22", "a date is text"
        return
    message = refused(text)
    assert says in message
    assert re.match(r"shop\.yaml:\d+: ", message)


def test_all_problems_at_once_in_the_order_of_the_file_up_to_ten():
    message = refused("rounds: 0\nseries: 0\nlaod: 1\nkeys: {count: 0, cuont: 1}\n").splitlines()
    assert [line.split(": ")[0] for line in message] == ["shop.yaml:1"] * 2 + ["shop.yaml:2", "shop.yaml:3", "shop.yaml:4", "shop.yaml:4"]
    many = refused(GOOD + "".join(f"key{i}: 1\n" for i in range(15))).splitlines()
    assert len(many) == 11
    assert many[-1] == "... and 5 more"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | st.integers(0, len(GOOD)).map(lambda n: GOOD[:n].encode()))
def test_any_bytes_are_a_scenario_or_a_usage_error(content):
    try:
        scenario.parse(content, where="x.yaml")
    except UsageError as error:
        message = str(error)
    else:
        message = "x.yaml"
    assert message.startswith("x.yaml")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["5 s", "200/s", "key", "max", "64 B", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rate", "size", "groups", "send", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(scenario.Scenario.model_fields)), JUNK)
def test_junk_in_any_field_is_a_usage_error_at_worst(field, junk):
    data = yaml.safe_load(GOOD) | {field: junk}
    try:
        parse(yaml.safe_dump(data))
    except UsageError as error:
        message = str(error)
    else:
        message = "shop.yaml:"
    assert message.startswith("shop.yaml:")


# --- points ------------------------------------------------------------------------------------------------------------


def test_the_cross_product_of_the_axes():
    swept = parse(
        "name: x\ntopology: {groups: [a, b]}\nload: {schedule: constant}\n"
        "sweep:\n  rate: [5/s, 6/s]\n  size: [64 B, 1 KiB]\n  partitions: [1, 2]\n  producers: [3]\n  members: [1, 4]\n  batch: [7]\n"
    )
    points = swept.points()
    assert len(points) == 2 * 2 * 2 * 2
    assert len({p.workload for p in points}) == 16
    assert [p.rate_per_s for p in points[:4]] == [5.0, 6.0, 5.0, 6.0]
    last = points[-1]
    assert last.values() == {"rate_per_s": 6.0, "size_b": 1024, "members": 4, "partitions": 2, "producers": 3, "batch": 7}
    assert last.workload.groups == (("a", 4), ("b", 4))
    assert (last.workload.batch, last.workload.ack_every, last.workload.producers, last.workload.partitions) == (7, 7, 3, 2)
    assert last.label == "6/s, 1 KiB, 4 members, 2 partitions, 3 producers, batches of 7"
    assert swept.payload_bytes_max == 1024
    assert Workload.from_json(last.workload.to_json()) == last.workload


def test_defaults_and_units_resolve_to_plain_numbers():
    (point,) = parse(GOOD).points()
    assert point.workload == Workload(
        rate_per_s=200.0,
        size_b=256,
        warmup_s=1.0,
        measure_s=5.0,
        drain_s=10.0,
        tick_s=0.0005,
        batch=100,
        ack_every=100,
        ack_interval_s=0.05,
        window=10_000,
        producers=1,
        groups=(("inventory", 1),),
        partitions=1,
        routing="key",
        key_count=10_000,
        key_zipf=0.0,
        seed=1,
    )
    assert point.values() == {"rate_per_s": 200.0, "size_b": 256}
    assert parse(GOOD + "batch: {send: 50, ack_every: 5}\n").points()[0].workload.ack_every == 5


def test_too_many_points():
    axes = "sweep: {partitions: [1,2,3,4,5,6,7,8,9,10,11], members: [1,2,3,4,5,6,7,8,9,10,11], producers: [1,2,3,4,5,6,7,8,9,10,11]}\n"
    assert "the axes make 1,331 points; at most 1,000" in refused(GOOD + axes)


# --- payloads -----------------------------------------------------------------------------------------------------------


def with_payload(text):
    return parse(GOOD.replace("{size: 256 B}", text))


@pytest.mark.parametrize(
    ("text", "low", "mean", "high", "words"),
    [
        ("{sizes: {distribution: uniform, min: 100 B, max: 300 B}}", 100, 200, 300, "100 B to 300 B (mean 200 B, uniform)"),
        ("{sizes: {distribution: choice, weights: {64 B: 3, 1 KiB: 1}}}", 64, 304, 1024, "64 B to 1 KiB (mean 304 B, choice)"),
        ("{size: 1 KiB, content: compressible, ratio: 8}", 1024, 1024, 1024, "1 KiB (compressible 8:1)"),
    ],
)
def test_payloads_that_differ_in_size_or_compress(text, low, mean, high, words):
    loaded = with_payload(text)
    (point,) = loaded.points()
    bodies = point.workload.bodies
    assert (bodies.smallest_b, bodies.mean_b, bodies.largest_b) == (low, pytest.approx(mean, abs=0.5), high)
    assert point.values() == {"rate_per_s": 200.0, "size_b": round(bodies.mean_b), "payload": words}
    assert point.label == f"200/s, {words}"
    assert loaded.payload_bytes_max == high
    assert Workload.from_json(json.loads(json.dumps(point.workload.to_json()))) == point.workload
    assert parse(loaded.to_yaml()).points() == loaded.points()


def test_a_lognormal_table_has_the_quantiles_it_says():
    table = with_payload("{sizes: {distribution: lognormal, median: 500 B, sigma: 1, max: 2 KiB}}").points()[0].workload.bodies.sizes_b
    assert len(table) == sizes.ROWS
    ordered = sorted(table)
    assert ordered[512] == pytest.approx(500, rel=0.01)
    assert ordered[int(0.8413 * 1024)] == pytest.approx(500 * math.e, rel=0.01)
    assert (ordered[0], ordered[-1]) == (64, 2048)
    assert list(table) != ordered, "large ones do not come in a row"


@given(st.dictionaries(st.integers(64, 5000), st.floats(0.5, 50), min_size=1, max_size=9), st.integers(0, 9))
def test_weights_are_kept_to_a_row(weights, seed):
    table = sizes.shuffled(sizes.choice(weights), seed)
    assert len(table) == sizes.ROWS
    for size, weight in weights.items():
        assert abs(table.count(size) - weight / sum(weights.values()) * sizes.ROWS) < 1


def test_real_payloads_are_read_from_beside_the_scenario_and_kept_with_the_run(tmp_path):
    (tmp_path / "orders.jsonl").write_text('{"id": 1}\n{"id": 22}\n')
    (tmp_path / "shop.yaml").write_text(GOOD.replace("{size: 256 B}", "{file: orders.jsonl}"))
    loaded = scenario.load(tmp_path / "shop.yaml")
    bodies = loaded.points()[0].workload.bodies
    assert (bodies.smallest_b, bodies.mean_b, bodies.largest_b, bodies.distribution) == (73, 73.5, 74, "file")
    run = tmp_path / "run"
    run.mkdir()
    (run / "scenario.yaml").write_text(loaded.kept(run).kept(run).to_yaml(run))
    (tmp_path / "orders.jsonl").write_text("another\n")
    again = scenario.load(run / "scenario.yaml")
    assert again.points()[0].workload.bodies.digest == bodies.digest
    assert again.points()[0].values() == {"rate_per_s": 200.0, "size_b": 74, "payload": "73 B to 74 B (mean 74 B, file)"}
    (run / "payloads.jsonl").write_text("another\n")
    with pytest.raises(UsageError, match=r"scenario\.yaml:\d+: payload\.file: .*not the payloads that the scenario means"):
        scenario.load(run / "scenario.yaml")


def test_a_size_of_the_command_line_replaces_a_distribution():
    mixed = scenario.load("mixed-sizes").override(axes={"size": ["820 B"]})
    assert [p.values()["payload"] for p in mixed.points()] == ["820 B (compressible 4:1)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "payload: the size of a message is missing"),
        ("{size: 1 KiB, file: x}", "payload.file: the size of a message is given by payload.size already; remove one of the two"),
        ("{file: nowhere.jsonl}", "nowhere.jsonl: cannot be read: No such file or directory"),
        ("{file: 7}", "payload.file: a path of a file or a folder, such as orders.jsonl"),
        ("{size: 1 KiB, digest: x}", "payload.digest: belongs to file"),
        ("{size: 1 KiB, ratio: 4}", "payload.ratio: belongs to content: compressible"),
        ("{size: 1 KiB, content: compressible, ratio: 99}", "payload.ratio: 99: a number from 1.1 to 20, such as 4"),
        ("{size: 100 B, content: compressible, ratio: 10}", "payload.ratio: 10: bodies of these sizes reach 3.3, as zlib adds"),
        ("{size: 1 KiB, content: text}", 'payload.content: unknown value "text"; known: compressible, random'),
        ("{sizes: {distribution: replay}}", "payload.sizes: replay needs load: {schedule: replay, file: ...}, a file with a column size_b"),
        ("{sizes: {median: 1 KiB}}", "payload.sizes.distribution: is missing: lognormal (median, sigma"),
        ("{sizes: {distribution: normal}}", 'payload.sizes.distribution: unknown value "normal"; did you mean "lognormal"?'),
        ("{sizes: {distribution: uniform, max: 1 KiB}}", "payload.sizes: uniform needs min, such as {distribution: uniform"),
        ("{sizes: {distribution: uniform, min: 1 KiB, max: 1 kB}}", "payload.sizes.max: 1 kB is less than 1 KiB"),
        (
            "{sizes: {distribution: uniform, min: 64 B, max: 1 kB, sigma: 1}}",
            "payload.sizes.sigma: uniform has no sigma",
        ),
        ("{sizes: {distribution: choice, weights: {64 B: 9999, 1 KiB: 1}}}", "payload.sizes.weights: a size of 1,024 B has 0.010% of the"),
        ("{sizes: {distribution: choice, weights: {64: 1}}}", "payload.sizes.weights: "),
        ("{sizes: {distribution: choice, weights: {64 B: 0}}}", "payload.sizes.weights: 64 B: 0: a weight is a number above 0"),
        ("{sizes: {distribution: lognormal, median: 1 MiB, sigma: 4}}", "payload.sizes: the largest message is of"),
        ("{sizes: {distribution: lognormal, median: 1 MiB, sigm: 4}}", 'payload.sizes.sigm: unknown key; did you mean "sigma"?'),
    ],
)
def test_what_is_wrong_with_a_payload(text, says):
    told = refused(GOOD.replace("{size: 256 B}", text))
    assert told.startswith("shop.yaml:5: payload")
    assert says in told


# --- lanes --------------------------------------------------------------------------------------------------------------


def test_lanes_are_counted_and_can_be_switched_off():
    shop = scenario.load("order-events")
    assert (shop.lanes.aa, shop.lanes.floor, shop.floor().id) == (True, True, "tcp")
    assert len(shop.planned()) == 2 * 3 * 7
    assert shop.load_s() == pytest.approx(2 * 3 * 7 * 4.0)
    bare = shop.override(lanes=False)
    assert (len(bare.planned()), bare.floor()) == (2 * 3 * 5, None)
    assert bare.load_s() == pytest.approx(2 * 3 * 5 * 4.0)
    assert shop.override(systems=["tcp", "zeromq"]).floor() is None, "it is among the systems"
    assert parse(bare.to_yaml()).lanes == bare.lanes


def test_the_reference_is_one_of_the_systems():
    named = parse(GOOD.replace("zeromq", "'zeromq,sndhwm=5'") + "reference: zeromq,sndhwm=5\n")
    assert {p.variant.spec for p in named.planned() if p.lane == "aa"} == {"zeromq,sndhwm=5"}
    assert 'reference: "sqs" is none of the systems: zeromq, kafka' in refused(GOOD + "reference: sqs\n")
    assert 'did you mean "kafka"' in refused(GOOD + "reference: kafak\n")
    assert named.override(systems=["kafka"]).reference == ""
    assert named.override(systems=["zeromq, sndhwm=5", "kafka"]).reference == "zeromq,sndhwm=5"
    assert "lanes.aa: 'perhaps' where true or false belongs" in refused(GOOD + "lanes: {aa: perhaps}\n")


# --- the command line --------------------------------------------------------------------------------------------------


def test_values_of_the_command_line():
    shop = scenario.load("order-events").override(
        systems=["zeromq", "kafka,profile=tuned"],
        rounds=2,
        warmup="100 ms",
        measure="1 s",
        drain="2 s",
        seed=9,
        axes={"rate": ["500/s"], "members": ["1", "2"]},
    )
    assert shop.systems == ("zeromq", "kafka,profile=tuned")
    assert (shop.rounds, shop.seed, shop.timing.warmup, shop.timing.measure, shop.timing.drain) == (2, 9, 0.1, 1.0, 2.0)
    assert [p.values() for p in shop.points()] == [{"rate_per_s": 500.0, "size_b": 256, "members": m} for m in (1, 2)]
    assert scenario.load("latency").override() == scenario.load("latency")


def test_an_axis_of_the_command_line_replaces_a_fixed_value():
    replaced = scenario.load("order-events").override(
        axes={"size": ["1 KiB"], "groups": ["2"], "batch": ["7"], "producers": ["2"], "partitions": ["1"]}
    )
    assert {p.values()["groups"] for p in replaced.points()} == {2}
    assert replaced.payload_bytes_max == 1024


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"rounds": 0}, "order-events with the values of the command line: rounds: 0: at least 1"),
        ({"measure": "5"}, 'timing.measure: 5 has no unit: write a duration such as "5 s"'),
        ({"systems": ["kafak"]}, 'did you mean "kafka"?'),
        ({"axes": {"rat": ["5/s"]}}, 'unknown axis "rat"; did you mean "rate"?'),
        ({"axes": {"rate": ["5"]}}, "sweep.rate: 5 has no unit"),
        ({"axes": {"size": ["1 B"]}}, "sweep.size: 1 B: at least 64 B"),
    ],
)
def test_wrong_values_of_the_command_line(given_, says):
    with pytest.raises(UsageError) as caught:
        scenario.load("order-events").override(**given_)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", scenario.names())
def test_the_effective_scenario_reads_back(name):
    loaded = scenario.load(name)
    assert parse(loaded.to_yaml()) == loaded
    assert parse(loaded.to_yaml()).points() == loaded.points()
    assert parse(loaded.to_yaml()).to_yaml() == loaded.to_yaml()
    swept = loaded.override(axes={"partitions": ["1", "8"], "batch": ["3"]})
    assert parse(swept.to_yaml()).points() == swept.points()


def test_every_field_is_explained_with_a_default_that_is_true():
    rows = {field: (default, text) for field, default, text in scenario.explain()}
    assert all(text for _, text in rows.values())
    assert rows["tick"][0] == "500 us"
    assert rows["timing.drain"][0] == "10 s"
    assert rows["systems"][0] == "kafka, rabbitmq, sqs, zeromq, redis_pubsub"
    assert {field for field, *_ in scenario.explain() if field.startswith("sweep.")} == {f"sweep.{axis}" for axis in bench.scenario.AXES}


def test_the_workload_imports_nothing_heavy():
    code = "import sys, bench.workload; print([m for m in ('yaml', 'pydantic', 'pandas', 'psutil') if m in sys.modules])"
    root = Path(scenario.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"


# --- schedules ----------------------------------------------------------------------------------------------------------

STEPS = "load: {schedule: steps, steps: [{rate: 100/s, for: 2 s}, {rate: 0/s, for: 500 ms}, {rate: 1 kHz, for: 2 s}]}"


def loaded(load, timing="{warmup: 1 s, measure: 4 s}"):
    return GOOD.replace("load: {rate: 200/s}", load) + f"timing: {timing}\n"


@pytest.mark.parametrize(
    ("load", "kind", "rate", "label"),
    [
        ("load: {schedule: poisson, rate: 2 kHz}", "poisson", 2000.0, "2,000/s poisson"),
        ("load: {schedule: bursts, rate: 2 kHz, burst: 1000}", "bursts", 2000.0, "2,000/s in bursts of 1,000"),
        (STEPS, "steps", 537.5, "steps of 537.5/s on average"),  # 1 s of 100/s, a pause, 2 s of 1,000/s, 0.5 s of 100/s again
        ("load: {schedule: ramp, from: 100/s, to: 600/s}", "ramp", 400.0, "100/s to 600/s"),
        ("load: {schedule: closed}", "closed", None, "closed loop of 1"),
        ("load: {schedule: closed, outstanding: 20}", "closed", None, "closed loop of 20"),
        ("load: {schedule: max}", "max", None, "max"),
    ],
)
def test_a_schedule_becomes_a_workload_and_reads_back(load, kind, rate, label):
    made = parse(loaded(load, "{warmup: 1 s, measure: 4 s}"))
    (point,) = made.points()
    assert (point.workload.schedule, point.label) == (kind, f"{label}, 256 B")
    assert point.rate_per_s is None if rate is None else point.rate_per_s == pytest.approx(rate, rel=0.05)
    assert Workload.from_json(point.workload.to_json()) == point.workload
    assert parse(made.to_yaml()) == made
    assert point.values().get("schedule") == (None if kind == "max" else kind)


def test_a_poisson_load_can_be_swept():
    swept = parse(loaded("load: {schedule: poisson}\nsweep: {rate: [100/s, 1 kHz]}"))
    assert [(p.workload.schedule, p.rate_per_s) for p in swept.points()] == [("poisson", 100.0), ("poisson", 1000.0)]


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ("load: {schedule: poisson}", "shop.yaml:6: load: schedule: poisson needs a rate, such as"),
        ("load: {schedule: bursts, rate: 1 kHz}", 'load: schedule: bursts needs a burst, such as "burst: 100"'),
        ("load: {rate: 1 kHz, burst: 100}", "load.burst: schedule: constant takes no burst; remove the burst, or write schedule: bursts"),
        ("load: {schedule: steps}", "schedule: steps needs steps, such as"),
        ("load: {schedule: steps, steps: []}", "load.steps: steps are a list such as [{rate: 100/s, for: 2 s}"),
        ("load: {schedule: steps, steps: 100/s}", "load.steps: steps are a list such as"),
        ("load: {schedule: steps, steps: [{rate: 100/s}]}", "load.steps.0.for: is missing: how long"),
        ("load: {schedule: steps, steps: [{rate: 100/s, fro: 1 s}]}", 'load.steps.0.fro: unknown key; did you mean "for"?'),
        ("load: {schedule: steps, steps: [{rate: 100, for: 1 s}]}", "load.steps.0.rate: 100 has no unit"),
        ("load: {schedule: steps, steps: [{rate: 0/s, for: 1 s}]}", "load.steps: all of them are pauses"),
        ("load: {schedule: steps, steps: [100/s]}", "load.steps.0: '100/s' where a mapping belongs with rate, for"),
        ("load: {schedule: ramp, from: 1/s}", 'load: schedule: ramp needs to, such as "to: 2 kHz"'),
        ("load: {schedule: ramp, rate: 1/s, from: 1/s, to: 2/s}", "load.rate: schedule: ramp takes no rate"),
        ("load: {schedule: closed, outstanding: 0}", "load.outstanding: 0: at least 1"),
        ("load: {schedule: closed, rate: 1/s}", "load.rate: schedule: closed takes no rate"),
        ("load: {schedule: poison, rate: 1/s}", 'unknown value "poison"; did you mean "poisson"?'),
        ("load: {schedule: replay}", 'load: schedule: replay needs a file, such as "file: orders.csv"'),
        ("load: {schedule: replay, file: nowhere.csv}", "nowhere.csv: cannot be read: No such file"),
        ("load: {schedule: replay, file: [a]}", "load.file: the path of a CSV file belongs here"),
        ("load: {rate: 1/s}\ntick: spinn", '"spinn" is not a duration'),
    ],
)
def test_wrong_schedules(load, says):
    assert says in refused(loaded(load))


def test_a_tick_may_be_none():
    made = parse(GOOD + "tick: spin\n")
    assert made.points()[0].workload.tick_s == 0.0
    assert parse(made.to_yaml()) == made


# --- a recorded load


def replayed(folder, text, timing="{warmup: 0 s, measure: 4 s}"):
    (folder / "orders.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "mine.yaml").write_text(loaded("load: {schedule: replay, file: orders.csv}", timing))
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("time_s", ("1763800000.000000001", "1763800000.5", "1763800002")),
        ("time_ms", ("5.000001", "505", "2005")),
        ("time_us", ("0.001", "500000", "2000000")),
        ("time_ns", ("1", "500000000", "2000000000")),
    ],
)
def test_a_recorded_load_keeps_its_nanoseconds(tmp_path, unit, times):
    path = replayed(tmp_path, f"key,{unit}\n" + "".join(f"k,{time}\n" for time in times))
    recorded = replay_file.read(tmp_path / "orders.csv")
    assert recorded.times.tolist() == [0, 499_999_999, 1_999_999_999]
    assert recorded.keys == ("k", "k", "k")
    assert recorded.sizes is None
    (point,) = scenario.load(path).points()
    assert point.rate_per_s == 0.75


def test_a_run_keeps_the_recorded_load_and_reads_back(tmp_path):
    made = scenario.load(replayed(tmp_path, "time_s,size_b\n" + "".join(f"{i / 100},100\n" for i in range(300))))
    run = tmp_path / "run"
    run.mkdir()
    kept = made.kept(run)
    assert (run / "replay.csv").read_bytes() == (tmp_path / "orders.csv").read_bytes()
    (run / "scenario.yaml").write_text(kept.to_yaml(run))
    assert "file: replay.csv" in kept.to_yaml(run)
    run.rename(tmp_path / "moved")
    again = scenario.load(tmp_path / "moved" / "scenario.yaml")
    assert again.points()[0].rate_per_s == made.points()[0].rate_per_s == 75.0
    assert again.override(rounds=7).rounds == 7
    load = again.points()[0].workload
    assert pacing.planned(load, 0) == 300
    assert pacing.of(load, 0).block(0, 3).tolist() == [0, 10_000_000, 20_000_000]
    assert load.described()["replay"] == "replay.csv"


def test_recorded_sizes_are_sent_where_the_payload_says_so(tmp_path):
    path = replayed(tmp_path, "time_s,size_b\n" + "".join(f"{i / 100},{i % 4 * 50}\n" for i in range(300)))
    assert scenario.load(path).points()[0].workload.bodies is None, "the sizes of a file are not taken unasked"
    path.write_text(path.read_text().replace("{size: 256 B}", "{sizes: {distribution: replay}}"))
    run = tmp_path / "run"
    run.mkdir()
    (point,) = scenario.load(path).kept(run).points()
    bodies = point.workload.bodies
    assert (bodies.smallest_b, bodies.mean_b, bodies.largest_b) == (64, (64 + 64 + 100 + 150) / 4, 150)
    assert point.values()["payload"] == "64 B to 150 B (mean 94 B, replay)"
    made = block_of(point.workload, pool_of(point.workload), Router("round-robin", 1), run=1, trial=1, producer=0, origin=512)
    made.fill(512, None)
    assert made.sizes[:5] == [64, 64, 100, 150, 64]
    two = dataclasses.replace(point.workload, producers=2)
    other = block_of(two, pool_of(two), Router("round-robin", 1), run=1, trial=1, producer=1, origin=0)
    other.fill(0, None)
    assert other.sizes[:3] == [64, 150, 64]
    path.write_text(path.read_text().replace("{sizes:", "{content: compressible, sizes:"))
    with pytest.raises(UsageError, match="recorded sizes go with random bodies only"):
        scenario.load(path)


def test_recorded_keys_are_sent_where_keys_say_so(tmp_path):
    customers = [f"kunde-{i * i % 7}-ä" for i in range(300)]
    path = replayed(tmp_path, "time_s,key\n" + "".join(f"{i / 100},{name}\n" for i, name in enumerate(customers)))
    path.write_text(path.read_text().replace("groups:", "partitions: 8\n  groups:"))
    assert scenario.load(path).points()[0].workload.key_table == "", "the keys of a file are not taken unasked"
    path.write_text(path.read_text() + "keys: {distribution: replay}\n")
    run = tmp_path / "run"
    run.mkdir()
    made = scenario.load(path).kept(run)
    assert parse(made.to_yaml()) == made
    (point,) = made.points()
    assert point.workload.key_count == 4  # squares modulo 7
    two = dataclasses.replace(point.workload, producers=2)
    for load, index, origin in ((point.workload, 0, 512), (two, 0, 0), (two, 1, 1024)):
        mine = [name.encode() for name in customers[index :: load.producers]]
        router = router_of(load, index, origin)
        made_block = block_of(load, pool_of(load), router, run=1, trial=1, producer=index, origin=origin)
        for first in (origin, origin + 512):  # the second block goes on from the first message again
            made_block.fill(first, None)
            expected = [mine[(first - origin + i) % len(mine)] for i in range(made_block.count)]
            assert list(made_block.keys) == expected
            assert made_block.partitions == [(murmur2(key) & 0x7FFFFFFF) % 8 for key in expected]
            sequences = np.arange(first, first + made_block.count)
            assert router.lanes_of(sequences).tolist() == made_block.partitions
    path.write_text(path.read_text().replace("partitions: 8", "partitions: 8\n  routing: round-robin"))
    (point,) = scenario.load(path).kept(run).points()
    in_turn = dataclasses.replace(point.workload, producers=2)  # and about the same keys
    for index in range(2):
        assert router_of(in_turn, index, 40).lanes(40, 9).tolist() == [i % 8 for i in range(40, 49)]
        numbers = keys_of(in_turn, index, 40)(np.arange(40, 70, dtype=np.uint64)).tolist()
        by_key = router_of(two, index, 40).keys(40, 30)
        assert [numbers.index(number) for number in numbers] == [by_key.index(name) for name in by_key]


def test_routing_is_an_axis_whose_points_are_about_the_same_keys():
    made = scenario.parse(GOOD + "keys: {count: 50}\nsweep: {routing: [key, round-robin]}\n", where="here")
    by_key, in_turn = (point.workload for point in made.points())
    assert [point.values()["routing"] for point in made.points()] == ["key", "round-robin"]
    assert (by_key.routing, in_turn.routing, by_key.key_count, in_turn.key_count) == ("key", "round-robin", 50, 50)
    sequences = np.arange(100, 400, dtype=np.uint64)
    numbers = keys_of(by_key, 1, 0)(sequences)
    assert numbers.tolist() == keys_of(in_turn, 1, 0)(sequences).tolist()
    assert router_of(by_key, 1, 0).keys(100, 300) == [b"customer-%06d" % i for i in numbers]
    assert router_of(in_turn, 1, 0).keys(100, 300) is None
    assert scenario.parse(made.to_yaml(), where="again").points() == made.points()
    assert scenario.parse(GOOD, where="here").override(axes={"routing": ["round-robin"]}).points()[0].workload.routing == "round-robin"


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_recorded_key_has_text(tmp_path, key):
    with pytest.raises(UsageError, match=r"orders.csv:3: column key: .* is not a key; write 1 to 255 bytes"):
        scenario.load(replayed(tmp_path, f"time_s,key\n0,a\n1,{key}\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "orders.csv:1: one column of times belongs here, one of time_s, time_ms, time_us, time_ns; found none"),
        ("time_s\n", "orders.csv: no message"),
        ("time\n1\n", 'orders.csv:1: unknown column "time"; did you mean "time_'),
        ("time_s,time_ms\n1,2\n", "orders.csv:1: one column of times belongs here"),
        ("time_s,time_s\n1,2\n", 'orders.csv:1: column "time_s" is named twice'),
        ("time_s,size_b\n1,20\n2\n", "orders.csv:3: 1 values where the first line names 2 columns"),
        ("time_s\n1\n\n2x\n", 'orders.csv:4: column time_s: "2x" is not a time'),
        ("time_s\n-1\n", 'orders.csv:2: column time_s: "-1" is not a time'),
        ("time_s\n2\n1\n", "orders.csv:3: column time_s: earlier than the line before; sort the file by time"),
        ("time_s,size_b\n1,2.5\n", 'orders.csv:2: column size_b: "2.5" is not a size'),
        ("time_s\n1\n1763800000000\n", "orders.csv:3: column time_s: over 2 h after the first message; is time_s the right unit?"),
        (b"time_s\n1\n\xff\n", "orders.csv:3: not a text file in UTF-8"),
        ('time_s\n"1\n', "not CSV"),
    ],
)
def test_wrong_recorded_loads(tmp_path, text, says):
    with pytest.raises(UsageError) as caught:
        scenario.load(replayed(tmp_path, text))
    assert says in str(caught.value)
    assert f"{tmp_path}/mine.yaml:6: load.file: {tmp_path}/orders.csv" in str(caught.value)


def test_a_recorded_load_that_ends_before_the_window_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"its last message is 0\.5 s after the first, before the measurement begins"):
        scenario.load(replayed(tmp_path, "time_s\n1\n1.5\n", "{warmup: 1 s, measure: 4 s}"))
