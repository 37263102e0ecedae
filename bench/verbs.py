"""What each verb of the command line does: calls into the suite, and prints. No measuring, no deciding."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import adapters
from adapters.capabilities import Capabilities, Mode
from bench import environment, scenario, servers, store, works
from bench.errors import Interrupted, ServerError, UsageError
from bench.progress import Progress
from bench.servers import keeper, status
from bench.spec import parse
from bench.units import did_you_mean


def _json(data: object) -> None:
    json.dump(data, sys.stdout, indent=1, default=str)
    print()


def _lines(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.splitlines())


# ---- run, report


def run(args: argparse.Namespace) -> int:
    """Run a scenario, write its report, print the verdict and where the report is."""
    from bench import runner  # noqa: PLC0415  # loads the adapters' clients: not for --help

    chosen = scenario.load(args.scenario)
    axes = _axes(args.set or [])
    chosen = chosen.override(
        systems=args.systems, rounds=args.rounds, series=args.series, seed=args.seed,
        warmup=args.warmup, measure=args.measure, drain=args.drain, axes=axes, lanes=not args.no_lanes, pin=args.pin,
        scale=args.scale,
    )  # fmt: skip
    progress = Progress(quiet=args.quiet or args.json)
    progress.say(f"{chosen.name}: {chosen.title or 'a scenario'} · {len(chosen.systems)} variants, about {chosen.load_s():.0f} s of load")
    command = shlex.join(["brokerbench", *args.argv])
    writer = runner.create(chosen, args.results, command=command)
    try:
        code = runner.Runner(chosen, writer, progress).run()
    except Interrupted:
        _report(writer.folder, args, interrupted=True)
        raise
    _report(writer.folder, args)
    return code


def capacity(args: argparse.Namespace) -> int:
    """Find the highest rate that holds an objective, and latency against load up to it."""
    from bench.capacity import command  # noqa: PLC0415  # scipy, and the adapters' clients

    return command.main(args, _axes(args.set or []))


def guarantees(args: argparse.Namespace) -> int:
    """Break things while messages flow, and say what each mode did to them."""
    from bench.guarantees import command  # noqa: PLC0415  # scipy, and the adapters' clients

    return command.main(args)


def gate(args: argparse.Namespace) -> int:
    """Say whether head is as good as base, both measured in turn."""
    from bench.gate import command  # noqa: PLC0415  # scipy, and the adapters' clients

    return command.main(args, _axes(args.set or []))


def _axes(pairs: Sequence[str]) -> Mapping[str, Sequence[str]] | None:
    """Read --set rate=200/s,2kHz into {"rate": ["200/s", "2kHz"]}."""
    axes: dict[str, Sequence[str]] = {}
    for pair in pairs:
        name, _, values = pair.partition("=")
        if not name.strip() or not values:
            raise UsageError(f'--set {pair}: should be AXIS=VALUE[,VALUE...], such as --set rate="200/s,2 kHz"')
        # With units "2,000/s" is one value, as every value ends with its unit; of plain counts "4,128" are two.
        between = r"(?<!\d),|,(?!\d{3}(?!\d))" if name.strip() in ("rate", "size") else ","
        axes[name.strip()] = [value.strip() for value in re.split(between, values)]
    return axes or None


def _report(folder: Path, args: argparse.Namespace, *, interrupted: bool = False) -> None:
    """Write and announce the report; of an interrupted run only where a trial was finished."""
    from bench import report as reports  # noqa: PLC0415  # matplotlib: not before the measuring is over

    collection = reports.gather([folder])  # read once, for the page and for the verdict
    (opened,) = collection.all
    if interrupted and not any(trial["status"] == "ok" for trial in opened.trials):
        return
    files = reports.write_collection(collection)
    if args.json:
        _json({"folder": str(folder), "report": str(files.html), "trials": opened.trials})
        return
    print(reports.verdict(opened, collection))
    print(f"\nreport: {files.html}\n        {files.markdown}")


def report(args: argparse.Namespace) -> int:
    """Write the report of one or several runs, from their files alone."""
    folders = [_folder(one, args.results) for one in args.run] or [store.latest(args.results)]
    kind = store.kind(folders[0]) if len(folders) == 1 else ""
    if kind == "overhead":
        from bench.overhead import verb  # noqa: PLC0415  # the engine: only there

        return verb.report(folders[0], args.out, as_json=args.json)
    if kind == "calibrate":
        from bench.calibration import verb as calibration  # noqa: PLC0415  # scipy: not for --help

        return calibration.report(store.open_run(folders[0]), args)
    if kind == "gate":
        from bench.gate import command  # noqa: PLC0415  # scipy: not for --help

        return command.report(folders[0], args.out, as_json=args.json)
    from bench import report as reports  # noqa: PLC0415  # matplotlib costs a second

    collection = reports.gather(folders, anyway=args.anyway)
    files = reports.write_collection(collection, args.out or reports.default_folder(collection, args.results))
    for missing in collection.missing:
        print(f"brokerbench: {missing}", file=sys.stderr)
    if args.json:
        written = {"html": str(files.html), "markdown": str(files.markdown), "missing": collection.missing}
        _json({"folder": str(files.html.parent), "runs": [str(run.folder) for run in collection.all], **written})
    else:
        print("\n\n".join(reports.verdict(run, collection) for run in collection.all))
        print(f"\nreport: {files.html}\n        {files.markdown}")
    return UsageError.exit_code if len(collection.all) < len(folders) else 0


def choose(args: argparse.Namespace) -> int:
    """Say which variants met what is needed."""
    from bench.choosing import command  # noqa: PLC0415  # the report's parts, with matplotlib

    return command.main(args, [_folder(one, args.results) for one in args.run] or [store.latest(args.results)])


def _folder(which: Path, results: Path | None) -> Path:
    """A path is one; a single word names a run."""
    return which if len(which.parts) > 1 or which.exists() else store.find(results, str(which))


def calibrate(args: argparse.Namespace) -> int:
    """Hold every figure of the harness against a fake server's own log."""
    from bench.calibration import verb  # noqa: PLC0415  # scipy: not for --help

    return verb.calibrate(args)


