"""A tick of none is taken only where a core is free for it; else the trial says what it took instead."""

from dataclasses import replace

import pytest

import adapters
from bench.waiting import FALLBACK_S, settled
from bench.workload import Workload

SPIN = Workload(
    rate_per_s=1000.0, size_b=100, warmup_s=0.0, measure_s=1.0, drain_s=1.0, tick_s=0.0, batch=10, ack_every=10, ack_interval_s=1.0,
    window=100, producers=1, groups=(("a", 1), ("b", 1)), partitions=1, routing="round-robin", key_count=0, key_zipf=0.0, seed=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("system", "nodes", "cores", "why"),
    [
        ("zeromq", 0, 4, ""),
        ("rabbitmq", 1, 5, ""),
        ("zeromq", 0, 3, "no spinning, 3 busy processes and 3 cores: none is free: a tick of 100 us instead"),
        ("rabbitmq", 1, 2, "no spinning, 4 busy processes and 2 cores: none is free: a tick of 100 us instead"),
        ("kafka", 1, 64, "no spinning, the client runs Python threads: a tick of 100 us instead"),
    ],
)
def test_spinning_needs_a_free_core_and_a_client_without_threads(system, nodes, cores, why):
    load, told = settled(SPIN, adapters.load(system).capabilities, nodes=nodes, cores=cores)
    assert told == why
    assert load == (replace(SPIN, tick_s=FALLBACK_S) if why else SPIN)


def test_a_tick_is_kept():
    load = replace(SPIN, tick_s=0.0005)
    assert settled(load, adapters.load("kafka").capabilities, nodes=1, cores=1) == (load, "")
