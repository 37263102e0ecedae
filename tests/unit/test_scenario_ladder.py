"""Ladders in scenarios: the model, its errors, and that what the shipped ones claim is true of the adapters."""

from itertools import pairwise

import pytest

import adapters
from bench import scenario, spec
from bench.deployment import options_of
from bench.differences import ASPECTS, between, undeclared, unseen
from bench.errors import UsageError
from bench.trial import described_variant

HEAD = """\
name: steps
topology:
  groups: {reader: 1}
payload: {size: 256 B}
load: {rate: 200/s}
"""
GOOD = f"""{HEAD}ladder:
  - {{step: direct, system: "zeromq,mode=pub-sub"}}
  - {{step: through a proxy, system: "zeromq,mode=proxy", changes: intermediary}}
  - {{step: pushed, system: "zeromq,mode=push-pull", changes: [fan-out, settings], after: direct}}
"""
SERVERS = {"redis_pubsub": "Redis", "redis_streams": "Redis", "rabbitmq": "RabbitMQ", "kafka": "Apache Kafka", "zeromq_proxy": "zmq.proxy"}
SERVERS |= {"nats": "NATS Server"}


def parse(text):
    return scenario.parse(text, where="steps.yaml")


def test_the_systems_follow_from_the_ladder_and_it_reads_back():
    made = parse(GOOD)
    assert made.systems == ("zeromq,mode=pub-sub", "zeromq,mode=proxy", "zeromq,mode=push-pull")
    assert [(one.step, one.changes, one.after) for one in made.ladder] == [
        ("direct", (), None),
        ("through a proxy", ("intermediary",), None),
        ("pushed", ("fan-out", "settings"), "direct"),
    ]
    assert parse(made.to_yaml()) == made
    assert parse(f"systems: [redis-pubsub, kafka]\n{HEAD}").ladder == ()


def test_a_ladder_may_stand_beside_other_systems():
    systems = 'systems: [kafka, "zeromq,mode=pub-sub", "zeromq,mode=proxy", "zeromq,mode=push-pull"]\n'
    assert len(parse(systems + GOOD).variants()) == 4


def test_a_step_that_the_command_line_leaves_out_takes_the_ladder_with_it():
    made = parse(GOOD)
    assert made.override(rounds=2).ladder == made.ladder
    assert made.override(systems=["kafka", *made.systems]).ladder == made.ladder
    assert made.override(systems=["zeromq,mode=pub-sub", "zeromq,mode=proxy"]).ladder == ()


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("changes: intermediary", "chnages: intermediary", 'steps.yaml:8: ladder.1.chnages: unknown key; did you mean "changes"?'),
        ("changes: intermediary", "changes: intermediaries", 'ladder.1.changes: unknown value "intermediaries"; did you mean "i'),
        ("changes: intermediary", "changes: [stores, stores]", "steps.yaml:8: ladder.1.changes: something is named twice"),
        (", changes: intermediary", "", "steps.yaml:8: ladder.1.changes: is missing: what differs from the step before"),
        ("changes: intermediary", "changes: []", "steps.yaml:8: ladder.1.changes: is missing: what differs from the step before"),
        ('pub-sub"}', 'pub-sub", changes: stores}', "steps.yaml:7: ladder.0.changes: the first step has none before it"),
        ('pub-sub"}', 'pub-sub", after: pushed}', "steps.yaml:7: ladder.0.after: the first step has none before it"),
        ("after: direct", "after: derict", 'ladder.2.after: "derict" is none of the steps before this one; did you mean "direct"?'),
        ("after: direct", "after: pushed", 'steps.yaml:9: ladder.2.after: "pushed" is none of the steps before'),
        ("step: pushed", "step: direct", 'steps.yaml:9: ladder.2.step: "direct" is a step already'),
        ("zeromq,mode=push-pull", "zeromq,mode=proxy", 'steps.yaml:9: ladder.2.system: "zeromq,mode=proxy" is a step already'),
        ("zeromq,mode=push-pull", "zeromqq", 'steps.yaml:9: ladder.2.system: unknown system "zeromqq"; did you mean "zeromq"?'),
        ('"zeromq,mode=push-pull"', "[zeromq]", "steps.yaml:9: ladder.2.system: a SPEC such as"),
        ('system: "zeromq,mode=push-pull", ', "", "steps.yaml:9: ladder.2.system: is missing: what it runs"),
        ("step: pushed", "step: [pushed]", "steps.yaml:9: ladder.2.step: ['pushed']: a step's name is a few words"),
        ("step: pushed", f"step: {'p' * 49}", "at most 48 characters"),
        ("topology", "systems: [kafka]\ntopology", 'steps.yaml:8: ladder.0.system: "zeromq,mode=pub-sub" is none of the systems: kafka'),
    ],
)  # fmt: skip
def test_wrong_ladders(before, after, says):
    assert before in GOOD
    with pytest.raises(UsageError) as caught:
        parse(GOOD.replace(before, after, 1))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("ladder", "says"),
    [
        ("{step: direct, system: zeromq}", "steps.yaml:6: ladder: a ladder is a list of steps"),
        ("[direct, zeromq]", "steps.yaml:6: ladder.0: 'direct' where a mapping belongs with step, system, changes, after"),
        ("[{step: direct, system: zeromq}]", "steps.yaml:6: ladder: a ladder has at least two steps"),
    ],
)
def test_what_is_no_ladder(ladder, says):
    with pytest.raises(UsageError) as caught:
        parse(f"{HEAD}ladder: {ladder}\n")
    assert says in str(caught.value)


