"""Carrying out faults: in time, one after another, and nothing is left broken when a trial ends before its time."""

import threading
from types import SimpleNamespace

import pytest

from adapters.errors import Unsupported
from bench.clock import now_ns, sleep_until
from bench.faults.cast import Cast
from bench.faults.inject import Ground, Injector
from bench.faults.model import Fault
from bench.servers.base import Node
from bench.workload import Workload

LOAD = Workload(
    rate_per_s=1.0, size_b=64, warmup_s=0.0, measure_s=60.0, drain_s=1.0, tick_s=0.001, batch=1, ack_every=1, ack_interval_s=1.0, window=1,
    producers=1, groups=(("a", 1),), partitions=1, routing="round-robin", key_count=0, key_zipf=0.0, seed=1,
)  # fmt: skip


class Noted:
    """A server that writes down what is done to it."""

    def __init__(self, pid=1):
        self.nodes = (Node("s.1", "broker", pid, "", ""),)
        self.done = []

    def __getattr__(self, name):
        return lambda *arguments: self.done.append((name, *arguments))


@pytest.fixture
def stage():
    def make(*faults, count=lambda what: 0):
        server, marks = Noted(), []
        session = SimpleNamespace(prepare_again=lambda: server.done.append(("prepared",)))
        cast = Cast(session, 1, LOAD, lambda journal, start: None)
        injector = Injector(faults, cast, Ground(server), count, lambda t, text: marks.append(text))
        cast.go(now_ns())
        injector.go(now_ns())
        return server, injector, marks

    return make


def turned(injector, done):
    deadline = now_ns() + 20_000_000_000
    while not done():
        assert now_ns() < deadline
        injector.turn()
        sleep_until(now_ns() + 1_000_000)


def test_a_node_is_killed_and_started_again_as_often_as_was_asked(stage):
    server, injector, marks = stage(Fault("kill", "server.1", at_s=0.0, for_s=0.01, times=2, every_s=0.02))
    turned(injector, lambda: all(one.state == "over" for one in injector.injections))
    injector.close()
    assert server.done == [("kill", "s.1"), ("restart", "s.1"), ("prepared",)] * 2
    first, second = injector.injections
    assert first.asked_ns <= first.injected_ns < first.healed_ns <= second.injected_ns < second.healed_ns == injector.healed_ns
    assert marks == [f"{word}kill server.1: {i} of 2" for i in (1, 2) for word in ("", "healed: ")]


def test_a_node_that_comes_up_again_is_not_struck_by_another_fault(stage):
    """Killed as it starts, it would count as a server that does not come up: zookeeper-restart on a busy machine."""
    server, injector, _ = stage(
        Fault("kill", "server.1", at_s=0.0, for_s=0.01),
        Fault("pause", "s.1", at_s=0.0, for_s=0.01),
        Fault("kill", "s.2", at_s=0.0, for_s=0.01),
    )
    server.nodes = (*server.nodes, Node("s.2", "broker", 2, "", ""))
    comes_up = threading.Event()
    server.restart = lambda name: (server.done.append(("restart", name)), comes_up.wait(20))
    turned(injector, lambda: ("restart", "s.2") in server.done and ("restart", "s.1") in server.done)
    injector.turn()
    assert ("pause", "s.1") not in server.done
    comes_up.set()
    turned(injector, lambda: all(one.state == "over" for one in injector.injections))
    injector.close()
    first, second, _ = injector.injections
    assert first.healed_ns <= second.injected_ns
    assert [what for what, *_ in server.done].count("resume") == 1


