"""Who led what, beside the faults: one table, in the order of time."""

from made_over_time import HOSTILE, Made, fault

from bench.analysis.summary import summarise
from bench.report import leaders

LEADERS = [
    (-0.1, "partition 0", "kafka.3"), (-0.1, "partition 1", "kafka.1"), (-0.1, "partition 2", "kafka.3"), (-0.1, "controller", "kafka.2"),
    (6.5, "partition 0", "kafka.1"), (6.5, "partition 2", ""), (7.25, "partition 2", "kafka.2"),
]  # fmt: skip


def cluster(**more):
    made = Made()
    killed = fault("kill", "server.leader", 4.0, 12.5) | {"node": "kafka.3", "counts": {"live": {"unavailable_to_producers_s": 2.3}}}
    made.add(away=(4, 6), faults=[killed, fault("pause", "producer.0", 14.0, 15.0)], **more)
    made.trials[-1]["leaders"] = [{"t_s": t, "what": what, "node": node} for t, what, node in LEADERS]
    return made


def test_faults_and_leaders_stand_in_the_order_of_time():
    made = cluster()
    (point,) = summarise(made)
    (group,) = leaders.table(point, point.results).groups
    assert group.label == "Redis (client), round 1"
    assert [tuple(cell.text for cell in row) for row in group.rows] == [
        ("-0.10", "the load begins", "kafka.1: partition 1; kafka.2: controller; kafka.3: partitions 0, 2", ""),
        ("4.00", "kill server.leader, which is kafka.3", "", "2.30 s"),
        ("6.50", "leaders change", "partition 0: kafka.3 to kafka.1; partition 2: kafka.3 to nobody", ""),
        ("7.25", "leaders change", "partition 2: nobody to kafka.2", ""),
        ("12.50", "healed: kill server.leader, which is kafka.3", "", ""),
        ("14.00", "pause producer.0", "", ""),
        ("15.00", "healed: pause producer.0", "", ""),
    ]


def test_nothing_is_said_of_a_server_that_does_not_say_who_leads():
    made = Made()
    made.add(faults=[fault()])
    (point,) = summarise(made)
    assert leaders.table(point, point.results) is None
    made = cluster(title=HOSTILE)
    made.trials[0]["status"] = "failed"
    (point,) = summarise(made)
    assert leaders.table(point, point.results) is None


def test_without_a_fault_the_leaders_are_told_all_the_same():
    made = cluster()
    made.trials[0]["faults"] = []
    (point,) = summarise(made)
    (group,) = leaders.table(point, point.results).groups
    assert [row[1].text for row in group.rows] == ["the load begins", "leaders change", "leaders change"]
