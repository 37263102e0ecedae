"""One producer or consumer process: ``python -m bench.endpoint SPEC.json``.

The SPEC says which adapter, with which options and wiring, in which role, and where the runner listens. The endpoint
connects there, says hello, and does what it is told (bench.control). It lives for a series of trials. End of file
on the control connection ends it: nothing outlives the runner.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adapters.base import Adapter, Consumer, Event, HasRequests, Options, Producer
from adapters.errors import AdapterError
from bench.account import Account
from bench.clock import now_ns, sharpen_sleep
from bench.consuming import ConsumerLoop, untapped
from bench.control import PROTOCOL, Channel, Closed, Message
from bench.header import CANARY, run_number
from bench.journal import Writer
from bench.keys import Router
from bench.outcomes import Outcomes
from bench.payload import Block, Pool
from bench.poison import Sifter
from bench.producing import ALIGN, CANARY_ID, ProducerTrial
from bench.usage import keep_memory, quiet_collector
from bench.working import WorkingLoop
from bench.working import wanted as works
from bench.workload import Workload

_IDLE_S = 0.1
_CANARY_NS = 20_000_000
_LEAD_NS = 5_000_000


def _adapter(spec: dict[str, Any]) -> tuple[Adapter, int]:
    """Make the adapter that the runner made: by its module, so that a third party's is found the same way.

    With it, how long the import took, ns: of the adapter's module, which is that of its client library.
    """
    sys.path.extend(entry for entry in spec["sys_path"] if entry not in sys.path)
    name, _, attribute = spec["adapter"].partition(":")
    began = now_ns()
    module = importlib.import_module(name)
    imported_ns = now_ns() - began
    made: Adapter = getattr(module, attribute)(Options(**spec["options"]))
    return made, imported_ns


def _events(events: list[tuple[int, Event]]) -> list[dict[str, Any]]:
    return [{"t_ns": t, **dataclasses.asdict(event)} for t, event in events]


def _requests(client: Producer | Consumer) -> dict[str, int] | None:
    """What a client has sent since the last call, by action; None where its service does not bill requests."""
    return dict(client.requests()) if isinstance(client, HasRequests) else None


class _Role:
    """What producer and consumer have in common: events, the verbs' default answers."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, Event]] = []

    def note(self, events: object) -> None:
        now = now_ns()
        self.noted += [(now, event) for event in events]  # type: ignore[attr-defined]  # a Sequence[Event]

    def taken(self) -> list[dict[str, Any]]:
        events, self.noted = self.noted, []
        return _events(events)


