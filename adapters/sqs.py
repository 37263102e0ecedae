"""Amazon SQS through boto3; also what speaks its protocol (ElasticMQ, moto: emulators).

Modes: ``standard``; ``fifo`` (a partition is a message group; the queue recognises a message that is sent again within five
minutes by its content, which is a message's alone, as its header says which it is; one thread a queue sends, or calls
would overtake one another); ``dead-letter`` (a standard queue that moves what was received maxReceiveCount times and not
deleted to a queue of its own).

SQS has no consumer groups: a queue a group, and the producer sends a copy to each (``send_per_group``). Bodies are
base64, since SQS takes only some Unicode characters: of the limit of 1 MiB three quarters are left for the payload.

Threads, as boto3 has no other way to keep several calls under way (its clients may be shared by threads):

* a producer: ``threads`` that send batches of 10 (in mode fifo at most one a queue). send() only queues; a window (messages
  without an answer, a group) bounds the queue. An entry of "Failed" is FAILED where SenderFault says that the request was
  wrong, else INDETERMINATE; so is a call that ends without an answer. A connection that was refused sent nothing: FAILED.
* a consumer: a receiving thread (``receivers``) that fills a buffer of at most ``prefetch`` messages, places being taken
  before a call is made; SQS waits whole seconds, so poll() waits on the buffer instead. A deleting thread (``deleters``)
  carries out the acks in batches of 10, and gives back what was requeued. What waits in the buffer is already invisible to
  others: close() gives back, with a visibility of 0, all that was not acknowledged.

Departures from boto3's defaults, all printed in effective(): those of adapters/aws.py (no retries, shorter time-outs); ``tuned``
leaves out the signature where the server is an emulator, which checks none (a third of the CPU of a call).

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html ,
.../FIFO-queues-exactly-once-processing.html , .../sqs-dead-letter-queues.html , .../sqs-visibility-timeout.html ,
.../sqs-short-and-long-polling.html , .../quotas-messages.html ,
https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import base64
import hashlib
import json
import math
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from adapters import aws, aws_quotas
from adapters.base import Batch, Block, Consumer, Demand, Event, Options, Outcomes, Producer, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.options import Value, check_profile, choose_mode, typed_settings

CALL_MESSAGES = 10  # most that SQS takes or gives in one call
CALL_BYTES = 1 << 20  # of one message, and of all in one call, after base64
PAYLOAD_BYTES_MAX = CALL_BYTES // 4 * 3

_GUIDE = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
_STANDARD = Mode(
    name="standard",
    delivery=Delivery.AT_LEAST_ONCE,
    ordering="best effort",
    # The weaker of two: AWS documents copies on several servers, an emulator holds one in its memory.
    persistence=Persistence.MEMORY,
    copies=1,
    late_subscriber="the backlog of its group's queue (4 days by default)",
    slow_consumer="its queue grows; about 120,000 messages may be received and not yet deleted",
    source=f"{_GUIDE}/standard-queues.html",
)
_FIFO = replace(
    _STANDARD,
    name="fifo",
    ordering="message group (one a partition)",
    slow_consumer="its queue grows; a message that is received and not deleted holds up its message group",
    # "Exactly-once" there is about sends, within 5 minutes; a visibility that has expired still redelivers.
    source=f"{_GUIDE}/FIFO-queues-exactly-once-processing.html",
)
_DEAD_LETTER = replace(
    _STANDARD,
    name="dead-letter",
    slow_consumer="its queue grows; what was received maxReceiveCount times and not deleted goes to the dead-letter queue",
    source=f"{_GUIDE}/sqs-dead-letter-queues.html",
)
_FIFO_QUOTAS = (
    "300 calls a second, queue and action, with 10 messages each 3,000 messages (more with high throughput mode, by message group); "
    "20,000 in flight a queue; 10 messages and 1 MiB a call, after base64; AWS bills each call, empty receives too"
)

CAPABILITIES = Capabilities(
    system="Amazon SQS",
    client="boto3",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.EMULATED,
    work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED,
    modes=(_STANDARD, _FIFO, _DEAD_LETTER),
    confirms=True,
    acks=True,
    assignment=Assignment.SHARED,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    settle=True,
    send_per_group=True,
    pooled=True,
    threads=True,
    order_delivered=False,
    quotas="10 messages and 1 MiB a call, after base64; about 120,000 in flight a queue; AWS bills each call, empty receives too",
)

# botocore's and SQS' own names; threads, window, receivers, deleters and prefetch are this adapter's.
_SETTINGS: dict[str, Value] = {
    "threads": 4,
    "window": 0,  # messages a group; 0 = by threads and batch, see __init__
    "receivers": 1,  # more gained nothing on an emulator, reorder more, and make moto hand out a message twice
    "deleters": 1,
    "prefetch": 40,
    "MaxNumberOfMessages": CALL_MESSAGES,
    "WaitTimeSeconds": 1,  # also how long close() may wait for calls under way
    "VisibilityTimeout": 30,
    "maxReceiveCount": 5,  # in mode dead-letter
    "signature_version": "",
    **aws.CALLS,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "threads": (1, 64),
    "window": (0, 120_000),
    "receivers": (1, 64),
    "deleters": (1, 64),
    "prefetch": (CALL_MESSAGES, 10_000),
    "MaxNumberOfMessages": (1, CALL_MESSAGES),
    "WaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (1, 43_200),
    "maxReceiveCount": (1, 1000),
    **aws.CALLS_BOUNDS,
}
_DEPTH = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
_JOIN_S = 5.0  # longest that close() waits for calls under way beyond their own long poll


class Sqs:
    """The adapter. ``wiring["servers"]``: ["aws"], ["host:port"] or ["http://..."] of an emulator."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        self._tuned = check_profile("sqs", options) == "tuned"
        self.mode = choose_mode(CAPABILITIES, options)
        self._fifo = self.mode.name == "fifo"
        if self._fifo:
            self.capabilities = replace(CAPABILITIES, partitions=Support.NATIVE, order_delivered=True, quotas=_FIFO_QUOTAS)
        if self.mode.name == "dead-letter":
            self.capabilities = replace(CAPABILITIES, dead_letters=True)
        elif "maxReceiveCount" in options.settings:
            raise BadSetting("sqs: maxReceiveCount belongs to mode dead-letter")
        self._settings: dict[str, Any] = dict(typed_settings("sqs", options, _SETTINGS, _BOUNDS))
        aws.check_calls("sqs", self._settings)
        if self._settings["signature_version"] not in ("", "v4", "unsigned"):
            raise BadSetting(f"sqs: signature_version = {self._settings['signature_version']!r} is not one of v4, unsigned")
        self._signature = "unsigned where the emulator takes it" if self._tuned else "v4"  # known for sure with the wiring
        if not self._settings["window"]:
            # Two calls for each thread, so that none waits for the next send; at least two of the scenario's batches.
            self._settings["window"] = max(2 * CALL_MESSAGES * self._settings["threads"], 2 * options.batch)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A queue name a group, with the run's id in it; in mode dead-letter a second one."""
        names = {group.name: _queue_name(run_id, group.name, ".fifo" if self._fifo else "") for group in topology.groups}
        dead = {group.name: _queue_name(run_id, group.name, "-dead") for group in topology.groups if self.mode.name == "dead-letter"}
        if len({*names.values(), *dead.values()}) < len(names) + len(dead):
            raise BadSetting(f"sqs: groups {', '.join(names)} give the same queue name; use letters, digits, - and _")
        return {"groups": list(names), "queues": names, "dead": dead, "urls": {}, "unsigned": False}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Makes the queues that are missing and adds their URLs. Raises Unreachable, Refused, BadSetting."""
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if self._fifo else {}
        with aws.translated("SQS", wiring):
            client = self._client(wiring, threads=1)
            urls = {group: _made(client, name, attributes) for group, name in wiring["queues"].items()}
            for group, name in wiring["dead"].items():
                found = client.get_queue_attributes(QueueUrl=_made(client, name, {}), AttributeNames=["QueueArn"])
                policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": self._settings["maxReceiveCount"]}
                client.set_queue_attributes(QueueUrl=urls[group], Attributes={"RedrivePolicy": json.dumps(policy)})
            unsigned = self._may_be_unsigned(wiring)
            return {**wiring, "urls": urls, "unsigned": unsigned}

    def dead_letters(self, wiring: Wiring, group: str) -> list[bytes]:
        """Takes what lies in a group's dead-letter queue now. Raises Unreachable, Refused."""
        taken: list[bytes] = []
        with aws.translated("SQS", wiring):
            client = self._client(wiring, threads=1)
            url = client.get_queue_url(QueueName=wiring["dead"][group])["QueueUrl"]
            while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=CALL_MESSAGES, WaitTimeSeconds=0).get("Messages"):
                taken += [_decoded(message["Body"]) for message in messages]
                entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
                client.delete_message_batch(QueueUrl=url, Entries=entries)
        return taken

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages in a group's queue: visible, in flight and delayed; each of the three is approximate, as SQS says.

        Raises Unreachable, Refused.
        """
        with aws.translated("SQS", wiring):
            client = self._client(wiring, threads=1)
            url = client.get_queue_url(QueueName=wiring["queues"][group])["QueueUrl"]
            found = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_DEPTH))["Attributes"]
            return sum(int(found[name]) for name in _DEPTH)

    def redelivery_s(self) -> float:
        """How long a message stays with a consumer that has died."""
        return float(self._settings["VisibilityTimeout"])

    def over_quota(self, demand: Demand) -> Sequence[str]:
        """Calls of a FIFO queue; a standard one takes as many as it gets."""
        if not self._fifo:
            return []
        most = min(self._settings["MaxNumberOfMessages"], demand.batch, max(1, int(CALL_BYTES // _encoded(math.ceil(demand.message_b)))))
        return aws_quotas.sqs_fifo(demand, most)

    def _may_be_unsigned(self, wiring: Wiring) -> bool:
        """Whether calls go without a signature: asked for (or `tuned`), an emulator, and it takes them."""
        wanted = self._settings["signature_version"] or ("unsigned" if self._tuned else "v4")
        if wanted != "unsigned":
            return False
        if not aws.emulated(wiring):
            if self._settings["signature_version"] == "unsigned":
                raise BadSetting("sqs: signature_version = unsigned is for emulators; AWS refuses unsigned calls")
            return False
        # moto tells services apart by the signature: without one this call goes to another, which may even answer.
        name = next(iter(wiring["queues"].values()))
        try:
            return "QueueUrl" in self._client(wiring, threads=1, unsigned=True).get_queue_url(QueueName=name)
        except ClientError:
            return False

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's queues, by name; others stay. Raises Unreachable, Refused."""
        with aws.translated("SQS", wiring):
            client = self._client(wiring, threads=1)
            for name in (*wiring["queues"].values(), *wiring["dead"].values()):
                try:
                    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"])
                except ClientError as error:
                    if "NonExistentQueue" not in aws.code(error) and "QueueDoesNotExist" not in aws.code(error):
                        raise

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """A pool of sending threads over all groups' queues. Raises BadSetting."""
        with aws.translated("SQS", wiring):
            client = self._client(wiring, threads=self._settings["threads"], unsigned=self._is_unsigned(wiring))
            return SqsProducer(client, [_url(wiring, group) for group in wiring["groups"]], self._settings, outcomes, fifo=self._fifo)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A member of a group: it shares the group's queue. Raises Unreachable, Refused, BadSetting."""
        with aws.translated("SQS", wiring):
            url = _url(wiring, group)
            threads = self._settings["receivers"] + self._settings["deleters"] + 1
            client = self._client(wiring, threads=threads, unsigned=self._is_unsigned(wiring))
            client.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])  # reachable, and there
            return SqsConsumer(client, url, self._settings)

    def _is_unsigned(self, wiring: Wiring) -> bool:
        self._signature = "unsigned" if wiring["unsigned"] else "v4"
        return bool(wiring["unsigned"])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side, and what retries and leases mean here."""
        own = self._settings
        both: dict[str, Any] = {
            "client": f"boto3 {boto3.__version__}",
            **{name: own[name] for name in aws.SHOWN},
            "signature_version": self._signature,
            "body": "base64",
        }
        queues: dict[str, Any] = {"FifoQueue": self._fifo}
        if self._fifo:
            queues |= {"ContentBasedDeduplication": True, "MessageGroupId": "the partition"}
        if self.mode.name == "dead-letter":
            queues["maxReceiveCount"] = own["maxReceiveCount"]
        both |= queues
        threads = "one a queue" if self._fifo else own["threads"]
        return {
            "producer": {**both, "threads": threads, "window": own["window"], "messages_a_call": CALL_MESSAGES},
            "consumer": {
                **both,
                **{n: own[n] for n in ("receivers", "deleters", "prefetch", "MaxNumberOfMessages", "WaitTimeSeconds", "VisibilityTimeout")},
                "lease_extension": "while idle, each third of VisibilityTimeout",
            },
        }

    def _client(self, wiring: Wiring, *, threads: int, unsigned: bool = False) -> Any:
        # Long polls are answered late on purpose.
        return aws.client_of(
            "sqs", wiring, self._settings, threads=threads, unsigned=unsigned, read_s=self._settings["WaitTimeSeconds"] + 2.0
        )


def _encoded(size: int) -> int:
    """Bytes after base64."""
    return (size + 2) // 3 * 4


def _queue_name(run_id: str, group: str, ending: str = "") -> str:
    """At most 80 of the characters that SQS takes."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", f"brokerbench-{run_id}-{group}")
    room = 80 - len(ending)
    if len(name) <= room:
        return name + ending
    return f"{name[: room - 17]}-{hashlib.sha256(f'{run_id}/{group}'.encode()).hexdigest()[:16]}{ending}"


