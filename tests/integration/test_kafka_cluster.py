"""Three brokers: one cluster, three copies, and a leader that is killed takes nothing with it that was acknowledged with acks=all."""

from __future__ import annotations

import threading
import time

import pytest
from adapter_parts import TestBlock
from kafka_parts import PARTITIONS, log_of, producing, wired

from adapters.base import Status
from bench import leaders
from bench.servers import probe
from bench.servers.common import host_ports

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("kafka")]
TOLD = {"nodes": "3"}


@pytest.fixture
def cluster(servers):
    return servers("kafka", **TOLD)


def seen_by(server, wiring):
    """What each broker says of the partitions of a wiring's topic."""
    said = [probe.kafka_metadata(*pair, topics=[wiring["topic"]]) for pair in host_ports("kafka", ",".join(server.bootstrap))]
    return [{number: one for (_, number), one in cluster.partitions.items()} for cluster in said]


@pytest.mark.server
def test_three_nodes_are_one_cluster_and_print_what_decides_a_fail_over(cluster):
    assert [node.name for node in cluster.nodes] == ["kafka.1", "kafka.2", "kafka.3"]
    seen = [probe.kafka_metadata(*pair) for pair in host_ports("kafka", ",".join(cluster.bootstrap))]
    assert len({one.cluster_id for one in seen}) == 1
    assert [set(one.brokers.values()) for one in seen] == [set(cluster.bootstrap)] * 3
    settings = cluster.settings
    assert (settings["min.insync.replicas"], settings["offsets.topic.replication.factor"]) == ("2", "3")
    assert {"broker.session.timeout.ms", "broker.heartbeat.interval.ms", "controller.quorum.election.timeout.ms"} <= set(settings)


@pytest.mark.server
def test_a_killed_leader_takes_nothing_acknowledged_along_and_is_back_when_it_is_in_sync(cluster):
    with wired(list(cluster.bootstrap), server=TOLD) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        assert adapter.mode.copies == 2
        before = leaders.leaders(cluster, wiring)
        assert list(before)[:PARTITIONS] == [f"partition {number}" for number in range(PARTITIONS)]
        assert {before["controller"], *before.values()} <= {node.name for node in cluster.nodes}
        assert all(len(one.replicas) == 3 for said in seen_by(cluster, wiring) for one in said.values())
        leader = leaders.leader(cluster, wiring)
        with leaders.recorded(cluster, wiring) as seen:
            sent = _send_while(
                producer, lambda: cluster.kill(leader), until=lambda: leaders.leaders(cluster, wiring)["partition 0"] != leader
            )
            assert producer.flush(60.0) == 0
            cluster.restart(leader)
        assert all(set(one.synced) == {1, 2, 3} for one in seen_by(cluster, wiring)[0].values()), "back, and not in sync"
        assert cluster.dead() is None
        confirmed = {ident for ident, status in ledger.of.items() if status is Status.CONFIRMED}
        assert len(confirmed) > sent // 2
        assert confirmed <= set(log_of(wiring, sent)), "acknowledged, and not in the log"
        led = [row["node"] for row in seen.rows(0) if row["what"] == "partition 0"]
        assert led[0] == leader
        assert set(led[1:]) - {""}, "another led in its place, and nobody wrote it down"


def _send_while(producer, act, until):
    """Send rows over all partitions, kill in the middle, go on until another leads and some more; how many were sent."""
    sent, acting, deadline = 0, threading.Thread(target=act), time.monotonic() + 90.0
    block, more = TestBlock(0, [row % PARTITIONS for row in range(40_000)]), 0
    while more < 20 and sent < block.count:
        assert time.monotonic() < deadline, "nobody leads"
        sent += producer.send(block, sent, min(sent + 50, block.count), 1.0)
        if sent >= 500 and acting.ident is None:
            acting.start()
        more += acting.ident is not None and not acting.is_alive() and until()
        time.sleep(0.01)
    acting.join()
    return sent
