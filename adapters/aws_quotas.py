"""Which quotas of Amazon's services a scenario is over: sums and sentences, asks nobody (pure).

Sources: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html ,
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

from adapters.base import Demand

SHARD_RECORDS = 1000  # written a second
SHARD_WRITE_B = 1e6  # a second
SHARD_READ_B = 2e6  # a second, all groups together
SHARD_READS = 5  # GetRecords a second, all groups together
FIFO_CALLS = 300  # a second, queue and action


def kinesis(demand: Demand, idle_s: float) -> list[str]:
    """Of a stream with a shard a partition; ``idle_s``: seconds between two reads of a shard by one group."""
    said = []
    shards = f"the busiest of {demand.partitions} shards" if demand.partitions > 1 else "the one shard"
    if demand.rate_per_s is None:
        most = min(SHARD_RECORDS, SHARD_WRITE_B / demand.message_b) / demand.busiest
        takes = f"a shard takes {SHARD_RECORDS:,} records or 1 MB a second"
        said.append(f"as fast as it goes is at most {most:,.0f} messages a second: {takes}")
    else:
        records = demand.rate_per_s * demand.busiest
        written_b = records * demand.message_b
        if records > SHARD_RECORDS:
            said.append(f"{shards} would get {records:,.0f} records a second; a shard takes {SHARD_RECORDS:,}")
        if written_b > SHARD_WRITE_B:
            said.append(f"{shards} would get {written_b / 1e6:,.1f} MB a second; a shard takes 1")
        if written_b * demand.groups > SHARD_READ_B:
            read = f"{demand.groups} groups would read {written_b * demand.groups / 1e6:,.1f} MB a second of {shards}"
            said.append(f"{read}; a shard gives 2 to all together")
    if idle_s * SHARD_READS < demand.groups:
        each = f"{demand.groups} groups read" if demand.groups > 1 else "a group reads"
        times = "as often as it can" if not idle_s else f"{demand.groups / idle_s:,.0f} times a second"
        needed = f"idleTimeBetweenReadsInMillis={1000 * demand.groups // SHARD_READS} keeps to it"
        said.append(f"{each} a shard {times}; it gives {SHARD_READS} to all together ({needed})")
    return said


def sqs_fifo(demand: Demand, messages_a_call: int) -> list[str]:
    """Of a FIFO queue a group, each action with at most ``messages_a_call`` messages a call."""
    most = FIFO_CALLS * messages_a_call
    batched = f"{FIFO_CALLS} calls a second and action, here of {messages_a_call} messages"
    if demand.rate_per_s is None:
        return [f"as fast as it goes is at most {most:,} messages a second: a FIFO queue takes {batched}"]
    if demand.rate_per_s > most:
        return [f"a queue would get {demand.rate_per_s:,.0f} messages a second; a FIFO queue takes {most:,} ({batched})"]
    return []
