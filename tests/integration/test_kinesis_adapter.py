"""Kinesis: what is special about it, on kinesalite. tests/contract has what all systems share."""

import time
import uuid
from collections import Counter

import boto3
import pytest
from adapter_parts import Ledger, TestBlock, drain, id_of, send_all, wait_event
from command import SMALL, ran, read
from relay import Relay

from adapters.aws import THROTTLED
from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.kinesis import Kinesis
from adapters.kinesis_leases import LeaseTable
from adapters.kinesis_sender import PAYLOAD_BYTES_MAX
from bench.servers import start
from bench.servers.base import Request

pytestmark = pytest.mark.server
QUICK = {"idleTimeBetweenReadsInMillis": 20, "leaseTakerIntervalMillis": 20}


class Stand:
    """A wired run on the shared server, with an independent client to look at its stream."""

    def __init__(self, server):
        self.server = server
        self.raw = boto3.client(
            "kinesis", endpoint_url=f"http://{server}", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self._parts = []
        self._made = []

    def adapter(self, shards=1, producers=1, groups=("inventory",), **settings):
        adapter = Kinesis(Options(settings={name: str(value) for name, value in {**QUICK, **settings}.items()}))
        topology = Topology(producers, tuple(Group(name) for name in groups), shards)
        self.wiring = adapter.prepare({**adapter.wire(topology, f"it-{uuid.uuid4().hex[:8]}"), "servers": [self.server]})
        self._made.append((adapter, self.wiring))
        return adapter

    def keep(self, part):
        self._parts.append(part)
        return part

    def producer(self, adapter, ledger, server=None):
        return self.keep(adapter.producer({**self.wiring, "servers": [server or self.server]}, 0, ledger))

    def consumer(self, adapter, group="inventory"):
        return self.keep(adapter.consumer(self.wiring, group, 0))

    def records(self, shard=0):
        """What a shard holds, as (id, partition key)."""
        asked = {"StreamName": self.wiring["stream"], "ShardId": self.wiring["shards"][shard], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = self.raw.get_shard_iterator(**asked)["ShardIterator"]
        found = []
        while records := (answer := self.raw.get_records(ShardIterator=iterator))["Records"]:
            found += [(id_of(record["Data"]), record["PartitionKey"]) for record in records]
            iterator = answer["NextShardIterator"]
        return found

    def ids(self, shard=0):
        return [found for found, _ in self.records(shard)]

    def leases(self, group="inventory"):
        table = LeaseTable(self.wiring["leases"])
        try:
            return table.read(group)
        finally:
            table.close()

    def close(self):
        for part in self._parts:
            part.close()
        for adapter, wiring in self._made:
            adapter.cleanup(wiring)
        self.raw.close()


@pytest.fixture
def stand(servers):
    made = Stand(servers("kinesis").bootstrap[0])
    yield made
    made.close()


def refusing(producer, code, *calls):
    """Kinesalite never takes a call in part. Here the rows that each of the next calls names (by place) do not get there, and its real
    answer has an error in their places; several codes are one a call."""
    codes = [code] * len(calls) if isinstance(code, str) else list(code)
    events = producer._client.meta.events
    left = list(calls)

    def take_out(params, **_):
        for row in reversed(left[0] if left else ()):
            del params["Records"][row]

    def put_in(parsed, **_):
        if left:
            for row in left[0]:
                parsed["Records"].insert(row, {"ErrorCode": codes[0], "ErrorMessage": "Rate exceeded for shard"})
            parsed["FailedRecordCount"] = len(left.pop(0))
            del codes[0]

    events.register("provide-client-params.kinesis.PutRecords", take_out)
    events.register("after-call.kinesis.PutRecords", put_in)


@pytest.mark.parametrize(("code", "status"), [(THROTTLED, Status.FAILED), ("InternalFailure", Status.INDETERMINATE)])
def test_a_record_that_is_not_taken_fails_alone(stand, code, status):
    ledger = Ledger()
    producer = stand.producer(stand.adapter(), ledger)
    refusing(producer, code, [3, 4])
    send_all(producer, TestBlock(0, [0] * 10))
    assert [ledger.of[i] for i in range(10)] == [status if i in (3, 4) else Status.CONFIRMED for i in range(10)]
    assert not ledger.twice
    assert stand.ids() == [0, 1, 2, 5, 6, 7, 8, 9]
    event = wait_event([producer], "error", lambda: None)
    assert code in event.detail
    assert "(2 times)" in event.detail
    assert producer.requests() == {"PutRecords": 1}


def test_what_was_not_taken_is_sent_again_in_its_order_where_that_is_set(stand):
    ledger = Ledger()
    producer = stand.producer(stand.adapter(resends=2), ledger)
    refusing(producer, THROTTLED, [3, 4])
    send_all(producer, TestBlock(0, [0] * 10))
    send_all(producer, TestBlock(10, [0] * 5))
    assert ledger.count(Status.CONFIRMED) == 15
    assert not ledger.twice
    assert stand.ids() == [0, 1, 2, 5, 6, 7, 8, 9, 3, 4, 10, 11, 12, 13, 14]  # and no order is promised for it
    assert producer.requests() == {"PutRecords": 3}


def test_what_is_never_taken_fails_after_its_resends(stand):
    ledger = Ledger()
    producer = stand.producer(stand.adapter(resends=1), ledger)
    refusing(producer, THROTTLED, [0, 1], [0])
    send_all(producer, TestBlock(0, [0, 0, 0]))
    assert [ledger.of[i] for i in range(3)] == [Status.FAILED, Status.CONFIRMED, Status.CONFIRMED]
    assert stand.ids() == [2, 1]


def test_what_a_resend_is_refused_may_have_been_written_before(stand):
    ledger = Ledger()
    producer = stand.producer(stand.adapter(resends=1), ledger)
    refusing(producer, ("InternalFailure", THROTTLED), [0, 1], [0])
    send_all(producer, TestBlock(0, [0, 0, 0]))
    assert [ledger.of[i] for i in range(3)] == [Status.INDETERMINATE, Status.CONFIRMED, Status.CONFIRMED]
    assert not ledger.twice


def sent_unheard(stand, **settings):
    """A relay that lets no answer through, and a producer of whose 20 records the server has all."""
    relay, ledger = Relay(stand.server), Ledger()
    producer = stand.producer(stand.adapter(**settings), ledger, relay.address)
    assert producer.ready(10)
    relay.allow(0)
    assert producer.send(TestBlock(0, [0] * 20), 0, 20, 0.0) == 20
    end = time.monotonic() + 20
    while len(stand.ids()) < 20:
        assert time.monotonic() < end
        time.sleep(0.05)
    return relay, producer, ledger


def test_what_a_later_try_is_refused_may_have_been_written_before(stand):
    """The server took the records at botocore's first try, which nobody heard; at the second the stream was gone."""
    relay, producer, ledger = sent_unheard(stand, total_max_attempts=2)
    stand.raw.delete_stream(StreamName=stand.wiring["stream"])
    relay.cut()
    relay.allow(None)
    assert producer.flush(20) == 0
    assert [ledger.of[i] for i in range(20)] == [Status.INDETERMINATE] * 20
    assert "ResourceNotFoundException" in wait_event([producer], "error", lambda: None).detail


def test_a_lost_answer_is_indeterminate(stand):
    """The server took the records, and nobody was told."""
    relay, producer, ledger = sent_unheard(stand)
    assert ledger.of == {}
    producer.events()
    relay.cut()
    assert producer.flush(20) == 0
    assert [ledger.of[i] for i in range(20)] == [Status.INDETERMINATE] * 20
    assert "closed" in [event.kind for event in producer.events()]
    relay.refuse()
    assert producer.send(TestBlock(20, [0] * 20), 0, 20, 0.0) == 20
    assert producer.flush(20) == 0
    assert [ledger.of[i] for i in range(20, 40)] == [Status.FAILED] * 20  # refused connections sent nothing: that is known


def test_a_partition_is_a_shard_and_the_key_is_the_partition_key(stand):
    adapter = stand.adapter(shards=3, threads=2)
    producer = stand.producer(adapter, Ledger())
    send_all(producer, TestBlock(0, [i % 3 for i in range(30)], keys=[b"customer-%d" % (i % 7) for i in range(30)]))
    send_all(producer, TestBlock(30, [2] * 5))
    for shard in range(3):
        assert stand.records(shard)[:10] == [(i, f"customer-{i % 7}") for i in range(shard, 30, 3)]
    assert stand.records(2)[10:] == [(i, "partition-2") for i in range(30, 35)]


def test_calls_hold_500_records_and_five_mebibytes(stand):
    ledger = Ledger()
    producer = stand.producer(stand.adapter(window=2000), ledger)
    largest = TestBlock(0, [0] * 7, size=PAYLOAD_BYTES_MAX)
    send_all(producer, largest)
    assert producer.requests()["PutRecords"] >= 2
    send_all(producer, TestBlock(10, [0] * 1200))
    assert producer.requests()["PutRecords"] >= 3
    assert ledger.count(Status.CONFIRMED) == 1207
    assert sorted(stand.ids()) == [*range(7), *range(10, 1210)]
    with pytest.raises(Refused, match="1 MiB with its key"):
        producer.send(TestBlock(5000, [0], size=PAYLOAD_BYTES_MAX + 1), 0, 1, 0.0)


def test_each_group_reads_everything_by_itself_and_reads_are_counted(stand):
    adapter = stand.adapter(shards=2, groups=("inventory", "payment"))
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0, 1] * 20))
    for group in ("inventory", "payment"):
        consumer = stand.consumer(adapter, group)
        assert sorted(id_of(payload) for payload in drain(consumer, 40)) == list(range(40))
        counted = consumer.requests()
        assert counted["GetShardIterator"] == 2
        assert counted["GetRecords"] >= 2
        assert all(lease.checkpoint for lease in stand.leases(group))
        assert consumer.requests() == {}


