"""What confluent-kafka's producers, consumers and admin calls share: errors made ours, events out of what librdkafka tells.

librdkafka serves its connections in threads of its own, none of them Python's: what it has to say waits until poll() is called. A lost
connection is its error _TRANSPORT; that one is back it does not say, so it is told with the next message that goes through.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from adapters.base import Event
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable
from adapters.kafka_shared import within

ANSWER_S = 9.0  # of a request at the start: a server that is there answers by then
CLOSE_S = 2.0
AGAIN_S = 0.1  # between two tries while no broker answers

_AWAY = {
    KafkaError._TRANSPORT,  # noqa: SLF001  # confluent-kafka's public names of librdkafka's own errors begin with "_"
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
}
_LOST = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001
_SETTING = {KafkaError._INVALID_ARG, KafkaError._CONFLICT}  # noqa: SLF001


def said(error: BaseException) -> str:
    """What an error of librdkafka says, without the object around it."""
    first = error.args[0] if error.args else error
    return first.str() if isinstance(first, KafkaError) else str(error)


def _translate(error: Exception, servers: Sequence[str]) -> AdapterError:
    """The one place where confluent-kafka's errors become ours."""
    where = ", ".join(servers)
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else None
    code = inner.code() if isinstance(inner, KafkaError) else None
    if code == KafkaError.INVALID_REPLICATION_FACTOR:
        return BadSetting(f"Kafka at {where} has too few brokers for this replication_factor")
    if code in _SETTING or isinstance(error, TypeError | ValueError):
        return BadSetting(f"confluent-kafka refuses its settings: {said(error)}")
    if code in _AWAY or isinstance(error, TimeoutError):
        return Unreachable(f"no Kafka answers at {where} within {ANSWER_S:.0f} s: {said(error)}")
    return Refused(f"Kafka at {where} says: {said(error)}")


@contextlib.contextmanager
def translated(servers: Sequence[str]) -> Iterator[None]:
    """confluent-kafka's errors leave as adapters.errors."""
    try:
        yield
    except (KafkaException, TypeError, ValueError, TimeoutError) as error:
        raise _translate(error, servers) from error


Hears = Callable[[KafkaError], None]  # error_cb
Commits = Callable[[KafkaError | None, Sequence[TopicPartition]], None]  # on_commit


class Links:
    """Makes events of what librdkafka says of its connections. ``fatal``: why this client is of no use any more."""

    def __init__(self, events: deque[Event]) -> None:
        self._events = events
        self.lost = False
        self.fatal = ""

    def error(self, error: KafkaError) -> None:
        """Of the client as a whole: error_cb."""
        if error.fatal():
            self.fatal = self.fatal or error.str()
            self._events.append(Event("error", error.str()))
        elif error.code() in _LOST:
            if not self.lost:
                self.lost = True
                self._events.append(Event("closed", error.str()))
        else:
            self._events.append(Event("error", error.str()))

    def back(self) -> None:
        """Something came through."""
        if self.lost:
            self.lost = False
            self._events.append(Event("reconnected"))


def let_go(held: list[Any]) -> None:
    """End the threads of the Producer in ``held``, which is nowhere else, if one is: it has no other end that waits for nothing."""
    if held[0] is not None:
        held[0].purge()
        within(CLOSE_S, held.clear)


def partitions_of(client: Any, topic: str, timeout_s: float) -> int:
    """How many partitions of a topic have a leader, as far as a broker knows; 0 where it knows no such topic. Raises KafkaException."""
    about = client.list_topics(topic, timeout=timeout_s).topics[topic]
    if about.error is not None:
        return 0
    return sum(each.leader >= 0 for each in about.partitions.values())