# ---- systems, scenarios


def systems(args: argparse.Namespace) -> int:
    """Say of each system what it promises, and whether it works here: by a round trip made now."""
    known = works.systems()
    wanted = [parse(text).spec for text in args.system] or known
    if args.promises:
        chosen = {text: parse(text) for text in wanted}
        loaded = {text: adapters.load(one.system, one.client).capabilities for text, one in chosen.items()}
        found = [works.Works(text, ok=True, said="not tried", get="", capabilities=its) for text, its in loaded.items()]
        for one in found:
            if not args.json:
                _say_system(one)
    else:
        tried = [each for text in wanted for each in works.variants(text)] if args.variants else wanted
        found = works.check_all(tried, lambda one: None if args.json else _say_system(one, whole=one.system in wanted))
    if args.json:
        _json([asdict(one) for one in found])
    required = os.environ.get("BROKERBENCH_REQUIRE") == "all"
    return 3 if required and not all(one.ok for one in found) else 0


def _say_system(one: works.Works, *, whole: bool = True) -> None:
    """``whole``: with what it promises; else a line."""
    client = one.capabilities.client if one.capabilities else ""
    title = one.capabilities.system + (f" through {client}" if client else "") if one.capabilities else ""
    state = one.said if one.said == "not tried" else f"works here: {one.said}" if one.ok else f"does not work here: {one.said}"
    print(f"{one.system:<13} {title}".rstrip() + f"\n    {state}" if whole else f"    {one.system}: {state}", flush=True)
    if one.get:
        print(_lines(one.get, "    "))
    if not whole:
        return
    for key, values in servers.options(one.system.partition(",")[0]).items():
        print(f"    of its server: {key} = {' | '.join(values)}")
    if one.capabilities:
        print(_promises(one.capabilities), flush=True)


def _promises(capabilities: Capabilities) -> str:
    shares = (
        f"fan-out {capabilities.fan_out.value}, work-sharing {capabilities.work_sharing.value}, partitions {capabilities.partitions.value}"
    )
    quotas = [f"    quotas: {capabilities.quotas}"] if capabilities.quotas else []
    return "\n".join([f"    {capabilities.architecture}; {shares}", *quotas, *(_promise(mode) for mode in capabilities.modes)])


def _promise(mode: Mode) -> str:
    acknowledged = f"acknowledged = {mode.persistence.value}, copies: {mode.copies}"
    return (
        f"    mode {mode.name}: {mode.delivery.value}; order: {mode.ordering}; {acknowledged}\n"
        f"        late subscriber: {mode.late_subscriber}; slow consumer: {mode.slow_consumer}\n        {mode.source}"
    )


def scenarios(args: argparse.Namespace) -> int:
    """List the shipped scenarios, show one, or explain the fields of the file."""
    if args.explain:
        rows = scenario.explain()
        if args.json:
            _json([{"field": field, "default": default, "description": text} for field, default, text in rows])
        else:
            for field, default, text in rows:
                print(f"{field:<24} {text}" + (f"  [{default}]" if default else ""))
        return 0
    if args.name:
        print(scenario.path_of(args.name).read_text(), end="")
        return 0
    listed = [scenario.load(name) for name in scenario.names()]
    if args.json:
        _json([one.to_data() for one in listed])
        return 0
    for one in listed:
        size = f"{len(one.points())} points x {len(one.systems)} variants x {one.rounds} rounds: {one.load_s():.0f} s of load"
        print(f"{one.name:<16} {one.title}\n{'':<16} {size}")
    return 0


