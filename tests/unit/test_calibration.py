"""The fake server says in its log what a naive client saw; what is counted again agrees with what it checks where both are pure."""

import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Status
from bench import header
from bench.calibration import behaviour, fake_server, log, recount, wire
from bench.calibration.behaviour import Behaviour, Fates, Law
from bench.calibration.figures import RESOLUTION, Figure, rows, worst
from bench.clock import now_ns
from bench.histogram import Histogram
from bench.keys import Router
from bench.payload import Block, Pool

N = 400
TRIAL = 7
MIXED = Behaviour(
    3, Law("uniform", (1.0, 8.0)), refused=0.05, denied=0.05, silent=0.05, swallowed=0.05, lost=0.05, repeated=0.05, flagged=0.05,
    swapped=0.05, flipped=0.05, invented=0.05,
)  # fmt: skip


class Naive:
    """A socket, and every frame that comes through it with the time at which it came."""

    def __init__(self, port, role, index):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(wire.HELLO.pack(role, index))
        self.received = b""

    def bytes(self, count):
        while len(self.received) < count:
            data = self.socket.recv(1 << 16)
            assert data
            self.received += data
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def frame(self):
        length, kind = wire.FRAME.unpack(self.bytes(wire.FRAME.size))
        return kind, self.bytes(length), now_ns()


@pytest.fixture
def fake(tmp_path):
    """Starts one with a Behaviour for trial 7; returns its port, and a call that ends it and reads its log."""
    started = []

    def start(of_trial, groups=1):
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"folder": str(tmp_path), "groups": groups, "trials": {TRIAL: of_trial.to_json()}}))
        started.append(subprocess.Popen([sys.executable, "-m", "bench.calibration.fake_server", str(spec)]))
        deadline = time.monotonic() + 30
        while not (tmp_path / "port").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int((tmp_path / "port").read_text()), end

    def end():
        os.kill(started[0].pid, signal.SIGTERM)
        assert started[0].wait(20) == 0
        return log.read(tmp_path)

    yield start
    for process in started:
        process.kill()
        process.wait()


def messages(count, size=100, flags=0):
    made = Block(Pool(1, size), Router("round-robin", 4), size, run=1, trial=TRIAL, producer=0, flags=flags)
    made.fill(0, np.full(made.count, 5, np.int64))
    made.stamp(0, count, 6)
    return [made.messages(i, i + 1)[0] for i in range(count)]


CANARIES = messages(2, flags=header.CANARY)  # one until the way is open, one behind all that was delayed


def frame(payload):
    return wire.FRAME.pack(len(payload), wire.MESSAGE) + payload


def sent_through(port, payloads):
    """Send all, wait for all answers; every delivery that came, as (kind, payload, time), and the answers by sequence."""
    consumer, producer = Naive(port, wire.CONSUMER, 0), Naive(port, wire.PRODUCER, 0)
    while not select.select([consumer.socket], [], [], 0.02)[0]:
        producer.socket.sendall(frame(CANARIES[0]))
    producer.socket.sendall(b"".join(map(frame, payloads)) + wire.FRAME.pack(0, wire.FLUSH))
    answers = {}
    while True:
        sequence, status, _ = wire.ANSWER.unpack(producer.bytes(wire.ANSWER.size))
        if status == wire.FLUSHED:
            break
        answers[sequence] = Status(status)
    time.sleep(0.1)  # longer than any delay and any hold: what is due earlier leaves earlier
    producer.socket.sendall(frame(CANARIES[1]))
    came = []
    while not came or came[-1][1] != CANARIES[1]:
        came.append(consumer.frame())
    return [one for one in came if one[1] not in CANARIES], answers


