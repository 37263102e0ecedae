"""Where processes run: the plan for any number of cores, and that it is carried out."""

import os
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import environment, placement, scenario, stage

COUNTS = {"producers": st.integers(1, 5), "consumers": st.integers(1, 9), "nodes": st.integers(0, 3)}


@given(st.integers(1, 40), st.fixed_dictionaries(COUNTS))
def test_with_cores_enough_nobody_shares_with_an_endpoint(count, of):
    cores = tuple(range(100, 100 + count))
    decision = placement.decide("auto", cores, endpoints=of["producers"] + of["consumers"], nodes=of["nodes"])
    made = placement.assign(cores, **of)
    assert (len(made.producers), len(made.consumers)) == (of["producers"], of["consumers"])
    assert {*made.producers, *made.consumers, *made.nodes} <= set(cores)
    assert bool(made.nodes) == bool(of["nodes"])
    own = [*made.producers, *made.consumers]
    if decision.pinned:
        assert len(set(own)) == len(own), "one each"
        assert not set(own) & set(made.nodes)
        assert len(made.nodes) >= of["nodes"]
        assert cores[0] not in {*own, *made.nodes}, "left to the rest of the machine"
    else:
        assert count < sum(of.values()) + 1
        counts = [own.count(core) for core in cores]
        assert max(counts) - min(counts) <= 1, "dealt in turn"
        assert made.nodes in ((), cores)


@pytest.mark.parametrize(
    ("asked", "cores", "quota", "pinned", "why"),
    [
        ("auto", 6, None, True, "6 cores are enough for 4 endpoints, 1 server node and the rest of the machine"),
        ("auto", 5, None, False, "5 cores are fewer than the 6 for 4 endpoints, 1 server node and the rest of the machine"),
        ("auto", 16, 2.5, False, "2 cores are fewer than the 6"),
        ("off", 64, None, False, "asked for"),
        ("on", 64, None, True, "asked for"),
        ("on", 2, None, True, "asked for, though 2 cores are fewer than the 6"),
    ],
)
def test_when_it_is_done_and_why(asked, cores, quota, pinned, why):
    found = placement.decide(asked, range(cores), endpoints=4, nodes=1, quota=quota)
    assert (found.pinned, found.described()["pin"]) == (pinned, asked)
    assert found.why.startswith(why)


def test_a_scenario_asks_by_its_largest_point():
    text = "name: x\nsystems: [{}]\npayload: {{size: 64 B}}\nload: {{rate: 1 kHz}}\nsweep: {{groups: [1, 3]}}\npin: {}\n"
    tcp = scenario.parse(text.format("tcp", "on"), where="x")
    assert (tcp.pin, stage.decided(tcp).pinned, stage.nodes_of(tcp)) == ("on", True, 0)
    kafka = scenario.parse(text.format("tcp, kafka", "off"), where="x")
    assert (kafka.pin, stage.decided(kafka).pinned, stage.nodes_of(kafka)) == ("off", False, 1)
    auto = stage.decided(tcp.override(pin="auto"))
    assert auto.pinned is (len(placement.usable()) >= 5 and (environment.quota() or 99) >= 5)
    assert "the 5 for 4 endpoints" in auto.why or auto.pinned
    assert scenario.parse(tcp.to_yaml(), where="again").pin == "on"


def test_a_pinned_machine_has_another_name():
    assert environment.machine_name(pinned=True) == environment.machine_name() + "-pinned"


THREADS = """\
import threading, time
for _ in range(5):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("on", flush=True)
time.sleep(60)
"""


def test_every_thread_of_a_process_is_pinned():
    core = placement.usable()[-1]
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            placement.pin(process.pid, [core])
            tids = [thread.id for thread in psutil.Process(process.pid).threads()]
            assert len(tids) == 6
            assert [os.sched_getaffinity(tid) for tid in tids] == [{core}] * 6
        finally:
            process.kill()
    placement.pin(process.pid, [core])  # has ended: nothing happens
