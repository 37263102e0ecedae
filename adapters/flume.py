"""Apache Flume by thriftpy2: Python -> Thrift source -> channel -> Thrift sink -> Python.

An agent is a pipe with a store in it. Producers call its source; its replicating selector puts each batch into the channel of
every group; a sink for each member takes batches from its group's channel and *calls the member*, which therefore listens. So the
agent's configuration holds the members' addresses: wire() makes it (wiring["agent"]), and an agent is started for each session.

``memory``: the channel is a queue in the agent's heap, "OK" means that it is there. ``file``: a log, synced (fsync) before "OK".

* A producer has one call under way, of at most transactionCapacity messages: a source hands out no more than one answer at a time
  for a connection, and order is kept. FAILED means that a channel had no room for keep-alive seconds; the batch is sent again, as
  Flume's guide asks of clients. A channel that stands before the full one in the source's list has the batch then, and gets it
  twice: groups repeat what another group's full channel had refused.
* A consumer answers OK when *all* messages of a call are acknowledged (capabilities.in_step): the sink then removes them. Without an
  answer (the member ended, or was silent for request-timeout) the sink puts them back and sends all of them again, to any member of
  the group, after SINK_PAUSE_S. A call that was acknowledged in part comes again whole. There is no mark on what comes again.
* A sink fills batch-size before it calls, or waits until the channel has had nothing for keep-alive seconds; one that found nothing
  sleeps 1 s, then 2, up to 5. So the defaults cost latency by design; batch-size=1 and keep-alive=60 are the quick way with a
  memory channel. A file channel does not wait for messages: its sink sleeps whenever it has caught up, whatever the settings.

Sources: https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html (Thrift Source, Thrift Sink, Memory Channel, File
Channel), FlumeDeveloperGuide.html ("Client SDK"), and flume-ng-core 1.11.0: SinkRunner, ReplicatingChannelSelector, MemoryChannel.
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import importlib.metadata
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from adapters import flume_rpc as rpc
from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from adapters.ports import LOOPBACK, free_ports

CALL_BYTES_MAX = 16_000_000  # of bodies; libthrift 0.14 takes frames of at most 16,384,000 bytes,
CALL_MESSAGES_MAX = 22_000  # in which a message has 17 more than its body
PAYLOAD_BYTES_MAX = CALL_BYTES_MAX
SINK_PAUSE_S = 5.0  # SinkRunner.maxBackoffSleep: after a call that failed
CONNECT_S = 1.0
ANSWER_S = 10.0  # to a call of nothing
RETRY_S = 0.05  # between two attempts to connect
BACKLOG = 128

CAPABILITIES = Capabilities(
    system="Apache Flume",
    client="thriftpy2",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED,
    modes=(
        Mode(
            name="memory",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="channel, one consumer",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber="what its group's channel holds",
            slow_consumer="its channel is full at its capacity (1,000 by default); then producers are answered FAILED, and send again",
            source="https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html#memory-channel",
        ),
        Mode(
            name="file",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="channel, one consumer",
            persistence=Persistence.FSYNC,
            copies=1,
            late_subscriber="what its group's channel holds",
            slow_consumer="its channel grows to its capacity (1,000,000 by default); then producers are answered FAILED, and send again",
            source="https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html#file-channel",
        ),
    ),
    confirms=True,
    acks=True,
    assignment=Assignment.SHARED,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    consumer_listens=True,
    in_step=True,
    quotas="a call of at most 16 MB and transactionCapacity messages; a channel of capacity messages, in memory also of 80% of the heap",
)

# The guide's defaults, but for the memory channel's capacity: its 100 is one batch of the sink, and a put that does not fit then waits
# keep-alive for a sink that waits as long to fill its batch. 1000 is what the guide's own first example sets.
SINK = {"batch-size": 100, "request-timeout": 20_000}
DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "memory": {"capacity": 1000, "transactionCapacity": 100, "keep-alive": 3, **SINK},
    "file": {"capacity": 1_000_000, "transactionCapacity": 10_000, "keep-alive": 3, "checkpointInterval": 30_000, **SINK},
}
MINIMUM = {"capacity": 1, "transactionCapacity": 1, "keep-alive": 1, "batch-size": 1, "request-timeout": 1000, "checkpointInterval": 1000}


class Flume:
    """Settings by Flume's names.

    Of the channels: ``capacity``, ``transactionCapacity`` (messages), ``keep-alive`` (s) and, in a file, ``checkpointInterval`` (ms).
    Of the sinks: ``batch-size`` (messages), ``request-timeout`` (ms).
    """

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("flume", options, ("defaults",))
        self.mode = choose_mode(CAPABILITIES, options)
        defaults = DEFAULTS[self.mode.name]
        self._settings = integer_settings("flume", options, defaults, {name: MINIMUM[name] for name in defaults})
        least = self._settings["transactionCapacity"]
        if not self._settings["batch-size"] <= least <= self._settings["capacity"]:
            raise BadSetting(
                f"flume: batch-size = {self._settings['batch-size']}, transactionCapacity = {least}, capacity = "
                f"{self._settings['capacity']}: none may be larger than the next"
            )

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A port for each member of each group, and the agent's channels and sinks, which know them."""
        ports = iter(free_ports(sum(group.members for group in topology.groups)))
        groups = [{"name": group.name, "members": [[LOOPBACK, next(ports)] for _ in range(group.members)]} for group in topology.groups]
        channels = {f"c{i}": {"type": self.mode.name, **self._of("channel")} for i in range(1, len(groups) + 1)}
        sink = {"type": "thrift", "protocol": "binary", **self._of("sink")}
        sinks = {
            f"k{i}-{member}": {**sink, "channel": f"c{i}", "address": f"{host}:{port}"}  # an address: a proxy can be put before it
            for i, group in enumerate(groups, 1)
            for member, (host, port) in enumerate(group["members"], 1)
        }
        return {"run_id": run_id, "groups": groups, "agent": {"channels": channels, "sinks": sinks}}

    def _of(self, part: str) -> dict[str, int]:
        """The settings of the channels, or of the sinks."""
        return {name: value for name, value in self._settings.items() if (name in SINK) == (part == "sink")}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Calls the source with a batch of nothing: all else was made when the agent started. Raises Unreachable."""
        address = wiring["servers"][0]
        line = _connected(address)
        try:
            rpc.send_batch(line, [])
            deadline_s = time.monotonic() + ANSWER_S
            while not line.whole():
                if not select.select([line], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                    raise Unreachable(f"flume: the source at {address} did not answer within {ANSWER_S:g} s")
                line.receive()
            rpc.read_status(line)
        except rpc.Gone as error:
            raise Unreachable(f"flume: no Thrift source at {address}: {error}") from error
        finally:
            line.close()
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing: what a session left in its channels goes with its agent."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> FlumeProducer:
        """A connection to the source. Raises Unreachable."""
        return FlumeProducer(wiring["servers"][0], outcomes, self._settings["transactionCapacity"], self._settings["keep-alive"])

    def consumer(self, wiring: Wiring, group: str, member: int) -> FlumeConsumer:
        """Listens at once, for its sink. Raises Refused where the port is taken."""
        for entry in wiring["groups"]:
            if entry["name"] == group:
                host, port = entry["members"][member]
                return FlumeConsumer(host, port)
        raise Refused(f"flume: no group {group!r} in this wiring")

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The channel stands with the producers, who meet it when it is full, the sink with the consumers."""
        client = f"thriftpy2 {importlib.metadata.version('thriftpy2')}: TCyBinaryProtocol, TCyFramedTransport"
        return {
            "producer": {
                "client": client,
                "calls under way": 1,
                "retry": "a batch that came back FAILED, until it is OK",
                "selector": "replicating",
                "channel": self.mode.name,
                **self._of("channel"),
            },
            "consumer": {"client": client, "answer": "OK when all of a call is acknowledged", "sinks": "one a member", **self._of("sink")},
        }

    def redelivery_s(self) -> float:
        """A sink that has no answer gives up after request-timeout, pauses, and fills its batch anew before it sends again."""
        fills_s = self._settings["keep-alive"] if self.mode.name == "memory" and self._settings["batch-size"] > 1 else 0
        return self._settings["request-timeout"] / 1000 + SINK_PAUSE_S + fills_s


