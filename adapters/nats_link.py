"""A connection of nats-py for the adapter of NATS: its event loop, its settings, its errors, what it tells.

nats-py lives on an event loop, which runs here only inside the calls of the contract: so what arrives meanwhile waits in the kernel's
buffers and in the server. It reconnects by itself, as often as max_reconnect_attempts says; each loss and each return is an event. The
first connection is tried once.
Source: https://nats-io.github.io/nats.py/modules.html
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from adapters.base import Event, Wiring
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.options import Value

TURNS = 3  # of the event loop, from bytes that are there to a callback: read, take apart, call
CLOSE_S = 2.0

# connect()'s own parameters and defaults. The last three: "" = none.
CONNECT: dict[str, Value] = {
    "connect_timeout": 2.0,
    "reconnect_time_wait": 2.0,
    "max_reconnect_attempts": 60,
    "ping_interval": 120.0,
    "max_outstanding_pings": 2,
    "pending_size": 2 << 20,
    "user": "",
    "password": "",
    "token": "",
}
SECRET = ("user", "password", "token")


@contextlib.contextmanager
def translated(wiring: Wiring) -> Iterator[None]:
    """The one place where nats-py's errors, and those of sockets, become ours."""
    where = wiring["servers"][0]
    try:
        yield
    except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError, nats.js.errors.NoStreamResponseError) as error:
        raise Refused(f"NATS at {where} answers, and JetStream does not: start the server with -js ({error})") from error
    except (nats.errors.TimeoutError, TimeoutError, nats.errors.NoServersError, OSError) as error:
        raise Unreachable(f"no NATS server answers at {where}: {error or type(error).__name__}") from error
    except nats.errors.Error as error:
        raise Refused(f"NATS at {where} refused: {error}") from error


class Link:
    """A connection of nats-py on an event loop of its own, which runs only in run() and serve()."""

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any]) -> None:
        """Connects; raises Unreachable, Refused."""
        address = str(wiring["servers"][0])
        if not address.rpartition(":")[2].isdigit():
            raise BadSetting(f"nats: server address {address!r} is not host:port")
        self.settings = settings
        self.client = Client()
        self.closed = False
        self.on_loss: Callable[[], None] = lambda: None
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, told: self.note(str(told.get("exception") or told["message"])))
        self._events: list[Event] = []
        self._noted: dict[str, int] = {}  # what went wrong, in words -> how often
        self._last = ""  # error, for the event that says that the connection is gone
        self._made = False
        self._serving = False
        with self.or_closed(wiring):
            self.run(self._connect(address))
        self._made = True
        self._events.append(Event("ready"))

    async def _connect(self, address: str) -> None:
        chosen: dict[str, Any] = {name: self.settings[name] for name in CONNECT if self.settings[name] != ""}
        chosen |= {"error_cb": self._failed, "disconnected_cb": self._gone, "reconnected_cb": self._back, "closed_cb": self._ended}
        await self.client.connect(f"nats://{address}", **chosen)

    @contextlib.contextmanager
    def or_closed(self, wiring: Wiring) -> Iterator[None]:
        """For what is opened on it: errors are ours, and leave no connection behind."""
        try:
            with translated(wiring):
                yield
        except BaseException:
            self.close()
            raise

    # ---- what nats-py tells

    async def _failed(self, error: Exception) -> None:
        if not self._made:
            raise error  # else nats-py would go on trying for two minutes
        self._last = str(error) or type(error).__name__
        if isinstance(error, nats.errors.SlowConsumerError):
            self.note("dropped by nats-py: the limit of pending messages is reached")
        elif not isinstance(error, OSError | nats.errors.StaleConnectionError | nats.errors.TimeoutError):  # "closed" tells those
            self.note(self._last)

    async def _gone(self) -> None:
        if not self.closed:
            self._events.append(Event("closed", self._last or "the connection is gone"))
            self.on_loss()

    async def _back(self) -> None:
        self._events.append(Event("reconnected", "nats-py connected anew and subscribed again"))

    async def _ended(self) -> None:
        if not self.closed:
            self.note(f"nats-py has given up: {self._last or self.client.last_error}")

    def note(self, text: str) -> None:
        """Keep an error for events()."""
        self._noted[text] = self._noted.get(text, 0) + 1

    def events(self) -> Sequence[Event]:
        """What came since the last call; errors of one kind in one."""
        noted, self._noted = self._noted, {}
        events, self._events = self._events, []
        return [*events, *(Event("error", f"{count} x {text}") for text, count in noted.items())]

    # ---- running it

    @property
    def up(self) -> bool:
        """Whether what is published now goes out."""
        return not self.closed and self.client.is_connected

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run until ``work`` is done."""
        return self._loop.run_until_complete(work)

    def serve(self, timeout_s: float) -> None:
        """Run until stop() or until the time is up; with 0 s do what can be done at once."""
        if self.closed:
            time.sleep(timeout_s)
        elif timeout_s <= 0:
            self.run(_turned())
        else:
            timer = self._loop.call_later(timeout_s, self._loop.stop)
            self._serving = True
            self._loop.run_forever()
            self._serving = False
            timer.cancel()

    def stop(self) -> None:
        """End serve(), from within the loop; nothing while run() is what goes on."""
        if self._serving:
            self._loop.stop()

    def soon(self, done: Callable[[], None]) -> None:
        """Call when the loop has done what it is at."""
        self._loop.call_soon(done)

    def close(self) -> None:
        """Close the connection, after what was published has gone out, and the loop. Idempotent."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(Exception):  # it is gone, or does not move: nothing is waited for twice
            self.run(asyncio.wait_for(self.client.close(), CLOSE_S))
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(asyncio.wait(tasks, timeout=CLOSE_S))
        self._loop.close()


async def _turned() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
