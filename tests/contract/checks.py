"""The contract, one function a promise. Each takes a Case and fails by AssertionError; test_contract.py runs all of them
on every system, test_broken.py on adapters that break a promise on purpose."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import json
import time
from collections.abc import Callable

import pytest
from harness import (
    Case,
    MixedRows,
    Outcomes,
    Reader,
    Rows,
    Stand,
    assert_delivered,
    assert_outcomes,
    id_of,
    length,
    payloads_of,
    topology,
)

from adapters.base import Demand, HasQuotas, HasRequests, Options, Status
from adapters.capabilities import Assignment, Delivery, Persistence, Support
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable, Unsupported

LARGE_BYTES = 256 << 10
REAL_BYTES_MAX = 4 << 20  # above it, a message that is too large is only announced, not made
NOT_BLOCKING_S = 1.0  # what a call that does not wait may take here: the machine is shared
REDELIVERY_S = 45.0  # SQS' visibility time-out is 30 s, where close() cannot give back
COUNTED_S = 10.0  # acknowledgements go in the background, and counts of a broker may lag


def delivers(case: Case) -> None:
    """What was sent arrives, byte by byte, in small, middling and large messages, whatever the bytes are."""
    large = min(LARGE_BYTES, case.adapter_class.capabilities.payload_bytes_max)
    with case.stand(topology(), payload_bytes_max=large) as stand:
        stand.open()
        blocks = [Rows(300, 64), Rows(100, 1024, first=1000), Rows(3, large, first=2000), Rows(7, 64, first=3000)]
        for block in blocks:
            stand.send([block])
        stand.receive(sum(block.count for block in blocks))
        stand.flush()
        assert_delivered(stand, blocks)
        if stand.capabilities.confirms:
            reports = stand.outcomes[0].reports()
            assert all(statuses == [Status.CONFIRMED] for statuses in reports.values())
            assert len(reports) == sum(block.count for block in blocks) * len(stand.targets())
        for part in (*stand.producers, *(reader.consumer for reader in stand.readers)):
            if isinstance(part, HasRequests):
                counted = part.requests()
                assert counted, "messages went through, and no request was counted"
                assert all(count > 0 for count in counted.values())


def delivers_mixed_sizes(case: Case) -> None:
    """Blocks whose messages differ in size, small and large side by side, arrive byte by byte, whatever fits in a call or a frame."""
    large = min(LARGE_BYTES, case.adapter_class.capabilities.payload_bytes_max)
    with case.stand(topology(groups=2), payload_bytes_max=large) as stand:
        stand.open()
        small = [64 + i * i * 7919 % 4000 for i in range(250)]
        blocks = [
            MixedRows([*small, large, *small[:20]]),
            MixedRows([large, 64, large, large, 65, large], first=1000),
            Rows(50, 100, first=2000),
        ]
        for block in blocks:
            stand.send([block], batch=64)
        stand.receive(sum(block.count for block in blocks))
        stand.flush()
        assert_delivered(stand, blocks)


def fans_out(case: Case) -> None:
    """Two producers, two groups: each group gets everything, each producer's messages in order, each outcome once."""
    with case.stand(topology(producers=2, groups=2)) as stand:
        stand.open()
        blocks = [Rows(1100, 100, producer=index) for index in range(2)]
        stand.send(blocks)
        stand.receive(2200)
        stand.flush()
        assert_delivered(stand, blocks)
        assert_outcomes(stand, blocks)


def shares_work(case: Case) -> None:
    """Two members share a group's messages: none twice, none missing, both work. Or wire() says that they cannot."""
    capabilities = case.adapter_class.capabilities
    wanted = topology(members=2, partitions=1 if capabilities.partitions is Support.UNSUPPORTED else 4)
    if capabilities.work_sharing is Support.UNSUPPORTED:
        with pytest.raises(Unsupported, match="member"):
            case.adapter().wire(wanted, "contract-unsupported")
        return
    with case.stand(wanted) as stand:
        stand.open()
        owned = [reader.assignment() for reader in stand.readers]
        if capabilities.assignment is Assignment.PARTITIONS:
            assert all(owned), f"a member without partitions: {owned}"
            assert sorted(p for partitions in owned for p in partitions or ()) == list(range(4))
        block = Rows(400, 64, partitions=wanted.partitions)
        stand.send([block], batch=20, poll=False)  # else whoever polls first could take each send whole
        stand.receive(400)
        stand.flush()
        assert_delivered(stand, [block])
        taken = [reader.messages for reader in stand.readers]
        assert all(taken), f"one member did all the work: {taken}"