def _connected(address: str) -> rpc.Line:
    """A connection to a source. Raises Unreachable."""
    host, _, port = address.rpartition(":")
    try:
        return rpc.Line(socket.create_connection((host, int(port)), timeout=CONNECT_S))
    except OSError as error:
        raise Unreachable(f"flume: no agent answers at {address}: {error}") from error


class UnderWay(NamedTuple):
    """A call without an answer."""

    first_id: int
    messages: int


class FlumeProducer:
    """One connection, one call at a time."""

    def __init__(self, address: str, outcomes: Outcomes, rows_max: int, keep_alive_s: int) -> None:
        self._address = address
        self._outcomes = outcomes
        self._rows_max = min(rows_max, CALL_MESSAGES_MAX)
        self._keep_alive_s = keep_alive_s
        self._line: rpc.Line | None = _connected(address)
        self._call: UnderWay | None = None
        self._tried_s = 0.0  # monotonic: the last attempt to connect again
        self._closed = False
        self._events = [Event("ready")]

    def ready(self, timeout_s: float) -> bool:
        """Connected; tries again where it is not."""
        deadline_s = time.monotonic() + timeout_s
        while self._line is None and not self._closed:
            self._reconnect()
            if self._line is None and time.monotonic() + RETRY_S >= deadline_s:
                return False
            if self._line is None:
                time.sleep(RETRY_S)
        return not self._closed

    def room(self) -> int:
        """What a call may hold while none is under way, else 0."""
        return self._rows_max if self._line is not None and self._call is None else 0

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """One call of what fits in it; waits for the one under way as long as it may.

        Raises Refused for messages over the limit, Unreachable after close().
        """
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"flume: {block.size} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message")
        if self._closed:
            raise Unreachable("flume: this producer is closed")
        if not self.room() and timeout_s > 0:
            self.pump(timeout_s)
        count = self._fitting(block, lo, min(hi, lo + self.room()))
        if count <= 0 or self._line is None:
            return 0
        self._call = UnderWay(block.first_id + lo, count)
        try:
            rpc.send_batch(self._line, block.messages(lo, lo + count))
        except rpc.Gone as error:
            self._lose(error)
        return count

    @staticmethod
    def _fitting(block: Block, lo: int, hi: int) -> int:
        """How many of the rows one call may hold."""
        if block.sizes is None or block.size * (hi - lo) <= CALL_BYTES_MAX:
            return min(hi - lo, max(1, CALL_BYTES_MAX // block.size))
        held = count = 0
        while lo + count < hi and (not count or held + block.sizes[lo + count] <= CALL_BYTES_MAX):
            held += block.sizes[lo + count]
            count += 1
        return count

    def pump(self, timeout_s: float) -> None:
        """Writes what is left of a call, reads its answer; connects again, and sends again what came back FAILED."""
        line = self._line
        if line is None:
            if not self._closed:
                self._reconnect()
            if self._line is None and timeout_s > 0:
                time.sleep(min(timeout_s, RETRY_S))
            return
        try:
            readable, writable, _ = select.select([line], [line] if line.rest else [], [], timeout_s)
            if writable:
                line.push()
            if readable:
                line.receive()
            if line.whole():
                self._answered(line, rpc.read_status(line))
        except rpc.Gone as error:
            self._lose(error)

    def _answered(self, line: rpc.Line, status: int) -> None:
        if self._call is None:
            raise rpc.Gone("an answer that nobody had asked for")
        if status == rpc.FAILED:
            self._events.append(Event("error", f"FAILED: a channel had no room for {self._keep_alive_s} s; sent again"))
            line.again()
            return
        call, self._call = self._call, None
        if status == rpc.OK:
            self._outcomes.run(*call, Status.CONFIRMED)
        else:
            self._outcomes.run(*call, Status.INDETERMINATE)
            name = rpc.STATUS_NAMES[status] if 0 <= status < len(rpc.STATUS_NAMES) else status
            self._events.append(Event("error", f"the source answered {name} to {call.messages} messages"))

    def _lose(self, error: rpc.Gone) -> None:
        """What was under way may be in a channel."""
        assert self._line is not None
        self._line.close()
        self._line = None
        self._events.append(Event("closed", str(error)))
        if self._call is not None:
            call, self._call = self._call, None
            self._outcomes.run(*call, Status.INDETERMINATE)

    def _reconnect(self) -> None:
        now_s = time.monotonic()
        if now_s - self._tried_s < RETRY_S:
            return
        self._tried_s = now_s
        with suppress(Unreachable):
            self._line = _connected(self._address)
            self._events.append(Event("reconnected", self._address))

    def flush(self, timeout_s: float) -> int | None:
        """Waits for the answer to the call under way; how many messages have none."""
        deadline_s = time.monotonic() + timeout_s
        while self._call is not None and (left_s := deadline_s - time.monotonic()) > 0:
            self.pump(left_s)
        return 0 if self._call is None else self._call.messages

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, batches that did not fit."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """A call under way has no answer any more."""
        self._closed = True
        if self._line is not None:
            self._line.close()
            self._line = None


@dataclass(eq=False)
class Handed:
    """A sink's call and how far it has got."""

    line: rpc.Line
    call: rpc.Call
    taken: int = 0  # messages handed over by poll()
    acknowledged: int = 0


class FlumeConsumer:
    """A listener for the sinks of one member: a call at a time is handed over, in parts where poll() asks for less."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a finished run's connections do not hold the port
        try:
            self._listener.bind((host, port))
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            raise Refused(f"flume: cannot listen on {host}:{port}: {error.strerror}") from error
        self._listener.setblocking(False)
        self._lines: list[rpc.Line] = []
        self._calls: deque[Handed] = deque()  # without an answer: those that are handed over, then those that are not
        self._events = [Event("ready"), Event("assigned")]
        self._closed = False

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """More of the sink's call; the next one comes when it is acknowledged."""
        deadline_s = time.monotonic() + timeout_s
        batch = self._take(max_messages)
        while batch is None and not self._closed:
            left_s = deadline_s - time.monotonic()
            self._serve(max(0.0, left_s))
            batch = self._take(max_messages)
            if left_s <= 0:
                break
        return batch

    def _take(self, max_messages: int) -> Batch | None:
        for handed in self._calls:
            left = handed.call.bodies[handed.taken : handed.taken + max_messages]
            if left:
                begin = handed.taken
                handed.taken += len(left)
                return Batch(left, count=len(left), token=(handed, begin))
        return None

    def _serve(self, timeout_s: float) -> None:
        """Waits for the sinks, once: takes them up, reads their calls, goes on with answers."""
        unsent = [line for line in self._lines if line.rest]
        sources: list[socket.socket | rpc.Line] = [self._listener, *self._lines]
        readable, writable, _ = select.select(sources, unsent, [], timeout_s)
        for line in writable:
            self._guarded(line, line.push)
        for source in readable:
            if not isinstance(source, rpc.Line):
                with suppress(OSError):  # the sink has gone again
                    self._lines.append(rpc.Line(self._listener.accept()[0]))
            elif source in self._lines:  # not dropped a moment ago, while it was written to
                self._guarded(source, partial(self._read, source))

    def _read(self, line: rpc.Line) -> None:
        line.receive()
        while line.whole():
            call = rpc.read_call(line)
            self._calls.append(Handed(line, call))
            self._answer()  # a call without messages

    def _guarded(self, line: rpc.Line, work: Callable[[], None]) -> None:
        try:
            work()
        except rpc.Gone as gone:
            self._drop(line, gone)

    def _drop(self, line: rpc.Line, gone: rpc.Gone) -> None:
        """The sink puts back what it has no answer to, and sends all of it again: what was not handed over is forgotten."""
        line.close()
        self._lines.remove(line)
        owed = [handed for handed in self._calls if handed.line is line]
        self._calls = deque(handed for handed in self._calls if handed.line is not line)
        if owed:
            count = sum(len(handed.call.bodies) for handed in owed)
            self._events.append(Event("closed", f"{gone}; {count} messages without an answer come again"))

    def ack(self, batch: Batch, upto: int) -> None:
        """Answers each call of which now all is acknowledged."""
        handed, begin = batch.token
        if handed not in self._calls:
            if handed.acknowledged < begin + upto:
                self._events.append(Event("ack-failed", "the sink had closed its connection; it sends these messages again"))
            return
        for earlier in self._calls:
            if earlier is handed:
                break
            earlier.acknowledged = earlier.taken
        handed.acknowledged = max(handed.acknowledged, begin + upto)
        self._answer()

    def _answer(self) -> None:
        while self._calls and self._calls[0].acknowledged == len(self._calls[0].call.bodies):
            done = self._calls.popleft()
            try:
                rpc.reply(done.line, done.call, rpc.OK)
            except rpc.Gone as gone:
                self._events.append(Event("ack-failed", f"{gone}; the sink sends these messages again"))
                self._drop(done.line, gone)

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("a Flume sink is told of a whole batch that it was taken, not of a message")

    def idle(self, seconds: float) -> None:
        """Just the wait: the sink hears nothing until its call is answered."""
        time.sleep(seconds)

    def events(self) -> Sequence[Event]:
        """One "ready", one "assigned"; "closed" where a sink gave up a call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """What was not acknowledged goes back: the sink finds its connection closed."""
        self._closed = True
        self._listener.close()
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._calls.clear()


ADAPTER = Flume
