"""Can a side's endpoints be spoken to? Asked in its own environment before anything is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from typing import Any

from adapters import AdapterClass
from adapters.base import Options
from bench.control import PROTOCOL
from bench.engine.local import Interpreter
from bench.errors import EnvironmentProblem, Incompatible
from bench.gate.side import Side
from bench.workload import Workload

_S = 60.0
_LINES = 6
_ASK = """
import dataclasses, importlib, json, sys
from importlib import metadata
from adapters.base import Options
from bench.control import PROTOCOL
from bench.workload import Workload
import bench, bench.endpoint
sys.path.extend(entry for entry in json.loads(sys.argv[3]) if entry not in sys.path)
module, _, name = sys.argv[1].partition(":")
adapter = getattr(importlib.import_module(module), name)
client = adapter.capabilities.client
names = lambda one: sorted(field.name for field in dataclasses.fields(one))
print(json.dumps({
    "protocol": PROTOCOL, "workload": names(Workload), "options": names(Options), "suite": bench.__file__,
    "adapter": sys.modules[module].__file__, "client": client, "client_version": metadata.version(client) if client else "",
    "python": sys.version.split()[0],
    "packages": {one.name: one.version for one in metadata.distributions() if one.name} if sys.prefix == sys.argv[2] else {},
}))
"""
"""Standard library, and what an endpoint imports."""


def asked(side: Side, adapter: AdapterClass, interpreter: Interpreter, built: str | None) -> dict[str, Any]:
    """What a side's endpoints are: versions and where their modules lie.

    Raises EnvironmentProblem where they cannot run there (the adapter does not import with this client), Incompatible where their
    protocol is another.
    """
    name = f"{adapter.__module__}:{adapter.__qualname__}"  # type: ignore[attr-defined]  # a class
    sys_path = sys.path if interpreter.path is None else []  # as bench.engine.local tells an endpoint
    command = [interpreter.python, "-c", _ASK, name, built or "", json.dumps(sys_path)]
    try:
        done = subprocess.run(command, env=interpreter.environment(), capture_output=True, text=True, timeout=_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(f'--{side.name} "{side.spec}": {interpreter.python} does not answer: {error}') from error
    if done.returncode != 0:
        last = "".join(f"\n    {line}" for line in done.stderr.splitlines()[-_LINES:])
        raise EnvironmentProblem(f'--{side.name} "{side.spec}": its adapter cannot be run in its environment{last}')
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    differs = _differs(said)
    if differs:
        raise Incompatible(
            f'--{side.name} "{side.spec}": its endpoints cannot be led by this runner: {differs}. A gate compares revisions of one '
            "protocol; compare the runner of one with clients or adapters of the other instead"
        )
    return said


def _differs(said: dict[str, Any]) -> str:
    if said["protocol"] != PROTOCOL:
        return f"they speak control protocol {said['protocol']}, this runner {PROTOCOL}"
    workload = {field.name for field in fields(Workload)} ^ set(said["workload"])
    if workload:
        return f"their workloads differ from this runner's in {', '.join(sorted(workload))}"
    options = {field.name for field in fields(Options)} - set(said["options"])
    return f"their adapters know no option {', '.join(sorted(options))}" if options else ""
