"""What decides how long each system takes to recover: set short where it can be, as settings of the SPEC, so that it is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Timers:
    """Seconds. Those that no setting decides are what a machine of two cores needs, with some to spare."""

    handover_s: float = 0.0  # from a consumer's death until what it held is handed on; 0 = as soon as its connection closes
    silence_s: float = 0.0  # until a peer that says nothing is given up; 0 = never
    restart_s: float = 1.0  # until a server that is started again answers and its clients are back
    failover_s: float = 4.0  # until another node leads in place of one that was killed, and clients have found it
    endpoint_s: float = 1.0  # until a new endpoint is at work
    around_s: float = 4.0  # of a trial beside its load: start of its endpoints, drain, audit
    rate_per_s: int = 200  # what this system takes with ease
    settings: Mapping[str, str] = field(default_factory=dict)  # what its SPEC gets, where it names no other value


_USUAL_PER_S, _CLUSTER_PER_S = 200, 1000


def of(system: str, mode: str, own: Mapping[str, str], *, nodes: int = 1) -> Timers:
    """The timers of a system's mode whose SPEC has the settings ``own``; ValueError where one of those is no number.

    Of several nodes one is to die with something that the others have not got yet: bursts are larger, where the mode bears it.
    """
    make = _SYSTEMS.get(system)
    made = make(mode, own) if make is not None else Timers()
    return replace(made, rate_per_s=_CLUSTER_PER_S) if nodes > 1 and made.rate_per_s >= _USUAL_PER_S else made


def _kafka(mode: str, own: Mapping[str, str]) -> Timers:
    # 6 s is the least that a broker grants. The clients' back-off (30 s by default) made recovery 9 to 15 s later than the server [M].
    settings = {"session_timeout_ms": "6000", "heartbeat_interval_ms": "1500", "reconnect_backoff_max_ms": "1000"} | dict(own)
    produces = mode == "consume-process-produce"  # a consumer commits five transactions a second at 50/s
    if mode == "transactional" or produces:  # what a dead client's open transaction holds back
        settings = {"transaction_timeout_ms": "6000"} | settings
    session_s = int(settings["session_timeout_ms"]) / 1000
    # A transaction that the broker's death cut off is given up after its time-out, and then the coordinator has to end it.
    transaction_s = int(settings.get("transaction_timeout_ms", "0")) / 1000
    return Timers(
        handover_s=session_s, silence_s=session_s, restart_s=6.0 + 1.5 * transaction_s, endpoint_s=2.0, around_s=9.0,
        rate_per_s=50 if produces else 200, settings=settings,
    )  # fmt: skip


def _rabbitmq(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"heartbeat": "2"} | dict(own)
    silence_s = 2 * float(settings["heartbeat"]) + 1  # given up after two that were missed
    return Timers(silence_s=silence_s, restart_s=9.0, around_s=5.0, settings=settings)


def _rabbitmq_streams(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"heartbeat": "2"} | dict(own)
    silence_s = 3 * float(settings["heartbeat"]) + 1  # given up after two that were missed, looked at twice a heartbeat
    return Timers(silence_s=silence_s, restart_s=9.0, around_s=5.0, settings=settings)


def _sqs(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"VisibilityTimeout": "3", "read_timeout": "3", "WaitTimeSeconds": "1"} | dict(own)
    visible_s, silence_s = float(settings["VisibilityTimeout"]), float(settings["read_timeout"])
    return Timers(handover_s=visible_s, silence_s=silence_s, restart_s=5.0, endpoint_s=2.0, around_s=8.0, rate_per_s=100, settings=settings)


def _kinesis(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"failoverTimeMillis": "3000", "read_timeout": "3"} | dict(own)
    failover_s, silence_s = float(settings["failoverTimeMillis"]) / 1000, float(settings["read_timeout"])
    # A member that has died keeps its leases until they are expired, and the one in its place looks each second.
    return Timers(handover_s=failover_s + 1, silence_s=silence_s, restart_s=3.0, endpoint_s=2.0, around_s=8.0, settings=settings)


def _zeromq(mode: str, own: Mapping[str, str]) -> Timers:
    if mode != "acknowledged":
        return Timers(settings=own)
    settings = {"resend_ivl": "1000"} | dict(own)
    return Timers(silence_s=int(settings["resend_ivl"]) / 1000, settings=settings)


def _redis_pubsub(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"socket_timeout": "2"} | dict(own)
    return Timers(silence_s=float(settings["socket_timeout"]), settings=settings)


def _redis_streams(mode: str, own: Mapping[str, str]) -> Timers:
    del mode
    settings = {"min_idle_time": "2000", "socket_timeout": "2"} | dict(own)  # who comes back reads its own pending entries at once
    return Timers(silence_s=max(int(settings["min_idle_time"]) / 1000, float(settings["socket_timeout"])), settings=settings)


def _nats(mode: str, own: Mapping[str, str]) -> Timers:
    settings = {"ping_interval": "1", "max_outstanding_pings": "2", "reconnect_time_wait": "0.25"} | dict(own)
    # The third PING without a PONG ends a connection; the next one's INFO is waited for connect_timeout (2 s) at most.
    silence_s = float(settings["ping_interval"]) * (int(settings["max_outstanding_pings"]) + 1)
    handover_s = 0.0
    if mode != "core":
        settings = {"ack_wait": "2"} | settings
        handover_s = float(settings["ack_wait"])
    return Timers(handover_s=handover_s, silence_s=silence_s, restart_s=3.0, settings=settings)


def _flume(mode: str, own: Mapping[str, str]) -> Timers:
    settings = {"request-timeout": "4000"} | dict(own)  # a slow consumer has 2 s of work in a sink's batch of 100
    if mode == "memory":  # what comes while a sink pauses has to fit, or the other groups get it again
        settings = {"capacity": "10000"} | settings
    pause_s = 5.0  # after a call that failed: SinkRunner.maxBackoffSleep, which no setting decides
    silence_s = int(settings["request-timeout"]) / 1000
    return Timers(handover_s=pause_s, silence_s=silence_s, restart_s=8.0, around_s=12.0, settings=settings)


_SYSTEMS: Mapping[str, Callable[[str, Mapping[str, str]], Timers]] = {
    "flume": _flume,
    "kafka": _kafka,
    "kinesis": _kinesis,
    "nats": _nats,
    "rabbitmq": _rabbitmq,
    "rabbitmq_streams": _rabbitmq_streams,
    "redis_pubsub": _redis_pubsub,
    "redis_streams": _redis_streams,
    "sqs": _sqs,
    "zeromq": _zeromq,
}
