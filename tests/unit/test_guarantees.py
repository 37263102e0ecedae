"""`brokerbench guarantees` without its trials: expectations, cells, the scenarios they make, verdicts, the record and its report."""

import csv
import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import adapters
from bench import cli, scenario, store
from bench.errors import Incompatible, UsageError
from bench.guarantees import cells, expectations, observed, run, timers, verdicts
from bench.guarantees.named import FAULTS
from bench.guarantees.record import FILE, Asked, Record
from bench.guarantees.shape import PER_TRIAL
from bench.guarantees.verdicts import ANOMALIES, Expectation, Injection
from bench.report import guarantees as pages
from bench.report import joining, write
from bench.servers import kafka
from benchmarks.evidence import cluster

CELLS = cells.of([*cells.systems(), "redis_streams,appendfsync=always"], ())
CELLS += [*cells.of(cluster.SPECS, cluster.FAULTS), *cells.of(["kafka,nodes=3"], ["leader-kill"])]
counts = st.dictionaries(st.sampled_from([*ANOMALIES, "unknown", "recovered"]), st.integers(0, 3))
injections = st.lists(
    st.builds(
        Injection,
        trial=st.just(1),
        target=st.just("consumer.g1.0"),
        in_flight=st.integers(0, 2),
        at_risk=st.none() | st.integers(0, 2),
        counts=counts,
        recovery_s=st.none() | st.floats(0, 10),
        undetermined=st.booleans(),
    ),
    max_size=8,
)
expectation = st.builds(
    lambda may, must: Expectation(frozenset(may) | frozenset(must), frozenset(must), "page", "why"),
    st.sets(st.sampled_from(ANOMALIES[:3])),
    st.sets(st.sampled_from(ANOMALIES[:3]), max_size=1),
)
DELIVERIES = ("none", "at-most-once", "at-least-once", "exactly-once")


# ---- verdicts


@given(st.sampled_from(DELIVERIES), expectation, injections)
def test_a_verdict_says_what_was_seen_and_no_more(delivery, expected, tried):
    judged = verdicts.judge(delivery, expected, tried)
    assert judged.n + judged.vacuous + judged.undetermined == len(tried)
    total = {name: sum(one.counts.get(name, 0) for one in tried) for name in ANOMALIES}
    assert {name: judged.counts[name] for name in ANOMALIES} == total
    assert (judged.verdict == "violated") == bool(judged.violations)
    if delivery in ("at-least-once", "exactly-once") and total["lost"]:
        assert judged.verdict == "violated"
    if delivery in ("at-most-once", "exactly-once") and total["duplicated"]:
        assert judged.verdict == "violated"
    if any(total[name] for name in ("corrupted", "unexpected", "failed_delivered")):
        assert judged.verdict == "violated"
        assert judged.surprises
    if judged.n == 0 and not judged.violations:
        assert judged.verdict in ("vacuous", "undetermined")
        assert judged.observed == ""
    if judged.n and judged.verdict == "no violation":
        assert judged.words == f"no violation in {judged.n}"
    assert bool([name for name in ANOMALIES if total[name] and name not in expected.may_show]) <= bool(judged.surprises)


@given(st.sampled_from(DELIVERIES), expectation, injections, st.randoms())
def test_the_order_of_injections_changes_nothing(delivery, expected, tried, random):
    mixed = list(tried)
    random.shuffle(mixed)
    assert verdicts.judge(delivery, expected, mixed) == verdicts.judge(delivery, expected, tried)


@given(st.sampled_from(DELIVERIES), expectation, injections)
def test_an_injection_into_nothing_counts_for_nothing(delivery, expected, tried):
    nothing = Injection(1, "server.1", 0)
    before, after = (verdicts.judge(delivery, expected, many) for many in (tried, [*tried, nothing]))
    assert replace(after, vacuous=before.vacuous, verdict=before.verdict) == before
    assert after.vacuous == before.vacuous + 1