def test_a_successor_goes_on_at_the_checkpoint_of_one_that_died(stand):
    """Without a word, as after SIGKILL: its lease has to expire first, then exactly what it had not acknowledged comes again."""
    adapter = stand.adapter(failoverTimeMillis=300)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 20))
    first = stand.consumer(adapter)
    batch = None
    while batch is None:
        batch = first.poll(12, 1.0)
    first.ack(batch, 7)
    second = stand.consumer(adapter)
    assert [event.partitions for event in second.events() if event.kind == "assigned"][-1] == ()
    got = drain(second, 13)
    assert [id_of(payload) for payload in got] == list(range(7, 20))
    assert [event.partitions for event in second.events() if event.kind == "assigned"] == [(0,)]
    # The first was only asleep. What it read is no longer its own, and its late checkpoint sets nobody back.
    first.ack(batch, batch.count)
    told = first.events()
    assert [event.kind for event in told] == ["ready", "ack-failed", "assigned", "assigned"]
    assert "went to another member" in told[1].detail
    assert told[-1].partitions == ()
    assert first.poll(100, 0.0) is None
    assert adapter.depth(stand.wiring, "inventory") == 0


def test_members_come_and_go_and_share_the_shards(stand):
    adapter = stand.adapter(shards=4)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [i % 4 for i in range(40)]))
    members = [stand.consumer(adapter)]
    assert len(drain(members[0], 40)) == 40
    for count, shares in ((2, [2, 2]), (3, [1, 1, 2])):
        members.append(stand.consumer(adapter))
        end = time.monotonic() + 20
        while sorted(Counter(lease.owner for lease in stand.leases()).values()) != shares:
            assert time.monotonic() < end, stand.leases()
            for member in members:
                assert member.poll(10, 0.02) is None, "what was acknowledged came again"
        assert len(members) == count
    members[0].close()  # gives up its leases: nobody waits until they are expired
    end = time.monotonic() + 20
    while sorted(Counter(lease.owner for lease in stand.leases()).values()) != [2, 2]:
        assert time.monotonic() < end, stand.leases()
        for member in members[1:]:
            member.poll(10, 0.02)
    owned = [[event.partitions for event in member.events() if event.kind == "assigned"][-1] for member in members[1:]]
    assert sorted(shard for shards in owned for shard in shards) == [0, 1, 2, 3]


