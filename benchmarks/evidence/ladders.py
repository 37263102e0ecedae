"""What each step of a ladder costs and what it buys, for the record: ``make evidence-ladders``.

Of every shipped ladder (scenarios/ladder-*.yaml of LADDERS) three things are measured: all its steps side by side at the ladder's rate
(latency, CPU a delivered message), each step alone as fast as it goes within the objective (`brokerbench capacity`, a short search), and
each step broken (`brokerbench guarantees`): its server killed, or, where there is none, a consumer. A run is one of these.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import runner, scenario, spec, units
from bench.analysis import ladder
from bench.capacity import command as capacity
from bench.capacity import objective, result
from bench.capacity.run import PRECISION_MAX, Capacity, Options
from bench.deployment import place_of
from bench.guarantees import cells, run
from bench.guarantees.record import FILE as INJECTED
from bench.guarantees.record import Asked
from bench.guarantees.run import Guarantees
from bench.progress import Progress
from bench.report import text
from benchmarks.evidence import common, guarantees, runs, verdicts
from benchmarks.evidence.common import Json

LADDERS = ("ladder-zeromq", "ladder-redis", "ladder-kafka-replicas", "ladder-rabbitmq", "ladder-nats")
OBJECTIVE = "p99 <= 50 ms"
SPEED, CAPACITY, KILL = "speed", "capacity", "kill"
WARMUP = "300 ms"  # of a probe
FIGURES = ("p50", "p99", "cpu at a rate", "cpu of clients", "cpu of servers")
DOC = Path(__file__).resolve().parents[2] / "docs" / "broker-or-not.md"
BEGIN, END = "<!-- made by benchmarks/evidence/ladders.py: -->", "<!-- end of what was made -->"
_START_S = 6.0  # of servers and endpoints, on the average
_METHOD = f"""
*p50, p99*: end to end over all groups, from the time at which a message should have been sent; median of the rounds. *CPU*: of a delivered
message, of all clients and of all nodes of the server. *Against*: p50 and CPU divided by those of the step that it is held against,
round by round (Hodges-Lehmann, with the exact 95% interval from six rounds on, else the range). *Capacity*: the highest rate at which
{OBJECTIVE}, the rate is reached, no backlog grows and nothing is lost, with its 95% interval; ">=" where the clients or the machine's
cores were the limit, not the system. *Killed*: SIGKILL under load, of the server's first node or of a consumer, then started again;
lost is what was acknowledged and never processed. That none was lost in so few says little: the bounds are in ladders.json.

