"""Faults in a scenario: read, refused with line and field, written back, handed to endpoints and runner."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import scenario
from bench.errors import UsageError
from bench.faults import model
from bench.faults.model import Fault, Target, target_of
from bench.report.text import point_name
from bench.workload import Workload

SHOP = """\
name: shop
systems: [zeromq, kafka]
topology: {producers: 2, groups: {inventory: 2, payment: 1}}
payload: {size: 256 B}
load: {rate: 200/s}
timing: {warmup: 1 s, measure: 9 s}
processing: {inventory: 2 ms}
faults:
  - {fault: kill, target: consumer.inventory.1, at: 2 s, for: 500 ms}
  - {fault: kill, target: server.1, after: "1,000 acknowledged", for: 1 s, times: 3, every: 2 s}
  - {fault: pause, target: producer.1, at: 9 s}
  - {fault: network, target: kafka.1, toxic: latency, latency: 50 ms, jitter: 5 ms, direction: up, at: 2 s, for: 3 s}
  - {fault: slow, target: consumer.payment, processing: 20 ms, at: 0 s, for: 10 s}
"""


def parse(text):
    return scenario.parse(text, where="shop.yaml")


def test_faults_are_read_in_si_units():
    load = parse(SHOP).points()[0].workload
    assert load.processing_s == (0.002, 0.0)
    kill, server, pause, network, slow = load.faults
    assert kill == Fault("kill", "consumer.inventory.1", at_s=2.0, for_s=0.5)
    assert server == Fault("kill", "server.1", after=(1000, "acknowledged"), for_s=1.0, times=3, every_s=2.0)
    assert (pause.for_s, pause.at_s, pause.last_s) == (None, 9.0, 9.0)
    assert (network.toxic, network.direction, dict(network.attributes)) == ("latency", "up", {"latency": 0.05, "jitter": 0.005})
    assert (slow.processing_s, slow.last_s) == (0.02, 10.0)
    assert network.label == "network (latency) kafka.1"


def test_a_scenario_with_faults_reads_back_and_reaches_the_endpoints():
    made = parse(SHOP)
    assert parse(made.to_yaml()) == made
    assert parse(made.override(rounds=2).to_yaml()).faults == made.faults
    load = made.points()[0].workload
    assert Workload.from_json(json.loads(json.dumps(load.to_json()))) == load
    assert load.described()["processing_s"] == {"inventory": 0.002, "payment": 0.0}
    assert [fault["target"] for fault in load.described()["faults"]] == [fault.target for fault in load.faults]


def test_without_them_a_workload_says_nothing_of_them():
    head = SHOP.partition("processing")[0]
    plain = parse(head).points()[0].workload
    assert (plain.processing_s, plain.faults) == ((), ())
    assert not {"processing_s", "faults"} & set(plain.described())
    assert "faults" not in parse(head).to_yaml()
    assert parse(head + "processing: 3 ms\n").points()[0].workload.processing_s == (0.003, 0.003)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("fault: kill, target: consumer.inventory.1", "fault: kil, target: consumer.inventory.1", 9, 'did you mean "kill"?'),
        ("consumer.inventory.1", "consumer.inventory.2", 9, 'faults.0.target: group "inventory" has members 0 to 1'),
        ("consumer.payment,", "consumer.pament,", 13, 'faults.4.target: there is no group "pament"; did you mean "payment"?'),
        ("producer.1", "producer.2", 11, "faults.2.target: there are producers 0 to 1"),
        ("producer.1", "producer.one", 11, "faults.2.target:.* such as producer.0"),
        ("server.1", "server.0", 10, "faults.1.target:.* such as server.1"),
        ("fault: slow, target: consumer.payment", "fault: slow, target: producer.0", 13, "slow is for consumer, not for producer.0"),
        (", for: 500 ms", ", for: 9 s", 9, "faults.0.at: the last of it is over at 11 s, and the load ends at 10 s"),
        ("at: 9 s}", "at: 10 s}", 11, "faults.2.at: it begins at 10 s, and the load ends at 10 s"),
        (", every: 2 s", "", 10, "faults.1.times: .*for: 500 ms, every: 2 s"),
        (", every: 2 s", ", every: 1 s", 10, "faults.1.every: the next would begin before the last is over"),
        ("times: 3, ", "", 10, "faults.1.every: belongs to times"),
        ("1,000 acknowledged", "1,000 acked", 10, "faults.1.after: .*acknowledged, processed, sent"),
        ("1,000 acknowledged", "0 acknowledged", 10, "faults.1.after: at least 1 message"),
        ('after: "1,000 acknowledged", ', "", 10, 'faults.1: one of "at: 2 s" and'),
        ("toxic: latency,", "toxic: latenc,", 12, 'did you mean "latency"?'),
        ("toxic: latency, ", "", 12, "faults.3.toxic: network needs a toxic; known: latency, bandwidth"),
        ("toxic: latency, latency: 50 ms", "toxic: latency", 12, "faults.3.latency: toxic: latency needs it"),
        ("jitter: 5 ms", "rate: 100 kB", 12, "faults.3.rate: toxic: latency takes latency, jitter"),
        ("fault: network", "fault: pause", 12, "faults.3.toxic: belongs to fault: network"),
        ("fault: slow", "fault: away", 13, "faults.4.processing: belongs to fault: slow"),
        ("processing: 20 ms, at", "at", 13, "faults.4.processing: slow needs the new time"),
        ("{inventory: 2 ms}", "{inventry: 2 ms}", 7, 'processing.inventry: there is no group "inventry"; did you mean "inventory"?'),
        ("{inventory: 2 ms}", "2", 7, "processing: 2 has no unit"),
        ("{inventory: 2 ms}", "2 min", 7, "processing: 2 min: at most 1 min"),
    ],
)
def test_what_is_wrong_is_told_with_line_field_and_what_is_right(old, new, line, said):
    assert old in SHOP
    with pytest.raises(UsageError) as caught:
        parse(SHOP.replace(old, new, 1))
    assert re.search(rf"^shop\.yaml:{line}: .*{said}", str(caught.value), re.MULTILINE), str(caught.value)


def test_every_kind_of_toxic_takes_what_toxiproxy_gives_it():
    for toxic, takes in model.TOXICS.items():
        attributes = tuple((name, 1.0) for name in takes)
        fault = Fault("network", "server.1", at_s=0.0, toxic=toxic, attributes=attributes)
        assert not model.problems(fault, groups={"a": 1}, producers=1, load_s=1.0)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("server.2", Target("server", 2)),
        ("rabbitmq.1", Target("server", name="rabbitmq.1")),
        ("server.leader", Target("server", name=model.LEADER)),
        ("producer.0", Target("producer", 0)),
        ("consumer.a-b.3", Target("consumer", 3, "a-b")),
        ("consumer.a-b", Target("consumer", None, "a-b")),
        ("peer.1", Target("peer", 1)),
        ("links", Target("links")),
    ],
)
def test_targets(text, target):
    assert target_of(text) == target


@given(st.text(alphabet="serverconumpk.-019", max_size=20))
def test_a_target_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        assert target_of(text).part in ("server", "producer", "consumer", "peer")


def test_a_scenario_is_scaled_with_its_faults():
    text = TIMED.format(faults="[{fault: away, target: consumer.a, at: 4 s, for: 2 s, times: 2, every: 3 s}]")
    short = scenario.parse(text, where="here").override(scale=0.1)
    (fault,) = short.faults
    assert (short.timing.warmup, short.timing.measure, short.timing.drain) == (0.1, 0.9, 5.0)
    assert (fault.at, fault.for_, fault.every, fault.times) == (0.4, 0.2, 0.3, 2)
    assert scenario.parse(text, where="here").override(scale=2.0, measure="30 s").timing.measure == 30.0
    plain = TIMED.format(faults="[]")
    assert scenario.parse(plain, where="here").override(scale=0.5).timing.measure == 4.5
    with pytest.raises(UsageError, match=r"--scale 0: a number from 0\.001 to 100"):
        scenario.parse(text, where="here").override(scale=0.0)


TIMED = """
name: timed
topology: {{groups: {{a: 1}}}}
payload: {{size: 64 B}}
load: {{rate: 10/s}}
timing: {{warmup: 1 s, measure: 9 s, drain: 5 s}}
faults: {faults}
"""


def test_distance_is_an_axis_that_needs_connections_of_its_own():
    text = TIMED.format(faults="[]") + "sweep: {distance: [0 s, 200 us, 5 ms], rate: [10/s, 20/s]}\n"
    points = scenario.parse(text.replace("load: {rate: 10/s}\n", ""), where="here").points()
    assert [point.workload.distance_s for point in points[::2]] == [0.0, 0.0002, 0.005]
    assert len({point.workload.wiring_key for point in points}) == 3
    assert points[2].values() == {"rate_per_s": 10.0, "size_b": 64, "distance_s": 0.0002}
    assert [point.label for point in points[::2]] == ["10/s, 64 B, 0 s away", "10/s, 64 B, 200 us away", "10/s, 64 B, 5 ms away"]
    assert [point_name(point.values()) for point in points[1::2]] == [
        "20.0/s, 64 B, through the proxy, at no distance", "20.0/s, 64 B, 200 µs away", "20.0/s, 64 B, 5.00 ms away",
    ]  # fmt: skip
    assert Workload.from_json(json.loads(json.dumps(points[2].workload.to_json()))) == points[2].workload
    assert scenario.parse(TIMED.format(faults="[]"), where="here").points()[0].workload.distance_s is None