@given(st.integers(1, 200), st.data())
def test_bounds_are_those_of_the_binomial(n, data):
    m = data.draw(st.integers(0, n))
    found = verdicts.share(m, n)
    assert 0 <= found.low <= m / n <= found.high <= 1
    if m == 0:
        assert stats.binom.cdf(0, n, found.high) == pytest.approx(0.05)
        assert found.high <= 3 / n
    else:
        assert stats.binom.sf(m - 1, n, found.low) == pytest.approx(0.025)
    if 0 < m < n:
        assert stats.binom.cdf(m, n, found.high) == pytest.approx(0.025)


def test_the_bound_of_twenty():
    assert verdicts.share(0, 20).high == pytest.approx(0.139, abs=0.001)
    with pytest.raises(ValueError, match="3 events in 2 trials"):
        verdicts.share(3, 2)


def struck(n=1, *, risk=None, **found):
    return [Injection(1, "consumer.g1.0", 5, risk, found)] * n


AUTO_ACK = Expectation(frozenset({"lost"}), frozenset({"lost"}), "page", "why")


@pytest.mark.parametrize(
    ("tried", "surprised"),
    [
        (struck(lost=2, risk=2), False),
        (struck(risk=2), True),  # it was in a consumer's hands, and nothing is lost: a blind accountant
        (struck(risk=0), False),  # nothing was
        (struck(2), False),  # nobody knows what was at risk: two may be luck
        (struck(3), True),
        (struck(lost=1, duplicated=1, risk=1), True),
    ],
)
def test_what_must_show_is_missed(tried, surprised):
    assert bool(verdicts.judge("at-most-once", AUTO_ACK, tried).surprises) is surprised


def test_a_loss_that_is_documented_is_a_violation_and_no_surprise():
    judged = verdicts.judge("at-least-once", Expectation(frozenset({"lost"}), source="page", why="in memory"), struck(lost=3))
    assert judged.verdict == "violated"
    assert judged.violations == ("3 lost",)
    assert judged.surprises == ()
    assert judged.observed == "at-most-once"


def test_what_belongs_to_no_injection_is_judged_and_does_not_count():
    judged = verdicts.judge("at-least-once", Expectation(source="page"), struck(2), {"duplicated": 1})
    assert judged.n == 2
    assert judged.shares["duplicated"].events == 0
    assert judged.surprises == ("1 duplicated, which the documentation does not predict",)


def test_a_delivery_that_is_none():
    with pytest.raises(ValueError, match="'sometimes': one of none, at-most-once"):
        verdicts.judge("sometimes", Expectation(), [])


# ---- expectations


def test_every_mode_under_every_fault_has_a_row():
    rows = expectations.table()
    missing = [c.id for c in CELLS if not any(row.fits(c.variant.system, c.mode, c.fault) for row in rows)]
    assert not missing
    assert {cell.fault for cell in CELLS} == set(FAULTS)


def test_every_row_speaks_of_some_cell():
    used = set()
    for cell in CELLS:
        used.add(next(i for i, row in enumerate(expectations.table(), 1) if row.fits(cell.variant.system, cell.mode, cell.fault)))
    assert set(range(1, len(expectations.table()) + 1)) - used == set()


def test_a_timer_is_a_setting_that_is_in_force():
    for cell in {(c.variant.id, c.expected.timer): c for c in CELLS if c.expected.timer}.values():
        _, adapter = run.stage.made(cell.variant)
        sides = [*adapter.effective().values(), kafka.TIMERS if cell.variant.system == "kafka" else {}]
        assert any(cell.expected.timer in side for side in sides), cell.id


def test_what_a_row_allows_its_promise_explains_or_the_row_does():
    for cell in CELLS:
        assert cell.expected.source.startswith("https://"), cell.id
        assert cell.expected.why or cell.expected.unsupported, cell.id
        if cell.fault == "baseline" and cell.variant.system != "sqs":
            assert not cell.expected.may_show, f"{cell.id}: without a fault nothing odd may show"