def test_explain_lists_it():
    rows = {field: text for field, _, text in scenario.explain()}
    assert {"ladder", "ladder.step", "ladder.system", "ladder.changes", "ladder.after"} <= rows.keys()
    assert all(aspect in rows["ladder.changes"] for aspect in ASPECTS)


def side(text):
    """A step as its trials would describe it, without starting a server."""
    variant = spec.parse(text)
    options = options_of(variant)
    described = described_variant(variant, adapters.load(variant.system)(options), None)
    product = SERVERS.get("zeromq_proxy" if variant.mode == "proxy" else variant.system)
    return {"variant": described, "server": {"product": product, "version": "1", "settings": dict(options.server)} if product else None}


@pytest.mark.parametrize("name", [name for name in scenario.names() if name.startswith("ladder-")])
def test_the_shipped_ladders_claim_what_is_true(name):
    ladder = scenario.load(name).ladder
    steps = {one.step: side(one.system) for one in ladder}
    for before, one in pairwise(ladder):
        found = between(steps[one.after or before.step], steps[one.step])
        assert undeclared(found, one.changes) == (), f"{name}, {one.step}"
        assert unseen(found, one.changes) == (), f"{name}, {one.step}"


def test_a_proxy_changes_one_thing_and_another_system_many():
    direct, proxied, kafka = side("zeromq,mode=pub-sub"), side("zeromq,mode=proxy"), side("kafka")
    (one,) = between(direct, proxied)
    assert (one.aspect, one.before, one.after, one.promised) == ("intermediary", "no", "yes", False)
    many = between(direct, kafka)
    assert [one.aspect for one in many] == [
        "product", "client", "intermediary", "stores", "sharing", "partitions", "delivery", "ordering", "persistence", "acknowledgement",
    ]  # fmt: skip
    assert undeclared(many, ("intermediary",))[:2] == ("product", "client")
    assert unseen(many, ("intermediary", "copies")) == ("copies",)
    assert between(kafka, kafka) == ()


def test_settings_are_told_by_name_and_value():
    (one,) = between(side("kafka"), side("kafka,linger_ms=5"))
    assert one.aspect == "settings"
    assert one.settings == (("producer.linger_ms", "0", "5"),)
    assert (one.before, one.after) == ("producer.linger_ms 0", "producer.linger_ms 5")


def test_settings_of_servers_are_compared_where_both_have_one():
    always, never = side("redis_streams"), side("redis_streams")
    always["server"]["settings"], never["server"]["settings"] = {"appendfsync": "always"}, {}
    (one,) = between(never, always)
    assert one.settings == (("server.appendfsync", "not set", "always"),)
    always["server"]["version"] = "2"
    assert [(d.aspect, d.before, d.after) for d in between(never, always)] == [("product", "Redis 1", "Redis 2")]
