"""What the journals say so far: read as they grow, over segments and blobs, by group; of writers that are gone as well."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.faults.tail import Tail
from bench.faults.tally import Tally
from bench.journal import CANARY, CORRUPT, SIZE, Kind, Writer


def test_a_tail_reads_what_came_since(tmp_path):
    tail = Tail(tmp_path, "w")
    assert len(tail.new().rows) == 0  # no journal yet
    with Writer(tmp_path, "w", segment_b=4 * SIZE) as writer:
        for upto in (1, 3, 4, 5, 13, 13, 14):  # over the ends of segments, exactly at one, two segments at once
            while writer.position < upto:
                writer.span(Kind.OK, trial=1, producer=0, first=writer.position, count=1)
            assert tail.position <= upto
            tail.new()
            assert tail.position == upto
    assert len(tail.new().rows) == 0  # the files are cut to what was used


@given(st.integers(0, 20), st.lists(st.integers(1, 9), max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_tail_from_anywhere_gives_each_record_once(tmp_path_factory, start, steps):
    folder = tmp_path_factory.mktemp("t")
    with Writer(folder, "w", segment_b=5 * SIZE) as writer:
        for sequence in range(start):
            writer.span(Kind.OK, trial=1, producer=0, first=sequence, count=1)
        tail = Tail(folder, "w", start)
        seen = []
        for step in steps:
            for _ in range(step):
                writer.span(Kind.OK, trial=1, producer=0, first=writer.position, count=1)
            seen += tail.new().rows["first"].tolist()
        assert seen == list(range(start, writer.position))


def test_a_tail_has_the_blobs_too(tmp_path):
    with Writer(tmp_path, "w") as writer:
        tail = Tail(tmp_path, "w")
        for add in (0, 10_000):
            sequences = np.array([5, 1, 900, 7, 7, 3, 800, 2, 1], np.uint64) + np.uint64(add)
            writer.batch(Kind.PROCESSED, {"sequence": sequences}, trial=1)
            records = tail.new()
            assert records.sequences(0).tolist() == sequences.tolist()


def test_missing_is_what_is_acknowledged_and_not_processed(tmp_path):
    tally = Tally(tmp_path, 1, 2)
    with Writer(tmp_path, "p") as sent, Writer(tmp_path, "a") as first, Writer(tmp_path, "b") as second:
        for name, group in (("a", 0), ("b", 1)):
            tally.follow(name, 0, group)
        tally.follow("p", 0)
        sent.span(Kind.ATTEMPT, trial=1, producer=0, first=0, count=100)
        sent.span(Kind.OK, trial=1, producer=0, first=0, count=80)
        sent.span(Kind.OK, trial=1, producer=0, first=90, count=5, group=1)
        sent.span(Kind.OK, trial=2, producer=0, first=0, count=500)  # of another trial
        first.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=100, group=0)
        first.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=10, group=0)  # again
        second.span(Kind.RECEIVED, trial=1, producer=0, first=0, count=80, group=1)
        second.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=80, stride=2, group=1)
        second.span(Kind.PROCESSED, trial=1, producer=0, first=1, count=9, group=1, flags=CORRUPT)
        second.span(Kind.PROCESSED, trial=1, producer=0, first=1, count=9, group=1, flags=CANARY)
        assert tally.update() == 190
        assert tally.missing() == [0, 40 + 2]  # 1, 3 ... 79, and of 90 to 94 the odd ones
        assert [tally.count(what) for what in ("sent", "acknowledged", "processed")] == [100, 80, 80]
        assert tally.update() == 0
        second.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=100, group=1)
        assert tally.update() == 100
        assert tally.missing() == [0, 0]


def test_a_producer_with_another_epoch_is_another(tmp_path):
    tally = Tally(tmp_path, 1, 1)
    with Writer(tmp_path, "p") as sent, Writer(tmp_path, "c") as got:
        tally.follow("p", 0)
        tally.follow("c", 0, 0)
        sent.span(Kind.OK, trial=1, producer=0, epoch=0, first=0, count=10)
        sent.span(Kind.OK, trial=1, producer=0, epoch=1, first=0, count=10)
        got.span(Kind.PROCESSED, trial=1, producer=0, epoch=1, first=0, count=10, group=0)
        tally.update()
        assert tally.missing() == [10]
