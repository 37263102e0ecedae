"""Network faults through the command: the endpoints are led through the proxies, and nothing is lost by what only delays."""

import pytest
from command import ran

TEXT = """\
name: network
systems: [tcp, redis_pubsub]
topology: {producers: 1, groups: {a: 1, b: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 100/s}
timing: {warmup: 200 ms, measure: 1 s, drain: 10 s}
rounds: 1
lanes: {aa: false, floor: false}
faults:
  - {fault: network, target: links, toxic: timeout, at: 300 ms, for: 300 ms}
  - {fault: network, target: links, toxic: latency, latency: 20 ms, at: 800 ms}
"""


def test_a_black_hole_and_latency_on_every_way(tmp_path):
    done, _, by = ran(tmp_path, TEXT)
    assert done.returncode == 0, done.stderr
    for record in by.values():
        assert record["status"] == "ok", record["reason"]
        hole, delay = record["faults"]
        assert (hole["toxic"], hole["detail"], delay["toxic"], delay["detail"]) == ("timeout", "", "latency", "")
        assert hole["healed_s"] - hole["injected_s"] >= 0.3
        assert [(audit["verdict"], audit["lost"], audit["duplicated"]) for audit in record["audit"].values()] == [("clean", 0, 0)] * 2
        assert record["audit"]["a"]["acknowledged"] == record["producers"][0]["sent"] > 0
        # Some were due as the hole opened and had to wait for its end; none of the last came sooner than it was delayed.
        assert record["latency"]["end_to_end_sent"]["max_ns"] >= 200e6
        assert [node["name"] for node in record["nodes"]][-1] == "proxy"
        assert record["nodes"][-1]["cpu_ns"] > 0
    assert by["tcp"]["cost"]["intermediary_ns"] is None
    served = by["redis_pubsub"]
    # The proxy's CPU is not the server's.
    assert served["cost"]["intermediary_ns"] * served["cost"]["deliveries"] == pytest.approx(served["nodes"][0]["cpu_ns"])