def _made(client: Any, name: str, attributes: Mapping[str, str]) -> str:
    answer = client.create_queue(QueueName=name, Attributes=attributes)  # with equal attributes: idempotent
    if "QueueUrl" not in answer:
        raise Refused(f"what answers is no SQS: no URL for the new queue {name}")
    return str(answer["QueueUrl"])


def _url(wiring: Wiring, group: str) -> str:
    if group not in wiring["groups"]:
        raise Refused(f"sqs: no group {group!r} in this run; it has: {', '.join(wiring['groups'])}")
    if group not in wiring["urls"]:
        raise Unreachable(f"sqs: the queue of group {group!r} has no URL: prepare() has not run")
    return str(wiring["urls"][group])


@dataclass
class _Job:
    """One call of send_message_batch."""

    queue: int  # index of the group
    group: int  # as send() was told: what outcomes are reported for
    first_id: int
    rows: Sequence[bytes]
    partitions: Sequence[int] = ()  # in mode fifo: of each row


class SqsProducer:
    """Batches of 10, sent by a pool of threads, which also report the outcomes."""

    def __init__(self, client: Any, urls: Sequence[str], settings: Mapping[str, Any], outcomes: Outcomes, *, fifo: bool) -> None:
        self._client = client
        self._urls = urls
        self._window = settings["window"]
        self._retries = settings["total_max_attempts"] > 1
        self._outcomes = outcomes
        self._events = aws.Events()
        self._requests = aws.Requests(client)
        self._fifo = fifo
        count = min(settings["threads"], len(urls)) if fifo else settings["threads"]
        # In mode fifo what goes to one queue goes through one thread, in order; else whichever thread is free takes it.
        self._jobs: list[queue.SimpleQueue[_Job | None]] = [queue.SimpleQueue() for _ in range(count if fifo else 1)]
        self._changed = threading.Condition()
        self._outstanding = [0] * len(urls)
        self._told_ready = False
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(self._jobs[n % len(self._jobs)],), name=f"sqs-send-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def ready(self, timeout_s: float) -> bool:
        """True when every queue answers; the client's own time-outs hold."""
        try:
            for url in self._urls:
                self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
        except (BotoCoreError, ClientError, OSError) as error:
            self._events.add("error", f"not ready: {error}")
            return False
        if not self._told_ready:
            self._told_ready = True
            self._events.add("ready")
        return True

    def room(self) -> int:
        """Of the group that is furthest behind: so many fit for each."""
        with self._changed:
            return 0 if self._closed else self._window - max(self._outstanding)

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Queues what the window takes for the pool. Raises Refused for messages over the limit."""
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"sqs: {block.size} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message (1 MiB after base64)")
        if group < 0 and len(self._urls) > 1:
            raise Refused("sqs: the producer makes the copies: send() needs a group (capabilities.send_per_group)")
        index = max(group, 0)
        with self._changed:
            if self._outstanding[index] >= self._window and timeout_s > 0:
                self._changed.wait(timeout_s)
            count = 0 if self._closed else min(hi - lo, self._window - self._outstanding[index])
            if count <= 0:
                return 0
            self._outstanding[index] += count
        rows = block.messages(lo, lo + count)
        jobs = self._jobs[index % len(self._jobs)]
        for at, end in self._calls(rows, block):
            partitions = block.partitions[lo + at : lo + end] if self._fifo else ()
            jobs.put(_Job(index, group, block.first_id + lo + at, rows[at:end], partitions))
        return count

    @staticmethod
    def _calls(rows: Sequence[bytes], block: Block) -> Iterator[tuple[int, int]]:
        """Which rows go in one call: up to ten, and no more bytes than it may carry."""
        a_call = max(1, min(CALL_MESSAGES, CALL_BYTES // _encoded(block.size)))
        if block.sizes is None or a_call == CALL_MESSAGES:
            yield from ((at, min(at + a_call, len(rows))) for at in range(0, len(rows), a_call))
            return
        at, held = 0, 0
        for end, row in enumerate(rows):
            size = _encoded(len(row))
            if end > at and (end - at == CALL_MESSAGES or held + size > CALL_BYTES):
                yield at, end
                at, held = end, 0
            held += size
        yield at, len(rows)

    def _work(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            statuses = [Status.INDETERMINATE] * len(job.rows)
            try:
                if self._closed:
                    continue  # the harness has marked it already
                self._call(job, statuses)
            finally:  # whatever happened, each message has its outcome once
                self._report(job, statuses)

    def _call(self, job: _Job, statuses: list[Status]) -> None:
        """One call; ``statuses`` becomes what it did, by row."""
        entries = [{"Id": str(at), "MessageBody": base64.b64encode(row).decode("ascii")} for at, row in enumerate(job.rows)]
        for entry, partition in zip(entries, job.partitions, strict=False):  # none but in mode fifo
            entry["MessageGroupId"] = str(partition)
        try:
            answer = self._client.send_message_batch(QueueUrl=self._urls[job.queue], Entries=entries)
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            self._events.lost(str(error))
            # Never connected, so never sent; with retries an earlier attempt may have been.
            self._fail(statuses, Status.INDETERMINATE if self._retries else Status.FAILED, str(error))
        except ClientError as error:
            self._fail(statuses, Status.FAILED if aws.is_refusal(error) else Status.INDETERMINATE, str(error))
        except (BotoCoreError, OSError) as error:
            self._events.lost(str(error))
            self._fail(statuses, Status.INDETERMINATE, str(error))
        else:
            self._events.reached()
            for entry in answer.get("Successful", ()):
                statuses[int(entry["Id"])] = Status.CONFIRMED
            for entry in answer.get("Failed", ()):
                refused = entry.get("SenderFault") and aws.only_try(answer)
                statuses[int(entry["Id"])] = Status.FAILED if refused else Status.INDETERMINATE
                self._events.add("error", f"entry refused: {entry.get('Code')}: {entry.get('Message', '')}")

    def _fail(self, statuses: list[Status], status: Status, why: str) -> None:
        statuses[:] = [status] * len(statuses)
        self._events.add("error", why)

    def _report(self, job: _Job, statuses: Sequence[Status]) -> None:
        if not self._closed:
            start = 0
            for at in range(1, len(statuses) + 1):
                if at == len(statuses) or statuses[at] is not statuses[start]:
                    self._outcomes.run(job.first_id + start, at - start, statuses[start], job.group)
                    start = at
        with self._changed:
            self._outstanding[job.queue] -= len(job.rows)
            self._changed.notify_all()

    def pump(self, timeout_s: float) -> None:
        """A plain wait: the pool does the work."""
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """Waits until every call has its outcome; the messages that have none (a group each)."""
        with self._changed:
            self._changed.wait_for(lambda: not any(self._outstanding), timeout_s)
            return sum(self._outstanding)

    def events(self) -> Sequence[Event]:
        """ready; what calls and entries failed of, counted."""
        return self._events.take()

    def requests(self) -> Mapping[str, int]:
        """Requests since the last call, by action: each is billed."""
        return self._requests.take()

    def close(self) -> None:
        """Drops what is queued and waits a moment for calls under way; nothing is reported after it."""
        if self._closed:
            return
        self._closed = True
        for n in range(len(self._threads)):
            self._jobs[n % len(self._jobs)].put(None)
        for thread in self._threads:
            thread.join(1.0)
        self._client.close()


@dataclass
class _Held:
    """A message received and not yet deleted."""

    receipt: str
    payload: bytes
    redelivered: bool
    settled: bool = False  # by itself: a cumulative ack passes over it


class SqsConsumer:
    """One member: receiving threads, a bounded buffer, deleting threads. ``_lock`` guards all that they share."""

    def __init__(self, client: Any, url: str, settings: Mapping[str, Any]) -> None:
        self._client = client
        self._url = url
        self._visibility_s: int = settings["VisibilityTimeout"]
        self._wait_s: int = settings["WaitTimeSeconds"]
        self._call_messages: int = settings["MaxNumberOfMessages"]
        self._prefetch: int = settings["prefetch"]
        self._events = aws.Events()
        self._requests = aws.Requests(client)
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._space = threading.Condition(self._lock)
        self._acknowledged = threading.Condition(self._lock)
        self._buffer: deque[_Held] = deque()  # received, not polled
        self._reserved = 0  # places for what calls under way may bring
        self._polled: deque[_Held] = deque()  # polled, not acknowledged
        self._first = 0  # number of the first of them, over all that was polled
        self._deletes: deque[str] = deque()  # acknowledged, not yet handed to a call
        self._returns: deque[str] = deque()  # requeued, the same
        self._closing = False
        self._idled_s = 0.0
        self._stop = threading.Event()
        self._receivers = [
            threading.Thread(target=self._receive, name=f"sqs-receive-{n}", daemon=True) for n in range(settings["receivers"])
        ]
        self._deleters = [threading.Thread(target=self._delete, name=f"sqs-delete-{n}", daemon=True) for n in range(settings["deleters"])]
        for thread in (*self._receivers, *self._deleters):
            thread.start()
        self._events.add("ready")

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What is in the buffer, at most max_messages; waits for the first message only."""
        with self._lock:
            if not self._buffer and timeout_s > 0 and not self._closing:
                self._arrived.wait_for(lambda: self._buffer or self._closing, timeout_s)
            if not self._buffer or self._closing:
                return None
            taken = [self._buffer.popleft() for _ in range(min(max_messages, len(self._buffer)))]
            token = self._first + len(self._polled)
            self._polled.extend(taken)
            self._space.notify_all()
        return Batch(
            payloads=[held.payload for held in taken],
            count=len(taken),
            redelivered=[held.redelivered for held in taken],
            token=token,
        )

    def ack(self, batch: Batch, upto: int) -> None:
        """Queues the deletion of all that was polled before and ``upto`` messages of this batch."""
        with self._lock:
            while self._polled and self._first < batch.token + upto:
                held = self._polled.popleft()
                self._first += 1
                if not held.settled:
                    self._deletes.append(held.receipt)
            self._acknowledged.notify_all()

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """One message: "ack" and "reject" delete it (SQS knows no rejection), "requeue" ends its invisibility: it comes again."""
        if how not in ("ack", "requeue", "reject"):
            raise BadSetting(f"settle knows ack, requeue and reject, not {how!r}")
        with self._lock:
            at = batch.token + index - self._first
            if not 0 <= at < len(self._polled) or self._polled[at].settled:
                return
            held = self._polled[at]
            held.settled = True
            (self._returns if how == "requeue" else self._deletes).append(held.receipt)
            self._acknowledged.notify_all()

    def idle(self, seconds: float) -> None:
        """Waits, and extends the visibility of all that is held each time a third of it has gone by idle."""
        third_s = self._visibility_s / 3
        while seconds > 0:
            nap_s = min(seconds, third_s - self._idled_s)
            time.sleep(nap_s)
            seconds -= nap_s
            self._idled_s += nap_s
            if self._idled_s >= third_s - 1e-6:
                self._idled_s = 0.0
                self._change_visibility(self._held(), self._visibility_s, "lease not extended")

    def events(self) -> Sequence[Event]:
        """ready, ack-failed (with SQS' reason), error; counted."""
        return self._events.take()

    def requests(self) -> Mapping[str, int]:
        """Requests since the last call, by action: each is billed, empty receives too."""
        return self._requests.take()

    def close(self) -> None:
        """Carries out the acks, then gives back what was not acknowledged; within seconds also where the server is dead."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            for condition in (self._arrived, self._space, self._acknowledged):
                condition.notify_all()
        self._stop.set()
        for thread in self._receivers:  # a call under way may still bring messages: they must go back too
            thread.join(self._wait_s + _JOIN_S)
        for thread in self._deleters:
            thread.join(_JOIN_S)
        if self._deletes:
            self._events.add("ack-failed", "closed before the call was made", len(self._deletes))
        self._change_visibility(self._held(), 0, "not given back before its visibility time-out")
        self._client.close()

    def _held(self) -> list[str]:
        with self._lock:
            return [held.receipt for held in (*self._polled, *self._buffer) if not held.settled]

    def _receive(self) -> None:
        """A receiving thread: takes places in the buffer, then asks SQS for as many messages."""
        while True:
            with self._lock:
                self._space.wait_for(lambda: self._closing or len(self._buffer) + self._reserved + self._call_messages <= self._prefetch)
                if self._closing:
                    return
                self._reserved += self._call_messages
            found: list[_Held] = []
            try:
                found = self._received()
            finally:
                with self._lock:
                    self._reserved -= self._call_messages
                    self._buffer.extend(found)
                    if found:
                        self._arrived.notify_all()

    def _received(self) -> list[_Held]:
        """The messages of one call; none where it failed (an event, and a pause before the next)."""
        try:
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=self._call_messages,
                WaitTimeSeconds=self._wait_s,
                VisibilityTimeout=self._visibility_s,
                AttributeNames=["ApproximateReceiveCount"],
            )
        except (BotoCoreError, ClientError, OSError) as error:
            self._events.add("error", f"receive: {error}")
            if not isinstance(error, ClientError):
                self._events.lost(str(error))
            self._stop.wait(0.2)  # a dead server refuses at once: do not spin
            return []
        self._events.reached()
        return [
            _Held(
                receipt=message["ReceiptHandle"],
                payload=_decoded(message["Body"]),
                redelivered=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) > 1,
            )
            for message in answer.get("Messages", ())
        ]

    def _delete(self) -> None:
        """A deleting thread: batches of 10, or what there is; what was requeued goes back."""
        while True:
            with self._lock:
                self._acknowledged.wait_for(lambda: self._closing or self._deletes or self._returns)
                if not self._deletes and not self._returns:
                    return
                receipts = [self._deletes.popleft() for _ in range(min(CALL_MESSAGES, len(self._deletes)))]
                returns = list(self._returns)
                self._returns.clear()
            self._change_visibility(returns, 0, "not given back before its visibility time-out")
            if not receipts:
                continue
            entries = [{"Id": str(at), "ReceiptHandle": receipt} for at, receipt in enumerate(receipts)]
            try:
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError, OSError) as error:
                self._events.add("ack-failed", f"delete: {error}", len(receipts))
                continue
            for entry in answer.get("Failed", ()):
                self._events.add("ack-failed", f"delete: {entry.get('Code')}: {entry.get('Message', '')}")

    def _change_visibility(self, receipts: Sequence[str], seconds: int, failure: str) -> None:
        left = iter(receipts)
        while part := list(islice(left, CALL_MESSAGES)):
            entries = [{"Id": str(at), "ReceiptHandle": receipt, "VisibilityTimeout": seconds} for at, receipt in enumerate(part)]
            try:
                answer = self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            except (BotoCoreError, ClientError, OSError) as error:
                self._events.add("error", f"{failure}: {error}", len(receipts))
                return  # the server is away: the visibility time-out will do it
            for entry in answer.get("Failed", ()):
                self._events.add("error", f"{failure}: {entry.get('Code')}")


def _decoded(body: str) -> bytes:
    """A body that is not ours (no base64) is handed on as it is: the audit calls it corrupted or unexpected."""
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return body.encode()


ADAPTER = Sqs
