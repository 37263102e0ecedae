"""Servers that outlive the command that started them: ``brokerbench servers start`` (nothing else outlives anything).

One keeper process a system holds the server under a guard of its own and writes HOME/servers/SYSTEM/state.json; stop asks
it to end, by the pid and start time that stand there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import servers
from bench.clock import now_ns, sleep_until
from bench.errors import BenchError, ServerError
from bench.guard import Guard, child_env
from bench.servers.base import Request
from bench.servers.common import STOP_TIMEOUT_S
from bench.servers.compose import DOWN_TIMEOUT_S, UP_TIMEOUT_S
from bench.servers.home import home
from bench.watchdog import start_time

# Longer than any server takes that gives up by itself: its keeper then ends, and says why.
_START_S = UP_TIMEOUT_S + 2 * DOWN_TIMEOUT_S + 60  # compose: up, then logs and down
_STOP_S = max(DOWN_TIMEOUT_S, 2 * STOP_TIMEOUT_S) + 15  # nodes, then those that they need


def _folder(system: str) -> Path:
    return home() / "servers" / system


def status(system: str) -> dict[str, Any] | None:
    """Return the state of a kept server: product, version, addresses, nodes; None when none is running."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        state: dict[str, Any] = json.loads((_folder(system) / "state.json").read_text())
        if start_time(state["pid"]) == state["born"]:
            return state
    return None


def start(system: str, kind: str, options: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Start a server that stays; return its state. Raises ServerError with the server's own last words.

    One that runs is left as it is; ServerError where it has other ``options`` (those that are not their defaults).
    """
    asked = [f"{key}={value}" for key, value in (options or {}).items()]
    running = status(system)
    if running is not None:
        have = [f"{key}={value}" for key, value in running["options"].items()]
        if have != asked:
            as_it_is = ", ".join(have) or "its defaults"
            raise ServerError(f"{system} runs already, with {as_it_is}; stop it first: brokerbench servers stop {system}")
        return running
    servers.choose(system, kind)
    folder = _folder(system)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").unlink(missing_ok=True)
    log = folder / "keeper.log"
    with log.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "bench.servers.keeper", system, kind, *asked],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=child_env(), cwd="/",
        )  # fmt: skip
    deadline = now_ns() + int(_START_S * 1e9)
    while now_ns() < deadline:
        state = status(system)
        if state is not None:
            return state
        if keeper.poll() is not None:
            raise ServerError(log.read_text(errors="replace").strip() or f"{system}: its keeper ended with exit code {keeper.returncode}")
        sleep_until(now_ns() + 50_000_000)
    keeper.terminate()
    raise ServerError(f"{system} was not up after {_START_S:.0f} s; see {log}")


def stop(system: str) -> bool:
    """Stop a kept server; False when none was running."""
    state = status(system)
    if state is None:
        return False
    os.kill(state["pid"], signal.SIGTERM)
    deadline = now_ns() + int(_STOP_S * 1e9)
    while status(system) is not None:
        if now_ns() > deadline:
            raise ServerError(f"{system}: its keeper (pid {state['pid']}) did not end within {_STOP_S:.0f} s")
        sleep_until(now_ns() + 20_000_000)
    return True


def _keep(system: str, kind: str, options: Mapping[str, str]) -> None:
    """Hold a server until somebody asks this process to end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    folder = _folder(system)
    run_id = f"kept-{system}-{uuid.uuid4().hex[:8]}"
    with Guard(run_id) as guard:
        server = servers.start(system, Request(kind, folder / run_id, run_id, guard, options=options))
        try:
            state = {
                "pid": os.getpid(), "born": start_time(os.getpid()), "system": system, "kind": server.kind, "product": server.product.name,
                "version": server.product.version, "addresses": list(server.bootstrap), "folder": str(folder / run_id),
                "options": dict(options),
                "nodes": [{"name": node.name, "role": node.role, "pid": node.pid, "address": node.address} for node in server.nodes],
            }  # fmt: skip
            beside = folder / "state.json.new"
            beside.write_text(json.dumps(state, indent=1))
            beside.rename(folder / "state.json")
            while not ended.wait(1.0):
                reason = server.dead()
                if reason is not None:
                    raise ServerError(reason)
        finally:
            server.stop()
            (folder / "state.json").unlink(missing_ok=True)  # last: whoever waits for it to go finds nothing running


def main() -> int:
    """Entry of ``python -m bench.servers.keeper SYSTEM KIND [OPTION=VALUE...]``."""
    try:
        _keep(sys.argv[1], sys.argv[2], dict(option.split("=", 1) for option in sys.argv[3:]))
    except BenchError as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
