"""The local engine takes up the connections that it waits for, and passes over those of endpoints that were given up."""

from __future__ import annotations

import json
import socket

import pytest

from bench.control import PROTOCOL
from bench.engine.local import EndpointFailed, LocalEngine
from bench.errors import EnvironmentProblem


class Process:
    def poll(self):
        return None

    def wait(self, timeout=None):
        return 0


class Guard:
    def stop(self, process, timeout_s):
        return 0


@pytest.fixture
def engine():
    made = LocalEngine(Guard())
    yield made
    made.close()


def calls(engine, name, **more):
    sock = socket.create_connection(engine._listener.getsockname())
    sock.sendall(json.dumps({"is": "hello", "name": name, "protocol": PROTOCOL} | more).encode() + b"\n")
    return sock


def waits_for(engine, tmp_path, *names):
    engine._waiting.update({name: ("consumer", Process(), tmp_path / "log") for name in names})


def test_an_endpoint_that_comes_before_its_turn_is_kept(engine, tmp_path):
    waits_for(engine, tmp_path, "a", "b")
    held = [calls(engine, "b"), calls(engine, "a")]
    assert [one.name for one in engine.arrivals(["a"], 5)] == ["a"]
    assert [one.name for one in engine.arrivals(["b"], 5)] == ["b"]
    assert len(held) == 2


def test_stragglers_of_a_session_that_was_given_up_are_passed_over(engine, tmp_path):
    waits_for(engine, tmp_path, "old", "older")
    engine.abandon()
    held = [calls(engine, "old"), calls(engine, "older")]
    held[1].close()
    socket.create_connection(engine._listener.getsockname()).close()  # one that was killed before it said a word
    waits_for(engine, tmp_path, "new")
    held.append(calls(engine, "new"))
    assert [one.name for one in engine.arrivals(["new"], 5)] == ["new"]


def test_a_stranger_is_an_error(engine, tmp_path):
    waits_for(engine, tmp_path, "mine")
    held = calls(engine, "not-mine")
    with pytest.raises(EnvironmentProblem, match="not-mine"):
        engine.arrivals(["mine"], 5)
    held.close()


def test_why_it_failed_is_told(engine, tmp_path):
    waits_for(engine, tmp_path, "mine")
    held = calls(engine, "mine", **{"is": "failed", "reason": "Unreachable: nobody there"})
    with pytest.raises(EndpointFailed, match="mine: Unreachable: nobody there"):
        engine.arrivals(["mine"], 5)
    held.close()