def test_automatic_acknowledgement_must_show_its_loss():
    for cell in (c for c in CELLS if c.fault == "consumer-kill" and c.mode.delivery.value == "at-most-once"):
        assert cell.expected.must_show == {"lost"}, cell.id


def test_a_system_of_a_third_party_is_judged_by_its_promise():
    mode = adapters.load("redis_pubsub").capabilities.modes[0]
    assert expectations.expected("their-own", mode, "server-kill").may_show == {"lost", "reordered"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a table of expectations"),
        (
            '[[row]]\nsystems=["kafka"]\nmodes=["*"]\nfaults=["consumer-kil"]\nsource="x"\nwhy="y"',
            'row 1: no fault is called "consumer-kil"',
        ),
        ('[[row]]\nsystems=["kafka"]\nmodes=["*"]\nfaults=["*"]\nmay=["loss"]\nsource="x"\nwhy="y"', 'row 1: may: "loss" is none of lost'),
        (
            '[[row]]\nsystems=["kafka"]\nmodes=["*"]\nfaults=["*"]\npersistence=["disk"]\nsource="x"\nwhy="y"',
            'row 1: persistence: "disk" is none of client library only',
        ),
        ('[[row]]\nsystems=["kafka"]\nmodes=[]\nfaults=["*"]\nsource="x"\nwhy="y"', "row 1: modes is a list of names"),
        ('[[row]]\nsystems=["kafka"]\nmodes=["*"]\nfaults=["*"]\nwhy="y"', r"row 1: source \(a page\) and why"),
        ('[[row]]\nsystem="kafka"', 'row 1: unknown key "system"; did you mean "systems"'),
    ],
)
def test_a_wrong_table_is_told_by_row(tmp_path, text, told):
    path = tmp_path / "expectations.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        expectations.read(path)


# ---- cells and their scenarios


def test_a_leader_dies_only_where_there_are_several_nodes():
    (cell,) = cells.of(["kafka,nodes=3,mode=acks-all"], ["leader-kill"])
    (fault,) = scenario.parse(cell.shape(20).yaml(), where=cell.id).points()[0].workload.faults
    assert (fault.kind, fault.target, fault.times) == ("kill", "server.leader", PER_TRIAL)
    assert cell.mode.copies == 2, "of acks=all on three nodes: min.insync.replicas"
    assert {cell.fault for cell in cells.of(["kafka,nodes=3,mode=acks-all"], [])} == {*FAULTS} - {"zookeeper-kill"}
    assert "leader-kill" not in {cell.fault for cell in cells.of(["kafka"], [])}
    with pytest.raises(UsageError, match="nothing to try: leader-kill needs nodes=3 in the SPEC"):
        Asked(("kafka",), ("leader-kill",), 1, 1).cells()
    assert [cell.mode.name for cell in cluster.FULL.cells()][:2] == ["acks-all", "acks-1"]
    assert {cell.wanted for cell in cluster.FULL.cells()} == {20}


def test_what_tells_a_cell_apart_stands_in_its_name_once():
    chosen = cells.of(["kafka,nodes=3,mode=acks-all", "kafka,nodes=3,metadata=zookeeper,mode=acks-all"], ["leader-kill"])
    plain = [{"system": "kafka", "spec": cell.variant.spec, "mode": {"name": cell.mode.name}} for cell in chosen]
    assert [joining.mode_name(cell) for cell in pages.told_apart(plain)] == ["acks-all, nodes=3", "acks-all, metadata=zookeeper, nodes=3"]


def test_zookeeper_dies_only_where_it_keeps_the_metadata():
    (cell,) = cells.of(["kafka,metadata=zookeeper,nodes=3,mode=acks-all"], ["zookeeper-kill"])
    (fault,) = scenario.parse(cell.shape(20).yaml(), where=cell.id).points()[0].workload.faults
    assert (fault.kind, fault.target, cell.expected.may_show) == ("kill", "zookeeper.1", frozenset())
    with pytest.raises(UsageError, match="nothing to try: zookeeper-kill needs metadata=zookeeper in the SPEC"):
        Asked(("kafka,nodes=3",), ("zookeeper-kill",), 1, 1).cells()
    assert [cell.fault for cell in cluster.FULL.cells()].count("zookeeper-kill") == 1


