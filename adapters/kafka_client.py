"""What Kafka's producers, consumers and admin calls share: errors made ours, connections watched, events handed out."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kafka import errors as kafka_errors

from adapters.base import Event
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable

BOOTSTRAP_MS = 9000
CLOSE_S = 2.0
ANOTHER_MS = 3000  # one try of a producer in place of another: kafka-python may lose its request while a broker comes back
AGAIN_S = 0.2  # between two tries to replace a producer


def _translate(error: Exception, servers: Sequence[str]) -> AdapterError:
    """The one place where kafka-python's errors become ours."""
    where = ", ".join(servers)
    if isinstance(error, kafka_errors.InvalidReplicationFactorError):
        return BadSetting(f"Kafka at {where} has too few brokers for this replication_factor")
    if isinstance(error, kafka_errors.KafkaConfigurationError | ValueError | TypeError | AssertionError):
        return BadSetting(f"kafka-python refuses its settings: {error}")
    if isinstance(error, kafka_errors.RetriableError | OSError):
        return Unreachable(f"no Kafka answers at {where} within {BOOTSTRAP_MS // 1000} s: {error}")
    return Refused(f"Kafka at {where} says: {error!r}")


@contextlib.contextmanager
def translated(servers: Sequence[str]) -> Iterator[None]:
    """kafka-python's errors leave as adapters.errors."""
    try:
        yield
    except (kafka_errors.KafkaError, OSError, ValueError, TypeError, AssertionError) as error:
        raise _translate(error, servers) from error


class Connections:
    """Watches a client's count of open connections, for the events that kafka-python does not give."""

    def __init__(self, client: Any) -> None:
        metrics = client.metrics(raw=True) or {}  # none with metrics_enabled=false: then nothing is seen
        self._metric = next((metric for name, metric in metrics.items() if name.name == "connection-count"), None)
        self._most = 0
        self._lost = False

    def changes(self) -> list[Event]:
        """What happened since the last call."""
        if self._metric is None:
            return []
        now = int(self._metric.value())
        if now < self._most and not self._lost:
            self._lost = True
            return [Event("closed", f"{self._most - now} of {self._most} connections to brokers were lost")]
        if self._lost and now >= self._most:
            self._lost = False
            return [Event("reconnected", f"{now} connections to brokers")]
        self._most = max(self._most, now)
        return []


def drained(events: deque[Event]) -> list[Event]:
    """Takes what is there; the client's thread may append meanwhile."""
    return [events.popleft() for _ in range(len(events))]


def another(connect: Callable[[], Any], get_ready: Callable[[Any], object], events: deque[Event], wanted: Callable[[], bool]) -> Any | None:
    """Connects a producer in place of one that cannot go on, as often as that takes; None where it is not ``wanted`` any more.

    ``get_ready``: what may fail with a KafkaError once it is connected. Failures are told as events "error".
    """
    while wanted():
        client = None
        try:
            client = connect()
            get_ready(client)
        except (AdapterError, kafka_errors.KafkaError) as error:
            events.append(Event("error", str(error) if isinstance(error, AdapterError) else repr(error)))
            if client is not None:
                shut(client)
            time.sleep(AGAIN_S)
        else:
            return client
    return None


def shut(client: Any) -> None:
    """Closes a KafkaProducer within about 4 s; futures that are left fail with IllegalStateError."""
    try:
        client.close(timeout=CLOSE_S)
    except kafka_errors.KafkaError:
        # KafkaProducer.close() flushes first and, where that times out, leaves its thread and its futures behind:
        # kafka-python 3.0 has no public way to give them up.
        thread = client._sender  # noqa: SLF001  # see above; held by tests/integration/test_kafka_adapter.py
        thread.force_close()
        thread.join(CLOSE_S)
        with contextlib.suppress(kafka_errors.KafkaError):  # what it cannot flush was given up above
            client.close(timeout=0)
