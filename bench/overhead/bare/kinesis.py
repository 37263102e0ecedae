"""boto3: PutRecords of 500, one call after the other; GetRecords of one shard at the adapter's pace, and a checkpoint."""

from __future__ import annotations

import sqlite3
from itertools import cycle
from typing import Any

import boto3
from botocore.config import Config

from bench.clock import now_ns, sleep_until
from bench.overhead.bare.step import Step, payloads

_CALL = 500
_CALL_B = 5 << 20
_STEP_NS = 5_000_000


def _client(spec: dict[str, Any]) -> Any:
    own = spec["settings"]
    config = Config(
        connect_timeout=own["connect_timeout"],
        read_timeout=own["read_timeout"],
        retries={"total_max_attempts": own["total_max_attempts"], "mode": own["retry_mode"]},
    )
    make: Any = boto3.session.Session().client
    return make(
        "kinesis", endpoint_url=f"http://{spec['wiring']['servers'][0]}", region_name="us-east-1",
        aws_access_key_id="emulator", aws_secret_access_key="emulator", config=config,  # noqa: S106  # emulators check none
    )  # fmt: skip


def producer(spec: dict[str, Any]) -> Step:
    """A call a step."""
    client, stream = _client(spec), spec["wiring"]["stream"]
    each = min(_CALL, _CALL_B // spec["size"])
    sending = payloads(spec, max(each, spec["distinct"] // each * each))
    records = [{"Data": payload, "PartitionKey": "partition-0", "ExplicitHashKey": "0"} for payload in sending]
    calls = cycle([records[first : first + each] for first in range(0, len(records), each)])

    def step() -> int:
        call = next(calls)
        return len(call) - int(client.put_records(StreamName=stream, Records=call)["FailedRecordCount"])

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """A read a step, from the shard's oldest record on."""
    client, own, wiring = _client(spec), spec["settings"], spec["wiring"]
    (group,) = wiring["groups"]
    table = sqlite3.connect(wiring["leases"], isolation_level=None)
    table.execute("PRAGMA synchronous=OFF")
    asked = {"StreamName": wiring["stream"], "ShardId": wiring["shards"][0], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = client.get_shard_iterator(**asked)["ShardIterator"]
    due_ns = 0

    def step() -> int:
        nonlocal iterator, due_ns
        now = now_ns()
        if now < due_ns:
            sleep_until(min(due_ns, now + _STEP_NS))
            return 0
        due_ns = now + own["idleTimeBetweenReadsInMillis"] * 1_000_000
        answer = client.get_records(ShardIterator=iterator, Limit=own["Limit"])
        iterator = answer["NextShardIterator"]
        if answer["Records"]:
            last = answer["Records"][-1]["SequenceNumber"]
            table.execute("UPDATE leases SET checkpoint = ? WHERE consumers = ? AND shard = 0", (last, group))
        return len(answer["Records"])

    return step