def keeps_lanes(case: Case) -> None:
    """With four partitions, by key and in turn: everything arrives, each producer's messages of a partition in order."""
    for keyed in (False, True):
        with case.stand(topology(producers=2, partitions=4)) as stand:
            stand.open()
            blocks = [Rows(200, 64, producer=index, partitions=4, keyed=keyed) for index in range(2)]
            stand.send(blocks, batch=30)
            stand.receive(400)
            stand.flush()
            assert_delivered(stand, blocks)
            assert_outcomes(stand, blocks)


def honours_back_pressure(case: Case) -> None:
    """Sent without anybody receiving: send(0 s) never blocks, and exactly the rows that it accepted arrive."""
    with case.stand(topology(), payload_bytes_max=4096) as stand:
        stand.open()
        block = Rows(4000, 4096)
        producer, target = stand.producers[0], stand.targets()[0]
        accepted, refused = 0, False
        until_s = time.monotonic() + 2.0
        while accepted < block.count and not refused and time.monotonic() < until_s:
            hi = min(block.count, accepted + 250)  # more than room() in the end: send() takes what fits
            before_s = time.monotonic()
            took = producer.send(block, accepted, hi, 0, target)
            assert time.monotonic() - before_s < NOT_BLOCKING_S, "send() with a time-out of 0 blocked"
            refused = took < hi - accepted
            accepted += took
        assert accepted > 0
        stand.receive(accepted)
        stand.flush()
        stand.receive(accepted)
        got = [id_of(payload) for payload in stand.readers[0].payloads()]
        assert sorted(got) == list(range(accepted)), f"{accepted} were accepted, {len(got)} arrived ({len(set(got))} different)"
        rest = Rows(50, 4096, first=accepted)  # it goes on where it stopped
        stand.send([rest])
        stand.receive(accepted + 50)
        assert stand.readers[0].messages == accepted + 50


def redelivers_what_was_not_acknowledged(case: Case) -> None:
    """30 of 60 acknowledged, in the middle of a batch, then close: the next consumer gets the other 30, and only those."""
    capabilities = case.adapter().capabilities
    if not (capabilities.acks and capabilities.stores):
        acknowledging_is_harmless(case)
        return
    with case.stand(topology()) as stand:
        second = _taken_over_in_step(stand) if capabilities.in_step else _taken_over(stand)
        _acknowledge(second, second.messages)
        second.consumer.close()
        third = _replace(stand, second)
        _poll_until(third, 1, 20, timeout_s=1.0)
        assert third.messages == 0, "what was acknowledged came again"


def carries_in_its_mode(case: Case) -> None:
    """The same, cheaply, for each mode: outcomes as it confirms, deliveries as it acknowledges."""
    capabilities = case.adapter().capabilities
    if not (capabilities.acks and capabilities.stores):
        acknowledging_is_harmless(case)
        return
    with case.stand(topology()) as stand:
        block, first = _sixty(stand)
        acknowledged = _work(first, 30)  # as they come: what is in flight may hold up what follows it (SQS FIFO)
        first.consumer.close()
        second = _replace(stand, first)
        others = _work(second, 30)
        _poll_until(second, 30, 20)
        assert second.messages == 30, "a message came twice"
        assert sorted(acknowledged + others) == sorted(block.ids)


def _sixty(stand: Stand) -> tuple[Rows, Reader]:
    """Open the run and send 60 messages; those, and the reader that has polled none of them yet."""
    stand.open()
    block = Rows(60, 64)
    stand.send([block], poll=False)
    stand.flush()
    assert_outcomes(stand, [block])
    return block, stand.readers[0]


def _taken_over(stand: Stand) -> Reader:
    """Acknowledge 30 of 60 messages, close, and return the next consumer, which has got the others."""
    block, first = _sixty(stand)
    _poll_until(first, 60, 20)
    assert first.messages == 60
    acknowledged = set(_acknowledge(first, 30))
    first.consumer.close()
    second = _replace(stand, first)
    wanted = set(block.ids) - acknowledged
    flags = _poll_until(second, len(wanted), 20, timeout_s=REDELIVERY_S)
    got = [id_of(payload) for payload in second.payloads()]
    assert set(got) == wanted, f"acknowledged {sorted(acknowledged)}, then came {sorted(got)}"
    assert len(got) == len(wanted), "a message came twice"
    assert all(flags), "messages that come again are not marked as redelivered"
    return second


