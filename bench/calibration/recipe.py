"""How the fake server is started: as any system's, by a recipe, and through the run's guard."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import adapters
from bench import __version__, servers
from bench.calibration.adapter import SYSTEM, Calibration
from bench.calibration.behaviour import Behaviour
from bench.errors import ServerError
from bench.servers.base import Node, Product, Request, Server
from bench.servers.common import (
    Launch,
    ProcessServer,
    launched,
    local,
    wait_ready,
)

READY_S: Final = 20.0
LOG: Final = "log"  # the folder of its own log, within the server's


class FakeRecipe:
    """``groups``: how many; ``trials``: what it does, by trial number; ``always``: in all others; ``survives``: bench.calibration.log."""

    system = SYSTEM
    default_kinds: tuple[str, ...] = ("embedded",)

    def __init__(self, groups: int, trials: Mapping[int, Behaviour], always: Behaviour | None = None, *, survives: bool = False) -> None:
        self._groups = groups
        self._trials = trials
        self._always = always or Behaviour()
        self._survives = survives

    def missing(self, kind: str) -> str | None:
        """Nothing: it is part of this package."""
        return None if kind == "embedded" else "the fake server is a process of brokerbench's own"

    def start(self, request: Request) -> Server:
        """Start it; return when it listens."""
        name = f"{SYSTEM}.1"
        folder = request.folder / LOG
        folder.mkdir(parents=True)
        spec, log = folder / "spec.json", request.folder / f"{name}.log"
        trials = {trial: behaviour.to_json() for trial, behaviour in self._trials.items()}
        told = {"folder": str(folder), "groups": self._groups, "trials": trials, "always": self._always.to_json()}
        spec.write_text(json.dumps(told | {"survives": self._survives}, indent=1))
        launch = Launch(
            lambda: request.guard.spawn([sys.executable, "-m", "bench.calibration.fake_server", spec], stdout=log, name=name),
            lambda popen: wait_ready(name, popen, log, lambda: int((folder / "port").read_text()), READY_S),
        )
        with launched(request.guard, launch) as (popen, port):
            address = local(port)
        node = Node(name, "broker", popen.pid, address, address, log)
        product = Product("brokerbench's fake server", __version__)
        return ProcessServer(SYSTEM, "embedded", request.guard, product, (node,), (address,), {}, [popen])

    def install(self) -> None:
        """Raises ServerError: there is nothing to install."""
        raise ServerError(f"{SYSTEM}: nothing to install")


@contextlib.contextmanager
def known(recipe: FakeRecipe) -> Iterator[None]:
    """Make the fake system one that this process can run."""
    adapters.register(SYSTEM, Calibration)
    try:
        servers.register(SYSTEM, recipe)
        yield
    finally:
        adapters.unregister(SYSTEM)
        servers.unregister(SYSTEM)


def log_of(run: Path) -> Path:
    """The folder of the fake server's log in a run's folder."""
    return run / "servers" / SYSTEM / LOG
