"""Kafka with ZooKeeper: who is registered where, what ZooKeeper says of itself, and what its end does to a broker that goes on."""

from __future__ import annotations

import re

import pytest
from adapter_parts import TestBlock, drain, send_all
from kafka_parts import consuming, producing, wired

from adapters.base import Group, Status, Topology
from bench.errors import ServerError
from bench.servers import recipe, start, zookeeper, zookeeper_probe
from bench.servers.base import Request
from bench.servers.kafka import LAST
from bench.servers.kafka_zookeeper import ROOT

pytestmark = [pytest.mark.server, pytest.mark.timeout(180), pytest.mark.xdist_group("kafka")]


@pytest.fixture(scope="module", autouse=True)
def jars(absent):
    """Skips all, or fails, where the release cannot be had."""
    reason = LAST.missing()
    if reason is not None:
        absent(f"kafka: {reason}")


@pytest.fixture(scope="module")
def server(servers):
    return servers("kafka", metadata="zookeeper")


def by_role(server, role):
    return [node for node in server.nodes if node.role == role]


def test_brokers_come_first_and_clients_are_told_of_them_only(server):
    (broker,), (keeper,) = by_role(server, "broker"), by_role(server, zookeeper.ROLE)
    assert [node.name for node in server.nodes] == ["kafka.1", "zookeeper.1"]
    assert server.bootstrap == (broker.advertised,)
    assert server.product.version.startswith("3.9.")
    assert server.settings["zookeeper version"] == zookeeper_probe.version(keeper.address)
    assert server.settings["zookeeper.session.timeout.ms"] == "18000"


def test_zookeeper_holds_what_its_own_dump_shows(server):
    """The session protocol against the dump of sessions and their ephemeral nodes: another way to the same."""
    (keeper,), (broker,) = by_role(server, zookeeper.ROLE), by_role(server, "broker")
    found = zookeeper_probe.kafka_registered([keeper.address], ROOT)
    assert found.brokers == {1: broker.address}
    assert found.controller == 1
    ephemeral = set(re.findall(r"^\t(/\S+)$", zookeeper_probe.word(keeper.address, "dump"), re.MULTILINE))
    assert ephemeral == {f"{ROOT}/controller", f"{ROOT}/brokers/ids/1"}
    assert zookeeper_probe.kafka_registered([keeper.address], "/nobody") == zookeeper_probe.Registered("", -1, {})
    said = recipe("kafka").status([{"name": n.name, "role": n.role, "address": n.address} for n in server.nodes], None)
    assert said["brokers registered"] == {"kafka.1": broker.address}
    assert (said["metadata"], said["cluster"], said["controller"]) == ("ZooKeeper", found.cluster_id, "kafka.1")
    assert said["zookeeper.1"]["mode"] == "standalone"


def test_counts_begin_anew(server):
    (keeper,) = by_role(server, zookeeper.ROLE)
    for _ in range(20):
        zookeeper_probe.kafka_registered([keeper.address], ROOT)
    before = zookeeper_probe.health(keeper.address)
    assert before["requests"] >= 20
    assert before["connections"] >= 1
    server.health(True)
    after = server.health(False)["zookeeper.1"]
    assert after["requests"] < before["requests"]
    assert after["znodes"] == before["znodes"]
    assert set(after) == set(zookeeper_probe.FIGURES.values())


def test_somebody_else_is_not_taken_for_zookeeper(server):
    (broker,) = by_role(server, "broker")
    for ask in (zookeeper_probe.health, zookeeper_probe.version, lambda address: zookeeper_probe.kafka_registered([address], ROOT)):
        with pytest.raises((OSError, ValueError)):
            ask(broker.address)


def test_a_broker_goes_on_without_zookeeper_and_starts_again_only_with_it(session_guard, tmp_path):
    """ZooKeeper killed: sends are acknowledged, deliveries arrive, a topic cannot be made. Back: it can. A killed broker comes back."""
    options = {"metadata": "zookeeper"}
    server = start("kafka", Request("native", tmp_path, session_guard.run_id, session_guard, options=options, breaks=True))
    try:
        with wired(list(server.bootstrap), Topology(1, (Group("g"),), 1)) as (adapter, wiring):
            with producing(adapter, wiring) as (producer, ledger), consuming(adapter, wiring) as consumer:
                send_all(producer, TestBlock(0, [0] * 50))
                drain(consumer, 50)
                server.kill("zookeeper.1")
                assert server.dead() is None
                assert server.health(False) == {}
                send_all(producer, TestBlock(100, [0] * 50))
                drain(consumer, 50)
                assert ledger.count(Status.CONFIRMED) == 100
                server.restart("zookeeper.1")
                assert server.health(False)["zookeeper.1"]["mode"] == "standalone"
            server.kill("kafka.1")
            server.restart("kafka.1")  # waits until its old registration is gone: with it there, a broker ends at once
            with producing(adapter, wiring) as (producer, ledger):
                send_all(producer, TestBlock(200, [0] * 50))
                assert ledger.count(Status.CONFIRMED) == 50
    finally:
        server.stop()
    assert not list(tmp_path.glob("*/data")), "the data is gone, the logs stay"
    assert {path.name for path in tmp_path.glob("*.log")} == {"kafka.1.log", "zookeeper.1.log"}


def test_an_ensemble_belongs_to_zookeeper(session_guard, tmp_path):
    with pytest.raises(ServerError, match="zookeepers=3 belongs to metadata=zookeeper"):
        start("kafka", Request("native", tmp_path, session_guard.run_id, session_guard, options={"zookeepers": "3"}))
