"""Real clients through the proxies: all that they connect to is a proxy, before a server's nodes and between peers without one."""

from __future__ import annotations

import os
import time

import psutil
import pytest
from adapter_parts import Ledger, TestBlock

import adapters
from adapters.base import Group, Options, Topology
from adapters.errors import Unsupported
from bench.faults.inject import Ground
from bench.faults.links import ALL, Links, addresses, moved
from bench.faults.model import Fault
from bench.guard import Guard
from bench.servers import start
from bench.servers.base import Request

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]
MESSAGES = 10


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    with Guard(f"pytest-links-{os.getpid()}") as guard:
        made = Links(guard, tmp_path_factory.mktemp("links"))
        assert made.nodes() == ()
        assert made.proxies.stats()["links"] == {}
        yield made
        assert made.dead() is None
        made.close()


def connections():
    """Of this process: those that it opened to another, as (own port, remote port); pika has pairs of its own to wake itself."""
    open_now = psutil.Process().net_connections("tcp")
    listening = {each.laddr.port for each in open_now if each.status == "LISTEN"}
    found = {(each.laddr.port, each.raddr.port) for each in open_now if each.raddr and each.laddr.port not in listening}
    return {(own, remote) for own, remote in found if (remote, own) not in found}


def ports_of(wiring):
    return {int(address.rpartition(":")[2]) for address in addresses({key: wiring[key] for key in ("servers", "groups") if key in wiring})}


def ready(producer, consumer):
    end = time.monotonic() + 20
    while not producer.ready(0.1):
        consumer.poll(1, 0.0)
        assert time.monotonic() < end


def through(adapter, producer, consumer, first_id):
    """Sends some messages until so many have come; what a Pub/Sub does not know yet as a subscriber is sent again."""
    group = [0] if adapter.capabilities.send_per_group else []
    got, end = 0, time.monotonic() + 30
    while got < MESSAGES:
        assert time.monotonic() < end, f"{got} of {MESSAGES} came"
        block, sent = TestBlock(first_id, [0] * MESSAGES), 0
        while sent < MESSAGES:
            sent += producer.send(block, sent, MESSAGES, 0.2, *group)
            producer.pump(0.01)
        first_id += MESSAGES
        for _ in range(5):
            batch = consumer.poll(100, 0.2)
            if batch is not None:
                got += batch.count
                consumer.ack(batch, batch.count)


@pytest.mark.parametrize("system", ["kafka", "rabbitmq", "sqs", "redis_pubsub", "zeromq", "tcp"])
def test_everything_that_clients_connect_to_is_a_proxy(system, servers, links):
    settings = {"WaitTimeSeconds": "0"} if system == "sqs" else {}
    adapter = adapters.load(system)(Options(settings=settings))
    wiring = adapter.wire(Topology(1, (Group("g"),)), f"links{os.getpid()}")
    if system in {"zeromq", "tcp"}:
        ways = links.of_peers(wiring)
        assert ways.names == ("peer.1",)
    else:
        server = servers(system)
        ways = links.of_server(server)
        assert ways.names == (f"{system}.1",)
        wiring["servers"] = list(server.bootstrap)
        wiring = adapter.prepare(wiring)
    told = ways.told(wiring)
    ports = ports_of(told)
    assert len(ports) == 1
    assert not ports & ports_of(wiring)
    before = connections()
    consumer = adapter.consumer(wiring if adapter.capabilities.consumer_listens else told, "g", 0)
    producer = adapter.producer(told, 0, Ledger())
    try:
        ready(producer, consumer)
        through(adapter, producer, consumer, 0)
        used = {name: row for name, row in links.proxies.stats()["links"].items() if int(name.rpartition(":")[2]) in ports}
        remote = {port for _, port in connections() - before}
        assert remote == ports
        assert sum(row["up_b"] for row in used.values()) >= MESSAGES * 100
    finally:
        producer.close()
        consumer.close()
        adapter.cleanup(wiring)


@pytest.mark.xdist_group("kafka")
def test_a_server_that_tells_addresses_itself_needs_a_listener_for_the_proxy(servers, links, session_guard, tmp_path):
    real = servers("kafka")
    told = start("kafka", Request(f"external:{real.bootstrap[0]}", tmp_path, session_guard.run_id, session_guard))
    with pytest.raises(Unsupported, match=r"kafka\.1 itself tells clients where to go, and not through a proxy; use server=native"):
        links.of_server(told)


def test_a_link_that_is_not_there(servers, links):
    ways = links.of_server(servers("redis_pubsub"))
    with pytest.raises(Unsupported, match=r"there is no link to peer\.1; there are: redis_pubsub\.1"):
        ways.add("peer.1", "timeout")
    assert ways.add(ALL, "timeout") <= ways.clear("redis_pubsub.1")
    faults = [Fault("network", "peer.1", 0.0, toxic="timeout")]
    with pytest.raises(Unsupported, match=r"there is no link to peer\.1"):
        Ground(servers("redis_pubsub"), ways).check(faults)
    with pytest.raises(Unsupported, match="there is no link to put toxic timeout on"):
        Ground(servers("redis_pubsub")).check(faults)
    Ground(servers("redis_pubsub"), ways).check([Fault("network", "links", 0.0, toxic="timeout")])
    with pytest.raises(Unsupported, match="no server, and no addresses"):
        links.of_peers({"run_id": "x", "groups": []})


def test_addresses_are_found_and_moved_in_the_form_they_have():
    wiring = {
        "run_id": "20260101-1200", "groups": [{"name": "a:1", "members": ["tcp://127.0.0.1:5000", "127.0.0.1:5001"]}],
        "more": [["localhost", 5002], ["a", 3], [1, 2], True, None, "host.name:7"], "again": "tcp://127.0.0.1:5000",
    }  # fmt: skip
    assert list(addresses(wiring)) == ["127.0.0.1:5000", "127.0.0.1:5001", "localhost:5002", "127.0.0.1:5000"]
    where = {"127.0.0.1:5000": "127.0.0.1:6000", "localhost:5002": "127.0.0.1:6002", "host.name:7": "127.0.0.1:8"}
    other = moved(wiring, where)
    assert other["groups"] == [{"name": "a:1", "members": ["tcp://127.0.0.1:6000", "127.0.0.1:5001"]}]
    assert other["more"] == [["127.0.0.1", 6002], ["a", 3], [1, 2], True, None, "127.0.0.1:8"]
    assert other["again"] == "tcp://127.0.0.1:6000"
    assert wiring["again"] == "tcp://127.0.0.1:5000"