def _taken_over_in_step(stand: Stand) -> Reader:
    """Where nothing more comes before what was polled is acknowledged: 30 as they come and one that is not acknowledged, close."""
    block, first = _sixty(stand)
    acknowledged = set(_work(first, 30))
    _poll_until(first, 31, 20)
    assert first.messages == 31, "in_step, and more came than was acknowledged, or nothing more at all"
    first.consumer.close()
    second = _replace(stand, first)
    wanted = set(block.ids) - acknowledged
    got = _work(second, len(wanted))
    assert set(got) == wanted, f"acknowledged {sorted(acknowledged)}, then came {sorted(got)}"
    return second


def acknowledging_is_harmless(case: Case) -> None:
    """Where nothing is acknowledged, ack() says nothing and loses nothing."""
    with case.stand(topology()) as stand:
        stand.open()
        block = Rows(60, 64)
        stand.send([block])
        stand.receive(60)
        assert_delivered(stand, [block])
        stand.flush()
        assert_outcomes(stand, [block])


def tells_its_depth(case: Case) -> None:
    """Where the adapter has depth(): what was sent to nobody is held, for each group; what was acknowledged is not."""
    adapter = case.adapter()
    if not hasattr(adapter, "depth"):
        return
    partitions = 1 if adapter.capabilities.partitions is Support.UNSUPPORTED else 2
    with case.stand(topology(groups=2, partitions=partitions)) as stand:
        depth = stand.adapter.depth  # type: ignore[attr-defined]  # adapters.base.HasDepth
        producer = stand.add_producer()
        deadline_s = time.monotonic() + 30
        while not producer.ready(0.5):
            assert time.monotonic() < deadline_s
        stand.send([Rows(30, 64, partitions=partitions)], poll=False)
        stand.flush()
        assert _becomes(lambda: depth(stand.wiring, "g0"), 30) == 30, "30 messages were sent, and nobody has received one"
        reader = stand.add_reader("g0")
        _poll_until(reader, 30, 20)
        reader.consumer.ack(reader.batches[-1], length(reader.batches[-1]))
        reader.consumer.close()
        stand.readers.remove(reader)
        assert _becomes(lambda: depth(stand.wiring, "g0"), 0) == 0, "all 30 were acknowledged"
        assert depth(stand.wiring, "g1") == 30, "the other group has got none"


def _becomes(asked: Callable[[], int | None], wanted: int) -> int | None:
    """Ask until the answer is what is ``wanted``, COUNTED_S at most; return the last answer."""
    deadline_s = time.monotonic() + COUNTED_S
    while (found := asked()) != wanted and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return found


def ack_never_raises(case: Case) -> None:
    """Twice, half, for an older batch, after close: ack() may fail, as an event, and never raises."""
    with case.stand(topology()) as stand:
        stand.open()
        stand.send([Rows(40, 64)], poll=False)
        reader = stand.readers[0]
        if stand.capabilities.in_step:
            _work(reader, 39)  # the last comes only then
        _poll_until(reader, 40, 10)
        old, new = reader.batches[0], reader.batches[-1]
        for batch, upto in ((new, 1), (new, 1), (old, length(old)), (new, length(new)), (new, length(new))):
            reader.consumer.ack(batch, upto)
        reader.consumer.close()
        reader.consumer.ack(new, length(new))
        reader.consumer.events()


def closes_twice(case: Case) -> None:
    """close() again does nothing; events() may still be asked; pump() after it does not raise."""
    with case.stand(topology()) as stand:
        stand.open()
        for _ in range(2):
            for part in (stand.producers[0], stand.readers[0].consumer):
                part.close()
                part.events()
        stand.producers[0].pump(0)
        stand.adapter.cleanup(stand.wiring)


def returns_from_an_empty_poll(case: Case) -> None:
    """Nothing there: poll() returns within its time-out, give or take, and at once for 0 s."""
    with case.stand(topology()) as stand:
        stand.open()
        for timeout_s in (0.0, 0.2):
            before_s = time.monotonic()
            batch = stand.readers[0].consumer.poll(10, timeout_s)
            took_s = time.monotonic() - before_s
            assert length(batch) == 0
            assert took_s < timeout_s + NOT_BLOCKING_S, f"poll({timeout_s:g} s) took {took_s:.2f} s"


