"""Evidence with real processes: killed after its first run it goes on with the second; a slowed adapter is slower by what was asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import adapters
from adapters.base import Options
from adapters.errors import BadSetting
from benchmarks.evidence import aa, common, power, slowed

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0


@pytest.fixture
def forgotten():
    """What a test registers is unknown to the next."""
    yield
    for name in ("tcp_slowed", "zeromq_slowed"):
        adapters.unregister(name)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_evidence_that_was_killed_goes_on(tmp_path):
    words = [sys.executable, "-m", "benchmarks.evidence.aa", "--quick", "--rounds", "1", "--work", str(tmp_path)]
    first = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + WITHIN_S
    while not (tmp_path / ".run-002").exists() and time.monotonic() < deadline_s and first.poll() is None:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    told = first.communicate()[1]
    assert "2 runs: about" in told
    kept = (tmp_path / "001.json").read_bytes()
    assert not (tmp_path / "002.json").exists()

    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert again.returncode == 0, again.stderr
    assert "2 runs, 1 of them are there already" in again.stderr
    assert "run 2 of 2, zeromq" in again.stderr
    assert "run 1 of 2" not in again.stderr
    assert (tmp_path / "001.json").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "001.json", "002.json", "summary"]

    made = common.read(tmp_path / "summary" / "aa.json", "evidence-aa")
    recorded = [json.loads((tmp_path / f"{number:03d}.json").read_text()) for number in (1, 2)]
    assert [run["figures"] for run in made["runs"]] == [run["figures"] for run in recorded]
    for run in recorded:
        assert run["audit"] == {"clean": 6}
        assert {metric: [len(values) for values in sides.values()] for metric, sides in run["figures"].items()} == {
            metric.name: [1, 1, 1] for metric in aa.METRICS
        }
        assert None not in [value for values in run["figures"]["rate"].values() for value in values]


@pytest.mark.parametrize("percent", [0, 5, 20, 100])
def test_a_consumer_burns_the_share_that_was_asked_of_what_it_used(monkeypatch, percent):
    """On a CPU clock of the test's own: each reading takes 1 us, each poll() before it 800 us."""
    now_ns = [0]

    def clock():
        now_ns[0] += 1_000
        return now_ns[0]

    monkeypatch.setattr(slowed, "thread_time_ns", clock)
    drag = slowed.Drag(percent / 100)
    for _ in range(100):
        now_ns[0] += 800_000
        drag.pay()
    assert now_ns[0] / (100 * 800_000) == pytest.approx(1 + percent / 100, rel=0.005)


@pytest.mark.usefixtures("forgotten")
def test_slowed_systems_are_run_and_audited_like_any_other(tmp_path):
    found = power.measure(common.Size(1, 1, 0.02, 0.1), 1, "tcp", tmp_path)
    assert found["audit"] == {"clean": 1 + len(power.SLOWER)}
    assert found["not_ok"] == []
    for percent in power.SLOWER:
        base, head = power.pair_of(found, "rate", percent)
        assert None not in (*base, *head)


@pytest.mark.usefixtures("forgotten")
def test_a_slowed_adapter_has_the_settings_of_the_real_one_and_its_own():
    slowed.register()
    slowed.register()
    made = adapters.load("zeromq_slowed")(Options(settings={"slow": "7.5", "sndhwm": "10"}))
    assert made.effective()["producer"] | {"slow": 7.5, "sndhwm": 10} == made.effective()["producer"]
    assert made.effective()["consumer"]["slow"] == 7.5
    for wrong in ({"slow": "-1"}, {"slow": "x"}, {"nosuch": "1"}):
        with pytest.raises(BadSetting):
            adapters.load("tcp_slowed")(Options(settings=wrong))
