"""The tools that measure at scale: every case comes out whole, and what is over a limit is said."""

from __future__ import annotations

import pytest

from benchmarks import gaps, scale


@pytest.mark.parametrize("case", [scale.CASES[1], scale.CASES[2], scale.CASES[4]], ids=lambda case: case.name)
def test_every_message_is_accounted_for_through_the_real_paths(case):
    row = scale.measure(case, 30_000)
    assert row["send"]["sent"] == sum(side["received"] for side in row["receive"]) == row["analyse"]["processed"] >= 30_000
    assert row["analyse"]["verdict"] == "clean"
    assert row["analyse"]["acknowledged"] == row["send"]["confirmed"] == row["send"]["sent"]
    assert all(side["peak_b"] > 10_000_000 for side in (row["send"], *row["receive"], row["analyse"]))
    assert scale.line(row | {"over": ["an endpoint took 501 MB"]}).endswith("| an endpoint took 501 MB |")


def test_gaps_are_counted_between_trials_of_one_series_that_ended_well():
    def trial(go_ns, **more):
        base = {"status": "ok", "series": 0, "go_ns": go_ns, "window_s": 2.0, "drained_s": 0.5, "workload": {"warmup_s": 1.0}}
        return base | {"variant": {"id": "a"}} | more

    found = gaps.gaps([trial(0), trial(3_600_000_000), trial(10**10, status="failed"), trial(2 * 10**10), trial(3 * 10**10, series=1)])
    assert found == [("a", pytest.approx(0.1))]
