"""One connection of RabbitMQ's stream protocol by rstream's Client, on an event loop that turns only while its owner waits.

rstream's Producer and Consumer connect again and look for leaders by tasks of their own; what the harness is to hear of would be theirs.
Their Client has the whole protocol and none of that. It is asyncio, so each link has a loop of its own and no thread: a turn of it costs
some 30 us, whatever it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from rstream import exceptions, schema
from rstream.client import Client
from rstream.connection import ConnectionClosed

from adapters.base import Event, Wiring
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable
from adapters.ports import LOOPBACK

CONNECT_S = 10.0
CLOSE_S = 2.0
RECONNECT_S = 0.5
PORT = 5552  # of rabbitmq-stream://HOST
STEPS = 3  # iterations of the loop from bytes in the socket to a frame's handler: those of reader, listener, subscription
_REFUSALS = (
    exceptions.AuthenticationFailure,
    exceptions.SASLError,
    exceptions.SASLAuthenticationFailureLoopback,
    exceptions.VirtualHostAccessFailure,
    exceptions.AccessRefused,
)

# What becomes of a connection is told by events; rstream would write it to standard error besides, with a traceback.
logging.getLogger("rstream").addHandler(logging.NullHandler())
logging.getLogger("rstream").propagate = False


def parts_of(server: str) -> tuple[str, int, str, str, str]:
    """Host, port, user, password and virtual host of ``host:port`` (guest/guest, as RabbitMQ allows on loopback) or rabbitmq-stream://..."""
    try:
        url = urllib.parse.urlsplit(server if "://" in server else f"rabbitmq-stream://{server}")
        host, port = url.hostname or LOOPBACK, url.port or PORT
    except ValueError as error:
        raise BadSetting(f"RabbitMQ stream server {shown([server])!r}: {error}") from error
    user, password, vhost = map(urllib.parse.unquote, (url.username or "guest", url.password or "guest", url.path[1:] or "/"))
    return host, port, user, password, vhost


def shown(servers: Sequence[str]) -> str:
    """Addresses for a message, without user and password."""
    return ", ".join(server.rpartition("@")[2] for server in servers)


@contextlib.contextmanager
def translated(servers: Sequence[str]) -> Iterator[None]:
    """The one place where rstream's errors become ours."""
    try:
        yield
    except AdapterError:
        raise
    except _REFUSALS as error:
        raise Refused(f"RabbitMQ at {shown(servers)} refuses this user or virtual host: {_name(error)}") from error
    except exceptions.ServerError as error:
        raise Refused(f"RabbitMQ at {shown(servers)} says: {_name(error)}") from error
    except (OSError, ConnectionClosed, exceptions.LeaderNotAvailable, AssertionError) as error:  # asyncio's time-outs are OSErrors
        raise Unreachable(f"no RabbitMQ stream listener answers at {shown(servers)}: {error!r}") from error


