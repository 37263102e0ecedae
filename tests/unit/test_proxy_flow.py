"""What toxics do to bytes, on a clock of the test's own."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.faults.model import TOXICS
from bench.faults.proxy.flow import CHUNK_B, DELAYED_B, END, Flow
from bench.faults.proxy.toxics import Toxic

MS = 1_000_000


def toxic(kind, **attributes):
    return Toxic(kind, "both", attributes)


def passed(flow, until_ns, now=0):
    """(time, bytes) of all that goes on from now to a time, to a receiver that takes everything at once."""
    found = []
    while True:
        while (piece := flow.due(now)) is not None:
            found.append((now, piece))
            flow.sent(len(piece))
        after = flow.next_ns()
        if after is None or after > until_ns or after <= now:
            return found
        now = after


def made(*toxics, at=0):
    flow = Flow(Random(1))
    for each in toxics:
        flow.add(each, at)
    return flow


def test_without_a_toxic_bytes_go_straight_on():
    flow = made()
    assert (flow.idle, flow.room(), flow.next_ns(), flow.due(5)) == (True, CHUNK_B, None, None)
    flow.put(b"rest", 5)  # what a full socket has not taken
    assert (flow.idle, flow.room()) == (False, 0)
    assert flow.due(5) == b"rest"
    flow.sent(1)
    assert flow.due(5) == b"est"
    flow.sent(3)
    assert (flow.idle, flow.room(), flow.held_b) == (True, CHUNK_B, 0)


def test_latency_delays_each_piece_and_the_end():
    flow = made(toxic("latency", latency=0.05))
    flow.put(b"one", 0)
    flow.put(b"two", 7 * MS)
    flow.end(9 * MS)
    assert passed(flow, 1000 * MS) == [(50 * MS, b"one"), (57 * MS, b"two"), (59 * MS, END)]


def test_jitter_spreads_and_never_swaps():
    flow = made(toxic("latency", latency=0.05, jitter=0.02))
    for i in range(200):
        flow.put(bytes([i]), i * MS)
    times = passed(flow, 10_000 * MS)
    assert b"".join(piece for _, piece in times) == bytes(range(200))
    delays = [when - i * MS for i, (when, _) in enumerate(times)]
    assert 30 * MS <= min(delays) < 45 * MS
    assert 55 * MS < max(delays) <= 70 * MS
    assert times == sorted(times, key=lambda each: each[0])


def test_chance_is_that_of_the_seed():
    runs = []
    for seed in (3, 3, 4):
        flow = Flow(Random(seed))
        flow.add(toxic("latency", latency=0.05, jitter=0.02), 0)
        for _ in range(20):
            flow.put(b"x", 0)
        runs.append(passed(flow, 1000 * MS))
    assert runs[0] == runs[1] != runs[2]


def test_bandwidth_lets_so_many_bytes_through_a_second():
    flow = made(toxic("bandwidth", rate=100_000))
    flow.put(b"x" * 10_000, 0)
    got = passed(flow, 10_000 * MS)
    assert sum(len(piece) for _, piece in got) == 10_000
    assert got[-1][0] == pytest.approx(100 * MS, abs=MS)
    half = sum(len(piece) for when, piece in got if when <= 50 * MS)
    assert 4_000 <= half <= 5_000


def test_bandwidth_holds_little_so_that_it_does_not_become_a_delay():
    flow = made(toxic("bandwidth", rate=100_000))
    now = total = 0
    while now < 1000 * MS:
        total += flow.room()
        flow.put(b"x" * flow.room(), now)
        assert flow.held_b <= 10_000
        now += MS
        while (piece := flow.due(now)) is not None:
            flow.sent(len(piece))
    assert 100_000 <= total <= 111_000


def test_the_slicer_cuts_and_spaces():
    flow = made(toxic("slicer", average_size=10, size_variation=3, delay=0.001))
    flow.put(bytes(range(100)), 0)
    got = passed(flow, 1000 * MS)
    assert b"".join(piece for _, piece in got) == bytes(range(100))
    assert all(7 <= len(piece) <= 13 for _, piece in got[:-1])
    assert [when for when, _ in got] == [i * MS for i in range(len(got))]


def test_slow_close_delays_the_end_alone():
    flow = made(toxic("slow_close", delay=0.5))
    flow.put(b"one", 0)
    flow.end(MS)
    assert passed(flow, 10_000 * MS) == [(0, b"one"), (501 * MS, END)]


def test_a_black_hole_holds_everything_and_gives_it_back_in_order():
    flow = made(toxic("latency", latency=0.05))
    flow.put(b"one", 0)
    flow.add(toxic("timeout"), 10 * MS)
    assert (flow.room(), flow.due(1000 * MS), flow.next_ns(), flow.cut(10**12)) == (0, None, None, None)
    flow.clear(2000 * MS)
    assert flow.due(2000 * MS) == b"one"
    flow.sent(3)
    flow.put(b"two", 2001 * MS)
    assert (flow.due(2001 * MS), flow.held_b) == (b"two", 3)


def test_a_timeout_closes_after_its_time_and_a_reset_resets():
    closing, resetting = made(toxic("timeout", timeout=0.1), at=MS), made(toxic("reset_peer"), at=MS)
    assert (closing.next_ns(), closing.cut(100 * MS), closing.cut(101 * MS)) == (101 * MS, None, "close")
    assert (resetting.next_ns(), resetting.cut(MS)) == (MS, "reset")
    closing.clear(50 * MS)
    assert (closing.cut(200 * MS), closing.idle) == (None, True)


def test_limit_data_lets_so_many_bytes_through_then_closes():
    flow = made(toxic("limit_data", bytes=5))
    flow.put(b"abc", 0)
    assert passed(flow, 0) == [(0, b"abc")]
    flow.put(b"defgh", 1)
    assert (flow.room(), flow.cut(1)) == (0, None)  # what it let in goes first
    assert flow.due(1) == b"de"
    flow.sent(2)
    assert flow.cut(1) == "close"
    flow.clear(2)
    assert flow.cut(2) == "close"  # bytes are missing: it cannot go on
    assert made(toxic("limit_data", bytes=0)).cut(0) == "close"


def test_clearing_latency_lets_what_is_held_go_first():
    flow = made(toxic("latency", latency=1.0))
    flow.put(b"one", 0)
    flow.clear(MS)
    flow.put(b"two", 2 * MS)
    assert passed(flow, 5 * MS, now=2 * MS) == [(2 * MS, b"one"), (2 * MS, b"two")]
    assert flow.idle


ACTS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300),
        st.sampled_from(
            [
                toxic("latency", latency=0.02, jitter=0.02),
                toxic("bandwidth", rate=5_000),
                toxic("slicer", average_size=7, size_variation=5, delay=0.0005),
                toxic("timeout"),
                toxic("slow_close", delay=0.01),
                None,
            ]
        ),
        st.integers(0, 40 * MS),
    ),
    max_size=40,
)


@given(ACTS, st.integers(0, 5))
def test_what_only_delays_loses_repeats_and_swaps_nothing(acts, seed):
    flow, now, wanted, got = Flow(Random(seed)), 0, b"", b""
    for act in acts:
        if isinstance(act, int):
            now += act
        elif isinstance(act, bytes):
            data = act[: flow.room()]
            if data:
                flow.put(data, now)
                wanted += data
        elif act is None:
            flow.clear(now)
        else:
            flow.add(act, now)
        while (piece := flow.due(now)) is not None:
            took = min(len(piece), 11)  # a receiver that takes little at a time
            got += piece[:took]
            flow.sent(took)
        assert flow.held_b == len(wanted) - len(got) <= DELAYED_B
        assert wanted.startswith(got)
    flow.end(now)
    flow.clear(now)
    assert (b"".join(piece for _, piece in passed(flow, now, now)), flow.held_b) == (wanted[len(got) :], 0)


@pytest.mark.parametrize("kind", [kind for kind in TOXICS if kind != "down"])
def test_every_toxic_does_something(kind):
    flow = made(Toxic(kind, "both", dict.fromkeys(TOXICS[kind], 1.0)))
    flow.put(b"x" * 10, 0)
    flow.end(0)
    everything = passed(flow, 0) == [(0, b"x" * 10), (0, END)]
    assert not everything or flow.cut(0)


def test_a_toxic_that_is_none_says_so():
    with pytest.raises(UsageError, match="there is no toxic 'latence'; there are: latency, bandwidth"):
        Toxic("latence")
    with pytest.raises(UsageError, match="toxic latency needs latency"):
        Toxic("latency")
    with pytest.raises(UsageError, match="toxic timeout has no attribute 'rate'; it has: timeout"):
        toxic("timeout", rate=1)
    with pytest.raises(UsageError, match="rate of toxic bandwidth cannot be 0"):
        toxic("bandwidth", rate=0)
    with pytest.raises(UsageError, match="toxic down takes the whole link"):
        Toxic("down", "up")
    with pytest.raises(UsageError, match="toxic timeout has no direction 'left'"):
        Toxic("timeout", "left")
    one = toxic("latency", latency=0.05)
    assert Toxic.from_json(one.to_json()) == one
    assert one.attributes == {"latency": 0.05, "jitter": 0.0}