def test_every_cell_makes_a_scenario_that_reads():
    seen = set()
    for cell in CELLS:
        shape = cell.shape(cell.wanted)
        if cell.unsupported or (key := (cell.fault, repr(cell.timers), cell.server, cell.copies, cell.shares)) in seen:
            continue
        seen.add(key)
        read = scenario.parse(shape.yaml(), where=cell.id)
        (point,) = read.points()
        assert sum(fault.times for fault in point.workload.faults) == (shape.injections if FAULTS[cell.fault].fault else 0)
        assert point.workload.processing_s[0] * point.workload.rate_per_s == pytest.approx(0.4, abs=0.01)
        away_s = FAULTS[cell.fault].lasts(cell.timers) + FAULTS[cell.fault].recovers(cell.timers)
        assert shape.period_s - away_s > 0.4 * shape.period_s  # or each injection finds a longer queue than the last
    assert len(seen) > len(FAULTS)


def test_injections_into_a_group_leave_it_time_to_recover():
    for cell in CELLS:
        named, shape = FAULTS[cell.fault], cell.shape(PER_TRIAL)
        if cell.unsupported or not named.fault or named.at_start:
            continue
        for fault in scenario.parse(shape.yaml(), where=cell.id).points()[0].workload.faults:
            assert fault.every_s - fault.for_s >= named.recovers(cell.timers) or fault.times == 1
            assert fault.last_s + named.recovers(cell.timers) <= shape.load_s


def test_a_server_that_is_killed_holds_more_of_a_burst_than_a_consumer_takes_at_once():
    for cell in CELLS:
        if cell.unsupported or FAULTS[cell.fault].on != "server":
            continue
        load = scenario.parse(cell.shape(20).yaml(), where=cell.id).points()[0].workload
        took = (1.02 - 1.0) / load.processing_s[0] + load.batch  # worked off since the burst, and in its hands
        assert took < load.burst / 2, cell.id


def test_several_groups_are_struck_only_where_each_has_its_copy():
    groups = {cell.variant.system: cell.shape(20).groups for cell in CELLS if cell.fault == "consumer-kill"}
    assert groups["kafka"] > 1
    assert groups["zeromq"] == 1


def test_short_timers_stand_in_the_spec_and_give_way():
    (cell,) = cells.of(["kafka,mode=acks-all"], ["consumer-kill"])
    assert "session_timeout_ms=6000" in cell.variant.spec
    (slow,) = cells.of(["kafka,mode=acks-all,session_timeout_ms=10000"], ["consumer-kill"])
    assert "session_timeout_ms=10000" in slow.variant.spec
    assert slow.shape(3).period_s > cell.shape(3).period_s
    assert timers.of("another", "", {}).settings == {}


def test_core_cells_are_forty_at_most():
    core = [cell for cell in CELLS if cell.core]
    assert 0 < len(core) <= 40
    assert all(cell.wanted == cells.CORE_INJECTIONS for cell in core)
    assert not [cell.id for cell in core if cell.unsupported]


@pytest.mark.parametrize(
    ("specs", "faults", "told"),
    [
        (["kafka,mode=acks-al"], (), 'unknown mode "acks-al"; did you mean "acks-all"'),
        (["kafkaa"], (), 'unknown system "kafkaa"'),
        (["kafka"], ("consumer-kil",), 'unknown fault "consumer-kil"; did you mean "consumer-kill"'),
        (["zeromq", "zeromq,mode=push-pull"], (), "is named twice"),
        (["kafka,session_timeout_ms=long"], (), "session_timeout_ms=long"),
    ],
)
def test_what_cannot_be_tried_is_told(specs, faults, told):
    with pytest.raises(UsageError, match=told):
        cells.of(specs, faults)


