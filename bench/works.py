"""Whether a system works here: a round trip through its real server, made now, through the same path as a run."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adapters
from adapters.capabilities import Capabilities
from adapters.errors import AdapterError, NotInstalled
from bench import plan, scenario, servers, trial
from bench.clock import now_ns, utc_now
from bench.deployment import Deployment, place_of
from bench.engine.local import LocalEngine
from bench.errors import BenchError, ServerError
from bench.guard import Guard
from bench.session import Session
from bench.spec import Variant, parse

_TINY = """
name: works
systems: ["{system}"]
topology: {{producers: 1, groups: {{only: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 256 B}}
load: {{schedule: constant, rate: 100/s}}
timing: {{warmup: 100 ms, measure: 1 s, drain: 10 s}}
rounds: 1
"""


@dataclass(frozen=True)
class Works:
    """What one call found out about one variant."""

    system: str  # a SPEC: with nothing else in it, the system
    ok: bool
    said: str  # what answered and how fast, or what is missing
    get: str  # how to get what is missing
    capabilities: Capabilities | None


def systems() -> list[str]:
    """Return the systems that a run can use, through each of their clients, as SPECs: all but the in-process reference."""
    return [adapters.spec(*pair) for pair in adapters.pairs() if pair[0] != "memory"]


def variants(text: str) -> list[str]:
    """A system's SPEC, then with each mode but its first, then with each value of each option of its server but the default.

    One thing at a time, an option beside the one that it belongs to; a second client's servers are those of the first. The SPEC alone
    where its client library is not installed.
    """
    one = parse(text)
    try:
        modes = adapters.load(one.system, one.client).capabilities.modes[1:]
    except NotInstalled:
        return [text]
    more = [f"mode={mode.name}" for mode in modes]
    beside = servers.belongs(one.system)
    for key, values in ({} if one.client else servers.options(one.system)).items():
        more += [",".join(filter(None, (beside.get(key), f"{key}={value}"))) for value in values[1:]]
    return [text, *(parse(f"{text},{each}").spec for each in more)]


def check(text: str) -> Works:
    """Of a variant by SPEC: start its server, send 110 messages through it, audit them, stop it."""
    variant = parse(text)
    try:
        capabilities = adapters.load(variant.system, variant.client).capabilities
    except NotInstalled as error:
        return Works(variant.spec, ok=False, said="the client library is not installed", get=str(error), capabilities=None)
    try:
        with tempfile.TemporaryDirectory(prefix="brokerbench-works-") as name:
            said = _round_trip(variant, Path(name))
    except ServerError as error:
        first, _, rest = str(error).partition("\n")
        return Works(variant.spec, ok=False, said=first, get=rest, capabilities=capabilities)
    except (BenchError, AdapterError, OSError) as error:
        return Works(variant.spec, ok=False, said=str(error), get="", capabilities=capabilities)
    return Works(variant.spec, ok=True, said=said, get="", capabilities=capabilities)


@contextlib.contextmanager
def _stage(folder: Path) -> Iterator[tuple[str, Deployment, LocalEngine]]:
    run_id = f"works-{uuid.uuid4().hex[:12]}"
    with Guard(run_id) as guard, contextlib.closing(LocalEngine(guard)) as engine:
        deployment = Deployment(guard, folder / "servers", run_id)
        try:
            yield run_id, deployment, engine
        finally:
            deployment.stop()


def _round_trip(variant: Variant, folder: Path) -> str:
    planned = plan.make(scenario.parse(_TINY.format(system=variant.spec), where="works").points(), [variant], rounds=1)[0]
    load = planned.point.workload
    evidence = folder / "evidence"
    evidence.mkdir()
    with _stage(folder) as (run_id, deployment, engine):
        place = place_of(variant)
        session = Session(
            adapters.load(variant.system, variant.client),
            variant,
            load,
            run_id=run_id,
            engine=engine,
            evidence=evidence,
            number=1,
            payload_bytes_max=load.size_b,
        )
        try:
            session.wire()
            began = now_ns()
            server = deployment.server(place, session.wiring)
            up_s = (now_ns() - began) / 1e9
            session.open(server.bootstrap if server is not None else ())
            raw = session.trial(1, load, server.nodes if server is not None else (), session.check)
            record = trial.frame(planned, session.adapter, server, run_id=run_id, scenario="works", started=utc_now())
            trial.complete(record, raw, session, load, evidence)
        finally:
            session.close()
    return _told(record, up_s)


def _told(record: dict[str, Any], up_s: float) -> str:
    audit = record["audit"]["only"]
    server = record["server"]
    if audit["verdict"] not in ("clean", "as promised") or audit["processed"] < audit["sent"]:
        why = "; ".join(audit["reasons"]) or audit["verdict"]
        raise BenchError(f"{audit['processed']} of {audit['sent']} messages came through: {why}")
    p50 = record["latency"]["end_to_end_intended"]["p50_ns"] / 1e6
    what = "no server" if server is None else f"{server['product']} {server['version']} ({server['kind']}, up in {up_s:.1f} s)"
    return f"{audit['processed']} messages there and audited, p50 {p50:.1f} ms · {what}"


def check_all(texts: list[str], told: Callable[[Works], None]) -> list[Works]:
    """Check variants, by SPEC, one after another (side by side they would slow one another); ``told`` hears of each at once."""
    found = []
    for text in texts:
        found.append(check(text))
        told(found[-1])
    return found
