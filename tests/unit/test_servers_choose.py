"""Which server is used, and what is said where there is none."""

from __future__ import annotations

import importlib.metadata
import types
from pathlib import Path

import pytest

import adapters
import bench.servers
from bench.deployment import options_of
from bench.errors import ServerError, UsageError
from bench.guard import Guard
from bench.servers import choose, kafka_status, names, recipe, start
from bench.servers.base import KINDS, Request
from bench.servers.common import address_variable, external_address, host_ports, tail
from bench.servers.probe import KafkaCluster
from bench.servers.products import DATES, product
from bench.spec import parse
from bench.trial import described_variant


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with nothing: no commands, no jars, no addresses."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("bench.servers.rabbitmq.RELEASES", tmp_path / "none")
    monkeypatch.setattr("bench.servers.redis_pubsub.valkey_binary", lambda: None)
    monkeypatch.setattr("bench.servers.nats.wheel_binary", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for system in names():
        monkeypatch.delenv(address_variable(system), raising=False)


def test_names_and_systems_without_a_server():
    assert names() == ["flume", "kafka", "kinesis", "nats", "rabbitmq", "rabbitmq_streams", "redis_pubsub", "redis_streams", "sqs"]
    assert [recipe(system) for system in ("memory", "tcp", "zeromq")] == [None, None, None]
    for system in names():
        found = recipe(system)
        assert found is not None
        assert found.system == system
        assert set(found.default_kinds) <= set(KINDS)


@pytest.mark.parametrize("system", ["kafka", "kinesis", "nats", "rabbitmq", "rabbitmq_streams", "redis_pubsub", "redis_streams", "sqs"])
def test_each_kind_says_what_is_missing_and_how_to_get_it(bare, system):
    with pytest.raises(ServerError) as caught:
        choose(system)
    text = str(caught.value)
    assert text.startswith(f"{system}: no server can be had here\n")
    for kind in recipe(system).default_kinds:
        assert f"\n  {kind}: " in text
    assert address_variable(system) in text
    assert "install" in text


def test_an_address_in_the_environment_comes_first(monkeypatch):
    monkeypatch.setenv("BROKERBENCH_KAFKA_ADDRESS", "10.0.0.1:9092")
    assert choose("kafka") == "external"


def test_kinds_that_are_asked_for(bare):
    assert choose("kafka", "external:10.0.0.1:9092") == "external"
    with pytest.raises(UsageError, match="unknown kind of server 'nativ'; it is auto, external, native"):
        choose("kafka", "nativ")
    with pytest.raises(ServerError, match="kafka has no embedded server; it has: external, native, compose"):
        choose("kafka", "embedded")
    with pytest.raises(ServerError, match="zeromq has no server recipe; those that have: flume, kafka"):
        choose("zeromq")
    with pytest.raises(ServerError, match="no external server: no address given"):
        choose("rabbitmq", "external")


def test_recipes_of_other_packages_are_found_by_entry_point(monkeypatch):
    theirs = types.ModuleType("theirs_recipe")
    theirs.RECIPE = types.SimpleNamespace(system="pulsar", default_kinds=("native",), missing=lambda kind: None)
    monkeypatch.setitem(__import__("sys").modules, "theirs_recipe", theirs)
    points = [
        importlib.metadata.EntryPoint("pulsar", "theirs_recipe:RECIPE", "brokerbench.servers"),
        importlib.metadata.EntryPoint("broken", "no_such_module_at_all:RECIPE", "brokerbench.servers"),
    ]
    monkeypatch.setattr(bench.servers, "entry_points", lambda group: points if group == "brokerbench.servers" else [])
    assert "pulsar" in names()
    assert choose("pulsar") == "native"
    with pytest.raises(ServerError, match="broken: its server recipe no_such_module_at_all:RECIPE cannot be loaded"):
        recipe("broken")


def test_addresses(monkeypatch):
    assert host_ports("kafka", "a:1, b:2,[::1]:3") == [("a", 1), ("b", 2), ("::1", 3)]
    for bad in ("", "host", "host:", ":9092", "host:x", "host:0", "host:65536", "a:1,,b:2"):
        with pytest.raises(UsageError, match="is not an address; it is HOST:PORT"):
            host_ports("kafka", bad)


def test_an_external_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("BROKERBENCH_KAFKA_ADDRESS", raising=False)
    with Guard("unit-external") as guard:
        for system in ("kafka", "kinesis", "nats", "rabbitmq", "redis_pubsub", "sqs"):
            with pytest.raises(ServerError, match=r"nothing that speaks its protocol answers at 127\.0\.0\.1:1:"):
                start(system, Request("external:127.0.0.1:1", tmp_path, guard.run_id, guard))
        with pytest.raises(ServerError, match="BROKERBENCH_KAFKA_ADDRESS=HOST:PORT"):
            external_address("kafka", Request("external", tmp_path, guard.run_id, guard))
        for system in ("kinesis", "sqs"):
            with pytest.raises(UsageError, match=r"it is http://HOST:PORT, HOST:PORT, or aws"):
                start(system, Request("external:ftp://x", tmp_path, guard.run_id, guard))
            assert start(system, Request("external:aws", tmp_path, guard.run_id, guard)).product.emulator is False


def test_the_last_log_lines(tmp_path):
    log = tmp_path / "a.log"
    assert tail(None) == "  (no log)"
    assert tail(log) == "  (no log)"
    log.write_text("")
    assert tail(log) == "  (its log is empty)"
    log.write_bytes(b"\n".join(b"\x1b[38;5;1mline %d\x1b[0m" % n for n in range(10_000)) + b"\n\xff\n")
    lines = tail(log).splitlines()
    assert len(lines) == 15
    assert lines[0] == "  line 9986"


def test_dates_are_iso_and_the_unknown_stays_unknown():
    for dates in DATES.values():
        for text in (dates.released, dates.end_of_life):
            assert text == "" or len(text) in {4, 7, 10}
            assert text.replace("-", "").isdigit() or text == ""
    assert product("RabbitMQ", "99.0").released == ""
    assert product("moto", "1").emulator
    assert not product("Valkey", "9.1.2").emulator


def test_templates_ship_with_the_package():
    data = Path(bench.servers.__file__).parent.parent / "data"
    for name in (
        "kafka.properties",
        "kafka.pom.xml",
        "elasticmq.pom.xml",
        "elasticmq.conf",
        "kafka-log4j2.properties",
        "elasticmq-logback.xml",
        "kinesalite.js",
    ):
        assert (data / name).is_file(), name


@pytest.mark.parametrize(
    ("system", "server", "title"),
    [
        ("redis_pubsub", "Redis", "Redis Pub/Sub"),
        ("redis_pubsub", "Valkey", "Redis Pub/Sub on Valkey"),
        ("nats", "NATS Server", "NATS"),
        ("kinesis", "kinesalite", "Amazon Kinesis"),
    ],
)
def test_a_system_is_named_with_its_server_where_that_has_another_name(system, server, title):
    variant = parse(system)
    adapter = adapters.load(system)(options_of(variant))
    running = types.SimpleNamespace(product=product(server, ""))
    assert described_variant(variant, adapter, running)["title"] == title


def test_who_controls_is_not_known_of_a_kept_server_whose_files_are_elsewhere(tmp_path, monkeypatch):
    cluster = KafkaCluster("id", 1, {1: "127.0.0.1:9092"}, {})
    monkeypatch.setattr("bench.servers.kafka_status.first_answer", lambda pairs: cluster)
    nodes = [{"name": "kafka.1", "role": "broker", "address": "127.0.0.1:9092"}]
    assert kafka_status.status(nodes, tmp_path)["controller"] == "not known"
    state = tmp_path / "kafka.1" / "data" / "__cluster_metadata-0" / "quorum-state"
    state.parent.mkdir(parents=True)
    for leader, told in ((-1, "none"), (1, "kafka.1")):
        state.write_text(f'{{"leaderEpoch": 3, "leaderId": {leader}}}', encoding="ascii")
        assert kafka_status.status(nodes, tmp_path)["controller"] == told
