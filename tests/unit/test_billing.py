"""Requests and list price per million messages: sums by hand, at prices made up here; the table that is shipped is dated and whole."""

import datetime as dt

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from make_results import Fake, make

from bench import report
from bench.analysis import billing
from bench.trial import requests_of

TABLE = {
    "services": {
        "sqs": {
            "as_of": "2026-01-02", "source": "https://example.org/sqs", "payload_b_a_request": 65536,
            "per_million_requests": {"standard": 0.4, "fifo": 0.5},
        },
        "kinesis": {
            "as_of": "2026-01-02", "source": "https://example.org/kinesis", "payload_b_a_unit": 25600, "records_a_shard_s": 1000,
            "per_million_units": 0.014, "per_shard_hour": 0.015,
        },
    }
}  # fmt: skip


def trial(system, requests, *, mode="standard", sent=10_000, size_b=256, groups=3, shards=4, rate=2000.0):
    return {
        "variant": {"system": system, "mode": {"name": mode}}, "requests": requests, "producers": [{"sent": sent}],
        "point": {"size_b": size_b}, "workload": {"groups": {f"g{i}": 1 for i in range(groups)}, "partitions": shards, "bodies": None},
        "rates": {"published_per_s": rate},
    }  # fmt: skip


def test_sqs_bills_each_request():
    """10,000 messages to three groups in calls of ten: 3,000 sends, as many deletes, 3,600 receives of which some were empty."""
    requests = {"SendMessageBatch": 3000, "ReceiveMessage": 3600, "DeleteMessageBatch": 3000}
    found = billing.bill([trial("sqs", requests)], TABLE)
    assert found.requests == {"DeleteMessageBatch": 300_000.0, "ReceiveMessage": 360_000.0, "SendMessageBatch": 300_000.0}
    assert found.billed == 960_000.0
    assert found.usd == pytest.approx(0.384)
    assert (found.as_of, found.source) == ("2026-01-02", "https://example.org/sqs")
    assert billing.bill([trial("sqs", requests, mode="fifo")], TABLE).usd == pytest.approx(0.48)


def test_sqs_bills_each_64_kib_of_a_call():
    """100 KiB are 133 KiB after base64: three requests a message that is sent alone, and received alone; deletes carry nothing."""
    requests = {"SendMessageBatch": 100, "ReceiveMessage": 100, "DeleteMessageBatch": 100}
    found = billing.bill([trial("sqs", requests, sent=100, size_b=100 << 10, groups=1)], TABLE)
    assert found.billed == 7_000_000.0
    assert found.usd == pytest.approx(2.8)


def test_kinesis_bills_units_and_shard_hours_and_no_request():
    found = billing.bill([trial("kinesis", {"PutRecords": 100, "GetRecords": 900}, mode="provisioned")], TABLE)
    assert found.requests == {"GetRecords": 90_000.0, "PutRecords": 10_000.0}
    assert found.billed == 1_000_000
    # 4 shards for 500 s at 2,000/s.
    assert found.usd == pytest.approx(0.014 + 4 * 500 / 3600 * 0.015)
    assert found.by == "$0.014 PUT payload units and $0.00833 shard hours (4 at 2,000/s)"
    large = billing.bill([trial("kinesis", {"PutRecords": 100}, size_b=30_000)], TABLE)
    assert large.billed == 2_000_000, "a second unit from 25 KB on"


def test_shards_are_not_paid_by_the_speed_of_an_emulator():
    """One that does not throttle takes more than the shards would: their hours are those of what they take."""
    found = billing.bill([trial("kinesis", {"PutRecords": 100}, shards=2, rate=50_000.0)], TABLE)
    assert found.by.endswith("(2 at 2,000/s)")


def test_what_has_no_price_or_counted_nothing_has_no_bill():
    assert billing.bill([trial("kafka", {"Produce": 5})], TABLE) is None
    assert billing.bill([trial("sqs", None)], TABLE) is None
    assert billing.bill([trial("sqs", {"SendMessageBatch": 5}, sent=0)], TABLE) is None
    assert billing.bill([trial("sqs", {"SendMessageBatch": 5}, mode="another")], TABLE) is None
    assert billing.bill([trial("kinesis", {"PutRecords": 5}, rate=None)], TABLE) is None
    assert billing.bill([], TABLE) is None


def test_of_several_trials_the_median_counts():
    trials = [trial("sqs", {"SendMessageBatch": n}, groups=1) for n in (1000, 1100, 5000)]
    assert billing.bill(trials, TABLE).requests == {"SendMessageBatch": 110_000.0}


@given(
    sent=st.integers(1, 10**9),
    calls=st.lists(st.integers(0, 10**7), min_size=3, max_size=3),
    size_b=st.integers(64, 1 << 20),
    groups=st.integers(1, 9),
)
def test_no_request_is_left_out_of_a_bill(sent, calls, size_b, groups):
    requests = dict(zip(("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"), calls, strict=True))
    found = billing.bill([trial("sqs", requests, sent=sent, size_b=size_b, groups=groups)], TABLE)
    assert found.billed >= sum(calls) / sent * 1e6 * 0.999999
    assert found.usd >= 0


def test_requests_of_a_trial_are_those_of_all_endpoints():
    assert requests_of([{"requests": {"a": 1, "b": 2}}, {"requests": None}, {"requests": {"b": 3}}, {}]) == {"a": 1, "b": 5}
    assert requests_of([{"requests": None}, {}]) is None
    assert requests_of([{"requests": {}}]) == {}


def test_the_shipped_table_is_dated_and_names_its_pages():
    table = billing.prices()
    assert set(table["services"]) == {"kinesis", "sqs"}
    for service in table["services"].values():
        assert isinstance(service["as_of"], dt.date)
        assert service["source"].startswith("https://aws.amazon.com/")
        assert service["quoted"].startswith("https://")
    assert billing.bill([trial("sqs", {"SendMessageBatch": 1})]).usd > 0
    assert billing.bill([trial("kinesis", {"PutRecords": 1})]).usd > 0
    assert yaml.safe_load(billing.FILE.read_text(encoding="utf-8")) == table


def test_the_report_has_requests_price_and_quotas(tmp_path):
    fake = Fake("kinesis", "kinesis", "Amazon Kinesis", "boto3", "at-least-once", "server memory", 90.0, (20.0, 40.0, 15.0))
    fake.product, fake.version, fake.emulator = "kinesalite", "3.3.3", True
    fake.workload, fake.requests = {"partitions": 4}, {"PutRecords": 600, "GetRecords": 1200}
    quota = {"variant": "kinesis", "quota": "a shard takes 1,000"}
    points = ["200/s, 256 B", "2,000/s, 256 B"]
    folder = make(tmp_path / "run", [fake], quotas=[{**quota, "point": point} for point in points])
    files = report.write(folder)
    page, markdown = files.html.read_text(), files.markdown.read_text()
    assert 'id="billing"' in page
    assert "GetRecords 200,000, PutRecords 100,000" in page
    assert "4 at 2,000/s" in markdown
    for text in (page, markdown):  # a price without what it leaves out is no price
        assert "before free tier, discounts, tax and transfer" in text
    warning = "kinesis is over a quota of its service at 200/s, 256 B; 2,000/s, 256 B: a shard takes 1,000."
    assert warning in page
    assert warning in markdown
