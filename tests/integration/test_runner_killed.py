"""SIGKILL of the command where a server forks, or the watchdog has gone: within five seconds nothing that it started is left.

Judged by the processes that were seen before, and by command lines that name the run's folder; never by the mark in the environment.
At random moments, and of all other processes of the suite: test_kills.py.
"""

import time

import psutil
import pytest
from command import brokerbench, family, folder_of, gone, line_of, processes, read, small, started, trials, until

from bench import store

WITHIN_S = 5.0


def killed(process, *words):
    """Kill the command; check that all is gone that it had started. Return the command lines of what there was."""
    before = family(process, *words)
    process.kill()
    process.wait()
    began = time.monotonic()
    assert gone(before, WITHIN_S) == []
    while (left := processes(*words)) and time.monotonic() - began < WITHIN_S:  # started after we had looked
        time.sleep(0.02)
    assert left == {}
    return [line for _, _, line in before]


def kept(place):
    """What is on disk is whole: every trial that is there can be read, and the run says that it was interrupted."""
    if not list(place.glob("results/runs/*/run.json")):
        return
    folder = folder_of(place / "results" / "runs")
    assert read(folder / "run.json")["status"] == "running", "nobody was left to say otherwise"
    assert store.open_run(folder).status == "interrupted"
    assert {trial["status"] for trial in trials(folder)} <= {"ok"}
    assert brokerbench("report", folder, cwd=place).returncode == 0


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("system", "version", "program"), [("kafka", "", "java"), ("rabbitmq", "", "beam.smp"), ("rabbitmq", "4.0", "beam.smp")]
)
def test_sigkill_with_a_broker_that_forks(tmp_path, needs, system, version, program):
    needs(system, version=version)
    spec = f"{system},version={version}" if version else system
    process = started("run", small(tmp_path, f'"{spec}", tcp', rounds=9), cwd=tmp_path)
    until(lambda: list(tmp_path.glob("results/runs/*/trials/0001")), process, what="a trial", timeout_s=120)
    lines = killed(process, str(tmp_path))
    assert any(program in line for line in lines)
    kept(tmp_path)


def test_sigkill_of_an_endpoints_runner_is_noticed_by_the_endpoint_itself(tmp_path):
    """The control connection's end of file ends an endpoint even where the watchdog was killed first."""
    process = started("run", small(tmp_path, "tcp", rounds=9, measure="1 s"), cwd=tmp_path)
    until(lambda: list(tmp_path.glob("results/runs/*/trials/0001")), process, what="a trial")
    for one in psutil.Process(process.pid).children():
        if "bench.watchdog" in line_of(one):
            one.kill()
    lines = killed(process, str(tmp_path))
    assert sum("bench.endpoint" in line for line in lines) == 3
