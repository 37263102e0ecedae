"""The producer's loop at full speed: a full window is refilled by a fair part, a blocked send is repeated, not slept on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

import adapters
from adapters.base import Status
from bench import header, journal, producing
from bench.clock import now_ns, sleep_until
from bench.journal import Kind, Writer
from bench.outcomes import Outcomes
from bench.producing import CANARY_ID, ProducerTrial
from bench.workload import Workload

LOAD = Workload(
    rate_per_s=None, size_b=100, warmup_s=0.0, measure_s=0.2, drain_s=1.0, tick_s=0.0005, batch=100, ack_every=100, ack_interval_s=1.0,
    window=1000, producers=1, groups=(("a", 1),), partitions=1, routing="round-robin", key_count=0, key_zipf=0.0, seed=1,
)  # fmt: skip


class Confirming:
    """A client with a window, whose confirmations come a few at a time."""

    def __init__(self, outcomes, window, each):
        self.outcomes, self.window, self.each = outcomes, window, each
        self.sent = self.confirmed = 0
        self.sizes = []

    def room(self):
        return self.window - (self.sent - self.confirmed)

    def send(self, block, lo, hi, timeout_s, group=-1):
        n = min(hi - lo, self.room())
        self.sent += n
        self.sizes.append(n)
        return n

    def pump(self, timeout_s):
        n = min(self.each, self.sent - self.confirmed)
        if n:
            self.outcomes.run(self.confirmed, n, Status.CONFIRMED)
            self.confirmed += n

    def flush(self, timeout_s):
        while self.confirmed < self.sent:
            self.pump(0.0)
        return 0


class Blocking:
    """A client without confirmations that takes 30 messages, then none until send() may wait."""

    def __init__(self):
        self.waits = []
        self.pumped_s = 0.0

    def room(self):
        return 1 << 16

    def send(self, block, lo, hi, timeout_s, group=-1):
        self.waits.append(timeout_s)
        return min(hi - lo, 30) if timeout_s or len(self.waits) == 1 else 0

    def pump(self, timeout_s):
        self.pumped_s += timeout_s

    def flush(self, timeout_s):
        return None


def run(tmp_path, producer, outcomes, system, **load):
    workload = replace(LOAD, **load)
    with Writer(tmp_path, "w") as writer:
        trial = ProducerTrial(
            producer, adapters.load(system).capabilities, outcomes, writer, workload, run=1, trial=1, index=0, first_id=0
        )  # fmt: skip
        trial.go(producing.now_ns())
        while not trial.finished:
            trial.turn()
        return trial.report()


@pytest.mark.parametrize("many", [1, 20])
@pytest.mark.parametrize("rate", [None, 1000.0])
def test_a_canary_confirmed_within_the_trial_is_none_of_its_messages(tmp_path, rate, many):
    """At full speed too, where no last message is known: it was journalled as acknowledged, and the audit called it lost."""
    outcomes = Outcomes()
    client = Confirming(outcomes, 100, 100)
    client.first_pump = client.pump

    def pump(timeout_s):
        for ident in range(CANARY_ID, CANARY_ID + many):
            outcomes.run(ident, 1, Status.CONFIRMED)
        client.pump = client.first_pump
        client.pump(timeout_s)

    client.pump = pump
    report = run(tmp_path, client, outcomes, "rabbitmq", rate_per_s=rate)
    assert report["sent"] == report["confirmed"] == client.sent > 0
    assert report["late_outcomes"] == many
    rows = journal.read(tmp_path, "w").rows
    assert rows["first"][rows["kind"] == Kind.OK].max() < CANARY_ID


class Sleeping(Confirming):
    """A client that waits as long as it is asked to, by a clock that nothing else but looking at it moves."""

    def __init__(self, outcomes):
        super().__init__(outcomes, 1000, 1000)
        self.waits = []
        self.time_ns = 0

    def now_ns(self):
        self.time_ns += 1_000
        return self.time_ns

    def pump(self, timeout_s):
        self.waits.append(timeout_s)
        self.time_ns += round(timeout_s * 1e9)
        super().pump(timeout_s)


def test_the_end_of_a_turn_wakes_no_sleeper(tmp_path, monkeypatch):
    """A message each 1.5 ms, turns of 2 ms: one wait a message, not another one for what was left of it when its turn ended."""
    client = Sleeping(outcomes := Outcomes())
    monkeypatch.setattr(producing, "now_ns", client.now_ns)
    report = run(tmp_path, client, outcomes, "memory", rate_per_s=2000 / 3, measure_s=0.4)
    assert report["sent"] == 267
    assert len([wait for wait in client.waits if wait > 0]) <= 1.1 * report["sent"], "half as many more where each turn's end is one"


@pytest.mark.parametrize(("window", "least"), [(1000, 100), (40, 10), (3, 1)])
def test_a_full_window_is_refilled_by_the_batch_or_a_quarter_of_the_room(tmp_path, window, least):
    outcomes = Outcomes()
    producer = Confirming(outcomes, window, each=1)
    report = run(tmp_path, producer, outcomes, "rabbitmq")
    whole = [n for n in producer.sizes[:-1] if n % 512]  # the rest of a block is sent as it is
    assert len(producer.sizes) > 20
    assert report["sent"] == report["confirmed"] == producer.sent > 0
    small = [n for n in whole if n < least]
    assert len(small) <= 1 + producer.sent // 512, "only the end of a block of 512 may be less"


def test_a_blocked_send_waits_in_the_client_and_nothing_is_lost_of_the_account(tmp_path):
    producer = Blocking()
    report = run(tmp_path, producer, Outcomes(), "tcp")
    assert all(0 < wait < 0.1 for wait in producer.waits), "inside the client, but not for long: there is a runner to listen to"
    assert producer.pumped_s < 0.02, "nothing to hear from this client: sleeping would only waste the time"
    rows = journal.read(tmp_path, "w").rows
    attempted = int(rows["count"][rows["kind"] == Kind.ATTEMPT].sum())
    accepted = int(rows["count"][rows["kind"] == Kind.OK].sum())
    failed = int(rows["count"][rows["kind"] == Kind.FAIL].sum())
    assert attempted == accepted + failed
    assert report["confirmed"] == accepted > 0


class Pausing(Blocking):
    """A client without confirmations that takes what it is given, and for 3 ms nothing after every 700 messages."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.paused_until_ns = 0

    def send(self, block, lo, hi, timeout_s, group=-1):
        words = header.words_of(block.messages(lo, lo + 1)[0])
        assert header.holds(words)
        assert words[4] == words[5] >= self.paused_until_ns, "stamped before the pause, and sent after it"
        self.count += hi - lo
        if self.count > 700:
            self.count = 0
            self.paused_until_ns = now_ns() + 3_000_000
            sleep_until(self.paused_until_ns)
        return hi - lo