# ---- servers, doctor


def servers_verb(args: argparse.Namespace) -> int:
    """List, get, start, look at or stop servers."""
    names = servers.names()
    wanted = {}
    for text in args.system or names:
        name, _, options = text.partition(",")
        system = adapters.canonical(name)
        if system not in names:
            raise UsageError(f'no server recipe for "{system}"; {did_you_mean(system, names)}')
        wanted[system] = _server_options(args.action, system, options)
    if args.action == "start":
        return _servers_start(wanted, args)
    action = {"list": _servers_list, "install": _servers_install, "status": _servers_status, "stop": _servers_stop}[args.action]
    return action(list(wanted), args)


def _server_options(action: str, system: str, text: str) -> Mapping[str, str]:
    """Read "nodes=3": options of a server that is to be started, and nothing else."""
    if not text:
        return {}
    variant = parse(f"{system},{text}", [system])
    if action != "start" or variant.spec != ",".join([system, *(f"{key}={value}" for key, value in variant.server_options.items())]):
        options = ", ".join(servers.options(system)) or "none"
        raise UsageError(f'"{system},{text}": a system belongs here; with `start`, also options of its server ({system} has: {options})')
    return variant.server_options


def _servers_list(wanted: Sequence[str], args: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for name in wanted:
        recipe = servers.recipe(name)
        assert recipe is not None  # names() are those that have one
        kinds = {kind: recipe.missing(kind) for kind in recipe.default_kinds}
        rows.append({"system": name, "kinds": kinds, "options": dict(servers.options(name)), "running": keeper.status(name)})
    if args.json:
        _json(rows)
        return 0
    for row in rows:
        print(row["system"])
        for kind, missing in row["kinds"].items():
            print(f"    {kind:<9} {'can be started here' if missing is None else missing}")
        for key, values in row["options"].items():
            print(f"    {key:<9} {' | '.join(values)}")
        if row["running"]:
            print(f"    running   {row['running']['product']} {row['running']['version']} at {', '.join(row['running']['addresses'])}")
    return 0


def _servers_install(wanted: Sequence[str], args: argparse.Namespace) -> int:
    from bench.servers import install  # noqa: PLC0415  # apt and Maven: only here

    del args
    return install.main(list(wanted))


def _servers_start(wanted: Mapping[str, Mapping[str, str]], args: argparse.Namespace) -> int:
    states, failed = [], 0
    for name, options in wanted.items():
        try:
            states.append(keeper.start(name, args.kind, options))
        except ServerError as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
    if args.json:
        _json(states)
    else:
        for state in states:
            addresses = ",".join(state["addresses"])
            print(f"{state['system']}: {state['product']} {state['version']} at {addresses} (keeper pid {state['pid']})")
            told = "".join(f",{key}={value}" for key, value in state["options"].items())
            print(f"    use it:  brokerbench run SCENARIO --systems '{state['system']},server=external:{addresses}{told}'")
            print(f"    stop it: brokerbench servers stop {state['system']}")
    return 3 if failed else 0


def _servers_status(wanted: Sequence[str], args: argparse.Namespace) -> int:
    kept = [state for name in wanted if (state := status.now(name)) is not None]
    if args.json:
        _json(kept)
    else:
        print("\n".join(line for state in kept for line in status.lines(state)) or "none is running: brokerbench servers start SYSTEM")
    return 3 if any("error" in state for state in kept) else 0


def _servers_stop(wanted: Sequence[str], args: argparse.Namespace) -> int:
    stopped = [name for name in wanted if keeper.stop(name)]
    if args.json:
        _json(stopped)
    else:
        print(f"stopped: {', '.join(stopped)}" if stopped else "none was running")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Say what of this machine stands in the way of figures that can be trusted."""
    checks = environment.doctor()
    if args.json:
        _json([asdict(check) for check in checks])
    else:
        for check in checks:
            print(f"{check.ok:<5} {check.name:<22} {check.found}")
            if check.ok != "ok" and check.advice:
                print(f"{'':<28} {check.advice}")
    return 3 if any(check.ok == "bad" for check in checks) else 0


def overhead(args: argparse.Namespace) -> int:
    """Measure what the harness costs."""
    from bench.overhead import verb  # noqa: PLC0415  # the engine: only here

    return verb.overhead(args)


def explain(args: argparse.Namespace) -> int:
    """Tell the life of one message."""
    from bench import explain as lives  # noqa: PLC0415  # pyroaring: only here

    return lives.main(args)


VERBS = {
    "run": run,
    "capacity": capacity,
    "choose": choose,
    "explain": explain,
    "guarantees": guarantees,
    "gate": gate,
    "report": report,
    "calibrate": calibrate,
    "systems": systems,
    "scenarios": scenarios,
    "servers": servers_verb,
    "doctor": doctor,
    "overhead": overhead,
}
