"""Which releases the servers are, with their dates: a report prints them, since an old release against a new one is no fair pair.

A date that is not known for certain is "" and printed as unknown; none is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.servers.base import Product

AS_OF = "2026-11-22"


@dataclass(frozen=True)
class Dates:
    """ISO dates of one release, as precise as they are known ("2026" is a date of ISO 8601 too); "" = not known."""

    released: str = ""
    end_of_life: str = ""


# Sources: endoflife.date (products/redis.md: 7.0.15 of 2024-01-09, cycle 7.0 ended 2024-07-29) and RabbitMQ's own release
# notes of the 3.10 series ("end of community support on July 31st, 2023"); 3.10.8 was published on 2022-09-23 (its
# packages at hex.pm). RabbitMQ 4.0.5: uploaded to Debian on 2024-12-17; its cycle ended with 4.1 (endoflife.date).
# Kafka 4.4.0: its jar was built on 2026-10-06 and others built on it by 2026-11-07. Valkey 9.1.2: after
# 9.1.1 (2026-07-21, its release notes), before 9.1.3 (in use by 2026-10-27). NATS Server 2.15.1: in a wheel of 2026-10-11, after 2.14.0
# (in one of 2026-05); 2.9.10: packaged by Debian on 2022-12-24, after 2.9.8 of the same year. Flume 1.11.0: uploaded on 2022-10-25
# (mvnrepository.com); the project was marked dormant, "not maintained anymore", on 2024-10-10 (its own site).
DATES: dict[tuple[str, str], Dates] = {
    ("Apache Flume", "1.11.0"): Dates("2022-10", "2024-10-10"),
    ("Apache Kafka", "4.4.0"): Dates("2026"),
    ("Apache Kafka", "3.9.2"): Dates("2026"),
    ("NATS Server", "2.15.1"): Dates("2026"),
    ("NATS Server", "2.9.10"): Dates("2022"),
    ("RabbitMQ", "3.10.8"): Dates("2022-09-23", "2023-07-31"),
    ("RabbitMQ", "4.0.5"): Dates("2024-12", "2025-04-15"),
    ("Redis", "7.0.15"): Dates("2024-01-09", "2024-07-29"),
    ("Valkey", "9.1.2"): Dates("2026"),
}
EMULATORS = frozenset({"ElasticMQ", "kinesalite", "moto"})


def product(name: str, version: str) -> Product:
    """The product with its dates as far as they are known."""
    dates = DATES.get((name, version), Dates())
    return Product(name, version, dates.released, dates.end_of_life, name in EMULATORS)
