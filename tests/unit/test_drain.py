"""The end of a drain that misses messages: what the broker says it holds decides whether they are lost, late or stuck."""

from collections import deque
from types import SimpleNamespace

import pytest

from adapters.errors import Unreachable
from bench.clock import now_ns
from bench.faults import depth, drain
from bench.faults.depth import Depth

GROUPS = (("a", 1), ("b", 1))
LONG_NS = 60_000_000_000
SILENT = object()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """The same steps in milliseconds."""
    for module, names in ((drain, ("_POLL_NS", "_QUIET_NS", "_CLAIM_NS", "_PROGRESS_NS")), (depth, ("_BETWEEN_NS", "_POLL_NS"))):
        for name in names:
            monkeypatch.setattr(module, name, 1_000_000)


class Broker:
    """A cast whose consumers get no more; ``answers``: what the system says it holds, call after call (the last one for ever)."""

    def __init__(self, **answers):
        self.asked = []
        self._answers = {group: deque(each) for group, each in answers.items()}
        self.session = self
        self.adapter = SimpleNamespace(capabilities=SimpleNamespace(stores=False, in_step=False))  # nobody to claim anything
        self.workload = SimpleNamespace(groups=GROUPS)

    def depth(self, group):
        self.asked.append(group)
        left = self._answers[group]
        answer = left.popleft() if len(left) > 1 else left[0]
        if answer is SILENT:
            raise Unreachable("nobody answers")
        return answer


class Tally:
    """What is missing by group; ``comes()``: deliveries since the last look."""

    def __init__(self, missing, comes=lambda: 0):
        self._missing, self.update = missing, comes

    def missing(self):
        return self._missing


def drained(broker, tally, deadline_ns=LONG_NS, watch=lambda: None):
    return drain.drain(broker, tally, now_ns(), now_ns() + deadline_ns, watch)


def test_a_broker_that_holds_nothing_has_lost_it():
    broker = Broker(a=[0])
    end = drained(broker, Tally([3, 0]))
    assert (end.last_ns, end.moving, end.depth) == (None, False, {"a": Depth(0, 0)})
    assert broker.asked == ["a", "a"], "only of the group that misses something"


def test_what_lies_still_with_the_broker_is_told():
    end = drained(Broker(a=[3], b=[7]), Tally([3, 1]), deadline_ns=0)
    assert not end.moving
    assert end.depth == {"a": Depth(3, 3), "b": Depth(7, 7)}
    assert end.depth["b"].said == "7 messages still lie with the broker: not lost, not delivered"


def test_a_broker_that_is_still_handing_out_is_waited_for():
    broker = Broker(a=[9, 9, 9, 6, 6, 0])
    end = drained(broker, Tally([3, 0]))
    assert (end.depth, len(broker.asked), end.moving) == ({"a": Depth(0, 0)}, 8, False)


def test_what_comes_while_the_broker_is_asked_is_no_end():
    broker = Broker(a=[0])
    late = [3]
    end = drained(broker, Tally([3, 0], comes=lambda: late.pop() if len(broker.asked) == 2 and late else 0))
    assert (len(broker.asked), end.moving) == (4, False)


def test_still_moving_at_the_deadline_is_said():
    broker = Broker(a=range(100_000, 0, -1))
    end = drained(broker, Tally([3, 0]), deadline_ns=0)
    assert end.moving
    assert end.depth["a"].moving
    assert "when the drain's deadline passed" in end.depth["a"].said


def test_who_cannot_say_is_asked_once():
    broker = Broker(a=[None])
    end = drained(broker, Tally([3, 0]))
    assert broker.asked == ["a"]
    assert end.depth == {"a": Depth(None, None)}
    assert (end.depth["a"].held, end.depth["a"].moving, end.depth["a"].said) == (0, False, "")


def test_who_does_not_answer_may_hold_all_of_it():
    broker = Broker(a=[SILENT, SILENT, 5, SILENT, SILENT, 0, 0])
    end = drained(broker, Tally([3, 0]))
    assert end.depth == {"a": Depth(0, 0)}, "asked again until it answers"
    end = drained(Broker(a=[SILENT]), Tally([3, 0]), deadline_ns=0)
    assert (end.last_ns, end.depth) == (None, {"a": Depth(None, None, silent=True)})


def test_what_a_new_member_cut_off_is_waited_for(monkeypatch):
    """In step, of a system that cannot say what it holds (Flume): the rest comes again after the timer, and was not lost."""
    claimed_ns = []
    monkeypatch.setattr(drain, "_claim", lambda *_: claimed_ns.append(now_ns()))
    monkeypatch.setattr(drain, "_MARGIN_NS", 1)
    broker, tally = Broker(a=[None]), Tally([3, 0])
    broker.adapter = SimpleNamespace(capabilities=SimpleNamespace(stores=True, in_step=True), redelivery_s=lambda: 0.5)
    tally.missing = lambda: [0 if claimed_ns and now_ns() > claimed_ns[0] + 100_000_000 else 3, 0]
    assert drained(broker, tally).last_ns is not None
    assert (len(claimed_ns), broker.asked) == (1, [])


def test_nothing_is_asked_where_nothing_is_missing():
    broker = Broker()
    end = drained(broker, Tally([0, 0]))
    assert end.last_ns is not None
    assert (broker.asked, end.depth) == ([], {})


def test_a_dead_server_ends_it():
    def dead():
        raise KeyError("dead")

    with pytest.raises(KeyError, match="dead"):
        drained(Broker(a=[1]), Tally([1, 0]), watch=dead)
