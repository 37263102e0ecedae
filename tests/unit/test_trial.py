"""trial.json from what endpoints, server and journals said: sums, merges, verdicts, worked out again by hand."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest

import adapters
from adapters.base import Options
from adapters.memory import Memory
from adapters.tcp import Tcp
from bench import plan, scenario, trial
from bench.faults.depth import Depth
from bench.histogram import Histogram, in_use, pack, pack_counts
from bench.journal import Kind, Writer
from bench.servers.base import Node, Product
from bench.session import Journal, Raw
from bench.spec import parse

TEXT = """\
name: sums
systems: [tcp]
topology: {producers: 2, groups: {a: 2, b: 1}, partitions: 1, routing: round-robin}
payload: {size: 64 B}
load: {rate: 20/s}
timing: {warmup: 1 s, measure: 4 s, drain: 3 s}
"""
GO = 5_000_000_000
LATENESS = ("lateness", "lateness-woken", "lateness-blocked")
SENT = 50  # of each producer
SERVER = SimpleNamespace(
    kind="native",
    product=Product("Memory", "1.0", "2026-01-01"),
    settings={"a": 1, "b": object},
    nodes=(Node("m.1", "broker", 1, "x", "x"),),
)


def histogram(*values):
    made = Histogram()
    for value in values:
        made.add_one(value)
    return made


def producer(index, **more):
    report = {
        "index": index, "first_id": 0, "planned": SENT, "sent": SENT, "confirmed": SENT, "confirmed_by_group": [SENT], "failed": 0,
        "indeterminate": 0, "blocked_s": 0.0, "late_outcomes": 0, "rss_b": 1, "collections": 0, "cpu_ns": 1000,
        "seconds": {"0": 10, "1": 9, "2": 11, "3": 10, "4": 10},
        "lateness": pack(histogram(100 + index)), "lateness_woken": pack(histogram(90 + index)), "lateness_blocked": pack(histogram(10)),
        "publish": None,
    }  # fmt: skip
    return report | more


def consumer(group, member, in_window, *values, **more):
    report = {
        "group": group, "member": member, "received": in_window + 10, "in_window": in_window, "corrupted": 0, "foreign": 0, "late": 0,
        "seconds": {"1": in_window, "6": 10},
        "slices": [in_window, *[0] * 11], "thirds": [pack(histogram(*values)), pack(histogram()), pack(histogram())],
        "end_to_end_sent": pack(histogram(*values[:1])),
        "cpu_ns": 2000, "rss_b": 2, "collections": 0,
    }  # fmt: skip
    return report | more


class Made:
    """One trial's raw side: journals in a folder, reports that can be changed, and the session they came from."""

    def __init__(self, folder, adapter_class=Tcp):
        self.folder = folder
        self.planned = plan.make(scenario.parse(TEXT, where="test").points(), [parse("tcp")], rounds=1)[0]
        self.workload = self.planned.point.workload
        self.adapter = adapter_class(Options())
        self.members = [("a", 0), ("a", 1), ("b", 0)]
        self.deliveries = {"c-a-0": range(0, SENT, 2), "c-a-1": range(1, SENT, 2), "c-b-0": range(SENT)}
        self.raw = Raw(
            go_ns=GO, producers=[producer(0), producer(1)],
            consumers=[consumer("a", 0, 40, 1000), consumer("a", 1, 36, 2000), consumer("b", 0, 80, 3000)],
            nodes=[], before={}, after={}, drained_s=0.25, still_moving=False,
            journals=[
                *(Journal(f"p-{index}", "producer", index) for index in (0, 1)),
                *(Journal(name, "consumer", member, group) for name, (group, member) in zip(self.deliveries, self.members, strict=True)),
            ],
            machine={"cores": 2, "busy": 0.5, "steal": 0.01, "throttled_s": None, "load_1m": 1.5, "idle_servers_cores": 0.2},
        )  # fmt: skip

    def journals(self):
        """Each producer attempts and gets OK for all; each consumer has processed ``deliveries`` of both."""
        for index in (0, 1):
            with Writer(self.folder, f"p-{index}") as writer:
                self.raw.before[f"p-{index}"] = writer.position
                for kind in (Kind.ATTEMPT, Kind.OK):
                    writer.span(kind, trial=1, producer=index, first=0, count=SENT, t_first=1, t_last=1)
                self.raw.after[f"p-{index}"] = writer.position
        for (group, member), (name, sequences) in zip(self.members, self.deliveries.items(), strict=True):
            with Writer(self.folder, name) as writer:
                writer.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=7, group=0)  # of an earlier session of this trial number
                self.raw.before[name] = writer.position
                for index in (0, 1):
                    for sequence in sequences:
                        writer.span(
                            Kind.PROCESSED, trial=1, producer=index, first=sequence, count=1, group=("a", "b").index(group), lane=0,
                            t_first=sequence, t_last=sequence,
                        )  # fmt: skip
                self.raw.after[name] = writer.position
            assert member in (0, 1)

    def complete(self, server=None):
        self.journals()
        session = SimpleNamespace(adapter=self.adapter)
        made = trial.frame(self.planned, self.adapter, server, run_id="run", scenario="sums", started="2026-11-22T17:01:02.123Z")
        self.histograms, self.series = trial.complete(made, self.raw, session, self.workload, self.folder)
        return made


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_a_frame_has_every_key_and_nothing_measured(made):
    frame = trial.frame(made.planned, made.adapter, None, run_id="run", scenario="sums", started="x")
    kept = copy.deepcopy(frame)
    whole = made.complete()
    assert set(frame) == set(whole) == set(kept)
    assert (kept["status"], kept["go_ns"], kept["drained_s"], kept["server"]) == ("failed", None, None, None)
    assert kept["rates"].pop("offered_per_s") == 20.0
    assert not any(kept["rates"].values())
    for part in ("latency", "cost"):
        assert set(kept[part]) == set(whole[part])
        assert set(kept[part].values()) == {None}
    assert set(kept["machine"]) == set(whole["machine"])
    assert set(kept["machine"].values()) == {None}
    assert kept["steady"] == {"slices": {}, "p50_thirds_ns": [], "n_thirds": []}
    for part in ("producers", "consumers", "nodes", "audit", "findings", "events", "evidence"):
        assert not kept[part]


