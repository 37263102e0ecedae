"""One side of a bare loop: ``python -m bench.overhead.bare.loop SPEC.json``. What a client does without the harness.

No header, no time stamp a message, no journal, no accounting: a constant payload, counted by the batch. The SPEC names the
module of bench/overhead/bare (one a client), the side, and what the adapter would have been given: wiring, batch, size,
settings. The module gives ``producer(spec)`` and ``consumer(spec)``, which connect and return a step: one batch sent or
received, its count returned. It speaks lines over a connection to spec["control"] (bench/overhead/pair.py): says "ready"
when the other side may begin, waits for "go START END" (monotonic ns), then says in JSON what was counted in [START, END).
SIGUSR1 makes it write where each of its threads is to its log: a pair that waits in vain asks for it.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from bench.clock import cpu_ns, now_ns
from bench.overhead.bare.step import Step
from bench.usage import keep_memory, peak_b, quiet_collector


def measure(step: Step, start_ns: int, end_ns: int) -> dict[str, int]:
    """Call ``step`` until monotonic ``end_ns``; what was counted from ``start_ns`` on. Before it is the warm-up."""
    while now_ns() < start_ns:
        step()
    used, count, began = cpu_ns(), 0, now_ns()
    while (now := now_ns()) < end_ns:
        count += step()
    return {"messages": count, "cpu_ns": cpu_ns() - used, "took_ns": now - began}


def main() -> None:
    """Connect, say so, measure one window, say what was counted; end when the other end of the control connection does."""
    faulthandler.register(signal.SIGUSR1)
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    module = importlib.import_module(f"bench.overhead.bare.{spec['bare']}")
    keep_memory()  # as in the harness's endpoints
    with socket.create_connection(tuple(spec["control"])) as connection, connection.makefile("rw", encoding="utf-8") as control:
        print(spec["side"], file=control, flush=True)
        step: Step = (module.producer if spec["side"] == "producer" else module.consumer)(spec)
        print("ready", file=control, flush=True)
        words = control.readline().split()
        if words[:1] != ["go"]:
            return
        quiet_collector()
        found = measure(step, int(words[1]), int(words[2]))
        print(json.dumps(found | {"peak_b": peak_b()}), file=control, flush=True)
        while not select.select([connection], [], [], 0.0 if spec["side"] == "consumer" else 1.0)[0]:
            if spec["side"] == "consumer":
                step()  # goes on reading, so that no producer hangs in its last send
        os._exit(0)  # threads of the client, and what they still hold, are nobody's any more


if __name__ == "__main__":
    main()
