"""ZeroMQ's other modes: what is dropped, who comes back, what is sent again. tests/contract has what all systems share."""

import time

import pytest
import zmq
from adapter_parts import TestBlock, id_of

from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.ports import free_ports
from adapters.zeromq import ZeroMq
from bench.servers import recipe_name, start
from bench.servers.base import Request

LONG = 60.0  # seconds that a machine which is busy may take
ONE = Topology(1, (Group("inventory"),))
TWO_GROUPS = Topology(1, (Group("inventory"), Group("payment")))
TWO_MEMBERS = Topology(1, (Group("inventory", 2),))


class Outcomes:
    """Outcomes by (id, group): each once."""

    def __init__(self):
        self.of = {}

    def run(self, first_id, count, status, group=-1, step=1):
        for ident in range(first_id, first_id + count * step, step):
            assert (ident, group) not in self.of, f"{ident} has two outcomes"
            self.of[ident, group] = status


class Stand:
    """One wired run of a mode; closes what it opened."""

    def __init__(self, mode, topology=ONE, servers=(), **settings):
        self.adapter = ZeroMq(Options(mode=mode, settings={name: str(value) for name, value in settings.items()}))
        self.wiring = {**self.adapter.wire(topology, "run-1"), "servers": list(servers)}
        self.outcomes = Outcomes()
        self.parts = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for part in self.parts:
            part.close()

    def producer(self):
        self.parts.append(self.adapter.producer(self.wiring, 0, self.outcomes))
        return self.parts[-1]

    def consumer(self, member=0, group="inventory"):
        self.parts.append(self.adapter.consumer(self.wiring, group, member))
        return self.parts[-1]


def until(condition, *turns):
    """Turn until something holds."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "did not happen"
        for turn in turns:
            turn()


def seen(part, *kinds):
    """A condition: events of these kinds have come, in this order."""
    left = list(kinds)

    def condition():
        for event in part.events():
            if left and event.kind == left[0]:
                left.pop(0)
        return not left

    return condition


class Reader:
    """Polls one consumer; acknowledges only where it is told to."""

    def __init__(self, consumer):
        self.consumer = consumer
        self.batches = []

    def __call__(self, most=100):
        batch = self.consumer.poll(most, 0.005)
        if batch is not None:
            assert batch.count <= most
            self.batches.append(batch)
        return batch

    @property
    def ids(self):
        return [id_of(payload) for batch in self.batches for payload in batch.payloads]

    @property
    def flagged(self):
        return [
            id_of(payload)
            for batch in self.batches
            for payload, again in zip(batch.payloads, batch.redelivered or [False] * batch.count, strict=True)
            if again
        ]

    def ack(self):
        if self.batches:
            self.consumer.ack(self.batches[-1], self.batches[-1].count)


def pump(producer):
    return lambda: producer.pump(0.005)


# ---- pub-sub


def test_members_cannot_share_a_subscription():
    for mode in ("pub-sub", "proxy"):
        with pytest.raises(Unsupported, match="2 members of group 'inventory' cannot share"):
            ZeroMq(Options(mode=mode)).wire(TWO_MEMBERS, "run-1")


def test_a_publisher_drops_what_a_slow_subscriber_has_no_room_for():
    with Stand("pub-sub", sndhwm=5, rcvhwm=5, sndbuf=8192, rcvbuf=8192) as stand:
        producer, reader = stand.producer(), Reader(stand.consumer())
        assert producer.ready(LONG)
        block = TestBlock(0, [0] * 4000, size=16384)  # 64 MB: more than all buffers on the way
        assert producer.send(block, 0, 4000, 0.0) == 4000
        reader()
        until(lambda: reader(1000) is None)
        assert 0 < len(reader.ids) < 4000
        assert reader.ids == sorted(set(reader.ids))


def test_with_nodrop_a_publisher_takes_only_what_there_is_room_for():
    with Stand("pub-sub", sndhwm=5, rcvhwm=5, sndbuf=8192, rcvbuf=8192, xpub_nodrop=1) as stand:
        producer, reader = stand.producer(), Reader(stand.consumer())
        assert producer.ready(LONG)
        block = TestBlock(0, [0] * 4000, size=16384)
        accepted = producer.send(block, 0, 4000, 0.0)
        assert accepted < 4000
        accepted += producer.send(block, accepted, 4000, 0.01)
        until(lambda: len(reader.ids) >= accepted, reader)
        assert reader.ids == list(range(accepted))


def test_what_is_published_before_a_subscription_is_missed():
    with Stand("pub-sub") as stand:
        producer = stand.producer()
        assert not producer.ready(0.0)
        assert producer.send(TestBlock(0, [0] * 10), 0, 10, 0.0) == 10
        reader = Reader(stand.consumer())
        assert producer.ready(LONG)
        producer.send(TestBlock(10, [0] * 10), 0, 10, 0.0)
        until(lambda: len(reader.ids) >= 10, reader)
        assert reader.ids == list(range(10, 20))


def test_both_sides_of_pub_sub_tell_when_the_other_goes_and_comes_back():
    with Stand("pub-sub", TWO_GROUPS) as stand:
        first, gone = stand.producer(), stand.consumer(group="payment")
        staying = Reader(stand.consumer())
        until(seen(first, "ready"), lambda: first.ready(0.05))
        until(seen(staying.consumer, "ready", "assigned"), staying)
        gone.close()
        until(seen(first, "closed"), pump(first))
        assert not first.ready(0.0)
        other = Reader(stand.consumer(group="payment"))
        until(seen(first, "reconnected"), pump(first))
        first.close()
        until(seen(staying.consumer, "closed"), staying)
        second = stand.producer()
        until(lambda: second.ready(0.01), staying, other)  # a subscriber that does not poll does not subscribe again
        until(seen(staying.consumer, "reconnected"), staying)
        second.send(TestBlock(7, [0]), 0, 1, 0.0)
        until(lambda: staying.ids == [7], staying)


def test_a_publisher_whose_port_is_taken_is_refused():
    with Stand("pub-sub") as stand:
        stand.producer()
        with pytest.raises(Refused, match="in use"):
            stand.producer()


# ---- proxy


@pytest.fixture
def proxy(session_guard, tmp_path):
    assert recipe_name("zeromq", "proxy") == "zeromq_proxy"
    assert recipe_name("zeromq", "") == "zeromq"
    server = start("zeromq_proxy", Request("auto", tmp_path, session_guard.run_id, session_guard))
    yield server
    server.stop()


def test_a_proxy_passes_on_to_every_group_also_after_it_was_killed(proxy):
    assert (proxy.kind, proxy.product.name, proxy.dead()) == ("embedded", "zmq.proxy", None)
    with Stand("proxy", TWO_GROUPS, proxy.bootstrap) as stand:
        stand.adapter.prepare(stand.wiring)
        producer = stand.producer()
        readers = [Reader(stand.consumer(group=group)) for group in ("inventory", "payment")]
        until(seen(producer, "ready"), lambda: producer.ready(0.05))
        _until_both_get(producer, readers, 0)
        name = proxy.nodes[0].name
        proxy.kill(name)
        until(seen(producer, "closed"), pump(producer))
        assert producer.send(TestBlock(500, [0] * 10), 0, 10, 0.0) == 10  # libzmq takes them; what becomes of them nobody says
        proxy.restart(name)
        until(seen(producer, "reconnected"), pump(producer), *readers)
        _until_both_get(producer, readers, 1000)
        for reader in readers:
            assert seen(reader.consumer, "ready", "closed", "reconnected")()


def _until_both_get(producer, readers, first):
    """Send one after another: a subscription of one group may come after the other's."""
    sent = iter(range(first, first + 400))

    def send():
        producer.send(TestBlock(next(sent), [0]), 0, 1, 0.0)
        for reader in readers:
            reader()

    until(lambda: all(ids and ids[-1] >= first for ids in (reader.ids for reader in readers)), send)


