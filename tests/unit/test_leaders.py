"""Which node led what, when: what is kept of many looks at a server, and what of a server that does not answer."""

from types import SimpleNamespace

import pytest

from bench import leaders
from bench.errors import ServerError

NODES = (SimpleNamespace(name="k.1"), SimpleNamespace(name="k.2"))


def server(answers, nodes=NODES):
    """A server that gives one answer after another, and raises those that are errors."""
    left = iter(answers)

    def ask(wiring):
        assert wiring == {"topic": "t"}
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(system="kafka", nodes=nodes, leaders=ask)


def test_only_what_changed_is_kept():
    both = {"partition 0": "k.1", "controller": "k.2"}
    looks = [both, both, OSError("nobody"), {"partition 0": "", "controller": "k.2"}, {"partition 0": "k.2"}, {"partition 0": "k.2"}]
    recorder = leaders.Recorder(server(looks), {"topic": "t"})
    for _ in looks:
        recorder.look()
    rows = recorder.rows(0)
    assert [(row["what"], row["node"]) for row in rows] == [
        ("partition 0", "k.1"), ("controller", "k.2"), ("partition 0", ""), ("partition 0", "k.2"), ("controller", ""),
    ]  # fmt: skip
    assert [row["t_s"] for row in rows] == sorted(row["t_s"] for row in rows)
    assert recorder.rows(10**9)[0]["t_s"] == pytest.approx(rows[0]["t_s"] - 1)


def test_a_trial_is_recorded_from_its_beginning_and_only_where_nodes_differ():
    with leaders.recorded(server([{"a": "k.1"}]), {"topic": "t"}) as seen:
        assert [row["node"] for row in seen.rows(0)] == ["k.1"]
    for silent in (None, server([], NODES[:1]), SimpleNamespace(nodes=NODES), SimpleNamespace(nodes=NODES, leaders=None)):
        with leaders.recorded(silent, {}) as seen:
            assert seen is None


def test_the_leader_is_the_first_and_an_election_is_waited_for(monkeypatch):
    looks = [OSError("refused"), {}, {"partition 0": "", "partition 1": "k.1"}, {"partition 0": "k.2", "partition 1": "k.1"}]
    assert leaders.leader(server(looks), {"topic": "t"}) == "k.2"
    monkeypatch.setattr(leaders, "_ELECTION_NS", 120_000_000)
    with pytest.raises(ServerError, match="kafka: no leader within 0 s: refused"):
        leaders.leader(server([OSError("refused")] * 100), {"topic": "t"})
