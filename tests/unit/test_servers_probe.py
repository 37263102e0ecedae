"""The protocol probes against what is no such server. (Against real ones: tests/integration/test_servers.py.)"""

from __future__ import annotations

import socket
import threading

import pytest

from bench.servers import probe

ASK = {
    "kafka": lambda port: probe.kafka_metadata("127.0.0.1", port, 1.0),
    "amqp": lambda port: probe.amqp_start("127.0.0.1", port, 1.0),
    "redis": lambda port: probe.redis_info("127.0.0.1", port, 1.0),
    "sqs": lambda port: probe.sqs_list_queues(f"http://127.0.0.1:{port}", 1.0),
}


@pytest.fixture
def answering():
    """answering(data): the port of a server that reads a little, writes ``data`` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        replies: list[bytes] = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(replies[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def port(data):
            replies[:] = [data]
            return listener.getsockname()[1]

        yield port
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("system", sorted(ASK))
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"AMQP\0\0\x09\x01",
        b"-NOAUTH Authentication required.\r\n",
        b"\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x05",
        b"\x01\x00\x00\x00\x00\x00\x06\x00\x0a\x00\x0a\x00\x09",
        b"\x7f" * 64,
    ],
)
def test_what_is_no_such_server_is_told_as_an_error_that_callers_know(answering, system, data):
    with pytest.raises((OSError, ValueError)):
        ASK[system](answering(data))


@pytest.mark.parametrize("system", sorted(ASK))
def test_nobody_there(system):
    with pytest.raises(OSError, match="refused"):
        ASK[system](1)


def test_a_refusal_is_quoted(answering):
    with pytest.raises(ValueError, match="NOAUTH Authentication required"):
        probe.redis_info("127.0.0.1", answering(b"-NOAUTH Authentication required.\r\n"), 1.0)
