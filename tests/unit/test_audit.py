"""The accountant against its naive twin, through real journals; and each anomaly planted alone."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from audit_examples import accounts, differences, sizes_of
from audit_schedules import SEGMENT_B, TRIAL, audited, journal
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_audit import Event, Schedule

from bench.audit import ConsumerSource, GroupAudit, Source, audit, verdict
from bench.journal import ANY_LANE, CORRUPT, REDELIVERED, REFUSED, EvidenceMissing, Kind, Writer

SIZES = st.builds(dict, producers=st.integers(1, 3), groups=st.integers(1, 3), members=st.integers(1, 3), lanes=st.integers(1, 4))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), SIZES)
def test_what_was_planted_is_reported_exactly(seed, sizes):
    """Truth, the naive accountant and the real one agree, also by injection."""
    with tempfile.TemporaryDirectory() as folder:
        assert differences(accounts("planted", seed, sizes, Path(folder))) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), SIZES)
def test_any_schedule_is_reported_as_the_naive_accountant_does(seed, sizes):
    with tempfile.TemporaryDirectory() as folder:
        assert differences(accounts("chaos", seed, sizes, Path(folder))) == []


def test_every_anomaly_is_planted_and_a_difference_is_told():
    """The property tests can fail: each count comes up, and one that is wrong by one is named."""
    seen = Counter()
    for seed in range(30):
        with tempfile.TemporaryDirectory() as folder:
            found = accounts("planted", seed, sizes_of(random.Random(seed)), Path(folder))
        for account in found["truth"]:
            seen.update({name: value > 0 for name, value in account.items() if isinstance(value, int)})
    assert [name for name, count in seen.items() if not count] == []
    for name in seen:
        found["truth"][0][name] += 1
        assert any(name in told for told in differences(found))
        found["truth"][0][name] -= 1
    assert differences(found) == []


def by_fours(producers, consumers, groups=1):
    return Schedule(producers, consumers, groups, lambda _, s: s % 4)


N = 3_000
CLEAN = [(0, 0, s % 4, 0, 0, s) for s in range(N)]
SENT = [Event(Kind.ATTEMPT, tuple(CLEAN), TRIAL), Event(Kind.OK, tuple(CLEAN), TRIAL)]


def polls(rows, size=100):
    return [Event(Kind.PROCESSED, tuple(rows[i : i + size]), TRIAL, 0, i) for i in range(0, len(rows), size)]


def account(tmp_path, rows, sent=SENT, extra=()):
    (found,) = audited(tmp_path, by_fours([sent], [(0, [*polls(rows), *extra])]), random.Random(1))
    return GroupAudit(**found)


NOTHING = GroupAudit(
    sent=N, acknowledged=N, processed=N, lost=0, lost_where={"prefix": 0, "middle": 0, "tail": 0},
    dead_lettered=0, expired=0, refused=0, received_only=0, duplicated=0, redelivered=0, duplicate_writes=0, retried=0, cause_unknown=0,
    reordered=0, reordered_max=0, corrupted=0, unexpected=0, unknown=0, recovered=0, failed_delivered=0, late=0,
)  # fmt: skip


def moved(rows, a, b):
    rows = list(rows)
    rows.insert(b, rows.pop(a))
    return rows


def test_what_is_clean_is_reported_so(tmp_path):
    assert account(tmp_path, CLEAN) == NOTHING


@pytest.mark.parametrize(
    ("at", "place"), [(slice(0, 8), "prefix"), (slice(1200, 1208), "middle"), (slice(N - 8, N), "tail")], ids=["prefix", "middle", "tail"]
)
def test_a_loss_is_named_and_placed(tmp_path, at, place):
    rows = list(CLEAN)
    gone = rows[at]
    del rows[at]
    found = account(tmp_path, rows)
    assert found == replace(
        NOTHING, processed=N - 8, lost=8, lost_where=NOTHING.lost_where | {place: 8}, lost_ids=tuple((0, 0, row[5]) for row in gone)
    )
    assert verdict(found, "at-least-once", True).word == "violated"
    assert verdict(found, "at-most-once", True).word == "as promised"


def test_a_lane_of_which_nothing_came_lost_its_prefix(tmp_path):
    found = account(tmp_path, [row for row in CLEAN if row[2] != 2])
    assert (found.lost, found.lost_where) == (N // 4, {"prefix": N // 4, "middle": 0, "tail": 0})


AGAIN = CLEAN[1480:1500]
AGAIN_IDS = tuple((0, 0, row[5]) for row in AGAIN)


@pytest.mark.parametrize(("flag", "cause"), [(0, "cause_unknown"), (REDELIVERED, "redelivered")])
def test_a_duplicate_is_named_and_told_from_a_marked_redelivery(tmp_path, flag, cause):
    rows = list(CLEAN)
    rows[1500:1500] = [(*row[:4], flag, row[5]) for row in AGAIN]
    found = account(tmp_path, rows)
    assert found == replace(NOTHING, duplicated=20, duplicated_ids=AGAIN_IDS, **{cause: 20})
    assert verdict(found, "at-least-once", True).word == "as promised"
    for promise in ("at-most-once", "exactly-once"):
        assert verdict(found, promise, True).word == "violated"


@pytest.mark.parametrize(("positions", "cause"), [(range(500, 520), "redelivered"), (range(N, N + 20), "duplicate_writes")])
def test_one_write_delivered_twice_is_told_from_two_writes(tmp_path, positions, cause):
    first = [Event(Kind.PROCESSED, tuple(AGAIN), TRIAL, 0, 1, tuple(range(500, 520)))]
    again = [Event(Kind.PROCESSED, tuple((*row[:4], REDELIVERED, row[5]) for row in AGAIN), TRIAL, 0, 2, tuple(positions))]
    sent = [Event(Kind.ATTEMPT, tuple(AGAIN), TRIAL), Event(Kind.OK, tuple(AGAIN), TRIAL)]
    (found,) = audited(tmp_path, by_fours([sent], [(0, first + again)]), random.Random(1))
    assert GroupAudit(**found) == replace(
        NOTHING, sent=20, acknowledged=20, processed=20, duplicated=20, duplicated_ids=AGAIN_IDS, **{cause: 20}
    )


def test_what_the_application_sent_again_is_told_from_both(tmp_path):
    again = [Event(Kind.PROCESSED, tuple((*row[:3], 1, *row[4:]) for row in AGAIN), TRIAL, 0, N)]
    assert account(tmp_path, CLEAN, extra=again) == replace(NOTHING, duplicated=20, duplicated_ids=AGAIN_IDS, retried=20)


@pytest.mark.parametrize("apart", [4, 400])
def test_a_message_out_of_order_is_named_with_its_distance(tmp_path, apart):
    found = account(tmp_path, moved(CLEAN, 1000, 1000 + apart))
    assert found == replace(NOTHING, reordered=1, reordered_max=apart, reordered_ids=((0, 0, 1000),))
    assert verdict(found, "at-least-once", True).word == "violated"
    assert verdict(found, "at-least-once", False).word == "as promised"


def test_order_is_judged_within_a_lane_only(tmp_path):
    assert account(tmp_path, moved(CLEAN, 1000, 1003)) == NOTHING  # past 1001 ... 1003, all of other lanes


def test_lanes_may_come_one_after_the_other(tmp_path):
    assert account(tmp_path, sorted(CLEAN, key=lambda row: row[2])) == NOTHING


def test_corruption_is_named_and_its_message_lost(tmp_path):
    extra = [Event(Kind.RECEIVED, ((0, 0, 0, 0, CORRUPT, 0),), TRIAL, 0, N)]
    found = account(tmp_path, CLEAN[:-1], extra=extra)
    expected = replace(
        NOTHING, processed=N - 1, lost=1, lost_where=NOTHING.lost_where | {"tail": 1}, corrupted=1, lost_ids=((0, 0, N - 1),)
    )
    assert found == expected
    assert "corrupted" in " ".join(verdict(found, "none", False).reasons)


def test_a_phantom_is_named(tmp_path):
    found = account(tmp_path, [*CLEAN[:50], (0, 0, 3, 0, 0, 1 << 50), *CLEAN[50:]])
    assert found == replace(NOTHING, unexpected=1)
    assert verdict(found, "none", False).word == "violated"


def test_what_failed_and_is_delivered_is_named(tmp_path):
    sent = [SENT[0], Event(Kind.OK, tuple(CLEAN[1:]), TRIAL), Event(Kind.FAIL, tuple(CLEAN[:1]), TRIAL)]
    found = account(tmp_path, CLEAN, sent)
    assert found == replace(NOTHING, acknowledged=N - 1, failed_delivered=1)
    assert verdict(found, "none", False).word == "violated"


def test_a_retry_that_succeeds_outweighs_a_failure(tmp_path):
    again = tuple((*row[:3], 1, *row[4:]) for row in CLEAN[:10])
    sent = [SENT[0], Event(Kind.OK, tuple(CLEAN[10:]), TRIAL), Event(Kind.FAIL, tuple(CLEAN[:10]), TRIAL)]
    assert account(tmp_path, CLEAN, [*sent, Event(Kind.ATTEMPT, again, TRIAL), Event(Kind.OK, again, TRIAL)]) == NOTHING


def test_what_has_no_outcome_is_unknown_or_recovered_never_lost(tmp_path):
    sent = [SENT[0], Event(Kind.OK, tuple(CLEAN[20:]), TRIAL), Event(Kind.INFO, tuple(CLEAN[:10]), TRIAL)]
    found = account(tmp_path, CLEAN[5:12] + CLEAN[20:], sent)
    ids = tuple((0, 0, s) for s in (*range(5), *range(12, 20)))
    assert found == replace(NOTHING, acknowledged=N - 20, processed=N - 13, unknown=13, recovered=7, unknown_ids=ids)
    assert verdict(found, "exactly-once", True).word == "clean"


def test_another_trials_deliveries_are_late(tmp_path):
    late = [replace(event, trial=TRIAL - 1) for event in polls(CLEAN[:30])]
    assert account(tmp_path, CLEAN, extra=late) == replace(NOTHING, late=30)


def test_received_and_never_processed_is_lost(tmp_path):
    received = [replace(event, kind=Kind.RECEIVED) for event in polls(CLEAN)]
    found = account(tmp_path, CLEAN[:-100], extra=received)
    assert (found.lost, found.lost_where["tail"], found.received_only) == (100, 100, 100)


@pytest.mark.parametrize(("kind", "name"), [(Kind.DEAD, "dead_lettered"), (Kind.EXPIRED, "expired")])
def test_what_the_broker_gave_up_has_a_column_of_its_own_and_is_not_lost(tmp_path, kind, name):
    given_up = [Event(kind, tuple(CLEAN[-100:]), TRIAL, 0, N)]
    assert account(tmp_path, CLEAN[:-100], extra=given_up) == replace(NOTHING, processed=N - 100, **{name: 100})
    (tmp_path / "too").mkdir()
    assert account(tmp_path / "too", CLEAN, extra=given_up) == NOTHING, "processed all the same"


def test_what_a_consumer_refused_is_not_lost_and_is_where_it_was_found(tmp_path):
    refused = [Event(Kind.RECEIVED, tuple((*row[:4], REFUSED, row[5]) for row in CLEAN[-100:]), TRIAL, 0, N)]
    given_up = [Event(Kind.DEAD, tuple(CLEAN[-60:]), TRIAL, 0, N)]
    found = account(tmp_path, CLEAN[:-100], extra=[*refused, *given_up])
    assert found == replace(NOTHING, processed=N - 100, dead_lettered=60, refused=40, received_only=100)


def test_order_is_judged_anew_for_a_member_that_was_restarted(tmp_path):
    """The second life of a member begins again where the first had acknowledged: its first deliveries are in order with one another."""
    first, second = polls(CLEAN[500:1000]), [replace(event, t=event.t + N) for event in polls(CLEAN[:500] + CLEAN[1000:])]
    (found,) = audited(tmp_path, by_fours([SENT], [(0, first), (0, second)]), random.Random(1))
    assert GroupAudit(**found) == NOTHING


def test_messages_of_a_restarted_producer_are_its_own(tmp_path):
    again = [(0, 1, s % 4, 0, 0, s) for s in range(N)]
    sent = [Event(Kind.ATTEMPT, tuple(again), TRIAL), Event(Kind.OK, tuple(again), TRIAL)]
    (found,) = audited(tmp_path, by_fours([SENT, sent], [(0, polls(CLEAN[:-9] + again))]), random.Random(1))
    assert (found["sent"], found["lost"], found["duplicated"], found["reordered"]) == (2 * N, 9, 0, 0)


def test_an_outcome_of_one_group_holds_for_it_alone(tmp_path):
    sent = [SENT[0], Event(Kind.OK, tuple(CLEAN), TRIAL, 0), Event(Kind.FAIL, tuple(CLEAN), TRIAL, 1)]
    found = audited(tmp_path, by_fours([sent], [(0, polls(CLEAN)), (1, [])], 2), random.Random(1))
    assert [one["acknowledged"] for one in found] == [N, 0]
    assert [one["lost"] for one in found] == [0, 0]


def test_first_delivery_is_judged_over_all_members_of_a_group(tmp_path):
    again = [replace(event, t=event.t + N) for event in polls(CLEAN[::-1])]  # a second member, later, backwards: all repeated
    (found,) = audited(tmp_path, by_fours([SENT], [(0, polls(CLEAN)), (0, again)]), random.Random(1))
    assert (found["duplicated"], found["reordered"]) == (N, 0)


def test_without_lane_of_records_of_one_lane_are_judged_exactly(tmp_path):
    for lane in (0, ANY_LANE):
        folder = tmp_path / str(lane)
        folder.mkdir()
        rows = [(*row[:2], lane, *row[3:]) for row in moved(CLEAN, 1000, 1400)]
        journal(folder, "p", SENT, random.Random(1))
        journal(folder, "c", polls(rows), random.Random(1))
        found = audit([Source(folder, "p")], [ConsumerSource(folder, "c")], trial=TRIAL, groups=["g"])["g"]
        assert found == replace(NOTHING, reordered=1, reordered_max=400, reordered_ids=((0, 0, 1000),))


def test_lanes_numbered_otherwise_than_in_the_headers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="journal c0: message 0 of producer 0 came in lane 0, by lane_of it is in 100"):
        audited(tmp_path, Schedule([SENT], [(0, polls(CLEAN[::4]))], 1, lambda _, s: 100 + s % 4), random.Random(1))


def test_only_the_trials_own_part_of_a_journal_is_read(tmp_path):
    writer = Writer(tmp_path, "p", SEGMENT_B)
    for _ in range(100):
        writer.span(Kind.ATTEMPT, trial=TRIAL, producer=0, first=1 << 30, count=5)
    start = writer.position
    writer.span(Kind.ATTEMPT, trial=TRIAL, producer=0, first=0, count=10)
    stop = writer.position
    writer.span(Kind.ATTEMPT, trial=TRIAL, producer=0, first=1 << 31, count=5)
    found = audit([Source(tmp_path, "p", start, stop)], [], trial=TRIAL, groups=["g"])["g"]  # the writer is still open
    writer.close()
    assert (found.sent, found.unknown) == (10, 10)


def test_missing_evidence_is_never_a_clean_account(tmp_path):
    journal(tmp_path, "p", SENT, random.Random(1))
    with pytest.raises(EvidenceMissing, match=r"journal c: there is no .*c\.rec\.0000"):
        audit([Source(tmp_path, "p")], [ConsumerSource(tmp_path, "c")], trial=TRIAL, groups=["g"])
    with pytest.raises(EvidenceMissing, match="1000 records were reported"):
        audit([Source(tmp_path, "p", 0, 1000)], [], trial=TRIAL, groups=["g"])
    with pytest.raises(ValueError, match="group index 1, there are 1 groups"):
        audit([], [ConsumerSource(tmp_path, "c", group=1)], trial=TRIAL, groups=["g"])


def test_a_verdict_needs_a_promise_that_exists():
    assert verdict(NOTHING, "exactly-once", True) == ("clean", ())
    with pytest.raises(ValueError, match="one of none, at-most-once"):
        verdict(NOTHING, "at-least", True)


def test_the_dict_has_the_keys_of_the_results_format():
    text = (Path(__file__).parents[2] / "results" / "README.md").read_text()
    part = text[text.index('"audit": {') : text.index('"verdict": "clean"')]
    named = {key for key in part.replace('"', " ").replace(",", " ").split() if key.isidentifier()} - {"audit", "inventory"}
    assert set(NOTHING.as_dict()) | {"prefix", "middle", "tail"} == named
