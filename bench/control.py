"""The control protocol between the runner and its endpoints: one JSON object a line over TCP, versioned.

Runner to endpoint: {"do": "state" | "canaries" | "prepare" | "go" | "progress" | "stop" | "report" | "quit", ...}; where a trial has
faults, to consumers also "slow" (another processing time) and "leave" (finish, close, say "left"), and to a producer that was started
again in place of a killed one "prepare" with its epoch, the trial's first id and how many messages were attempted before.
Endpoint to runner: {"is": "hello" | "state" | "prepared" | "progress" | "done" | "report" | "left" | "failed", ...}.
End of file or a reset ends either side. Evidence goes by file, never through here; no shared folder is assumed.
"""

from __future__ import annotations

import json
import select
import socket
from typing import Any

from bench.clock import now_ns

PROTOCOL = 1
Message = dict[str, Any]


class Closed(ConnectionError):
    """The other side has gone."""


class Channel:
    """One connection. Reading never blocks longer than asked; writing blocks (messages are small)."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sock = sock
        self._buffer = b""
        self._kept: list[Message] = []

    def send(self, message: Message) -> None:
        """Send one message; Closed when the other side has gone."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            self.sock.settimeout(30.0)
            self.sock.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error
        finally:
            self.sock.setblocking(False)

    def receive(self, timeout_s: float = 0.0) -> list[Message]:
        """Return the messages that are there, waiting at most ``timeout_s`` for the first; Closed at end of file."""
        if timeout_s > 0 and not select.select([self.sock], [], [], timeout_s)[0]:
            return []
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of file")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def expect(self, kinds: tuple[str, ...], timeout_s: float) -> Message | None:
        """Return the first message whose "is" is one of ``kinds``, keeping others for later; None after ``timeout_s``.

        What has arrived is looked at in any case: 0 s does not wait.
        """
        deadline = now_ns() + int(timeout_s * 1e9)
        looked = False
        while True:
            for i, message in enumerate(self._kept):
                if message.get("is") in kinds:
                    return self._kept.pop(i)
            left = deadline - now_ns()
            if left <= 0 and looked:
                return None
            looked = True
            self._kept += self.receive(max(left, 0) / 1e9)

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()
