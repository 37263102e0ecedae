"""The part `load:` of a scenario: the schedules, what each takes, and the workload's fields that it makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from bench import pacing, replay_file, units
from bench.scenario_fields import RATE, Part, Quantity, choice
from bench.workload import SCHEDULES, Workload

COLUMNS_FILE = "replay.npy"
SIZES_FILE = "replay-sizes.npy"
KEYS_FILE = "replay-keys.npz"
STEP_RATE = Quantity(units.rate_per_s, units.show_rate, 0, 50e6, high_reason="no client here comes near more")
STEP = Quantity(
    units.duration_s, units.show_duration, 0.01, 3600, "shorter ones are bursts", "a trial that long is a soak test; use more rounds"
)
BURST = Quantity(units.count, "{:,}".format, 1, 1_000_000, high_reason="it is due at once")
OUTSTANDING = Quantity(units.count, "{:,}".format, 1, 100_000, high_reason="with more under way no loop is closed")

TAKES = {
    "constant": ("rate",),
    "poisson": ("rate",),
    "steps": ("steps",),
    "ramp": ("from", "to"),
    "bursts": ("rate", "burst"),
    "replay": ("file",),
    "max": (),
    "closed": ("outstanding",),
}
"""Fields of each schedule; all are needed but `outstanding`, which has a default."""
_EXAMPLES = {
    "rate": 'a rate, such as "rate: 200/s" (or sweep.rate, or schedule: max)',
    "steps": 'steps, such as "steps: [{rate: 100/s, for: 2 s}, {rate: 1 kHz, for: 2 s}]"',
    "from": 'from, such as "from: 100/s"',
    "to": 'to, such as "to: 2 kHz"',
    "burst": 'a burst, such as "burst: 100"',
    "file": 'a file, such as "file: orders.csv"',
}


class Step(Part):
    """One step of a load."""

    rate: Annotated[float, STEP_RATE] = Field(description="messages a second of all producers together; 0/s is a pause")
    for_: Annotated[float, STEP] = Field(alias="for", description="how long")


def _steps(value: object) -> object:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("steps are a list such as [{rate: 100/s, for: 2 s}, {rate: 1 kHz, for: 2 s}]")
    return value


def _file(value: object) -> str:
    """The path of a recorded load that can be read; absolute, or relative to the current folder."""
    if not isinstance(value, str) or not value:
        raise ValueError("the path of a CSV file belongs here, such as orders.csv")
    replay_file.read(Path(value))
    return value


class Load(Part):
    """When messages are sent."""

    schedule: Annotated[str, choice(*SCHEDULES)] = Field(
        "constant",
        description="constant, poisson, bursts = an open loop at the mean `rate`; steps, ramp = a rate that changes; "
        "replay = the times of a `file`; max = as fast as they are taken; closed = the next when one is confirmed",
    )
    rate: Annotated[float | None, RATE] = Field(None, description="messages a second of all producers together")
    steps: Annotated[tuple[Step, ...] | None, BeforeValidator(_steps)] = Field(
        None, description="of steps: [{rate: 100/s, for: 2 s}, ...] from the start of the warm-up, from the first again after the last"
    )
    from_: Annotated[float | None, RATE] = Field(None, alias="from", description="of ramp: the rate at the start of the warm-up")
    to: Annotated[float | None, RATE] = Field(None, description="of ramp: the rate at the end of the measurement; linear in between")
    burst: Annotated[int | None, BURST] = Field(
        None, description="of bursts: messages due at the same time; a burst comes every burst / rate seconds"
    )
    file: Annotated[str | None, BeforeValidator(_file)] = Field(
        None,
        description="of replay: a CSV beside the scenario with a column time_s (or _ms, _us, _ns); the first message is at 0; "
        "size_b is for payload.sizes, key for keys.distribution",
    )
    outstanding: Annotated[int | None, OUTSTANDING] = Field(
        None, description="of closed: most unconfirmed messages of a producer; 1 unless given"
    )

    def value(self, field: str) -> Any:
        """What stands under a name of TAKES."""
        return getattr(self, "from_" if field == "from" else field)


def located(part: Any, folder: Path) -> None:
    """Make the file that a part names (of a replay, of payloads), as written, a path from ``folder``: the scenario's own."""
    if isinstance(part, dict) and isinstance(part.get("file"), str) and part["file"]:
        part["file"] = str((folder / part["file"]).absolute())


