"""Flume's channels and sinks by real agents: what a batch costs, what a full channel does, what an agent's death takes with it."""

import time
from contextlib import contextmanager

import pytest
from adapter_parts import Ledger, TestBlock, drain, id_of, send_all, wait_event

from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused
from adapters.flume import Flume
from bench import works
from bench.deployment import Deployment, place_of
from bench.errors import ServerError
from bench.faults.links import Links
from bench.servers import choose, start
from bench.servers.base import Request
from bench.spec import parse

pytestmark = pytest.mark.server
MANY = 60.0  # seconds that a machine which is busy may take
ONE = Topology(1, (Group("g"),))


@pytest.fixture
def agent(session_guard, tmp_path, needs):
    """``agent(adapter, topology)``: a context with an agent for it and the wiring that names it."""
    needs("flume")

    @contextmanager
    def running(adapter, topology=ONE):
        wiring = adapter.wire(topology, "run")
        server = start("flume", Request("native", tmp_path, session_guard.run_id, session_guard, wiring={"session": wiring}))
        try:
            yield server, adapter.prepare({**wiring, "servers": list(server.bootstrap)})
        finally:
            server.stop()

    return running


def flume(mode="memory", **settings):
    return Flume(Options(mode=mode, settings={name.replace("_", "-"): str(value) for name, value in settings.items()}))


def polled(consumer, most=1000):
    until_s = time.monotonic() + MANY
    while (batch := consumer.poll(most, 0.1)) is None:
        assert time.monotonic() < until_s, "nothing came"
    return batch


def ids(payloads):
    return [id_of(payload) for payload in payloads]


def test_a_sink_hands_over_a_batch_and_sends_it_whole_again(agent, opened):
    adapter = flume(request_timeout=1000)
    with agent(adapter) as (_, wiring):
        producer, first = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "g", 0))
        send_all(producer, TestBlock(0, [0] * 200))
        batch = polled(first)
        assert ids(batch.payloads) == list(range(100)), "batch-size is 100"
        assert first.poll(1000, 0.2) is None, "the next comes when this one is acknowledged"
        first.ack(batch, 99)
        wait_event([first], "closed", lambda: first.poll(0, 0.1), MANY)  # request-timeout
        first.ack(batch, 100)
        assert [event.kind for event in first.events()] == ["ack-failed"]
        first.close()
        second = opened(adapter.consumer(wiring, "g", 0))
        assert ids(drain(second, 200, timeout_s=MANY)) == list(range(200)), "also what was acknowledged in part"
        assert second.poll(1000, 0.2) is None


def test_a_full_channel_of_one_group_makes_the_other_get_a_batch_again(agent, opened):
    adapter = flume(capacity=10, transactionCapacity=10, batch_size=1, keep_alive=1)
    with agent(adapter, Topology(1, (Group("reads"), Group("full")))) as (_, wiring):
        ledger = Ledger()
        producer = opened(adapter.producer(wiring, 0, ledger))
        reads, full = (opened(adapter.consumer(wiring, group, 0)) for group in ("reads", "full"))
        block = TestBlock(0, [0] * 30)
        assert producer.send(block, 0, 30, 0) == 10, "a transaction's most"
        assert producer.flush(MANY) == 0
        assert producer.send(block, 10, 30, 0) == 10
        got = []
        told = wait_event([producer], "error", lambda: (producer.pump(0.01), got.extend(drain(reads, 1)) if len(got) < 20 else None), MANY)
        assert told.detail.startswith("FAILED: a channel had no room for 1 s")
        assert ledger.count(Status.CONFIRMED) == 10
        assert producer.send(block, 20, 30, 0.1) == 0, "nothing overtakes it"
        other = drain(full, 15)
        assert producer.flush(MANY) == 0
        assert ledger.count(Status.CONFIRMED) == 20
        other += drain(full, 5)
        assert ids(other) == list(range(20))
        got += drain(reads, 30 - len(got))
        assert ids(got)[:20] == list(range(20))
        assert set(ids(got)[20:]) == set(range(10, 20)), "the group whose channel had room got the batch once more"


