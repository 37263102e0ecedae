"""The machine as it is recorded and judged: facts against independent sources, every warning made to happen."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from bench import environment
from bench.errors import EnvironmentProblem

ROOT = Path(environment.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def captured():
    return environment.capture()


@pytest.fixture(scope="module")
def checks():
    return {check.name: check for check in environment.doctor()}


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- what is recorded --------------------------------------------------------------------------------------------------


def test_it_is_plain_json(captured):
    assert json.loads(json.dumps(captured, allow_nan=False)) == captured


def test_the_machine_is_this_one(captured):
    machine = captured["machine"]
    assert machine["cores"] == int(said("getconf", "_NPROCESSORS_ONLN"))
    assert machine["kernel"] == said("uname", "-sr")
    assert machine["architecture"] == said("uname", "-m")
    assert machine["memory_b"] == int(said("getconf", "_PHYS_PAGES")) * int(said("getconf", "PAGE_SIZE"))
    assert captured["placement"]["usable_cores"] == int(said("nproc"))
    assert captured["state"]["load_1m"] >= 0
    assert 0 <= captured["state"]["steal"] <= 1


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (("debian", "12", "Intel(R) Xeon(R) Processor", 2), "debian12-xeon-2-cores"),
        (("ubuntu", "24.04", "AMD EPYC 7763 64-Core Processor", 1), "ubuntu24-epyc-1-core"),
        (("arch", "", "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", 8), "arch-core-8-cores"),
        (("alpine", "3.20.1", "0xd40", 4), "alpine3-0xd40-4-cores"),
        (("", "", "Some/Thing ../..", 3), "some-thing-3-cores"),
    ],
)
def test_a_machine_has_a_name_for_its_folder(facts, name):
    assert environment.named(*facts) == name


def test_this_machine_has_a_folder(captured):
    folder = environment.machine_folder(Path("here"))
    assert folder.parent == Path("here") / "reference"
    assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*-cores?", folder.name)


def test_clients_and_their_versions(captured):
    assert {"kafka-python", "pika", "boto3", "pyzmq", "redis"} <= set(captured["clients"])
    for name, version in captured["clients"].items():
        assert version == metadata.version(name)
    assert captured["libraries"]["numpy"] == metadata.version("numpy")


def test_the_revision_is_git_s_own(captured):
    if not (ROOT / ".git").exists():
        assert captured["brokerbench"]["revision"] is None
        return
    assert re.fullmatch(r"[0-9a-f]{40}", captured["brokerbench"]["revision"])
    assert isinstance(captured["brokerbench"]["changed"], bool)


def test_affinity_is_that_of_the_process():
    one = min(os.sched_getaffinity(0))
    code = "import json; from bench import environment as e; print(json.dumps(e.capture()['placement']))"
    assert json.loads(
        subprocess.run(["taskset", "-c", str(one), sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    ) == {"affinity": [one], "usable_cores": 1}


def test_nothing_that_identifies_its_owner(captured):
    text = json.dumps(captured)
    assert socket.gethostname() not in text or len(socket.gethostname()) < 5
    assert str(Path.home()) not in text


def test_without_client_libraries(monkeypatch):
    from adapters.errors import NotInstalled

    def load(name, client):
        raise NotInstalled(name)

    monkeypatch.setattr(environment.adapters, "load", load)
    assert environment.clients()["(of kafka)"] is environment.clients()["confluent-kafka"] is None


# --- the doctor --------------------------------------------------------------------------------------------------------


def test_every_check_says_what_it_found_and_what_to_do(checks):
    assert len(checks) >= 14
    for check in checks.values():
        assert check.ok in {"ok", "warn", "bad"}
        assert check.found
        assert check.advice or check.ok == "ok"
    assert {
        "clock",
        "cores",
        "memory",
        "disk for results",
        "disk for servers",
        "load",
        "steal",
        "file descriptors",
        "loopback",
        "Python",
        "Java",
    } <= set(checks)


def test_here_nothing_is_bad(checks):
    assert [check for check in checks.values() if check.ok == "bad"] == []


def test_a_time_namespace_is_seen():
    """In a real one where this user may make one; the same text otherwise."""
    code = "from bench import environment as e; c = e._clock(); print(c.ok, c.found)"
    command = ["unshare", "--time", "--fork", "--monotonic", "5000", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.skip(f"cannot make a time namespace here: {done.stderr.strip()}")
    assert done.stdout.startswith("warn a time namespace with offsets")
    assert "'monotonic': 5000000000000" in done.stdout


def test_offsets_of_the_clocks(monkeypatch):
    monkeypatch.setattr(environment, "_text", lambda path: "monotonic  -3  500\nboottime 0 0")
    assert environment.timens_offsets() == {"monotonic": -2_999_999_500, "boottime": 0}
    assert environment._clock().ok == "warn"
    monkeypatch.setattr(environment, "_text", lambda path: None)
    assert environment.timens_offsets() is None
    assert environment._clock().ok == "ok", "a kernel without time namespaces"


def test_a_coarse_clock(monkeypatch):
    ticks = iter(range(10**9))
    monkeypatch.setattr(environment.clock, "now_ns", lambda: next(ticks) // 3 * 4_000_000)
    check = environment._clock()
    assert check.ok == "warn"
    assert "steps of 4000000 ns" in check.found


class Memory(NamedTuple):
    total: int
    available: int


def test_little_memory(monkeypatch):
    monkeypatch.setattr(environment.psutil, "virtual_memory", lambda: Memory(8 << 30, 1 << 30))
    assert (environment._memory().ok, environment._memory().found) == ("warn", "1.0 GiB available of 8.0 GiB")
    monkeypatch.setattr(environment.psutil, "virtual_memory", lambda: Memory(8 << 30, 5 << 30))
    assert environment._memory().ok == "ok"
    monkeypatch.setattr(environment, "_cgroup_memory_b", lambda: 1 << 30)
    assert (environment._memory().ok, environment._memory().found) == ("warn", "1.0 GiB available of 1.0 GiB")


def test_few_cores(monkeypatch):
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(environment, "quota", lambda: None)
    assert environment._cores().ok == "ok"
    monkeypatch.setattr(environment, "quota", lambda: 1.5)
    assert environment._cores().ok == "warn"
    assert "1.5 allowed by the cgroup" in environment._cores().found


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 1 << 30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "memory.limit_in_bytes": "9223372036854771712"}, 0.5, None),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_both_versions_of_cgroups(monkeypatch, files, cores, memory):
    monkeypatch.setattr(environment, "_text", lambda path: files.get(path.rsplit("/", 1)[1]))
    assert environment.quota() == cores
    assert environment._cgroup_memory_b() == memory


def test_a_loaded_machine(monkeypatch):
    monkeypatch.setattr(environment.psutil, "cpu_count", lambda logical=True: 4)
    for load, ok in ((0.9, "ok"), (1.1, "warn")):
        monkeypatch.setattr(environment.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert environment._load().ok == ok


class Times(NamedTuple):
    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float


@pytest.mark.parametrize(
    ("after", "ok", "found"), [((10, 0, 0, 90, 0, 0, 0, 0), "ok", "0.0% now"), ((10, 0, 0, 60, 0, 0, 0, 30), "warn", "30.0% now")]
)
def test_a_machine_that_is_stolen_from(monkeypatch, after, ok, found):
    seen = iter([Times(*[0] * 8), Times(*after), Times(*[100] * 7, 0)])
    monkeypatch.setattr(environment.psutil, "cpu_times", lambda: next(seen))
    check = environment._steal()
    assert check.ok == ok
    assert check.found.startswith(found)


def test_few_file_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        check = environment._files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (check.ok, check.found) == ("warn", "512 for one process")


def test_no_loopback():
    """A network namespace of its own has lo down, where this user may make one."""
    code = "from bench import environment as e; c = e._loopback(); print(c.ok, c.found)"
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.skip(f"cannot make a network namespace here: {done.stderr.strip()}")
    assert done.stdout.startswith("bad 127.0.0.1:")


def test_the_disk_for_results(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKERBENCH_RESULTS", str(tmp_path / "not" / "yet"))
    check = environment._disk("disk", environment.store.results_dir, "BROKERBENCH_RESULTS")
    assert check.ok in {"ok", "warn"}
    assert check.found.endswith(f"free in {tmp_path}")
    assert not (tmp_path / "not").exists(), "a check makes nothing"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BROKERBENCH_RESULTS", str(tmp_path / "file" / "deeper"))
    assert environment._disk("disk", environment.store.results_dir, "BROKERBENCH_RESULTS").ok == "bad"
    monkeypatch.setenv("BROKERBENCH_RESULTS", "/proc")
    assert environment._disk("disk", environment.store.results_dir, "BROKERBENCH_RESULTS").ok == "bad"


def test_a_full_disk_and_a_home_that_cannot_be_made(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 30))
    check = environment._disk("disk", lambda: tmp_path, "BROKERBENCH_HOME")
    assert (check.ok, check.found) == ("warn", f"1.0 GiB free in {tmp_path}")

    def no_home():
        raise EnvironmentProblem("/x cannot be made: Permission denied")

    check = environment._disk("disk", no_home, "BROKERBENCH_HOME")
    assert (check.ok, check.found) == ("bad", "/x cannot be made: Permission denied")


def test_missing_tools_leave_systems_out(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    check = environment._java()
    assert (check.ok, check.found) == ("warn", "none")
    assert "apt-get install" in check.advice
    assert environment._tool("X", "no-such-program", "get it").ok == "warn"
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    assert environment._tool("Redis", "redis-server", "get it").found == str(tmp_path / "redis-server")


def test_an_old_java(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert (environment._java().ok, environment._java().found) == ("warn", "11.0.2")
