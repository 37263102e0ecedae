"""From what endpoints, server and journals said to trial.json: sums, merges and verdicts, no measuring (pure but for the journals)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from adapters.base import Adapter
from adapters.capabilities import Assignment, Capabilities, Mode
from bench import curves, pacing
from bench.account import SLICES
from bench.analysis import findings, phases
from bench.audit import ConsumerSource, GroupAudit, LaneOf, Source, audit, verdict
from bench.audit_keys import by_key
from bench.faults.account import injections, one_each
from bench.faults.depth import Depth
from bench.faults.drain import redelivery_s
from bench.faults.proxy import PROXY
from bench.histogram import Histogram, Slice, add_packed, unpack
from bench.keys import keys_of, router_of
from bench.plan import Planned
from bench.servers.base import Server
from bench.session import Raw, Session
from bench.spec import Variant
from bench.workload import Workload

FORMAT = 1
_LATENESS = ("lateness", "lateness_woken", "lateness_blocked")  # of reports and trial.json; as tags with a hyphen
_COSTS = ("deliveries", "producers_ns", "intermediary_ns", "consumers_ns", "total_ns", "machine_busy", "others_cores")
_MACHINE = ("cores", "steal", "throttled_s", "load_1m", "idle_servers_cores", "others_cores")


def described_mode(mode: Mode) -> dict[str, Any]:
    """Return a mode as trial.json has it."""
    return asdict(mode) | {"delivery": mode.delivery.value, "persistence": mode.persistence.value}


def described_variant(variant: Variant, adapter: Adapter, server: Server | None) -> dict[str, Any]:
    """Return "variant" of trial.json."""
    capabilities = adapter.capabilities
    return {
        "id": variant.id, "spec": variant.spec, "system": variant.system, "title": _title(capabilities, server),
        "client": capabilities.client, "client_version": _version(capabilities.client), "profile": variant.profile,
        "settings": {side: {key: _plain(value) for key, value in values.items()} for side, values in adapter.effective().items()},
        "mode": described_mode(adapter.mode), "architecture": capabilities.architecture, "intermediary": capabilities.intermediary,
        "stores": capabilities.stores, "confirms": capabilities.confirms, "fan_out": capabilities.fan_out.value,
        "work_sharing": capabilities.work_sharing.value, "partitions": capabilities.partitions.value,
        "payload_bytes_max": capabilities.payload_bytes_max,
    }  # fmt: skip


def _title(capabilities: Capabilities, server: Server | None) -> str:
    """Name the system, and the product where that is another: Valkey is called Valkey."""
    if server is None or server.product.emulator:
        return capabilities.system  # an emulator's name is printed with every figure anyhow
    name = server.product.name
    # "Redis Pub/Sub" on Redis, "NATS" on NATS Server: one name says both.
    return capabilities.system if name in capabilities.system or capabilities.system in name else f"{capabilities.system} on {name}"


def _version(client: str) -> str:
    try:
        return metadata.version(client) if client else ""
    except metadata.PackageNotFoundError:
        return ""


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def described_server(server: Server | None) -> dict[str, Any] | None:
    """Return "server" of trial.json; None for a broker-less system."""
    if server is None:
        return None
    product = server.product
    return {
        "kind": server.kind, "product": product.name, "version": product.version,
        "released": product.released, "end_of_life": product.end_of_life, "emulator": product.emulator,
        "settings": {key: _plain(value) for key, value in server.settings.items()},
        "nodes": [node.name for node in server.nodes],
    }  # fmt: skip


def frame(planned: Planned, adapter: Adapter, server: Server | None, *, run_id: str, scenario: str, started: str) -> dict[str, Any]:
    """Return trial.json with every key, all that is measured empty: what a failed trial keeps."""
    load = planned.point.workload
    return {
        "format": FORMAT, "trial": planned.trial, "run": run_id, "scenario": scenario, "point": planned.point.values(),
        "workload": load.described(),
        "variant": described_variant(planned.variant, adapter, server),
        "server": described_server(server), "series": planned.series, "round": planned.round, "position": planned.position,
        "lane": planned.lane,
        "status": "failed", "reason": None, "started": started, "go_ns": None, "window_s": load.measure_s, "drained_s": None,
        "producers": [], "consumers": [], "nodes": [],
        "rates": {
            "offered_per_s": pacing.offered_per_s(load), "published_per_s": None, "groups": {}, "slowest_group_per_s": None,
            "published_b_per_s": None, "slowest_group_b_per_s": None,
        },
        "latency": dict.fromkeys(("end_to_end_intended", "end_to_end_sent", "publish", *_LATENESS)),
        "cost": dict.fromkeys(_COSTS), "machine": dict.fromkeys(_MACHINE),
        "steady": {"slices": {}, "p50_thirds_ns": [], "n_thirds": []}, "audit": {}, "findings": [], "events": [], "faults": [],
        "leaders": [], "health": [],
        "phases": None, "redelivery_s": None, "depth": None, "requests": None, "evidence": [],
    }  # fmt: skip


def complete(
    trial: dict[str, Any], raw: Raw, session: Session, workload: Workload, evidence: Path
) -> tuple[dict[str, Histogram], list[dict[str, Any]]]:
    """Fill ``trial`` with what was measured; return the histograms by tag and the rows of series.csv."""
    histograms = _histograms(raw)
    if raw.tick_s is not None:
        trial["workload"]["tick_s"] = raw.tick_s
    trial |= {"status": "ok", "go_ns": raw.go_ns, "drained_s": raw.drained_s, "nodes": raw.nodes}
    kept = ("index", "planned", "sent", "confirmed", "failed", "indeterminate", "blocked_s", "cpu_ns", "rss_b", "collections")
    trial["producers"] = one_each(raw.producers, ("index",), kept)
    kept_of_consumers = ("group", "member", "received", "in_window", "cpu_ns", "rss_b", "collections")
    trial["consumers"] = one_each(raw.consumers, ("group", "member"), kept_of_consumers)
    trial["rates"] |= _rates(raw, workload)
    trial["latency"] = {
        "end_to_end_intended": histograms["e2e"].summary(),
        "end_to_end_sent": histograms["e2e-sent"].summary(),
        "publish": histograms["publish"].summary() if "publish" in histograms else None,
        **{name: histograms[name.replace("_", "-")].summary() for name in _LATENESS},
    }
    trial["cost"] = _cost(raw, trial["server"], workload.measure_s)
    trial["requests"] = None if raw.faults else requests_of([*raw.producers, *raw.consumers])
    trial["machine"] = {name: raw.machine.get(name) for name in _MACHINE} | {"others_cores": trial["cost"]["others_cores"]}
    trial["evidence"] = [
        {"name": one.name, "of": one.who, "epoch": one.epoch, "from": raw.before[one.name], "to": raw.after[one.name]}
        for one in raw.journals
    ]
    trial["evidence"] += [{"name": source.name, "from": source.start, "to": source.stop} for source in (*raw.dead, *raw.outputs)]
    trial["events"] = [
        {"t_s": (event["t_ns"] - raw.go_ns) / 1e9, **{key: event[key] for key in ("who", "kind", "detail")}} for event in raw.events
    ]
    trial["leaders"], trial["health"] = list(raw.leaders), list(raw.health)
    trial["steady"] = _steady(raw, workload)
    sources = _evidence(raw, workload, evidence)
    trial["audit"] = _audits(trial, raw, session, workload, sources)
    for group, row in _by_key(trial, raw, workload, sources).items():
        trial["audit"][group] |= row
    if raw.faults:
        trial["redelivery_s"] = redelivery_s(session.adapter)
        trial["depth"] = {group: [asked.first, asked.second] for group, asked in raw.depth.items()} or None
        trial["faults"] = injections(
            raw.faults, sources.senders, sources.receivers, trial=trial["trial"], groups=[name for name, _ in workload.groups],
            go_ns=raw.go_ns, lane_of=sources.lane_of, open_groups={name for name, row in trial["audit"].items() if "undelivered" in row},
        )  # fmt: skip
        trial["phases"] = _phases(trial, raw, workload, sources)
    trial["findings"] = findings.of_trial(trial)
    return histograms, _series(raw, workload)


def _phases(trial: Mapping[str, Any], raw: Raw, workload: Workload, sources: _Evidence) -> dict[str, Any] | None:
    """Before, during and after the faults, by group."""
    where: dict[str, Any] = {"trial": trial["trial"], "groups": [name for name, _ in workload.groups], "go_ns": raw.go_ns}
    window = (workload.warmup_s, workload.warmup_s + workload.measure_s)
    latency: dict[str, list[tuple[int, Histogram]]] = {}
    for report in raw.consumers:
        for second, counts in report["latency_seconds"]:
            one = Histogram()
            add_packed(one, counts)
            latency.setdefault(report["group"], []).append((second, one))
    acknowledged, processed = curves.acknowledged(sources.senders, **where), curves.processed(sources.receivers, **where)
    return phases.of(trial["faults"], acknowledged, processed, latency, window=window)


def _histograms(raw: Raw) -> dict[str, Histogram]:
    merged: dict[str, Histogram] = {"e2e": Histogram()}
    for report in raw.consumers:
        for third in report["thirds"]:
            one = unpack(third)
            merged["e2e"].merge(one)
            merged.setdefault(f"e2e-{report['group']}", Histogram()).merge(one)
        merged.setdefault("e2e-sent", Histogram()).merge(unpack(report["end_to_end_sent"]))
    for report in raw.producers:
        for name in _LATENESS:
            merged.setdefault(name.replace("_", "-"), Histogram()).merge(unpack(report[name]))
        if report["publish"] is not None:
            merged.setdefault("publish", Histogram()).merge(unpack(report["publish"]))
    return merged


def over_time(raw: Raw, workload: Workload) -> dict[str, Iterator[Slice]]:
    """What latency.hlog has by the second: end to end over all groups; where there were faults, which strike one and not another, each."""
    slices = {"e2e": by_second(raw, workload)}
    groups = [name for name, _ in workload.groups]
    if raw.faults and len(groups) > 1:
        arrived = {report["group"] for report in raw.consumers if report["latency_seconds"]}
        slices |= {f"e2e-{name}": by_second(raw, workload, name) for name in groups if name in arrived}
    return slices


def by_second(raw: Raw, workload: Workload, group: str = "") -> Iterator[Slice]:
    """End-to-end latencies of a group ("" = all) by the second of arrival, counted from the window's start; a slice at a time."""
    seconds: dict[int, list[str]] = {}
    for report in raw.consumers:
        if group in ("", report["group"]):
            for second, counts in report["latency_seconds"]:
                seconds.setdefault(second, []).append(counts)
    for second in sorted(seconds):
        one = Histogram()
        for counts in seconds[second]:
            add_packed(one, counts)
        yield second - workload.warmup_s, 1.0, one


