"""Poison through the command, on a real server: what every consumer gives back is found in the dead-letter queue, whole, and is no loss."""

import pytest
from command import brokerbench, folder_of, trials

SCENARIO = """\
name: poison-run
systems: ["rabbitmq,mode=dead-letter,x-delivery-limit=2,server=external:ADDRESS", "rabbitmq,server=external:ADDRESS"]
topology: {producers: 1, groups: {a: 2}, routing: round-robin}
payload: {size: 128 B}
load: {rate: 200/s}
timing: {warmup: 0 s, measure: 1 s, drain: 10 s}
rounds: 1
lanes: {aa: false, floor: false}
poison: {every: 40}
"""


@pytest.mark.server
@pytest.mark.xdist_group("rabbitmq")
def test_poison_goes_where_the_mode_says(tmp_path, servers):
    (tmp_path / "poison.yaml").write_text(SCENARIO.replace("ADDRESS", servers("rabbitmq").bootstrap[0]))
    done = brokerbench("run", "poison.yaml", "--results", "results", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dead, kept = sorted(trials(folder_of(tmp_path / "results")), key=lambda record: record["variant"]["mode"]["name"])
    for record, column in ((dead, "dead_lettered"), (kept, "refused")):
        audit = record["audit"]["a"]
        assert audit[column] == audit["sent"] - audit["processed"] == 5, audit
        assert (audit["lost"], audit["acknowledged"], audit["verdict"]) == (0, audit["sent"], "clean")
    assert sum(one["poison"]["deliveries"] for one in dead["consumers"]) == 5 * 3
    assert any(part["name"].endswith("-dead-a") for part in dead["evidence"])
