"""boto3: threads that send batches of ten, one that receives ten, one that deletes ten. The steps only count."""

from __future__ import annotations

import base64
import queue
import threading
import time
from itertools import cycle
from typing import Any

import boto3
import botocore
from botocore.config import Config

from bench.overhead.bare.step import Step, payloads

_CALL = 10
_STEP_S = 0.005


def _client(spec: dict[str, Any], threads: int) -> Any:
    own = spec["settings"]
    config = Config(
        connect_timeout=own["connect_timeout"],
        read_timeout=own["read_timeout"],
        retries={"total_max_attempts": own["total_max_attempts"], "mode": own["retry_mode"]},
        max_pool_connections=threads,
        signature_version=botocore.UNSIGNED if spec["wiring"]["unsigned"] else None,
    )
    return boto3.session.Session().client(
        "sqs", endpoint_url=f"http://{spec['wiring']['servers'][0]}", region_name="us-east-1",
        aws_access_key_id="emulator", aws_secret_access_key="emulator", config=config,  # noqa: S106  # emulators check none
    )  # fmt: skip


def _counting(counts: list[int]) -> Step:
    told = 0

    def step() -> int:
        nonlocal told
        time.sleep(_STEP_S)
        now = sum(counts)
        count, told = now - told, now
        return count

    return step


def producer(spec: dict[str, Any]) -> Step:
    """``threads`` threads, each one call after the other; they begin with the first step."""
    threads = spec["settings"]["threads"]
    client, url = _client(spec, threads), next(iter(spec["wiring"]["urls"].values()))
    bodies = [base64.b64encode(payload).decode("ascii") for payload in payloads(spec, max(_CALL, spec["distinct"] // _CALL * _CALL))]
    calls = [
        [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies[first : first + _CALL])]
        for first in range(0, len(bodies), _CALL)
    ]
    counts = [0] * threads
    begun = False

    def work(me: int) -> None:
        for entries in cycle(calls):
            counts[me] += len(client.send_message_batch(QueueUrl=url, Entries=entries).get("Successful", ()))

    counting = _counting(counts)

    def step() -> int:
        nonlocal begun
        if not begun:
            begun = True
            for me in range(threads):
                threading.Thread(target=work, args=(me,), daemon=True).start()
        return counting()

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """A receiving and a deleting thread, as the adapter has them."""
    own = spec["settings"]
    client, url = _client(spec, 2), next(iter(spec["wiring"]["urls"].values()))
    counts, receipts = [0], queue.SimpleQueue[list[dict[str, str]]]()

    def receive() -> None:
        while True:
            answer = client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=own["MaxNumberOfMessages"], WaitTimeSeconds=own["WaitTimeSeconds"],
                VisibilityTimeout=own["VisibilityTimeout"], AttributeNames=["ApproximateReceiveCount"],
            )  # fmt: skip
            found = answer.get("Messages", ())
            if found:
                receipts.put([{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(found)])
            counts[0] += len(found)

    def delete() -> None:
        while True:
            client.delete_message_batch(QueueUrl=url, Entries=receipts.get())

    for work in (receive, delete):
        threading.Thread(target=work, daemon=True).start()
    return _counting(counts)
