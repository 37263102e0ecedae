"""What the adapters that speak to Redis through redis-py share: the connection, its settings, its errors, how they send.

By default redis-py repeats a command up to ten times after a lost connection, which publishes twice: here ``retry`` is none.
It also reconnects without a word: every connection after the first is an event. A client is one connection, as order and
the counting of reconnects need.
Source: https://redis.readthedocs.io/en/stable/retry.html
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from adapters.base import Block, Event, Outcomes, Status, Wiring
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.options import Value
from adapters.redis_raw import RECONNECT_S, Lost

# redis.Redis' own parameters and defaults.
SOCKET: dict[str, Value] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "username": "",
    "password": "",
    "socket_read_size": 32768,
}
CLIENT: dict[str, Value] = {**SOCKET, "socket_keepalive": True, "health_check_interval": 0, "protocol": 3}
SOCKET_BOUNDS = {"socket_timeout": (0.01, 3600), "socket_connect_timeout": (0.01, 3600), "socket_read_size": (1024, 1 << 26)}
CLIENT_BOUNDS = {**SOCKET_BOUNDS, "protocol": (2, 3), "health_check_interval": (0, 3600)}


def address_of(system: str, wiring: Wiring) -> tuple[str, int]:
    """Host and port of the wiring's first server. Raises BadSetting."""
    text = str(wiring["servers"][0])
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise BadSetting(f"{system}: server address {text!r} is not host:port")
    return host.strip("[]"), int(port)


def client_of(address: tuple[str, int], settings: Mapping[str, Any], errors: tuple[type[Exception], ...]) -> redis.Redis:
    """A client of one connection, made when it is first used; ``errors``: those that redis-py takes for a lost connection."""
    host, port = address
    chosen = {name: value for name, value in settings.items() if value != ""}
    return redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0, supported_errors=errors), max_connections=1, **chosen)


def shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are printed: without the password."""
    return {**settings, "password": "(set)" if settings["password"] else ""}


def version() -> str:
    """redis-py and what parses its replies: hiredis, where that is installed."""
    try:
        import hiredis  # noqa: PLC0415  # redis-py does without it, more slowly: a gate may ask what that costs
    except ModuleNotFoundError:
        return f"redis {redis.__version__}, no hiredis"
    return f"redis {redis.__version__}, hiredis {hiredis.__version__}"


@contextlib.contextmanager
def translated(wiring: Wiring) -> Iterator[None]:
    """The one place where redis-py's errors, and those of sockets, become ours."""
    where = wiring["servers"][0]
    try:
        yield
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise Refused(f"Redis at {where} refused: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError, Lost) as error:
        raise Unreachable(f"no Redis answers at {where}: {error}") from error


class Connection:
    """The one connection of a client: tells of its losses, and of each time that redis-py makes it anew by itself."""

    def __init__(self, client: redis.Redis, told: Callable[[], None] | None = None) -> None:
        self.events: list[Event] = []
        self.down = False
        self._told = told
        # The pool hands out this one connection for ever; its callback tells of each reconnect, also of silent ones.
        self._connection: Any = client.connection_pool.get_connection()
        self._connection.register_connect_callback(self._reconnected)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        client.connection_pool.release(self._connection)

    def _reconnected(self, connection: Any) -> None:
        del connection
        self.down = False
        self.events.append(Event("reconnected", "redis-py opened a new connection"))
        if self._told is not None:
            self._told()

    def lost(self, error: Exception) -> None:
        """Note, once, that it is gone; what is still to come on it would answer the wrong question."""
        self._connection.disconnect()
        if not self.down:
            self.events.append(Event("closed", str(error)))
        self.down = True

    def again(self) -> None:
        """Try to connect; where it fails the connection stays down."""
        with contextlib.suppress(redis.RedisError, OSError):
            self._connection.connect()

    def taken(self) -> list[Event]:
        """Return the events since the last call."""
        found, self.events = self.events, []
        return found

    def close(self) -> None:
        """Close it."""
        self._connection.disconnect()


class PipelinedProducer(ABC):
    """Commands in pipelines of at most a batch, as redis-py documents them: send() is one round trip.

    The client is synchronous, so send() ends within ``socket_timeout`` even where a time-out of 0 was asked for, and
    leaves nothing outstanding.
    """

    def __init__(self, client: redis.Redis, outcomes: Outcomes, batch: int) -> None:
        self._client = client
        self._outcomes = outcomes
        self._batch = batch
        self._waited_s = 0.0
        self._closed = False
        self._connection = Connection(client)
        self._connection.events.append(Event("ready"))

    @abstractmethod
    def _enqueue(self, pipeline: Any, block: Block, lo: int, hi: int) -> None:
        """Put one command a row into the pipeline. Raises Refused for what is too large."""

    @abstractmethod
    def _report(self, first_id: int, replies: Sequence[Any]) -> None:
        """Report the outcomes of messages first_id, first_id + 1, ... from their replies."""

    def ready(self, timeout_s: float) -> bool:
        """True when the server answers a PING; the client's own time-out holds."""
        del timeout_s
        try:
            return bool(self._client.ping())
        except (redis.RedisError, OSError) as error:
            self._connection.lost(error)
            return False

    def room(self) -> int:
        """A batch, or nothing while the server is known to be away."""
        return 0 if self._connection.down or self._closed else self._batch

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """One pipeline, at most a batch; its outcomes are reported before it returns. Raises Refused when too long."""
        del timeout_s, group
        pipeline = self._client.pipeline(transaction=False)
        count = min(hi - lo, self.room())
        self._enqueue(pipeline, block, lo, lo + max(count, 0))
        if count <= 0:
            return 0
        first = block.first_id + lo
        try:
            replies = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            # Some of it may have been executed: the replies that are missing cannot say.
            self._connection.lost(error)
            self._outcomes.run(first, count, Status.INDETERMINATE)
            return count
        self._report(first, replies)
        return count

    def pump(self, timeout_s: float) -> None:
        """A plain wait, for nothing is outstanding; tries to reconnect every 0.1 s of it while the server is away."""
        if self._connection.down and not self._closed:
            self._waited_s += timeout_s
            if self._waited_s >= RECONNECT_S:
                self._waited_s = 0.0
                self._connection.again()
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """0: send() waits for its replies."""
        del timeout_s
        return 0

    def events(self) -> Sequence[Event]:
        """Connections lost and made again."""
        return self._connection.taken()

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        self._client.close()
        self._connection.close()