def test_at_full_speed_a_block_is_journalled_before_it_is_sent_and_stamped_again_when_it_goes_late(tmp_path):
    producer = Pausing()
    report = run(tmp_path, producer, Outcomes(), "tcp", batch=100)
    rows = journal.read(tmp_path, "w").rows
    attempts, accepted = (rows[rows["kind"] == kind] for kind in (Kind.ATTEMPT, Kind.OK))
    assert report["sent"] == report["confirmed"] == int(accepted["count"].sum()) > 1024
    assert max(attempts["count"]) == 512, "a block at a time"
    assert max(accepted["count"]) > 512, "what is accepted is journalled together"
    for outcome in rows[rows["kind"] != Kind.ATTEMPT]:
        before = attempts[attempts["t_last"] <= outcome["t_last"]]
        assert int((before["first"] + before["count"]).max()) >= int(outcome["first"] + outcome["count"])
    left = int(attempts["count"].sum()) - report["sent"]
    assert left == int(rows["count"][rows["kind"] == Kind.FAIL].sum()), "what was never handed over is known to have failed"


def test_spinning_never_waits_in_the_client_and_sends_all_that_was_planned(tmp_path):
    producer = Blocking()
    report = run(tmp_path, producer, Outcomes(), "tcp", rate_per_s=1000.0, tick_s=0.0)
    assert report["sent"] == report["planned"] == 200
    assert producer.pumped_s == 0.0


def test_a_closed_loop_has_no_more_under_way_than_it_says(tmp_path):
    outcomes = Outcomes()
    producer = Confirming(outcomes, 1000, each=1)
    report = run(tmp_path, producer, outcomes, "rabbitmq", arrivals="closed", outstanding=3)
    assert producer.sizes[0] == 3
    assert set(producer.sizes[1:]) <= {1, 2, 3}
    assert report["planned"] is None
    assert report["sent"] == report["confirmed"] > 10


def test_large_buffers_do_not_fault_again_and_again():
    code = (
        "import resource, sys; from bench import usage; kept = usage.keep_memory() if sys.argv[1] == 'kept' else False\n"
        "held = [bytearray(1 << 20) for _ in range(3)]; del held\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(50): held = [bytearray(b'1') * (1 << 20) for _ in range(3)]; del held\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, timeout=60, check=True).stdout)
        for how in ("kept", "plain")
    }
    assert faults["kept"] < 2000 < faults["plain"], faults


@pytest.mark.parametrize(("sent_before", "elapsed_s", "begins"), [(30, 0.0, 30), (30, 0.1, 100), (900, 10.0, 1000)])
def test_a_producer_started_again_goes_on_where_the_schedule_is(tmp_path, sent_before, elapsed_s, begins):
    """Of 1,000/s: what was due while nobody was there is not sent, nothing is sent twice, and nothing after the end."""
    outcomes = Outcomes()
    client = Confirming(outcomes, 1 << 16, 1 << 16)
    load = replace(LOAD, rate_per_s=1000.0, measure_s=1.0)
    with Writer(tmp_path, "w") as writer:
        made = ProducerTrial(
            client, adapters.load("tcp").capabilities, outcomes, writer, load, run=1, trial=1, index=0, first_id=512, epoch=2,
            sent_before=sent_before,
        )  # fmt: skip
        client.confirmed = client.sent = 512 + begins
        made.go(now_ns() - int(elapsed_s * 1e9))
        assert 512 + begins <= made.next_id < 512 + begins + 50  # as long as the test takes to get here
        begun = made.next_id
        client.confirmed = client.sent = begun
        while made.next_id == begun and not made.finished:
            made.turn()
        rows = journal.read(tmp_path, "w").rows
        attempts = rows[rows["kind"] == Kind.ATTEMPT]
        assert (rows["epoch"] == 2).all()
        if begins < 1000:
            assert int(attempts["first"][0]) == begun
        else:
            assert not len(attempts)
            assert made.finished
        assert made.report()["sent"] == made.next_id - begun
