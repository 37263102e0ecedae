"""Replies of Redis become outcomes: each message one, whatever came back in whatever order. Pure parts of the adapters."""

import redis
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Status
from adapters.redis_raw import Receivers
from adapters.redis_streams import _Producer, position

REPLIES = st.lists(st.sampled_from([b"1-0", redis.ResponseError("OOM")]), min_size=1, max_size=60)


class Seen:
    """Outcomes by id; each once, in runs that are as long as they can be."""

    def __init__(self):
        self.of = {}
        self.runs = []

    def run(self, first_id, count, status, group=-1, step=1):
        assert count > 0
        self.runs.append((first_id, status))
        for ident in range(first_id, first_id + count):
            assert ident not in self.of
            self.of[ident] = status


def streams(seen):
    """A producer of Redis Streams without a connection: reporting needs none."""
    producer = _Producer.__new__(_Producer)
    producer._outcomes, producer._refused = seen, {}
    return producer


@given(REPLIES, st.integers(0, 1 << 40))
def test_an_entry_that_was_refused_is_failed_and_all_others_are_confirmed(replies, first):
    seen = Seen()
    producer = streams(seen)
    producer._report(first, replies)
    wanted = [Status.FAILED if isinstance(reply, Exception) else Status.CONFIRMED for reply in replies]
    assert [seen.of[first + i] for i in range(len(replies))] == wanted
    assert len(seen.of) == len(replies)
    assert sum(producer._refused.values()) == wanted.count(Status.FAILED)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 4))
def test_receivers_decide_by_their_number(replies, groups):
    seen = Seen()
    Receivers(groups, seen).report(7, replies)
    wanted = [Status.CONFIRMED if n >= groups else Status.INDETERMINATE if n else Status.FAILED for n in replies]
    assert [seen.of[7 + i] for i in range(len(replies))] == wanted
    assert all(one[1] is not other[1] for one, other in zip(seen.runs, seen.runs[1:], strict=False))


@given(st.tuples(st.integers(0, 1 << 42), st.integers(0, (1 << 20) - 1)), st.tuples(st.integers(0, 1 << 42), st.integers(0, (1 << 20) - 1)))
def test_positions_are_in_the_order_of_ids(one, other):
    assert (position(b"%d-%d" % one) < position(b"%d-%d" % other)) == (one < other)