def test_a_proxy_that_is_not_there_is_named():
    (port,) = free_ports(1)
    with Stand("proxy", servers=[f"127.0.0.1:{port}"] * 2) as stand, pytest.raises(Unreachable, match=str(port)):
        stand.adapter.prepare(stand.wiring)


# ---- acknowledged


def test_what_a_dead_member_had_not_acknowledged_is_sent_to_its_successor_before_what_is_new():
    with Stand("acknowledged") as stand:
        producer, first = stand.producer(), Reader(stand.consumer())
        until(lambda: producer.ready(0.02), first)
        assert producer.send(TestBlock(0, [0] * 30), 0, 30, 0.0, 0) == 30
        until(lambda: len(first.ids) >= 30, lambda: first(7), pump(producer))
        first.consumer.ack(first.batches[1], 3)
        until(lambda: len(stand.outcomes.of) == 10, pump(producer))
        first.consumer.close()
        until(seen(producer, "ready", "closed"), pump(producer))
        assert producer.room() == 0
        second = Reader(stand.consumer())
        until(lambda: producer.room() > 0, pump(producer), second)
        producer.send(TestBlock(30, [0] * 5), 0, 5, 0.0, 0)
        until(lambda: len(second.ids) >= 25, second)
        assert second.ids == list(range(10, 35))
        assert second.flagged == list(range(10, 30))
        second.ack()
        assert producer.flush(LONG) == 0
        assert stand.outcomes.of == {(ident, 0): Status.CONFIRMED for ident in range(35)}


def test_another_member_takes_over():
    with Stand("acknowledged", TWO_MEMBERS) as stand:
        producer = stand.producer()
        dead, other = Reader(stand.consumer(0)), Reader(stand.consumer(1))
        until(lambda: producer.ready(0.02), dead, other)
        for at in range(0, 100, 10):
            assert producer.send(TestBlock(at, [0] * 10), 0, 10, 0.0, 0) == 10
        until(lambda: len(dead.ids) == len(other.ids) == 50, dead, other)
        dead.consumer.close()
        until(lambda: len(other.ids) >= 100, pump(producer), other)
        assert sorted(other.ids) == list(range(100))
        other.ack()
        until(lambda: len(stand.outcomes.of) == 100, pump(producer), other)


