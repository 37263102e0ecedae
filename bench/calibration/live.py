"""Whether the stamps are taken at the right moment: live trials against the fake server's own times, delays of 20 ms and more.

The server logs when a message was handed to the kernel; the harness stamps it when poll() returned. Between the two lie the
loopback, the consumer's wake-up and the client: they are part of what the harness is to measure, and must not be over 2%.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from bench import environment, store
from bench.calibration import exact, recount
from bench.calibration.behaviour import Behaviour, Law
from bench.calibration.exact import Case
from bench.calibration.figures import Figure, markdown, rows
from bench.calibration.recipe import log_of
from bench.clock import utc_now
from bench.errors import EnvironmentProblem, UsageError
from bench.progress import Progress
from bench.store import RunWriter

ALLOWED: Final = 0.02
ALLOWED_CLOSED_P999: Final = 0.05
"""Of a closed loop's p99.9: the stall is not in it, so it is made of the few wake-ups that came a millisecond late, on 58 ms."""
FORMAT: Final = 1
PAGE: Final = "calibration.md"
RATE: Final = 1000  # of the stall, messages a second
STALL_S: Final = 1.0
STALLED: Final = Fraction(999, 1000)
_PRINTED: Final = {"e2e": "end_to_end_intended", "e2e-sent": "end_to_end_sent", "publish": "publish"}


@dataclass(frozen=True)
class Live:
    """A case of ``trials`` equal trials. ``shows``: which percentiles of which latencies (tags of latency.hlog)."""

    case: Case
    trials: int
    shows: tuple[tuple[str, str], ...]
    calculated_ns: float | None = None  # what arithmetic says of the end-to-end p99.9

    @property
    def load_s(self) -> float:
        """Seconds of load."""
        return self.trials * (self.case.warmup_s + self.case.measure_s)


_MIDDLE: Final = tuple((tag, key) for tag in _PRINTED for key in ("p50_ns", "p90_ns"))


def cases(seed: int, *, quick: bool = False) -> list[Live]:
    """All of them: about twelve minutes; ``quick``: a smoke test of seconds that shows nothing."""
    twenty = Law("constant", (20.0,))
    laws = {
        "constant": twenty,
        "uniform": Law("uniform", (20.0, 60.0)),
        "exponential": Law("exponential", (20.0, 50.0)),
        "lognormal": Law("lognormal", (20.0, 30.0, 0.5)),
        "bimodal": Law("bimodal", (20.0, 80.0, 0.2)),
    }
    base = Case("", Behaviour(), load="{rate: 500/s}", warmup_s=1.0, measure_s=10.0, drain_s=5.0, groups=("a",), producers=1)
    found = [Live(replace(base, name=name, behaviour=Behaviour(seed, law, twenty)), 5, _MIDDLE) for name, law in laws.items()]
    one, fifty = Law("constant", (1.0,)), Law("constant", (50.0,))
    stall: dict[str, Any] = {"stall_at_s": 50.0, "stall_s": STALL_S}
    long = replace(base, measure_s=100.0)
    calculated = (STALL_S - float(1 - STALLED) * long.measure_s + 0.001) * 1e9  # a thousandth of 100 s at 1 kHz is 100 ms of messages
    # In the closed loop deliveries take 50 ms, so that 2% can be asked for; what paces it is the answer after 1 ms.
    found += [
        Live(
            replace(long, name="stall, open loop", behaviour=Behaviour(seed, one, **stall), load=f"{{rate: {RATE}/s}}"),
            2, (("e2e", "p999_ns"), ("e2e", "max_ns")), calculated,
        ),
        Live(
            replace(long, name="stall, closed loop", behaviour=Behaviour(seed, fifty, one, **stall), load="{schedule: closed}"),
            2, (("e2e", "p50_ns"), ("e2e", "p999_ns"), ("e2e", "max_ns")),
        ),
    ]  # fmt: skip
    return [_short(live) for live in found] if quick else found


def _short(live: Live) -> Live:
    behaviour = replace(live.case.behaviour, stall_at_s=0.2, stall_s=0.2) if live.case.behaviour.stall_s else live.case.behaviour
    case = replace(live.case, behaviour=behaviour, warmup_s=0.2, measure_s=0.5, drain_s=1.0)
    return replace(live, case=case, trials=1, calculated_ns=None)