def _rates(raw: Raw, workload: Workload) -> dict[str, Any]:
    delivered = dict.fromkeys((name for name, _ in workload.groups), 0)
    for report in raw.consumers:
        delivered[report["group"]] += report["in_window"]
    groups = {name: count / workload.measure_s for name, count in delivered.items()}
    published = sum(_within(report["seconds"], workload) for report in raw.producers)
    slowest = min(groups.values())
    return {
        "published_per_s": published, "groups": groups, "slowest_group_per_s": slowest,
        "published_b_per_s": published * workload.mean_b, "slowest_group_b_per_s": slowest * workload.mean_b,
    }  # fmt: skip


def _steady(raw: Raw, workload: Workload) -> dict[str, Any]:
    """Deliveries of each group in equal slices of the window; p50 of what was due in each third of it, over all groups."""
    slices = {name: [0] * SLICES for name, _ in workload.groups}
    thirds = [Histogram() for _ in range(3)]
    for report in raw.consumers:
        slices[report["group"]] = [sum(both) for both in zip(slices[report["group"]], report["slices"], strict=True)]
        for whole, part in zip(thirds, report["thirds"], strict=True):
            whole.merge(unpack(part))
    return {"slices": slices, "p50_thirds_ns": [third.summary()["p50_ns"] for third in thirds], "n_thirds": [third.n for third in thirds]}