Computed from the figures in ladders.json: `python -m benchmarks.evidence.ladders --recompute FILE` does it again, and writes the table
of a full measurement into docs/broker-or-not.md.
"""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    ladders: tuple[str, ...]
    rounds: int  # of the steps side by side
    measure: str  # window of a trial of those
    probe: str  # window of a probe of a search
    probes: int  # of a search, at most
    search_s: float  # of a search: no probe is begun after it
    kills: int  # of a step


FULL = Extent(LADDERS, 6, "2 s", "1500 ms", 20, 40.0, 5)
QUICK = Extent(("ladder-redis",), 1, "200 ms", "200 ms", 5, 5.0, 1)


@dataclass(frozen=True)
class Task:
    """One run. ``spec``: the step that is searched or broken; "" = all steps of the ladder side by side."""

    kind: str
    ladder: str
    spec: str = ""

    @property
    def label(self) -> str:
        """For progress."""
        return f"{self.kind} of {self.spec or self.ladder}"


def tasks(much: Extent) -> list[Task]:
    """The runs in their order, those that bear other work beside them first; a step of several ladders is searched and broken once."""
    first: dict[str, str] = {}
    for name in much.ladders:
        for step in scenario.load(name).ladder:
            first.setdefault(step.system, name)
    killed, searched = ([Task(kind, name, system) for system, name in first.items()] for kind in (KILL, CAPACITY))
    return [*killed, *(Task(SPEED, name) for name in much.ladders), *searched]


def expected_s(much: Extent, task: Task) -> float:
    """About how long a run takes."""
    if task.kind == SPEED:
        chosen = _scenario(much, task)
        return _START_S + chosen.load_s() + 0.7 * much.rounds * len(chosen.systems)
    if task.kind == CAPACITY:
        return _START_S + much.search_s
    (cell,) = cells.of([guarantees.with_mode(task.spec)], [fault_of(task.spec)], core=much.kills, others=much.kills)
    return _START_S + cell.shape(much.kills).trial_s


def fault_of(system: str) -> str:
    """What is killed: the server, or a peer where there is none."""
    return "server-kill" if place_of(spec.parse(system)) is not None else "consumer-kill"


def _scenario(much: Extent, task: Task) -> scenario.Scenario:
    return scenario.load(task.ladder).override(rounds=much.rounds, measure=much.measure, lanes=False)


# ---- measuring


def measure(much: Extent, todo: Sequence[Task], number: int, folder: Path) -> Json:
    """One run: `number` counts from 1."""
    task = todo[number - 1]
    kinds: Mapping[str, Callable[[Extent, Task, Path, str], Json]] = {SPEED: _speed, CAPACITY: _capacity, KILL: _kill}
    return {"task": asdict(task)} | kinds[task.kind](much, task, folder, f"evidence-ladders, run {number}")


def _speed(much: Extent, task: Task, folder: Path, command: str) -> Json:
    """The steps in turn, every round all of them."""
    chosen = _scenario(much, task)
    names = ["", *(one.step for one in chosen.ladder)]
    steps = [
        {"step": one.step, "spec": one.system, "id": spec.parse(one.system).id, "changes": list(one.changes), "after": one.after or before}
        for one, before in zip(chosen.ladder, names, strict=False)
    ]
    rate_per_s = chosen.points()[0].workload.rate_per_s
    taken = runs.measure([chosen.to_yaml()], folder, FIGURES, [str(one["id"]) for one in steps], command=command)
    return {"title": chosen.title, "rate_per_s": rate_per_s, "steps": steps} | taken


def _capacity(much: Extent, task: Task, folder: Path, command: str) -> Json:
    chosen = scenario.load(task.ladder).override(systems=[task.spec], lanes=False, warmup=WARMUP, measure=much.probe, drain=capacity.DRAIN)
    options = Options(objective.parse(OBJECTIVE), much.probes, PRECISION_MAX, rounds=0, time_s=much.search_s)
    writer = runner.create(chosen, folder, command=command, kind=capacity.KIND)
    with runs.clocked() as when:
        Capacity(chosen, writer, Progress(quiet=True), options).run()
    ended = runs.opened(writer.folder)
    (search,) = ended.data(result.FILE)["searches"]
    kept = {name: search[name] for name in ("status", "reason", "saturated_per_s", "answer", "limit")} | {"probes": len(search["probes"])}
    return when | {"revision": ended.environment["brokerbench"], "search": kept} | runs.told(ended.trials)


def _kill(much: Extent, task: Task, folder: Path, command: str) -> Json:
    asked = Asked((guarantees.with_mode(task.spec),), (fault_of(task.spec),), much.kills, much.kills)
    record, writer = run.begin(asked, folder, command=command)
    with runs.clocked() as when:
        Guarantees(record, writer, Progress(quiet=True)).run()
    ended = runs.opened(writer.folder)
    (cell,) = ended.data(INJECTED)["cells"]
    kept = {name: cell[name] for name in ("spec", "fault", "wanted", "status", "reason", "injections", "judged")}
    return when | {"revision": ended.environment["brokerbench"], "cell": kept} | runs.told(ended.trials)


# ---- what it comes to


def tables(recorded: Sequence[Json]) -> Json:
    """A row a step, from the recorded figures alone."""
    found = {(one["task"]["kind"], one["task"]["spec"]): one for one in recorded if one["task"]["kind"] != SPEED}
    made: Json = {"ladders": []}
    for one in recorded:
        if one["task"]["kind"] == SPEED:
            rows = list(_rows(one, found))
            made["ladders"].append({"ladder": one["task"]["ladder"], "title": one["title"], "rate_per_s": one["rate_per_s"], "steps": rows})
    return made


def _rows(speed: Json, found: Mapping[tuple[str, str], Json]) -> Iterator[Json]:
    ids = {step["step"]: step["id"] for step in speed["steps"]}
    for step in speed["steps"]:
        figures = {name: speed["figures"][name][step["id"]] for name in FIGURES}
        medians = {name: statistics.median(known) if (known := _known(values)) else None for name, values in figures.items()}
        against = {}
        for name in ("p50", "p99", "cpu at a rate") if step["after"] else ():
            base = verdicts.rounds_of(speed["figures"][name][ids[step["after"]]])
            ratio = ladder.ratio(base, verdicts.rounds_of(figures[name]))
            against[name] = None if ratio is None else asdict(ratio)
        yield step | {
            "medians": medians,
            "against": against,
            "capacity": found.get((CAPACITY, step["spec"]), {}).get("search"),
            "kill": found.get((KILL, step["spec"]), {}).get("cell"),
        }


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


# ---- the page


def page(made: Json) -> str:
    """ladders.md."""
    return "\n".join(["# Ladders: what each step costs and buys\n", common.circumstances(made), "", steps(made), _METHOD])


def steps(made: Json) -> str:
    """The one table of all ladders."""
    names = ("step", "changes", "p50, ms", "p99, ms", "CPU, us: clients + server", "against", "p50", "CPU", "capacity", "killed")
    lines: list[list[Any]] = []
    for one in made["tables"]["ladders"]:
        lines.append([f"**{one['title']}**, {units.show_rate(one['rate_per_s'])}", *[""] * (len(names) - 1)])
        lines += [_line(step) for step in one["steps"]]
    return common.table(names, lines)


def _line(step: Json) -> list[Any]:
    medians, against = step["medians"], step["against"]
    server = "" if medians["cpu of servers"] is None else f" + {text.micro(medians['cpu of servers'])}"
    return [
        f"{step['step']} (`{step['spec']}`)",
        ", ".join(step["changes"]),
        text.milli(medians["p50"]),
        text.milli(medians["p99"]),
        f"{text.micro(medians['cpu of clients'])}{server}",
        step["after"],
        *(_ratio(against.get(name)) if step["after"] else "" for name in ("p50", "cpu at a rate")),
        _searched(step["capacity"]),
        _killed(step["kill"]),
    ]


def _ratio(found: Json | None) -> str | None:
    return None if found is None else text.ratio(found["ratio"], found["low"], found["high"])


def _searched(search: Json | None) -> str | None:
    if search is None or search["answer"] is None:
        return None if search is None else str(search["reason"] or search["status"])
    answer = search["answer"]
    if answer["kind"] == "below":
        return f"below {result.rate(answer['high_per_s'])}/s"
    if answer["kind"] == "inconclusive":
        return f"no answer after {answer['probes']} probes"
    ends = f" ({result.rate(answer['low_per_s'])}-{result.rate(answer['high_per_s'])})" if answer["high_per_s"] else ""
    return f"{result.bound(search)}{result.rate(answer['rate_per_s'])}/s{ends}"


def _killed(cell: Json | None) -> str | None:
    if cell is None:
        return None
    who = "server" if cell["fault"] == "server-kill" else "consumer"
    judged = cell["judged"]
    if judged is None or not judged["n"]:
        return f"{who}: {cell['reason'] or (judged or {}).get('verdict') or cell['status']}"
    told = []
    for name, said in (("lost", "lost"), ("duplicated", "repeated")):
        share = judged["shares"][name]
        if share["events"]:
            told.append(f"{said} in {share['events']} of {judged['n']} ({judged['counts'][name]:,} messages)")
        elif name == "lost":
            told.append(f"none lost in {judged['n']}")
    return f"{who}: {', '.join(told)}"


def shown(made: Json) -> str:
    """What stands between BEGIN and END of the page in docs."""
    return f"{steps(made)}\n\n{common.circumstances(made)}"


def put(made: Json, doc: Path) -> None:
    """Write the table into the page, in the place of the one that is there."""
    common.write(doc, common.between(doc.read_text(encoding="utf-8"), BEGIN, END, shown(made)))


# ---- the command


def settings_of(much: Extent) -> Json:
    """What all runs have to agree in: a ladder with another step is another evidence."""
    return asdict(much) | {"ladders": list(much.ladders), "objective": OBJECTIVE, "runs": [task.label for task in tasks(much)]}


def recompute(path: Path, doc: Path = DOC) -> int:
    """Compute the tables again; of a full measurement, put them into docs/broker-or-not.md. 1 where they are not those of the file."""
    code = common.recompute(path, "evidence-ladders", tables, page)
    made = common.read(path, "evidence-ladders")
    if code == 0 and made["settings"]["rounds"] >= FULL.rounds:
        put(made, doc)
        common.say(f"{doc}: has its table")
    return code


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, sum up. 0; 1 where a recomputed table differs; else as formats.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.ladders", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test that shows nothing: one ladder, a round, a kill a step")
    parser.add_argument(
        "--recompute", type=Path, metavar="FILE", help="measure nothing: compute the tables of a ladders.json again, and put them into docs"
    )
    fill = common.placed(parser, "ladders")
    args = parser.parse_args(words)
    fill(args)
    if args.recompute:
        return recompute(args.recompute)
    much = QUICK if args.quick else FULL
    todo, settings = tasks(much), settings_of(much)
    expected = sum(expected_s(much, task) for task in todo) / len(todo)
    with common.Work(args.work, settings) as work:
        labels = [task.label for task in todo]
        recorded = common.execute(work, labels, expected, lambda number, _, folder: measure(much, todo, number, folder))
    common.conclude(args.out, "ladders", common.summary("evidence-ladders", settings, recorded, tables(recorded)), page)
    return 0


if __name__ == "__main__":
    sys.exit(common.ended(main))
