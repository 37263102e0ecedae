"""Gets the servers that can be had on this machine: ``python -m bench.servers.install [SYSTEM ...]``.

One line a system. Exit code 0 also where some cannot be had (a comparison runs without them); 3 with BROKERBENCH_REQUIRE=all.
What is there already is skipped: a second call takes less than a second a system.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from bench.errors import BenchError, ServerError, UsageError
from bench.servers import names, recipe
from bench.servers.apt import install_packages
from bench.servers.java import java

NEEDS_JAVA = frozenset({"flume", "kafka", "sqs"})
NEEDS_NODE = frozenset({"kinesis"})


def tools(systems: Sequence[str]) -> None:
    """Java and Maven, Node.js and npm by apt, where a system needs them and they are not there. Raises ServerError."""
    on_java, on_node = NEEDS_JAVA.intersection(systems), NEEDS_NODE.intersection(systems)
    wanted = ["default-jre-headless"] if on_java and java() is None else []
    wanted += ["maven"] if shutil.which("mvn") is None and any(map(_native_missing, on_java)) else []
    wanted += ["nodejs"] if on_node and shutil.which("node") is None else []
    wanted += ["npm"] if shutil.which("npm") is None and any(map(_native_missing, on_node)) else []
    if wanted:
        install_packages(" and ".join(sorted(on_java | on_node)), wanted)


def _native_missing(system: str) -> bool:
    found = recipe(system)
    return found is not None and found.missing("native") is not None


def install(system: str) -> str:
    """Get one system's server; a line that says what there is now. Raises ServerError where there is none at all."""
    found = recipe(system)
    if found is None:
        raise UsageError(f"no server recipe {system!r}; there are: {', '.join(names())}")
    try:
        found.install()
    except ServerError as error:
        others = [kind for kind in found.default_kinds if kind not in {"native", "external"} and found.missing(kind) is None]
        if not others or os.environ.get("BROKERBENCH_REQUIRE") == "all":
            raise
        return f"{system}: {others[0]} only ({str(error).splitlines()[0]})"
    return f"{system}: native"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: one line a system."""
    systems = list(sys.argv[1:] if arguments is None else arguments) or names()
    unknown = [system for system in systems if system not in names()]
    if unknown:
        print(f"no server recipe {unknown[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return UsageError.exit_code
    failed = False
    try:
        tools(systems)
    except BenchError as error:  # each system then says what it misses
        print(error, file=sys.stderr)
    for system in systems:
        try:
            print(install(system), flush=True)
        except BenchError as error:
            failed = True
            print(f"{system}: not installed: {error}", flush=True)
    return ServerError.exit_code if failed and os.environ.get("BROKERBENCH_REQUIRE") == "all" else 0


if __name__ == "__main__":
    sys.exit(main())