def _within(seconds: Mapping[str, int], workload: Workload) -> float:
    """Return messages a second over the whole seconds of the load (seconds are counted from go, warm-up included)."""
    whole = int(workload.warmup_s + workload.measure_s)
    first = min(int(-(-workload.warmup_s // 1)), max(whole - 1, 0))
    span = max(whole - first, 1)
    return sum(count for second, count in seconds.items() if first <= int(second) < first + span) / span


def _cost(raw: Raw, server: Mapping[str, Any] | None, window_s: float) -> dict[str, Any]:
    deliveries = sum(report["in_window"] for report in raw.consumers)

    def each(values: Sequence[int | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / deliveries if deliveries and len(known) == len(values) else None

    producers, consumers = each([r["cpu_ns"] for r in raw.producers]), each([r["cpu_ns"] for r in raw.consumers])
    own = [node["cpu_ns"] for node in raw.nodes if node["role"] != PROXY]  # the suite's proxy is no part of the system
    nodes = each(own) if server is not None and own else None
    parts = [producers, consumers, nodes if server is not None else 0.0]
    total = None if None in parts else sum(part for part in parts if part is not None)
    others = None
    busy = raw.machine["busy"]
    if total is not None and busy is not None:
        proxy_ns = sum(node["cpu_ns"] or 0 for node in raw.nodes if node["role"] == PROXY)
        others = max(0.0, busy * raw.machine["cores"] - (total * deliveries + proxy_ns) / (window_s * 1e9))
    return {
        "deliveries": deliveries, "producers_ns": producers, "intermediary_ns": nodes, "consumers_ns": consumers, "total_ns": total,
        "machine_busy": busy, "others_cores": others,
    }  # fmt: skip


def requests_of(reports: Iterable[Mapping[str, Any]]) -> dict[str, int] | None:
    """Requests of all endpoints by action, from the trial's preparation to its report; None where none of them counts any."""
    counted = [report["requests"] for report in reports if report.get("requests") is not None]
    total: Counter[str] = Counter()
    for one in counted:
        total.update(one)
    return dict(sorted(total.items())) if counted else None


class _Evidence(NamedTuple):
    """Whose journals a trial's are, and how they are read."""

    senders: list[Source]
    receivers: list[ConsumerSource]
    lane_of: LaneOf


def _evidence(raw: Raw, workload: Workload, folder: Path) -> _Evidence:
    names = [name for name, _ in workload.groups]
    routers = {report["index"]: router_of(workload, report["index"], report["first_id"]) for report in raw.producers}
    senders: list[Source] = []
    receivers: list[ConsumerSource] = []
    for one in raw.journals:
        part = (folder, one.name, raw.before[one.name], raw.after[one.name])
        if one.role == "producer":
            senders.append(Source(*part))
        else:
            receivers.append(ConsumerSource(*part, group=names.index(one.group), member=one.number, worked=bool(raw.outputs)))
    receivers += [*raw.dead, *raw.outputs]
    return _Evidence(senders, receivers, lambda producer, sequences: routers[producer].lanes_of(sequences.astype("int64")))


def _audits(trial: Mapping[str, Any], raw: Raw, session: Session, workload: Workload, evidence: _Evidence) -> dict[str, Any]:
    names = [name for name, _ in workload.groups]
    found = audit(evidence.senders, evidence.receivers, trial=trial["trial"], groups=names, lane_of=evidence.lane_of)
    foreign = {name: sum(report["foreign"] for report in raw.consumers if report["group"] == name) for name in names}
    ordered = order_promised(session.adapter.capabilities, broken=bool(workload.faults))
    return {
        name: _audited(replace(one, unexpected=one.unexpected + foreign[name]), raw, raw.depth.get(name, Depth(None, None)), session,
                       ordered=ordered)
        for name, one in found.items()
    }  # fmt: skip


def order_promised(able: Capabilities, *, broken: bool) -> bool:
    """Whether a delivery out of order breaks a promise; ``broken``: in a trial in which things break.

    What a broken consumer of a shared queue had goes back behind what others have had since, and a client that sends again
    without idempotence swaps messages: then no order is promised.
    """
    return able.order_delivered and not (broken and (able.assignment is Assignment.SHARED or able.retries_swap))


def _by_key(trial: Mapping[str, Any], raw: Raw, workload: Workload, evidence: _Evidence) -> dict[str, dict[str, int]]:
    """What is out of order by key, by group; nothing where messages are about no keys."""
    if not workload.key_count:
        return {}
    keys = {report["index"]: keys_of(workload, report["index"], report["first_id"]) for report in raw.producers}
    names = [name for name, _ in workload.groups]
    found = by_key(evidence.receivers, trial=trial["trial"], groups=names, keys=keys)
    return {name: {"key_reordered": one.reordered, "key_reordered_max": one.reordered_max} for name, one in found.items()}


def broken(trial: Mapping[str, Any]) -> list[str]:
    """Which promises of its mode a trial did not keep, in words; group by group."""
    return [f"{group}: {'; '.join(row['reasons'])}" for group, row in trial["audit"].items() if row["verdict"] == "violated"]


def _audited(one: GroupAudit, raw: Raw, depth: Depth, session: Session, *, ordered: bool) -> dict[str, Any]:
    """An account with its verdict; ``depth``: what the system said it still holds for the group after the drain."""
    mode = session.adapter.mode
    row = asdict(one) | {"persistence": mode.persistence.value, "copies": mode.copies}
    word, why = verdict(one, mode.delivery.value, ordered)
    reasons = list(why)
    # Late or stuck, not lost. Which messages the broker holds is not known, only how many: the rest of them is gone for certain.
    undelivered = one.lost if raw.still_moving or depth.silent else min(one.lost, depth.held)
    if undelivered:
        gone = one.lost - undelivered
        others = verdict(replace(one, lost=gone), mode.delivery.value, ordered)
        word = "violated" if others.word == "violated" else "undetermined"
        lay = "nobody answered whether the broker has them" if depth.silent else f"{depth.held:,} lay with the broker"
        stuck = f"{undelivered:,} messages were not delivered, and {lay} when the trial had drained"
        reasons = [*others.reasons, "messages still arrived when the drain deadline passed" if raw.still_moving else stuck]
        row |= {"undelivered": undelivered, "lost": gone or None, "lost_where": {"prefix": None, "middle": None, "tail": None}}
    return row | {"verdict": word, "reasons": reasons}


def _series(raw: Raw, workload: Workload) -> list[dict[str, Any]]:
    names = [name for name, _ in workload.groups]
    columns: dict[str, dict[int, int]] = {name: {} for name in ("published", *names)}
    for report in raw.producers:
        for second, count in report["seconds"].items():
            columns["published"][int(second)] = columns["published"].get(int(second), 0) + count
    for report in raw.consumers:
        for second, count in report["seconds"].items():
            columns[report["group"]][int(second)] = columns[report["group"]].get(int(second), 0) + count
    last = max((second for column in columns.values() for second in column), default=-1)
    return [{"second": second, **{name: column.get(second, 0) for name, column in columns.items()}} for second in range(last + 1)]