def test_quick_has_cells_of_each_cheap_system():
    quick = Asked((), (), 2, 20, quick=True).cells()
    assert {"redis_pubsub", "zeromq", "rabbitmq", "kafka"} <= {cell.variant.system for cell in quick}
    assert len(quick) <= 14
    assert {cell.variant.system for cell in Asked(("zeromq",), (), 2, 20, quick=True).cells()} == {"zeromq"}
    with pytest.raises(UsageError, match="nothing to try"):
        Asked(("sqs",), (), 2, 20, quick=True).cells()


# ---- the record, and what is printed of it

ASKED = Asked(("redis_pubsub", "zeromq,mode=push-pull"), ("consumer-kill", "baseline", "server-kill"), 3, 20)


def made_trial(number, record, place, *, status="ok", lost=2, **more):
    """trial.json, as far as it is read, of a trial with two injections, each of which lost ``lost``."""
    cell = record.tried[place].cell
    row = {"sent": 900, "verdict": "as promised", "lost": 2 * lost, "duplicated": 0, "reordered": 0, "unknown": 1, "recovered": 0}
    counts = {"g1": {"received": 4, "lost": lost, "duplicated": 0, "unavailable_to_producers_s": 2.0, "unavailable_to_consumers_s": None}}
    fault = {
        "fault": "kill", "target": "consumer.g1.0", "times_index": 0, "injected_s": 1.0, "healed_s": 1.3, "recovered_s": 2.1,
        "in_flight": {"g1": 9}, "counts": counts,
    }  # fmt: skip
    return {
        "trial": number, "status": status, "reason": None, "point": {"cell": place}, "audit": {"g1": row}, "evidence": [],
        "variant": {"id": cell.variant.id, "settings": {"consumer": {"heartbeat": 3}}}, "server": None,
        "workload": {"faults": [{}]} if FAULTS[cell.fault].fault else {},
        "faults": [fault, fault | {"injected_s": 5.0}] if FAULTS[cell.fault].fault else [], **more,
    }  # fmt: skip


def place_of(record, system, fault):
    return next(i for i, one in enumerate(record.tried) if (one.cell.variant.system, one.cell.fault) == (system, fault))


def test_trials_become_injections_and_those_a_verdict():
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "consumer-kill")
    one = record.tried[place]
    record.take([made_trial(1, record, place), made_trial(2, record, place)])
    assert one.judged.n == 4
    assert one.missing == 16
    assert one.judged.counts["lost"] == 8
    assert one.rest == {"unknown": 2}  # nobody can date them
    assert one.judged.recovery_s == pytest.approx((0.8, 0.8))
    assert one.judged.publish_gap_s == (2.0, 2.0)
    assert one.status == "waiting"
    assert one.judged.surprises == ()
    server = {"kind": "native", "product": "Redis", "version": "7.0.15", "emulator": False}
    one.take(made_trial(3, record, place) | {"server": server | {"nodes": ["redis_pubsub.1"]}})
    assert one.to_json()["server"] == server


def test_what_a_consumer_has_is_not_in_flight_as_its_server_dies():
    """9 were not processed yet, 4 of them in the consumer's hands; a black hole before the server cuts off both."""
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "server-kill")
    trial = made_trial(1, record, place)
    for kind, in_flight in (("kill", 5), ("pause", 5), ("network", 9)):
        faults = [fault | {"target": "server.1", "fault": kind} for fault in trial["faults"]]
        assert [one.in_flight for one in observed.injections(trial | {"faults": faults})] == [in_flight] * 2
    hollow = [fault | {"target": "server.1", "in_flight": {"g1": 4}, "counts": {"g1": {"received": 4}}} for fault in trial["faults"]]
    assert all(one.vacuous for one in observed.injections(trial | {"faults": hollow}))


def test_a_trial_without_a_fault_is_one_injection_of_nothing():
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "baseline")
    record.take([made_trial(1, record, place, lost=0)])
    assert record.tried[place].judged.n == 1
    assert record.tried[place].status == "complete"


