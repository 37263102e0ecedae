"""Trials made invalid on purpose, each by one real cause, through the real runner: what is found is what was done.

That each cause gives its finding and *no other* is shown on plain data (tests/unit/test_findings.py): here the machine may be busy
with other things, and then it says so too (MACHINE).
"""

import subprocess
import sys

import invalid_adapters
import pytest
from command import trials
from invalid_adapters import MEASURE_S, SYSTEMS, WARMUP_S, Alternates, Serves

import adapters
from bench import machine, runner, scenario, servers, session, store
from bench.analysis.summary import summarise
from bench.progress import Progress
from bench.report import verdict
from bench.servers.base import Node, Product
from bench.servers.common import ProcessServer

MACHINE = {"machine-busy", "not-alone", "sender-late", "stolen-time"}
DISTURBED = MACHINE | {"rate-not-reached", "not-steady"}
EXPECTED = {
    "tcp_trickles": "rate-not-reached",
    "tcp_sleeps": "sender-late",
    "tcp_burns": "client-bound",
    "tcp_fades": "not-steady",
    "tcp_shifts": "clock-suspect",
    "tcp_collects": "collections",
    "tcp_reconnects": "connection",
}
TEXT = """\
name: invalid
systems: [{systems}]
topology: {{producers: 1, groups: {{a: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 128 B}}
load: {{{load}}}
timing: {{warmup: {warmup} ms, measure: {measure} ms, drain: 10 s}}
rounds: {rounds}
lanes: {{aa: {aa}, floor: false}}
"""
BUSY = "import sys\nwhile True: pass\n"


def run(folder, systems, load="rate: 2 kHz", *, rounds=1, aa="false", warmup=int(WARMUP_S * 1000), measure=int(MEASURE_S * 1000)):
    """Run in this process; return the run's folder."""
    text = TEXT.format(systems=", ".join(systems), load=load, rounds=rounds, aa=aa, warmup=warmup, measure=measure)
    chosen = scenario.parse(text, where="test")
    writer = runner.create(chosen, folder, command="pytest")
    assert runner.Runner(chosen, writer, Progress(quiet=True)).run() == 0
    return writer.folder


def codes(trial):
    assert (trial["status"], trial["reason"]) == ("ok", None)
    return {finding["code"] for finding in trial["findings"]}


def is_disturbed(found):
    """Whether others took the cores: then a trial can be invalid in more ways than the one that was planted."""
    return bool(found & {"machine-busy", "not-alone"})


@pytest.fixture(scope="module", autouse=True)
def known():
    """The invalid ones, known to this process."""
    named = {name: getattr(invalid_adapters, name.removeprefix("tcp_").capitalize()) for name in SYSTEMS}
    named |= {"tcp_alternates": Alternates, "tcp_serves": Serves}
    for name, made in named.items():
        adapters.register(name, made)
    yield
    for name in named:
        adapters.unregister(name)


@pytest.fixture(scope="module")
def one_each(tmp_path_factory):
    return {trial["variant"]["system"]: trial for trial in trials(run(tmp_path_factory.mktemp("invalid"), SYSTEMS))}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_was_done_is_found(one_each, system):
    found, expected = codes(one_each[system]), EXPECTED[system]
    disturbed = is_disturbed(found)
    if expected not in found:  # it had no core to itself, or its backlog grew for want of one
        assert disturbed
        assert expected == "client-bound" or (expected, "rate-not-reached" in found) == ("not-steady", True)
    assert found - {expected} <= (DISTURBED if disturbed else MACHINE)


@pytest.fixture
def burning():
    """A process that is of no run and takes a core."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        yield
        process.kill()


def test_a_stranger_and_too_few_samples(tmp_path, burning):
    (trial,) = trials(run(tmp_path, ["tcp"], "rate: 300/s"))
    assert {"not-alone", "too-few-samples"} <= codes(trial) <= {"too-few-samples"} | DISTURBED
    assert trial["machine"]["others_cores"] - trial["machine"]["idle_servers_cores"] > 0.25


class Stolen(machine.Watch):
    """On a machine whose hypervisor takes a tenth of the window."""

    def __init__(self, idle=()):
        super().__init__(idle, self.root)

    def end(self, window_s):
        (self.root / "proc/stat").write_text("cpu  30 0 10 150 0 0 0 20 0 0\n")
        return super().end(window_s)


def test_stolen_time(tmp_path, monkeypatch):
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc/stat").write_text("cpu  10 0 0 0 0 0 0 0 0 0\n")
    Stolen.root = tmp_path / "root"
    monkeypatch.setattr(session, "Watch", Stolen)
    (trial,) = trials(run(tmp_path / "results", ["tcp"]))
    assert trial["machine"]["steal"] == pytest.approx(0.1)
    assert "stolen-time" in codes(trial)
    assert codes(trial) <= DISTURBED  # what else ran cannot be seen in a prepared file


class BusyServer:
    """A recipe: one process, one thread of which never rests."""

    system = "tcp_serves"
    default_kinds = ("embedded",)

    def missing(self, kind):
        return None if kind == "embedded" else "only embedded"

    def start(self, request):
        popen = request.guard.spawn([sys.executable, "-c", f"import os\ntry: os.nice(-15)\nexcept OSError: pass\n{BUSY}"], name="busy.1")
        node = Node("busy.1", "broker", popen.pid, "x:1", "x:1")
        return ProcessServer(self.system, "embedded", request.guard, Product("Busy", "1"), (node,), ("x:1",), {}, [popen])

    def install(self):
        raise NotImplementedError


def test_a_server_that_is_the_limit(tmp_path):
    servers.register("tcp_serves", BusyServer())
    try:
        (trial,) = trials(run(tmp_path, ["tcp_serves"], "schedule: max"))
    finally:
        servers.unregister("tcp_serves")
    found = codes(trial)
    assert "saturated" in found
    if "server-bound" not in found:  # on a machine with no core for it
        assert is_disturbed(found)
    assert found <= {"saturated", "server-bound", "client-bound"} | (DISTURBED if is_disturbed(found) else MACHINE)
    assert trial["nodes"][0]["thread_ns"] == pytest.approx(trial["nodes"][0]["cpu_ns"], abs=40_000_000)


def test_the_same_system_that_is_not_the_same_twice(tmp_path):
    folder = run(tmp_path, ["tcp_alternates"], "rate: 4 kHz", rounds=6, aa="true", warmup=50, measure=300)
    found = trials(folder)
    assert [trial["lane"] for trial in found].count("aa") == 6
    assert all("quick" in codes(trial) for trial in found)
    (point,) = summarise(store.open_run(folder))
    (finding,) = point.findings
    assert finding.code == "aa-not-silent"
    assert "p50" in finding.evidence
    assert verdict(store.open_run(folder)).startswith("aa-not-silent: the same system measured twice in a round")