def test_rates_are_of_the_window(made):
    rates = made.complete()["rates"]
    assert rates["offered_per_s"] == 20.0
    assert rates["groups"] == {"a": (40 + 36) / 4.0, "b": 80 / 4.0}
    assert rates["slowest_group_per_s"] == 19.0
    assert rates["slowest_group_b_per_s"] == 19.0 * 64
    # Seconds 1 to 4 of two producers: the warm-up's second 0 is left out.
    assert rates["published_per_s"] == 2 * (9 + 11 + 10 + 10) / 4


@pytest.mark.parametrize(
    ("warmup_s", "measure_s", "published_per_s"),
    [(0.0, 5.0, 10.0), (0.5, 4.5, 10.0), (2.0, 1.0, 11.0), (0.5, 0.2, 10.0), (1.5, 2.5, 10.5)],
)
def test_what_was_published_is_of_whole_seconds_under_load(made, warmup_s, measure_s, published_per_s):
    made.workload = replace(made.workload, warmup_s=warmup_s, measure_s=measure_s)
    made.raw.producers = [producer(0)]
    assert trial._rates(made.raw, made.workload)["published_per_s"] == published_per_s


def test_histograms_are_merged_by_tag_and_kept_apart_by_group(made):
    made.raw.producers[0]["publish"] = pack(histogram(500))
    made.raw.producers[1]["publish"] = pack(histogram(700, 900))
    latency = made.complete()["latency"]
    counts = {tag: one.n for tag, one in made.histograms.items()}
    assert counts == {"e2e": 3, "e2e-a": 2, "e2e-b": 1, "e2e-sent": 3, "publish": 3} | dict.fromkeys(LATENESS, 2)
    assert (latency["end_to_end_intended"]["min_ns"], latency["end_to_end_intended"]["n"]) == (1000, 3)
    assert latency["publish"]["n"] == 3
    assert made.histograms["e2e-b"].summary()["min_ns"] == pytest.approx(3000, rel=0.001)


