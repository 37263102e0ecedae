"""SQS: what is special about it, on the server that can be had here (ElasticMQ or moto). tests/contract has what all systems share."""

import json
import time
import uuid

import boto3
import pytest
from adapter_parts import Ledger, TestBlock, drain, id_of, send_all, wait_event
from relay import Relay

from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.sqs import PAYLOAD_BYTES_MAX, Sqs

pytestmark = pytest.mark.server
ONE = Topology(1, (Group("inventory"),))
TWO = Topology(1, (Group("inventory"), Group("payment")))


class Stand:
    """A wired run on the shared server, with an independent client to look at its queues."""

    def __init__(self, server):
        self.server = server
        self.raw = boto3.client(
            "sqs", endpoint_url=f"http://{server}", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.run_id = f"it-{uuid.uuid4().hex[:8]}"
        self._parts = []
        self._made = []

    def adapter(self, topology=ONE, **settings):
        adapter = Sqs(Options(settings={name: str(value) for name, value in settings.items()}))
        self.wiring = adapter.prepare({**adapter.wire(topology, self.run_id), "servers": [self.server]})
        self._made.append((adapter, self.wiring))
        return adapter

    def keep(self, part):
        self._parts.append(part)
        return part

    def producer(self, adapter, ledger, server=None):
        return self.keep(adapter.producer({**self.wiring, "servers": [server or self.server]}, 0, ledger))

    def consumer(self, adapter, group="inventory"):
        return self.keep(adapter.consumer(self.wiring, group, 0))

    def counts(self, group="inventory"):
        """Messages that wait, messages that are received and not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.raw.get_queue_attributes(QueueUrl=self.wiring["urls"][group], AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def close(self):
        for part in self._parts:
            part.close()
        for adapter, wiring in self._made:
            adapter.cleanup(wiring)
        self.raw.close()


@pytest.fixture
def stand(servers):
    made = Stand(servers("sqs").bootstrap[0].removeprefix("http://"))
    yield made
    made.close()


def until(what, wanted, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while (found := what()) != wanted:
        assert time.monotonic() < end, f"still {found}, wanted {wanted}"
        time.sleep(0.05)


def test_an_entry_that_is_refused_fails_alone(stand, servers):
    """The server itself refuses one of ten, for a character that SQS does not take."""
    if servers("sqs").product.name == "moto":
        pytest.skip("moto takes every character: needs ElasticMQ (Java)")
    ledger = Ledger()
    producer = stand.producer(stand.adapter(threads=1), ledger)

    def spoil(params, **_):
        params["Entries"][3]["MessageBody"] = "\x00"
        return params

    producer._client.meta.events.register("provide-client-params.sqs.SendMessageBatch", spoil)
    send_all(producer, TestBlock(0, [0] * 10))
    assert [ledger.of[i] for i in range(10)] == [Status.FAILED if i == 3 else Status.CONFIRMED for i in range(10)]
    assert not ledger.twice
    assert stand.counts() == (9, 0)
    assert any(event.kind == "error" for event in producer.events())


def test_a_lost_answer_is_indeterminate(stand):
    """The server took the batch, and nobody was told."""
    relay = Relay(stand.server)
    ledger = Ledger()
    producer = stand.producer(stand.adapter(), ledger, relay.address)
    assert producer.ready(10)
    relay.allow(0)
    assert producer.send(TestBlock(0, [0] * 20), 0, 20, 0.0) == 20
    until(stand.counts, (20, 0))
    assert ledger.of == {}
    assert producer.flush(0.1) == 20
    producer.events()
    relay.cut()
    until(lambda: producer.flush(0.5), 0)
    assert [ledger.of[i] for i in range(20)] == [Status.INDETERMINATE] * 20
    told = [event.kind for event in producer.events()]
    assert told.count("closed") == 1, "once, however many calls nobody answers"
    relay.allow(None)
    send_all(producer, TestBlock(40, [0] * 10))
    assert [event.kind for event in producer.events()] == ["reconnected"]
    relay.refuse()
    # Refused connections sent nothing: that is known.
    assert producer.send(TestBlock(20, [0] * 20), 0, 20, 0.0) == 20
    until(lambda: producer.flush(0.5), 0)
    assert [ledger.of[i] for i in range(20, 40)] == [Status.FAILED] * 20
    assert {event.kind for event in producer.events()} == {"closed", "error"}
    assert stand.counts() == (30, 0)
    assert not ledger.twice


def test_what_was_not_acknowledged_goes_back_on_close(stand):
    """Polled or only buffered: another member gets it at once, long before the visibility time-out."""
    adapter = stand.adapter(TWO, VisibilityTimeout=600)
    ledger = Ledger()
    producer = stand.producer(adapter, ledger)
    for sent in range(0, 30, 10):
        assert producer.send(TestBlock(0, [0] * 30), sent, sent + 10, 5.0, group=0) == 10
    assert producer.flush(20) == 0
    assert stand.counts("payment") == (0, 0)  # a copy goes to the group that it was sent for
    first = stand.consumer(adapter)
    batch = None
    while batch is None:
        batch = first.poll(5, 1.0)
    first.ack(batch, 2)
    taken = [id_of(payload) for payload in batch.payloads]
    until(lambda: sum(stand.counts()), 28)  # two are deleted
    until(lambda: stand.counts()[0] == 0, True)  # the others are in the first member's hands
    first.close()
    second = stand.consumer(adapter)
    again = []
    marked = []
    deadline = time.monotonic() + 30
    while len(again) < 28 and time.monotonic() < deadline:
        got = second.poll(10, 0.5)
        if got is not None:
            again += [id_of(payload) for payload in got.payloads]
            marked += got.redelivered
            second.ack(got, got.count)
    assert sorted(again) == sorted(set(range(30)) - set(taken[:2]))
    assert all(marked)


def test_the_buffer_is_bounded(stand):
    """Nobody polls: no more than ``prefetch`` messages are taken out of the others' sight."""
    adapter = stand.adapter(prefetch=20, receivers=3)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 100))
    consumer = stand.consumer(adapter)
    until(lambda: stand.counts()[1], 20)
    time.sleep(1.5)  # longer than a receive call waits: none may bring more
    assert stand.counts() == (80, 20)
    assert len(drain(consumer, 100)) == 100


