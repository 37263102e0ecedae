"""The verb gate by the command: revisions of a user's adapter, broken promises, the past, and what a pipeline reads."""

import json

import pytest
from command import brokerbench, folder_of, read, trials
from repository import commit, created, git
from wrong_adapters import distribution

from bench import cli, scenario
from bench.gate.run import Options, run

ADAPTER = """\
import time

from adapters.tcp import Tcp


class LateConsumer:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def poll(self, max_messages, timeout_s):
        time.sleep({pause})
        return self.inner.poll(max_messages, timeout_s)


class Mine(Tcp):
    def consumer(self, wiring, group, member):
        return LateConsumer(super().consumer(wiring, group, member))
"""
SCENARIO = """\
name: small
topology: {{producers: 1, groups: {{a: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 128 B}}
load: {{rate: {rate}}}
timing: {{warmup: 20 ms, measure: 100 ms, drain: 5 s}}
"""
AWAY_S = 0.02  # that the first revision sleeps before each poll: a busy machine makes it no shorter


@pytest.fixture
def clone(tmp_path):
    """A repository of one adapter, on PYTHONPATH: slow in its first revision, fast in its second."""
    folder = created(tmp_path / "mine")
    for pause in (AWAY_S, 0):
        (folder / "my_adapter.py").write_text(ADAPTER.format(pause=pause))
        commit(folder, f"sleeps {pause} s", "my_adapter.py")
    info = folder / "mine-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[brokerbench.adapters]\nmine = my_adapter:Mine\n")
    return folder


def test_base_is_an_earlier_revision_of_the_users_adapter(clone, tmp_path):
    (tmp_path / "small.yaml").write_text(SCENARIO.format(rate="4 kHz"))
    past = {"figures": {"memory": {"head": [1e9, 1e9]}}, "lane": {"noise": {"memory": 1.0}}}  # more than two Pythons with numpy need
    (tmp_path / "past.json").write_text(json.dumps({"scenario": "small", "points": {"memory": "at 4,000/s"}, "measurements": [past]}))
    words = ["small.yaml", "--base", "mine,rev=HEAD~1", "--head", "mine", "--metrics", "memory", "--rounds", 6, "--results", "results"]
    words += ["--baseline", "past.json", "--junit", "out/junit.xml", "--summary", "out/page.md", "--github-benchmark", "out"]
    home = str(tmp_path / "home")
    done = brokerbench("gate", *words, cwd=tmp_path, PYTHONPATH=str(clone), BROKERBENCH_HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(tmp_path / "results")
    gate, kept = read(folder / "gate.json"), trials(folder)
    assert (gate["verdict"], gate["exit_code"], gate["status"], gate["rounds"]) == ("passed", 0, "complete", 6)
    assert gate["base"]["revision"] == git(clone, "rev-parse", "HEAD~1")
    assert gate["base"]["adapter"].startswith(home)
    assert gate["head"]["adapter"] == str(clone / "my_adapter.py")
    (row,) = gate["measurements"][0]["rows"]
    assert (row["metric"], row["verdict"], row["rounds"]) == ("memory", "same", 6), "which no load of the machine changes"
    latencies = [trial["latency"]["end_to_end_intended"]["p50_ns"] for trial in kept if trial["variant"]["id"] == "base"]
    assert min(latencies) > AWAY_S / 4 * 1e9, "base ran its own revision"
    assert [trial["variant"]["id"] for trial in kept[:4]] in (["base", "head", "head", "base"], ["head", "base", "base", "head"])
    assert len(kept) == 12
    assert read(folder / "run.json")["kind"] == "gate"
    assert (folder / "gate.md").read_text() in done.stdout
    assert "**Passed**" in done.stdout
    assert gate["past"] == {"source": "past.json", "alone": False, "standings": {"memory": "passes"}}
    assert "Nor is it worse than the past, with margins widened by the measured noise" in done.stdout
    out = tmp_path / "out"
    assert (out / "page.md").read_text() == (folder / "gate.md").read_text() + "\n"
    assert 'tests="3"' in (out / "junit.xml").read_text()
    assert read(out / "smaller-is-better.json")[0]["name"] == "small, mine: memory of the endpoints, at 4,000/s"
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "gate.md").read_text() == (folder / "gate.md").read_text()


def test_a_broken_promise_ends_the_gate(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path / "wrong"))
    slower = scenario.parse(SCENARIO.format(rate="100 kHz"), where="test")
    found = run(slower, Options("tcp", "repeats,mode=once", ("p50",), rounds=6), results=tmp_path / "results")
    assert (found.verdict, found.exit_code) == ("failed", 1)
    assert found.data["reasons"][0] == "head breaks its promise"
    assert "repeated (at-most-once)" in found.data["reasons"][1]
    assert len(trials(found.folder)) == 2, "base was measured beside it, and no further round is worth making"
    assert read(found.folder / "gate.json") == found.data


def test_the_page_says_which_servers_were_compared(tmp_path):
    found = run(scenario.parse(SCENARIO.format(rate="1 kHz"), where="test"), Options("redis-pubsub", "redis-pubsub", ("memory",), rounds=2),
                results=tmp_path / "results")  # fmt: skip
    (kept, *_) = trials(found.folder)
    server = f"{kept['server']['product']} {kept['server']['version']}"
    assert [found.data[side]["server"] for side in ("base", "head")] == [server, server]
    assert (found.folder / "gate.md").read_text().count(f"`redis-pubsub`, {server}, redis ") == 2
