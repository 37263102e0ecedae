"""docker-compose.yml offers the same servers as the recipes: names, versions, ports, health."""

from __future__ import annotations

import json
from pathlib import Path

import check_jsonschema
import jsonschema
import pytest
import yaml

from bench.servers import kafka, kinesis, names, recipe, sqs
from bench.servers.compose import SERVICES, port_variable
from bench.servers.kafka_node import replication, template
from bench.servers.products import DATES

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def dated(name):
    """The version of a product in the table of dates: the one that the native recipe gives."""
    return next(version for product, version in DATES if product == name)


def test_a_service_for_each_system_and_no_other(services):
    assert set(SERVICES) == {system for system in names() if "compose" in recipe(system).default_kinds}
    assert set(services) == set(SERVICES.values())


def test_versions_are_those_of_the_recipes(services):
    assert services["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"
    assert services["rabbitmq"]["image"] == f"rabbitmq:{dated('RabbitMQ')}"
    assert services["sqs"]["image"] == f"softwaremill/elasticmq-native:{sqs.VERSION}"
    assert f" kinesalite@{kinesis.VERSION} " in services["kinesis"]["command"]
    assert services["nats"]["image"] == f"nats:{dated('NATS Server')}-alpine"
    assert services["redis"]["image"] == f"redis:{dated('Redis')}"


def test_ports_are_on_the_loopback_interface_and_can_be_moved(services):
    for name, service in services.items():
        (port,) = service["ports"]
        host, _, rest = port.partition(":")
        assert host == "127.0.0.1"
        assert rest.startswith("${" + port_variable(name) + ":-")


def test_each_has_a_health_check(services):
    for service in services.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["healthcheck"]["retries"] > 1


def test_kafka_has_the_same_settings_in_both(services):
    there = services["kafka"]["environment"]
    own = {"listener.security.protocol.map", "inter.broker.listener.name"}  # one more listener: the health check's
    by_default = {"default.replication.factor", "min.insync.replicas"}  # 1 is Kafka's own default
    for key, value in (template() | replication(1)).items():
        if key not in own | by_default:
            assert there["KAFKA_" + key.upper().replace(".", "_")] == value, key


def test_the_file_fits_the_compose_specification():
    vendored = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    document["services"]["kafka"]["imag"] = "typo"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