def test_credit_bounds_what_is_under_way():
    with Stand("acknowledged", TWO_GROUPS, credit=10) as stand:
        producer = stand.producer()
        reader, slow = Reader(stand.consumer()), Reader(stand.consumer(group="payment"))
        until(lambda: producer.ready(0.02), reader, slow)
        block = TestBlock(0, [0] * 100)
        assert [producer.send(block, 0, 100, 0.0, group) for group in (0, 1)] == [10, 10]
        assert producer.room() == 0
        assert producer.send(block, 10, 100, 0.01, 0) == 0
        until(lambda: len(reader.ids) >= 10, reader)
        reader.ack()
        until(lambda: producer.send(block, 10, 100, 0.01, 0) == 10)  # that group goes on
        assert producer.room() == 0  # and the other holds up whoever sends to both
        until(lambda: len(slow.ids) >= 10, slow)
        assert producer.flush(0.01) == 20


def test_a_member_that_is_silent_is_given_up_and_its_late_acknowledgement_counts_nothing():
    with Stand("acknowledged", TWO_MEMBERS, resend_ivl=200) as stand:
        producer = stand.producer()
        stopped, other = Reader(stand.consumer(0)), Reader(stand.consumer(1))
        until(lambda: producer.ready(0.02), stopped, other)
        assert producer.send(TestBlock(0, [0] * 10), 0, 10, 0.0, 0) == 10
        until(lambda: stopped.ids or other.ids, stopped, other)
        zombie, alive = (stopped, other) if stopped.ids else (other, stopped)
        assert zombie.ids == list(range(10))  # all to one: it has them, and from now on says nothing
        until(seen(producer, "ready", "closed"), pump(producer), alive)
        until(lambda: set(alive.ids) == set(range(10)), pump(producer), alive)
        assert set(alive.flagged) == set(range(10))
        zombie.ack()  # it wakes up
        alive.ack()
        until(lambda: len(stand.outcomes.of) == 10, pump(producer), alive, zombie)  # once each: Outcomes looks
        assert zombie.flagged == []


def test_a_member_that_works_for_long_is_not_given_up():
    with Stand("acknowledged", resend_ivl=300) as stand:
        producer, reader = stand.producer(), Reader(stand.consumer())
        until(lambda: producer.ready(0.02), reader)
        producer.send(TestBlock(0, [0] * 10), 0, 10, 0.0, 0)
        until(lambda: len(reader.ids) >= 10, reader)
        said = []
        for _ in range(30):  # three times resend_ivl
            reader.consumer.idle(0.03)
            producer.pump(0.0)
            said += [event.kind for event in producer.events()]
        reader.ack()
        until(lambda: len(stand.outcomes.of) == 10, pump(producer))
        if "closed" not in said:  # a machine that stood still for so long makes any member look silent
            assert reader.flagged == []


def test_strangers_are_not_heard():
    with Stand("acknowledged") as stand, zmq.Context() as context:
        producer, reader = stand.producer(), Reader(stand.consumer())
        until(lambda: producer.ready(0.02), reader)
        with context.socket(zmq.DEALER) as stranger:
            stranger.connect(stand.wiring["groups"][0]["members"][0])
            for words in ([b""], [b"x"], [b"F" + bytes(8), b"no session"], [b"H"], [b"F" + bytes(7) + b"\x01", b"a gap"], [b"", b"", b""]):
                stranger.send_multipart(words)
            until(lambda: stranger.poll(10), reader)  # READY: a bare HELLO is one
            producer.send(TestBlock(0, [0] * 10), 0, 10, 0.0, 0)
            until(lambda: len(reader.ids) >= 10, reader)
            assert reader.ids == list(range(10))
            reader.ack()
            until(lambda: len(stand.outcomes.of) == 10, pump(producer), reader)


def test_modes_refuse_what_is_not_theirs():
    for mode, settings in (("acknowledged", {"sndhwm": "1"}), ("pub-sub", {"immediate": "1"}), ("push-pull", {"credit": "1"})):
        with pytest.raises(BadSetting, match=next(iter(settings))):
            ZeroMq(Options(mode=mode, settings=settings))
    with pytest.raises(BadSetting, match="no profile 'tuned'"):
        ZeroMq(Options(mode="acknowledged", profile="tuned"))
    effective = ZeroMq(Options(mode="acknowledged", settings={"resend_ivl": "50"})).effective()
    assert (effective["producer"]["type"], effective["consumer"]["type"]) == ("DEALER", "ROUTER")
    assert effective["producer"]["resend_ivl"] == effective["consumer"]["resend_ivl"] == 50