class ProducerRole(_Role):
    """A producer endpoint: canaries, trials."""

    def __init__(self, spec: dict[str, Any], adapter: Adapter, writer: Writer, outcomes: Callable[[], Outcomes] = Outcomes) -> None:
        super().__init__()
        self._index = int(spec["index"])
        self._run = run_number(spec["run_id"])
        self._capabilities = adapter.capabilities
        self._writer = writer
        self._outcomes = outcomes()
        self._producer = adapter.producer(spec["wiring"], self._index, self._outcomes)
        self._ready = False
        self._canaries: Block | None = None
        self._next_canary_ns = 0
        self._next_id = 0
        self._groups = range(len(spec["groups"])) if adapter.capabilities.send_per_group else (-1,)
        self.trial: ProducerTrial | None = None

    def do(self, message: Message) -> Message | None:
        """Carry out one verb; return the answer."""
        verb = message["do"]
        if verb == "state":
            self._ready = self._ready or self._producer.ready(0.0)
            self.note(self._producer.events())
            return {"is": "state", "ready": self._ready, "events": self.taken()}
        if verb == "canaries":
            self._canaries = self._canary_block(message) if message["on"] else None
        elif verb == "prepare":
            self._prepare(message)
            return {"is": "prepared", "position": self._writer.position, "first_id": self._next_id}
        elif verb == "go" and self.trial is not None:
            quiet_collector()
            self.trial.go(int(message["at"]))
        elif verb == "stop" and self.trial is not None:
            self.trial.stop()
        elif verb == "progress":
            sent = self.trial.next_id - self.trial.first_id if self.trial else 0
            return {"is": "progress", "count": sent}
        elif verb == "report" and self.trial is not None:
            self.note(self._producer.events())
            report = self.trial.report()
            self._next_id = -(-(self.trial.next_id + 2 * ALIGN) // ALIGN) * ALIGN
            self.trial = None
            requests = {"requests": _requests(self._producer)}
            return {"is": "report", "position": self._writer.position, "events": self.taken(), **report, **requests}
        return None

    def _canary_block(self, message: Message) -> Block:
        load = Workload.from_json(message["workload"])
        router = Router("round-robin", load.partitions)
        block = Block(Pool(load.seed, 64), router, 64, run=self._run, trial=0, producer=self._index, flags=CANARY)
        self._lanes = min(load.partitions, block.count)
        return block

    def _prepare(self, message: Message) -> None:
        self._outcomes.take()
        _requests(self._producer)
        self._next_id = int(message.get("first_id", self._next_id))  # of one that was killed: the same trial goes on
        self.trial = ProducerTrial(
            self._producer, self._capabilities, self._outcomes, self._writer, Workload.from_json(message["workload"]),
            run=self._run, trial=int(message["trial"]), index=self._index, first_id=self._next_id,
            epoch=int(message.get("epoch", 0)), sent_before=int(message.get("sent_before", 0)),
        )  # fmt: skip

    def turn(self) -> tuple[float, Message | None]:
        """Do what is to be done now; return how long the control connection may be waited on, and a word to the runner."""
        trial = self.trial
        if trial is not None and not trial.finished:
            if trial.waits(now_ns() + _LEAD_NS):
                self._producer.pump(0.0)
                return 0.002, None
            trial.turn()
            return 0.0, {"is": "done"} if trial.finished else None
        if self._canaries is not None and now_ns() >= self._next_canary_ns:
            self._send_canaries(self._canaries)
        self._producer.pump(0.0)
        self._outcomes.take()
        return (0.01 if self._canaries is not None else _IDLE_S), None

    def _send_canaries(self, block: Block) -> None:
        now = now_ns()
        self._next_canary_ns = now + _CANARY_NS
        block.fill(CANARY_ID, block.intended(now))
        block.stamp(0, self._lanes, now)
        for group in self._groups:
            self._producer.send(block, 0, self._lanes, 0.0, group)

    def close(self) -> None:
        """Close the connection."""
        self._producer.close()


class ConsumerRole(_Role):
    """A consumer endpoint."""

    def __init__(self, spec: dict[str, Any], adapter: Adapter, writer: Writer, tap: Callable[[Account], Account] = untapped) -> None:
        super().__init__()
        self._writer = writer
        self._client = self._consumer = adapter.consumer(spec["wiring"], spec["group"], int(spec["member"]))
        self._active = self._leaving = self._left = False
        load, run, group = Workload.from_json(spec["workload"]), run_number(spec["run_id"]), spec["groups"].index(spec["group"])
        self._sifter: Sifter | None = None
        if load.poison_every:
            self._consumer = self._sifter = Sifter(self._consumer, writer, load, run=run, group=group)
        loop = WorkingLoop if works(load, adapter.capabilities) else ConsumerLoop
        self._loop = loop(
            self._consumer, adapter.capabilities, writer, load, run=run, group=group, name=spec["group"], member=int(spec["member"]),
            tap=tap,
        )  # fmt: skip
        if "entering" in spec:  # in place of one that was killed, or left: what it gets first may be of the trial already
            self._enter(load, **spec["entering"])

    def do(self, message: Message) -> Message | None:
        """Carry out one verb; return the answer."""
        verb = message["do"]
        if verb == "state":
            self._loop.flush()
            self.note(self._consumer.events())
            return {"is": "state", "ready": True, "seen": sorted(self._loop.account.canaries), "events": self.taken()}
        if verb == "canaries":
            self._active = bool(message["on"])
        elif verb == "prepare":
            self._loop.prepare(Workload.from_json(message["workload"]), int(message["trial"]))
            _requests(self._client)
            self._active = True
            return {"is": "prepared", "position": self._writer.position}
        elif verb == "rest":  # others are measured now: ten polls a second keep leases and heartbeats
            self._active = False
        elif verb == "go":
            self._go(int(message["at"]))
        elif verb == "progress":
            account = self._loop.account
            poison = self._sifter.messages(account.trial) if self._sifter else 0  # they have come, and will not be processed
            return {"is": "progress", "count": account.received + poison, "poison": poison}
        elif verb == "slow" and isinstance(self._loop, WorkingLoop):
            self._loop.processing_s = float(message["processing_s"])
        elif verb == "leave":
            self._leaving = True
        elif verb == "report":
            self._loop.flush()
            return self._report("report")
        return None

    def _report(self, word: str) -> Message:
        self.note(self._consumer.events())
        given_back = {"poison": self._sifter.report(self._loop.account.trial)} if self._sifter else {}
        sent = {"requests": _requests(self._client)}
        return {"is": word, "position": self._writer.position, "events": self.taken(), **self._loop.report(), **given_back, **sent}

    def turn(self) -> tuple[float, Message | None]:
        """Poll; an idle endpoint polls ten times a second, so that leases and heartbeats go on."""
        if self._leaving:
            return self._leave()
        if self._active:
            self._loop.turn()
            return 0.0, None
        self._loop.turn(0.0)
        return _IDLE_S, None

    def _enter(self, load: Workload, trial: int, at: int) -> None:
        """Take part in a trial that goes on since monotonic ``at``."""
        self._loop.prepare(load, trial)
        self._active = True
        self._go(at)

    def _go(self, at_ns: int) -> None:
        quiet_collector()
        self._loop.go(at_ns)

    def _leave(self) -> tuple[float, Message | None]:
        """Finish what was received, close the connection, tell what was done: once. After it there is nothing to do but to quit."""
        if self._left:
            return _IDLE_S, None
        if isinstance(self._loop, WorkingLoop) and not self._loop.finish():
            return 0.0, None
        self._loop.flush()
        self._consumer.close()
        self._left = True
        return _IDLE_S, self._report("left")

    def close(self) -> None:
        """Account and acknowledge what is pending, then close the connection."""
        if self._left:
            return
        self._loop.flush()
        self._consumer.close()


def serve(channel: Channel, role: ProducerRole | ConsumerRole) -> None:
    """Do what the runner says until it says quit or has gone."""
    wait_s = 0.0
    while True:
        for message in channel.receive(wait_s):
            if message["do"] == "quit":
                return
            answer = role.do(message)
            if answer is not None:
                channel.send(answer)
        wait_s, word = role.turn()
        if word is not None:
            channel.send(word)


Roles = Mapping[str, Callable[[dict[str, Any], Adapter, Writer], ProducerRole | ConsumerRole]]
ROLES: Roles = {"producer": ProducerRole, "consumer": ConsumerRole}


def run(spec: dict[str, Any], roles: Roles = ROLES) -> int:
    """Connect, make the adapter's side, serve. Return the exit code. ``roles``: bench.calibration has some that tell more."""
    host, port = spec["control"]
    channel = Channel(socket.create_connection((host, port), timeout=10))
    role: ProducerRole | ConsumerRole | None = None
    writer: Writer | None = None
    try:
        if spec.get("cores"):
            os.sched_setaffinity(0, spec["cores"])  # before the client makes threads: they inherit it
        sharpen_sleep()
        keep_memory()
        adapter, imported_ns = _adapter(spec)
        writer = Writer(Path(spec["evidence"]), spec["name"], segment_b=16 << 20)
        role = roles[spec["role"]](spec, adapter, writer)
        start_up = {"import_ns": imported_ns, "rest_ns": now_ns() - spec["started_ns"] - imported_ns}
        channel.send({"is": "hello", "protocol": PROTOCOL, "name": spec["name"], "pid": os.getpid(), "start_up": start_up})
        serve(channel, role)
    except Closed:
        return 0
    except (AdapterError, OSError) as error:
        _fail(channel, spec["name"], f"{type(error).__name__}: {error}")
        return 3
    except Exception as error:  # noqa: BLE001  # the runner must learn the reason of whatever ends an endpoint
        traceback.print_exc()
        _fail(channel, spec["name"], f"{type(error).__name__}: {error}")
        return 1
    finally:
        if role is not None:
            role.close()
        if writer is not None:
            writer.close()
        channel.close()
    return 0


def _fail(channel: Channel, name: str, reason: str) -> None:
    try:
        channel.send({"is": "failed", "name": name, "reason": reason})
    except Closed:
        print(reason, file=sys.stderr)


def main(roles: Roles = ROLES) -> int:
    """Entry of ``python -m bench.endpoint SPEC.json``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's; it ends its endpoints in order
    return run(json.loads(Path(sys.argv[1]).read_text()), roles)


if __name__ == "__main__":
    sys.exit(main())
