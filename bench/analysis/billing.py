"""What a cloud service would bill for a million messages, at the dated list prices of bench/data/prices.yaml (pure).

A million is of messages that producers sent, each to all groups. The requests are those of a whole trial, warm-up and drain included, as
its endpoints counted them; an emulator is asked as the service would be, so they hold for it too where the service would not throttle.
Prices are of one region, before free tiers, discounts, taxes and data transfer, and of the service alone.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parent.parent / "data" / "prices.yaml"
MILLION = 1_000_000
_SEND, _RECEIVE = "SendMessageBatch", "ReceiveMessage"
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Bill:
    """Of a variant at a point, for a million messages: medians over its trials."""

    requests: Mapping[str, float]  # by action
    billed: float  # requests as they are billed (SQS), PUT payload units (Kinesis)
    usd: float
    by: str  # what the price is made of, in words
    as_of: str
    source: str


@functools.cache
def prices() -> Json:
    """The price table."""
    table: Json = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return table


def bill(trials: Sequence[Json], table: Json | None = None) -> Bill | None:
    """Of a variant's trials at one point; None where its service has no price here, or no trial counted its requests."""
    table = prices() if table is None else table
    counted = [trial for trial in trials if trial.get("requests") and _sent(trial)]
    if not counted:
        return None
    variant = counted[0]["variant"]
    price = table["services"].get(variant.get("system"))
    make = _MAKERS.get(str(variant.get("system")))
    if price is None or make is None:
        return None
    made = [found for trial in counted if (found := make(trial, price)) is not None]
    if not made:
        return None
    actions = sorted({action for trial in counted for action in trial["requests"]})
    requests = {action: statistics.median(_million(trial, trial["requests"].get(action, 0)) for trial in counted) for action in actions}
    billed, usd = statistics.median(one[0] for one in made), statistics.median(one[1] for one in made)
    return Bill(requests, billed, usd, made[0][2], str(price["as_of"]), str(price["source"]))


def _sent(trial: Json) -> int:
    return sum(int(one.get("sent") or 0) for one in trial.get("producers") or ())


def _million(trial: Json, count: float) -> float:
    return count / _sent(trial) * MILLION


def _mean_b(trial: Json) -> float:
    bodies = (trial.get("workload") or {}).get("bodies")
    return float(bodies["mean_b"] if bodies else trial["point"]["size_b"])


def _sqs(trial: Json, price: Json) -> tuple[float, float, str] | None:
    """Each action is a request; one more for each further 64 KiB of the payload of a call, taken as even over the calls that carry any."""
    each = price["per_million_requests"].get((trial["variant"].get("mode") or {}).get("name"))
    if each is None:
        return None
    requests: Counter[str] = Counter(trial["requests"])
    groups = len((trial.get("workload") or {}).get("groups") or {}) or 1
    payload_b = _sent(trial) * groups * math.ceil(_mean_b(trial) / 3) * 4  # base64
    billed = float(requests.total())
    for action in (_SEND, _RECEIVE):
        if requests[action]:
            billed += requests[action] * (max(1, math.ceil(payload_b / requests[action] / price["payload_b_a_request"])) - 1)
    million = _million(trial, billed)
    return million, million / MILLION * each, f"${each:g} a million requests"


def _kinesis(trial: Json, price: Json) -> tuple[float, float, str] | None:
    """A PUT payload unit for each 25 KB of a record (of the mean size); the shards' hours while a million goes through.

    At the rate of the trial, and at no more than the shards take, which an emulator does not know of.
    """
    rate = (trial.get("rates") or {}).get("published_per_s")
    shards = (trial.get("workload") or {}).get("partitions")
    if not rate or not shards:
        return None
    rate = min(rate, shards * price["records_a_shard_s"])
    units = MILLION * math.ceil(_mean_b(trial) / price["payload_b_a_unit"])
    put = units / MILLION * price["per_million_units"]
    hours = shards * MILLION / rate / 3600 * price["per_shard_hour"]
    by = f"${put:.3g} PUT payload units and ${hours:.3g} shard hours ({shards} at {rate:,.0f}/s)"
    return units, put + hours, by


_MAKERS: Mapping[str, Callable[[Json, Json], tuple[float, float, str] | None]] = {"sqs": _sqs, "kinesis": _kinesis}