def test_idle_keeps_the_lease(stand):
    """Processing for longer than the visibility time-out: nobody else gets the messages, and the ack still counts."""
    adapter = stand.adapter(VisibilityTimeout=4)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 5))
    consumer = stand.consumer(adapter)
    batch = None
    while batch is None or batch.count < 5:
        more = consumer.poll(10, 1.0)
        assert more is not None
        batch = more
    consumer.idle(4.5)
    other = stand.consumer(adapter)
    consumer.idle(1.0)
    assert other.poll(10, 0.0) is None
    assert stand.counts() == (0, 5)
    consumer.ack(batch, 5)
    until(stand.counts, (0, 0))
    assert [event.kind for event in consumer.events()] == ["ready"]


def test_a_delete_that_is_refused_is_an_event(stand):
    """One receipt of ten is no good: nine are deleted, one is told of."""
    adapter = stand.adapter(deleters=1)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 10))
    consumer = stand.consumer(adapter)
    batches = []
    while sum(batch.count for batch in batches) < 10:
        batch = consumer.poll(10, 1.0)
        assert batch is not None
        batches.append(batch)
    consumer._polled[4].receipt = "no-such-receipt"
    consumer.ack(batches[-1], batches[-1].count)
    event = wait_event([consumer], "ack-failed", lambda: time.sleep(0.02))
    assert "ReceiptHandle" in event.detail
    until(stand.counts, (0, 1))


def test_a_queue_that_is_gone_raises_nothing(stand):
    """Deleted under way by somebody else: receive, delete and send tell of it as events and outcomes."""
    adapter = stand.adapter()
    ledger = Ledger()
    producer, consumer = stand.producer(adapter, ledger), stand.consumer(adapter)
    send_all(producer, TestBlock(0, [0] * 10))
    batch = None
    while batch is None:
        batch = consumer.poll(10, 1.0)
    stand.raw.delete_queue(QueueUrl=stand.wiring["urls"]["inventory"])
    consumer.ack(batch, batch.count)
    wait_event([consumer], "ack-failed", lambda: consumer.poll(10, 0.1))
    wait_event([consumer], "error", lambda: consumer.poll(10, 0.1))
    assert producer.send(TestBlock(10, [0] * 10), 0, 10, 0.0) == 10
    until(lambda: producer.flush(0.5), 0)
    assert [ledger.of[i] for i in range(10, 20)] == [Status.FAILED] * 10
    with pytest.raises(Refused):
        adapter.consumer(stand.wiring, "inventory", 0)


def test_the_largest_message_and_full_calls(stand):
    """1 MiB after base64 is a call of its own; 200 kB go three in a call."""
    adapter = stand.adapter()
    ledger = Ledger()
    producer, consumer = stand.producer(adapter, ledger), stand.consumer(adapter)
    send_all(producer, TestBlock(0, [0], size=PAYLOAD_BYTES_MAX))
    send_all(producer, TestBlock(1, [0] * 4, size=200_000))
    got = drain(consumer, 5)
    assert sorted((id_of(payload), len(payload)) for payload in got) == [(0, PAYLOAD_BYTES_MAX), *((i, 200_000) for i in range(1, 5))]
    with pytest.raises(Refused, match="1 MiB after base64"):
        producer.send(TestBlock(9, [0], size=PAYLOAD_BYTES_MAX + 1), 0, 1, 0.0)
    assert ledger.count(Status.CONFIRMED) == 5


