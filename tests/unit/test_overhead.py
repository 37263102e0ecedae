"""The overhead tool: its arithmetic, its record, its tables, its command line. No process is started here."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.base import Options
from bench import cli
from bench.errors import EnvironmentProblem, Incompatible, UsageError
from bench.overhead import figures, record, run, table
from bench.overhead.bare import loop, step
from bench.overhead.record import Asked, Measured, Record
from bench.spec import parse
from bench.store import RunWriter

BARE = Path(loop.__file__).parent
ASKED = Asked(("tcp", "zeromq,profile=tuned"), (100, 1024), 10, 1.0, 0.5, 256, 1, distinct=False)
ENVIRONMENT = {
    "machine": {"cpu": "one", "cores": 2, "os": "Debian"}, "placement": {"affinity": [0, 1]}, "python": {"version": "3.11.2"},
    "clients": {"pyzmq": "27.1"}, "brokerbench": {"version": "0.1.0", "revision": "a" * 40, "changed": False},
}  # fmt: skip
SITTING = {"started": "2026-11-22T20:00:00.000Z", "ended": None, "environment": ENVIRONMENT, "disturbed": [], "steal": 0.0}


def sample(lane, rate=1e6, send=100.0, receive=100.0, audit=None):
    start_up = {side: {"import_ns": 5e6, "rest_ns": 2e8} for side in figures.SIDES} if lane == "harness" else {}
    return {
        "lane": lane, "position": 0, "rate_per_s": rate, "send_ns": send, "receive_ns": receive, "send_peak_b": 20_000_000,
        "receive_peak_b": None, "audit": audit, "start_up": start_up,
    }  # fmt: skip


def block(number, *samples, size_b=100):
    return {"round": number, "size_b": size_b, "sitting": 1, "samples": list(samples)}


def measured(variant="tcp", rounds=10, lanes=("harness", "bare"), size_b=100, **of_harness):
    """Rounds that differ tenfold among themselves, and the harness from the rest by the same each time."""
    blocks = []
    for number in range(1, rounds + 1):
        scale = 10.0 ** (number % 4)
        made = {"rate": 0.8 * scale, "send": 130.0 + number, "receive": 250.0 + number} | of_harness
        samples = [sample(lane, scale, 100.0 + number, 100.0 + number) for lane in lanes if lane != "harness"]
        blocks.append(block(number, sample("harness", **made), *samples, size_b=size_b))
    return Measured(variant, blocks=blocks)


# ---- arithmetic


def test_what_is_compared_is_of_pairs_not_of_medians():
    (cell,) = figures.cells(measured())
    assert (cell.ratio.low, cell.ratio.value, cell.ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    assert (cell.send_ns.low, cell.send_ns.value, cell.send_ns.high) == pytest.approx((30, 30, 30))
    assert cell.receive_ns.value == pytest.approx(150)
    assert cell.both_ns.value == pytest.approx(180)
    assert cell.medians["bare"]["send_ns"] == pytest.approx(105.5)
    assert cell.public_ratio is None
    assert cell.send_peak_b.value == 0
    assert cell.receive_peak_b is None, "what no lane could tell has no figure"


def test_the_interval_covers_the_true_ratio_at_least_as_often_as_it_says():
    draw = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        found = figures.ratio([(100.0, 70.0 * math.exp(noise)) for noise in draw.normal(0, 0.1, 10)])
        assert found.low <= found.value <= found.high
        held += found.low <= 0.7 <= found.high
    assert held >= 276  # 95% nominal; 276 of 300 is passed by 99 of 100 seeds


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=12))
def test_a_ratio_turns_round_with_its_sides(pairs):
    found, turned = figures.ratio(pairs), figures.ratio([(b, a) for a, b in pairs])
    assert found.value == pytest.approx(1 / turned.value, rel=1e-6)
    assert (found.low is None) == (len(pairs) < 6)


def test_below_six_rounds_there_is_no_interval_and_without_any_no_figure():
    (cell,) = figures.cells(measured(rounds=5))
    assert (cell.ratio.value, cell.ratio.low, cell.ratio.high) == (pytest.approx(0.8), None, None)
    quick = table.markdown(Record(ASKED, [SITTING], [measured(rounds=5)]))
    assert "| tcp | 100 B | CPU added to send and receive together | at most 80 ns | 180 | missed, no interval |" in quick
    with pytest.raises(ValueError, match="no round measured it"):
        figures.ratio([])
    assert figures.cells(Measured("tcp")) == []


def test_lanes_beside_the_bare_loop_have_columns_of_their_own():
    one = measured("zeromq,profile=tuned", lanes=("harness", "bare", "public", "distinct"))
    (cell,) = figures.cells(one)
    assert cell.public_ratio.value == pytest.approx(0.8)
    assert cell.distinct_send_ns.value == pytest.approx(30)
    text = table.markdown(Record(replace(ASKED, distinct=True), [SITTING], [one]))
    assert "harness / bare public API" in text
    assert "payloads differ" in text
    plain = table.markdown(Record(ASKED, [SITTING], [measured()]))
    assert "public API" not in plain
    assert "payloads differ" not in plain


# ---- targets


def targets(variant, size_b=100, lanes=("harness", "bare"), **of_harness):
    one = measured(variant, size_b=size_b, lanes=lanes, **of_harness)
    return {(t.what, t.bound): t.verdict for t in figures.targets(figures.cells(one), [])}


def test_targets_are_those_of_the_issue():
    assert targets("zeromq") == {
        ("CPU added to a send", 40): "met",
        ("CPU added to a receive", 100): "missed",
        ("rate over bare", 0.9): "missed",
    }
    assert (
        targets("zeromq,profile=tuned", lanes=("harness", "bare", "public"), rate=1e9)["rate over the public API's bare loop", 1.25]
        == "met"
    )
    assert targets("zeromq", size_b=1024, rate=1e9) == {("rate over bare", 0.95): "met"}
    assert targets("tcp") == {("CPU added to send and receive together", 80): "missed"}
    assert targets("kafka") == {}, "a client of 0.1 us has no target"
    slow = Measured("kafka", blocks=[block(n, sample("bare", 1.0, 9000.0), sample("harness", 0.98, 9100.0)) for n in range(10)])
    (found,) = figures.targets(figures.cells(slow), [])
    assert (found.bound, found.verdict) == (0.97, "met")


def test_a_bound_within_the_interval_is_open():
    at_most = figures.Target("x", 100, "w", 40, at_most=True, unit="ns", found=figures.Estimate(39, 30, 50, 10))
    assert at_most.verdict == "open"
    assert replace(at_most, bound=50).verdict == "met"
    assert replace(at_most, bound=29.9).verdict == "missed"
    at_least = replace(at_most, at_most=False)
    assert [replace(at_least, bound=bound).verdict for bound in (30, 40, 51)] == ["met", "open", "missed"]
    assert replace(at_most, found=figures.Estimate(39, None, None, 2)).verdict == "met", "without an interval by the value"


def test_start_up_is_told_in_two_parts():
    one = measured()
    found = figures.start_ups(one)
    assert [(row.side, row.import_ns.value, row.rest_ns.value, row.rest_ns.rounds) for row in found] == [
        ("producer", 5e6, 2e8, 10),
        ("consumer", 5e6, 2e8, 10),
    ]
    assert {(t.unit, t.found.value, t.verdict) for t in figures.targets([], found)} == {("ms", 200, "met")}


# ---- the record


def test_what_is_kept_reads_back_and_gives_the_same_tables(tmp_path):
    kept = Record(ASKED, [SITTING], [measured(), Measured("zeromq,profile=tuned", not_run="no pyzmq\n    pip install it")])
    (tmp_path / "overhead.json").write_text(json.dumps(kept.to_json()))
    again = record.read(tmp_path)
    assert again == kept
    assert table.markdown(again) == table.markdown(kept)
    assert "- zeromq,profile=tuned: not run: no pyzmq\n" in table.markdown(kept)
    assert "| tcp | 100 B | 55 | 44 | 0.80 (0.80 to 0.80) | 10 |" in table.markdown(kept)
    assert "| tcp | 100 B | 0.11, 0.14 | 30 (30 to 30) | 0.11, 0.26 | 150 (150 to 150) |" in table.markdown(kept)
    json.dumps(table.figures(kept).to_json(), allow_nan=False)


def test_a_sitting_goes_on_with_the_blocks_that_are_missing():
    half = Record(ASKED, [SITTING], [measured(rounds=3), Measured("zeromq,profile=tuned")])
    assert half.missing(half.variants[0], 3) == [1024]
    assert half.missing(half.variants[0], 4) == [100, 1024]
    assert not half.whole
    both = [measured(text).blocks + measured(text, size_b=1024).blocks for text in ASKED.systems]
    assert Record(ASKED, [SITTING], [Measured(text, blocks=blocks) for text, blocks in zip(ASKED.systems, both, strict=True)]).whole
    assert "17 of 20 rounds (of a size) are not measured" in table.markdown(half)


def test_a_broken_promise_and_a_failed_lane_are_told():
    one = measured(audit="violated")
    one.failures.append({"round": 2, "size_b": 1024, "lane": "bare", "sitting": 1, "reason": "it hung\n    at line 3"})
    text = table.markdown(Record(ASKED, [SITTING | {"disturbed": ["others use 90%"]}], [one]))
    assert "**tcp, 100 B: a promise was broken in 10 rounds**" in text
    assert "- tcp: round 2, 1 KiB, bare failed and is not in the tables: it hung\n" in text
    assert "**not quiet**: others use 90%" in text


def test_rounds_of_another_machine_or_revision_are_not_pooled():
    record.same_machine([SITTING], ENVIRONMENT)
    record.same_machine([SITTING], ENVIRONMENT | {"brokerbench": ENVIRONMENT["brokerbench"] | {"changed": True}})
    with pytest.raises(Incompatible, match=r"another machine \(cores 2, now 64\): begin anew"):
        record.same_machine([SITTING], ENVIRONMENT | {"machine": ENVIRONMENT["machine"] | {"cores": 64}})


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, UsageError, "no overhead.json there"),
        ("{", UsageError, "overhead.json:1: not whole JSON"),
        ("[]", UsageError, "not whole"),
        ('{"kind": "run", "format": 1}', UsageError, 'of kind "run", not overhead'),
        ('{"kind": "overhead", "format": 2}', Incompatible, "format 2; this brokerbench reads up to format 1"),
        ('{"kind": "overhead", "format": 1, "asked": {"rounds": 3}}', UsageError, "not whole"),
    ],
)
def test_a_folder_that_is_not_of_this_kind_says_so(tmp_path, content, error, said):
    if content is not None:
        (tmp_path / "overhead.json").write_text(content)
    with pytest.raises(error, match=said):
        record.read(tmp_path)


# ---- measuring


class Case:
    """Gives a sample of each lane; the first ``failing`` of them fail."""

    def __init__(self, failing):
        self.variant = parse("tcp")
        self.failing = failing
        self.asked = []

    def measure(self, lane, size_b):
        self.asked.append((lane, size_b))
        if len(self.asked) <= self.failing:
            raise EnvironmentProblem("it hung")
        return sample(lane)


@pytest.mark.parametrize(("failing", "blocks", "failures"), [(0, 6, 0), (1, 6, 1), (2, 6, 2), (99, 0, 3)])
def test_a_block_that_failed_is_tried_again_and_a_variant_that_goes_on_failing_is_left(tmp_path, failing, blocks, failures):
    kept = Record.of(replace(ASKED, systems=("tcp",), rounds=3))
    writer = RunWriter.create(tmp_path, run.described(kept.asked), kind="overhead")
    case = Case(failing)
    run.Overhead(kept, writer, lambda _: None)._variant(kept.variants[0], case)
    writer.close()
    again = record.read(writer.folder)
    assert again == kept
    (one,) = again.variants
    assert (len(one.blocks), len(one.failures)) == (blocks, failures)
    assert all(sorted(part["lane"] for part in made["samples"]) == ["bare", "harness"] for made in one.blocks)
    assert all(failure["reason"] == "it hung" for failure in one.failures)
    assert again.whole == (blocks == 6)


def test_the_order_is_shuffled_and_follows_from_the_seed_alone(tmp_path):
    def order(name, **asked):
        kept = Record.of(replace(ASKED, systems=("tcp",), **asked))
        writer = RunWriter.create(tmp_path / name, run.described(kept.asked), kind="overhead")
        case = Case(0)
        run.Overhead(kept, writer, lambda _: None)._variant(kept.variants[0], case)
        writer.close()
        return case.asked

    first = order("a")
    assert first == order("b")
    assert first != order("c", seed=2)
    assert {lane for lane, _ in first[::2]} == {"bare", "harness"}, "each lane leads sometimes"
    assert sorted(first) == sorted([(lane, size) for lane in ("bare", "harness") for size in (100, 1024)] * 10)


# ---- the bare loops


def test_what_is_sent_in_the_warm_up_does_not_count():
    assert loop.measure(lambda: 3, 0, 0)["messages"] == 0  # a window that is over
    calls = []
    start = loop.now_ns() + 20_000_000
    counted = loop.measure(lambda: calls.append(loop.now_ns()) or 7, start, start + 20_000_000)
    within = [call for call in calls if call >= start]
    assert len(within) < len(calls)
    assert abs(counted["messages"] - 7 * len(within)) <= 7  # the step under way at the start


def test_payloads_are_one_object_or_as_many_as_are_asked_for():
    (one,) = {id(payload) for payload in step.payloads({"size": 100, "distinct": 0}, 7)}
    assert one
    made = step.payloads({"size": 100, "distinct": 3}, 7)
    assert [len(payload) for payload in made] == [100] * 7
    assert made[:3] == made[3:6]
    assert len(set(made)) == 3


def test_every_system_has_a_bare_loop_and_every_profile_is_measured():
    there = {path.stem for path in BARE.glob("*.py")} - {"__init__", "loop", "step"}
    # flume: each session has an agent of its own, made for its consumers, so there is no server for a bare loop to stand beside.
    pairs = {pair for pair in adapters.pairs() if pair[0] in adapters.BUILT_IN and pair[0] not in {"memory", "flume"}}
    assert there == {adapters.module(*pair) for pair in pairs}
    wanted = set()
    for pair in pairs:
        for profile in ("defaults", "tuned"):
            try:
                adapters.load(*pair)(Options(profile=profile))
            except adapters.errors.BadSetting:
                continue
            wanted.add((*pair, profile))
    assert {(parse(text).system, parse(text).client, parse(text).profile) for text in run.SYSTEMS} == wanted


@pytest.mark.parametrize(
    ("system", "profile", "side", "names"),
    [
        ("zeromq", "defaults", "producer", {"io_threads", "sndhwm", "sndbuf", "immediate"}),
        ("zeromq", "defaults", "consumer", {"io_threads", "rcvhwm", "rcvbuf"}),
        ("kafka", "defaults", "producer", {"window", "acks", "linger_ms", "batch_size", "enable_idempotence"}),
        ("kafka", "defaults", "consumer", {"max_poll_records", "enable_auto_commit", "auto_offset_reset"}),
        ("rabbitmq", "defaults", "producer", {"window"}),
        ("rabbitmq", "defaults", "consumer", {"prefetch_count"}),
        ("sqs", "defaults", "producer", {"threads", "connect_timeout", "read_timeout", "total_max_attempts", "retry_mode"}),
        ("sqs", "defaults", "consumer", {"MaxNumberOfMessages", "WaitTimeSeconds", "VisibilityTimeout"}),
        ("redis_pubsub", "defaults", "producer", {"protocol", "socket_timeout", "socket_read_size", "socket_keepalive"}),
        ("redis_pubsub", "tuned", "producer", {"window"}),
        ("redis_pubsub", "tuned", "consumer", {"socket_read_size"}),
    ],
)
def test_an_adapter_tells_the_settings_that_its_bare_loop_takes_over(system, profile, side, names):
    effective = adapters.load(system)(Options(profile=profile)).effective()
    assert names <= effective[side].keys()


# ---- the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kafak"], 'did you mean "kafka"'),
        (["memory"], "memory lives within one process"),
        (["tcp", "tcp"], "named twice"),
        (["tcp", "--rounds", "0"], "--rounds 0: at least 1"),
        (["tcp", "--seconds", "nan"], "--seconds nan: from 0.2 to 600"),
        (["tcp", "--sizes", "100"], "--sizes 100: "),
        (["tcp", "--sizes", "1 KiB,1024 B"], "each size once"),
        (["tcp", "--sizes", "8 B"], "64"),
        (["tcp", "--resume", "nowhere"], "leave out tcp"),
        (["--resume", "nowhere"], "no overhead.json there"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_makes_nothing(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["overhead", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_a_bare_loop_is_told_so(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="there is no bare loop to compare with"):
        run.described(ASKED)
