"""What nodes say of themselves while a trial runs: what is kept of many looks, and how a report tells it."""

import json
from types import SimpleNamespace

from make_results import POINTS, five, make
from test_report import page_of

from bench import health
from bench.report import text


def server(answers):
    """A server whose nodes answer one look after another; a node that does not answer is not in the answer."""
    left, anew = iter(answers), []

    def ask(begin):
        anew.append(begin)
        return {} if begin else next(left)

    return SimpleNamespace(health=ask), anew


def test_the_last_and_the_most_are_kept_and_silence_is_counted():
    calm, busy = {"mode": "leader", "outstanding": 0.0, "requests": 10.0}, {"mode": "follower", "outstanding": 7.0, "requests": 12.0}
    looked_at, anew = server([{"z.1": calm, "z.2": calm}, {"z.1": busy}, {"z.1": calm}])
    recorder = health.Recorder(looked_at.health)
    recorder.start()
    for _ in range(2):
        recorder.look()
    recorder.stop()
    recorder.stop()
    assert anew == [True, False, False, False]
    first, second = recorder.rows()
    assert first == {"node": "z.1", "looks": 3, "answered": 3, "last": calm, "most": {"outstanding": 7.0, "requests": 12.0}}
    assert second == {"node": "z.2", "looks": 3, "answered": 1, "last": calm, "most": {"outstanding": 0.0, "requests": 10.0}}


def test_a_trial_has_it_only_where_a_server_says_it():
    with health.recorded(server([{"z.1": {"outstanding": 1.0}}])[0]) as told:
        pass
    assert [row["looks"] for row in told.rows()] == [1]
    for silent in (None, SimpleNamespace(), SimpleNamespace(health=None)):
        with health.recorded(silent) as told:
            assert told is None


def test_the_report_tells_it_by_node_and_figure(tmp_path):
    folder = make(tmp_path / "run", five()[:2], rounds=2, points=POINTS[:1])
    for path in folder.glob("trials/*/trial.json"):
        trial = json.loads(path.read_text())
        late = 1 + trial["round"]
        row = {"node": "zookeeper.1", "looks": 30, "answered": 28, "last": {"mode": "standalone", "latency mean ms": late}, "most": {}}
        if trial["variant"]["id"] == "kafka":
            path.write_text(json.dumps({**trial, "health": [{**row, "most": {"latency mean ms": 10 * late}}]}))
    (rows,) = [rows for caption, rows in page_of(folder).tables.items() if caption == "What servers' nodes said of themselves"]
    told = {row[1]: row[2:] for row in rows if row[0] == "zookeeper.1"}
    assert told["did not answer"][0] == "4 of 60 looks"
    assert told["mode"][0] == "standalone"
    assert told["latency mean ms"] == [f"2.50 (2.00{text.DASH}3.00)", "30.0"]
    assert "zookeeper.1" not in page_of(make(tmp_path / "other", five()[:1], rounds=1, points=POINTS[:1])).plain
