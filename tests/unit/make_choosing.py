"""Results to choose from, and needs to ask of them: for the tests of the rules, of the page's script, and in a browser."""

from __future__ import annotations

import random
from pathlib import Path

from committed import OTHERS
from make_results import Fake, finding, five, make

from bench.report.collection import Collection, gather

POINTS = ({"rate_per_s": 200, "size_b": 256}, {"rate_per_s": 2000, "size_b": 1024}, {"rate_per_s": None, "size_b": 256})
LOG = {
    "late_subscriber": "the whole log, from the first message that retention keeps",
    "slow_consumer": "reads later: the log keeps what retention allows",
}
QUEUE = {
    "ordering": "queue, one consumer",
    "late_subscriber": "the queue's backlog (what came after the queue was declared)",
    "slow_consumer": "the queue grows; past the memory or disk alarm publishers are blocked",
}
PIPE = {
    "ordering": "pipe",
    "late_subscriber": "misses what was published before it subscribed",
    "slow_consumer": "the producer blocks at the high-water mark",
}


def fakes() -> list[Fake]:
    kafka, tuned, rabbitmq, sqs, zeromq, redis, tcp = five()
    kafka.mode, tuned.mode, rabbitmq.mode, zeromq.mode = LOG, LOG, QUEUE, PIPE
    rabbitmq.findings = {200: [], 2000: [finding("sender-late")]}
    sqs.mode = {"ordering": "best effort"}
    return [kafka, tuned, rabbitmq, sqs, zeromq, redis, tcp]


def collection(place: Path) -> Collection:
    """A run of seven variants at three loads, beside what faults did to others."""
    return gather([make(place / "a-run", fakes(), samples=1100, points=POINTS, rounds=2), OTHERS], anyway=True)


KEYS = {
    "rate": [1.0, 199.0, 200.0, 201.0, 2000.0, 2001.0, 39_000.0, 39_900.0, 40_000.0, 50_000.0],
    "p99_ns": [1e5, 1e6, 4e6, 6e6, 8e6, 9e6, 1e7, 1e8],
    "payload_b": [1, 256, 257, 1024, 1025],
    "groups": [1, 3, 4],
    "members": [1, 2],
    "order": [1, 2, 3],
    "copies": [1, 2],
    "persistence": [1, 2, 3],
} | {key: [1] for key in ("lossless", "unrepeated", "replay", "late", "isolation")}
"""Values on both sides of what was measured, by need."""


def needs_at_random(number: int) -> list[dict[str, float]]:
    """Of one need to all of them; always the same."""
    drawn = random.Random(5)
    return [{key: drawn.choice(KEYS[key]) for key in drawn.sample(sorted(KEYS), drawn.choice((1, 2, 3, 4, 6)))} for _ in range(number)]
