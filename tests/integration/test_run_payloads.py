"""A whole run that sends real payloads of several sizes: audited byte by byte, kept with the run, told in its report."""

import json

import pytest
from command import brokerbench, folder_of, trials

from bench import scenario

SCENARIO = """\
name: real
title: Real orders
systems: [tcp, zeromq]
topology: {producers: 2, groups: {a: 1}, partitions: 2}
payload: {file: orders.jsonl}
load: {rate: 4 kHz}
timing: {warmup: 100 ms, measure: 500 ms, drain: 20 s}
rounds: 1
lanes: {aa: false, floor: false}
"""


def test_a_run_of_real_payloads(tmp_path):
    bodies = [json.dumps({"order": i, "items": ["x" * (i * 37 % 900)]}) for i in range(300)]
    (tmp_path / "orders.jsonl").write_text("\n".join(bodies))
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    done = brokerbench("run", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path / "results" / "runs")
    sizes = [64 + len(body) for body in bodies]
    words = f"{min(sizes)} B to {max(sizes)} B (mean {round(sum(sizes) / 300)} B, file)"
    for trial in trials(folder):
        assert (trial["point"]["payload"], trial["workload"]["bodies"]["mean_b"]) == (words, sum(sizes) / 300)
        assert trial["audit"]["a"]["sent"] == trial["audit"]["a"]["processed"] == 2400
        assert trial["audit"]["a"]["verdict"] == "clean"
        assert trial["rates"]["slowest_group_b_per_s"] == pytest.approx(trial["rates"]["slowest_group_per_s"] * sum(sizes) / 300)
    assert words in (folder / "report.md").read_text()
    assert (folder / "payloads.jsonl").read_text() == "\n".join(bodies)
    again = scenario.load(folder / "scenario.yaml").points()[0].workload.bodies
    assert again.digest == trials(folder)[0]["workload"]["bodies"]["digest"]