def test_the_log_is_what_a_naive_client_saw(fake):
    port, end = fake(MIXED)
    payloads = messages(N)
    came, answers = sent_through(port, payloads)
    logs = end()
    arrivals, deliveries = logs["arrivals"], logs["deliveries"]
    left = deliveries[deliveries["what"] & (log.LOST | log.CANARY) == 0]
    assert len(left) == len(came)
    for (kind, payload, at), row in zip(came, left, strict=True):
        what, sequence = int(row["what"]), int(row["sequence"])
        assert row["t_due"] <= row["t_out"] <= at
        assert (kind == wire.REDELIVERED) == bool(what & log.FLAGGED)
        if what & log.INVENTED:
            assert header.sequence_of(payload) == sequence == header.sequence_of(payloads[sequence - fake_server.INVENTED_FROM]) + (1 << 40)
            assert header.holds(header.words_of(payload))
        elif what & log.FLIPPED:
            turned = int.from_bytes(payload, "little") ^ int.from_bytes(payloads[sequence], "little")
            assert turned.bit_count() == 1
        else:
            assert payload == payloads[sequence]
    assert {int(row["sequence"]): Status(int(row["status"])) for row in logs["answers"]} == answers
    assert arrivals["sequence"].tolist() == list(range(N))
    assert (arrivals["intended"].tolist(), arrivals["sent"].tolist()) == ([5] * N, [6] * N)
    assert arrivals["lane"].tolist() == [i % 4 for i in range(N)]
    assert len({int(row["what"]) for row in deliveries}) == 8  # nothing, each thing that can be done, canaries


def test_what_it_does_is_what_was_drawn(fake):
    port, end = fake(MIXED)
    sent_through(port, messages(N))
    logs = end()
    own = Fates(MIXED, TRIAL, 0, 1)
    done = {}
    deliveries = logs["deliveries"][logs["deliveries"]["what"] != log.CANARY]
    for row in deliveries.tolist():
        done.setdefault(row[2] % fake_server.INVENTED_FROM, []).append(row[6])
    for sequence in range(N):
        fate, _ = own.message()
        what, delay, _, _ = own.delivery(0)
        assert logs["arrivals"]["fate"][sequence] == fate
        if fate in (behaviour.REFUSED, behaviour.SWALLOWED):
            assert sequence not in done
            continue
        bits = done[sequence]
        first = min(int(row["t_due"]) for row in deliveries if row["sequence"] == sequence)
        if what != behaviour.SWAPPED:  # it leaves with the next one
            assert first - int(logs["arrivals"]["t_in"][sequence]) == delay
        assert len(bits) == 1 + (what in (behaviour.REPEATED, behaviour.FLAGGED, behaviour.INVENTED))
        assert (bits == [log.LOST]) == (what == behaviour.LOST)
        assert (bits == [log.FLIPPED]) == (what == behaviour.FLIPPED)
        assert set(bits) <= {0, log.SWAPPED} or what != behaviour.SWAPPED


def test_nothing_leaves_in_a_stall(fake):
    port, end = fake(Behaviour(1, Law("constant", (20.0,)), stall_at_s=0.02, stall_s=0.3))
    sent_through(port, messages(N))
    logs = end()
    first = int(logs["arrivals"]["t_in"][0])
    deliveries = logs["deliveries"][logs["deliveries"]["what"] != log.CANARY]
    out = [*deliveries["t_out"].tolist(), *logs["answers"]["t_out"].tolist()]
    assert len(out) == 2 * N
    assert not [t for t in out if first + 20_000_000 < t < first + 320_000_000]
    assert [t for t in out if t >= first + 320_000_000]


def test_messages_swap_places_with_the_next(fake):
    port, end = fake(Behaviour(5, Law("constant", (1.0,)), swapped=0.2))
    came, _ = sent_through(port, messages(N))
    end()
    order = [header.sequence_of(payload) for _, payload, _ in came]
    assert sorted(order) == list(range(N))
    assert order != list(range(N))
    assert max(abs(place - sequence) for place, sequence in enumerate(order)) == 1


