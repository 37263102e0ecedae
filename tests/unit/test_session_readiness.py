"""When the way is open: canaries of every producer, assignments disjoint, complete and steady."""

from dataclasses import replace

import pytest

from adapters.capabilities import Assignment
from bench import scenario
from bench.session import _Readiness

SECOND = 1_000_000_000
TEXT = """\
name: ready
systems: [tcp]
topology: {producers: 2, groups: {a: 2, b: 1}, partitions: 4, routing: round-robin}
payload: {size: 64 B}
load: {rate: 100/s}
"""
MEMBERS = [("a", 0), ("a", 1), ("b", 0)]
ALL = [(0, 0), (1, 3)]


def readiness(assignment, **changes):
    workload = replace(scenario.parse(TEXT, where="test").points()[0].workload, **changes)
    return _Readiness(workload, MEMBERS, assignment)


def states(*seen, assigned=(None, None, None)):
    """A state of each member: canaries seen as (producer, lane), partitions newly assigned (None: no such event)."""
    return [
        {"seen": list(pairs), "events": [] if parts is None else [{"kind": "assigned", "partitions": list(parts)}]}
        for pairs, parts in zip(seen, assigned, strict=True)
    ]


def test_streams_need_every_producer_at_every_member():
    ready = readiness(Assignment.STREAMS)
    assert not ready.open(states([], [], []), 0)
    assert not ready.open(states(ALL, [(0, 0)], ALL), 0)
    assert ready.missing() == 'member 1 of group "a" has seen canaries of producers [0] of [0, 1]'
    assert ready.open(states([], [(1, 0)], []), 0), "what was seen before still counts"
    assert ready.missing() == ""


def test_shared_needs_every_producer_in_every_group_whoever_got_it():
    ready = readiness(Assignment.SHARED)
    assert not ready.open(states([(0, 0)], [], ALL), 0)
    assert ready.missing() == 'group "a" has seen canaries of producers [0] of [0, 1]'
    assert ready.open(states([], [(1, 0)], []), 0)


def test_partitions_must_be_disjoint_complete_and_steady():
    ready = readiness(Assignment.PARTITIONS)
    own = ((0, 1), (2, 3), (0, 1, 2, 3))
    assert not ready.open(states(ALL, ALL, ALL), 10 * SECOND), "nobody has said what it owns"
    assert not ready.open(states(ALL, ALL, ALL, assigned=own), 20 * SECOND), "it may change yet"
    assert not ready.open(states([], [], []), 20 * SECOND + SECOND)
    assert ready.open(states([], [], []), 21 * SECOND + 1)


def test_a_change_starts_the_second_anew_and_saying_the_same_again_does_not():
    ready = readiness(Assignment.PARTITIONS)
    own = ((0, 1), (2, 3), (0, 1, 2, 3))
    ready.open(states(ALL, ALL, ALL, assigned=own), 0)
    ready.open(states([], [], [], assigned=own), 900_000_000)
    ready.open(states([], [], [], assigned=((0,), (1, 2, 3), None)), 950_000_000)
    assert not ready.open(states([], [], []), 1_900_000_000)
    assert ready.open(states([], [], []), 1_950_000_001)


@pytest.mark.parametrize(
    "own",
    [
        ((0, 1), (1, 2, 3), (0, 1, 2, 3)),  # two have one
        ((0, 1), (2,), (0, 1, 2, 3)),  # nobody has one
        ((0, 1), (2, 3), (0, 1, 2)),  # the other group has not all
        ((0, 1), (2, 3), ()),
        ((0, 1, 2, 3), (4,), (0, 1, 2, 3)),  # one that there is not
    ],
)
def test_assignments_that_are_not_right(own):
    ready = readiness(Assignment.PARTITIONS)
    ready.open(states(ALL, ALL, ALL, assigned=own), 0)
    assert not ready.open(states(ALL, ALL, ALL), 60 * SECOND)
    assert "partitions" in ready.missing(), "a time-out must say what is wrong"


def test_a_member_without_partitions_has_nothing_to_see():
    ready = readiness(Assignment.PARTITIONS)
    ready.open(states(ALL, [], ALL, assigned=((0, 1, 2, 3), (), (0, 1, 2, 3))), 0)
    assert ready.open(states([], [], []), 2 * SECOND)


def test_canaries_alone_do_not_open_partitions():
    ready = readiness(Assignment.PARTITIONS)
    ready.open(states(ALL, [(0, 0)], ALL, assigned=((0, 1), (2, 3), (0, 1, 2, 3))), 0)
    assert not ready.open(states([], [], []), 5 * SECOND)
    assert ready.missing() == 'member 1 of group "a" has seen canaries of producers [0] of [0, 1]'
