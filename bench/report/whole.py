"""Whether what a results folder says has the shape that every reader here relies on (results/README.md), before anything is made of it.

A file can be whole JSON and still be none of ours, or half written by something else: then it is named with its field and left out, and
the rest is reported. Null stands for "not known" in every place but those marked; a key that is missing is an older format's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUMBER, COUNT, TEXT, FLAG, SINGLE, ANY = "a number", "a whole number", "text", "true or false", "a single value", "anything"
_LARGEST = 1e300
"""Beyond, sums of such figures are not finite."""

Shape = Any
"""One of the words above; {"key": Shape, "key!": neither missing nor null, "key?": not missing, "*": any other key}; [Shape of an item]."""

_FLAT: Shape = {"*": ANY}
_POINT: Shape = {"rate_per_s": NUMBER, "size_b": NUMBER, "distance_s": NUMBER, "schedule": TEXT, "payload": TEXT, "*": SINGLE}
_NUMBERS: Shape = {"*": NUMBER}
_COUNTS: Shape = {"*": COUNT}
_SUMMARY: Shape = {"n": COUNT, "*": NUMBER}
_PHASE: Shape = {"processed_per_s": NUMBER, "n": COUNT, "p50_ns": NUMBER, "p99_ns": NUMBER}
_MODE: Shape = {
    "name": TEXT, "delivery": TEXT, "ordering": TEXT, "persistence": TEXT, "copies": COUNT, "late_subscriber": TEXT, "slow_consumer": TEXT,
    "source": TEXT, "*": ANY,
}  # fmt: skip
_AUDIT: Shape = {
    "lost_where": _COUNTS, "verdict": TEXT, "reasons": [TEXT], "persistence": TEXT,
    "lost_ids": [ANY], "duplicated_ids": [ANY], "reordered_ids": [ANY], "unknown_ids": [ANY], "copies": ANY, "depth": ANY, "*": COUNT,
}  # fmt: skip
_ENDPOINT: Shape = {"group": TEXT, "cpu_ns": NUMBER, "rss_b": NUMBER, "poison": _FLAT, "*": ANY}

TRIAL: Shape = {
    "trial!": COUNT,
    "point!": _POINT,
    "variant!": {
        "id!": TEXT, "spec": TEXT, "system": TEXT, "title": TEXT, "client": TEXT, "client_version": TEXT, "profile": TEXT,
        "settings": {"*": ANY}, "mode": _MODE, "*": ANY,
    },
    "workload": {
        "groups": _COUNTS, "schedule": TEXT, "warmup_s": NUMBER, "measure_s": NUMBER, "faults": [_FLAT], "producers": COUNT, "*": ANY,
    },
    "server": {"kind": TEXT, "product": TEXT, "version": TEXT, "nodes": [TEXT], "settings": {"*": ANY}, "*": ANY},
    "series": COUNT, "round": COUNT, "position": COUNT, "lane": TEXT, "status": TEXT, "reason": TEXT, "started": TEXT,
    "go_ns": NUMBER, "window_s": NUMBER, "drained_s": NUMBER,
    "producers": [_ENDPOINT], "consumers": [_ENDPOINT],
    "nodes": [{"name!": TEXT, "role": TEXT, "cpu_ns": NUMBER, "thread_ns": NUMBER, "rss_b": NUMBER}],
    "rates": {"groups": _NUMBERS, "*": NUMBER},
    "latency": {"*": _SUMMARY},
    "requests": _COUNTS, "cost": _NUMBERS, "machine": _NUMBERS, "placement": _FLAT,
    "steady": {"slices": {"*": [NUMBER]}, "p50_thirds_ns": [NUMBER], "n_thirds": [NUMBER]},
    "audit": {"*!": _AUDIT},
    "findings": [{"code!": TEXT, "evidence": TEXT, "advice": TEXT}],
    "events": [{"t_s": NUMBER, "who": TEXT, "kind": TEXT, "detail": TEXT}],
    "faults": [{
        "fault!": TEXT, "toxic": TEXT, "target!": TEXT, "injected_s": NUMBER, "healed_s": NUMBER, "recovered_s": NUMBER, "detail": TEXT,
        "in_flight": _COUNTS, "counts": {"*!": _NUMBERS}, "node": TEXT, "*": ANY,
    }],
    "leaders": [{"t_s!": NUMBER, "what!": TEXT, "node!": TEXT, "*": ANY}],
    "health": [{"node!": TEXT, "looks!": COUNT, "answered!": COUNT, "last!": {"*": ANY}, "most!": _NUMBERS, "*": ANY}],
    "phases": {
        "injected_s!": NUMBER, "healed_s!": NUMBER, "caught_up_s": NUMBER, "spans": {"*": [NUMBER]},
        "groups!": {"*!": {
            "backlog": [NUMBER], "backlog_max": NUMBER, "backlog_max_s": NUMBER, "caught_up_s": NUMBER, "catch_up_per_s": NUMBER,
            "before": _PHASE, "during": _PHASE, "catching_up": _PHASE, "after": _PHASE, "*": ANY,
        }}, "*": ANY,
    },
    "*": ANY,
}  # fmt: skip

_PAIR: Shape = [NUMBER]
CELL: Shape = {
    "id!": TEXT, "variant!": TEXT, "spec!": TEXT, "system!": TEXT,
    "mode!": {"name!": TEXT, "delivery!": TEXT, "persistence!": TEXT, "copies!": COUNT, "*": ANY},
    "fault!": TEXT, "title!": TEXT, "core!": FLAG, "status!": TEXT, "reason!": TEXT, "timer!": TEXT, "trials!": [COUNT], "wanted": COUNT,
    "expected!": {"may_show!": [TEXT], "must_show!": [TEXT], "source!": TEXT, "why!": TEXT, "timer!": TEXT, "*": ANY},
    "injections!": [{
        "trial!": COUNT, "target!": TEXT, "in_flight!": COUNT, "at_risk?": COUNT, "counts!": {"*!": COUNT}, "recovery_s?": NUMBER,
        "undetermined!": FLAG, "*": ANY,
    }],
    "judged?": {
        "recovery_s?": _PAIR, "publish_gap_s?": _PAIR, "deliver_gap_s?": _PAIR,
        "verdict!": TEXT, "n!": COUNT, "vacuous!": COUNT, "undetermined!": COUNT, "observed!": TEXT,
        "counts!": {"lost!": COUNT, "duplicated!": COUNT, "reordered!": COUNT, "corrupted!": COUNT, "unexpected!": COUNT,
                    "failed_delivered!": COUNT, "unknown!": COUNT, "recovered!": COUNT, "*!": COUNT},
        "violations!": [TEXT], "surprises!": [TEXT],
        "shares!": {"*!": {"events!": COUNT, "n!": COUNT, "low!": NUMBER, "high!": NUMBER}}, "*": ANY,
    },
    "*": ANY,
}  # fmt: skip
SEARCH: Shape = {
    "variant!": TEXT, "point!": _POINT, "producers!": COUNT, "reference": FLAG, "status!": TEXT, "reason": TEXT, "saturated_per_s?": NUMBER,
    "estimate_per_s": NUMBER,
    "probes!": [{
        "trial?": COUNT, "phase!": TEXT, "rate_per_s?": NUMBER, "share": NUMBER, "round": COUNT, "held?": FLAG, "why!": TEXT, "by!": TEXT,
        "delivered_per_s?": NUMBER, "latency_ns?": NUMBER, "drained_s?": NUMBER, "status": TEXT, "findings!": [TEXT], "*": NUMBER,
    }],
    "answer?": {
        "kind!": TEXT, "rate_per_s?": NUMBER, "low_per_s?": NUMBER, "high_per_s?": NUMBER, "probes!": COUNT, "invalid!": COUNT,
        "precise?": FLAG, "*": ANY,
    },
    "limit?": {"by!": TEXT, "evidence!": TEXT},
    "sweep!": [{"share!": NUMBER, "rate_per_s!": NUMBER, "rounds!": COUNT, "held!": COUNT, "trials!": [COUNT], "n!": COUNT, "*": NUMBER}],
    "knee?": {"base_ns?": NUMBER, "after_share?": NUMBER, "after_per_s?": NUMBER, "by_share?": NUMBER, "by_per_s?": NUMBER},
    "*": ANY,
}  # fmt: skip
OBJECTIVE: Shape = {"objective!": {"text!": TEXT, "percentile!": TEXT, "limit_s!": NUMBER, "*": ANY}, "producers!": [_FLAT], "*": ANY}
ENTRY: Shape = {
    "trial": COUNT,
    "variant": TEXT,
    "series": COUNT,
    "round": COUNT,
    "position": COUNT,
    "lane": TEXT,
    "point": _POINT,
    "*": ANY,
}
RUN: Shape = {
    "format!": COUNT, "id!": TEXT, "kind!": TEXT, "scenario": TEXT, "command": TEXT, "started": TEXT, "ended": TEXT, "status": TEXT,
    "not_run": [{"variant": TEXT, "reason": TEXT, "get": TEXT, "*": ANY}],
    "quotas": [{"variant!": TEXT, "point!": TEXT, "quota!": TEXT, "*": ANY}], "*": ANY,
}  # fmt: skip
ENVIRONMENT: Shape = {
    "machine": _FLAT,
    "placement": _FLAT,
    "clients": {"*": ANY},
    "libraries": {"*": ANY},
    "python": _FLAT,
    "brokerbench": _FLAT,
    "*": ANY,
}


def wrong(data: Any, shape: Shape, where: str = "") -> str:
    """What is wrong first: "rates.offered_per_s: a number belongs here, not text"; "" where nothing is."""
    if isinstance(shape, str):
        return "" if _is(data, shape) else f"{where or 'all of it'}: {shape} belongs here, not {_called(data)}"
    if isinstance(shape, list):
        if not isinstance(data, Sequence) or isinstance(data, str):
            return f"{where or 'all of it'}: a list belongs here, not {_called(data)}"
        unknown = isinstance(shape[0], str)  # then null is one more value that is not known
        items = ((i, one) for i, one in enumerate(data) if not (one is None and unknown))
        return next((told for i, one in items if (told := wrong(one, shape[0], f"{where}[{i}]"))), "")
    if not isinstance(data, Mapping):
        return f"{where or 'all of it'}: fields belong here, not {_called(data)}"
    needed = [key for key in shape if key[-1] in "!?" and key != "*!"]
    lacking = next((key[:-1] for key in needed if key[:-1] not in data or (key[-1] == "!" and data[key[:-1]] is None)), None)
    if lacking is not None:
        return f"{_joined(where, lacking)}: missing"
    return next((told for key, value in data.items() if (told := _field(value, key, shape, where))), "")


def _field(value: Any, key: str, shape: Mapping[str, Shape], where: str) -> str:
    own = next((shape[name] for name in (f"{key}!", f"{key}?", key, "*!", "*") if name in shape), ANY)
    if value is None:
        return f"{_joined(where, key)}: missing" if not {f"{key}!", f"{key}?", key} & set(shape) and "*!" in shape else ""
    return wrong(value, own, _joined(where, key))


def _joined(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _is(data: Any, word: str) -> bool:
    if word == ANY:
        return True
    if word == TEXT:
        return isinstance(data, str)
    if word == FLAG:
        return isinstance(data, bool)
    if word == SINGLE:
        return isinstance(data, str | bool) or _is(data, NUMBER)
    number = isinstance(data, int | float) and not isinstance(data, bool) and abs(data) < _LARGEST
    return number and (word == NUMBER or float(data).is_integer())


def _called(data: Any) -> str:
    names = {dict: "fields", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(data), f"{data!r:.40}")
