"""What has no broker to fall back on: peers that come and go, taken ports, strangers on the line, what is lost with whom."""

import socket
import struct
import time

import pytest
from harness import Case, Rows, assert_delivered, id_of, topology

import adapters
from adapters.errors import BadSetting, Refused, Unreachable

SYSTEMS = ("tcp", "zeromq")


def case(system):
    return Case(system, adapters.load(system), [])


def until(condition, seconds=20.0):
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen"
        time.sleep(0.01)


def send_for_ever(producer, block):
    for _ in range(1000):
        producer.send(block, 0, block.count, 0.01, 0)
    raise AssertionError("nobody receives, and send() goes on taking messages")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_port_that_is_taken_is_named(system):
    with case(system).stand(topology()) as stand:
        stand.add_reader()
        with pytest.raises(Refused, match="in use"):
            stand.adapter.consumer(stand.wiring, "g0", 0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_group_that_was_not_wired_is_refused(system):
    with case(system).stand(topology()) as stand, pytest.raises(Refused, match="no group 'audit'"):
        stand.adapter.consumer(stand.wiring, "audit", 0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_wiring_gives_every_member_a_port_of_its_own(system):
    adapter = case(system).adapter()
    wirings = [adapter.wire(topology(groups=3, members=2), f"r{i}") for i in range(5)]
    places = [str(member) for wiring in wirings for group in wiring["groups"] for member in group["members"]]
    assert len(set(places)) == 30


@pytest.mark.parametrize("system", SYSTEMS)
def test_members_take_turns(system):
    with case(system).stand(topology(members=3)) as stand:
        stand.open()
        block = Rows(300, 64)
        stand.send([block], batch=10)
        stand.receive(300)
        assert_delivered(stand, [block])
        assert [reader.messages for reader in stand.readers] == [100, 100, 100]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_slow_group_holds_nobody_else_up(system):
    """One group does not read at all: the other still gets all that was accepted for it."""
    with case(system).stand(topology(groups=2), payload_bytes_max=4096) as stand:
        stand.open()
        block = Rows(4000, 4096)
        at = [0, 0]
        until_s = time.monotonic() + 20
        while at[1] < 4000 and time.monotonic() < until_s:
            for group in (0, 1):
                at[group] += stand.producers[0].send(block, at[group], min(4000, at[group] + 100), 0, group)
            stand.producers[0].pump(0)
            stand.readers[1].poll(1000, 0.001)

        def all_read():
            stand.producers[0].pump(0)  # finishes a frame that the kernel took in part
            return stand.readers[1].poll(1000, 0.01) is None and stand.readers[1].messages == 4000

        until(all_read)
        assert at[0] < 4000, "nothing held the group back that does not read"


def test_zeromq_tells_when_a_peer_goes_and_comes_back():
    with case("zeromq").stand(topology()) as stand:
        stand.open()
        producer, first = stand.producers[0], stand.readers.pop()
        first.consumer.close()
        kinds = []
        until(lambda: kinds.extend(event.kind for event in producer.events()) or "closed" in kinds)
        assert not producer.ready(0.05)
        stand.add_reader()
        assert producer.ready(20.0)
        kinds += [event.kind for event in producer.events()]
        assert kinds[-2:] == ["closed", "reconnected"]
        block = Rows(50, 64)
        stand.send([block])
        stand.receive(50)
        assert_delivered(stand, [block])


def test_zeromq_stops_at_the_high_water_mark():
    """No peer at all: exactly SNDHWM messages are accepted for each member, then none; close() waits LINGER and no longer."""
    with case("zeromq").stand(topology(), settings={"sndhwm": "700", "linger": "100"}) as stand:
        producer = stand.adapter.producer(stand.wiring, 0, None)
        block = Rows(1000, 64)
        assert producer.send(block, 0, 512, 0, 0) == 512
        assert producer.send(block, 512, 1000, 0, 0) == 188
        before_s = time.monotonic()
        assert producer.send(block, 700, 1000, 0.05, 0) == 0
        assert time.monotonic() - before_s >= 0.05
        producer.close()
        assert time.monotonic() - before_s < 2.0


def test_zeromq_immediate_accepts_nothing_without_a_peer():
    with case("zeromq").stand(topology(), settings={"immediate": "1"}) as stand:
        producer = stand.adapter.producer(stand.wiring, 0, None)
        try:
            assert producer.send(Rows(10), 0, 10, 0, 0) == 0
        finally:
            producer.close()


@pytest.mark.parametrize("settings", [{"io_threads": "0"}, {"sndhwm": "-5"}, {"linger": "soon"}, {"rcvhwn": "10"}])
def test_zeromq_refuses_settings_by_name(settings):
    with pytest.raises(BadSetting, match=next(iter(settings))):
        case("zeromq").adapter(settings=settings)


def test_zeromq_says_what_is_in_force():
    adapter = case("zeromq").adapter(settings={"rcvhwm": "12"})
    assert adapter.effective()["consumer"]["rcvhwm"] == 12
    assert adapter.effective()["producer"]["linger"] == 2000
    assert "compiled" in Case("zeromq", adapters.load("zeromq"), [], profile="tuned").adapter().effective()["producer"]["api"]


def test_tcp_tells_when_its_last_peer_is_gone():
    with case("tcp").stand(topology()) as stand:
        stand.open()
        stand.readers.pop().consumer.close()
        with pytest.raises(Unreachable, match="group 0"):
            send_for_ever(stand.producers[0], Rows(100, 1024))
        assert [event.kind for event in stand.producers[0].events()][-1:] == ["closed"]
        assert not stand.producers[0].ready(0.05)


def test_tcp_goes_on_with_the_members_that_are_left():
    with case("tcp").stand(topology(members=2)) as stand:
        stand.open()
        stand.readers.pop(0).consumer.close()
        producer = stand.producers[0]
        lost = []
        first = 0
        while not lost:  # until the socket tells
            producer.send(Rows(10, 64, first=first), 0, 10, 0.01, 0)
            lost = [event for event in producer.events() if event.kind == "closed"]
            first += 10
        block = Rows(100, 64, first=first)
        stand.send([block], batch=10)
        reader = stand.readers[0]
        until(lambda: reader.poll() is None and reader.messages >= 100)
        got = [id_of(payload) for payload in reader.payloads()]
        assert [message_id for message_id in got if message_id >= first] == list(block.ids)


@pytest.mark.parametrize(
    "nonsense", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("<II", 0, 5), struct.pack("<II", 64, 0), struct.pack("<II", 64, 3) + b"x"]
)
def test_tcp_outlives_a_stranger(nonsense):
    """Bytes that are no frame close that connection, are told, and disturb nobody else."""
    with case("tcp").stand(topology()) as stand:
        stand.open()
        host, port = stand.wiring["groups"][0]["members"][0]
        with socket.create_connection((host, port), timeout=5) as stranger:
            stranger.sendall(nonsense)
        block = Rows(100, 64)
        stand.send([block])
        stand.receive(100)
        assert_delivered(stand, [block])
        assert "closed" in [event.kind for event in stand.readers[0].events]


def test_tcp_finishes_a_frame_that_the_kernel_took_in_part():
    """Messages larger than the socket's buffer: a row goes out piece by piece, by pump() alone."""
    with case("tcp").stand(topology(), settings={"sndbuf": "8192", "rcvbuf": "8192"}) as stand:
        stand.open()
        block = Rows(3, 3 << 20)
        sent = 0
        while sent < 3:
            sent += stand.producers[0].send(block, sent, 3, 0, 0)
            stand.producers[0].pump(0.001)
            stand.readers[0].poll(10, 0.001)
        until(lambda: (stand.producers[0].pump(0.001), stand.readers[0].poll(10, 0.001)) and stand.readers[0].messages == 3)
        assert_delivered(stand, [block])
