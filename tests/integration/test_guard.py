"""Nothing that a guard started outlives its runner. Looks at command lines, never at the mark in the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bench.errors import EnvironmentProblem
from bench.guard import Guard
from bench.servers import recipe

RUNNER = """
import os, sys, time
from pathlib import Path
from bench.guard import Guard
from bench.servers import start
from bench.servers.base import Request
folder = Path(sys.argv[1])
with Guard(sys.argv[2]) as guard:
    for system, kind in [word.split("=") for word in sys.argv[3:]]:
        start(system, Request(kind, folder / (system + kind), guard.run_id, guard))
    guard.spawn(["sh", "-c", "sleep 98765 & sleep 98765", str(folder)])
    print("up", flush=True)
    time.sleep(600)
"""


def alive(identities):
    """Those of the processes that still live: same pid and start time, no zombie."""
    left = []
    for pid, born, line in identities:
        try:
            process = psutil.Process(pid)
            if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                left.append(line)
        except psutil.NoSuchProcess:
            continue
    return left


def all_gone(identities, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while (left := alive(identities)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def runner(folder, *servers):
    """A runner process with servers that answer, and all that it has started (also what has left its tree)."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(folder), f"guard-{os.getpid()}-{folder.name}", *servers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    line = process.stdout.readline()
    if line != "up\n":
        process.kill()
        pytest.fail(f"the runner did not come up: {line}{process.stderr.read()}")
    tree = psutil.Process(process.pid).children(recursive=True)
    strays = [one for one in psutil.process_iter() if str(folder) in " ".join(_line(one)) and one.pid != process.pid]
    found = {one.pid: (one.pid, one.create_time(), " ".join(_line(one))[:200]) for one in [*tree, *strays]}
    return process, list(found.values())


def _line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.server
@pytest.mark.timeout(240)
def test_sigkill_of_the_runner_leaves_no_server(tmp_path, needs):
    for system in ("redis_pubsub", "kafka", "rabbitmq"):
        needs(system)
    servers = ["redis_pubsub=native", "kafka=native", "rabbitmq=native"]
    if recipe("redis_pubsub").missing("embedded") is None:
        servers.append("redis_pubsub=embedded")
    process, identities = runner(tmp_path, *servers)
    lines = " ".join(line for _, _, line in identities)
    for program in ("redis-server", "java", "beam.smp", "epmd", "erl_child_setup", "bench.watchdog", "sleep 98765"):
        assert program in lines
    process.kill()
    process.wait()
    assert all_gone(identities) == []
    assert [line for one in psutil.process_iter() if str(tmp_path) in (line := " ".join(_line(one)))] == []


@pytest.mark.server
@pytest.mark.timeout(120)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_every_way_to_end_the_runner_leaves_nothing(tmp_path, signum, needs):
    kind = next((kind for kind in ("native", "embedded") if recipe("redis_pubsub").missing(kind) is None), None)
    if kind is None:
        needs("redis_pubsub")
    process, identities = runner(tmp_path, f"redis_pubsub={kind}")
    os.kill(process.pid, signum)
    process.communicate(timeout=60)
    assert all_gone(identities) == []


def test_children_that_nobody_registered_are_ended_too():
    with Guard(f"guard-{os.getpid()}-strays") as guard:
        guard.spawn(["sh", "-c", "setsid sleep 87654 & exec sleep 1"])  # in a session of its own, its parent ends
        deadline = time.monotonic() + 10
        while not (strays := [one for one in psutil.process_iter() if _line(one) == ["sleep", "87654"]]) and time.monotonic() < deadline:
            time.sleep(0.01)
        identities = [(one.pid, one.create_time(), "stray") for one in strays]
        assert len(identities) == 1
    assert alive(identities) == []


def test_registered_ones_that_blank_their_environment_are_ended_too():
    code = "import os, sys; os.execve('/bin/sleep', ['sleep', '76543'], {})"
    with Guard(f"guard-{os.getpid()}-blank") as guard:
        popen = guard.spawn([sys.executable, "-c", code])
        process = psutil.Process(popen.pid)
        deadline = time.monotonic() + 10
        while process.name() != "sleep" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.environ() == {}
    assert popen.poll() == -signal.SIGKILL


def test_a_watchdog_that_somebody_killed_is_replaced_and_told_everything(tmp_path):
    code = (
        "import os, signal, sys, time\n"
        "from bench.guard import Guard\n"
        f"guard = Guard('guard-{os.getpid()}-replaced')\n"
        "blank = [sys.executable, '-c', \"import os; os.execve('/bin/sleep', ['sleep', '65432'], {})\"]\n"
        "first = guard.spawn(blank)\n"
        "guard.at_death('touch', ['touch', sys.argv[1]])\n"
        "guard._watchdog.kill(); guard._watchdog.wait()\n"
        "second = guard.spawn(blank)\n"
        "time.sleep(0.5)\n"
        "print(first.pid, second.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "touched")], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (any(psutil.pid_exists(pid) for pid in pids) or not (tmp_path / "touched").exists()):
        time.sleep(0.02)
    assert [pid for pid in pids if psutil.pid_exists(pid) and _line(psutil.Process(pid)) == ["sleep", "65432"]] == []
    assert (tmp_path / "touched").exists()


def test_a_killed_watchdog_is_replaced_before_anything_has_to_be_told():
    with Guard(f"guard-{os.getpid()}-check") as guard:
        first = guard._watchdog
        guard.check()
        assert guard._watchdog is first
        first.kill()
        first.wait()
        guard.check()
        assert guard._watchdog is not first
        assert guard._watchdog.poll() is None
    guard.check()
    assert guard._watchdog.poll() == 0, "a closed guard starts none"


def test_an_orderly_end_runs_no_command_of_the_watchdog(tmp_path):
    with Guard(f"guard-{os.getpid()}-orderly") as guard:
        guard.at_death("touch", ["touch", tmp_path / "touched"])
    assert not (tmp_path / "touched").exists()


def test_the_watchdog_ends_with_its_runner():
    guard = Guard(f"guard-{os.getpid()}-ends")
    watchdog = guard._watchdog
    assert watchdog.poll() is None
    guard.close()
    guard.close()
    assert watchdog.poll() == 0
    with pytest.raises(EnvironmentProblem, match="guard is closed"):
        guard.spawn(["true"])


def test_stop_asks_first_and_kills_after_the_limit(tmp_path):
    polite = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('on', flush=True)\ntime.sleep(60)"
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on', flush=True)\ntime.sleep(60)"
    with Guard(f"guard-{os.getpid()}-stop") as guard:
        for index, (code, result) in enumerate([(polite, 7), (stubborn, -signal.SIGKILL)]):
            log = tmp_path / f"{index}.log"
            popen = guard.spawn([sys.executable, "-c", code], stdout=log)
            deadline = time.monotonic() + 20
            while log.read_bytes() != b"on\n" and time.monotonic() < deadline:
                time.sleep(0.01)
            assert guard.stop(popen, 0.5 if index else 20) == result
            assert guard.stop(popen, 1) == result


def test_a_command_that_is_not_there_is_named():
    with (
        Guard(f"guard-{os.getpid()}-absent") as guard,
        pytest.raises(EnvironmentProblem, match=r"the broker cannot be started: .*no-such-command"),
    ):
        guard.spawn(["no-such-command"], name="the broker")


@pytest.mark.parametrize("bad", ["", "two words", "a\nb", "a\0b"])
def test_run_ids_are_one_word(bad):
    with pytest.raises(EnvironmentProblem, match="a run id is one word"):
        Guard(bad)