def problems(load: Load, *, rates_swept: bool, warmup_s: float) -> list[tuple[tuple[str, ...], str]]:
    """What does not go together, each with the path of the field."""
    found: list[tuple[tuple[str, ...], str]] = []
    takes = TAKES[load.schedule]
    for field in dict.fromkeys(field for fields in TAKES.values() for field in fields):
        swept = field == "rate" and rates_swept
        if load.value(field) is None and not swept:
            continue
        if field not in takes:
            where = ("load", field) if load.value(field) is not None else ("sweep", "rate")
            others = " or ".join(name for name, fields in TAKES.items() if field in fields)
            meant = "constant" if field == "rate" else others
            found.append((where, f"schedule: {load.schedule} takes no {field}; remove the {field}, or write schedule: {meant}"))
    given = {field for field in takes if load.value(field) is not None} | ({"rate"} if rates_swept else set()) | {"outstanding"}
    needed = [field for field in takes if field not in given]
    found += [(("load",), f"schedule: {load.schedule} needs {_EXAMPLES[field]}") for field in needed]
    if load.steps is not None and not any(step.rate for step in load.steps):
        found.append((("load", "steps"), "all of them are pauses; give one a rate"))
    if load.schedule == "replay" and load.file is not None:
        last_s = int(replay_file.read(Path(load.file)).times[-1]) / 1e9
        if last_s < warmup_s:
            ends = f"its last message is {last_s:g} s after the first, before the measurement begins (timing.warmup: {warmup_s:g} s)"
            found.append((("load", "file"), f"{load.file}: {ends}; a shorter warm-up or a longer file is needed"))
    return found


def into(workload: Workload, load: Load) -> Workload:
    """The workload with the schedule; its rate, where the schedule has none of its own, is the mean in the window."""
    kind = load.schedule
    if kind in ("constant", "max"):
        return workload
    more: dict[str, Any] = {"arrivals": kind}
    if kind == "steps":
        more["steps"] = tuple((step.rate, step.for_) for step in load.steps or ())
    elif kind == "ramp":
        more["ramp"] = (load.from_, load.to)
    elif kind == "bursts":
        more["burst"] = load.burst
    elif kind == "closed":
        more["outstanding"] = load.outstanding or 1
    elif kind == "replay":
        more["replay"] = str(Path(load.file or "").with_name(COLUMNS_FILE))
    made = replace(workload, **more)
    if kind in ("steps", "ramp"):
        made = replace(made, rate_per_s=round(pacing.offered_per_s(made) or 0.0, 3))
    elif kind == "replay":
        times = replay_file.read(Path(load.file or "")).times
        start, end = int(workload.warmup_s * 1e9), int((workload.warmup_s + workload.measure_s) * 1e9)
        made = replace(made, rate_per_s=round(int(((times >= start) & (times < end)).sum()) / workload.measure_s, 3))
    return made


def sizes(load: Load, until_s: float) -> tuple[NDArray[np.int64], str] | None:
    """The recorded sizes of what is due within ``until_s``, and where endpoints read them all; None where none were recorded."""
    if load.schedule != "replay" or load.file is None:
        return None
    recorded = replay_file.read(Path(load.file))
    if recorded.sizes is None:
        return None
    return recorded.sizes[recorded.times < int(until_s * 1e9)], str(Path(load.file).with_name(SIZES_FILE))


def keys(load: Load) -> tuple[int, str] | None:
    """How many distinct keys were recorded, and where endpoints read those of all messages; None where none were recorded."""
    if load.schedule != "replay" or load.file is None:
        return None
    recorded = replay_file.read(Path(load.file)).keys
    return None if recorded is None else (len(set(recorded)), str(Path(load.file).with_name(KEYS_FILE)))


def kept(load: Load, folder: Path) -> Load:
    """Copy the file of a replay into ``folder`` (a run's), with its times as endpoints read them; the load that names the copy."""
    if load.schedule != "replay" or load.file is None:
        return load
    source, copy = Path(load.file), folder / "replay.csv"
    if source != copy:
        copy.write_bytes(source.read_bytes())
        recorded = replay_file.read(source)
        np.save(folder / COLUMNS_FILE, recorded.times, allow_pickle=False)
        if recorded.sizes is not None:
            np.save(folder / SIZES_FILE, recorded.sizes, allow_pickle=False)
        if recorded.keys is not None:
            names, index = np.unique([key.encode() for key in recorded.keys], return_inverse=True)
            np.savez(folder / KEYS_FILE, names=names, index=index)
    return load.model_copy(update={"file": str(copy)})
