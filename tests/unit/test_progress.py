"""What a run says while it runs: a live line on a terminal, plain lines in a file."""

import io
import os
import pty
import select

import pytest

from bench import progress
from bench.progress import Progress


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(progress, "now_ns", lambda: int(self.now * 1e9))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Terminal:
    """A real one, of 40 columns."""

    def __init__(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        self.ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w")

    def shown(self):
        self.stream.flush()
        data = b""
        while select.select([self.ours], [], [], 0.05)[0]:  # a terminal hands out what it has, which may be a part
            data += os.read(self.ours, 65536)
        return data.decode().replace("\r\n", "\n")


def test_lines_elsewhere(clock):
    out = io.StringIO()
    told = Progress(out)
    clock.now = 2.25
    told.say("kafka: ready")
    told.trial(3, 30, "kafka · 200/s, 256 B · round 1", 71.4)
    told.tick()
    clock.now = 100.0
    told.tick()
    told.end()
    assert out.getvalue() == "[   2.2 s] kafka: ready\n[   2.2 s] 3/30 kafka · 200/s, 256 B · round 1 · about 1 min 11 s left\n"


def test_one_live_line_on_a_terminal(clock, monkeypatch):
    terminal = Terminal(monkeypatch)
    told = Progress(terminal.stream)
    told.tick()
    told.trial(1, 2, "zeromq", 9.0)
    assert terminal.shown() == "\r\x1b[2K1/2 zeromq · about 9 s left"
    clock.now = 4.0
    told.tick()
    assert terminal.shown() == "\r\x1b[2K1/2 zeromq · about 5 s left"
    told.say("zeromq: failed")
    told.tick()
    assert terminal.shown() == "\r\x1b[2K[   4.0 s] zeromq: failed\n\r\x1b[2K1/2 zeromq · about 5 s left"
    clock.now = 60.0
    told.tick()
    assert terminal.shown().endswith("about 0 s left")
    told.end()
    told.tick()
    assert terminal.shown() == "\r\x1b[2K"


def test_the_live_line_never_wraps(clock, monkeypatch):
    terminal = Terminal(monkeypatch)
    Progress(terminal.stream).trial(1, 2, "x" * 100, 9.0)
    assert len(terminal.shown().removeprefix("\r\x1b[2K")) == 39


@pytest.mark.parametrize("live", [False, True])
def test_quiet_says_nothing(clock, monkeypatch, live):
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: live)
    told = Progress(out, quiet=True)
    told.say("x")
    told.trial(1, 2, "x", 3.0)
    told.tick()
    told.end()
    assert out.getvalue() == ""
