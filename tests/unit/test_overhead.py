"""The overhead tool: its arithmetic, its command line, and both sides of one short measurement of TCP, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import adapters
from adapters.base import Options
from benchmarks import overhead
from benchmarks.bare import loop
from benchmarks.overhead import Sample, ratio, summed_up, table

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["--sizes", "100 B", "--rounds", "1", "--seconds", "1"]


def sample(side, number, rate, size=100):
    return Sample(side, size, number, 0, rate, 1.0, 2.0)


def test_the_ratio_is_of_pairs_not_of_medians():
    """Rounds differ tenfold among themselves, the two sides of each by exactly 0.8."""
    pairs = [(10.0**k, 0.8 * 10.0**k) for k in range(1, 8)]
    found = ratio(pairs)
    assert (found.low, found.median, found.high) == pytest.approx((0.8, 0.8, 0.8))


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says():
    draw = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        logs = np.log(0.7) + draw.normal(0, 0.1, 11)
        found = ratio([(100.0, 100.0 * float(np.exp(one))) for one in logs], seed)
        assert found.low <= found.median <= found.high
        held += found.low <= 0.7 <= found.high
    assert 176 <= held <= 200  # 95% nominal; a bootstrap of a median of 11 holds it within some per cent


def test_no_pair_is_no_ratio():
    with pytest.raises(ValueError, match="no round measured both sides"):
        ratio([])
    row = summed_up([sample("bare", 1, 5.0), sample("harness", 2, 4.0)], 100)
    assert row["rounds"] == 0
    assert row["ratio"] is None
    assert table([("tcp", row)]).count("\n") == 1  # only the head


def test_a_half_measured_round_does_not_count():
    samples = [sample("bare", 1, 100.0), sample("harness", 1, 70.0), sample("bare", 2, 1.0), sample("bare", 1, 9.0, 1024)]
    row = summed_up(samples, 100)
    assert row["rounds"] == 1
    assert row["bare_rate_per_s"] == 100.0
    assert row["ratio"].median == pytest.approx(0.7)
    assert "| tcp | 100 B | 100 | 70 | 0.70 (0.70-0.70) | 1.00, 1.00 us | 2.00, 2.00 us | 1 |" in table([("tcp", row)])


def test_what_is_sent_in_the_warm_up_does_not_count():
    assert loop.measure(lambda: 3, 0, 0)["messages"] == 0  # a window that is over
    calls = []
    start = loop.time.perf_counter_ns() + 20_000_000
    counted = loop.measure(lambda: calls.append(loop.time.perf_counter_ns()) or 7, start, start + 20_000_000)
    within = [call for call in calls if call >= start]
    assert len(within) < len(calls)
    assert abs(counted["messages"] - 7 * len(within)) <= 7  # the step under way at the start


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--systems", "kafak"], 'did you mean "kafka"'),
        (["--systems", "memory"], "memory lives within one process"),
        (["--rounds", "0"], "at least 1"),
        (["--seconds", "1.5"], "invalid int value"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        overhead.arguments(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_every_system_has_a_bare_loop():
    measured = {path.stem for path in (ROOT / "benchmarks" / "bare").glob("*.py")} - {"__init__", "loop", "pair"}
    assert measured == set(adapters.BUILT_IN) - {"memory"}
    assert {text.partition(",")[0] for text in overhead.SYSTEMS} == measured


@pytest.mark.parametrize(
    ("system", "side", "names"),
    [
        ("zeromq", "producer", {"io_threads", "sndhwm", "sndbuf", "immediate"}),
        ("zeromq", "consumer", {"io_threads", "rcvhwm", "rcvbuf"}),
        ("kafka", "producer", {"window", "acks", "linger_ms", "batch_size", "enable_idempotence"}),
        ("kafka", "consumer", {"max_poll_records", "enable_auto_commit", "auto_offset_reset"}),
        ("rabbitmq", "producer", {"window"}),
        ("rabbitmq", "consumer", {"prefetch_count"}),
        ("sqs", "producer", {"threads", "connect_timeout", "read_timeout", "total_max_attempts", "retry_mode"}),
        ("sqs", "consumer", {"MaxNumberOfMessages", "WaitTimeSeconds", "VisibilityTimeout"}),
        ("redis_pubsub", "producer", {"protocol", "socket_timeout", "socket_read_size", "socket_keepalive"}),
    ],
)
def test_an_adapter_tells_the_settings_that_its_bare_loop_takes_over(system, side, names):
    effective = adapters.load(system)(Options()).effective()
    assert names <= effective[side].keys()


def test_tcp_is_measured_on_both_sides_and_kept(tmp_path):
    """The whole command, a second a window: a real harness trial, audited, and a real bare loop."""
    kept = tmp_path / "deep" / "overhead.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", "--systems", "tcp", *SHORT, "--json", kept],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(kept.read_text())
    assert (record["format"], record["kind"]) == (1, "overhead")
    samples = {one["side"]: one for one in record["variants"][0]["samples"]}
    assert samples.keys() == {"bare", "harness"}
    assert samples["harness"]["audit"] == "clean"
    assert 1000 < samples["harness"]["rate_per_s"] < samples["bare"]["rate_per_s"]
    assert 0 < samples["bare"]["producer_us"] < samples["harness"]["producer_us"]
    assert record["variants"][0]["summary"][0]["ratio"]["median"] == pytest.approx(
        samples["harness"]["rate_per_s"] / samples["bare"]["rate_per_s"]
    )
    assert done.stdout.startswith("| system | size |")
    assert "| tcp | 100 B |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["deep"], "something was left behind"


def test_what_cannot_be_measured_is_said_and_is_no_success(tmp_path):
    kept = tmp_path / "overhead.json"
    words = [
        "--systems",
        "redis_pubsub,server=external:127.0.0.1:9",
        "--sizes",
        "100 B",
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--json",
        str(kept),
    ]
    assert overhead.main(words) == 1
    entry = json.loads(kept.read_text())["variants"][0]
    assert entry["samples"] == []
    assert "127.0.0.1:9" in entry["not_run"]
