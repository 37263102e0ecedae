"""The verb ``choose``: needs in, variants out. Reads the results, prints, decides nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import store
from bench.choosing import answers, needs
from bench.errors import Incompatible, UsageError
from bench.report import choose
from bench.report.collection import KINDS, gather

NOTHING_MET = Incompatible.exit_code


def main(args: argparse.Namespace, folders: Sequence[Path]) -> int:
    """Print which variants met the needs; returns 0 where one did, 4 where none did.

    Raises:
        UsageError: a need is not one, or a folder is no run that loads or faults were measured in.
        Incompatible: the runs are of machines that differ, and not ``--anyway``.
    """
    asked = needs.parse({name: getattr(args, name.replace("-", "_")) for name in needs.BY_NAME})
    for folder in folders:
        if (kind := store.kind(folder)) not in ("", *KINDS):
            raise UsageError(f'{folder}: a run of kind "{kind}" says nothing of this; name runs of kind {", ".join(KINDS)}')
    collection = gather(folders, anyway=args.anyway)
    judged = answers.answers(choose.candidates(collection), asked)
    for missing in collection.missing:
        print(f"brokerbench: {missing}", file=sys.stderr)
    if args.json:
        runs = [str(run.folder) for run in collection.all]
        data = {"runs": runs, "differences": collection.differences, "asked": asked, "answers": [one.to_json() for one in judged]}
        print(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        print(_text(asked, judged, [str(run.run["id"]) for run in collection.all], collection.differences))
    return 0 if any(one.answer == "met" for one in judged) else NOTHING_MET


def _text(asked: needs.Asked, judged: Sequence[answers.Answered], runs: Sequence[str], differences: Sequence[str]) -> str:
    lines = [f"asked: {', '.join(needs.told(asked)) or 'nothing'}", f"of: {', '.join(runs)} (loopback, shared cores)"]
    lines += [f"these runs are not of like machines: {one}" for one in differences]
    for answer in answers.ANSWERS:
        found = [one for one in judged if one.answer == answer]
        if found:
            lines += ["", f"{answers.HEADINGS[answer]} ({len(found)})"]
        for one in found:
            lines.append(f"  {one.candidate.called}")
            lines += [f"    {words}{f' [{source}]' if source else ''}" for words, source in one.words]
    if not any(one.answer == "met" for one in judged):
        lines += ["", "Nothing in these results met all of it."]
    return "\n".join(lines)
