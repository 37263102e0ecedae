"""`brokerbench servers start`: one server that outlives its command, and nothing that outlives `stop` or the keeper's death."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from bench import cli, servers
from bench.guard import Guard
from bench.servers import keeper
from bench.servers.base import Request

pytestmark = pytest.mark.server


@pytest.fixture
def kept(needs, monkeypatch, tmp_path):
    needs("redis_pubsub", "native")
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path))
    yield lambda: keeper.start("redis_pubsub", "native")
    keeper.stop("redis_pubsub")


def answers(state):
    host, port = state["addresses"][0].split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def gone(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_it_stays_until_it_is_stopped(kept):
    state = kept()
    assert answers(state)
    assert kept() == state  # a second start finds it
    assert keeper.stop("redis_pubsub")
    assert not answers(state)
    assert gone(state["nodes"][0]["pid"])
    assert keeper.status("redis_pubsub") is None
    assert not keeper.stop("redis_pubsub")


def test_a_killed_keeper_takes_its_server_along(kept):
    state = kept()
    os.kill(state["pid"], signal.SIGKILL)
    assert gone(state["nodes"][0]["pid"])
    assert keeper.status("redis_pubsub") is None


def test_the_command_says_how_to_use_and_stop_it(kept, capsys):
    state = kept()
    assert cli.main(["servers", "start", "redis-pubsub", "--kind", "native"]) == 0
    said = capsys.readouterr().out
    assert f"server=external:{state['addresses'][0]}" in said
    assert "servers stop redis_pubsub" in said
    assert cli.main(["servers", "status", "redis-pubsub"]) == 0
    assert f"redis_pubsub.1  broker at {state['addresses'][0]} (pid {state['nodes'][0]['pid']})" in capsys.readouterr().out
    assert cli.main(["servers", "stop", "redis-pubsub"]) == 0
    assert "stopped: redis_pubsub" in capsys.readouterr().out
    assert cli.main(["servers", "status", "redis-pubsub"]) == 0
    assert capsys.readouterr().out.startswith("none is running")


def test_a_server_is_kept_with_options_and_a_second_start_must_ask_for_the_same(needs, monkeypatch, tmp_path, capsys):
    needs("redis_streams", "native")
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path))
    kind = ["--kind", "native"]
    try:
        assert cli.main(["servers", "start", "redis_streams,appendfsync=always", *kind]) == 0
        (address,) = keeper.status("redis_streams")["addresses"]
        assert f"'redis_streams,server=external:{address},appendfsync=always'" in capsys.readouterr().out
        assert cli.main(["servers", "start", "redis_streams,appendfsync=always", *kind]) == 0
        assert cli.main(["servers", "start", "redis_streams", *kind]) == 3
        assert "redis_streams runs already, with appendfsync=always; stop it first" in capsys.readouterr().err
        with Guard("external-options") as guard:
            request = Request(f"external:{address}", tmp_path, guard.run_id, guard, options={"appendfsync": "always"})
            told = servers.start("redis_streams", request).settings
        assert (told["appendfsync"], told["appendfsync (as told)"]) == ("always", "always")
    finally:
        keeper.stop("redis_streams")


@pytest.mark.parametrize("words", [["start", "redis_streams,min_idle_time=5"], ["stop", "redis_streams,appendfsync=no"]])
def test_what_is_no_option_of_a_server_that_is_started_is_refused(words, capsys):
    assert cli.main(["servers", *words]) == 2
    assert "with `start`, also options of its server (redis_streams has: appendfsync)" in capsys.readouterr().err


def test_an_unknown_system_is_told(capsys):
    assert cli.main(["servers", "start", "kafak"]) == 2
    assert 'did you mean "kafka"?' in capsys.readouterr().err
