"""A system with a limit that is known: raw TCP whose consumer takes LIMIT messages a second, as a server would that works on each."""

import time

from adapters.tcp import Tcp

LIMIT_PER_S = 2000
CATCH_UP_S = 0.02  # of work missed while the machine was elsewhere


class ThrottledConsumer:
    """Hands out what LIMIT_PER_S allows; the rest waits in the socket."""

    def __init__(self, inner):
        self.inner = inner
        self.free_s = time.monotonic()  # when it has done what it took

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def poll(self, max_messages, timeout_s):
        now = time.monotonic()
        self.free_s = max(self.free_s, now - CATCH_UP_S)
        allowed = min(max_messages, int((now - self.free_s) * LIMIT_PER_S))
        if allowed < 1:
            time.sleep(min(timeout_s, 2 / LIMIT_PER_S))
            return None
        batch = self.inner.poll(allowed, timeout_s)
        if batch is not None:
            self.free_s += batch.count / LIMIT_PER_S
        return batch


class Throttled(Tcp):
    """Raw TCP with such consumers."""

    def consumer(self, wiring, group, member):
        return ThrottledConsumer(super().consumer(wiring, group, member))


def distribution(folder):
    """Makes ``folder`` an installed distribution that registers it; to be put on PYTHONPATH with tests/."""
    info = folder / "throttled_adapter-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: throttled-adapter\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[brokerbench.adapters]\nthrottled = throttled_adapter:Throttled\n")
    return folder
