"""Amazon Kinesis Data Streams through boto3; also what speaks its protocol (kinesalite, moto: emulators).

One mode, ``provisioned``: a stream of as many shards as the scenario has partitions. A partition is a shard (by ExplicitHashKey, since a
lane's order is a shard's; the scenario's key is the partition key), and each group reads all shards by itself, at its own checkpoints.
Members of a group share the shards by leases, as those of the Kinesis Client Library do; Amazon has no such library for Python alone,
so leases and checkpoints are this adapter's work (adapters/kinesis_leases.py): emulated, in a file of this machine that all members use.

Departures from boto3's defaults are those of adapters/aws.py; idleTimeBetweenReadsInMillis is 200 (the KCL's is 1,500), the shortest that
a shard's five reads a second allow to one group; members look at the leases each second (the KCL: twice the fail-over time) and steal
all that is their share at once (the KCL: one lease), so that shares are even when a trial begins.

Emulators check the form of a signature, so calls are signed everywhere. moto loses records that it has acknowledged when two writers
send at once, so it is refused to more than one.

Sources: https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html , .../service-sizes-and-limits.html ,
.../shared-throughput-kcl-consumers.html , .../kcl-configuration.html
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import re
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3

from adapters import aws, aws_quotas, kinesis_leases
from adapters.base import Consumer, Demand, Options, Outcomes, Producer, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unreachable, Unsupported
from adapters.kinesis_leases import LeaseTable
from adapters.kinesis_receiver import KinesisConsumer, iterator_of
from adapters.kinesis_sender import CALL_BYTES, CALL_RECORDS, PAYLOAD_BYTES_MAX, KinesisProducer
from adapters.options import Value, check_profile, choose_mode, typed_settings

_GUIDE = "https://docs.aws.amazon.com/streams/latest/dev"
CAPABILITIES = Capabilities(
    system="Amazon Kinesis",
    client="boto3",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.EMULATED,
    partitions=Support.NATIVE,
    modes=(
        Mode(
            name="provisioned",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="shard; none within a call that is taken in part",
            # The weaker of two: AWS documents copies in three availability zones, an emulator holds one in its memory.
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber="all that is retained (24 hours by default)",
            slow_consumer="falls behind; loses what is older than the retention",
            source=f"{_GUIDE}/key-concepts.html",
        ),
    ),
    confirms=True,
    acks=True,
    assignment=Assignment.PARTITIONS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    pooled=True,
    threads=True,
    quotas=(
        "a shard takes 1,000 records and 1 MB a second, and gives 2 MB a second and five reads a second to all groups together; "
        "500 records and 5 MiB a call, 1 MiB a record"
    ),
)

# Names of the API, of the KCL (idleTimeBetweenReadsInMillis, failoverTimeMillis, maxLeasesToStealAtOneTime) and of botocore;
# threads, window, resends and leaseTakerIntervalMillis are this adapter's.
_SETTINGS: dict[str, Value] = {
    "threads": 1,
    "window": 0,  # records; 0 = two calls a thread, at least two of the scenario's batches
    "resends": 0,  # of records that a call did not take; 0 = their failure is told
    "Limit": 10_000,
    "idleTimeBetweenReadsInMillis": 200,
    "failoverTimeMillis": 10_000,
    "maxLeasesToStealAtOneTime": 1000,
    "leaseTakerIntervalMillis": 1000,
    **aws.CALLS,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "threads": (1, 64),
    "window": (0, 1_000_000),
    "resends": (0, 20),
    "Limit": (1, 10_000),
    "idleTimeBetweenReadsInMillis": (0, 60_000),
    "failoverTimeMillis": (100, 3_600_000),
    "maxLeasesToStealAtOneTime": (1, 1000),
    "leaseTakerIntervalMillis": (10, 60_000),
    **aws.CALLS_BOUNDS,
}
_OF_CONSUMERS = ("Limit", "idleTimeBetweenReadsInMillis", "failoverTimeMillis", "maxLeasesToStealAtOneTime", "leaseTakerIntervalMillis")
_ACTIVE_S = 120.0  # AWS makes a stream in half a minute


class Kinesis:
    """The adapter. ``wiring["servers"]``: ["aws"], ["host:port"] or ["http://..."] of an emulator."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("kinesis", options, ("defaults",))
        self.mode = choose_mode(CAPABILITIES, options)
        self._settings: dict[str, Any] = dict(typed_settings("kinesis", options, _SETTINGS, _BOUNDS))
        aws.check_calls("kinesis", self._settings)
        if not self._settings["window"]:
            self._settings["window"] = max(2 * CALL_RECORDS * self._settings["threads"], 2 * options.batch)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """The names of a stream and of a lease table, with the run's id in them."""
        run = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)[:80]
        stream = f"brokerbench-{run}-{uuid.uuid4().hex[:8]}"
        return {
            "stream": stream,
            "shards": [],
            "hash_keys": [],
            "groups": [group.name for group in topology.groups],
            "producers": topology.producers,
            "partitions": topology.partitions,
            "leases": str(Path(tempfile.gettempdir()) / f"{stream}.leases"),
        }

    def prepare(self, wiring: Wiring) -> Wiring:
        """Makes the stream, unless it is there, and the lease table; adds its shards. Raises Unreachable, Refused, Unsupported."""
        with aws.translated("Kinesis", wiring):
            client = self._client(wiring)
            try:
                client.create_stream(StreamName=wiring["stream"], ShardCount=wiring["partitions"])
                anew = True
            except client.exceptions.ResourceInUseException:
                anew = False
            told = self._active(client, wiring["stream"])
            self._check_writers(wiring, told["ResponseMetadata"]["HTTPHeaders"].get("server", ""))
            shards = _shards(client, wiring["stream"])
            client.close()
        if len(shards) != wiring["partitions"]:
            raise Refused(f"Kinesis at {wiring['servers'][0]} made {len(shards)} shards where {wiring['partitions']} were asked for")
        table = LeaseTable(wiring["leases"])
        table.make(wiring["groups"], len(shards), anew=anew)
        table.close()
        return {
            **wiring,
            "shards": [str(shard["ShardId"]) for shard in shards],
            "hash_keys": [str(shard["HashKeyRange"]["StartingHashKey"]) for shard in shards],
        }

    def _active(self, client: Any, stream: str) -> Any:
        """What the service says of the stream when it is ready."""
        until_s = time.monotonic() + _ACTIVE_S
        while True:
            told = client.describe_stream_summary(StreamName=stream)
            status = told["StreamDescriptionSummary"]["StreamStatus"]
            if status == "ACTIVE":
                return told
            if time.monotonic() > until_s:
                raise Unreachable(f"kinesis: stream {stream} is still {status} after {_ACTIVE_S:g} s")
            time.sleep(0.01 if client.meta.endpoint_url.startswith("http://") else 1.0)

    def _check_writers(self, wiring: Wiring, server: str) -> None:
        """Raise Unsupported where the emulator is moto (Werkzeug serves it) and two could write at once: it loses records then."""
        writers = wiring["producers"] * min(self._settings["threads"], wiring["partitions"])
        if aws.emulated(wiring) and server.startswith("Werkzeug") and writers > 1:
            raise Unsupported(
                f"moto loses records that it has acknowledged when several write at once, and here are {writers} writers; "
                "use one producer and threads=1, or kinesalite: server=native"
            )

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's stream and lease table; others stay. Raises Unreachable, Refused."""
        kinesis_leases.remove(wiring["leases"])
        with aws.translated("Kinesis", wiring):
            client = self._client(wiring)
            try:
                client.delete_stream(StreamName=wiring["stream"])
            except client.exceptions.ResourceNotFoundException:
                pass
            finally:
                client.close()

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """A sender of its own. Raises Unreachable, BadSetting."""
        _check_prepared(wiring)
        with aws.translated("Kinesis", wiring):
            client = self._client(wiring, threads=self._settings["threads"] + 1)
            return KinesisProducer(client, wiring["stream"], wiring["hash_keys"], self._settings, outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A member of a group. Raises Unreachable, Refused, BadSetting."""
        if group not in wiring["groups"]:
            raise Refused(f"kinesis: no group {group!r} in this run; it has: {', '.join(wiring['groups'])}")
        _check_prepared(wiring)
        with aws.translated("Kinesis", wiring):
            client = self._client(wiring)
            client.describe_stream_summary(StreamName=wiring["stream"])  # reachable, and there
            table = LeaseTable(wiring["leases"])
            return KinesisConsumer(client, wiring["stream"], wiring["shards"], table, group=group, settings=self._settings)

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side."""
        both = {"client": f"boto3 {boto3.__version__}", **{name: self._settings[name] for name in aws.SHOWN}}
        return {
            "producer": {
                **both,
                **{name: self._settings[name] for name in ("threads", "window", "resends")},
                "records_a_call": CALL_RECORDS,
                "bytes_a_call": CALL_BYTES,
                "ExplicitHashKey": "the partition's shard",
            },
            "consumer": {
                **both,
                **{name: self._settings[name] for name in _OF_CONSUMERS},
                "lease_table": "emulated: a file of this machine",
            },
        }

    def redelivery_s(self) -> float:
        """How long a dead member's shards stay its own, and until the next look of another."""
        return float(self._settings["failoverTimeMillis"] + self._settings["leaseTakerIntervalMillis"]) / 1000

    def over_quota(self, demand: Demand) -> Sequence[str]:
        """Records and bytes written and read of the busiest shard; reads of each."""
        return aws_quotas.kinesis(demand, self._settings["idleTimeBetweenReadsInMillis"] / 1000)

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Records after a group's checkpoints. Kinesis does not count them, so they are read. Raises Unreachable, Refused."""
        table = LeaseTable(wiring["leases"])
        try:
            leases = table.read(group)
        finally:
            table.close()
        held = 0
        with aws.translated("Kinesis", wiring):
            client = self._client(wiring)
            for lease in leases:
                iterator = iterator_of(client, wiring["stream"], wiring["shards"][lease.shard], lease.checkpoint)
                behind = True
                while behind and iterator:
                    answer = client.get_records(ShardIterator=iterator, Limit=self._settings["Limit"])
                    held += len(answer["Records"])
                    behind = bool(answer["Records"] or answer["MillisBehindLatest"])
                    iterator = answer.get("NextShardIterator", "")
            client.close()
        return held

    def _client(self, wiring: Wiring, threads: int = 1) -> Any:
        return aws.client_of("kinesis", wiring, self._settings, threads=threads)


def _check_prepared(wiring: Wiring) -> None:
    if not wiring["shards"]:
        raise Unreachable("kinesis: the stream has no shards yet: prepare() has not run")


def _shards(client: Any, stream: str) -> Sequence[Mapping[str, Any]]:
    """Shards in the order of their hash keys, which is that of the partitions."""
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"StreamName": stream}
    while True:
        answer = client.list_shards(**asked)
        found += answer["Shards"]
        if "NextToken" not in answer:
            break
        asked = {"NextToken": answer["NextToken"]}
    return sorted(found, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


ADAPTER = Kinesis