def test_idle_keeps_the_leases(stand):
    """Processing for longer than the fail-over time: nobody else gets the shard, and the ack still counts."""
    adapter = stand.adapter(failoverTimeMillis=1500)
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 5))
    consumer, other = stand.consumer(adapter), stand.consumer(adapter)
    batch = None
    while batch is None:
        batch = consumer.poll(10, 1.0)
    for _ in range(10):
        consumer.idle(0.2)
        assert other.poll(10, 0.0) is None
    consumer.ack(batch, 5)
    assert adapter.depth(stand.wiring, "inventory") == 0
    assert "ack-failed" not in [event.kind for event in consumer.events()]


def test_a_stream_that_came_back_empty_is_read_from_its_oldest_record(stand):
    """As after the death of an emulator, which keeps all in memory: checkpoints of the old stream mean nothing in the new one."""
    adapter = stand.adapter()
    ledger = Ledger()
    producer, consumer = stand.producer(adapter, ledger), stand.consumer(adapter)
    send_all(producer, TestBlock(0, [0] * 5))
    assert len(drain(consumer, 5)) == 5
    stand.raw.delete_stream(StreamName=stand.wiring["stream"])
    stand.raw.get_waiter("stream_not_exists").wait(StreamName=stand.wiring["stream"], WaiterConfig={"Delay": 0.05})
    wait_event([consumer], "error", lambda: consumer.poll(10, 0.05))
    assert producer.send(TestBlock(5, [0]), 0, 1, 0.0) == 1
    assert producer.flush(20) == 0
    assert ledger.of[5] is Status.FAILED
    time.sleep(1.1)  # sequence numbers tell streams apart by the second in which they were made
    adapter.prepare(stand.wiring)
    assert [lease.checkpoint for lease in stand.leases()] == [""]
    send_all(producer, TestBlock(10, [0] * 5))
    assert [id_of(payload) for payload in drain(consumer, 5)] == list(range(10, 15))
    assert adapter.depth(stand.wiring, "inventory") == 0


