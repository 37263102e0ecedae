"""What each fault cost: a row a fault and group, over all of its injections and rounds."""

from made_over_time import HOSTILE, Made, fault

from bench.analysis.summary import summarise
from bench.report import struck


def counted(one, group, ack_s, got_s, in_flight=12, **counts):
    known = {"lost": 0, "unknown": 0, "duplicated": 0, "reordered": 0} | counts
    gaps = {"unavailable_to_producers_s": ack_s, "unavailable_to_consumers_s": got_s}
    return one | {"counts": (one.get("counts") or {}) | {group: known | gaps}, "in_flight": {group: in_flight}}


def rows(made):
    (point,) = summarise(made)
    return [(group.label, [tuple(cell.text for cell in row) for row in group.rows]) for group in struck.table(point, point.results).groups]


def test_injections_of_a_fault_and_rounds_are_one_row():
    made = Made()
    killed = [fault("kill", "server.leader", at, at + healed) for at, healed in ((4.0, 8.0), (20.0, 6.0))]
    away = counted(fault("away", "consumer.live", 30.0, None), "live", 0.01, 3.0, duplicated=4)
    made.add(faults=[counted(killed[0], "live", 2.0, 2.5, duplicated=7), counted(killed[1], "live", 4.0, 3.5), away])
    made.add(round_=2, faults=[counted(killed[0], "live", 3.0, None, 40, lost=1, unknown=2, reordered=3)])
    made.add(round_=3, faults=[dict(counted(killed[0], "live", 9.0, 9.0), injected_s=None)])  # its condition was never met
    ((label, found),) = rows(made)
    assert label == "Redis (client)"
    assert found == [
        ("kill server.leader: live", "3", "8.00 s (6.00 s\u20138.00 s)", "3.00 s (2.00 s\u20134.00 s)", "3.00 s (2.50 s\u20133.50 s)",
         "12 (12\u201340)", "1", "2", "7", "3"),
        ("away consumer.live: live", "1", "n/a", "10.0 ms", "3.00 s", "12", "0", "0", "4", "0"),
    ]  # fmt: skip


def test_what_could_not_be_decided_is_no_number():
    made = Made()
    made.add(title=HOSTILE, faults=[counted(fault(), "away", None, None, lost=None)])
    ((_, found),) = rows(made)
    assert found[0][3:8] == ("n/a", "n/a", "12", "\u2013", "0")


def test_without_a_fault_there_is_no_table():
    made = Made()
    made.add()
    made.add(variant="zeromq", faults=[fault()])  # of a run before injections were counted
    (point,) = summarise(made)
    assert struck.table(point, point.results) is None