def test_a_fault_that_was_not_carried_out_is_no_baseline():
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "consumer-kill")
    record.take([made_trial(1, record, place, faults=[])])
    assert record.tried[place].judged.n == 0


def test_a_cell_that_fails_or_strikes_nothing_is_given_up():
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "consumer-kill")
    one = record.tried[place]
    failed = [made_trial(number, record, place, status="failed", reason="no answer") for number in (1, 2)]
    for trial in failed:
        one.take(trial)
    assert (one.status, one.reason, one.missing) == ("failed", "no answer", 0)
    again = Record.of(ASKED)
    again.take(failed)
    assert again.tried[place].status == "waiting", "a run that goes on tries it again"
    one.take(made_trial(3, record, place))
    assert one.reason == ""
    record = Record.of(ASKED)
    one = record.tried[place]
    empty = made_trial(1, record, place, lost=0)
    empty["faults"] = [fault | {"in_flight": {"g1": 0}, "counts": {}} for fault in empty["faults"]]
    record.take([empty | {"trial": number} for number in range(1, 14)])
    assert (one.status, one.judged.verdict) == ("short", "vacuous")
    assert one.left() == []


def test_messages_that_still_came_make_it_undetermined():
    record = Record.of(ASKED)
    place = place_of(record, "zeromq", "consumer-kill")
    trial = made_trial(1, record, place)
    trial["audit"]["g1"] |= {"verdict": "undetermined", "lost": None}
    for fault in trial["faults"]:
        fault["counts"] = {"g1": fault["counts"]["g1"] | {"lost": None}}
    record.take([trial])
    judged = record.tried[place].judged
    assert judged.surprises == ()
    assert (judged.undetermined, judged.n, judged.counts["lost"]) == (2, 0, 0)
    assert judged.verdict == "undetermined"


def test_what_the_broker_keeps_back_makes_it_undetermined_and_what_is_gone_all_the_same_is_judged():
    record = Record.of(Asked(("redis_streams,mode=group",), ("consumer-kill",), 3, 20))
    trial = made_trial(1, record, 0)
    trial["audit"]["g1"] |= {"verdict": "violated", "lost": 1, "undelivered": 3}
    for fault in trial["faults"]:
        fault["counts"] = {"g1": fault["counts"]["g1"] | {"lost": None}}
    record.take([trial])
    judged = record.tried[0].judged
    assert (judged.undetermined, judged.n, judged.counts["lost"]) == (2, 0, 1)
    assert (judged.verdict, judged.violations) == ("violated", ("1 lost",))


def kept(tmp_path, record):
    """A run's folder with that record, as the verb leaves it."""
    writer = store.RunWriter.create(tmp_path, run.base(record), kind="guarantees", command="brokerbench guarantees zeromq")
    record.sittings = [{"started": "now", "ended": None, "environment": run.environment.capture()}]
    writer.save_data(FILE, json.loads(json.dumps(record.to_json())))
    writer.finish("complete")
    return writer.folder


def test_a_report_links_each_cell_and_marks_surprises(tmp_path):
    record = Record.of(ASKED)
    odd, fine = place_of(record, "redis_pubsub", "consumer-kill"), place_of(record, "zeromq", "consumer-kill")
    strange = made_trial(1, record, odd, lost=0)
    strange["audit"]["g1"]["duplicated"] = 3
    record.take([strange, made_trial(2, record, fine)])
    folder = kept(tmp_path, record)
    files = write(folder)
    html, markdown = files.html.read_text(), files.markdown.read_text()
    assert f'href="#cell-{odd}"' in html
    assert f'id="cell-{odd}"' in html
    assert "trials/0001" in html
    assert "! ✗ at-least-once, n 2" in markdown.replace("\\", "")
    assert "3 duplicated, which the documentation does not predict" in markdown
    with files.summary.open(newline="") as file:
        rows = {(row["system"], row["fault"]): row for row in csv.DictReader(file)}
    assert rows["zeromq", "consumer-kill"]["lost"] == "4"
    assert rows["zeromq", "server-kill"]["status"] == "unsupported"
    told = "\n".join(pages.said(store.open_run(folder)))
    assert "SURPRISE, redis_pubsub pubsub, consumer-kill" in told
    assert "at-most-once, n 2, lost in 2" in told