def test_thirds_and_slices_are_summed_over_members(made):
    made.raw.consumers[0]["thirds"] = [pack(histogram(*[1000] * 30)), pack(histogram()), pack(histogram(*[9000] * 30))]
    made.raw.consumers[1]["slices"] = [*[0] * 11, 36]
    whole = made.complete()
    assert whole["steady"]["slices"] == {"a": [40, *[0] * 10, 36], "b": [80, *[0] * 11]}
    assert whole["steady"]["n_thirds"] == [32, 0, 30]
    assert whole["steady"]["p50_thirds_ns"] == [pytest.approx(1000, rel=0.001), None, pytest.approx(9000, rel=0.001)]
    assert made.histograms["e2e"].n == made.histograms["e2e-a"].n + 1 == 62


def test_the_machine_is_told_with_what_others_used(made):
    machine = made.complete()["machine"]
    assert machine == {
        "cores": 2, "steal": 0.01, "throttled_s": None, "load_1m": 1.5, "idle_servers_cores": 0.2,
        "others_cores": pytest.approx(0.9999, abs=1e-3),
    }  # fmt: skip


def test_without_acknowledgements_publish_latency_is_not_applicable(made):
    assert made.complete()["latency"]["publish"] is None
    assert "publish" not in made.histograms


def test_a_latency_below_zero_reaches_the_findings(made):
    made.raw.consumers[2] = consumer("b", 0, 80, -5, 3000)
    whole = made.complete()
    assert whole["latency"]["end_to_end_intended"]["negative"] == 1
    assert "clock-suspect" in [finding["code"] for finding in whole["findings"]]


def test_cost_a_delivered_message_without_a_server(made):
    assert made.complete()["cost"] == {
        "deliveries": 156, "producers_ns": 2000 / 156, "intermediary_ns": None, "consumers_ns": 6000 / 156,
        "total_ns": pytest.approx(8000 / 156), "machine_busy": 0.5, "others_cores": pytest.approx(0.9999, abs=1e-3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "intermediary", "total"),
    [([3000, 1000], 4000 / 156, 12_000 / 156), ([3000, None], None, None), ([], None, None)],
)
def test_cost_with_a_server_is_known_only_where_all_of_it_is(made, nodes, intermediary, total):
    made.raw.nodes = [{"name": f"m.{i}", "role": "broker", "cpu_ns": cpu_ns, "rss_b": 1} for i, cpu_ns in enumerate(nodes)]
    whole = made.complete(SERVER)
    assert whole["cost"]["intermediary_ns"] == intermediary
    assert whole["cost"]["total_ns"] == (None if total is None else pytest.approx(total))
    assert whole["nodes"] == made.raw.nodes


def test_cost_of_nothing_is_not_known(made):
    for report in made.raw.consumers:
        report["in_window"] = 0
    cost = made.complete()["cost"]
    assert (cost["deliveries"], cost["producers_ns"], cost["total_ns"]) == (0, None, None)


def test_a_client_that_never_reached_the_window_leaves_the_cost_unknown(made):
    made.raw.producers[1]["cpu_ns"] = None
    cost = made.complete()["cost"]
    assert (cost["producers_ns"], cost["consumers_ns"], cost["total_ns"]) == (None, 6000 / 156, None)


def test_the_server_is_described_in_plain_data(made):
    assert made.complete(SERVER)["server"] == {
        "kind": "native", "product": "Memory", "version": "1.0", "released": "2026-01-01", "end_of_life": "", "emulator": False,
        "settings": {"a": 1, "b": "<class 'object'>"}, "nodes": ["m.1"],
    }  # fmt: skip


def test_series_fill_the_seconds_in_which_nothing_came(made):
    made.complete()
    assert made.series == [
        {"second": 0, "published": 20, "a": 0, "b": 0},
        {"second": 1, "published": 18, "a": 76, "b": 80},
        {"second": 2, "published": 22, "a": 0, "b": 0},
        {"second": 3, "published": 20, "a": 0, "b": 0},
        {"second": 4, "published": 20, "a": 0, "b": 0},
        {"second": 5, "published": 0, "a": 0, "b": 0},
        {"second": 6, "published": 0, "a": 20, "b": 10},
    ]