def tells_when_it_is_ready(case: Case) -> None:
    """Consumers and producers say "ready" once; assignments are disjoint and complete; events() hands each out once."""
    with case.stand(topology()) as stand:
        stand.open()
        producer = stand.producers[0]
        told = [event.kind for event in (*stand.producer_events, *producer.events())]
        assert told.count("ready") == 1, f"the producer's events are {told}"
        reader = stand.readers[0]
        kinds = [event.kind for event in reader.events]
        assert kinds.count("ready") == 1, f"the consumer's events are {kinds}"
        if stand.capabilities.assignment is Assignment.PARTITIONS:
            assert reader.assignment() == (0,)
        else:
            assert reader.assignment() is None, "only owned partitions are listed"
        assert not any(event.kind == "ready" for event in reader.consumer.events()), "the consumer said ready twice"
        assert producer.ready(1.0)


def outlives_idling(case: Case) -> None:
    """idle() waits as long as it says, and the connection still carries afterwards."""
    with case.stand(topology()) as stand:
        stand.open()
        before_s = time.monotonic()
        stand.readers[0].consumer.idle(0.1)
        took_s = time.monotonic() - before_s
        assert 0.09 < took_s < 0.1 + NOT_BLOCKING_S, f"idle(0.1) took {took_s:.2f} s"
        block = Rows(20, 64)
        stand.send([block])
        stand.receive(20)
        assert_delivered(stand, [block])


def cleans_up_only_its_own(case: Case) -> None:
    """prepare() again changes nothing; cleanup() of one run, even twice, leaves another run's messages alone."""
    with case.stand(topology()) as stand, case.stand(topology()) as other:
        assert stand.adapter.prepare(stand.wiring) == stand.wiring
        for each in (stand, other):
            each.open()
        block = Rows(30, 64)
        stand.send([block], poll=False)
        stand.flush()
        other.close()
        other.adapter.cleanup(other.wiring)
        stand.adapter.prepare(stand.wiring)
        stand.receive(30)
        assert_delivered(stand, [block])
        assert_outcomes(stand, [block])


def says_when_nobody_answers(case: Case) -> None:
    """No server: Unreachable, in bounded time. No broker at all: the producer is simply never ready."""
    adapter = case.adapter()
    wiring = {**adapter.wire(topology(), "contract-unreachable"), "servers": ["127.0.0.1:9"] if case.broker else []}
    before_s = time.monotonic()
    if case.broker:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9\b"):
            adapter.prepare(wiring)
    else:
        with contextlib.suppress(Unreachable):
            producer = adapter.producer(wiring, 0, Outcomes())
            try:
                assert not producer.ready(0.3), "ready() although no consumer listens"
            finally:
                producer.close()
    assert time.monotonic() - before_s < 30.0


def refuses_unknown_settings(case: Case) -> None:
    """A setting, a profile or a mode that is not known is named in a BadSetting."""
    for options in ({"settings": {"no_such_setting": "1"}}, {"profile": "no_such_profile"}, {"mode": "no_such_mode"}):
        name = next(iter(options.values())) if "settings" not in options else "no_such_setting"
        with pytest.raises(BadSetting, match=str(name)):
            case.adapter_class(Options(**{"profile": case.profile, **options}))


def refuses_what_is_too_large(case: Case) -> None:
    """A message over the limit is Refused or FAILED, never silently dropped; the producer goes on working."""
    limit = case.adapter_class.capabilities.payload_bytes_max
    with case.stand(topology(), payload_bytes_max=min(limit, REAL_BYTES_MAX)) as stand:
        stand.open()
        block = Rows(1, limit + 1) if limit < REAL_BYTES_MAX else Announced(limit + 1)
        producer = stand.producers[0]
        for target in stand.targets():
            try:
                assert producer.send(block, 0, 1, 5.0, target) == 1, "neither taken nor refused"
            except Refused:
                continue
            producer.flush(10.0)
            outcome = stand.outcomes[0].reports().get((0, target))
            assert outcome == [Status.FAILED], f"a message that is too large came to {outcome}"
        good = Rows(5, 64, first=10)
        stand.send([good])
        stand.receive(5)
        assert_delivered(stand, [good])