def test_a_foreign_body_is_handed_on_as_it_is(stand):
    """Somebody else's message is the audit's business (corrupted or unexpected), not an exception here."""
    consumer = stand.consumer(stand.adapter())
    stand.raw.send_message(QueueUrl=stand.wiring["urls"]["inventory"], MessageBody="not base64!")
    assert drain(consumer, 1) == [b"not base64!"]


def test_tuned_signs_where_the_server_wants_it(stand):
    """Whatever the emulator takes: it works, and effective() says what was done."""
    adapter = Sqs(Options(profile="tuned"))
    wiring = adapter.prepare({**adapter.wire(ONE, stand.run_id + "-tuned"), "servers": [stand.server]})
    try:
        ledger = Ledger()
        producer, consumer = stand.keep(adapter.producer(wiring, 0, ledger)), stand.keep(adapter.consumer(wiring, "inventory", 0))
        assert adapter.effective()["producer"]["signature_version"] == ("unsigned" if wiring["unsigned"] else "v4")
        assert json.dumps(adapter.effective())
        send_all(producer, TestBlock(0, [0] * 10))
        assert len(drain(consumer, 10)) == 10
    finally:
        adapter.cleanup(wiring)


def test_groups_and_names():
    adapter = Sqs(Options())
    wiring = adapter.wire(TWO, "order-events-20261122-1701-ab12")
    assert wiring["queues"] == {
        "inventory": "brokerbench-order-events-20261122-1701-ab12-inventory",
        "payment": "brokerbench-order-events-20261122-1701-ab12-payment",
    }
    long = adapter.wire(Topology(1, (Group("g" * 90), Group("g" * 91))), "run")["queues"].values()
    assert len(set(long)) == 2
    assert {len(name) for name in long} == {80}
    with pytest.raises(BadSetting, match="same queue name"):
        adapter.wire(Topology(1, (Group("a b"), Group("a.b"))), "run")
    with pytest.raises(Unreachable, match="prepare"):
        adapter.consumer({**wiring, "servers": ["127.0.0.1:9"]}, "inventory", 0)
    with pytest.raises(Refused, match="no group 'shipping'"):
        adapter.consumer({**wiring, "servers": ["127.0.0.1:9"]}, "shipping", 0)


def test_send_needs_a_group_where_there_are_several(stand):
    producer = stand.producer(stand.adapter(TWO), Ledger())
    with pytest.raises(Refused, match="needs a group"):
        producer.send(TestBlock(0, [0]), 0, 1, 0.0)


def test_settling_one_by_one_and_acknowledging_all_mix(stand):
    """What was requeued comes again, also when a later acknowledgement has gone over it; each is deleted once."""
    adapter = stand.adapter()
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 10))
    consumer = stand.consumer(adapter)
    batches = []
    while sum(batch.count for batch in batches) < 10:
        batch = consumer.poll(10, 1.0)
        assert batch is not None
        batches.append(batch)
    last = batches[-1]
    requeued = id_of(last.payloads[-1])
    consumer.settle(batches[0], 0, "ack")
    consumer.settle(last, last.count - 1, "requeue")
    consumer.settle(last, last.count - 1, "ack")  # it has gone back: nothing to delete any more
    consumer.ack(last, last.count)
    consumer.settle(last, 0, "requeue")  # acknowledged already
    assert [id_of(payload) for payload in drain(consumer, 1)] == [requeued]
    until(stand.counts, (0, 0))
    assert [event.kind for event in consumer.events()] == ["ready"]
    with pytest.raises(BadSetting, match="ack, requeue and reject"):
        consumer.settle(last, 0, "keep")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"VisibilityTimeot": "30"}, "did you mean 'VisibilityTimeout'"),
        ({"MaxNumberOfMessages": "11"}, "from 1 to 10"),
        ({"WaitTimeSeconds": "1.5"}, "not a whole number"),
        ({"retry_mode": "often"}, "legacy, standard, adaptive"),
        ({"signature_version": "v2"}, "v4, unsigned"),
        ({"maxReceiveCount": "3"}, "belongs to mode dead-letter"),
    ],
)
def test_settings_that_are_wrong_are_named(settings, message):
    with pytest.raises(BadSetting, match=message):
        Sqs(Options(settings=settings))


@pytest.mark.parametrize("server", ["not a host", "http://"])
def test_an_address_that_is_none_is_named(server):
    adapter = Sqs(Options())
    with pytest.raises((BadSetting, Unreachable)) as caught:
        adapter.prepare({**adapter.wire(ONE, "run-1"), "servers": [server]})
    assert server in str(caught.value)


def test_unsigned_is_not_for_aws():
    adapter = Sqs(Options(settings={"signature_version": "unsigned"}))
    with pytest.raises(BadSetting, match="AWS refuses unsigned calls"):
        adapter._may_be_unsigned({**adapter.wire(ONE, "run-1"), "servers": ["https://sqs.eu-west-1.amazonaws.com"]})