def measure(live: Live, results: Path | None, *, seed: int, command: str, progress: Progress) -> dict[str, Any]:
    """Run one case; return its record: figures, settings, circumstances."""
    chosen = [live.case] * live.trials
    writer = RunWriter.create(results, exact.described(chosen, seed), command=command, kind="calibrate")
    started, state = utc_now(), environment.state()
    exact.run(writer, chosen, seed=seed, progress=progress, endpoint=exact.ENDPOINT)
    found = [figure for figure in exact.compare(writer.folder, chosen) if not figure.right]
    figures = [Figure("all", f"{live.case.name}: exact figures that are wrong", len(found), 0), *compare(writer.folder, live)]
    return {
        "format": FORMAT, "case": live.case.name, "settings": settings(live, seed), "started": started, "ended": utc_now(),
        "machine": environment.machine(), "state": {"before": state, "after": environment.state()}, "run": writer.run_id,
        "figures": [figure.to_json() for figure in figures],
    }  # fmt: skip


def settings(live: Live, seed: int) -> dict[str, Any]:
    """What a kept result must agree in to be kept."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(live)))
    return {**plain, "seed": seed}


def compare(folder: Path, live: Live) -> Iterator[Figure]:
    """Hold what trial.json prints against the server's times: until a message (or its answer) was handed to the kernel."""
    opened = store.open_run(folder)
    evidence = recount.Evidence.read(folder, log_of(folder), live.case.groups, opened.trials)
    name = live.case.name
    for record in opened.trials:
        truth = recount.logged(evidence.trial(record))
        number = str(record["trial"])
        for tag, key in live.shows:
            values = sorted(truth[tag])
            said = record["latency"][_PRINTED[tag]][key]
            if key == "max_ns":
                true: int | None = values[-1]
            else:
                q = exact.QUANTILES[key]
                true = recount.quantile(values, q, said) if recount.supported(len(values), q) else None
            late = "closed" in live.case.load and key == "p999_ns"
            allowed = ALLOWED_CLOSED_P999 if late else ALLOWED
            yield Figure(number, f"{name}: {tag} {key.removesuffix('_ns')}", said, true, allowed, "ns")
        if live.calculated_ns is not None:
            said = record["latency"]["end_to_end_intended"]["p999_ns"]
            yield Figure(number, f"{name}: e2e p999, as calculated", said, live.calculated_ns, ALLOWED, "ns")


def run(
    results: Path | None, out: Path, *, seed: int, quick: bool, command: str, progress: Progress
) -> list[Figure]:  # fmt: skip
    """Measure what is missing in ``out``, one file a case, and write the table there. Raises UsageError for a file that is none of ours."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(f"{out}: results cannot be kept there ({error.strerror})") from error
    chosen = cases(seed, quick=quick)
    records = []
    for place, live in enumerate(chosen):
        path = out / f"{live.case.name.replace(', ', '-').replace(' ', '-')}.json"
        record = kept(path, settings(live, seed))
        if record is None:
            left_s = sum(later.load_s for later in chosen[place:])
            progress.say(f"{live.case.name}: {live.trials} trials; all that is left: about {left_s / 60:.0f} minutes of load")
            record = measure(live, results, seed=seed, command=command, progress=progress)
            _write(path, json.dumps(record, indent=1) + "\n")
        else:
            progress.say(f"{live.case.name}: kept from {record['started']} ({path})")
        records.append(record)
        _write(out / PAGE, page(records, len(chosen)))
    return [Figure.from_json(row) for record in records for row in record["figures"]]


def kept(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """A result of the same settings that is there already; raises UsageError for one that cannot be read."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record if record["format"] == FORMAT and record["settings"] == wanted else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a result of `brokerbench calibrate --live` ({error!r}); move it away") from error


def page(records: Sequence[Mapping[str, Any]], of: int) -> str:
    """The table as Markdown: of each figure the trial that is furthest from the truth."""
    figures = [Figure.from_json(row) for record in records for row in record["figures"]]
    first, machine = records[0], records[0]["machine"]
    head = ("figure (trials)", "by the harness", "by the server", "difference", "allowed", "verdict")
    return (
        f"# Calibration, live\n\n`brokerbench calibrate --live`, {len(records)} of {of} cases, from {first['started']} on; "
        f"{machine.get('cpu')}, {machine.get('os')}.\n"
        "Of each figure the trial that is furthest from the truth. By the server: from the same start (intended or actual send) until it\n"
        f"handed the message or the answer to the kernel.\n\n{markdown(head, rows(figures, every=False))}"
    )


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror})") from error