@pytest.mark.parametrize("mode", ["memory", "file"])
def test_what_an_agent_takes_with_it_when_it_is_killed(mode, agent, opened):
    adapter = flume(mode, batch_size=100)
    with agent(adapter) as (server, wiring):
        ledger = Ledger()
        producer = opened(adapter.producer(wiring, 0, ledger))
        send_all(producer, TestBlock(0, [0] * 300))
        assert ledger.count(Status.CONFIRMED) == 300
        server.kill("flume.1")
        wait_event([producer], "closed", lambda: producer.pump(0.01), MANY)
        server.restart("flume.1")
        wait_event([producer], "reconnected", lambda: producer.pump(0.01), MANY)
        consumer = opened(adapter.consumer(wiring, "g", 0))
        send_all(producer, TestBlock(300, [0] * 100))
        kept = 300 if mode == "file" else 0
        got = ids(drain(consumer, kept + 100, timeout_s=MANY))
        assert got == list(range(300 - kept, 400))
        assert consumer.poll(1000, 0.2) is None


def test_each_session_has_an_agent_of_its_own(session_guard, tmp_path, needs):
    needs("flume")
    place = place_of(parse("flume,mode=file"))
    assert place is not None
    assert place.owner == "flume+mode=file"
    assert place != place_of(parse("flume"))
    deployment, said = Deployment(session_guard, tmp_path, session_guard.run_id), []
    try:
        assert deployment.start([place], said.append) == {}
        assert (deployment.running(place), said) == (None, []), "it is started with its session"
        first = deployment.server(place, flume("file").wire(ONE, "run"))
        assert deployment.server(place) is first
        second = deployment.server(place, flume("file").wire(Topology(1, (Group("g", 2), Group("h"))), "run"))
        assert first.dead()
        assert (second.settings["channels"], second.settings["sinks"]) == (2, 3)
        assert second.settings["sinks.batch-size"] == 100
        second.kill("flume.1")
        second.restart("flume.1")
        assert second.dead() is None
    finally:
        deployment.stop()


def test_a_fault_of_the_network_is_on_both_ways(session_guard, tmp_path, needs, opened):
    needs("flume")
    adapter, links = flume(batch_size=1, keep_alive=60), Links(session_guard, tmp_path)
    wiring = adapter.wire(ONE, "run")
    calls = links.of_peers(wiring)
    assert calls.names == ("peer.1",)
    session = {"session": calls.told(wiring)}
    server = start("flume", Request("native", tmp_path, session_guard.run_id, session_guard, wiring=session))
    try:
        wiring = adapter.prepare({**wiring, "servers": list(server.bootstrap)})
        ways = links.of_server(server).with_calls(calls)
        assert ways.names == ("flume.1",)
        told = ways.told(wiring)
        assert told["groups"] == wiring["groups"], "consumers listen on their own addresses"
        assert told["servers"] != wiring["servers"]
        producer, consumer = opened(adapter.producer(told, 0, Ledger())), opened(adapter.consumer(told, "g", 0))
        send_all(producer, TestBlock(0, [0]))
        assert ids(drain(consumer, 1)) == [0]
        ways.add("flume.1", "latency", attributes={"latency": 0.2})
        began_s = time.monotonic()
        send_all(producer, TestBlock(1, [0]))
        assert ids(drain(consumer, 1)) == [1]
        assert time.monotonic() - began_s >= 0.4, "to the agent, and from it"
        ways.clear("flume.1")
    finally:
        server.stop()
        links.close()


def test_it_works_through_the_whole_harness(needs):
    needs("flume")
    found = works.check("flume")
    assert found.ok, found.said
    assert "Apache Flume 1.11.0 (native" in found.said


def test_what_cannot_be(session_guard, tmp_path, needs):
    needs("flume")
    with pytest.raises(BadSetting, match="batch-size = 101, transactionCapacity = 100, capacity = 1000: none may be larger"):
        flume(batch_size=101)
    with pytest.raises(BadSetting, match="checkpointInterval"):
        flume(checkpointInterval=5000)
    with pytest.raises(ServerError, match="started with a run, which knows where the consumers listen"):
        start("flume", Request("native", tmp_path, session_guard.run_id, session_guard))
    with pytest.raises(ServerError, match="server=native"):
        start("flume", Request("external:127.0.0.1:1", tmp_path, session_guard.run_id, session_guard))
    with pytest.raises(ServerError, match="server=native"):
        choose("flume", "compose")
    adapter = flume()
    wiring = adapter.wire(ONE, "run")
    consumer = adapter.consumer(wiring, "g", 0)
    with pytest.raises(Refused, match="in use"):
        adapter.consumer(wiring, "g", 0)
    consumer.close()
    with pytest.raises(Refused, match="no group 'audit'"):
        adapter.consumer(wiring, "audit", 0)