def test_a_condition_is_waited_for_and_said_where_it_was_not_met(stage):
    sent = [0]
    server, injector, _ = stage(
        Fault("pause", "server.1", after=(100, "sent"), for_s=0.001), Fault("stop", "s.1", after=(200, "sent")), count=lambda what: sent[0]
    )
    for _ in range(5):
        injector.turn()
    assert server.done == []
    sent[0] = 150
    turned(injector, lambda: injector.injections[0].state == "over")
    injector.heal(lambda: None)
    injector.close()
    assert server.done == [("pause", "s.1"), ("resume", "s.1")]
    assert injector.injections[1].row(0)["detail"] == "not injected: 150 of 200 sent by the end of the load"


def test_topics_are_not_made_anew_for_a_node_that_no_client_knows(stage):
    """ZooKeeper's topics are the brokers', and one of those may be down meanwhile."""
    server, injector, _ = stage(Fault("kill", "zookeeper.1", at_s=0.0, for_s=0.01))
    server.nodes = (*server.nodes, Node("zookeeper.1", "zookeeper", 1, "", ""))
    turned(injector, lambda: injector.injections[0].state == "over")
    injector.close()
    assert server.done == [("kill", "zookeeper.1"), ("restart", "zookeeper.1")]


def test_the_leader_is_whoever_leads_when_it_is_struck_and_that_node_is_healed(stage):
    server, injector, _ = stage(Fault("kill", "server.leader", at_s=0.0, for_s=0.01, times=2, every_s=0.02))
    injector._cast.session.wiring = {"topic": "t"}
    answers = iter(["", "s.2", "s.1"])  # an election is under way at first
    asked = []

    def leads(wiring):
        asked.append(wiring)
        return {"first": next(answers), "second": "s.9"}

    server.leaders = leads
    turned(injector, lambda: all(one.state == "over" for one in injector.injections))
    injector.close()
    assert server.done == [("kill", "s.2"), ("restart", "s.2"), ("prepared",), ("kill", "s.1"), ("restart", "s.1"), ("prepared",)]
    assert [one.row(0)["node"] for one in injector.injections] == ["s.2", "s.1"]
    assert asked == [{"topic": "t"}] * 3


@pytest.mark.parametrize(("kind", "healed"), [("kill", ("stop",)), ("stop", ("stop",)), ("pause", ("resume", "s.1"))])
def test_a_trial_that_ends_before_its_time_leaves_nothing_broken(stage, kind, healed):
    server, injector, _ = stage(Fault(kind, "server.1", at_s=0.0))
    turned(injector, lambda: injector.injections[0].state == "holds")
    injector.close()
    assert server.done[1:] == [healed]


@pytest.mark.parametrize("target", ["server.1", "peer.1", "links"])
def test_a_link_that_is_cut_when_a_trial_ends_before_its_time_is_whole_again(target):
    links = Noted()
    injector = Injector(
        [Fault("network", target, at_s=0.0, toxic="down")], Cast(SimpleNamespace(), 1, LOAD, lambda journal, start: None),
        Ground(Noted(), links), lambda what: 0, lambda t, text: None,
    )  # fmt: skip
    injector.go(now_ns())
    turned(injector, lambda: injector.injections[0].state == "holds")
    injector.close()
    assert [what for what, *_ in links.done] == ["add", "clear"]


def test_what_cannot_be_broken_is_said_beforehand():
    kill = [Fault("kill", "server.1", at_s=0.0)]
    with pytest.raises(Unsupported, match="no server to break"):
        Ground().check(kill)
    with pytest.raises(Unsupported, match="runs elsewhere"):
        Ground(Noted(pid=None)).check(kill)
    with pytest.raises(Unsupported, match=r"no server\.2; it has 1 node"):
        Ground(Noted()).check([Fault("kill", "server.2", at_s=0.0)])
    with pytest.raises(Unsupported, match=r"no node k\.1; it has s\.1"):
        Ground(Noted()).check([Fault("kill", "k.1", at_s=0.0)])
    silent = Noted()
    silent.leaders = None
    with pytest.raises(Unsupported, match=r"which of its nodes leads; it has s\.1"):
        Ground(silent).check([Fault("kill", "server.leader", at_s=0.0)])