@given(st.integers(0, 1 << 30), st.sampled_from(["uniform", "exponential", "lognormal", "bimodal", "constant"]))
def test_delays_follow_their_law(seed, name):
    parameters = {"constant": (20,), "uniform": (20, 60), "exponential": (20, 50), "lognormal": (20, 30, 0.5), "bimodal": (20, 80, 0.2)}
    generator = random.Random(seed)
    drawn = sorted(Law(name, parameters[name]).draw(generator) / 1e6 for _ in range(2000))
    assert drawn[0] >= 20
    middle = {"constant": 20, "uniform": 40, "exponential": 20 + 50 * 0.693, "lognormal": 50, "bimodal": 20}[name]
    assert abs(drawn[1000] - middle) < 5
    if name == "bimodal":
        assert set(drawn) == {20, 80}


def test_the_same_seed_draws_the_same_fates():
    def drawn(seed):
        own = Fates(Behaviour.from_json(json.loads(json.dumps(Behaviour(seed, Law("uniform", (1, 2)), lost=0.5).to_json()))), 1, 0, 2)
        return [(own.message(), own.delivery(0), own.delivery(1)) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(("name", "parameters"), [("uniform", (1,)), ("gauss", (1,)), ("constant", ())])
def test_a_law_with_the_wrong_parameters_is_refused(name, parameters):
    with pytest.raises(ValueError, match="a delay is one of"):
        Law(name, parameters)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.integers(0, 1000))
def test_plain_quantiles_and_the_histogram_agree(values, per_mille):
    histogram = Histogram()
    histogram.add(np.array(values, np.int64))
    q = Fraction(per_mille, 1000)
    said = histogram.quantile(float(q))
    true = recount.quantile(sorted(values), q, said)
    assert abs(said - true) <= RESOLUTION * true or not per_mille  # the reference gives 0% as the lowest value of its bucket


@pytest.mark.parametrize(("n", "q", "places"), [(250, 1, {2, 3}), (250, 50, {125}), (1, 99, {1}), (1000, 99, {990}), (10, 5, {1})])
def test_of_a_half_either_neighbour_is_right(n, q, places):
    assert recount.ranks(n, Fraction(q, 100)) == places


@given(st.integers(1, 100_000))
def test_what_is_supported_is_the_same_by_both(n):
    histogram = Histogram()
    histogram.n = n
    assert [histogram.supported(q) for q in (0.5, 0.9, 0.99, 0.999)] == [
        recount.supported(n, Fraction(k, 1000)) for k in (500, 900, 990, 999)
    ]


def test_a_figure_is_right_within_what_is_allowed():
    assert Figure("c", "lost", 3, 3).right
    assert not Figure("c", "lost", 3, 4).right
    assert Figure("c", "p50", 1001, 1000, RESOLUTION * 1.1).right
    assert not Figure("c", "p50", 1001, 1000, RESOLUTION / 2).right
    assert Figure("c", "p50", None, None).right
    assert not Figure("c", "p50", None, 0).right
    assert not Figure("c", "p50", 0, None).right
    assert Figure("c", "lost", 1, 0).error == pytest.approx(1e9)


def test_the_table_shows_the_worst_of_each_name():
    found = [Figure("1", "lost", 3, 3), Figure("2", "lost", 4, 3), Figure("3", "lost", 900, 900), Figure("1", "p50", None, 7, 0.1, "ns")]
    assert [(figure.case, count) for figure, count in worst(found)] == [("2", 3), ("1", 1)]
    assert rows(found, every=False) == [
        ("lost (3)", "4", "3", "1 (+33.33%)", "exact", "WRONG"),
        ("p50 (1)", "n/a", "0.000 ms", "", "10%", "WRONG"),
    ]
    assert [Figure.from_json(figure.to_json()) for figure in found] == found


def test_the_fake_knows_the_headers_layout():
    assert fake_server.HEADER.size == header.SIZE == struct.calcsize("<8Q")
    assert fake_server.HEADER.unpack(messages(1, 64)[0])[:8] == (header.MAGIC, 1, TRIAL, 0, 0, 0, 0, 0)