def _name(error: BaseException) -> str:
    """Rstream raises the class of a response code, without words: StreamDoesNotExist."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def connected(
    server: str, settings: Mapping[str, Any], set_up: Callable[[Client], Coroutine[Any, Any, Any]]
) -> tuple[Client, asyncio.Future[str]]:
    """A client that is authenticated and set up, within CONNECT_S, and the reason for which its connection was lost, once it is.

    Raises what rstream raises.
    """
    host, port, user, password, vhost = parts_of(server)
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def closed(info: Any) -> None:
        if not gone.done():
            gone.set_result(str(info.reason))

    async def work() -> None:
        await client.start()
        await client.authenticate(vhost, user, password)
        await set_up(client)

    client = Client(
        host,
        port,
        frame_max=settings["frame_max"],
        heartbeat=settings["heartbeat"],
        connection_name="brokerbench",
        connection_closed_handler=closed,
    )
    client.add_stream("any")  # rstream tells of lost connections only of those that have streams
    working = asyncio.ensure_future(work())
    try:
        # Who waits for an answer of a connection that is gone would wait for rstream's time-out.
        either: set[asyncio.Future[Any]] = {working, gone}
        await asyncio.wait(either, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        _finished(working, gone)
    except BaseException:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await client.close()
        raise
    return client, gone


def _finished(working: asyncio.Task[None], gone: asyncio.Future[str]) -> None:
    """Raise what a work raised, or why it is not done."""
    if not working.done():
        raise ConnectionClosed(gone.result() if gone.done() else f"no answer within {CONNECT_S:g} s")
    working.result()


def once(wiring: Wiring, settings: Mapping[str, Any], work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    """What ``work`` gives on a connection to the first server that answers. Raises Unreachable, Refused."""
    servers = wiring["servers"]

    async def run() -> Any:
        last: BaseException = OSError("no address")
        for server in servers:
            try:
                client, _ = await connected(server, settings, _nothing)
            except (OSError, ConnectionClosed) as error:
                last = error
                continue
            try:
                return await work(client)
            finally:
                await client.close()
        raise last

    with translated(servers):
        return asyncio.run(run())


async def _nothing(_: Client) -> None:
    """Set nothing up."""


class Link:
    """A connection that comes back: lost, it tries the next server of the list every RECONNECT_S; "closed" and "reconnected" are events."""

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any]) -> None:
        self._servers: Sequence[str] = wiring["servers"]
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._client: Any = None  # set while everything works, else None
        self._tasks: set[asyncio.Task[Any]] = set()  # asyncio itself holds tasks weakly
        self._events: list[Event] = []
        self._attempt = 0
        self._turning = False
        self._steps = 0
        self._closed = False
        try:
            with translated(self._servers):
                self._loop.run_until_complete(self._first())
        except BaseException:
            self.close()
            raise
        self._events.append(Event("ready"))

    # What a producer and a consumer do differently.
    async def _set_up(self, client: Client) -> None:
        """Declare and subscribe on a new connection."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Forget what belonged to the lost connection."""
        raise NotImplementedError

    async def _first(self) -> None:
        last: BaseException = OSError("no address")
        for _ in self._servers:
            try:
                self._client = await self._open()
            except (OSError, ConnectionClosed) as error:
                last = error
            else:
                return
        raise last

    async def _open(self) -> Client:
        server = self._servers[self._attempt % len(self._servers)]
        self._attempt += 1

        client, gone = await connected(server, self._settings, self._set_up)
        gone.add_done_callback(lambda reason: self._lost(client, reason.result()))
        client.add_handler(schema.MetadataUpdate, lambda frame: self._on_metadata_update(client, frame), name="link")
        client.start_task("silence", self._watch(client))
        return client

    def _on_metadata_update(self, client: Client, frame: schema.MetadataUpdate) -> None:
        """The stream has another leader, or none: the server has dropped what this connection had declared of it."""
        self._lost(client, f"stream {frame.metadata_info.stream} moved (code {frame.metadata_info.code})")

    async def _watch(self, client: Client) -> None:
        """Give up a server that has been silent for two heartbeats: rstream only logs it."""
        every_s = client._heartbeat  # noqa: SLF001  # what both sides agreed on, which rstream does not tell otherwise

        def silent() -> bool:
            """Nothing came: heartbeats do only while nothing else does."""
            return bool(self._loop.time() - client._last_heartbeat > 2 * every_s)  # noqa: SLF001  # as above

        while every_s:
            await asyncio.sleep(every_s / 2)
            if silent():
                await asyncio.sleep(every_s / 2)  # where this process stood still, what came meanwhile is read first
                if silent():
                    self._lost(client, f"nothing was heard for {2 * every_s} s")
                    return

    def _lost(self, client: Client, reason: str) -> None:
        if self._client is not client:
            return  # it is known already
        self._client = None
        for kind in (schema.PublishConfirm, schema.PublishError, schema.Deliver, schema.MetadataUpdate):
            client.remove_handler(kind)  # it may still be open, and what it says now is of publishers and readers that are given up
        self._events.append(Event("closed", reason))
        self._reset()
        self._start(self._end(client))
        self._start(self._again())
        self._wake()

    async def _end(self, client: Client) -> None:
        await client.stop_task("silence")
        with contextlib.suppress(Exception):  # it is gone, or says so in one of many ways: then there is nothing to close
            await client.close()

    async def _again(self) -> None:
        while self._client is None:
            await asyncio.sleep(RECONNECT_S)
            try:
                self._client = await self._open()
            except (OSError, ConnectionClosed, exceptions.ServerError, exceptions.ClientError):
                continue  # not yet, or not this one
            except Exception as error:  # noqa: BLE001  # rstream asserts and decodes: a task that ended here would never come back
                self._events.append(Event("error", f"rstream: {error!r}"))
        self._events.append(Event("reconnected", shown([self._servers[(self._attempt - 1) % len(self._servers)]])))
        self._wake()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:  # a frame to a connection that has just gone
            self._events.append(Event("error", f"rstream: {task.exception()!r}"))

    def _wake(self) -> None:
        """Something came that a turn waits for."""
        if self._turning:
            self._loop.stop()

    def _turn(self, timeout_s: float) -> None:
        """Serve the connection until something came, ``timeout_s`` seconds at most (whole milliseconds, rounded up); 0: what is there."""
        loop, timer = self._loop, None
        if timeout_s > 0:
            timer = loop.call_later(timeout_s, loop.stop)
        else:
            self._steps = STEPS
            loop.call_soon(self._step)
        self._turning = timeout_s > 0
        loop.run_forever()
        self._turning = False
        if timer is not None:
            timer.cancel()

    def _step(self) -> None:
        self._steps -= 1
        if self._steps:
            self._loop.call_soon(self._step)
        else:
            self._loop.stop()

    def _until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serve the connection until ``done`` or ``timeout_s`` seconds are over; at least one turn where it is not done yet."""
        until_s = self._loop.time() + timeout_s
        while not done():
            left_s = until_s - self._loop.time()
            self._turn(max(left_s, 0.0))
            if left_s <= 0:
                break
        return done()

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def close(self) -> None:
        """End the connection, within CLOSE_S and a little. Idempotent."""
        if self._closed:
            return
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(TimeoutError):
                self._loop.run_until_complete(asyncio.wait_for(self._end(client), CLOSE_S))
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()