def settles_one_by_one(case: Case) -> None:
    """ "ack" ends a message, "requeue" brings it again, "reject" does not. Or settle() says Unsupported."""
    with case.stand(topology()) as stand:
        stand.open()
        stand.send([Rows(3, 64)], poll=False)
        stand.flush()
        reader = stand.readers[0]
        _poll_until(reader, 3 if stand.capabilities.settle else 1, 10)
        places = [(batch, index) for batch in reader.batches for index in range(length(batch))]
        ids = [id_of(payload) for payload in reader.payloads()]
        if not stand.capabilities.settle:
            with pytest.raises(Unsupported):
                reader.consumer.settle(*places[0], "requeue")
            return
        for (batch, index), how in zip(places, ("ack", "requeue", "reject"), strict=True):
            reader.consumer.settle(batch, index, how)
        _poll_until(reader, 5, 10, timeout_s=3.0)
        again = [id_of(payload) for payload in reader.payloads()][3:]
        assert again == [ids[1]], f"ack, requeue, reject of {ids} brought {again} again"


def describes_itself(case: Case) -> None:
    """Capabilities are frozen and fit together, in this mode; the settings in force are plain data on both sides."""
    adapter = case.adapter()
    capabilities = adapter.capabilities
    assert case.mode or capabilities == case.adapter_class.capabilities
    with pytest.raises(dataclasses.FrozenInstanceError):
        capabilities.system = "another"  # type: ignore[misc]  # that is the test
    assert adapter.mode.name == (case.mode or capabilities.modes[0].name)
    assert case.mode or adapter.mode == capabilities.modes[0]
    assert capabilities.architecture in {"broker", "broker-less"}
    assert capabilities.payload_bytes_max >= 64
    assert not capabilities.send_per_group or capabilities.fan_out is Support.EMULATED, "copies made by the producer are emulated"
    assert capabilities.architecture == "broker" or not capabilities.intermediary
    kept_by_the_producer = adapter.mode.persistence is Persistence.PROCESSED  # "acknowledged" only when nobody needs it any more
    assert not capabilities.acks or capabilities.stores or kept_by_the_producer, "what is acknowledged must be stored until then"
    assert not (capabilities.settle or capabilities.ack_first) or capabilities.acks
    assert (capabilities.assignment is Assignment.PARTITIONS) <= (capabilities.partitions is not Support.UNSUPPORTED)
    mode = adapter.mode
    assert all((mode.name, mode.ordering, mode.late_subscriber, mode.slow_consumer, mode.source))
    assert capabilities.confirms or mode.persistence is Persistence.CLIENT, "nobody told the producer more than its own library"
    assert (capabilities.acks and not capabilities.ack_first) or mode.delivery in {Delivery.NONE, Delivery.AT_MOST_ONCE}, (
        "nothing is redelivered that was not acknowledged after it was processed"
    )
    if isinstance(adapter, HasQuotas):
        assert not adapter.over_quota(Demand(0.1, 64.0, 1, 1.0, 1, 1)), "ten seconds a message are over no quota"
        told = adapter.over_quota(Demand(1e9, float(capabilities.payload_bytes_max), 4, 0.5, 9, 1))
        assert all(words and "\n" not in words and not words.endswith(".") for words in told)
    effective = adapter.effective()
    assert set(effective) == {"producer", "consumer"}
    assert all(effective[side] for side in effective)
    assert json.loads(json.dumps(effective)) == {side: dict(values) for side, values in effective.items()}


CLOCK_ALLOWED = {"monotonic", "sleep"}  # a deadline and a wait; stamps are the harness's business


def reads_no_clock(case: Case) -> None:
    """Only time.monotonic (for deadlines) and time.sleep: an adapter that stamps messages would measure itself."""
    module = importlib.import_module(case.adapter_class.__module__)  # type: ignore[attr-defined]  # it is a class
    found = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"time", "datetime"}
    }
    assert found <= CLOCK_ALLOWED, f"{module.__name__} uses {sorted(found - CLOCK_ALLOWED)} of time"
    imported = [
        node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom) and node.module == "time"
    ]
    assert not imported, "from time import ... hides what is read"


