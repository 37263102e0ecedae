"""Which sockets a process holds, seen from outside."""

import os
import socket
from pathlib import Path

from bench import sockets

A, B, C, D = (f"socket:[{number}]" for number in range(4))


def test_a_socket_is_seen_while_it_is_open_and_another_is_another():
    before = sockets.of(os.getpid())
    with socket.socket() as one:
        held = sockets.of(os.getpid())
        assert len(held - before) == 1
        assert str(Path(f"/proc/self/fd/{one.fileno()}").readlink()) in held
    with socket.socket():
        after = sockets.of(os.getpid())
    assert sockets.replaced(held, after) == 1
    assert sockets.of(os.getpid()) == before


def test_a_process_that_is_gone_has_none():
    assert sockets.of(2**22 + 1) == frozenset()


def test_only_what_took_the_place_of_another_counts():
    held = frozenset({A, B})
    assert sockets.replaced(held, held) == 0
    assert sockets.replaced(held, held | {C}) == 0, "a connection more"
    assert sockets.replaced(held, frozenset({A})) == 0, "one fewer"
    assert sockets.replaced(held, frozenset({A, C})) == 1
    assert sockets.replaced(held, frozenset({C, D})) == 2


def test_who_said_nothing_is_named_and_who_was_started_anew_is_not():
    before = {("producer-0", 7): frozenset({A}), ("consumer-a-0", 8): frozenset({B}), ("consumer-b-0", 9): frozenset({C})}
    after = {("producer-0", 7): frozenset({D}), ("consumer-a-0", 8): frozenset({D}), ("consumer-b-0", 10): frozenset({D})}
    assert sockets.unannounced(before, after, ()) == {"producer-0": 1, "consumer-a-0": 1}
    assert sockets.unannounced(before, after, ["consumer-a-0"]) == {"producer-0": 1}
