"""Three nodes of RabbitMQ 4.0: one cluster, a copy of each message on each, and a leader that is killed with its clients on it."""

from __future__ import annotations

import time

import pytest
from adapter_parts import Ledger, TestBlock, id_of, prepared, wait_event

from adapters import rabbitmq
from adapters.base import Group, Options, Status, Topology
from bench.leaders import leader, leaders

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
OPTIONS = {"nodes": "3", "version": "4.0"}


@pytest.fixture
def cluster(servers, needs):
    needs("rabbitmq", version="4.0")
    return servers("rabbitmq", **OPTIONS)


def test_the_nodes_are_one_cluster_whose_queues_have_a_copy_on_each(cluster):
    assert [node.name for node in cluster.nodes] == ["rabbitmq.1", "rabbitmq.2", "rabbitmq.3"]
    adapter = rabbitmq.ADAPTER(Options(mode="quorum", server=OPTIONS))
    assert adapter.mode.copies == 2, "the leader's and another one: a majority"
    with prepared(adapter, Topology(1, (Group("g"),)), "cluster", [cluster.bootstrap[1]]) as (_, wiring):
        (queue,) = wiring["groups"]["g"]["queues"]
        lookup = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))'
        found = cluster.leaders.ask(f"{lookup}, rabbit_amqqueue:info(Q, [members, online]).\n")
        assert [found.count(f"bench{number}@localhost") for number in (1, 2, 3)] == [2, 2, 2]


def pump(producer, consumer, got):
    producer.pump(0.005)
    while (batch := consumer.poll(100, 0.0)) is not None:
        got += map(id_of, batch.payloads)
        consumer.ack(batch, batch.count)


def test_a_killed_leader_loses_nothing_that_was_confirmed(cluster):
    """Clients and leader are on the same node, which dies under load: both go on elsewhere, and every confirmed message is processed."""
    adapter = rabbitmq.ADAPTER(Options(mode="quorum", server=OPTIONS, settings={"window": "200"}))
    with prepared(adapter, Topology(1, (Group("g"),)), "leader", list(cluster.bootstrap)) as (_, wiring):
        (queue,) = wiring["groups"]["g"]["queues"]
        first = leader(cluster, wiring)
        # Clients try the servers in the order of the list: let them begin where the leader is.
        wiring["servers"].sort(key=lambda address: address != {node.name: node.advertised for node in cluster.nodes}[first])
        ledger, got, sent = Ledger(), [], 0
        producer, consumer = adapter.producer(wiring, 0, ledger), adapter.consumer(wiring, "g", 0)
        try:
            while ledger.count(Status.CONFIRMED) < 300:
                sent += producer.send(TestBlock(sent, [0] * 20), 0, 20, 0)
                pump(producer, consumer, got)
            assert producer.send(TestBlock(sent, [0] * 20), 0, 20, 1.0) == 20, "so that some are on their way"
            sent += 20
            cluster.kill(first)
            wait_event([producer], "reconnected", lambda: pump(producer, consumer, got), timeout_s=60.0)
            before = ledger.count(Status.CONFIRMED)
            end = time.monotonic() + 60
            while ledger.count(Status.CONFIRMED) < before + 300:
                assert time.monotonic() < end, "nothing is confirmed by the nodes that are left"
                sent += producer.send(TestBlock(sent, [0] * 20), 0, 20, 0)
                pump(producer, consumer, got)
            assert leaders(cluster, wiring)[queue] not in ("", first)
            assert not producer.flush(30.0)
            confirmed = {ident for ident, status in ledger.of.items() if status is Status.CONFIRMED}
            while not confirmed <= set(got):
                assert time.monotonic() < end + 60, f"{len(confirmed - set(got))} confirmed messages never came"
                pump(producer, consumer, got)
            assert len(ledger.of) == sent
            assert ledger.twice == []
        finally:
            producer.close()
            consumer.close()
            cluster.restart(first)