def is_seen_by_a_witness(case: Case) -> None:
    """An independent look (a second client, an admin view, a plain socket) finds what was sent, whole and nothing else."""
    assert case.witness is not None, f"{case.system} has no witness: add one to tests/contract/witness.py (docs/add-a-system.md)"
    with case.stand(topology()) as stand:
        witness = case.witness(stand.wiring, "g0")
        try:
            producer = stand.add_producer()
            deadline_s = time.monotonic() + 30
            while not producer.ready(0.5):
                assert time.monotonic() < deadline_s
            block = Rows(150, 200)
            stand.send([block], poll=False)
            stand.flush()
            seen = witness.collect(150)
        finally:
            witness.close()
        assert sorted(seen) == sorted(block.messages(0, 150)), (
            f"150 messages were sent; the witness sees {len(seen)} ({len(set(seen))} different)"
        )


CHECKS: tuple[Callable[[Case], None], ...] = (
    delivers,
    delivers_mixed_sizes,
    fans_out,
    shares_work,
    keeps_lanes,
    honours_back_pressure,
    redelivers_what_was_not_acknowledged,
    tells_its_depth,
    ack_never_raises,
    closes_twice,
    returns_from_an_empty_poll,
    tells_when_it_is_ready,
    outlives_idling,
    cleans_up_only_its_own,
    says_when_nobody_answers,
    refuses_unknown_settings,
    refuses_what_is_too_large,
    settles_one_by_one,
    describes_itself,
    reads_no_clock,
    is_seen_by_a_witness,
)
TUNED_CHECKS = (
    delivers,
    delivers_mixed_sizes,
    fans_out,
    keeps_lanes,
    honours_back_pressure,
    redelivers_what_was_not_acknowledged,
    refuses_unknown_settings,
)
MODE_CHECKS = (carries_in_its_mode, describes_itself)  # of each mode but the first, which has them all


class Announced(Rows):
    """One message that says it is ``size`` bytes large and that nobody should ask for."""

    def __init__(self, size: int) -> None:
        super().__init__(1, 64)
        self.size = size

    def messages(self, lo: int, hi: int) -> list[bytes]:
        raise AssertionError(f"a message of {self.size} bytes is over the limit: block.size says so before it is asked for")

    raw = messages  # type: ignore[assignment]  # neither returns


def _poll_until(reader: Reader, count: int, max_messages: int, timeout_s: float = 30.0) -> list[bool]:
    """Poll without acknowledging until ``count`` messages are there, and a little longer; return their redelivered flags."""
    deadline_s = time.monotonic() + timeout_s
    while reader.messages < count and time.monotonic() < deadline_s:
        reader.poll(max_messages, 0.05)
    for _ in range(5):
        reader.poll(max_messages, 0.05)
    return [flag for batch in reader.batches for flag in (batch.redelivered or ())]


def _work(reader: Reader, count: int) -> list[int]:
    """Poll and acknowledge batch by batch, the last one in part, until ``count`` messages are; return their ids."""
    ids: list[int] = []
    at, deadline_s = 0, time.monotonic() + REDELIVERY_S
    while len(ids) < count and time.monotonic() < deadline_s:
        if at == len(reader.batches):
            reader.poll(20, 0.05)
            continue
        batch = reader.batches[at]
        upto = min(length(batch), count - len(ids))
        reader.consumer.ack(batch, upto)
        ids += [id_of(payload) for payload in payloads_of(batch)[:upto]]
        at += 1
    assert len(ids) == count
    return ids


def _acknowledge(reader: Reader, count: int) -> list[int]:
    """Acknowledge the first ``count`` messages, batch by batch, the last one in part; return their ids."""
    ids: list[int] = []
    for batch in reader.batches:
        upto = min(length(batch), count - len(ids))
        if upto == 0:
            break
        reader.consumer.ack(batch, upto)
        ids += [id_of(payload) for payload in payloads_of(batch)[:upto]]
    assert len(ids) == count
    return ids


def _replace(stand: Stand, old: Reader) -> Reader:
    stand.readers.remove(old)
    new = stand.add_reader(old.group, old.member)
    deadline_s = time.monotonic() + 60
    while not stand.settled() and not new.messages:
        assert time.monotonic() < deadline_s, "a consumer that takes over is not ready after 60 s"
        new.poll(20, 0.05)
    return new


def failures(case: Case, checks: tuple[Callable[[Case], None], ...]) -> dict[str, str]:
    """Run checks and return what failed: for adapters that are broken on purpose."""
    found: dict[str, str] = {}
    for check in checks:
        try:
            check(case)
        except (AssertionError, AdapterError) as failure:
            found[check.__name__] = str(failure)
    return found
