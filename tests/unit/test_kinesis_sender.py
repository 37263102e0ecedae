"""What goes into one PutRecords: everything once, in order, and no more than the service takes."""

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.kinesis_sender import CALL_BYTES, CALL_RECORDS, KEY_CHARACTERS, PAYLOAD_BYTES_MAX, RECORD_BYTES, KinesisProducer


def calls_of(rows):
    waiting = deque(rows)
    calls = []
    while waiting:
        calls.append(KinesisProducer._next_call(waiting))
    return calls


@given(
    st.lists(st.tuples(st.sampled_from([64, 5000, 300_000, PAYLOAD_BYTES_MAX]), st.integers(1, KEY_CHARACTERS)), max_size=60),
    st.sampled_from([1, 40]),
)
def test_calls_hold_every_row_once_in_order_and_keep_to_the_limits(sizes, times):
    shared = {size: bytes(size) for size, _ in sizes}
    rows = [(i, shared[size], 0, "k" * key) for i, (size, key) in enumerate(sizes * times)]
    calls = calls_of(rows)
    assert [row for call in calls for row in call] == rows
    for call in calls:
        assert 0 < len(call) <= CALL_RECORDS
        assert sum(len(payload) + len(key.encode()) for _, payload, _, key in call) <= CALL_BYTES
    for call, following in pairwise(calls):  # none is cut short for nothing
        first = following[0]
        held = sum(len(payload) + 4 * len(key) for _, payload, _, key in (*call, first))
        assert len(call) == CALL_RECORDS or held > CALL_BYTES


def test_the_largest_message_fits_a_record_with_any_key():
    assert PAYLOAD_BYTES_MAX + len(("\U0001f600" * KEY_CHARACTERS).encode()) == RECORD_BYTES