def test_a_run_goes_on_from_its_trials(tmp_path):
    record = Record.of(ASKED)
    folder = kept(tmp_path, record)
    place = place_of(record, "redis_pubsub", "consumer-kill")
    with store.RunWriter.reopen(folder) as writer:
        writer.save_plan([{"trial": 1}])
        writer.save_trial(1, made_trial(1, record, place), {})
    again, writer, plan = run.resumed(folder)
    with writer:
        assert again.tried[place].judged.n == 2
        assert again.asked == ASKED
        assert plan == [{"trial": 1}]


def test_cells_may_stand_in_another_order_when_a_run_goes_on():
    record = Record.of(ASKED)
    place = place_of(record, "redis_pubsub", "consumer-kill")
    trial = made_trial(1, record, place)
    record.take([trial])
    before = json.loads(json.dumps(record.to_json()))["cells"]
    again = Record.of(replace(ASKED, specs=("zeromq,mode=push-pull", "redis_pubsub")))
    again.take([trial, trial | {"trial": 2}], before)
    assert again.tried[place_of(again, "redis_pubsub", "consumer-kill")].judged.n == 4
    with pytest.raises(UsageError, match="trial 1 is of no cell"):
        Record.of(replace(ASKED, specs=("zeromq,mode=push-pull",))).take([trial], before)


def test_a_run_of_another_machine_or_kind_is_not_gone_on_with(tmp_path):
    record = Record.of(ASKED)
    folder = kept(tmp_path, record)
    data = json.loads((folder / FILE).read_text())
    data["sittings"][0]["environment"]["machine"]["cpu"] = "another"
    (folder / FILE).write_text(json.dumps(data))
    with pytest.raises(Incompatible, match="begun with another machine"):
        run.resumed(folder)
    assert cli.main(["guarantees", "zeromq", "--resume", str(folder)]) == 2
    other = store.RunWriter.create(tmp_path, run.base(record), kind="run")
    other.finish("complete")
    with pytest.raises(UsageError, match='of kind "run"'):
        run.resumed(other.folder)


@pytest.mark.parametrize("words", [["--injections", "0"], ["--quick", "--core", "5"], ["nosuch"], ["zeromq", "--faults", "flood"]])
def test_wrong_arguments_end_with_two(words, tmp_path, capsys):
    assert cli.main(["guarantees", *words, "--results", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.startswith("brokerbench: ")


@settings(max_examples=20)
@given(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4, unique_by=lambda cell: cell.id))
def test_a_matrix_is_whole_whatever_cells_there_are(chosen):
    record = Record.of(ASKED)
    record.tried = [type(record.tried[0])(cell) for cell in chosen]
    data = json.loads(json.dumps(record.to_json()))["cells"]
    for system in pages._systems(data):
        table = pages._matrix(system, data)
        assert all(len(row) == len(table.head) for row in itertools.chain.from_iterable(group.rows for group in table.groups))


def test_variants_of_one_mode_are_told_apart_by_what_differs():
    specs = ("kafka,mode=acks-all,nodes=3", "kafka,metadata=zookeeper,mode=acks-all,nodes=3", "kafka,mode=acks-1,nodes=3")
    made = [{"system": "kafka", "spec": spec, "mode": {"name": "acks-1" if "acks-1" in spec else "acks-all"}} for spec in specs]
    told = pages.told_apart(made)
    assert [cell["mode"]["name"] for cell in told] == ["acks-all", "acks-all, metadata=zookeeper", "acks-1"]
    assert pages.told_apart(told) == told
    assert [cell["spec"] for cell in told] == list(specs)
