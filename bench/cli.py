"""The command line: arguments and calls, no logic. Exit codes: see the epilog of --help."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adapters
from adapters.errors import AdapterError, UnknownSystem
from bench import __version__
from bench.choosing.needs import NEEDS
from bench.errors import BenchError
from bench.units import did_you_mean

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # argparse has no public name for it

_EPILOG = """\
examples:
  brokerbench run order-events                         the shop's orders over five systems, with report
  brokerbench run order-events --systems zeromq kafka  two of them
  brokerbench run latency --systems "kafka,linger_ms=5" "kafka,profile=tuned" --rounds 5
  brokerbench run my-scenario.yaml --set rate="1 kHz,5 kHz"
  brokerbench capacity order-events --objective "p99 <= 20 ms"   the highest rate that holds it
  brokerbench guarantees kafka --faults consumer-kill  what each mode loses and repeats when a consumer is killed
  brokerbench report results/runs/order-events-...     the report again, from the files alone
  brokerbench choose --delivery at-least-once --rate 2k/s --p99 "20 ms"   which variants met that in the newest results
  brokerbench systems                                  what works here (a round trip through each) and what it promises
  brokerbench overhead zeromq                          what the harness itself costs, against a bare loop

exit codes:
  0 fine (rows "not run" included) · 1 a promise broken or a trial failed · 2 usage or input · 3 environment or server
  4 inconclusive or incompatible · 130 interrupted, results kept

