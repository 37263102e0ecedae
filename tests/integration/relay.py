"""A TCP relay between a client and a real server, for what a server does not do on request: half an answer, no answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """Forwards 127.0.0.1:port to a server. ``budget`` = bytes of answers that may still pass; None = all."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._changed = threading.Condition()
        self._budget: int | None = None
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        with suppress(OSError):  # one side is gone, or cut() closed both
            while data := source.recv(65536):
                while data:
                    part = self._allowed(data) if limited else data
                    sink.sendall(part)
                    data = data[len(part) :]
            sink.shutdown(socket.SHUT_WR)

    def _allowed(self, data: bytes) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._budget != 0, 60)
            if self._budget is None:
                return data
            part = data[: self._budget]
            self._budget -= len(part)
            return part

    def allow(self, answer_bytes: int | None) -> None:
        """From now on so many more bytes of answers pass, then none; None = all, also what was held back."""
        with self._changed:
            self._budget = answer_bytes
            self._changed.notify_all()

    def cut(self) -> None:
        """Closes every connection; answers that were held back are gone."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def refuse(self) -> None:
        """Takes no more connections, and closes those there are."""
        with suppress(OSError):  # wakes accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)
        self.cut()
