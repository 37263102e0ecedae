"""A mode under a wrong name is told by what a kill of its consumer takes, through the real command and a real server."""

import os

import mislabelled_adapter
import pytest
from command import ROOT, brokerbench, folder_of, trials

SCENARIO = """\
name: mislabelled
systems: [mislabels, "redis_streams,min_idle_time=300"]
topology: {producers: 1, groups: {a: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 600/s}
processing: 2 ms
faults:
  - {fault: kill, target: consumer.a.0, after: 150 processed, for: 100 ms}
timing: {warmup: 0 s, measure: 1 s, drain: 20 s}
batch: {send: 50, ack_every: 50}
rounds: 1
lanes: {aa: false, floor: false}
"""


@pytest.mark.server
@pytest.mark.slow
def test_acknowledged_on_receipt_and_called_otherwise_loses_what_the_killed_consumer_had(tmp_path, needs):
    needs("redis_streams")
    (tmp_path / "mislabelled.yaml").write_text(SCENARIO)
    path = os.pathsep.join([str(mislabelled_adapter.distribution(tmp_path / "distribution")), str(ROOT / "tests")])
    done = brokerbench("run", "mislabelled.yaml", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    wrong, honest = sorted(trials(folder_of(tmp_path / "results" / "runs")), key=lambda trial: trial["variant"]["system"] != "mislabels")
    for trial in (wrong, honest):
        assert (trial["status"], trial["reason"]) == ("ok", None)
        (fault,) = trial["faults"]
        assert fault["in_flight"]["a"] > 0, "600/s are more than 2 ms of work on each allow: there is always something in hand"
    assert wrong["variant"]["mode"] == honest["variant"]["mode"], "both say the same of themselves"
    broken, kept = wrong["audit"]["a"], honest["audit"]["a"]
    assert broken["verdict"] == "violated"
    assert 0 < broken["lost"] == broken["sent"] - broken["processed"] - broken["unknown"]
    assert f"{broken['lost']:,} acknowledged messages lost (at-least-once)" in "; ".join(broken["reasons"])
    assert kept["lost"] == 0
    assert kept["verdict"] in ("clean", "as promised")
