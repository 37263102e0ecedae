"""Options of servers in a SPEC: which variants share a server, what its recipe and its adapter are told."""

import pytest

from adapters.kafka import ADAPTER as KAFKA
from bench import servers, spec, works
from bench.deployment import options_of, place_of
from bench.errors import ServerError
from bench.guarantees import cells
from bench.guard import Guard
from bench.servers.base import Request


@pytest.fixture(autouse=True)
def _no_addresses(monkeypatch):
    monkeypatch.delenv("BROKERBENCH_KAFKA_ADDRESS", raising=False)


def places(*texts):
    return [place_of(spec.parse(text)) for text in texts]


def test_variants_that_agree_in_them_share_a_server():
    one, three, again = places("kafka", "kafka,nodes=3", "kafka,profile=tuned,mode=acks-1,nodes=3")
    assert one != three
    assert three == again
    assert (one.name, three.name) == ("kafka", "kafka-nodes=3")


def test_an_adapter_hears_of_all_options_of_a_server_that_is_started_for_it():
    assert options_of(spec.parse("kafka")).server == servers.filled("kafka", {})
    assert options_of(spec.parse("kafka,nodes=3"), batch=7).server == {**servers.filled("kafka", {}), "nodes": "3"}
    assert options_of(spec.parse("kafka,nodes=3"), batch=7).batch == 7
    assert options_of(spec.parse("zeromq,sndhwm=5")).server == {}


def test_of_an_external_server_it_hears_what_was_told(monkeypatch):
    assert options_of(spec.parse("kafka,server=external:a:1")).server == {}
    assert options_of(spec.parse("kafka,server=external:a:1,nodes=3")).server == {"nodes": "3"}
    monkeypatch.setenv("BROKERBENCH_KAFKA_ADDRESS", "a:1")
    assert options_of(spec.parse("kafka")).server == {}


@pytest.mark.parametrize(
    ("text", "copies"),
    [("kafka", 1), ("kafka,nodes=3", 2), ("kafka,nodes=3,mode=acks-1", 1), ("kafka,nodes=3,replication_factor=1", 1)],
)
def test_a_promise_of_copies_follows_the_number_of_nodes(text, copies):  # of three, two have it when the producer is told
    adapter = KAFKA(options_of(spec.parse(text)))
    assert adapter.mode.copies == copies


def test_a_request_says_by_its_options_how_many_nodes_and_which_version(tmp_path):
    with Guard("server-options") as guard:
        plain = Request("native", tmp_path, "run", guard)
        asked = Request("native", tmp_path, "run", guard, options={"nodes": "3", "version": "4.0"})
        assert [(one.nodes, one.version) for one in (plain, asked)] == [(1, ""), (3, "4.0")]
        with pytest.raises(
            ServerError,
            match=r"kafka: there is no nodes=3, version=3\.9 in docker-compose\.yml, which has kafka,nodes=3, .*; use server=native",
        ):
            servers.start("kafka", Request("compose", tmp_path, "run", guard, options={"nodes": "3", "version": "3.9"}))


def test_the_first_value_is_the_default_and_no_option_has_a_reserved_name():
    for system in servers.names():
        for key, values in servers.options(system).items():
            assert key not in spec.RESERVED
            assert len(set(values)) == len(values) > 1
            assert servers.filled(system, {})[key] == values[0]


def test_what_redis_promises_follows_from_its_append_only_file():
    found = {}
    for synced in servers.options("redis_streams")["appendfsync"]:
        (cell,) = cells.of([f"redis_streams,mode=group,appendfsync={synced}"], ["server-kill"])
        found[synced] = (cell.mode.persistence.value, "lost" in cell.expected.may_show)
    assert found == {
        "off": ("server memory", True),
        "no": ("page cache", False),
        "everysec": ("server memory", True),
        "always": ("fsync", False),
    }
    assert spec.parse("redis_pubsub,appendfsync=always").server_options == {}


def test_every_mode_and_every_option_is_a_variant_of_its_system():
    found = works.variants("kafka")
    assert found[0] == "kafka"
    assert {"kafka,mode=acks-1", "kafka,nodes=3", "kafka,metadata=zookeeper", "kafka,version=3.9"} <= set(found)
    assert "kafka,metadata=zookeeper,zookeepers=3" in found, "an option stands beside the one that it belongs to"
    assert "kafka,zookeepers=3" not in found
    assert works.variants("tcp") == ["tcp"]
    assert not any("nodes" in each for each in works.variants("kafka,client=confluent-kafka")), (
        "its servers are tried with the first client"
    )