def test_a_checkpoint_that_the_stream_does_not_know_is_told_of(stand):
    adapter = stand.adapter()
    send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 5))
    table = LeaseTable(stand.wiring["leases"])
    table.take("inventory", "somebody", table.read("inventory"))
    table.checkpoint("inventory", "somebody", {0: (1, "49536894857577384618345049463106423562342706148476944386")})
    table.release("inventory", "somebody")
    table.close()
    consumer = stand.consumer(adapter)
    assert len(drain(consumer, 5)) == 5
    assert any("does not know its checkpoint" in event.detail for event in consumer.events())


def test_moto_takes_one_writer(session_guard, tmp_path, needs):
    """It loses what two write at once; one it serves."""
    needs("kinesis", "embedded")
    server = start("kinesis", Request("embedded", tmp_path, session_guard.run_id, session_guard))
    try:
        stand = Stand(server.bootstrap[0])
        with pytest.raises(Unsupported, match=r"moto loses records .* here are 2 writers; use one producer and threads=1, or kinesalite"):
            stand.adapter(producers=2)
        adapter = stand.adapter()
        send_all(stand.producer(adapter, Ledger()), TestBlock(0, [0] * 50))
        assert [id_of(payload) for payload in drain(stand.consumer(adapter), 50)] == list(range(50))
        stand.close()
    finally:
        server.stop()


def test_a_run_says_which_quotas_it_is_over_and_counts_requests(stand, tmp_path):
    """Through the command, on the server that stands: two groups read each shard more often than AWS allows."""
    text = SMALL.format(systems=f'"kinesis,server=external:{stand.server}"', rounds=1, measure="500 ms")
    done, folder, records = ran(tmp_path, text)
    (record,) = records.values()
    assert (done.returncode, record["status"], record["audit"]["a"]["lost"]) == (0, "ok", 0)
    over = "2 groups read a shard 10 times a second; it gives 5 to all together (idleTimeBetweenReadsInMillis=400 keeps to it)"
    before, told, _ = done.stderr.partition("over its service's quota: ")
    assert over in told + done.stderr
    assert ": ready" not in before, "it is said before anything is started"
    assert [row["quota"] for row in read(folder / "run.json")["quotas"]] == [over]
    assert over in (folder / "report.md").read_text()
    sent = sum(one["sent"] for one in record["producers"])
    assert 0 < record["requests"]["PutRecords"] <= sent
    assert record["requests"]["GetRecords"] > 0
    assert "Requests and list price per million messages" in (folder / "report.md").read_text()


def test_names_and_what_needs_prepare():
    adapter = Kinesis(Options())
    topology = Topology(1, (Group("inventory"),), 2)
    wiring = {**adapter.wire(topology, "order-events 20261122/1701-" + "x" * 200), "servers": ["127.0.0.1:9"]}
    assert len(wiring["stream"]) <= 128
    assert set(wiring["stream"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert wiring["stream"] != adapter.wire(topology, "order-events 20261122/1701-" + "x" * 200)["stream"], "variants of a run are apart"
    with pytest.raises(Unreachable, match="prepare"):
        adapter.producer(wiring, 0, Ledger())
    with pytest.raises(Unreachable, match="prepare"):
        adapter.consumer(wiring, "inventory", 0)
    with pytest.raises(Refused, match="no group 'shipping'"):
        adapter.consumer(wiring, "shipping", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failOverTimeMillis": "30"}, "did you mean 'failoverTimeMillis'"),
        ({"Limit": "10001"}, "from 1 to 10000"),
        ({"retry_mode": "often"}, "legacy, standard, adaptive"),
    ],
)
def test_settings_that_are_wrong_are_named(settings, message):
    with pytest.raises(BadSetting, match=message):
        Kinesis(Options(settings=settings))