def test_events_are_told_in_seconds_from_go(made):
    made.raw.events = [{"t_ns": GO + 1_500_000_000, "who": "consumer-a-0", "kind": "closed", "detail": "x", "partitions": None}]
    whole = made.complete()
    assert whole["events"] == [{"t_s": 1.5, "who": "consumer-a-0", "kind": "closed", "detail": "x"}]
    assert "connection" in [finding["code"] for finding in whole["findings"]]


def test_the_audit_is_of_this_trials_part_of_the_journals(made):
    whole = made.complete()
    for row in whole["audit"].values():
        assert (row["sent"], row["acknowledged"], row["processed"], row["lost"], row["duplicated"]) == (100, 100, 100, 0, 0)
        assert (row["verdict"], row["reasons"]) == ("clean", [])
    assert {part["name"]: part["from"] for part in whole["evidence"]} == {"p-0": 0, "p-1": 0, "c-a-0": 1, "c-a-1": 1, "c-b-0": 1}
    assert all(part["to"] == made.raw.after[part["name"]] > part["from"] for part in whole["evidence"])


@pytest.mark.parametrize(("adapter_class", "verdict"), [(Tcp, "as promised"), (Memory, "violated")])
def test_a_loss_is_judged_by_what_the_mode_promises(tmp_path, adapter_class, verdict):
    made = Made(tmp_path, adapter_class)
    made.deliveries["c-b-0"] = range(2, SENT)
    audit = made.complete()["audit"]
    assert (audit["a"]["verdict"], audit["b"]["verdict"]) == ("clean", verdict)
    assert (audit["b"]["lost"], audit["b"]["lost_where"]) == (4, {"prefix": 4, "middle": 0, "tail": 0})
    assert audit["b"]["lost_ids"] == ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1))


def test_what_still_arrived_at_the_deadline_is_neither_lost_nor_delivered(tmp_path):
    made = Made(tmp_path, Memory)
    made.deliveries["c-b-0"] = range(SENT - 5)
    made.raw.still_moving, made.raw.drained_s = True, None
    audit = made.complete()["audit"]
    assert audit["a"]["verdict"] == "clean"
    row = audit["b"]
    assert (row["verdict"], row["lost"], row["undelivered"]) == ("undetermined", None, 10)
    assert set(row["lost_where"].values()) == {None}
    assert row["reasons"] == ["messages still arrived when the drain deadline passed"]


@pytest.mark.parametrize(
    ("held", "verdict", "lost", "undelivered"),
    [(0, "violated", 10, None), (4, "violated", 6, 4), (10, "undetermined", None, 10), (25, "undetermined", None, 10)],
)
def test_what_the_broker_still_holds_is_not_lost(tmp_path, held, verdict, lost, undelivered):
    made = Made(tmp_path, Memory)
    made.deliveries["c-b-0"] = range(SENT - 5)
    made.raw.drained_s, made.raw.depth = None, {"b": Depth(held, held)}
    made.raw.faults = [{"fault": "kill", "target": "consumer.b.0", "injected_s": -5.0, "healed_s": -4.9}]  # the journals begin at 0
    for report in made.raw.consumers:
        report["latency_seconds"] = []
    found = made.complete()
    row = found["audit"]["b"]
    assert (row["verdict"], row["lost"], row.get("undelivered")) == (verdict, lost, undelivered)
    assert set(row["lost_where"].values()) == ({None} if undelivered else {0, 10})
    assert found["audit"]["a"]["verdict"] == "clean"
    assert found["depth"] == {"b": [held, held]}
    assert found["faults"][0]["counts"]["b"]["lost"] == (None if undelivered else 10)
    assert [reason for reason in row["reasons"] if "with the broker" in reason] == (
        [f"{undelivered} messages were not delivered, and {held} lay with the broker when the trial had drained"] if undelivered else []
    )