SPEC, one thing to compare: system[,key=value...]; keys profile, mode, server are ours, all others the client library's own.
environment: BROKERBENCH_HOME (cache) · BROKERBENCH_RESULTS · BROKERBENCH_<SYSTEM>_ADDRESS (use a server that runs already)
"""


class _Parser(argparse.ArgumentParser):
    """Of a verb, too: an unknown option is an error that names the nearest one it has."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As its base's; ends with exit code 2 where an option is left over."""
        found, left = super().parse_known_args(args, namespace)
        unknown = next((word.partition("=")[0] for word in left if word.startswith("--")), None)
        if unknown is not None:
            known = [option for option in self._option_string_actions if option.startswith("--")]
            self.error(f"there is no option {unknown}: {did_you_mean(unknown, known)}")
        return found, left


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(  # its verbs are parsers of the same class
        prog="brokerbench", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_EPILOG,
        description="Identical real-time workloads through broker-based and broker-less messaging systems:\n"
        "throughput, latency, verified delivery.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"brokerbench {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print data, not text")
    common.add_argument("--results", type=Path, metavar="DIR", help="where runs are kept (default: BROKERBENCH_RESULTS or results/runs)")
    _add_run(verbs, common)
    _add_capacity(verbs, common)
    _add_guarantees(verbs, common)
    _add_gate(verbs, common)
    _add_explain(verbs, common)
    _add_report(verbs, common)
    _add_choose(verbs, common)
    _add_systems(verbs, common)
    _add_scenarios(verbs, common)
    _add_servers(verbs, common)
    _add_overhead(verbs, common)
    _add_calibrate(verbs, common)
    _add(verbs, common, "doctor", "check the machine: clock, cores, memory, disk, load", "brokerbench doctor")
    return parser


def _add(verbs: Verbs, common: argparse.ArgumentParser, name: str, what: str, example: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name, parents=[common], help=what, description=what[0].upper() + what[1:] + ".", epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _add_run(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "run",
        "run a scenario and write its report",
        'brokerbench run order-events --systems kafka rabbitmq --set rate="500/s"',
    )
    verb.add_argument("scenario", help="a shipped scenario's name (see: brokerbench scenarios) or a YAML file")
    verb.add_argument("--systems", nargs="+", metavar="SPEC", help="what to compare, instead of the scenario's list")
    verb.add_argument(
        "--set", action="append", metavar="AXIS=VALUES", help='values of a sweep axis: rate, size, partitions, ...: --set size="64 B,1 KiB"'
    )
    verb.add_argument("--rounds", type=int, help="how often each variant is measured at each point")
    verb.add_argument("--series", type=int, help="how often all of it is repeated on restarted servers")
    verb.add_argument("--warmup", metavar="TIME", help="load before the measured window, such as 1s")
    verb.add_argument("--measure", metavar="TIME", help="the measured window, such as 5s")
    verb.add_argument("--drain", metavar="TIME", help="deadline for what is under way when the load ends")
    verb.add_argument("--scale", type=float, metavar="X", help="times of load and faults, times X: --scale 0.1 for a tenth of backlog")
    verb.add_argument("--seed", type=int, help="of keys, payloads and the order of execution")
    verb.add_argument("--pin", choices=("auto", "on", "off"), help="each endpoint and server on cores of its own (default: the scenario's)")
    verb.add_argument("--no-lanes", action="store_true", help="measure nothing beside the systems: no A/A lane, no raw TCP")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_capacity(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "capacity",
        "find the highest rate that holds an objective, then latency against load up to it",
        'brokerbench capacity order-events --systems zeromq kafka --objective "p99 <= 20 ms"\n'
        "  brokerbench capacity throughput --systems rabbitmq --producers 1,2,4      was the client the limit, or the server?\n"
        "  brokerbench capacity fan-out --time 10min --probes 20 --precision 10%     quick, and less exact",
    )
    verb.add_argument("scenario", help="a shipped scenario's name or a YAML file; its rates are not used, its other values are")
    verb.add_argument(
        "--objective",
        default="p99 <= 50 ms",
        help='end-to-end latency from the intended time: "p99 <= 20 ms" (p50, p90, p99, p99.9; default: %(default)s); '
        "nothing lost, the rate reached and no growing backlog are part of every objective",
    )
    verb.add_argument("--systems", nargs="+", metavar="SPEC", help="what to search, instead of the scenario's list")
    verb.add_argument("--set", action="append", metavar="AXIS=VALUES", help='values of an axis, each searched: --set size="64 B,1 KiB"')
    verb.add_argument("--producers", metavar="N,N...", help="search with each of these numbers of producers: 1,2,4")
    verb.add_argument("--from", metavar="RATE", help="where to begin (default: the rate of a second at full speed)")
    verb.add_argument("--up-to", metavar="RATE", help="go no further (default: as far as it holds)")
    verb.add_argument("--probes", type=int, default=40, help="at most so many a search (default: %(default)s)")
    verb.add_argument("--precision", default="5%", help="stop when the interval is within this of its middle (default: %(default)s)")
    verb.add_argument("--sweep", type=int, default=2, metavar="ROUNDS", help="rounds of the sweep, 0 = none (default: %(default)s)")
    verb.add_argument("--time", metavar="TIME", help="begin no probe after this time, such as 10min; what is known then is the answer")
    verb.add_argument("--warmup", metavar="TIME", help="load before the measured window of a probe (default: 500 ms)")
    verb.add_argument("--measure", metavar="TIME", help="its measured window (default: 3 s; longer where a percentile needs it)")
    verb.add_argument("--drain", metavar="TIME", help="deadline for what is under way when a probe's load ends (default: 3 s)")
    verb.add_argument("--seed", type=int, help="of keys, payloads and the order of the sweep")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_guarantees(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "guarantees",
        "kill, freeze and cut while messages flow: what each mode loses and repeats, against what it promises; exit code 1 for a surprise",
        "brokerbench guarantees --quick\n  brokerbench guarantees rabbitmq kafka,mode=acks-1 --faults 'server-*' --injections 10",
    )
    verb.add_argument("spec", nargs="*", metavar="SPEC", help="what to break; without mode= all of its modes (default: every system)")
    verb.add_argument(
        "--faults", nargs="+", metavar="FAULT", help="which: consumer-kill, 'server-*', ... (default: all; docs/guarantees.md)"
    )
    verb.add_argument("--injections", type=int, metavar="N", help="counted injections of a cell (default: 3; --quick: 1)")
    verb.add_argument("--core", type=int, metavar="N", help="and of those that decide between modes (default: 20)")
    verb.add_argument("--quick", action="store_true", help="a dozen cells on what starts fast, under 3 minutes")
    verb.add_argument("--time", metavar="TIME", help="begin no trial after this time, such as 90min; every cell has been tried by turns")
    verb.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a run that was cut off; what it was asked is in its folder")
    verb.add_argument("--keep-evidence", action="store_true", help="keep the journals of trials without a surprise, too (for explain)")


def _add_gate(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "gate",
        "say whether head is as good as base, both measured in turn: exit code 1 for a regression, 4 where it cannot be told",
        "brokerbench gate order-events --base kafka,rev=origin/main --head kafka\n"
        "  brokerbench gate throughput --base kafka,with=kafka-python==3.0.10 --head kafka --margin rate=5%%",
    )
    verb.add_argument("scenario", help="a shipped scenario's name or a YAML file; of a sweep one point is taken: the highest rate")
    verb.add_argument("--base", metavar="SPEC", help="what to compare with; its keys with, rev, python: docs/gate.md")
    verb.add_argument("--head", required=True, metavar="SPEC", help="what must not be worse")
    verb.add_argument("--metrics", metavar="NAME,NAME...", help="of rate, p50, p99, cpu, memory (default: the scenario's, else all)")
    verb.add_argument(
        "--margin", action="append", metavar="NAME=PERCENT", help="the change that matters: rate=5%%,p99=50%%, or 5%% for all"
    )
    verb.add_argument("--max-time", default="60s", metavar="TIME", help="for the rounds of a measurement (default: %(default)s)")
    verb.add_argument("--rounds", type=int, metavar="N", help="so many rounds, an even number, instead of as many as fit")
    verb.add_argument("--on-inconclusive", choices=("pass", "fail", "retry"), help="instead of exit code 4; retry measures once more")
    verb.add_argument("--set", action="append", metavar="AXIS=VALUE", help='the point to compare at: --set rate="2 kHz"')
    verb.add_argument(
        "--baseline", type=Path, metavar="FILE",
        help="hold head against the past too, a gate.json or summary.json; alone without --base. Margins are widened by the measured noise",
    )  # fmt: skip
    verb.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML: a test case a metric")
    verb.add_argument("--github-benchmark", type=Path, metavar="DIR", help="write the files of github-action-benchmark, one a direction")
    verb.add_argument("--summary", type=Path, metavar="FILE", help="append the page to this file: $GITHUB_STEP_SUMMARY")
    verb.add_argument("--seed", type=int, help="of keys, payloads and the order of execution")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def _add_explain(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "explain",
        "tell the life of one lost or repeated message from a trial's journals",
        "brokerbench explain latest 7 --message 0:0:499",
    )
    verb.add_argument("run", help='a run: its folder, its id or the beginning of it, or "latest"')
    verb.add_argument("trial", type=int, help="the number of the trial, as in trials.csv")
    verb.add_argument(
        "--message", metavar="P:E:S", help="producer:epoch:sequence (default: the first lost, else repeated, reordered, unknown)"
    )


def _add_report(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "report",
        "write the report of one or several runs from their files",
        "brokerbench report results/runs/order-events-20261122-170102-ab12\n"
        "  brokerbench report results/runs/order-events-... results/runs/guarantees-...   speed, and what faults did, on one page",
    )
    verb.add_argument("run", nargs="*", type=Path, help='a run: its folder, its id or the beginning of it, or "latest" (the default)')
    verb.add_argument("--out", type=Path, metavar="DIR", help="where to write it (default: the run's folder; of several DIR/report-TIME)")
    verb.add_argument("--anyway", action="store_true", help="also runs of unlike machines or placements: every figure says of which")


def _add_choose(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "choose",
        "say which variants met your needs in results, which did not and why, which were never measured; exit code 4 where none met them",
        'brokerbench choose --delivery at-least-once --rate 2k/s --p99 "20 ms" --payload "1 KiB" --groups 3 --ordering key\n'
        "  brokerbench choose results/runs/order-events-... results/runs/guarantees-... --replay --json",
    )
    verb.add_argument("run", nargs="*", type=Path, help="runs of any kind, by folder or id (default: the newest)")
    verb.add_argument("--anyway", action="store_true", help="take runs of unlike machines together, and say so")
    for need in NEEDS:
        if need.flag:
            verb.add_argument(f"--{need.name}", action="store_true", help=need.help)
        else:
            words = ", ".join(choice.word for choice in need.choices) or f'such as "{need.example}"'
            verb.add_argument(f"--{need.name}", metavar="WORD" if need.choices else need.name.upper(), help=f"{need.help}: {words}")


def _add_systems(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "systems",
        "say what works here, by a round trip made now, and what each system promises",
        "brokerbench systems kafka",
    )
    verb.add_argument("system", nargs="*", help="only these")
    verb.add_argument("--variants", action="store_true", help="also each of their modes, and each option of their servers: some minutes")
    verb.add_argument("--promises", action="store_true", help="only what they promise: start nothing")


def _add_scenarios(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "scenarios",
        "list the shipped scenarios, show one, or explain the file's fields",
        "brokerbench scenarios order-events > mine.yaml",
    )
    verb.add_argument("name", nargs="?", help="print this one")
    verb.add_argument("--explain", action="store_true", help="every field with its meaning and default")


def _add_servers(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(verbs, common, "servers", "list, get, start, look at or stop servers", "brokerbench servers start kafka")
    verb.add_argument("action", nargs="?", default="list", choices=("list", "install", "start", "status", "stop"), help="default: list")
    verb.add_argument("system", nargs="*", help="only these (default: all); with start, also with options of the server: kafka,nodes=3")
    verb.add_argument("--kind", default="auto", choices=("auto", "native", "embedded", "compose"), help="what to start it as")


def _add_overhead(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "overhead",
        "measure what the harness itself costs, against bare loops of the same clients",
        'brokerbench overhead zeromq "kafka,profile=tuned" --sizes "100 B,1 KiB"',
    )
    verb.add_argument("spec", nargs="*", metavar="SPEC", help="what to measure (default: every adapter in every profile)")
    verb.add_argument("--sizes", default="100 B,1 KiB", metavar="SIZES", help='of a message, header included (default: "100 B,1 KiB")')
    verb.add_argument("--rounds", type=int, default=10, help="each measures every size on every lane (default: 10; 6 for an interval)")
    verb.add_argument("--seconds", type=float, default=1.0, help="of the measured window of a lane (default: 1)")
    verb.add_argument("--seed", type=int, default=1, help="of the order within the rounds")
    verb.add_argument("--distinct", action="store_true", help="a lane more: the bare loop with payloads that differ, as the harness's do")
    verb.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a run that was cut off; what it was asked is in its folder")


def _add_calibrate(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    verb = _add(
        verbs,
        common,
        "calibrate",
        "hold every figure of the harness against a fake server's own log: exit code 1 where one is wrong",
        "brokerbench calibrate --seed 7",
    )
    verb.add_argument("--seed", type=int, default=1, help="of what the fake server does to messages (default: 1)")
    verb.add_argument("--live", action="store_true", help="long delays against the server's own times, and a stall: 12 minutes, resumable")
    verb.add_argument("--quick", action="store_true", help="with --live: a smoke test of seconds that shows nothing")
    verb.add_argument("--out", type=Path, metavar="DIR", help="with --live: the results (default: results/reference/<machine>/calibration)")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the command ``brokerbench``: parse, call, turn errors into one line and an exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    args.argv = words
    wrong = adapters.same_parent()
    if wrong is not None:
        print(f"brokerbench: {wrong}", file=sys.stderr)
        return 3
    verbs = _verbs()
    try:
        return verbs[args.verb](args)
    except BenchError as error:
        print(f"brokerbench: {error}", file=sys.stderr)
        return error.exit_code
    except UnknownSystem as error:
        print(f"brokerbench: {error}", file=sys.stderr)
        return 2
    except AdapterError as error:
        print(f"brokerbench: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("brokerbench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output (head, less) has had enough
        return 0
    except OSError as error:  # a disk that is full, a folder that is gone: the machine's word is enough
        print(f"brokerbench: {error}", file=sys.stderr)
        return 3


def _verbs() -> Mapping[str, Callable[[argparse.Namespace], int]]:
    """Import what the verbs need: after --help, and after the check that it is ours.

    Ctrl-C ends the process at once: nothing has been started, and within an import it would come out as any error.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored (a background job), or a test's own
        signal.signal(signal.SIGINT, _end)
    from bench import verbs  # noqa: PLC0415  # see above

    signal.signal(signal.SIGINT, before)
    return verbs.VERBS


def _end(*_: object) -> None:
    os.write(2, b"brokerbench: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
