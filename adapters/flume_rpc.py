"""Flume's Thrift service over sockets that never block: thriftpy2's protocol and framing, with select(2) left to the caller.

thriftpy2's own client and server block a thread for each call. Here a call is written as far as the socket takes it, and read when
it is there whole, so that one thread can wait for a deadline, for a reply and for other connections at a time.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import thriftpy2
from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.protocol.cybin import ProtocolError
from thriftpy2.thrift import TApplicationException, TException, TMessageType
from thriftpy2.transport import TCyFramedTransport

IDL: Any = thriftpy2.load(str(Path(__file__).with_name("flume.thrift")), module_name="flume_thrift")
OK, FAILED = int(IDL.Status.OK), int(IDL.Status.FAILED)
STATUS_NAMES = ("OK", "FAILED", "ERROR", "UNKNOWN")

LENGTH_BYTES = 4  # before each frame, big-endian
FRAME_BYTES_MAX = 1 << 30  # a sink's call: batch-size times the largest message; what says more is no frame
RECEIVE_BYTES = 1 << 18


class Gone(Exception):
    """The connection has ended, or what came is no call of this service; the text says which."""


class Line:
    """One connection: whole frames in, frames out as far as the socket takes them. It is thriftpy2's "transport" underneath."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._in = bytearray()
        self._left = 0  # bytes of the frame that is being read
        self.frame = b""  # the last that was written, to write it again
        self.rest = memoryview(b"")  # of it, what the socket has not taken
        self.protocol = TCyBinaryProtocol(TCyFramedTransport(self))

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def receive(self) -> None:
        """One read, as much as there is. Raises Gone at the end of the connection."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone(error.strerror or str(error)) from error
        if not data:
            raise Gone("the other side closed the connection")
        self._in += data

    def whole(self) -> bool:
        """Whether a whole frame is there. Raises Gone where what came is none."""
        if len(self._in) < LENGTH_BYTES:
            return False
        length = int.from_bytes(self._in[:LENGTH_BYTES], "big")
        if not 0 < length <= FRAME_BYTES_MAX:
            raise Gone(f"what came is no Thrift frame: a length of {length:,} bytes")
        self._left = LENGTH_BYTES + length
        return len(self._in) >= self._left

    def push(self) -> None:
        """Go on with what the socket has not taken. Raises Gone."""
        try:
            while self.rest:
                self.rest = self.rest[self._socket.send(self.rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone(error.strerror or str(error)) from error

    def again(self) -> None:
        """Write the last frame once more. Raises Gone."""
        self.write(self.frame)

    # What TCyFramedTransport calls.

    def write(self, data: bytes) -> None:
        """One whole frame. Raises Gone."""
        self.frame = data
        self.rest = memoryview(data)
        self.push()

    def flush(self) -> None:
        """Nothing: write() has done what can be done."""

    def read(self, count: int) -> bytes:
        """Of the frame that whole() has found."""
        taken = bytes(self._in[: min(count, self._left)])
        del self._in[: len(taken)]
        self._left -= len(taken)
        return taken

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


class Call(NamedTuple):
    """What a sink asks for."""

    name: str  # "append", "appendBatch"
    number: int  # Thrift's sequence id
    bodies: list[bytes]


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Whatever thriftpy2 makes of bytes that are no message of this service becomes Gone."""
    try:
        yield
    except TApplicationException as error:
        raise Gone(f"the agent refused the call: {error.message}") from error
    except (ProtocolError, TException, AttributeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise Gone(f"what came is no message of Flume's Thrift service: {error!r}") from error


def send_batch(line: Line, rows: Sequence[bytes]) -> None:
    """Call appendBatch; read_status() has the answer once line.whole(). Raises Gone."""
    event = IDL.ThriftFlumeEvent
    protocol = line.protocol
    protocol.write_message_begin("appendBatch", TMessageType.CALL, 0)
    IDL.ThriftSourceProtocol.appendBatch_args(events=[event(headers={}, body=row) for row in rows]).write(protocol)
    protocol.write_message_end()
    protocol.trans.flush()


def read_status(line: Line) -> int:
    """The answer to a call, whose frame is there whole. Raises Gone."""
    protocol = line.protocol
    with _understood():
        _, kind, _ = protocol.read_message_begin()
        if kind == TMessageType.EXCEPTION:
            refused = TApplicationException()
            refused.read(protocol)
            protocol.read_message_end()
            raise refused
        result = IDL.ThriftSourceProtocol.appendBatch_result()
        result.read(protocol)
        protocol.read_message_end()
        return int(result.success)


def read_call(line: Line) -> Call:
    """What the sink asks for; its frame is there whole. Raises Gone."""
    protocol = line.protocol
    with _understood():
        name, _, number = protocol.read_message_begin()
        arguments = getattr(IDL.ThriftSourceProtocol, f"{name}_args")()
        arguments.read(protocol)
        protocol.read_message_end()
        events = arguments.events if name == "appendBatch" else [arguments.event]
        return Call(name, number, [event.body for event in events])


def reply(line: Line, call: Call, status: int) -> None:
    """Answer a call. Raises Gone."""
    protocol = line.protocol
    protocol.write_message_begin(call.name, TMessageType.REPLY, call.number)
    getattr(IDL.ThriftSourceProtocol, f"{call.name}_result")(success=status).write(protocol)
    protocol.write_message_end()
    protocol.trans.flush()
