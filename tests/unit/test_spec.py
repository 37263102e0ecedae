"""SPEC: what is compared, and every wrong one refused with what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import spec
from bench.errors import UsageError
from bench.servers.base import KINDS

NAMES = ("memory", "tcp", "zeromq", "kafka", "rabbitmq", "redis_pubsub", "sqs")


def test_a_system_alone():
    variant = spec.parse("kafka", NAMES)
    assert variant == spec.Variant(spec="kafka", id="kafka", system="kafka")
    assert (variant.profile, variant.mode, variant.server_kind, variant.server_address, variant.settings) == (
        "defaults",
        "",
        "auto",
        "",
        {},
    )


def test_all_parts():
    variant = spec.parse("redis-pubsub, profile=tuned ,server=embedded,mode=fast,b=2,a=1", NAMES)
    assert variant.system == "redis_pubsub"
    assert (variant.profile, variant.mode, variant.server_kind) == ("tuned", "fast", "embedded")
    assert variant.settings == {"a": "1", "b": "2"}
    assert variant.spec == "redis_pubsub,profile=tuned,mode=fast,server=embedded,a=1,b=2"
    assert variant.id == "redis_pubsub+tuned+mode=fast+embedded+a=1+b=2"


def test_addresses_of_an_external_server():
    variant = spec.parse("kafka,server=external:db1:9092,db2:9092,profile=tuned", NAMES)
    assert (variant.server_kind, variant.server_address) == ("external", "db1:9092,db2:9092")
    assert spec.parse(variant.spec, NAMES) == variant
    assert spec.parse("sqs,server=external:http://127.0.0.1:9324", NAMES).server_address == "http://127.0.0.1:9324"
    assert spec.parse("sqs,server=external:aws", NAMES).server_address == "aws"
    assert spec.parse("kafka,server=external", NAMES).server_address == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a SPEC begins with a system"),
        ("kafak", 'unknown system "kafak"; did you mean "kafka"?'),
        ("Kafka", 'did you mean "kafka"?'),
        ("redis", 'did you mean "redis_pubsub"?'),
        ("xyzzy", "known: kafka, memory"),
        ("memory", "tcp is the floor"),
        ("profile=tuned", "a SPEC begins with a system"),
        ("kafka,tuned", '"tuned" is not key=value'),
        ("kafka,", '"" is not key=value'),
        ("kafka,=3", '"=3" is not key=value'),
        ("kafka,profile=", "profile= has no value"),
        ("kafka,profile=tuend", 'unknown profile "tuend"; did you mean "tuned"?'),
        ("kafka,proflie=tuned", 'unknown key "proflie"; did you mean "profile"?'),
        ("kafka,a=1,a=2", "a is given twice"),
        ("kafka,server=docker", 'unknown server "docker"'),
        ("kafka,server=native:h:1", "server=external:h:1 does"),
        ("kafka,linger_ms=5,db2:9092", '"db2:9092" is not key=value'),
        ("kafka,python=3.13", "python= (another interpreter) is for one side of `brokerbench gate`"),
        ("kafka,with=lz4", "with= (other packages) is for one side of `brokerbench gate`"),
        ("kafka,rev=main", "rev= (another revision) is for one side of `brokerbench gate`"),
        ("kafka," + "a" * 600 + "=1", "at most 500 characters"),
    ],
)
def test_a_wrong_spec_says_what_would_be_right(text, says):
    with pytest.raises(UsageError) as caught:
        spec.parse(text, NAMES)
    assert says in str(caught.value)


def test_a_client_is_the_adapters_own_or_not_available_yet():
    assert spec.parse("zeromq,client=pyzmq").spec == "zeromq"
    with pytest.raises(UsageError, match="there is no client=czmq; zeromq runs through pyzmq"):
        spec.parse("zeromq,client=czmq")


def test_names_that_only_look_like_reserved_keys_are_settings():
    assert spec.parse("kafka,client_id=x,max_mode=y", NAMES).settings == {"client_id": "x", "max_mode": "y"}


def test_the_registry_is_asked_where_no_names_are_given():
    assert spec.parse("redis-pubsub").system == "redis_pubsub"
    with pytest.raises(UsageError, match='did you mean "rabbitmq"'):
        spec.parse("rabitmq")


def test_a_variant_twice_is_refused():
    with pytest.raises(UsageError, match='"kafka,profile=defaults" is named twice'):
        spec.parse_all(["kafka", "sqs", "kafka,profile=defaults"], NAMES)
    assert [v.id for v in spec.parse_all(["kafka", "kafka,profile=tuned"], NAMES)] == ["kafka", "kafka+tuned"]


def test_server_kinds_are_those_of_the_recipes():
    assert set(spec.SERVER_KINDS) == {"auto", *KINDS}


WORDS = st.text("abcghxyz_", min_size=1, max_size=8)  # letters that make no reserved key, nor nearly one
VALUES = st.text(st.characters(blacklist_characters=",", blacklist_categories=("C", "Z")), min_size=1, max_size=12)


@given(
    st.sampled_from(NAMES[1:]),
    st.sampled_from(spec.PROFILES),
    st.sampled_from(spec.SERVER_KINDS),
    st.dictionaries(WORDS, VALUES, max_size=4),
)
def test_the_canonical_form_parses_back_and_the_id_is_safe_in_a_path(system, profile, kind, settings):
    text = ",".join([system, f"profile={profile}", f"server={kind}"] + [f"{k}={v}" for k, v in settings.items()])
    variant = spec.parse(text, NAMES)
    assert spec.parse(variant.spec, NAMES) == variant
    assert variant.settings == settings
    assert set(variant.id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.=+-")
    assert hash(variant)


@given(VALUES, VALUES)
def test_different_settings_have_different_ids(one, other):
    ids = {spec.parse(f"kafka,a={value}", NAMES).id for value in (one, other)}
    assert len(ids) == len({one, other})


def test_options_of_the_server_are_no_settings():
    variant = spec.parse("kafka,linger_ms=5,nodes=3,mode=acks-all")
    assert (variant.server_options, variant.settings) == ({"nodes": "3"}, {"linger_ms": "5"})
    assert variant.spec == "kafka,mode=acks-all,nodes=3,linger_ms=5"
    assert variant.id == "kafka+mode=acks-all+nodes=3+linger_ms=5"
    assert spec.parse(variant.spec) == variant


def test_a_default_option_is_the_plain_variant():
    assert spec.parse("kafka,nodes=1") == spec.parse("kafka")
    with pytest.raises(UsageError, match='"kafka,nodes=1" is named twice'):
        spec.parse_all(["kafka", "kafka,nodes=1"])


def test_an_external_server_is_told_what_it_is_also_where_that_is_the_default():
    variant = spec.parse("kafka,server=external:a:1,b:2,nodes=1")
    assert (variant.server_address, variant.server_options) == ("a:1,b:2", {"nodes": "1"})
    assert spec.parse(variant.spec) == variant


def test_an_unknown_value_of_an_option_says_what_is_allowed():
    with pytest.raises(UsageError, match='"kafka,nodes=2": unknown nodes "2"; known: 1, 3'):
        spec.parse("kafka,nodes=2")


def test_what_is_no_option_of_that_server_stays_a_setting():
    for text in ("redis_pubsub,nodes=3", "zeromq,nodes=3", "zeromq,mode=proxy,nodes=3"):
        variant = spec.parse(text)
        assert (variant.server_options, variant.settings) == ({}, {"nodes": "3"})
