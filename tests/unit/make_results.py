"""A small made-up results folder: five systems, two points, three rounds, every kind of standing once."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.histogram import Histogram
from bench.store import RunWriter

GROUPS = ("inventory", "payment", "notification")
RUN_ID = "order-events-20261122-170102-ab12"
POINTS: tuple[dict[str, Any], ...] = ({"rate_per_s": 200, "size_b": 256}, {"rate_per_s": 2000, "size_b": 256})


@dataclass
class Fake:
    """One variant: what its trials say."""

    id: str
    system: str
    title: str
    client: str
    delivery: str
    persistence: str
    p50_ms: float
    cpu_us: tuple[float, float | None, float]  # producers, intermediary, consumers
    profile: str = "defaults"
    confirms: bool = True
    intermediary: bool = True
    stores: bool = True
    product: str = ""
    version: str = ""
    released: str = ""
    end_of_life: str = ""
    emulator: bool = False
    status: str = "ok"
    reason: str | None = None
    findings: dict[int, list[dict[str, str]]] = field(default_factory=dict)  # by rate
    lost: int = 0
    verdict: str = "clean"
    settings: dict[str, Any] = field(default_factory=dict)
    mode: dict[str, Any] = field(default_factory=dict)  # what its mode declares otherwise than all others
    workload: dict[str, Any] = field(default_factory=dict)  # the same of its workload
    requests: dict[str, int] | None = None


def finding(code: str, evidence: str = "seen", advice: str = "do less") -> dict[str, str]:
    return {"code": code, "evidence": evidence, "advice": advice}


def five() -> list[Fake]:
    """Kafka (twice), RabbitMQ, SQS on an emulator, ZeroMQ, Redis Pub/Sub, and the floor; indices are used by tests."""
    return [
        _kafka("kafka", 3.1, 0),
        _kafka("kafka,profile=tuned", 2.5, 5, profile="tuned"),
        _rabbitmq(),
        _sqs(),
        _zeromq(),
        _redis(),
        _tcp(),
    ]


def _kafka(name: str, p50_ms: float, linger_ms: int, profile: str = "defaults") -> Fake:
    fake = Fake(name, "kafka", "Apache Kafka", "kafka-python", "at-least-once", "page cache", p50_ms, (21.0, 30.0, 14.0), profile=profile)
    fake.product, fake.version, fake.released = "Apache Kafka", "4.4.0", "2026-08-01"
    fake.settings = {"producer": {"acks": "all", "linger_ms": linger_ms}, "consumer": {"max_poll_records": 500}}
    return fake


def _rabbitmq() -> Fake:
    fake = Fake("rabbitmq", "rabbitmq", "RabbitMQ", "pika", "at-least-once", "server memory", 1.4, (33.0, 52.0, 28.0), product="RabbitMQ")
    fake.version, fake.released, fake.end_of_life = "3.10.8", "2022-09-01", "2023-07-31"
    fake.findings = {2000: [finding("client-bound", "producer at 97% of a core", "add producers")]}
    return fake


def _sqs() -> Fake:
    fake = Fake("sqs", "sqs", "Amazon SQS", "boto3", "at-least-once", "server memory", 12.0, (410.0, 700.0, 520.0), product="ElasticMQ")
    fake.version, fake.emulator = "1.7", True
    fake.findings = {2000: [finding("rate-not-reached", "delivered 121/s of 2,000/s", "lower the rate")]}
    return fake


def _zeromq() -> Fake:
    fake = Fake("zeromq", "zeromq", "ZeroMQ", "pyzmq", "none", "client library only", 0.4, (4.0, None, 6.0))
    fake.confirms = fake.intermediary = fake.stores = False
    return fake


def _redis() -> Fake:
    fake = Fake("redis-pubsub", "redis_pubsub", "Redis Pub/Sub", "redis", "at-most-once", "server memory", 0.6, (20.0, 9.0, 11.0))
    fake.stores, fake.product, fake.version, fake.released = False, "Redis", "7.0.15", "2024-01-09"
    return fake


def _tcp() -> Fake:
    fake = Fake("tcp", "tcp", "raw TCP", "", "none", "client library only", 0.3, (2.0, None, 2.0))
    fake.confirms = fake.intermediary = fake.stores = False
    return fake


@dataclass(frozen=True)
class _Scenario:
    name: str = "order-events"
    seed: int = 7

    def to_yaml(self) -> str:
        return "name: order-events\nsweep:\n  rate: [200/s, 2000/s]\n"


def make(folder: Path, fakes: list[Fake] | None = None, *, rounds: int = 3, samples: int = 6000, points: Any = POINTS, **run: Any) -> Path:
    """Write a run through the real writer; each trial holds ``samples`` end-to-end samples a group. ``run``: fields of run.json."""
    shuffled, number, plan = random.Random(7), 0, []
    chosen = five() if fakes is None else fakes
    status = run.pop("status", "complete")
    with RunWriter.create(folder.parent, _Scenario(), command="brokerbench run order-events", run_id=folder.name) as writer:
        for point in points:
            for turn in range(1, rounds + 1):
                for position, fake in enumerate(shuffled.sample(chosen, len(chosen)), 1):
                    number += 1
                    plan.append({"trial": number, "point": point, "variant": fake.id, "series": 0, "round": turn, "position": position})
                    _trial(writer, fake, plan[-1], samples)
        writer.save_plan(plan)
        writer.save_environment({"machine": {"cpu": "8 GHz <Z80>", "cores": 2}, "clients": {"pyzmq": "27.1"}, "tools": ["java 17"]})
        writer.update_run(**{"started": "2026-11-22T17:01:02Z", **run})
        writer.finish(status)
    return folder


def _trial(writer: RunWriter, fake: Fake, entry: dict[str, Any], samples: int) -> None:
    rate = entry["point"]["rate_per_s"]
    random_ = np.random.default_rng([entry["trial"], 5])
    ok = fake.status == "ok"
    logs = _logs(fake, random_, samples) if ok else {}
    rss = {"producers": 60 << 20, "node": 400 << 20, "consumers": 55 << 20}
    deliveries = samples * len(GROUPS)
    trial = {
        "format": 1,
        "trial": entry["trial"],
        "run": RUN_ID,
        "scenario": "order-events",
        "point": entry["point"],
        "workload": {
            "producers": 1,
            "groups": dict.fromkeys(GROUPS, 1),
            "schedule": "constant" if rate else "max",
            "measure_s": 5.0,
            **fake.workload,
        },
        "variant": _variant(fake),
        "server": _server(fake),
        "series": 0,
        "round": entry["round"],
        "position": entry["position"],
        "status": fake.status,
        "reason": fake.reason,
        "started": "2026-11-22T17:01:02.123Z",
        "go_ns": 1,
        "window_s": 5.0,
        "drained_s": 0.1 if ok else None,
        "producers": [{"index": 0, "planned": samples, "sent": samples, "cpu_ns": 1, "rss_b": rss["producers"], "collections": 0}]
        if ok
        else [],
        "consumers": [
            {"group": g, "member": 0, "received": samples, "in_window": samples, "cpu_ns": 1, "rss_b": rss["consumers"]} for g in GROUPS
        ]
        if ok
        else [],
        "nodes": _nodes(fake, deliveries, rss["node"]) if ok else [],
        "rates": _rates(fake, rate, random_) if ok else {},
        "latency": {key: (logs[tag].summary() if tag in logs else None) for tag, key in TAGS.items()} if ok else {},
        "cost": _cost(fake, deliveries, random_) if ok else {},
        "audit": {g: _audit(fake, samples) for g in GROUPS} if ok else {},
        "requests": fake.requests if ok else None,
        "findings": copy.deepcopy(fake.findings.get(rate, [])),
        "events": [],
        "evidence": [],
    }
    series = [{"second": 0, "published": samples, **dict.fromkeys(GROUPS, samples)}]
    writer.save_trial(entry["trial"], trial, logs, series if ok else ())


TAGS = {"e2e": "end_to_end_intended", "e2e-sent": "end_to_end_sent", "publish": "publish", "lateness": "lateness"}


def _logs(fake: Fake, random_: np.random.Generator, samples: int) -> dict[str, Histogram]:
    def log(p50_ms: float, n: int) -> Histogram:
        histogram = Histogram()
        histogram.add((p50_ms * 1e6 * random_.lognormal(random_.normal(0, 0.04), 0.45, n)).astype(np.int64))
        return histogram

    found = {"e2e": log(fake.p50_ms + 0.1, samples * len(GROUPS)), "e2e-sent": log(fake.p50_ms, samples * len(GROUPS))}
    found["lateness"] = log(0.1, samples)
    if fake.confirms:
        found["publish"] = log(fake.p50_ms * 0.8, samples)
    return found


def _variant(fake: Fake) -> dict[str, Any]:
    return {
        "id": fake.id,
        "spec": fake.id,
        "system": fake.system,
        "title": fake.title,
        "client": fake.client,
        "client_version": "1.2",
        "profile": fake.profile,
        "settings": fake.settings,
        "architecture": "broker" if fake.intermediary else "broker-less",
        "intermediary": fake.intermediary,
        "stores": fake.stores,
        "confirms": fake.confirms,
        "fan_out": "native",
        "work_sharing": "native",
        "partitions": "native",
        "mode": {
            "name": "usual",
            "delivery": fake.delivery,
            "ordering": "partition",
            "persistence": fake.persistence,
            "copies": 1,
            "late_subscriber": "gets all",
            "slow_consumer": "pulls",
            "source": "https://example.org/docs",
            **fake.mode,
        },
    }


def _server(fake: Fake) -> dict[str, Any] | None:
    if not fake.product:
        return None
    return {
        "kind": "native",
        "product": fake.product,
        "version": fake.version,
        "released": fake.released,
        "end_of_life": fake.end_of_life,
        "emulator": fake.emulator,
        "settings": {"threads": 2},
        "nodes": [f"{fake.system}.1"],
    }


def _nodes(fake: Fake, deliveries: int, rss_b: int) -> list[dict[str, Any]]:
    cpu = fake.cpu_us[1]
    return [{"name": f"{fake.system}.1", "role": "broker", "cpu_ns": cpu * 1e3 * deliveries, "rss_b": rss_b}] if cpu is not None else []


def _rates(fake: Fake, rate: int | None, random_: np.random.Generator) -> dict[str, Any]:
    goal = float(rate or 40_000)
    if any(f["code"] == "rate-not-reached" for f in fake.findings.get(rate or 0, [])):
        goal = 121.0
    groups = {g: float(goal * random_.uniform(0.995, 1.0)) for g in GROUPS}
    return {"offered_per_s": rate, "published_per_s": goal, "groups": groups, "slowest_group_per_s": min(groups.values())}


def _cost(fake: Fake, deliveries: int, random_: np.random.Generator) -> dict[str, Any]:
    wobble = float(random_.uniform(0.9, 1.1))
    producers, middle, consumers = fake.cpu_us
    total = (producers + (middle or 0.0) + consumers) * 1e3 * wobble
    return {
        "deliveries": deliveries,
        "producers_ns": producers * 1e3 * wobble,
        "intermediary_ns": middle * 1e3 * wobble if middle is not None else None,
        "consumers_ns": consumers * 1e3 * wobble,
        "total_ns": total,
        "machine_busy": 0.6,
    }


def _audit(fake: Fake, samples: int) -> dict[str, Any]:
    none = dict.fromkeys(("duplicated", "redelivered", "reordered", "reordered_max", "corrupted", "unexpected", "unknown", "recovered"), 0)
    return {
        "sent": samples,
        "acknowledged": samples if fake.confirms else 0,
        "processed": samples - fake.lost,
        "lost": fake.lost,
        "lost_where": {"prefix": 0, "middle": fake.lost, "tail": 0},
        **none,
        "failed_delivered": 0,
        "late": 0,
        "verdict": fake.verdict,
    }
