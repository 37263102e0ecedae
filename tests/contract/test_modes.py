"""The modes besides each system's first: they carry, in the order and with the outcomes that their own capabilities promise."""

from __future__ import annotations

import time

import pytest
from checks import CHECKS, tells_its_depth
from harness import Rows, assert_delivered, assert_outcomes, id_of, length, payloads_of, topology

import adapters
from adapters.base import Options
from adapters.capabilities import Delivery, Persistence

OTHERS = [(system, mode.name) for system in ("rabbitmq", "sqs", "nats") for mode in adapters.load(system).capabilities.modes[1:]]


@pytest.mark.parametrize(("system", "mode"), OTHERS)
def test_a_mode_says_what_it_is(system, mode):
    adapter = adapters.load(system)(Options(mode=mode))
    assert adapter.mode.name == mode
    assert adapter.mode.source.startswith("https://")
    assert adapter.capabilities.confirms or adapter.mode.persistence is Persistence.CLIENT
    assert adapter.capabilities.acks or adapter.mode.delivery in {Delivery.NONE, Delivery.AT_MOST_ONCE}
    assert adapter.capabilities.acks or adapter.redelivery_s() == 0
    assert adapter.capabilities.dead_letters == (mode == "dead-letter")
    first = adapters.load(system)(Options())
    assert adapter.effective() != first.effective(), "the settings in force do not tell it from the first mode"
    assert first.capabilities == adapters.load(system).capabilities


@pytest.mark.server
@pytest.mark.parametrize(("system", "mode"), OTHERS)
def test_a_mode_carries(system, mode, case_of):
    """Two groups, two partitions: everything once, lanes in order where that is promised, outcomes as confirms says."""
    with case_of(system).stand(topology(groups=2, partitions=2), mode=mode) as stand:
        stand.open()
        block = Rows(60, 100, partitions=2)
        stand.send([block], batch=25)
        stand.receive(60)
        stand.flush()
        assert_delivered(stand, [block])
        assert_outcomes(stand, [block])


@pytest.mark.server
@pytest.mark.parametrize("system", ["nats"])
@pytest.mark.parametrize("check", [check for check in CHECKS if check is not tells_its_depth], ids=lambda check: check.__name__)
def test_core_nats_keeps_the_whole_contract(check, system, case_of):
    """Another protocol than JetStream's, which is NATS' first mode; a depth it cannot tell."""
    check(case_of(system, mode="core"))


@pytest.mark.server
@pytest.mark.parametrize("system", ["rabbitmq", "sqs"])
def test_what_is_always_given_back_becomes_a_dead_letter_whole(system, case_of):
    settings = {"rabbitmq": {"x-delivery-limit": "2"}, "sqs": {"maxReceiveCount": "2"}}[system]
    with case_of(system).stand(topology(), mode="dead-letter", settings=settings) as stand:
        stand.open()
        block = Rows(20, 100)
        stand.send([block], poll=False)
        reader, letters = stand.readers[0], []
        until_s = time.monotonic() + 30
        while not letters and time.monotonic() < until_s:
            batch = reader.poll(10, 0.05)
            for row, payload in enumerate(payloads_of(batch) if batch else ()):
                reader.consumer.settle(batch, row, "requeue" if id_of(payload) == 7 else "ack")
            letters = [bytes(letter) for letter in stand.adapter.dead_letters(stand.wiring, "g0")]
        assert letters == list(block.messages(7, 8))
        assert length(reader.poll(10, 0.3)) == 0
        ids = [id_of(payload) for payload in reader.payloads()]
        assert set(ids) == set(block.ids)
        assert 2 <= ids.count(7) <= 3, "SQS moves it after the second time, RabbitMQ after it was given back twice more than that"
        assert stand.adapter.dead_letters(stand.wiring, "g0") == [], "a dead letter is taken once"
