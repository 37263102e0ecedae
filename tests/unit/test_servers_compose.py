"""docker-compose.yml offers the same servers as the recipes: names, versions, ports, health."""

from __future__ import annotations

import json
from pathlib import Path

import check_jsonschema
import jsonschema
import pytest
import yaml

from bench.errors import ServerError
from bench.servers import kafka, kafka_zookeeper, kinesis, names, options, rabbitmq, recipe, sqs
from bench.servers.compose import PROFILE, SERVICES, VARIANTS, port_variable, services_of
from bench.servers.kafka_node import replication, template
from bench.servers.products import DATES
from bench.spec import parse

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def dated(name):
    """The version of a product in the table of dates: the one that the native recipe gives."""
    return next(version for product, version in DATES if product == name)


def test_a_service_for_each_system_and_no_other(services):
    assert set(SERVICES) == {system for system in names() if "compose" in recipe(system).default_kinds}
    assert {name for name, service in services.items() if "profiles" not in service} == set(SERVICES.values())
    named = {name for those in VARIANTS.values() for name in those}
    needed = {name for service in services.values() for name in service.get("depends_on", ())}
    assert {name for name, service in services.items() if service.get("profiles") == [PROFILE]} == named | needed
    assert not set(SERVICES.values()) & (named | needed)


@pytest.mark.parametrize("spec", VARIANTS)
def test_servers_with_options_are_found_by_their_canonical_options(spec):
    variant = parse(spec)
    assert services_of(variant.system, variant.server_options) == VARIANTS[spec]
    assert services_of(variant.system, {key: values[0] for key, values in options(variant.system).items()}) == (SERVICES[variant.system],)
    assert len(VARIANTS[spec]) == int(variant.server_options.get("nodes", "1"))


def test_what_is_not_in_the_file_is_said_with_what_is():
    with pytest.raises(
        ServerError, match=r"kafka: there is no version=3\.9 in docker-compose\.yml, which has kafka,nodes=3, .* server=native"
    ):
        services_of("kafka", {"version": "3.9"})
    with pytest.raises(ServerError, match=r"nats: there is no sync_interval=always in docker-compose\.yml beside the defaults"):
        services_of("nats", {"sync_interval": "always"})


def test_versions_are_those_of_the_recipes(services):
    assert services["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"
    assert services["rabbitmq"]["image"] == f"rabbitmq:{dated('RabbitMQ')}"
    assert services["rabbitmq_streams"]["image"] == services["rabbitmq"]["image"]
    assert services["kafka-zookeeper"]["image"] == f"apache/kafka:{kafka.LAST.version}"
    for those, image in (("kafka,nodes=3", services["kafka"]["image"]), ("rabbitmq,nodes=3,version=4.0", services["rabbitmq-4"]["image"])):
        assert {services[name]["image"] for name in VARIANTS[those]} == {image}
    newer = services["rabbitmq-4"]["image"].removeprefix("rabbitmq:")
    assert ("RabbitMQ", newer) in DATES
    assert newer.startswith(rabbitmq.NEWER_VERSION)
    assert services["rabbitmq-streams-4"]["image"] == services["rabbitmq-4"]["image"]
    assert services["sqs"]["image"] == f"softwaremill/elasticmq-native:{sqs.VERSION}"
    assert f" kinesalite@{kinesis.VERSION} " in services["kinesis"]["command"]
    assert services["nats"]["image"] == f"nats:{dated('NATS Server')}-alpine"
    assert services["redis"]["image"] == f"redis:{dated('Redis')}"


def test_ports_are_on_the_loopback_interface_and_can_be_moved(services):
    assert [name for name, service in services.items() if "ports" not in service] == ["zookeeper"]
    assert len({port for service in services.values() for port in service.get("ports", ())}) == len(services) - 1
    for name, service in services.items():
        if name == "zookeeper":
            continue
        (port,) = service["ports"]
        host, _, rest = port.partition(":")
        assert host == "127.0.0.1"
        assert rest.startswith("${" + port_variable(name) + ":-")


def test_each_has_a_health_check(services):
    for service in services.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["healthcheck"]["retries"] > 1


OWN = {"listener.security.protocol.map", "inter.broker.listener.name"}  # one more listener: the health check's
BY_DEFAULT = {"default.replication.factor", "min.insync.replicas"}  # 1 is Kafka's own default


@pytest.mark.parametrize("spec", ["kafka", "kafka,nodes=3"])
def test_kafka_has_the_same_settings_in_both(services, spec):
    names_ = VARIANTS.get(spec, ("kafka",))
    for number, name in enumerate(names_, 1):
        there = services[name]["environment"]
        for key, value in (template() | replication(len(names_))).items():
            if key not in OWN | (BY_DEFAULT if len(names_) == 1 else set()):
                assert there["KAFKA_" + key.upper().replace(".", "_")] == value, (name, key)
        assert there["KAFKA_NODE_ID"] == str(number)
        host = "localhost" if len(names_) == 1 else name
        assert f"{number}@{host}:9093" in there["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")
        assert there["KAFKA_ADVERTISED_LISTENERS"].endswith(f",INSIDE://{host}:19092")
        assert f"{port_variable(name)}:-" in there["KAFKA_ADVERTISED_LISTENERS"]


def test_kafka_with_zookeeper_has_the_same_settings_in_both(services):
    there = dict(word.split("=", 1) for word in services["kafka-zookeeper"]["command"] if "=" in word)
    for key, value in (template() | replication(1)).items():
        if key not in OWN | BY_DEFAULT and not key.startswith(kafka_zookeeper.KRAFT):
            assert there[key] == value, key
    assert there["zookeeper.connect"] == f"zookeeper:2181{kafka_zookeeper.ROOT}"
    assert services["kafka-zookeeper"]["command"].count("--override") == len(there)


def test_the_file_fits_the_compose_specification():
    vendored = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    document["services"]["kafka"]["imag"] = "typo"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
