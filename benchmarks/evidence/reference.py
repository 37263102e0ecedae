"""A reference run over every system and each of its variants: ``python -m benchmarks.evidence.reference``, `make evidence-reference`.

Speed: scenarios/order-events.yaml with every variant that `brokerbench systems --variants` tries, in two runs, so that no more servers
are up than have to be: each mode through each client on the usual servers; then each option of a server beside the usual one. Faults: a
consumer killed and the server killed, of the variants that evidence-guarantees and evidence-cluster do not have. All are kept under
results/reference/<machine>/evidence-reference, and docs/reference-report.md is the report of these and of the other two together. A run of
speed is measured whole or not at all; the faults are resumed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import environment, report, scenario, spec, store, works
from bench.analysis.summary import REFERENCES
from bench.guarantees.record import FILE, Asked
from benchmarks.evidence import cluster, common, guarantees, runs

SCENARIO = "order-events"
USUAL, OTHER = "order-events", "order-events-servers"  # folders of the two runs
ROUNDS = {USUAL: 3, OTHER: 2}
FAULTS = ("consumer-kill", "server-kill")
INJECTIONS = 2
QUICK = ("nats", "redis_streams,mode=noack")
QUICK_FAULTS = Asked(("nats,mode=core",), ("consumer-kill",), 1, 1)
TRIED = ("kafka", "rabbitmq", "sqs", "zeromq", "redis_pubsub", "redis_streams")
"""Of these evidence-guarantees has every mode, through the first client and on the usual server."""
OTHERS = ("evidence-guarantees/kafka", "evidence-guarantees/others", "evidence-cluster")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference-report.md"


def variants() -> list[str]:
    """Every variant of every system, as SPECs, each once."""
    made = [each for text in works.systems() if spec.parse(text).system not in REFERENCES for each in works.variants(text)]
    return list(dict.fromkeys(made))


def on_usual_servers() -> list[str]:
    """Those that ask nothing of their server."""
    return [text for text in variants() if not spec.parse(text).server_options]


def on_other_servers() -> list[str]:
    """Those that do, each system's usual variant first."""
    found = [(spec.parse(text).system, text) for text in variants() if spec.parse(text).server_options]
    return list(dict.fromkeys(each for pair in found for each in pair))


def untried() -> list[str]:
    """Of the variants those that nothing else has broken, as SPECs that name their modes."""
    clusters = {spec.parse(text).spec for text in cluster.SPECS}
    named = [guarantees.with_mode(text) for text in variants() if not _usual(spec.parse(text))]
    return [text for text in named if text not in clusters]


def _usual(variant: spec.Variant) -> bool:
    return variant.system in TRIED and not variant.client and not variant.server_options


def speed(work: Path, out: Path, chosen: scenario.Scenario) -> None:
    """Measure in ``work``, and keep it in ``out``; nothing where that is done."""
    if (out / "run.json").exists():
        common.say(f"{out}: measured already; remove it to measure again")
        return
    runs.keep(chosen, work, out, command="make evidence-reference")


def written(folders: Sequence[Path], page: Path) -> None:
    """Write the report of all that is there of ``folders``, as Markdown, to ``page``."""
    collection = report.gather([folder for folder in folders if folder.exists()])
    with tempfile.TemporaryDirectory() as made:
        files = report.write_collection(collection, Path(made))
        shutil.copy(files.markdown, page)
    common.say(f"Written: {page}")


def tried(out: Path) -> bool:
    """Whether every cell of the faults is there."""
    cells = store.read_data(out, FILE)["cells"] if (out / FILE).exists() else []
    whole = bool(cells) and not any(cell["status"] in ("waiting", "failed") for cell in cells)
    if whole:
        common.say(f"{out}: tried already; remove it to try again")
    return whole


def faults(args: argparse.Namespace) -> int:
    """Break what was not broken; the exit code of `brokerbench guarantees`."""
    asked = Asked(tuple(untried()), FAULTS, INJECTIONS, INJECTIONS)
    where = ["--work", str(args.work / "faults"), "--out", str(args.out / "faults"), *(["--quick"] if args.quick else [])]
    return guarantees.tried("reference", __doc__ or "", asked, QUICK_FAULTS, where)


def main(words: Sequence[str] | None = None) -> int:
    """Break what was not broken, measure, write the report; the exit code of `brokerbench guarantees`."""
    args = common.of_verb("reference", (__doc__ or "").split("\n\n", maxsplit=1)[0], "two variants, a round, a fault", words)
    code = 0 if tried(args.out / "faults") else faults(args)
    sides: dict[str, Sequence[str]] = {USUAL: QUICK} if args.quick else {USUAL: on_usual_servers(), OTHER: on_other_servers()}
    for name, systems in sides.items():
        rounds = 1 if args.quick else ROUNDS[name]
        speed(args.work, args.out / name, scenario.load(SCENARIO).override(systems=systems, rounds=rounds, lanes=name == USUAL))
    others = [environment.machine_folder(common.RESULTS) / name for name in OTHERS]
    written(
        [*(args.out / name for name in sides), args.out / "faults", *([] if args.quick else others)],
        args.out / PAGE.name if args.quick else PAGE,
    )
    return code


if __name__ == "__main__":
    sys.exit(common.ended(main))
