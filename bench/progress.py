"""What a run says while it runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from bench.clock import now_ns


class Progress:
    """Says what is done, at which rate, and how much time is left. ``quiet`` says nothing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = self._stream.isatty()
        self._shown = False
        self._began_ns = now_ns()
        self._current = ""
        self._left_s = 0.0
        self._left_at_ns = now_ns()

    def say(self, text: str) -> None:
        """Say one lasting line, with the seconds since the start."""
        if self._quiet:
            return
        self._wipe()
        print(f"[{(now_ns() - self._began_ns) / 1e9:6.1f} s] {text}", file=self._stream, flush=True)

    def trial(self, number: int, of: int, what: str, left_s: float) -> None:
        """Say which trial runs now and about how many seconds the rest of the run takes."""
        self._current = f"{number}/{of} {what}"
        self._left_s, self._left_at_ns = left_s, now_ns()
        if self._live:
            self.tick()
        else:
            self.say(f"{self._current} · about {span(left_s)} left")

    def tick(self) -> None:
        """Bring the live line up to date; nothing elsewhere."""
        if self._quiet or not self._live or not self._current:
            return
        left = max(0.0, self._left_s - (now_ns() - self._left_at_ns) / 1e9)
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[2K" + f"{self._current} · about {span(left)} left"[:width])
        self._stream.flush()
        self._shown = True

    def end(self) -> None:
        """Leave the terminal on a fresh line."""
        self._wipe()
        self._current = ""

    def _wipe(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._shown = False


def span(seconds: float) -> str:
    """For people: "95 s" as "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