def test_what_nobody_answers_for_is_neither_lost_nor_delivered(tmp_path):
    """Kafka's coordinator was seen to stay broken after a kill: what its consumers could not get was all there."""
    made = Made(tmp_path, Tcp)
    made.deliveries["c-b-0"] = range(SENT - 5)
    made.raw.drained_s, made.raw.depth = None, {"b": Depth(None, None, silent=True)}
    row = made.complete()["audit"]["b"]
    assert (row["verdict"], row["lost"], row["undelivered"]) == ("undetermined", None, 10)
    assert row["reasons"] == ["10 messages were not delivered, and nobody answered whether the broker has them when the trial had drained"]


@pytest.mark.parametrize(("held", "verdict", "lost"), [(0, "as promised", 10), (4, "undetermined", 6), (10, "undetermined", None)])
def test_where_loss_is_allowed_what_is_held_leaves_it_open(tmp_path, held, verdict, lost):
    made = Made(tmp_path, Tcp)
    made.deliveries["c-b-0"] = range(SENT - 5)
    made.raw.drained_s, made.raw.depth = None, {"b": Depth(held, held)}
    row = made.complete()["audit"]["b"]
    assert (row["verdict"], row["lost"]) == (verdict, lost)


def test_what_is_forbidden_stays_forbidden_while_messages_still_arrive(tmp_path):
    made = Made(tmp_path, Memory)
    made.deliveries["c-b-0"] = [*range(10), 5, *range(11, SENT - 5), 10]
    made.raw.consumers[2]["foreign"] = 3
    made.raw.still_moving, made.raw.drained_s = True, None
    row = made.complete()["audit"]["b"]
    assert (row["verdict"], row["undelivered"], row["duplicated"], row["unexpected"]) == ("violated", 10, 2, 3)
    assert row["reasons"][-1] == "messages still arrived when the drain deadline passed"
    assert any("out of order" in reason for reason in row["reasons"])


def test_messages_of_another_run_are_unexpected(made):
    made.raw.consumers[0]["foreign"], made.raw.consumers[1]["foreign"] = 2, 1
    audit = made.complete()["audit"]
    assert (audit["a"]["unexpected"], audit["b"]["unexpected"]) == (3, 0)
    assert audit["a"]["verdict"] == "violated"


@pytest.mark.parametrize(
    ("spec", "calm", "broken"),
    [
        ("kafka,mode=acks-all", True, True),
        ("kafka,mode=acks-1", True, False),  # leader-kill: 270 retried messages behind later ones are no broken promise
        ("kafka,client=confluent-kafka,mode=acks-1", True, False),
        ("kafka,mode=acks-0", True, False),
        ("rabbitmq", True, False),
        ("sqs", False, False),
    ],
)
def test_order_is_promised_as_the_mode_says_while_things_break(spec, calm, broken):
    variant = parse(spec)
    able = adapters.load(variant.system, variant.client)(Options(mode=variant.mode)).capabilities
    assert (trial.order_promised(able, broken=False), trial.order_promised(able, broken=True)) == (calm, broken)


def test_latencies_over_time_are_by_group_where_there_were_faults(made):
    """Slices merged are the whole of their tag; a group that got nothing has none."""
    for report, at in zip(made.raw.consumers, ({1: [1000], 2: [1500]}, {2: [2000]}, {}), strict=True):
        report["latency_seconds"] = [(second, pack_counts(in_use(histogram(*values).counts))) for second, values in at.items()]

    def merged(slices):
        return {tag: [(after_s, length_s, one.n) for after_s, length_s, one in parts] for tag, parts in slices.items()}

    assert merged(trial.over_time(made.raw, made.workload)) == {"e2e": [(0.0, 1.0, 1), (1.0, 1.0, 2)]}, "seconds after the warm-up"
    made.raw.faults = [{"fault": "kill"}]
    found = merged(trial.over_time(made.raw, made.workload))
    assert found == {"e2e": [(0.0, 1.0, 1), (1.0, 1.0, 2)], "e2e-a": [(0.0, 1.0, 1), (1.0, 1.0, 2)]}
