"""Quotas known beforehand: what a scenario asks of a service at its busiest, and which limits that is over."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters import aws_quotas
from adapters.base import Demand, Options
from bench import quotas, scenario

SCENARIO = """
name: busy
systems: [kinesis, sqs]
topology: {{producers: 1, groups: {groups}, partitions: 4, routing: {routing}}}
{keys}
payload: {{size: {size}}}
load: {load}
timing: {{warmup: 500 ms, measure: 2 s, drain: 5 s}}
rounds: 1
"""


def points(load, *, groups="{a: 1, b: 1, c: 1}", size="256 B", keyed=False):
    keys = "keys: {count: 10000, distribution: zipf, exponent: 1.1}" if keyed else ""
    text = SCENARIO.format(load=load, groups=groups, size=size, routing="key" if keyed else "round-robin", keys=keys)
    return scenario.parse(text, where="test").points()


def adapter(system, **options):
    return adapters.load(system)(Options(**options))


def said(system, load, *, options=None, **more):
    return [one.quota for one in quotas.over({system: adapter(system, **(options or {}))}, points(load, **more))]


def test_a_demand_is_that_of_the_busiest_second_and_partition():
    (point,) = points("{schedule: constant, rate: 2 kHz}")
    assert quotas.demand_of(point.workload) == Demand(2000.0, 256.0, 4, 0.25, 3, 100)
    (keyed,) = points("{schedule: constant, rate: 2 kHz}", keyed=True)
    assert 0.25 < quotas.demand_of(keyed.workload).busiest < 0.6, "few customers order often"
    (steps,) = points("{schedule: steps, steps: [{rate: 100/s, for: 1 s}, {rate: 5 kHz, for: 1 s}]}")
    assert quotas.demand_of(steps.workload).rate_per_s == 5000.0
    (bursts,) = points("{schedule: bursts, rate: 1 kHz, burst: 4000}")
    assert quotas.demand_of(bursts.workload).rate_per_s == 4000.0
    (full,) = points("{schedule: max}")
    assert quotas.demand_of(full.workload).rate_per_s is None


@pytest.mark.parametrize(
    ("load", "more", "expected"),
    [
        ("{schedule: constant, rate: 4 kHz}", {}, []),  # exactly what four shards take
        ("{schedule: constant, rate: 4100/s}", {}, ["the busiest of 4 shards would get 1,025 records a second; a shard takes 1,000"]),
        (
            "{schedule: constant, rate: 800/s}",
            {"size": "8 KiB"},
            [
                "the busiest of 4 shards would get 1.6 MB a second; a shard takes 1",
                "3 groups would read 4.9 MB a second of the busiest of 4 shards; a shard gives 2 to all together",
            ],
        ),
        ("{schedule: max}", {}, ["as fast as it goes is at most 4,000 messages a second: a shard takes 1,000 records or 1 MB a second"]),
        (
            "{schedule: constant, rate: 100/s}",
            {"options": {}},
            ["3 groups read a shard 15 times a second; it gives 5 to all together (idleTimeBetweenReadsInMillis=600 keeps to it)"],
        ),
    ],
)
def test_kinesis(load, more, expected):
    seldom = {"settings": {"idleTimeBetweenReadsInMillis": "600"}}  # three groups keep to five reads a second then
    assert said("kinesis", load, **{"options": seldom, **more}) == expected


def test_sqs_fifo_takes_300_calls_and_a_standard_queue_whatever_comes():
    fifo = {"mode": "fifo"}
    assert said("sqs", "{schedule: constant, rate: 3 kHz}", options=fifo) == []
    (words,) = said("sqs", "{schedule: constant, rate: 3001/s}", options=fifo)
    assert words.startswith("a queue would get 3,001 messages a second; a FIFO queue takes 3,000")
    (words,) = adapter("sqs", **fifo).over_quota(Demand(601.0, 300 << 10, 1, 1.0, 1, 100))  # two in a call of 1 MiB, after base64
    assert words.endswith("takes 600 (300 calls a second and action, here of 2 messages)")
    assert said("sqs", "{schedule: constant, rate: 100 kHz}") == []


@given(
    st.builds(
        Demand,
        rate_per_s=st.none() | st.floats(0.1, 1e7),
        message_b=st.floats(64, 1 << 20),
        partitions=st.integers(1, 1000),
        busiest=st.floats(1e-3, 1.0),
        groups=st.integers(1, 20),
        batch=st.integers(1, 10_000),
    ),
    st.integers(0, 60_000),
)
def test_what_is_within_a_quota_stays_so_with_less(demand, idle_ms):
    """And a sentence is one line, with a figure, whatever is asked."""
    found = aws_quotas.kinesis(demand, idle_ms / 1000)
    assert all(re.search(r"\d", words) and "\n" not in words and not words.endswith(".") for words in found)
    if demand.rate_per_s is not None:
        half = replace(demand, rate_per_s=demand.rate_per_s / 2)
        assert len(aws_quotas.kinesis(half, idle_ms / 1000)) <= len(found)


def test_lines_are_one_a_variant_and_point():
    found = [quotas.Over("kinesis", "2,000/s", "one"), quotas.Over("kinesis", "2,000/s", "two"), quotas.Over("sqs", "2,000/s", "one")]
    assert quotas.lines(found) == [
        "kinesis, 2,000/s: over its service's quota: one; two",
        "sqs, 2,000/s: over its service's quota: one",
    ]
